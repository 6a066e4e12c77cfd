//! An owner with keys, a root document, a release and an order, all made at test time by the binary itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A file of the project's test data.
pub(crate) fn firmware(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/firmware").join(name)
}

/// A directory with what the owner has.
pub(crate) struct Owner {
    dir: TempDir,
}

/// What a command said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            exit: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The one JSON value on stdout.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn good(self) -> Self {
        assert_eq!(self.exit, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Refused as a file or command: exit code 2, this code, these words, and an order what to do.
    pub(crate) fn refused(&self, code: &str, words: &str) {
        assert_eq!(self.exit, Some(2), "{self:?}");
        assert!(self.stderr.contains(&format!("error: {code}")), "{code}: {}", self.stderr);
        assert!(self.stderr.contains(words), "{words}: {}", self.stderr);
        assert!(self.stderr.contains("do this: "), "{}", self.stderr);
    }
}

impl Owner {
    /// Three release keys of which two must sign, one order key, two root keys; root document 1, signed.
    pub(crate) fn new() -> Self {
        let owner = Self { dir: tempfile::tempdir().unwrap() };
        let keys = ["root-a", "root-b", "alice", "bob", "carol", "sales"];
        let public: Vec<String> = keys.iter().map(|name| owner.key(name)).collect();
        let [root_a, root_b, alice, bob, carol, sales] = public.try_into().unwrap();
        owner.file(
            "root.toml",
            &format!(
                "schema = 1\nowner = \"Example Instruments\"\ncounter = 1\nexpires = \"2099-01-01T00:00:00Z\"\n\
                 [roles.root]\nkeys = [\"{root_a}\", \"{root_b}\"]\nthreshold = 2\n\
                 [roles.release]\nkeys = [\"{alice}\", \"{bob}\", \"{carol}\"]\nthreshold = 2\n\
                 [roles.order]\nkeys = [\"{sales}\"]\nthreshold = 1\n"
            ),
        );
        owner.pack("root.toml", "root.pfk").good();
        owner.sign("root.pfk", &["root-a", "root-b"]);
        owner
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The file that keeps the simulated chip of this slot between runs (tests/simulator's format).
    pub(crate) fn chip_file(&self, slot: u16) -> PathBuf {
        self.path(&format!("boards/slot-{slot}-F405.flash"))
    }

    /// What is in that file.
    pub(crate) fn chip(&self, slot: u16) -> Vec<u8> {
        std::fs::read(self.chip_file(slot)).unwrap()
    }

    /// `panelflash` with these arguments, in the owner's directory.
    pub(crate) fn call(&self, args: &[&str]) -> Said {
        Said::of(&self.command(args).output().unwrap())
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_panelflash"));
        command.args(args).current_dir(self.dir.path());
        for name in ["PANELFLASH_STATION", "PANELFLASH_OPERATOR", "PANELFLASH_STATION_FILE"] {
            command.env_remove(name);
        }
        command
    }

    /// Makes a key and returns its public half.
    pub(crate) fn key(&self, name: &str) -> String {
        let said = self.call(&["release", "key", "new", &format!("{name}.pem"), "--json"]).good();
        said.json()["public"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pack(&self, description: &str, output: &str) -> Said {
        self.call(&["release", "pack", description, "--output", output, "--json"])
    }

    pub(crate) fn sign(&self, file: &str, keys: &[&str]) {
        for key in keys {
            self.call(&["release", "sign", file, "--key", &format!("{key}.pem")]).good();
        }
    }

    pub(crate) fn verify(&self, file: &str, more: &[&str]) -> Said {
        let args = ["release", "verify", file, "--root", "root.pfk", "--json"];
        self.call(&[&args[..], more].concat())
    }

    /// A release of the demonstration's firmware, described with these further lines at the top, unsigned.
    pub(crate) fn release(&self, name: &str, lines: &str, image: &str) -> Said {
        let description = format!("{name}.toml");
        self.file(&description, &release_toml(lines, image));
        self.pack(&description, &format!("{name}.pfr"))
    }
}

impl Owner {
    /// A station `line1-a` in the directory `line`, with a panel of 2 x 2 simulated boards.
    pub(crate) fn station(&self) {
        self.file("panel.toml", PANEL);
        let fingerprint =
            self.call(&["release", "verify", "root.pfk", "--root", "root.pfk", "--json"]).good();
        let fingerprint = fingerprint.json()["fingerprint"].as_str().unwrap().to_owned();
        let args =
            ["station", "init", "line", "--id", "line1-a", "--panel", "panel.toml", "--root", "root.pfk"];
        self.call(&[&args[..], &["--fingerprint", &fingerprint]].concat()).good();
    }

    /// A signed release in the station's folder.
    pub(crate) fn place_release(&self, name: &str, lines: &str, image: &str) {
        self.release(name, lines, image).good();
        self.sign(&format!("{name}.pfr"), &["alice", "bob"]);
        std::fs::rename(self.path(&format!("{name}.pfr")), self.path(&format!("line/releases/{name}.pfr")))
            .unwrap();
    }

    /// A signed order in the station's folder; `lines` take the place of the usual ones.
    pub(crate) fn place_order(&self, name: &str, lines: &str) {
        self.file(&format!("{name}.toml"), &order_toml(lines));
        self.pack(&format!("{name}.toml"), &format!("line/orders/{name}.pfo")).good();
        self.sign(&format!("line/orders/{name}.pfo"), &["sales"]);
    }

    /// `panelflash run --order` in virtual time with these further arguments.
    pub(crate) fn run(&self, order: &str, more: &[&str]) -> Said {
        Said::of(&self.run_command(order, more).output().unwrap())
    }

    pub(crate) fn run_command(&self, order: &str, more: &[&str]) -> Command {
        let args = ["run", "--order", order, "--station-file", "line/station.toml", "--records", "records"];
        let mut command = self.command(&args);
        command.args(["--virtual-time", "--json", "--boards", "boards"]).args(more);
        command
    }

    /// The balance of an order: ordered, passed, failed, scrapped, in doubt, remaining. It must add up.
    pub(crate) fn balance(&self, order: &str) -> [u64; 6] {
        let said = self.call(&["ledger", "balance", order, "--records", "records", "--json"]).good();
        let balance = &said.json()[0];
        ["ordered", "passed", "failed", "scrapped", "in_doubt", "remaining"]
            .map(|key| balance[key].as_u64().unwrap())
    }
}

/// 2 x 2 simulated boards whose power and reset the fixture switches.
pub(crate) const PANEL: &str = "name = \"quad\"\nrows = 2\ncolumns = 2\nbinding = \"straps\"\n\
     [[bus]]\nname = \"can\"\nbit_rate = \"1M\"\nlink = \"sim\"\n";

fn order_toml(lines: &str) -> String {
    let mut text = String::from("schema = 1\n");
    for (key, usual) in [
        ("id", "\"WO-1\""),
        ("product", "\"widget\""),
        ("release", "{ version = { name = \"widget-fw\", version = \"1.4.2\" } }"),
        ("quantity", "10"),
        ("stations", "[\"line1-a\", \"line1-b\"]"),
        ("not_before", "\"2020-01-01T00:00:00Z\""),
        ("not_after", "\"2098-01-01T00:00:00Z\""),
        ("root", "1"),
        ("serials", "[{ format = \"W-{counter:5}\", first = 1, last = 10 }]"),
        ("policy", "{ lock = \"none\", strikes = 3, retests = { contact = 1, station = 1, board = 1 } }"),
    ] {
        if !lines.lines().any(|line| line.starts_with(&format!("{key} "))) {
            text.push_str(&format!("{key} = {usual}\n"));
        }
    }
    text + lines + "\n"
}

/// A description of a release; `lines` may repeat none of the others.
pub(crate) fn release_toml(lines: &str, image: &str) -> String {
    let mut text = String::from("schema = 1\n");
    for (key, usual) in [
        ("product", "\"widget\""),
        ("name", "\"widget-fw\""),
        ("version", "\"1.4.2\""),
        ("build", "\"production\""),
        ("counter", "17"),
        ("source_revision", "\"3f1c9d2\""),
        ("root", "1"),
        ("expires", "\"2098-12-31T00:00:00Z\""),
        ("targets", "[\"STM32F405\"]"),
    ] {
        if !lines.lines().any(|line| line.starts_with(key)) {
            text.push_str(&format!("{key} = {usual}\n"));
        }
    }
    format!("{text}{lines}\n{image}")
}

/// The demonstration's application as an image of a release.
pub(crate) fn application() -> String {
    image("application", "app", "demo-f405-256k.bin", Some(0x0802_0000))
}

pub(crate) fn image(role: &str, name: &str, file: &str, address: Option<u32>) -> String {
    let file = firmware(file);
    let address = address.map_or_else(String::new, |a| format!("address = {a:#x}\n"));
    format!("[[image]]\nrole = \"{role}\"\nname = \"{name}\"\nfile = \"{}\"\n{address}", file.display())
}

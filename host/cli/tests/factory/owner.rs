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
#[derive(Debug)]
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

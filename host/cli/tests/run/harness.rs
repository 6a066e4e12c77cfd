//! Runs the binary in a directory of its own and reads what it printed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A file of tests/scenarios.
pub(crate) fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(name).with_extension("toml")
}

/// A firmware image of the project's test data.
pub(crate) fn firmware(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/firmware").join(name)
}

/// A job for the demonstration's boards with an image of the test data at its usual place, and further lines.
pub(crate) fn job(image: &str, lines: &str) -> String {
    let image = firmware(image);
    format!(
        "name = \"test\"\n{lines}\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n\
         [[image]]\nfile = \"{}\"\naddress = 0x08020000\n",
        image.display()
    )
}

/// A directory for one test: files to read, records to write.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory for the test"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the test's own file");
        path
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.path("records")
    }

    /// `panelflash run`, with records in this place.
    pub(crate) fn command(&self) -> Command {
        let mut command = panelflash("run");
        command.arg("--records").arg(self.records());
        command
    }

    /// `panelflash run` in virtual time with these further arguments, to its end.
    pub(crate) fn run<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        let mut command = self.command();
        Run::of(&command.args(["--virtual-time", "--json"]).args(args).output().expect("the binary starts"))
    }

    /// Runs this job with this scenario on boards that stay in this place from one run to the next.
    pub(crate) fn run_again(&self, job: &str, scenario: &str) -> Run {
        let (job, scenario) = (self.file("job.toml", job), self.file("scenario.toml", scenario));
        let boards = self.boards();
        self.run([
            job.as_os_str(),
            "--scenario".as_ref(),
            scenario.as_os_str(),
            "--boards".as_ref(),
            boards.as_os_str(),
        ])
    }

    /// Where [`Self::run_again`] keeps what the boards have in their flash.
    pub(crate) fn boards(&self) -> PathBuf {
        self.path("boards")
    }
}

/// `panelflash COMMAND`, without the user's own settings.
pub(crate) fn panelflash(command: &str) -> Command {
    let mut panelflash = Command::new(env!("CARGO_BIN_EXE_panelflash"));
    panelflash.arg(command).env_remove("PANELFLASH_STATION").env_remove("PANELFLASH_OPERATOR");
    panelflash
}

/// A run that has ended.
pub(crate) struct Run {
    pub(crate) exit: Option<i32>,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            exit: output.status.code(),
            json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn boards(&self) -> &[Value] {
        self.json["boards"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Slot, result and code of every board that did not pass.
    pub(crate) fn failures(&self) -> Vec<(u64, &str, &str)> {
        self.boards()
            .iter()
            .filter(|b| b["result"] != "pass")
            .map(|b| {
                let text = |key: &str| b[key].as_str().unwrap_or_default();
                (b["slot"].as_u64().unwrap_or_default(), text("result"), text("code"))
            })
            .collect()
    }

    pub(crate) fn board(&self, slot: u64) -> &Value {
        self.boards().iter().find(|b| b["slot"] == slot).unwrap_or(&Value::Null)
    }

    /// When the last board passed, of those that are not in `faulty` slots.
    pub(crate) fn last_pass(&self, faulty: &[u16]) -> f64 {
        let sound = |b: &&Value| faulty.iter().all(|&slot| b["slot"] != slot);
        let passed = self.boards().iter().filter(sound).filter(|b| b["result"] == "pass");
        passed.filter_map(|b| b["seconds"].as_f64()).fold(0.0, f64::max)
    }

    pub(crate) fn assert_all_pass(&self) {
        assert_eq!((self.exit, self.failures()), (Some(0), vec![]), "{}", self.stderr);
        assert!(!self.boards().is_empty());
    }
}

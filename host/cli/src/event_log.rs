//! The file of `--event-log`: every event of a run, one JSON object a line.
//!
//! A log that cannot be written stops no boards. The first trouble is kept and told when the run is over.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use panel_codes::Code;
use panel_engine::Event;
use panel_protocol::time::Micros;

use crate::failure::Failure;

/// The log of one run.
pub(crate) struct EventLog {
    path: PathBuf,
    file: BufWriter<File>,
    trouble: Option<io::Error>,
}

impl EventLog {
    /// Makes the file, or begins it anew.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path)
            .map_err(|e| Failure::new(Code::OutputFile, format!("{}: {e}", path.display())))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), trouble: None })
    }

    pub(crate) fn event(&mut self, now: Micros, event: &Event) {
        if self.trouble.is_none() {
            self.trouble = writeln!(self.file, "{}", crate::result::event_line(now, event)).err();
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The first trouble that there was. The station's (exit code 3): boards have been touched.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let trouble = self.trouble.take().or_else(|| self.file.flush().err());
        trouble.map_or(Ok(()), |e| {
            let text = format!(
                "{}: {e}\nthe event log is incomplete; result and records of the run are not",
                self.path.display()
            );
            Err(Failure::with_exit(Code::OutputFile, text, 3))
        })
    }
}

//! The only place that prints: results to stdout, everything else to stderr. A closed pipe is no error; a result that
//! could not be written is, and `main` tells it at the end ([`failure`]).

use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use panel_codes::Code;
use serde::Serialize;

use crate::failure::Failure;

/// Why a line of result was lost, the first time.
static LOST: OnceLock<String> = OnceLock::new();

/// A line of result.
pub(crate) fn line(text: &str) {
    written(writeln!(io::stdout().lock(), "{text}"));
}

/// A result as it is.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

fn written(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != ErrorKind::BrokenPipe
    {
        _ = LOST.set(error.to_string());
    }
}

/// Results that did not get out: a full disk behind stdout, for example.
pub(crate) fn failure() -> Option<Failure> {
    let why = LOST.get()?;
    let text = format!("standard output: {why}\nthe result was not printed in full; what was done is done");
    Some(Failure::with_exit(Code::OutputFile, text, 3))
}

/// A value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
    line(&text);
    Ok(())
}

/// A line for the person watching.
pub(crate) fn note(text: &str) {
    _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text for the screen of the person watching, as it is.
pub(crate) fn screen(text: &str) {
    let mut stderr = io::stderr().lock();
    _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

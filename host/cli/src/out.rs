//! The only place that prints: results to stdout, everything else to stderr. A closed pipe is no error.

use std::io::Write;

use panel_codes::Code;
use serde::Serialize;

use crate::failure::Failure;

/// A line of result.
pub(crate) fn line(text: &str) {
    _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
    line(&text);
    Ok(())
}

/// A line for the person watching.
pub(crate) fn note(text: &str) {
    _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Text for the screen of the person watching, as it is.
pub(crate) fn screen(text: &str) {
    let mut stderr = std::io::stderr().lock();
    _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

//! The only place that prints: results to stdout, everything else to stderr. A closed pipe is no error.

use std::io::Write;

/// A line of result.
pub(crate) fn line(text: &str) {
    _ = writeln!(std::io::stdout().lock(), "{text}");
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

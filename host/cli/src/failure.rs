//! Why a command ends before its work: a code, a message with position, an exit code.

use panel_codes::Code;

/// The end of a command that could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    exit: Option<u8>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), exit: None }
    }

    /// A failure whose exit code is not its class's.
    pub(crate) fn with_exit(code: Code, message: impl Into<String>, exit: u8) -> Self {
        Self { code, message: message.into(), exit: Some(exit) }
    }

    /// 2 for usage, files and jobs, 3 for the station, 1 for boards (docs/errors.md).
    pub(crate) fn exit(&self) -> u8 {
        self.exit.unwrap_or_else(|| self.code.class().exit_code())
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        writeln!(f, "error: {}", self.code)?;
        for line in self.message.lines() {
            writeln!(f, "  {line}")?;
        }
        write!(f, "  do this: {}", self.code.remedy())
    }
}

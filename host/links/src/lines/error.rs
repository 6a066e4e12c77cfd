//! Why a fixture's line could not be switched or read, by what the person at the station can do about it.

use std::time::Duration;

/// A line that could not be switched or an input that could not be read. All of them are E404 fixture-fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FixtureError {
    /// The device behind a line is not there, taken, or not permitted.
    #[error("{line}: {reason}")]
    Open {
        /// The line as panel.toml names it.
        line: String,
        /// What the system said.
        reason: String,
    },
    /// It worked before and failed now.
    #[error("{line}: could not be set {}: {reason}", if *high { "high" } else { "low" })]
    Switch {
        /// The line as panel.toml names it.
        line: String,
        /// The level that was wanted.
        high: bool,
        /// What came instead.
        reason: String,
    },
    /// A fixture controller did not answer.
    #[error("{device}: no answer to `{command}` within {} ms, asked {tries} times", waited.as_millis())]
    Silent {
        /// The controller's port.
        device: String,
        /// The unanswered command.
        command: String,
        /// How long each answer was waited for.
        waited: Duration,
        /// How often it was asked.
        tries: u8,
    },
    /// A fixture controller said something else than what was expected.
    #[error("{device}: answered `{got}` to `{command}`, expected `{expected}`")]
    Answer {
        /// The controller's port.
        device: String,
        /// The command.
        command: String,
        /// The answer that the protocol asks for.
        expected: String,
        /// The answer that came.
        got: String,
    },
    /// An input could not be read.
    #[error("{input}: could not be read: {reason}")]
    Read {
        /// The input as panel.toml names it.
        input: String,
        /// What the system said.
        reason: String,
    },
}

//! How a board's attempt ended, in the factory's words: PASS, FAIL, ERROR, SKIPPED, ABORTED are never merged.

use panel_codes::{Class, Code};

use crate::event::Step;

/// What is said of boards that the operator has stopped.
pub(crate) const STOPPED: &str = "stopped by the operator";

/// Result of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The board is programmed, verified and committed.
    Pass,
    /// The board is bad.
    Fail,
    /// Station, fixture or contact trouble: says nothing of the board.
    Error,
    /// Marked bad before.
    Skipped,
    /// Stopped by a person.
    Aborted,
}

impl Outcome {
    /// The word on the screen.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Error => "ERROR",
            Self::Skipped => "SKIPPED",
            Self::Aborted => "ABORTED",
        }
    }
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The result.
    pub outcome: Outcome,
    /// What went wrong, if anything did.
    pub code: Option<Code>,
    /// Values: address, expected and got, UID, which wait ran out.
    pub detail: String,
    /// Where it happened.
    pub step: Option<Step>,
}

impl Verdict {
    /// A pass.
    #[must_use]
    pub const fn pass() -> Self {
        Self { outcome: Outcome::Pass, code: None, detail: String::new(), step: None }
    }

    /// A slot that was marked bad.
    #[must_use]
    pub fn skipped() -> Self {
        Self { outcome: Outcome::Skipped, code: None, detail: "marked bad".to_owned(), step: None }
    }

    /// A failure; the code says whether it is the board's or the station's.
    #[must_use]
    pub fn failure(code: Code, step: Step, detail: impl Into<String>) -> Self {
        let outcome = match code.class() {
            _ if code == Code::Interrupted => Outcome::Aborted,
            Class::Board => Outcome::Fail,
            Class::Station | Class::Usage => Outcome::Error,
        };
        Self { outcome, code: Some(code), detail: detail.into(), step: Some(step) }
    }

    /// Whether another attempt may help: contact and station trouble, a lock that could not
    /// be proven; never a flash that failed.
    #[must_use]
    pub fn is_worth_a_retry(&self) -> bool {
        matches!(
            self.code,
            Some(
                Code::BoardAbsent
                    | Code::BoardSilent
                    | Code::BoardReset
                    | Code::SilentAfterErase
                    | Code::BoardBusOff
                    | Code::ReceptionPoor
                    | Code::ReceiveOverrun
                    | Code::ProtocolError
                    | Code::RomNoSync
                    | Code::RomSilent
                    | Code::RomAnswer
                    | Code::AgentNotStarted
                    | Code::IdentityMismatch
                    | Code::LockNotProven
            )
        )
    }
}

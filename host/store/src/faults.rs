//! Where a test may stop the store, as a crash would: see [`Store::stop_at`](crate::Store::stop_at).

use crate::error::StoreError;

/// A moment in the writing of one batch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The batch is complete in the transaction; nothing of it is durable.
    BeforeCommit,
    /// The batch is durable; `units.csv` does not have it yet. Last moment of a batch that ended no attempt.
    AfterCommit,
    /// Half of the new text of `units.csv` is written.
    HalfLine,
    /// All is written; the caller does not know it yet.
    AfterLine,
}

/// Answers whether to stop at a moment.
type Question = Box<dyn FnMut(Moment) -> bool + Send>;

/// The test's questions, and whether one was answered with yes.
#[derive(Default)]
pub(crate) struct Faults {
    question: Option<Question>,
    stopped: bool,
}

impl Faults {
    pub(crate) fn set(&mut self, question: Question) {
        self.question = Some(question);
    }

    /// Fails if the test stops the store now, or has stopped it before.
    pub(crate) fn pass(&mut self, moment: Moment) -> Result<(), StoreError> {
        if let Some(question) = &mut self.question {
            self.stopped = self.stopped || question(moment);
        }
        self.alive()
    }

    /// Fails if the store was stopped before.
    pub(crate) fn alive(&self) -> Result<(), StoreError> {
        if self.stopped { Err(StoreError::Stopped) } else { Ok(()) }
    }
}

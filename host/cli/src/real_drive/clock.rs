//! The clock of a run over real links: the time since its start, less the time for which it stood still. It is read
//! with [`Clock::look`], a few times in each round of the driver, and says the same until it is read again.

use std::time::Instant;

use panel_protocol::time::{Micros, Span};

/// Two times from one clock.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The time since then, when it was last looked at.
    seen: Micros,
    /// How long it stood still so far.
    stood: Span,
    /// It stands since then, of the real time.
    stands: Option<Micros>,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the driver that reads the clock")]
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), seen: Micros::ZERO, stood: Span::ZERO, stands: None }
    }

    /// Reads the time.
    pub(crate) fn look(&mut self) {
        self.seen = Micros(self.start.elapsed().as_micros() as u64);
    }

    /// Time since the start.
    pub(crate) const fn real(&self) -> Micros {
        self.seen
    }

    /// The run's time.
    pub(crate) fn now(&self) -> Micros {
        self.stands.unwrap_or_else(|| self.real()) - self.stood
    }

    pub(crate) fn stop(&mut self) {
        let real = self.real();
        self.stands.get_or_insert(real);
    }

    pub(crate) fn go_on(&mut self) {
        if let Some(since) = self.stands.take() {
            self.stood = self.stood + self.real().since(since);
        }
    }

    pub(crate) const fn stands(&self) -> bool {
        self.stands.is_some()
    }
}

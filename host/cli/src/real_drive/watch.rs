//! What is known about a link during a run: is it away, is its controller off the bus, how much did it lose?
//!
//! Times here are real times, also while the clock of the run stands still. Invariant: a link that is away or off
//! the bus ends in a [`Fault`] after a stated time, unless it comes back.

use std::fmt;
use std::time::SystemTime;

use panel_codes::Code;
use panel_links::{CanCounters, CanEvent, CanOpenError, STUCK};
use panel_protocol::time::{Micros, Span};

/// How often a link that is away is tried.
const RETRY: Span = Span::from_millis(100);
/// Received frames that may be lost in a run before its answers cannot be trusted to come.
const TOO_MANY_LOST: u64 = 1000;

/// Why a link cannot serve its bus any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) why: String,
}

/// The watch over one link.
#[derive(Debug)]
pub(super) struct LinkWatch {
    link_wait: Span,
    away: Option<Away>,
    off_since: Option<Micros>,
    given_up: bool,
    told: Vec<CanEvent>,
    late: std::time::Duration,
}

#[derive(Debug)]
struct Away {
    since: Micros,
    next_try: Micros,
    why: String,
}

impl LinkWatch {
    pub(super) fn new(link_wait: Span) -> Self {
        Self {
            link_wait,
            away: None,
            off_since: None,
            given_up: false,
            told: Vec::new(),
            late: std::time::Duration::ZERO,
        }
    }

    /// A frame came or went.
    pub(super) fn alive(&mut self) {
        self.off_since = None;
    }

    /// The kernel received a frame then; this program has it now.
    pub(super) fn received_at(&mut self, at: SystemTime) {
        #[expect(clippy::disallowed_methods, reason = "the kernel's stamps are of the wall clock")]
        let late = SystemTime::now().duration_since(at).unwrap_or_default();
        self.late = self.late.max(late);
    }

    /// Whether this belongs into the record: the first of its kind, and every time the link goes or is off the bus.
    pub(super) fn is_news(&mut self, event: &CanEvent) -> bool {
        let kind = match event {
            CanEvent::Overrun { .. } => CanEvent::Overrun { frames: 0 },
            CanEvent::BusOff | CanEvent::Restarted | CanEvent::Down { .. } | CanEvent::Stuck { .. } => {
                return true;
            }
            CanEvent::ArbitrationLost => return false,
            other => other.clone(),
        };
        let news = !self.told.contains(&kind);
        if news {
            self.told.push(kind);
        }
        news
    }

    pub(super) fn bus_off(&mut self, real: Micros) {
        self.off_since.get_or_insert(real);
    }

    /// How many received frames the link has lost so far.
    pub(super) fn overrun(&mut self, lost: u64) -> Option<Fault> {
        let why = format!("{lost} received frames lost");
        (lost >= TOO_MANY_LOST).then(|| self.give_up(Code::StationOverrun, why)).flatten()
    }

    /// The link went down: a fault if the run does not wait for it.
    pub(super) fn went_down(&mut self, real: Micros, why: String) -> Option<Fault> {
        if self.link_wait == Span::ZERO || self.given_up {
            return self.give_up(Code::LinkDown, why);
        }
        self.away.get_or_insert(Away { since: real, next_try: real + RETRY, why });
        None
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    pub(super) fn wants_restore(&mut self, real: Micros) -> bool {
        let Some(away) = self.away.as_mut().filter(|away| real >= away.next_try) else { return false };
        away.next_try = real + RETRY;
        true
    }

    pub(super) fn still_away(&mut self, error: &CanOpenError) {
        if let Some(away) = &mut self.away {
            away.why = error.to_string();
        }
    }

    /// The link is back; what to write down.
    pub(super) fn came_back(&mut self, real: Micros) -> String {
        let since = self.away.take().map_or(real, |away| away.since);
        format!("back after {:.1} s", real.since(since).as_secs_f64())
    }

    /// Whether time is up for something.
    pub(super) fn check(&mut self, real: Micros) -> Option<Fault> {
        if let Some(away) = self.away.take_if(|away| real.since(away.since) >= self.link_wait) {
            let waited = self.link_wait.as_secs_f64();
            return self.give_up(Code::LinkDown, format!("{}; waited {waited:.1} s for it", away.why));
        }
        self.off_since.take_if(|since| real.since(*since) >= STUCK)?;
        let why = format!(
            "the controller is off the bus and did not come back within {:.1} s",
            STUCK.as_secs_f64()
        );
        self.give_up(Code::StationBusOff, why)
    }

    fn give_up(&mut self, code: Code, why: String) -> Option<Fault> {
        (!std::mem::replace(&mut self.given_up, true)).then_some(Fault { code, why })
    }

    pub(super) fn report(&self, name: &str, counters: CanCounters) -> LinkReport {
        LinkReport { name: name.to_owned(), counters, late_us: self.late.as_micros() as u64 }
    }
}

/// What a link counted in a run.
#[derive(Debug, Clone)]
pub(crate) struct LinkReport {
    pub(crate) name: String,
    pub(crate) counters: CanCounters,
    /// Longest time between reception by the kernel and by this program, where the kernel tells.
    pub(crate) late_us: u64,
}

impl fmt::Display for LinkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CanCounters { accepted, sent, received, queue_full, overruns, errors } = self.counters;
        write!(
            f,
            "{}: {sent} of {accepted} frames sent, {received} received, transmit queue full {queue_full} times, {overruns} \
             received frames lost, {errors} error reports, served within {} us",
            self.name, self.late_us
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Span = Span::from_millis(2000);

    #[test]
    fn a_link_that_comes_back_in_time_is_no_fault() {
        let mut watch = LinkWatch::new(WAIT);
        assert_eq!(watch.went_down(Micros(0), "gone".to_owned()), None);
        assert!(!watch.wants_restore(Micros(99_000)) && watch.wants_restore(Micros(100_000)));
        assert_eq!(watch.check(Micros(1_900_000)), None);
        assert_eq!(watch.came_back(Micros(1_950_000)), "back after 1.9 s");
        assert!(!watch.is_away() && watch.check(Micros(9_000_000)).is_none());
    }

    #[test]
    fn a_link_that_stays_away_is_one_fault() {
        let mut watch = LinkWatch::new(WAIT);
        watch.went_down(Micros(0), "the interface was removed".to_owned());
        let fault = watch.check(Micros(2_000_000)).expect("time is up");
        assert_eq!(fault.code, Code::LinkDown);
        assert_eq!(fault.why, "the interface was removed; waited 2.0 s for it");
        assert_eq!(watch.check(Micros(9_000_000)), None);
    }

    #[test]
    fn a_job_that_does_not_wait_fails_at_once() {
        let fault = LinkWatch::new(Span::ZERO).went_down(Micros(0), "gone".to_owned());
        assert_eq!(fault, Some(Fault { code: Code::LinkDown, why: "gone".to_owned() }));
    }

    #[test]
    fn a_controller_that_stays_off_the_bus_is_a_fault_and_one_that_restarts_is_not() {
        let mut watch = LinkWatch::new(WAIT);
        watch.bus_off(Micros(0));
        watch.alive();
        assert_eq!(watch.check(Micros(3_000_000)), None);
        watch.bus_off(Micros(3_000_000));
        watch.bus_off(Micros(4_000_000));
        assert_eq!(watch.check(Micros(5_000_000)).map(|f| f.code), Some(Code::StationBusOff));
    }

    #[test]
    fn only_the_first_error_of_a_kind_is_written_down() {
        let mut watch = LinkWatch::new(WAIT);
        let overrun = CanEvent::Overrun { frames: 3 };
        assert!(watch.is_news(&overrun) && !watch.is_news(&overrun));
        assert!(watch.is_news(&CanEvent::BusOff) && watch.is_news(&CanEvent::BusOff));
        assert_eq!(watch.overrun(999), None);
        assert_eq!(watch.overrun(1000).map(|f| f.code), Some(Code::StationOverrun));
    }
}

//! The view where there is no terminal: lines for a log, in the order of what happens.
//!
//! Nothing is drawn over, so only what is worth a line is told: phases, verdicts with what to do next, every
//! tenth of the image, and a sign of life when nothing else was said for a while.

use std::time::Duration;

use panel_engine::{Event, Outcome, Phase};
use panel_protocol::time::Micros;

use super::live::{doubts, program, times, title};
use super::state::RunView;

/// Longest silence, in wall time.
const SILENCE: Duration = Duration::from_secs(4);

/// Decides which events become lines.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    /// Tenths of the running pass that were told, by bus.
    tenths: Vec<u32>,
    spoke: Duration,
}

impl Reporter {
    /// The first lines.
    pub(super) fn opening(view: &RunView) -> Vec<String> {
        let bound = view.bound.total_ns as f64 / 1e9;
        let mut lines = vec![format!("{}; takes at least {bound:.1} s", title(view))];
        if view.doubtful > 0 {
            lines.push(doubts(view.doubtful));
        }
        lines
    }

    /// Lines for an event that `view` already knows. `wall` is the time since the view began.
    pub(super) fn event(&mut self, view: &RunView, wall: Duration, event: &Event) -> Vec<String> {
        let lines: Vec<String> = self.lines(view, event).into_iter().map(|l| stamp(view.now, &l)).collect();
        if !lines.is_empty() {
            self.spoke = wall;
        }
        lines
    }

    /// A sign of life, if one is due.
    pub(super) fn tick(&mut self, view: &RunView, wall: Duration) -> Option<String> {
        (wall.saturating_sub(self.spoke) >= SILENCE).then(|| {
            self.spoke = wall;
            let count = |o| format!("{} {}", view.count(o), o.word());
            let counts = [Outcome::Pass, Outcome::Fail, Outcome::Error].map(count).join(", ");
            stamp(view.now, &format!("at work: {}; {counts}", times(view)))
        })
    }

    fn lines(&mut self, view: &RunView, event: &Event) -> Vec<String> {
        match event {
            Event::Attempt { slot, number } if *number > 1 => vec![format!("slot {slot}: attempt {number}")],
            Event::Phase { bus, phase } => {
                let Some(bus_view) = view.buses.get(bus.index()) else { return Vec::new() };
                self.tenths.resize(view.buses.len(), 0);
                if *phase == Phase::Program {
                    self.tenths[bus.index()] = 0;
                }
                vec![format!("{}: {}", bus_view.name, phase.name())]
            }
            Event::Progress { bus, .. } => {
                let Some(bus_view) = view.buses.get(bus.index()) else { return Vec::new() };
                self.tenths.resize(view.buses.len(), 0);
                let tenths = (bus_view.share() * 10.0) as u32;
                let told = core::mem::replace(&mut self.tenths[bus.index()], tenths);
                if tenths <= told {
                    return Vec::new();
                }
                vec![format!("{}0 %: {}; {}", tenths, program(view, bus_view), times(view))]
            }
            Event::Ended { slot, verdict, again } => {
                let mut line = format!("slot {slot}: {}", verdict.outcome.word());
                if let Some(code) = verdict.code {
                    line.push_str(&format!(" {code}"));
                }
                if !verdict.detail.is_empty() {
                    line.push_str(&format!(": {}", verdict.detail));
                }
                let uid = view.cell(*slot).and_then(|c| c.uid);
                line.push_str(&uid.map_or_else(String::new, |uid| format!(" (UID {uid})")));
                let mut lines = vec![line];
                match verdict.code {
                    _ if *again => lines.push(format!("slot {slot}: another attempt follows")),
                    Some(code) => lines.push(format!("slot {slot}: do this: {}", code.remedy())),
                    None => {}
                }
                lines
            }
            // Digests belong into the record only; there is one for every region of every board.
            Event::Note { topic, .. } if *topic == "digest" => Vec::new(),
            Event::Note { slot, topic, text } => {
                let whose = slot.map_or_else(String::new, |slot| format!("slot {slot}: "));
                vec![format!("{whose}{topic}: {text}")]
            }
            Event::Attempt { .. }
            | Event::Identified { .. }
            | Event::ImageFound { .. }
            | Event::Reserved { .. }
            | Event::ImageGiven { .. }
            | Event::IdentityWritten { .. }
            | Event::LockProved { .. }
            | Event::StepBegan { .. }
            | Event::StepEnded { .. }
            | Event::Measured { .. }
            | Event::State { .. } => Vec::new(),
        }
    }
}

fn stamp(now: Micros, line: &str) -> String {
    format!("[{:8.3} s] {line}", now.0 as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use panel_backplane::{BusIndex, Slot};
    use panel_codes::Code;
    use panel_engine::{Step, Verdict};
    use panel_protocol::node::Uid;

    use super::super::testing::run_view;
    use super::*;

    fn tell(view: &mut RunView, reporter: &mut Reporter, us: u64, event: &Event) -> Vec<String> {
        view.event(Micros(us), event);
        reporter.event(view, Duration::from_micros(us), event)
    }

    #[test]
    fn a_verdict_is_told_with_uid_code_detail_and_what_to_do() {
        let (mut view, mut reporter) = (run_view(3, 7, 1), Reporter::default());
        let uid = Uid(*b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c");
        assert!(tell(&mut view, &mut reporter, 1, &Event::Identified { slot: Slot(7), uid }).is_empty());
        let verdict = Verdict::failure(Code::ProgramFailed, Step::Program, "at 0x08010004");
        let ended = Event::Ended { slot: Slot(7), verdict, again: false };
        let lines = tell(&mut view, &mut reporter, 1_234_567, &ended);
        let first =
            "[   1.235 s] slot 7: FAIL E214 program-failed: at 0x08010004 (UID 0102030405060708090A0B0C)";
        assert_eq!(lines[0], first);
        assert_eq!(lines[1], format!("[   1.235 s] slot 7: do this: {}", Code::ProgramFailed.remedy()));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn progress_is_told_once_for_each_tenth() {
        let (mut view, mut reporter) = (run_view(3, 7, 1), Reporter::default());
        let bus = BusIndex(0);
        let phase = tell(&mut view, &mut reporter, 1, &Event::Phase { bus, phase: Phase::Program });
        assert_eq!(phase, ["[   0.000 s] can0: program"]);
        let mut told = Vec::new();
        for sent in 0..=200 {
            let event = Event::Progress { bus, sent, total: 200 };
            told.extend(tell(&mut view, &mut reporter, 10_000 * sent, &event));
        }
        assert_eq!(told.len(), 10, "{told:#?}");
        let start = "[   1.000 s] 50 %: can0 131 of 262 kB, 131 kB/s; 1.0 s of at least 3.5 s, about ";
        assert!(told[4].starts_with(start), "{}", told[4]);
        let again = Event::Progress { bus, sent: 20, total: 100 };
        let second = tell(&mut view, &mut reporter, 3_000_000, &again);
        assert!(second.is_empty(), "a repair pass starts over silently: {second:?}");
        let further =
            tell(&mut view, &mut reporter, 3_100_000, &Event::Progress { bus, sent: 30, total: 100 });
        assert!(further[0].contains("30 %") && further[0].contains("pass 2"), "{further:?}");
    }

    #[test]
    fn silence_is_broken_after_four_seconds_of_wall_time() {
        let (view, mut reporter) = (run_view(3, 7, 1), Reporter::default());
        assert_eq!(reporter.tick(&view, Duration::from_millis(3900)), None);
        let line = reporter.tick(&view, Duration::from_millis(4000)).unwrap();
        assert!(line.ends_with("left; 0 PASS, 0 FAIL, 0 ERROR"), "{line}");
        assert_eq!(reporter.tick(&view, Duration::from_millis(7000)), None);
    }

    #[test]
    fn boards_in_doubt_are_mentioned_first() {
        let mut view = run_view(3, 7, 1);
        assert_eq!(
            Reporter::opening(&view),
            ["demo: test.bin (262 kB) to panel grid-3x7, 21 slots; takes at least 3.5 s"]
        );
        view.doubtful = 2;
        assert!(Reporter::opening(&view)[1].starts_with("2 boards are in doubt from an earlier run"));
    }
}

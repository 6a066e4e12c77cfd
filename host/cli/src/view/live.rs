//! One frame of the live view: title, map, legend, bars, troubles, clock; a pure function of what is known.
//!
//! A frame never has more lines than the terminal, so that it can be drawn over itself. What gives way when room
//! is short: first the size of the map's cells, then the map's last rows.

use panel_engine::{Outcome, Phase};

use super::map;
use super::state::{BusView, RunView, Tally};
use super::text::{Paint, Tone, clip, seconds, slots, wrap};

/// Failed boards that are told one by one; more are told by number only.
const TOLD: usize = 4;

/// The frame for a terminal of this size.
pub(super) fn frame(view: &RunView, paint: Paint, columns: usize, lines: usize) -> Vec<String> {
    // The last column stays empty, because terminals differ in what they do after it; the line below the frame
    // is the cursor's.
    let columns = columns.saturating_sub(1).max(20);
    let lines = lines.saturating_sub(1);
    let mut below = map::legend(columns);
    below.extend(bars(view, paint, columns));
    below.extend(troubles(view, paint, columns));
    below.extend(clock(view, paint, columns));
    let mut frame = vec![paint.paint(Tone::Strong, &clip(&title(view), columns))];
    if view.doubtful > 0 {
        frame.push(paint.paint(Tone::Station, &clip(&doubts(view.doubtful), columns)));
    }
    let room = lines.saturating_sub(frame.len() + below.len());
    if room >= 3 {
        frame.extend(map::map(view, paint, columns, room));
    }
    frame.extend(below);
    // Terminals of a few lines: the end of the frame says most.
    frame.split_off(frame.len().saturating_sub(lines))
}

/// The map as it stays on the screen when all is over.
pub(super) fn last_map(view: &RunView, paint: Paint, columns: usize) -> Vec<String> {
    let columns = columns.saturating_sub(1).max(20);
    let mut lines = map::map(view, paint, columns, usize::MAX);
    lines.extend(map::legend(columns));
    lines
}

pub(super) fn title(view: &RunView) -> String {
    format!(
        "{}: {} ({}) to panel {}, {} slots",
        view.job,
        view.release,
        kilobytes(view.image_bytes),
        view.panel,
        view.cells.len()
    )
}

pub(super) fn doubts(count: usize) -> String {
    let boards = if count == 1 { "board is" } else { "boards are" };
    format!("{count} {boards} in doubt from an earlier run: resolved by reading, if on this panel")
}

fn bars(view: &RunView, paint: Paint, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for phase in [Phase::Power, Phase::Discover, Phase::Program, Phase::Verify, Phase::Finish] {
        if phase != Phase::Program {
            let Tally { done, of } = view.tally(phase);
            let share = if of == 0 { 0.0 } else { done as f64 / of as f64 };
            lines.push(bar(paint, columns, phase.name(), share, &format!("{done} of {of} boards")));
            continue;
        }
        for bus in &view.buses {
            let share = if bus.phase > Phase::Program && bus.pass > 0 { 1.0 } else { bus.share() };
            lines.push(bar(paint, columns, phase.name(), share, &program(view, bus)));
        }
    }
    lines
}

/// `can 105 of 262 kB, 98 kB/s, pass 2`.
pub(super) fn program(view: &RunView, bus: &BusView) -> String {
    let total = view.image_bytes as f64 / 1000.0;
    let sent = view.bytes(bus) as f64 / 1000.0;
    let mut text = format!("{} {sent:.0} of {total:.0} kB", bus.name);
    if let Some(rate) = view.rate(bus) {
        text.push_str(&format!(", {:.0} kB/s", rate / 1000.0));
    }
    if bus.pass > 1 {
        text.push_str(&format!(", pass {}", bus.pass));
    }
    text
}

fn bar(paint: Paint, columns: usize, name: &str, share: f64, text: &str) -> String {
    let size = (columns / 3).clamp(10, 40);
    let full = (share * size as f64) as usize;
    let tone = if full == size { Tone::Plain } else { Tone::Busy };
    let filled = paint.paint(tone, &"█".repeat(full));
    let rest = paint.paint(Tone::Faint, &"░".repeat(size - full));
    format!(" {name:<8} {filled}{rest} {}", clip(text, columns.saturating_sub(size + 11)))
}

fn troubles(view: &RunView, paint: Paint, columns: usize) -> Vec<String> {
    let told: Vec<(Outcome, u16, String)> = view
        .troubled()
        .map(|(cell, verdict)| {
            let code = verdict.code.map_or_else(String::new, |c| format!(" {c}"));
            let detail = if verdict.detail.is_empty() { "" } else { ": " };
            let word = verdict.outcome.word();
            let text = format!(" slot {} {word}{code}{detail}{}", cell.slot, verdict.detail);
            (verdict.outcome, cell.slot, text)
        })
        .collect();
    if told.len() <= TOLD {
        let tone = |o: Outcome| if o == Outcome::Fail { Tone::Bad } else { Tone::Station };
        return told.iter().map(|(o, _, text)| paint.paint(tone(*o), &clip(text, columns))).collect();
    }
    let mut lines = Vec::new();
    for outcome in [Outcome::Fail, Outcome::Error, Outcome::Aborted] {
        let numbers: Vec<u16> = told.iter().filter(|t| t.0 == outcome).map(|t| t.1).collect();
        if !numbers.is_empty() {
            lines.extend(wrap(&format!(" {} in slots {}", outcome.word(), slots(&numbers)), columns, "   "));
        }
    }
    lines.truncate(TOLD);
    lines
}

fn clock(view: &RunView, paint: Paint, columns: usize) -> Vec<String> {
    let counts = [Outcome::Pass, Outcome::Fail, Outcome::Error]
        .map(|outcome| format!("{} {}", view.count(outcome), outcome.word()))
        .join(", ");
    let text = format!(" {} · {counts}", times(view));
    wrap(&text, columns, "   ").iter().map(|l| paint.paint(Tone::Strong, l)).collect()
}

/// `1.8 s of at least 3.5 s, about 1.9 s left`.
pub(super) fn times(view: &RunView) -> String {
    let spent = seconds(view.now.0 as f64 / 1e6);
    let bound = seconds(view.bound.total_ns as f64 / 1e9);
    let left = view.left().map_or_else(String::new, |left| format!(", about {} left", seconds(left)));
    format!("{spent} of at least {bound}{left}")
}

fn kilobytes(bytes: u64) -> String {
    format!("{:.0} kB", bytes as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use panel_backplane::{BusIndex, Slot};
    use panel_codes::Code;
    use panel_engine::{Event, SlotState, Step, Verdict};
    use panel_protocol::time::Micros;

    use super::super::testing::{run_view, state, step_ended};
    use super::super::text::width;
    use super::*;

    const MONO: Paint = Paint { colour: false };

    fn mid_run(rows: u16, columns: u16, buses: u8) -> RunView {
        let mut view = run_view(rows, columns, buses);
        let boards = rows * columns;
        for slot in 1..=boards {
            step_ended(&mut view, slot, Step::Power);
            step_ended(&mut view, slot, Step::Identify);
            state(&mut view, slot, SlotState::Programming(40));
        }
        for bus in 0..buses {
            let bus = BusIndex(bus);
            view.event(Micros(100_000), &Event::Phase { bus, phase: Phase::Program });
            view.event(Micros(500_000), &Event::Progress { bus, sent: 0, total: 30_000 });
            view.event(Micros(1_400_000), &Event::Progress { bus, sent: 11_000, total: 30_000 });
            view.event(Micros(1_500_000), &Event::Progress { bus, sent: 12_000, total: 30_000 });
        }
        view
    }

    #[test]
    fn a_frame_in_the_middle_of_a_run_says_how_far_how_fast_and_how_long() {
        let view = mid_run(3, 7, 1);
        let frame = frame(&view, MONO, 80, 24);
        assert_eq!(frame[0], "demo: test.bin (262 kB) to panel grid-3x7, 21 slots");
        let tail: Vec<&str> = frame.iter().rev().take(6).rev().map(String::as_str).collect();
        assert_eq!(
            tail,
            [
                " power    ██████████████████████████ 21 of 21 boards",
                " discover ██████████████████████████ 21 of 21 boards",
                " program  ██████████░░░░░░░░░░░░░░░░ can0 105 of 262 kB, 105 kB/s",
                " verify   ░░░░░░░░░░░░░░░░░░░░░░░░░░ 0 of 21 boards",
                " finish   ░░░░░░░░░░░░░░░░░░░░░░░░░░ 0 of 21 boards",
                " 1.5 s of at least 3.5 s, about 2.0 s left · 0 PASS, 0 FAIL, 0 ERROR",
            ]
        );
    }

    #[test]
    fn failed_boards_are_told_with_code_and_detail_and_count_no_more_in_the_bars() {
        let mut view = mid_run(3, 7, 1);
        let verdict = Verdict::failure(Code::ProgramFailed, Step::Program, "at 0x08010004");
        view.event(Micros(1_600_000), &Event::Ended { slot: Slot(7), verdict, again: false });
        let frame = frame(&view, MONO, 80, 40).join("\n");
        assert!(frame.contains("\n slot 7 FAIL E214 program-failed: at 0x08010004\n"), "{frame}");
        assert!(frame.contains(" 0 of 20 boards\n"), "{frame}");
        assert!(frame.ends_with("0 PASS, 1 FAIL, 0 ERROR"), "{frame}");
    }

    #[test]
    fn many_failures_are_told_by_number() {
        let mut view = mid_run(3, 7, 1);
        for slot in 1..=6 {
            let verdict = Verdict::failure(Code::BoardAbsent, Step::Discover, "no answer");
            view.event(Micros(1_600_000), &Event::Ended { slot: Slot(slot), verdict, again: false });
        }
        let frame = frame(&view, MONO, 80, 40).join("\n");
        assert!(frame.contains("\n ERROR in slots 1-6\n"), "{frame}");
    }

    #[test]
    fn no_frame_is_larger_than_its_terminal() {
        for (rows, columns, buses) in [(3, 7, 1), (8, 16, 4), (4, 16, 1), (64, 2, 1), (1, 1, 1)] {
            let mut view = mid_run(rows, columns, buses);
            view.doubtful = 2;
            for (wide, high) in [(60, 20), (80, 24), (100, 50), (220, 60), (60, 8), (24, 4)] {
                let frame = frame(&view, Paint { colour: true }, wide, high);
                assert!(frame.len() < high, "{} lines of {high}", frame.len());
                for line in &frame {
                    assert!(width(line) < wide || wide < 60, "{wide}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_second_pass_is_named() {
        let mut view = mid_run(1, 2, 1);
        view.event(Micros(3_000_000), &Event::Progress { bus: BusIndex(0), sent: 300, total: 3000 });
        assert_eq!(program(&view, &view.buses[0]), "can0 26 of 262 kB, pass 2");
    }
}

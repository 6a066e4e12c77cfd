//! What stays on the screen when a run is over: a line per board, what to do about each that did not pass, and
//! the result in one line at the very end.

use panel_codes::Code;

use super::text::{Paint, Tone, clip, pad, slots, width, wrap};
use crate::result::{BoardResult, RunResult};

/// What else is to be said at the end.
#[derive(Debug, Clone)]
pub(crate) struct Closing {
    /// Where the record is.
    pub(crate) records: String,
    /// Units of earlier runs that are still in doubt.
    pub(crate) doubtful: usize,
    /// The boards must not leave the house.
    pub(crate) not_for_shipment: bool,
}

/// The end of a run; `resolved` units are no longer in doubt after it; `columns` is the width of the terminal, if
/// it is one.
pub(super) fn summary(
    result: &RunResult,
    closing: &Closing,
    resolved: usize,
    paint: Paint,
    columns: Option<usize>,
) -> Vec<String> {
    let columns = columns.map(|c| c.saturating_sub(1).max(40));
    let mut lines = table(&result.boards, paint, columns);
    lines.extend(remedies(&result.boards, paint, columns.unwrap_or(110)));
    lines.push(String::new());
    let facts = facts(result, closing, resolved);
    lines.extend(facts.iter().flat_map(|l| wrap(l, columns.unwrap_or(usize::MAX), "            ")));
    lines.push(String::new());
    lines.extend(headline(result, paint, columns));
    lines
}

fn look(result: &str) -> (&'static str, Tone) {
    match result {
        "pass" => ("✓ PASS", Tone::Good),
        "fail" => ("✗ FAIL", Tone::Bad),
        "skipped" => ("■ SKIPPED", Tone::Faint),
        "aborted" => ("□ ABORTED", Tone::Station),
        _ => ("↯ ERROR", Tone::Station),
    }
}

fn code(board: &BoardResult) -> Option<Code> {
    board.code.as_deref().and_then(|c| c.parse().ok())
}

const HEADS: [&str; 8] = ["slot", "result", "code", "UID", "step", "seconds", "tries", "detail"];
/// Columns whose numbers stand at the right.
const RIGHT: [usize; 3] = [0, 5, 6];

fn cells(board: &BoardResult, short: bool) -> [String; 8] {
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let number = |code: Code| if short { format!("E{}", code.number()) } else { code.to_string() };
    [
        board.slot.to_string(),
        look(board.result).0.to_owned(),
        dash(code(board).map(number)),
        dash(board.uid.clone()),
        dash(board.step.map(str::to_owned)),
        format!("{:.3}", board.seconds),
        board.attempts.to_string(),
        dash(board.detail.clone()),
    ]
}

fn table(boards: &[BoardResult], paint: Paint, columns: Option<usize>) -> Vec<String> {
    let fixed = |rows: &[[String; 8]]| -> [usize; 8] {
        core::array::from_fn(|i| rows.iter().map(|r| width(&r[i])).chain([HEADS[i].len()]).max().unwrap_or(0))
    };
    let all = |short| boards.iter().map(|b| cells(b, short)).collect::<Vec<_>>();
    let mut rows = all(false);
    let mut widths = fixed(&rows);
    // The slug of a code is repeated further down: it gives way first.
    if columns.is_some_and(|c| widths.iter().sum::<usize>() + 2 * (HEADS.len() - 1) > c) {
        rows = all(true);
        widths = fixed(&rows);
    }
    let line = |cells: &[String; 8], tone: Option<Tone>| {
        let mut line = String::new();
        for (i, cell) in cells.iter().enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            let text = if RIGHT.contains(&i) { format!("{cell:>w$}", w = widths[i]) } else { cell.clone() };
            let room = columns.map_or(usize::MAX, |c| c.saturating_sub(width(&line) + gap.len()));
            let text = clip(&text, room);
            let text = tone.filter(|_| i == 1).map_or_else(|| text.clone(), |tone| paint.paint(tone, &text));
            let wide = if i + 1 == HEADS.len() { 0 } else { widths[i].min(room) };
            line.push_str(gap);
            line.push_str(&pad(&text, wide));
        }
        line.trim_end().to_owned()
    };
    let heads = HEADS.map(str::to_owned);
    let mut lines = vec![paint.paint(Tone::Strong, &line(&heads, None))];
    lines.extend(boards.iter().zip(&rows).map(|(board, row)| line(row, Some(look(board.result).1))));
    lines
}

/// What happened, why, and what to do: one paragraph for each code, in the order of the slots.
fn remedies(boards: &[BoardResult], paint: Paint, columns: usize) -> Vec<String> {
    let failed = || boards.iter().filter_map(|b| code(b).map(|code| (b, code)));
    let mut codes: Vec<Code> = Vec::new();
    failed().for_each(|(_, code)| {
        if !codes.contains(&code) {
            codes.push(code);
        }
    });
    let mut lines = Vec::new();
    for code in codes {
        let hit: Vec<&BoardResult> = failed().filter(|f| f.1 == code).map(|f| f.0).collect();
        let (word, tone) = hit.first().map_or(("", Tone::Plain), |b| look(b.result));
        lines.push(String::new());
        let head = wrap(&format!("{word} {code}: {}", code.title()), columns, "  ");
        lines.extend(head.iter().map(|l| paint.paint(tone, l)));
        for (detail, numbers) in by_detail(&hit) {
            let slot = if numbers.len() == 1 { "slot" } else { "slots" };
            let colon = if detail.is_empty() { "" } else { ": " };
            let text = format!("  {slot} {}{colon}{detail}", slots(&numbers));
            lines.extend(wrap(&text, columns, "       "));
        }
        lines.extend(wrap(&format!("  cause: {}", code.cause()), columns, "         "));
        lines.extend(wrap(&format!("  do this: {}", code.remedy()), columns, "           "));
    }
    lines
}

/// Slots whose details are the same share a line.
fn by_detail<'a>(boards: &[&'a BoardResult]) -> Vec<(&'a str, Vec<u16>)> {
    let mut groups: Vec<(&str, Vec<u16>)> = Vec::new();
    for board in boards {
        let detail = board.detail.as_deref().unwrap_or("");
        match groups.iter_mut().find(|g| g.0 == detail) {
            Some(group) => group.1.push(board.slot),
            None => groups.push((detail, vec![board.slot])),
        }
    }
    groups
}

fn facts(result: &RunResult, closing: &Closing, resolved: usize) -> Vec<String> {
    // A run in which no board passed did not do what the bound is for.
    let ratio = if result.passed > 0 { format!(", ratio {:.3}", result.ratio) } else { String::new() };
    let mut lines = vec![
        format!("time        {:.3} s; physical bound {:.3} s{ratio}", result.seconds, result.bound_seconds),
        format!("bus frames  {}, {} of them repeated", result.bus_frames, result.frames_repeated),
        format!("host CPU    {:.2} s", result.host_cpu_seconds),
        format!("record      {}", closing.records),
    ];
    if resolved + closing.doubtful > 0 {
        lines.push(format!("in doubt    {resolved} resolved by this run, {} left", closing.doubtful));
    }
    if closing.not_for_shipment {
        lines.push("NOT FOR SHIPMENT: not a production job with a signed release".to_owned());
    }
    lines
}

/// `19 of 21 PASS - remove: 7, 13`.
fn verdict(result: &RunResult) -> String {
    let of = |wanted: &[&str]| -> Vec<u16> {
        result.boards.iter().filter(|b| wanted.contains(&b.result)).map(|b| b.slot).collect()
    };
    let skipped = of(&["skipped"]);
    let mut text = format!("{} of {} PASS", result.passed, result.boards.len() - skipped.len());
    for (what, list) in
        [("remove", of(&["fail", "error"])), ("stopped", of(&["aborted"])), ("skipped", skipped)]
    {
        if !list.is_empty() {
            text.push_str(&format!(" - {what}: {}", slots(&list)));
        }
    }
    text
}

/// The result as the last line; boxed on a terminal, to be read from where the operator stands.
fn headline(result: &RunResult, paint: Paint, columns: Option<usize>) -> Vec<String> {
    let (sign, tone) = match () {
        () if result.boards.iter().any(|b| b.result == "fail") => ('✗', Tone::Bad),
        () if result.failed > 0 || result.passed == 0 => ('↯', Tone::Station),
        () => ('✓', Tone::Good),
    };
    let text = format!("{sign}  {}", verdict(result));
    let Some(columns) = columns else { return vec![verdict(result)] };
    let text = wrap(&text, columns.saturating_sub(6), "   ");
    let wide = text.iter().map(|l| width(l)).max().unwrap_or(0);
    let rule = "━".repeat(wide + 4);
    let middle = text.iter().map(|l| format!("┃  {}  ┃", paint.paint(tone, &pad(l, wide))));
    let mut lines = vec![format!("┏{rule}┓")];
    lines.extend(middle);
    lines.push(format!("┗{rule}┛"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONO: Paint = Paint { colour: false };

    fn result(faults: &[(u16, &'static str, Option<Code>, &str)]) -> RunResult {
        let board = |slot| {
            let fault = faults.iter().find(|f| f.0 == slot);
            BoardResult {
                slot,
                uid: Some(format!("{slot:024X}")),
                serial: None,
                result: fault.map_or("pass", |f| f.1),
                code: fault.and_then(|f| f.2).map(|c| c.to_string()),
                detail: fault.map(|f| f.3.to_owned()),
                step: fault.map(|_| "program"),
                attempts: 1,
                seconds: 3.5,
            }
        };
        let boards: Vec<BoardResult> = (1..=21).map(board).collect();
        let count = |wanted: &str| boards.iter().filter(|b| b.result == wanted).count();
        RunResult {
            panel: "P".into(),
            job: "demo".into(),
            release: "r".into(),
            order: None,
            passed: count("pass"),
            failed: 21 - count("pass") - count("skipped"),
            boards,
            seconds: 3.632,
            bound_seconds: 3.524,
            ratio: 1.031,
            bus_frames: 30_211,
            frames_repeated: 12,
            queue_full: 0,
            frames_lost: 0,
            host_cpu_seconds: 0.21,
            host_cpu_us_per_frame: 0.0,
        }
    }

    fn closing() -> Closing {
        Closing { records: "dir/records.db".into(), doubtful: 0, not_for_shipment: false }
    }

    fn two_bad() -> RunResult {
        let (program, absent) = (Some(Code::ProgramFailed), Some(Code::BoardAbsent));
        result(&[(7, "fail", program, "at 0x08010004"), (13, "error", absent, "no answer, 0 mA")])
    }

    #[test]
    fn the_last_line_counts_and_names_the_boards_to_remove() {
        let last = |r: &RunResult| summary(r, &closing(), 0, MONO, None).pop();
        assert_eq!(last(&result(&[])).as_deref(), Some("21 of 21 PASS"));
        assert_eq!(last(&two_bad()).as_deref(), Some("19 of 21 PASS - remove: 7, 13"));
        let mixed = [(1, "skipped", None, "marked bad"), (3, "aborted", Some(Code::Interrupted), "")];
        assert_eq!(last(&result(&mixed)).as_deref(), Some("19 of 20 PASS - stopped: 3 - skipped: 1"));
    }

    #[test]
    fn on_a_terminal_the_last_line_is_large_and_has_a_sign() {
        let lines = summary(&two_bad(), &closing(), 0, MONO, Some(80));
        let tail: Vec<&str> = lines.iter().rev().take(3).rev().map(String::as_str).collect();
        assert_eq!(
            tail,
            [
                "┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓",
                "┃  ✗  19 of 21 PASS - remove: 7, 13  ┃",
                "┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛",
            ]
        );
    }

    #[test]
    fn the_table_has_a_line_for_each_board_with_sign_word_and_code() {
        let lines = summary(&two_bad(), &closing(), 0, MONO, None);
        assert!(lines[0].starts_with("slot  result   code                 UID  "), "{}", lines[0]);
        assert_eq!(
            lines[7],
            "   7  ✗ FAIL   E214 program-failed  000000000000000000000007  program    3.500      1  at 0x08010004"
        );
        assert_eq!(
            lines[1],
            "   1  ✓ PASS   -                    000000000000000000000001  -          3.500      1  -"
        );
        assert!(lines[13].contains("↯ ERROR  E101 board-absent"), "{}", lines[13]);
    }

    #[test]
    fn a_narrow_terminal_is_never_exceeded_and_keeps_the_code_number() {
        for columns in [60, 80, 120] {
            let lines = summary(&two_bad(), &closing(), 0, Paint { colour: true }, Some(columns));
            for line in &lines {
                assert!(width(line) < columns, "{columns}: {line}");
            }
            assert!(lines[7].contains("E214"), "{}", lines[7]);
        }
    }

    #[test]
    fn each_failed_board_is_told_with_detail_cause_and_remedy() {
        let lines = summary(&two_bad(), &closing(), 0, MONO, Some(2000));
        let code = Code::BoardAbsent;
        let head = lines.iter().position(|l| *l == format!("↯ ERROR {code}: {}", code.title())).unwrap();
        assert_eq!(lines[head + 1], "  slot 13: no answer, 0 mA");
        assert_eq!(lines[head + 2], format!("  cause: {}", code.cause()));
        assert_eq!(lines[head + 3], format!("  do this: {}", code.remedy()));
        assert!(lines.contains(&format!("  do this: {}", Code::ProgramFailed.remedy())), "{lines:#?}");
    }

    #[test]
    fn boards_that_share_a_code_share_its_cause_and_remedy() {
        let code = Some(Code::BoardSilent);
        let bad =
            [(2, "fail", code, "a"), (3, "fail", code, "b"), (4, "fail", code, "a"), (5, "fail", code, "a")];
        let lines = summary(&result(&bad), &closing(), 0, MONO, Some(2000));
        let head = lines.iter().position(|l| l.starts_with("✗ FAIL E301 ")).unwrap();
        assert_eq!(lines[head + 1..head + 3], ["  slots 2, 4, 5: a", "  slot 3: b"]);
        assert_eq!(lines.iter().filter(|l| l.contains("do this")).count(), 1);
    }

    #[test]
    fn the_facts_name_time_bound_frames_record_and_doubts() {
        let closing = Closing { not_for_shipment: true, ..closing() };
        let lines = summary(&result(&[]), &closing, 2, MONO, None);
        let facts = &lines[lines.len() - 8..lines.len() - 2];
        assert_eq!(
            facts,
            [
                "time        3.632 s; physical bound 3.524 s, ratio 1.031",
                "bus frames  30211, 12 of them repeated",
                "host CPU    0.21 s",
                "record      dir/records.db",
                "in doubt    2 resolved by this run, 0 left",
                "NOT FOR SHIPMENT: not a production job with a signed release",
            ]
        );
    }
}

//! The panel map: one cell per slot, where the slot is on the panel.
//!
//! A cell shows the slot's number, a sign and a word; colour only repeats them. The map takes the largest of four
//! forms that fits: boxed tiles, words in a row, number and sign, sign alone with the row's first number.

use panel_backplane::Mark;
use panel_engine::{Outcome, SlotState};

use super::state::{Cell, RunView};
use super::text::{Paint, Tone, pad, wrap};

/// Widest word with its sign: `≟ verify`.
const WORD: usize = 8;
/// Columns inside a tile.
const TILE: usize = WORD + 2;

/// Sign, word and meaning of a state.
struct Look {
    sign: char,
    word: String,
    tone: Tone,
}

impl Look {
    fn new(sign: char, word: impl Into<String>, tone: Tone) -> Self {
        Self { sign, word: word.into(), tone }
    }

    fn of(cell: &Cell) -> Self {
        if cell.again {
            return Self::new('↻', "again", Tone::Station);
        }
        if let Some(verdict) = &cell.verdict {
            let code = verdict.code.map(|c| format!("E{}", c.number()));
            let word = || code.clone().unwrap_or_else(|| verdict.outcome.word().to_owned());
            return match verdict.outcome {
                Outcome::Pass => Self::new('✓', "PASS", Tone::Good),
                Outcome::Fail => Self::new('✗', word(), Tone::Bad),
                Outcome::Error => Self::new('↯', word(), Tone::Station),
                Outcome::Skipped => Self::new('■', "skip", Tone::Faint),
                Outcome::Aborted => Self::new('□', "stop", Tone::Station),
            };
        }
        match cell.state {
            SlotState::Waiting | SlotState::Ended => Self::new('·', "wait", Tone::Faint),
            SlotState::Searching => Self::new('?', "search", Tone::Busy),
            SlotState::Loading(percent) => Self::new('↓', format!("{percent}%"), Tone::Busy),
            SlotState::Found => Self::new('○', "found", Tone::Busy),
            SlotState::Erasing => Self::new('✎', "erase", Tone::Busy),
            SlotState::Programming(percent) => Self::new('▓', format!("{percent}%"), Tone::Busy),
            SlotState::Straggling => Self::new('…', "late", Tone::Busy),
            SlotState::Verifying => Self::new('≟', "verify", Tone::Busy),
            SlotState::Finishing => Self::new('◎', "finish", Tone::Busy),
            SlotState::Installing(percent) => Self::new('⇧', format!("{percent}%"), Tone::Busy),
            SlotState::Lost => Self::new('!', "lost", Tone::Station),
        }
    }

    fn text(&self) -> String {
        format!("{} {}", self.sign, self.word)
    }
}

/// Every sign that a cell can show.
const LEGEND: [&str; 16] = [
    "· wait",
    "? search",
    "↓ agent",
    "○ found",
    "✎ erase",
    "▓ program",
    "… late",
    "≟ verify",
    "◎ finish",
    "⇧ install",
    "! lost",
    "↻ again",
    "✓ PASS",
    "✗ FAIL",
    "↯ ERROR",
    "■ skip, □ stopped",
];

pub(super) fn legend(columns: usize) -> Vec<String> {
    // Blanks inside an entry must not be broken.
    let entries: Vec<String> = LEGEND.iter().map(|e| e.replace(' ', "\u{a0}")).collect();
    let lines = wrap(&format!(" {}", entries.join("  ")), columns, " ");
    lines.iter().map(|l| l.replace('\u{a0}', " ").trim_end().to_owned()).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Tiles,
    Words,
    Numbers,
    Signs,
}

impl Form {
    const ALL: [Self; 4] = [Self::Tiles, Self::Words, Self::Numbers, Self::Signs];

    /// Columns and rows that a map takes, without its mark.
    fn size(self, view: &RunView) -> (usize, usize) {
        let (rows, columns) = (usize::from(view.rows), usize::from(view.columns));
        let digits = digits(view);
        match self {
            Self::Tiles => (columns * (TILE + 1) + 1, rows * 3 + 1),
            Self::Words => (columns * (digits + WORD + 3), rows),
            Self::Numbers => (columns * (digits + 2), rows),
            Self::Signs => (digits + 1 + columns * 2, rows),
        }
    }
}

fn digits(view: &RunView) -> usize {
    view.cells.last().map_or(1, |c| c.slot.to_string().len())
}

/// The map in the largest form that fits into `columns` x `lines`; too many rows are cut, and said to be.
pub(super) fn map(view: &RunView, paint: Paint, columns: usize, lines: usize) -> Vec<String> {
    // One line is the mark's.
    let room = lines.saturating_sub(1).max(1);
    let fits = |form: &Form| {
        let (wide, high) = form.size(view);
        wide <= columns && high <= room
    };
    let form = Form::ALL.into_iter().find(fits).unwrap_or(Form::Signs);
    let mut map = match form {
        Form::Tiles => tiles(view, paint),
        Form::Words | Form::Numbers | Form::Signs => rows(view, paint, form, columns),
    };
    if map.len() > room {
        let cut = map.len() - room + 1;
        map.truncate(room - 1);
        map.push(format!("({cut} more rows)"));
    }
    let wide = form.size(view).0.min(columns);
    let left = |sign: &str| format!("{sign} mark");
    let right = |sign: &str| format!("{:>wide$}", format!("mark {sign}"));
    match view.mark {
        Mark::TopLeft => map.insert(0, left("◤")),
        Mark::TopRight => map.insert(0, right("◥")),
        Mark::BottomLeft => map.push(left("◣")),
        Mark::BottomRight => map.push(right("◢")),
    }
    map
}

/// The slots of the panel row by row; `None` where the grid has none.
fn grid(view: &RunView) -> impl Iterator<Item = Vec<Option<&Cell>>> {
    (1..=view.rows).map(|row| {
        let at = |column| view.cells.iter().find(|c| (c.row, c.column) == (row, column));
        (1..=view.columns).map(at).collect()
    })
}

fn tiles(view: &RunView, paint: Paint) -> Vec<String> {
    let rule = |left: &str, cross: &str, right: &str| {
        let bars = vec!["─".repeat(TILE); usize::from(view.columns)];
        format!("{left}{}{right}", bars.join(cross))
    };
    let mut lines = vec![rule("┌", "┬", "┐")];
    for (n, row) in grid(view).enumerate() {
        if n > 0 {
            lines.push(rule("├", "┼", "┤"));
        }
        let (mut upper, mut lower) = (String::from("│"), String::from("│"));
        for cell in row {
            let (top, bottom) = cell.map_or_else(Default::default, |cell| tile(cell, paint));
            upper.push_str(&format!("{}│", pad(&top, TILE)));
            lower.push_str(&format!("{}│", pad(&bottom, TILE)));
        }
        lines.push(upper);
        lines.push(lower);
    }
    lines.push(rule("└", "┴", "┘"));
    lines
}

fn tile(cell: &Cell, paint: Paint) -> (String, String) {
    let look = Look::of(cell);
    let attempt = if cell.attempt > 1 { format!("↻{}", cell.attempt) } else { String::new() };
    let top = format!(" {:<4}{attempt:>4}", cell.slot);
    (paint.paint(Tone::Strong, &top), format!(" {}", paint.paint(look.tone, &look.text())))
}

fn rows(view: &RunView, paint: Paint, form: Form, columns: usize) -> Vec<String> {
    let digits = digits(view);
    let label = if form == Form::Signs { digits + 1 } else { 0 };
    let shown = columns.saturating_sub(label) / 2;
    let line = |row: Vec<Option<&Cell>>| {
        let mut line = String::new();
        if form == Form::Signs {
            let first = row.iter().flatten().next().map_or_else(String::new, |c| c.slot.to_string());
            line = format!("{first:>digits$} ");
        }
        let count = if form == Form::Signs { shown } else { row.len() };
        for cell in row.into_iter().take(count) {
            line.push_str(&match (form, cell) {
                (Form::Words, None) => " ".repeat(digits + WORD + 3),
                (Form::Numbers, None) => " ".repeat(digits + 2),
                (_, None) => "  ".to_owned(),
                (_, Some(cell)) => item(cell, paint, form, digits),
            });
        }
        line.trim_end().to_owned()
    };
    grid(view).map(line).collect()
}

fn item(cell: &Cell, paint: Paint, form: Form, digits: usize) -> String {
    let look = Look::of(cell);
    match form {
        Form::Words => {
            let text = paint.paint(look.tone, &look.text());
            format!("{:>digits$} {}  ", cell.slot, pad(&text, WORD))
        }
        Form::Numbers => {
            let sign = paint.paint(look.tone, &look.sign.to_string());
            format!("{:>digits$}{sign} ", cell.slot)
        }
        Form::Tiles | Form::Signs => format!("{} ", paint.paint(look.tone, &look.sign.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use panel_codes::Code;
    use panel_engine::{Event, Step, Verdict};
    use panel_protocol::time::Micros;

    use super::super::testing::{run_view, state};
    use super::super::text::width;
    use super::*;

    const MONO: Paint = Paint { colour: false };

    #[test]
    fn the_map_of_21_slots_fits_80_columns_with_number_sign_and_word() {
        let mut view = run_view(3, 7, 1);
        state(&mut view, 2, SlotState::Searching);
        state(&mut view, 3, SlotState::Erasing);
        state(&mut view, 4, SlotState::Programming(45));
        state(&mut view, 5, SlotState::Straggling);
        state(&mut view, 6, SlotState::Verifying);
        let slot = panel_backplane::Slot;
        let fail = Verdict::failure(Code::ProgramFailed, Step::Program, "at 0x08010004");
        let error = Verdict::failure(Code::BoardAbsent, Step::Discover, "");
        for (n, verdict, again) in
            [(7, Verdict::pass(), false), (8, fail, false), (9, error.clone(), false), (10, error, true)]
        {
            view.event(Micros(5), &Event::Ended { slot: slot(n), verdict, again });
        }
        view.event(Micros(6), &Event::Attempt { slot: slot(11), number: 2 });
        state(&mut view, 11, SlotState::Finishing);
        let map = map(&view, MONO, 79, 12);
        assert_eq!(
            map[..8],
            [
                "◤ mark",
                "┌──────────┬──────────┬──────────┬──────────┬──────────┬──────────┬──────────┐",
                "│ 1        │ 2        │ 3        │ 4        │ 5        │ 6        │ 7        │",
                "│ · wait   │ ? search │ ✎ erase  │ ▓ 45%    │ … late   │ ≟ verify │ ✓ PASS   │",
                "├──────────┼──────────┼──────────┼──────────┼──────────┼──────────┼──────────┤",
                "│ 8        │ 9        │ 10       │ 11    ↻2 │ 12       │ 13       │ 14       │",
                "│ ✗ E214   │ ↯ E101   │ ↻ again  │ ◎ finish │ · wait   │ · wait   │ · wait   │",
                "├──────────┼──────────┼──────────┼──────────┼──────────┼──────────┼──────────┤",
            ]
        );
    }

    #[test]
    fn a_narrow_or_low_terminal_gets_number_and_sign() {
        let mut view = run_view(3, 7, 1);
        state(&mut view, 9, SlotState::Programming(45));
        let narrow = map(&view, MONO, 59, 20);
        assert_eq!(
            narrow,
            [
                "◤ mark",
                " 1·  2·  3·  4·  5·  6·  7·",
                " 8·  9▓ 10· 11· 12· 13· 14·",
                "15· 16· 17· 18· 19· 20· 21·"
            ]
        );
        let low = map(&view, MONO, 150, 5);
        assert_eq!(
            low[2],
            " 8 · wait     9 ▓ 45%     10 · wait    11 · wait    12 · wait    13 · wait    14 · wait"
        );
    }

    #[test]
    fn wide_panels_fit_60_columns_and_name_the_first_slot_of_each_row() {
        let mut view = run_view(8, 16, 2);
        state(&mut view, 18, SlotState::Lost);
        let map = map(&view, MONO, 59, 20);
        assert_eq!(map[2], " 17 · ! · · · · · · · · · · · · · ·");
        assert_eq!((map.len(), map[8].as_str()), (9, "113 · · · · · · · · · · · · · · · ·"));
    }

    #[test]
    fn rows_that_do_not_fit_are_counted() {
        let view = run_view(64, 2, 1);
        let map = map(&view, MONO, 59, 10);
        assert_eq!((map.len(), map[9].as_str()), (10, "(56 more rows)"));
    }

    #[test]
    fn the_mark_is_at_its_corner() {
        let mut view = run_view(2, 3, 1);
        view.mark = Mark::BottomRight;
        let map = map(&view, MONO, 79, 20);
        assert_eq!(map.last().map(String::as_str), Some(format!("{:>34}", "mark ◢").as_str()));
        assert_eq!(width(&map[0]), 34);
    }

    #[test]
    fn colour_changes_no_width_and_no_letter() {
        let mut view = run_view(3, 7, 1);
        let verdict = Verdict::failure(Code::ProgramFailed, Step::Program, "");
        view.event(Micros(5), &Event::Ended { slot: panel_backplane::Slot(3), verdict, again: false });
        let colour = map(&view, Paint { colour: true }, 79, 20);
        let mono = map(&view, MONO, 79, 20);
        assert!(colour.iter().any(|l| l.contains('\x1b')));
        for (c, m) in colour.iter().zip(&mono) {
            assert_eq!(width(c), width(m));
        }
        assert!(!mono.concat().contains('\x1b'));
    }

    #[test]
    fn the_legend_explains_every_sign_within_the_width() {
        let lines = legend(59);
        assert!(lines.iter().all(|l| width(l) <= 59), "{lines:?}");
        let all = lines.join(" ");
        for sign in "·?○✎▓…≟◎!↻✓✗↯■□".chars() {
            assert!(all.contains(sign), "{sign}");
        }
        assert!(all.contains("■ skip, □ stopped"));
    }
}

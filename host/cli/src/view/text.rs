//! Text for screens: widths, cutting, wrapping, slot lists, and colour that is never the only bearer of meaning.
//!
//! Every sign used by the view is one column wide, so a width is a number of characters; escape sequences that
//! [`Paint`] adds count as nothing.

/// What a piece of text is about; says which colour it gets where there is colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Names and counts that matter.
    Strong,
    /// Nothing has happened here yet.
    Faint,
    /// Work in progress: neutral, neither green nor red.
    Busy,
    Good,
    /// The board is bad. Also reversed: a pattern besides the colour.
    Bad,
    /// Station or contact: says nothing of the board.
    Station,
}

/// Adds colour, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    pub(super) colour: bool,
}

impl Paint {
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        // ECMA-48 section 8.3.117 (SGR).
        let code = match tone {
            Tone::Plain => "",
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Busy => "36",
            Tone::Good => "1;32",
            Tone::Bad => "1;7;31",
            Tone::Station => "1;33",
        };
        if self.colour && !code.is_empty() && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    let mut columns = 0;
    let mut escape = false;
    for c in text.chars() {
        match c {
            '\x1b' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            _ => columns += 1,
        }
    }
    columns
}

/// Fills with blanks on the right.
pub(super) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Cuts a text without escapes to at most `columns`, with `…` where something is missing.
pub(super) fn clip(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    if columns == 0 { String::new() } else { format!("{}…", kept.trim_end()) }
}

/// Breaks a text at blanks; `hang` starts every line but the first. Longer words stay whole.
pub(super) fn wrap(text: &str, columns: usize, hang: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut begun = false;
    for word in text.split(' ') {
        if begun && width(&line) + 1 + width(word) > columns {
            lines.push(core::mem::replace(&mut line, hang.to_owned()));
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    lines.push(line);
    lines
}

/// `1-3, 7`: slots in rising order.
pub(super) fn slots(numbers: &[u16]) -> String {
    let mut parts: Vec<(u16, u16)> = Vec::new();
    for &n in numbers {
        match parts.last_mut() {
            Some((_, last)) if n == *last + 1 => *last = n,
            _ => parts.push((n, n)),
        }
    }
    let part = |&(a, b): &(u16, u16)| match b - a {
        0 => a.to_string(),
        1 => format!("{a}, {b}"),
        _ => format!("{a}-{b}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// `3.4 s`, `2 min 05 s`.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_takes_no_columns_and_can_be_left_out() {
        let red = Paint { colour: true }.paint(Tone::Bad, "✗ E214");
        assert_eq!((red.as_str(), width(&red)), ("\x1b[1;7;31m✗ E214\x1b[0m", 6));
        assert_eq!(Paint { colour: false }.paint(Tone::Bad, "✗ E214"), "✗ E214");
        assert_eq!(pad(&red, 8), format!("{red}  "));
    }

    #[test]
    fn a_cut_text_says_so_and_is_never_too_wide() {
        assert_eq!(clip("program failed", 20), "program failed");
        assert_eq!(clip("program failed", 9), "program…");
        assert_eq!(clip("program failed", 1), "…");
        assert_eq!(clip("program failed", 0), "");
    }

    #[test]
    fn wrapping_breaks_at_blanks_only() {
        let lines = wrap("re-seat the board and clean the pins", 14, "  ");
        assert_eq!(lines, ["re-seat the", "  board and", "  clean the", "  pins"]);
        assert_eq!(wrap("0123456789 ab", 4, ""), ["0123456789", "ab"]);
    }

    #[test]
    fn runs_of_slots_are_written_short() {
        assert_eq!(slots(&[]), "");
        assert_eq!(slots(&[7, 13]), "7, 13");
        assert_eq!(slots(&[1, 2, 3, 4, 9, 10, 12]), "1-4, 9, 10, 12");
    }

    #[test]
    fn long_times_are_in_minutes() {
        assert_eq!(seconds(3.44), "3.4 s");
        assert_eq!(seconds(125.4), "2 min 05 s");
    }
}

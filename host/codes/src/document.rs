//! docs/errors.md as text, made from the table.
//!
//! Called by the example `write-errors-md`, and by the test that compares the committed file.

use core::fmt::Write as _;

use crate::{Class, Code};

const HEAD: &str = "\
# Error codes

Every failure that panelflash reports has a code: a number that never changes its meaning and a slug for
people. `panelflash run --json` gives it in `code`, the records and exports carry it, and the values of the
case (address, expected and got, the step) stand in `detail` beside it.

| Class | Result of the board | Exit code | Who acts |
| --- | --- | --- | --- |
| board | FAIL | 1 | sort the board out: repair or scrap |
| station | ERROR | 3 when it ends the run | the board may be good: mend the station, fixture or contact and run it again |
| usage | none, refused before anything is touched | 2 | correct the file, order or command |

A run that goes on with other boards ends with exit code 1 when a board did not pass, whatever the class of its
code. An interrupted run ends with 130.

This file is written from the table in `host/codes`: change it there, then run
`cargo run -p panel-codes --example write-errors-md`.
";

/// The whole of docs/errors.md.
#[must_use]
pub fn errors_markdown() -> String {
    let mut out = String::from(HEAD);
    let mut group = None;
    for &code in Code::ALL {
        if group != Some(code.group()) {
            group = Some(code.group());
            // Writing to a String cannot fail.
            let _ = write!(out, "\n## {}\n", code.group().heading());
        }
        let class = match code.class() {
            Class::Board => "board",
            Class::Station => "station",
            Class::Usage => "usage",
        };
        let _ = write!(
            out,
            "\n### {code}\n\n*{class}*: {}.\n\n- Cause: {}\n- What to do: {}\n",
            code.title(),
            code.cause(),
            code.remedy()
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_the_one_written_from_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(
            committed == errors_markdown(),
            "docs/errors.md is stale: run `cargo run -p panel-codes --example write-errors-md`"
        );
    }
}

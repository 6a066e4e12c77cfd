//! Scenario files: which faults the simulated panel has, in TOML.
//!
//! ```toml
//! seed = 7
//! [bus]
//! corruption = 0.0001        # share of frames destroyed by noise
//! [all]
//! loss = 0.001               # share of frames that each board misses on its own
//! [[slot]]
//! slot = 7
//! fault = "brown-out"
//! at_ms = 900
//! ```
//!
//! Invariant: what parses is complete and consistent; an error names line, column and, for a misspelt word, the
//! nearest known one. Whether the slots exist is checked when the world is built.

use panel_protocol::node::Protection;
use panel_protocol::time::Span;
use serde::Deserialize;
use toml::Spanned;

use crate::chip::{CHIPS, Chip};
use crate::fault::{Fault, Trigger};

/// A parsed scenario.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scenario {
    /// The seed the file asks for; a command line may override it.
    pub seed: Option<u64>,
    /// Share of frames on every bus destroyed by noise.
    pub corruption: f64,
    /// Share of frames that every board misses on its own.
    pub loss: f64,
    /// Time per received frame on every board, if not the default.
    pub service: Option<Span>,
    /// Faults by slot number, in the order of the file.
    pub faults: Vec<(u16, Fault)>,
}

/// What is wrong with a scenario file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}{}", hint(.nearest.as_deref()))]
pub struct ScenarioError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The reason.
    pub message: String,
    /// The known word that looks most like an unknown one.
    pub nearest: Option<String>,
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    seed: Option<u64>,
    #[serde(default)]
    bus: BusTable,
    #[serde(default)]
    all: AllTable,
    #[serde(default)]
    slot: Vec<Spanned<SlotTable>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct BusTable {
    corruption: Option<Spanned<f64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct AllTable {
    loss: Option<Spanned<f64>>,
    service_us: Option<u64>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
enum Name {
    Loss,
    SlowService,
    Absent,
    Dead,
    BrownOut,
    ProgramFails,
    ReadsBackWrong,
    EraseFails,
    EraseSlow,
    WrongChip,
    WrongRevision,
    Protected,
    SameUid,
    Babbling,
    BusOff,
    SupplyLow,
    MuteAfterErase,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotTable {
    slot: u16,
    fault: Name,
    rate: Option<Spanned<f64>>,
    service_us: Option<Spanned<u64>>,
    at_ms: Option<Spanned<u64>>,
    at_address: Option<Spanned<u32>>,
    address: Option<Spanned<u32>>,
    factor: Option<Spanned<u32>>,
    chip: Option<Spanned<String>>,
    revision: Option<Spanned<u16>>,
    level: Option<Spanned<u8>>,
    r#as: Option<Spanned<u16>>,
    identifier: Option<Spanned<u16>>,
    mv: Option<Spanned<u16>>,
}

impl Scenario {
    /// Reads a scenario file.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let at = |offset: usize, message: String, nearest| {
            let before = &text[..text.floor_char_boundary(offset)];
            let line_start = before.rfind('\n').map_or(0, |n| n + 1);
            ScenarioError {
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                message,
                nearest,
            }
        };
        let file: File = toml::from_str(text).map_err(|e| {
            let message = e.message().lines().next().unwrap_or_default().to_owned();
            let nearest = nearest_word(&message);
            at(e.span().map_or(0, |s| s.start), message, nearest)
        })?;
        let mut faults = Vec::with_capacity(file.slot.len());
        for table in file.slot {
            let start = table.span().start;
            let table = table.into_inner();
            let slot = table.slot;
            let fault = fault(table, start).map_err(|e| at(e.offset, e.message, e.nearest))?;
            faults.push((slot, fault));
        }
        let share = |value: Option<Spanned<f64>>, key| match value {
            None => Ok(0.0),
            Some(value) => share(&value, key).map_err(|e| at(e.offset, e.message, None)),
        };
        Ok(Self {
            seed: file.seed,
            corruption: share(file.bus.corruption, "corruption")?,
            loss: share(file.all.loss, "loss")?,
            service: file.all.service_us.map(Span),
            faults,
        })
    }
}

/// An error at a byte offset of the file.
struct Misuse {
    offset: usize,
    message: String,
    nearest: Option<String>,
}

fn misuse(offset: usize, message: String) -> Misuse {
    Misuse { offset, message, nearest: None }
}

fn share(value: &Spanned<f64>, key: &str) -> Result<f64, Misuse> {
    let rate = *value.get_ref();
    if (0.0..=1.0).contains(&rate) {
        Ok(rate)
    } else {
        Err(misuse(value.span().start, format!("`{key}` is {rate}, expected 0.0 to 1.0")))
    }
}

/// Makes a fault of its table; a key that the fault does not know is an error.
fn fault(table: SlotTable, start: usize) -> Result<Fault, Misuse> {
    let SlotTable { fault: name, mut at_ms, mut at_address, mut address, .. } = table;
    let SlotTable { mut rate, mut service_us, mut factor, mut chip, mut revision, .. } = table;
    let SlotTable { mut level, r#as: mut twin, mut identifier, mut mv, slot, .. } = table;
    let missing = |key: &str| misuse(start, format!("slot {slot}: this fault needs `{key}`"));
    let mut cell = || address.take().map(Spanned::into_inner).ok_or_else(|| missing("address"));
    let mut trigger = || match (at_ms.take(), at_address.take()) {
        (Some(ms), None) => Ok(Trigger::At(Span::from_millis(ms.into_inner()))),
        (None, Some(address)) => Ok(Trigger::Programmed(address.into_inner())),
        _ => Err(misuse(start, format!("slot {slot}: this fault needs either `at_ms` or `at_address`"))),
    };
    let fault = match name {
        Name::Loss => {
            let rate = rate.take().ok_or_else(|| missing("rate"))?;
            Fault::Loss { rate: share(&rate, "rate")? }
        }
        Name::SlowService => {
            Fault::SlowService { service: Span(service_us.take().map_or(500, Spanned::into_inner)) }
        }
        Name::Absent => Fault::Absent,
        Name::Dead => Fault::Dead { when: trigger()? },
        Name::BrownOut => Fault::BrownOut { when: trigger()? },
        Name::ProgramFails => Fault::ProgramFails { address: cell()? },
        Name::ReadsBackWrong => Fault::ReadsBackWrong { address: cell()? },
        Name::EraseFails => Fault::EraseFails { address: cell()? },
        Name::EraseSlow => Fault::EraseSlow { factor: factor.take().map_or(5, Spanned::into_inner) },
        Name::WrongChip => {
            Fault::WrongChip { chip: known_chip(&chip.take().ok_or_else(|| missing("chip"))?)? }
        }
        Name::WrongRevision => Fault::WrongRevision {
            revision: revision.take().ok_or_else(|| missing("revision"))?.into_inner(),
        },
        Name::Protected => Fault::Protected { level: protection(level.take())? },
        Name::SameUid => Fault::SameUid { slot: twin.take().ok_or_else(|| missing("as"))?.into_inner() },
        Name::Babbling => Fault::Babbling {
            at: Span::from_millis(at_ms.take().map_or(0, Spanned::into_inner)),
            identifier: standard_id(identifier.take())?,
        },
        Name::BusOff => Fault::BusOff { at: Span::from_millis(at_ms.take().map_or(0, Spanned::into_inner)) },
        Name::SupplyLow => Fault::SupplyLow { millivolts: mv.take().map_or(2500, Spanned::into_inner) },
        Name::MuteAfterErase => Fault::MuteAfterErase,
    };
    let left = [
        ("rate", rate.map(|s| s.span())),
        ("service_us", service_us.map(|s| s.span())),
        ("at_ms", at_ms.map(|s| s.span())),
        ("at_address", at_address.map(|s| s.span())),
        ("address", address.map(|s| s.span())),
        ("factor", factor.map(|s| s.span())),
        ("chip", chip.map(|s| s.span())),
        ("revision", revision.map(|s| s.span())),
        ("level", level.map(|s| s.span())),
        ("as", twin.map(|s| s.span())),
        ("identifier", identifier.map(|s| s.span())),
        ("mv", mv.map(|s| s.span())),
    ];
    match left.into_iter().find_map(|(key, span)| span.map(|s| (key, s.start))) {
        Some((key, offset)) => Err(misuse(offset, format!("slot {slot}: this fault has no `{key}`"))),
        None => Ok(fault),
    }
}

fn known_chip(name: &Spanned<String>) -> Result<&'static Chip, Misuse> {
    Chip::by_name(name.get_ref()).ok_or_else(|| Misuse {
        offset: name.span().start,
        message: format!("unknown chip `{}`", name.get_ref()),
        nearest: nearest(name.get_ref(), CHIPS.iter().map(|c| c.name)),
    })
}

fn protection(level: Option<Spanned<u8>>) -> Result<Protection, Misuse> {
    match level.as_ref().map_or(1, |l| *l.get_ref()) {
        1 => Ok(Protection::Level1),
        2 => Ok(Protection::Level2),
        other => {
            let offset = level.map_or(0, |l| l.span().start);
            Err(misuse(offset, format!("`level` is {other}, expected 1 or 2")))
        }
    }
}

/// The babbler's default lies below every identifier of the plan except stop and silence.
fn standard_id(identifier: Option<Spanned<u16>>) -> Result<u16, Misuse> {
    let Some(identifier) = identifier else { return Ok(0x010) };
    let (id, offset) = (*identifier.get_ref(), identifier.span().start);
    if id <= 0x7FF {
        Ok(id)
    } else {
        Err(misuse(offset, format!("`identifier` is {id:#x}, expected at most 0x7ff")))
    }
}

/// serde names an unknown word first and the known ones after it, all in backticks.
fn nearest_word(message: &str) -> Option<String> {
    let mut words = message.strip_prefix("unknown ")?.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    nearest(unknown, words)
}

fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let scored = known.map(|k| (distance(word, k), k));
    let (distance, best) = scored.min()?;
    (distance <= word.chars().count().max(3) / 2 + 1).then(|| best.to_owned())
}

/// Edit distance (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(!x.eq_ignore_ascii_case(y));
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Scenario::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_fault_of_the_catalogue_can_be_written() {
        let text = r#"
            seed = 7
            [bus]
            corruption = 0.001
            [all]
            loss = 0.01
            service_us = 8
            [[slot]]
            slot = 1
            fault = "loss"
            rate = 0.5
            [[slot]]
            slot = 2
            fault = "slow-service"
            [[slot]]
            slot = 3
            fault = "absent"
            [[slot]]
            slot = 4
            fault = "dead"
            at_ms = 900
            [[slot]]
            slot = 5
            fault = "brown-out"
            at_address = 0x08010000
            [[slot]]
            slot = 6
            fault = "program-fails"
            address = 0x08010004
            [[slot]]
            slot = 7
            fault = "reads-back-wrong"
            address = 0x08010008
            [[slot]]
            slot = 8
            fault = "erase-fails"
            address = 0x08020000
            [[slot]]
            slot = 9
            fault = "erase-slow"
            [[slot]]
            slot = 10
            fault = "wrong-chip"
            chip = "F429"
            [[slot]]
            slot = 11
            fault = "wrong-revision"
            revision = 9
            [[slot]]
            slot = 12
            fault = "protected"
            [[slot]]
            slot = 13
            fault = "same-uid"
            as = 1
            [[slot]]
            slot = 14
            fault = "babbling"
            at_ms = 100
            [[slot]]
            slot = 15
            fault = "bus-off"
            [[slot]]
            slot = 16
            fault = "supply-low"
            [[slot]]
            slot = 17
            fault = "mute-after-erase"
        "#;
        let scenario = Scenario::parse(text).unwrap();
        assert_eq!((scenario.seed, scenario.corruption, scenario.loss), (Some(7), 0.001, 0.01));
        assert_eq!(scenario.service, Some(Span(8)));
        let faults: Vec<Fault> = scenario.faults.iter().map(|f| f.1).collect();
        assert_eq!(
            faults,
            [
                Fault::Loss { rate: 0.5 },
                Fault::SlowService { service: Span(500) },
                Fault::Absent,
                Fault::Dead { when: Trigger::At(Span::from_millis(900)) },
                Fault::BrownOut { when: Trigger::Programmed(0x0801_0000) },
                Fault::ProgramFails { address: 0x0801_0004 },
                Fault::ReadsBackWrong { address: 0x0801_0008 },
                Fault::EraseFails { address: 0x0802_0000 },
                Fault::EraseSlow { factor: 5 },
                Fault::WrongChip { chip: Chip::by_name("F429").unwrap() },
                Fault::WrongRevision { revision: 9 },
                Fault::Protected { level: Protection::Level1 },
                Fault::SameUid { slot: 1 },
                Fault::Babbling { at: Span::from_millis(100), identifier: 0x010 },
                Fault::BusOff { at: Span::ZERO },
                Fault::SupplyLow { millivolts: 2500 },
                Fault::MuteAfterErase,
            ]
        );
        assert!(scenario.faults.iter().map(|f| f.0).eq(1..=17));
    }

    #[test]
    fn an_empty_file_is_a_panel_without_faults() {
        assert_eq!(Scenario::parse("").unwrap(), Scenario::default());
    }

    #[test]
    fn a_misspelt_word_is_told_with_its_place_and_the_nearest_known_one() {
        let key = error("seed = 1\n[all]\n  los = 0.1\n");
        assert!(key.starts_with("line 3, column 3: unknown field `los`"), "{key}");
        assert!(key.ends_with("did you mean `loss`?"), "{key}");
        let name = error("[[slot]]\nslot = 1\nfault = \"brownout\"\n");
        assert!(name.starts_with("line 3, column 9: unknown variant `brownout`"), "{name}");
        assert!(name.ends_with("did you mean `brown-out`?"), "{name}");
        let chip = error("[[slot]]\nslot = 1\nfault = \"wrong-chip\"\nchip = \"F103xF\"");
        assert_eq!(chip, "line 4, column 8: unknown chip `F103xF`; did you mean `F103xE`?");
        let table = error("[buss]\n");
        assert!(table.ends_with("did you mean `bus`?"), "{table}");
    }

    #[test]
    fn a_fault_says_what_it_lacks_and_what_it_does_not_know() {
        assert_eq!(
            error("[[slot]]\nslot = 3\nfault = \"dead\"\n"),
            "line 1, column 1: slot 3: this fault needs either `at_ms` or `at_address`"
        );
        assert_eq!(
            error("[[slot]]\nslot = 3\nfault = \"absent\"\nfactor = 2\n"),
            "line 4, column 10: slot 3: this fault has no `factor`"
        );
        assert_eq!(
            error("[bus]\ncorruption = 2.0\n"),
            "line 2, column 14: `corruption` is 2, expected 0.0 to 1.0"
        );
        assert_eq!(
            error("[[slot]]\nslot = 3\nfault = \"protected\"\nlevel = 3\n"),
            "line 4, column 9: `level` is 3, expected 1 or 2"
        );
    }

    #[test]
    fn broken_toml_is_an_error_with_a_place_and_not_a_panic() {
        for text in
            ["[", "seed = ", "\u{fffd}", "[[slot]]\nslot = -1\nfault = \"absent\"", "seed = 1\nseed = 2"]
        {
            assert!(Scenario::parse(text).unwrap_err().line >= 1, "{text}");
        }
    }
}

//! Scenario files: which faults the simulated panel has, in TOML.
//!
//! ```toml
//! seed = 7
//! [bus]
//! corruption = 0.0001        # share of frames destroyed by noise
//! [all]
//! loss = 0.001               # share of frames that each board misses on its own
//! seal_key = "3d40..."       # boards take only images sealed with this Ed25519 key (64 hex digits)
//! makes_keys = true          # boards can make keys of their own (ECDSA P-256)
//! second_slot = true         # boards keep their application until the image that replaces it is committed
//! [[slot]]
//! slot = 7
//! fault = "brown-out"
//! at_ms = 900
//! ```
//!
//! Invariant: what parses is complete and consistent; an error names line, column and, for a misspelt word, the
//! nearest known one. Whether the slots exist is checked when the world is built.

use panel_protocol::frame::{Frame, Id};
use panel_protocol::node::Protection;
use panel_protocol::time::Span;
use serde::Deserialize;
use toml::Spanned;

use crate::chip::{CHIPS, Chip};
use crate::fault::{Fault, Trigger};
use crate::key::KeyFault;

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
    /// Public key of the boards' product: they take only images sealed with it.
    pub seal_key: Option<[u8; 32]>,
    /// Boards make keys of their own when they are asked to.
    pub makes_keys: bool,
    /// Boards with a resident bootloader have a second slot, in the upper half of their flash.
    pub second_slot: bool,
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
    service_us: Option<Spanned<u64>>,
    seal_key: Option<Spanned<String>>,
    #[serde(default)]
    makes_keys: bool,
    #[serde(default)]
    second_slot: bool,
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
    Fades,
    OptionWriteFails,
    LockIgnored,
    ReadsWhenLocked,
    KeyFails,
    KeyHangs,
    KeyForged,
    KeyForeign,
    KeyRepeated,
    Rom,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum When {
    OptionWrite,
    Locked,
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
    when: Option<Spanned<When>>,
    address: Option<Spanned<u32>>,
    factor: Option<Spanned<f64>>,
    chip: Option<Spanned<String>>,
    revision: Option<Spanned<u16>>,
    level: Option<Spanned<u8>>,
    r#as: Option<Spanned<u16>>,
    identifier: Option<Spanned<u16>>,
    payload: Option<Spanned<String>>,
    mv: Option<Spanned<u16>>,
    rom: Option<Spanned<String>>,
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
        let seal_key = file.all.seal_key.map(|text| public_key(&text)).transpose();
        let service = file.all.service_us.map(|value| service(Some(value), 0)).transpose();
        Ok(Self {
            seed: file.seed,
            corruption: share(file.bus.corruption, "corruption")?,
            loss: share(file.all.loss, "loss")?,
            service: service.map_err(|e| at(e.offset, e.message, None))?,
            seal_key: seal_key.map_err(|e| at(e.offset, e.message, None))?,
            makes_keys: file.all.makes_keys,
            second_slot: file.all.second_slot,
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

/// The longest time that a scenario may name: a day.
const LONGEST_MS: u64 = 86_400_000;
/// The longest time one frame may take a board: ten seconds.
const LONGEST_SERVICE_US: u64 = 10_000_000;
/// The most times slower than typical that an erase may be.
const MOST_FACTOR: f64 = 1000.0;

/// A number limited to `least..=most`; `default` if the key is absent.
fn limited<T: Copy + Into<u64>>(
    value: Option<Spanned<T>>,
    key: &str,
    (least, most): (u64, u64),
    default: u64,
) -> Result<u64, Misuse> {
    let Some(value) = value else { return Ok(default) };
    let number = (*value.get_ref()).into();
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(misuse(value.span().start, format!("`{key}` is {number}, expected {least} to {most}")))
    }
}

fn service(value: Option<Spanned<u64>>, default: u64) -> Result<Span, Misuse> {
    limited(value, "service_us", (0, LONGEST_SERVICE_US), default).map(Span)
}

fn milliseconds(value: Option<Spanned<u64>>) -> Result<Span, Misuse> {
    limited(value, "at_ms", (0, LONGEST_MS), 0).map(Span::from_millis)
}

/// Makes a fault of its table; a key that the fault does not know is an error.
fn fault(table: SlotTable, start: usize) -> Result<Fault, Misuse> {
    let SlotTable { fault: name, mut at_ms, mut at_address, mut when, mut address, .. } = table;
    let SlotTable { mut rate, mut service_us, mut factor, mut chip, mut revision, .. } = table;
    let SlotTable { mut level, r#as: mut twin, mut identifier, mut payload, mut mv, mut rom, slot, .. } =
        table;
    let missing = |key: &str| misuse(start, format!("slot {slot}: this fault needs `{key}`"));
    let mut cell = || address.take().map(Spanned::into_inner).ok_or_else(|| missing("address"));
    let mut trigger = || match (at_ms.take(), at_address.take(), when.take().map(Spanned::into_inner)) {
        (Some(ms), None, None) => milliseconds(Some(ms)).map(Trigger::At),
        (None, Some(address), None) => Ok(Trigger::Programmed(address.into_inner())),
        (None, None, Some(When::OptionWrite)) => Ok(Trigger::OptionWrite),
        (None, None, Some(When::Locked)) => Ok(Trigger::Locked),
        _ => {
            let text = format!("slot {slot}: this fault needs one of `at_ms`, `at_address` and `when`");
            Err(misuse(start, text))
        }
    };
    let fault = match name {
        Name::Loss => {
            let rate = rate.take().ok_or_else(|| missing("rate"))?;
            Fault::Loss { rate: share(&rate, "rate")? }
        }
        Name::SlowService => Fault::SlowService { service: service(service_us.take(), 500)? },
        Name::Absent => Fault::Absent,
        Name::Dead => Fault::Dead { when: trigger()? },
        Name::BrownOut => Fault::BrownOut { when: trigger()? },
        Name::ProgramFails => Fault::ProgramFails { address: cell()? },
        Name::ReadsBackWrong => Fault::ReadsBackWrong { address: cell()? },
        Name::EraseFails => Fault::EraseFails { address: cell()? },
        Name::EraseSlow => {
            let (factor, start) = factor.take().map_or((5.0, 0), |f| (*f.get_ref(), f.span().start));
            if !(1.0..=MOST_FACTOR).contains(&factor) {
                return Err(misuse(start, format!("`factor` is {factor}, expected 1 to {MOST_FACTOR}")));
            }
            Fault::EraseSlow { factor }
        }
        Name::WrongChip => {
            Fault::WrongChip { chip: known_chip(&chip.take().ok_or_else(|| missing("chip"))?)? }
        }
        Name::WrongRevision => Fault::WrongRevision {
            revision: revision.take().ok_or_else(|| missing("revision"))?.into_inner(),
        },
        Name::Protected => Fault::Protected { level: protection(level.take())? },
        Name::SameUid => Fault::SameUid { slot: twin.take().ok_or_else(|| missing("as"))?.into_inner() },
        Name::Babbling => {
            let frame = babble(identifier.take(), payload.take())?;
            Fault::Babbling { at: milliseconds(at_ms.take())?, frame }
        }
        Name::BusOff => Fault::BusOff { at: milliseconds(at_ms.take())? },
        Name::SupplyLow => Fault::SupplyLow { millivolts: mv.take().map_or(2500, Spanned::into_inner) },
        Name::MuteAfterErase => Fault::MuteAfterErase,
        Name::Fades => Fault::Fades { address: cell()? },
        Name::OptionWriteFails => Fault::OptionWriteFails,
        Name::LockIgnored => Fault::LockIgnored,
        Name::ReadsWhenLocked => Fault::ReadsWhenLocked,
        Name::KeyFails => Fault::Key { fault: KeyFault::Fails },
        Name::KeyHangs => Fault::Key { fault: KeyFault::Hangs },
        Name::KeyForged => Fault::Key { fault: KeyFault::Forged },
        Name::KeyForeign => Fault::Key { fault: KeyFault::Foreign },
        Name::KeyRepeated => Fault::Key { fault: KeyFault::Repeated },
        Name::Rom => Fault::Rom { fault: rom_fault(&rom.take().ok_or_else(|| missing("rom"))?)? },
    };
    let left = [
        ("rate", rate.map(|s| s.span())),
        ("service_us", service_us.map(|s| s.span())),
        ("at_ms", at_ms.map(|s| s.span())),
        ("at_address", at_address.map(|s| s.span())),
        ("when", when.map(|s| s.span())),
        ("address", address.map(|s| s.span())),
        ("factor", factor.map(|s| s.span())),
        ("chip", chip.map(|s| s.span())),
        ("revision", revision.map(|s| s.span())),
        ("level", level.map(|s| s.span())),
        ("as", twin.map(|s| s.span())),
        ("identifier", identifier.map(|s| s.span())),
        ("payload", payload.map(|s| s.span())),
        ("mv", mv.map(|s| s.span())),
        ("rom", rom.map(|s| s.span())),
    ];
    match left.into_iter().find_map(|(key, span)| span.map(|s| (key, s.start))) {
        Some((key, offset)) => Err(misuse(offset, format!("slot {slot}: this fault has no `{key}`"))),
        None => Ok(fault),
    }
}

fn public_key(text: &Spanned<String>) -> Result<[u8; 32], Misuse> {
    let key = hex(text.get_ref()).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = key.filter(|key| ed25519_dalek::VerifyingKey::from_bytes(key).is_ok());
    key.ok_or_else(|| {
        misuse(text.span().start, "`seal_key` is no Ed25519 public key of 64 hex digits".to_owned())
    })
}

fn rom_fault(text: &Spanned<String>) -> Result<rom_simulator::Fault, Misuse> {
    text.get_ref().parse().map_err(|e: rom_simulator::fault::FaultError| {
        misuse(text.span().start, e.to_string().lines().next().unwrap_or_default().to_owned())
    })
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

/// What a babbler says. By default its identifier lies below every one of the plan except stop and silence.
fn babble(identifier: Option<Spanned<u16>>, payload: Option<Spanned<String>>) -> Result<Frame, Misuse> {
    let id = identifier.as_ref().map_or(0x010, |id| *id.get_ref());
    if let Some(identifier) = identifier.filter(|_| id > 0x7FF) {
        let text = format!("`identifier` is {id:#x}, expected at most 0x7ff");
        return Err(misuse(identifier.span().start, text));
    }
    let offset = payload.as_ref().map_or(0, |text| text.span().start);
    let bytes = payload.map_or_else(|| Some(vec![0xBA; 8]), |text| hex(text.get_ref()));
    let frame = bytes.and_then(|bytes| Frame::classical(Id::Standard(id), &bytes));
    frame.ok_or_else(|| misuse(offset, "`payload` is not the hex digits of at most eight bytes".to_owned()))
}

/// Bytes of two digits each.
fn hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(core::str::from_utf8);
    pairs
        .map(|pair| pair.ok().filter(|p| p.len() == 2).and_then(|p| u8::from_str_radix(p, 16).ok()))
        .collect()
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
mod tests;

//! panel.toml to [`Panel`]: the keys, their defaults, and how a regular grid is filled in.
//!
//! What must be unique or go together is checked in `panel_check`. docs/job-files.md describes every key; a test
//! parses its examples.

use panel_codes::Code;
use toml::de::DeValue;

use crate::bus::{Bus, BusKind, Link, Port};
use crate::document::{At, Document, FromToml, Located, Mismatch, Section, word};
use crate::fixture::{FixtureTiming, LineFunction, Wire};
use crate::input::{Input, Inputs};
use crate::layout::{MAX_SLOTS, Numbering, Split};
use crate::panel::{Binding, DEFAULT_BAUD, Mark, Panel, SLOT_FUNCTIONS};
use crate::panel_check;
use crate::problem::{ProblemKind, Problems};
use crate::units::{BitRate, Duration};
use crate::way::Way;

impl Panel {
    /// Reads the text of a panel.toml.
    ///
    /// # Errors
    /// Everything that is wrong with it, by line.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let document = Document::parse(text);
        let file = read(&document);
        let panel = file.and_then(|file| panel_check::build(&document, file));
        document.finish(panel)
    }
}

/// The code of a panel file that could not be read: E509 if all that is wrong is that things are given twice.
#[must_use]
pub fn error_code(problems: &Problems) -> Code {
    let clash = |p: &crate::Problem| matches!(p.kind, ProblemKind::Clash { .. });
    if problems.list().iter().all(clash) { Code::DuplicateSlot } else { Code::PanelFile }
}

/// A panel file as written, each value by itself allowed.
#[derive(Debug)]
pub(crate) struct PanelFile {
    pub(crate) name: String,
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) size_at: At,
    pub(crate) mark: Mark,
    pub(crate) numbering: Numbering,
    pub(crate) split: Located<Split>,
    pub(crate) straps_per_bus: bool,
    pub(crate) binding: Binding,
    pub(crate) ways: Vec<Way>,
    pub(crate) bad_marks: Vec<Located<u16>>,
    pub(crate) port: Option<Located<Template>>,
    pub(crate) baud: u32,
    pub(crate) buses: Vec<Located<Bus>>,
    pub(crate) entries: Vec<SlotEntry>,
    pub(crate) wires: Vec<(LineFunction, Located<Template>)>,
    /// The lines that set the multiplexer of a slot's port; none if there is no multiplexer.
    pub(crate) mux: Vec<Located<Template>>,
    pub(crate) timing: FixtureTiming,
    pub(crate) inputs: Inputs,
}

/// One `[[slot]]`.
#[derive(Debug)]
pub(crate) struct SlotEntry {
    pub(crate) at: At,
    pub(crate) number: Located<u16>,
    pub(crate) row: Option<Located<u16>>,
    pub(crate) column: Option<Located<u16>>,
    pub(crate) bus: Option<Located<String>>,
    pub(crate) strap: Option<Located<u16>>,
    pub(crate) port: Option<Located<Port>>,
    pub(crate) channel: Option<Located<u16>>,
    pub(crate) ways: Option<Located<Vec<Way>>>,
    pub(crate) bad: bool,
    pub(crate) wires: Vec<(LineFunction, Located<Wire>)>,
}

fn read(document: &Document<'_>) -> Option<PanelFile> {
    let mut root = document.root();
    let name = root.need::<String>("name");
    let rows = root.need::<u16>("rows");
    let columns = root.need::<u16>("columns");
    let size_at = rows.map_or(At::START, |r| r.at);
    let mark = root.get_or("mark", Mark::default());
    let numbering = root.get_or("numbering", Numbering::Rows);
    let split = root.get("split").unwrap_or(Located { value: Split::Slots, at: size_at });
    let straps = root.get_or("straps", Straps::PerPanel);
    let binding = root.get_or("binding", Binding::default());
    let ways = ways(&mut root).map_or_else(|| vec![Way::Multidrop], |w| w.value);
    let bad_marks = root.get_list("bad_marks").map(|l| l.value).unwrap_or_default();
    let port = root.get("port");
    let baud = root.get("baud").map_or(DEFAULT_BAUD, |baud: Located<u32>| {
        if !(1200..=12_000_000).contains(&baud.value) {
            root.bad_value("baud", baud.at, format!("{} is not 1200 to 12000000", baud.value));
        }
        baud.value
    });
    let buses = read_buses(document, &mut root);
    let entries = root.sections("slot").into_iter().filter_map(read_slot).collect();
    let ReadFixture { wires, mux, timing, inputs } =
        root.section("fixture").map(read_fixture).unwrap_or_default();

    if let (Some(rows), Some(columns)) = (rows, columns)
        && Numbering::Listed.places(rows.value, columns.value).is_none()
    {
        let reason = format!("{} rows of {} slots is not 1 to {MAX_SLOTS} slots", rows.value, columns.value);
        document.contradiction(size_at, reason);
        return None;
    }
    Some(PanelFile {
        name: name?.value,
        rows: rows?.value,
        columns: columns?.value,
        size_at,
        mark,
        numbering,
        split,
        straps_per_bus: straps == Straps::PerBus,
        binding,
        ways,
        bad_marks,
        port,
        baud,
        buses,
        entries,
        wires,
        mux,
        timing,
        inputs,
    })
}

fn ways(section: &mut Section<'_>) -> Option<Located<Vec<Way>>> {
    let list = section.get_list::<Way>("ways")?;
    if list.value.is_empty() {
        section.bad_value("ways", list.at, "it names no way that is known");
    }
    Some(Located { value: list.value.into_iter().map(|w| w.value).collect(), at: list.at })
}

fn read_buses(document: &Document<'_>, root: &mut Section<'_>) -> Vec<Located<Bus>> {
    let sections = root.sections("bus");
    if let Some(one_too_many) = sections.get(usize::from(u8::MAX)) {
        document.contradiction(one_too_many.at(), "a panel has at most 255 buses");
    }
    (1_u8..).zip(sections).map(|(n, section)| read_bus(document, n, section)).collect()
}

fn read_bus(document: &Document<'_>, n: u8, mut section: Section<'_>) -> Located<Bus> {
    let name = section.get("name").map_or_else(|| format!("bus{n}"), |l| l.value);
    let fd = section.get_or("kind", Kind::Classical) == Kind::Fd;
    let bit_rate = section.get::<BitRate>("bit_rate");
    let data_bit_rate = section.get::<BitRate>("data_bit_rate");
    let link = section.get_or("link", Link::Sim);
    let ways = ways(&mut section).map(|w| w.value).unwrap_or_default();

    if let Some(rate) = bit_rate
        && !(10_000..=1_000_000).contains(&rate.value.0)
    {
        section.bad_value("bit_rate", rate.at, format!("{} is not 10k to 1M", rate.value));
    }
    let bit_rate = bit_rate.map_or(BitRate::M1, |r| r.value);
    match data_bit_rate {
        Some(rate) if !fd => {
            document.contradiction(rate.at, "`data_bit_rate` belongs to a bus of the kind \"fd\"");
        }
        Some(rate) if rate.value < bit_rate || rate.value.0 > 8_000_000 => {
            section.bad_value("data_bit_rate", rate.at, format!("{} is not {bit_rate} to 8M", rate.value));
        }
        _ => {}
    }
    let data_bit_rate = data_bit_rate.map_or(BitRate(5_000_000), |r| r.value);
    let kind = if fd { BusKind::Fd { data_bit_rate } } else { BusKind::Classical };
    Located { value: Bus { name, kind, bit_rate, link, ways }, at: section.at() }
}

fn read_slot(mut section: Section<'_>) -> Option<SlotEntry> {
    let number = section.need::<u16>("number");
    if let Some(number) = number
        && !(1..=9999).contains(&number.value)
    {
        section.bad_value("number", number.at, format!("{} is not 1 to 9999", number.value));
    }
    let at = section.at();
    let entry = SlotEntry {
        at,
        // 0 is never used: without a number there is no entry, only the problems of its other keys.
        number: number.unwrap_or(Located { value: 0, at }),
        row: section.get("row"),
        column: section.get("column"),
        bus: section.get("bus"),
        strap: section.get("strap"),
        port: section.get("port"),
        channel: section.get("channel"),
        ways: ways(&mut section),
        bad: section.get_or("bad", false),
        wires: SLOT_FUNCTIONS.into_iter().filter_map(|f| Some((f, section.get(f.name())?))).collect(),
    };
    number.map(|_| entry)
}

#[derive(Default)]
struct ReadFixture {
    wires: Vec<(LineFunction, Located<Template>)>,
    mux: Vec<Located<Template>>,
    timing: FixtureTiming,
    inputs: Inputs,
}

fn read_fixture(mut section: Section<'_>) -> ReadFixture {
    let inputs = Inputs { interlock: input(&mut section, "interlock"), start: input(&mut section, "start") };
    let wires = SLOT_FUNCTIONS.into_iter().filter_map(|f| Some((f, section.get(f.name())?))).collect();
    let mux = section.get_list::<Template>("mux").map(|list| {
        if !(1..=MUX_LINES).contains(&list.value.len()) {
            section.bad_value("mux", list.at, format!("a multiplexer has 1 to {MUX_LINES} lines"));
        }
        list.value
    });
    let usual = FixtureTiming::default();
    let mut time = |key, usual| section.get::<Duration>(key).map_or(usual, |d| d.value.0);
    let timing = FixtureTiming {
        discharge: time("discharge", usual.discharge),
        stagger: time("stagger", usual.stagger),
        power_settle: time("power_settle", usual.power_settle),
        reset_pulse: time("reset_pulse", usual.reset_pulse),
        line_settle: time("line_settle", usual.line_settle),
        inrush_slots: match section.get::<u16>("inrush_slots") {
            Some(slots) if slots.value == 0 => {
                section.bad_value("inrush_slots", slots.at, "0 slots at a time would switch none on");
                usual.inrush_slots
            }
            Some(slots) => slots.value,
            None => usual.inrush_slots,
        },
    };
    ReadFixture { wires, mux: mux.unwrap_or_default(), timing, inputs }
}

/// More lines than any multiplexer has; a channel fits into 16 bits.
const MUX_LINES: usize = 16;

fn input(section: &mut Section<'_>, key: &'static str) -> Option<Input> {
    section.get(key).map(|input: Located<Input>| input.value)
}

#[derive(Clone, Copy, PartialEq)]
enum Straps {
    PerPanel,
    PerBus,
}

impl FromToml for Straps {
    const EXPECTED: &'static str = "a word in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        word(value, &[("per-panel", Self::PerPanel), ("per-bus", Self::PerBus)])
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Classical,
    Fd,
}

impl FromToml for Kind {
    const EXPECTED: &'static str = "a word in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        word(value, &[("classical", Self::Classical), ("fd", Self::Fd)])
    }
}

impl FromToml for Mark {
    const EXPECTED: &'static str = "a word in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        let words = [
            ("top-left", Self::TopLeft),
            ("top-right", Self::TopRight),
            ("bottom-left", Self::BottomLeft),
            ("bottom-right", Self::BottomRight),
        ];
        word(value, &words)
    }
}

impl FromToml for Binding {
    const EXPECTED: &'static str = "a word in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        word(
            value,
            &[("straps", Self::Straps), ("select", Self::Select), ("power-groups", Self::PowerGroups)],
        )
    }
}

impl FromToml for Port {
    const EXPECTED: &'static str = "a port in quotes, such as \"/dev/serial/by-path/...\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        crate::document::parsed(value)
    }
}

/// A text for every slot, in which `{slot}`, `{row}`, `{column}` and `{bus}` are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(String);

impl Template {
    const PLACES: [&str; 4] = ["{slot}", "{row}", "{column}", "{bus}"];

    /// The text for one slot; the bus counts from 1, and is 0 for a slot without a bus.
    pub(crate) fn expand(&self, values: [u16; 4]) -> String {
        Self::PLACES.iter().zip(values).fold(self.0.clone(), |t, (place, v)| t.replace(place, &v.to_string()))
    }
}

impl FromToml for Template {
    const EXPECTED: &'static str =
        "a text in quotes, in which {slot}, {row}, {column} and {bus} are replaced";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        let template = Self(String::from_toml(value)?);
        if template.expand([0; 4]).contains(['{', '}']) {
            return Err(Mismatch::Value("only {slot}, {row}, {column} and {bus} are replaced".to_owned()));
        }
        Ok(template)
    }
}

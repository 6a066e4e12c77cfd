//! Lines of Linux GPIO chips, named by chip and line (never by number: numbers follow the order of plugging).
//!
//! All lines of one chip are one request, made with every output in its safe level. When the program ends, however
//! it ends, the kernel releases them; they become inputs again on every common chip, so the fixture's pull resistors
//! must hold the safe state. [`Chip`] is all that is asked of a chip: the tests have one of their own, because no
//! machine that they run on has a real one. The adapter to `gpiocdev` below has not met a real chip yet.

use panel_protocol::time::Micros;

use super::device::{Channel, DeadMan, Device, Patience};
use super::{FixtureError, Switched};

/// A requested set of lines of one chip.
pub(super) trait Chip {
    fn set(&mut self, offset: u32, high: bool) -> Result<(), String>;
    fn get(&mut self, offset: u32) -> Result<bool, String>;
}

/// The lines of one chip that panel.toml names; channels count these.
pub(super) struct GpioLines<C> {
    chip_name: String,
    chip: C,
    lines: Vec<(String, u32)>,
}

/// What is wanted of a chip.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Outputs by name, with the level that is safe.
    pub(super) outputs: Vec<(String, bool)>,
    /// Inputs by name.
    pub(super) inputs: Vec<String>,
}

impl<C: Chip> GpioLines<C> {
    /// Takes `chip`, whose lines are at these offsets, outputs first.
    pub(super) const fn new(chip_name: String, chip: C, lines: Vec<(String, u32)>) -> Self {
        Self { chip_name, chip, lines }
    }

    fn place(&self, channel: Channel) -> (String, u32) {
        let (name, offset) = &self.lines[channel as usize];
        (format!("gpio:{}/{name}", self.chip_name), *offset)
    }
}

impl<C: Chip> Device for GpioLines<C> {
    fn set(&mut self, _now: Micros, channel: Channel, high: bool) -> Result<Switched, FixtureError> {
        let (line, offset) = self.place(channel);
        let set = self.chip.set(offset, high);
        set.map(|()| Switched::Done).map_err(|reason| FixtureError::Switch { line, high, reason })
    }

    fn force(&mut self, channel: Channel, high: bool, _patience: &mut Patience) -> Result<(), FixtureError> {
        self.set(Micros::ZERO, channel, high).map(|_| ())
    }

    fn read(&mut self, _now: Micros, channel: Channel) -> Result<Option<bool>, FixtureError> {
        let (input, offset) = self.place(channel);
        self.chip.get(offset).map(Some).map_err(|reason| FixtureError::Read { input, reason })
    }

    fn dead_man(&self) -> DeadMan {
        DeadMan::Released
    }
}

/// Opens the chip with this label or name and requests the lines.
pub(super) fn open(chip: &str, wanted: &Wanted) -> Result<GpioLines<gpiocdev::Request>, FixtureError> {
    let refuse =
        |line: &str, reason: String| FixtureError::Open { line: format!("gpio:{chip}/{line}"), reason };
    let found = find(chip).map_err(|reason| refuse("", reason))?;
    let mut request = gpiocdev::Request::builder();
    request.on_chip(found.path()).with_consumer("panelflash");
    let mut lines = Vec::new();
    let names = wanted.outputs.iter().map(|(name, safe)| (name, Some(*safe)));
    for (name, safe) in names.chain(wanted.inputs.iter().map(|name| (name, None))) {
        let info =
            found.find_line_info(name).ok_or_else(|| refuse(name, "the chip has no such line".to_owned()))?;
        if info.used {
            return Err(refuse(name, format!("in use by {}", info.consumer)));
        }
        request.with_line(info.offset);
        match safe {
            Some(safe) => request.as_output(value(safe)),
            None => request.as_input(),
        };
        lines.push((name.clone(), info.offset));
    }
    let request = request.request().map_err(|e| refuse("", e.to_string()))?;
    Ok(GpioLines::new(chip.to_owned(), request, lines))
}

/// Whether the chip with this label or name is there, permitted, and has this line free; touches nothing.
///
/// # Errors
/// What is wrong, for people.
pub fn look(chip: &str, line: &str) -> Result<(), String> {
    match find(chip)?.find_line_info(line) {
        None => Err(format!("chip {chip} has no line {line}")),
        Some(info) if info.used => Err(format!("in use by {}", info.consumer)),
        Some(_) => Ok(()),
    }
}

fn find(name: &str) -> Result<gpiocdev::chip::Chip, String> {
    let mut refused = None;
    for path in gpiocdev::chip::chips().map_err(|e| e.to_string())? {
        match gpiocdev::chip::Chip::from_path(&path) {
            Ok(chip) if chip.info().is_ok_and(|i| i.label == name || i.name == name) => return Ok(chip),
            Ok(_) => {}
            Err(error) => refused = Some(format!("{}: {error}", path.display())),
        }
    }
    Err(refused.unwrap_or_else(|| format!("there is no GPIO chip with the label or name {name}")))
}

const fn value(high: bool) -> gpiocdev::line::Value {
    if high { gpiocdev::line::Value::Active } else { gpiocdev::line::Value::Inactive }
}

impl Chip for gpiocdev::Request {
    fn set(&mut self, offset: u32, high: bool) -> Result<(), String> {
        self.set_value(offset, value(high)).map_err(|e| e.to_string())
    }

    fn get(&mut self, offset: u32) -> Result<bool, String> {
        self.value(offset).map(|v| v == gpiocdev::line::Value::Active).map_err(|e| e.to_string())
    }
}

//! What the fixture tells the program: its interlock (lid, press, safety relay) and its start button.
//!
//! Inputs inform, they do not protect: a hazard is kept from people by the fixture's own circuit, which also
//! opens the interlock contact that is read here.

use core::fmt;
use core::str::FromStr;

use toml::de::DeValue;

use crate::document::{FromToml, Mismatch, parsed};
use crate::fixture::WireError;

/// Where an input is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputSource {
    /// `gpio:CHIP/LINE`: a line of a Linux GPIO chip, both by name.
    Gpio {
        /// Label or name of the chip.
        chip: String,
        /// Name of the line.
        line: String,
    },
    /// `ascii-relay:PATH#N`: input N of a fixture controller.
    Controller {
        /// The controller's port.
        port: String,
        /// Input, from 1.
        input: u8,
    },
    /// `cts:PATH`: the CTS line of a serial port.
    Cts(String),
    /// `dsr:PATH`: the DSR line of a serial port.
    Dsr(String),
    /// `dcd:PATH`: the DCD line of a serial port.
    Dcd(String),
}

/// An input with its polarity. Written with `!` in front if it is low when closed or pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where.
    pub source: InputSource,
    /// Closed or pressed is low.
    pub active_low: bool,
}

/// The inputs of a fixture; `None` where it has no such input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inputs {
    /// Active while it is safe to work: nothing gets power before, and everything loses it when it opens.
    pub interlock: Option<Input>,
    /// A run begins when it is pressed.
    pub start: Option<Input>,
}

impl FromStr for Input {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let (active_low, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let source = source(rest).map_err(|reason| WireError { got: text.to_owned(), reason })?;
        Ok(Self { source, active_low })
    }
}

fn source(text: &str) -> Result<InputSource, &'static str> {
    let forms = "an input is `gpio:CHIP/LINE`, `ascii-relay:/dev/...#N`, `cts:/dev/...`, `dsr:/dev/...` or \
                 `dcd:/dev/...`";
    let (kind, rest) = text.split_once(':').ok_or(forms)?;
    let path = |text: &str| {
        text.starts_with('/').then(|| text.to_owned()).ok_or("the port must be a path such as `/dev/...`")
    };
    match kind {
        "gpio" => {
            let split = rest.split_once('/').filter(|(chip, line)| !chip.is_empty() && !line.is_empty());
            let (chip, line) = split.ok_or("a GPIO line is `gpio:CHIP/LINE`")?;
            Ok(InputSource::Gpio { chip: chip.to_owned(), line: line.to_owned() })
        }
        "ascii-relay" => {
            let (port, input) = rest.rsplit_once('#').ok_or("the input is missing: `/dev/...#1`")?;
            let input = input.parse().ok().filter(|&n| n > 0).ok_or("the input is a number from 1 to 255")?;
            Ok(InputSource::Controller { port: path(port)?, input })
        }
        "cts" => path(rest).map(InputSource::Cts),
        "dsr" => path(rest).map(InputSource::Dsr),
        "dcd" => path(rest).map(InputSource::Dcd),
        _ => Err(forms),
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.active_low {
            f.write_str("!")?;
        }
        match &self.source {
            InputSource::Gpio { chip, line } => write!(f, "gpio:{chip}/{line}"),
            InputSource::Controller { port, input } => write!(f, "ascii-relay:{port}#{input}"),
            InputSource::Cts(port) => write!(f, "cts:{port}"),
            InputSource::Dsr(port) => write!(f, "dsr:{port}"),
            InputSource::Dcd(port) => write!(f, "dcd:{port}"),
        }
    }
}

impl FromToml for Input {
    const EXPECTED: &'static str = "an input in quotes, such as \"gpio:CHIP/LINE\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        parsed(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_input_is_read_back_as_written() {
        for text in [
            "gpio:backplane/LID",
            "!gpio:backplane/START",
            "ascii-relay:/dev/ttyS1#4",
            "cts:/dev/ttyS0",
            "!dsr:/dev/ttyS0",
            "dcd:/dev/ttyS0",
        ] {
            assert_eq!(text.parse::<Input>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_can_only_be_switched_is_no_input() {
        for text in [
            "rts:/dev/ttyS0",
            "lcus:/dev/ttyS0#1",
            "manual:lid",
            "sim:lid",
            "",
            "cts:COM3",
            "ascii-relay:/dev/x#0",
        ] {
            assert!(text.parse::<Input>().is_err(), "{text}");
        }
    }
}

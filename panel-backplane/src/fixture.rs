//! The fixture: its lines (power, NRST, BOOT0, slot select, multiplexers), where each is connected, and how long it
//! takes.
//!
//! A line may serve one slot or a group; slots that name the same connection share the line. Nothing here
//! switches anything: `sequencer` says when, a driver in the host does it.

use core::fmt;
use core::str::FromStr;

use panel_protocol::time::Span;
use toml::de::DeValue;

use crate::document::{FromToml, Mismatch, parsed};
use crate::input::Inputs;
use crate::panel::Slot;

/// Number of a line in its fixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineIndex(pub u16);

impl LineIndex {
    /// Index into [`Fixture::lines`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// What a line does to the slots on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineFunction {
    /// Supplies the board while on.
    Power,
    /// Holds the board in reset while on.
    Nrst,
    /// Makes the board start its ROM bootloader at the next reset while on.
    Boot0,
    /// Tells the board in this slot apart from the others while on.
    Select,
    /// One bit of the channel to which the multiplexer of a shared port is set.
    Mux,
}

impl LineFunction {
    /// Its key in panel.toml.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Nrst => "nrst",
            Self::Boot0 => "boot0",
            Self::Select => "select",
            Self::Mux => "mux",
        }
    }
}

/// Where a line is connected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Connection {
    /// `sim:NAME`: a line of the built-in simulation; `sim:/SOCKET#NAME`: a line of a simulated panel in another
    /// process, which listens at that socket.
    Sim(String),
    /// `gpio:CHIP/LINE`: a line of a Linux GPIO chip, both by name.
    Gpio {
        /// Label or name of the chip.
        chip: String,
        /// Name of the line.
        line: String,
    },
    /// `lcus:PATH#N`: channel N of a serial relay board with the four-byte LCUS protocol.
    Lcus {
        /// The relay board's port.
        port: String,
        /// Channel, from 1.
        channel: u8,
    },
    /// `ascii-relay:PATH#N`: channel N of a relay board with the ASCII protocol of docs/hardware.md.
    AsciiRelay {
        /// The relay board's port.
        port: String,
        /// Channel, from 1.
        channel: u8,
    },
    /// `rts:PATH`: the RTS line of a serial port.
    Rts(String),
    /// `dtr:PATH`: the DTR line of a serial port.
    Dtr(String),
    /// `manual:TEXT`: the operator is told what to switch.
    Manual(String),
}

impl Connection {
    /// The socket of the simulated panel that this line belongs to, if that is another process.
    #[must_use]
    pub fn sim_socket(&self) -> Option<&str> {
        let Self::Sim(name) = self else { return None };
        name.starts_with('/').then(|| name.split_once('#').map_or(name.as_str(), |(socket, _)| socket))
    }

    /// The name of a simulated line, at its socket if it has one.
    #[must_use]
    pub fn sim_name(&self) -> Option<&str> {
        let Self::Sim(name) = self else { return None };
        Some(name.split_once('#').map_or(name.as_str(), |(_, name)| name))
    }

    /// Who switches it says when it is done, and settle times begin then: the operator, a relay board, and a driver that makes
    /// records durable before it moves a line. Lines of a simulation move at once.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        !matches!(self, Self::Sim(_))
    }

    /// The operator switches it.
    #[must_use]
    pub const fn is_manual(&self) -> bool {
        matches!(self, Self::Manual(_))
    }
}

/// A connection with its polarity. Written with `!` in front if the line is low when on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wire {
    /// Where.
    pub connection: Connection,
    /// On is low.
    pub active_low: bool,
}

/// A text that names no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is not a line: {reason}")]
pub struct WireError {
    /// The text.
    pub got: String,
    /// What is wrong or wanted.
    pub reason: &'static str,
}

impl FromStr for Wire {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let (active_low, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let connection = connection(rest).map_err(|reason| WireError { got: text.to_owned(), reason })?;
        Ok(Self { connection, active_low })
    }
}

fn connection(text: &str) -> Result<Connection, &'static str> {
    let forms = "write `sim:NAME`, `gpio:CHIP/LINE`, `lcus:/dev/...#N`, `ascii-relay:/dev/...#N`, \
                 `rts:/dev/...`, `dtr:/dev/...` or `manual:WHAT`";
    let (kind, rest) = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or(forms)?;
    let path =
        || rest.starts_with('/').then(|| rest.to_owned()).ok_or("the port must be a path such as `/dev/...`");
    let relay = || {
        let (port, channel) = rest.rsplit_once('#').ok_or("the channel is missing: `/dev/...#1`")?;
        let channel: u8 = channel.parse().map_err(|_| "the channel is a number from 1 to 255")?;
        match (port.starts_with('/'), channel) {
            (false, _) => Err("the port must be a path such as `/dev/...`"),
            (true, 0) => Err("channels count from 1"),
            (true, channel) => Ok((port.to_owned(), channel)),
        }
    };
    match kind {
        "sim" => Ok(Connection::Sim(rest.to_owned())),
        "gpio" => {
            let split = rest.split_once('/').filter(|(chip, line)| !chip.is_empty() && !line.is_empty());
            let (chip, line) = split.ok_or("a GPIO line is `gpio:CHIP/LINE`")?;
            Ok(Connection::Gpio { chip: chip.to_owned(), line: line.to_owned() })
        }
        "lcus" => relay().map(|(port, channel)| Connection::Lcus { port, channel }),
        "ascii-relay" => relay().map(|(port, channel)| Connection::AsciiRelay { port, channel }),
        "rts" => path().map(Connection::Rts),
        "dtr" => path().map(Connection::Dtr),
        "manual" => Ok(Connection::Manual(rest.to_owned())),
        _ => Err(forms),
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.active_low {
            f.write_str("!")?;
        }
        match &self.connection {
            Connection::Sim(name) => write!(f, "sim:{name}"),
            Connection::Gpio { chip, line } => write!(f, "gpio:{chip}/{line}"),
            Connection::Lcus { port, channel } => write!(f, "lcus:{port}#{channel}"),
            Connection::AsciiRelay { port, channel } => write!(f, "ascii-relay:{port}#{channel}"),
            Connection::Rts(port) => write!(f, "rts:{port}"),
            Connection::Dtr(port) => write!(f, "dtr:{port}"),
            Connection::Manual(what) => write!(f, "manual:{what}"),
        }
    }
}

impl FromToml for Wire {
    const EXPECTED: &'static str = "a line in quotes, such as \"gpio:CHIP/LINE\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        parsed(value)
    }
}

/// One line of the fixture with everything on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it does.
    pub function: LineFunction,
    /// Where it is connected.
    pub wire: Wire,
    /// The slots on it, in order, at least one.
    pub slots: Vec<Slot>,
}

/// The lines of one slot; `None` where the fixture has no such line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotLines {
    /// Power. Without it the board is powered by hand or always.
    pub power: Option<LineIndex>,
    /// Reset.
    pub nrst: Option<LineIndex>,
    /// Boot pin.
    pub boot0: Option<LineIndex>,
    /// Slot select.
    pub select: Option<LineIndex>,
}

/// How a slot is reached through the multiplexer of the port that it shares with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mux {
    /// The lines that set the channel, its lowest bit first; at most sixteen. Multiplexers may share them.
    pub lines: Vec<LineIndex>,
    /// The slot's channel.
    pub channel: u16,
}

impl Mux {
    /// Every line with the state that reaches this slot.
    pub fn levels(&self) -> impl Iterator<Item = (LineIndex, bool)> {
        self.lines.iter().zip(0..u16::BITS).map(|(line, bit)| (*line, self.channel >> bit & 1 == 1))
    }

    /// Whether both slots can be reached at once, each over its own port.
    #[must_use]
    pub fn goes_with(&self, other: &Self) -> bool {
        self.levels().all(|(line, on)| other.levels().all(|(theirs, level)| theirs != line || level == on))
    }
}

/// How long the fixture takes; every wait of the sequencer is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixtureTiming {
    /// Power must stay off this long before it comes on again, so that the board really starts anew.
    pub discharge: Span,
    /// How many slots are switched on at once, against inrush; at least 1.
    pub inrush_slots: u16,
    /// Wait between two such groups.
    pub stagger: Span,
    /// From the last group switched on until the supply stands.
    pub power_settle: Span,
    /// How long NRST is held.
    pub reset_pulse: Span,
    /// From a change of BOOT0, slot select or a multiplexer until it counts.
    pub line_settle: Span,
}

/// Values for a fixture of load switches and direct lines: an eFuse starts softly within 2 ms, bulk capacitors
/// of a small board empty within 50 ms, and 1 ms of NRST is far above the 20 us that any STM32 asks for.
impl Default for FixtureTiming {
    fn default() -> Self {
        Self {
            discharge: Span::from_millis(50),
            inrush_slots: 8,
            stagger: Span::from_millis(2),
            power_settle: Span::from_millis(5),
            reset_pulse: Span::from_millis(1),
            line_settle: Span::from_millis(1),
        }
    }
}

/// The lines of a panel's fixture and their times.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fixture {
    /// Every line once, by function and then by its first slot; those of multiplexers last.
    pub lines: Vec<Line>,
    /// Times.
    pub timing: FixtureTiming,
    /// Interlock and start button.
    pub inputs: Inputs,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_of_line_is_read_back_as_written() {
        let texts = [
            "sim:power/3",
            "gpio:backplane/PWR3",
            "!gpio:gpiochip2/NRST_3",
            "lcus:/dev/serial/by-path/x#8",
            "ascii-relay:/dev/ttyS1#2",
            "!rts:/dev/ttyS0",
            "dtr:/dev/ttyS0",
            "manual:switch the supply",
        ];
        for text in texts {
            assert_eq!(text.parse::<Wire>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn slots_of_different_multiplexers_go_together_where_the_lines_that_they_share_agree() {
        let mux =
            |lines: &[u16], channel| Mux { lines: lines.iter().map(|l| LineIndex(*l)).collect(), channel };
        assert_eq!(
            mux(&[4, 5, 6], 0b101).levels().collect::<Vec<_>>(),
            [(LineIndex(4), true), (LineIndex(5), false), (LineIndex(6), true)]
        );
        assert!(mux(&[1, 2], 3).goes_with(&mux(&[1, 2], 3)) && !mux(&[1, 2], 3).goes_with(&mux(&[1, 2], 1)));
        // One line in common: the high bit here, the low bit there.
        assert!(mux(&[1, 2], 0b10).goes_with(&mux(&[2, 3], 0b11)));
        assert!(!mux(&[1, 2], 0b10).goes_with(&mux(&[2, 3], 0b10)));
        assert!(mux(&[1, 2], 0).goes_with(&mux(&[3, 4], 3)), "nothing in common");
    }

    #[test]
    fn incomplete_lines_say_what_is_missing() {
        let reason = |t: &str| t.parse::<Wire>().unwrap_err().reason;
        assert!(reason("gpio:chip").contains("CHIP/LINE"));
        assert!(reason("lcus:/dev/x").contains("channel is missing"));
        assert!(reason("lcus:/dev/x#0").contains("count from 1"));
        assert!(reason("lcus:/dev/x#900").contains("1 to 255"));
        assert!(reason("rts:COM3").contains("path"));
        for text in ["", "!", "power", "sim:", "usb:3"] {
            assert!(reason(text).contains("`gpio:CHIP/LINE`"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_line_or_refused(text in "!?(sim|gpio|lcus|rts)?:?.{0,30}") {
            if let Ok(wire) = text.parse::<Wire>() {
                let again: Wire = wire.to_string().parse().unwrap();
                prop_assert_eq!(wire, again);
            }
        }
    }
}

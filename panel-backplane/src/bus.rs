//! Buses and ports as panel.toml names them: kind, bit rates, and the link that leads there.
//!
//! Names only: nothing here opens a device.

use core::fmt;
use core::str::FromStr;

use toml::de::DeValue;

use crate::document::{FromToml, Mismatch, parsed};
use crate::units::BitRate;
use crate::way::Way;

/// Number of a bus in its panel, from 0 in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusIndex(pub u8);

impl BusIndex {
    /// Index into [`crate::Panel::buses`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// What travels on a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusKind {
    /// Classical CAN, 8 data bytes.
    Classical,
    /// CAN FD with bit-rate switch, 64 data bytes.
    Fd {
        /// Bit rate of the data phase.
        data_bit_rate: BitRate,
    },
}

/// One CAN bus of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bus {
    /// Name, unique in the panel.
    pub name: String,
    /// Classical or FD.
    pub kind: BusKind,
    /// Bit rate, of the arbitration phase on FD.
    pub bit_rate: BitRate,
    /// What leads to it.
    pub link: Link,
    /// Ways that its slots offer if the slot says nothing else; empty for the panel's ways.
    pub ways: Vec<Way>,
}

impl Bus {
    /// A simulated bus.
    #[must_use]
    pub fn simulated(name: &str, kind: BusKind, bit_rate: BitRate) -> Self {
        Self { name: name.to_owned(), kind, bit_rate, link: Link::Sim, ways: Vec::new() }
    }

    /// Kind and rates as one word: `can-1M`, `can-500k`, `fd-1M-5M`.
    #[must_use]
    pub fn speed(&self) -> String {
        match self.kind {
            BusKind::Classical => format!("can-{}", self.bit_rate),
            BusKind::Fd { data_bit_rate } => format!("fd-{}-{data_bit_rate}", self.bit_rate),
        }
    }
}

/// A link or port text that names nothing known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is not {expected}")]
pub struct LinkError {
    /// The text.
    pub got: String,
    /// The forms that are.
    pub expected: &'static str,
}

/// What leads to a bus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// `sim`: the built-in simulation.
    Sim,
    /// `socketcan:NAME`: a CAN interface of the kernel.
    SocketCan(String),
    /// `slcan:PATH`: a serial-line adapter.
    Slcan(String),
    /// `tcp://HOST:PORT`: a serial server or an emulator that speaks the byte-stream framing.
    Tcp(String),
}

const LINK_FORMS: &str = "`sim`, `socketcan:NAME`, `slcan:/dev/...` or `tcp://HOST:PORT`";

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let error = || LinkError { got: text.to_owned(), expected: LINK_FORMS };
        if text == "sim" {
            return Ok(Self::Sim);
        }
        if let Some(name) = text.strip_prefix("socketcan:") {
            // IFNAMSIZ is 16 with the final zero; the kernel refuses blanks, '/' and ':'.
            let legal = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':';
            let good = (1..=15).contains(&name.len()) && name.bytes().all(legal);
            return good.then(|| Self::SocketCan(name.to_owned())).ok_or_else(error);
        }
        if let Some(path) = text.strip_prefix("slcan:") {
            return path.starts_with('/').then(|| Self::Slcan(path.to_owned())).ok_or_else(error);
        }
        tcp_address(text).map(Self::Tcp).ok_or_else(error)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim => f.write_str("sim"),
            Self::SocketCan(name) => write!(f, "socketcan:{name}"),
            Self::Slcan(path) => write!(f, "slcan:{path}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl FromToml for Link {
    const EXPECTED: &'static str = "a link in quotes, such as \"socketcan:can0\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        parsed(value)
    }
}

/// A slot's own byte-stream port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// `sim`: a port of the built-in simulation, one for each slot.
    Sim,
    /// `/dev/...`: a serial port.
    Serial(String),
    /// `tcp://HOST:PORT`: a serial server or an emulator.
    Tcp(String),
}

impl Port {
    /// Whether the name keeps pointing to the same socket after adapters were plugged in another order.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        match self {
            Self::Sim | Self::Tcp(_) => true,
            Self::Serial(path) => !path.starts_with("/dev/ttyUSB") && !path.starts_with("/dev/ttyACM"),
        }
    }
}

impl FromStr for Port {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        match text {
            "sim" => Ok(Self::Sim),
            path if path.starts_with('/') && path.len() > 1 => Ok(Self::Serial(path.to_owned())),
            _ => tcp_address(text).map(Self::Tcp).ok_or_else(|| LinkError {
                got: text.to_owned(),
                expected: "`sim`, a path such as `/dev/serial/by-path/...`, or `tcp://HOST:PORT`",
            }),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim => f.write_str("sim"),
            Self::Serial(path) => f.write_str(path),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// `HOST:PORT` out of `tcp://HOST:PORT`.
fn tcp_address(text: &str) -> Option<String> {
    let address = text.strip_prefix("tcp://")?;
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    (plain && port > 0).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn links_and_ports_are_read_back_as_written() {
        for text in
            ["sim", "socketcan:can0", "slcan:/dev/ttyACM0", "tcp://localhost:4000", "tcp://[::1]:4000"]
        {
            assert_eq!(text.parse::<Link>().unwrap().to_string(), text);
        }
        for text in ["sim", "/dev/serial/by-path/usb-0:1.2:1.0", "tcp://10.0.0.1:4001"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn links_that_cannot_exist_are_refused() {
        for text in
            ["", "can0", "socketcan:", "socketcan:a b", "socketcan:averyverylongname", "slcan:ttyACM0"]
        {
            assert!(text.parse::<Link>().is_err(), "{text}");
        }
        for text in ["tcp://host", "tcp://:1", "tcp://host:0", "tcp://host:70000", "tcp://a/b:1", "com3", "/"]
        {
            assert!(text.parse::<Port>().is_err(), "{text}");
        }
    }

    #[test]
    fn ports_named_by_the_order_of_plugging_are_not_stable() {
        assert!(!Port::Serial("/dev/ttyUSB3".to_owned()).is_stable());
        assert!(!Port::Serial("/dev/ttyACM0".to_owned()).is_stable());
        assert!(Port::Serial("/dev/serial/by-path/x".to_owned()).is_stable());
    }

    #[test]
    fn the_speed_of_a_bus_is_one_word() {
        let fd = BusKind::Fd { data_bit_rate: BitRate(5_000_000) };
        assert_eq!(Bus::simulated("a", fd, BitRate::M1).speed(), "fd-1M-5M");
        assert_eq!(Bus::simulated("a", BusKind::Classical, BitRate(500_000)).speed(), "can-500k");
    }

    proptest! {
        #[test]
        fn any_text_is_a_link_or_refused(text in ".{0,40}") {
            if let Ok(link) = text.parse::<Link>() {
                prop_assert_eq!(link.to_string(), text.clone());
            }
            if let Ok(port) = text.parse::<Port>() {
                prop_assert_eq!(port.to_string(), text);
            }
        }
    }
}

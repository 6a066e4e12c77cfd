//! RTS and DTR as fixture lines, CTS, DSR and DCD as inputs of a serial port.
//!
//! The port may be a board's own: then this shares it with its [`SerialLink`]. When the last one closes it the kernel
//! drops RTS and DTR (HUPCL is set), but it also raises both for a moment whenever the port is opened: wire them to
//! NRST or BOOT0, not to power.

use std::path::Path;

use panel_protocol::time::Micros;
use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};
use serial2::SerialPort;

use super::device::{Channel, DeadMan, Device, Patience};
use super::{FixtureError, Switched};
use crate::{Parity, SerialLink};

/// Channels of a port.
pub(super) const RTS: Channel = 0;
pub(super) const DTR: Channel = 1;
pub(super) const CTS: Channel = 2;
pub(super) const DSR: Channel = 3;
pub(super) const DCD: Channel = 4;

const NAMES: [&str; 5] = ["rts", "dtr", "cts", "dsr", "dcd"];

/// The modem lines of one port.
pub(super) struct ModemLines {
    name: String,
    port: SerialPort,
    /// Keeps the port locked if it is ours alone.
    _own: Option<SerialLink>,
}

impl ModemLines {
    /// Those of a port that is open as a link already.
    pub(super) fn shared(link: &SerialLink) -> Result<Self, FixtureError> {
        let name = link.path().display().to_string();
        let open = |e: std::io::Error| FixtureError::Open { line: name.clone(), reason: e.to_string() };
        let port = link.port().try_clone().map_err(open)?;
        hang_up_on_close(&port).map_err(open)?;
        Ok(Self { name, port, _own: None })
    }

    /// Those of a port that nothing else uses.
    pub(super) fn open(path: &Path) -> Result<Self, FixtureError> {
        let link = SerialLink::open(path, 9600, Parity::None);
        let link =
            link.map_err(|e| FixtureError::Open { line: path.display().to_string(), reason: e.to_string() })?;
        let shared = Self::shared(&link)?;
        Ok(Self { _own: Some(link), ..shared })
    }

    fn line(&self, channel: Channel) -> String {
        format!("{}:{}", NAMES.get(channel as usize).unwrap_or(&"line"), self.name)
    }
}

fn hang_up_on_close(port: &SerialPort) -> std::io::Result<()> {
    let mut settings = tcgetattr(port)?;
    settings.control_modes |= ControlModes::HUPCL;
    Ok(tcsetattr(port, OptionalActions::Now, &settings)?)
}

impl Device for ModemLines {
    fn set(&mut self, _now: Micros, channel: Channel, high: bool) -> Result<Switched, FixtureError> {
        let set = if channel == RTS { self.port.set_rts(high) } else { self.port.set_dtr(high) };
        set.map(|()| Switched::Done).map_err(|e| FixtureError::Switch {
            line: self.line(channel),
            high,
            reason: e.to_string(),
        })
    }

    fn force(&mut self, channel: Channel, high: bool, _patience: &mut Patience) -> Result<(), FixtureError> {
        self.set(Micros::ZERO, channel, high).map(|_| ())
    }

    fn read(&mut self, _now: Micros, channel: Channel) -> Result<Option<bool>, FixtureError> {
        let level = match channel {
            CTS => self.port.read_cts(),
            DSR => self.port.read_dsr(),
            _ => self.port.read_cd(),
        };
        level.map(Some).map_err(|e| FixtureError::Read { input: self.line(channel), reason: e.to_string() })
    }

    fn dead_man(&self) -> DeadMan {
        DeadMan::Released
    }
}

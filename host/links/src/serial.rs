//! A serial port for one owner: exclusive, with settings that are known to be in force.
//!
//! Invariant: nothing here drains or flushes the port. Draining blocks for as long as the bytes take, and an
//! adapter that hangs would hang its caller; the ROM's answer is the proof that a frame has left.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serial2::{CharSize, SerialPort, Settings, StopBits};

/// Parity of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// 8N1.
    None,
    /// 8E1, as the ROM bootloader wants it (AN3155 section 2).
    Even,
}

/// Why a port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no such device.
    #[error("{}: no such port", path.display())]
    Missing {
        /// The port.
        path: PathBuf,
    },
    /// Another program holds it.
    #[error("{}: in use by another program", path.display())]
    Busy {
        /// The port.
        path: PathBuf,
    },
    /// The user may not open it.
    #[error("{}: permission denied", path.display())]
    Permission {
        /// The port.
        path: PathBuf,
    },
    /// The adapter cannot do this rate or parity.
    #[error("{}: cannot do {baud} baud, 8 data bits, {} parity", path.display(), if *parity == Parity::Even { "even" } else { "no" })]
    Settings {
        /// The port.
        path: PathBuf,
        /// Rate asked for.
        baud: u32,
        /// Parity asked for.
        parity: Parity,
    },
    /// It was there and is gone.
    #[error("{}: gone ({source})", path.display())]
    Gone {
        /// The port.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The longest a port may take no byte at all; drivers buffer thousands.
const LONGEST_SEND: Duration = Duration::from_secs(3);

/// How long an adapter sits on received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency(pub Duration);

impl Latency {
    /// Longer than it can be set to be: every answer of a board waits for it.
    #[must_use]
    pub fn is_long(self) -> bool {
        self.0 > Duration::from_millis(1)
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ms", self.0.as_millis())
    }
}

/// An open serial port.
#[derive(Debug)]
pub struct SerialLink {
    path: PathBuf,
    port: SerialPort,
    parity: Parity,
}

impl SerialLink {
    /// Opens `path` for this program alone. A pseudo-terminal has no parity bit: it is opened without one, and
    /// [`Self::parity`] says so.
    ///
    /// # Errors
    /// [`LinkError`], by what the operator can do about it.
    pub fn open(path: &Path, baud: u32, parity: Parity) -> Result<Self, LinkError> {
        let wanted = if is_pty(path) { Parity::None } else { parity };
        let configure = |mut settings: Settings| {
            settings.set_raw();
            settings.set_baud_rate(baud)?;
            settings.set_char_size(CharSize::Bits8);
            settings.set_stop_bits(StopBits::One);
            settings.set_parity(match wanted {
                Parity::None => serial2::Parity::None,
                Parity::Even => serial2::Parity::Even,
            });
            Ok(settings)
        };
        let port =
            SerialPort::open(path, configure).map_err(|source| open_error(path, baud, parity, source))?;
        flock(&port, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| LinkError::Busy { path: path.to_owned() })?;
        let link = Self { path: path.to_owned(), port, parity: wanted };
        link.port.discard_buffers().map_err(|e| link.gone(e))?;
        Ok(link)
    }

    /// The port's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The parity in force.
    #[must_use]
    pub const fn parity(&self) -> Parity {
        self.parity
    }

    /// Changes the rate; bytes on their way, both ways, are thrown away.
    ///
    /// # Errors
    /// [`LinkError::Settings`] or [`LinkError::Gone`].
    pub fn set_baud(&mut self, baud: u32) -> Result<(), LinkError> {
        // What is left to send would be waited for.
        self.port.discard_buffers().map_err(|e| self.gone(e))?;
        let mut settings = self.port.get_configuration().map_err(|e| self.gone(e))?;
        let refused = |_| LinkError::Settings { path: self.path.clone(), baud, parity: self.parity };
        settings.set_baud_rate(baud).map_err(refused)?;
        self.port.set_configuration(&settings).map_err(|_| LinkError::Settings {
            path: self.path.clone(),
            baud,
            parity: self.parity,
        })?;
        self.port.discard_buffers().map_err(|e| self.gone(e))
    }

    /// Hands bytes to the system.
    ///
    /// # Errors
    /// [`LinkError::Gone`].
    pub fn send(&self, bytes: &[u8]) -> Result<(), LinkError> {
        let mut left = bytes;
        while !left.is_empty() {
            // Straight to the system: a port nearly always has room, and asking first costs every frame a call.
            match rustix::io::write(&self.port, left) {
                Ok(count) => left = &left[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.is_ready(PollFlags::OUT, LONGEST_SEND)? => {}
                Err(Errno::AGAIN) => return Err(self.gone(ErrorKind::TimedOut.into())),
                Err(errno) => return Err(self.gone(errno.into())),
            }
        }
        Ok(())
    }

    /// Waits at most `patience` for bytes; 0 if none came.
    ///
    /// # Errors
    /// [`LinkError::Gone`].
    pub fn receive(&self, buffer: &mut [u8], patience: Duration) -> Result<usize, LinkError> {
        if !self.is_ready(PollFlags::IN, patience)? {
            return Ok(0);
        }
        match rustix::io::read(&self.port, buffer) {
            // A port that is at its end has been unplugged.
            Ok(0) => Err(self.gone(ErrorKind::UnexpectedEof.into())),
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(self.gone(errno.into())),
        }
    }

    /// Whether the port is ready before `patience` is over.
    fn is_ready(&self, what: PollFlags, patience: Duration) -> Result<bool, LinkError> {
        let limit = Timespec::try_from(patience).ok();
        match poll(&mut [PollFd::new(&self.port, what)], limit.as_ref()) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(self.gone(errno.into())),
        }
    }

    /// Sets DTR; false if the port has no such line.
    #[must_use]
    pub fn set_dtr(&self, on: bool) -> bool {
        self.port.set_dtr(on).is_ok()
    }

    /// Sets RTS; false if the port has no such line.
    #[must_use]
    pub fn set_rts(&self, on: bool) -> bool {
        self.port.set_rts(on).is_ok()
    }

    /// The port itself, for its modem lines and for reading without waiting.
    pub(crate) const fn port(&self) -> &SerialPort {
        &self.port
    }

    /// The latency timer of a USB adapter (FTDI: 16 ms unless it was set), read from the system.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        let name = fs::canonicalize(&self.path).ok()?;
        let name = name.file_name()?.to_str()?;
        let text = fs::read_to_string(format!("/sys/bus/usb-serial/devices/{name}/latency_timer")).ok()?;
        Some(Latency(Duration::from_millis(text.trim().parse().ok()?)))
    }

    fn gone(&self, source: io::Error) -> LinkError {
        LinkError::Gone { path: self.path.clone(), source }
    }
}

impl AsFd for SerialLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}

fn open_error(path: &Path, baud: u32, parity: Parity, source: io::Error) -> LinkError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound => LinkError::Missing { path },
        ErrorKind::PermissionDenied => LinkError::Permission { path },
        ErrorKind::ResourceBusy => LinkError::Busy { path },
        ErrorKind::Other | ErrorKind::InvalidInput | ErrorKind::Unsupported => {
            LinkError::Settings { path, baud, parity }
        }
        _ => LinkError::Gone { path, source },
    }
}

fn is_pty(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|real| real.starts_with("/dev/pts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_there_is_named() {
        let error =
            SerialLink::open(Path::new("/dev/no-such-port"), 115_200, Parity::Even).expect_err("missing");
        assert_eq!(error.to_string(), "/dev/no-such-port: no such port");
    }

    #[test]
    fn what_is_no_serial_port_is_refused() {
        let file = std::env::temp_dir().join("panel-links-no-port");
        fs::write(&file, b"x").expect("writable");
        assert!(SerialLink::open(&file, 115_200, Parity::None).is_err());
        fs::remove_file(&file).expect("there");
    }
}

//! A slot's own byte-stream port, as the driver of a run needs it: a serial port or a terminal server behind TCP.
//!
//! Nothing here waits: what the system does not take is kept, and reported as stuck if it stays. Setting the line
//! throws away what is on its way first, so that no driver drains bytes that nobody wants any more.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use panel_backplane::Port;
use panel_protocol::time::{Micros, Span};

use crate::pipe::Pipe;
use crate::serial::{LinkError, Parity, SerialLink};

/// Longest time that bytes may wait to be taken by the system.
const STUCK: Span = Span::from_millis(2000);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// Something from a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortInput {
    /// Bytes.
    Bytes(Vec<u8>),
    /// It takes no bytes.
    Stuck,
    /// It is gone; what the system said.
    Down {
        /// Such as `No such device`.
        why: String,
    },
}

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortOpenError {
    /// A serial port.
    #[error(transparent)]
    Serial(#[from] LinkError),
    /// A terminal server.
    #[error("tcp://{address}: cannot connect: {source}")]
    Connect {
        /// Its address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// An open port.
#[derive(Debug)]
pub struct PortLink {
    name: String,
    /// `None` when it is gone.
    pipe: Option<Pipe>,
    /// The same port, to set its line; a terminal server sets its own.
    serial: Option<SerialLink>,
    /// Bytes have waited since then.
    waiting: Option<Micros>,
    down: Option<String>,
}

impl PortLink {
    /// Opens a port with 8 data bits, even parity where it has parity, one stop bit; `None` for a simulated one.
    ///
    /// # Errors
    /// [`PortOpenError`].
    pub fn open(port: &Port, baud: u32) -> Option<Result<Self, PortOpenError>> {
        match port {
            Port::Sim => None,
            Port::Serial(path) => Some(Self::open_serial(path, baud)),
            Port::Tcp(address) => Some(
                Self::connect(address)
                    .map_err(|source| PortOpenError::Connect { address: address.clone(), source }),
            ),
        }
    }

    fn open_serial(path: &str, baud: u32) -> Result<Self, PortOpenError> {
        let serial = SerialLink::open(Path::new(path), baud, Parity::Even)?;
        let gone = |source: io::Error| LinkError::Gone { path: path.into(), source };
        let twin = serial.as_fd().try_clone_to_owned().map_err(gone)?;
        let pipe = Pipe::new(Box::new(twin)).map_err(gone)?;
        Ok(Self { name: path.to_owned(), pipe: Some(pipe), serial: Some(serial), waiting: None, down: None })
    }

    fn connect(address: &str) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for candidate in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&candidate, CONNECT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let pipe = Pipe::new(Box::new(stream))?;
                    let name = format!("tcp://{address}");
                    return Ok(Self { name, pipe: Some(pipe), serial: None, waiting: None, down: None });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// The port as panel.toml names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The serial port that it is, for its modem lines and its latency; none behind TCP, or when it is gone.
    #[must_use]
    pub const fn serial(&self) -> Option<&SerialLink> {
        self.serial.as_ref()
    }

    /// What becomes readable when there is something to receive; `None` when it is gone.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Whether to wait for the descriptor to become writable, too.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.pending() > 0)
    }

    /// Sets the line to this rate, and throws away what is on its way.
    pub fn configure(&mut self, baud: u32) {
        if let Some(pipe) = &mut self.pipe {
            pipe.discard();
        }
        self.waiting = None;
        if let Some(Err(error)) = self.serial.as_mut().map(|serial| serial.set_baud(baud)) {
            self.lost(error.to_string());
        }
    }

    /// Sends bytes, in one piece as far as the system allows.
    pub fn write(&mut self, now: Micros, bytes: &[u8]) {
        match self.pipe.as_mut().map(|pipe| pipe.write(bytes)) {
            Some(Err(error)) => self.lost(error.to_string()),
            _ if self.wants_write() => _ = self.waiting.get_or_insert(now),
            _ => {}
        }
    }

    /// What happened since the last call, one thing at a time.
    pub fn receive(&mut self, now: Micros) -> Option<PortInput> {
        if let Some(why) = self.down.take() {
            return Some(PortInput::Down { why });
        }
        let mut buffer = [0; 1024];
        match self
            .pipe
            .as_mut()?
            .flush()
            .and_then(|()| self.pipe.as_mut().map_or(Ok(0), |p| p.read(&mut buffer)))
        {
            Ok(0) => {}
            Ok(count) => return Some(PortInput::Bytes(buffer[..count].to_vec())),
            Err(error) => {
                self.lost(error.to_string());
                return self.down.take().map(|why| PortInput::Down { why });
            }
        }
        if !self.wants_write() {
            self.waiting = None;
        }
        self.waiting.take_if(|since| now.since(*since) > STUCK).map(|_| PortInput::Stuck)
    }

    fn lost(&mut self, why: String) {
        self.pipe = None;
        self.serial = None;
        self.down = Some(why);
    }
}

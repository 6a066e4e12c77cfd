//! A session of the ROM client over either kind of link, with the engine's time.

use core::time::Duration;

use panel_protocol::time::Micros;
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{
    CanKind, CanSession, CanSettings, Entry, Identity, LineAction, LineResult, Operation, UartSession,
    UartSettings,
};

/// The link to a board's ROM and what its sessions are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// AN3155.
    Uart(UartSettings),
    /// AN3154 or AN5405.
    Can(CanSettings),
}

impl Link {
    /// Whether the ROM is asked to change its bit rate, so that the adapter is at another one than a ROM begins with.
    pub(super) const fn changes_rate(&self) -> bool {
        matches!(self, Self::Can(CanSettings { kind: CanKind::Classic { speed: Some(_) }, .. }))
    }

    /// The same link to a chip that an earlier session has found.
    pub(super) fn connected(&self, identity: Identity) -> Self {
        let entry = Entry::Connected(identity);
        match self {
            Self::Uart(settings) => Self::Uart(UartSettings { entry, ..settings.clone() }),
            Self::Can(settings) => Self::Can(CanSettings { entry, ..settings.clone() }),
        }
    }
}

/// What goes over a link in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Bytes, on a UART.
    Bytes(Vec<u8>),
    /// A frame, on CAN.
    Frame(stm32::Frame),
}

/// What a session can end with.
#[derive(Debug)]
pub(super) enum Outcome {
    /// What was read of the chip.
    Info(stm32::Info),
    /// An image was written.
    Programmed(stm32::Programmed),
    /// Option bytes were written.
    Options(stm32::OptionsWritten),
    /// Protection was set.
    Protected,
    /// What a chip answered that should be locked.
    Proof(stm32::ReadoutProof),
    /// The application was started.
    Started,
}

/// What a session wants.
pub(super) enum Wish {
    Send(Packet),
    Line(LineAction),
    Event(stm32::Event),
    Wait(Micros),
    Ended(Result<Outcome, stm32::Error>),
}

/// One operation under way.
pub(super) struct Session(Box<dyn Talk + Send>);

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Begins an operation; `name` tells its outcome from others.
    pub(super) fn new<O, R: Send + 'static>(
        operation: O,
        name: fn(R) -> Outcome,
        link: &Link,
        now: Micros,
    ) -> Self
    where
        O: Operation<'static, Outcome = R>,
    {
        let now = duration(now);
        Self(match link {
            Link::Uart(settings) => {
                Box::new(OverUart(UartSession::new(operation, settings.clone(), now), name))
            }
            Link::Can(settings) => Box::new(OverCan(CanSession::new(operation, settings.clone(), now), name)),
        })
    }

    pub(super) fn handle_rx(&mut self, now: Micros, packet: &Packet) {
        self.0.handle_rx(duration(now), packet);
    }

    pub(super) fn handle_timeout(&mut self, now: Micros) {
        self.0.handle_timeout(duration(now));
    }

    pub(super) fn handle_line(&mut self, now: Micros, result: LineResult) {
        self.0.handle_line(duration(now), result);
    }

    pub(super) fn poll(&mut self) -> Wish {
        self.0.poll()
    }
}

/// A session, whatever its link and its outcome.
trait Talk {
    fn handle_rx(&mut self, now: Duration, packet: &Packet);
    fn handle_timeout(&mut self, now: Duration);
    fn handle_line(&mut self, now: Duration, result: LineResult);
    fn poll(&mut self) -> Wish;
}

struct OverUart<R: 'static>(UartSession<'static, R>, fn(R) -> Outcome);

struct OverCan<R: 'static>(CanSession<'static, R>, fn(R) -> Outcome);

impl<R: 'static> Talk for OverUart<R> {
    fn handle_rx(&mut self, now: Duration, packet: &Packet) {
        if let Packet::Bytes(bytes) = packet {
            self.0.handle_rx(now, bytes);
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.0.handle_timeout(now);
    }

    fn handle_line(&mut self, now: Duration, result: LineResult) {
        self.0.handle_line(now, result);
    }

    fn poll(&mut self) -> Wish {
        wish(self.0.poll(), Packet::Bytes, self.1)
    }
}

impl<R: 'static> Talk for OverCan<R> {
    fn handle_rx(&mut self, now: Duration, packet: &Packet) {
        if let Packet::Frame(frame) = packet {
            self.0.handle_rx(now, frame);
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.0.handle_timeout(now);
    }

    fn handle_line(&mut self, now: Duration, result: LineResult) {
        self.0.handle_line(now, result);
    }

    fn poll(&mut self) -> Wish {
        wish(self.0.poll(), Packet::Frame, self.1)
    }
}

fn wish<P, R>(output: stm32::Output<P, R>, packet: fn(P) -> Packet, name: fn(R) -> Outcome) -> Wish {
    match output {
        stm32::Output::Transmit(piece) => Wish::Send(packet(piece)),
        stm32::Output::Line(action) => Wish::Line(action),
        stm32::Output::Event(event) => Wish::Event(event),
        stm32::Output::Wait { until, .. } => Wish::Wait(micros(until)),
        stm32::Output::Done(result) => Wish::Ended(result.map(name)),
    }
}

const fn duration(now: Micros) -> Duration {
    Duration::from_micros(now.0)
}

/// Rounded up: a session is never woken before its time.
fn micros(at: Duration) -> Micros {
    Micros(u64::try_from(at.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX))
}

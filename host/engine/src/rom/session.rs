//! A session of the ROM client over either kind of link, with the engine's time.

use core::time::Duration;

use panel_protocol::time::Micros;
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{
    CanSession, CanSettings, Entry, Identity, LineAction, LineResult, Operation, UartSession, UartSettings,
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

/// One operation under way.
#[derive(Debug)]
pub(super) enum Session<R> {
    Uart(UartSession<'static, R>),
    Can(CanSession<'static, R>),
}

/// What a session wants.
pub(super) enum Wish<R> {
    Send(Packet),
    Line(LineAction),
    Event(stm32::Event),
    Wait(Micros),
    Ended(Result<R, stm32::Error>),
}

impl<R: 'static> Session<R> {
    pub(super) fn new<O>(operation: O, link: &Link, now: Micros) -> Self
    where
        O: Operation<'static, Outcome = R>,
    {
        match link {
            Link::Uart(settings) => Self::Uart(UartSession::new(operation, settings.clone(), duration(now))),
            Link::Can(settings) => Self::Can(CanSession::new(operation, settings.clone(), duration(now))),
        }
    }

    pub(super) fn handle_rx(&mut self, now: Micros, packet: &Packet) {
        match (self, packet) {
            (Self::Uart(session), Packet::Bytes(bytes)) => session.handle_rx(duration(now), bytes),
            (Self::Can(session), Packet::Frame(frame)) => session.handle_rx(duration(now), frame),
            _ => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Micros) {
        match self {
            Self::Uart(session) => session.handle_timeout(duration(now)),
            Self::Can(session) => session.handle_timeout(duration(now)),
        }
    }

    pub(super) fn handle_line(&mut self, now: Micros, result: LineResult) {
        match self {
            Self::Uart(session) => session.handle_line(duration(now), result),
            Self::Can(session) => session.handle_line(duration(now), result),
        }
    }

    pub(super) fn poll(&mut self) -> Wish<R> {
        match self {
            Self::Uart(session) => wish(session.poll(), Packet::Bytes),
            Self::Can(session) => wish(session.poll(), Packet::Frame),
        }
    }
}

fn wish<P, R>(output: stm32::Output<P, R>, packet: impl FnOnce(P) -> Packet) -> Wish<R> {
    match output {
        stm32::Output::Transmit(piece) => Wish::Send(packet(piece)),
        stm32::Output::Line(action) => Wish::Line(action),
        stm32::Output::Event(event) => Wish::Event(event),
        stm32::Output::Wait { until, .. } => Wish::Wait(micros(until)),
        stm32::Output::Done(result) => Wish::Ended(result),
    }
}

const fn duration(now: Micros) -> Duration {
    Duration::from_micros(now.0)
}

/// Rounded up: a session is never woken before its time.
fn micros(at: Duration) -> Micros {
    Micros(u64::try_from(at.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX))
}

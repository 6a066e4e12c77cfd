//! Sessions: one operation over one link, without IO, clock or executor.
//!
//! The contract is the same for [`UartSession`] and [`CanSession`] and stands on [`Output`]. A driver owns the
//! port and the clock; `examples/blocking.rs` is a complete one.

use core::fmt;
use core::time::Duration;

use crate::error::Error;
use crate::event::{Event, LineAction, LineResult, Wait};
use crate::frame::Frame;
use crate::ops::Operation;
use crate::port::{Core, Item, Packet, Polled};
use crate::rom::Rom;
use crate::settings::{CanSettings, UartSettings};

/// What a session wants next. `P` is what goes over the link: bytes or a [`Frame`].
///
/// **The contract.** After creating a session and after every `handle_*` and `cancel`, call `poll` until it
/// returns [`Output::Wait`] or [`Output::Done`], carrying out everything it returns on the way in that order.
/// Then wait for input or until the time given, whichever is first, and tell the session which it was. `now` is
/// the time since an origin of the caller's choice; it must not go back (if it does, it counts as standing
/// still).
#[derive(Debug, Clone, PartialEq)]
pub enum Output<P, R> {
    /// Send this, in one piece.
    Transmit(P),
    /// Move the lines, then call `handle_line`. Sessions that were not told to reset may still ask for it: after
    /// protection commands, and if the ROM can be brought back in no other way. A driver without lines answers
    /// [`LineResult::Unavailable`].
    Line(LineAction),
    /// Something happened.
    Event(Event),
    /// Nothing to do before input comes or it is `until`; then call `handle_rx` or `handle_timeout`.
    Wait {
        /// When to call `handle_timeout`.
        until: Duration,
        /// What is being waited for.
        why: Wait,
    },
    /// The end, once; afterwards `poll` only returns `Wait` for ever.
    Done(Result<R, Error>),
}

/// An operation over USART (AN3155).
pub struct UartSession<'a, R> {
    core: Core<'a, R>,
}

impl<'a, R: 'a> UartSession<'a, R> {
    /// Starts `operation`; nothing is sent before the first `poll`.
    pub fn new<O>(operation: O, settings: UartSettings, now: Duration) -> Self
    where
        O: Operation<'a, Outcome = R>,
    {
        Self { core: Core::new(now, |port| operation.run(Rom::over_uart(port, settings))) }
    }

    /// Bytes came in.
    pub fn handle_rx(&mut self, now: Duration, bytes: &[u8]) {
        self.core.handle(now, Some(Packet { id: 0, data: bytes.to_vec() }));
    }

    /// It is the time that the last [`Output::Wait`] named. Harmless if it is not.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.core.handle(now, None);
    }

    /// A line action was carried out, or cannot be.
    pub fn handle_line(&mut self, now: Duration, result: LineResult) {
        self.core.handle_line(now, result);
    }

    /// Stop: the operation ends with [`Error::Cancelled`]. The ROM may be left inside a command; the next
    /// session copes with that.
    pub fn cancel(&mut self, now: Duration) {
        self.core.cancel(now);
    }

    /// What to do next, see [`Output`].
    pub fn poll(&mut self) -> Output<Vec<u8>, R> {
        match self.core.poll() {
            Polled::Item(Item::Packet(packet)) => Output::Transmit(packet.data),
            Polled::Item(Item::Line(action)) => Output::Line(action),
            Polled::Item(Item::Event(event)) => Output::Event(event),
            Polled::Wait { until, why } => Output::Wait { until, why },
            Polled::Done(result) => Output::Done(result),
        }
    }
}

/// An operation over CAN (AN3154) or CAN FD (AN5405).
pub struct CanSession<'a, R> {
    core: Core<'a, R>,
    fd: bool,
}

impl<'a, R: 'a> CanSession<'a, R> {
    /// Starts `operation`; nothing is sent before the first `poll`.
    pub fn new<O>(operation: O, settings: CanSettings, now: Duration) -> Self
    where
        O: Operation<'a, Outcome = R>,
    {
        let fd = settings.kind == crate::settings::CanKind::Fd;
        Self { core: Core::new(now, |port| operation.run(Rom::over_can(port, settings))), fd }
    }

    /// A frame came in. The session ignores frames that are not for it; do not hand it its own frames back.
    pub fn handle_rx(&mut self, now: Duration, frame: &Frame) {
        self.core.handle(now, Some(Packet { id: frame.id(), data: frame.data().to_vec() }));
    }

    /// It is the time that the last [`Output::Wait`] named. Harmless if it is not.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.core.handle(now, None);
    }

    /// A line action was carried out, or cannot be.
    pub fn handle_line(&mut self, now: Duration, result: LineResult) {
        self.core.handle_line(now, result);
    }

    /// Stop: the operation ends with [`Error::Cancelled`].
    pub fn cancel(&mut self, now: Duration) {
        self.core.cancel(now);
    }

    /// What to do next, see [`Output`].
    pub fn poll(&mut self) -> Output<Frame, R> {
        loop {
            return match self.core.poll() {
                Polled::Item(Item::Packet(packet)) => {
                    let build = if self.fd { Frame::fd_padded } else { Frame::classic };
                    // The link layer only makes frames that exist.
                    let Some(frame) = build(packet.id, &packet.data) else { continue };
                    Output::Transmit(frame)
                }
                Polled::Item(Item::Line(action)) => Output::Line(action),
                Polled::Item(Item::Event(event)) => Output::Event(event),
                Polled::Wait { until, why } => Output::Wait { until, why },
                Polled::Done(result) => Output::Done(result),
            };
        }
    }
}

impl<R> fmt::Debug for UartSession<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UartSession").finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for CanSession<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CanSession").field("fd", &self.fd).finish_non_exhaustive()
    }
}

//! The CAN half of `drive`: one ROM session over one CAN link.
//!
//! Frames leave in the order of the session's wishes; only when all have been handed over does a deadline count. What
//! the adapter reports of the bus goes into the failure of a chip that does not answer, because it is the likely cause.

use std::collections::VecDeque;
use std::time::Duration;

use panel_backplane::Link;
use panel_codes::Code;
use panel_links::{BusRates, CanEvent, CanInput, CanLink};
use panel_protocol::frame::{Frame, Id};
use panel_protocol::time::Micros;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{CanSession, Event, Output};

use super::drive::{Bench, LOOK};
use crate::failure::Failure;
use crate::real_drive::open_failure;

/// Between two looks at a link that has nothing to wait for.
const PAUSE: Duration = Duration::from_millis(5);

/// Opens `can0`, `slcan:/dev/...` or `tcp://HOST:PORT` at the rates with which ROMs start (AN3154; AN2606 for FDCAN).
pub(super) fn open(name: &str, fd: bool) -> Result<Box<dyn CanLink>, Failure> {
    let full = if name.contains(':') { name.to_owned() } else { format!("socketcan:{name}") };
    let link: Link = full.parse().map_err(|e| Failure::new(Code::Usage, format!("--can {name}: {e}")))?;
    let rates = match fd {
        false => BusRates { nominal: 125_000, data: None },
        true => BusRates { nominal: 250_000, data: Some(1_000_000) },
    };
    let opened = panel_links::open_can(&link, rates)
        .ok_or_else(|| Failure::new(Code::Usage, format!("--can {name}: there is no such interface")))?;
    opened.map_err(|e| open_failure(name, &e))
}

/// Runs a session to its end.
pub(super) fn run<'a, R: 'a>(
    link: &mut dyn CanLink,
    mut session: CanSession<'a, R>,
    bench: &mut Bench,
    on_event: &mut dyn FnMut(&Event),
) -> Result<R, Failure> {
    let mut waiting: VecDeque<Frame> = VecDeque::new();
    let mut trouble = None;
    let mut cancelled = false;
    loop {
        let until = match session.poll() {
            Output::Transmit(frame) => {
                waiting.extend(to_link(&frame));
                continue;
            }
            Output::Line(action) => {
                let result = bench.act(action)?;
                session.handle_line(bench.now(), result);
                continue;
            }
            Output::Event(event) => {
                on_event(&event);
                continue;
            }
            Output::Wait { until, .. } => until,
            Output::Done(result) => return result.map_err(|e| explained(&e, trouble.as_ref())),
        };
        let now = bench.now();
        while !waiting.is_empty() && link.has_room(micros(now)) {
            waiting.pop_front().iter().for_each(|frame| link.send(micros(now), frame));
        }
        match link.receive(micros(now)) {
            Some(CanInput::Received(frame, _)) => {
                from_link(&frame).iter().for_each(|frame| session.handle_rx(now, frame));
            }
            Some(CanInput::Sent(_)) => {}
            Some(CanInput::Event(CanEvent::Down { why })) => {
                let text = format!("{}: down: {why}", link.name());
                return Err(Failure::with_exit(Code::LinkDown, text, 3));
            }
            Some(CanInput::Event(event)) => trouble = Some(event),
            None if bench.is_stopped() && !cancelled => {
                cancelled = true;
                session.cancel(now);
            }
            None if now >= until && waiting.is_empty() => session.handle_timeout(now),
            None => wait(link, !waiting.is_empty(), until.saturating_sub(now).min(LOOK), now),
        }
    }
}

/// Sleeps until the link has something, its own timeout comes, or `longest` is over.
#[expect(clippy::disallowed_methods, reason = "this is the driver, which waits")]
fn wait(link: &dyn CanLink, room_wanted: bool, longest: Duration, now: Duration) {
    let own = link.next_timeout().map(|due| Duration::from_micros(due.0).saturating_sub(now));
    let time = own.map_or(longest, |own| own.min(longest)).max(Duration::from_micros(50));
    match link.fd() {
        Some(fd) => {
            let write = if link.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
            let time = if room_wanted { time.min(PAUSE) } else { time };
            let limit = Timespec::try_from(time).ok();
            // An interrupted wait is a short one.
            _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN | write)], limit.as_ref());
        }
        None => std::thread::sleep(time.min(PAUSE)),
    }
}

fn explained(error: &stm32::Error, trouble: Option<&CanEvent>) -> Failure {
    let mut failure = super::explain(error);
    if let (Code::RomNoSync, Some(trouble)) = (failure.code, trouble) {
        failure.message = format!("{}; the adapter reports: {trouble}", failure.message);
    }
    failure
}

fn to_link(frame: &stm32::Frame) -> Option<Frame> {
    let id = Id::Standard(frame.id());
    if frame.is_fd() { Frame::fd(id, frame.data()) } else { Frame::classical(id, frame.data()) }
}

/// `None` for a frame that no ROM sends.
fn from_link(frame: &Frame) -> Option<stm32::Frame> {
    let Id::Standard(id) = frame.id() else { return None };
    if frame.is_fd() { stm32::Frame::fd(id, frame.data()) } else { stm32::Frame::classic(id, frame.data()) }
}

fn micros(time: Duration) -> Micros {
    Micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

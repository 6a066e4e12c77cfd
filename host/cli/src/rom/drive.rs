//! Drives one ROM session over one serial port: bytes, deadlines, reset lines, Ctrl-C.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use panel_codes::Code;
use panel_links::{LinkError, Parity, SerialLink};
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{Chip, Device, Event, LineAction, LineResult, Operation, Output, UartSession};

use super::{Entry, PortArgs};
use crate::failure::Failure;

/// How long NRST is held, and how long BOOT0 must be stable before and after; far above any STM32's needs.
const PULSE: Duration = Duration::from_millis(20);
/// Longest wait in one go, so that Ctrl-C is seen.
const LOOK: Duration = Duration::from_millis(100);
/// Latency of an adapter that does not tell.
const USUAL_LATENCY: Duration = Duration::from_millis(1);

/// An open port with a ROM on it, perhaps.
pub(crate) struct Port {
    link: SerialLink,
    entry: Entry,
    invert: bool,
    start: Instant,
    stop: Arc<AtomicBool>,
}

/// What every session over this port is told.
#[derive(Clone)]
pub(crate) struct Settings(pub(crate) stm32::UartSettings);

/// A link error as a failure of the station.
pub(crate) fn link_failure(error: &LinkError) -> Failure {
    let code = match error {
        LinkError::Missing { .. } => Code::PortMissing,
        LinkError::Busy { .. } => Code::PortBusy,
        LinkError::Permission { .. } => Code::PortMissing,
        LinkError::Settings { .. } => Code::PortRate,
        LinkError::Gone { .. } => Code::PortGone,
    };
    Failure::with_exit(code, error.to_string(), 3)
}

impl Port {
    /// Opens the port of these arguments.
    #[expect(clippy::disallowed_methods, reason = "this is the driver, which owns the clock")]
    pub(crate) fn open(args: &PortArgs) -> Result<(Self, Settings), Failure> {
        let path: &Path = args
            .port
            .as_deref()
            .ok_or_else(|| Failure::new(Code::Usage, "--port PATH is needed: which serial port?"))?;
        if args.baud == 0 {
            return Err(Failure::new(Code::Usage, "--baud 0: a baud rate is at least 1"));
        }
        let link = SerialLink::open(path, args.baud, Parity::Even).map_err(|e| link_failure(&e))?;
        let latency = args.latency().or_else(|| link.latency().map(|l| l.0)).unwrap_or(USUAL_LATENCY);
        let mut settings = stm32::UartSettings { latency, ..stm32::UartSettings::new(args.baud) };
        settings.chip = match args.force_device.as_deref() {
            None => Chip::Detect,
            Some(name) => Chip::Force(device(name)?),
        };
        if args.entry != Entry::AsIs {
            settings.entry = stm32::Entry::Reset;
        }
        let port = Self {
            link,
            entry: args.entry,
            invert: args.invert_lines,
            start: Instant::now(),
            stop: crate::run::stop_flag()?,
        };
        Ok((port, Settings(settings)))
    }

    /// When the port was opened.
    pub(crate) const fn clock(&self) -> Instant {
        self.start
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs one operation to its end.
    pub(crate) fn run<'a, O: Operation<'a>>(
        &mut self,
        operation: O,
        settings: &Settings,
        mut on_event: impl FnMut(&Event),
    ) -> Result<O::Outcome, Failure>
    where
        O::Outcome: 'a,
    {
        let mut session = UartSession::new(operation, settings.0.clone(), self.start.elapsed());
        let mut buffer = [0; 512];
        let mut cancelled = false;
        loop {
            match session.poll() {
                Output::Transmit(bytes) => self.link.send(&bytes).map_err(|e| link_failure(&e))?,
                Output::Line(action) => {
                    let result = self.lines(action);
                    session.handle_line(self.start.elapsed(), result);
                }
                Output::Event(event) => on_event(&event),
                Output::Wait { until, .. } => {
                    if self.is_stopped() && !cancelled {
                        cancelled = true;
                        session.cancel(self.start.elapsed());
                        continue;
                    }
                    let now = self.start.elapsed();
                    if now >= until {
                        session.handle_timeout(now);
                        continue;
                    }
                    let patience = (until - now).min(LOOK);
                    let count = self.link.receive(&mut buffer, patience).map_err(|e| link_failure(&e))?;
                    if count > 0 {
                        session.handle_rx(self.start.elapsed(), &buffer[..count]);
                    }
                }
                Output::Done(result) => {
                    let device = match settings.0.chip {
                        Chip::Expect(device) | Chip::Force(device) => Some(device),
                        Chip::Detect => None,
                    };
                    return result.map_err(|e| super::with_the_way_in(super::explain(&e), device));
                }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the driver, which waits for lines to settle")]
    fn lines(&self, action: LineAction) -> LineResult {
        let boot = match (self.entry, action) {
            (Entry::AsIs, _) => return LineResult::Unavailable,
            (_, LineAction::EnterRom) => true,
            (_, LineAction::StartApplication) => false,
            // A serial port switches no power and a UART has its rate from the sync byte.
            _ => return LineResult::Unavailable,
        };
        let set = |reset: bool, boot: bool| {
            let (reset, boot) = (reset != self.invert, boot != self.invert);
            match self.entry {
                Entry::DtrResetRtsBoot => self.link.set_dtr(reset) && self.link.set_rts(boot),
                _ => self.link.set_rts(reset) && self.link.set_dtr(boot),
            }
        };
        let held = set(true, boot);
        std::thread::sleep(PULSE);
        let released = set(false, boot);
        std::thread::sleep(PULSE);
        if held && released { LineResult::Done } else { LineResult::Unavailable }
    }
}

/// The device of this name.
pub(crate) fn device(name: &str) -> Result<&'static Device, Failure> {
    let mut found = Device::with_name(name);
    let first = found.next();
    first.ok_or_else(|| {
        let text = format!("no chip called {name} in the table of {} devices", Device::all().len());
        Failure::with_exit(Code::RomUnknownChip, text, 2)
    })
}

//! Drives one ROM session over one serial port: bytes, deadlines, reset lines, Ctrl-C.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use panel_codes::Code;
use panel_links::{LinkError, Parity, SerialLink};
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{Chip, Device, Event, LineResult, Operation, Output, UartSession};

use super::PortArgs;
use super::lines::BenchLines;
use crate::failure::Failure;

/// Longest wait in one go, so that Ctrl-C is seen.
const LOOK: Duration = Duration::from_millis(100);
/// Latency of an adapter that does not tell.
const USUAL_LATENCY: Duration = Duration::from_millis(1);

/// An open port with a ROM on it, perhaps.
pub(crate) struct Port {
    link: SerialLink,
    lines: Option<BenchLines>,
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
        let lines = BenchLines::open(&args.lines, &link)?;
        if lines.is_some() {
            settings.entry = stm32::Entry::Reset;
        }
        let port = Self { link, lines, start: Instant::now(), stop: crate::run::stop_flag()? };
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
                    let result = match &mut self.lines {
                        Some(lines) => lines.act(action)?,
                        None => LineResult::Unavailable,
                    };
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

//! Drives ROM sessions over what the board hangs on, a serial port or a CAN bus: bytes or frames, deadlines, lines,
//! Ctrl-C. The CAN half is in `can_drive`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use panel_codes::Code;
use panel_links::{CanLink, LinkError, Parity, SerialLink};
use stm32_rom_bootloader::{
    CanSession, CanSettings, Chip, Device, Entry, Event, Identity, LineAction, LineResult, Operation, Output,
    UartSession, UartSettings,
};

use super::PortArgs;
use super::lines::BenchLines;
use crate::failure::Failure;

/// Longest wait in one go, so that Ctrl-C is seen.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// Latency of an adapter that does not tell.
const USUAL_LATENCY: Duration = Duration::from_millis(1);

/// An open port or bus with a ROM on it, perhaps.
pub(crate) struct Port {
    wire: Wire,
    bench: Bench,
    chip: Chip,
}

/// What leads to the chip, and what sessions over it are told.
enum Wire {
    Uart(SerialLink, UartSettings),
    Can(Box<dyn CanLink>, CanSettings),
}

/// What both kinds of wire have around them.
pub(super) struct Bench {
    lines: Option<BenchLines>,
    start: Instant,
    stop: Arc<AtomicBool>,
}

impl Bench {
    /// Time since the port was opened.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether Ctrl-C was pressed.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Carries out what a session asks of the board's lines.
    pub(super) fn act(&mut self, action: LineAction) -> Result<LineResult, Failure> {
        self.lines.as_mut().map_or(Ok(LineResult::Unavailable), |lines| lines.act(action))
    }
}

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
    /// Opens the port or bus of these arguments.
    #[expect(clippy::disallowed_methods, reason = "this is the driver, which owns the clock")]
    pub(crate) fn open(args: &PortArgs) -> Result<Self, Failure> {
        let chip = match args.force_device.as_deref() {
            None => Chip::Detect,
            Some(name) => Chip::Force(device(name)?),
        };
        let usage = |text: &str| Err(Failure::new(Code::Usage, text));
        let (mut wire, lines) = match (&args.port, &args.can) {
            (Some(_), Some(_)) => return usage("--port or --can: a board hangs on one of them"),
            (Some(_), None) if args.fd => return usage("--fd is about --can"),
            (Some(path), None) => open_uart(path, args)?,
            (None, Some(name)) => open_can(name, args)?,
            (None, None) => return usage("--port PATH or --can IF is needed: where is the board?"),
        };
        let entry = if lines.is_some() { Entry::Reset } else { Entry::AsIs };
        match &mut wire {
            Wire::Uart(_, settings) => (settings.chip, settings.entry) = (chip, entry),
            Wire::Can(_, settings) => (settings.chip, settings.entry) = (chip, entry),
        }
        let bench = Bench { lines, start: Instant::now(), stop: crate::run::stop_flag()? };
        Ok(Self { wire, bench, chip })
    }

    /// Gives a chip this long to answer at first.
    pub(crate) fn wait_for_chip(&mut self, limit: Duration) {
        match &mut self.wire {
            Wire::Uart(_, settings) => settings.limits.connect = limit,
            Wire::Can(_, settings) => settings.limits.connect = limit,
        }
    }

    /// Whether the board is on a CAN bus.
    pub(crate) fn is_can(&self) -> bool {
        matches!(self.wire, Wire::Can(..))
    }

    /// Whether the board can be reset or power cycled.
    pub(crate) fn has_lines(&self) -> bool {
        self.bench.lines.is_some()
    }

    /// When the port was opened.
    pub(crate) const fn clock(&self) -> Instant {
        self.bench.start
    }

    /// Runs one operation to its end; `connected` is the chip if an earlier operation has found it.
    pub(crate) fn run<'a, O: Operation<'a>>(
        &mut self,
        operation: O,
        connected: Option<&Identity>,
        on_event: &mut dyn FnMut(&Event),
    ) -> Result<O::Outcome, Failure>
    where
        O::Outcome: 'a,
    {
        let now = self.bench.now();
        let result = match &mut self.wire {
            Wire::Uart(link, settings) => {
                let mut settings = settings.clone();
                settings.entry = connected.cloned().map_or(settings.entry, Entry::Connected);
                let session = UartSession::new(operation, settings, now);
                run_uart(link, session, &mut self.bench, on_event)
            }
            Wire::Can(link, settings) => {
                let mut settings = settings.clone();
                settings.entry = connected.cloned().map_or(settings.entry, Entry::Connected);
                let session = CanSession::new(operation, settings, now);
                super::can_drive::run(link.as_mut(), session, &mut self.bench, on_event)
            }
        };
        let device = match self.chip {
            Chip::Expect(device) | Chip::Force(device) => Some(device),
            Chip::Detect => None,
        };
        result.map_err(|failure| super::with_the_way_in(failure, device))
    }
}

fn open_uart(path: &Path, args: &PortArgs) -> Result<(Wire, Option<BenchLines>), Failure> {
    if args.baud == 0 {
        return Err(Failure::new(Code::Usage, "--baud 0: a baud rate is at least 1"));
    }
    let link = SerialLink::open(path, args.baud, Parity::Even).map_err(|e| link_failure(&e))?;
    let latency = args.latency().or_else(|| link.latency().map(|l| l.0)).unwrap_or(USUAL_LATENCY);
    let settings = UartSettings { latency, ..UartSettings::new(args.baud) };
    let lines = BenchLines::open(&args.lines, Some(&link))?;
    Ok((Wire::Uart(link, settings), lines))
}

fn open_can(name: &str, args: &PortArgs) -> Result<(Wire, Option<BenchLines>), Failure> {
    let link = super::can_drive::open(name, args.fd)?;
    let latency = args.latency().unwrap_or(USUAL_LATENCY);
    let kind = if args.fd { CanSettings::fd() } else { CanSettings::classic() };
    let lines = BenchLines::open(&args.lines, None)?;
    Ok((Wire::Can(link, CanSettings { latency, ..kind }), lines))
}

fn run_uart<'a, R: 'a>(
    link: &SerialLink,
    mut session: UartSession<'a, R>,
    bench: &mut Bench,
    on_event: &mut dyn FnMut(&Event),
) -> Result<R, Failure> {
    let mut buffer = [0; 512];
    let mut cancelled = false;
    loop {
        match session.poll() {
            Output::Transmit(bytes) => link.send(&bytes).map_err(|e| link_failure(&e))?,
            Output::Line(action) => {
                let result = bench.act(action)?;
                session.handle_line(bench.now(), result);
            }
            Output::Event(event) => on_event(&event),
            Output::Wait { until, .. } => {
                if bench.is_stopped() && !cancelled {
                    cancelled = true;
                    session.cancel(bench.now());
                    continue;
                }
                let now = bench.now();
                if now >= until {
                    session.handle_timeout(now);
                    continue;
                }
                let patience = (until - now).min(LOOK);
                let count = link.receive(&mut buffer, patience).map_err(|e| link_failure(&e))?;
                if count > 0 {
                    session.handle_rx(bench.now(), &buffer[..count]);
                }
            }
            Output::Done(result) => return result.map_err(|e| super::explain(&e)),
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

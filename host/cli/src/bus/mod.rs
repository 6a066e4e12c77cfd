//! `panelflash bus`: what is on a bus, for people at a bench.
//!
//! Nothing here programs: `scan` asks boards who they are, `status` and `monitor` only listen.

mod candump;
mod decode;
mod monitor;
mod scan;
mod status;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use panel_backplane::Link;
use panel_backplane::units::BitRate;
use panel_codes::Code;
use panel_links::{BusRates, CanLink, Stamp, open_can};
use panel_protocol::time::{Micros, Span};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::failure::Failure;
use crate::real_drive::{Clock, open_failure};

/// Longest sleep between two looks at the stop flag.
const TICK: Span = Span::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct BusArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Find every board that has power, and ask what it is.
    ///
    /// Boards forget their numbers and sessions first: not while a run uses the bus. Boards that run their
    /// application do not answer. Exit code 1 if nobody answers.
    Scan(scan::ScanArgs),
    /// Say how the interface is set, what its controller says, and how busy the bus is.
    Status(status::StatusArgs),
    /// Show frames as they pass, decoded; or replay a log of candump.
    ///
    /// Only listens. `--candump` writes what can-utils read: `canplayer`, `log2asc`, and `--replay`.
    #[command(after_help = "Examples:\n  panelflash bus monitor --can can0\n  \
                            panelflash bus monitor --can can0 --candump > run.log\n  \
                            panelflash bus monitor --replay run.log")]
    Monitor(monitor::MonitorArgs),
}

pub(crate) fn bus(args: &BusArgs) -> Result<u8, Failure> {
    match &args.what {
        What::Scan(args) => scan::scan(args),
        What::Status(args) => status::status(args),
        What::Monitor(args) => monitor::monitor(args),
    }
}

/// Which bus.
#[derive(Debug, Args)]
#[group(id = "link", required = false, multiple = false)]
struct Which {
    /// A CAN interface of the kernel.
    #[arg(long, value_name = "IF")]
    can: Option<String>,
    /// The port of an slcan adapter.
    #[arg(long, value_name = "PORT")]
    slcan: Option<PathBuf>,
    /// A gateway or a board that speaks the byte-stream framing.
    #[arg(long, value_name = "HOST:PORT")]
    tcp: Option<String>,
}

/// Its rates.
#[derive(Debug, Args)]
struct Rates {
    /// Bit rate, on CAN FD of the arbitration phase.
    #[arg(long, value_name = "RATE", default_value = "1M")]
    bit_rate: BitRate,
    /// Bit rate of the data phase; makes it a CAN FD bus.
    #[arg(long, value_name = "RATE")]
    data_bit_rate: Option<BitRate>,
}

impl From<&Rates> for BusRates {
    fn from(rates: &Rates) -> Self {
        Self { nominal: rates.bit_rate.0, data: rates.data_bit_rate.map(|r| r.0) }
    }
}

impl Which {
    fn link(&self) -> Result<Link, Failure> {
        let text = match (&self.can, &self.slcan, &self.tcp) {
            (Some(name), ..) => format!("socketcan:{name}"),
            (_, Some(port), _) => format!("slcan:{}", port.display()),
            (_, _, Some(address)) => format!("tcp://{}", address.trim_start_matches("tcp://")),
            (None, None, None) => "sim".to_owned(),
        };
        text.parse().map_err(|e| Failure::new(Code::Usage, format!("{e}")))
    }

    fn open(&self, rates: BusRates) -> Result<Box<dyn CanLink>, Failure> {
        let link = self.link()?;
        let missing = || Failure::new(Code::Usage, "which bus? Say --can, --slcan or --tcp");
        let opened = open_can(&link, rates).ok_or_else(missing)?;
        opened.map_err(|e| open_failure(&link.to_string(), &e))
    }
}

/// Waits until the link has something, or until then, or a moment.
fn wait(link: &dyn CanLink, clock: &Clock, until: Option<Micros>) {
    let due = until.into_iter().chain(link.next_timeout()).min();
    let sleep = due.map_or(TICK, |due| due.since(clock.now())).min(TICK);
    let write = if link.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
    let fd: Option<BorrowedFd<'_>> = link.fd();
    let mut fds: Vec<PollFd<'_>> =
        fd.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN | write)).collect();
    // A signal interrupts it: the stop flag is looked at.
    _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: sleep.0 as i64 * 1000 }));
}

/// When a frame was received, in microseconds since 1970: by the kernel's stamp where there is one.
fn wall_us(stamp: Option<Stamp>) -> u64 {
    let at = match stamp {
        Some(Stamp::Kernel(at)) => at,
        #[expect(clippy::disallowed_methods, reason = "what the kernel did not stamp is stamped here")]
        Some(Stamp::AdapterMs(_)) | None => SystemTime::now(),
    };
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_micros() as u64)
}

/// The link is gone.
fn down(link: &dyn CanLink, why: &str) -> Failure {
    Failure::new(Code::LinkDown, format!("{}: {why}", link.name()))
}

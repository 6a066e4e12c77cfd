//! `panelflash bus monitor`: frames as they pass, or those of a log.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args;
use panel_codes::Code;
use panel_links::{CanEvent, CanInput};
use panel_protocol::frame::{Frame, Id};
use panel_protocol::time::{Micros, Span};
use serde::Serialize;

use super::decode::{Speaker, meaning};
use super::{Rates, Which, candump, down, wait, wall_us};
use crate::failure::Failure;
use crate::real_drive::Clock;

#[derive(Debug, Args)]
pub(super) struct MonitorArgs {
    #[command(flatten)]
    which: Option<Which>,
    #[command(flatten)]
    rates: Rates,
    /// A log of `candump -L`, or of `--candump`, instead of a bus.
    #[arg(long, value_name = "FILE", conflicts_with = "link", required_unless_present = "link")]
    replay: Option<PathBuf>,
    /// Print lines that can-utils read.
    #[arg(long, conflicts_with = "json")]
    candump: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Stop after this time instead of by Ctrl-C.
    #[arg(long, value_name = "SECONDS", conflicts_with = "replay")]
    seconds: Option<u16>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    time_us: u64,
    link: &'a str,
    id: u32,
    extended: bool,
    fd: bool,
    data: String,
    from: String,
    meaning: String,
}

/// How frames are printed.
struct Printer {
    candump: bool,
    json: bool,
    first_us: Option<u64>,
}

impl Printer {
    fn frame(&mut self, time_us: u64, link: &str, frame: &Frame) {
        let from = Speaker::of(frame).name();
        if self.candump {
            // The log's interfaces are words.
            let interface =
                link.split_once(':').map_or(link, |(_, name)| name).replace(char::is_whitespace, "_");
            crate::out::line(&candump::line(time_us, &interface, frame));
        } else if self.json {
            let (id, extended) = match frame.id() {
                Id::Standard(id) => (u32::from(id), false),
                Id::Extended(id) => (id, true),
            };
            let data = hex::encode(frame.data());
            let (fd, meaning) = (frame.is_fd(), meaning(frame));
            let row = Row { time_us, link, id, extended, fd, data, from, meaning };
            crate::out::line(&serde_json::to_string(&row).unwrap_or_default());
        } else {
            let first = *self.first_us.get_or_insert(time_us);
            let seconds = time_us.saturating_sub(first) as f64 / 1e6;
            let raw = format!("{frame:?}");
            crate::out::line(&format!("{seconds:>11.6}  {from:<8} {:<60} {raw}", meaning(frame)));
        }
    }
}

pub(super) fn monitor(args: &MonitorArgs) -> Result<u8, Failure> {
    let mut printer = Printer { candump: args.candump, json: args.json, first_us: None };
    if let Some(file) = &args.replay {
        return replay(file, &mut printer);
    }
    let Some(which) = &args.which else { return Ok(2) };
    let mut link = which.open((&args.rates).into())?;
    let stop = crate::run::stop_flag()?;
    let mut clock = Clock::start();
    let end = args.seconds.map(|s| Micros::ZERO + Span::from_millis(u64::from(s) * 1000));
    while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| clock.now() < end) {
        clock.look();
        let now = clock.now();
        while let Some(input) = link.receive(now) {
            match input {
                CanInput::Received(frame, stamp) => printer.frame(wall_us(stamp), link.name(), &frame),
                CanInput::Event(CanEvent::Down { why }) => return Err(down(link.as_ref(), &why)),
                CanInput::Event(event) => crate::out::note(&format!("{}: {event}", link.name())),
                CanInput::Sent(_) => {}
            }
        }
        wait(link.as_ref(), &clock, end);
    }
    Ok(0)
}

fn replay(file: &Path, printer: &mut Printer) -> Result<u8, Failure> {
    let refuse =
        |e: &dyn std::fmt::Display| Failure::new(Code::FileUnreadable, format!("{}: {e}", file.display()));
    let lines = BufReader::new(std::fs::File::open(file).map_err(|e| refuse(&e))?).lines();
    for (number, line) in (1..).zip(lines) {
        let line = line.map_err(|e| refuse(&e))?;
        if line.trim().is_empty() {
            continue;
        }
        let entry = candump::parse(&line).map_err(|e| refuse(&format!("line {number}: {e}")))?;
        if let Some(frame) = &entry.frame {
            printer.frame(entry.time_us, &entry.interface, frame);
        }
    }
    Ok(0)
}

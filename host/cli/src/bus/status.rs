//! `panelflash bus status`: how an interface is set, what its controller says, how busy the bus is.

use std::collections::BTreeSet;

use clap::Args;
use panel_backplane::Link;
use panel_links::{BusRates, CanEvent, CanInput, CanInterfaceState, frame_time_ns};
use panel_protocol::time::{Micros, Span};
use serde::Serialize;

use super::decode::Speaker;
use super::{Rates, Which, down, wait};
use crate::failure::Failure;
use crate::real_drive::{Clock, open_failure};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    rates: Rates,
    /// How long to listen.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    seconds: u16,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    link: String,
    interface: Option<Interface>,
    seconds: u16,
    frames: u64,
    /// Frames whose identifier the protocol gives to nobody.
    foreign: u64,
    /// Share of the time in which the bus carried frames, without stuff bits.
    load: f64,
    errors: u64,
    frames_lost: u64,
    events: BTreeSet<String>,
}

#[derive(Debug, Serialize)]
struct Interface {
    up: bool,
    fd: bool,
    bit_rate: Option<u32>,
    data_bit_rate: Option<u32>,
    state: Option<&'static str>,
    transmit_errors: Option<u16>,
    receive_errors: Option<u16>,
    restart_ms: Option<u32>,
    queue_length: Option<u32>,
}

pub(super) fn status(args: &StatusArgs) -> Result<u8, Failure> {
    let rates = BusRates::from(&args.rates);
    let named = args.which.link()?;
    let interface = match &named {
        Link::SocketCan(name) => {
            let state = CanInterfaceState::read(name).map_err(|e| open_failure(&named.to_string(), &e))?;
            if !args.json {
                describe(&state);
            }
            Some(state)
        }
        _ => None,
    };
    let mut link = args.which.open(rates)?;
    let stop = crate::run::stop_flag()?;
    let (mut frames, mut foreign, mut busy_ns, mut events) = (0, 0, 0, BTreeSet::new());
    let mut clock = Clock::start();
    let end = Micros::ZERO + Span::from_millis(u64::from(args.seconds) * 1000);
    while clock.now() < end && !stop.load(std::sync::atomic::Ordering::Relaxed) {
        clock.look();
        let now = clock.now();
        while let Some(input) = link.receive(now) {
            match input {
                CanInput::Received(frame, _) => {
                    frames += 1;
                    foreign += u64::from(Speaker::of(&frame) == Speaker::Foreign);
                    busy_ns += frame_time_ns(&frame, rates);
                }
                CanInput::Event(CanEvent::Down { why }) => return Err(down(link.as_ref(), &why)),
                CanInput::Event(event) => _ = events.insert(event.to_string()),
                CanInput::Sent(_) => {}
            }
        }
        wait(link.as_ref(), &clock, Some(end));
    }
    let counters = link.counters();
    let report = Report {
        link: link.name().to_owned(),
        interface: interface.map(Interface::from),
        seconds: args.seconds,
        frames,
        foreign,
        load: busy_ns as f64 / clock.now().0.max(1) as f64 / 1000.0,
        errors: counters.errors,
        frames_lost: counters.overruns,
        events,
    };
    if args.json {
        crate::out::line(&serde_json::to_string(&report).unwrap_or_default());
    } else {
        print(&report);
    }
    Ok(0)
}

fn describe(state: &CanInterfaceState) {
    let number = |value: Option<u32>| value.map_or_else(|| "not told".to_owned(), |v| v.to_string());
    let up = if state.up { "up" } else { "down" };
    let kind = if state.fd { "CAN FD" } else { "classical" };
    crate::out::line(&format!("interface      {} {up}, {kind}", state.name));
    crate::out::line(&format!(
        "bit rate       {}, data {}",
        number(state.bit_rate),
        number(state.data_bit_rate)
    ));
    let errors =
        state.errors.map_or_else(String::new, |(tx, rx)| format!(", errors {tx} transmit, {rx} receive"));
    crate::out::line(&format!("controller     {}{errors}", state.state.unwrap_or("not told")));
    let restart = match state.restart_ms {
        Some(0) => "never by itself".to_owned(),
        Some(ms) => format!("after {ms} ms"),
        None => "not told".to_owned(),
    };
    crate::out::line(&format!("after bus-off  restarts {restart}"));
    crate::out::line(&format!("queue          {} frames", number(state.queue_length)));
}

fn print(report: &Report) {
    crate::out::line(&format!(
        "traffic        {} frames in {} s, {} foreign, load {:.1} %",
        report.frames,
        report.seconds,
        report.foreign,
        report.load * 100.0
    ));
    crate::out::line(&format!(
        "errors         {} reports, {} received frames lost",
        report.errors, report.frames_lost
    ));
    for event in &report.events {
        crate::out::line(&format!("               {event}"));
    }
}

impl From<CanInterfaceState> for Interface {
    fn from(state: CanInterfaceState) -> Self {
        Self {
            up: state.up,
            fd: state.fd,
            bit_rate: state.bit_rate,
            data_bit_rate: state.data_bit_rate,
            state: state.state,
            transmit_errors: state.errors.map(|(tx, _)| tx),
            receive_errors: state.errors.map(|(_, rx)| rx),
            restart_ms: state.restart_ms,
            queue_length: state.queue_length,
        }
    }
}

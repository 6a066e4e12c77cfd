//! `panelflash bus scan`: discovery as a run does it, and what each board says of itself.

use clap::Args;
use panel_links::{CanEvent, CanInput, CanLink};
use panel_protocol::host::{Answer, BusEvent, BusMaster, Discovered, Request, Timing};
use panel_protocol::ident::NodeId;
use panel_protocol::message::{Control, IdentifyPart};
use panel_protocol::reply::Info;
use panel_protocol::time::Span;
use serde::Serialize;

use super::{Rates, Which, down, wait};
use crate::failure::Failure;
use crate::real_drive::Clock;

#[derive(Debug, Args)]
pub(super) struct ScanArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    rates: Rates,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

/// A board, as it describes itself.
#[derive(Debug, Serialize)]
struct Row {
    node: u8,
    uid: String,
    /// Address straps: the slot, on panels that have them.
    straps: Option<u16>,
    /// Another board has the same UID; nothing more was asked.
    duplicate: bool,
    device_id: Option<String>,
    hardware_revision: Option<u16>,
    bootloader_version: Option<String>,
    supply_mv: Option<u16>,
    protection: Option<String>,
    image: Option<String>,
    image_id: Option<String>,
}

pub(super) fn scan(args: &ScanArgs) -> Result<u8, Failure> {
    let mut link = args.which.open((&args.rates).into())?;
    let mut scan = Scan {
        // Silence is one adapter's round trip longer than in a run: there is no hurry here.
        master: BusMaster::new(Timing { quiet: Span::from_millis(10), ..Timing::default() }, 0),
        discovered: None,
        infos: Vec::new(),
        done: false,
    };
    scan.work(link.as_mut())?;
    let rows = scan.rows();
    if args.json {
        crate::out::line(&serde_json::to_string(&rows).unwrap_or_default());
    } else {
        print(&rows);
    }
    if rows.is_empty() {
        crate::out::note("no board answers: are they powered, and in their bootloader?");
    }
    Ok(u8::from(rows.is_empty()))
}

struct Scan {
    master: BusMaster,
    discovered: Option<Discovered>,
    infos: Vec<(NodeId, Info)>,
    done: bool,
}

impl Scan {
    fn work(&mut self, link: &mut dyn CanLink) -> Result<(), Failure> {
        let mut clock = Clock::start();
        self.master.discover(clock.now(), true);
        while !self.done {
            clock.look();
            let now = clock.now();
            while let Some(input) = link.receive(now) {
                match input {
                    CanInput::Received(frame, _) => self.master.handle_frame(now, &frame),
                    CanInput::Event(CanEvent::Down { why }) => return Err(down(link, &why)),
                    CanInput::Sent(_) => {}
                    CanInput::Event(event) => crate::out::note(&format!("{}: {event}", link.name())),
                }
            }
            if self.master.next_timeout().is_some_and(|due| now >= due) {
                self.master.handle_timeout(now);
            }
            while let Some(event) = self.master.poll_event() {
                self.handle(now, event);
            }
            while link.has_room(now)
                && let Some(frame) = self.master.poll_transmit(now)
            {
                link.send(now, &frame);
            }
            wait(link, &clock, self.master.next_timeout());
        }
        Ok(())
    }

    fn handle(&mut self, now: panel_protocol::time::Micros, event: BusEvent) {
        match event {
            BusEvent::Discovered(discovered) => {
                let nodes: Vec<NodeId> = discovered.found.iter().map(|f| f.node).collect();
                self.done = nodes.is_empty();
                if !self.done {
                    let ask = Request::Control(Control::Identify(IdentifyPart::Info));
                    self.master.ask_all(now, &ask, &nodes, Span::ZERO);
                }
                self.discovered = Some(discovered);
            }
            BusEvent::Answered(node, Answer::Info(info)) => self.infos.push((node, info)),
            BusEvent::Asked { .. } => self.done = true,
            _ => {}
        }
    }

    /// The boards in the order of their straps, then of their UIDs.
    fn rows(&self) -> Vec<Row> {
        let Some(discovered) = &self.discovered else { return Vec::new() };
        let found = discovered.found.iter().map(|found| {
            let info = self.infos.iter().find(|(node, _)| *node == found.node).map(|(_, info)| info);
            row(found.node.get(), found.uid.to_string(), found.strap, false, info)
        });
        let twins = discovered.duplicates.iter().flat_map(|twin| {
            twin.straps.iter().map(|&strap| row(0, twin.uid.to_string(), Some(strap), true, None))
        });
        let mut rows: Vec<Row> = found.chain(twins).collect();
        rows.sort_by(|a, b| (a.straps, &a.uid).cmp(&(b.straps, &b.uid)));
        rows
    }
}

fn row(node: u8, uid: String, straps: Option<u16>, duplicate: bool, info: Option<&Info>) -> Row {
    Row {
        node,
        uid,
        straps,
        duplicate,
        device_id: info.map(|i| format!("{:#05x}", i.device_id)),
        hardware_revision: info.map(|i| i.hardware_revision),
        bootloader_version: info
            .map(|i| format!("{}.{}", i.bootloader_version >> 8, i.bootloader_version & 0xFF)),
        supply_mv: info.map(|i| i.supply_mv).filter(|&mv| mv != 0),
        protection: info.map(|i| format!("{:?}", i.protection).to_lowercase()),
        image: info.map(|i| format!("{:?}", i.image).to_lowercase()),
        image_id: info.map(|i| format!("{:08x}", i.image_id)),
    }
}

fn print(rows: &[Row]) {
    crate::out::line("straps  node  UID                       device  rev  boot  supply  protection  image");
    for row in rows {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        if row.duplicate {
            let straps = text(row.straps.map(|s| s.to_string()));
            crate::out::line(&format!("{straps:>6}     -  {}  shared with another board: silenced", row.uid));
            continue;
        }
        crate::out::line(&format!(
            "{:>6}  {:>4}  {}  {:>6}  {:>3}  {:>4}  {:>6}  {:<10}  {} {}",
            text(row.straps.map(|s| s.to_string())),
            row.node,
            row.uid,
            text(row.device_id.clone()),
            text(row.hardware_revision.map(|r| r.to_string())),
            text(row.bootloader_version.clone()),
            text(row.supply_mv.map(|mv| format!("{:.2} V", f64::from(mv) / 1000.0))),
            text(row.protection.clone()),
            text(row.image.clone()),
            text(row.image_id.clone()),
        ));
    }
    crate::out::line(&format!("{} boards", rows.len()));
}

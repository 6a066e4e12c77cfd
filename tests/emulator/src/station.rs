//! A test station: the real engine drives a simulated panel whose slots hold emulated boards, in virtual time.
//!
//! The same contract as every driver of `panel_engine::Run` (events, then lines, then frames); the world decides
//! what time it is. Nothing is kept of the events but the list. A run that asks for identities gets them from the test.

use panel_backplane::{BusIndex, LineAction, LineFunction, Panel, Slot};
use panel_engine::{BusRate, Event, LinkEvent, PortIndex, PortOutput, Refused, Reserved, Run};
use panel_protocol::node::Uid;
use panel_protocol::time::{Micros, Span};
use panel_simulator::{BusSpeed, HostEvent, World};

/// Frames handed to the adapter and not yet confirmed.
const IN_FLIGHT: usize = 4;

/// Drives a run to its end, or until `limit` of virtual time has passed; gives its events.
///
/// # Panics
/// If the run asks for something that this station does not have: identities.
pub fn drive(run: &mut Run, world: &mut World, limit: Span) -> Vec<Event> {
    drive_with(run, world, limit, &mut |slot, uid| {
        panic!("slot {slot:?} ({uid}): no identities are kept here")
    })
}

/// Who gives a board of this slot and UID what is its own.
pub type Issuer<'a> = &'a mut dyn FnMut(Slot, Uid) -> Result<Reserved, Refused>;

/// The same for a run that asks for identities, which `issue` gives.
pub fn drive_with(run: &mut Run, world: &mut World, limit: Span, issue: Issuer<'_>) -> Vec<Event> {
    let panel = run.plan().panel.clone();
    let end = world.now() + limit;
    let mut events = Vec::new();
    loop {
        obey(run, world, &panel, &mut events, issue);
        let now = world.now();
        if run.is_finished() || now >= end {
            return events;
        }
        let due = run.next_timeout();
        let until = due.into_iter().chain(world.next_event()).chain([end]).min().unwrap_or(end);
        world.advance(until.max(now));
        let now = world.now();
        while let Some(event) = world.poll_host() {
            match event {
                HostEvent::Readable { slot } => read_port(run, world, slot),
                _ => deliver(run, now, event),
            }
        }
        if due.is_some_and(|due| now >= due) {
            run.handle_timeout(now);
        }
    }
}

/// Lets the world live on without a host.
pub fn wait(world: &mut World, span: Span) {
    let end = world.now() + span;
    while world.now() < end {
        world.advance(end);
        while world.poll_host().is_some() {}
    }
}

fn obey(run: &mut Run, world: &mut World, panel: &Panel, events: &mut Vec<Event>, issue: Issuer<'_>) {
    let now = world.now();
    loop {
        let known = events.len();
        events.extend(std::iter::from_fn(|| run.poll_event()));
        let mut moved = events.len() > known;
        while let Some(action) = run.poll_line() {
            switch(world, panel, action);
            moved = true;
        }
        if let Some(slots) = run.poll_sense() {
            let currents: Vec<(Slot, Option<u32>)> =
                slots.iter().map(|&s| (s, world.current_ma(s.0))).collect();
            run.handle_currents(now, &currents);
            moved = true;
        }
        moved |= set_rates(run, world, panel) || write_ports(run, world);
        if let Some(boards) = run.poll_reserve() {
            let answers = boards.into_iter().map(|(slot, uid)| (slot, issue(slot, uid))).collect();
            run.handle_reserved(now, answers);
            moved = true;
        }
        for bus in 0..panel.buses.len() {
            while world.host_queue_free(bus) + IN_FLIGHT > 10
                && let Some(frame) = run.poll_transmit(now, BusIndex(bus as u8))
            {
                moved |= world.host_send(bus, &frame).is_ok();
            }
        }
        if !moved {
            return;
        }
    }
}

fn set_rates(run: &mut Run, world: &mut World, panel: &Panel) -> bool {
    let mut moved = false;
    for bus in 0..panel.buses.len() {
        while let Some(BusRate { nominal, data }) = run.poll_bit_rate(BusIndex(bus as u8)) {
            world.host_set_speed(bus, BusSpeed { nominal, data });
            run.handle_bit_rate(world.now(), BusIndex(bus as u8), true);
            moved = true;
        }
    }
    moved
}

/// Each port leads to one slot.
fn write_ports(run: &mut Run, world: &mut World) -> bool {
    let mut moved = false;
    let slots: Vec<u16> = run.plan().ports.iter().flat_map(|port| &port.slots).map(|slot| slot.0).collect();
    for (index, slot) in (0..).map(PortIndex).zip(slots) {
        while let Some(output) = run.poll_bytes(index) {
            match output {
                PortOutput::Configure { baud } => world.port_configure(slot, baud),
                PortOutput::Write(bytes) => world.port_write(slot, &bytes),
            }
            moved = true;
        }
    }
    moved
}

fn read_port(run: &mut Run, world: &mut World, slot: u16) {
    let bytes = world.port_read(slot);
    if let Some(port) = run.plan().ports.iter().position(|port| port.slots.contains(&Slot(slot))) {
        run.handle_bytes(world.now(), PortIndex(port as u16), &bytes);
    }
}

fn deliver(run: &mut Run, now: Micros, event: HostEvent) {
    let (bus, link) = match event {
        HostEvent::Received { bus, frame, .. } => {
            return run.handle_frame(now, BusIndex(bus as u8), &frame);
        }
        HostEvent::Sent { .. } | HostEvent::Readable { .. } => return,
        HostEvent::BusError { bus, .. } => (bus, LinkEvent::BusError),
        HostEvent::ErrorPassive { bus, .. } => (bus, LinkEvent::ErrorPassive),
        HostEvent::BusOff { bus, .. } => (bus, LinkEvent::BusOff),
        HostEvent::NoAck { bus, .. } => (bus, LinkEvent::NoAck),
    };
    run.handle_link(now, BusIndex(bus as u8), link);
}

fn switch(world: &mut World, panel: &Panel, action: LineAction) {
    let Some(line) = panel.line(action.line) else { return };
    let slots: Vec<u16> = line.slots.iter().map(|s| s.0).collect();
    match line.function {
        LineFunction::Power => world.set_power(&slots, action.on),
        LineFunction::Nrst => world.set_reset(&slots, action.on),
        LineFunction::Select => slots.iter().for_each(|&s| world.set_select(s, action.on)),
        LineFunction::Boot0 => world.set_boot0(&slots, action.on),
        LineFunction::Mux => {}
    }
}

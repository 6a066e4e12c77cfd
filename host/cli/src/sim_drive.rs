//! Drives a run against the simulated panel, in virtual time or paced to the wall clock.
//!
//! One loop for both: the world computes every microsecond the same way, and pacing only waits until the wall
//! clock has caught up. Events are handed to the observer, which makes them durable, before any line is
//! switched or frame sent that the run asks for after them.

use std::time::Duration;

use panel_backplane::{BusIndex, LineAction, LineFunction, Panel, Slot};
use panel_codes::Code;
use panel_engine::{
    BusRate, Event, IdentityBytes, KeyMade, LinkEvent, PortIndex, PortOutput, Refused, Reserved, Run,
};
use panel_protocol::node::Uid;
use panel_protocol::time::{Micros, Span};
use panel_simulator::{BusSpeed, HostEvent, World};

use crate::sim_mux::SimMux;

/// Frames handed to an adapter without delay and not yet confirmed: enough to keep the bus busy, few enough that
/// a control message leaves within half a millisecond.
const IN_FLIGHT: usize = 4;
/// Longest time between two looks at the keyboard and two frames of the view.
const TICK: Span = Span::from_millis(50);

/// Longest time a frame may wait for its transmission on a bus that is not being cleared of a babbler.
const STUCK: Span = Span::from_millis(1000);

/// Frames that may be under way on a bus of this rate, so that it stays busy although each is confirmed only
/// after the adapter's latency there and back: what is sent meanwhile comes on top.
pub(crate) fn in_flight(latency: Span, bit_rate: u32) -> usize {
    // The shortest data frame, with no stuff bit, has 111 bits.
    let frames = 2 * latency.0 * u64::from(bit_rate) / 111_000_000;
    IN_FLIGHT + frames as usize
}

/// A slot, and what its board is to become or why not.
pub(crate) type Reservation = (Slot, Result<Reserved, Refused>);

/// A slot, and its board's identity with a certificate for the key that it made, or why there is none.
pub(crate) type Certification = (Slot, Result<IdentityBytes, Refused>);

/// Without a ledger no key is certified.
pub(crate) fn no_ledger() -> Refused {
    Refused { code: Code::Certificate, text: "keys are certified in runs of a work order".to_owned() }
}

/// Whoever watches a run: records, view.
pub(crate) trait Observer {
    /// Events in order, before their effects.
    ///
    /// # Errors
    /// Why they could not be made durable.
    fn events(&mut self, now: Micros, events: &[Event]) -> Result<(), String>;
    /// What becomes of these boards, durable when it returns. Without a ledger nobody gets an identity.
    fn reserve(&mut self, _now: Micros, boards: &[(Slot, Uid)]) -> Vec<Reservation> {
        boards.iter().map(|&(slot, _)| (slot, Ok(Reserved::default()))).collect()
    }
    /// What becomes of the keys that these boards made, durable when it returns.
    fn certify(&mut self, _now: Micros, made: &[KeyMade]) -> Vec<Certification> {
        made.iter().map(|key| (key.slot, Err(no_ledger()))).collect()
    }
    /// The simulated panel as the events just told left it.
    fn look(&mut self, _now: Micros, _world: &World, _events: &[Event]) {}
    /// Called at least every 50 ms of the run's time. `true`: stop.
    fn tick(&mut self, now: Micros) -> bool;
}

/// How fast simulated time passes.
pub(crate) enum Pace {
    /// As fast as the processor allows.
    Virtual,
    /// As the wall clock does.
    Real(std::time::Instant),
}

impl Pace {
    #[expect(clippy::disallowed_methods, reason = "this is the driver that reads the clock")]
    pub(crate) fn real() -> Self {
        Self::Real(std::time::Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the driver that waits")]
    fn wait(&self, until: Micros) {
        let Self::Real(start) = self else { return };
        let target = Duration::from_micros(until.0);
        let elapsed = start.elapsed();
        // The scheduler's grain is about a millisecond: sleeping for less costs more than it paces.
        if target > elapsed + Duration::from_millis(2) {
            std::thread::sleep(target.saturating_sub(elapsed));
        }
    }
}

/// Runs to the end.
pub(crate) fn drive(run: &mut Run, world: &mut World, pace: &Pace, observer: &mut dyn Observer) {
    let panel = run.plan().panel.clone();
    // What the fixture cannot switch has power all the time.
    let unswitched = panel.slots.iter().filter(|s| s.lines.power.is_none()).map(|s| s.slot.0);
    world.set_power(&unswitched.collect::<Vec<_>>(), true);
    let mut mux = SimMux::new(&panel);
    let mut batch = Vec::new();
    let mut next_tick = Micros::ZERO;
    let mut stopping = false;
    let mut queues: Vec<Queue> = (0..panel.buses.len())
        .map(|bus| Queue { size: world.host_queue_free(bus), moved: Micros::ZERO })
        .collect();
    loop {
        let now = world.now();
        flush(run, world, (&panel, &mut mux), observer, &mut batch, &mut stopping);
        if run.is_finished() {
            return;
        }
        if now >= next_tick {
            next_tick = now + TICK;
            if observer.tick(now) && !stopping {
                stopping = true;
                run.interrupt(now);
                continue;
            }
        }
        let due = run.next_timeout();
        let until = due.into_iter().chain(world.next_event()).chain([next_tick]).min().unwrap_or(next_tick);
        pace.wait(until);
        world.advance(until.max(now));
        let now = world.now();
        while let Some(event) = world.poll_host() {
            match event {
                HostEvent::Sent { bus, .. } => queues[bus].moved = now,
                HostEvent::Readable { slot } => read_port(run, world, &mux, slot),
                _ => deliver(run, now, event),
            }
        }
        watch_queues(run, world, &mut queues);
        if due.is_some_and(|due| now >= due) {
            run.handle_timeout(now);
        }
    }
}

/// The transmit queue of a bus.
struct Queue {
    size: usize,
    /// When it was last empty or a frame was confirmed.
    moved: Micros,
}

/// A frame that waits too long ends its bus with a typed error instead of a hang.
fn watch_queues(run: &mut Run, world: &World, queues: &mut [Queue]) {
    let now = world.now();
    for (bus, queue) in queues.iter_mut().enumerate() {
        if world.host_queue_free(bus) == queue.size {
            queue.moved = now;
        } else if now.since(queue.moved) > STUCK {
            queue.moved = now;
            run.handle_link(now, BusIndex(bus as u8), LinkEvent::Stuck);
        }
    }
}

/// Events first, then their effects, until nothing moves.
fn flush(
    run: &mut Run,
    world: &mut World,
    (panel, mux): (&Panel, &mut SimMux),
    observer: &mut dyn Observer,
    batch: &mut Vec<Event>,
    stopping: &mut bool,
) {
    let now = world.now();
    loop {
        while let Some(event) = run.poll_event() {
            batch.push(event);
        }
        if !batch.is_empty() {
            if let Err(why) = observer.events(now, batch)
                && !*stopping
            {
                *stopping = true;
                run.handle_store_fault(now, &why);
            }
            observer.look(now, world, batch);
            batch.clear();
            continue;
        }
        if let Some(boards) = run.poll_reserve() {
            let answers = observer.reserve(now, &boards);
            run.handle_reserved(now, answers);
            continue;
        }
        if let Some(made) = run.poll_certify() {
            let answers = observer.certify(now, &made);
            run.handle_certified(now, answers);
            continue;
        }
        let mut moved = false;
        while let Some(action) = run.poll_line() {
            switch(world, panel, mux, action);
            moved = true;
        }
        if let Some(slots) = run.poll_sense() {
            let currents: Vec<(Slot, Option<u32>)> =
                slots.iter().map(|&s| (s, world.current_ma(s.0))).collect();
            run.handle_currents(now, &currents);
            moved = true;
        }
        if moved {
            continue;
        }
        moved = set_rates(run, world, panel) || write_ports(run, world, mux);
        for bus in 0..panel.buses.len() {
            while world.host_queue_free(bus) > 0
                && let Some(frame) = run.poll_transmit(now, BusIndex(bus as u8))
            {
                if world.host_send(bus, &frame).is_err() {
                    break;
                }
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}

/// Adapters go to the rates that the run wants.
fn set_rates(run: &mut Run, world: &mut World, panel: &Panel) -> bool {
    let mut moved = false;
    for bus in 0..panel.buses.len() {
        let index = BusIndex(bus as u8);
        while let Some(BusRate { nominal, data }) = run.poll_bit_rate(index) {
            world.host_set_speed(bus, BusSpeed { nominal, data });
            run.handle_bit_rate(world.now(), index, true);
            moved = true;
        }
    }
    moved
}

/// Bytes for the ports: to the slots that they lead to.
fn write_ports(run: &mut Run, world: &mut World, mux: &SimMux) -> bool {
    let mut moved = false;
    let reached = |slots: &[Slot]| slots.iter().map(|s| s.0).find(|slot| mux.reaches(*slot));
    let ports: Vec<Option<u16>> = run.plan().ports.iter().map(|port| reached(&port.slots)).collect();
    for (index, slot) in (0..).map(PortIndex).zip(ports) {
        while let Some(output) = run.poll_bytes(index) {
            match (output, slot) {
                (PortOutput::Configure { baud }, Some(slot)) => world.port_configure(slot, baud),
                (PortOutput::Write(bytes), Some(slot)) => world.port_write(slot, &bytes),
                (_, None) => {}
            }
            moved = true;
        }
    }
    moved
}

/// Bytes from a slot's port, if that leads there.
fn read_port(run: &mut Run, world: &mut World, mux: &SimMux, slot: u16) {
    let bytes = world.port_read(slot);
    let port = run.plan().ports.iter().position(|port| port.slots.contains(&Slot(slot)));
    if let (Some(port), false, true) = (port, bytes.is_empty(), mux.reaches(slot)) {
        run.handle_bytes(world.now(), PortIndex(port as u16), &bytes);
    }
}

fn deliver(run: &mut Run, now: Micros, event: HostEvent) {
    let link = match event {
        HostEvent::Received { bus, frame, .. } => {
            run.handle_frame(now, BusIndex(bus as u8), &frame);
            return;
        }
        HostEvent::Sent { .. } | HostEvent::Readable { .. } => return,
        HostEvent::BusError { bus, .. } => (bus, LinkEvent::BusError),
        HostEvent::ErrorPassive { bus, .. } => (bus, LinkEvent::ErrorPassive),
        // The world's adapters come back by themselves.
        HostEvent::BusOff { bus, .. } => {
            run.handle_link(now, BusIndex(bus as u8), LinkEvent::BusOff);
            (bus, LinkEvent::Restarted)
        }
        HostEvent::NoAck { bus, .. } => (bus, LinkEvent::NoAck),
    };
    run.handle_link(now, BusIndex(link.0 as u8), link.1);
}

fn switch(world: &mut World, panel: &Panel, mux: &mut SimMux, action: LineAction) {
    let Some(line) = panel.line(action.line) else { return };
    if line.function == LineFunction::Mux {
        mux.switch(action.line, action.on);
        return;
    }
    let slots: Vec<u16> = line.slots.iter().map(|s| s.0).collect();
    switch_slots(world, line.function, &slots, action.on);
}

/// Switches what a line of this function does to these slots.
pub(crate) fn switch_slots(world: &mut World, function: LineFunction, slots: &[u16], on: bool) {
    match function {
        LineFunction::Power => world.set_power(slots, on),
        LineFunction::Nrst => world.set_reset(slots, on),
        LineFunction::Select => slots.iter().for_each(|&s| world.set_select(s, on)),
        LineFunction::Boot0 => world.set_boot0(slots, on),
        // Of no slot alone: `SimMux` has them.
        LineFunction::Mux => {}
    }
}

//! The event loop: buses and boards on one time line, the host's adapters at its edge.
//!
//! Sans-IO: a driver sends frames, asks when the next event is, advances the clock and takes what the host sees.
//! Time is counted in nanoseconds inside and told in microseconds, rounded down. Invariants: events happen in
//! the order of time, boards before buses and lower numbers first at equal times; nothing depends on anything
//! but the configuration, the seed and the calls made, so the same calls give the same events.

use std::collections::VecDeque;

use panel_protocol::frame::Frame;
use panel_protocol::node::Protection;
use panel_protocol::time::Micros;

use crate::adapter::{Adapter, HOST};
use crate::board::{Board, Rom};
use crate::bus::{Bus, Outcome};
use crate::config::{BusSpeed, WorldConfig, WorldError};
use crate::fault::Fault;
use crate::firmware::{Firmware, NodeFirmware};
use crate::fitting::{Fitted, Stream, check, fit, stream};
use crate::rng::{Rate, Rng};
use crate::stats::{BusStats, ErrorKind};
use crate::timers::{NEVER, Timers};
use crate::trace::{Trace, TraceEvent};

/// What the host's adapter reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostEvent {
    /// A frame from a board.
    Received {
        /// The bus, from 0.
        bus: usize,
        /// When its last bit was on the bus.
        at: Micros,
        /// The frame.
        frame: Frame,
    },
    /// The oldest frame under way has been sent and acknowledged; its place in the queue is free.
    Sent {
        /// The bus, from 0.
        bus: usize,
        /// When its last bit was on the bus.
        at: Micros,
    },
    /// There are bytes to read from a slot's own port, see [`World::port_read`].
    Readable {
        /// The slot.
        slot: u16,
    },
    /// An error frame was on the bus.
    BusError {
        /// The bus, from 0.
        bus: usize,
        /// When.
        at: Micros,
    },
    /// The adapter became error-passive.
    ErrorPassive {
        /// The bus, from 0.
        bus: usize,
        /// When.
        at: Micros,
    },
    /// The adapter went bus-off; frames under way are lost and will not be confirmed. It comes back by itself
    /// after 128 times 11 recessive bits, and takes frames before that.
    BusOff {
        /// The bus, from 0.
        bus: usize,
        /// When.
        at: Micros,
    },
    /// Nobody acknowledges; told once until a frame gets through. The adapter goes on trying.
    NoAck {
        /// The bus, from 0.
        bus: usize,
        /// When.
        at: Micros,
    },
}

impl HostEvent {
    /// The bus it happened on, from 0; `None` for what happened at a slot's own port.
    #[must_use]
    pub const fn bus(&self) -> Option<usize> {
        match *self {
            Self::Received { bus, .. }
            | Self::Sent { bus, .. }
            | Self::BusError { bus, .. }
            | Self::ErrorPassive { bus, .. }
            | Self::BusOff { bus, .. }
            | Self::NoAck { bus, .. } => Some(bus),
            Self::Readable { .. } => None,
        }
    }
}

/// Why a frame was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transmit queue of bus {bus} is full")]
pub struct QueueFull {
    /// The bus, from 0.
    pub bus: usize,
}

/// A panel of boards, its buses and the host's adapters.
pub struct World<F = NodeFirmware> {
    now: u64,
    pub(crate) boards: Vec<Board<F>>,
    /// Slot number of each board.
    pub(crate) slots: Vec<u16>,
    pub(crate) buses: Vec<Bus>,
    adapters: Vec<Adapter>,
    /// The boards on each bus, by endpoint; nothing at the host's place.
    on_bus: Vec<Vec<usize>>,
    /// Boards first, then buses.
    timers: Timers,
    latency: u64,
    /// What the host will see, in the order of the times at which it does.
    output: VecDeque<(u64, HostEvent)>,
    trace: Option<Trace>,
}

impl World {
    /// Builds a world whose boards run the node code. Everything is without power; no reset is asserted.
    pub fn new(config: WorldConfig, seed: u64) -> Result<Self, WorldError> {
        Self::with_firmware(config, seed)
    }
}

impl<F: Firmware> World<F> {
    /// Builds a world whose boards run `F`.
    pub fn with_firmware(config: WorldConfig, seed: u64) -> Result<Self, WorldError> {
        let WorldConfig { buses: speeds, slots, adapter, scenario, flash_dir } = config;
        check(&slots, speeds.len(), &scenario.faults)?;
        let mut on_bus = vec![vec![usize::MAX]; speeds.len()];
        let fitted = fit(&slots, &scenario, flash_dir.as_deref(), seed)?;
        let mut boards = Vec::with_capacity(slots.len());
        for (i, (slot, Fitted { chip, hardware })) in slots.iter().zip(fitted).enumerate() {
            let endpoint = on_bus[slot.bus].len();
            on_bus[slot.bus].push(i);
            let uid = hardware.facts.uid.0;
            let mut board = Board::new(slot, chip, endpoint, hardware, stream(seed, slot, Stream::Board));
            if let Some(config) = &slot.rom {
                let faults = rom_faults(&scenario.faults, slot.slot);
                let seed = seed.wrapping_add(u64::from(slot.slot));
                let rom = chip.rom().and_then(|model| Rom::new(config, model, faults, seed, uid));
                board.fit_rom(rom.ok_or(WorldError::NoSuchRom { slot: slot.slot })?);
            }
            if scenario.makes_keys {
                board.hardware_mut().fit_key_maker();
            }
            if scenario.second_slot && slot.rom.is_none() {
                board.hardware_mut().fit_slot();
            }
            board.set_loss(scenario.loss);
            if let Some(service) = scenario.service {
                board.set_service(service.0.saturating_mul(1000));
            }
            scenario.faults.iter().filter(|f| f.0 == slot.slot).for_each(|f| board.inflict(&f.1));
            boards.push(board);
        }
        let corruption = Rate::new(scenario.corruption);
        let buses = speeds.iter().enumerate().map(|(b, &speed)| {
            let mut bus = Bus::new(speed, on_bus[b].len(), corruption, Rng::new(seed, b as u64));
            bus.connect(HOST, speed.data.is_some());
            bus
        });
        Ok(Self {
            now: 0,
            slots: slots.iter().map(|s| s.slot).collect(),
            buses: buses.collect(),
            adapters: speeds.iter().map(|_| Adapter::new(adapter.queue)).collect(),
            timers: Timers::new(boards.len() + speeds.len()),
            boards,
            on_bus,
            latency: adapter.latency.0 * 1000,
            output: VecDeque::new(),
            trace: None,
        })
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Micros {
        Micros(self.now / 1000)
    }

    /// The first time at which something happens, rounded up; `None` if nothing ever will without the host.
    #[must_use]
    pub fn next_event(&self) -> Option<Micros> {
        let output = self.output.front().map_or(NEVER, |o| o.0);
        let next = self.timers.earliest().min(output);
        (next != NEVER).then(|| Micros(next.div_ceil(1000)))
    }

    /// Runs events up to `until`, or until there is something for the host to see. Returns the time reached. Time
    /// stands still until [`World::poll_host`] has taken what there is.
    pub fn advance(&mut self, until: Micros) -> Micros {
        let until = until.0.saturating_mul(1000).max(self.now);
        loop {
            let output = self.output.front().map_or(NEVER, |o| o.0);
            let next = self.timers.earliest();
            if output <= next {
                if output <= until {
                    self.now = self.now.max(output);
                    return self.now();
                }
            } else if next <= until {
                self.now = self.now.max(next);
                self.run(self.timers.first());
                continue;
            }
            self.now = until;
            return self.now();
        }
    }

    /// Gives a frame to the adapter of `bus`.
    pub fn host_send(&mut self, bus: usize, frame: &Frame) -> Result<(), QueueFull> {
        let at = self.now + self.latency;
        let accepted = match (self.adapters.get_mut(bus), self.buses.get_mut(bus)) {
            (Some(adapter), Some(wire)) => adapter.send(at, frame, wire),
            _ => false,
        };
        if !accepted {
            return Err(QueueFull { bus });
        }
        self.touch_bus(bus);
        Ok(())
    }

    /// Frames that the adapter of `bus` would accept now.
    #[must_use]
    pub fn host_queue_free(&self, bus: usize) -> usize {
        self.adapters.get(bus).map_or(0, Adapter::free)
    }

    /// Throws away what the adapter of `bus` has not sent; those frames will never be confirmed.
    pub fn host_clear(&mut self, bus: usize) {
        if let (Some(adapter), Some(wire)) = (self.adapters.get_mut(bus), self.buses.get_mut(bus)) {
            adapter.clear(wire);
            self.touch_bus(bus);
        }
    }

    /// The adapter of `bus` goes to other rates; what it has not sent is thrown away.
    pub fn host_set_speed(&mut self, bus: usize, speed: BusSpeed) {
        self.host_clear(bus);
        if let Some(wire) = self.buses.get_mut(bus) {
            wire.set_speed(HOST, speed);
            self.touch_bus(bus);
        }
    }

    /// Bit rates do not matter on any bus: what leads to the boards has none, as a kernel's virtual interface.
    pub fn ignore_bit_rates(&mut self) {
        self.buses.iter_mut().for_each(Bus::ignore_rates);
    }

    /// The host writes to a slot's own port.
    pub fn port_write(&mut self, slot: u16, bytes: &[u8]) {
        if let Some(i) = self.index(slot) {
            self.boards[i].port_write(self.now, bytes);
            self.timers.set(i, self.boards[i].due());
        }
    }

    /// The host sets the rate of a slot's own port; what is under way is thrown away.
    pub fn port_configure(&mut self, slot: u16, baud: u32) {
        if let Some(i) = self.index(slot) {
            self.boards[i].port_configure(baud);
            self.timers.set(i, self.boards[i].due());
        }
    }

    /// What can be read from a slot's own port.
    pub fn port_read(&mut self, slot: u16) -> Vec<u8> {
        self.index(slot).map(|i| self.boards[i].port_read(self.now)).unwrap_or_default()
    }

    /// The next thing the host sees, if its time has come.
    pub fn poll_host(&mut self) -> Option<HostEvent> {
        let (_, event) = self.output.pop_front_if(|o| o.0 <= self.now)?;
        if let HostEvent::Sent { bus, .. } = event {
            self.adapters[bus].confirmed();
        }
        Some(event)
    }

    /// Counters of a bus; all zero for a bus that does not exist.
    #[must_use]
    pub fn bus_stats(&self, bus: usize) -> BusStats {
        self.buses.get(bus).map(|b| *b.stats()).unwrap_or_default()
    }

    /// Starts to record what happens; see [`World::take_trace`].
    pub fn record_trace(&mut self) {
        self.trace.get_or_insert_default();
    }

    /// What was recorded since the last call.
    pub fn take_trace(&mut self) -> Trace {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.now
    }

    pub(crate) fn index(&self, slot: u16) -> Option<usize> {
        self.slots.iter().position(|&s| s == slot)
    }

    /// Lets a change from outside act on a board.
    pub(crate) fn change(
        &mut self,
        i: usize,
        event: TraceEvent,
        act: impl FnOnce(&mut Board<F>, u64, &mut Bus),
    ) {
        let bus = self.boards[i].bus();
        act(&mut self.boards[i], self.now, &mut self.buses[bus]);
        if let Some(trace) = &mut self.trace {
            trace.push(self.now, event);
        }
        self.timers.set(i, self.boards[i].due());
        self.touch_bus(bus);
    }

    fn touch_bus(&mut self, bus: usize) {
        self.timers.set(self.boards.len() + bus, self.buses[bus].due());
    }

    fn run(&mut self, owner: usize) {
        if let Some(board) = self.boards.get_mut(owner) {
            let bus = board.bus();
            board.run(self.now, &mut self.buses[bus]);
            self.timers.set(owner, board.due());
            if board.take_readable() {
                let slot = self.slots[owner];
                let place = self.output.partition_point(|o| o.0 <= self.now);
                self.output.insert(place, (self.now, HostEvent::Readable { slot }));
            }
            self.touch_bus(bus);
            return;
        }
        let bus = owner - self.boards.len();
        match self.buses[bus].run(self.now) {
            Outcome::Quiet => {}
            Outcome::Delivered => {
                self.confirm(bus);
                self.deliver(bus);
                self.host_state(bus);
            }
            Outcome::Destroyed(kind) => {
                if kind == ErrorKind::LastBit {
                    self.deliver(bus);
                }
                self.destroyed(bus, kind);
            }
        }
        self.touch_bus(bus);
    }

    /// Frees the mailboxes of those that sent the frame.
    fn confirm(&mut self, bus: usize) {
        let (now, at) = (self.now, self.now());
        let wire = &mut self.buses[bus];
        for e in wire.senders().iter() {
            if e == HOST {
                self.adapters[bus].sent(now, wire);
                self.output.push_back((now + self.latency, HostEvent::Sent { bus, at }));
            } else {
                let i = self.on_bus[bus][e];
                self.boards[i].sent(now, wire);
                self.timers.set(i, self.boards[i].due());
            }
        }
    }

    fn deliver(&mut self, bus: usize) {
        let (now, at) = (self.now, self.now());
        let wire = &mut self.buses[bus];
        let (frame, senders, receivers) = (*wire.frame(), wire.senders(), wire.receivers());
        if let Some(trace) = &mut self.trace {
            let sender =
                senders.iter().next().filter(|&e| e != HOST).map(|e| self.slots[self.on_bus[bus][e]]);
            trace.push(now, TraceEvent::Frame { bus, sender, frame });
        }
        for e in receivers.iter() {
            if e == HOST {
                self.output.push_back((now + self.latency, HostEvent::Received { bus, at, frame }));
            } else {
                let i = self.on_bus[bus][e];
                let board = &mut self.boards[i];
                board.receive(now, &frame, wire);
                self.timers.set(i, board.due());
            }
        }
    }

    fn destroyed(&mut self, bus: usize, kind: ErrorKind) {
        let at = self.now();
        if let Some(trace) = &mut self.trace {
            trace.push(self.now, TraceEvent::Error { bus, kind });
        }
        let visible = self.now + self.latency;
        if kind != ErrorKind::NoAcknowledge {
            self.output.push_back((visible, HostEvent::BusError { bus, at }));
        } else if !self.adapters[bus].told_unheard && self.buses[bus].senders().contains(HOST) {
            self.adapters[bus].told_unheard = true;
            self.output.push_back((visible, HostEvent::NoAck { bus, at }));
        }
        self.host_state(bus);
    }

    /// Tells the host when its own controller changed state.
    fn host_state(&mut self, bus: usize) {
        let (passive, off) = (self.buses[bus].controller(HOST).is_passive(), self.buses[bus].is_off(HOST));
        let adapter = &mut self.adapters[bus];
        if (adapter.passive, adapter.off) == (passive, off) {
            return;
        }
        let at = Micros(self.now / 1000);
        if passive && !adapter.passive {
            self.output.push_back((self.now + self.latency, HostEvent::ErrorPassive { bus, at }));
        }
        if off && !adapter.off {
            adapter.clear(&mut self.buses[bus]);
            self.output.push_back((self.now + self.latency, HostEvent::BusOff { bus, at }));
        }
        (adapter.passive, adapter.off) = (passive, off);
    }
}

/// The faults of a slot as its ROM shows them; a cell that fails is one whose lowest bit cannot be cleared.
fn rom_faults(faults: &[(u16, Fault)], slot: u16) -> Vec<rom_simulator::Fault> {
    let of_slot = faults.iter().filter(|f| f.0 == slot);
    let shown = of_slot.filter_map(|(_, fault)| match *fault {
        Fault::Rom { fault } => Some(fault),
        Fault::Protected { level: Protection::Level2 } => {
            Some(rom_simulator::Fault::Protected(rom_simulator::Protection::Level2))
        }
        Fault::Protected { .. } => Some(rom_simulator::Fault::Protected(rom_simulator::Protection::Level1)),
        Fault::LockIgnored => Some(rom_simulator::Fault::LockIgnored),
        Fault::ReadsWhenLocked => Some(rom_simulator::Fault::ReadsWhenLocked),
        Fault::OptionWriteFails => Some(rom_simulator::Fault::OptionsRefused),
        Fault::ProgramFails { address } | Fault::ReadsBackWrong { address } => {
            Some(rom_simulator::Fault::Stuck(address))
        }
        _ => None,
    });
    shown.collect()
}

#[cfg(test)]
mod tests;

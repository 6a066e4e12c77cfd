//! Into the ROM and out of it: BOOT0, power, NRST, whose turn it is on a bus, and the bus's bit rate.

use panel_backplane::{Bus, BusKind, Request, Slot, Way};
use panel_protocol::time::Micros;
use stm32_rom_bootloader::{CanKind, CanRate, CanSettings, Chip, Entry, Limits, UartSettings};

use super::{Purpose, RateFor, RomLane, Stage, Ticket, Working};
use crate::event::{BusRate, Phase, PortOutput};
use crate::lines::{self, OwnLine};
use crate::rom::attempt::{Attempt, Goal};
use crate::rom::session::Link;
use core::time::Duration;

/// How long an adapter may sit on what it has received: an FTDI left alone. Only waits grow by it.
const LATENCY: Duration = Duration::from_millis(16);
/// How long a ROM is waited for while agents listen for silence on its bus: with the start of the next board's ROM it must
/// stay below `JOIN_SILENCE`, or a board that dies would let them disturb the next. No answer to a loader takes a millisecond.
const AGENT_ANSWER: Duration = Duration::from_millis(80);
/// The rate at which the ROM's FDCAN begins and stays (AN2606 rev 70, "FDCAN configuration").
const FD_RATE: BusRate = BusRate { nominal: 250_000, data: Some(1_000_000) };

impl RomLane {
    /// The first attempt of these boards.
    pub(super) fn enter(&mut self, now: Micros, slots: &[Slot]) {
        self.boot0(slots, true);
        let (ports, bus): (Vec<Slot>, Vec<Slot>) = slots.iter().partition(|s| self.way(**s).needs_port());
        let (shared, ports): (Vec<Slot>, Vec<Slot>) =
            ports.into_iter().partition(|s| self.is_multiplexed(*s));
        if !ports.is_empty() {
            // A board without a power line of its own may run already, and its application with it.
            let running = |s: &Slot| self.plan.panel.slot(*s).is_some_and(|s| s.lines.power.is_none());
            let running: Vec<Slot> = ports.iter().copied().filter(running).collect();
            let reset = self.with_line(&running, OwnLine::Nrst);
            if !reset.is_empty() {
                self.tell(Request::Reset(reset));
            }
            self.ask(Request::PowerOn(ports.clone()), Purpose::Entry(ports));
        }
        self.channels.wait(shared);
        self.connect_next();
        if !bus.is_empty() {
            self.hold(&bus);
            let held = self.with_line(&bus, OwnLine::Nrst);
            if !held.is_empty() {
                self.tell(Request::PowerOn(held));
            }
            self.queue.extend(bus);
            self.next_turn(now);
        }
    }

    /// Boards that run an agent start their ROM instead; each has a line of its own (`rom/plan.rs`).
    pub(super) fn restart_all(&mut self, now: Micros, slots: &[Slot]) {
        self.boot0(slots, true);
        let (ports, bus): (Vec<Slot>, Vec<Slot>) = slots.iter().partition(|s| self.way(**s).needs_port());
        let (shared, ports): (Vec<Slot>, Vec<Slot>) =
            ports.into_iter().partition(|s| self.is_multiplexed(*s));
        for slot in ports {
            self.restart(slot, Purpose::Entry(vec![slot]));
        }
        let by_power = self.with_line(&shared, OwnLine::Power);
        if !by_power.is_empty() {
            self.tell(Request::PowerOff(by_power));
        }
        self.channels.wait(shared);
        self.connect_next();
        if !bus.is_empty() {
            self.hold(&bus);
            self.queue.extend(bus);
            self.next_turn(now);
        }
    }

    /// Another attempt of a board with a port of its own.
    pub(super) fn enter_again(&mut self, slot: Slot) {
        if self.is_multiplexed(slot) {
            self.channels.wait([slot]);
            return;
        }
        self.boot0(&[slot], true);
        let entry = Purpose::Entry(vec![slot]);
        if !self.restart(slot, entry) {
            self.ask(Request::PowerOn(vec![slot]), Purpose::Entry(vec![slot]));
        }
    }

    /// Starts a board anew; false if no line is its own.
    fn restart(&mut self, slot: Slot, purpose: Purpose) -> bool {
        match lines::own_line(&self.plan.panel, slot) {
            Some(OwnLine::Nrst) => {
                // It may have been cut off from power.
                self.tell(Request::PowerOn(vec![slot]));
                self.ask(Request::Reset(vec![slot]), purpose);
            }
            Some(OwnLine::Power) => {
                self.tell(Request::PowerOff(vec![slot]));
                self.ask(Request::PowerOn(vec![slot]), purpose);
            }
            None => return false,
        }
        true
    }

    /// The next board of the bus: the adapter goes to the rate at which every ROM begins.
    pub(super) fn next_turn(&mut self, now: Micros) {
        self.turn = self.queue.pop_front();
        let Some(slot) = self.turn else { return };
        let rate = match self.way(slot) {
            Way::RomFdcan | Way::RomFdcanAgent => FD_RATE,
            _ => classic(CanRate::Kbit125),
        };
        self.frames.clear();
        self.want_rate(now, rate, RateFor::NextBoard);
    }

    pub(super) fn release_turn(&mut self, now: Micros) {
        let Some(slot) = self.turn else {
            self.go_on(now);
            return;
        };
        let entry = Purpose::Entry(vec![slot]);
        match lines::own_line(&self.plan.panel, slot) {
            Some(OwnLine::Nrst) => self.ask(Request::ReleaseReset(vec![slot]), entry),
            Some(OwnLine::Power) | None => self.ask(Request::PowerOn(vec![slot]), entry),
        }
    }

    pub(super) fn want_rate(&mut self, _now: Micros, rate: BusRate, why: RateFor) {
        self.rates.push_back(rate);
        self.rate_for.push_back(why);
    }

    /// The board starts its ROM now.
    pub(super) fn start(&mut self, now: Micros, slot: Slot) {
        let (Some(rom), true) = (&self.plan.rom, self.stage == Stage::Working) else { return };
        let way = self.way(slot);
        let Some(board) = self.boards.get_mut(&slot) else { return };
        // Another attempt of this board itself begins with its restart, which ends its agent.
        board.joins = way.rom_on_bus() && self.queue.is_empty() && self.again.is_empty();
        let work = if board.to_finish { rom.finish(board.uid) } else { rom.work(slot, board.joins) };
        let resettable = lines::own_line(&self.plan.panel, slot).is_some() || self.is_switched(slot);
        let entry = if resettable { Entry::Reset } else { Entry::AsIs };
        let chip = Chip::Expect(rom.device);
        let link = if way.needs_port() {
            let baud = self.plan.panel.baud;
            self.ports.entry(slot).or_default().push_back(PortOutput::Configure { baud });
            Link::Uart(UartSettings { latency: LATENCY, entry, chip, ..UartSettings::new(baud) })
        } else {
            let kind = match way {
                Way::RomFdcan | Way::RomFdcanAgent => CanKind::Fd,
                _ => CanKind::Classic { speed: self.working_rate() },
            };
            let mut limits = Limits::default();
            if work.goal == Goal::LoadAgent {
                limits.answer = AGENT_ANSWER;
            }
            Link::Can(CanSettings { kind, latency: LATENCY, entry, chip, limits })
        };
        let total = self.total(work.goal);
        if work.goal != Goal::Finish {
            self.phase(Phase::Discover);
        }
        let attempt = Attempt::new(work, link, now);
        self.working.insert(slot, Working { attempt, wait: now, fresh: resettable, done: (0, total) });
        self.pump(now, slot);
    }

    /// Bytes that are written and read back.
    fn total(&self, goal: Goal) -> u64 {
        match goal {
            Goal::Program => 2 * self.plan.regions.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>(),
            Goal::LoadAgent => self.plan.agent_bytes() as u64,
            Goal::Finish => 0,
        }
    }

    /// The fastest rate that the ROM knows and the panel allows.
    fn working_rate(&self) -> Option<CanRate> {
        let most = self.plan.panel.buses.get(self.index.index()).map_or(0, |bus| bus.bit_rate.0);
        let rates = [CanRate::Kbit250, CanRate::Kbit500, CanRate::Mbit1];
        rates.into_iter().rfind(|rate| classic(*rate).nominal <= most)
    }

    /// Takes the board out of the others' way, and its power if it failed.
    pub(super) fn leave(&mut self, slot: Slot, ok: bool) {
        let on_bus = self.way(slot).rom_on_bus();
        if !ok && lines::has_own_power(&self.plan.panel, slot) {
            self.tell(Request::PowerOff(vec![slot]));
        } else if on_bus {
            // Its ROM would answer for the next board.
            self.hold(&[slot]);
        }
    }

    /// Holds boards back.
    fn hold(&mut self, slots: &[Slot]) {
        let (reset, power) = (self.with_line(slots, OwnLine::Nrst), self.with_line(slots, OwnLine::Power));
        if !reset.is_empty() {
            self.tell(Request::HoldReset(reset));
        }
        if !power.is_empty() {
            self.tell(Request::PowerOff(power));
        }
    }

    pub(super) fn boot0(&mut self, slots: &[Slot], on: bool) {
        let has = |s: &Slot| self.plan.panel.slot(*s).is_some_and(|s| s.lines.boot0.is_some());
        let slots: Vec<Slot> = slots.iter().copied().filter(has).collect();
        if !slots.is_empty() {
            self.tell(Request::Boot0 { slots, on });
        }
    }

    /// Resets the board, or takes its power away and gives it back; false if it cannot be done for it alone.
    pub(super) fn reset(&mut self, slot: Slot, cycle_power: bool) -> bool {
        if cycle_power {
            if !lines::has_own_power(&self.plan.panel, slot) {
                return false;
            }
            self.tell(Request::PowerOff(vec![slot]));
            self.ask(Request::PowerOn(vec![slot]), Purpose::Line(slot));
            return true;
        }
        self.restart(slot, Purpose::Line(slot))
    }

    fn is_switched(&self, slot: Slot) -> bool {
        self.plan.panel.slot(slot).is_some_and(|s| s.lines.power.is_some())
    }

    pub(super) fn with_line(&self, slots: &[Slot], line: OwnLine) -> Vec<Slot> {
        let own = |s: &Slot| lines::own_line(&self.plan.panel, *s) == Some(line);
        slots.iter().copied().filter(own).collect()
    }

    pub(super) fn tell(&mut self, request: Request) {
        self.fixture.push_back((request, None));
    }

    pub(super) fn ask(&mut self, request: Request, purpose: Purpose) {
        let ticket = Ticket(self.tickets);
        self.tickets = self.tickets.wrapping_add(1);
        self.waits.insert(ticket, purpose);
        self.fixture.push_back((request, Some(ticket)));
    }
}

/// The rates of the panel's own traffic.
pub(super) fn panel_rate(bus: &Bus) -> BusRate {
    let data = match bus.kind {
        BusKind::Classical => None,
        BusKind::Fd { data_bit_rate } => Some(data_bit_rate.0),
    };
    BusRate { nominal: bus.bit_rate.0, data }
}

/// The rates that the Speed command names (AN3154).
pub(super) const fn classic(rate: CanRate) -> BusRate {
    let nominal = match rate {
        CanRate::Kbit125 => 125_000,
        CanRate::Kbit250 => 250_000,
        CanRate::Kbit500 => 500_000,
        CanRate::Mbit1 => 1_000_000,
    };
    BusRate { nominal, data: None }
}

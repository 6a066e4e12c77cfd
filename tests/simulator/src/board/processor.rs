//! The processor of a board: frames from the FIFO, steps of background work, frames to the mailboxes.
//!
//! It does one thing at a time. A frame that finds it free is handled at once, and the background step after it
//! is done in the same event although it lies a service time ahead: nothing that other parts of the world do
//! in between can reach the code, except power and reset, which wipe it out anyway.

use panel_protocol::frame::Frame;
use panel_protocol::message::{Control, HostMessage};
use panel_protocol::node::{BusCounters, Poll, Wake, Work};

use super::{Application, Board, FIFO, State, micros};
use crate::bus::Bus;
use crate::device::CanPort;
use crate::firmware::Firmware;
use crate::hardware::Request;
use crate::timers::NEVER;
use panel_protocol::node::ResetCause;

/// The least time one step of background work takes.
const STEP_NS: u64 = 1000;

impl<F: Firmware> Board<F> {
    /// A frame arrives at the receive FIFO.
    pub(crate) fn receive(&mut self, now: u64, frame: &Frame, bus: &mut Bus) {
        if self.rng.chance(self.loss) {
            self.counters.missed += 1;
            return;
        }
        if let Some(device) = &mut self.device {
            return device.receive(now, frame, &mut CanPort { bus, endpoint: self.endpoint });
        }
        match self.state {
            State::Running(_) => {}
            State::Rom(_) => return self.receive_rom(now, frame, bus),
            _ => return,
        }
        if self.free_at <= now && self.fifo.is_empty() {
            self.handle(now, frame, bus);
        } else if self.fifo.len() < FIFO {
            self.fifo.push_back(*frame);
        } else {
            self.counters.overruns += 1;
        }
    }

    /// One of the board's frames has been sent.
    pub(crate) fn sent(&mut self, now: u64, bus: &mut Bus) {
        if let Some(device) = &mut self.device {
            let frame = *bus.frame();
            return device.sent(now, &frame, &mut CanPort { bus, endpoint: self.endpoint });
        }
        if matches!(self.state, State::Rom(_)) {
            return self.send_rom(now, bus);
        }
        if self.free_at <= now {
            self.transmit(now, bus);
            self.obey(now, bus);
        } else {
            self.refill = true;
        }
    }

    /// The processor is free: a waiting frame first, else background work.
    pub(super) fn work(&mut self, now: u64, bus: &mut Bus) {
        if self.flash_end <= now {
            self.flash_end = NEVER;
            self.state.hardware_mut().flash.settle(now);
            if self.at_address.is_some() {
                self.obey(now, bus);
            }
        }
        if let Some(frame) = self.fifo.pop_front() {
            self.handle(now, &frame, bus);
        } else {
            self.refill = false;
            self.step(now, bus);
            self.obey(now, bus);
        }
    }

    fn handle(&mut self, now: u64, frame: &Frame, bus: &mut Bus) {
        let State::Running(code) = &mut self.state else { return };
        let controller = bus.controller(self.endpoint);
        let hardware = code.hardware_mut();
        hardware.now = now;
        hardware.counters = BusCounters {
            tec: controller.tec().min(255) as u8,
            rec: controller.rec().min(255) as u8,
            overruns: self.counters.overruns.min(0xFFFF) as u16,
            errors: controller.errors(),
        };
        hardware.unguarded = self.reads_when_locked && asks_to_read(frame);
        code.handle_frame(micros(now), frame);
        let hardware = code.hardware_mut();
        hardware.unguarded = false;
        let (stalled_until, option_write) = (hardware.stalled_until, hardware.option_write.take());
        self.counters.received += 1;
        self.free_at = (now + self.service).max(stalled_until);
        if stalled_until > now {
            // What comes after so long a wait is done then: power may go before.
            self.wake_at = self.free_at;
            if let Some(write) = option_write {
                self.option_write_began(write);
            }
            return;
        }
        if !self.receives_while_busy && self.flash_end > now && self.flash_end != NEVER {
            // Code in flash goes on between two units of a programming call.
            self.free_at += self.chip.program_ns;
        }
        if self.fifo.is_empty() {
            self.step(self.free_at, bus);
        } else {
            self.transmit(self.free_at, bus);
        }
        self.obey(now, bus);
    }

    /// One step of background work at `now`, which may lie a frame's service time ahead.
    pub(super) fn step(&mut self, now: u64, bus: &mut Bus) {
        let State::Running(code) = &mut self.state else { return };
        code.hardware_mut().now = now;
        let Poll { wake, work } = code.poll(micros(now));
        let cost = match work {
            Work::None => 0,
            Work::Checksum(bytes) => u64::from(bytes) * self.chip.checksum_ns,
            Work::Digest(bytes) => u64::from(bytes) * (self.chip.digest_ns + self.chip.checksum_ns),
            Work::Copy(bytes) => u64::from(bytes) * self.chip.copy_ns,
        };
        self.free_at = now + cost;
        self.wake_at = match wake {
            Wake::Now => now + cost.max(STEP_NS),
            Wake::At(at) => at.0.saturating_mul(1000).max(now + STEP_NS),
            Wake::Idle => NEVER,
        };
        let hardware = code.hardware_mut();
        self.flash_end = hardware.flash.end();
        if hardware.stalled_until > self.free_at {
            self.free_at = hardware.stalled_until;
        }
        if !self.receives_while_busy && hardware.flash.is_erasing() {
            self.free_at = self.free_at.max(self.flash_end);
        }
        self.transmit(self.free_at, bus);
    }

    /// Moves frames from the code to the mailboxes.
    fn transmit(&mut self, now: u64, bus: &mut Bus) {
        let State::Running(code) = &mut self.state else { return };
        let mute = self.off_bus || (self.mute_after_erase && code.hardware().flash.erases > 0);
        code.hardware_mut().now = now;
        while mute || bus.controller(self.endpoint).free_mailboxes() > usize::from(self.babbling) {
            let Some(frame) = code.poll_transmit() else { break };
            if !mute {
                bus.submit(self.endpoint, &frame, now);
            }
        }
        self.babble(now, bus);
        let State::Running(code) = &mut self.state else { return };
        if !bus.controller(self.endpoint).has_mail() {
            code.handle_all_sent(micros(now));
        }
    }

    /// Keeps the babbler's frame in a mailbox.
    pub(super) fn babble(&mut self, now: u64, bus: &mut Bus) {
        if let Some(frame) = self.babble.filter(|_| self.babbling)
            && matches!(self.state, State::Running(_))
            && !bus.controller(self.endpoint).holds(frame.id())
        {
            bus.submit(self.endpoint, &frame, now);
        }
    }

    /// Does what the code asked of its board, or what the scenario has in store for this point.
    pub(super) fn obey(&mut self, now: u64, bus: &mut Bus) {
        let State::Running(code) = &mut self.state else { return };
        if let Some(strike) = self.at_address.take_if(|_| code.hardware().flash.reached) {
            return self.suffer(strike, now, bus);
        }
        match code.hardware_mut().request.take() {
            None => {}
            Some(Request::Reset) => {
                self.halt(now, bus);
                self.restart(now, ResetCause::Software, bus);
            }
            Some(Request::StartApplication(address)) => {
                let hardware = self.state.take();
                let mut vectors = [0xFF; 8];
                hardware.flash.read(address, &mut vectors);
                let [a, b, c, d, e, f, g, h] = vectors;
                let application = Application {
                    address,
                    stack: u32::from_le_bytes([a, b, c, d]),
                    entry: u32::from_le_bytes([e, f, g, h]),
                };
                // The application keeps the controller running, so it goes on acknowledging frames.
                self.state = State::Application(hardware, application);
                self.fifo.clear();
            }
        }
    }
}

fn asks_to_read(frame: &Frame) -> bool {
    matches!(HostMessage::decode(frame), Ok(HostMessage::Control(_, Control::Read { .. })))
}

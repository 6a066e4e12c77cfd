//! The faults of a board: which it has, and what happens when one strikes at a time or at an address.

use panel_protocol::node::ResetCause;

use super::Board;
use crate::bus::Bus;
use crate::fault::{Fault, Trigger};
use crate::firmware::Firmware;
use crate::flash::Defects;
use crate::hardware::OptionWrite;
use crate::timers::NEVER;

/// What strikes a board at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strike {
    Death,
    BrownOut,
    Babble,
    BusOff,
}

/// When a board has answered that its protection is written, ns after that.
const ANSWERED: u64 = 2_000_000;

impl<F: Firmware> Board<F> {
    /// Makes the board faulty. Faults of what is fitted (chip, UID, revision) are part of its hardware and were
    /// applied when that was made.
    pub(crate) fn inflict(&mut self, fault: &Fault) {
        let mut at = |when: Trigger, strike| match when {
            Trigger::At(span) => self.timed.push((span.0.saturating_mul(1000), strike)),
            Trigger::OptionWrite => self.at_options = Some((strike, false)),
            Trigger::Locked => self.at_options = Some((strike, true)),
            Trigger::Programmed(address) => {
                self.at_address = Some(strike);
                self.state.hardware_mut().flash.watch = Some(address);
            }
        };
        match *fault {
            Fault::Dead { when } => at(when, Strike::Death),
            Fault::BrownOut { when } => at(when, Strike::BrownOut),
            Fault::BusOff { at: span } => at(Trigger::At(span), Strike::BusOff),
            Fault::Babbling { at: span, frame } => {
                at(Trigger::At(span), Strike::Babble);
                self.babble = Some(frame);
            }
            Fault::Loss { rate } => self.set_loss(rate),
            Fault::SlowService { service } => self.set_service(service.0.saturating_mul(1000)),
            Fault::Absent => self.absent = true,
            Fault::MuteAfterErase => self.mute_after_erase = true,
            Fault::ProgramFails { address } => self.defects().program_fails = Some(address),
            Fault::ReadsBackWrong { address } => self.defects().reads_back_wrong = Some(address),
            Fault::EraseFails { address } => self.defects().erase_fails = Some(address),
            Fault::EraseSlow { factor } => self.defects().erase_factor = factor,
            Fault::Protected { level } => self.state.hardware_mut().flash.preset_protection(level),
            Fault::Fades { address } => self.defects().fades = Some(address),
            Fault::OptionWriteFails => self.state.hardware_mut().flash.option_cells.fails = true,
            Fault::LockIgnored => self.state.hardware_mut().flash.option_cells.ignores_lock = true,
            Fault::ReadsWhenLocked => self.reads_when_locked = true,
            Fault::Key { fault } => {
                if let Some(maker) = &mut self.state.hardware_mut().key_maker {
                    maker.fault = Some(fault);
                }
            }
            Fault::SupplyLow { millivolts } => self.state.hardware_mut().supply_mv = millivolts,
            Fault::WrongChip { .. }
            | Fault::WrongRevision { .. }
            | Fault::SameUid { .. }
            | Fault::Rom { .. } => {}
        }
    }

    /// Sets the alarm for the next fault that strikes at a time.
    pub(super) fn arm(&mut self) {
        let next = self.timed.iter().map(|t| t.0).min();
        self.strike_at = match (self.first_power, next) {
            (Some(first), Some(offset)) => first.saturating_add(offset),
            _ => NEVER,
        };
    }

    /// Option bytes have begun to be written: a fault may strike half way, or when the protection is written.
    pub(super) fn option_write_began(&mut self, write: OptionWrite) {
        let OptionWrite { start, end, protection } = write;
        let due = self.at_options.take_if(|(_, locked)| protection || !*locked);
        if let (Some((strike, locked)), Some(first)) = (due, self.first_power) {
            let at = if locked { end + ANSWERED } else { start + (end - start) / 2 };
            self.timed.push((at.saturating_sub(first), strike));
            self.arm();
        }
    }

    pub(super) fn strike_due(&mut self, now: u64, bus: &mut Bus) {
        let Some(first) = self.first_power else { return };
        while let Some(i) = self.timed.iter().position(|t| first.saturating_add(t.0) <= now) {
            let (_, strike) = self.timed.remove(i);
            self.suffer(strike, now, bus);
        }
        self.arm();
    }

    pub(super) fn suffer(&mut self, strike: Strike, now: u64, bus: &mut Bus) {
        match strike {
            Strike::Death => {
                self.dead = true;
                self.halt(now, bus);
            }
            Strike::BrownOut if self.powered => {
                self.halt(now, bus);
                self.restart(now, ResetCause::BrownOut, bus);
            }
            Strike::BrownOut => {}
            Strike::Babble => {
                self.babbling = true;
                self.babble(now, bus);
            }
            Strike::BusOff => {
                self.off_bus = true;
                bus.disconnect(self.endpoint);
            }
        }
    }

    fn defects(&mut self) -> &mut Defects {
        &mut self.state.hardware_mut().flash.defects
    }
}

//! What a board lends to its node: facts, flash, lines, counters. The simulator's side of [`NodePort`].
//!
//! The hardware outlives every node that runs on it: a reset takes it out of the old node and puts it into the
//! next. It decides nothing about the protocol. Invariant: `now` and `counters` are set before every call into
//! the node.

use core::ops::Range;

use ed25519_dalek::{Signature, VerifyingKey};
use panel_protocol::block::SEALED;
use panel_protocol::node::{
    BoardFacts, BusCounters, Capabilities, EraseUnit, FlashState, KeyKind, NodePort, Protection,
    REQUEST_ADDRESS, ResetCause, Seals, Slot, TestReading, Uid,
};

use crate::chip::{self, CHIPS, Chip};
use crate::flash::Flash;
use crate::key::{KeyFault, KeyMaker, MAKE_NS};
use crate::rng::Rng;
use crate::timers::NEVER;

/// Test items that the simulated board knows: 1 supply in volts, 2 die temperature in degrees Celsius.
const TEST_SUPPLY: u8 = 1;
const TEST_TEMPERATURE: u8 = 2;

/// What a Cortex-M4 at 168 MHz needs at most for one Ed25519 signature: some 10 million cycles, and as much again.
const SEAL_CHECK_NS: u64 = 120_000_000;

/// What the node asked the board to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Reset,
    StartApplication(u32),
}

/// A write of option bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OptionWrite {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// It sets the readout protection.
    pub(crate) protection: bool,
}

/// A board's hardware.
#[derive(Debug)]
pub struct Hardware {
    pub(crate) facts: BoardFacts,
    pub(crate) flash: Flash,
    pub(crate) strap: Option<u16>,
    pub(crate) supply_mv: u16,
    pub(crate) counters: BusCounters,
    /// Nanoseconds.
    pub(crate) now: u64,
    /// The processor waits until then: it read flash while the flash was busy.
    pub(crate) stalled_until: u64,
    /// How often it did that.
    pub(crate) stalls: u32,
    pub(crate) request: Option<Request>,
    /// An option write that has just begun.
    pub(crate) option_write: Option<OptionWrite>,
    /// The public key of its product.
    pub(crate) seal_key: Option<[u8; 32]>,
    /// The code at work does not look at the readout protection.
    pub(crate) unguarded: bool,
    /// Set on a board that makes keys of its own.
    pub(crate) key_maker: Option<KeyMaker>,
    /// Where an image waits until it is committed.
    slot: Option<Slot>,
    rng: Rng,
}

/// What distinguishes one board from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) chip: &'static Chip,
    pub(crate) uid: Uid,
    pub(crate) hardware_revision: u16,
    pub(crate) strap: Option<u16>,
    pub(crate) receives_while_busy: bool,
    /// The public key of its product: it takes only images sealed with it.
    pub(crate) seal_key: Option<[u8; 32]>,
}

impl Hardware {
    pub(crate) fn new(identity: Identity, flash: Flash, rng: Rng) -> Self {
        let Identity { chip, uid, hardware_revision, strap, receives_while_busy, seal_key } = identity;
        let mut capabilities = Capabilities::SUPPLY | Capabilities::OPTIONS | Capabilities::TESTS;
        capabilities.set(Capabilities::FD, chip.fd);
        capabilities.set(Capabilities::STRAPS, strap.is_some());
        capabilities.set(Capabilities::SEALS, seal_key.is_some());
        capabilities.set(Capabilities::RECEIVES_WHILE_BUSY, receives_while_busy);
        Self {
            facts: BoardFacts {
                device_id: chip.device_id,
                silicon_revision: chip.silicon_revision,
                hardware_revision,
                uid,
                bootloader_version: 0x0100,
                capabilities,
                flash: *flash.facts(),
                identity: None,
                reset_cause: ResetCause::PowerOn,
            },
            flash,
            strap,
            supply_mv: 3300,
            counters: BusCounters::default(),
            now: 0,
            stalled_until: 0,
            stalls: 0,
            request: None,
            option_write: None,
            seal_key,
            unguarded: false,
            key_maker: None,
            slot: None,
            rng,
        }
    }

    /// Fits what makes keys.
    pub(crate) fn fit_key_maker(&mut self) {
        self.facts.capabilities |= Capabilities::KEYS;
        self.key_maker = Some(KeyMaker::default());
    }

    /// Gives the bootloader a second slot.
    pub(crate) fn fit_slot(&mut self) {
        self.facts.capabilities |= Capabilities::SLOT;
        self.slot = Some(chip::slot(&self.facts.flash));
    }

    /// Hardware without anything in it, to stand in where the real one was taken out.
    pub(crate) fn detached() -> Self {
        let rng = Rng::new(0, 0);
        let identity = Identity {
            chip: &CHIPS[0],
            uid: Uid([0; 12]),
            hardware_revision: 0,
            strap: None,
            receives_while_busy: false,
            seal_key: None,
        };
        Self::new(identity, Flash::detached(rng.clone()), rng)
    }

    /// How long its bootloader takes to unpack and listen, where one without a key takes so long: the curve is in it, a third
    /// more (docs/node.md, "Measured").
    pub(crate) const fn start_up(&self, without_key: u64) -> u64 {
        if self.seal_key.is_some() { without_key * 4 / 3 } else { without_key }
    }

    /// What a reset or power-on does to the hardware: option bytes are loaded, requests forgotten.
    pub(crate) fn restart(&mut self, now: u64, cause: ResetCause) {
        self.now = now;
        self.facts.reset_cause = cause;
        self.request = None;
        self.option_write = None;
        self.stalled_until = 0;
        self.counters = BusCounters::default();
        if let Some(maker) = &mut self.key_maker {
            maker.forget();
        }
        if cause != ResetCause::Pin || self.flash.option_cells.loaded_by_nrst() {
            self.flash.reload_options();
        }
    }

    /// The processor waits for an option write to end.
    fn wait_for_options(&mut self, end: Option<u64>, protection: bool) -> bool {
        if let Some(end) = end {
            self.stalled_until = self.stalled_until.max(end);
            self.option_write = Some(OptionWrite { start: self.now, end, protection });
        }
        end.is_some()
    }
}

/// The port given to a node: its board's hardware.
#[derive(Debug)]
pub struct BoardPort(pub(crate) Box<Hardware>);

impl NodePort for BoardPort {
    fn facts(&self) -> &BoardFacts {
        &self.0.facts
    }

    fn is_agent(&self) -> bool {
        self.0.facts.capabilities.contains(Capabilities::AGENT)
    }

    fn nonce(&mut self) -> u32 {
        self.0.rng.next() as u32 & 0xFF_FFFF
    }

    fn strap(&mut self) -> Option<u16> {
        self.0.strap
    }

    fn supply_mv(&mut self) -> Option<u16> {
        Some(self.0.supply_mv)
    }

    fn bus_counters(&mut self) -> BusCounters {
        self.0.counters
    }

    fn protection(&mut self) -> Protection {
        let protection = self.0.flash.options().protection;
        if self.0.unguarded { Protection::Open } else { protection }
    }

    /// Reading a flash that is busy stalls the processor until it no longer is (RM0090, "Read-while-write").
    fn otp(&self) -> Range<u32> {
        self.0.flash.otp()
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> bool {
        if let (Some(from), Some(maker)) = (address.checked_sub(REQUEST_ADDRESS), &self.0.key_maker) {
            return maker.read(from as usize, out);
        }
        let Hardware { flash, stalled_until, stalls, now, .. } = &mut *self.0;
        if flash.is_busy(*now) {
            *stalled_until = flash.end();
            *stalls += 1;
        }
        flash.settle((*now).max(*stalled_until));
        flash.read(address, out)
    }

    fn start_erase(&mut self, unit: &EraseUnit) {
        self.0.flash.start_erase(self.0.now, unit);
    }

    fn start_program(&mut self, address: u32, data: &[u8]) {
        self.0.flash.start_program(self.0.now, address, data);
    }

    fn flash_poll(&mut self) -> FlashState {
        self.0.flash.poll(self.0.now)
    }

    fn write_options(&mut self, offset: u8, data: &[u8]) -> bool {
        let end = self.0.flash.option_cells.write(self.0.now, offset, data);
        self.0.wait_for_options(end, false)
    }

    fn set_protection(&mut self, level: Protection) -> bool {
        let end = self.0.flash.option_cells.protect(self.0.now, level);
        self.0.wait_for_options(end, true)
    }

    fn run_test(&mut self, item: u8, _argument: u32) -> Option<TestReading> {
        match item {
            TEST_SUPPLY => Some(TestReading { value: f32::from(self.0.supply_mv) / 1000.0, unit: 1 }),
            TEST_TEMPERATURE => {
                Some(TestReading { value: 24.0 + self.0.rng.below(40) as f32 / 10.0, unit: 4 })
            }
            _ => None,
        }
    }

    const HAS_SLOT: bool = true;

    fn slot(&self) -> Option<Slot> {
        self.0.slot.filter(|_| !self.is_agent())
    }

    fn seals(&self) -> Seals {
        if self.0.seal_key.is_some() && !self.is_agent() { Seals::Demanded } else { Seals::Kept }
    }

    fn seal_is_good(&mut self, message: &[u8; SEALED], signature: &[u8; 64]) -> bool {
        self.0.stalled_until = self.0.stalled_until.max(self.0.now) + SEAL_CHECK_NS;
        let key = self.0.seal_key.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
        key.is_some_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    const MAKES_KEYS: bool = true;

    /// The processor computes and hears nothing meanwhile.
    fn make_key(&mut self, kind: KeyKind, name: &[u8]) -> bool {
        let Hardware { key_maker, facts, stalled_until, now, .. } = &mut *self.0;
        let Some(maker) = key_maker else { return false };
        let hangs = maker.fault == Some(KeyFault::Hangs);
        *stalled_until = if hangs { NEVER } else { *now + MAKE_NS };
        maker.make(facts.uid, kind, name)
    }

    fn start_application(&mut self, address: u32) {
        self.0.request = Some(Request::StartApplication(address));
    }

    fn reset(&mut self) {
        self.0.request = Some(Request::Reset);
    }
}

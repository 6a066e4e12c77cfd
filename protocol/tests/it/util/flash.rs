//! A board in memory: a flash that enforces the datasheet's rules and can lose power in any operation.
//!
//! Every breach of a rule is noted in [`Port::violations`]; a correct node leaves it empty. Reading what is
//! being erased or programmed is a breach, reading elsewhere meanwhile is what stalls a real chip and is counted.

use super::{Rng, small_flash};
use panel_protocol::block::SEALED;
use panel_protocol::node::{
    BoardFacts, BusCounters, Capabilities, EraseUnit, FlashFault, FlashState, KeyKind, NodePort, Protection,
    REQUEST_ADDRESS, ResetCause, Seals, Slot, TestReading, Uid,
};
use panel_protocol::time::{Micros, Span};
use std::collections::BTreeSet;
use std::ops::Range;

/// How far an operation had got when the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing had happened yet.
    Before,
    /// Every byte may hold anything.
    During,
    /// All was done, but nobody had been told.
    After,
}

/// What the flash does wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defects {
    /// Programming this address ends with an error.
    pub(crate) program_fails: Option<u32>,
    /// This byte reads back with a bit cleared.
    pub(crate) sticks: Option<u32>,
    /// Erasing the unit at this address ends with an error.
    pub(crate) erase_fails: Option<u32>,
    /// Operations never end.
    pub(crate) hangs: bool,
    /// Erasing ends well but changes nothing.
    pub(crate) erase_does_nothing: bool,
    /// Check bits of this byte do not fit until its unit is erased: it cannot be read.
    pub(crate) unreadable: Option<u32>,
}

/// One-time programmable memory of every board.
pub(crate) const OTP: Range<u32> = 0x1FFF_7800..0x1FFF_7840;

/// A board.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) facts: BoardFacts,
    /// The flash, and behind it the OTP.
    pub(crate) bytes: Vec<u8>,
    pub(crate) now: Micros,
    pub(crate) strap: Option<u16>,
    pub(crate) nonce: u32,
    pub(crate) protection: Protection,
    pub(crate) defects: Defects,
    /// Units that may be erased, by index; `None`: every one but the bootloader's.
    pub(crate) erasable: Option<BTreeSet<u16>>,
    pub(crate) violations: Vec<String>,
    /// Erase and program operations begun.
    pub(crate) operations: u64,
    pub(crate) erases: u64,
    pub(crate) programs: u64,
    /// Reads while the flash was busy elsewhere.
    pub(crate) stalls: u64,
    /// The operation in which the power goes, and how far it gets.
    pub(crate) cut: Option<(u64, Cut)>,
    pub(crate) without_power: bool,
    pub(crate) started: Option<u32>,
    pub(crate) resets: u32,
    /// The key that was made for this name; none can be for the name "broken".
    pub(crate) key: Option<(KeyKind, Vec<u8>)>,
    pub(crate) seals: Seals,
    pub(crate) slot: Option<Slot>,
    /// Seals are good whatever they are; else those of [`super::seal`].
    pub(crate) takes_any_seal: bool,
    busy: Option<Busy>,
    rng: Rng,
}

#[derive(Debug, Clone)]
struct Busy {
    until: Micros,
    range: Range<usize>,
    fault: Option<FlashFault>,
}

impl Port {
    pub(crate) fn new(uid: Uid, strap: Option<u16>) -> Self {
        let flash = small_flash();
        let facts = BoardFacts {
            device_id: super::DEVICE,
            silicon_revision: 0x100F,
            hardware_revision: 3,
            uid,
            bootloader_version: 0x0102,
            capabilities: Capabilities::RECEIVES_WHILE_BUSY | Capabilities::STRAPS | Capabilities::OPTIONS,
            flash,
            identity: None,
            reset_cause: ResetCause::PowerOn,
        };
        let seed =
            uid.0.iter().fold(u64::from(strap.unwrap_or(0)), |sum, &b| sum.wrapping_mul(31) + u64::from(b));
        let mut rng = Rng::new(seed);
        let mut port = Self {
            facts,
            bytes: vec![0xFF; flash.size() as usize + OTP.len()],
            now: Micros::ZERO,
            strap,
            nonce: rng.next() as u32,
            protection: Protection::Open,
            defects: Defects::default(),
            erasable: None,
            violations: Vec::new(),
            operations: 0,
            erases: 0,
            programs: 0,
            stalls: 0,
            cut: None,
            without_power: false,
            started: None,
            resets: 0,
            key: None,
            seals: Seals::Ignored,
            slot: None,
            takes_any_seal: false,
            busy: None,
            rng,
        };
        let bootloader = port.rng.bytes(0x800);
        port.bytes[..0x800].copy_from_slice(&bootloader);
        port
    }

    /// Power comes back: the flash is as it was left, nothing is running.
    pub(crate) fn power_up(&mut self) {
        (self.busy, self.cut, self.without_power) = (None, None, false);
        self.nonce = self.rng.next() as u32;
    }

    /// Another fate for what an interrupted operation leaves.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    /// When the running operation ends.
    pub(crate) fn busy_until(&self) -> Option<Micros> {
        self.busy.as_ref().map(|b| b.until).filter(|_| !self.defects.hangs)
    }

    pub(crate) fn at(&self, address: u32, len: usize) -> &[u8] {
        &self.bytes[self.range_of(address, len).expect("in flash or OTP")]
    }

    /// Fills the application area, as an image that ran there before would.
    pub(crate) fn soil(&mut self, seed: u64) {
        let from = (self.facts.flash.app_base - self.facts.flash.base) as usize;
        let end = self.facts.flash.size() as usize;
        let bytes = Rng::new(seed).bytes(end - from);
        self.bytes[from..end].copy_from_slice(&bytes);
    }

    /// A cell has changed by itself.
    pub(crate) fn flip(&mut self, address: u32) {
        let range = self.range_of(address, 1).expect("in flash");
        self.bytes[range.start] ^= 1;
    }

    fn breach(&mut self, what: String) {
        self.violations.push(what);
    }

    fn range_of(&self, address: u32, len: usize) -> Option<Range<usize>> {
        let size = self.facts.flash.size();
        let (base, first, end) = if address >= OTP.start {
            (OTP.start, size as usize, self.bytes.len())
        } else {
            (self.facts.flash.base, 0, size as usize)
        };
        let from = first + address.checked_sub(base)? as usize;
        (from + len <= end).then_some(from..from + len)
    }

    /// Counts an operation; `None` without power, else how far it gets.
    fn begin(&mut self) -> Option<Cut> {
        if self.without_power {
            return None;
        }
        if self.busy.as_ref().is_some_and(|b| self.now < b.until || self.defects.hangs) {
            self.breach(format!("operation {} begun while one is running", self.operations));
        }
        let extent = match self.cut {
            Some((n, cut)) if n == self.operations => {
                self.without_power = true;
                cut
            }
            _ => Cut::After,
        };
        self.operations += 1;
        Some(extent)
    }

    /// Each byte old, new, or anything; or one part of the range so, and the other as it was.
    fn scramble(&mut self, range: Range<usize>, new: impl Fn(usize) -> u8) {
        let half = range.start + self.rng.below(range.len() as u64 + 1) as usize;
        let hit = match self.rng.below(3) {
            0 => range.start..half,
            1 => half..range.end,
            _ => range.clone(),
        };
        for at in hit {
            match self.rng.below(3) {
                0 => {}
                1 => self.bytes[at] = new(at - range.start),
                _ => self.bytes[at] = self.rng.next() as u8,
            }
        }
    }
}

impl NodePort for Port {
    fn facts(&self) -> &BoardFacts {
        &self.facts
    }

    fn is_agent(&self) -> bool {
        self.facts.capabilities.contains(Capabilities::AGENT)
    }

    fn nonce(&mut self) -> u32 {
        self.nonce
    }

    fn strap(&mut self) -> Option<u16> {
        self.strap
    }

    fn supply_mv(&mut self) -> Option<u16> {
        Some(3300)
    }

    fn bus_counters(&mut self) -> BusCounters {
        BusCounters { tec: 1, rec: 2, overruns: 3, errors: 4 }
    }

    fn protection(&mut self) -> Protection {
        self.protection
    }

    fn otp(&self) -> Range<u32> {
        OTP
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> bool {
        if let (Some(from), Some((_, name))) = (address.checked_sub(REQUEST_ADDRESS), &self.key) {
            let request = [&(name.len() as u16).to_le_bytes(), &name[..]].concat();
            let part = request.get(from as usize..from as usize + out.len());
            return part.map(|part| out.copy_from_slice(part)).is_some();
        }
        let Some(range) = self.range_of(address, out.len()) else { return false };
        if let Some(busy) = self.busy.as_ref().filter(|b| self.now < b.until) {
            if range.start < busy.range.end && busy.range.start < range.end {
                self.breach(format!("read of {address:#010x} while it is being changed"));
            }
            self.stalls += 1;
        }
        if self.defects.unreadable.and_then(|a| self.range_of(a, 1)).is_some_and(|r| range.contains(&r.start))
        {
            return false;
        }
        out.copy_from_slice(&self.bytes[range.clone()]);
        if let Some(stuck) = self.defects.sticks.and_then(|a| self.range_of(a, 1))
            && let Some(byte) = out.get_mut(stuck.start.wrapping_sub(range.start))
        {
            *byte &= !1;
        }
        true
    }

    fn start_erase(&mut self, unit: &EraseUnit) {
        let Some(extent) = self.begin() else { return };
        self.erases += 1;
        let flash = self.facts.flash;
        let bootloader_end = flash.record_base.min(flash.app_base);
        if flash.erase_unit(unit.address) != Some(*unit) || unit.address < bootloader_end {
            self.breach(format!("erase of {unit:?}"));
            return;
        }
        let record = flash.erase_unit(flash.record_base).map(|u| u.index);
        if let Some(allowed) = &self.erasable
            && !allowed.contains(&unit.index)
            && record != Some(unit.index)
        {
            self.breach(format!("erase of unit {} that is none of the image's", unit.index));
        }
        let from = (unit.address - flash.base) as usize;
        let range = from..from + unit.size as usize;
        let fails = self.defects.erase_fails.is_some_and(|a| flash.erase_unit(a) == Some(*unit));
        match extent {
            Cut::Before => {}
            Cut::During => self.scramble(range.clone(), |_| 0xFF),
            Cut::After if fails || self.defects.hangs || self.defects.erase_does_nothing => {}
            Cut::After => {
                self.bytes[range.clone()].fill(0xFF);
                self.defects.unreadable.take_if(|a| flash.erase_unit(*a) == Some(*unit));
            }
        }
        let fault = fails.then_some(FlashFault::Erase);
        self.busy = Some(Busy { until: self.now + unit.typical, range, fault });
    }

    fn start_program(&mut self, address: u32, data: &[u8]) {
        let Some(extent) = self.begin() else { return };
        self.programs += 1;
        let flash = self.facts.flash;
        let unit = usize::from(flash.unit);
        let whole = data.len().is_multiple_of(unit) && (address as usize).is_multiple_of(unit);
        let Some(range) = self.range_of(address, data.len()).filter(|_| whole && data.len() <= 256) else {
            self.breach(format!("programming of {} bytes at {address:#010x}", data.len()));
            return;
        };
        let record = flash.erase_unit(flash.record_base) == flash.erase_unit(address);
        if address < flash.app_base && !record {
            self.breach(format!("programming of {address:#010x}, which no image may touch"));
        }
        if record && (data.len() != 64 || !address.is_multiple_of(64)) {
            self.breach(format!("programming of {} bytes among the records at {address:#010x}", data.len()));
        }
        if self.bytes[range.clone()].iter().any(|&b| b != 0xFF) {
            self.breach(format!("programming of {address:#010x} without erase"));
        }
        let fails = self
            .defects
            .program_fails
            .filter(|a| self.range_of(*a, 1).is_some_and(|r| range.contains(&r.start)));
        match extent {
            Cut::Before => {}
            Cut::During => self.scramble(range.clone(), |i| data[i]),
            Cut::After => {
                // What an error leaves is half of it.
                let done = if fails.is_some() { data.len() / 2 } else { data.len() };
                self.bytes[range.start..range.start + done].copy_from_slice(&data[..done]);
            }
        }
        let fault = fails.map(|address| FlashFault::Program { address });
        let time = Span(flash.program_typical.0 * (data.len() / unit) as u64);
        self.busy = Some(Busy { until: self.now + time, range, fault });
    }

    fn flash_poll(&mut self) -> FlashState {
        match &self.busy {
            Some(busy) if self.now < busy.until || self.defects.hangs => FlashState::Busy,
            Some(_) => self.busy.take().and_then(|b| b.fault).map_or(FlashState::Idle, FlashState::Failed),
            None => FlashState::Idle,
        }
    }

    fn write_options(&mut self, _offset: u8, data: &[u8]) -> bool {
        data.len() <= 16
    }

    fn set_protection(&mut self, level: Protection) -> bool {
        self.protection = level;
        true
    }

    fn run_test(&mut self, item: u8, argument: u32) -> Option<TestReading> {
        (item == 7).then_some(TestReading { value: argument as f32 / 2.0, unit: 1 })
    }

    const MAKES_KEYS: bool = true;

    fn make_key(&mut self, kind: KeyKind, name: &[u8]) -> bool {
        self.key = (name != b"broken").then(|| (kind, name.to_vec()));
        self.key.is_some()
    }

    const HAS_SLOT: bool = true;

    fn slot(&self) -> Option<Slot> {
        self.slot
    }

    fn seals(&self) -> Seals {
        self.seals
    }

    fn seal_is_good(&mut self, message: &[u8; SEALED], signature: &[u8; 64]) -> bool {
        self.takes_any_seal || super::sign(message) == *signature
    }

    fn start_application(&mut self, address: u32) {
        self.started = Some(address);
    }

    fn reset(&mut self) {
        self.resets += 1;
    }
}

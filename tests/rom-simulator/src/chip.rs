//! The chip behind the loaders: memory map, option bytes, protection, empty flag. No protocol in here.
//!
//! The USART, CAN and FDCAN loaders ask it what may be read and written and tell it what to do; it answers
//! with the time the work is done. Rules it keeps: option changes take effect when options are loaded, write
//! protected units are passed over in silence, a mass erase does nothing while any unit is protected.

use crate::flash::{Flash, Parallelism};
use crate::model::{Engineering, Entry, Model};
use crate::options::{Options, Protection, factory_area};
use crate::rng::Rng;
use crate::time::Nanos;
use core::time::Duration;

/// Erasing and rewriting the option bytes (our assumption: one page erase plus a few writes).
const OPTION_TIME: Duration = Duration::from_millis(30);

/// The virtual address whose first byte selects the programming parallelism (AN2606, F2/F4/F7).
const VOLTAGE_RANGE: u32 = 0xFFFF_0000;

/// Memory, options and flags of one chip.
#[derive(Debug)]
pub struct Chip {
    model: &'static Model,
    flash: Flash,
    ram: Vec<u8>,
    /// Offsets and lengths of what was written there since somebody took them.
    ram_changes: Vec<(usize, usize)>,
    option_area: Vec<u8>,
    stored: Options,
    active: Options,
    uid: [u8; 12],
    empty_flag: bool,
    parallelism: Parallelism,
    /// A misaligned write has spoilt the flash interface until reset.
    spoilt: bool,
    pub(crate) defects: Defects,
    /// When the option bytes that were written last are whole.
    options_whole: Nanos,
    /// The last write, first and last offset, and until when reads still miss it.
    stale: Option<(Nanos, u32, u32)>,
}

/// What is wrong with a chip's protection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Defects {
    /// Readout Protect is acknowledged and changes nothing.
    pub(crate) ignores_lock: bool,
    /// The loader serves a protected chip as if it were open.
    pub(crate) reads_when_locked: bool,
    /// The option area cannot be written.
    pub(crate) refuses_options: bool,
    /// What Get ID says instead of the truth.
    pub(crate) product_id: Option<u16>,
}

/// Which part of the flash a mass erase is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mass {
    All,
    Bank(u8),
}

impl Chip {
    /// A factory-fresh chip whose unique ID follows from `seed`.
    #[must_use]
    pub fn new(model: &'static Model, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ u64::from(model.product_id) << 48);
        let option_len = model.map.option.map_or(0, |(from, to)| (to - from + 1) as usize);
        let (ram_from, ram_to) = model.map.host_ram;
        Self {
            model,
            flash: Flash::new(&model.flash),
            ram: vec![0; (ram_to - ram_from + 1) as usize],
            ram_changes: Vec::new(),
            option_area: factory_area(model.options, option_len),
            stored: Options::factory(),
            active: Options::factory(),
            uid: core::array::from_fn(|_| rng.byte()),
            empty_flag: true,
            parallelism: Parallelism::X8,
            spoilt: false,
            defects: Defects::default(),
            options_whole: Nanos::ZERO,
            stale: None,
        }
    }

    /// What kind of chip this is.
    #[must_use]
    pub fn model(&self) -> &'static Model {
        self.model
    }

    /// What Get ID answers.
    pub(crate) fn product_id(&self) -> u16 {
        self.defects.product_id.unwrap_or(self.model.product_id)
    }

    /// The 96-bit unique ID, first word first.
    #[must_use]
    pub fn uid(&self) -> [u8; 12] {
        self.uid
    }

    /// Gives the chip another unique ID.
    pub fn set_uid(&mut self, uid: [u8; 12]) {
        self.uid = uid;
    }

    /// The main flash.
    #[must_use]
    pub fn flash(&self) -> &Flash {
        &self.flash
    }

    /// The main flash, to preload it.
    pub fn flash_mut(&mut self) -> &mut Flash {
        &mut self.flash
    }

    /// The RAM a host may use, from the first such address.
    #[must_use]
    pub fn ram(&self) -> &[u8] {
        &self.ram
    }

    /// Addresses and bytes of what the host has written into RAM since power came or the last call.
    pub fn take_ram_changes(&mut self) -> Vec<(u32, Vec<u8>)> {
        let base = self.model.map.host_ram.0;
        let changes = core::mem::take(&mut self.ram_changes);
        changes.into_iter().map(|(at, len)| (base + at as u32, self.ram[at..at + len].to_vec())).collect()
    }

    /// The option area as stored (it may not be loaded yet).
    #[must_use]
    pub fn option_bytes(&self) -> &[u8] {
        &self.option_area
    }

    /// Read-out protection in force.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.active.protection
    }

    /// Codes of the sector groups that are write protected now.
    #[must_use]
    pub fn write_protected(&self) -> Vec<u8> {
        self.active.write_protected.iter().copied().collect()
    }

    /// Whether the empty flag says that the flash holds no program.
    #[must_use]
    pub fn empty_flag(&self) -> bool {
        self.empty_flag
    }

    /// Starts life with this protection, as a fault or a test asks.
    pub fn set_protection(&mut self, protection: Protection) {
        self.stored.protection = protection;
        self.stored.render(self.model.options, &mut self.option_area);
        self.active = self.stored.clone();
    }

    /// Read-out protection as stored; it may not be loaded yet.
    #[must_use]
    pub fn stored_protection(&self) -> Protection {
        self.stored.protection
    }

    /// Starts life with this protection and with these bytes from the start of the option area on.
    pub fn restore_options(&mut self, protection: Protection, bytes: &[u8]) {
        for (cell, byte) in self.option_area.iter_mut().zip(bytes) {
            *cell = *byte;
        }
        self.stored = Options::parse(self.model.options, &self.option_area, &self.stored);
        self.set_protection(protection);
    }

    /// Whether the loader refuses what it must refuse under protection.
    pub(crate) fn refuses(&self) -> bool {
        self.active.protection != Protection::Open && !self.defects.reads_when_locked
    }

    // ---- reset and power ----------------------------------------------------------------------------------

    /// Any reset: options are loaded, the flash interface is as new.
    pub(crate) fn reset(&mut self, now: Nanos, power_cycle: bool) {
        self.flash.settle(now);
        let options_changed = self.active != self.stored;
        if power_cycle || !self.model.quirks.options_at_power_on {
            self.active = self.stored.clone();
        }
        self.parallelism = Parallelism::X8;
        self.spoilt = false;
        if power_cycle {
            self.ram.fill(0);
            self.ram_changes.clear();
        }
        // The flag is worked out at power-on and option load only, not by every reset (AN2606 "empty check").
        if power_cycle || options_changed {
            let erased = self.model.flash.erased;
            self.empty_flag = self.flash.bytes().iter().take(4).all(|&b| b == erased);
        }
    }

    /// The supply went away: whatever the flash was doing stops half way. Option bytes that are cut off read as
    /// protected.
    pub(crate) fn cut_power(&mut self, now: Nanos, rng: &mut Rng) {
        self.flash.cut_power(now, rng);
        if now < self.options_whole && self.stored.protection == Protection::Open {
            self.stored.protection = Protection::Level1;
            self.stored.render(self.model.options, &mut self.option_area);
        }
        self.options_whole = Nanos::ZERO;
    }

    /// Whether a reset with BOOT0 at this level starts the ROM rather than the application.
    pub(crate) fn starts_rom(&self, boot0: bool) -> bool {
        match self.model.entry {
            Entry::Pin => boot0,
            Entry::PinOrEmpty => boot0 || self.empty_flag,
            Entry::Empty => self.empty_flag,
        }
    }

    pub(crate) fn settle(&mut self, now: Nanos) {
        self.flash.settle(now);
    }

    // ---- reading --------------------------------------------------------------------------------------------

    /// Whether Read accepts this start address.
    pub(crate) fn read_address_ok(&self, address: u32) -> bool {
        if self.in_engineering(address) && !self.in_options(address) {
            return match self.model.quirks.engineering {
                Engineering::Readable => true,
                Engineering::WholeBlocks(_) => address.is_multiple_of(256),
                Engineering::Hidden => false,
            };
        }
        self.byte(address).is_some()
    }

    /// `len` bytes from `address`, or `None` where the ROM refuses the length.
    pub(crate) fn read(&self, now: Nanos, address: u32, len: usize) -> Option<Vec<u8>> {
        let last = address.checked_add(len as u32 - 1)?;
        let touches_engineering = self.in_engineering(last) && !self.in_options(last);
        match self.model.quirks.engineering {
            Engineering::WholeBlocks(least) if touches_engineering && len < usize::from(least) => {
                return None;
            }
            Engineering::Hidden if touches_engineering => return None,
            _ => {}
        }
        let stale = |at: &u32| {
            self.stale.is_some_and(|(until, first, last)| {
                now < until && self.flash_offset(*at).is_some_and(|offset| (first..=last).contains(&offset))
            })
        };
        let byte = |at: u32| if stale(&at) { Some(self.model.flash.erased) } else { self.byte(at) };
        (0..len as u32).map(|i| byte(address + i)).collect()
    }

    fn byte(&self, address: u32) -> Option<u8> {
        let map = &self.model.map;
        let inside = |(from, to): (u32, u32)| (from..=to).contains(&address);
        if let Some(offset) = self.flash_offset(address) {
            return self.flash.bytes().get(offset as usize).copied();
        }
        if inside(map.host_ram) {
            return self.ram.get((address - map.host_ram.0) as usize).copied();
        }
        if let Some(byte) = self.identity_byte(address) {
            return Some(byte);
        }
        if let Some(from) = map.option.filter(|&range| inside(range)).map(|(from, _)| from) {
            return self.option_area.get((address - from) as usize).copied();
        }
        if inside(map.system) {
            return Some(rom_filler(address));
        }
        self.in_engineering(address).then_some(0xFF)
    }

    /// Unique ID, flash size and bootloader ID: the bytes that mean something in system memory.
    fn identity_byte(&self, address: u32) -> Option<u8> {
        let map = &self.model.map;
        for (word, offset) in map.uid_layout.offsets().into_iter().enumerate() {
            let start = map.uid + offset;
            if (start..start + 4).contains(&address) {
                return self.uid.get(word * 4 + (address - start) as usize).copied();
            }
        }
        if (map.flash_size..map.flash_size + 2).contains(&address) {
            let kib = (self.model.flash.size() / 1024) as u16;
            return kib.to_le_bytes().get((address - map.flash_size) as usize).copied();
        }
        self.model.bootloader_id.filter(|(at, _)| *at == address).map(|(_, id)| id)
    }

    fn in_options(&self, address: u32) -> bool {
        self.model.map.option.is_some_and(|(from, to)| (from..=to).contains(&address))
    }

    /// The 256-byte blocks around unique ID and flash size, where they lie outside the ROM's own range.
    fn in_engineering(&self, address: u32) -> bool {
        let map = &self.model.map;
        let (from, to) = map.system;
        let block = address & !0xFF;
        !(from..=to).contains(&address) && (block == map.uid & !0xFF || block == map.flash_size & !0xFF)
    }

    // ---- writing ----------------------------------------------------------------------------------------------

    /// Whether Write accepts this start address.
    pub(crate) fn write_address_ok(&self, address: u32) -> bool {
        let (ram_from, ram_to) = self.model.map.host_ram;
        address.is_multiple_of(4)
            && (self.flash_offset(address).is_some()
                || (ram_from..=ram_to).contains(&address)
                || self.in_options(address)
                || (address == VOLTAGE_RANGE && self.model.flash.clears_bits))
    }

    /// Whether Go accepts this address.
    pub(crate) fn go_address_ok(&self, address: u32) -> bool {
        let (ram_from, ram_to) = self.model.map.host_ram;
        self.flash_offset(address).is_some() || (ram_from..=ram_to).contains(&address)
    }

    /// Whether a write there is to the option bytes.
    pub(crate) fn is_option_write(&self, address: u32) -> bool {
        self.in_options(address)
    }

    /// Starts a write; the time it is done, or `None` if it fails.
    pub(crate) fn write(&mut self, now: Nanos, address: u32, data: &[u8]) -> Option<Nanos> {
        if address == VOLTAGE_RANGE && self.model.flash.clears_bits {
            return self.set_parallelism(data).then_some(now);
        }
        if !data.len().is_multiple_of(4) {
            return None;
        }
        let (ram_from, _) = self.model.map.host_ram;
        if let Some(offset) = self.flash_offset(address) {
            return self.write_flash(now, offset, data);
        }
        if self.in_options(address) {
            return self.write_options(address, data).then(|| self.writing_options(now));
        }
        let from = address.checked_sub(ram_from)? as usize;
        self.ram.get_mut(from..from + data.len())?.copy_from_slice(data);
        self.ram_changes.push((from, data.len()));
        Some(now)
    }

    fn write_flash(&mut self, now: Nanos, offset: u32, data: &[u8]) -> Option<Nanos> {
        let quirks = &self.model.quirks;
        let align = u32::from(quirks.write_align);
        if !offset.is_multiple_of(align) || !(data.len() as u32).is_multiple_of(align) {
            self.spoilt |= quirks.misaligned_write_sticks;
            return None;
        }
        if self.spoilt || offset + data.len() as u32 > self.model.flash.size() {
            return None;
        }
        let (model, active) = (self.model, &self.active);
        let skip = |at| model.flash.unit_at(at).is_some_and(|unit| is_protected(model, active, unit));
        let end = self.flash.program(now, offset, data, self.parallelism, skip);
        let stale = Duration::from_micros(u64::from(model.quirks.stale_read_us));
        self.stale = Some((end + stale, offset, offset + data.len() as u32 - 1)).filter(|_| !stale.is_zero());
        Some(end)
    }

    /// Rewrites all options; only from their base (AN3155, Write Memory).
    fn write_options(&mut self, address: u32, data: &[u8]) -> bool {
        if self.defects.refuses_options
            || self.model.map.option.is_none_or(|(from, _)| from != address)
            || data.len() > self.option_area.len()
        {
            return false;
        }
        self.option_area.fill(0xFF);
        self.option_area[..data.len()].copy_from_slice(data);
        self.stored = Options::parse(self.model.options, &self.option_area, &self.stored);
        true
    }

    fn set_parallelism(&mut self, data: &[u8]) -> bool {
        let [range, 0xFF, 0xFF, 0xFF] = data else { return false };
        self.parallelism = match range {
            0 => Parallelism::X8,
            1 | 2 => Parallelism::X16,
            3 => Parallelism::X32,
            4 => Parallelism::X64,
            _ => return false,
        };
        true
    }

    fn flash_offset(&self, address: u32) -> Option<u32> {
        let offset = address.checked_sub(self.model.flash.base)?;
        (offset < self.model.flash.size()).then_some(offset)
    }

    // ---- erasing and protecting ---------------------------------------------------------------------------------

    /// Starts erasing units; protected ones are passed over. `None` if a number is out of range.
    pub(crate) fn erase(&mut self, now: Nanos, units: &[u16]) -> Option<Nanos> {
        let total = self.model.flash.units();
        if units.iter().any(|&unit| u32::from(unit) >= total) {
            return None;
        }
        let open =
            units.iter().map(|&u| u32::from(u)).filter(|&u| !is_protected(self.model, &self.active, u));
        let end = self.flash.erase_units(now, open, self.parallelism);
        self.empty_flag &= !self.model.quirks.erase_clears_empty_flag;
        Some(end)
    }

    /// Starts a mass erase; `None` if this chip or ROM refuses it.
    pub(crate) fn erase_mass(&mut self, now: Nanos, what: Mass) -> Option<Nanos> {
        let quirks = &self.model.quirks;
        let bank = match what {
            Mass::All => None,
            Mass::Bank(_) if quirks.no_bank_erase => return None,
            Mass::Bank(bank) => Some(bank),
        };
        if quirks.no_mass_erase {
            return None;
        }
        if !self.active.write_protected.is_empty() {
            return Some(now);
        }
        self.empty_flag &= !quirks.erase_clears_empty_flag;
        Some(self.flash.erase_mass(now, bank, self.parallelism))
    }

    /// Replaces the write protection; in force after the next option load.
    pub(crate) fn protect_units(&mut self, now: Nanos, codes: &[u8]) -> Nanos {
        self.stored.write_protected = codes.iter().copied().collect();
        self.stored.render(self.model.options, &mut self.option_area);
        self.writing_options(now)
    }

    /// Sets read-out protection level 1; in force after the next option load.
    pub(crate) fn protect_readout(&mut self, now: Nanos) -> Nanos {
        if self.defects.ignores_lock {
            return now + OPTION_TIME;
        }
        self.stored.protection = Protection::Level1;
        self.stored.render(self.model.options, &mut self.option_area);
        self.writing_options(now)
    }

    /// They are whole after this time.
    fn writing_options(&mut self, now: Nanos) -> Nanos {
        self.options_whole = now + OPTION_TIME;
        self.options_whole
    }

    /// Erases everything, wipes the RAM and takes read-out protection off after the next option load.
    pub(crate) fn unprotect_readout(&mut self, now: Nanos) -> Nanos {
        self.ram.fill(0);
        self.stored.protection = Protection::Open;
        self.stored.render(self.model.options, &mut self.option_area);
        // Hardware does this one, also where the ROM's own mass erase is missing (L0, L1).
        let end = if self.model.quirks.no_mass_erase {
            self.flash.erase_units(now, 0..self.model.flash.units(), self.parallelism)
        } else {
            self.flash.erase_mass(now, None, self.parallelism)
        };
        self.writing_options(end)
    }
}

fn is_protected(model: &Model, active: &Options, unit: u32) -> bool {
    let group = unit / model.units_per_protection.max(1);
    active.write_protected.iter().any(|&code| u32::from(code) == group)
}

/// Stands for ST's code, which is not ours to copy: bytes that only depend on the address.
fn rom_filler(address: u32) -> u8 {
    (address ^ address >> 7 ^ address >> 13) as u8
}

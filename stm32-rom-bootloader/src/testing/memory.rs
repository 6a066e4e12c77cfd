//! The toy's memory and switches, shared by its UART and its CAN side.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::device::{Area, Device, EraseUnit, FlashTiming, OptionBytes, Parallelism};

/// How a toy differs from the application note.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a test double")]
pub struct Quirks {
    /// RDP level 1: only Get, Get Version, Get ID and Readout Unprotect are accepted.
    pub protected: bool,
    /// Refuse with two NACKs.
    pub second_nack: bool,
    /// An erase command with more pages than this is never answered.
    pub hang_above_pages: Option<usize>,
    /// Refuse mass erase.
    pub no_mass_erase: bool,
    /// Acknowledge erases at once and be busy afterwards.
    pub erase_answers_early: bool,
    /// Reset after protection and option commands.
    pub resets_itself: bool,
    /// After option commands, a reset does not load them, a power cycle does.
    pub options_need_power_cycle: bool,
    /// Acknowledge Readout Unprotect twice before erasing.
    pub early_unprotect_ack: bool,
    /// Never answer a bad address (protocols before 3.1).
    pub silent_on_bad_address: bool,
    /// Refuse reads shorter than 256 bytes outside flash and RAM.
    pub whole_block_reads: bool,
    /// Refuse any read of the unique ID's 256-byte block.
    pub uid_unreadable: bool,
    /// Leave out the first ACK of Go.
    pub go_without_first_ack: bool,
    /// Ignore the first sync byte.
    pub two_sync_bytes: bool,
    /// Bytes sent before the ACK of the sync.
    pub noise_before_ack: Vec<u8>,
    /// Measure a wrong rate: the noise is all there is, and nothing is understood.
    pub garbled: bool,
    /// How long the ACK of the sync takes.
    pub sync_answer_delay: Duration,
    /// A NACK sent after the ACK of the sync.
    pub nack_after_sync: bool,
    /// Receive bytes without parity: those whose parity bit is not 1 are dropped.
    pub no_parity: bool,
    /// After this many reads, flash shows what was written; before, it reads blank.
    pub stale_reads: u32,
    /// FDCAN: refuse writes shorter than this.
    pub shortest_write: usize,
    /// CAN: leave out the second ACK of a page erase.
    pub one_erase_ack: bool,
    /// CAN: acknowledge a mass erase three times.
    pub three_mass_acks: bool,
    /// CAN: identifier of the second ACK of Speed.
    pub speed_ack_id: Option<u16>,
    /// FDCAN: identifier of the answers to Readout Unprotect and Special.
    pub stray_answers: bool,
    /// FDCAN: number of commands announced by Get.
    pub command_count: Option<u8>,
    /// FDCAN: the count of an erase list is n - 1.
    pub erase_count_minus_one: bool,
    /// Accept the voltage word at 0xFFFF0000.
    pub voltage_range: bool,
    /// Refuse the voltage word even though the family takes it.
    pub refuse_voltage: bool,
    /// The start-up time, if not that of the device table.
    pub startup: Option<Duration>,
}

/// Flash, RAM and everything readable, with the time that changing it takes.
#[derive(Debug, Clone)]
pub struct Memory {
    pub(super) device: &'static Device,
    pub(super) units: Vec<EraseUnit>,
    timing: FlashTiming,
    parallelism: Parallelism,
    flash: Vec<u8>,
    other: BTreeMap<u32, u8>,
    /// Addresses and lengths of all writes, in order.
    pub writes: Vec<(u32, usize)>,
    /// Numbers of the units erased, in order.
    pub erased_units: Vec<u16>,
    /// How often everything was erased at once.
    pub mass_erases: u32,
    /// How many reads were answered.
    pub reads: u32,
    /// Whether a write met flash that was not blank.
    pub wrote_over: bool,
    /// Whether option bytes wait for a reset or power cycle.
    pub options_pending: bool,
    pub(super) quirks: Quirks,
}

impl Memory {
    /// A blank chip with `kib` KiB of flash.
    pub(super) fn new(device: &'static Device, kib: u16, quirks: Quirks) -> Self {
        let mode = device.flash.map(|flash| flash.usual_mode(kib));
        let units =
            device.flash.zip(mode).and_then(|(flash, mode)| flash.units(kib, mode)).unwrap_or_default();
        let mut memory = Self {
            device,
            units,
            timing: FlashTiming::of(device.family),
            parallelism: Parallelism::X8,
            flash: vec![device.family.erased_value(); usize::from(kib) * 1024],
            other: BTreeMap::new(),
            writes: Vec::new(),
            erased_units: Vec::new(),
            mass_erases: 0,
            reads: 0,
            wrote_over: false,
            options_pending: false,
            quirks,
        };
        if let Some(address) = device.flash_size_address {
            memory.poke(address, &kib.to_le_bytes());
        }
        if let Some([low, high]) = device.uid_parts() {
            memory.poke(low.start, &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
            memory.poke(high.start, &[0x19, 0x1A, 0x1B, 0x1C]);
        }
        if let (Some(address), Some(id)) = (device.bootloader_id_address, device.bootloader_id) {
            memory.poke(address, &id.to_le_bytes());
        }
        if let OptionBytes::Memory(areas) = device.option_bytes {
            areas.iter().for_each(|area| memory.poke(area.start, &vec![0xAA; area.len() as usize]));
        }
        memory
    }

    /// Puts bytes anywhere, without rules or time.
    pub fn poke(&mut self, address: u32, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            match self.flash_offset(at) {
                Some(offset) => self.flash[offset] = *byte,
                None => drop(self.other.insert(at, *byte)),
            }
        }
    }

    /// What stands at an address; 0 where there is nothing.
    #[must_use]
    pub fn peek(&self, address: u32) -> u8 {
        match self.flash_offset(address) {
            Some(offset) => self.flash[offset],
            None => self.other.get(&address).copied().unwrap_or(0),
        }
    }

    /// The next reads show blank flash.
    pub const fn set_stale_reads(&mut self, reads: u32) {
        self.quirks.stale_reads = reads;
    }

    fn flash_offset(&self, address: u32) -> Option<usize> {
        let offset = address.checked_sub(self.device.flash?.start)? as usize;
        (offset < self.flash.len()).then_some(offset)
    }

    fn in_ram(&self, address: u32) -> bool {
        self.device.ram.is_some_and(|ram| ram.contains(address))
    }

    pub(super) fn is_readable(&self, address: u32, len: usize) -> bool {
        if self.flash_offset(address).is_some() || self.in_ram(address) {
            return true;
        }
        if self.quirks.uid_unreadable && self.device.uid_address.is_some_and(|uid| uid >> 8 == address >> 8) {
            return false;
        }
        let end = address.saturating_add(len as u32);
        let known = self.other.range(address & !0xFF..end).next().is_some();
        let rom =
            self.device.bootloader_id_address.is_some_and(|id| Area { start: address, end }.contains(id));
        known && (rom || !self.quirks.whole_block_reads || len == 256)
    }

    pub(super) fn is_writable(&self, address: u32) -> bool {
        let option = matches!(self.device.option_bytes, OptionBytes::Memory(areas)
            if areas.iter().any(|area| area.start == address));
        let voltage = self.quirks.voltage_range && address == 0xFFFF_0000;
        self.flash_offset(address).is_some() || self.in_ram(address) || option || voltage
    }

    pub(super) fn read(&mut self, address: u32, len: usize) -> Vec<u8> {
        self.reads += 1;
        let stale = self.quirks.stale_reads > 0;
        self.quirks.stale_reads = self.quirks.stale_reads.saturating_sub(1);
        let blank = self.device.family.erased_value();
        (address..).take(len).map(|at| if stale { blank } else { self.peek(at) }).collect()
    }

    /// Writes; how long it takes, or `None` if it is refused. The second value: option bytes were written.
    pub(super) fn write(&mut self, address: u32, data: &[u8]) -> Option<(Duration, bool)> {
        if address == 0xFFFF_0000 {
            if self.quirks.refuse_voltage {
                return None;
            }
            self.parallelism = match data.first() {
                Some(3) => Parallelism::X32,
                Some(1 | 2) => Parallelism::X16,
                _ => Parallelism::X8,
            };
            return Some((Duration::ZERO, false));
        }
        self.writes.push((address, data.len()));
        if self.flash_offset(address).is_none() {
            self.poke(address, data);
            let options = !self.in_ram(address);
            self.options_pending |= options;
            return Some((Duration::ZERO, options));
        }
        let blank = self.device.family.erased_value();
        if (address..).zip(data).any(|(at, byte)| self.peek(at) != blank && *byte != self.peek(at)) {
            self.wrote_over = true;
        }
        self.poke(address, data);
        Some((self.timing.program_bytes(data.len() as u32, self.parallelism).typical, false))
    }

    pub(super) fn erase_units(&mut self, numbers: &[u16]) -> Duration {
        let mut time = Duration::ZERO;
        for number in numbers {
            let Some(unit) = self.units.get(usize::from(*number)).copied() else { continue };
            let blank = vec![self.device.family.erased_value(); unit.bytes as usize];
            self.poke(unit.address, &blank);
            self.erased_units.push(*number);
            time += self.timing.erase_unit(unit.bytes, self.parallelism).typical;
        }
        time
    }

    pub(super) fn mass_erase(&mut self) -> Duration {
        self.flash.fill(self.device.family.erased_value());
        self.mass_erases += 1;
        self.timing.mass_erase((self.flash.len() / 1024) as u32, self.parallelism).typical
    }

    /// What a reset makes it forget.
    pub(super) fn reset(&mut self, power_cycle: bool) {
        self.parallelism = Parallelism::X8;
        if power_cycle || !self.quirks.options_need_power_cycle {
            self.options_pending = false;
        }
    }

    pub(super) fn startup(&self) -> Duration {
        let table = self.device.startup.map_or(Duration::ZERO, |startup| startup.best);
        self.quirks.startup.unwrap_or(table)
    }
}

//! STM32F405: memory map, clock gates, pins (RM0090 table 1; DS8626 table 9 for alternate functions).

mod flash;
mod rcc;

use panel_protocol::frame::Frame;
use panel_protocol::node::Uid;

use crate::bxcan::{BxCan, Filters, Lines};
use crate::flash::Flash;
use crate::gpio::Gpio;
use crate::iwdg::Iwdg;
use crate::serial::{Layout, Usart};
use crate::soc::{CanAction, CanCounters, CanState, Core, Soc};
use crate::wires::{Reset, Wires};
use flash::FlashInterface;
use rcc::Rcc;

const AHB1: usize = 0;
const APB1: usize = 4;
const APB2: usize = 5;

/// DBGMCU_IDCODE: device 0x413, revision Y (RM0090 38.6.1).
const IDCODE: u32 = 0x100F_0413;
const UID: u32 = 0x1FFF_7A10;
const FLASH_SIZE: u32 = 0x1FFF_7A22;

/// Pins that reach a cell, as port and number: receivers, transmitters. Each is chosen by itself.
type Route = (&'static [(usize, u32)], &'static [(usize, u32)]);
const CAN_PINS: [Route; 2] =
    [(&[(0, 11), (1, 8), (3, 0)], &[(0, 12), (1, 9), (3, 1)]), (&[(1, 5), (1, 12)], &[(1, 6), (1, 13)])];
const USART_PINS: [Route; 6] = [
    (&[(0, 10), (1, 7)], &[(0, 9), (1, 6)]),
    (&[(0, 3), (3, 6)], &[(0, 2), (3, 5)]),
    (&[(1, 11), (2, 11), (3, 9)], &[(1, 10), (2, 10), (3, 8)]),
    (&[], &[]),
    (&[], &[]),
    (&[(2, 7)], &[(2, 6)]),
];

/// The chip.
pub(crate) struct F405 {
    rcc: Rcc,
    flash: FlashInterface,
    gpio: [Gpio; 9],
    can: [BxCan; 2],
    filters: Filters,
    usarts: [Usart; 6],
    iwdg: Iwdg,
    backup: [u32; 20],
    uid: Uid,
    backup_sram: Vec<u32>,
}

impl F405 {
    /// A chip with this unique ID and a crystal of this frequency on its board.
    pub(crate) fn new(uid: Uid, crystal: Option<u32>) -> Self {
        let lines = |base: u8| Lines { transmit: base, receive: [base + 1, base + 2], status: base + 3 };
        let usart = |irq| Usart::new(Layout::Old, irq);
        Self {
            rcc: Rcc::new(crystal),
            flash: FlashInterface::new(),
            gpio: std::array::from_fn(fresh_port),
            can: [BxCan::new(lines(19), false), BxCan::new(lines(63), true)],
            filters: Filters::new(28),
            usarts: [usart(37), usart(38), usart(39), usart(52), usart(53), usart(71)],
            iwdg: Iwdg::new(),
            backup: [0; 20],
            uid,
            backup_sram: vec![0; 1024],
        }
    }

    /// The cell that an address belongs to, its clock gate and the offset of the register.
    fn locate(address: u32) -> Option<Place> {
        let found = |block, gate, base| Some((block, gate, address - base));
        match address & !0x3FF {
            base @ 0x4002_0000..=0x4002_2000 => {
                let n = (base - 0x4002_0000) / 0x400;
                found(Block::Gpio(n as usize), Some((AHB1, n)), base)
            }
            0x4002_3800 => found(Block::Rcc, None, 0x4002_3800),
            0x4002_3C00 => found(Block::Flash, None, 0x4002_3C00),
            0x4002_4000..=0x4002_4C00 => found(Block::BackupSram, Some((AHB1, 18)), 0x4002_4000),
            0x4000_2800 => found(Block::Rtc, Some((APB1, 28)), 0x4000_2800),
            0x4000_3000 => found(Block::Iwdg, None, 0x4000_3000),
            0x4000_4400 => found(Block::Usart(1), Some((APB1, 17)), 0x4000_4400),
            0x4000_4800 => found(Block::Usart(2), Some((APB1, 18)), 0x4000_4800),
            0x4000_6400 => found(Block::Can(0), Some((APB1, 25)), 0x4000_6400),
            0x4000_6800 => found(Block::Can(1), Some((APB1, 26)), 0x4000_6800),
            0x4000_7000 => found(Block::Pwr, Some((APB1, 28)), 0x4000_7000),
            0x4001_1000 => found(Block::Usart(0), Some((APB2, 4)), 0x4001_1000),
            0x4001_1400 => found(Block::Usart(5), Some((APB2, 5)), 0x4001_1400),
            0x4001_3800 => found(Block::Syscfg, Some((APB2, 14)), 0x4001_3800),
            0xE004_2000 => found(Block::Dbgmcu, None, 0xE004_2000),
            _ => None,
        }
    }

    /// Finds the cell; notes addresses without one and cells without clock.
    fn open(&self, wires: &mut Wires, address: u32, verb: &str) -> Option<(Block, u32)> {
        let Some((block, gate, offset)) = Self::locate(address) else {
            wires.complain(format!("{verb} of unmodelled register {address:#010x}"));
            return None;
        };
        if gate.is_some_and(|(bus, bit)| !self.rcc.is_enabled(bus, bit)) {
            wires.complain(format!("{verb} of {address:#010x} while {block:?} has no clock"));
            return None;
        }
        Some((block, offset))
    }

    /// Connects the cells whose pins are switched to them.
    fn route(&mut self) {
        let gpio = &self.gpio;
        let linked = |(receive, transmit): Route, function: u32| {
            let any = |pins: &[(usize, u32)]| pins.iter().any(|&(p, n)| gpio[p].is_alternate(n, function));
            (any(receive), any(transmit))
        };
        for (n, can) in self.can.iter_mut().enumerate() {
            can.routed = linked(CAN_PINS[n], 9) == (true, true);
        }
        for (n, usart) in self.usarts.iter_mut().enumerate() {
            let (receives, transmits) = linked(USART_PINS[n], if n == 5 { 8 } else { 7 });
            usart.route(receives, transmits);
        }
    }

    fn usart_clock(wires: &Wires, n: usize) -> u32 {
        if n == 0 || n == 5 { wires.pclk2 } else { wires.pclk1 }
    }

    /// Carries out what was written to the RCC's reset registers.
    fn software_reset(&mut self) {
        let reset = std::mem::take(&mut self.rcc.software_reset);
        for (n, port) in self.gpio.iter_mut().enumerate() {
            if reset[AHB1] >> n & 1 != 0 {
                port.reset(fresh_port(n));
            }
        }
        let cells = self.can.iter_mut().enumerate().filter(|(n, _)| reset[APB1] >> (25 + n) & 1 != 0);
        cells.for_each(|(_, cell)| cell.reset());
        for (n, bit) in [(1, (APB1, 17)), (2, (APB1, 18)), (0, (APB2, 4)), (5, (APB2, 5))] {
            if reset[bit.0] >> bit.1 & 1 != 0 {
                self.usarts[n].reset();
            }
        }
        self.route();
    }
}

/// Where an address leads: the cell, its clock gate as bus and bit, and the register's offset.
type Place = (Block, Option<(usize, u32)>, u32);

/// A group of registers.
#[derive(Debug, Clone, Copy)]
enum Block {
    Gpio(usize),
    Rcc,
    Flash,
    BackupSram,
    Rtc,
    Iwdg,
    Usart(usize),
    Can(usize),
    Pwr,
    Syscfg,
    Dbgmcu,
}

/// RM0090 8.4.1: the debug pins of ports A and B are not inputs after reset.
fn fresh_port(n: usize) -> Gpio {
    match n {
        0 => Gpio::new(0xA800_0000, 0x0C00_0000, 0x6400_0000),
        1 => Gpio::new(0x0000_0280, 0x0000_00C0, 0x0000_0100),
        _ => Gpio::default(),
    }
}

impl Soc for F405 {
    fn core(&self) -> Core {
        Core::M4
    }

    fn reset_clock(&self) -> u32 {
        16_000_000
    }

    fn reset(&mut self, wires: &mut Wires, cause: Reset) {
        self.rcc.reset(cause);
        self.flash.reset(wires, cause);
        self.gpio.iter_mut().enumerate().for_each(|(n, port)| port.reset(fresh_port(n)));
        self.can.iter_mut().for_each(BxCan::reset);
        self.filters = Filters::new(28);
        self.usarts.iter_mut().for_each(Usart::reset);
        self.iwdg = Iwdg::new();
        if self.flash.starts_watchdog() {
            self.iwdg.start(wires.now.ns);
            self.rcc.csr.force_lsi(wires.now.ns);
        }
        if cause == Reset::Power {
            // No battery on VBAT.
            self.backup = [0; 20];
            self.backup_sram.fill(0);
        }
        self.route();
    }

    fn claims(&self, address: u32) -> bool {
        address & !0x3FF == 0xE004_2000
    }

    fn read(&mut self, wires: &mut Wires, address: u32) -> u32 {
        let Some((block, offset)) = self.open(wires, address, "read") else { return 0 };
        match block {
            Block::Gpio(n) => self.gpio[n].read(wires, offset),
            Block::Rcc => self.rcc.read(wires, offset),
            Block::Flash => self.flash.read(wires, offset),
            Block::BackupSram => self.backup_sram[address as usize % 0x1000 / 4],
            Block::Rtc if (0x50..0xA0).contains(&offset) => self.backup[(offset as usize - 0x50) / 4],
            Block::Iwdg => self.iwdg.read(wires, offset),
            Block::Usart(n) => self.usarts[n].read(wires, offset),
            Block::Can(n) => self.can[n].read(wires, &self.filters, offset),
            Block::Pwr => self.rcc.read_power(wires, offset),
            Block::Dbgmcu if offset == 0 => IDCODE,
            Block::Dbgmcu | Block::Syscfg | Block::Rtc => {
                wires.complain(format!("read of unmodelled register {address:#010x}"));
                0
            }
        }
    }

    fn write(&mut self, wires: &mut Wires, address: u32, size: usize, value: u32) {
        let Some((block, offset)) = self.open(wires, address, "write") else { return };
        match block {
            Block::Gpio(n) => {
                self.gpio[n].write(wires, offset, value);
                self.route();
            }
            _ if size != 4 && !matches!(block, Block::Usart(_) | Block::Iwdg) => {
                wires.complain(format!("write of {size} bytes to {address:#010x}"));
            }
            Block::Rcc => {
                self.rcc.write(wires, offset, value, self.flash.latency());
                self.software_reset();
            }
            Block::Flash => self.flash.write(wires, offset, value),
            Block::BackupSram | Block::Rtc if !self.rcc.backup_writable() => {
                wires.complain("backup domain written without DBP");
            }
            Block::BackupSram => self.backup_sram[address as usize % 0x1000 / 4] = value,
            Block::Rtc if (0x50..0xA0).contains(&offset) => self.backup[(offset as usize - 0x50) / 4] = value,
            Block::Iwdg => {
                self.iwdg.write(wires, offset, value);
                if offset == 0 && value == 0xCCCC {
                    self.rcc.csr.force_lsi(wires.now.ns);
                }
            }
            Block::Usart(n) => {
                let clock = Self::usart_clock(wires, n);
                self.usarts[n].write(wires, offset, value, clock);
            }
            Block::Can(n) => self.can[n].write(wires, &mut self.filters, offset, value),
            Block::Pwr => self.rcc.write_power(wires, offset, value),
            Block::Dbgmcu | Block::Syscfg | Block::Rtc => {
                wires.complain(format!("write of {value:#x} to unmodelled register {address:#010x}"));
            }
        }
    }

    fn store(&mut self, wires: &mut Wires, address: u32, size: usize, value: u64) {
        self.flash.store(wires, address, size, value);
    }

    fn tick(&mut self, wires: &mut Wires) {
        self.rcc.tick(wires);
        self.flash.tick(wires);
        self.iwdg.tick(wires);
        self.can.iter_mut().for_each(|can| can.tick(wires));
        for (n, usart) in self.usarts.iter_mut().enumerate() {
            let clock = Self::usart_clock(wires, n);
            usart.tick(wires, clock);
        }
    }

    fn next_event(&self) -> u64 {
        let usarts = self.usarts.iter().map(Usart::next_event);
        let cans = self.can.iter().map(BxCan::next_event);
        let rest = [self.rcc.next_event(), self.flash.cells.end(), self.iwdg.next_event()];
        usarts.chain(cans).chain(rest).min().unwrap_or(crate::wires::NEVER)
    }

    fn system_memory(&self) -> Vec<(u32, Vec<u8>)> {
        let kib = (self.flash.cells.data().len() / 1024) as u16;
        vec![(UID, self.uid.0.to_vec()), (FLASH_SIZE, kib.to_le_bytes().to_vec())]
    }

    fn flash(&self) -> &Flash {
        &self.flash.cells
    }

    fn flash_mut(&mut self) -> &mut Flash {
        &mut self.flash.cells
    }

    fn can_action(&mut self) -> Option<CanAction> {
        self.can.iter_mut().find_map(BxCan::take_action)
    }

    fn can_receive(&mut self, wires: &mut Wires, frame: &Frame) {
        self.can.iter_mut().filter(|can| can.routed).for_each(|can| can.take(wires, &self.filters, frame));
    }

    fn can_sent(&mut self, wires: &mut Wires, frame: &Frame) {
        self.can.iter_mut().filter(|can| can.routed).for_each(|can| can.sent(wires, frame));
    }

    fn set_can_state(&mut self, wires: &mut Wires, state: CanState) {
        self.can.iter_mut().filter(|can| can.routed).for_each(|can| can.set_state(wires, state));
    }

    fn can_counters(&self) -> CanCounters {
        self.can.iter().map(BxCan::counters).max_by_key(|c| c.received + c.sent).unwrap_or_default()
    }

    fn usart(&mut self, n: usize) -> Option<&mut Usart> {
        self.usarts.get_mut(n.checked_sub(1)?)
    }

    fn drive(&mut self, port: usize, mask: u16, levels: u16) {
        self.gpio[port].drive(mask, levels);
    }

    fn outputs(&self, port: usize) -> (u16, u16) {
        self.gpio[port].outputs()
    }

    fn option_word(&self) -> u32 {
        self.flash.loaded()
    }
}

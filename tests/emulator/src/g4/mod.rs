//! STM32G431: memory map, clock gates, pins (RM0440 table 3; DS12589 table 13 for alternate functions).

mod flash;
mod rcc;

use panel_protocol::frame::Frame;
use panel_protocol::node::Uid;

use crate::fdcan::FdCan;
use crate::flash::Flash;
use crate::gpio::Gpio;
use crate::iwdg::Iwdg;
use crate::serial::{Layout, Usart};
use crate::soc::{CanAction, CanCounters, CanState, Soc};
use crate::wires::{NEVER, Reset, Wires};
use flash::FlashInterface;
use rcc::{AHB2, APB1, APB2, Rcc};

/// DBGMCU_IDCODE: category 2, revision X (RM0440 47.6.1).
const IDCODE: u32 = 0x2003_0468;
const UID: u32 = 0x1FFF_7590;
const FLASH_SIZE: u32 = 0x1FFF_75E0;
const OPTION_BYTES: u32 = 0x1FFF_7800;
/// Interrupts of FDCAN1 and of the USARTs (RM0440 table 97).
const FDCAN_IRQS: [u8; 2] = [21, 22];
const USART_IRQS: [u8; 3] = [37, 38, 39];

/// Pins that reach a cell, as port and number.
type Pins = &'static [(usize, u32)];
const CAN_RX: Pins = &[(0, 11), (1, 8), (3, 0)];
const CAN_TX: Pins = &[(0, 12), (1, 9), (3, 1)];
/// Receivers and transmitters of USART1 to 3, all by alternate function 7.
const USART_PINS: [(Pins, Pins); 3] = [
    (&[(0, 10), (1, 7), (2, 5), (4, 1)], &[(0, 9), (1, 6), (2, 4), (4, 0)]),
    (&[(0, 3), (0, 15), (1, 4), (3, 6)], &[(0, 2), (0, 14), (1, 3), (3, 5)]),
    (&[(1, 8), (1, 11), (2, 11), (3, 9)], &[(1, 9), (1, 10), (2, 10), (3, 8)]),
];

/// The chip.
pub(crate) struct G431 {
    rcc: Rcc,
    flash: FlashInterface,
    gpio: [Gpio; 7],
    can: FdCan,
    usarts: [Usart; 3],
    iwdg: Iwdg,
    uid: Uid,
}

/// Where an address leads: the cell, its clock gate as bus and bit, and the register's offset.
type Place = (Block, Option<(usize, u32)>, u32);

/// A group of registers.
#[derive(Debug, Clone, Copy)]
enum Block {
    Gpio(usize),
    Rcc,
    Flash,
    Iwdg,
    Usart(usize),
    Can,
    MessageRam,
    Pwr,
    Dbgmcu,
}

impl G431 {
    /// A chip with this unique ID and a crystal of this frequency on its board.
    pub(crate) fn new(uid: Uid, crystal: Option<u32>) -> Self {
        let mut rcc = Rcc::new();
        rcc.crystal = crystal;
        Self {
            rcc,
            flash: FlashInterface::new(),
            gpio: std::array::from_fn(fresh_port),
            can: FdCan::new(FDCAN_IRQS),
            usarts: USART_IRQS.map(|irq| Usart::new(Layout::New, irq)),
            iwdg: Iwdg::new(),
            uid,
        }
    }

    /// The cell that an address belongs to, its clock gate and the offset of the register.
    fn locate(address: u32) -> Option<Place> {
        let (block, gate, base) = match address & !0x3FF {
            base @ 0x4800_0000..=0x4800_1800 => {
                let n = (base - 0x4800_0000) / 0x400;
                (Block::Gpio(n as usize), Some((AHB2, n)), base)
            }
            base @ 0x4002_1000 => (Block::Rcc, None, base),
            base @ 0x4002_2000 => (Block::Flash, None, base),
            base @ 0x4000_3000 => (Block::Iwdg, None, base),
            base @ 0x4000_4400 => (Block::Usart(1), Some((APB1, 17)), base),
            base @ 0x4000_4800 => (Block::Usart(2), Some((APB1, 18)), base),
            base @ 0x4000_6400 => (Block::Can, Some((APB1, 25)), base),
            base @ 0x4000_7000 => (Block::Pwr, Some((APB1, 28)), base),
            base @ 0x4000_A400 => (Block::MessageRam, Some((APB1, 25)), base),
            base @ 0x4001_3800 => (Block::Usart(0), Some((APB2, 14)), base),
            base @ 0xE004_2000 => (Block::Dbgmcu, None, base),
            _ => return None,
        };
        Some((block, gate, address - base))
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
        let any = |pins: Pins, function| pins.iter().any(|&(p, n)| gpio[p].is_alternate(n, function));
        self.can.routed = any(CAN_RX, 9) && any(CAN_TX, 9);
        for (usart, (receivers, transmitters)) in self.usarts.iter_mut().zip(USART_PINS) {
            usart.route(any(receivers, 7), any(transmitters, 7));
        }
    }

    fn usart_clock(&self, wires: &Wires, n: usize) -> u32 {
        let bus = if n == 0 { wires.pclk2 } else { wires.pclk1 };
        self.rcc.usart_clock(2 * n as u32, bus, wires)
    }

    /// Carries out what was written to the RCC's reset registers.
    fn software_reset(&mut self) {
        let reset = std::mem::take(&mut self.rcc.software_reset);
        for (n, port) in self.gpio.iter_mut().enumerate() {
            if reset[AHB2] >> n & 1 != 0 {
                port.reset(fresh_port(n));
            }
        }
        if reset[APB1] >> 25 & 1 != 0 {
            self.can.reset();
        }
        for (n, (bus, bit)) in [(APB2, 14), (APB1, 17), (APB1, 18)].into_iter().enumerate() {
            if reset[bus] >> bit & 1 != 0 {
                self.usarts[n].reset();
            }
        }
        self.route();
    }
}

/// RM0440 9.4: pins are analog after reset, but for those of the debug port.
fn fresh_port(n: usize) -> Gpio {
    match n {
        0 => Gpio::new(0xABFF_FFFF, 0x0C00_0000, 0x6400_0000),
        1 => Gpio::new(0xFFFF_FEBF, 0x0000_00C0, 0x0000_0100),
        _ => Gpio::new(0xFFFF_FFFF, 0, 0),
    }
}

impl Soc for G431 {
    fn is_m0(&self) -> bool {
        false
    }

    fn reset_clock(&self) -> u32 {
        16_000_000
    }

    fn reset(&mut self, wires: &mut Wires, cause: Reset) {
        self.rcc.reset(cause);
        self.flash.reset(wires, cause);
        self.gpio.iter_mut().enumerate().for_each(|(n, port)| port.reset(fresh_port(n)));
        self.can.reset();
        self.usarts.iter_mut().for_each(Usart::reset);
        self.iwdg = Iwdg::new();
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
            Block::Iwdg => self.iwdg.read(wires, offset),
            Block::Usart(n) => self.usarts[n].read(wires, offset),
            Block::Can => self.can.read(wires, offset),
            Block::MessageRam => self.can.ram.read(offset),
            Block::Pwr => self.rcc.read_power(wires, offset),
            Block::Dbgmcu if offset == 0 => IDCODE,
            Block::Dbgmcu => {
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
            Block::Iwdg => {
                self.iwdg.write(wires, offset, value);
                if offset == 0 && value == 0xCCCC {
                    self.rcc.force_lsi(wires.now.ns);
                }
            }
            Block::Usart(n) => {
                let clock = self.usart_clock(wires, n);
                self.usarts[n].write(wires, offset, value, clock);
            }
            Block::Can => {
                self.can.clock = self.rcc.fdcan_clock(wires);
                self.can.write(wires, offset, value);
            }
            Block::MessageRam => self.can.ram.write(offset, value),
            Block::Pwr => self.rcc.write_power(wires, offset, value),
            Block::Dbgmcu => {
                wires.complain(format!("write of {value:#x} to unmodelled register {address:#010x}"));
            }
        }
    }

    fn store(&mut self, wires: &mut Wires, address: u32, size: usize, value: u64) {
        self.flash.store(wires, address, size, value);
    }

    fn ecc_error(&mut self, wires: &mut Wires, address: u32) {
        self.flash.ecc_error(wires, address);
    }

    fn tick(&mut self, wires: &mut Wires) {
        self.rcc.tick(wires);
        self.flash.tick(wires);
        self.iwdg.tick(wires);
        self.can.tick(wires);
        for n in 0..self.usarts.len() {
            let clock = self.usart_clock(wires, n);
            self.usarts[n].tick(wires, clock);
        }
    }

    fn next_event(&self) -> u64 {
        let usarts = self.usarts.iter().map(Usart::next_event);
        let rest =
            [self.rcc.next_event(), self.flash.cells.end(), self.iwdg.next_event(), self.can.next_event()];
        usarts.chain(rest).min().unwrap_or(NEVER)
    }

    fn system_memory(&self) -> Vec<(u32, Vec<u8>)> {
        let kib = (self.flash.cells.data().len() / 1024) as u16;
        // RM0440 table 14: each option word with its complement in the next word.
        let words = self.flash.loaded().into_iter().flat_map(|w| [w, !w]);
        let options = words.flat_map(u32::to_le_bytes).collect();
        vec![(UID, self.uid.0.to_vec()), (FLASH_SIZE, kib.to_le_bytes().to_vec()), (OPTION_BYTES, options)]
    }

    fn flash(&self) -> &Flash {
        &self.flash.cells
    }

    fn flash_mut(&mut self) -> &mut Flash {
        &mut self.flash.cells
    }

    fn can_action(&mut self) -> Option<CanAction> {
        self.can.take_action()
    }

    fn can_receive(&mut self, wires: &mut Wires, frame: &Frame) {
        if self.can.routed {
            self.can.take(wires, frame);
        }
    }

    fn can_sent(&mut self, wires: &mut Wires, frame: &Frame) {
        self.can.sent(wires, frame);
    }

    fn set_can_state(&mut self, wires: &mut Wires, state: CanState) {
        self.can.set_state(wires, state);
    }

    fn can_counters(&self) -> CanCounters {
        self.can.counters()
    }

    fn usart(&mut self, n: usize) -> Option<&mut Usart> {
        self.usarts.get_mut(n.checked_sub(1)?)
    }

    fn drive(&mut self, port: usize, mask: u16, levels: u16) {
        self.gpio[port].drive(mask, levels);
    }

    fn outputs(&self, port: usize) -> (u16, u16) {
        self.gpio.get(port).map_or((0, 0), Gpio::outputs)
    }

    fn option_word(&self) -> u32 {
        self.flash.loaded()[0]
    }
}

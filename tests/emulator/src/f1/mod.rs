//! STM32F103xE: memory map, clock gates, pins (RM0008 table 3, sections 9.1.11 and 9.3).

mod flash;
mod gpio;
mod rcc;

use panel_protocol::frame::Frame;
use panel_protocol::node::Uid;

use crate::bxcan::{BxCan, Filters, Lines};
use crate::flash::Flash;
use crate::iwdg::Iwdg;
use crate::serial::{Layout, Usart};
use crate::soc::{CanAction, CanCounters, CanState, Core, Soc};
use crate::wires::{NEVER, Reset, Wires};
use flash::FlashInterface;
use gpio::Port;
use rcc::{APB1, APB2, Rcc};

/// DBGMCU_IDCODE: high density, revision Y (RM0008 31.6.1).
const IDCODE: u32 = 0x1003_0414;
const UID: u32 = 0x1FFF_F7E8;
const FLASH_SIZE: u32 = 0x1FFF_F7E0;
const CAN_LINES: Lines = Lines { transmit: 19, receive: [20, 21], status: 22 };
const USART1_IRQ: u8 = 37;
/// Filter banks of a chip with one CAN cell.
const BANKS: usize = 14;
/// Receiver and transmitter of the CAN cell for each value of CAN_REMAP (9.3.3), and of USART1 for each of USART1_REMAP.
const CAN_PINS: [Option<[(usize, u32); 2]>; 4] =
    [Some([(0, 11), (0, 12)]), None, Some([(1, 8), (1, 9)]), Some([(3, 0), (3, 1)])];
const USART1_PINS: [[(usize, u32); 2]; 2] = [[(0, 10), (0, 9)], [(1, 7), (1, 6)]];

/// The chip.
pub(crate) struct F103 {
    rcc: Rcc,
    flash: FlashInterface,
    ports: [Port; 7],
    remap: u32,
    can: BxCan,
    filters: Filters,
    usart: Usart,
    iwdg: Iwdg,
    uid: Uid,
}

/// A group of registers.
#[derive(Debug, Clone, Copy)]
enum Block {
    Afio,
    Port(usize),
    Rcc,
    Flash,
    Iwdg,
    Usart1,
    Can,
    Dbgmcu,
}

impl F103 {
    /// A chip with this unique ID and a crystal of this frequency on its board.
    pub(crate) fn new(uid: Uid, crystal: Option<u32>) -> Self {
        Self {
            rcc: Rcc::new(crystal),
            flash: FlashInterface::new(),
            ports: [Port::new(); 7],
            remap: 0,
            can: BxCan::new(CAN_LINES, false),
            filters: Filters::new(BANKS),
            usart: Usart::new(Layout::Old, USART1_IRQ),
            iwdg: Iwdg::new(),
            uid,
        }
    }

    /// Finds the cell; notes addresses without one and cells without clock.
    fn open(&self, wires: &mut Wires, address: u32, verb: &str) -> Option<(Block, u32)> {
        let base = address & !0x3FF;
        let (block, gate) = match base {
            0x4000_3000 => (Block::Iwdg, None),
            0x4000_6400 => (Block::Can, Some((APB1, 25))),
            0x4001_0000 => (Block::Afio, Some((APB2, 0))),
            0x4001_0800..=0x4001_2000 => {
                let n = (base - 0x4001_0800) / 0x400;
                (Block::Port(n as usize), Some((APB2, n + 2)))
            }
            0x4001_3800 => (Block::Usart1, Some((APB2, 14))),
            0x4002_1000 => (Block::Rcc, None),
            0x4002_2000 => (Block::Flash, None),
            0xE004_2000 => (Block::Dbgmcu, None),
            _ => {
                wires.complain(format!("{verb} of unmodelled register {address:#010x}"));
                return None;
            }
        };
        if gate.is_some_and(|(bus, bit)| !self.rcc.is_enabled(bus, bit)) {
            wires.complain(format!("{verb} of {address:#010x} while {block:?} has no clock"));
            return None;
        }
        Some((block, address - base))
    }

    /// Connects the cells whose pins are switched to them.
    fn route(&mut self) {
        let receives = |(port, pin): (usize, u32)| self.ports[port].is_input(pin);
        let transmits = |(port, pin): (usize, u32)| self.ports[port].is_alternate(pin);
        let pins = CAN_PINS[(self.remap >> 13 & 3) as usize];
        self.can.routed = pins.is_some_and(|[rx, tx]| receives(rx) && transmits(tx));
        let [rx, tx] = USART1_PINS[(self.remap >> 2 & 1) as usize];
        let (receives, transmits) = (receives(rx), transmits(tx));
        self.usart.route(receives, transmits);
    }

    /// Carries out what was written to the RCC's reset registers.
    fn software_reset(&mut self) {
        let reset = std::mem::take(&mut self.rcc.software_reset);
        for (n, port) in self.ports.iter_mut().enumerate() {
            if reset[APB2] >> (n + 2) & 1 != 0 {
                port.reset();
            }
        }
        if reset[APB2] & 1 != 0 {
            self.remap = 0;
        }
        if reset[APB1] >> 25 & 1 != 0 {
            self.can.reset();
            self.filters = Filters::new(BANKS);
        }
        if reset[APB2] >> 14 & 1 != 0 {
            self.usart.reset();
        }
        self.route();
    }
}

impl Soc for F103 {
    fn core(&self) -> Core {
        Core::M3
    }

    fn reset_clock(&self) -> u32 {
        8_000_000
    }

    fn reset(&mut self, wires: &mut Wires, cause: Reset) {
        self.rcc.reset(cause);
        self.flash.reset(wires);
        self.ports.iter_mut().for_each(Port::reset);
        self.remap = 0;
        self.can.reset();
        self.filters = Filters::new(BANKS);
        self.usart.reset();
        self.iwdg = Iwdg::new();
        self.route();
    }

    fn claims(&self, address: u32) -> bool {
        address & !0x3FF == 0xE004_2000
    }

    fn read(&mut self, wires: &mut Wires, address: u32) -> u32 {
        let Some((block, offset)) = self.open(wires, address, "read") else { return 0 };
        match block {
            Block::Afio if offset == 4 => self.remap,
            Block::Port(n) => self.ports[n].read(wires, offset),
            Block::Rcc => self.rcc.read(wires, offset),
            Block::Flash => self.flash.read(wires, offset),
            Block::Iwdg => self.iwdg.read(wires, offset),
            Block::Usart1 => self.usart.read(wires, offset),
            Block::Can => self.can.read(wires, &self.filters, offset),
            Block::Dbgmcu if offset == 0 => IDCODE,
            Block::Afio | Block::Dbgmcu => {
                wires.complain(format!("read of unmodelled register {address:#010x}"));
                0
            }
        }
    }

    fn write(&mut self, wires: &mut Wires, address: u32, size: usize, value: u32) {
        let Some((block, offset)) = self.open(wires, address, "write") else { return };
        match block {
            _ if size != 4 && !matches!(block, Block::Usart1 | Block::Iwdg) => {
                wires.complain(format!("write of {size} bytes to {address:#010x}"));
            }
            Block::Afio if offset == 4 => {
                self.remap = value;
                self.route();
            }
            Block::Port(n) => {
                self.ports[n].write(wires, offset, value);
                self.route();
            }
            Block::Rcc => {
                self.rcc.write(wires, offset, value, self.flash.latency());
                self.software_reset();
            }
            Block::Flash => self.flash.write(wires, offset, value),
            Block::Iwdg => {
                self.iwdg.write(wires, offset, value);
                if offset == 0 && value == 0xCCCC {
                    self.rcc.csr.force_lsi(wires.now.ns);
                }
            }
            Block::Usart1 => self.usart.write(wires, offset, value, wires.pclk2),
            Block::Can => self.can.write(wires, &mut self.filters, offset, value),
            Block::Afio | Block::Dbgmcu => {
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
        self.can.tick(wires);
        let clock = wires.pclk2;
        self.usart.tick(wires, clock);
    }

    fn next_event(&self) -> u64 {
        let (rcc, flash, iwdg) = (self.rcc.next_event(), self.flash.cells.end(), self.iwdg.next_event());
        let all = [rcc, flash, iwdg, self.can.next_event(), self.usart.next_event()];
        all.into_iter().min().unwrap_or(NEVER)
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
        self.can.take_action()
    }

    fn can_receive(&mut self, wires: &mut Wires, frame: &Frame) {
        if self.can.routed {
            self.can.take(wires, &self.filters, frame);
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
        (n == 1).then_some(&mut self.usart)
    }

    fn drive(&mut self, port: usize, mask: u16, levels: u16) {
        self.ports[port].drive(mask, levels);
    }

    fn outputs(&self, port: usize) -> (u16, u16) {
        self.ports.get(port).map_or((0, 0), Port::outputs)
    }

    fn option_word(&self) -> u32 {
        self.flash.protection().into()
    }
}

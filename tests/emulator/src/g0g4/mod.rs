//! STM32G4 and STM32G0: memory map, clock gates, pins (RM0440 table 3, RM0444 table 7). The two families have the same cells;
//! where a chip has them is in `chips.rs`.

pub(crate) mod chips;
mod flash;
mod options;
mod rcc;

use panel_protocol::frame::Frame;
use panel_protocol::node::Uid;

use crate::fdcan::FdCan;
use crate::flash::Flash;
use crate::gpio::Gpio;
use crate::iwdg::Iwdg;
use crate::serial::{Layout, Usart};
use crate::soc::{CanAction, CanCounters, CanState, Core, Soc};
use crate::wires::{NEVER, Reset, Wires};
use chips::{Gate, Model, Pin};
use flash::FlashInterface;
use rcc::{Family, Rcc};

const UID: u32 = 0x1FFF_7590;
const FLASH_SIZE: u32 = 0x1FFF_75E0;

/// The chip.
pub(crate) struct G0G4 {
    model: &'static Model,
    rcc: Rcc,
    flash: FlashInterface,
    gpio: Vec<Gpio>,
    can: FdCan,
    usarts: Vec<Usart>,
    iwdg: Iwdg,
    uid: Uid,
}

/// Where an address leads: the cell, its clock gate as bus and bit, and the register's offset.
type Place = (Block, Option<Gate>, u32);

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

impl G0G4 {
    /// A chip with this unique ID and a crystal of this frequency on its board.
    pub(crate) fn new(model: &'static Model, uid: Uid, crystal: Option<u32>) -> Self {
        Self {
            model,
            rcc: Rcc::new(model.family, crystal),
            flash: FlashInterface::new(&model.flash),
            gpio: (0..model.gpio.1 as usize).map(|n| fresh_port(model, n)).collect(),
            can: FdCan::new(model.can_irqs),
            usarts: model.usarts.iter().map(|port| Usart::new(Layout::New, port.irq)).collect(),
            iwdg: Iwdg::new(),
            uid,
        }
    }

    /// The cell that an address belongs to, its clock gate and the offset of the register.
    fn locate(&self, address: u32) -> Option<Place> {
        let model = self.model;
        let (ports, count, gates) = model.gpio;
        let base = address & !0x3FF;
        let (block, gate) = match base {
            _ if (ports..ports + 0x400 * count).contains(&base) => {
                let n = (base - ports) / 0x400;
                (Block::Gpio(n as usize), Some((gates, n)))
            }
            0x4002_1000 => (Block::Rcc, None),
            0x4002_2000 => (Block::Flash, None),
            0x4000_3000 => (Block::Iwdg, None),
            0x4000_6400 => (Block::Can, Some(model.can_gate)),
            0x4000_7000 => (Block::Pwr, Some(model.pwr_gate)),
            _ if base == model.message_ram => (Block::MessageRam, Some(model.can_gate)),
            _ if base == model.idcode.0 => (Block::Dbgmcu, model.idcode.2),
            _ => {
                let n = model.usarts.iter().position(|port| port.base == base)?;
                (Block::Usart(n), Some(model.usarts[n].gate))
            }
        };
        Some((block, gate, address - base))
    }

    /// Finds the cell; notes addresses without one and cells without clock.
    fn open(&self, wires: &mut Wires, address: u32, verb: &str) -> Option<(Block, u32)> {
        let Some((block, gate, offset)) = self.locate(address) else {
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
        let any = |pins: &[Pin]| pins.iter().any(|&(p, n, function)| gpio[p].is_alternate(n, function));
        self.can.routed = any(self.model.can_rx) && any(self.model.can_tx);
        for (usart, port) in self.usarts.iter_mut().zip(self.model.usarts) {
            usart.route(any(port.receivers), any(port.transmitters));
        }
    }

    fn usart_clock(&self, wires: &Wires, n: usize) -> u32 {
        let port = &self.model.usarts[n];
        let bus = if port.second_bus { wires.pclk2 } else { wires.pclk1 };
        self.rcc.usart_clock(port.select, bus, wires)
    }

    /// Carries out what was written to the RCC's reset registers.
    fn software_reset(&mut self) {
        let reset = std::mem::take(&mut self.rcc.software_reset);
        let asked = |(bus, bit): Gate| reset[bus] >> bit & 1 != 0;
        let model = self.model;
        for (n, port) in self.gpio.iter_mut().enumerate().filter(|&(n, _)| asked((model.gpio.2, n as u32))) {
            port.reset(fresh_port(model, n));
        }
        if asked(model.can_gate) {
            self.can.reset();
        }
        for (usart, _) in self.usarts.iter_mut().zip(model.usarts).filter(|(_, port)| asked(port.gate)) {
            usart.reset();
        }
        self.route();
    }
}

fn fresh_port(model: &Model, n: usize) -> Gpio {
    model.fresh[n.min(2)]
}

impl Soc for G0G4 {
    fn core(&self) -> Core {
        match self.model.family {
            Family::G0 => Core::M0Plus,
            Family::G4 => Core::M4,
        }
    }

    fn reset_clock(&self) -> u32 {
        16_000_000
    }

    fn reset(&mut self, wires: &mut Wires, cause: Reset) {
        self.rcc.reset(cause);
        self.flash.reset(wires, cause);
        let model = self.model;
        self.gpio.iter_mut().enumerate().for_each(|(n, port)| port.reset(fresh_port(model, n)));
        self.can.reset();
        self.usarts.iter_mut().for_each(Usart::reset);
        self.iwdg = Iwdg::new();
        self.route();
    }

    fn claims(&self, address: u32) -> bool {
        address & !0x3FF == self.model.idcode.0
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
            Block::Dbgmcu if offset == 0 => self.model.idcode.1,
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
                    self.rcc.csr.force_lsi(wires.now.ns);
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

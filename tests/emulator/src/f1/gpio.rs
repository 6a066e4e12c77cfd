//! General-purpose I/O ports of F1 (RM0008 section 9.2): four bits for each pin say mode and configuration.

use crate::wires::Wires;

/// One port of sixteen pins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port {
    config: [u32; 2],
    odr: u32,
    /// Pins that something outside drives, and how.
    driven: (u16, u16),
}

impl Port {
    /// After reset every pin is a floating input.
    pub(crate) fn new() -> Self {
        Self { config: [0x4444_4444; 2], odr: 0, driven: (0, 0) }
    }

    /// The same port after a reset; what is outside stays.
    pub(crate) fn reset(&mut self) {
        *self = Self { driven: self.driven, ..Self::new() };
    }

    pub(crate) fn drive(&mut self, mask: u16, levels: u16) {
        self.driven.0 |= mask;
        self.driven.1 = (self.driven.1 & !mask) | (levels & mask);
    }

    /// MODE and CNF of a pin.
    fn pin(&self, pin: u32) -> (u32, u32) {
        let bits = self.config[pin as usize / 8] >> (pin % 8 * 4);
        (bits & 3, bits >> 2 & 3)
    }

    /// An output that a peripheral drives.
    pub(crate) fn is_alternate(&self, pin: u32) -> bool {
        let (mode, cnf) = self.pin(pin);
        mode != 0 && cnf >= 2
    }

    /// A digital input, pulled or floating: any peripheral may listen to it.
    pub(crate) fn is_input(&self, pin: u32) -> bool {
        matches!(self.pin(pin), (0, 1 | 2))
    }

    /// Mask of outputs of software, and their levels.
    pub(crate) fn outputs(&self) -> (u16, u16) {
        let mine = |&pin: &u32| matches!(self.pin(pin), (1..=3, 0 | 1));
        let mask = (0..16).filter(mine).fold(0, |m, pin| m | 1 << pin);
        (mask, self.odr as u16 & mask)
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x00 | 0x04 => self.config[offset as usize / 4],
            0x08 => self.levels().into(),
            0x0C => self.odr,
            0x10 | 0x14 => 0,
            _ => {
                wires.complain(format!("read of unmodelled GPIO register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        match offset {
            0x00 | 0x04 => self.config[offset as usize / 4] = value,
            0x0C => self.odr = value & 0xFFFF,
            // "If both BSx and BRx are set, BSx has priority."
            0x10 => self.odr = (self.odr & !(value >> 16) & 0xFFFF) | value & 0xFFFF,
            0x14 => self.odr &= !(value & 0xFFFF),
            _ => wires.complain(format!("write of unmodelled GPIO register {offset:#x}")),
        }
    }

    /// An input is what drives it, else its pull resistor, whose direction is ODR's, else low.
    fn levels(&self) -> u16 {
        let (mask, out) = self.outputs();
        (0..16).fold(0, |levels, pin| {
            let bit = 1_u16 << pin;
            let high = match self.pin(pin) {
                _ if mask & bit != 0 => out & bit != 0,
                (0, 0) => false,
                _ if self.driven.0 & bit != 0 => self.driven.1 & bit != 0,
                (0, 2) => self.odr & u32::from(bit) != 0,
                _ => false,
            };
            levels | if high { bit } else { 0 }
        })
    }
}

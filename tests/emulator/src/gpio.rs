//! General-purpose I/O ports of F4, G4 and G0 (RM0090 section 8.4, RM0440 9.4, RM0444 7.4: the same registers).

use crate::wires::Wires;

/// Alternate function mode in MODER.
const ALTERNATE: u32 = 2;
const OUTPUT: u32 = 1;
const ANALOG: u32 = 3;

/// One port of sixteen pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gpio {
    moder: u32,
    otyper: u32,
    ospeedr: u32,
    pupdr: u32,
    odr: u32,
    afr: [u32; 2],
    /// Pins that something outside drives, and how.
    driven: (u16, u16),
}

impl Gpio {
    /// A port with these reset values of MODER, OSPEEDR and PUPDR.
    pub(crate) const fn new(moder: u32, ospeedr: u32, pupdr: u32) -> Self {
        Self { moder, otyper: 0, ospeedr, pupdr, odr: 0, afr: [0; 2], driven: (0, 0) }
    }

    /// The same port after a reset; what is outside stays.
    pub(crate) fn reset(&mut self, fresh: Self) {
        *self = Self { driven: self.driven, ..fresh };
    }

    pub(crate) fn drive(&mut self, mask: u16, levels: u16) {
        self.driven.0 |= mask;
        self.driven.1 = (self.driven.1 & !mask) | (levels & mask);
    }

    /// Mask of outputs and their levels.
    pub(crate) fn outputs(&self) -> (u16, u16) {
        let mask = (0..16).filter(|&pin| self.mode(pin) == OUTPUT).fold(0, |m, pin| m | 1 << pin);
        (mask, self.odr as u16 & mask)
    }

    /// Whether a pin is switched to this alternate function.
    pub(crate) fn is_alternate(&self, pin: u32, function: u32) -> bool {
        self.mode(pin) == ALTERNATE && self.afr[pin as usize / 8] >> (pin % 8 * 4) & 0xF == function
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x00 => self.moder,
            0x04 => self.otyper,
            0x08 => self.ospeedr,
            0x0C => self.pupdr,
            0x10 => self.levels().into(),
            0x14 => self.odr,
            0x18 | 0x28 => 0,
            0x1C => 0,
            0x20 | 0x24 => self.afr[(offset as usize - 0x20) / 4],
            _ => {
                wires.complain(format!("read of unmodelled GPIO register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        match offset {
            0x00 => self.moder = value,
            0x04 => self.otyper = value & 0xFFFF,
            0x08 => self.ospeedr = value,
            0x0C => self.pupdr = value,
            0x14 => self.odr = value & 0xFFFF,
            // "If both BSx and BRx are set, BSx has priority."
            0x18 => self.odr = (self.odr & !(value >> 16) & 0xFFFF) | value & 0xFFFF,
            0x1A => self.odr &= !(value & 0xFFFF),
            0x20 | 0x24 => self.afr[(offset as usize - 0x20) / 4] = value,
            0x28 => self.odr &= !(value & 0xFFFF),
            _ => wires.complain(format!("write of unmodelled GPIO register {offset:#x}")),
        }
    }

    /// An input is what drives it, else its pull resistor, else low; an analog pin reads as low.
    fn levels(&self) -> u16 {
        let (mask, out) = self.outputs();
        let digital = (0..16).filter(|&pin| self.mode(pin) != ANALOG).fold(0, |m, pin| m | 1 << pin);
        let up = (0..16).filter(|pin| self.pupdr >> (pin * 2) & 3 == 1).fold(0, |m, pin| m | 1 << pin);
        let free = up & !self.driven.0 | self.driven.1 & self.driven.0;
        (free & !mask | out) & digital
    }

    fn mode(&self, pin: u32) -> u32 {
        self.moder >> (pin * 2) & 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_input_follows_its_pull_up_and_a_driven_one_its_driver() {
        let (mut gpio, mut wires) = (Gpio::default(), Wires::new(1));
        gpio.write(&mut wires, 0x0C, 0b01_01);
        gpio.drive(0b10, 0b00);
        assert_eq!(gpio.read(&mut wires, 0x10), 0b01);
    }

    #[test]
    fn set_has_priority_over_reset_and_only_outputs_are_driven() {
        let (mut gpio, mut wires) = (Gpio::default(), Wires::new(1));
        gpio.write(&mut wires, 0x00, 0b01);
        gpio.write(&mut wires, 0x18, 0x0001_0003);
        assert_eq!(gpio.outputs(), (1, 1));
        assert_eq!(gpio.read(&mut wires, 0x14), 3);
    }
}

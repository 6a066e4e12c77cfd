//! The independent watchdog (RM0090 section 21, RM0440 section 42; the window of G4 and G0 is not modelled).
//!
//! Counts down with the LSI at 32 kHz (typical; 17 to 47 kHz on F4) and resets the chip at zero.

use crate::wires::{NEVER, Reset, Wires};

const LSI: u64 = 32_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Iwdg {
    unlocked: bool,
    prescaler: u32,
    reload: u32,
    due: u64,
}

impl Iwdg {
    pub(crate) fn new() -> Self {
        Self { unlocked: false, prescaler: 0, reload: 0xFFF, due: NEVER }
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.due
    }

    pub(crate) fn tick(&mut self, wires: &mut Wires) {
        if self.due <= wires.now.ns {
            wires.reset = Some(Reset::Watchdog);
        }
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x04 => self.prescaler,
            0x08 => self.reload,
            // PVU and RVU: taken over at once.
            0x0C => 0,
            _ => {
                wires.complain(format!("read of unmodelled IWDG register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        match (offset, value) {
            (0x00, 0x5555) => self.unlocked = true,
            (0x00, 0xAAAA) => {
                self.unlocked = false;
                if self.due != NEVER {
                    self.restart(wires.now.ns);
                }
            }
            (0x00, 0xCCCC) => {
                self.unlocked = false;
                self.restart(wires.now.ns);
            }
            (0x00, _) => self.unlocked = false,
            (0x04, _) if self.unlocked => self.prescaler = value & 7,
            (0x08, _) if self.unlocked => self.reload = value & 0xFFF,
            _ => wires.complain(format!("IWDG register {offset:#x} written while protected")),
        }
    }

    /// Runs from now on, as the option bytes may have it.
    pub(crate) fn start(&mut self, now: u64) {
        self.restart(now);
    }

    fn restart(&mut self, now: u64) {
        let divider = 4 << self.prescaler.min(6);
        self.due = now + (u64::from(self.reload) + 1) * divider * 1_000_000_000 / LSI;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_resets_the_chip_unless_it_is_fed() {
        let (mut iwdg, mut wires) = (Iwdg::new(), Wires::new(1));
        iwdg.write(&mut wires, 0x00, 0x5555);
        iwdg.write(&mut wires, 0x04, 2);
        iwdg.write(&mut wires, 0x08, 1999);
        iwdg.write(&mut wires, 0x00, 0xCCCC);
        assert_eq!(iwdg.next_event(), 1_000_000_000, "2000 counts of 16 LSI periods");
        wires.now.ns = 900_000_000;
        iwdg.write(&mut wires, 0x00, 0xAAAA);
        wires.now.ns = 1_899_999_999;
        iwdg.tick(&mut wires);
        assert_eq!(wires.reset, None);
        wires.now.ns = 1_900_000_000;
        iwdg.tick(&mut wires);
        assert_eq!(wires.reset, Some(Reset::Watchdog));
    }
}

//! USART: asynchronous transmission with bit times, for both register layouts.
//!
//! F1, F2, F4: RM0090 section 30.6 (SR, DR, BRR). G0, G4: RM0440 section 37.8 (ISR, ICR, RDR, TDR; FIFO mode is not
//! modelled). Bytes from outside arrive one after the other at the configured rate; a byte that finds RXNE set is
//! lost with ORE. Word length, parity and stop bits count for the time of a byte, parity errors do not happen.

use std::collections::VecDeque;

use crate::wires::{NEVER, Wires};

/// Register layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// SR, DR, BRR, CR1, CR2, CR3, GTPR.
    Old,
    /// CR1, CR2, CR3, BRR, GTPR, RTOR, RQR, ISR, ICR, RDR, TDR, PRESC.
    New,
}

const RXNE: u32 = 1 << 5;
const TC: u32 = 1 << 6;
const TXE: u32 = 1 << 7;
const ORE: u32 = 1 << 3;
const IDLE: u32 = 1 << 4;

/// A serial port.
#[derive(Debug, Clone)]
pub struct Usart {
    layout: Layout,
    irq: u8,
    flags: u32,
    brr: u32,
    cr: [u32; 3],
    rdr: u8,
    /// In the shift register until then.
    sending: Option<(u8, u64)>,
    waiting: Option<u8>,
    incoming: VecDeque<u8>,
    /// When the byte at the front of `incoming` is complete.
    arrives: u64,
    sent: Vec<u8>,
    /// Pins are switched to the receiver, and to the transmitter.
    routed: (bool, bool),
}

impl Usart {
    pub(crate) fn new(layout: Layout, irq: u8) -> Self {
        Self {
            layout,
            irq,
            flags: TXE | TC,
            brr: 0,
            cr: [0; 3],
            rdr: 0,
            sending: None,
            waiting: None,
            incoming: VecDeque::new(),
            arrives: NEVER,
            sent: Vec::new(),
            routed: (false, false),
        }
    }

    pub(crate) fn reset(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        *self = Self { sent, ..Self::new(self.layout, self.irq) };
    }

    /// Connects the receiver and the transmitter to pins.
    pub(crate) fn route(&mut self, receives: bool, transmits: bool) {
        self.routed = (receives, transmits);
    }

    /// Sends bytes to the chip, back to back after what is under way.
    pub fn feed(&mut self, now: u64, bytes: &[u8]) {
        if self.incoming.is_empty() {
            self.arrives = now;
        }
        self.incoming.extend(bytes);
    }

    /// Takes what the chip has sent.
    pub fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn next_event(&self) -> u64 {
        let sending = self.sending.map_or(NEVER, |s| s.1);
        sending.min(if self.incoming.is_empty() || !self.enabled(2) { NEVER } else { self.arrives })
    }

    pub(crate) fn tick(&mut self, wires: &mut Wires, clock: u32) {
        let now = wires.now.ns;
        while let Some((byte, _)) = self.sending.take_if(|s| s.1 <= now) {
            if self.routed.1 {
                self.sent.push(byte);
            }
            match self.waiting.take() {
                Some(next) => self.shift(now, next, clock),
                None => self.flags |= TC,
            }
            self.flags |= TXE;
        }
        if self.enabled(2) && self.routed.0 {
            // The first byte after an idle line takes its time too.
            while self.arrives <= now
                && let Some(byte) = self.incoming.pop_front()
            {
                if self.flags & RXNE != 0 {
                    self.flags |= ORE;
                } else {
                    self.rdr = byte;
                    self.flags |= RXNE;
                }
                self.arrives += self.byte_ns(clock);
            }
        }
        let cr1 = self.cr[0];
        let wanted =
            (cr1 & self.flags & (RXNE | TC | TXE)) | if cr1 & RXNE != 0 { self.flags & ORE } else { 0 };
        wires.irq(self.irq, wanted != 0 && self.ue());
    }

    pub(crate) fn read(&mut self, wires: &mut Wires, offset: u32) -> u32 {
        match (self.layout, offset) {
            (Layout::Old, 0x00) | (Layout::New, 0x1C) => {
                // G0, G4: TEACK and REACK follow TE and RE.
                let ack = if self.layout == Layout::New && self.ue() {
                    (self.cr[0] >> 3 & 1) << 21 | (self.cr[0] >> 2 & 1) << 22
                } else {
                    0
                };
                self.flags | ack
            }
            (Layout::Old, 0x04) => {
                self.flags &= !(RXNE | ORE | IDLE);
                self.rdr.into()
            }
            (Layout::New, 0x24) => {
                self.flags &= !RXNE;
                self.rdr.into()
            }
            (Layout::Old, 0x08) | (Layout::New, 0x0C) => self.brr,
            (Layout::Old, 0x0C..=0x14) => self.cr[(offset as usize - 0x0C) / 4],
            (Layout::New, 0x00..=0x08) => self.cr[offset as usize / 4],
            (Layout::Old, 0x18) | (Layout::New, 0x10 | 0x14 | 0x20 | 0x2C) => 0,
            _ => {
                wires.complain(format!("read of unmodelled USART register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32, clock: u32) {
        match (self.layout, offset) {
            (Layout::Old, 0x04) | (Layout::New, 0x28) => self.send(wires, value as u8, clock),
            (Layout::Old, 0x00) => self.flags &= value | !(RXNE | TC),
            (Layout::New, 0x20) => self.flags &= !(value & (ORE | TC | IDLE | 7)),
            (Layout::New, 0x18) => {
                if value & 8 != 0 {
                    self.flags &= !RXNE;
                }
            }
            (Layout::Old, 0x08) | (Layout::New, 0x0C) => self.brr = value & 0xFFFF,
            (Layout::Old, 0x0C..=0x14) => self.cr[(offset as usize - 0x0C) / 4] = value,
            (Layout::New, 0x00..=0x08) => self.cr[offset as usize / 4] = value,
            (Layout::Old, 0x18) | (Layout::New, 0x10 | 0x14 | 0x2C) if value == 0 => {}
            _ => wires.complain(format!("write of {value:#x} to unmodelled USART register {offset:#x}")),
        }
        self.tick(wires, clock);
    }

    /// Bits per second of the divider, oversampling by 16 or 8.
    pub(crate) fn baud(&self, clock: u32) -> u32 {
        let over8 = self.cr[0] & 1 << 15 != 0;
        let divider = match (self.layout, over8) {
            (_, false) => self.brr,
            // BRR[2:0] is the fraction, shifted right by one bit (RM0090 30.3.4, RM0440 37.5.8).
            (Layout::Old, true) => ((self.brr & !0xF) / 2) | self.brr & 7,
            (Layout::New, true) => (self.brr & !0xF | (self.brr & 7) << 1) / 2,
        };
        clock / divider.max(1)
    }

    fn send(&mut self, wires: &mut Wires, byte: u8, clock: u32) {
        if !self.enabled(3) || self.brr == 0 {
            return wires.complain("a byte was written to a USART that does not transmit");
        }
        self.flags &= !TC;
        if self.sending.is_none() {
            self.shift(wires.now.ns, byte, clock);
        } else if self.waiting.is_none() {
            self.waiting = Some(byte);
            self.flags &= !TXE;
        } else {
            wires.complain("a byte was written to a full USART and is lost");
        }
    }

    fn shift(&mut self, now: u64, byte: u8, clock: u32) {
        self.sending = Some((byte, now + self.byte_ns(clock)));
    }

    fn byte_ns(&self, clock: u32) -> u64 {
        let long = u64::from(self.cr[0] >> 12 & 1);
        let stop = if self.cr[1] >> 12 & 3 == 2 { 2 } else { 1 };
        (1 + 8 + long + stop) * 1_000_000_000 / u64::from(self.baud(clock).max(1))
    }

    fn ue(&self) -> bool {
        match self.layout {
            Layout::Old => self.cr[0] & 1 << 13 != 0,
            Layout::New => self.cr[0] & 1 != 0,
        }
    }

    /// The port is on, and the receiver (2) or transmitter (3) with it.
    fn enabled(&self, bit: u32) -> bool {
        self.ue() && self.cr[0] & 1 << bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> (Usart, Wires) {
        let (mut usart, mut wires) = (Usart::new(Layout::Old, 37), Wires::new(16_000_000));
        usart.route(true, true);
        usart.write(&mut wires, 0x08, 139, 16_000_000);
        usart.write(&mut wires, 0x0C, 1 << 13 | 3 << 2, 16_000_000);
        (usart, wires)
    }

    #[test]
    fn bytes_take_ten_bit_times_and_two_may_wait() {
        let (mut usart, mut wires) = port();
        assert_eq!(usart.baud(16_000_000), 115_107);
        usart.write(&mut wires, 0x04, 0x41, 16_000_000);
        usart.write(&mut wires, 0x04, 0x42, 16_000_000);
        assert_eq!(usart.read(&mut wires, 0x00) & (TXE | TC), 0);
        wires.now.ns = 86_900;
        usart.tick(&mut wires, 16_000_000);
        assert_eq!(usart.read(&mut wires, 0x00) & (TXE | TC), TXE);
        wires.now.ns = 173_800;
        usart.tick(&mut wires, 16_000_000);
        assert_eq!(usart.read(&mut wires, 0x00) & (TXE | TC), TXE | TC);
        assert_eq!(usart.take_sent(), b"AB");
    }

    #[test]
    fn a_byte_that_nobody_took_is_followed_by_an_overrun() {
        let (mut usart, mut wires) = port();
        usart.feed(0, &[1, 2]);
        wires.now.ns = 200_000;
        usart.tick(&mut wires, 16_000_000);
        assert_eq!(usart.read(&mut wires, 0x00) & (RXNE | ORE), RXNE | ORE);
        assert_eq!(usart.read(&mut wires, 0x04), 1, "the first byte stays, the second is lost");
        assert_eq!(usart.read(&mut wires, 0x00) & (RXNE | ORE), 0);
    }
}

//! Exact lengths of CAN and CAN FD frames in bits (ISO 11898-1), written out bit by bit.
//!
//! A length runs from the start of frame to the end of the three bits of interframe space. The stuff bits are
//! those of the actual contents. In FD frames the CRC has fixed stuff bits, so its value does not change the
//! length and is not computed.

/// A frame's identifier; bits beyond 11 or 29 are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    Standard(u16),
    Extended(u32),
}

/// Bits of a frame, by the rate they are sent at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FrameBits {
    pub(crate) nominal: u32,
    /// From the bit after BRS to the CRC delimiter; 0 in classical frames.
    pub(crate) data: u32,
}

/// ACK slot, ACK delimiter, end of frame (7), interframe space (3).
const TAIL: u32 = 12;

/// A classical data frame with up to 8 bytes.
pub(crate) fn classical(id: Id, data: &[u8]) -> FrameBits {
    debug_assert!(data.len() <= 8, "a classical frame has up to 8 bytes");
    let mut bits = BitString::default();
    bits.put(0, 1); // start of frame
    match id {
        // RTR, IDE, r0
        Id::Standard(id) => bits.put(u32::from(id) & 0x7FF, 11).put(0b000, 3),
        // SRR and IDE, the lower 18 bits, RTR, r1, r0
        Id::Extended(id) => bits.put(id >> 18 & 0x7FF, 11).put(0b11, 2).put(id & 0x3_FFFF, 18).put(0b000, 3),
    };
    bits.put(data.len() as u32, 4);
    for byte in data {
        bits.put(u32::from(*byte), 8);
    }
    bits.put(crc15(bits), 15);

    let mut stuffer = Stuffer::default();
    let stuffed: u32 = bits.iter().map(|bit| stuffer.push(bit)).sum();
    let crc_delimiter = 1;
    FrameBits { nominal: bits.len + stuffed + stuffer.finish() + crc_delimiter + TAIL, data: 0 }
}

/// An FD data frame with bit rate switch and up to 64 bytes, padded with 0xFF to the next length there is.
pub(crate) fn fd(id: Id, data: &[u8]) -> FrameBits {
    debug_assert!(data.len() <= 64, "an FD frame has up to 64 bytes");
    let (code, size) = fd_length(data.len());
    let mut header = BitString::default();
    header.put(0, 1); // start of frame
    match id {
        // RRS, IDE
        Id::Standard(id) => header.put(u32::from(id) & 0x7FF, 11).put(0b00, 2),
        // SRR and IDE, the lower 18 bits, RRS
        Id::Extended(id) => header.put(id >> 18 & 0x7FF, 11).put(0b11, 2).put(id & 0x3_FFFF, 18).put(0, 1),
    };
    header.put(0b101, 3); // FDF, res, BRS
    let mut content = BitString::default();
    content.put(0, 1).put(code, 4); // ESI (error active), length code

    let mut stuffer = Stuffer::default();
    let stuffed_header: u32 = header.iter().map(|bit| stuffer.push(bit)).sum();
    let mut stuffed: u32 = content.iter().map(|bit| stuffer.push(bit)).sum();
    let padding = core::iter::repeat_n(&0xFF, size - data.len());
    for byte in data.iter().chain(padding) {
        stuffed += (0..8).rev().map(|i| stuffer.push(byte >> i & 1 != 0)).sum::<u32>();
    }
    // A stuff bit that is due after the last data bit is the first of the fixed ones: no `finish` here.
    // Stuff count and CRC, with a fixed stuff bit before every four of their bits; CRC delimiter.
    let check = 4 + if size <= 16 { 17 } else { 21 };
    let fixed = u32::div_ceil(check, 4);
    FrameBits {
        nominal: header.len + stuffed_header + TAIL,
        data: content.len + stuffed + 8 * size as u32 + check + fixed + 1,
    }
}

/// The length code and the number of bytes it stands for, for at least `len` bytes.
fn fd_length(len: usize) -> (u32, usize) {
    match len {
        0..=8 => (len as u32, len),
        9..=12 => (9, 12),
        13..=16 => (10, 16),
        17..=20 => (11, 20),
        21..=24 => (12, 24),
        25..=32 => (13, 32),
        33..=48 => (14, 48),
        _ => (15, 64),
    }
}

/// Up to 128 bits in the order they are sent. The longest classical frame has 118 up to its CRC.
#[derive(Debug, Clone, Copy, Default)]
struct BitString {
    bits: u128,
    len: u32,
}

impl BitString {
    /// Appends the lowest `count` bits of `value`, the most significant first.
    fn put(&mut self, value: u32, count: u32) -> &mut Self {
        self.bits = self.bits << count | u128::from(value);
        self.len += count;
        self
    }

    fn iter(self) -> impl Iterator<Item = bool> {
        (0..self.len).rev().map(move |i| self.bits >> i & 1 != 0)
    }
}

/// The CRC of classical frames: x^15 + x^14 + x^10 + x^8 + x^7 + x^4 + x^3 + 1, starting from 0.
fn crc15(bits: BitString) -> u32 {
    bits.iter().fold(0, |crc, bit| {
        let carry = (crc >> 14 & 1) ^ u32::from(bit);
        (crc << 1 & 0x7FFF) ^ (0x4599 * carry)
    })
}

/// After five equal bits comes one of the other level, which counts as the first of the next run.
#[derive(Debug)]
struct Stuffer {
    level: bool,
    run: u32,
}

impl Default for Stuffer {
    /// The idle bus is recessive; what came before the start of frame does not count.
    fn default() -> Self {
        Self { level: true, run: 0 }
    }
}

impl Stuffer {
    /// Sends a bit; returns the number of stuff bits (0 or 1) that had to go before it.
    fn push(&mut self, bit: bool) -> u32 {
        let stuffed = self.finish();
        if stuffed == 1 {
            *self = Self { level: !self.level, run: 1 };
        }
        self.run = if bit == self.level { self.run + 1 } else { 1 };
        self.level = bit;
        stuffed
    }

    /// The stuff bit (0 or 1) that the bits so far call for.
    fn finish(&self) -> u32 {
        u32::from(self.run == 5)
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;

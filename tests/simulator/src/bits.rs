//! Exact lengths of CAN and CAN FD frames on the wire, stuffing included (ISO 11898-1).
//!
//! Called once per frame sent, so it is table driven: one lookup per byte for the CRC and one for the stuffing.
//! The tests hold it against a reference that writes every bit out. Lengths include the three bits of
//! interframe space. In FD frames the CRC's value has no influence on the length (its stuff bits are fixed),
//! so it is not computed.

use panel_protocol::frame::{Frame, Id};

/// Bits of a frame, by the rate at which they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Length {
    /// Bits at the nominal rate.
    pub nominal: u32,
    /// Bits at the data rate; 0 in classical frames.
    pub data: u32,
}

impl Length {
    /// All bits.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.nominal + self.data
    }
}

/// Bits between two frames; a frame's length ends with them.
pub const INTERFRAME: u32 = 3;
/// CRC delimiter, ACK slot, ACK delimiter, end of frame (7) and interframe space (3).
const TAIL: u32 = 13;

/// The length of `frame`, interframe space included.
#[must_use]
pub fn length(frame: &Frame) -> Length {
    if frame.is_fd() { fd_length(frame) } else { classical_length(frame) }
}

/// The length of the part of `frame` before unstuffed bit `bits` (0 is the start of frame), for the price of
/// a frame that was broken off. Meaningful up to the end of the data field.
pub(crate) fn prefix_length(frame: &Frame, bits: u32) -> Length {
    let header = Header::of(frame);
    let mut stuffing = Stuffing::START;
    let mut sent = Length::default();
    for i in 0..bits.min(header.len + 8 * frame.data().len() as u32) {
        let bit = if i < header.len {
            (header.bits >> (header.len - 1 - i)) & 1
        } else {
            let at = i - header.len;
            u64::from(frame.data()[at as usize / 8] >> (7 - at % 8)) & 1
        };
        let count = 1 + stuffing.bit(bit as u8);
        if i < header.nominal {
            sent.nominal += count;
        } else {
            sent.data += count;
        }
    }
    sent
}

/// Unstuffed bits up to and including the length code: where the data field begins.
pub(crate) fn header_bits(frame: &Frame) -> u32 {
    Header::of(frame).len
}

/// Everything before the data field, most significant bit first.
struct Header {
    bits: u64,
    len: u32,
    /// How many of them are sent at the nominal rate.
    nominal: u32,
}

impl Header {
    /// Start of frame to length code (ISO 11898-1, frame formats CBFF, CEFF, FBFF, FEFF). The error state
    /// indicator of FD frames is taken as dominant.
    fn of(frame: &Frame) -> Self {
        let dlc = u64::from(dlc(frame.data().len()));
        let (arbitration, arbitration_len) = match frame.id() {
            Id::Standard(id) => (u64::from(id) & 0x7FF, 12),
            // SRR and IDE are recessive and stand between the two parts of the identifier.
            Id::Extended(id) => {
                let id = u64::from(id) & 0x1FFF_FFFF;
                ((id >> 18) << 20 | 0b11 << 18 | (id & 0x3_FFFF), 32)
            }
        };
        let (control, control_len, after_switch) = match (frame.is_fd(), frame.id()) {
            // RTR, IDE, r0, then the length code; extended: RTR, r1, r0.
            (false, _) => (dlc, 7, 0),
            // RRS, IDE, FDF, res, BRS, then ESI and the length code at the data rate.
            (true, Id::Standard(_)) => (0b00101 << 5 | dlc, 10, 5),
            // RRS, FDF, res, BRS, then ESI and the length code.
            (true, Id::Extended(_)) => (0b0101 << 5 | dlc, 9, 5),
        };
        let len = arbitration_len + control_len;
        Self { bits: arbitration << control_len | control, len, nominal: len - after_switch }
    }
}

fn dlc(len: usize) -> u8 {
    match len {
        0..=8 => len as u8,
        12 => 9,
        16 => 10,
        20 => 11,
        24 => 12,
        32 => 13,
        48 => 14,
        _ => 15,
    }
}

fn classical_length(frame: &Frame) -> Length {
    let header = Header::of(frame);
    let data = frame.data();
    let mut word = u128::from(header.bits);
    for &byte in data {
        word = word << 8 | u128::from(byte);
    }
    let len = header.len + 8 * data.len() as u32;
    // Leading zeros do not move a CRC that starts at zero, so the string may be taken in whole bytes.
    let mut crc = 0u16;
    for byte in &word.to_be_bytes()[16 - len.div_ceil(8) as usize..] {
        crc = (crc << 8) & 0x7FFF ^ CRC15[usize::from((crc >> 7) as u8 ^ byte)];
    }
    let word = word << 15 | u128::from(crc);
    let len = len + 15;

    let mut stuffing = Stuffing::START;
    let mut stuffed = 0;
    let odd = len % 8;
    for i in (len - odd..len).rev() {
        stuffed += stuffing.bit((word >> i) as u8 & 1);
    }
    for byte in &word.to_be_bytes()[16 - (len / 8) as usize..] {
        stuffed += stuffing.byte(*byte);
    }
    Length { nominal: len + stuffed + TAIL, data: 0 }
}

fn fd_length(frame: &Frame) -> Length {
    let header = Header::of(frame);
    let mut stuffing = Stuffing::START;
    let at_data_rate = header.len - header.nominal;
    let mut nominal = header.nominal;
    for i in (at_data_rate..header.len).rev() {
        nominal += stuffing.bit((header.bits >> i) as u8 & 1);
    }
    let mut data = at_data_rate;
    for i in (0..at_data_rate).rev() {
        data += stuffing.bit((header.bits >> i) as u8 & 1);
    }
    let payload = frame.data();
    for &byte in payload {
        data += stuffing.byte(byte) + 8;
    }
    // A stuff bit due after the last data bit is the first fixed stuff bit, not an extra one.
    if stuffing.just_stuffed() {
        data -= 1;
    }
    // Stuff count (4) and CRC with a fixed stuff bit before each group of four.
    data += if payload.len() <= 16 { 4 + 17 + 6 } else { 4 + 21 + 7 };
    // The rate switches inside BRS and inside the CRC delimiter, at the sample point: together they last one
    // nominal and one data bit.
    Length { nominal: nominal - 1 + TAIL, data: data + 1 }
}

/// The polynomial of CRC-15 (ISO 11898-1): x15 + x14 + x10 + x8 + x7 + x4 + x3 + 1.
const POLYNOMIAL: u16 = 0x4599;

const CRC15: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 7;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x4000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc & 0x7FFF;
        i += 1;
    }
    table
};

/// The bit stuffer's memory: the level of the last bit sent and how many of that level came in a row (1..=4;
/// the fifth is followed by a stuff bit, which begins a new run). States: `level << 2 | run - 1`, 8 before the
/// first bit, 9 and 10 after a stuff bit of level 0 and 1.
#[derive(Clone, Copy)]
struct Stuffing(u8);

impl Stuffing {
    const START: Self = Self(8);

    /// Sends one bit and returns the stuff bits (0 or 1) that follow it.
    fn bit(&mut self, bit: u8) -> u32 {
        let (state, stuffed) = stuff_bit(self.0, bit);
        self.0 = state;
        stuffed as u32
    }

    /// Sends eight bits, the most significant first, and returns the stuff bits among them (0..=2).
    fn byte(&mut self, byte: u8) -> u32 {
        let step = STUFF[usize::from(self.0)][usize::from(byte)];
        self.0 = step & 0xF;
        u32::from(step >> 4)
    }

    /// Whether the last bit sent was a stuff bit.
    fn just_stuffed(self) -> bool {
        self.0 > 8
    }
}

const fn stuff_bit(state: u8, bit: u8) -> (u8, u8) {
    let (level, run) = match state {
        8 => (2, 0),
        9 => (0, 1),
        10 => (1, 1),
        _ => (state >> 2, (state & 3) + 1),
    };
    match (level == bit, run) {
        (true, 4) => (10 - bit, 1),
        (true, _) => (bit << 2 | run, 0),
        (false, _) => (bit << 2, 0),
    }
}

/// Next state and number of stuff bits (upper half) for every state and byte.
const STUFF: [[u8; 256]; 11] = {
    let mut table = [[0; 256]; 11];
    let mut state = 0;
    while state < 11 {
        let mut byte = 0;
        while byte < 256 {
            let (mut now, mut count, mut i) = (state as u8, 0, 8);
            while i > 0 {
                i -= 1;
                let (next, stuffed) = stuff_bit(now, (byte >> i) as u8 & 1);
                now = next;
                count += stuffed;
            }
            table[state][byte] = count << 4 | now;
            byte += 1;
        }
        state += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Writes the frame out bit by bit and stuffs it by looking at what was sent.
    fn written_out(frame: &Frame) -> Length {
        let mut plain: Vec<(bool, bool)> = Vec::new(); // (level, at the data rate)
        let mut put = |value: u64, len: u32, fast: bool| {
            plain.extend((0..len).rev().map(|i| (value >> i & 1 == 1, fast)));
        };
        put(0, 1, false);
        let fd = frame.is_fd();
        match frame.id() {
            Id::Standard(id) => {
                put(u64::from(id), 11, false);
                put(0b00, 2, false); // RTR or RRS, IDE
            }
            Id::Extended(id) => {
                put(u64::from(id >> 18), 11, false);
                put(0b11, 2, false); // SRR, IDE
                put(u64::from(id & 0x3_FFFF), 18, false);
                put(0, 1, false); // RTR or RRS
            }
        }
        match (fd, frame.id()) {
            (true, _) => put(0b101, 3, false),               // FDF, res, BRS
            (false, Id::Standard(_)) => put(0, 1, false),    // r0
            (false, Id::Extended(_)) => put(0b00, 2, false), // r1, r0
        }
        if fd {
            put(0, 1, true); // ESI
        }
        let lengths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];
        let dlc = lengths.iter().position(|&l| l == frame.data().len()).unwrap();
        put(dlc as u64, 4, fd);
        frame.data().iter().for_each(|&b| put(u64::from(b), 8, fd));
        if !fd {
            let mut crc = 0u32;
            for &(bit, _) in &plain {
                let invert = bit != (crc >> 14 & 1 == 1);
                crc = crc << 1 & 0x7FFF;
                if invert {
                    crc ^= 0x4599;
                }
            }
            plain.extend((0..15).rev().map(|i| (crc >> i & 1 == 1, false)));
        }
        let mut wire: Vec<(bool, bool)> = Vec::new();
        let mut run = 0;
        for (i, &(bit, fast)) in plain.iter().enumerate() {
            run = if wire.last().is_some_and(|l| l.0 == bit) { run + 1 } else { 1 };
            wire.push((bit, fast));
            if run == 5 && !(fd && i + 1 == plain.len()) {
                // A stuff bit is sent at the rate in force, which is that of the bit before it.
                wire.push((!bit, fast));
                run = 1;
            }
        }
        let fast = wire.iter().filter(|w| w.1).count() as u32;
        let slow = wire.len() as u32 - fast;
        let crc = match (fd, frame.data().len()) {
            (false, _) => 0,
            (true, 0..=16) => 4 + 17 + 21u32.div_ceil(4),
            (true, _) => 4 + 21 + 25u32.div_ceil(4),
        };
        Length { nominal: slow + 13 - u32::from(fd), data: fast + crc + u32::from(fd) }
    }

    fn random_frame(rng: &mut Rng, fd: bool, kind: u64) -> Frame {
        let id = if rng.below(2) == 0 {
            Id::Standard(rng.below(0x800) as u16)
        } else {
            Id::Extended(rng.below(1 << 29) as u32)
        };
        let mut data = [0; 64];
        let len = rng.below(if fd { 65 } else { 9 }) as usize;
        match kind {
            0 => rng.fill(&mut data),
            1 => data.fill(0xFF),
            // Few transitions, so that runs end everywhere.
            _ => data.iter_mut().for_each(|b| *b = 0xFFu8.wrapping_shl(rng.below(9) as u32)),
        }
        if fd { Frame::fd(id, &data[..len]) } else { Frame::classical(id, &data[..len]) }.unwrap()
    }

    #[test]
    fn lengths_equal_those_of_a_frame_written_out_bit_by_bit() {
        let mut rng = Rng::new(7, 0);
        for i in 0..20_000 {
            let frame = random_frame(&mut rng, i % 2 == 0, i % 3);
            assert_eq!(length(&frame), written_out(&frame), "{frame:?}");
        }
    }

    #[test]
    fn a_prefix_grows_to_everything_before_the_checksum() {
        let mut rng = Rng::new(8, 0);
        for i in 0..2000 {
            let frame = random_frame(&mut rng, i % 2 == 0, i % 3);
            let end = header_bits(&frame) + 8 * frame.data().len() as u32;
            let all = prefix_length(&frame, end);
            assert!(all.total() >= end && all.total() < length(&frame).total());
            assert_eq!(prefix_length(&frame, 1).total(), 1);
        }
    }

    #[test]
    fn shortest_and_longest_frames_match_the_published_formulas() {
        // 11-bit: 47 + 8n unstuffed, 55 + 10n at worst; 29-bit: 67 + 8n and 80 + 10n.
        let mut rng = Rng::new(9, 0);
        let (mut least, mut most) = ([u32::MAX; 2], [0; 2]);
        for _ in 0..200_000 {
            let (kind, id) = if rng.below(2) == 0 {
                (0, Id::Standard(rng.below(0x800) as u16))
            } else {
                (1, Id::Extended(rng.below(1 << 29) as u32))
            };
            let mut data = [0; 8];
            data.iter_mut().for_each(|b| *b = [0x00, 0xFF, 0x0F, 0x87, 0x55, 0xE1][rng.below(6) as usize]);
            let total = length(&Frame::classical(id, &data).unwrap()).total();
            least[kind] = least[kind].min(total);
            most[kind] = most[kind].max(total);
        }
        assert!(least[0] >= 111 && most[0] <= 135 && most[0] > 125, "{least:?} {most:?}");
        assert!(least[1] >= 131 && most[1] <= 160 && most[1] > 145, "{least:?} {most:?}");
        let empty = Frame::classical(Id::Standard(0x555), &[]).unwrap();
        assert!((47..=55).contains(&length(&empty).total()));
    }

    #[test]
    fn random_payloads_cost_the_average_of_the_literature() {
        let mut rng = Rng::new(10, 0);
        let mut average = |fd: bool, extended: bool, len: usize| {
            let mut sum = [0u64; 2];
            for _ in 0..20_000 {
                let id = if extended {
                    Id::Extended(rng.below(1 << 29) as u32)
                } else {
                    Id::Standard(rng.below(0x800) as u16)
                };
                let mut data = [0; 64];
                rng.fill(&mut data);
                let frame = if fd { Frame::fd(id, &data[..len]) } else { Frame::classical(id, &data[..len]) };
                let bits = length(&frame.unwrap());
                sum[0] += u64::from(bits.nominal);
                sum[1] += u64::from(bits.data);
            }
            sum.map(|s| s as f64 / 20_000.0)
        };
        for (extended, len, bits) in [
            (false, 8, 114.3),
            (false, 1, 57.0),
            (false, 0, 49.0),
            (true, 8, 135.1),
            (true, 1, 77.8),
            (true, 0, 69.7),
        ] {
            let got = average(false, extended, len)[0];
            assert!((got - bits).abs() < 0.4, "extended {extended}, {len} bytes: {got}, published {bits}");
        }
        // 64 bytes at 1 Mbit/s + 5 Mbit/s: 142.9 us and 162.6 us.
        for (extended, micros) in [(false, 142.9), (true, 162.6)] {
            let [nominal, data] = average(true, extended, 64);
            let got = nominal + data / 5.0;
            assert!((got - micros).abs() < 0.4, "extended {extended}: {got}, published {micros}");
        }
    }
}

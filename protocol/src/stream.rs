//! The same frames over a byte stream: UART or RS-485 for recovery, TCP for emulators without CAN.
//!
//! A record is identifier and flags (4 bytes), data, CRC-32 over both (4 bytes); it is byte-stuffed with COBS
//! (Cheshire and Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM ToN 1999) and stands between two zero
//! bytes. A zero occurs nowhere else, so whatever noise does to the stream, the decoder is back in step at the
//! next one. Invariant: a frame comes out only if its CRC-32 is right and a frame can look like that.

use crate::CRC32;
use crate::frame::{Frame, Id, MAX_DATA, fd_len};

/// Longest record before stuffing: head, data, CRC-32.
const MAX_RECORD: usize = HEAD + MAX_DATA + TAIL;
/// Longest encoding of a frame: two delimiters, one byte of stuffing (records are shorter than 254 bytes).
pub const MAX_ENCODED: usize = MAX_RECORD + 3;

const HEAD: usize = 4;
const TAIL: usize = 4;
const EXTENDED: u32 = 1 << 31;
const FD: u32 = 1 << 30;
const DELIMITER: u8 = 0;

/// Writes a frame's record, delimiters included; returns how many bytes of `out` are used.
pub fn encode(frame: &Frame, out: &mut [u8; MAX_ENCODED]) -> usize {
    let id = match frame.id() {
        Id::Standard(id) => id.into(),
        Id::Extended(id) => id | EXTENDED,
    };
    let head = (id | if frame.is_fd() { FD } else { 0 }).to_le_bytes();
    let tail = CRC32.update(CRC32.checksum(&head), frame.data()).to_le_bytes();

    // `code` is where the distance to the next zero of the record goes.
    let (mut code, mut at) = (1, 2);
    out[0] = DELIMITER;
    for &byte in head.iter().chain(frame.data()).chain(&tail) {
        if byte == 0 {
            out[code] = (at - code) as u8;
            code = at;
        } else {
            out[at] = byte;
        }
        at += 1;
    }
    out[code] = (at - code) as u8;
    out[at] = DELIMITER;
    at + 1
}

/// Finds frames in a stream of bytes.
#[derive(Debug, Clone)]
pub struct Decoder {
    record: [u8; MAX_RECORD],
    len: usize,
    /// Bytes until the next code byte.
    run: u8,
    /// What came since the last delimiter cannot be a record.
    broken: bool,
    /// Something came since the last delimiter.
    begun: bool,
    bad: u32,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::NEW
    }
}

impl Decoder {
    /// Nothing came yet.
    pub const NEW: Self =
        Self { record: [0; MAX_RECORD], len: 0, run: 0, broken: false, begun: false, bad: 0 };

    /// Records that were no frame: noise, losses, unknown flags.
    #[must_use]
    pub const fn bad(&self) -> u32 {
        self.bad
    }

    /// Takes the next byte; a frame when it was the last one of a good record.
    pub fn handle_byte(&mut self, byte: u8) -> Option<Frame> {
        if byte == DELIMITER {
            return self.end();
        }
        if self.run == 0 {
            if self.begun {
                self.push(0);
            }
            self.run = byte - 1;
        } else {
            self.push(byte);
            self.run -= 1;
        }
        self.begun = true;
        None
    }

    fn push(&mut self, byte: u8) {
        match self.record.get_mut(self.len) {
            Some(space) => {
                *space = byte;
                self.len += 1;
            }
            None => self.broken = true,
        }
    }

    fn end(&mut self) -> Option<Frame> {
        let whole = self.run == 0 && !self.broken;
        let frame = self.record.get(..self.len).filter(|_| whole).and_then(parse);
        if self.begun && frame.is_none() {
            self.bad = self.bad.saturating_add(1);
        }
        (self.len, self.run, self.broken, self.begun) = (0, 0, false, false);
        frame
    }
}

/// The frame of a record without stuffing.
fn parse(record: &[u8]) -> Option<Frame> {
    let (body, tail) = record.split_last_chunk::<TAIL>()?;
    let (head, data) = body.split_first_chunk::<HEAD>()?;
    if CRC32.checksum(body) != u32::from_le_bytes(*tail) {
        return None;
    }
    let head = u32::from_le_bytes(*head);
    let number = head & !(EXTENDED | FD);
    let id = match head & EXTENDED {
        0 => Id::Standard(u16::try_from(number).ok().filter(|&id| id < 0x800)?),
        _ => Id::Extended(Some(number).filter(|&id| id < 1 << 29)?),
    };
    if head & FD == 0 {
        return Frame::classical(id, data);
    }
    (fd_len(data.len()) == Some(data.len())).then(|| Frame::fd(id, data)).flatten()
}

const _: () = assert!(MAX_RECORD < 254, "one code byte spans a record without a zero");

#[cfg(test)]
mod tests {
    use super::*;

    /// The last frame in these bytes, the number of frames, and of bad records.
    fn decode(bytes: &[u8]) -> (Option<Frame>, u32, u32) {
        let mut decoder = Decoder::default();
        let mut found = (None, 0);
        for &byte in bytes {
            if let Some(frame) = decoder.handle_byte(byte) {
                found = (Some(frame), found.1 + 1);
            }
        }
        (found.0, found.1, decoder.bad())
    }

    fn encoded(frame: &Frame) -> ([u8; MAX_ENCODED], usize) {
        let mut out = [0xEE; MAX_ENCODED];
        let len = encode(frame, &mut out);
        (out, len)
    }

    fn samples() -> [Frame; 7] {
        [
            Frame::empty(Id::Standard(0)),
            Frame::empty(Id::Extended(0x0FC3_4105)),
            Frame::classical(Id::Standard(0x300), &[0x21]).expect("short"),
            Frame::classical(Id::Standard(0x7FF), &[0; 8]).expect("short"),
            Frame::classical(Id::Standard(0x401), &[1, 0, 0xFF, 0, 0, 2, 3, 0]).expect("short"),
            Frame::fd(Id::Standard(0x4FF), &[0xA5; 64]).expect("fits"),
            Frame::fd(Id::Standard(0x500), &core::array::from_fn::<u8, 64, _>(|i| i as u8)).expect("fits"),
        ]
    }

    #[test]
    fn a_frame_is_the_same_after_the_journey() {
        for frame in samples() {
            let (out, len) = encoded(&frame);
            assert_eq!(decode(&out[..len]), (Some(frame), 1, 0));
            assert!(out[1..len - 1].iter().all(|&b| b != 0), "{frame:?}");
        }
    }

    #[test]
    fn the_longest_frame_fills_the_buffer_exactly() {
        assert_eq!(encoded(&samples()[5]).1, MAX_ENCODED);
    }

    #[test]
    fn a_known_record_has_known_bytes() {
        // Delimiter, stuffed record (00 03 00 00 | 21 | CRC-32 of those five), delimiter.
        let (out, len) = encoded(&samples()[2]);
        let crc = CRC32.checksum(&[0x00, 0x03, 0x00, 0x00, 0x21]).to_le_bytes();
        assert_eq!(out[..len], [0, 1, 2, 3, 1, 6, 0x21, crc[0], crc[1], crc[2], crc[3], 0]);
    }

    #[test]
    fn frames_survive_noise_between_them_and_the_noise_is_counted() {
        let noise = [0x55, 0xAA, 0x01, 0xFF, 0x03];
        let mut decoder = Decoder::default();
        for frame in samples() {
            noise.iter().for_each(|&b| assert_eq!(decoder.handle_byte(b), None));
            let (out, len) = encoded(&frame);
            let found: Option<Frame> = out[..len].iter().filter_map(|&b| decoder.handle_byte(b)).last();
            assert_eq!(found, Some(frame));
        }
        assert_eq!(decoder.bad(), samples().len() as u32);
    }

    #[test]
    fn endless_noise_without_a_delimiter_is_one_bad_record() {
        let mut decoder = Decoder::default();
        (0..10_000).for_each(|i| assert_eq!(decoder.handle_byte((i % 255) as u8 + 1), None));
        assert_eq!((decoder.handle_byte(0), decoder.bad()), (None, 1));
        let (out, len) = encoded(&samples()[0]);
        assert_eq!(out[..len].iter().filter_map(|&b| decoder.handle_byte(b)).last(), Some(samples()[0]));
    }

    #[test]
    fn a_record_cut_off_anywhere_costs_only_itself() {
        let (lost, kept) = (samples()[6], samples()[3]);
        let ((a, a_len), (b, b_len)) = (encoded(&lost), encoded(&kept));
        for cut in 1..a_len - 1 {
            let mut decoder = Decoder::default();
            let bytes = a[..cut].iter().chain(&b[..b_len]);
            let found: Option<Frame> = bytes.filter_map(|&byte| decoder.handle_byte(byte)).last();
            assert_eq!(found, Some(kept), "cut at {cut}");
            assert_eq!(decoder.bad(), u32::from(cut > 1), "cut at {cut}");
        }
    }

    #[test]
    fn no_single_bit_flip_yields_a_wrong_frame() {
        for frame in samples() {
            let (out, len) = encoded(&frame);
            // The flip of a closing delimiter shows at the next one.
            for bit in 8..len * 8 {
                let mut bytes = [0; MAX_ENCODED + 1];
                bytes[..len].copy_from_slice(&out[..len]);
                bytes[bit / 8] ^= 1 << (bit % 8);
                let (_, frames, bad) = decode(&bytes[..=len]);
                assert!(frames == 0 && bad > 0, "{frame:?} bit {bit}");
            }
        }
    }

    #[test]
    fn a_good_checksum_does_not_make_an_impossible_frame() {
        for (head, data) in [
            (0x0000_0800, &[][..]),
            (0x2000_0001, &[][..]),
            (EXTENDED | 1 << 29, &[][..]),
            (0x0000_0001, &[1; 9][..]),
            (FD | 1, &[1; 9][..]),
        ] {
            let mut record = [0; 64];
            record[..4].copy_from_slice(&u32::to_le_bytes(head));
            record[4..4 + data.len()].copy_from_slice(data);
            let crc = CRC32.checksum(&record[..4 + data.len()]).to_le_bytes();
            record[4 + data.len()..8 + data.len()].copy_from_slice(&crc);
            assert_eq!(parse(&record[..8 + data.len()]), None, "{head:#010x}");
        }
    }
}

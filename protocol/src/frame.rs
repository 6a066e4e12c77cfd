//! A CAN or CAN FD frame as plain data, the only thing that crosses the boundary to a link.
//!
//! Invariant: `len` is a length the frame format can carry (0..=8 classical; 12, 16, 20, 24, 32, 48, 64 too
//! for FD), and what lies behind `len` is 0xFF. Links, the simulator and the firmware's drivers convert to and from their own types.

use crate::bytes::Writer;

/// A frame identifier (ISO 11898-1: base or extended format).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Id {
    /// 11 bits, `0..=0x7FF`.
    Standard(u16),
    /// 29 bits, `0..=0x1FFF_FFFF`.
    Extended(u32),
}

impl Id {
    /// A number that sorts identifiers as bus arbitration does: the lower one wins. A base frame wins against
    /// an extended frame with the same leading 11 bits (its RTR/IDE bits are dominant).
    #[must_use]
    pub const fn arbitration(self) -> u32 {
        match self {
            Self::Standard(id) => (id as u32) << 19,
            Self::Extended(id) => ((id >> 18) << 19) | (1 << 18) | (id & 0x3_FFFF),
        }
    }
}

/// The largest payload of a frame, in bytes: that of CAN FD, or of classical CAN without the feature `fd`.
pub const MAX_DATA: usize = if cfg!(feature = "fd") { 64 } else { 8 };

/// One frame: identifier, format and payload.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, align(4))]
pub struct Frame {
    /// Aligned, so that a board takes it from its controller word by word.
    data: [u8; MAX_DATA],
    id: Id,
    fd: bool,
    len: u8,
}

impl Frame {
    /// A classical frame, or `None` if `payload` is longer than 8 bytes.
    #[must_use]
    pub fn classical(id: Id, payload: &[u8]) -> Option<Self> {
        (payload.len() <= 8).then(|| Self::build(id, false, payload, payload.len()))
    }

    /// An FD frame with bit-rate switch. A payload length that FD cannot carry is padded with 0xFF up to the
    /// next one that it can; `None` above [`MAX_DATA`].
    #[must_use]
    pub fn fd(id: Id, payload: &[u8]) -> Option<Self> {
        let len = fd_len(payload.len()).filter(|&len| len <= MAX_DATA)?;
        Some(Self::build(id, true, payload, len))
    }

    /// Becomes a frame with a base identifier as a controller received it: `len` is a length that its format can carry, at most
    /// [`MAX_DATA`], and `word` gives word after word of the payload, by number, the first byte lowest.
    pub fn receive(&mut self, id: u16, fd: bool, len: u8, word: impl Fn(usize) -> u32) {
        (self.id, self.fd, self.len) = (Id::Standard(id), fd, len.min(MAX_DATA as u8));
        // Whole words, because byte by byte is too slow for a Cortex-M0+.
        let (places, _) = self.data.as_chunks_mut();
        for n in 0..usize::from(self.len).div_ceil(4) {
            if let Some(place) = places.get_mut(n) {
                *place = word(n).to_le_bytes();
            }
        }
        self.data[self.len.into()..].fill(0xFF);
    }

    /// A classical frame without data.
    #[must_use]
    pub const fn empty(id: Id) -> Self {
        Self { id, fd: false, len: 0, data: [0xFF; MAX_DATA] }
    }

    /// A classical frame of which `write` writes the payload and then says the identifier; `None` if it says none.
    pub(crate) fn written(write: impl FnOnce(&mut Writer<'_>) -> Option<Id>) -> Option<Self> {
        let mut frame = Self::empty(Id::Standard(0));
        let mut w = Writer::new(&mut frame.data[..8]);
        let id = write(&mut w)?;
        (frame.len, frame.id) = (w.len() as u8, id);
        Some(frame)
    }

    /// Length of the payload, padding included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a frame without payload is nothing special")]
    pub fn len(&self) -> usize {
        self.len.into()
    }

    /// The first eight bytes; behind the payload's end they are 0xFF.
    #[must_use]
    pub fn first(&self) -> &[u8; 8] {
        const NONE: [u8; 8] = [0xFF; 8];
        self.data.first_chunk().unwrap_or(&NONE)
    }

    fn build(id: Id, fd: bool, payload: &[u8], len: usize) -> Self {
        let mut data = [0xFF; MAX_DATA];
        data[..payload.len()].copy_from_slice(payload);
        Self { id, fd, len: len as u8, data }
    }

    /// The identifier.
    #[must_use]
    pub const fn id(&self) -> Id {
        self.id
    }

    /// Whether this is an FD frame (with bit-rate switch; this project sends no FD frame without it).
    #[must_use]
    pub const fn is_fd(&self) -> bool {
        self.fd
    }

    /// The payload, padding included.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data[..self.len as usize]
    }
}

impl core::fmt::Debug for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (kind, id, width) = match self.id {
            Id::Standard(id) => ("", u32::from(id), 3),
            Id::Extended(id) => ("x", id, 8),
        };
        write!(f, "{kind}{id:0width$X}{}", if self.fd { "##" } else { "#" })?;
        self.data().iter().try_for_each(|b| write!(f, "{b:02X}"))
    }
}

/// The shortest FD payload length that holds `len` bytes (ISO 11898-1: DLC 0..=15), or `None` above 64.
#[must_use]
pub const fn fd_len(len: usize) -> Option<usize> {
    Some(match len {
        0..=8 => len,
        9..=12 => 12,
        13..=16 => 16,
        17..=20 => 20,
        21..=24 => 24,
        25..=32 => 32,
        33..=48 => 48,
        49..=64 => 64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_frame_beats_an_extended_frame_with_the_same_leading_bits() {
        let base = Id::Standard(0x300).arbitration();
        assert!(base < Id::Extended(0x300 << 18).arbitration());
        assert!(Id::Extended(0x2FF << 18 | 0x3_FFFF).arbitration() < base);
    }

    #[test]
    fn words_of_a_controller_are_the_frame_that_its_bytes_are() {
        let words = [0x0403_0201, 0x9999_0605];
        let bytes = [1, 2, 3, 4, 5, 6];
        let mut frame = Frame::fd(Id::Standard(1), &[0; MAX_DATA]).expect("fits");
        frame.receive(0x123, false, 6, |n| words[n]);
        assert_eq!(Some(frame), Frame::classical(Id::Standard(0x123), &bytes));
        assert_eq!(frame.first(), &[1, 2, 3, 4, 5, 6, 0xFF, 0xFF]);
        frame.receive(1, false, 200, |n| n as u32);
        assert_eq!(frame.len(), MAX_DATA);
    }

    #[test]
    fn an_fd_payload_is_padded_to_a_length_that_fd_can_carry() {
        let frame = Frame::fd(Id::Standard(1), &[0; 9]).expect("fits");
        assert_eq!(frame.data(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF]);
        assert!(Frame::fd(Id::Standard(1), &[0; 65]).is_none());
        assert!(Frame::classical(Id::Standard(1), &[0; 9]).is_none());
    }
}

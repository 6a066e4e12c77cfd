//! One CAN frame, just big enough for what ST's ROM bootloaders use: 11-bit identifiers, data frames, classic
//! or CAN FD.

use core::fmt;

/// Data lengths a CAN FD frame can have above 8 (ISO 11898-1).
const FD_LENGTHS: [usize; 7] = [12, 16, 20, 24, 32, 48, 64];

/// A data frame with an 11-bit identifier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    id: u16,
    len: u8,
    fd: bool,
    data: [u8; 64],
}

impl Frame {
    /// A classic frame, or `None` if `id` has more than 11 bits or `data` more than 8 bytes.
    #[must_use]
    pub fn classic(id: u16, data: &[u8]) -> Option<Self> {
        if data.len() > 8 { None } else { Self::build(id, data, false) }
    }

    /// A CAN FD frame (to be sent with bit rate switching), or `None` if `id` has more than 11 bits or `data`
    /// is no length that CAN FD knows.
    #[must_use]
    pub fn fd(id: u16, data: &[u8]) -> Option<Self> {
        let fits = data.len() <= 8 || FD_LENGTHS.contains(&data.len());
        if fits { Self::build(id, data, true) } else { None }
    }

    /// As [`Frame::fd`], with zeros behind `data` up to the next length that CAN FD knows.
    pub(crate) fn fd_padded(id: u16, data: &[u8]) -> Option<Self> {
        let len =
            if data.len() <= 8 { data.len() } else { *FD_LENGTHS.iter().find(|len| **len >= data.len())? };
        let mut frame = Self::build(id, data, true)?;
        frame.len = len as u8;
        Some(frame)
    }

    fn build(id: u16, data: &[u8], fd: bool) -> Option<Self> {
        if id > 0x7FF || data.len() > 64 {
            return None;
        }
        let mut bytes = [0; 64];
        bytes[..data.len()].copy_from_slice(data);
        Some(Self { id, len: data.len() as u8, fd, data: bytes })
    }

    /// The identifier, 0 to 0x7FF.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// The data bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data[..usize::from(self.len)]
    }

    /// Whether it is a CAN FD frame.
    #[must_use]
    pub const fn is_fd(&self) -> bool {
        self.fd
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.fd { "fd" } else { "classic" };
        write!(f, "{kind} {:#05x} {:02x?}", self.id, self.data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_do_not_exist_are_refused_or_padded() {
        assert!(Frame::classic(0x31, &[0; 9]).is_none());
        assert!(Frame::classic(0x800, &[]).is_none());
        assert!(Frame::fd(0x31, &[0; 9]).is_none());
        assert!(Frame::fd(0x31, &[0; 65]).is_none());
        assert_eq!(Frame::fd(0x31, &[7; 48]).unwrap().data(), [7; 48]);
        assert_eq!(Frame::fd_padded(0x44, &[1; 9]).unwrap().data(), [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0]);
        assert_eq!(Frame::fd_padded(0x44, &[1; 5]).unwrap().data(), [1; 5]);
    }
}

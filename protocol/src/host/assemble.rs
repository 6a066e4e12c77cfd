//! Putting replies together again from their parts.

use crate::reply::MAX_REPLY;

/// The reply of one node that is coming in.
pub(super) struct Assembler {
    bytes: [u8; MAX_REPLY],
    len: usize,
    next: u8,
}

impl Default for Assembler {
    fn default() -> Self {
        Self { bytes: [0; MAX_REPLY], len: 0, next: 0 }
    }
}

impl Assembler {
    /// The last whole reply.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        (self.next == u8::MAX).then_some(&self.bytes[..self.len])
    }

    /// Takes a part; the whole reply with the last one. A gap drops what came before: the reply is asked again.
    pub(super) fn handle(&mut self, sequence: u8, last: bool, part: &[u8]) -> Option<&[u8]> {
        if sequence == 0 {
            (self.len, self.next) = (0, 0);
        }
        let space = self.bytes.get_mut(self.len..self.len + part.len()).filter(|_| sequence == self.next)?;
        space.copy_from_slice(part);
        self.len += part.len();
        self.next += 1;
        if !last {
            return None;
        }
        self.next = u8::MAX; // nothing follows but a new beginning
        Some(&self.bytes[..self.len])
    }
}

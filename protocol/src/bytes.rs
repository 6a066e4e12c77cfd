//! Little-endian reading and writing over a slice, for the message codecs.
//!
//! Invariant: no call panics. A [`Reader`] that runs out reads zeros and stays [`Reader::is_short`]: a codec asks
//! once, at its end, so that a board carries one check a message and not one a field. A [`Writer`] that runs out
//! drops bytes, which the codecs rule out by sizing their buffers from the constants beside the layouts.

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    short: bool,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, short: false }
    }

    /// The input ended before the layout did: what was read is worth nothing.
    pub(crate) const fn is_short(&self) -> bool {
        self.short
    }

    /// What has not been read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline(never)]
    pub(crate) fn take(&mut self, n: usize) -> &'a [u8] {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                head
            }
            None => {
                (self.rest, self.short) = (&[], true);
                &[]
            }
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap_or([0; N])
    }

    /// The next bytes, as many as there is place for.
    #[inline(never)]
    pub(crate) fn fill(&mut self, place: &mut [u8]) {
        let bytes = self.take(place.len());
        place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    }

    #[inline(never)]
    fn number(&mut self, len: usize) -> u32 {
        self.take(len).iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.number(1) as u8
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.number(4)
    }
}

pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    #[inline(never)]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(space) = self.space(bytes.len()) {
            space.copy_from_slice(bytes);
        }
        self
    }

    #[inline(never)]
    fn number(&mut self, value: u32, len: usize) -> &mut Self {
        let bytes = value.to_le_bytes();
        self.put(bytes.get(..len).unwrap_or(&bytes))
    }

    pub(crate) fn u8(&mut self, v: u8) -> &mut Self {
        self.number(v.into(), 1)
    }

    pub(crate) fn u16(&mut self, v: u16) -> &mut Self {
        self.number(v.into(), 2)
    }

    pub(crate) fn u32(&mut self, v: u32) -> &mut Self {
        self.number(v, 4)
    }

    /// The next bytes, for somebody else to write.
    pub(crate) fn space(&mut self, len: usize) -> Option<&mut [u8]> {
        let space = self.out.get_mut(self.at..self.at + len)?;
        self.at += len;
        Some(space)
    }

    /// Forgets what was written.
    pub(crate) const fn restart(&mut self) {
        self.at = 0;
    }

    pub(crate) const fn len(&self) -> usize {
        self.at
    }

    /// What has been written.
    pub(crate) fn written(&self) -> &[u8] {
        self.out.get(..self.at).unwrap_or_default()
    }
}

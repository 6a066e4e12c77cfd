//! Reception of image data: which segment a frame belongs to, what is missing, when to ask for a pause.
//!
//! A data frame says its segment modulo 4 and its chunk; the segment itself comes from the last `Seek`, or, if
//! that was lost, from the frame being one ahead. A wrong guess is harmless: a segment goes to flash only when
//! its CRC-32 is the manifest's. Nothing is reported per frame: a node speaks up when the host has moved on
//! and something is missing, and when its buffers run low.

use super::outbox::Outbox;
use super::session::{Io, Session};
use crate::bytes::Writer;
use crate::ident::DataPosition;
use crate::message::{
    CHUNK_CLASSICAL, CHUNK_FD, ChunkRange, MISSING_LIST, NodeState, SEGMENT, Seek, put_missing,
    put_missing_segments, put_missing_span,
};
use crate::time::{Micros, Span};

/// How often a pause is asked for again while it is needed.
pub(super) const HOLD_PERIOD: Span = Span::from_millis(50);
/// Silence after which a node that asked for a pause knows that it has begun, and says what its buffers lack.
const STALL: Span = Span::from_millis(25);
/// Segment buffers that must stay free: the host may be up to this far ahead when a hold reaches it.
const RESERVE: u8 = 2;

/// Chunks of a segment that are not blank.
type Ranges = [ChunkRange; 2];

const EVERY_CHUNK: Ranges = [ChunkRange { first: 0, last: u8::MAX }; 2];
/// Before a segment has been heard of.
const NO_CHUNK: Ranges = [ChunkRange { first: 0, last: 0 }; 2];

/// What a node knows of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestEntry {
    pub(super) crc: u32,
    pub(super) state: EntryState,
    pub(super) buffer: u8,
    pub(super) report: bool,
}

impl ManifestEntry {
    /// Nothing known.
    pub const EMPTY: Self = Self { crc: 0, state: EntryState::Unknown, buffer: 0, report: false };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryState {
    Unknown,
    /// Not in flash, nothing received.
    Need,
    /// Found in flash, but neither right nor blank (while comparing).
    Dirty,
    /// Blank: erasing is enough.
    Blank,
    /// In a buffer, whole or not.
    Buffered,
    /// In flash.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BufferState {
    Free,
    Filling,
    /// Complete as far as is known; CRC-32 not checked yet.
    Checking,
    /// CRC-32 is right.
    Ready,
    Programming,
}

/// Words of a bitmap of chunks.
const CHUNK_WORDS: usize = SEGMENT / CHUNK_CLASSICAL / 32;

/// RAM for one segment.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct SegmentBuffer {
    pub(super) state: BufferState,
    pub(super) segment: u16,
    /// Bytes programmed so far.
    pub(super) at: u16,
    /// Chunks that are there, received or blank.
    there: [u32; CHUNK_WORDS],
    pub(super) data: [u8; SEGMENT],
}

impl SegmentBuffer {
    /// A free buffer.
    pub const EMPTY: Self = Self::empty();

    /// A free buffer, all zero: a board has no 2 KiB to spare for a constant, and clears its RAM anyway.
    #[must_use]
    pub const fn empty() -> Self {
        Self { state: BufferState::Free, segment: 0, at: 0, there: [0; CHUNK_WORDS], data: [0; SEGMENT] }
    }

    pub(super) fn release(&mut self) {
        self.state = BufferState::Free;
    }

    pub(super) fn open(&mut self, segment: u16) {
        self.data.fill(0xFF);
        self.there.fill(0);
        (self.segment, self.at) = (segment, 0);
        self.state = BufferState::Filling;
    }

    /// Of so many chunks those outside of the ranges that `Seek` says are blank, and not sent.
    fn expect(&mut self, ranges: Ranges, chunks: u16) {
        for chunk in 0..=u8::MAX {
            let sent = ranges.iter().any(|r| (r.first..=r.last).contains(&chunk));
            if !sent || u16::from(chunk) >= chunks {
                self.take(chunk);
            }
        }
    }

    fn take(&mut self, chunk: u8) {
        self.there[usize::from(chunk) / 32] |= 1 << (chunk % 32);
    }

    fn has(&self, chunk: u8) -> bool {
        self.there[usize::from(chunk) / 32] >> (chunk % 32) & 1 != 0
    }

    /// Nothing is missing any more: its CRC-32 is to be checked.
    fn check_if_complete(&mut self) {
        if self.state == BufferState::Filling && self.there.iter().all(|&word| word == u32::MAX) {
            self.state = BufferState::Checking;
        }
    }

    /// First chunk at or after `from` that is not there.
    fn first_missing(&self, from: u16) -> Option<u8> {
        (from..=u16::from(u8::MAX)).map(|chunk| chunk as u8).find(|&chunk| !self.has(chunk))
    }
}

/// Where the stream of data stands.
#[repr(C)]
pub(super) struct Stream {
    /// Whether any segment is current.
    open: bool,
    /// Bytes in a chunk.
    chunk: u8,
    pub(super) free: u8,
    total: u8,
    current: u16,
    /// The segment after the furthest that was current.
    next: u16,
    /// Entries whose report flag is set.
    flagged: u16,
    cursor: (u16, u16),
    ranges: Ranges,
    /// A pause was asked for, last at this time.
    holding: bool,
    held: Micros,
    /// When data, or a look at what a pause leaves incomplete, last came.
    heard: Micros,
}

impl Stream {
    pub(super) const NONE: Self = Self {
        open: false,
        chunk: 0,
        free: 0,
        total: 0,
        current: 0,
        next: 0,
        flagged: 0,
        cursor: (0, 0),
        ranges: NO_CHUNK,
        holding: false,
        held: Micros::ZERO,
        heard: Micros::ZERO,
    };

    /// So many segment buffers are free.
    pub(super) fn begin(&mut self, buffers: usize) {
        self.chunk = CHUNK_CLASSICAL as u8;
        self.total = buffers.min(255) as u8;
        self.free = self.total;
    }

    pub(super) const fn holding(&self) -> bool {
        self.holding
    }

    pub(super) const fn free(&self) -> u8 {
        self.free
    }

    fn chunks(&self) -> u16 {
        (SEGMENT / usize::from(self.chunk)) as u16
    }

    fn flag(&mut self, entry: &mut ManifestEntry) {
        if !entry.report {
            entry.report = true;
            self.flagged += 1;
        }
    }
}

impl Session {
    pub(super) fn manifest(&mut self, manifest: &mut [ManifestEntry], segment: u16, crc: u32) {
        if self.state != NodeState::Manifest || segment >= self.segments {
            return;
        }
        if let Some(entry) = manifest.get_mut(usize::from(segment)) {
            if entry.state == EntryState::Unknown {
                self.known += 1;
            }
            entry.crc = crc;
            entry.state = EntryState::Need;
        }
    }

    /// Data of this segment follows, and the chunks outside of these ranges are blank.
    pub(super) fn seek<P>(&mut self, io: &mut Io<'_, P>, word: u16, ranges: Ranges) {
        let segment = word & !Seek::REPAIR;
        let whole = ranges.iter().all(|r| r.first <= r.last);
        if self.state != NodeState::Receiving || segment >= self.segments || !whole {
            return;
        }
        self.leave(io, segment);
        if word & Seek::REPAIR == 0 {
            self.skip_to(io.manifest, segment);
            self.stream.next = self.stream.next.max(segment + 1);
        }
        self.stream.current = segment;
        self.stream.ranges = ranges;
        self.stream.open = true;
        let entry = io.manifest[usize::from(segment)];
        if entry.state == EntryState::Buffered {
            let buffer = &mut io.buffers[usize::from(entry.buffer)];
            buffer.expect(ranges, self.stream.chunks());
            buffer.check_if_complete();
        }
    }

    /// The host moves on: what the current segment lacks is to be reported.
    fn leave<P>(&mut self, io: &mut Io<'_, P>, next: u16) {
        if !self.stream.open || self.stream.current == next {
            return;
        }
        let entry = &mut io.manifest[usize::from(self.stream.current)];
        let filling = entry.state == EntryState::Buffered
            && io.buffers[usize::from(entry.buffer)].state == BufferState::Filling;
        if entry.state == EntryState::Need || filling {
            self.stream.flag(entry);
        }
    }

    /// Segments between the head and `next` went by unheard: report those still needed.
    fn skip_to(&mut self, manifest: &mut [ManifestEntry], next: u16) {
        for n in self.stream.next..next {
            let entry = &mut manifest[usize::from(n)];
            if entry.state == EntryState::Need {
                self.stream.flag(entry);
            }
        }
    }

    pub(super) fn report_all(&mut self, manifest: &mut [ManifestEntry]) {
        if self.state != NodeState::Receiving {
            return;
        }
        for entry in &mut manifest[..usize::from(self.segments)] {
            if matches!(entry.state, EntryState::Need | EntryState::Buffered) {
                self.stream.flag(entry);
            }
        }
    }

    #[inline(never)]
    pub(super) fn data<P>(&mut self, io: &mut Io<'_, P>, position: DataPosition, bytes: &[u8]) {
        if self.state != NodeState::Receiving || !self.resolve(io, position.tag) {
            return;
        }
        let chunk = bytes.len();
        if chunk != CHUNK_CLASSICAL && chunk != CHUNK_FD {
            return;
        }
        self.stream.chunk = chunk as u8;
        self.stream.heard = io.now;
        let at = usize::from(position.index) * chunk;
        let segment = usize::from(self.stream.current);
        if io.manifest[segment].state == EntryState::Need && !self.open(io) {
            io.statistics.dropped = io.statistics.dropped.saturating_add(1);
            return;
        }
        let entry = &io.manifest[segment];
        if entry.state != EntryState::Buffered {
            return;
        }
        let buffer = &mut io.buffers[usize::from(entry.buffer)];
        if buffer.state != BufferState::Filling || buffer.has(position.index) {
            return;
        }
        let Some(space) = buffer.data.get_mut(at..at + chunk) else { return };
        space.copy_from_slice(bytes);
        buffer.take(position.index);
        buffer.check_if_complete();
    }

    /// Makes the segment of a data frame current; false if the frame cannot be placed.
    fn resolve<P>(&mut self, io: &mut Io<'_, P>, tag: u8) -> bool {
        if self.stream.open && self.stream.current % 4 == u16::from(tag) {
            return true;
        }
        let entries = &io.manifest[..usize::from(self.segments)];
        let mut next = self.stream.next;
        let is_needless = |e: &ManifestEntry| matches!(e.state, EntryState::Blank | EntryState::Done);
        while entries.get(usize::from(next)).is_some_and(is_needless) {
            next += 1;
        }
        if next >= self.segments || next % 4 != u16::from(tag) {
            return false;
        }
        self.leave(io, next);
        self.stream.next = next + 1;
        self.stream.current = next;
        self.stream.ranges = EVERY_CHUNK;
        self.stream.open = true;
        true
    }

    /// Takes a free buffer for the current segment; asks for a pause when they run low.
    fn open<P>(&mut self, io: &mut Io<'_, P>) -> bool {
        let Some(n) = io.buffers.iter().position(|b| b.state == BufferState::Free) else {
            self.hold(io);
            return false;
        };
        let buffer = &mut io.buffers[n];
        buffer.open(self.stream.current);
        buffer.expect(self.stream.ranges, self.stream.chunks());
        let entry = &mut io.manifest[usize::from(self.stream.current)];
        (entry.state, entry.buffer) = (EntryState::Buffered, n as u8);
        self.stream.free -= 1;
        if self.stream.free <= RESERVE {
            self.hold(io);
        }
        true
    }

    fn hold<P>(&mut self, io: &mut Io<'_, P>) {
        if !self.stream.holding {
            io.statistics.holds = io.statistics.holds.saturating_add(1);
        }
        if !self.stream.holding || io.now.since(self.stream.held) >= HOLD_PERIOD {
            (self.stream.holding, self.stream.held) = (true, io.now);
            io.out.flow(Some(self.stream.free));
        }
    }

    /// Renews the pause while it is needed; returns when to look again.
    ///
    /// No `Seek` tells during a pause that a segment has been sent, so what its buffer lacks is reported here:
    /// else a node whose buffers all lack something would wait for the host, and the host for the node.
    pub(super) fn renew_hold<P>(&mut self, io: &mut Io<'_, P>) -> Option<Micros> {
        if !self.stream.holding {
            return None;
        }
        self.hold(io);
        if io.now.since(self.stream.heard) >= STALL {
            self.stream.heard = io.now;
            for buffer in io.buffers.iter().filter(|b| b.state == BufferState::Filling) {
                self.stream.flag(&mut io.manifest[usize::from(buffer.segment)]);
            }
        }
        let (renewal, stall) = (self.stream.held + HOLD_PERIOD, self.stream.heard + STALL);
        Some(if stall.is_before(renewal) { stall } else { renewal })
    }

    pub(super) fn buffer_freed(&mut self, out: &mut Outbox) {
        self.stream.free += 1;
        let enough = (RESERVE + 2).max(self.stream.total / 4).min(self.stream.total);
        if self.stream.holding && self.stream.free >= enough {
            self.stream.holding = false;
            out.flow(None);
        }
    }

    /// A buffer whose CRC-32 is wrong: forget it and ask for all of it again.
    pub(super) fn buffer_spoilt(&mut self, entry: &mut ManifestEntry, out: &mut Outbox) {
        entry.state = EntryState::Need;
        self.stream.flag(entry);
        self.buffer_freed(out);
    }

    /// Writes the next report of something missing; says on which channel.
    pub(super) fn poll_missing<P>(&mut self, io: &mut Io<'_, P>, w: &mut Writer<'_>) -> Option<u16> {
        if self.state != NodeState::Receiving {
            self.stream.flagged = 0;
        }
        // A node asks only for what it has room for.
        let holding = self.stream.holding();
        let due = |e: &ManifestEntry| e.report && !(holding && e.state == EntryState::Need);
        while self.stream.flagged > 0 {
            let (n, chunk) = self.stream.cursor;
            let entries = &mut io.manifest[..usize::from(self.segments)];
            if !entries.get(usize::from(n)).is_some_and(due) {
                self.stream.cursor = (entries.iter().position(due)? as u16, 0);
                continue;
            }
            let entry = &mut entries[usize::from(n)];
            match entry.state {
                EntryState::Need => {
                    let count = self.unflag_run(entries, n);
                    io.statistics.missed += u32::from(count) * u32::from(self.stream.chunks());
                    return Some(put_missing_segments(w, n, count));
                }
                EntryState::Buffered
                    if io.buffers[usize::from(entry.buffer)].state == BufferState::Filling =>
                {
                    let buffer = &io.buffers[usize::from(entry.buffer)];
                    let lack = put_lack(w, buffer, chunk);
                    if let Some((channel, next, count)) = lack {
                        io.statistics.missed += u32::from(count);
                        self.stream.cursor = (n, next);
                        return Some(channel);
                    }
                    self.unflag(entry);
                }
                _ => self.unflag(entry),
            }
        }
        None
    }

    fn unflag(&mut self, entry: &mut ManifestEntry) {
        entry.report = false;
        self.stream.flagged = self.stream.flagged.saturating_sub(1);
        self.stream.cursor.1 = 0;
    }

    fn unflag_run(&mut self, entries: &mut [ManifestEntry], first: u16) -> u16 {
        let mut count = 0;
        for entry in &mut entries[usize::from(first)..] {
            if !entry.report || entry.state != EntryState::Need {
                break;
            }
            self.unflag(entry);
            count += 1;
        }
        count
    }
}

/// One message about what a buffer lacks from `chunk` on: its channel, where to go on, and how many chunks it names.
fn put_lack(w: &mut Writer<'_>, buffer: &SegmentBuffer, chunk: u16) -> Option<(u16, u16, u16)> {
    let segment = buffer.segment;
    let first = buffer.first_missing(chunk)?;
    let mut last = first;
    while last < u8::MAX && !buffer.has(last + 1) {
        last += 1;
    }
    if usize::from(last - first) >= MISSING_LIST {
        let channel = put_missing_span(w, segment, ChunkRange { first, last });
        return Some((channel, u16::from(last) + 1, u16::from(last - first) + 1));
    }
    let (mut next, mut count) = (chunk, 0);
    let lacking = core::iter::from_fn(|| {
        let chunk = buffer.first_missing(next)?;
        (next, count) = (u16::from(chunk) + 1, count + 1);
        Some(chunk)
    });
    Some((put_missing(w, segment, lacking), next, count))
}

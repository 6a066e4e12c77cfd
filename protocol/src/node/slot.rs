//! The second slot: an image is kept apart from the application until it is committed, then installed from there.
//!
//! A board that has an application and room for the image writes it `shift` bytes above its place. Commit writes the
//! Staged record; from then on the image goes from slot to place by the pipeline that serves a host, with segments that
//! come from flash, and an Installed record makes it `Valid`. Invariant: until the Staged record is written nothing of
//! the application, and after it nothing of the slot, is changed; so a power cut anywhere leaves one of them whole, and a
//! board that starts with a Staged record hashes its slot and installs once more. Called by session and pipeline.
//! Boards without [`NodePort::HAS_SLOT`] have none of this in their binary.

use super::pipeline::{Hash, OpKind};
use super::port::{EraseUnit, NodePort, Slot};
use super::receive::{BufferState, EntryState};
use super::record::{self, Mark, RECORD, Record};
use super::session::{Io, MAX_UNITS, Session};
use super::{NodeMemory, Work};
use crate::block::{Begin, BeginFlags, Region};
use crate::message::{NodeFault, NodeState, SEGMENT};
use crate::reply::ImageState;

fn slot_of<P: NodePort>(port: &P) -> Option<Slot> {
    if P::HAS_SLOT { port.slot() } else { None }
}

/// The erase unit that keeps the newest mark while the records' own is erased.
pub(super) fn spare(port: &impl NodePort) -> Option<EraseUnit> {
    let slot = slot_of(port)?;
    port.facts().flash.erase_unit(slot.end - 1)
}

/// Whether the slot has anything between these addresses.
pub(super) fn owns(port: &impl NodePort, from: u32, end: u32) -> bool {
    slot_of(port).is_some_and(|slot| from < slot.end && slot.base < end)
}

/// How far above its place the image of a session is written; 0: there, because the host does not wait for an
/// installation, there is no application to keep (or it is this very image), or one of the two does not fit.
pub(super) fn shift(port: &impl NodePort, mark: &Mark, id: &[u8; 32], begin: &Begin) -> u32 {
    let (Some(slot), Some(spare)) = (slot_of(port), spare(port)) else { return 0 };
    let shift = slot.base - port.facts().flash.app_base;
    let keeps = mark.state == ImageState::Valid && mark.id() != id;
    let asked = begin.flags.contains(BeginFlags::STAGE);
    let fits = |r: &Region| r.address + r.len <= slot.base && r.address + r.len + shift <= spare.address;
    let stages = asked && keeps && !mark.guards(slot.base, slot.end) && begin.regions().iter().all(fits);
    if stages { shift } else { 0 }
}

/// Makes the session of a board that starts with an image in its slot: first its slot is hashed, as the power may have gone
/// at any moment. False for a mark whose records are not whole.
pub(super) fn resume(
    port: &mut impl NodePort,
    memory: &mut impl NodeMemory,
    mark: &Mark,
    session: &mut Session,
) -> bool {
    let Some(slot) = slot_of(port).filter(|_| mark.state == ImageState::Staged) else { return true };
    let (buffers, manifest) = memory.parts();
    if !mark.image(port, &mut session.begin) {
        return false;
    }
    let Some(entries) = manifest.get_mut(..session.begin.segments() as usize) else { return false };
    entries.iter_mut().for_each(|entry| entry.state = EntryState::Done);
    session.id = *mark.id();
    session.set_up(NodeState::Installing, buffers.len());
    session.shift = slot.base - port.facts().flash.app_base;
    session.programmed = session.segments;
    session.erased = [u32::MAX; MAX_UNITS / 32];
    true
}

impl Session {
    /// Its image will replace the application, whatever happens.
    pub(super) fn is_committed(&self) -> bool {
        self.state == NodeState::Installing || self.mark == ImageState::Staged
    }

    /// The slot is whole and its record written: the image goes to its place.
    pub(super) fn install(&mut self, io: &mut Io<'_, impl NodePort>) {
        self.shift = 0;
        self.state = NodeState::Installing;
        self.erased = [0; MAX_UNITS / 32];
        self.erase_address = 0;
        self.programmed = 0;
        self.hash = Hash::NONE;
        (self.checked, self.right) = (0, 0);
        let entries = io.manifest.iter_mut().take(self.segments.into());
        entries.for_each(|entry| entry.state = EntryState::Need);
    }

    /// Takes the next segment from the slot, if nothing waits to be programmed.
    pub(super) fn feed(&mut self, io: &mut Io<'_, impl NodePort>) -> Work {
        let Some(slot) = slot_of(io.port).filter(|_| self.shift == 0) else { return Work::None };
        if io.buffers.iter().any(|b| matches!(b.state, BufferState::Ready | BufferState::Programming)) {
            return Work::None;
        }
        let entries = &mut io.manifest[..usize::from(self.segments)];
        let next = entries.iter().position(|e| e.state == EntryState::Need);
        let place = next.and_then(|n| self.begin.place(n as u32));
        let (Some(n), Some(place), Some(buffer)) = (next, place, io.buffers.first_mut()) else {
            return Work::None;
        };
        buffer.open(n as u16);
        buffer.state = BufferState::Ready;
        self.stream.free -= 1;
        (entries[n].state, entries[n].buffer) = (EntryState::Buffered, 0);
        let address = place.address + (slot.base - io.port.facts().flash.app_base);
        if !io.port.read(address, &mut buffer.data[..usize::from(place.len)]) {
            self.fail(io.out, NodeFault::ReadbackDiffers, address, 0, 0);
        }
        Work::Copy(SEGMENT as u32)
    }

    /// Every region is hashed, in the slot or in its place: what comes next.
    pub(super) fn hashed(&mut self, io: &mut Io<'_, impl NodePort>) -> Work {
        if self.mark != ImageState::None {
            return Work::None;
        }
        if let Some(region) = self.begin.regions().get(self.right.trailing_ones() as usize) {
            let address = region.address + self.shift;
            self.fail(io.out, NodeFault::ReadbackDiffers, address, 0, 0);
        } else if self.shift != 0 {
            self.install(io);
        } else {
            self.mark = ImageState::Valid;
        }
        Work::Copy(0)
    }

    /// Goes on taking the newest mark out of full records, or back to them; `None` when there is nothing to do.
    pub(super) fn keep(&mut self, io: &mut Io<'_, impl NodePort>, full: bool) -> Option<Work> {
        let (spare, records) = (spare(io.port)?, record::unit(io.port)?);
        let newest = io.records.newest;
        let kept = holds(&spare, newest.place);
        if newest.state == ImageState::None || !kept && !full {
            return None;
        }
        let unit = if kept { records } else { spare };
        let step = self.kept;
        self.kept += 1;
        match step.checked_sub(1) {
            None => self.erase(io, OpKind::Record, &unit),
            Some(n) => match newest.again(io.port, n) {
                Some(bytes) => self.write_record(io, unit.address + n * RECORD as u32, &bytes),
                None => return Some(self.kept_all(io, &unit)),
            },
        }
        Some(Work::None)
    }

    /// A step of that has ended: what was programmed is read back.
    pub(super) fn kept_one(&mut self, io: &mut Io<'_, impl NodePort>) {
        let Some(n) = self.kept.checked_sub(2) else { return };
        let (address, mut found) = (self.op.address, Record::BLANK);
        if !found.read(io.port, address) || io.records.newest.again(io.port, n) != Some(found) {
            self.fail(io.out, NodeFault::RecordFailed, address, 0, 0);
        }
    }

    /// Every record of the mark is in this unit.
    fn kept_all(&mut self, io: &mut Io<'_, impl NodePort>, unit: &EraseUnit) -> Work {
        io.records.read(io.port);
        if !holds(unit, io.records.newest.place) {
            self.fail(io.out, NodeFault::RecordFailed, unit.address, 0, 0);
        }
        self.kept = 0;
        Work::Copy(unit.size)
    }
}

/// Whether the unit has this address in it.
const fn holds(unit: &EraseUnit, address: u32) -> bool {
    address >= unit.address && address - unit.address < unit.size
}

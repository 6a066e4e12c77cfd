//! What comes after the image: identity region, commit, test items, start, reset.
//!
//! Invariant: an identity is written only to a place that no image, record or bootloader shares an erase unit
//! with if that unit had to be erased, and it is read back before it is called done.

use super::pipeline::demands;
use super::port::{NodePort, Protection};
use super::record::{Mark, Record, TRUSTED};
use super::session::{Answer, Instead, Session, shares_unit};
use super::{Node, NodeMemory, Poll, STEP, Wake, Work, slot};
use crate::block::{MAX_WRITE, Write};
use crate::message::{NodeState, Refusal, op};
use crate::reply::ImageState;
use crate::time::{Count, Micros, Span};

/// A write of an identity region under way.
#[repr(C)]
pub(super) struct WriteJob {
    stage: Stage,
    may_erase: bool,
    /// The node's own: the record that the seal of its image is good.
    trust: bool,
    len: u16,
    address: u32,
    bytes: [u8; MAX_WRITE],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is written.
    None,
    /// Look what is there.
    Look,
    /// The flash erases.
    Erase,
    /// The flash programs.
    Program,
}

impl<P: NodePort, M: NodeMemory> Node<P, M> {
    /// Answered when the valid mark is written, or now if it is there already.
    pub(super) fn commit(&mut self, number: u8) -> Answer {
        let session = &mut self.session;
        let locked = !self.port.is_agent() && self.port.protection() != Protection::Open;
        match session.state {
            _ if !session.is_the(number) => Err(Refusal::WrongState.into()),
            NodeState::Committed | NodeState::Installing => Ok(()),
            // It was read back as the image that its newest record vouches for: nothing is written to a locked board.
            NodeState::Programmed if locked && session.verified() && session.begin.seal().is_none() => {
                session.state = NodeState::Committed;
                Ok(())
            }
            NodeState::Programmed if session.verified() => {
                if session.mark == ImageState::None {
                    let staged = P::HAS_SLOT && session.shift != 0;
                    session.mark = if staged { ImageState::Staged } else { ImageState::Valid };
                }
                Err(Instead::Later)
            }
            NodeState::Programmed => Err(Refusal::NotVerified.into()),
            _ => Err(Refusal::WrongState.into()),
        }
    }

    pub(super) fn write_identity(&mut self, block: usize, now: Micros) -> Result<(), Refusal> {
        let write = self.block.get(..block).and_then(Write::decode).ok_or(Refusal::BadBlock)?;
        if self.port.protection() != Protection::Open {
            return Err(Refusal::Protected);
        }
        if self.write.is_some() {
            return Ok(()); // asked again: the answer comes when it is done
        }
        let s = &self.session;
        let busy = matches!(s.state, NodeState::Comparing | NodeState::Receiving);
        if busy || s.mark != ImageState::None || self.installs() {
            return Err(Refusal::WrongState);
        }
        let (flash, otp) = (&self.port.facts().flash, self.port.otp());
        let (address, len) = (write.place, write.bytes.len() as u32);
        let inside = |start, end: u32| start <= address && len <= end.saturating_sub(address);
        if !inside(flash.base, flash.base + flash.size()) && !inside(otp.start, otp.end) {
            return Err(Refusal::OutsideFlash);
        }
        let end = address + len;
        if (address | len) & u32::from(flash.unit - 1) != 0 {
            return Err(Refusal::Unaligned);
        }
        if is_reserved(&self.port, &self.records.newest, s, address, end) {
            return Err(Refusal::Reserved);
        }
        self.write.begin(address, write.bytes, write.may_erase, false);
        self.settle(now);
        Ok(())
    }

    pub(super) fn poll_write(&mut self, now: Micros) -> Poll {
        let step = self.write_step(now);
        if step != Ok(false) {
            self.end_write(step.map(|_| ()));
            self.settle(now);
        }
        Poll { wake: Wake::Now, work: Work::Copy(STEP as u32) }
    }

    /// The flash has ended what it was told: read what is there, and go on; true: it is what is wanted.
    fn write_step(&mut self, now: Micros) -> Result<bool, Refusal> {
        let Self { port, write: job, records, session, .. } = self;
        let (address, wanted) = (job.address, job.bytes.get(..usize::from(job.len)).unwrap_or_default());
        let mut found = [0; MAX_WRITE];
        let found = found.get_mut(..wanted.len()).unwrap_or_default();
        // A power cut in an earlier write may have left there what cannot be read: its check bits do not fit.
        let read = port.read(address, found);
        if read && found == wanted {
            return Ok(true);
        }
        let longest = match job.stage {
            Stage::Program => return Err(Refusal::Flash),
            Stage::Look if !read || found.iter().any(|&b| b != 0xFF) => {
                // There is no unit of OTP that could be erased.
                let unit = port.facts().flash.erase_unit(address).filter(|_| job.may_erase);
                let unit = unit.ok_or(Refusal::NotBlank)?;
                let (from, end) = (unit.address, unit.address + unit.size);
                let reserved = is_reserved(port, &records.newest, session, from, end);
                if reserved || address + wanted.len() as u32 > end {
                    return Err(Refusal::NotBlank);
                }
                job.stage = Stage::Erase;
                port.start_erase(&unit);
                unit.longest
            }
            _ => {
                job.stage = Stage::Program;
                port.start_program(address, wanted);
                Span(wanted.len() as Count * port.facts().flash.program_longest.0)
            }
        };
        self.settling = Some(now + longest);
        Ok(false)
    }

    pub(super) fn end_write(&mut self, outcome: Result<(), Refusal>) {
        self.write.stage = Stage::None;
        if demands(&self.port) && self.write.trust {
            let record = self.records.newest.remark(TRUSTED);
            if outcome.is_err() || !self.records.written(&mut self.port, &record) {
                self.records.newest.state = ImageState::Incomplete;
            }
            return;
        }
        self.out.done(op::BLOCK_END, outcome.err(), self.write.address);
    }
}

/// Whether anything between these addresses is not for an identity: bootloader, records, second slot, the image of the
/// session, or another one that is marked valid.
#[inline(never)]
fn is_reserved(port: &impl NodePort, mark: &Mark, session: &Session, from: u32, end: u32) -> bool {
    let flash = &port.facts().flash;
    from < flash.record_base.min(flash.app_base)
        || shares_unit(flash, from, end, flash.record_base)
        || slot::owns(port, from, end)
        || session.begin.regions().iter().any(|r| from < r.address + r.len && r.address < end)
        // Of the session's own image the regions are known, gaps and all. An agent brings what replaces any other.
        || !port.is_agent() && mark.guards(from, end) && *mark.id() != session.id
}

impl WriteJob {
    pub(super) const NONE: Self = Self {
        stage: Stage::None,
        may_erase: false,
        trust: false,
        len: 0,
        address: 0,
        bytes: [0; MAX_WRITE],
    };

    pub(super) const fn is_some(&self) -> bool {
        !matches!(self.stage, Stage::None)
    }

    /// The flash does what it was told for this write.
    pub(super) fn operates(&self) -> bool {
        matches!(self.stage, Stage::Erase | Stage::Program)
    }

    /// Writes a record into a blank slot of the record area.
    pub(super) fn trust(&mut self, address: u32, record: &Record) {
        self.begin(address, &record.0, false, true);
    }

    fn begin(&mut self, address: u32, bytes: &[u8], may_erase: bool, trust: bool) {
        if let Some(space) = self.bytes.get_mut(..bytes.len()) {
            space.copy_from_slice(bytes);
            (self.address, self.len) = (address, bytes.len() as u16);
            (self.stage, self.may_erase, self.trust) = (Stage::Look, may_erase, trust);
        }
    }
}

const _: () = assert!(MAX_WRITE <= STEP);

//! What comes after the image: identity region, commit, test items, start, reset.
//!
//! Invariant: an identity is written only to a place that no image, record or bootloader shares an erase unit
//! with if that unit had to be erased, and it is read back before it is called done.

use core::ops::Range;

use super::port::{EraseUnit, FlashState, NodePort, Protection};
use super::record::{Mark, RECORD};
use super::session::{Session, When, shares_unit};
use super::{Node, NodeMemory, Poll, STEP, Wake, Work, slot};
use crate::block::{MAX_WRITE, Write};
use crate::message::{NodeState, Refusal, op};
use crate::reply::ImageState;
use crate::time::{Count, Micros, Span};

/// A write of an identity region under way.
pub(super) struct WriteJob {
    address: u32,
    len: u16,
    bytes: [u8; MAX_WRITE],
    stage: Stage,
    /// The node's own: the record that the seal of its image is good.
    trust: bool,
}

enum Stage {
    /// Look what is there.
    Look {
        may_erase: bool,
    },
    Erase {
        unit: EraseUnit,
        until: Option<Micros>,
    },
    Program {
        until: Option<Micros>,
    },
}

impl<P: NodePort, M: NodeMemory> Node<P, M> {
    /// Answered when the valid mark is written, or now if it is there already.
    pub(super) fn commit(&mut self, number: u8) -> Result<When, Refusal> {
        let session = &mut self.session;
        match session.state {
            _ if session.is_none() || session.begin.session != number => Err(Refusal::WrongState),
            NodeState::Committed | NodeState::Installing => Ok(When::Now),
            NodeState::Programmed if session.verified() => {
                if session.mark == ImageState::None {
                    let staged = P::HAS_SLOT && session.shift != 0;
                    session.mark = if staged { ImageState::Staged } else { ImageState::Valid };
                }
                Ok(When::Later)
            }
            NodeState::Programmed => Err(Refusal::NotVerified),
            _ => Err(Refusal::WrongState),
        }
    }

    pub(super) fn write_identity(&mut self, block: &[u8], now: Micros) -> Result<(), Refusal> {
        let write = Write::decode(block).ok_or(Refusal::BadBlock)?;
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
        let flash = self.port.facts().flash;
        let (address, len) = (write.place, write.bytes.len() as u32);
        let inside = |area: &Range<u32>| area.start <= address && len <= area.end.saturating_sub(address);
        if !inside(&(flash.base..flash.base + flash.size())) && !inside(&self.port.otp()) {
            return Err(Refusal::OutsideFlash);
        }
        let end = address + len;
        if !address.is_multiple_of(flash.unit.into()) || !len.is_multiple_of(flash.unit.into()) {
            return Err(Refusal::Unaligned);
        }
        let bootloader_end = flash.record_base.min(flash.app_base);
        let image = holds_image(&self.records.newest, &self.session, address, end);
        let image = image || slot::owns(&self.port, address, end);
        if address < bootloader_end || image || shares_unit(&flash, address, end, flash.record_base) {
            return Err(Refusal::Reserved);
        }
        let mut bytes = [0xFF; MAX_WRITE];
        bytes[..write.bytes.len()].copy_from_slice(write.bytes);
        let stage = Stage::Look { may_erase: write.may_erase };
        self.write = Some(WriteJob { address, len: len as u16, bytes, stage, trust: false });
        self.settle(now);
        Ok(())
    }

    pub(super) fn poll_write(&mut self, now: Micros) -> Poll {
        let Some(job) = &mut self.write else { return Poll { wake: Wake::Idle, work: Work::None } };
        let outcome = match job.stage {
            Stage::Look { may_erase } => {
                let image = |from, end| holds_image(&self.records.newest, &self.session, from, end);
                job.look(&mut self.port, image, may_erase)
            }
            Stage::Erase { unit, until: None } => {
                self.port.start_erase(&unit);
                job.stage = Stage::Erase { unit, until: Some(now + unit.longest) };
                None
            }
            Stage::Program { until: None } => {
                let longest = self.port.facts().flash.program_longest;
                self.port.start_program(job.address, &job.bytes[..usize::from(job.len)]);
                job.stage = Stage::Program { until: Some(now + Span(Count::from(job.len) * longest.0)) };
                None
            }
            Stage::Erase { until: Some(until), .. } | Stage::Program { until: Some(until) } => {
                match self.port.flash_poll() {
                    FlashState::Busy if now.is_before(until) => {
                        return Poll { wake: Wake::At(until), work: Work::None };
                    }
                    FlashState::Busy | FlashState::Failed(_) => Some(Err(Refusal::Flash)),
                    FlashState::Idle => job.advance(&mut self.port),
                }
            }
        };
        if let Some(outcome) = outcome {
            self.end_write(outcome);
            self.settle(now);
        }
        Poll { wake: Wake::Now, work: Work::Copy(STEP as u32) }
    }

    pub(super) fn end_write(&mut self, outcome: Result<(), Refusal>) {
        let Some(WriteJob { address, trust, .. }) = self.write.take() else { return };
        if trust {
            let record = self.records.newest.trust();
            if outcome.is_err() || !self.records.written(&mut self.port, &record) {
                self.records.newest.state = ImageState::Incomplete;
            }
            return;
        }
        self.out.done(op::BLOCK_END, outcome.err(), address);
    }
}

/// Whether the image of the session, or another one marked valid, has anything between these addresses.
fn holds_image(mark: &Mark, session: &Session, from: u32, end: u32) -> bool {
    let overlaps = session.begin.regions().iter().any(|r| from < r.address + r.len && r.address < end);
    // Of the session's own image the regions are known, gaps and all.
    overlaps || mark.guards(from, end) && mark.id != session.id
}

impl WriteJob {
    /// Writes a record into a blank slot of the record area.
    pub(super) fn trust(address: u32, record: &[u8; RECORD]) -> Self {
        let mut bytes = [0xFF; MAX_WRITE];
        bytes[..RECORD].copy_from_slice(record);
        let stage = Stage::Look { may_erase: false };
        Self { address, len: RECORD as u16, bytes, stage, trust: true }
    }

    /// Whether the bytes are there already, or the place must be erased first, and may be.
    #[inline(never)]
    fn look(
        &mut self,
        port: &mut impl NodePort,
        holds_image: impl Fn(u32, u32) -> bool,
        may_erase: bool,
    ) -> Option<Result<(), Refusal>> {
        let wanted = &self.bytes[..usize::from(self.len)];
        let mut found = [0; MAX_WRITE];
        let found = &mut found[..wanted.len()];
        if !port.read(self.address, found) {
            return Some(Err(Refusal::OutsideFlash));
        }
        if found == wanted {
            return Some(Ok(()));
        }
        if found.iter().all(|&b| b == 0xFF) {
            self.stage = Stage::Program { until: None };
            return None;
        }
        let flash = port.facts().flash;
        let Some(unit) = flash.erase_unit(self.address).filter(|_| may_erase) else {
            return Some(Err(Refusal::NotBlank)); // nor is there a unit of OTP that could be erased
        };
        let image = holds_image(unit.address, unit.address + unit.size);
        let end = self.address + u32::from(self.len);
        let bootloader_end = flash.record_base.min(flash.app_base);
        if image || end > unit.address + unit.size || unit.address < bootloader_end {
            return Some(Err(Refusal::NotBlank));
        }
        self.stage = Stage::Erase { unit, until: None };
        None
    }

    /// A flash operation has ended: read back, go on, or be done.
    fn advance(&mut self, port: &mut impl NodePort) -> Option<Result<(), Refusal>> {
        if matches!(self.stage, Stage::Erase { .. } | Stage::Look { .. }) {
            self.stage = Stage::Program { until: None };
            return None;
        }
        let mut found = [0; MAX_WRITE];
        let found = &mut found[..usize::from(self.len)];
        let whole = port.read(self.address, found) && *found == self.bytes[..usize::from(self.len)];
        Some(if whole { Ok(()) } else { Err(Refusal::Flash) })
    }
}

const _: () = assert!(MAX_WRITE <= STEP);

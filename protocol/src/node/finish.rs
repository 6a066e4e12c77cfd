//! What comes after the image: identity region, commit, test items, start, reset.
//!
//! Invariant: an identity is written only to a place that no image, record or bootloader shares an erase unit
//! with if that unit had to be erased, and it is read back before it is called done.

use super::port::{EraseUnit, FlashState, NodePort};
use super::session::shares_unit;
use super::{Farewell, Node, NodeMemory, Poll, STEP, Wake, Work};
use crate::block::{MAX_WRITE, Write};
use crate::message::{BlockKind, Control, NodeState, Refusal};
use crate::reply::{ImageState, Reply};
use crate::time::{Micros, Span};

/// A write of an identity region under way.
pub(super) struct WriteJob {
    address: u32,
    len: u16,
    at: u16,
    bytes: [u8; MAX_WRITE],
    stage: Stage,
}

enum Stage {
    Erase { unit: EraseUnit, until: Option<Micros> },
    Program { until: Option<Micros> },
}

impl<P: NodePort, M: NodeMemory> Node<P, M> {
    /// Control that concerns a finished image or no image at all.
    pub(super) fn command(&mut self, control: &Control) {
        let opcode = control.opcode();
        match *control {
            Control::Digest { region } => {
                let digest = self.session.as_ref().and_then(|s| {
                    let n = usize::from(region);
                    s.checks.get(n).copied().flatten().map(|_| s.digests[n])
                });
                match digest {
                    Some(sha256) => self.out.reply(&Reply::Digest(region, sha256)),
                    None => self.done(opcode, Some(Refusal::WrongState), region.into()),
                }
            }
            Control::Commit { session } => match self.commit(session) {
                Ok(true) => self.done(opcode, None, session.into()),
                Ok(false) => {} // answered when the mark is written
                Err(refusal) => self.done(opcode, Some(refusal), session.into()),
            },
            Control::Read { address, len } => self.read_memory(address, len, opcode),
            Control::Test { item, token, argument } => match self.port.run_test(item, argument) {
                Some(reading) => {
                    let (unit, value) = (reading.unit, reading.value);
                    self.out.reply(&Reply::Reading { item, token, unit, value });
                }
                None => self.done(opcode, Some(Refusal::Unsupported), item.into()),
            },
            Control::StartApplication { address } => {
                let startable = self.image.0 == ImageState::Valid;
                if startable {
                    self.farewell = Some(Farewell::Start(address));
                }
                self.done(opcode, (!startable).then_some(Refusal::NotVerified), address);
            }
            Control::Reset => {
                self.farewell = Some(Farewell::Reset);
                self.done(opcode, None, 0);
            }
            _ => {}
        }
    }

    fn done(&mut self, opcode: u8, refusal: Option<Refusal>, detail: u32) {
        self.out.reply(&Reply::Done { opcode, refusal, detail });
    }

    /// True if the valid mark is there already.
    fn commit(&mut self, number: u8) -> Result<bool, Refusal> {
        let session =
            self.session.as_mut().filter(|s| s.begin.session == number).ok_or(Refusal::WrongState)?;
        match session.state {
            NodeState::Committed => Ok(true),
            NodeState::Programmed if session.verified() => {
                if session.record.is_none() {
                    session.record = Some(ImageState::Valid);
                }
                Ok(false)
            }
            NodeState::Programmed => Err(Refusal::NotVerified),
            _ => Err(Refusal::WrongState),
        }
    }

    pub(super) fn write_identity(&mut self, block: &[u8], _now: Micros) -> Result<(), Refusal> {
        let write = Write::decode(block).ok_or(Refusal::BadBlock)?;
        if self.write.is_some() {
            return Ok(()); // asked again: the answer comes when it is done
        }
        let busy =
            self.session.as_ref().is_some_and(|s| s.state == NodeState::Receiving || s.record.is_some());
        if busy {
            return Err(Refusal::WrongState);
        }
        let flash = self.port.facts().flash;
        let (address, len) = (write.place, write.bytes.len() as u32);
        let end = address.checked_add(len).filter(|&end| end <= flash.base + flash.size());
        let (Some(end), Some(unit)) = (end, flash.erase_unit(address)) else {
            return Err(Refusal::OutsideFlash);
        };
        if !address.is_multiple_of(flash.unit.into()) || !len.is_multiple_of(flash.unit.into()) {
            return Err(Refusal::Unaligned);
        }
        let bootloader_end = flash.record_base.min(flash.app_base);
        if address < bootloader_end || shares_unit(&flash, address, end, flash.record_base) {
            return Err(Refusal::Reserved);
        }
        let mut bytes = [0xFF; MAX_WRITE];
        bytes[..write.bytes.len()].copy_from_slice(write.bytes);
        let stage = self.plan_write(&write, unit, end)?;
        self.write = Some(WriteJob { address, len: len as u16, at: 0, bytes, stage });
        Ok(())
    }

    /// Whether the place must be erased first, and may be.
    fn plan_write(&mut self, write: &Write<'_>, unit: EraseUnit, end: u32) -> Result<Stage, Refusal> {
        let mut found = [0; MAX_WRITE];
        let found = &mut found[..write.bytes.len()];
        if !self.port.read(write.place, found) {
            return Err(Refusal::OutsideFlash);
        }
        let ready = found == write.bytes || found.iter().all(|&b| b == 0xFF);
        if ready {
            return Ok(Stage::Program { until: None });
        }
        let flash = self.port.facts().flash;
        let image = self.session.as_ref().is_some_and(|s| {
            let regions = s.begin.regions().iter();
            regions.clone().any(|r| shares_unit(&flash, r.address, r.address + r.len, write.place))
        });
        if !write.may_erase || image || end > unit.address + unit.size || unit.address < flash.record_base {
            return Err(Refusal::NotBlank);
        }
        Ok(Stage::Erase { unit, until: None })
    }

    pub(super) fn poll_write(&mut self, now: Micros) -> Poll {
        let Some(job) = &mut self.write else { return Poll { wake: Wake::Idle, work: Work::None } };
        let flash = self.port.facts().flash;
        let outcome = match &mut job.stage {
            Stage::Erase { unit, until: until @ None } => {
                self.port.start_erase(unit);
                *until = Some(now + unit.longest);
                None
            }
            Stage::Program { until: until @ None } => {
                let piece = &job.bytes[usize::from(job.at)..usize::from(job.len.min(job.at + STEP as u16))];
                let at = job.address + u32::from(job.at);
                let mut found = [0; STEP];
                let found = &mut found[..piece.len()];
                if self.port.read(at, found) && found == piece {
                    Some(Ok(()))
                } else {
                    self.port.start_program(at, piece);
                    *until = Some(now + Span(piece.len() as u64 * flash.program_longest.0));
                    None
                }
            }
            Stage::Erase { until: Some(until), .. } | Stage::Program { until: Some(until) } => {
                match self.port.flash_poll() {
                    FlashState::Busy if now < *until => {
                        return Poll { wake: Wake::At(*until), work: Work::None };
                    }
                    FlashState::Busy | FlashState::Failed(_) => Some(Err(Refusal::Flash)),
                    FlashState::Idle => job.advance(&mut self.port),
                }
            }
        };
        if let Some(outcome) = outcome {
            let detail = job.address;
            self.write = None;
            let opcode = Control::BlockEnd { kind: BlockKind::Identity, len: 0, crc: 0 }.opcode();
            self.out.reply(&Reply::Done { opcode, refusal: outcome.err(), detail });
        }
        Poll { wake: Wake::Now, work: Work::Copy(STEP as u32) }
    }
}

impl WriteJob {
    /// A flash operation has ended: read back, go on, or be done.
    fn advance(&mut self, port: &mut impl NodePort) -> Option<Result<(), Refusal>> {
        if matches!(self.stage, Stage::Erase { .. }) {
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

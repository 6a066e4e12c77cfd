//! After the image: identity, option bytes, readout protection and the proof of it, start of the application.
//!
//! The order is the engine's. An identity is written where it was reserved for, read back and compared; option bytes
//! are written where they differ and read again after the restart that loads them; the lock comes last, after the
//! board has said once more who it is, and counts only when a board that was started anew answers and refuses to be
//! read. Messages say where bytes of an identity differ, never which: it may hold a key.

use panel_codes::Code;
use panel_protocol::node::Uid;
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::device::{Family, OptionBytes, RdpLevel};
use stm32_rom_bootloader::{
    EraseChoice, Error, Finish, Go, Info, LineAction, LineResult, OptionsWritten, Protect, Protection,
    ProveReadout, ReadoutProof, Resume, SharedImage, WriteOptionsShared,
};

use super::{Answers, Attempt, Doing, Goal, Output};
use crate::event::Step;
use crate::finishing::{first_difference, merge};
use crate::rom::explain::{explain, plan_code};
use crate::rom::session::{Outcome, Session};

/// Times a board that should be locked is started anew before it counts as not proven.
const PROOFS: u8 = 3;

impl Attempt {
    /// The image is there and was read back.
    pub(super) fn programmed(&mut self) {
        // Where nothing follows the image, the session has started what was to be started.
        if self.work.goal == Goal::LoadAgent || self.work.extras.is_empty() {
            self.end(Ok(()));
        } else {
            self.write_identity();
        }
    }

    fn write_identity(&mut self) {
        let Some(place) = self.work.extras.place else {
            self.set_options();
            return;
        };
        self.begin(Step::Identity);
        let Some(bytes) = self.identity.take() else {
            self.fail(Code::IdentityWriteFailed, "none was reserved for this board");
            return;
        };
        if bytes.len() > place.length as usize {
            let text = format!("{} bytes, and its place has {}", bytes.len(), place.length);
            self.fail(Code::IdentityWriteFailed, text);
            return;
        }
        let erase = if place.may_erase { EraseChoice::Touched } else { EraseChoice::Nothing };
        let bytes = bytes.padded(self.work.extras.unit.max(1));
        let image = SharedImage::new(vec![(place.address, bytes.to_vec())]);
        match image.and_then(|image| image.plan(self.device(), &self.plan_options(erase))) {
            Err(error) => self.fail(plan_code(&error), error.to_string()),
            // What is there is read first: only a place that holds something else is erased.
            Ok(job) => self.write(Doing::WritingIdentity, job, Resume::Compare, Finish::Stay),
        }
    }

    pub(super) fn identity_written(&mut self) {
        self.queue.push_back(Output::IdentityWritten);
        self.set_options();
    }

    /// Option bytes are written where they differ from what was read when the board was found.
    fn set_options(&mut self) {
        if self.work.extras.options.is_empty() {
            self.lock();
            return;
        }
        self.begin(Step::Options);
        let found = self.info.as_ref().and_then(|info| info.option_bytes.value().cloned());
        let block = match self.device().option_bytes {
            OptionBytes::Memory([area, ..]) => area.len() as usize,
            _ => 0,
        };
        let Some(mut bytes) = found.filter(|found| block > 0 && found.len() >= block) else {
            self.fail(Code::OptionBytesFailed, "the ROM does not give out the option bytes");
            return;
        };
        bytes.truncate(block);
        let Some(text) = first_difference(&self.work.extras.options, &bytes, 0) else {
            self.lock();
            return;
        };
        self.queue.push_back(Output::Note("options", text));
        merge(&self.work.extras.options, &mut bytes, 0);
        complement(self.device().family, &mut bytes);
        self.doing = Doing::WritingOptions;
        let write = WriteOptionsShared { block: 0, data: bytes };
        self.session = Some(Session::new(write, Outcome::Options, &self.connected(), self.now));
    }

    /// The board has loaded them and was asked again.
    pub(super) fn options_written(&mut self, written: OptionsWritten) {
        let Some(after) = written.after else {
            self.fail(
                Code::OptionBytesFailed,
                "after the restart they cannot be read: it is readout protected",
            );
            return;
        };
        if let Some(text) = first_difference(&self.work.extras.options, &after, 0) {
            self.fail(Code::OptionBytesFailed, format!("after the restart {text}"));
            return;
        }
        if let Some(info) = &mut self.info {
            info.identity = written.identity;
        }
        self.lock();
    }

    /// Last of all the readout protection; before that the board says once more who it is.
    fn lock(&mut self) {
        if !self.work.extras.lock {
            self.start();
            return;
        }
        self.begin(Step::Lock);
        self.inspect(Doing::Binding);
    }

    pub(super) fn bound(&mut self, info: Info) {
        let now = info.uid.value().copied().map(Uid);
        if self.is_another(now) {
            return;
        }
        self.info = Some(info);
        self.doing = Doing::Locking;
        self.lock_sent = true;
        let protect = Protect { protection: Protection::Readout };
        self.session = Some(Session::new(protect, |_| Outcome::Protected, &self.connected(), self.now));
    }

    /// Fails if another board answers than the one that was programmed.
    fn is_another(&mut self, now: Option<Uid>) -> bool {
        let was = self.uid.or(self.work.uid);
        if now == was {
            return false;
        }
        let name =
            |uid: Option<Uid>| uid.map_or_else(|| "a board without UID".to_owned(), |uid| uid.to_string());
        self.fail(Code::Rebound, format!("was {}, now {}", name(was), name(now)));
        true
    }

    /// A board that was programmed over its bus is in its ROM again.
    pub(super) fn looked_again(&mut self, protected: bool, uid: Option<Uid>) {
        if protected {
            self.fail(Code::RomProtected, "readout protection is set, and nobody here has set it");
        } else if !self.is_another(uid) {
            self.set_options();
        }
    }

    /// The protection is set; the board starts anew and has to show it.
    pub(super) fn locked(&mut self) {
        self.begin(Step::ProveLock);
        if self.link.changes_rate() {
            self.doing = Doing::BackToFirstRate;
            self.queue.push_back(Output::Line(LineAction::BitRate(stm32::CanRate::Kbit125)));
        } else {
            self.prove(LineResult::Done);
        }
    }

    pub(super) fn prove(&mut self, rate: LineResult) {
        if rate == LineResult::Unavailable {
            self.fail(Code::LockNotProven, "the adapter cannot change its bit rate");
            return;
        }
        self.proofs += 1;
        self.doing = Doing::Proving;
        self.session = Some(Session::new(ProveReadout, Outcome::Proof, &self.link, self.now));
    }

    pub(super) fn proved(&mut self, proof: &ReadoutProof) {
        let ReadoutProof { get_id, address, read, refused, readout, .. } = proof;
        if *refused {
            let answers = Answers { get_id: get_id.clone(), address: *address, read: read.clone() };
            self.queue.push_back(Output::LockProved(answers));
            self.start();
            return;
        }
        let doubt = self.doubt.as_ref().map_or_else(String::new, |doubt| format!("; {doubt}"));
        if *readout == Some(RdpLevel::Zero) {
            let text = format!("level 1 was set, level 0 is reported after the restart{doubt}");
            self.fail(Code::LockFailed, text);
        } else {
            let text = format!("flash at {address:#010x} could be read after the lock{doubt}");
            self.fail(Code::LockNotProven, text);
        }
    }

    /// Nothing is left to be set: the application starts, if the job says so.
    fn start(&mut self) {
        let Some(address) = self.work.start else {
            self.end(Ok(()));
            return;
        };
        self.begin(Step::Start);
        if self.work.extras.lock {
            // A protected chip refuses Go (AN3155, section 3.5).
            self.doing = Doing::StartedByReset;
            self.queue.push_back(Output::Line(LineAction::StartApplication));
        } else {
            self.doing = Doing::Starting;
            self.session =
                Some(Session::new(Go { address }, |_| Outcome::Started, &self.connected(), self.now));
        }
    }

    pub(super) fn started_by_reset(&mut self, result: LineResult) {
        match result {
            LineResult::Done => self.end(Ok(())),
            LineResult::Unavailable => {
                self.fail(Code::RomPowerCycle, "the fixture cannot reset the board into its application");
            }
        }
    }

    /// What a session's error means for the step it happened in; `false` where the error says it all.
    pub(super) fn finish_failed(&mut self, error: &Error) -> bool {
        let refused = matches!(
            error,
            Error::Refused { .. }
                | Error::NotListed { .. }
                | Error::BadArgument { .. }
                | Error::Protected { .. }
        );
        let silent = matches!(error, Error::NoAnswer { .. } | Error::TimedOut { .. } | Error::Garbled { .. });
        match self.doing {
            Doing::WritingIdentity => return self.identity_failed(error),
            Doing::WritingOptions if refused || silent => {
                self.fail(Code::OptionBytesFailed, error.to_string());
            }
            Doing::Locking if refused => self.fail(Code::LockFailed, error.to_string()),
            // Whether it is locked now is for its proof to say.
            Doing::Locking => {
                self.doubt = Some(error.to_string());
                self.queue.push_back(Output::Note("lock", error.to_string()));
                self.locked();
            }
            Doing::Proving if self.proofs < PROOFS && explain(error) != Code::Interrupted => {
                self.queue.push_back(Output::Note("lock", format!("proof {}: {error}", self.proofs)));
                self.locked();
            }
            Doing::Proving => {
                let text = format!("{} restarts, last: {error}", self.proofs);
                self.fail(Code::LockNotProven, text);
            }
            _ => return false,
        }
        true
    }

    fn identity_failed(&mut self, error: &Error) -> bool {
        match error {
            Error::VerifyFailed { address, .. } => {
                self.fail(Code::IdentityMismatch, format!("differs from {address:#010x} on"));
            }
            Error::NotBlank { address, .. } => {
                let text = format!("flash at {address:#010x} is not blank and may not be erased");
                self.fail(Code::IdentityWriteFailed, text);
            }
            Error::Refused { .. } | Error::WriteProtected { .. } | Error::Protected { .. } => {
                self.fail(Code::IdentityWriteFailed, error.to_string());
            }
            _ => return false,
        }
        true
    }
}

/// The ROM writes what it is given: complements have to be right. F1 has one beside each byte (PM0075, 2.6); G0, G4
/// and L4 have one beside each word (RM0444, RM0440, RM0351, "Option bytes"); F4 has none.
fn complement(family: Family, bytes: &mut [u8]) {
    let width = match family {
        Family::F1 => 1,
        Family::G0 | Family::G4 | Family::L4 => 4,
        _ => return,
    };
    for pair in bytes.chunks_exact_mut(2 * width) {
        let (value, complement) = pair.split_at_mut(width);
        complement.iter_mut().zip(value).for_each(|(c, v)| *c = !*v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finishing::OptionWrite;

    #[test]
    fn declared_bits_are_set_and_complements_follow() {
        let option = OptionWrite {
            name: "DATA0".to_owned(),
            offset: 4,
            bytes: vec![0x5A],
            mask: vec![0xFF],
            protects_to: None,
        };
        let mut f1 = [0xA5, 0x5A, 0xFF, 0x00, 0xFF, 0x00, 0xFF, 0x00];
        let text = first_difference(core::slice::from_ref(&option), &f1, 0).expect("differs");
        assert_eq!(text, "DATA0 at offset 4: 0x5a wanted, 0xff found");
        merge(core::slice::from_ref(&option), &mut f1, 0);
        complement(Family::F1, &mut f1);
        assert_eq!(f1, [0xA5, 0x5A, 0xFF, 0x00, 0x5A, 0xA5, 0xFF, 0x00]);
        assert_eq!(first_difference(&[option], &f1, 0), None);
        let mut g4 = [0xAA, 0xF8, 0xFF, 0xFF, 0, 0, 0, 0];
        complement(Family::G4, &mut g4);
        assert_eq!(g4, [0xAA, 0xF8, 0xFF, 0xFF, 0x55, 0x07, 0, 0]);
        let mut f4 = [0xEF, 0xAA, 0xFF, 0xFF];
        complement(Family::F4, &mut f4);
        assert_eq!(f4, [0xEF, 0xAA, 0xFF, 0xFF]);
    }
}

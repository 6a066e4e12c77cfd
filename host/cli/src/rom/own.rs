//! What a recovered board gets beside its image: its identity, option bytes, protection; and its start.
//!
//! Each is proven by what the chip says afterwards: the identity is read back and compared, option bytes are read
//! after they were loaded, and a locked chip, connected anew, must refuse to be read. Steps of [`Attempt`].

use panel_codes::Code;
use panel_engine::{Event, IdentityBytes, LockProof, OptionWrite, RestartedBy, Step};
use panel_protocol::node::Uid;
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::device::{Family, OptionBytes};
use stm32_rom_bootloader::{
    Compare, Go, Info, Inspect, Plan, Program, Protect, Protection, ProveReadout, Resume, Verify,
    WriteOptions,
};

use super::attempt::{Attempt, Found, Link, Overseer};
use super::plan_failure;
use crate::failure::Failure;

/// The identity of one board, and how it lies on the chip.
pub(super) struct Own {
    at: u32,
    bytes: IdentityBytes,
    plan: Plan,
}

impl Own {
    fn region(&self) -> stm32::Region<'_> {
        stm32::Region { address: self.at, data: &self.bytes }
    }

    /// Whether an erase unit of its place is one of this plan too.
    fn shares_with(&self, plan: &Plan) -> bool {
        self.plan.units().iter().any(|unit| plan.allows_erase(unit.index))
    }
}

impl<L: Link, V: Overseer> Attempt<'_, L, V> {
    /// Has the identity of this chip reserved, before the first byte of anything is erased.
    pub(super) fn reserve(&mut self, info: &Info) -> Result<Option<Own>, Failure> {
        let Some(uid) = info.uid.value() else { return Ok(None) };
        self.begin(Step::Reserve)?;
        let reserved = self.overseer.reserve(Uid(*uid))?;
        self.done.serial.clone_from(&reserved.serial);
        self.overseer.tell(reserved.event(self.work.slot))?;
        self.end_step(true)?;
        let (Some(bytes), Some(at)) = (reserved.identity, self.work.identity_at) else { return Ok(None) };
        let image = stm32::Image::new([stm32::Region { address: at, data: &bytes }]);
        let plan = self.plan(info, &image.map_err(|e| plan_failure(&e))?)?;
        Ok(Some(Own { at, bytes, plan }))
    }

    /// Whether the identity can be written without erasing anything of the image that is in the chip. What it would
    /// take the place of is asked for.
    pub(super) fn is_clear(&mut self, own: &Own, plan: &Plan, there: bool) -> Result<bool, Failure> {
        if self.done.unprotected || !there && own.shares_with(plan) {
            return Ok(true);
        }
        let image = stm32::Image::new([own.region()]).map_err(|e| plan_failure(&e))?;
        let compared = self.run(Compare { plan: &own.plan, image: &image })?;
        if compared.other == 0 {
            return Ok(true);
        }
        let shared = own.shares_with(plan);
        self.found(Found::OtherIdentity, Some(if shared { plan } else { &own.plan }))?;
        Ok(!shared)
    }

    /// Writes the identity where it is not there yet, reads it back and compares it.
    pub(super) fn write_identity(&mut self, own: &Own) -> Result<(), Failure> {
        self.begin(Step::Identity)?;
        let image = stm32::Image::new([own.region()]).map_err(|e| plan_failure(&e))?;
        let mut program = Program::new(&own.plan, &image);
        program.resume = Resume::Compare;
        let as_identity = |code| move |failure: Failure| recoded(failure, code);
        self.run(program).map_err(as_identity(Code::IdentityWriteFailed))?;
        self.run(Verify { plan: &own.plan, image: &image }).map_err(as_identity(Code::IdentityMismatch))?;
        self.overseer.tell(Event::IdentityWritten { slot: self.work.slot })?;
        self.done.identity_restored = true;
        self.end_step(true)
    }

    /// Sets the option bytes that differ from what is asked for.
    pub(super) fn set_options(&mut self) -> Result<(), Failure> {
        if self.work.options.is_empty() {
            return Ok(());
        }
        self.begin(Step::Options)?;
        let info: Info = self.run(Inspect)?;
        let bad = |text: String| Failure::with_exit(Code::OptionBytesFailed, text, 1);
        let device = info.identity.device.unwrap_or(self.work.device);
        let (Some(there), OptionBytes::Memory([area, ..])) = (info.option_bytes.value(), device.option_bytes)
        else {
            return Err(bad(format!("{} does not give out its option bytes through its ROM", device.name)));
        };
        let len = there.len().min(area.len() as usize).min(256);
        let mut wanted = there[..len].to_vec();
        for write in self.work.options {
            apply(&mut wanted, write)
                .ok_or_else(|| bad(format!("{}: outside the option bytes of {}", write.name, device.name)))?;
        }
        if matches!(device.family, Family::F0 | Family::F1 | Family::F3) {
            complement(&mut wanted);
        }
        if wanted != there[..len] {
            let write = WriteOptions { block: 0, data: &wanted, irreversible: false };
            let after = self.run(write).map_err(|failure| recoded(failure, Code::OptionBytesFailed))?.after;
            let after = after.unwrap_or_default();
            if let Some(write) = self.work.options.iter().find(|write| !holds(&after, write)) {
                return Err(bad(format!("{} reads back different: {}", write.name, hex::encode(&after))));
            }
            self.done.options_written = true;
        }
        self.end_step(true)
    }

    /// Sets readout protection and has the chip, connected anew, refuse to be read.
    pub(super) fn lock(&mut self) -> Result<(), Failure> {
        self.begin(Step::Lock)?;
        self.run(Protect { protection: Protection::Readout })?;
        self.begin(Step::ProveLock)?;
        self.identity = None;
        let found = self.run(ProveReadout)?;
        if !found.refused {
            let text =
                format!("readout protection was set, and flash at {:#010x} can still be read", found.address);
            return Err(Failure::with_exit(Code::LockNotProven, text, 1));
        }
        let proof = LockProof {
            level: panel_protocol::node::Protection::Level1,
            found_locked: false,
            restarted_by: Some(RestartedBy::Reset),
            identify: found.get_id,
            read_address: found.address,
            read: found.read,
        };
        self.overseer.tell(Event::LockProved { slot: self.work.slot, proof })?;
        self.done.locked = true;
        self.end_step(true)
    }

    /// Starts the application, if that is asked for.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let Some(address) = self.work.start else { return Ok(()) };
        self.begin(Step::Start)?;
        self.run(Go { address })?;
        self.done.needs_power_cycle = false;
        self.end_step(true)
    }
}

/// A board's failure under the code of the step; the station's and the operator's keep theirs.
fn recoded(failure: Failure, code: Code) -> Failure {
    let of_the_board = matches!(
        failure.code,
        Code::VerifyMismatch | Code::RomRefused | Code::RomWriteProtected | Code::ProgramFailed
    );
    if of_the_board { Failure::with_exit(code, failure.message, 1) } else { failure }
}

/// Sets the bits of one write; `None` if they are not all there.
fn apply(bytes: &mut [u8], write: &OptionWrite) -> Option<()> {
    let from = usize::from(write.offset);
    let place = bytes.get_mut(from..from + write.bytes.len())?;
    for ((byte, wanted), mask) in place.iter_mut().zip(&write.bytes).zip(&write.mask) {
        *byte = (*byte & !mask) | (wanted & mask);
    }
    Some(())
}

/// Whether these option bytes have the bits of one write.
fn holds(bytes: &[u8], write: &OptionWrite) -> bool {
    let mut wanted = bytes.to_vec();
    apply(&mut wanted, write).is_some() && wanted == bytes
}

/// Option half-words of F0, F1 and F3: the high byte is the complement of the low one (PM0075, 2.5).
fn complement(bytes: &mut [u8]) {
    for pair in bytes.chunks_exact_mut(2) {
        pair[1] = !pair[0];
    }
}

//! One attempt at one board through its ROM bootloader, from the first byte to a verdict.
//!
//! Every effect is told as an engine event first, so that it is recorded before it happens; an attempt whose
//! records fail stops there. Used by `recover`: the board is looked at, and asked for, before anything is destroyed.
//! Batch runs do neither and have the engine's attempt. The order is that of a run: image, verify, identity, option
//! bytes, lock, proof, start; all but the image is in `own`.

use std::time::Duration;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_engine::{Event, OptionWrite, Reserved, Step, Verdict};
use panel_protocol::node::Uid;
use panel_protocol::reply::ImageState;
use serde::Serialize;
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{
    Compare, Compared, Device, EraseChoice, Field, Identity, Info, Inspect, Operation, Plan, PlanOptions,
    Program, Protect, Protection,
};

use super::plan_failure;
use crate::failure::Failure;

/// A chip that was interrupted while it erased everything is silent until it has done so. Erasing 1 MiB takes an
/// F4 up to 16 s by its datasheet, and larger ones twice that.
pub(crate) const STILL_ERASING: Duration = Duration::from_secs(35);

/// Somebody who carries out operations on one chip, one after the other.
pub(crate) trait Link {
    /// Runs one operation to its end; `connected` is the chip if an earlier operation has found it.
    fn run<'a, O: Operation<'a>>(
        &mut self,
        operation: O,
        connected: Option<&Identity>,
        on_event: &mut dyn FnMut(&stm32::Event),
    ) -> Result<O::Outcome, Failure>
    where
        O::Outcome: 'a;
}

/// What is to be done.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) slot: Slot,
    pub(crate) device: &'static Device,
    pub(crate) image: &'a stm32::Image<'a>,
    /// Start the application whose vector table is there.
    pub(crate) start: Option<u32>,
    pub(crate) voltage: Option<stm32::device::SupplyVoltage>,
    /// Where the board's identity goes, if it gets one.
    pub(crate) identity_at: Option<u32>,
    /// Option bytes to set.
    pub(crate) options: &'a [OptionWrite],
    /// Set readout protection level 1 when everything is right, and prove it.
    pub(crate) lock: bool,
}

/// The state a board was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Found {
    Blank,
    Protected,
    WriteProtected,
    HalfWritten,
    ThisRelease,
    OtherIdentity,
    OtherContents,
}

impl Found {
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Blank => "blank where the release belongs",
            Self::Protected => "readout protected: nothing of it can be read",
            Self::WriteProtected => "write protected: it says that it was written, and stays as it was",
            Self::HalfWritten => "half-written: parts of this release are there, parts are missing",
            Self::ThisRelease => "holds this release, whole",
            Self::OtherIdentity => "holding something else where its identity belongs",
            Self::OtherContents => "holds something else: another release, or data",
        }
    }
}

/// Whoever decides and writes down.
pub(crate) trait Overseer {
    /// Makes an event durable.
    ///
    /// # Errors
    /// Why the attempt must stop.
    fn tell(&mut self, event: Event) -> Result<(), Failure>;
    /// Whether a board found so may be gone on with.
    ///
    /// # Errors
    /// The refusal.
    fn may(&mut self, found: Found, plan: Option<&Plan>) -> Result<(), Failure>;
    /// The identity that belongs to this chip, durably reserved; the default if it has none.
    ///
    /// # Errors
    /// Why this chip gets none and must be left alone.
    fn reserve(&mut self, uid: Uid) -> Result<Reserved, Failure>;
    /// Progress of the session, for the screen.
    fn watch(&mut self, event: &stm32::Event);
}

/// What came of an attempt that succeeded.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Done {
    pub(crate) chip: String,
    pub(crate) uid: Option<String>,
    pub(crate) found: Option<Found>,
    pub(crate) units_erased: usize,
    pub(crate) blocks_written: usize,
    pub(crate) unprotected: bool,
    pub(crate) write_protection_lifted: bool,
    /// The serial number of the identity that is in the board now.
    pub(crate) serial: Option<String>,
    pub(crate) identity_restored: bool,
    pub(crate) options_written: bool,
    pub(crate) locked: bool,
    pub(crate) needs_power_cycle: bool,
}

/// Carries out attempt `number`. The verdict has been told in either case.
pub(crate) fn attempt(
    link: &mut impl Link,
    work: &Work<'_>,
    number: u8,
    overseer: &mut impl Overseer,
) -> Result<Done, Failure> {
    let slot = work.slot;
    overseer.tell(Event::Attempt { slot, number })?;
    let mut attempt = Attempt { link, work, overseer, step: None, identity: None, done: Done::default() };
    let verdict = match attempt.carry_out() {
        Ok(()) => Verdict::pass(),
        Err(failure) => {
            let step = attempt.step.unwrap_or(Step::Discover);
            // A step that cannot be closed because records fail has its reason told below already.
            _ = attempt.end_step(false);
            let verdict = Verdict::failure(failure.code, step, failure.message.clone());
            overseer.tell(Event::Ended { slot, verdict, again: false })?;
            return Err(failure);
        }
    };
    let done = attempt.done;
    overseer.tell(Event::Ended { slot, verdict, again: false })?;
    Ok(done)
}

pub(super) struct Attempt<'w, L, V> {
    link: &'w mut L,
    pub(super) work: &'w Work<'w>,
    pub(super) overseer: &'w mut V,
    step: Option<Step>,
    /// The chip, while the connection to it stands.
    pub(super) identity: Option<Identity>,
    pub(super) done: Done,
}

impl<L: Link, V: Overseer> Attempt<'_, L, V> {
    fn carry_out(&mut self) -> Result<(), Failure> {
        self.begin(Step::Discover)?;
        let mut info = self.inspect()?;
        self.begin(Step::Identify)?;
        self.check(&info)?;
        self.identified(&info)?;
        if info.identity.protected == Some(true) {
            self.found(Found::Protected, None)?;
            // The chip will not tell its UID before everything is gone.
            self.begin(Step::Program)?;
            let protection = Protection::LiftReadoutErasingAll;
            self.run(Protect { protection })?;
            self.done.unprotected = true;
            self.identity = None;
            info = self.inspect()?;
            self.identified(&info)?;
        }
        let plan = self.plan(&info, self.work.image)?;
        let there = !self.done.unprotected && self.is_there(&plan)?;
        let identity = self.reserve(&info)?;
        let clear = match &identity {
            Some(own) => self.is_clear(own, &plan, there)?,
            None => true,
        };
        if !there || !clear {
            self.program_or_open(&plan)?;
        }
        if let Some(own) = &identity {
            self.write_identity(own)?;
        }
        self.set_options()?;
        if self.work.lock { self.lock() } else { self.start() }
    }

    /// Programs; if flash turns out to be write protected, asks, lifts that and programs again.
    fn program_or_open(&mut self, plan: &Plan) -> Result<(), Failure> {
        match self.program(plan, false) {
            Err(failure) if failure.code == Code::RomWriteProtected => {
                self.end_step(false)?;
                self.found(Found::WriteProtected, Some(plan))?;
                self.done.write_protection_lifted = true;
                self.program(plan, true)
            }
            other => other,
        }
    }

    pub(super) fn run<'a, O: Operation<'a>>(&mut self, operation: O) -> Result<O::Outcome, Failure>
    where
        O::Outcome: 'a,
    {
        let overseer = &mut *self.overseer;
        self.link.run(operation, self.identity.as_ref(), &mut |event| overseer.watch(event))
    }

    pub(super) fn inspect(&mut self) -> Result<Info, Failure> {
        let info = self.run(Inspect)?;
        self.identity = Some(info.identity.clone());
        Ok(info)
    }

    fn check(&mut self, info: &Info) -> Result<(), Failure> {
        let got = info.identity.product_id;
        self.done.chip = super::chip_name(&info.identity);
        let expected = self.work.device;
        match info.identity.device {
            None => {
                let text = format!(
                    "unknown product ID {got:#05x}, expected {:#05x}; --force-device NAME treats it as a known chip",
                    expected.product_id
                );
                Err(Failure::with_exit(Code::RomUnknownChip, text, 1))
            }
            Some(device) if device.product_id != expected.product_id => {
                let text = format!(
                    "expected {} (product ID {:#05x}), got {} ({got:#05x})",
                    expected.name, expected.product_id, device.name
                );
                Err(Failure::with_exit(Code::WrongChip, text, 1))
            }
            Some(_) => Ok(()),
        }
    }

    /// Without a UID there is no record of a unit, and without a record no PASS. A protected chip says it later.
    fn identified(&mut self, info: &Info) -> Result<(), Failure> {
        match info.uid {
            Field::Value(uid) => {
                self.done.uid = Some(hex::encode_upper(uid));
                self.overseer.tell(Event::Identified { slot: self.work.slot, uid: Uid(uid) })
            }
            _ if info.identity.protected == Some(true) => Ok(()),
            _ => {
                let text = "this ROM version does not give out the UID, without which there is no record; \
                            `panelflash rom write` needs none";
                Err(Failure::with_exit(Code::RomUnsupported, text, 1))
            }
        }
    }

    pub(super) fn plan(&self, info: &Info, image: &stm32::Image<'_>) -> Result<Plan, Failure> {
        let id = &info.identity;
        let options = PlanOptions {
            flash_kib: info.flash_kib.value().copied(),
            bootloader_id: id.bootloader_id,
            erase: EraseChoice::Touched,
            voltage: self.work.voltage,
            ..PlanOptions::default()
        };
        let device = id.device.unwrap_or(self.work.device);
        Plan::new(device, image, &options).map_err(|e| plan_failure(&e))
    }

    /// Whether the release is in the chip already; if not, whether it may be put there.
    fn is_there(&mut self, plan: &Plan) -> Result<bool, Failure> {
        let compared = self.run(Compare { plan, image: self.work.image })?;
        let found = classify(&compared, plan);
        let same = found == Found::ThisRelease;
        let state = if same { ImageState::Valid } else { ImageState::Incomplete };
        self.overseer.tell(Event::ImageFound { slot: self.work.slot, state, same })?;
        self.found(found, Some(plan))?;
        if same {
            // All of it was read back just now.
            self.begin(Step::Verify)?;
            self.end_step(true)?;
        }
        Ok(same)
    }

    pub(super) fn found(&mut self, found: Found, plan: Option<&Plan>) -> Result<(), Failure> {
        self.done.found = Some(found);
        let text = found.describe().to_owned();
        self.overseer.tell(Event::Note { slot: Some(self.work.slot), topic: "found", text })?;
        self.overseer.may(found, plan)
    }

    fn program(&mut self, plan: &Plan, lift_write_protection: bool) -> Result<(), Failure> {
        self.begin(Step::Program)?;
        let mut program = Program::new(plan, self.work.image);
        program.unprotect_write = lift_write_protection;
        let (slot, overseer, current) = (self.work.slot, &mut *self.overseer, &mut self.step);
        let mut records = Ok(());
        let outcome = self.link.run(program, self.identity.as_ref(), &mut |event| {
            overseer.watch(event);
            let next = match event {
                stm32::Event::Step(stm32::Step::Verify) => Step::Verify,
                _ => return,
            };
            if let (Some(step), true) = (current.replace(next), records.is_ok()) {
                records = overseer
                    .tell(Event::StepEnded { slot, step, ok: true })
                    .and_then(|()| overseer.tell(Event::StepBegan { slot, step: next }));
            }
        })?;
        records?;
        self.end_step(true)?;
        self.done.units_erased = outcome.units_erased;
        self.done.blocks_written = outcome.blocks_written;
        self.done.needs_power_cycle = outcome.needs_power_cycle;
        Ok(())
    }

    pub(super) fn begin(&mut self, step: Step) -> Result<(), Failure> {
        if self.step == Some(step) {
            return Ok(());
        }
        self.end_step(true)?;
        self.step = Some(step);
        self.overseer.tell(Event::StepBegan { slot: self.work.slot, step })
    }

    pub(super) fn end_step(&mut self, ok: bool) -> Result<(), Failure> {
        match self.step.take() {
            Some(step) => self.overseer.tell(Event::StepEnded { slot: self.work.slot, step, ok }),
            None => Ok(()),
        }
    }
}

fn classify(compared: &Compared, plan: &Plan) -> Found {
    // Blank blocks of the image count as planned in a blank chip too: they say nothing.
    let telling = compared.as_planned.saturating_sub(plan.blank_blocks().len());
    match (telling, compared.blank, compared.other) {
        (_, 0, 0) => Found::ThisRelease,
        (0, _, 0) => Found::Blank,
        (0, _, _) | (_, 0, _) => Found::OtherContents,
        _ => Found::HalfWritten,
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;

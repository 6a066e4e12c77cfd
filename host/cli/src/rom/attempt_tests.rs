//! Recoveries against a simulated chip in virtual time, cut at every frame and at seeded bytes.

use std::time::Duration;

use panel_engine::Outcome;
use rom_simulator::{Protection as Level, Settings, catalog};

use super::*;
use crate::rom::virtual_port::VirtualPort;

const FLASH: u32 = 0x0800_0000;

/// Four blocks of data, one blank, three more: 2 KiB in the first sector of an F405.
fn firmware() -> Vec<u8> {
    let data =
        (0..2048u32).map(|at| if (1024..1280).contains(&at) { 0xFF } else { (at * 7 + at / 256) as u8 });
    data.collect()
}

#[derive(Default)]
struct Judge {
    yes: bool,
    events: Vec<Event>,
    found: Vec<Found>,
    /// What the ledger has for the board.
    identity: Option<Vec<u8>>,
}

impl Overseer for Judge {
    fn tell(&mut self, event: Event) -> Result<(), Failure> {
        self.events.push(event);
        Ok(())
    }

    fn may(&mut self, found: Found, _: Option<&Plan>) -> Result<(), Failure> {
        self.found.push(found);
        let refused = Failure::with_exit(Code::RomNoConsent, "no", 2);
        if self.yes || found == Found::ThisRelease { Ok(()) } else { Err(refused) }
    }

    fn reserve(&mut self, _: Uid) -> Result<Reserved, Failure> {
        Ok(Reserved { identity: self.identity.clone().map(Into::into), ..Reserved::default() })
    }

    fn watch(&mut self, _: &stm32::Event) {}
}

fn port() -> VirtualPort {
    let model = catalog::find("F405").expect("simulated");
    let mut port = VirtualPort::new(model, 115_200, Duration::ZERO, &Settings::default());
    port.settings.limits.connect = STILL_ERASING;
    port
}

fn work<'a>(image: &'a stm32::Image<'a>) -> Work<'a> {
    Work {
        slot: Slot(1),
        device: Device::find(0x413, None).expect("in the table"),
        image,
        start: None,
        voltage: None,
        identity_at: None,
        options: &[],
        lock: false,
    }
}

fn recover(port: &mut VirtualPort, data: &[u8], yes: bool) -> (Result<Done, Failure>, Judge) {
    let image = stm32::Image::new([stm32::Region { address: FLASH, data }]).expect("image");
    let work = work(&image);
    let mut judge = Judge { yes, ..Judge::default() };
    (attempt(port, &work, 1, &mut judge), judge)
}

fn outcome(judge: &Judge) -> Option<Outcome> {
    judge.events.iter().rev().find_map(|event| match event {
        Event::Ended { verdict, .. } => Some(verdict.outcome),
        _ => None,
    })
}

#[test]
fn every_state_of_a_board_is_named() {
    let mut port = port();
    let state = |port: &mut VirtualPort| recover(port, &firmware(), false).1.found;
    assert_eq!(state(&mut port), [Found::Blank]);
    port.chip_mut().flash_mut().preload(0, &firmware()[..700]);
    assert_eq!(state(&mut port), [Found::HalfWritten]);
    port.chip_mut().flash_mut().preload(0, &firmware());
    assert_eq!(state(&mut port), [Found::ThisRelease]);
    port.chip_mut().flash_mut().preload(0, &[0x12; 4096]);
    assert_eq!(state(&mut port), [Found::OtherContents]);
    port.chip_mut().set_protection(Level::Level1);
    assert_eq!(state(&mut port), [Found::Protected]);
}

#[test]
fn without_consent_nothing_is_changed_and_the_attempt_has_its_verdict() {
    for level1 in [false, true] {
        let mut port = port();
        port.chip_mut().flash_mut().preload(0, &[0x12; 4096]);
        if level1 {
            port.chip_mut().set_protection(Level::Level1);
        }
        let before = port.chip_mut().flash().bytes().to_vec();
        let (result, judge) = recover(&mut port, &firmware(), false);
        assert_eq!(result.expect_err("refused").code, Code::RomNoConsent);
        assert_eq!(outcome(&judge), Some(Outcome::Error));
        assert_eq!(port.chip_mut().flash().bytes(), before);
    }
}

#[test]
fn a_protected_board_is_erased_programmed_and_identified() {
    let mut port = port();
    port.chip_mut().set_protection(Level::Level1);
    let (result, judge) = recover(&mut port, &firmware(), true);
    let done = result.expect("recovered");
    assert!(done.unprotected && done.uid.is_some());
    assert_eq!(outcome(&judge), Some(Outcome::Pass));
    assert_eq!(&port.chip_mut().flash().bytes()[..2048], firmware());
}

#[test]
fn a_chip_of_another_kind_is_left_alone() {
    let model = catalog::find("F103").expect("simulated");
    let mut port = VirtualPort::new(model, 115_200, Duration::ZERO, &Settings::default());
    let (result, judge) = recover(&mut port, &firmware(), true);
    assert_eq!(result.expect_err("wrong").code, Code::WrongChip);
    assert_eq!(outcome(&judge), Some(Outcome::Fail));
    assert!(port.chip_mut().flash().bytes().iter().all(|b| *b == 0xFF));
}

#[test]
fn a_chip_of_unknown_product_id_is_named_and_can_be_declared_to_be_a_known_one() {
    let f405 = catalog::find("F405").expect("simulated");
    let model = Box::leak(Box::new(rom_simulator::Model { product_id: 0xABC, ..f405.clone() }));
    let mut port = VirtualPort::new(model, 115_200, Duration::ZERO, &Settings::default());
    let (result, judge) = recover(&mut port, &firmware(), true);
    let failure = result.expect_err("unknown");
    assert_eq!(failure.code, Code::RomUnknownChip);
    assert!(failure.message.contains("0xabc") && failure.message.contains("--force-device"), "{failure}");
    assert_eq!(outcome(&judge), Some(Outcome::Fail));
    assert!(port.chip_mut().flash().bytes().iter().all(|b| *b == 0xFF));

    port.settings.chip = stm32::Chip::Force(Device::find(0x413, None).expect("in the table"));
    let (result, _) = recover(&mut port, &firmware(), true);
    assert_eq!(result.expect("recovered").found, Some(Found::Blank));
    assert_eq!(port.chip_mut().flash().bytes()[..2048], firmware());
}

/// Cuts a recovery after `cut` bytes, gives the board back with or without power lost, and recovers again.
fn cut_and_recover(cut: usize, power_lost: bool, protected: bool) {
    let mut port = port();
    port.chip_mut().flash_mut().preload(0, &[0x12; 4096]);
    if protected {
        port.chip_mut().set_protection(Level::Level1);
    }
    port.cut_after = Some(cut);
    let (first, judge) = recover(&mut port, &firmware(), true);
    assert_eq!(first.expect_err("cut").code, Code::PortGone);
    assert_eq!(outcome(&judge), Some(Outcome::Error), "cut after {cut} bytes");
    port.reconnect(power_lost);
    let (second, judge) = recover(&mut port, &firmware(), true);
    if let Err(failure) = second {
        panic!("cut after {cut} bytes, power lost: {power_lost}: {failure}");
    }
    assert_eq!(outcome(&judge), Some(Outcome::Pass));
    assert_eq!(&port.chip_mut().flash().bytes()[..2048], firmware(), "cut after {cut} bytes");
}

#[test]
fn a_recovery_cut_anywhere_is_completed_by_a_second_one() {
    for protected in [false, true] {
        let mut whole = port();
        whole.chip_mut().flash_mut().preload(0, &[0x12; 4096]);
        if protected {
            whole.chip_mut().set_protection(Level::Level1);
        }
        recover(&mut whole, &firmware(), true).0.expect("recovered");
        let last = whole.sent;
        let mut cuts: Vec<usize> = whole.frames.iter().copied().filter(|&end| end < last).collect();
        let mut dice = 0x2545_F491_u32;
        cuts.extend((0..100).map(|_| {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            1 + (dice >> 8) as usize % (last - 1)
        }));
        assert!(cuts.len() > 150, "{} places", cuts.len());
        for (n, cut) in cuts.into_iter().enumerate() {
            cut_and_recover(cut, n % 2 == 0, protected);
            cut_and_recover(cut, n % 2 == 1, protected);
        }
    }
}

#[test]
fn write_protection_is_lifted_after_a_yes_and_not_without_one() {
    for yes in [false, true] {
        let mut port = port();
        let protect = Protect { protection: Protection::Write(vec![0]) };
        port.run(protect, None, &mut |_| {}).expect("protected");
        let (result, judge) = recover(&mut port, &firmware(), yes);
        let expected: &[Found] = if yes { &[Found::Blank, Found::WriteProtected] } else { &[Found::Blank] };
        assert_eq!(judge.found, expected);
        if yes {
            assert!(result.expect("recovered").write_protection_lifted);
            assert_eq!(port.chip_mut().flash().bytes()[..2048], firmware());
        } else {
            assert_eq!(result.expect_err("refused").code, Code::RomNoConsent);
        }
    }
}

#[test]
fn a_board_is_locked_again_if_the_job_says_so_and_proves_it() {
    let data = firmware();
    let image = stm32::Image::new([stm32::Region { address: FLASH, data: &data }]).expect("image");
    let work = Work { start: Some(FLASH), lock: true, ..work(&image) };
    // Once with everything to do, once with nothing but the lock.
    for there in [false, true] {
        let mut port = port();
        if there {
            port.chip_mut().flash_mut().preload(0, &data);
        }
        let mut judge = Judge { yes: true, ..Judge::default() };
        let done = attempt(&mut port, &work, 1, &mut judge).expect("recovered");
        assert!(done.locked && (done.blocks_written == 0) == there);
        assert_eq!(port.chip_mut().protection(), Level::Level1);
        let proved = judge.events.iter().position(|event| matches!(event, Event::LockProved { .. }));
        let ended = judge.events.iter().position(|event| matches!(event, Event::Ended { .. }));
        assert!(proved.is_some() && proved < ended, "{:?}", judge.events);
        let steps: Vec<Step> = judge.events.iter().filter_map(ended_well).collect();
        assert_eq!(steps[steps.len() - 2..], [Step::Lock, Step::ProveLock]);
    }
}

fn ended_well(event: &Event) -> Option<Step> {
    match event {
        Event::StepEnded { step, ok: true, .. } => Some(*step),
        _ => None,
    }
}

/// A recovery with an identity at this offset of flash, and what stands there afterwards.
fn with_identity(port: &mut VirtualPort, at: usize, yes: bool) -> (Result<Done, Failure>, Judge) {
    let data = firmware();
    let image = stm32::Image::new([stm32::Region { address: FLASH, data: &data }]).expect("image");
    let work = Work { identity_at: Some(FLASH + at as u32), ..work(&image) };
    let mut judge = Judge { yes, identity: Some(vec![0x5A; 340]), ..Judge::default() };
    (attempt(port, &work, 1, &mut judge), judge)
}

#[test]
fn an_identity_is_written_after_the_image_is_verified_and_read_back_before_anything_else() {
    // In the image's own erase unit, and in another one.
    for at in [0x2000, 0x4000] {
        let mut port = port();
        port.chip_mut().flash_mut().preload(0, &[0x12; 0x8000]);
        let (done, judge) = with_identity(&mut port, at, true);
        assert!(done.expect("recovered").identity_restored);
        let flash = port.chip_mut().flash().bytes();
        assert_eq!((&flash[..2048], &flash[at..at + 340]), (&firmware()[..], &[0x5A; 340][..]));
        let steps: Vec<Step> = judge.events.iter().filter_map(ended_well).collect();
        assert_eq!(
            steps,
            [Step::Discover, Step::Identify, Step::Reserve, Step::Program, Step::Verify, Step::Identity]
        );
        let told = |wanted: fn(&Event) -> bool| judge.events.iter().position(wanted).expect("told");
        let reserved = told(|e| matches!(e, Event::Reserved { .. }));
        let programs = told(|e| matches!(e, Event::StepBegan { step: Step::Program, .. }));
        let begun = told(|e| matches!(e, Event::StepBegan { step: Step::Identity, .. }));
        let written = told(|e| matches!(e, Event::IdentityWritten { .. }));
        assert!(reserved < programs && programs < begun && begun < written, "{:?}", judge.events);
        // Once more: everything is there, and is left alone.
        let (done, judge) = with_identity(&mut port, at, false);
        assert_eq!((done.expect("there").blocks_written, judge.found), (0, vec![Found::ThisRelease]));
    }
}

#[test]
fn an_identity_that_is_not_the_boards_own_is_asked_for_and_replaced() {
    for at in [0x2000, 0x4000] {
        let mut port = port();
        port.chip_mut().flash_mut().preload(0, &firmware());
        port.chip_mut().flash_mut().preload(at, &[0x77; 340]);
        let (refused, judge) = with_identity(&mut port, at, false);
        assert_eq!(refused.expect_err("asked").code, Code::RomNoConsent);
        assert_eq!(judge.found, [Found::ThisRelease, Found::OtherIdentity]);
        assert_eq!(port.chip_mut().flash().bytes()[at], 0x77);
        let (done, _) = with_identity(&mut port, at, true);
        assert!(done.expect("recovered").identity_restored);
        let flash = port.chip_mut().flash().bytes();
        assert_eq!((&flash[..2048], flash[at]), (&firmware()[..], 0x5A), "the image is whole");
    }
}

#[test]
fn declared_option_bytes_are_set_once_and_read_back() {
    let data = firmware();
    let image = stm32::Image::new([stm32::Region { address: FLASH, data: &data }]).expect("image");
    let chip = panel_engine::chip::Chip::by_name("STM32F405").expect("known");
    let options = [panel_engine::options::named(chip, "BOR_LEV", 2).expect("a field")];
    let work = Work { options: &options, ..work(&image) };
    let mut port = port();
    for first in [true, false] {
        let mut judge = Judge { yes: true, ..Judge::default() };
        let done = attempt(&mut port, &work, 1, &mut judge).expect("recovered");
        assert_eq!(done.options_written, first);
        assert!(judge.events.iter().filter_map(ended_well).any(|step| step == Step::Options));
        let info = port.run(Inspect, None, &mut |_| {}).expect("answers");
        let bytes = info.option_bytes.value().expect("readable").clone();
        assert_eq!(bytes[0] & 0x0C, 0x08, "{bytes:02x?}");
        assert_eq!(info.readout, Some(stm32::device::RdpLevel::Zero));
    }
}

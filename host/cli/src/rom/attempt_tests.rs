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

    fn watch(&mut self, _: &stm32::Event) {}
}

fn port() -> VirtualPort {
    let model = catalog::find("F405").expect("simulated");
    let mut port = VirtualPort::new(model, 115_200, Duration::ZERO, &Settings::default());
    port.settings.limits.connect = STILL_ERASING;
    port
}

fn recover(port: &mut VirtualPort, data: &[u8], yes: bool) -> (Result<Done, Failure>, Judge) {
    let image = stm32::Image::new([stm32::Region { address: FLASH, data }]).expect("image");
    let device = Device::find(0x413, None).expect("in the table");
    let work = Work { slot: Slot(1), device, image: &image, start: None, voltage: None, lock: false };
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
    let device = Device::find(0x413, None).expect("in the table");
    let start = Some(FLASH);
    let work = Work { slot: Slot(1), device, image: &image, start, voltage: None, lock: true };
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

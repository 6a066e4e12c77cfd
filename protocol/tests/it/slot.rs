//! Boards with a second slot: power cut in every flash operation of an update, at every power-up the old application or,
//! from the commit on, the new one is what starts.

use crate::util::flash::{Cut, Port};
use crate::util::solo::{Sample, Solo};
use crate::util::{APP, BASE, DEVICE, RECORDS, Rng, SLOT, sign, uid};
use panel_protocol::block::{BeginFlags, Seal};
use panel_protocol::message::{BlockKind, Control, NodeState, Refusal, StatusFlags};
use panel_protocol::node::{Seals, startable};
use panel_protocol::reply::{ImageState, Reply};
use panel_protocol::time::Span;

/// Records that fit in their unit.
const RECORDS_IN_ALL: usize = 0x800 / 64;

fn image(session: u8, seed: u64, flags: BeginFlags, len: usize) -> Sample {
    let mut first = Rng::new(seed).bytes(len);
    first[..4].copy_from_slice(&0x2000_4000_u32.to_le_bytes());
    first[4..8].copy_from_slice(&(APP + 0x41).to_le_bytes());
    let second = Rng::new(seed + 100).bytes(500);
    Sample::new(session, flags, &[(APP, first), (APP + 0x2000, second)])
}

fn application(session: u8, seed: u64) -> Sample {
    image(session, seed, BeginFlags::STAGE, 3000)
}

fn sealed(session: u8, seed: u64, counter: u32, floor: u32) -> Sample {
    let mut sample = application(session, seed);
    let signature = sign(&Seal::message(DEVICE, counter, floor, &sample.begin.image_id()));
    sample.begin = sample.begin.sealed(Seal { counter, floor, signature }).expect("two regions");
    sample
}

fn empty() -> Port {
    let mut port = Port::new(uid(1), None);
    port.slot = Some(SLOT);
    port
}

fn updated(port: Port, sample: &Sample) -> Solo {
    let mut solo = Solo::numbered(port, 4);
    solo.transfer(sample);
    solo.send(Control::Commit { session: sample.begin.session });
    solo.rest();
    solo
}

/// Power comes back, and the board does what it does of its own accord.
fn restarted(port: &Port) -> Port {
    let mut port = port.clone();
    port.power_up();
    let mut solo = Solo::new(port, 4);
    solo.rest();
    assert!(solo.port().violations.is_empty(), "{:?}", solo.port().violations);
    solo.port().clone()
}

/// What starts in the end when power comes back.
fn starts<'a>(port: &Port, known: &[&'a Sample]) -> Option<&'a Sample> {
    let port = restarted(port);
    startable(&mut port.clone(), 0)?;
    known.iter().find(|s| s.is_in(&port)).copied()
}

/// Cuts the power in every operation of an update, every so often again in each operation of the start after it.
fn cut_everywhere(start: &Port, old: &Sample, new: &Sample, again: u64) {
    let done = updated(start.clone(), new);
    assert_eq!(done.state(), NodeState::Committed);
    assert!(done.port().violations.is_empty(), "{:?}", done.port().violations);
    let mut committed = false;
    for operation in start.operations..done.port().operations {
        for (cut, throw) in [(Cut::Before, 0), (Cut::During, 0), (Cut::During, 1), (Cut::After, 0)] {
            let at = format!("operation {} {cut:?} {throw}", operation - start.operations);
            let mut port = start.clone();
            port.reseed(throw * 1000 + operation);
            port.cut = Some((operation, cut));
            let port = updated(port, new).port().clone();
            assert!(port.without_power, "{at}");
            let found = starts(&port, &[old, new]).unwrap_or_else(|| panic!("{at}: nothing starts"));
            let is_new = found.id() == new.id();
            assert!(is_new || !committed, "{at}: the old application is back");
            committed |= is_new && cut == Cut::After;
            if (operation + throw) % again == 0 {
                cut_again(&port, found, &at);
            }
        }
    }
    assert!(committed);
}

/// The power goes once more, in each operation of the start.
fn cut_again(port: &Port, expected: &Sample, at: &str) {
    let end = restarted(port).operations;
    for operation in port.operations..end {
        let mut port = port.clone();
        port.power_up();
        port.cut = Some((operation, Cut::During));
        let mut solo = Solo::new(port, 4);
        solo.rest();
        assert!(solo.port().without_power);
        let found = starts(solo.port(), &[expected]);
        assert!(found.is_some(), "{at}, then operation {}", operation - solo.port().operations);
    }
}

#[test]
fn a_staged_update_cut_anywhere_starts_the_old_application_or_the_new_one() {
    let (old, new) = (application(1, 7), application(2, 8));
    let port = updated(empty(), &old).port().clone();
    cut_everywhere(&port, &old, &new, 1);
}

#[test]
fn full_records_are_erased_in_a_staged_update_and_no_cut_loses_an_application() {
    let samples = [application(1, 7), application(2, 8)];
    let mut port = updated(empty(), &samples[0]).port().clone();
    let mut erased = 0;
    for n in 1..16 {
        let before = port.at(RECORDS, 64).to_vec();
        cut_everywhere(&port, &samples[(n + 1) % 2], &samples[n % 2], u64::MAX);
        port = updated(port, &samples[n % 2]).port().clone();
        erased += usize::from(port.at(RECORDS, 64) != before);
    }
    assert!(erased >= 2, "the records were erased {erased} times");
}

#[test]
fn a_sealed_update_cut_anywhere_keeps_the_seal_and_the_floor() {
    let samples = [sealed(1, 7, 3, 2), sealed(2, 8, 4, 3)];
    let mut port = empty();
    port.seals = Seals::Demanded;
    let mut port = updated(port, &samples[0]).port().clone();
    for n in 1..8 {
        let (old, new) = (&samples[(n + 1) % 2], &samples[n % 2]);
        // The floor never comes down: the older image is taken again only while its counter is not below it.
        if n % 2 == 1 {
            cut_everywhere(&port, old, new, if n == 1 { 3 } else { u64::MAX });
        }
        port = updated(port, new).port().clone();
        assert_eq!(startable(&mut port, 0), Some(APP), "{n}");
    }
    let mut solo = Solo::numbered(port, 4);
    solo.begin(&sealed(9, 9, 2, 0).begin);
    let refused = solo.replies().any(|r| matches!(r, Reply::Done { refusal: Some(Refusal::Downgrade), .. }));
    assert!(refused, "a counter below the floor, behind records that were erased");
}

#[test]
fn a_wrong_bit_in_the_slot_is_never_installed() {
    let (old, new) = (application(1, 7), application(2, 8));
    let mut solo = Solo::numbered(updated(empty(), &old).port().clone(), 4);
    solo.transfer(&new);
    let before = solo.port().operations;
    // Two region records and the Staged one, then the power goes before the first erase of the place.
    solo.board.node.port_mut().cut = Some((before + 3, Cut::Before));
    solo.send(Control::Commit { session: 2 });
    solo.wait(Span::from_millis(100));
    for n in 0..100 {
        let mut port = solo.port().clone();
        port.power_up();
        port.flip(SLOT.base + n * 30);
        let mut solo = Solo::new(port, 4);
        solo.rest();
        assert_eq!(startable(&mut solo.port().clone(), 0), None, "{n}");
        assert_eq!(solo.board.node.image(), ImageState::Staged);
        assert_eq!(solo.state(), NodeState::Failed);
        assert!(old.is_in(solo.port()), "{n}: nothing was touched");
        let mut port = updated(solo.port().clone(), &new).port().clone();
        assert_eq!(startable(&mut port, 0), Some(APP), "{n}: a host helps");
    }
}

#[test]
fn an_image_goes_to_its_place_where_nobody_waits_nothing_is_kept_or_it_does_not_fit() {
    let old = application(1, 7);
    let port = updated(empty(), &old).port().clone();
    let long = image(2, 8, BeginFlags::STAGE, 0x1F00);
    let above = Sample::new(2, BeginFlags::STAGE, &[(SLOT.base - 4, vec![1; 8])]);
    let across = updated(empty(), &above).port().clone();
    let staged = |port: &Port, sample: &Sample| {
        let mut solo = Solo::numbered(port.clone(), 4);
        solo.transfer(sample);
        let status = solo.status();
        assert_eq!(status.state, NodeState::Programmed);
        status.flags.contains(StatusFlags::STAGED)
    };
    assert!(staged(&port, &application(2, 8)));
    assert!(staged(&port, &long));
    assert!(!staged(&port, &image(2, 8, BeginFlags::empty(), 3000)), "nobody waits");
    assert!(!staged(&empty(), &application(2, 8)), "there is no application");
    assert!(!staged(&port, &image(2, 7, BeginFlags::STAGE, 3000)), "it is the same");
    assert!(!staged(&port, &above), "it reaches into the slot");
    assert!(!staged(&across, &application(2, 8)), "the old one reaches into the slot");
    let mut small = port.clone();
    small.slot = Some(panel_protocol::node::Slot { base: SLOT.base, end: BASE + 0x8000 });
    assert!(!staged(&small, &application(2, 8)), "the slot has no room beside the records");
}

#[test]
fn an_installation_is_ended_by_nobody_and_says_how_far_it_is() {
    let (old, new) = (application(1, 7), application(2, 8));
    let mut solo = Solo::numbered(updated(empty(), &old).port().clone(), 4);
    solo.transfer(&new);
    solo.send(Control::Commit { session: 2 });
    solo.wait(Span::from_millis(3));
    assert_eq!(solo.status().state, NodeState::Installing);
    assert_eq!(solo.status().programmed, 0);
    let done = solo.replies().any(|r| matches!(r, Reply::Done { opcode: 0x32, refusal: None, detail: 2 }));
    assert!(done, "the commit is answered before");
    let refused = |solo: &mut Solo, wanted| {
        solo.heard.clear();
        solo.begin(&old.begin);
        let block = BlockKind::Begin as u32;
        solo.replies()
            .any(|r| matches!(r, Reply::Done { refusal, detail, .. } if detail == block && refusal == wanted))
    };
    assert!(refused(&mut solo, Some(Refusal::WrongState)));
    solo.send(Control::Abort);
    assert_eq!(solo.state(), NodeState::Installing);
    solo.wait(Span::from_millis(30));
    let programmed = solo.status().programmed;
    assert!((1..=3).contains(&programmed), "{programmed}");
    solo.rest();
    assert_eq!(solo.state(), NodeState::Committed);
    assert!(new.is_in(solo.port()));
    assert!(refused(&mut solo, None), "it can be asked again");
}

#[test]
fn an_agent_that_erases_the_records_is_not_overruled_by_what_was_kept_before() {
    let samples = [application(1, 7), application(2, 8)];
    let mut port = updated(empty(), &samples[0]).port().clone();
    for n in 1..12 {
        port = updated(port, &samples[n % 2]).port().clone(); // the slot's last unit holds a mark by now
    }
    assert_eq!(port.at(SLOT.end - 0x4000, 4), b"PFR1");
    port.slot = None;
    for n in 0..RECORDS_IN_ALL as u64 {
        port = updated(port, &image(3, n, BeginFlags::empty(), 3000)).port().clone();
    }
    let last = image(3, RECORDS_IN_ALL as u64 - 1, BeginFlags::empty(), 3000);
    port.slot = Some(SLOT);
    assert_eq!(starts(&port, &[&last]).map(Sample::id), Some(last.id()));
}

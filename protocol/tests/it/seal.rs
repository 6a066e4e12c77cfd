//! A board with the product's public key: no image without a good seal, none older than it was told, and nothing
//! started whose seal nobody has looked at.

use crate::util::flash::{Cut, Port};
use crate::util::solo::{Sample, Solo};
use crate::util::{APP, BASE, DEVICE, RECORDS, Rng, sign, uid};
use panel_protocol::block::{BeginFlags, Seal};
use panel_protocol::message::{BlockKind, Control, Refusal};
use panel_protocol::node::{Seals, startable};
use panel_protocol::reply::{ImageState, Reply};
use panel_protocol::time::Span;

/// Slots of the records after one sealed update of one region: incomplete, seal (2), region, valid, trusted.
const SLOTS: u32 = 6;

fn board(seals: Seals) -> Port {
    let mut port = Port::new(uid(1), None);
    port.seals = seals;
    port
}

/// An application; the higher its counter the newer it is.
fn application(counter: u32) -> Sample {
    let mut bytes = Rng::new(counter.into()).bytes(3000);
    bytes[4..8].copy_from_slice(&(APP + 0x41).to_le_bytes());
    Sample::new(counter as u8, BeginFlags::empty(), &[(APP, bytes)])
}

fn sealed(counter: u32, floor: u32) -> Sample {
    let mut sample = application(counter);
    let signature = sign(&Seal::message(DEVICE, counter, floor, &sample.begin.image_id()));
    sample.begin = sample.begin.sealed(Seal { counter, floor, signature }).expect("one region");
    sample
}

/// The board after an update, its power gone and come back.
fn updated(port: Port, sample: &Sample) -> Port {
    let mut solo = Solo::numbered(port, 4);
    solo.transfer(sample);
    solo.send(Control::Commit { session: sample.begin.session });
    solo.wait(Span::from_millis(10));
    let mut port = solo.port().clone();
    port.power_up();
    port
}

/// What a board answers to the announcement of an image, and whether it touched its flash.
fn asked(port: &Port, sample: &Sample) -> (Option<Refusal>, bool) {
    let mut solo = Solo::numbered(port.clone(), 4);
    solo.begin(&sample.begin);
    let answer = solo.replies().filter_map(|reply| match reply {
        Reply::Done { refusal, detail, .. } => Some((refusal, detail)),
        _ => None,
    });
    let (refusal, detail) = answer.last().expect("a block is answered");
    assert_eq!(detail, BlockKind::Begin as u32);
    solo.wait(Span::from_millis(100));
    (refusal, solo.port().operations != port.operations)
}

/// A board that has started: its own records put in order, if there is anything to put in order.
fn started(port: Port) -> Solo {
    let mut solo = Solo::numbered(port, 4);
    solo.wait(Span::from_millis(100));
    solo
}

#[test]
fn an_image_with_a_good_seal_is_taken_and_started() {
    let sample = sealed(3, 0);
    let mut port = updated(board(Seals::Demanded), &sample);
    assert!(sample.is_in(&port));
    assert_eq!(startable(&mut port, 0), Some(APP));
    assert_eq!(port.violations, Vec::<String>::new());
}

#[test]
fn without_a_good_seal_nothing_is_touched() {
    let port = updated(board(Seals::Demanded), &sealed(3, 0));
    assert_eq!(asked(&port, &application(4)), (Some(Refusal::NotSealed), false));
    let good = sealed(4, 2);
    let seal = *good.begin.seal().expect("it is sealed");
    let with = |seal: Seal| Sample { begin: good.begin.sealed(seal).expect("one region"), ..good.clone() };
    assert_eq!(asked(&port, &with(seal)), (None, false), "nothing happens before the start");
    let bad = (Some(Refusal::BadSeal), false);
    for byte in 0..64 {
        let mut signature = seal.signature;
        signature[byte] ^= 1;
        assert_eq!(asked(&port, &with(Seal { signature, ..seal })), bad, "byte {byte} of the signature");
    }
    assert_eq!(asked(&port, &with(Seal { counter: 5, ..seal })), bad, "another counter");
    assert_eq!(asked(&port, &with(Seal { floor: 0, ..seal })), bad, "another floor");
    let other = application(5).begin.sealed(seal).expect("one region");
    assert_eq!(asked(&port, &Sample { begin: other, ..application(5) }), bad, "another image");
}

#[test]
fn an_image_older_than_the_newest_one_allows_is_refused_and_the_board_says_what_it_takes() {
    let port = updated(board(Seals::Demanded), &sealed(7, 5));
    assert_eq!(Solo::numbered(port.clone(), 4).info().floor, 5);
    assert_eq!(asked(&port, &sealed(4, 0)), (Some(Refusal::Downgrade), false));
    assert_eq!(asked(&port, &sealed(5, 0)), (None, false));
    let port = updated(port, &sealed(6, 0));
    assert_eq!(asked(&port, &sealed(4, 0)).0, Some(Refusal::Downgrade), "the floor stays when others are in");
}

#[test]
fn the_floor_outlasts_the_erasing_of_a_full_record_area() {
    let mut port = updated(board(Seals::Demanded), &sealed(7, 6));
    let mut erased = false;
    for round in 0..8 {
        port = updated(port, &sealed(8 + round % 2, 0));
        erased |= port.at(RECORDS + 4, 1) == [6]; // the floor stands first
        assert_eq!(asked(&port, &sealed(5, 0)).0, Some(Refusal::Downgrade), "update {round}");
        assert_eq!(startable(&mut port, 0), Some(APP), "update {round}");
    }
    assert!(erased);
}

#[test]
fn what_an_agent_wrote_is_looked_at_once_before_the_first_start() {
    let sample = sealed(3, 2);
    let mut port = updated(board(Seals::Kept), &sample);
    port.seals = Seals::Demanded;
    assert_eq!(startable(&mut port, 0), None, "nobody has looked at the seal yet");
    let solo = started(port);
    assert_eq!(solo.board.node.image(), ImageState::Valid);
    let mut port = solo.port().clone();
    assert_eq!(startable(&mut port, 0), Some(APP));
    let operations = port.operations;
    assert_eq!(started(port).port().operations, operations, "once is enough");
}

#[test]
fn what_an_agent_wrote_without_a_good_seal_is_never_started() {
    let mut wrong = sealed(3, 0);
    let seal = *wrong.begin.seal().expect("it is sealed");
    wrong.begin = wrong.begin.sealed(Seal { counter: 9, ..seal }).expect("one region");
    for sample in [application(3), wrong] {
        let mut port = updated(board(Seals::Kept), &sample);
        port.seals = Seals::Demanded;
        let mut solo = started(port);
        assert_eq!(solo.info().image, ImageState::Incomplete);
        assert_eq!(startable(&mut solo.port().clone(), 0), None);
        let port = updated(solo.port().clone(), &sealed(4, 0));
        assert_eq!(started(port).board.node.image(), ImageState::Valid, "it can be updated");
    }
}

#[test]
fn no_flipped_bit_in_the_records_of_a_sealed_image_starts_anything_that_is_not_sealed() {
    let port = updated(board(Seals::Demanded), &sealed(3, 0));
    for address in RECORDS + 64..RECORDS + SLOTS * 64 {
        for bit in 0..8 {
            let mut port = port.clone();
            port.bytes[(address - BASE) as usize] ^= 1 << bit;
            let offset = (address - RECORDS) as usize;
            // Once it has been looked at the seal itself counts for nothing, nor do the last bytes of a record.
            let idle = (64..3 * 64).contains(&offset) || offset % 64 >= 60;
            assert_eq!(startable(&mut port, 0), idle.then_some(APP), "bit {bit} of {address:#010x}");
        }
    }
}

#[test]
fn a_cut_anywhere_in_a_sealed_update_leaves_a_board_that_runs_a_sealed_image_or_waits() {
    let (old, new) = (sealed(3, 0), sealed(4, 4));
    let start = updated(board(Seals::Demanded), &old);
    let whole = updated(start.clone(), &new);
    assert!(whole.operations > start.operations + 6);
    for operation in start.operations..whole.operations {
        for cut in [Cut::Before, Cut::During, Cut::After] {
            let at = format!("operation {operation}, {cut:?}");
            let mut port = start.clone();
            port.reseed(operation);
            port.cut = Some((operation, cut));
            let solo = started(updated(port, &new));
            let port = solo.port().clone();
            if startable(&mut port.clone(), 0).is_some() {
                assert!(old.is_in(&port) || new.is_in(&port), "{at}");
            }
            let mut port = updated(port, &new);
            assert_eq!(startable(&mut port, 0), Some(APP), "{at}: it can be updated");
            assert!(new.is_in(&port), "{at}");
            assert_eq!(asked(&port, &old).0, Some(Refusal::Downgrade), "{at}");
        }
    }
}

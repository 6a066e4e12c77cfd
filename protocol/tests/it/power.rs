//! Power cut in every flash operation of an update: no board is left with a valid mark on a wrong image, and
//! every one can be updated afterwards. (The method is that of mcuboot's simulator: count, then cut at each.)

use crate::util::bus::{Board, Bus};
use crate::util::flash::{Cut, Port};
use crate::util::run::{LIMIT, Outcome, holds_image, image, units};
use crate::util::uid;
use panel_protocol::host::{Answer, Image, Request};
use panel_protocol::message::{Control, IdentifyPart};
use panel_protocol::reply::{ImageState, Info};
use panel_protocol::time::Span;
use std::sync::Arc;

fn bus_with(port: Port, seed: u64) -> Bus {
    Bus::new(seed, vec![Board::new(port, 4)])
}

fn fresh() -> Port {
    let mut port = Port::new(uid(1), Some(1));
    port.soil(1);
    port.erasable = Some(units(&image(1)));
    port
}

/// Updates the board; its flash afterwards, and what the host thinks.
fn updated(port: Port, image: &Arc<Image>, compare: bool, seed: u64) -> (Port, Outcome) {
    let mut bus = bus_with(port, seed);
    let outcome = bus.update(image, compare);
    bus.run_idle(LIMIT);
    bus.assert_lawful();
    (bus.boards[0].node.port().clone(), outcome)
}

/// What a board says of itself after power has come back.
fn info(port: &Port) -> Info {
    let mut port = port.clone();
    port.power_up();
    let mut bus = bus_with(port, 1);
    let found = bus.discover(true).found[0];
    match bus.ask_one(Request::Control(Control::Identify(IdentifyPart::Info)), found.node, Span::ZERO) {
        Some(Answer::Info(info)) => info,
        other => panic!("{other:?}"),
    }
}

fn id(image: &Image) -> u32 {
    let [a, b, c, d, ..] = image.begin().image_id();
    u32::from_le_bytes([a, b, c, d])
}

/// Updates from `start` to `new`, with the power cut in every operation of it in every way.
fn cut_everywhere(start: &Port, new: &Arc<Image>, known: &[&Arc<Image>], compare: bool) {
    let (done, outcome) = updated(start.clone(), new, compare, 1);
    assert_eq!(outcome.committed.len(), 1, "{outcome:?}");
    assert!(done.operations > start.operations);
    for operation in start.operations..done.operations {
        // What stands first is an operation on the records; it is worth more than one throw of the dice.
        let throws = if operation < start.operations + 3 { 30 } else { 1 };
        let during = (0..throws).map(|throw| (Cut::During, throw));
        for (cut, throw) in during.chain([(Cut::Before, 0), (Cut::After, 0)]) {
            let nth = operation - start.operations;
            let at = format!("operation {nth} of {}, {cut:?} {throw}", done.operations - start.operations);
            let mut port = start.clone();
            port.reseed(throw * 1000 + operation);
            port.cut = Some((operation, cut));
            let (mut port, outcome) = updated(port, new, compare, operation);
            assert!(port.without_power, "{at}");
            let last_written = operation + 1 == done.operations && cut == Cut::After;
            assert!(outcome.committed.is_empty(), "{at}: committed without power");
            port.power_up();
            let info = info(&port);
            if info.image == ImageState::Valid {
                let image = known.iter().find(|i| id(i) == info.image_id);
                let image = image.unwrap_or_else(|| panic!("{at}: valid mark of an unknown image"));
                assert!(holds_image(&port, image), "{at}: valid mark on a wrong image");
            }
            assert!(!last_written || info.image == ImageState::Valid, "{at}: a whole mark is not seen");
            let (port, outcome) = updated(port, new, operation % 2 == 0, operation);
            assert_eq!(outcome.committed.len(), 1, "{at}: {outcome:?}");
            assert!(holds_image(&port, new), "{at}");
            assert_eq!(self::info(&port).image, ImageState::Valid, "{at}");
        }
    }
}

#[test]
fn a_first_update_cut_anywhere_never_looks_valid_and_can_be_repeated() {
    let new = image(1);
    cut_everywhere(&fresh(), &new, &[&new], false);
}

#[test]
fn an_update_over_a_good_image_cut_anywhere_leaves_no_wrong_valid_mark() {
    let (old, new) = (image(1), image(2));
    let (port, _) = updated(fresh(), &old, false, 1);
    cut_everywhere(&port, &new, &[&old, &new], false);
}

#[test]
fn an_update_of_changed_parts_cut_anywhere_leaves_no_wrong_valid_mark() {
    let old = image(1);
    let (port, _) = updated(fresh(), &old, false, 1);
    let regions = old.begin().regions().iter();
    let mut regions: Vec<(u32, Vec<u8>)> =
        regions.map(|r| (r.address, port.at(r.address, r.len as usize).to_vec())).collect();
    regions[0].1[100] ^= 0x55;
    regions[1].1[5000] ^= 0x55;
    let new = Arc::new(Image::new(crate::util::DEVICE, &regions, false).expect("two regions"));
    cut_everywhere(&port, &new, &[&old, &new], true);
}

#[test]
fn a_full_record_area_is_erased_and_a_cut_there_leaves_no_wrong_valid_mark() {
    let (old, new) = (image(1), image(2));
    // Every repetition of an image that is there appends one mark; 32 fit.
    let (mut port, _) = updated(fresh(), &old, false, 1);
    for seed in 0..28 {
        port = updated(port, &old, true, seed).0;
    }
    // With two marks free or none: an update needs two.
    for spare in 0..3 {
        cut_everywhere(&port, &new, &[&old, &new], false);
        // The same, begun over an update that was broken off.
        let mut broken = port.clone();
        broken.cut = Some((broken.operations + 9, Cut::During));
        let (mut broken, _) = updated(broken, &new, false, spare);
        broken.power_up();
        assert_eq!(info(&broken).image, ImageState::Incomplete);
        cut_everywhere(&broken, &old, &[&old, &new], true);
        port = updated(port, &old, true, spare).0;
    }
}

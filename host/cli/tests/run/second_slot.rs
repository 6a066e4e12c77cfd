//! Boards with a second slot, through the binary: what an update that breaks off leaves of the application before, and how a
//! run waits for boards that bring their image to its place.

use super::harness::{Place, Run, firmware};

const SLOTS: &str = "[all]\nsecond_slot = true\n";
/// Where the flash begins in a board's file.
const FLASH_AT: usize = 4096;
const FIRST: u32 = 0x0802_0000;

/// An application of 256 KiB, and a newer one.
fn application(newer: bool) -> Vec<u8> {
    let mut bytes = std::fs::read(firmware("demo-f405-256k.bin")).expect("an image of the test data");
    if newer {
        bytes[0x1000..].iter_mut().for_each(|b| *b ^= 0x5A);
    }
    bytes
}

fn run(place: &Place, newer: bool, address: u32, faults: &str) -> Run {
    let image = place.file("image.bin", application(newer));
    let job = format!(
        "name = \"test\"\nstart_application = {}\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n\
         [[image]]\nfile = \"{}\"\naddress = {address:#x}\n",
        address == FIRST,
        image.display()
    );
    place.run_again(&job, &format!("{SLOTS}{faults}"))
}

/// What a board of a panel that is switched off has at the image's place.
fn flash_of(place: &Place, slot: u16) -> Vec<u8> {
    let file = place.boards().join(format!("slot-{slot}-F405.flash"));
    let bytes = std::fs::read(file).expect("the board's file");
    let from = FLASH_AT + (FIRST - 0x0800_0000) as usize;
    bytes[from..from + application(false).len()].to_vec()
}

fn brown_out(at_ms: u32) -> String {
    format!("[[slot]]\nslot = 7\nfault = \"brown-out\"\nat_ms = {at_ms}\n")
}

fn detail(run: &Run, slot: u64) -> &str {
    run.board(slot)["detail"].as_str().unwrap_or_default()
}

#[test]
fn a_board_that_dies_in_the_download_has_its_application_and_the_others_have_the_new_one() {
    let place = Place::new();
    run(&place, false, FIRST, "").assert_all_pass();
    let update = run(&place, true, FIRST, &brown_out(1500));
    assert_eq!(update.failures(), [(7, "fail", "E302 board-reset")], "{}", update.stderr);
    assert!(
        detail(&update, 7).contains("its application is untouched, and starts"),
        "{}",
        detail(&update, 7)
    );
    let (old, new) = (application(false), application(true));
    for slot in 1..=21 {
        let (found, wanted) = (flash_of(&place, slot), if slot == 7 { &old } else { &new });
        assert!(found == *wanted, "slot {slot}");
    }
    // Nothing of it has to be sent again, and it starts: only a board with a valid mark does.
    let back = run(&place, false, FIRST, "");
    back.assert_all_pass();
    let ratio = back.json["ratio"].as_f64().unwrap_or_default();
    assert!((1.0..1.2).contains(&ratio), "the bound counts the installation: {ratio}");
    assert!(
        !back.stderr.contains("slot 7: second-slot"),
        "its image is the one that it kept: {}",
        back.stderr
    );
    assert!(
        back.stderr.contains("slot 6: second-slot: the image goes to the second slot"),
        "{}",
        back.stderr
    );
}

#[test]
fn a_board_that_dies_in_the_installation_goes_on_when_it_starts_and_the_next_run_waits_for_it() {
    let place = Place::new();
    run(&place, false, FIRST, "").assert_all_pass();
    let update = run(&place, true, FIRST, &brown_out(6000));
    assert_eq!(update.failures(), [(7, "fail", "E302 board-reset")], "{}", update.stderr);
    assert_eq!(update.board(7)["step"], "install");
    assert!(detail(&update, 7).contains("it begins anew to install"), "{}", detail(&update, 7));
    assert!(flash_of(&place, 7) != application(true));
    let again = run(&place, true, FIRST, "");
    again.assert_all_pass();
    assert!(again.stderr.contains("boards that bring an image to its place: 1;"), "{}", again.stderr);
    assert!(!again.stderr.contains("the image goes to the second slot"), "nothing is sent: {}", again.stderr);
    assert!(flash_of(&place, 7) == application(true));
}

#[test]
fn an_image_that_does_not_fit_goes_to_its_place_and_a_board_that_dies_waits_in_its_bootloader() {
    let place = Place::new();
    run(&place, false, FIRST, "").assert_all_pass();
    let update = run(&place, true, 0x0804_0000, &brown_out(1500));
    assert_eq!(update.failures(), [(7, "fail", "E302 board-reset")], "{}", update.stderr);
    assert!(update.stderr.contains("slot 6: second-slot: the image goes to its place: it does not fit"));
    assert!(!detail(&update, 7).contains("untouched"), "{}", detail(&update, 7));
    run(&place, true, 0x0804_0000, "").assert_all_pass();
}

//! Values of each unit inside the application: written, checked, recorded with the hash of what was written.

use sha2::{Digest as _, Sha256};

use crate::owner::{Owner, Said, firmware, image};

/// Where the application is, in the chip and in the files that simulated boards keep.
const APP: usize = 0x0802_0000;
const APP_IN_FILE: usize = 4096 + APP - 0x0800_0000;
/// Offsets of the windows.
const SERIAL: usize = 0x7F8;
const ADDRESSES: usize = 0xF000;

fn windows() -> String {
    format!(
        "[[patch]]\nname = \"serial\"\naddress = {}\nlength = 16\nvalue = \"serial\"\n\
         [[patch]]\nname = \"mac\"\naddress = {}\nlength = 12\nvalue = \"eui48\"\n",
        APP + SERIAL,
        APP + ADDRESSES
    )
}

/// A station with a release whose application has windows, and an order of boards that are locked.
fn line(windows: &str, order: &str) -> Owner {
    let owner = Owner::new();
    owner.station();
    let application = image("application", "app", "bench-64k.bin", Some(APP as u32));
    owner.place_release("fw", "identity = { serial = true, eui48 = 2 }", &(application + windows));
    let lines = "eui48 = [{ first = \"70b3d5abc000\", count = 20, step = 2 }]\n\
         policy = { lock = \"rdp1\", strikes = 3, retests = { contact = 1, station = 1, board = 1 } }";
    owner.place_order("order", &format!("{lines}\n{order}"));
    owner
}

/// The application as the unit with this serial number and these addresses must have it.
fn wanted(serial: &str, first_address: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(firmware("bench-64k.bin")).unwrap();
    bytes[SERIAL..SERIAL + 16].fill(0);
    bytes[SERIAL..SERIAL + serial.len()].copy_from_slice(serial.as_bytes());
    for (at, last) in [(0, first_address), (6, first_address + 1)] {
        bytes[ADDRESSES + at..][..6].copy_from_slice(&[0x70, 0xB3, 0xD5, 0xAB, 0xC0, last]);
    }
    bytes
}

fn in_chip(owner: &Owner, slot: u16) -> Vec<u8> {
    let file = owner.chip(slot);
    file[APP_IN_FILE..APP_IN_FILE + 65536].to_vec()
}

fn report(owner: &Owner, serial: &str) -> serde_json::Value {
    let args = ["report", "unit", serial, "--records", "records", "--json"];
    owner.call(&args).good().json()[0].clone()
}

#[test]
fn each_board_has_its_own_values_in_its_application_and_the_record_has_the_hash_of_it() {
    let owner = line(&windows(), "");
    owner.run("WO-1", &[]).good();
    let csv = std::fs::read_to_string(owner.path("records/units.csv")).unwrap();
    for slot in 1..=4 {
        let serial = format!("W-{slot:05}");
        let wanted = wanted(&serial, 2 * (slot as u8 - 1));
        assert_eq!(in_chip(&owner, slot), wanted, "slot {slot}");
        let sha256 = hex::encode(Sha256::digest(&wanted));
        let attempt = &report(&owner, &serial)["attempts"][0];
        assert_eq!(attempt["images"][0]["sha256"], sha256.as_str());
        assert_eq!(attempt["images"][0]["crc32"], panel_protocol::CRC32.checksum(&wanted));
        assert_ne!(attempt["run"]["images"][0]["sha256"], sha256.as_str(), "the release's own stays");
        let text = attempt.to_string();
        assert!(text.contains(&format!("region 0: SHA-256 {sha256}")), "read back by the board: {text}");
        let line = csv.lines().find(|line| line.starts_with(&serial)).unwrap();
        assert!(line.contains(&format!("app@0x08020000={sha256}")), "{line}");
        assert!(line.contains("70b3d5abc0"), "the addresses: {line}");
    }
    owner.call(&["report", "verify", "--records", "records"]).good();
}

#[test]
fn locked_boards_with_their_own_application_pass_again_without_being_written() {
    let owner = line(&windows(), "");
    owner.run("WO-1", &[]).good();
    let before: Vec<_> = (1..=4).map(|slot| in_chip(&owner, slot)).collect();
    let again = owner.run("WO-1", &[]).good();
    assert_eq!(before, (1..=4).map(|slot| in_chip(&owner, slot)).collect::<Vec<_>>(), "{}", again.stderr);
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
}

#[test]
fn a_board_whose_own_bytes_cannot_be_programmed_fails_alone_and_its_number_is_not_lost() {
    let owner = line(&windows(), "");
    let address = APP + SERIAL;
    let fault = format!("[[slot]]\nslot = 3\nfault = \"program-fails\"\naddress = {address:#x}\n");
    let scenario = owner.file("bad.toml", &fault);
    let said = owner.run("WO-1", &["--scenario", scenario.to_str().unwrap()]);
    let results = |said: &Said| -> Vec<String> {
        let boards = said.json()["boards"].as_array().unwrap().clone();
        boards.iter().map(|b| b["code"].as_str().unwrap_or("pass").to_owned()).collect()
    };
    assert_eq!(results(&said), ["pass", "pass", "E214 program-failed", "pass"]);
    let again = owner.run("WO-1", &[]).good();
    assert_eq!(again.json()["boards"][2]["serial"], "W-00003");
    assert_eq!(in_chip(&owner, 3), wanted("W-00003", 4));
}

#[test]
fn a_window_that_cannot_be_filled_is_refused_when_packed_or_before_the_panel() {
    let owner = Owner::new();
    let application = image("application", "app", "bench-64k.bin", Some(APP as u32));
    let pack = |window: &str| {
        let window = format!("[[patch]]\nname = \"w\"\n{window}");
        owner.release("fw", "identity = { serial = true }", &(application.clone() + &window))
    };
    let inside = format!("address = {}\n", APP + 64);
    pack(&format!("{inside}length = 16\n")).refused("E517 description", "value");
    pack(&format!("{inside}length = 16\nvalue = \"mac\"\n")).refused("E517 description", "mac");
    pack(&format!("{inside}length = 6\nvalue = \"eui48\"\n")).refused("E609", "no such value");
    pack("address = 0x08040000\nlength = 16\nvalue = \"serial\"\n").refused("E609", "not inside");
    let short = format!("[[patch]]\nname = \"w\"\n{inside}length = 6\nvalue = \"serial\"\n");
    let owner = line(&short, "");
    owner.run("WO-1", &[]).refused("E608 release-target", "\"W-00010\" has 7 characters");
    assert!(!owner.path("records/ledger.db").exists(), "nothing was begun");
}

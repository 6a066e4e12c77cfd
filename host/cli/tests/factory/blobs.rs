//! Blobs from lists: imported, given to a unit for ever, written into its identity, and secrets nowhere else.

use panel_ledger::region;
use serde_json::Value;

use crate::owner::{Owner, Said, image};
use crate::whole::{assert_in_chips_only, boards};

/// The region's place in a board's file (tests/simulator's format).
const REGION: usize = 4096 + 0xC_0000;

/// A station with a secret, and a release that gives every unit a calibration and a password.
fn line(length: u32) -> Owner {
    let owner = Owner::new();
    owner.station();
    owner.call(&["release", "key", "station", "line/station.key"]).good();
    let station = std::fs::read_to_string(owner.path("line/station.toml")).unwrap();
    owner.file("line/station.toml", &format!("{station}secret = \"station.key\"\n"));
    let lines = format!(
        "identity = {{ serial = true, blobs = [\"calibration\", \"psk\"], \
         region = {{ address = 0x080C0000, length = {length} }} }}"
    );
    owner.place_release("fw", &lines, &image("application", "app", "bench-64k.bin", Some(0x0802_0000)));
    owner.place_order("order", "");
    owner
}

/// A password of 32 bytes that is told apart from anything else.
fn psk(number: u8) -> Vec<u8> {
    (0..32_u8).map(|at| at.wrapping_mul(7).wrapping_add(number.wrapping_mul(13)).wrapping_add(0x51)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Imports sets for so many units and deletes the list, as one does.
fn import(owner: &Owner, numbers: core::ops::Range<u8>) -> Said {
    let mut list = "blob:calibration,secret:psk\n".to_owned();
    for number in numbers {
        std::fs::write(owner.path(&format!("cal-{number}.bin")), calibration(number)).unwrap();
        list += &format!("@cal-{number}.bin,{}\n", hex(&psk(number)));
    }
    owner.file("list.csv", &list);
    let said =
        ledger(owner, &["import", "list.csv", "--product", "widget", "--station-file", "line/station.toml"]);
    std::fs::remove_file(owner.path("list.csv")).unwrap();
    said
}

fn calibration(number: u8) -> Vec<u8> {
    vec![number; 100 + usize::from(number)]
}

fn ledger(owner: &Owner, args: &[&str]) -> Said {
    owner.call(&[&["ledger"][..], args, &["--records", "records"]].concat())
}

/// The blobs in a board's flash: name and bytes.
fn in_chip(owner: &Owner, slot: u16) -> Vec<(String, Vec<u8>)> {
    let bytes = owner.chip(slot);
    let blobs = region::blobs(&bytes[REGION..][..1024]);
    blobs.map(|blob| blob.map(|b| (b.name.to_owned(), b.bytes.to_vec())).unwrap()).collect()
}

fn expected(number: u8) -> Vec<(String, Vec<u8>)> {
    vec![("calibration".to_owned(), calibration(number)), ("psk".to_owned(), psk(number))]
}

fn unit(owner: &Owner, query: &str) -> Value {
    ledger(owner, &["show", query, "--json"]).good().json()[0].clone()
}

#[test]
fn every_unit_gets_its_own_blobs_keeps_them_and_a_secret_is_in_chips_only() {
    let owner = line(1024);
    import(&owner, 1..6).good();
    let said = owner.run("WO-1", &["--event-log", "events.jsonl"]).good();
    for slot in 1..=4 {
        assert_eq!(in_chip(&owner, slot), expected(u8::try_from(slot).unwrap()), "slot {slot}");
    }
    let two = unit(&owner, "W-00002");
    assert_eq!(
        (two["state"].as_str(), two["numbers"]["blobs"][1]["name"].as_str()),
        (Some("confirmed"), Some("psk"))
    );
    let fingerprint = two["numbers"]["blobs"][1]["sha256"].as_str().unwrap();
    assert_eq!(unit(&owner, fingerprint)["unit"], two["unit"], "a unit is found by what it was given");
    let csv = ledger(&owner, &["export", "--output", "units.csv"]).good();
    assert!(csv.stdout.is_empty());
    let csv = std::fs::read_to_string(owner.path("units.csv")).unwrap();
    assert!(csv.contains(&format!("psk={fingerprint}")), "{csv}");
    ledger(&owner, &["export", "--log", "--output", "log.jsonl"]).good();
    let report = owner.call(&["report", "unit", "W-00002", "--records", "records", "--json"]).good();
    assert!(report.stdout.contains(fingerprint), "the record says which: {}", report.stdout);
    ledger(&owner, &["blob", "W-00002", "calibration", "--output", "cal.bin"]).good();
    assert_eq!(std::fs::read(owner.path("cal.bin")).unwrap(), calibration(2));
    ledger(&owner, &["blob", "W-00002", "psk", "--output", "psk.bin"]).refused("E511 usage", "is a secret");
    let secrets: Vec<_> = (1..6).map(psk).collect();
    assert_in_chips_only(&owner, &said, &secrets);

    // An erased chip gets back what it had, in whatever slot.
    let (two, four) = (owner.chip_file(2), owner.chip_file(4));
    let mut chip = std::fs::read(&two).unwrap();
    chip[4096 + 0x8000..4096 + (1 << 20)].fill(0xFF);
    std::fs::rename(&four, &two).unwrap();
    std::fs::write(&four, chip).unwrap();
    let said = owner.run("WO-1", &[]).good();
    assert_eq!((in_chip(&owner, 2), in_chip(&owner, 4)), (expected(4), expected(2)));
    assert_in_chips_only(&owner, &said, &secrets);
    ledger(&owner, &["audit"]).good();
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
}

#[test]
fn boards_beyond_the_last_blob_are_not_touched_and_consume_nothing() {
    let owner = line(1024);
    import(&owner, 1..4).good();
    let said = owner.run("WO-1", &[]);
    let results: Vec<_> = boards(&said).iter().map(|b| (b["result"].clone(), b["code"].clone())).collect();
    assert_eq!(results.iter().filter(|(result, _)| result == "pass").count(), 3, "{said:?}");
    assert_eq!(results[3].1, "E631 identity-exhausted");
    let detail = boards(&said)[3]["detail"].clone();
    assert_eq!(detail, "blobs \"calibration\" for \"widget\" are used up: 4 wanted, 3 left");
    assert_eq!(owner.balance("WO-1"), [10, 3, 0, 0, 0, 7]);
    import(&owner, 4..5).good();
    owner.run("WO-1", &[]).good();
    assert_eq!(in_chip(&owner, 4), expected(4));
}

#[test]
fn blobs_that_nobody_imported_or_that_do_not_fit_are_refused_before_the_panel() {
    let owner = line(1024);
    owner.run("WO-1", &[]).refused("E631 identity-exhausted", "\"calibration\", and none was imported");
    let owner = line(560);
    import(&owner, 1..6).good();
    owner.run("WO-1", &[]).refused("E608 release-target", "560 bytes are set aside");
    let station = std::fs::read_to_string(owner.path("line/station.toml")).unwrap();
    owner.file("line/station.toml", &station.replace("secret = \"station.key\"", ""));
    owner.run("WO-1", &[]).refused("E518 station-file", "\"psk\" is a secret");
    import(&owner, 7..8).refused("E620 order-file", "names no `secret`");
    let chip = owner.chip(1);
    assert!(chip[4096 + 0x2_0000..].iter().all(|byte| *byte == 0xFF), "no board was touched");
}

#[test]
fn a_blob_is_imported_once_and_a_refusal_tells_its_place_and_not_its_content() {
    let owner = line(1024);
    import(&owner, 1..4).good();
    import(&owner, 3..5).refused("E630 identity-duplicate", "set 1 of this list");
    let bad = owner.file("bad.csv", "secret:psk\n00\nc0ffeeg0\n");
    let args =
        ["import", bad.to_str().unwrap(), "--product", "widget", "--station-file", "line/station.toml"];
    let said = ledger(&owner, &args);
    said.refused("E620 order-file", "line 3");
    assert!(!said.stderr.contains("c0ffee"), "{said:?}");
    let description = "identity = { blobs = [\"psk\"] }";
    let image = image("application", "app", "bench-64k.bin", Some(0x0802_0000));
    let said = owner.release("no-region", description, &image);
    assert_eq!(said.exit, Some(2), "{said:?}");
    assert!(said.stderr.contains("identity region for blobs"), "{said:?}");
}

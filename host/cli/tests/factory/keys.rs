//! Keys and certificates through the binary: made here or by the board, what the chip carries, what is refused.

use panel_ledger::region::{self, SlotUse};
use panel_ledger::{Hash, KeyKind, UnitKey, check_issued};
use serde_json::Value;

use crate::owner::{Owner, Said};
use crate::whole::{boards, line};

const REGION: usize = 0xC_0000;
const UNLOCKED: &str = "eui48 = [{ first = \"70b3d5abc000\", count = 20, step = 2 }]\n\
     policy = { lock = \"none\", strikes = 3, retests = { contact = 1, station = 1, board = 1 } }";

/// What a board's flash holds where its identity is (tests/simulator's file format: 4 KiB before the flash).
fn identity(owner: &Owner, slot: u16) -> Vec<u8> {
    let bytes = owner.chip(slot);
    bytes[4096 + REGION..][..1024].to_vec()
}

fn unit(owner: &Owner, query: &str) -> Value {
    owner.call(&["ledger", "show", query, "--records", "records", "--json"]).good().json()[0].clone()
}

fn last<'a>(unit: &'a Value, list: &str) -> &'a str {
    unit[list].as_array().unwrap().last().unwrap().as_str().unwrap()
}

/// DER of the first certificate of a PEM file.
fn der(owner: &Owner, name: &str) -> Vec<u8> {
    let pem = std::fs::read_to_string(owner.path(name)).unwrap();
    let body: Vec<u32> = pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"))
        .skip(1)
        .take_while(|line| !line.starts_with('-'))
        .flat_map(str::bytes)
        .filter(|byte| *byte != b'=')
        .map(|byte| match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            _ => 63,
        })
        .collect();
    let group = |four: &[u32]| {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    body.chunks(4).flat_map(group).collect()
}

/// The certificate in a chip: it is the one of the ledger, and its issuer's.
fn check_certificate(owner: &Owner, slot: u16, unit: &Value) {
    let memory = identity(owner, slot);
    let blobs: Vec<_> = region::blobs(&memory).map(|blob| blob.unwrap()).collect();
    assert_eq!(blobs.iter().map(|blob| blob.name).collect::<Vec<_>>(), ["certificate"]);
    assert_eq!(Hash::of(blobs[0].bytes).to_string(), last(unit, "certificates"));
    assert_eq!(check_issued(blobs[0].bytes, &der(owner, "line/issuer.pem")), Ok(()));
    let serial = unit["numbers"]["serial"].as_str().unwrap();
    let args = ["ledger", "certificate", serial, "--output", "unit.pem", "--records", "records"];
    owner.call(&args).good();
    assert_eq!(der(owner, "unit.pem"), blobs[0].bytes);
}

fn able(owner: &Owner, faults: &str) -> [String; 2] {
    let path = owner.file("scenario.toml", &format!("[all]\nmakes_keys = true\n{faults}"));
    ["--scenario".to_owned(), path.display().to_string()]
}

fn run(owner: &Owner, scenario: &[String; 2]) -> Said {
    owner.run("WO-1", &[&scenario[0], &scenario[1]])
}

#[test]
fn a_key_made_at_the_station_and_its_certificate_are_in_the_chip_and_belong_together() {
    let owner = line("");
    for (board, slot) in boards(&owner.run("WO-1", &[]).good()).iter().zip(1..) {
        let unit = unit(&owner, board["serial"].as_str().unwrap());
        let memory = identity(&owner, slot);
        let view = region::decode(&memory).unwrap();
        let key = view.keys().next().unwrap();
        assert_eq!((key.kind, key.holds), (KeyKind::P256, SlotUse::Secret));
        let made = UnitKey::make(KeyKind::P256, |seed| {
            seed.copy_from_slice(key.data);
            Ok::<_, String>(())
        });
        assert_eq!(made.unwrap().fingerprint().unwrap().to_string(), last(&unit, "keys"));
        check_certificate(&owner, slot, &unit);
    }
}

#[test]
fn boards_that_can_make_their_keys_and_get_certificates_for_them() {
    let owner = line("");
    let scenario = able(&owner, "");
    let said = run(&owner, &scenario).good();
    for (board, slot) in boards(&said).iter().zip(1..) {
        let unit = unit(&owner, board["serial"].as_str().unwrap());
        let memory = identity(&owner, slot);
        let view = region::decode(&memory).unwrap();
        let key = view.keys().next().unwrap();
        assert_eq!((key.kind, key.holds), (KeyKind::P256, SlotUse::Fingerprint));
        assert_eq!(Hash(*key.data).to_string(), last(&unit, "keys"));
        assert_eq!(unit["state"], "confirmed");
        check_certificate(&owner, slot, &unit);
    }
    let report = owner.call(&["report", "unit", "W-00001", "--records", "records", "--json"]).good().stdout;
    assert!(report.contains("made by the board"), "{report}");
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
}

#[test]
fn a_board_that_is_run_again_keeps_its_own_key_and_one_from_the_station_gets_a_new_one() {
    for (makes_keys, keys) in [(true, 1), (false, 2)] {
        let owner = line("");
        owner.place_order("order", UNLOCKED);
        let scenario = able(&owner, "");
        let run = || if makes_keys { run(&owner, &scenario) } else { owner.run("WO-1", &[]) };
        run().good();
        run().good();
        let unit = unit(&owner, "W-00002");
        assert_eq!(unit["keys"].as_array().unwrap().len(), keys, "makes_keys = {makes_keys}");
        assert_eq!(unit["certificates"].as_array().unwrap().len(), keys, "as many as keys");
        check_certificate(&owner, 2, &unit);
        owner.call(&["ledger", "audit", "--records", "records"]).good();
    }
}

#[test]
fn a_board_whose_key_or_request_is_wrong_fails_with_its_own_code_and_the_others_pass() {
    for (fault, code, words) in [
        ("fault = \"key-fails\"", "E637 board-key", "KeyFailed"),
        ("fault = \"key-hangs\"", "E637 board-key", "never came back"),
        ("fault = \"key-forged\"", "E645 key-request", "signature of the request is wrong"),
        ("fault = \"key-foreign\"", "E645 key-request", "W-99999"),
    ] {
        let owner = line("");
        let scenario = able(&owner, &format!("[[slot]]\nslot = 3\n{fault}\n"));
        let said = run(&owner, &scenario);
        let failed: Vec<_> = boards(&said).into_iter().filter(|b| b["result"] != "pass").collect();
        assert_eq!((said.exit, failed.len()), (Some(1), 1), "{fault}: {said:?}");
        assert_eq!((&failed[0]["slot"], &failed[0]["code"]), (&3.into(), &code.into()), "{failed:?}");
        assert!(failed[0]["detail"].as_str().unwrap().contains(words), "{fault}: {failed:?}");
        assert_eq!(failed[0]["step"], "key");
        assert!(identity(&owner, 3).iter().all(|byte| *byte == 0xFF), "nothing of an identity was written");
        assert_eq!(owner.balance("WO-1"), [10, 3, 1, 0, 0, 6]);
    }
}

#[test]
fn boards_with_one_key_are_told_apart_from_each_other_and_only_the_first_passes() {
    let owner = line("");
    let slot = |n: u16| format!("[[slot]]\nslot = {n}\nfault = \"key-repeated\"\n");
    let scenario = able(&owner, &(slot(2) + &slot(4)));
    let said = run(&owner, &scenario);
    let failed: Vec<_> = boards(&said).into_iter().filter(|b| b["result"] != "pass").collect();
    assert_eq!(failed.len(), 1, "{said:?}");
    assert_eq!((&failed[0]["slot"], &failed[0]["code"]), (&4.into(), &"E630 identity-duplicate".into()));
    assert!(failed[0]["detail"].as_str().unwrap().contains("key "), "{failed:?}");
    owner.call(&["ledger", "audit", "--records", "records"]).good();
}

#[test]
fn a_region_without_room_for_the_certificate_is_refused_before_the_panel() {
    let owner = line("");
    let place = "region = { address = 0x080C0000, length = 512 } }";
    let lines = format!("identity = {{ serial = true, key = \"p256\", certificate = true, {place}");
    let image = crate::owner::image("application", "app", "bench-64k.bin", Some(0x0802_0000));
    owner.place_release("fw", &lines, &image);
    owner.run("WO-1", &[]).refused("E608 release-target", "512 bytes are set aside at 0x080c0000");
    assert!(!owner.path("records/ledger.db").exists(), "nothing was begun");
}

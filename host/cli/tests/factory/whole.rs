//! The whole factory sequence through the binary: identity, key, certificate, lock, proof; kills, canary, disk.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::owner::{Owner, Said, image};

/// A station that makes keys and certificates and locks its boards.
pub(crate) fn line(release: &str) -> Owner {
    let owner = Owner::new();
    owner.station();
    let issuer = ["--certificate", "line/issuer.pem", "--key", "line/issuer.key"];
    owner.call(&[&["release", "key", "issuer", "--name", "Example Units"][..], &issuer].concat()).good();
    let station = std::fs::read_to_string(owner.path("line/station.toml")).unwrap();
    let station =
        format!("{station}[issuer]\ncertificate = \"issuer.pem\"\nkey = \"issuer.key\"\nvalid_days = 365\n");
    owner.file("line/station.toml", &station);
    let lines = "identity = { serial = true, eui48 = 2, key = \"p256\", certificate = true, \
                 region = { address = 0x080C0000, length = 1024 } }";
    owner.place_release(
        "fw",
        &format!("{lines}\n{release}"),
        &image("application", "app", "bench-64k.bin", Some(0x0802_0000)),
    );
    owner.place_order(
        "order",
        "eui48 = [{ first = \"70b3d5abc000\", count = 20, step = 2 }]\n\
         policy = { lock = \"rdp1\", strikes = 3, retests = { contact = 1, station = 1, board = 1 } }",
    );
    owner
}

pub(crate) fn boards(said: &Said) -> Vec<Value> {
    said.json()["boards"].as_array().unwrap().clone()
}

/// The 32 bytes of key that a board's flash really holds, and whether it is locked (tests/simulator's file format).
fn board_file(owner: &Owner, slot: u16) -> (bool, Vec<u8>) {
    let bytes = owner.chip(slot);
    let key = 4096 + 0xC_0000 + 208;
    (bytes[14] != 0, bytes[key..key + 32].to_vec())
}

/// Every file under a directory, with its bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn every_board_gets_its_identity_is_locked_and_proves_it_and_no_key_stays_behind() {
    let owner = line("");
    let mut command = owner.run_command("WO-1", &["--event-log", "events.jsonl"]);
    let output = command.output().unwrap();
    let said = Said::of(&output).good();
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
    let mut keys: Vec<_> = (1..=4).map(|slot| board_file(&owner, slot)).collect();
    assert!(keys.iter().all(|(locked, key)| *locked && key.iter().any(|&byte| byte != 0xFF)));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4, "every board has a key of its own");
    for (args, name) in [
        (&["ledger", "export", "--output"][..], "units.csv"),
        (&["ledger", "export", "--json", "--output"], "units.jsonl"),
        (&["ledger", "export", "--log", "--output"], "log.jsonl"),
        (&["ledger", "certificate", "W-00001", "--output"], "unit.pem"),
    ] {
        owner.call(&[args, &[name, "--records", "records"]].concat()).good();
    }
    let report = owner.call(&["report", "unit", "W-00001", "--records", "records", "--json"]).good();
    owner.file("unit.json", &report.stdout);
    let report = owner.call(&["report", "csv", "--records", "records"]).good();
    owner.file("report.csv", &report.stdout);
    assert_keys_are_in_chips_only(&owner, &said);
    for board in boards(&said) {
        let serial = board["serial"].as_str().unwrap();
        let uid = board["uid"].as_str().unwrap().to_lowercase();
        let unit =
            &owner.call(&["ledger", "show", serial, "--records", "records", "--json"]).good().json()[0];
        assert_eq!((unit["state"].as_str(), unit["uid"].as_str()), (Some("confirmed"), Some(uid.as_str())));
        assert!(unit["lock_proof"].is_string() && unit["record"].is_string(), "{unit}");
        assert_eq!(
            (unit["keys"].as_array().unwrap().len(), unit["numbers"]["eui48"].as_array().unwrap().len()),
            (1, 2)
        );
    }
}

#[test]
fn the_certificate_of_a_unit_is_given_out_and_belongs_to_its_issuer() {
    let owner = line("");
    owner.run("WO-1", &[]).good();
    let args = ["ledger", "certificate", "W-00001", "--output", "unit.pem", "--records", "records"];
    owner.call(&args).good();
    let pem = std::fs::read_to_string(owner.path("unit.pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"), "{pem}");
    let none = ["ledger", "certificate", "W-00009", "--output", "x.pem", "--records", "records"];
    owner.call(&none).refused("E511 usage", "W-00009");
}

#[test]
fn locked_boards_that_are_run_again_pass_without_being_touched() {
    let owner = line("");
    owner.run("WO-1", &[]).good();
    let before: Vec<_> = (1..=4).map(|slot| board_file(&owner, slot)).collect();
    let said = owner.run("WO-1", &[]).good();
    let after: Vec<_> = (1..=4).map(|slot| board_file(&owner, slot)).collect();
    assert_eq!(before, after, "{}", said.stderr);
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
    let unit = &owner.call(&["ledger", "show", "W-00001", "--records", "records", "--json"]).good().json()[0];
    assert_eq!(unit["keys"].as_array().unwrap().len(), 1, "the key in the chip is the only one named");
}

#[test]
fn a_board_that_was_erased_gets_its_identity_back_by_its_uid_in_any_slot() {
    let owner = line("");
    let first = boards(&owner.run("WO-1", &[]).good());
    // Lifting the protection through the ROM erases all of a chip but its UID; then somebody gave it a bootloader
    // again (its first 32 KiB). It comes back in another slot.
    let (two, four) = (owner.chip_file(2), owner.chip_file(4));
    let mut chip = std::fs::read(&two).unwrap();
    chip[14] = 0;
    chip[4096 + 0x8000..4096 + (1 << 20)].fill(0xFF);
    std::fs::rename(&four, &two).unwrap();
    std::fs::write(&four, chip).unwrap();
    let again = boards(&owner.run("WO-1", &[]).good());
    let who = |board: &Value| (board["uid"].clone(), board["serial"].clone());
    assert_eq!((who(&again[1]), who(&again[3])), (who(&first[3]), who(&first[1])));
    let bytes = std::fs::read(&four).unwrap();
    let serial = first[1]["serial"].as_str().unwrap();
    assert_eq!(&bytes[4096 + 0xC_0000 + 48..][..serial.len()], serial.as_bytes(), "in the chip itself");
    assert_eq!((bytes[14], owner.balance("WO-1")), (1, [10, 4, 0, 0, 0, 6]));
    let unit = &owner.call(&["ledger", "show", serial, "--records", "records", "--json"]).good().json()[0];
    assert_eq!(
        unit["keys"].as_array().unwrap().len(),
        2,
        "the key that nobody has any more, and the new one"
    );
}

#[test]
fn a_board_that_is_not_locked_does_not_pass_and_counts_as_failed() {
    let owner = line("");
    let scenario =
        "[[slot]]\nslot = 2\nfault = \"lock-ignored\"\n[[slot]]\nslot = 3\nfault = \"reads-when-locked\"\n";
    owner.file("scenario.toml", scenario);
    let said = owner.run("WO-1", &["--scenario", "scenario.toml"]);
    let failed: Vec<_> = boards(&said).into_iter().filter(|b| b["result"] != "pass").collect();
    assert_eq!((said.exit, failed.len()), (Some(1), 2), "{said:?}");
    assert!(failed.iter().all(|b| b["code"].as_str().unwrap().starts_with("E66")), "{failed:?}");
    assert_eq!(owner.balance("WO-1"), [10, 2, 2, 0, 0, 6]);
    owner.run("WO-1", &[]).good();
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
}

#[test]
fn killed_runs_leave_a_balance_that_adds_up_and_boards_that_pass_the_next_time() {
    let owner = line("");
    let mut hit = 0;
    // Real time, so that the kills fall into every part of a run: about three seconds from start to end.
    for ms in [150, 700, 1400, 2100, 2600] {
        let mut command = owner.command(&[
            "run",
            "--order",
            "WO-1",
            "--station-file",
            "line/station.toml",
            "--records",
            "records",
            "--json",
            "--boards",
            "boards",
        ]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        work_on(ms);
        hit += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        if owner.path("records/ledger.db").exists() {
            // Before anything opens the databases again: what a dead station leaves has to be clean, too.
            assert_keys_are_in_chips_only(&owner, &Said::default());
            let said = owner.call(&["ledger", "balance", "--records", "records"]);
            assert_eq!(said.exit, Some(0), "{said:?}");
            owner.call(&["ledger", "audit", "--records", "records"]).good();
        }
    }
    assert!(hit >= 2, "most kills must find the program at work");
    owner.run("WO-1", &[]).good();
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
}

#[test]
fn a_ledger_that_was_removed_or_put_back_from_an_older_copy_gives_no_number_out_again() {
    let owner = line("");
    owner.run("WO-1", &["--scenario", &absent(&owner)]);
    std::fs::copy(owner.path("records/ledger.db"), owner.path("older.db")).unwrap();
    owner.run("WO-1", &[]).good();
    let ledger = owner.path("records/ledger.db");
    std::fs::rename(&ledger, owner.path("newest.db")).unwrap();
    std::fs::rename(owner.path("boards"), owner.path("first boards")).unwrap();
    for (copy, words) in [(None, "it is not there"), (Some("older.db"), "it ends before that")] {
        if let Some(copy) = copy {
            std::fs::copy(owner.path(copy), &ledger).unwrap();
        }
        let said = owner.run("WO-1", &["--seed", "2"]);
        assert_eq!(said.exit, Some(3), "{said:?}");
        assert!(said.stderr.contains("E638 ledger-broken") && said.stderr.contains(words), "{said:?}");
        assert_eq!(ledger.exists(), copy.is_some(), "no new ledger is begun");
    }
    std::fs::copy(owner.path("newest.db"), &ledger).unwrap();
    owner.run("WO-1", &["--seed", "2"]).good();
    assert_eq!(owner.balance("WO-1"), [10, 8, 0, 0, 0, 2]);
}

/// A scenario in which no board is there: the run makes the ledger and nothing else.
fn absent(owner: &Owner) -> String {
    let slots = (1..=4).map(|slot| format!("[[slot]]\nslot = {slot}\nfault = \"absent\"\n"));
    owner.file("absent.toml", &slots.collect::<String>()).display().to_string()
}

#[test]
fn an_issuer_that_cannot_issue_is_told_before_any_board_has_a_number() {
    let owner = line("");
    let pem = std::fs::read_to_string(owner.path("line/issuer.pem")).unwrap();
    for (file, text, words) in [
        ("line/issuer.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "issuer.pem"),
        ("line/issuer.key", "no key", "issuer.key"),
    ] {
        let kept = std::fs::read_to_string(owner.path(file)).unwrap();
        owner.file(file, text);
        owner.run("WO-1", &[]).refused("E636 certificate", words);
        owner.file(file, &kept);
    }
    owner
        .call(&["release", "key", "issuer", "--name", "Other", "--certificate", "o.pem", "--key", "o.key"])
        .good();
    owner.file("line/issuer.pem", &std::fs::read_to_string(owner.path("o.pem")).unwrap());
    owner.run("WO-1", &[]).refused("E636 certificate", "issuer");
    owner.file("line/issuer.pem", &pem);
    let station = std::fs::read_to_string(owner.path("line/station.toml")).unwrap();
    owner.file("line/station.toml", &station.replace("valid_days = 365", "valid_days = 36500"));
    owner.run("WO-1", &[]).refused("E636 certificate", "");
    assert!(!owner.path("records/ledger.db").exists(), "nothing was begun");
}

/// Lets a run in real time go on for so long.
#[expect(clippy::disallowed_methods, reason = "another process is at work, in real time")]
fn work_on(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// The canary: the keys that are in the chips are in no record, write-ahead log, report or anything else.
fn assert_keys_are_in_chips_only(owner: &Owner, said: &Said) {
    let chips = owner.path("boards");
    let keys = (1..=4).filter(|slot| chips.join(format!("slot-{slot}-F405.flash")).exists());
    let keys: Vec<_> = keys.map(|slot| board_file(owner, slot).1).filter(|key| *key != [0xFF; 32]).collect();
    assert_in_chips_only(owner, said, &keys);
}

/// These bytes, in no spelling, are in any file but those of the chips, nor in what was printed.
pub(crate) fn assert_in_chips_only(owner: &Owner, said: &Said, secrets: &[Vec<u8>]) {
    let chips = owner.path("boards");
    let mut elsewhere: Vec<_> =
        files(&owner.path("")).into_iter().filter(|(path, _)| !path.starts_with(&chips)).collect();
    assert!(elsewhere.iter().any(|(path, _)| path.ends_with("records/ledger.db")));
    elsewhere.push(("stdout and stderr".into(), [said.stdout.as_bytes(), said.stderr.as_bytes()].concat()));
    for key in secrets {
        let mut parts = vec![key[..16].to_vec(), hex(key).into_bytes(), hex(key).to_uppercase().into_bytes()];
        // Inside a longer base64 text the key may begin at each of the three places of a group.
        parts.extend((0..3).map(|skipped| base64(&key[skipped..])));
        parts.push(key.iter().rev().copied().collect());
        for (path, bytes) in &elsewhere {
            assert!(parts.iter().all(|part| !contains(bytes, part)), "a secret is in {}", path.display());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole groups of base64 (RFC 4648) without what needs padding.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize])
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

//! Every reason for which a work order does not run, through the binary: its own code, its values, nothing begun.

use panel_ledger::{Block, Contents, Issuer, KeyKind, Ledger, Pool, SerialBlock, SqliteLedger, UnitKey};

use crate::owner::{Owner, image};

const FITS: &str = "identity = { serial = true }";

fn small() -> String {
    image("application", "app", "bench-64k.bin", Some(0x0802_0000))
}

/// A station with a good release, a good order WO-1, and one of another number that must not blur the reason.
fn line() -> Owner {
    let owner = Owner::new();
    owner.station();
    owner.place_release("fw", FITS, &small());
    owner.place_order("order", "");
    let serials = "serials = [{ format = \"X-{counter:5}\", first = 1, last = 10 }]";
    owner.place_order("other", &format!("id = \"WO-9\"\n{serials}"));
    owner
}

/// Refused with this code and all of these words; neither records nor ledger have been begun.
fn refused_untouched(owner: &Owner, order: &str, code: &str, words: &[&str]) {
    let said = owner.run(order, &[]);
    words.iter().for_each(|words| said.refused(code, words));
    for begun in ["records/ledger.db", "records/floors.json", "boards/slot-1-F405.flash"] {
        assert!(!owner.path(begun).exists(), "{code}: {begun}");
    }
}

/// A second root document with these lines, signed and trusted by the station.
fn newer_root(owner: &Owner, lines: &str) {
    let text = std::fs::read_to_string(owner.path("root.toml")).unwrap();
    let text = text.replace("counter = 1", &format!("counter = 2\n{lines}"));
    owner.file("root2.toml", &text);
    owner.pack("root2.toml", "root2.pfk").good();
    owner.sign("root2.pfk", &["root-a", "root-b"]);
    owner.call(&["station", "root", "root2.pfk", "--station-file", "line/station.toml"]).good();
}

#[test]
fn each_order_that_must_not_run_has_its_own_code_and_values_beside_other_orders() {
    let owner = line();
    for (lines, code, words) in [
        ("not_after = \"2021-01-01T00:00:00Z\"", "E622 order-date", &["expired at 2021-01-01", "now 20"]),
        ("not_before = \"2097-01-01T00:00:00Z\"", "E622 order-date", &["not valid before 2097", "now 20"]),
        ("stations = [\"line9\"]", "E623 order-station", &["line9", "line1-a"]),
        ("root = 2", "E611 release-root", &["under root document 2", "trusts 1"]),
    ] {
        owner.place_order("order", lines);
        refused_untouched(&owner, "WO-1", code, words);
    }
    owner.place_order("order", "");
    owner.pack("order.toml", "line/orders/order.pfo").good();
    refused_untouched(&owner, "WO-1", "E627 order-unsigned", &["order.pfo", "1 signatures of role order"]);
    owner.sign("line/orders/order.pfo", &["alice"]);
    refused_untouched(&owner, "WO-1", "E621 order-signature", &["wrong key", "role order"]);
    owner.place_order("order", "");
    newer_root(&owner, "revoked_orders = [\"WO-1\"]");
    refused_untouched(&owner, "WO-1", "E626 order-revoked", &["root document 2", "WO-1"]);
}

#[test]
fn each_release_that_must_not_be_made_has_its_own_code_beside_other_releases() {
    let owner = line();
    owner.place_release("older", &format!("version = \"1.4.1\"\n{FITS}"), &small());
    for (lines, code, words) in [
        ("build = \"debug\"", "E607 release-debug", &["fw.pfr", "older.pfr: is release widget-fw 1.4.1"]),
        ("expires = \"2021-01-01T00:00:00Z\"", "E603 release-expired", &["expired at 2021-01-01", "now 20"]),
        ("root = 2", "E611 release-root", &["under root document 2", "trusts 1"]),
        (
            "product = \"gadget\"",
            "E624 order-release",
            &["for product \"gadget\", expected \"widget\"", "fw.pfr"],
        ),
    ] {
        owner.place_release("fw", &format!("{lines}\n{FITS}"), &small());
        refused_untouched(&owner, "WO-1", code, words);
    }
    owner.release("half", FITS, &small()).good();
    owner.sign("half.pfr", &["bob"]);
    std::fs::rename(owner.path("half.pfr"), owner.path("line/releases/fw.pfr")).unwrap();
    refused_untouched(&owner, "WO-1", "E601 release-unsigned", &["1 of 2", "older.pfr"]);
    owner.place_release("fw", FITS, &small());
    newer_root(&owner, "floors = { widget = 20 }");
    refused_untouched(&owner, "WO-1", "E605 release-downgrade", &["counter 17", "floor 20"]);
}

#[test]
fn files_that_cannot_be_read_stop_no_order_and_are_named_when_nothing_fits() {
    let owner = line();
    let key = owner.call(&["release", "key", "station", "other.key", "--json"]).good().json();
    let to = key["public"].as_str().unwrap();
    let sealed = ["release", "encrypt", "line/releases/fw.pfr", "--to", to];
    owner.call(&[&sealed[..], &["--output", "line/releases/sealed.pfr"]].concat()).good();
    std::fs::create_dir(owner.path("line/releases/folder.pfr")).unwrap();
    std::fs::File::create(owner.path("line/releases/huge.pfr")).unwrap().set_len(1 << 30).unwrap();
    owner.file("line/releases/archive.pfr", "PK\u{3}\u{4} a zip of ../../etc/passwd");
    let pipe = std::process::Command::new("mkfifo").arg(owner.path("line/releases/pipe.pfr")).status();
    assert!(pipe.unwrap().success());
    let shown = owner.call(&["station", "show", "--station-file", "line/station.toml"]).good().stdout;
    let reasons =
        ["sealed.pfr: E612", "folder.pfr: E513", "huge.pfr: E609", "archive.pfr: E606", "pipe.pfr: E513"];
    reasons.iter().for_each(|words| assert!(shown.contains(words), "{words}: {shown}"));
    owner.place_order("third", "id = \"WO-3\"\nrelease = { version = { name = \"x\", version = \"1\" } }");
    let files = ["sealed.pfr", "folder.pfr", "huge.pfr", "archive.pfr", "pipe.pfr", "fw.pfr"];
    refused_untouched(&owner, "WO-3", "E624 order-release", &files);
    owner.run("WO-1", &[]).good();
}

#[test]
fn a_changed_byte_of_each_part_of_an_order_stops_it() {
    let owner = line();
    let path = owner.path("line/orders/order.pfo");
    let good = std::fs::read(&path).unwrap();
    for (at, code, words) in [
        (0, "E624", "not a order file"),
        (3, "E624", "begins with"),
        (8, "E624", "container format"),
        (10, "E624", "own header says"),
        (12, "E624", "own header says"),
        (16, "E624", "own header says"),
        (good.len() - 90, "E621 order-signature", "document or its only signature"),
        (good.len() - 1, "E621 order-signature", "document or its only signature"),
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x01;
        std::fs::write(&path, bytes).unwrap();
        refused_untouched(&owner, "WO-1", code, &[words]);
    }
}

#[test]
fn a_clock_before_the_ledgers_last_entry_stops_every_way_to_a_number() {
    let owner = line();
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    std::fs::create_dir(owner.path("records")).unwrap();
    let mut ledger = SqliteLedger::open(&owner.path("records/ledger.db")).unwrap();
    let format = "C-{counter:3}".parse().unwrap();
    let block = Block::Serial(SerialBlock { format, first: 1, count: 5 });
    ledger.add_pool(&Pool { product: Some("widget".to_owned()), order: None, block }, ahead).unwrap();
    let entries = ledger.head().unwrap();
    drop(ledger);
    owner.file("list.csv", "serial\nL1\n");
    let uid = "1e002f003339373947393501";
    for said in [
        owner.run("WO-1", &[]),
        owner.call(&["ledger", "import", "list.csv", "--product", "widget", "--records", "records"]),
        owner.call(&[
            "ledger",
            "allocate",
            "--product",
            "widget",
            "--serial",
            "--uid",
            uid,
            "--records",
            "records",
        ]),
    ] {
        assert_eq!(said.exit, Some(3), "{said:?}");
        for words in ["error: E409 station-clock", "the clock says 20", &ahead.to_string()[..16], "do this: "]
        {
            assert!(said.stderr.contains(words), "{words}: {said:?}");
        }
    }
    assert_eq!(SqliteLedger::open(&owner.path("records/ledger.db")).unwrap().head().unwrap(), entries);
    let chip = owner.chip(1);
    assert!(chip[4096 + 0x2_0000..][..64].iter().all(|byte| *byte == 0xFF), "no board was touched");
}

#[test]
fn an_order_that_is_used_up_touches_no_further_chip_and_blocks_that_overlap_are_refused() {
    let owner = line();
    owner.place_order("order", "quantity = 4");
    owner.run("WO-1", &[]).good();
    std::fs::rename(owner.path("boards"), owner.path("made")).unwrap();
    let said = owner.run("WO-1", &["--seed", "2"]);
    assert_eq!(said.exit, Some(1), "{said:?}");
    for board in said.json()["boards"].as_array().unwrap() {
        assert_eq!(board["code"], "E625 quota-exhausted", "{board}");
        assert!(board["detail"].as_str().unwrap().contains("0 left"), "{board}");
        assert_eq!(board["serial"], serde_json::Value::Null);
    }
    assert_eq!(owner.balance("WO-1"), [4, 4, 0, 0, 0, 0]);
    let by_hand = ["ledger", "allocate", "--product", "widget", "--serial", "--order", "WO-1"];
    let uid = ["--uid", "1e002f003339373947393501", "--records", "records"];
    owner.call(&[&by_hand[..], &uid].concat()).refused("E625 quota-exhausted", "1 new units wanted, 0 left");
    let overlap = "id = \"WO-2\"\nserials = [{ format = \"W-{counter:5}\", first = 9, last = 30 }]";
    owner.place_order("second", overlap);
    owner.run("WO-2", &[]).refused("E620 order-file", "overlaps pool");
    let more = ["ledger", "add", "--product", "widget", "--serial-format", "W-{counter:5}", "--first", "10"];
    let more = [&more[..], &["--count", "2", "--records", "records"]].concat();
    owner.call(&more).refused("E620 order-file", "overlaps pool");
    assert_eq!(owner.balance("WO-1"), [4, 4, 0, 0, 0, 0]);
}

#[test]
fn a_board_with_another_chip_or_revision_gets_no_number_and_the_others_pass() {
    for (lines, fault, code, words) in [
        (FITS, "fault = \"wrong-chip\"\nchip = \"F429\"", "E103 wrong-chip", "0x419"),
        (
            "identity = { serial = true }\nhardware = [1]",
            "fault = \"wrong-revision\"\nrevision = 9",
            "E104 wrong-hardware-revision",
            "9",
        ),
    ] {
        let owner = line();
        owner.place_release("fw", lines, &small());
        owner.file("scenario.toml", &format!("[[slot]]\nslot = 2\n{fault}\n"));
        let said = owner.run("WO-1", &["--scenario", "scenario.toml"]);
        assert_eq!(said.exit, Some(1), "{said:?}");
        let board = &said.json()["boards"][1];
        assert_eq!((&board["code"], &board["serial"]), (&code.into(), &serde_json::Value::Null), "{board}");
        assert!(board["detail"].as_str().unwrap().contains(words), "{board}");
        assert_eq!(owner.balance("WO-1"), [10, 3, 0, 0, 0, 7]);
    }
}

#[test]
fn an_issuer_that_is_out_of_its_dates_or_cut_is_told_before_any_number_with_its_window() {
    let owner = crate::whole::line("");
    let kept = std::fs::read_to_string(owner.path("line/issuer.pem")).unwrap();
    let issuer = |from: &str, until: &str| {
        let key = UnitKey::make(KeyKind::P256, |seed| {
            (1..).zip(seed.iter_mut()).for_each(|(at, byte)| *byte = at);
            Ok::<_, String>(())
        });
        let (from, until) = (from.parse().unwrap(), until.parse().unwrap());
        let contents = Contents { common_name: "Example Units", serial: [7; 16], from, until };
        let issuer = Issuer::make(key.unwrap(), &contents).unwrap();
        (issuer.certificate_pem().unwrap(), issuer.key_pem().unwrap().to_string())
    };
    for (from, until) in
        [("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"), ("2097-01-01T00:00:00Z", "2098-01-01T00:00:00Z")]
    {
        let (certificate, key) = issuer(from, until);
        owner.file("line/issuer.pem", &certificate);
        owner.file("line/issuer.key", &key);
        refused_untouched(&owner, "WO-1", "E636 certificate", &[&from[..10], &until[..10]]);
    }
    owner.file("line/issuer.pem", &kept[..kept.len() / 2]);
    refused_untouched(&owner, "WO-1", "E636 certificate", &["issuer.pem"]);
}

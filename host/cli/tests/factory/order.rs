//! `panelflash run --order`: which release is selected, what is refused, what boards get and what it costs.

use serde_json::Value;

use crate::owner::{Owner, Said, image};

/// A small application, so that runs are short.
fn small() -> String {
    image("application", "app", "bench-64k.bin", Some(0x0802_0000))
}

/// A station with one release and one order.
fn line(release: &str, order: &str) -> Owner {
    let owner = Owner::new();
    owner.station();
    owner.place_release("fw", &format!("identity = {{ serial = true }}\n{release}"), &small());
    owner.place_order("order", order);
    owner
}

fn boards(said: &Said) -> Vec<Value> {
    said.json()["boards"].as_array().unwrap().clone()
}

#[test]
fn a_scan_programs_the_panel_and_every_board_has_its_own_serial_number() {
    let owner = line("", "");
    let said = owner.run("WO-1", &[]).good();
    let serials: Vec<_> = boards(&said).iter().map(|b| b["serial"].as_str().unwrap().to_owned()).collect();
    assert_eq!(serials, ["W-00001", "W-00002", "W-00003", "W-00004"]);
    let json = said.json();
    assert_eq!((&json["order"], &json["release"]), (&"WO-1".into(), &"widget-fw".into()));
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
    let unit = owner.call(&["report", "unit", "W-00002", "--records", "records", "--json"]).good().json();
    let run = &unit[0]["attempts"][0]["run"];
    assert_eq!((&run["order"], &run["station"]), (&"WO-1".into(), &"line1-a".into()));
    assert_eq!(run["shipment"], "for shipment");
}

#[test]
fn the_same_boards_again_keep_their_numbers_and_consume_nothing() {
    let owner = line("", "");
    let first = boards(&owner.run("WO-1", &[]).good());
    let again = boards(&owner.run("WO-1", &[]).good());
    let numbers =
        |boards: &[Value]| boards.iter().map(|b| (b["uid"].clone(), b["serial"].clone())).collect::<Vec<_>>();
    assert_eq!(numbers(&first), numbers(&again));
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
    owner.call(&["ledger", "audit", "--records", "records"]).good();
}

#[test]
fn boards_beyond_the_quantity_are_not_touched_and_the_others_pass() {
    let owner = line("", "quantity = 3");
    let said = owner.run("WO-1", &[]);
    let results: Vec<_> = boards(&said).iter().map(|b| (b["result"].clone(), b["code"].clone())).collect();
    assert_eq!(results[..3].iter().filter(|(r, _)| r == "pass").count(), 3, "{said:?}");
    assert_eq!(results[3].1, "E625 quota-exhausted");
    assert_eq!(owner.balance("WO-1"), [3, 3, 0, 0, 0, 0]);
    assert_eq!(said.exit, Some(1));
}

#[test]
fn an_order_that_cannot_be_used_is_refused_before_the_panel_with_its_reason() {
    for (lines, code, words) in [
        ("not_after = \"2021-01-01T00:00:00Z\"", "E622 order-date", "2021-01-01"),
        ("not_before = \"2097-01-01T00:00:00Z\"", "E622 order-date", "2097-01-01"),
        ("stations = [\"line9\"]", "E623 order-station", "line9"),
        ("product = \"gadget\"", "E624 order-release", "gadget"),
        ("root = 2", "E611 release-root", "2"),
        ("release = { version = { name = \"widget-fw\", version = \"9.9.9\" } }", "E624", "9.9.9"),
    ] {
        let owner = line("", lines);
        owner.run("WO-1", &[]).refused(code, words);
        assert!(!owner.path("records/ledger.db").exists(), "nothing was begun: {lines}");
    }
    let owner = line("", "");
    owner.run("WO-2", &[]).refused("E624 order-release", "WO-1");
}

#[test]
fn a_wrongly_signed_or_changed_order_is_refused() {
    let owner = line("", "");
    owner.pack("order.toml", "line/orders/order.pfo").good();
    owner.run("WO-1", &[]).refused("E627 order-unsigned", "order.pfo");
    owner.sign("line/orders/order.pfo", &["alice"]);
    owner.run("WO-1", &[]).refused("E621 order-signature", "order");
    owner.pack("order.toml", "line/orders/order.pfo").good();
    owner.sign("line/orders/order.pfo", &["sales"]);
    let path = owner.path("line/orders/order.pfo");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(13).position(|w| w == b"\"quantity\":10").unwrap() + 11;
    bytes[at] = b'9';
    std::fs::write(&path, bytes).unwrap();
    owner.run("WO-1", &[]).refused("E621 order-signature", "document");
}

#[test]
fn a_release_that_production_must_not_use_is_refused_with_its_reason() {
    for (lines, code, words) in [
        ("build = \"debug\"", "E607 release-debug", "fw.pfr"),
        ("expires = \"2021-01-01T00:00:00Z\"", "E603 release-expired", "2021-01-01"),
        ("targets = [\"STM32F405\", \"STM32F429\"]", "E608 release-target", "exactly one"),
        ("identity = { key = \"ed25519\", certificate = true }", "E636 certificate", "[issuer]"),
    ] {
        let owner = Owner::new();
        owner.station();
        owner.place_release("fw", lines, &small());
        owner.place_order("order", "");
        owner.run("WO-1", &[]).refused(code, words);
    }
    let owner = line("", "");
    owner.release("half", "version = \"1.4.3\"", &small()).good();
    owner.sign("half.pfr", &["alice"]);
    std::fs::rename(owner.path("half.pfr"), owner.path("line/releases/half.pfr")).unwrap();
    let lines = "id = \"WO-3\"\nrelease = { version = { name = \"widget-fw\", version = \"1.4.3\" } }";
    owner.place_order("third", lines);
    let said = owner.run("WO-3", &[]);
    said.refused("E601 release-unsigned", "half.pfr");
    assert!(said.stderr.contains("1 of 2") && said.stderr.contains("fw.pfr"), "each one's reason: {said:?}");
}

#[test]
fn two_releases_that_fit_are_ambiguous_and_an_older_one_is_not_taken_any_more() {
    let owner = line("counter = 18", "");
    owner.run("WO-1", &[]).good();
    owner.place_release("fw", "counter = 17\nidentity = { serial = true }", &small());
    owner.run("WO-1", &[]).refused("E605 release-downgrade", "18");
    let show = ["station", "show", "--station-file", "line/station.toml", "--records", "records"];
    let shown = owner.call(&show).good().stdout;
    assert!(shown.contains("fw.pfr: E605 release-downgrade") && shown.contains("17"), "{shown}");
    owner.place_release("fw", "counter = 18\nidentity = { serial = true }", &small());
    owner.place_release("twin", "counter = 19\nidentity = { serial = true }", &small());
    owner.run("WO-1", &[]).refused("E624 order-release", "fits as well");
}

#[test]
fn an_order_of_the_same_number_and_other_content_is_refused() {
    let owner = line("", "");
    owner.run("WO-1", &[]).good();
    owner.place_order("order", "quantity = 1000");
    owner.run("WO-1", &[]).refused("E620 order-file", "other content");
    owner.place_order("order", "");
    owner.place_order(
        "second",
        "id = \"WO-2\"\nserials = [{ format = \"W-{counter:5}\", first = 5, last = 20 }]",
    );
    owner.run("WO-2", &[]).refused("E620 order-file", "overlaps");
}

#[test]
fn a_station_trusts_only_what_its_owner_told_and_roots_that_follow() {
    let owner = line("", "");
    let args = ["station", "init", "other", "--id", "x", "--panel", "panel.toml", "--root", "root.pfk"];
    let wrong = "00".repeat(32);
    owner.call(&[&args[..], &["--fingerprint", &wrong]].concat()).refused("E611 release-root", &wrong);
    let second = std::fs::read_to_string(owner.path("root.toml")).unwrap();
    let second = second.replace("counter = 1", "counter = 2\nrevoked_orders = [\"WO-1\"]");
    owner.file("root2.toml", &second);
    owner.pack("root2.toml", "root2.pfk").good();
    owner.sign("root2.pfk", &["root-a", "root-b"]);
    owner.call(&["station", "root", "root2.pfk", "--station-file", "line/station.toml"]).good();
    owner.run("WO-1", &[]).refused("E626 order-revoked", "WO-1");
    let back = owner.call(&["station", "root", "root.pfk", "--station-file", "line/station.toml"]);
    back.refused("E611 release-root", "");
    let shown =
        owner.call(&["station", "show", "--station-file", "line/station.toml", "--json"]).good().json();
    assert_eq!((&shown["root"], &shown["files"][0]["usable"]), (&2.into(), &false.into()));
}

#[test]
fn a_developer_job_works_without_any_of_it_and_is_not_for_shipment() {
    let owner = Owner::new();
    let job = |lines: &str| {
        let image = crate::owner::firmware("bench-64k.bin");
        let text = format!(
            "name = \"trial\"\n{lines}\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n\
             [[image]]\nfile = \"{}\"\naddress = 0x08020000\n",
            image.display()
        );
        owner.file("job.toml", &text);
        owner.file("panel.toml", crate::owner::PANEL);
        let args = ["run", "job.toml", "--panel", "panel.toml", "--records", "records", "--virtual-time"];
        owner.call(&args)
    };
    let said = job("").good();
    assert!(said.stderr.contains("NOT FOR SHIPMENT") || said.stdout.contains("NOT FOR SHIPMENT"), "{said:?}");
    job("production = true").refused("E601 release-unsigned", "work order");
}

#[test]
fn a_ledger_that_is_damaged_stops_the_station_before_the_panel() {
    let owner = line("", "");
    owner.run("WO-1", &[]).good();
    let path = owner.path("records/ledger.db");
    std::fs::write(&path, b"SQLite format 3\0 and then something else that is no database at all").unwrap();
    for rest in ["records/ledger.db-wal", "records/ledger.db-shm"] {
        _ = std::fs::remove_file(owner.path(rest));
    }
    let said = owner.run("WO-1", &[]);
    assert_eq!(said.exit, Some(3), "{said:?}");
    assert!(said.stderr.contains("E412 database-corrupt"), "{said:?}");
}

#[test]
fn one_uid_on_two_buses_or_ports_gets_one_identity_at_most_and_passes_once_at_most() {
    let buses = "name = \"quad\"\nrows = 2\ncolumns = 2\nbinding = \"straps\"\n\
                 [[bus]]\nlink = \"sim\"\n[[bus]]\nlink = \"sim\"\n";
    let ports = "name = \"quad\"\nrows = 2\ncolumns = 2\nways = [\"rom-uart\"]\nport = \"sim\"\n\
                 [fixture]\npower = \"sim:p{slot}\"\nnrst = \"sim:r{slot}\"\nboot0 = \"sim:b\"\n";
    for panel in [buses, ports] {
        let owner = line("", "");
        owner.file("panel.toml", panel);
        let scenario = owner.file("twins.toml", "[[slot]]\nslot = 4\nfault = \"same-uid\"\nas = 1\n");
        let said = owner.run("WO-1", &["--scenario", scenario.to_str().unwrap()]);
        assert_eq!(said.exit, Some(1), "{said:?}");
        let boards = boards(&said);
        assert_eq!(boards[3]["code"], "E102 duplicate-uid", "{boards:?}");
        assert!(boards[3]["detail"].as_str().unwrap().ends_with("is in slots 1, 4"), "{boards:?}");
        let passed: Vec<_> = boards.iter().filter(|b| b["result"] == "pass").collect();
        let mut serials: Vec<_> = passed.iter().map(|b| b["serial"].as_str().unwrap()).collect();
        serials.dedup();
        assert_eq!(serials.len(), passed.len());
        let [_, counted, failed, _, doubt, remaining] = owner.balance("WO-1");
        assert_eq!((counted as usize, failed + doubt), (passed.len(), 0), "{boards:?}");
        assert_eq!(counted + remaining, 10);
        owner.call(&["ledger", "audit", "--records", "records"]).good();
    }
}

#[test]
fn a_ledger_of_a_newer_program_is_refused_before_a_simulated_board_is_made() {
    let owner = line("", "");
    owner.run("WO-1", &[]).good();
    std::fs::remove_dir_all(owner.path("boards")).unwrap();
    let ledger = rusqlite::Connection::open(owner.path("records/ledger.db")).unwrap();
    ledger.pragma_update(None, "user_version", 99).unwrap();
    let said = owner.run("WO-1", &[]);
    assert_eq!(said.exit, Some(3), "{said:?}");
    assert!(said.stderr.contains("E411 database-newer") && said.stderr.contains("99"), "{said:?}");
    assert!(!owner.path("boards").exists());
}

#[test]
fn option_bytes_of_the_release_are_set_before_the_lock_and_kept_in_the_chip() {
    let owner = Owner::new();
    owner.station();
    // USER byte of the F405 (RM0090 3.9.2): BOR level 1, hardware watchdog off.
    std::fs::write(owner.path("options.bin"), [0xEB]).unwrap();
    let options = "[[image]]\nrole = \"option_bytes\"\nname = \"options\"\nfile = \"options.bin\"\naddress = 0x1FFFC000\n";
    owner.place_release("fw", "identity = { serial = true }", &(small() + options));
    owner.place_order(
        "order",
        "policy = { lock = \"rdp1\", strikes = 3, retests = { contact = 1, station = 1, board = 1 } }",
    );
    owner.run("WO-1", &[]).good();
    let report = owner.call(&["report", "unit", "W-00001", "--records", "records"]).good().stdout;
    let at = |step: &str| report.find(step).unwrap_or_else(|| panic!("{step}: {report}"));
    assert!(at("options") < at("lock") && at("lock") < at("prove-lock"), "{report}");
    let chip = owner.chip(1);
    assert_eq!((chip[14], chip[16]), (1, 0xEB), "protection and first option byte in the chip");
}

#[test]
fn a_unit_that_failed_as_often_as_the_order_allows_is_kept_apart_until_somebody_permits_it() {
    let owner = line("", "");
    let scenario =
        owner.file("bad.toml", "[[slot]]\nslot = 3\nfault = \"program-fails\"\naddress = 0x08020004\n");
    let bad = ["--scenario", scenario.to_str().unwrap()];
    let third = |said: &Said| {
        let board = boards(said)[2].clone();
        (board["result"].as_str().unwrap().to_owned(), board["code"].as_str().unwrap_or_default().to_owned())
    };
    for _ in 0..2 {
        assert_eq!(third(&owner.run("WO-1", &bad)).1, "E214 program-failed");
    }
    let refused = owner.run("WO-1", &[]);
    assert_eq!(third(&refused), ("fail".to_owned(), "E641 retests-used-up".to_owned()));
    let detail = boards(&refused)[2]["detail"].clone();
    assert_eq!(detail, "2 runs ended with board trouble, and 1 retests are the most after that");
    assert_eq!(third(&owner.run("WO-1", &["--permit", "new socket, says Kim"])).0, "pass");
    assert_eq!(third(&owner.run("WO-1", &[])).0, "pass", "a pass ends the matter");
    let unit = owner.call(&["report", "unit", "W-00003", "--records", "records", "--json"]).good().json();
    let text = unit.to_string();
    assert!(text.contains("permitted once more: new socket, says Kim"), "{text}");
    assert_eq!(unit[0]["passed_only_on_retest"], true);
}

//! Units that do not pass: how often they may be run again, how they are kept apart and by whom, and what reports say.

use serde_json::Value;

use crate::owner::{Owner, Said, image};

/// A station with a small release and an order of this policy.
fn line(policy: &str) -> Owner {
    let owner = Owner::new();
    owner.station();
    let small = image("application", "app", "bench-64k.bin", Some(0x0802_0000));
    owner.place_release("fw", "identity = { serial = true }", &small);
    owner.place_order("order", &format!("policy = {{ lock = \"none\", {policy} }}"));
    owner
}

/// A run in which this is wrong with these slots.
fn run(owner: &Owner, fault: &str, slots: &[u16]) -> Said {
    let faults = slots.iter().map(|slot| format!("[[slot]]\nslot = {slot}\n{fault}\n"));
    let scenario = owner.file("scenario.toml", &faults.collect::<String>());
    owner.run("WO-1", &["--scenario", scenario.to_str().unwrap()])
}

/// Result, code and detail of a slot.
fn ended(said: &Said, slot: usize) -> [String; 3] {
    let board = &said.json()["boards"][slot - 1];
    ["result", "code", "detail"].map(|key| board[key].as_str().unwrap_or_default().to_owned())
}

fn call(owner: &Owner, args: &[&str]) -> Said {
    owner.call(&[args, &["--records", "records"]].concat())
}

fn quarantine(owner: &Owner) -> Vec<Value> {
    let said = call(owner, &["quarantine", "list", "--json"]).good();
    said.json().as_array().unwrap().clone()
}

const BOARD: &str = "fault = \"program-fails\"\naddress = 0x08020004";
const CONTACT: &str = "fault = \"bus-off\"\nat_ms = 200";
/// Where nobody acknowledges any more nobody can tell one board from another.
const STATION: &[u16] = &[1, 2, 3, 4];

#[test]
fn a_unit_in_quarantine_is_listed_with_its_reason_and_runs_again_once_it_is_released() {
    let owner = line("strikes = 3, retests = { contact = 1, station = 1, board = 1 }");
    run(&owner, BOARD, &[3]);
    assert_eq!(quarantine(&owner), Vec::<Value>::new());
    call(&owner, &["quarantine", "release", "W-00003", "--reason", "x", "--operator", "Kim"])
        .refused("E511", "W-00003: is not in quarantine");
    run(&owner, BOARD, &[3]);
    assert_eq!(ended(&run(&owner, "", &[]), 3)[1], "E641 retests-used-up");

    let list = quarantine(&owner);
    let why = "2 runs ended with board trouble, and 1 retests are the most after that";
    assert_eq!((list.len(), &list[0]["serial"], &list[0]["reason"]), (1, &"W-00003".into(), &why.into()));
    assert_eq!(
        (&list[0]["last"]["run"], &list[0]["last"]["code"]),
        (&2.into(), &"E214 program-failed".into())
    );
    let text = call(&owner, &["quarantine", "list", "--product", "widget"]).good().stdout;
    assert!(text.contains("1 units in quarantine") && text.contains(why) && text.contains("E214"), "{text}");

    let release = ["quarantine", "release", "W-00003", "--reason", "socket cleaned"];
    call(&owner, &release).refused("E511", "--operator");
    call(&owner, &[&release[..], &["--operator", "Kim"]].concat()).good();
    assert_eq!(quarantine(&owner), Vec::<Value>::new());
    assert_eq!(ended(&run(&owner, "", &[]), 3)[0], "pass");

    let unit = call(&owner, &["report", "unit", "W-00003"]).good().stdout;
    assert!(unit.contains("released by Kim: socket cleaned"), "{unit}");
    assert!(unit.lines().next().unwrap().ends_with("pass, passed only on retest"), "{unit}");
    let lines = call(&owner, &["report", "csv", "--json"]).good().json();
    let marked = lines.as_array().unwrap().iter().filter(|l| l["passed_only_on_retest"] == true);
    assert_eq!(marked.map(|l| l["serial"].clone()).collect::<Vec<_>>(), ["W-00003"]);
    assert!(
        call(&owner, &["report", "csv"])
            .good()
            .stdout
            .lines()
            .next()
            .unwrap()
            .contains("passed_only_on_retest")
    );
    run(&owner, "", &[]);
    let again = call(&owner, &["report", "unit", "W-00003", "--json"]).good().json();
    assert_eq!(again[0]["passed_only_on_retest"], true, "for ever");
    call(&owner, &["report", "verify"]).good();
}

#[test]
fn a_unit_that_a_person_holds_or_scraps_is_not_run_and_a_scrapped_one_leaves_the_balance() {
    let owner = line("strikes = 3, retests = { contact = 1, station = 1, board = 1 }");
    run(&owner, "", &[]).good();
    let rule = |what: &str, unit: &str, why: &str| {
        call(&owner, &["quarantine", what, unit, "--reason", why, "--operator", "Kim", "--json"])
    };
    let held = rule("hold", "W-00001", "smells").good().json();
    assert_eq!((&held["ruling"]["kind"], &held["ruling"]["who"]), (&"held".into(), &"Kim".into()));
    rule("hold", "W-00001", "again").refused("E511", "is kept apart already");
    rule("hold", "W-9", "nobody").refused("E511", "no unit");
    rule("hold", "W-0000", "which").refused("E511", "several");
    assert_eq!(quarantine(&owner)[0]["reason"], "held by Kim: smells");
    let refused = run(&owner, "", &[]);
    assert_eq!(ended(&refused, 1), ["fail", "E640 quarantined", "held by Kim: smells"]);

    rule("scrap", "W-00001", "burnt").good();
    assert_eq!(owner.balance("WO-1"), [10, 3, 0, 1, 0, 6]);
    assert_eq!(quarantine(&owner), Vec::<Value>::new(), "dealt with");
    let refused = owner.run("WO-1", &["--permit", "Kim wants it"]);
    assert_eq!(ended(&refused, 1), ["fail", "E640 quarantined", "scrapped by Kim: burnt"]);
    assert_eq!(owner.balance("WO-1"), [10, 3, 0, 1, 0, 6], "a refused unit consumes nothing");
    rule("scrap", "W-00001", "said twice").good();

    rule("release", "W-00001", "the wrong board was burnt").good();
    let said = run(&owner, "", &[]).good();
    assert_eq!(said.json()["boards"][0]["serial"], "W-00005", "a new unit with new numbers");
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6], "a chip counts once in its order");
    let unit = call(&owner, &["report", "unit", "W-00001"]).good().stdout;
    assert!(unit.contains("scrapped by Kim: burnt"), "{unit}");
    call(&owner, &["ledger", "audit"]).good();
}

#[test]
fn each_class_of_trouble_has_its_own_retests() {
    for (class, fault, slots, first) in [
        ("contact", CONTACT, &[3][..], "E305 board-bus-off"),
        ("station", CONTACT, STATION, "E403 transmit-stuck"),
        ("board", BOARD, &[3], "E214 program-failed"),
    ] {
        for (budgets, again) in [(0, "E641 retests-used-up"), (1, "")] {
            let retests = ["contact", "station", "board"]
                .map(|of| format!("{of} = {}", if of == class { budgets } else { 0 }))
                .join(", ");
            let owner = line(&format!("strikes = 9, retests = {{ {retests} }}"));
            assert_eq!(ended(&run(&owner, fault, slots), 3)[1], first);
            let [result, code, detail] = ended(&run(&owner, "", &[]), 3);
            assert_eq!(
                (code.as_str(), result == "pass"),
                (again, budgets == 1),
                "{class} {budgets}: {detail}"
            );
            assert_eq!(
                detail.contains(&format!("1 runs ended with {class} trouble")),
                budgets == 0,
                "{detail}"
            );
        }
    }
}

#[test]
fn three_strikes_of_any_class_put_a_unit_in_quarantine() {
    let owner = line("strikes = 3, retests = { contact = 9, station = 9, board = 9 }");
    for fault in [BOARD, BOARD, CONTACT] {
        assert_eq!(ended(&run(&owner, fault, &[3]), 3)[0], "fail");
    }
    let [_, code, detail] = ended(&run(&owner, "", &[]), 3);
    assert_eq!(
        (code.as_str(), detail.as_str()),
        ("E640 quarantined", "3 runs did not pass, and 3 are the most")
    );
    assert_eq!(quarantine(&owner)[0]["standing"]["contact"], 1);
}

#[test]
fn the_yield_report_names_first_passes_codes_retests_and_the_slot_whose_pins_want_cleaning() {
    let owner = line("strikes = 9, retests = { contact = 9, station = 9, board = 9 }");
    run(&owner, &format!("{CONTACT}\n[[slot]]\nslot = 4\n{BOARD}"), &[2]);
    for _ in 0..2 {
        run(&owner, CONTACT, &[2]);
    }
    run(&owner, "", &[]).good();
    let text = call(&owner, &["report", "yield"]).good().stdout;
    for words in [
        "attempts: 12 PASS",
        "first-pass yield 50.0 % (2 of 4), final yield 100.0 % (4 of 4)",
        "2 units passed only on retest:",
        "attempts, first E305 board-bus-off",
        "slot 2: signs of bad contact in 3 runs; clean the pins",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("slot 4:"), "{text}");
    let pareto: Vec<_> = text.lines().filter(|l| l.starts_with("  E")).collect();
    assert!(pareto[0].contains("E305 board-bus-off"), "{text}");
    assert!(pareto[1].contains("E214 program-failed") && pareto[1].contains("100.0 %"), "{text}");
    let json = call(&owner, &["report", "yield", "--json"]).good().json();
    let slot = &json["slots"][1];
    assert_eq!((&slot["contact_signs"], &slot["contact_suspect"]), (&3.into(), &true.into()));
}

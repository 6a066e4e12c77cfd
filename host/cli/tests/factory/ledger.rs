//! `panelflash ledger`: numbers by hand, lists, balance, audit and export.

use crate::owner::{Owner, Said};

const UID: [&str; 3] =
    ["1e002f0033393739473935303031aa00", "1e002f003339373947393501", "1e002f003339373947393502"];

fn ledger(owner: &Owner, args: &[&str]) -> Said {
    owner.call(&[&["ledger"][..], args, &["--records", "records"]].concat())
}

fn add_serials(owner: &Owner) {
    let args = ["add", "--product", "widget", "--serial-format", "W-{counter:4}", "--count", "5"];
    ledger(owner, &args).good();
}

#[test]
fn the_same_chip_gets_the_same_number_again() {
    let owner = Owner::new();
    add_serials(&owner);
    let allocate = |uid: &str| {
        let args = ["allocate", "--product", "widget", "--serial", "--uid", uid, "--json"];
        ledger(&owner, &args).good().json()["numbers"]["serial"].as_str().unwrap().to_owned()
    };
    assert_eq!([allocate(UID[1]), allocate(UID[2]), allocate(UID[1])], ["W-0001", "W-0002", "W-0001"]);
    let shown = ledger(&owner, &["show", "W-0002", "--json"]).good().json();
    assert_eq!((&shown[0]["uid"], &shown[0]["state"]), (&UID[2].into(), &"reserved".into()));
    let all = ledger(&owner, &["show"]).good().stdout;
    assert!(all.contains("2 units reserved") && all.contains("3 of 5 units left"), "{all}");
}

#[test]
fn numbers_run_out_with_a_code_and_a_void_number_never_comes_back() {
    let owner = Owner::new();
    add_serials(&owner);
    let uids: Vec<String> = (0..6).map(|n| format!("1e002f0033393739473935{n:02}")).collect();
    let mut args = vec!["allocate", "--product", "widget", "--serial", "--uid"];
    args.extend(uids[..5].iter().map(String::as_str));
    ledger(&owner, &args).good();
    ledger(&owner, &["void", "1", "--reason", "dropped on the floor"]).good();
    let more = ["allocate", "--product", "widget", "--serial", "--uid", &uids[5]];
    ledger(&owner, &more).refused("E631 identity-exhausted", "1 wanted, 0 left");
    ledger(&owner, &["void", "2", "--reason", " "]).refused("E511 usage", "a reason is needed");
    let audit = ledger(&owner, &["audit", "--json"]).good().json();
    assert_eq!(audit["explained"][0][1], "dropped on the floor");
}

#[test]
fn a_list_is_imported_once_and_exported_with_its_units() {
    let owner = Owner::new();
    owner.file("list.csv", "serial,eui48\nX1,70b3d5000001\nX2,70b3d5000002\n");
    ledger(&owner, &["import", "list.csv", "--product", "widget"]).good();
    ledger(&owner, &["import", "list.csv", "--product", "widget"]).refused("E630 identity-duplicate", "X1");
    owner.file("bad.csv", "serial\nX3\n\u{fc}\n");
    ledger(&owner, &["import", "bad.csv", "--product", "widget"]).refused("E620 order-file", "line 3");
    let uid = UID[1];
    let args = ["allocate", "--product", "widget", "--serial", "--eui48", "1", "--uid", uid];
    ledger(&owner, &args).good();
    let csv = ledger(&owner, &["export"]).good().stdout;
    assert!(csv.lines().nth(1).unwrap().contains("X1,70b3d5000001"), "{csv}");
    ledger(&owner, &["export", "--log", "--output", "log.jsonl"]).good();
    assert!(std::fs::read_to_string(owner.path("log.jsonl")).unwrap().contains("reserved"));
}

#[test]
fn an_audit_finds_a_changed_entry_and_an_older_copy() {
    let owner = Owner::new();
    add_serials(&owner);
    std::fs::copy(owner.path("records/ledger.db"), owner.path("old.db")).unwrap();
    ledger(&owner, &["allocate", "--product", "widget", "--serial", "--uid", UID[1]]).good();
    let audit = ledger(&owner, &["audit", "--json"]).good().json();
    let head = &audit["checkpoint"];
    let checkpoint = format!("{}:{}", head["seq"], head["hash"].as_str().unwrap());
    ledger(&owner, &["audit", "--checkpoint", &checkpoint]).good();
    std::fs::copy(owner.path("old.db"), owner.path("records/ledger.db")).unwrap();
    for rest in ["records/ledger.db-wal", "records/ledger.db-shm"] {
        _ = std::fs::remove_file(owner.path(rest));
    }
    let said = ledger(&owner, &["audit", "--checkpoint", &checkpoint]);
    assert_eq!(said.exit, Some(1), "{said:?}");
    assert!(
        said.stdout.contains("E638 ledger-broken") && said.stdout.contains("older copy"),
        "{}",
        said.stdout
    );
}

#[test]
fn what_cannot_be_asked_is_refused_with_the_reason() {
    let owner = Owner::new();
    ledger(&owner, &["show"]).refused("E513 file-unreadable", "there is no ledger yet");
    add_serials(&owner);
    ledger(&owner, &["show", "nothing"]).refused("E511 usage", "nothing");
    ledger(&owner, &["balance", "WO-1"]).refused("E620 order-file", "WO-1");
    let bad = ["allocate", "--product", "widget", "--serial", "--uid", UID[0]];
    ledger(&owner, &bad).refused("E511 usage", "24 hex digits");
    let zero = ["allocate", "--product", "widget", "--serial", "--uid", "000000000000000000000000"];
    let said = ledger(&owner, &zero);
    assert!(said.stderr.contains("failed read"), "{said:?}");
    ledger(&owner, &["add", "--eui48", "ff:ff:ff:00:00:00", "--count", "4"]).refused("E620", "group");
}

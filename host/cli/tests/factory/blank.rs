//! Work orders on blank boards: identity, lock and proof through the ROM bootloader of their chips, or after an agent.

use serde_json::Value;

use crate::owner::{Owner, Said, image};

/// A station for 2 x 2 blank boards that get serial numbers and leave locked.
fn station(way: &str, more: &str) -> Owner {
    let owner = Owner::new();
    owner.station();
    let panel = format!(
        "name = \"blank\"\nrows = 2\ncolumns = 2\nbinding = \"straps\"\nways = [\"{way}\"]\nport = \"sim\"\n\
         [[bus]]\nlink = \"sim\"\n[fixture]\npower = \"sim:p{{slot}}\"\nnrst = \"sim:r{{slot}}\"\nboot0 = \"sim:b\"\n"
    );
    owner.file("panel.toml", &panel);
    let agent: String = (0..2000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    owner.file("line/agent.bin", &agent);
    let file = std::fs::read_to_string(owner.path("line/station.toml")).unwrap();
    owner.file("line/station.toml", &format!("{file}{more}"));
    let lines = "identity = { serial = true, region = { address = 0x080C0000, length = 512 } }";
    owner.place_release("fw", lines, &image("application", "app", "bench-64k.bin", Some(0x0802_0000)));
    let policy =
        "policy = { lock = \"rdp1\", strikes = 9, retests = { contact = 1, station = 1, board = 1 } }";
    owner.place_order("order", policy);
    owner
}

fn serials(said: &Said) -> Vec<String> {
    let boards = said.json()["boards"].as_array().unwrap().clone();
    boards.iter().filter_map(|board: &Value| board["serial"].as_str().map(str::to_owned)).collect()
}

#[test]
fn an_order_is_carried_out_on_blank_boards_whatever_the_way() {
    let agent = "supply_mv = 3300\nagent = { file = \"agent.bin\", address = 0x20002000 }\n";
    for (way, more) in [("rom-uart", "supply_mv = 3300\n"), ("rom-can", ""), ("rom-uart+agent", agent)] {
        let owner = station(way, more);
        let said = owner.run("WO-1", &[]).good();
        assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6], "{way}");
        for (slot, serial) in (1..).zip(serials(&said)) {
            let file = owner.chip(slot);
            assert_eq!(file[14], 1, "{way}: slot {slot} is locked");
            assert_eq!(
                &file[4096 + 0xC_0000 + 48..][..serial.len()],
                serial.as_bytes(),
                "{way}: in the chip"
            );
            let unit =
                &owner.call(&["ledger", "show", &serial, "--records", "records", "--json"]).good().json()[0];
            assert_eq!(unit["state"], "confirmed", "{way}");
            assert!(unit["lock_proof"].is_string() && unit["record"].is_string(), "{way}: {unit}");
        }
        let steps = owner.call(&["report", "unit", &serials(&said)[0], "--records", "records", "--json"]);
        assert!(steps.good().stdout.contains("lock-proof"), "{way}: the raw proof is in the record");
    }
}

#[test]
fn locked_boards_are_not_touched_by_another_run_and_consume_nothing() {
    let owner = station("rom-uart", "");
    owner.run("WO-1", &[]).good();
    let files = || (1..=4).map(|slot| owner.chip(slot));
    let before: Vec<_> = files().collect();
    let said = owner.run("WO-1", &[]);
    assert_eq!(said.exit, Some(1), "{said:?}");
    assert!(said.stderr.contains("E705 rom-protected"), "{said:?}");
    assert!(files().eq(before), "no byte of a board has changed");
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
}

#[test]
fn a_finished_panel_that_is_run_again_is_told_which_units_it_held_and_spoils_no_yield() {
    let owner = station("rom-uart", "");
    owner.run("WO-1", &["--panel-id", "P-0042"]).good();
    let again = |panel: &str| {
        let said = owner.run("WO-1", &["--panel-id", panel]);
        assert_eq!(said.exit, Some(1), "{said:?}");
        let board = said.json()["boards"][2].clone();
        ["result", "code", "detail"].map(|key| board[key].as_str().unwrap().to_owned())
    };
    let [result, code, detail] = again("P-0042");
    assert_eq!((result.as_str(), code.as_str()), ("error", "E712 rom-finished"));
    assert!(
        detail.starts_with("W-00003 (UID ") && detail.contains("slot 3 of panel P-0042 in run 1"),
        "{detail}"
    );
    assert_eq!(again("P-0043")[1], "E705 rom-protected", "of another panel nothing is known");
    assert_eq!(again("P-0042")[1], "E712 rom-finished", "still");
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
    let yields = owner.call(&["report", "yield", "--records", "records"]).good().stdout;
    assert!(yields.contains("first-pass yield 100.0 % (4 of 4)"), "{yields}");
}

#[test]
fn a_board_that_is_not_locked_does_not_pass_and_the_next_run_finishes_it_with_its_number() {
    let owner = station("rom-uart", "");
    owner.file("scenario.toml", "[[slot]]\nslot = 2\nfault = \"lock-ignored\"\n");
    let said = owner.run("WO-1", &["--scenario", "scenario.toml"]);
    assert!(said.stderr.contains("E661 lock-failed"), "{said:?}");
    assert_eq!(owner.balance("WO-1"), [10, 3, 1, 0, 0, 6]);
    let first = serials(&said);
    let again = owner.run("WO-1", &[]);
    assert_eq!(again.json()["boards"][1]["result"], "pass", "{again:?}");
    assert_eq!(again.json()["boards"][1]["serial"], Value::String(first[1].clone()));
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
}

#[test]
fn an_unstable_port_and_a_missing_agent_are_refused_before_anything_is_touched() {
    let owner = station("rom-uart+agent", "");
    owner.run("WO-1", &[]).refused("E515 way-not-offered", "agent");
    let panel = std::fs::read_to_string(owner.path("panel.toml")).unwrap();
    let panel = panel.replace("port = \"sim\"", "port = \"/dev/ttyUSB{slot}\"").replace("+agent", "");
    owner.file("panel.toml", &panel);
    owner.run("WO-1", &[]).refused("E723 port-unstable", "ttyUSB");
    assert!(!owner.path("records/ledger.db").exists());
}

#[test]
fn an_identity_where_the_agent_keeps_its_records_is_refused_before_anything_is_touched() {
    let owner = station("rom-uart+agent", "agent = { file = \"agent.bin\", address = 0x20002000 }\n");
    let lines =
        "version = \"1.4.3\"\nidentity = { serial = true, region = { address = 0x080E0000, length = 512 } }";
    owner.place_release("late", lines, &image("application", "app", "bench-64k.bin", Some(0x0802_0000)));
    let release = "release = { version = { name = \"widget-fw\", version = \"1.4.3\" } }\nid = \"WO-2\"";
    owner.place_order("late", release);
    owner.run("WO-2", &[]).refused("E501 job-file", "records");
}

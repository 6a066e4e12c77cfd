//! Work orders that are stopped in the middle of a panel: a ledger that is gone or locked, Ctrl-C, a station that dies.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use panel_store::Records;
use rusqlite::Connection;

use crate::owner::{Owner, Said};
use crate::whole::{boards, line};

/// A run of an order in real time, as far as its first board being programmed.
fn programming(owner: &Owner) -> Child {
    let args =
        ["run", "--order", "WO-1", "--station-file", "line/station.toml", "--records", "records", "--json"];
    let mut command = owner.command(&args);
    let piped = command.args(["--boards", "boards"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let records = owner.path("records");
    let open = || Records::open(&records).and_then(|records| records.in_doubt()).unwrap_or_default();
    while !open().iter().any(|attempt| attempt.last_step.as_deref() == Some("program")) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before a board was programmed");
        #[expect(clippy::disallowed_methods, reason = "another process is at work, in real time")]
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn end(child: Child) -> Said {
    Said::of(&child.wait_with_output().unwrap())
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

fn in_doubt(owner: &Owner) -> usize {
    Records::open(&owner.path("records")).unwrap().in_doubt().unwrap().len()
}

/// The next run of the same boards reads them: all pass with one number each.
fn assert_resolved(owner: &Owner) {
    owner.run("WO-1", &[]).good();
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
    assert_eq!(in_doubt(owner), 0);
    owner.call(&["ledger", "audit", "--records", "records"]).good();
}

#[test]
fn a_ledger_that_is_gone_in_the_middle_of_a_run_lets_nothing_pass() {
    let owner = line("");
    let child = programming(&owner);
    std::fs::rename(owner.path("records/ledger.db"), owner.path("away.db")).unwrap();
    let said = end(child);
    assert_eq!(said.exit, Some(3), "{said:?}");
    assert!(said.stderr.contains("error: E405 record-store"), "{said:?}");
    assert!(boards(&said).iter().all(|board| board["code"] == "E405 record-store"), "{said:?}");
    std::fs::rename(owner.path("away.db"), owner.path("records/ledger.db")).unwrap();
    assert_resolved(&owner);
}

#[test]
fn a_ledger_that_another_program_holds_is_waited_for_once_and_then_nothing_passes() {
    let owner = line("");
    let child = programming(&owner);
    let holder = Connection::open(owner.path("records/ledger.db")).unwrap();
    holder.busy_timeout(Duration::from_secs(5)).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    #[expect(clippy::disallowed_methods, reason = "this is about real time")]
    let held = Instant::now();
    let said = end(child);
    assert!(held.elapsed() < Duration::from_secs(8), "waited {:?}, once is 2 s", held.elapsed());
    drop(holder);
    assert_eq!(said.exit, Some(3), "{said:?}");
    assert!(said.stderr.contains("error: E413 station-busy"), "{said:?}");
    assert!(boards(&said).iter().all(|board| board["code"] == "E405 record-store"), "{said:?}");
    assert_resolved(&owner);
}

#[test]
fn an_interrupted_order_leaves_a_complete_record_and_the_next_run_passes() {
    let owner = line("");
    let child = programming(&owner);
    signal(&child, "-INT");
    let said = end(child);
    assert_eq!(said.exit, Some(130), "{said:?}");
    assert!(boards(&said).iter().all(|board| board["code"] == "E407 interrupted"), "{said:?}");
    assert_eq!(in_doubt(&owner), 0, "every attempt has ended");
    let balance = owner.balance("WO-1");
    assert_eq!((balance[0], balance[1], balance[5]), (10, 0, 6), "four numbers are taken: {balance:?}");
    assert_resolved(&owner);
}

#[test]
fn an_order_whose_station_dies_while_it_programs_is_in_doubt_until_its_boards_are_read() {
    let owner = line("");
    let child = programming(&owner);
    signal(&child, "-KILL");
    end(child);
    assert_eq!(in_doubt(&owner), 4);
    assert_resolved(&owner);
}

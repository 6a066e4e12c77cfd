//! Crashes at every commit, in the middle of one, and at every moment of the store's own choosing.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use panel_store::{Moment, Records, Store, StoreError};
use rusqlite::Connection;

use crate::check;
use crate::sample::run_start;
use crate::script::{Rng, Script, apply};
use crate::support::{append, end, good_attempt, new_store, started, uid};

/// What a power cut would leave: the database, its log and the unit list, but not the shared memory.
struct Disk {
    database: Vec<u8>,
    log: Vec<u8>,
    units: Vec<u8>,
}

impl Disk {
    fn read(dir: &Path) -> Self {
        let read = |name: &str| fs::read(dir.join(name)).unwrap();
        Self { database: read("records.db"), log: read("records.db-wal"), units: read("units.csv") }
    }

    /// Opens what is left, checks it, and returns the number of events.
    fn check(&self) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("records.db"), &self.database).unwrap();
        fs::write(dir.path().join("records.db-wal"), &self.log).unwrap();
        fs::write(dir.path().join("units.csv"), &self.units).unwrap();
        check::directory(dir.path()).0
    }
}

#[test]
fn after_each_commit_and_in_the_middle_of_it_the_disk_holds_exactly_the_committed_events() {
    let (dir, mut store) = new_store();
    let (mut script, mut run, mut rng) = (Script::new(1), None, Rng(1));
    let mut events = 0;
    let mut before = Disk::read(dir.path());
    let mut torn = 0;
    for _ in 0..60 {
        let op = script.next_op();
        apply(&mut store, &mut run, &op).unwrap();
        let after = Disk::read(dir.path());
        // The log grew by this commit alone: any shorter or spoilt piece of that is no commit.
        if after.log.len() > before.log.len() && after.database == before.database {
            torn += 1;
            let grown = after.log.len() - before.log.len();
            let cut = before.log.len() + rng.below(grown as u64) as usize;
            let database = before.database.clone();
            let units = after.units[..before.units.len()].to_vec();
            let shorter =
                Disk { database: database.clone(), log: after.log[..cut].to_vec(), units: units.clone() };
            assert_eq!(shorter.check(), events, "log cut at {cut}");
            let mut log = after.log.clone();
            log[cut] ^= 0x10;
            assert_eq!(Disk { database, log, units }.check(), events, "log spoilt at {cut}");
        }
        events += op.events();
        let units =
            before.units.len() + rng.below((after.units.len() - before.units.len()) as u64 + 1) as usize;
        before = Disk { units: after.units[..units].to_vec(), ..after };
        assert_eq!(before.check(), events);
        before.units = fs::read(dir.path().join("units.csv")).unwrap();
    }
    assert!(torn > 30, "only {torn} commits were torn");
}

#[test]
fn stopped_at_any_moment_of_a_write_the_records_are_as_before_it_or_as_after_it() {
    let mut seen = [0; 4];
    for stop in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let stopped_at = Arc::new(Mutex::new(None));
        let (at, mut moments) = (stopped_at.clone(), Rng(stop).below(150));
        store.stop_at(move |moment| {
            let stop = moments == 0;
            moments = moments.saturating_sub(1);
            if stop {
                *at.lock().unwrap() = Some(moment);
            }
            stop
        });
        let (mut script, mut run, mut events) = (Script::new(stop), None, 0);
        let next = loop {
            let op = script.next_op();
            match apply(&mut store, &mut run, &op) {
                Ok(()) => events += op.events(),
                Err(StoreError::Stopped) => break op.events(),
                Err(other) => panic!("{other}"),
            }
        };
        let moment = stopped_at.lock().unwrap().unwrap();
        assert!(matches!(store.begin_run(&run_start("late")), Err(StoreError::Stopped)));
        drop(store);
        let expected = if moment == Moment::BeforeCommit { events } else { events + next };
        assert_eq!(check::directory(dir.path()).0, expected, "stop {stop} at {moment:?}");
        seen[moment as usize] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "moments tried: {seen:?}");
}

#[test]
fn a_changed_event_or_row_is_found_and_named() {
    let spoil = |sql: &str| {
        let (dir, mut store) = new_store();
        let run = store.begin_run(&run_start("p")).unwrap();
        append(&mut store, run, good_attempt(1, 1)).unwrap();
        append(&mut store, run, [started(2)]).unwrap();
        append(&mut store, run, [crate::support::ended(2, panel_store::AttemptResult::Fail, "E214")])
            .unwrap();
        end(&mut store, run).unwrap();
        drop(store);
        let db = Connection::open(dir.path().join("records.db")).unwrap();
        db.execute_batch(sql).unwrap_err();
        db.execute_batch(
            "DROP TRIGGER events_stay_as_written; DROP TRIGGER events_are_not_deleted;
             DROP TRIGGER attempts_are_not_deleted; DROP TRIGGER attempts_keep_their_result;
             PRAGMA foreign_keys = OFF",
        )
        .unwrap();
        db.execute_batch(sql).unwrap();
        drop(db);
        let records = Records::open(dir.path()).unwrap();
        let bad_event = records.verify_chain().unwrap().first_bad.map(|bad| bad.id);
        let bad_row = records.verify_rows().unwrap().first_difference.map(|row| (row.table, row.id));
        (bad_event, bad_row)
    };
    let table = |name: &str, id| Some((name.to_owned(), id));
    // Events: 1 run-started, 2..8 slot 1, 9 and 10 slot 2, 11 run-ended.
    let body = "UPDATE events SET body = replace(body, '\"fail\"', '\"pass\"') WHERE id = 10";
    assert_eq!(spoil(body), (Some(10), table("events", 10)));
    assert_eq!(spoil("UPDATE events SET at_us = at_us + 1 WHERE id = 1").0, Some(1));
    assert_eq!(spoil("UPDATE events SET hash = zeroblob(32) WHERE id = 4").0, Some(4));
    assert_eq!(spoil("DELETE FROM events WHERE id = 5").0, Some(6));
    let row = "UPDATE attempts SET result = 'pass', unit = 1 WHERE id = 2";
    assert_eq!(spoil(row), (None, table("attempts", 2)));
}

#[test]
fn a_store_dropped_in_the_middle_of_a_run_leaves_what_a_crash_leaves() {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, good_attempt(1, 1)).unwrap();
    append(&mut store, run, [started(2)]).unwrap();
    drop(store);
    assert_eq!(check::directory(dir.path()), (9, 1));
    let records = Records::open(dir.path()).unwrap();
    assert_eq!(records.run(run).unwrap().unwrap().ended, None);
    assert_eq!(records.unit(&uid(1).to_string()).unwrap()[0].attempts.len(), 1);
}

//! What must hold of every record directory at every moment, checked without the store's own projections:
//! straight from the events and from the text of `units.csv`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use panel_store::{Records, Store};
use rusqlite::Connection;
use serde_json::Value;

/// Opens a directory, checks everything, and returns the number of events and of attempts in doubt.
pub(crate) fn directory(dir: &Path) -> (u64, usize) {
    let store = Store::open(dir).unwrap();
    let found = store_in(dir, &store);
    drop(store);
    // What a reader sees is what the writer left.
    assert_eq!(Records::open(dir).unwrap().in_doubt().unwrap().len(), found.1);
    found
}

/// Checks everything about an open store that has no run going on.
pub(crate) fn store_in(dir: &Path, store: &Store) -> (u64, usize) {
    store.records().verify_file().unwrap();
    let chain = store.records().verify_chain().unwrap();
    assert_eq!(chain.first_bad, None);
    let rows = store.records().verify_rows().unwrap();
    assert_eq!(rows.first_difference, None);
    assert_eq!(rows.events, chain.events);

    let log = Log::read(dir);
    let doubt: BTreeSet<i64> = store.in_doubt().unwrap().iter().map(|entry| entry.attempt.0).collect();
    assert_eq!(doubt, log.in_doubt, "attempts in doubt");
    assert_eq!(csv_column(dir, "attempt"), log.ended, "lines of units.csv, in the order of ends");
    (chain.events, doubt.len())
}

/// One column of `units.csv`, as numbers.
fn csv_column(dir: &Path, column: &str) -> Vec<i64> {
    let text = fs::read(dir.join("units.csv")).unwrap();
    assert!(text.ends_with(b"\r\n"));
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let index = reader.headers().unwrap().iter().position(|name| name == column).unwrap();
    reader.records().map(|record| record.unwrap()[index].parse().unwrap()).collect()
}

/// What the events say, read in the plainest way.
#[derive(Default)]
struct Log {
    in_doubt: BTreeSet<i64>,
    ended: Vec<i64>,
}

impl Log {
    fn read(dir: &Path) -> Self {
        let db = Connection::open(dir.join("records.db")).unwrap();
        let mut statement = db.prepare("SELECT kind, attempt, body FROM events ORDER BY id").unwrap();
        let mut rows = statement.query([]).unwrap();
        let (mut log, mut steps) = (Self::default(), BTreeMap::<(i64, String), String>::new());
        while let Some(row) = rows.next().unwrap() {
            let (kind, attempt): (String, Option<i64>) = (row.get(0).unwrap(), row.get(1).unwrap());
            let body: Value = serde_json::from_str(&row.get::<_, String>(2).unwrap()).unwrap();
            let Some(attempt) = attempt else { continue };
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            match kind.as_str() {
                "attempt-started" => assert!(log.in_doubt.insert(attempt)),
                "step-ended" => {
                    steps.insert((attempt, text("step")), text("outcome"));
                }
                "attempt-ended" => {
                    log.ended.push(attempt);
                    if text("result") != "in-doubt" {
                        assert!(log.in_doubt.remove(&attempt));
                    }
                    for step in ["verify", "lock-proof"].into_iter().filter(|_| text("result") == "pass") {
                        let outcome = steps.get(&(attempt, step.to_owned()));
                        assert_eq!(
                            outcome.map(String::as_str),
                            Some("ok"),
                            "{step} before PASS of {attempt}"
                        );
                    }
                }
                "resolved" => {
                    assert!(log.in_doubt.remove(&attempt));
                    if !log.ended.contains(&attempt) {
                        log.ended.push(attempt);
                    }
                }
                _ => {}
            }
        }
        log
    }
}

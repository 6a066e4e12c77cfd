//! Ledgers of older programs: `golden/ledger_v1.sql` is one of schema 1, written by the program of its day.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::PathBuf;

use jiff::Timestamp;
use panel_ledger::{
    Block, Checkpoint, Chip, Content, Hash, Ledger, ListBlob, ListRow, NamedBlob, Needs, Pool, Request,
    SqliteLedger, State, Uid, UnitId,
};
use rusqlite::Connection;
use tempfile::TempDir;

/// What its log ended with.
const HEAD: &str = "5836f99a0ba0ffd531db83386a9fb66ef33088a74fcb5f59798cb0679be7ba5b";

fn old() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("golden/ledger_v1.sql")).unwrap();
    (directory, path)
}

fn version(path: &PathBuf) -> i64 {
    Connection::open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn later() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn head() -> Checkpoint {
    let mut hash = [0; 32];
    hex::decode_to_slice(HEAD, &mut hash).unwrap();
    Checkpoint { seq: 11, hash: Hash(hash) }
}

#[test]
fn a_ledger_of_schema_1_opens_says_what_it_said_and_takes_more() {
    let (_directory, path) = old();
    assert_eq!(version(&path), 1);
    let mut ledger = SqliteLedger::open(&path).unwrap();
    assert_eq!(version(&path), 2);
    assert_eq!(ledger.head().unwrap(), Some(head()));
    assert_eq!(ledger.audit(&[head()]).unwrap().findings, []);
    let units = ledger.units(None, 100).unwrap();
    let said: Vec<_> = units.iter().map(|u| (u.numbers.serial.clone().unwrap(), u.state)).collect();
    let wanted = [
        ("S-0001", State::Confirmed),
        ("S-0002", State::Void),
        ("S-0003", State::Reserved),
        ("S-0004", State::Reserved),
        ("S-0005", State::Reserved),
        ("L-1", State::Reserved),
    ];
    assert!(said.iter().map(|(serial, state)| (serial.as_str(), *state)).eq(wanted), "{said:?}");
    assert_eq!((units[1].reason.as_deref(), units[0].keys.len()), (Some("scratched"), 1));
    assert_eq!(
        ledger.blob(UnitId(1), Hash::of(b"not really one")).unwrap().as_deref(),
        Some(&b"not really one"[..])
    );
    let balance = ledger.balance("WO-1").unwrap();
    assert!(balance.adds_up(), "{balance:?}");
    assert_eq!((balance.passed, balance.scrapped, balance.in_doubt, balance.remaining), (1, 1, 3, 5));

    // The same chip has its numbers, the next one the next, and what schema 1 did not know is there.
    let chip = |n: u8| {
        let mut uid = *b"lot-7-wafer-";
        uid[10..].copy_from_slice(&[0, n]);
        Chip { slot: n.into(), uid: Uid(uid) }
    };
    let mut request = Request {
        product: "sensor".to_owned(),
        order: Some("WO-1".to_owned()),
        release: None,
        run: "run-2".to_owned(),
        station: "line1".to_owned(),
        panel: None,
        needs: Needs { serial: true, ..Needs::default() },
        chips: vec![chip(3), chip(9)],
    };
    let reserved = ledger.reserve_many(&request, later()).unwrap();
    let serials: Vec<_> = reserved.iter().map(|r| r.numbers.serial.as_deref().unwrap()).collect();
    assert_eq!(serials, ["S-0003", "S-0006"]);
    let row = ListRow {
        blobs: vec![ListBlob {
            blob: NamedBlob { name: "calibration".to_owned(), sha256: Hash::of(&[1, 2, 3]) },
            length: 3,
            content: Content::Plain(vec![1, 2, 3]),
        }],
        ..ListRow::default()
    };
    let block = Block::List(vec![row]);
    ledger.add_pool(&Pool { product: Some("pump".to_owned()), order: None, block }, later()).unwrap();
    (request.product, request.order) = ("pump".to_owned(), None);
    request.needs = Needs { blobs: vec!["calibration".to_owned()], ..Needs::default() };
    request.chips.truncate(1);
    let reserved = ledger.reserve_many(&request, later()).unwrap();
    assert_eq!(reserved[0].numbers.blobs[0].sha256, Hash::of(&[1, 2, 3]));
    drop(ledger);
    let ledger = SqliteLedger::open(&path).unwrap();
    assert_eq!(ledger.audit(&[head()]).unwrap().findings, []);
}

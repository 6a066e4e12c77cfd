//! The ledger's file: foreign, newer, damaged and locked ones, tampering that the audit finds, and exports.

use std::{fs, path::Path, path::PathBuf};

use jiff::Timestamp;
use panel_ledger::{
    Block, Change, Chip, Finding, Hash, Ledger, LedgerError, Needs, NumberKind, OrderTerms, Request,
    SerialBlock, SqliteLedger, Step, Uid, UnitId, room, write_json_lines, write_units_csv,
};
use rusqlite::Connection;
use tempfile::TempDir;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seconds).expect("a time")
}

fn request(chips: std::ops::Range<u16>) -> Request {
    let chip = |slot| {
        let mut uid = *b"lot-7-wafer-";
        uid[10..].copy_from_slice(&u16::to_be_bytes(slot));
        Chip { slot, uid: Uid(uid) }
    };
    Request {
        product: "sensor".to_owned(),
        order: Some("WO-1".to_owned()),
        release: None,
        run: "run-1".to_owned(),
        station: "line1".to_owned(),
        panel: Some("P,1 \"quoted\"".to_owned()),
        needs: Needs { serial: true, ..Needs::default() },
        chips: chips.map(chip).collect(),
    }
}

/// A ledger with an order of ten, five chips reserved, one of them passed and one void.
fn filled() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger.db");
    let mut ledger = SqliteLedger::open(&path).expect("a ledger");
    let format = "S-{counter:4}".parse().expect("a format");
    let order = OrderTerms {
        id: "WO-1".to_owned(),
        document: Hash::of(b"order"),
        product: "sensor".to_owned(),
        quantity: 10,
        lock_required: false,
        blocks: vec![Block::Serial(SerialBlock { format, first: 1, count: 10 })],
    };
    ledger.open_order(&order, at(0)).expect("an order");
    let reserved = ledger.reserve_many(&request(1..6), at(1)).expect("reservations");
    let step = |at: usize, change| Step { unit: reserved[at].unit, run: "run-1".to_owned(), change };
    let steps = [
        step(0, Change::Fingerprint { kind: NumberKind::Key, value: Hash::of(b"a key") }),
        step(0, Change::Blob { name: "certificate".to_owned(), bytes: b"not really one".to_vec() }),
        step(0, Change::Writing),
        step(0, Change::Written { read_back: Hash::of(b"region") }),
        step(0, Change::Confirmed { record: Hash::of(b"record"), lock_proof: None }),
        step(1, Change::Void { reason: "scratched".to_owned() }),
    ];
    ledger.advance(&steps, at(2)).expect("steps");
    assert_eq!(ledger.audit(&[]).expect("an audit").findings, []);
    (directory, path)
}

/// Changes the file behind the ledger's back and says what the audit finds.
fn tampered(sql: &str) -> Vec<Finding> {
    let (_directory, path) = filled();
    let connection = Connection::open(&path).expect("a connection");
    connection.pragma_update(None, "foreign_keys", false).expect("a pragma");
    let changed = connection.execute(sql, []).expect("a change");
    assert!(changed > 0, "{sql} changed nothing");
    drop(connection);
    let ledger = SqliteLedger::open(&path).expect("the ledger opens");
    ledger.audit(&[]).expect("an audit").findings
}

#[test]
fn what_was_changed_behind_the_ledgers_back_is_found_and_named() {
    let state = |table: &str, log: &str| Finding::State {
        unit: UnitId(3),
        table: table.to_owned(),
        log: log.to_owned(),
    };
    assert!(
        tampered("UPDATE unit SET state = 'confirmed' WHERE id = 3")
            .contains(&state("confirmed", "reserved"))
    );
    assert!(tampered("DELETE FROM unit WHERE id = 3").contains(&state("missing", "reserved")));
    assert_eq!(
        tampered("UPDATE event SET body = replace(body, 'S-0002', 'S-0009')"),
        [Finding::Chain { seq: 3 }]
    );
    assert_eq!(tampered("DELETE FROM event WHERE seq = 4")[0], Finding::Chain { seq: 4 });
    assert_eq!(tampered("UPDATE event SET at = at - 1 WHERE seq = 5"), [Finding::Chain { seq: 5 }]);
    assert_eq!(
        tampered("UPDATE unit SET reason = NULL WHERE id = 2"),
        [Finding::NoReason { unit: UnitId(2) }]
    );
    assert_eq!(tampered("UPDATE pool SET used = 7"), [Finding::Gap { pool: 1, taken: 7, found: 5 }]);
    let gap = Finding::Gap { pool: 1, taken: 5, found: 4 };
    let unit = UnitId(5);
    let not_given =
        |value: &str| Finding::NotGiven { unit, kind: NumberKind::Serial, value: value.to_owned() };
    assert_eq!(
        tampered("DELETE FROM number WHERE value = 'S-0005'"),
        [gap, not_given("S-0005"), Finding::Numbers { given: 4, shown: 5 }]
    );
    assert_eq!(tampered("UPDATE unit SET serial = 'S-0001' WHERE id = 5"), [not_given("S-0001")]);
    let key = |value: &[u8]| (UnitId(1), NumberKind::Key, Hash::of(value).to_string());
    let (unit, kind, value) = key(b"a key");
    assert_eq!(tampered("DELETE FROM number WHERE kind = 'key'"), [Finding::Forgotten { unit, kind, value }]);
    let (_, kind, value) = key(b"a key");
    let moved = tampered("UPDATE number SET unit = 4 WHERE kind = 'key'");
    assert!(moved.contains(&Finding::NotGiven { unit: UnitId(4), kind, value }), "{moved:?}");
    let blob = tampered("UPDATE blob SET bytes = X'00'");
    assert!(matches!(&blob[..], [Finding::Damaged { detail }] if detail.contains("certificate")), "{blob:?}");
    let (_, kind, value) = key(b"a key");
    let twice = tampered(
        "INSERT INTO event SELECT seq + 100, at, kind, replace(body, '\"unit\":1', '\"unit\":4'), hash FROM event
         WHERE kind = 'fingerprint'",
    );
    let units = vec![UnitId(1), UnitId(4)];
    assert!(twice.contains(&Finding::Duplicate { kind, value, units }), "{twice:?}");
    let twins = tampered("UPDATE unit SET chip = (SELECT chip FROM unit WHERE id = 3) WHERE id = 5");
    assert!(twins.iter().any(|finding| matches!(finding, Finding::Chip { units, .. } if units.len() == 2)));
}

#[test]
fn a_balance_that_does_not_add_up_says_what() {
    let orders = |sql| -> Vec<String> {
        tampered(sql)
            .into_iter()
            .filter_map(|finding| match finding {
                Finding::Order { order, detail } if order == "WO-1" => Some(detail),
                _ => None,
            })
            .collect()
    };
    let more = orders("UPDATE work_order SET remaining = remaining + 1");
    assert_eq!(more[0], "4 units taken from the quota, 5 by the log");
    assert!(
        more[1].starts_with("ordered 10 is not passed 1 + failed 0 + scrapped 1 + in doubt 3 + remaining 6")
    );
    let hidden = orders("UPDATE unit SET took = 0 WHERE id = 4");
    assert!(hidden.iter().any(|line| line.contains("took 0 times from the quota")), "{hidden:?}");
    let gone = orders("DELETE FROM unit WHERE id = 4");
    assert!(gone[0].ends_with("in doubt 2 + remaining 5 = 9"), "{gone:?}");
    let raised = orders("UPDATE work_order SET quantity = 11");
    assert!(raised.iter().any(|line| line.starts_with("ordered 11 is not")), "{raised:?}");
}

#[test]
fn an_old_copy_put_back_is_known_by_what_was_written_down() {
    let (directory, path) = filled();
    let copy = directory.path().join("copy.db");
    let mut ledger = SqliteLedger::open(&path).unwrap();
    Connection::open(&path).unwrap().execute("VACUUM INTO ?", [copy.to_str().unwrap()]).unwrap();
    ledger.reserve_many(&request(6..8), at(3)).unwrap();
    let head = ledger.head().unwrap().unwrap();
    assert_eq!(ledger.audit(&[head]).unwrap().findings, []);
    let old = SqliteLedger::open(&copy).unwrap();
    assert_eq!(old.audit(&[]).unwrap().findings, [], "by itself the copy is sound");
    assert_eq!(old.audit(&[head]).unwrap().findings, [Finding::Rollback { seq: head.seq }]);
}

fn refusal(path: &Path) -> LedgerError {
    SqliteLedger::open(path).expect_err("must be refused")
}

#[test]
fn foreign_newer_and_damaged_files_are_refused_and_left_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.db");

    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE cats (name TEXT); PRAGMA user_version = 3").unwrap();
    drop(foreign);
    let before = fs::read(&path).unwrap();
    assert!(matches!(refusal(&path), LedgerError::NotALedger { found: 0, .. }));
    assert_eq!(fs::read(&path).unwrap(), before);

    let (_filled, path) = filled();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 3).unwrap();
    assert!(matches!(refusal(&path), LedgerError::Newer { found: 3, known: 2 }));

    let text = directory.path().join("text.db");
    fs::write(&text, "this is not a database, however long one may look at it; ".repeat(40)).unwrap();
    assert!(matches!(refusal(&text), LedgerError::Corrupt { .. }));
    assert!(matches!(refusal(&directory.path().join("no/such/place.db")), LedgerError::Database(_)));
}

#[test]
fn damage_in_the_middle_of_the_file_is_told_as_damage() {
    let (_directory, path) = filled();
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[4096..length].iter_mut().for_each(|byte| *byte ^= 0xA5);
    fs::write(&path, bytes).unwrap();
    let told = match SqliteLedger::open(&path) {
        Err(error) => error,
        Ok(ledger) => match ledger.audit(&[]) {
            Err(error) => error,
            Ok(audit) => {
                let damaged = |finding: &Finding| matches!(finding, Finding::Damaged { .. });
                assert!(audit.findings.iter().any(damaged), "{:?}", audit.findings);
                return;
            }
        },
    };
    assert!(matches!(told, LedgerError::Corrupt { .. }), "{told:?}");
}

#[test]
fn a_ledger_held_by_another_program_is_told_as_held() {
    let (_directory, path) = filled();
    let mut ledger = SqliteLedger::open(&path).unwrap();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = ledger.reserve_many(&request(6..7), at(3));
    assert!(matches!(refused, Err(LedgerError::Locked)), "{refused:?}");
    assert_eq!(ledger.balance("WO-1").unwrap().remaining, 5, "reading goes on");
    holder.execute_batch("ROLLBACK").unwrap();
    assert!(ledger.reserve_many(&request(6..7), at(3)).is_ok());
}

#[test]
fn one_panel_takes_less_room_than_is_asked_for() {
    let (_directory, path) = filled();
    let needed = room(5) - room(0);
    let size =
        |suffix: &str| fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |file| file.len());
    let before = size("") + size("-wal");
    let mut ledger = SqliteLedger::open(&path).unwrap();
    ledger.reserve_many(&request(6..11), at(3)).unwrap();
    // Closed, nothing is left of the journal.
    drop(ledger);
    let grown = size("") + size("-wal") - before;
    assert!(grown < needed, "{grown} of {needed}");
}

#[test]
fn exports_carry_every_unit_and_every_entry() {
    let (_directory, path) = filled();
    let ledger = SqliteLedger::open(&path).unwrap();
    let mut bytes = Vec::new();
    write_units_csv(ledger.units(None, usize::MAX).unwrap(), &mut bytes).unwrap();
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let header = reader.headers().unwrap().clone();
    let column = |name| header.iter().position(|column| column == name).unwrap();
    let rows: Vec<_> = reader.records().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), 5);
    assert_eq!(&rows[1][column("serial")], "S-0002");
    assert_eq!((&rows[1][column("state")], &rows[1][column("reason")]), ("void", "scratched"));
    assert_eq!(&rows[0][column("record")], Hash::of(b"record").to_string());
    assert_eq!(&rows[0][column("keys")], Hash::of(b"a key").to_string());
    assert_eq!(&rows[0][column("panel")], "P,1 \"quoted\"");

    let mut bytes = Vec::new();
    write_json_lines(ledger.events(0, usize::MAX).unwrap(), &mut bytes).unwrap();
    let lines: Vec<serde_json::Value> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 9);
    assert_eq!(lines[8]["kind"], "void");

    let mut bytes = Vec::new();
    write_json_lines(ledger.units(None, usize::MAX).unwrap(), &mut bytes).unwrap();
    let first: serde_json::Value =
        serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(first["numbers"]["serial"], "S-0001");
    assert_eq!(first["state"], "confirmed");
}

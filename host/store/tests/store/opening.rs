//! Directories and files that cannot or must not be opened.

use std::fs;
use std::path::Path;

use panel_store::{Records, RunId, Store, StoreError};
use rusqlite::Connection;

use crate::check;
use crate::sample::run_start;
use crate::support::{append, end, good_attempt, new_store, started, uid};

/// Every file of a directory with its bytes.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Opens a directory for writing and for reading; both must fail and leave every file as it was.
fn refused(dir: &Path) -> (StoreError, StoreError) {
    let before = contents(dir);
    let errors = (Store::open(dir).err().unwrap(), Records::open(dir).unwrap_err());
    assert_eq!(contents(dir), before);
    errors
}

#[test]
fn a_missing_directory_is_created_with_its_parents_and_a_reader_is_told_that_there_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    assert!(matches!(Records::open(&deep).unwrap_err(), StoreError::Missing { path } if path == deep));
    drop(Store::open(&deep).unwrap());
    assert_eq!(Records::open(&deep).unwrap().verify_chain().unwrap().events, 0);
}

#[test]
fn a_path_that_cannot_be_a_directory_is_an_error_with_that_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let (writer, reader) = (Store::open(&file).err().unwrap(), Records::open(&file).unwrap_err());
    for error in [writer, reader] {
        assert!(matches!(&error, StoreError::Directory { path, .. } if path.starts_with(&file)), "{error}");
    }
    fs::create_dir_all(dir.path().join("other/records.db")).unwrap();
    let error = Store::open(&dir.path().join("other")).err().unwrap();
    assert!(matches!(error, StoreError::Directory { .. }), "{error}");
}

#[test]
fn a_file_that_is_not_a_database_is_left_alone() {
    let long = "This is a text that somebody saved under the wrong name. ".repeat(40);
    for text in ["short", long.as_str()] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("records.db"), text).unwrap();
        let (writer, reader) = refused(dir.path());
        assert!(matches!(writer, StoreError::NotADatabase { .. }), "{writer}");
        assert!(matches!(reader, StoreError::NotADatabase { .. }), "{reader}");
    }
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(dir.path().join("records.db")).unwrap();
    db.execute_batch("PRAGMA application_id = 7; CREATE TABLE t (x)").unwrap();
    db.close().unwrap();
    let (writer, reader) = refused(dir.path());
    assert!(matches!(writer, StoreError::Foreign { application_id: 7, .. }), "{writer}");
    assert!(matches!(reader, StoreError::Foreign { application_id: 7, .. }), "{reader}");
}

#[test]
fn a_database_from_a_newer_version_is_left_alone() {
    let (dir, store) = new_store();
    drop(store);
    let db = Connection::open(dir.path().join("records.db")).unwrap();
    let known: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    db.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 9000").unwrap();
    db.close().unwrap();
    let (writer, reader) = refused(dir.path());
    for error in [writer, reader] {
        assert!(
            matches!(error, StoreError::NewerVersion { found: 9000, known: k, .. } if k == known),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_page_is_reported_as_damage() {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    for slot in 0..40 {
        append(&mut store, run, good_attempt(slot, slot as u8)).unwrap();
    }
    end(&mut store, run).unwrap();
    drop(store);
    let path = dir.path().join("records.db");
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page[..512].fill(0x5a);
    }
    fs::write(&path, bytes).unwrap();
    let error = Store::open(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let error = Records::open(dir.path()).and_then(|records| records.verify_file()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_second_writer_is_told_who_the_first_one_is_and_readers_are_let_in() {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, [started(1)]).unwrap();
    let error = Store::open(dir.path()).err().unwrap();
    let StoreError::InUse { pid, run, .. } = &error else { panic!("{error}") };
    assert_eq!((*pid, *run), (Some(std::process::id()), Some(RunId(1))));
    assert!(error.to_string().contains("run 1"), "{error}");
    assert_eq!(Records::open(dir.path()).unwrap().in_doubt().unwrap().len(), 1);
    drop(store);
    drop(Store::open(dir.path()).unwrap());
}

#[test]
#[cfg(unix)]
fn a_database_that_is_taken_away_takes_nothing_more() {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, [started(1)]).unwrap();
    fs::rename(dir.path().join("records.db"), dir.path().join("elsewhere.db")).unwrap();
    let error = append(&mut store, run, [started(2)]).unwrap_err();
    assert!(matches!(error, StoreError::Vanished { .. }), "{error}");
    fs::rename(dir.path().join("elsewhere.db"), dir.path().join("records.db")).unwrap();
    append(&mut store, run, [started(2)]).unwrap();
}

#[test]
fn a_creation_that_was_cut_off_before_its_first_commit_is_begun_again() {
    for database in ["", "SQLite format 3\0 and then the power went"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("records.db"), database).unwrap();
        // What SQLite leaves: a journal that says "back to zero pages".
        let mut journal =
            vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0];
        journal.extend([0, 0, 2, 0, 0, 0, 0x10, 0]);
        journal.resize(512, 0);
        fs::write(dir.path().join("records.db-journal"), journal).unwrap();
        assert!(matches!(Records::open(dir.path()).unwrap_err(), StoreError::Missing { .. }));
        assert_eq!(check::directory(dir.path()), (0, 0));
    }
}

#[test]
fn a_reader_changes_no_record() {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, good_attempt(1, 1)).unwrap();
    end(&mut store, run).unwrap();
    drop(store);
    let before = contents(dir.path());
    let records = Records::open(dir.path()).unwrap();
    assert_eq!(records.unit(&uid(1).to_string()).unwrap().len(), 1);
    drop(records);
    for (name, bytes) in before {
        assert_eq!(fs::read(dir.path().join(&name)).unwrap(), bytes, "{name}");
    }
}

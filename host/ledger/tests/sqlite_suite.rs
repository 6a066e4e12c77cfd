//! The SQLite ledger shows the behaviour every ledger must show.

use std::path::PathBuf;

use panel_ledger::{
    Ledger, SqliteLedger,
    suite::{self, Rig},
};
use tempfile::TempDir;

struct SqliteRig {
    path: PathBuf,
    ledger: Option<SqliteLedger>,
    _directory: TempDir,
}

impl SqliteRig {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ledger.db");
        let ledger = Some(SqliteLedger::open(&path).expect("a new ledger"));
        Self { path, ledger, _directory: directory }
    }
}

impl Rig for SqliteRig {
    fn ledger(&mut self) -> &mut dyn Ledger {
        self.ledger.as_mut().expect("an open ledger")
    }

    fn reopen(&mut self) {
        self.ledger = None;
        self.ledger = Some(SqliteLedger::open(&self.path).expect("the ledger opens again"));
    }

    fn another(&self) -> Box<dyn Ledger + Send> {
        Box::new(SqliteLedger::open(&self.path).expect("the ledger opens twice"))
    }
}

#[test]
fn the_sqlite_ledger_passes_the_suite() {
    suite::run(|| Box::new(SqliteRig::new()));
}

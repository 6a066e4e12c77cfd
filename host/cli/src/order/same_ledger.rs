//! The ledger beside the records is the one that issued their numbers: without this a ledger that was removed, or an
//! older copy put back, would give the same numbers out once more.
//!
//! With each reservation the records get the last entry of the ledger's log ([`head_note`]), in the batch that
//! is written anyway. Before the next run the ledger must still have that entry ([`check`]). A ledger may know more
//! than the records: what was reserved by a station that died right after.

use std::path::Path;

use panel_codes::Code;
use panel_engine::Event;
use panel_ledger::{Checkpoint, Ledger, LedgerError, SqliteLedger};
use panel_store::Records;

use crate::failure::Failure;

/// Topic of the note in the records.
const TOPIC: &str = "ledger-head";

/// The last entry of the ledger's log, as a note for the records.
pub(crate) fn head_note(ledger: &SqliteLedger) -> Result<Option<Event>, LedgerError> {
    let note = |head: Checkpoint| Event::Note {
        slot: None,
        topic: TOPIC,
        text: format!("{} {}", head.seq, head.hash),
    };
    Ok(ledger.head()?.map(note))
}

/// Refuses a ledger in `dir` that has not the entry which the records name last. Nothing is made if there is none.
///
/// # Errors
/// E638 with the entry that is missing; trouble of either database.
pub(crate) fn check(dir: &Path, records: &Records) -> Result<(), Failure> {
    let noted = records.newest_order_note(TOPIC).map_err(|e| crate::records::failure(&e))?;
    let Some((seq, hash)) = noted.as_deref().and_then(entry) else { return Ok(()) };
    let path = crate::ledger::path(dir);
    let found = if path.exists() {
        let broken = |e: LedgerError| Failure::with_exit(e.code(), e.to_string(), 3);
        let ledger = SqliteLedger::open(&path).map_err(broken)?;
        ledger.events(seq - 1, 1).map_err(broken)?.pop().filter(|entry| entry.seq == seq)
    } else {
        None
    };
    let found = match found {
        Some(entry) if entry.hash.to_string() == hash => return Ok(()),
        Some(entry) => format!("there it is {}", entry.hash),
        None if path.exists() => "it ends before that: it is an older copy or a new one".to_owned(),
        None => "it is not there".to_owned(),
    };
    let text = format!(
        "{}: the records name its entry {seq} ({hash}), and {found}\nnumbers that it gave out would be given out again: \
         put the newest ledger.db back",
        path.display()
    );
    Err(Failure::with_exit(Code::LedgerBroken, text, 3))
}

/// Number and hash of an entry as noted.
fn entry(text: &str) -> Option<(u64, &str)> {
    let (seq, hash) = text.split_once(' ')?;
    let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
    Some((seq, hash))
}

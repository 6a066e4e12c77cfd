//! The ledger beside the records is the one that issued their numbers: without this a ledger that was removed, or an
//! older copy put back, would give the same numbers out once more.
//!
//! With each reservation the records get the last entry of the ledger's log ([`head_note`]), in the batch that
//! is written anyway. Before the next run the ledger must still have that entry ([`open`]). A ledger may know more
//! than the records: what was reserved by a station that died right after.

use std::path::Path;

use panel_codes::Code;
use panel_engine::Event;
use panel_ledger::{Checkpoint, Ledger, LedgerError, SqliteLedger};
use panel_store::Records;

use super::{Ordered, station_failure};
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

/// The ledger in `dir`, if there is one: none is made. One that has not the entry which the records name last is refused,
/// and so is that there is none.
///
/// # Errors
/// E638 with the entry that is missing; trouble of either database.
pub(crate) fn open(dir: &Path, records: &Records) -> Result<Option<SqliteLedger>, Failure> {
    let path = crate::ledger::path(dir);
    let ledger = path.exists().then(|| Ordered::open_ledger(dir)).transpose()?;
    let noted = records.newest_order_note(TOPIC).map_err(|e| crate::records::failure(&e))?;
    let Some((seq, hash)) = noted.as_deref().and_then(entry) else { return Ok(ledger) };
    let found = match &ledger {
        Some(ledger) => {
            let entry = ledger.events(seq - 1, 1).map_err(station_failure)?.pop();
            match entry.filter(|entry| entry.seq == seq) {
                Some(entry) if entry.hash.to_string() == hash => None,
                Some(entry) => Some(format!("there it is {}", entry.hash)),
                None => Some("it ends before that: it is an older copy or a new one".to_owned()),
            }
        }
        None => Some("it is not there".to_owned()),
    };
    let Some(found) = found else { return Ok(ledger) };
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

//! Room on the disk for everything that a run may write: set aside before the panel is touched, given back when the disk
//! is full all the same.
//!
//! A panel that may not fit is refused (E410), and one that has begun is not stopped by another program that fills the
//! disk meanwhile. The file that holds the room has no name: nothing stays behind, however this program ends. Where a
//! file system cannot set room aside, what is free is looked at once.

use std::cell::RefCell;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use panel_codes::Code;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::failure::Failure;

const NAME: &str = "records.room";

/// Room that is held for a run.
pub(crate) struct Room {
    held: RefCell<Option<File>>,
}

/// Most bytes that a run may add to its record directory.
pub(crate) const fn needed(boards: usize, retries: u8, with_ledger: bool) -> u64 {
    let attempts = boards as u64 * (1 + retries as u64);
    let ledger = if with_ledger { panel_ledger::room(boards) } else { 0 };
    panel_store::room(attempts) + ledger
}

/// Refuses if that much is not free in `dir`, which need not be there yet.
///
/// # Errors
/// E410 with both sizes; E405 if it cannot be known.
pub(crate) fn check(dir: &Path, needed: u64) -> Result<(), Failure> {
    enough(crate::files::free_bytes(crate::files::existing(dir))?, needed)
}

fn enough(free: u64, needed: u64) -> Result<(), Failure> {
    if free >= needed {
        return Ok(());
    }
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let text = format!(
        "{} KiB are free where the records are, and this panel may need {} KiB",
        free / 1024,
        kib(needed)
    );
    Err(Failure::with_exit(Code::DiskNearlyFull, text, 3))
}

impl Room {
    /// Sets so much aside in `dir`, of which the caller is the only writer.
    ///
    /// # Errors
    /// E410 if there is not so much, for this user or for a file of this process; E405 for other trouble.
    pub(crate) fn take(dir: &Path, needed: u64) -> Result<Rc<Self>, Failure> {
        let path = dir.join(NAME);
        let trouble = |code, why: &dyn core::fmt::Display| {
            let text = format!("{}: {} KiB for this panel: {why}", dir.display(), needed.div_ceil(1024));
            Failure::with_exit(code, text, 3)
        };
        let made = File::create(&path).and_then(|file| std::fs::remove_file(&path).map(|()| file));
        let file = made.map_err(|e| match e.kind() {
            std::io::ErrorKind::StorageFull => trouble(Code::DiskNearlyFull, &e),
            _ => trouble(Code::RecordStore, &e),
        })?;
        let held = match fallocate(&file, FallocateFlags::empty(), 0, needed) {
            Ok(()) => Some(file),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => None,
            Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                return Err(trouble(Code::DiskNearlyFull, &e));
            }
            Err(e) => return Err(trouble(Code::RecordStore, &e)),
        };
        Ok(Rc::new(Self { held: RefCell::new(held) }))
    }

    /// Frees the room, once: `true` if what has just failed for want of room may be tried once more.
    pub(crate) fn give_back(&self) -> bool {
        self.held.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_nearly_full_is_refused_with_what_is_free_and_what_this_panel_may_need() {
        let needed = needed(21, 1, true);
        assert!(enough(needed, needed).is_ok());
        let failure = enough(needed - 1, needed).expect_err("too little");
        assert_eq!((failure.code, failure.exit()), (Code::DiskNearlyFull, 3));
        let text = format!("{} KiB are free", (needed - 1) / 1024);
        assert!(failure.message.contains(&text) && failure.message.contains("may need"), "{failure}");
    }

    #[test]
    fn more_boards_retries_and_a_ledger_need_more_room() {
        assert!(needed(64, 1, true) > needed(64, 1, false));
        assert!(needed(64, 1, false) > needed(64, 0, false) && needed(64, 0, false) > needed(1, 0, false));
    }

    #[test]
    fn room_that_cannot_be_had_is_refused_and_room_is_given_back_once_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Room::take(dir.path(), 1 << 60).err().expect("no disk has that");
        assert_eq!((failure.code, failure.exit()), (Code::DiskNearlyFull, 3), "{failure}");
        let room = Room::take(dir.path(), 1 << 20).expect("a megabyte");
        assert!(room.give_back() && !room.give_back());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

//! One writer per record directory: an advisory lock on `records.lock`, held as long as the [`Store`] lives.
//!
//! Without it a second process would take the first one's open attempts for doubtful ones. The operating
//! system releases the lock when a process dies, however it dies. The file's text is the writer's process id,
//! for the message to whoever comes second.
//!
//! [`Store`]: crate::Store

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::error::StoreError;
use crate::records::Records;

const FILE: &str = "records.lock";

/// The right to write; dropped, it is free for others.
#[derive(Debug)]
pub(crate) struct WriterLock {
    file: File,
}

impl WriterLock {
    /// Takes the lock of a directory, or says who has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let failed = |source: io::Error| StoreError::Directory { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => return Err(in_use(dir, &mut file)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process being started at this moment has a copy of the descriptor.
        // If it fails, closing has to do.
        let _ = self.file.unlock();
    }
}

fn in_use(dir: &Path, file: &mut File) -> StoreError {
    let mut text = String::new();
    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
    let run = Records::open(dir).ok().and_then(|records| records.newest_open_run().ok().flatten());
    StoreError::InUse { path: dir.to_owned(), pid, run }
}

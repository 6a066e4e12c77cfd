//! Reading signed files with a bound, so that a wrong path (a disk image, a device) cannot fill memory.

use std::{fs::File, io::Read, path::Path};

use zeroize::Zeroizing;

use crate::envelope::FILE_LIMIT;

/// Greatest growth by `age`: its header with many recipients, and 16 bytes per 64 KiB.
const SEALED_EXTRA: u64 = 1024 * 1024;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system says no.
    #[error("cannot read {path}")]
    Io {
        /// The path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is greater than any signed file may be.
    #[error("{path} is greater than {limit} bytes, the limit for a signed file")]
    Oversize {
        /// The path.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
}

/// The whole file, plain or encrypted, into memory that is wiped when dropped.
///
/// # Errors
/// [`FileError`].
pub fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let limit = FILE_LIMIT + SEALED_EXTRA;
    let name = || path.display().to_string();
    let io = |source| FileError::Io { path: name(), source };
    let file = File::open(path).map_err(io)?;
    let expected = file.metadata().map_err(io)?.len().min(limit + 1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected as usize + 1));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::Oversize { path: name(), limit });
    }
    Ok(bytes)
}

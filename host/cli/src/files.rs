//! Writing small files so that they are there as a whole or not at all, and keys so that nobody else reads them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use panel_codes::Code;

use crate::failure::Failure;

/// Replaces or makes `path`: the new content is on the disk before it takes the old one's place.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| std::fs::rename(&new, path)).and_then(|()| sync_directory(path));
    done.map_err(|e| unwritable(path, &e))
}

/// Makes `path`, which must not be there yet.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_new(path, bytes, OpenOptions::new().write(true).create_new(true))
}

/// Makes `path` for a secret: it must not be there yet, and only its owner may read it.
pub(crate) fn create_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write_new(path, text.as_bytes(), &options)
}

/// The directory, or where it is still to be made, its nearest parent that exists.
pub(crate) fn existing(dir: &Path) -> &Path {
    let here = Path::new(".");
    dir.ancestors().find(|d| d.exists()).unwrap_or(here)
}

/// Bytes that are free for this user on the disk that holds `directory`.
pub(crate) fn free_bytes(directory: &Path) -> Result<u64, Failure> {
    match rustix::fs::statvfs(directory) {
        Ok(disk) => Ok(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(e) => {
            let text = format!("{}: free space is not known: {e}", directory.display());
            Err(Failure::with_exit(Code::RecordStore, text, 3))
        }
    }
}

fn write_new(path: &Path, bytes: &[u8], options: &OpenOptions) -> Result<(), Failure> {
    let written = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| sync_directory(path)).map_err(|e| unwritable(path, &e))
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(directory)?.sync_all()
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::OutputFile, format!("{}: {error}", path.display()))
}

//! A flash's contents and its chip's UID in a file, so that the next process meets the board as this one left it.
//!
//! Every completed operation is one positioned write; a note of the running operation stands in the header from
//! its start to its end. Killing the process at any moment therefore leaves a plausible flash: completed
//! operations are there, and the place of an unfinished one is known and comes back with arbitrary contents.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use panel_protocol::node::{Protection, Uid};

use super::{OPTION_BYTES, Options};

/// Header: magic 0..8, size of flash and OTP 8..12, device ID 12..14, protection 14, options 16..48, UID 48..60,
/// running operation 64..72 (address, length; 0 if none). All little-endian.
const MAGIC: [u8; 8] = *b"PFFLASH2";
const HEADER: usize = 4096;
const OPTIONS_AT: u64 = 14;
const UID_AT: u64 = 48;
const OPERATION_AT: u64 = 64;

/// Why a board's flash cannot be kept in a file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened, read or written.
    #[error("flash file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file belongs to another chip or is none of ours.
    #[error("flash file {path} is not one of a chip {device_id:#05x} with {size} bytes of flash and OTP")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Expected device ID.
        device_id: u16,
        /// Expected size.
        size: u32,
    },
}

/// What a file held.
pub(super) struct Kept {
    pub(super) data: Vec<u8>,
    pub(super) once: Vec<u64>,
    pub(super) options: Options,
    pub(super) uid: Uid,
    /// Address and length of an operation that never ended.
    pub(super) interrupted: Option<(u32, u32)>,
}

/// The file of one board.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: File,
    device_id: u16,
    size: usize,
    error: Option<io::Error>,
}

impl Store {
    /// Opens or creates the file.
    pub(crate) fn open(path: &Path, device_id: u16, size: u32) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let path = path.to_owned();
        match file {
            Ok(file) => Ok(Self { path, file, device_id, size: size as usize, error: None }),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// Reads the contents, or `None` from a new file.
    pub(super) fn load(&self, size: usize, once_words: usize) -> Result<Option<Kept>, StoreError> {
        let mut header = [0; HEADER];
        let len = self.file.metadata().map_err(|e| self.io(e))?.len();
        if len >= HEADER as u64 {
            self.file.read_exact_at(&mut header, 0).map_err(|e| self.io(e))?;
        }
        if header[..8] == [0; 8] {
            // New, or its first writing was cut short before the magic.
            return if len == 0 || len >= HEADER as u64 { Ok(None) } else { Err(self.foreign()) };
        }
        if header[..14] != self.head() {
            return Err(self.foreign());
        }
        let mut data = vec![0; size];
        let mut once = vec![0; once_words * 8];
        self.file.read_exact_at(&mut data, HEADER as u64).map_err(|e| self.io(e))?;
        self.file.read_exact_at(&mut once, (HEADER + size) as u64).map_err(|e| self.io(e))?;
        let once =
            once.chunks_exact(8).map(|c| c.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b))).collect();
        let protection = match header[14] {
            0 => Protection::Open,
            2 => Protection::Level2,
            _ => Protection::Level1,
        };
        let mut options = Options { protection, bytes: [0xFF; OPTION_BYTES] };
        options.bytes.copy_from_slice(&header[16..16 + OPTION_BYTES]);
        let mut uid = [0; 12];
        uid.copy_from_slice(&header[UID_AT as usize..UID_AT as usize + 12]);
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let operation = (word(OPERATION_AT as usize), word(OPERATION_AT as usize + 4));
        let interrupted = (operation.1 != 0).then_some(operation);
        Ok(Some(Kept { data, once, options, uid: Uid(uid), interrupted }))
    }

    /// Writes everything; the magic comes last, so that a file cut short here is not taken for a flash.
    pub(super) fn save_all(
        &self,
        data: &[u8],
        once: &[u64],
        options: &Options,
        uid: Uid,
    ) -> Result<(), StoreError> {
        let once: Vec<u8> = once.iter().flat_map(|w| w.to_le_bytes()).collect();
        let save = || {
            self.file.write_all_at(&[0; HEADER - 64], 64)?;
            self.file.write_all_at(data, HEADER as u64)?;
            self.file.write_all_at(&once, (HEADER + self.size) as u64)?;
            self.file.write_all_at(&encode(options), OPTIONS_AT)?;
            self.file.write_all_at(&uid.0, UID_AT)?;
            self.file.write_all_at(&self.head(), 0)
        };
        save().map_err(|e| self.io(e))
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.put((HEADER + at) as u64, bytes);
    }

    /// Writes the marks of the double words in `at..at + len`.
    pub(super) fn write_once(&mut self, at: usize, len: usize, once: &[u64]) {
        if once.is_empty() {
            return;
        }
        let words = at / 512..(at + len).div_ceil(512);
        let start = HEADER + self.size + words.start * 8;
        let bytes: Vec<u8> = once[words].iter().flat_map(|w| w.to_le_bytes()).collect();
        self.put(start as u64, &bytes);
    }

    pub(super) fn write_options(&mut self, options: &Options) {
        self.put(OPTIONS_AT, &encode(options));
    }

    pub(super) fn begin_operation(&mut self, address: u32, len: u32) {
        let mut note = [0; 8];
        note[..4].copy_from_slice(&address.to_le_bytes());
        note[4..].copy_from_slice(&len.to_le_bytes());
        self.put(OPERATION_AT, &note);
    }

    pub(super) fn end_operation(&mut self) {
        self.put(OPERATION_AT, &[0; 8]);
    }

    /// The first error since the last call.
    pub(super) fn take_error(&mut self) -> Option<StoreError> {
        let error = self.error.take()?;
        Some(self.io(error))
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        if let Err(error) = self.file.write_all_at(bytes, at) {
            self.error.get_or_insert(error);
        }
    }

    fn head(&self) -> [u8; 14] {
        let mut head = [0; 14];
        head[..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&(self.size as u32).to_le_bytes());
        head[12..].copy_from_slice(&self.device_id.to_le_bytes());
        head
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }

    fn foreign(&self) -> StoreError {
        StoreError::Foreign { path: self.path.clone(), device_id: self.device_id, size: self.size as u32 }
    }
}

/// Protection, a gap and the option area, as they stand in the header.
fn encode(options: &Options) -> [u8; 2 + OPTION_BYTES] {
    let mut out = [0; 2 + OPTION_BYTES];
    out[0] = options.protection as u8;
    out[2..].copy_from_slice(&options.bytes);
    out
}

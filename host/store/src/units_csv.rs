//! `units.csv`: one line per ended attempt, for people and programs that do not read databases.
//!
//! The file follows the database: a line is added, with fsync, after its attempt's end is durable there. The
//! order of lines is the order of ends, so the last line says what is missing. [`UnitsCsv::open`] cuts a half
//! line off and adds what a crash left out; a file that does not follow from the database (edited, or of
//! another database) is put aside, never deleted, and written anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};

use crate::error::StoreError;
use crate::faults::{Faults, Moment};
use crate::record::AttemptId;
use crate::report::{UnitLine, header_text, line_of, lines_after, write_lines};

const FILE: &str = "units.csv";

/// How much of the end of the file is looked at; far longer than any line.
const TAIL: u64 = 64 * 1024;

/// How many lines are written at once when many are missing.
const BATCH: usize = 1000;

/// What was found of `units.csv` when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CsvState {
    /// It was complete.
    Complete,
    /// There was none; it was written from the database.
    Created,
    /// A crash had left it short; it was made complete.
    Repaired {
        /// Bytes of a half line that were cut off.
        cut: u64,
        /// Lines that were added.
        added: usize,
    },
    /// It did not follow from the database; it was written anew.
    Replaced {
        /// Where the old file was put.
        kept_as: PathBuf,
    },
}

/// The open file.
pub(crate) struct UnitsCsv {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    length: u64,
    last_end_event: i64,
}

impl UnitsCsv {
    /// Opens the file and makes it equal to what the database says.
    pub(crate) fn open(dir: &Path, db: &Connection) -> Result<(Self, CsvState), StoreError> {
        let path = dir.join(FILE);
        let failed = |source| StoreError::UnitsCsv { path: path.clone(), source };
        let mut file = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok((Self::create(dir, db)?, CsvState::Created));
            }
            Err(error) => return Err(failed(error)),
        };
        let found = file.metadata().map_err(failed)?.len();
        let Some((length, last_end_event)) = find_end(&mut file, db).map_err(|error| error.at(&path))? else {
            let kept_as = put_aside(dir).map_err(failed)?;
            return Ok((Self::create(dir, db)?, CsvState::Replaced { kept_as }));
        };
        file.set_len(length).map_err(failed)?;
        let mut units = Self { dir: dir.to_owned(), path, file, length, last_end_event };
        let (cut, added) = (found - length, units.add_missing(db, &mut Faults::default())?);
        let state =
            if (cut, added) == (0, 0) { CsvState::Complete } else { CsvState::Repaired { cut, added } };
        Ok((units, state))
    }

    /// Adds the lines of attempts that ended since the last one; durable when it returns.
    pub(crate) fn extend(&mut self, db: &Connection, faults: &mut Faults) -> Result<(), StoreError> {
        if lines_after(db, self.last_end_event, 1)?.is_empty() {
            return Ok(());
        }
        // Half written by a call that failed, edited or removed by somebody: start again from the database.
        if fs::metadata(&self.path).map(|metadata| metadata.len()).ok() != Some(self.length) {
            let dir = self.dir.clone();
            *self = Self::open(&dir, db)?.0;
            return Ok(());
        }
        self.add_missing(db, faults)?;
        Ok(())
    }

    fn add_missing(&mut self, db: &Connection, faults: &mut Faults) -> Result<usize, StoreError> {
        let mut added = 0;
        loop {
            let lines = lines_after(db, self.last_end_event, BATCH)?;
            let Some((last, _)) = lines.last() else { return Ok(added) };
            let last = *last;
            added += lines.len();
            let text = text_of(lines.iter().map(|(_, line)| line));
            let (one, other) = text.split_at(text.len() / 2);
            self.file.write_all(one).map_err(|source| self.failed(source))?;
            faults.pass(Moment::HalfLine)?;
            self.file.write_all(other).map_err(|source| self.failed(source))?;
            self.file.sync_data().map_err(|source| self.failed(source))?;
            self.length += text.len() as u64;
            self.last_end_event = last;
            faults.pass(Moment::AfterLine)?;
        }
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::UnitsCsv { path: self.path.clone(), source }
    }

    /// Writes the whole file under another name and renames it: it appears complete or not at all.
    fn create(dir: &Path, db: &Connection) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let failed = |source| StoreError::UnitsCsv { path: path.clone(), source };
        let new = dir.join("units.csv.new");
        let mut file = File::create(&new).map_err(failed)?;
        let header = header_text();
        file.write_all(&header).map_err(failed)?;
        let (dir, length) = (dir.to_owned(), header.len() as u64);
        let mut units = Self { dir, path: path.clone(), file, length, last_end_event: 0 };
        units.add_missing(db, &mut Faults::default())?;
        units.file.sync_all().map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)?;
        sync_directory(&units.dir).map_err(failed)?;
        units.file = OpenOptions::new().read(true).append(true).open(&path).map_err(failed)?;
        Ok(units)
    }
}

/// Makes the creation or renaming of something in a directory durable.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Trouble of either kind while the end of the file is being found.
enum EndError {
    File(io::Error),
    Database(StoreError),
}

impl EndError {
    fn at(self, path: &Path) -> StoreError {
        match self {
            Self::File(source) => StoreError::UnitsCsv { path: path.to_owned(), source },
            Self::Database(error) => error,
        }
    }
}

impl From<io::Error> for EndError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Where the last whole line ends, and the event that its attempt ended with; none if the file does not
/// follow from the database.
fn find_end(file: &mut File, db: &Connection) -> Result<Option<(u64, i64)>, EndError> {
    let header = header_text();
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    (&*file).take(header.len() as u64).read_to_end(&mut start)?;
    if start != header {
        return Ok(None);
    }
    let size = file.metadata()?.len();
    let from = size.saturating_sub(TAIL).max(header.len() as u64);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut tail)?;
    let Some(end) = last_line_end(&tail) else {
        let nothing_but_a_half_line = from == header.len() as u64;
        return Ok(nothing_but_a_half_line.then_some((from, 0)));
    };
    let begin = last_line_end(&tail[..end - 1]).unwrap_or(0);
    let line = &tail[begin..end];
    let end_event = end_event_of(line, db).map_err(EndError::Database)?;
    Ok(end_event.map(|end_event| (from + end as u64, end_event)))
}

fn last_line_end(text: &[u8]) -> Option<usize> {
    text.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1)
}

/// The event that ended the attempt of a line; none unless the database gives exactly this line.
fn end_event_of(line: &[u8], db: &Connection) -> Result<Option<i64>, StoreError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line);
    let attempt = reader.records().next().and_then(|record| record.ok()?.iter().next_back()?.parse().ok());
    let Some(attempt) = attempt.map(AttemptId) else { return Ok(None) };
    let expected = line_of(db, attempt)?.map(|expected| text_of([&expected]));
    if expected.as_deref() != Some(line) {
        return Ok(None);
    }
    let end_event: Option<Option<i64>> = db
        .query_row("SELECT end_event FROM attempts WHERE id = ?1", [attempt], |row| row.get(0))
        .optional()?;
    Ok(end_event.flatten())
}

fn text_of<'l>(lines: impl IntoIterator<Item = &'l UnitLine>) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to memory, and of a flat struct: neither can fail.
    let _ = write_lines(lines, &mut text);
    text
}

/// Renames the file to the first free name.
fn put_aside(dir: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    let mut name = dir.join(format!("units-replaced-{number}.csv"));
    while name.exists() {
        number += 1;
        name = dir.join(format!("units-replaced-{number}.csv"));
    }
    fs::rename(dir.join(FILE), &name)?;
    Ok(name)
}

//! Between database values and types. What the database holds and no type allows is damage.

use jiff::Timestamp;
use rusqlite::{Row, types::Type};

use crate::{
    error::LedgerError,
    eui::{Eui, EuiKind},
    types::{Hash, NamedBlob, NumberKind, State, Uid},
};

/// A stored time. Only times made by [`Timestamp::as_microsecond`] are stored.
pub(super) fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or_default()
}

pub(super) fn blob_hash(row: &Row<'_>, index: usize) -> rusqlite::Result<Hash> {
    row.get(index).map(Hash)
}

pub(super) fn optional_hash(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Hash>> {
    row.get::<_, Option<[u8; 32]>>(index).map(|hash| hash.map(Hash))
}

pub(super) fn uid(row: &Row<'_>, index: usize) -> rusqlite::Result<Uid> {
    row.get(index).map(|stored| reversed(&Uid(stored))).map(Uid)
}

/// A chip as it is stored: its lot first.
pub(super) fn reversed(uid: &Uid) -> [u8; 12] {
    let mut bytes = uid.0;
    bytes.reverse();
    bytes
}

pub(super) fn state(row: &Row<'_>, index: usize) -> rusqlite::Result<State> {
    let word: String = row.get(index)?;
    State::ALL.into_iter().find(|state| state.word() == word).ok_or_else(|| unknown(index, &word))
}

pub(super) fn number_kind(row: &Row<'_>, index: usize) -> rusqlite::Result<NumberKind> {
    let word: String = row.get(index)?;
    NumberKind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| unknown(index, &word))
}

fn unknown(index: usize, word: &str) -> rusqlite::Error {
    let what = format!("unknown word {word:?}");
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, what.into())
}

/// Addresses as they stand in one column: separated by blanks, `NULL` for none.
pub(super) fn join(euis: &[Eui]) -> Option<String> {
    let texts: Vec<_> = euis.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// The addresses of one column.
pub(super) fn euis(row: &Row<'_>, index: usize, kind: EuiKind) -> rusqlite::Result<Vec<Eui>> {
    let text: Option<String> = row.get(index)?;
    let read = |word: &str| {
        Eui::parse(kind, word)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.into()))
    };
    text.unwrap_or_default().split_whitespace().map(read).collect()
}

/// Blobs as they stand in one column, `NULL` for none.
pub(super) fn join_blobs(blobs: &[NamedBlob]) -> Option<String> {
    let texts: Vec<_> = blobs.iter().map(|blob| format!("{}={}", blob.name, blob.sha256)).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// The blobs of one column.
pub(super) fn blobs(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<NamedBlob>> {
    let text: Option<String> = row.get(index)?;
    let read = |word: &str| {
        let (name, value) = word.split_once('=').ok_or_else(|| unknown(index, word))?;
        Ok(NamedBlob { name: name.to_owned(), sha256: hash(index, value)? })
    };
    text.unwrap_or_default().split_whitespace().map(read).collect()
}

/// A hash that stands as text.
pub(super) fn hash(index: usize, text: &str) -> rusqlite::Result<Hash> {
    let mut sha256 = [0; 32];
    hex::decode_to_slice(text, &mut sha256).map_err(|_| unknown(index, text))?;
    Ok(Hash(sha256))
}

/// A number that is stored as a signed integer of the database.
pub(super) fn stored(field: &'static str, number: u64) -> Result<i64, LedgerError> {
    const GREATEST: u64 = (1 << 53) - 1;
    if number == 0 || number > GREATEST {
        return Err(LedgerError::Number { field, got: number });
    }
    Ok(number as i64)
}

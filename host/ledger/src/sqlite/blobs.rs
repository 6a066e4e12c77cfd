//! Blobs that came with lists: their bytes, how many are left, and whether they are what they were.

use rusqlite::{Connection, OptionalExtension, params};

use super::writer::Writer;
use crate::{
    error::LedgerError,
    report::{Audit, Finding},
    types::{Content, Hash, ListBlob, NamedBlob, Supply},
};

/// Keeps the bytes of a blob; that there is none of this content yet was checked.
pub(super) fn keep(writer: &Writer<'_>, listed: &ListBlob) -> Result<(), LedgerError> {
    let ListBlob { blob: NamedBlob { name, sha256 }, length, content } = listed;
    let (sealed, bytes) = match content {
        Content::Plain(bytes) => (false, bytes),
        Content::Sealed(bytes) => (true, bytes),
    };
    writer
        .tx
        .prepare_cached("INSERT INTO content (name, sha256, length, sealed, bytes) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![name, sha256.to_string(), *length as i64, sealed, bytes])?;
    Ok(())
}

pub(super) fn content(connection: &Connection, blob: &NamedBlob) -> Result<Option<Content>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT sealed, bytes FROM content WHERE name = ? AND sha256 = ?")?;
    let found = statement.query_row(params![blob.name, blob.sha256.to_string()], |row| {
        let (sealed, bytes) = (row.get(0)?, row.get(1)?);
        Ok(if sealed { Content::Sealed(bytes) } else { Content::Plain(bytes) })
    });
    Ok(found.optional()?)
}

pub(super) fn supply(
    connection: &Connection,
    product: &str,
    order: Option<&str>,
    name: &str,
) -> Result<Supply, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*), coalesce(sum(i.position >= p.used), 0), coalesce(max(c.length), 0),
                coalesce(max(c.sealed), 0)
         FROM list_item AS i JOIN pool AS p ON p.id = i.pool
         JOIN content AS c ON c.name = i.scope AND c.sha256 = i.value
         WHERE i.kind = 'blob' AND i.scope = ?1
           AND (p.product IS NULL OR p.product = ?2) AND (p.order_id IS NULL OR p.order_id = ?3)",
    )?;
    Ok(statement.query_row(params![name, product, order], |row| {
        let [listed, left, longest] = [row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?];
        let sealed = row.get(3)?;
        Ok(Supply { listed: listed as u64, left: left as u64, longest: longest as usize, sealed })
    })?)
}

/// Every listed blob is there. Of a sealed one only its reader can say whether it was changed.
pub(super) fn check(connection: &Connection, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut statement = connection.prepare(
        "SELECT i.scope, i.value, c.sealed, c.bytes FROM list_item AS i
         LEFT JOIN content AS c ON c.name = i.scope AND c.sha256 = i.value
         WHERE i.kind = 'blob' ORDER BY i.pool, i.position, i.ordinal",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, wanted): (String, String) = (row.get(0)?, row.get(1)?);
        let got = match (row.get::<_, Option<bool>>(2)?, row.get::<_, Option<Vec<u8>>>(3)?) {
            (Some(false), Some(bytes)) => Hash::of(&bytes).to_string(),
            (Some(true), Some(_)) => continue,
            _ => "no bytes".to_owned(),
        };
        if got != wanted {
            let detail = format!("blob {name} of a list: {got}, not SHA-256 {wanted}");
            audit.findings.push(Finding::Damaged { detail });
        }
    }
    Ok(())
}

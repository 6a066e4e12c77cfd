//! Orders and pools: what is registered to be given out, and taking the next set of it.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use super::{
    blobs,
    convert::{blob_hash, hash, number_kind, stored},
    writer::Writer,
};
use crate::{
    error::LedgerError,
    eui::{Assignment, Eui, EuiBlock, EuiKind},
    serial::SerialFormat,
    types::{Block, ListRow, NamedBlob, NumberKind, Numbers, OrderTerms, Pool, PoolLevel, SerialBlock},
};

/// A pool as it stands in the database.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: i64,
    product: Option<String>,
    order: Option<String>,
    pub(super) content: Content,
    /// Sets already given.
    pub(super) used: u64,
}

/// What a stored pool holds; the rows of a list stay in the database.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Serial(SerialBlock),
    Eui(EuiBlock),
    List { rows: u64 },
}

impl Stored {
    pub(super) fn left(&self) -> u64 {
        let units = match &self.content {
            Content::Serial(block) => block.count,
            Content::Eui(block) => block.units(),
            Content::List { rows } => *rows,
        };
        units.saturating_sub(self.used)
    }
}

const COLUMNS: &str = "id, product, order_id, kind, format, first, count, step, local, used";

fn read_pool(row: &Row<'_>) -> rusqlite::Result<Result<Stored, LedgerError>> {
    let damage = |detail: String| LedgerError::Corrupt { detail };
    let kind: String = row.get(3)?;
    let (format, first): (Option<String>, String) = (row.get(4)?, row.get(5)?);
    let (count, step): (i64, i64) = (row.get(6)?, row.get(7)?);
    let (count, step, local) = (count as u64, step as u64, row.get(8)?);
    let eui =
        |kind| Eui::parse(kind, &first).map(|first| Content::Eui(EuiBlock { first, count, step, local }));
    let content = match kind.as_str() {
        "serial" => {
            let format = format.unwrap_or_default().parse::<SerialFormat>();
            match (format, first.parse()) {
                (Ok(format), Ok(first)) => Ok(Content::Serial(SerialBlock { format, first, count })),
                _ => Err(damage(format!("serial pool with a first of {first:?} or a format nobody reads"))),
            }
        }
        "eui48" => eui(EuiKind::Eui48).map_err(LedgerError::from),
        "eui64" => eui(EuiKind::Eui64).map_err(LedgerError::from),
        "list" => Ok(Content::List { rows: count }),
        other => Err(damage(format!("pool of unknown kind {other:?}"))),
    };
    let (id, product, order) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let used = row.get::<_, i64>(9)? as u64;
    Ok(content.map(|content| Stored { id, product, order, content, used }))
}

fn all(connection: &Connection) -> Result<Vec<Stored>, LedgerError> {
    let sql = format!("SELECT {COLUMNS} FROM pool ORDER BY id");
    let mut statement = connection.prepare_cached(&sql)?;
    let pools = statement.query_map([], read_pool)?.collect::<Result<Vec<_>, _>>()?;
    pools.into_iter().collect()
}

/// Pools that may serve `product` under `order`: the order's own first, then the product's, then common ones.
pub(super) fn eligible(
    connection: &Connection,
    product: &str,
    order: Option<&str>,
) -> Result<Vec<Stored>, LedgerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM pool
         WHERE (product IS NULL OR product = ?1) AND (order_id IS NULL OR order_id = ?2)
           AND used * step < count
         ORDER BY order_id IS NULL, product IS NULL, id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let pools = statement.query_map(params![product, order], read_pool)?.collect::<Result<Vec<_>, _>>()?;
    pools.into_iter().collect()
}

pub(super) fn levels(connection: &Connection) -> Result<Vec<PoolLevel>, LedgerError> {
    let level = |pool: Stored| {
        let holds = match &pool.content {
            Content::Serial(block) => format!("serial {} from {}", block.format, block.first),
            Content::Eui(block) => format!("{:?} from {} by {}", block.first.kind, block.first, block.step),
            Content::List { rows } => format!("list of {rows}"),
        };
        let left = pool.left();
        PoolLevel {
            pool: pool.id,
            holds,
            product: pool.product,
            order: pool.order,
            units: pool.used + left,
            left,
        }
    };
    Ok(all(connection)?.into_iter().map(level).collect())
}

pub(super) fn open_order(writer: &mut Writer<'_>, order: &OrderTerms) -> Result<(), LedgerError> {
    let known = writer
        .tx
        .prepare_cached("SELECT document FROM work_order WHERE id = ?")?
        .query_row([&order.id], |row| blob_hash(row, 0))
        .optional()?;
    match known {
        Some(known) if known == order.document => return Ok(()),
        Some(known) => {
            return Err(LedgerError::OrderChanged {
                order: order.id.clone(),
                known: known.to_string(),
                got: order.document.to_string(),
            });
        }
        None => {}
    }
    let quantity = stored("quantity", order.quantity)?;
    writer
        .tx
        .prepare_cached(
            "INSERT INTO work_order (id, document, product, quantity, remaining, lock_required)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
        )?
        .execute(params![order.id, order.document.0, order.product, quantity, order.lock_required])?;
    writer.log(
        "order-opened",
        &json!({
            "order": order.id, "document": order.document, "product": order.product,
            "quantity": order.quantity, "lock_required": order.lock_required,
        }),
    )?;
    for block in &order.blocks {
        let pool = Pool {
            product: Some(order.product.clone()),
            order: Some(order.id.clone()),
            block: block.clone(),
        };
        add(writer, &pool)?;
    }
    Ok(())
}

pub(super) fn add_assignment(writer: &mut Writer<'_>, assignment: &Assignment) -> Result<(), LedgerError> {
    assignment.check()?;
    let kind = NumberKind::from(assignment.first.kind);
    let first = assignment.first.to_string();
    let added = writer
        .tx
        .prepare_cached("INSERT OR IGNORE INTO assignment (kind, first, prefix_bits) VALUES (?, ?, ?)")?
        .execute(params![kind.word(), first, assignment.prefix_bits])?;
    if added == 0 {
        return Ok(());
    }
    let body = json!({ "kind": kind, "first": first, "prefix_bits": assignment.prefix_bits });
    writer.log("assignment-added", &body)
}

fn assignments(connection: &Connection) -> Result<Vec<Assignment>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT kind, first, prefix_bits FROM assignment")?;
    let rows = statement
        .query_map([], |row| Ok((number_kind(row, 0)?, row.get::<_, String>(1)?, row.get(2)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    rows.into_iter()
        .map(|(kind, first, prefix_bits)| {
            let kind = if kind == NumberKind::Eui64 { EuiKind::Eui64 } else { EuiKind::Eui48 };
            Ok(Assignment { first: Eui::parse(kind, &first)?, prefix_bits })
        })
        .collect()
}

pub(super) fn add(writer: &mut Writer<'_>, pool: &Pool) -> Result<(), LedgerError> {
    if let Some(order) = &pool.order {
        let known = writer.tx.prepare_cached("SELECT 1 FROM work_order WHERE id = ?")?.exists([order])?;
        if !known {
            return Err(LedgerError::UnknownOrder { order: order.clone() });
        }
    }
    let others = all(&writer.tx)?;
    match &pool.block {
        Block::Serial(block) => {
            let count = stored("count", block.count)?;
            let last = block.first.saturating_add(block.count.saturating_sub(1));
            // Rendering the last one shows whether the counter has digits enough.
            block.format.render(last, jiff::Timestamp::UNIX_EPOCH)?;
            refuse_serial_overlap(&others, pool.product.as_deref(), block)?;
            refuse_listed_serials(writer, pool.product.as_deref(), block)?;
            let format = block.format.to_string();
            insert(writer, pool, "serial", Some(&format), &block.first.to_string(), count, 1, false)?;
        }
        Block::Eui(block) => {
            block.check(&assignments(&writer.tx)?)?;
            refuse_eui_overlap(&others, block)?;
            refuse_listed_euis(writer, block)?;
            let kind = NumberKind::from(block.first.kind).word();
            let (count, step) = (stored("count", block.count)?, stored("step", block.step)?);
            insert(writer, pool, kind, None, &block.first.to_string(), count, step, block.local)?;
        }
        Block::List(rows) => {
            let count = stored("rows", rows.len() as u64)?;
            let id = insert(writer, pool, "list", None, "", count, 1, false)?;
            add_rows(writer, id, pool, rows, &others)?;
        }
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
fn insert(
    writer: &mut Writer<'_>,
    pool: &Pool,
    kind: &str,
    format: Option<&str>,
    first: &str,
    count: i64,
    step: i64,
    local: bool,
) -> Result<i64, LedgerError> {
    writer
        .tx
        .prepare_cached(
            "INSERT INTO pool (product, order_id, kind, format, first, count, step, local, used)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
        )?
        .execute(params![pool.product, pool.order, kind, format, first, count, step, local])?;
    let id = writer.tx.last_insert_rowid();
    let body = json!({
        "pool": id, "product": pool.product, "order": pool.order, "kind": kind, "format": format,
        "first": first, "count": count, "step": step,
    });
    writer.log("pool-added", &body)?;
    Ok(id)
}

fn refuse_serial_overlap(
    others: &[Stored],
    product: Option<&str>,
    block: &SerialBlock,
) -> Result<(), LedgerError> {
    let last = block.first.saturating_add(block.count.saturating_sub(1));
    let overlaps = |other: &&Stored| match &other.content {
        Content::Serial(theirs) => {
            let same = other.product.as_deref() == product || other.product.is_none() || product.is_none();
            let their_last = theirs.first.saturating_add(theirs.count.saturating_sub(1));
            same && theirs.format == block.format && block.first <= their_last && theirs.first <= last
        }
        Content::Eui(_) | Content::List { .. } => false,
    };
    match others.iter().find(overlaps) {
        Some(other) => Err(LedgerError::Overlap {
            kind: NumberKind::Serial,
            first: block.first.to_string(),
            pool: other.id,
        }),
        None => Ok(()),
    }
}

fn refuse_eui_overlap(others: &[Stored], block: &EuiBlock) -> Result<(), LedgerError> {
    let overlaps = |other: &&Stored| matches!(&other.content, Content::Eui(theirs) if theirs.overlaps(block));
    match others.iter().find(overlaps) {
        Some(other) => Err(LedgerError::Overlap {
            kind: block.first.kind.into(),
            first: block.first.to_string(),
            pool: other.id,
        }),
        None => Ok(()),
    }
}

/// Refuses a block that would give a serial number that a list has.
fn refuse_listed_serials(
    writer: &Writer<'_>,
    product: Option<&str>,
    block: &SerialBlock,
) -> Result<(), LedgerError> {
    let mut statement = writer.tx.prepare(
        "SELECT value, pool FROM list_item WHERE kind = 'serial' AND (?1 = '' OR scope IN ('', ?1)) ORDER BY pool",
    )?;
    let mut rows = statement.query([product.unwrap_or_default()])?;
    while let Some(row) = rows.next()? {
        let (value, pool): (String, i64) = (row.get(0)?, row.get(1)?);
        if gives(block, &value) {
            return Err(LedgerError::Overlap { kind: NumberKind::Serial, first: value, pool });
        }
    }
    Ok(())
}

/// Whether a block has this serial number, made on any date.
fn gives(block: &SerialBlock, serial: &str) -> bool {
    let last = block.first.saturating_add(block.count.saturating_sub(1));
    block.format.read(serial).is_ok_and(|counter| (block.first..=last).contains(&counter))
}

/// Refuses a block with an address that a list has.
fn refuse_listed_euis(writer: &Writer<'_>, block: &EuiBlock) -> Result<(), LedgerError> {
    let kind = NumberKind::from(block.first.kind);
    let last = Eui { value: block.last(), ..block.first };
    // Addresses of a kind are equally long texts in lower case: their order is that of their values.
    let listed: Option<(String, i64)> = writer
        .tx
        .prepare_cached(
            "SELECT value, pool FROM list_item WHERE kind = ? AND scope = '' AND value BETWEEN ? AND ? LIMIT 1",
        )?
        .query_row(params![kind.word(), block.first.to_string(), last.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match listed {
        Some((first, pool)) => Err(LedgerError::Overlap { kind, first, pool }),
        None => Ok(()),
    }
}

/// Puts the rows of a list in, each number checked against everything given and everything listed.
fn add_rows(
    writer: &mut Writer<'_>,
    pool: i64,
    description: &Pool,
    rows: &[ListRow],
    others: &[Stored],
) -> Result<(), LedgerError> {
    let scope = description.product.as_deref().unwrap_or("");
    for (position, row) in rows.iter().enumerate() {
        for eui in row.eui48.iter().chain(&row.eui64) {
            refuse_eui_overlap(others, &EuiBlock { first: *eui, count: 1, step: 1, local: true })?;
        }
        for (kind, ordinal, scope, value) in values(row, scope) {
            if kind == NumberKind::Serial {
                refuse_in_block(others, description.product.as_deref(), &value)?;
            }
            let given = writer
                .tx
                .prepare_cached(
                    "SELECT 1 FROM number WHERE kind = ?1 AND (scope = ?2 OR ?2 = '') AND value = ?3",
                )?
                .exists(params![kind.word(), scope, value])?;
            let listed = writer
                .tx
                .prepare_cached("SELECT 1 FROM list_item WHERE kind = ?1 AND scope = ?2 AND value = ?3")?
                .exists(params![kind.word(), scope, value])?;
            if given || listed {
                let place = if given { "given to a unit" } else { "in a list" };
                let place = format!("set {} of this list: {place}", position + 1);
                return Err(LedgerError::DuplicateNumber { kind, value, place });
            }
            writer
                .tx
                .prepare_cached(
                    "INSERT INTO list_item (pool, position, kind, ordinal, scope, value)
                     VALUES (?, ?, ?, ?, ?, ?)",
                )?
                .execute(params![pool, position as i64, kind.word(), ordinal, scope, value])?;
        }
        row.blobs.iter().try_for_each(|blob| blobs::keep(writer, blob))?;
    }
    Ok(())
}

/// Refuses a listed serial number that a block would give.
fn refuse_in_block(others: &[Stored], product: Option<&str>, serial: &str) -> Result<(), LedgerError> {
    let has = |other: &&Stored| match &other.content {
        Content::Serial(block) => {
            let same = other.product.as_deref() == product || other.product.is_none() || product.is_none();
            same && gives(block, serial)
        }
        Content::Eui(_) | Content::List { .. } => false,
    };
    match others.iter().find(has) {
        Some(other) => {
            let first = serial.to_owned();
            Err(LedgerError::Overlap { kind: NumberKind::Serial, first, pool: other.id })
        }
        None => Ok(()),
    }
}

/// The numbers of a row: kind, place among its kind, scope, value. `product` is the scope of serial numbers.
fn values<'a>(row: &'a ListRow, product: &'a str) -> Vec<(NumberKind, i64, &'a str, String)> {
    let mut values = Vec::new();
    values.extend(row.serial.iter().map(|serial| (NumberKind::Serial, 0, product, serial.clone())));
    for (kind, list) in [(NumberKind::Eui48, &row.eui48), (NumberKind::Eui64, &row.eui64)] {
        values.extend((0..).zip(list).map(|(at, eui)| (kind, at, "", eui.to_string())));
    }
    let blobs = (0..).zip(&row.blobs).map(|(at, listed)| {
        (NumberKind::Blob, at, listed.blob.name.as_str(), listed.blob.sha256.to_string())
    });
    values.extend(blobs);
    values
}

/// One row of a list as numbers.
pub(super) fn list_row(connection: &Connection, pool: i64, position: u64) -> Result<Numbers, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, value, scope FROM list_item WHERE pool = ? AND position = ? ORDER BY kind, ordinal",
    )?;
    let rows = statement
        .query_map(params![pool, position as i64], |row| {
            Ok((number_kind(row, 0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut numbers = Numbers::default();
    for (kind, value, scope) in rows {
        match kind {
            NumberKind::Serial => numbers.serial = Some(value),
            NumberKind::Eui48 => numbers.eui48.push(Eui::parse(EuiKind::Eui48, &value)?),
            NumberKind::Eui64 => numbers.eui64.push(Eui::parse(EuiKind::Eui64, &value)?),
            NumberKind::Blob => numbers.blobs.push(NamedBlob { name: scope, sha256: hash(1, &value)? }),
            NumberKind::Key | NumberKind::Certificate => {}
        }
    }
    Ok(numbers)
}

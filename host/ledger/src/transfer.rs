//! Lists in and out: pools from CSV, units and log as CSV and JSON lines.
//!
//! A list to import has a header line and one line per unit. Columns are `serial`, `eui48`, `eui64`; several
//! addresses of one kind stand in several columns of that name (or `eui48_1`, `eui48_2`). A plain file of
//! serial numbers, one a line, is such a list when its first line says `serial`.

use std::io::Write;

use serde::Serialize;

use crate::{
    error::LedgerError,
    eui::{Eui, EuiKind},
    serial::MAX_LENGTH,
    types::{ListRow, Unit},
};

/// Most lines of a list.
pub const MAX_ROWS: usize = 1_000_000;

/// Why an export could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the export: {detail}")]
pub struct ExportError {
    /// What the writer says.
    pub detail: String,
}

impl ExportError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self { detail: error.to_string() }
    }
}

#[derive(Clone, Copy)]
enum Column {
    Serial,
    Eui(EuiKind),
}

/// Reads a list of sets, one per unit.
///
/// # Errors
/// [`LedgerError::Import`] with the line: an unknown column, an empty field, a malformed number, too many
/// lines, or no line at all. Whether a number exists already shows when the list is added.
pub fn read_list(text: &[u8]) -> Result<Vec<ListRow>, LedgerError> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let wrong = |line, detail: String| LedgerError::Import { line, detail };
    let header = reader.headers().map_err(|error| wrong(1, error.to_string()))?.clone();
    let columns = header
        .iter()
        .map(|name| column(name).ok_or_else(|| wrong(1, format!("unknown column {name:?}"))))
        .collect::<Result<Vec<_>, _>>()?;
    if columns.iter().filter(|column| matches!(column, Column::Serial)).count() > 1 {
        return Err(wrong(1, "more than one column of serial numbers".to_owned()));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            wrong(line, error.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        if rows.len() == MAX_ROWS {
            return Err(wrong(line, format!("more than {MAX_ROWS} lines")));
        }
        let mut row = ListRow::default();
        for (column, field) in columns.iter().zip(&record) {
            take(&mut row, *column, field).map_err(|detail| wrong(line, detail))?;
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(wrong(1, "no line with numbers".to_owned()));
    }
    Ok(rows)
}

fn column(name: &str) -> Option<Column> {
    let (kind, number) = name.split_once('_').map_or((name, None), |(kind, number)| (kind, Some(number)));
    if number.is_some_and(|number| number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    match (kind, number) {
        ("serial", None) => Some(Column::Serial),
        ("eui48", _) => Some(Column::Eui(EuiKind::Eui48)),
        ("eui64", _) => Some(Column::Eui(EuiKind::Eui64)),
        _ => None,
    }
}

fn take(row: &mut ListRow, column: Column, field: &str) -> Result<(), String> {
    match column {
        Column::Serial => {
            let printable = field.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if field.is_empty() || field.len() > MAX_LENGTH || !printable {
                return Err(format!(
                    "{field:?} is no serial number (1 to {MAX_LENGTH} printable characters)"
                ));
            }
            row.serial = Some(field.to_owned());
        }
        Column::Eui(kind) => {
            let eui = Eui::parse(kind, field).map_err(|error| error.to_string())?;
            match kind {
                EuiKind::Eui48 => row.eui48.push(eui),
                EuiKind::Eui64 => row.eui64.push(eui),
            }
        }
    }
    Ok(())
}

/// Writes one JSON object per line: units ([`Unit`]) or entries of the log ([`crate::Event`]).
///
/// # Errors
/// [`ExportError`] when the writer fails.
pub fn write_json_lines<T: Serialize>(
    items: impl IntoIterator<Item = T>,
    mut out: impl Write,
) -> Result<(), ExportError> {
    for item in items {
        serde_json::to_writer(&mut out, &item).map_err(ExportError::new)?;
        out.write_all(b"\n").map_err(ExportError::new)?;
    }
    out.flush().map_err(ExportError::new)
}

const UNIT_COLUMNS: [&str; 22] = [
    "unit",
    "product",
    "uid",
    "order",
    "state",
    "failed",
    "reason",
    "serial",
    "eui48",
    "eui64",
    "keys",
    "certificates",
    "release",
    "run",
    "station",
    "panel",
    "slot",
    "record",
    "lock_proof",
    "supersedes",
    "reserved_at",
    "changed_at",
];

/// Writes units as CSV with a header. Several values in one field are separated by blanks.
///
/// # Errors
/// [`ExportError`] when the writer fails.
pub fn write_units_csv(units: impl IntoIterator<Item = Unit>, out: impl Write) -> Result<(), ExportError> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(UNIT_COLUMNS).map_err(ExportError::new)?;
    for unit in units {
        writer.write_record(fields(unit)).map_err(ExportError::new)?;
    }
    writer.flush().map_err(ExportError::new)
}

fn fields(unit: Unit) -> [String; 22] {
    fn text(value: Option<impl ToString>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let euis = |list: &[Eui]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    [
        unit.unit.0.to_string(),
        unit.product,
        unit.uid.to_string(),
        text(unit.order),
        unit.state.to_string(),
        text(unit.failed),
        text(unit.reason),
        text(unit.numbers.serial),
        euis(&unit.numbers.eui48),
        euis(&unit.numbers.eui64),
        unit.keys.join(" "),
        unit.certificates.join(" "),
        text(unit.release),
        unit.run,
        unit.station,
        text(unit.panel),
        unit.slot.to_string(),
        text(unit.record),
        text(unit.lock_proof),
        text(unit.supersedes.map(|unit| unit.0)),
        unit.reserved_at.to_string(),
        unit.changed_at.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (u64, String) {
        match read_list(text.as_bytes()) {
            Err(LedgerError::Import { line, detail }) => (line, detail),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_from_a_spreadsheet_or_a_plain_file_is_read() {
        let rows =
            read_list(b"\xEF\xBB\xBFserial,eui48_1,eui48_2\r\nA-1, 70:b3:d5:00:00:01,70B3D5000002\r\n");
        let rows = rows.unwrap();
        assert_eq!(rows[0].serial.as_deref(), Some("A-1"));
        let euis: Vec<_> = rows[0].eui48.iter().map(ToString::to_string).collect();
        assert_eq!(euis, ["70b3d5000001", "70b3d5000002"]);
        assert_eq!(read_list(b"serial\nX1\nX2\n").unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_in_a_list_is_told_with_its_line() {
        assert_eq!(error("serial,colour\nA,red\n").0, 1);
        assert_eq!(error("serial,serial\nA,B\n").0, 1);
        assert_eq!(error("serial_2\nA\n").0, 1);
        assert_eq!(error("").0, 1);
        assert_eq!(error("serial\n").1, "no line with numbers");
        assert_eq!(error("serial,eui48\nA,70b3d5000001\nB,70b3d500000\n").0, 3);
        assert_eq!(error("serial,eui48\nA,70b3d5000001\nB\n").0, 3);
        assert_eq!(error("serial,eui48\n,70b3d5000001\n").0, 2);
        assert_eq!(error(&format!("serial\n{}\n", "A".repeat(65))).0, 2);
        assert!(matches!(read_list(b"serial\n\xFF\n"), Err(LedgerError::Import { line: 2, .. })));
    }
}

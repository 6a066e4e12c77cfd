//! Lists in and out: pools from CSV, units and log as CSV and JSON lines.
//!
//! A list to import has a header line and one line per unit. Columns are `serial`, `eui48`, `eui64`; several
//! addresses of one kind stand in several columns of that name (or `eui48_1`, `eui48_2`). A plain file of
//! serial numbers, one a line, is such a list when its first line says `serial`.
//!
//! A column `blob:NAME` or `secret:NAME` has a blob for each unit: hexadecimal digits, or `@FILE`. What a secret is
//! leaves this module sealed by the caller and in no other form.

use std::io::Write;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    error::LedgerError,
    eui::{Eui, EuiKind},
    serial::MAX_LENGTH,
    types::{Content, Hash, ListBlob, ListRow, NamedBlob, Unit},
};

/// Most lines of a list.
pub const MAX_ROWS: usize = 1_000_000;
/// Most bytes of a blob.
pub const MAX_BLOB: usize = 64 * 1024;
/// Most characters of a blob's name: what its head in the identity region holds with a closing zero.
const MAX_BLOB_NAME: usize = 23;

/// Where the bytes of blobs come from and go to.
pub trait BlobSource {
    /// The content of a file that a list names.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn file(&mut self, name: &str) -> Result<Zeroizing<Vec<u8>>, String>;

    /// Seals a secret, so that only who may write it into units can read it.
    ///
    /// # Errors
    /// Why it cannot be sealed, in words.
    fn seal(&mut self, secret: &[u8]) -> Result<Vec<u8>, String>;
}

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
enum Column<'h> {
    Serial,
    Eui(EuiKind),
    Blob { name: &'h str, secret: bool },
}

/// Reads a list of sets, one per unit.
///
/// # Errors
/// [`LedgerError::Import`] with the line: an unknown column, an empty field, a malformed number, too many
/// lines, a blob that cannot be had, or no line at all. Whether a number exists already shows when the list is added.
pub fn read_list(text: &[u8], blobs: &mut dyn BlobSource) -> Result<Vec<ListRow>, LedgerError> {
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
    let mut names: Vec<_> = columns.iter().filter_map(Column::blob).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong(1, format!("more than one column of blobs {:?}", pair[0])));
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
            take(&mut row, *column, field, blobs).map_err(|detail| wrong(line, detail))?;
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(wrong(1, "no line with numbers".to_owned()));
    }
    Ok(rows)
}

impl<'h> Column<'h> {
    fn blob(&self) -> Option<&'h str> {
        match self {
            Self::Blob { name, .. } => Some(name),
            Self::Serial | Self::Eui(_) => None,
        }
    }
}

fn column(name: &str) -> Option<Column<'_>> {
    let named = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        (1..=MAX_BLOB_NAME).contains(&name.len()) && name.bytes().all(known)
    };
    match name.split_once(':') {
        Some(("blob", name)) if named(name) => return Some(Column::Blob { name, secret: false }),
        Some(("secret", name)) if named(name) => return Some(Column::Blob { name, secret: true }),
        Some(_) => return None,
        None => {}
    }
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

fn take(
    row: &mut ListRow,
    column: Column<'_>,
    field: &str,
    blobs: &mut dyn BlobSource,
) -> Result<(), String> {
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
        Column::Blob { name, secret } => row.blobs.push(list_blob(name, secret, field, blobs)?),
    }
    Ok(())
}

fn list_blob(name: &str, secret: bool, field: &str, blobs: &mut dyn BlobSource) -> Result<ListBlob, String> {
    let bytes = match field.strip_prefix('@') {
        Some(file) => blobs.file(file)?,
        // The field may be a secret: it is not repeated.
        None => {
            Zeroizing::new(hex::decode(field).map_err(|e| format!("blob {name:?} is not hexadecimal: {e}"))?)
        }
    };
    if bytes.is_empty() || bytes.len() > MAX_BLOB {
        return Err(format!("blob {name:?} has {} bytes, allowed are 1 to {MAX_BLOB}", bytes.len()));
    }
    let blob = NamedBlob { name: name.to_owned(), sha256: Hash::of(&bytes) };
    let length = bytes.len();
    let content = match secret {
        true => Content::Sealed(blobs.seal(&bytes)?),
        false => Content::Plain(bytes.to_vec()),
    };
    Ok(ListBlob { blob, length, content })
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

const UNIT_COLUMNS: [&str; 23] = [
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
    "blobs",
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

fn fields(unit: Unit) -> [String; 23] {
    fn text(value: Option<impl ToString>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let euis = |list: &[Eui]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let blobs = unit.numbers.blobs.iter().map(|blob| format!("{}={}", blob.name, blob.sha256));
    let blobs: Vec<_> = blobs.collect();
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
        blobs.join(" "),
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

    /// One file, and a seal that turns bytes around.
    struct Files;

    impl BlobSource for Files {
        fn file(&mut self, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
            match name {
                "one.bin" => Ok(Zeroizing::new(vec![1, 2, 3])),
                _ => Err(format!("{name}: there is no such file")),
            }
        }

        fn seal(&mut self, secret: &[u8]) -> Result<Vec<u8>, String> {
            Ok(secret.iter().rev().copied().collect())
        }
    }

    fn read(text: &[u8]) -> Result<Vec<ListRow>, LedgerError> {
        read_list(text, &mut Files)
    }

    fn error(text: &str) -> (u64, String) {
        match read(text.as_bytes()) {
            Err(LedgerError::Import { line, detail }) => (line, detail),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_from_a_spreadsheet_or_a_plain_file_is_read() {
        let rows = read(b"\xEF\xBB\xBFserial,eui48_1,eui48_2\r\nA-1, 70:b3:d5:00:00:01,70B3D5000002\r\n");
        let rows = rows.unwrap();
        assert_eq!(rows[0].serial.as_deref(), Some("A-1"));
        let euis: Vec<_> = rows[0].eui48.iter().map(ToString::to_string).collect();
        assert_eq!(euis, ["70b3d5000001", "70b3d5000002"]);
        assert_eq!(read(b"serial\nX1\nX2\n").unwrap().len(), 2);
    }

    #[test]
    fn blobs_are_read_from_digits_and_files_and_secrets_leave_sealed() {
        let rows = read(b"serial,blob:cal,secret:psk\nA,@one.bin,0aFf\n").unwrap();
        let [cal, psk] = rows[0].blobs.as_slice() else { panic!("{rows:?}") };
        assert_eq!((cal.blob.name.as_str(), cal.blob.sha256, cal.length), ("cal", Hash::of(&[1, 2, 3]), 3));
        assert_eq!(cal.content, Content::Plain(vec![1, 2, 3]));
        assert_eq!((psk.blob.sha256, &psk.content), (Hash::of(&[10, 255]), &Content::Sealed(vec![255, 10])));
        assert_eq!(
            error("serial,blob:cal\nA,00\nB,@two.bin\n"),
            (3, "two.bin: there is no such file".to_owned())
        );
        let (line, detail) = error("secret:psk\n00\nc0ffeg\n");
        assert!(line == 3 && detail.contains("hexadecimal") && !detail.contains("c0ffe"), "{detail}");
        assert_eq!(error("blob:cal,secret:cal\n00,01\n").0, 1);
        assert_eq!(error("blob:a b\n00\n").0, 1);
        assert_eq!(error(&format!("blob:{}\n00\n", "n".repeat(24))).0, 1);
        assert_eq!(error("blob:cal\n\"\"\n").0, 2);
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
        assert!(matches!(read(b"serial\n\xFF\n"), Err(LedgerError::Import { line: 2, .. })));
    }
}

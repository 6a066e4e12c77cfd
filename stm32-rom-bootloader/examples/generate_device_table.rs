//! Turns `data/stm32_devices.csv` into `src/device/table.rs`, on standard output.
//!
//! ```text
//! cargo run -p stm32-rom-bootloader --example generate_device_table > table.rs && mv table.rs src/device/
//! ```
//!
//! A test of the crate includes this file and fails if the committed table is not what it generates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

const CSV: &str = include_str!("../data/stm32_devices.csv");

fn main() -> std::io::Result<()> {
    let table = generate(CSV).map_err(std::io::Error::other)?;
    std::io::stdout().write_all(table.as_bytes())
}

/// The Rust source of the table, or what is wrong with the CSV.
pub(crate) fn generate(csv: &str) -> Result<String, String> {
    let mut lines = csv.lines();
    let header = split(lines.next().ok_or("no header")?);
    let rows: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let mut out = format!(
        "//! Generated from `data/stm32_devices.csv` by `examples/generate_device_table.rs`; do not edit.\n\
         //! One row a line, in the order of the CSV; a test keeps the two in step.\n\n\
         use super::flash::{{BankMode, Flash, Layout, SectorRun}};\n\
         use super::{{Area, Device, Family, OptionBytes, Readout, Startup}};\n\
         use core::time::Duration;\n\n\
         const fn area(start: u32, end: u32) -> Option<Area> {{\n    Some(Area {{ start, end }})\n}}\n\n\
         const fn startup(best: u64, worst: u64) -> Option<Startup> {{\n    \
         Some(Startup {{ best: Duration::from_micros(best), worst: Duration::from_micros(worst) }})\n}}\n\n\
         const fn run(count: u16, kib: u16) -> SectorRun {{\n    SectorRun {{ count, kib }}\n}}\n\n\
         #[rustfmt::skip]\npub(super) static DEVICES: [Device; {}] = [\n",
        rows.len()
    );
    for (number, line) in rows.iter().enumerate() {
        let fields = split(line);
        if fields.len() != header.len() {
            return Err(format!("row {}: {} fields, expected {}", number + 2, fields.len(), header.len()));
        }
        let row: BTreeMap<String, String> = header.iter().cloned().zip(fields).collect();
        let device = device(&Row(row)).map_err(|error| format!("row {}: {error}", number + 2))?;
        writeln!(out, "    {device},").map_err(|error| error.to_string())?;
    }
    out.push_str("];\n");
    Ok(out)
}

struct Row(BTreeMap<String, String>);

impl Row {
    fn text(&self, column: &str) -> Result<&str, String> {
        self.0.get(column).map(|text| text.trim()).ok_or_else(|| format!("no column {column}"))
    }

    fn quoted(&self, column: &str) -> Result<String, String> {
        Ok(format!("{:?}", self.text(column)?))
    }

    fn number(&self, column: &str) -> Result<Option<u32>, String> {
        let text = self.text(column)?;
        let value = match text.strip_prefix("0x") {
            _ if text.is_empty() => return Ok(None),
            Some(hex) => u32::from_str_radix(hex, 16),
            None => text.parse(),
        };
        value.map(Some).map_err(|error| format!("{column} {text:?}: {error}"))
    }

    fn hex(&self, column: &str) -> Result<String, String> {
        Ok(self.number(column)?.map_or_else(|| "None".into(), |value| format!("Some({value:#X})")))
    }

    fn decimal(&self, column: &str) -> Result<String, String> {
        // "1/2/4/8 by voltage range" and "2048/4096" are told elsewhere.
        let text = self.text(column)?;
        Ok(text.parse::<u32>().map_or_else(|_| "None".into(), |value| format!("Some({value})")))
    }

    fn area(&self, start: &str, end: &str) -> Result<String, String> {
        Ok(match (self.number(start)?, self.number(end)?) {
            (Some(start), Some(end)) => format!("area({start:#010X}, {end:#010X})"),
            _ => "None".into(),
        })
    }

    fn version(&self, column: &str) -> Result<String, String> {
        let text = self.text(column)?;
        let Some((major, minor)) = text.split_once('.') else { return Ok("None".into()) };
        Ok(format!("Some(0x{major}{minor})"))
    }
}

fn device(row: &Row) -> Result<String, String> {
    Ok(format!(
        "Device {{ product_id: {:#X}, name: {}, family: Family::{}, bootloader_id: {}, bootloader_id_address: {}, \
         usart_protocol: {}, can_protocol: {}, usart_ports: {}, can_ports: {}, fdcan_ports: {}, ram: {}, \
         system_memory: {}, flash: {}, pages_per_protection_unit: {}, write_align: {}, option_bytes: {}, \
         uid_address: {}, flash_size_address: {}, readout: {}, startup: {}, source: {}, notes: {} }}",
        row.number("pid")?.ok_or("no pid")?,
        row.quoted("name")?,
        row.text("family")?,
        row.hex("bootloader_id")?,
        row.hex("bootloader_id_address")?,
        row.version("usart_proto")?,
        row.version("can_proto")?,
        row.quoted("usart_ports")?,
        row.quoted("can")?,
        row.quoted("fdcan")?,
        row.area("ram_host_start", "ram_host_end")?,
        row.area("sysmem_start", "sysmem_end")?,
        flash(row)?,
        row.decimal("pages_per_wrp_unit")?,
        row.decimal("an2606_write_align_bytes")?,
        option_bytes(row)?,
        row.hex("uid_address")?,
        row.hex("flash_size_reg")?,
        readout(row)?,
        startup(row)?,
        row.quoted("source")?,
        notes(row)?,
    ))
}

fn notes(row: &Row) -> Result<String, String> {
    let parts = [row.text("mass_erase_hint")?, row.text("notes")?];
    let joined: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Ok(format!("{:?}", joined.join("; ")))
}

fn flash(row: &Row) -> Result<String, String> {
    let layout = row.text("flash_layout")?;
    let (Some(start), Some(kib)) = (row.number("flash_start")?, row.number("flash_max_kib")?) else {
        return Ok("None".into());
    };
    let pages = row.text("page_bytes")?;
    let page = |text: &str| format!("Some(Layout::Pages({text}))");
    let none = || "None".to_string();
    let (single, dual, mode) = match (layout, pages.split_once('/')) {
        ("", _) => return Ok(none()),
        (_, Some((dual, single))) => (page(single), page(dual), "Dual"),
        ("uniform" | "8x128K" | "8x8K", None) => (page(pages), none(), "Single"),
        ("2 banks x 512K, uniform" | "uniform, 2 banks" | "2 banks, uniform" | "2 banks x 8x128K", None) => {
            (none(), page(pages), "Dual")
        }
        (text, None) if text.starts_with("single: ") => {
            let single = text.trim_start_matches("single: ").split(';').next().ok_or("no single layout")?;
            (sectors(single, kib)?, halved(single)?, "Single")
        }
        (text, None) => match text.strip_prefix("2 x (").and_then(|rest| rest.strip_suffix(')')) {
            Some(bank) => (none(), sectors(bank, kib / 2)?, "Dual"),
            None => (sectors(text, kib)?, none(), "Single"),
        },
    };
    Ok(format!(
        "Some(Flash {{ start: {start:#010X}, max_kib: {kib}, single: {single}, dual: {dual}, \
         default_mode: BankMode::{mode} }})"
    ))
}

/// `4x16K+64K+7x128K` (or `nx128K` for as many as fit into `kib`) as runs of sectors.
fn runs(text: &str, kib: u32) -> Result<Vec<(u32, u32)>, String> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for part in text.split('+') {
        let (count, size) = part.split_once('x').unwrap_or(("1", part));
        let size: u32 = size.trim_end_matches('K').parse().map_err(|error| format!("{part:?}: {error}"))?;
        let used: u32 = runs.iter().map(|(count, size)| count * size).sum();
        let count =
            if count == "n" { (kib - used) / size } else { count.parse().map_err(|_| part.to_string())? };
        runs.push((count, size));
    }
    Ok(runs)
}

fn sectors(text: &str, kib: u32) -> Result<String, String> {
    let runs = runs(text, kib)?;
    let total: u32 = runs.iter().map(|(count, size)| count * size).sum();
    if total != kib {
        return Err(format!("{text:?} is {total} KiB, not {kib}"));
    }
    Ok(list(&runs))
}

/// Each bank of a flash whose two-bank sectors have half the size: the same counts, so 12 sectors a bank.
fn halved(text: &str) -> Result<String, String> {
    let runs = runs(text, 0)?;
    Ok(list(&runs.iter().map(|(count, size)| (*count, size / 2)).collect::<Vec<_>>()))
}

fn list(runs: &[(u32, u32)]) -> String {
    let items: Vec<String> = runs.iter().map(|(count, size)| format!("run({count}, {size})")).collect();
    format!("Some(Layout::Sectors(&[{}]))", items.join(", "))
}

fn option_bytes(row: &Row) -> Result<String, String> {
    let area = |start: u32, end: u32| format!("Area {{ start: {start:#010X}, end: {end:#010X} }}");
    Ok(match (row.number("option_start")?, row.number("option_end")?) {
        (None, _) => "OptionBytes::Unknown".into(),
        (Some(start), _) if start >> 28 >= 4 => format!("OptionBytes::Registers({start:#010X})"),
        // Two blocks of 16 bytes, one for each bank, far from each other.
        (Some(start), Some(end)) if end - start >= 0x100 => {
            format!("OptionBytes::Memory(&[{}, {}])", area(start, start + 15), area(end - 15, end))
        }
        (Some(start), end) => {
            format!("OptionBytes::Memory(&[{}])", area(start, end.unwrap_or(start + 15)))
        }
    })
}

fn readout(row: &Row) -> Result<&'static str, String> {
    let family = row.text("family")?;
    Ok(match row.text("rdp_level0")? {
        "0xA5" => "Readout::Key(0xA5)",
        "0xAA" if matches!(family, "L5" | "U5" | "WBA") => "Readout::LevelsWithHalf",
        "0xAA" => "Readout::Levels",
        text if text.starts_with("PRODUCT_STATE") => "Readout::ProductState",
        "" => "Readout::Unknown",
        other => return Err(format!("readout code {other:?}")),
    })
}

/// The smallest and the largest of the millisecond figures in a text such as `3 with HSE, 230 without`.
fn startup(row: &Row) -> Result<String, String> {
    let text = row.text("startup_ms")?;
    let figures: Vec<f64> = text.split([' ', ',', ';']).filter_map(|word| word.parse().ok()).collect();
    let best = figures.iter().copied().reduce(f64::min);
    let worst = figures.iter().copied().reduce(f64::max);
    Ok(match (best, worst) {
        (Some(best), Some(worst)) => format!("startup({:.0}, {:.0})", best * 1000.0, worst * 1000.0),
        _ => "None".into(),
    })
}

/// The fields of one CSV line; a quoted field may hold commas.
fn split(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => {
                if let Some(field) = fields.last_mut() {
                    field.push(other);
                }
            }
        }
    }
    fields
}

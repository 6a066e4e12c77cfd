//! The table for people: a header and one aligned line per row.

use super::Row;

const HEADER: [&str; 14] = [
    "family",
    "KiB",
    "boards",
    "bus",
    "loss",
    "latency",
    "seconds",
    "bound",
    "ratio",
    "one by one",
    "frames",
    "repeated",
    "load",
    "CPU s",
];

/// The table's lines.
pub(super) fn lines(rows: &[Row]) -> Vec<String> {
    let mut cells: Vec<Vec<String>> = vec![HEADER.map(str::to_owned).into()];
    cells.extend(rows.iter().map(row));
    let widths: Vec<usize> = (0..HEADER.len())
        .map(|column| cells.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0))
        .collect();
    let line = |cells: &Vec<String>| {
        let padded = cells
            .iter()
            .zip(widths.iter().chain(core::iter::repeat(&0)))
            .map(|(cell, width)| format!("{cell:>width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}

fn row(row: &Row) -> Vec<String> {
    let bus = if row.buses == 1 { row.bus.to_owned() } else { format!("{} x {}", row.buses, row.bus) };
    let missing = usize::from(row.boards) - row.passed.min(usize::from(row.boards));
    let family = match row.way {
        "multidrop" => row.family.to_owned(),
        "factory" | "factory+certificate" => format!("{} {}", row.way, row.family),
        way => format!("{way} {} x{}", row.family, row.program_bits),
    };
    let mut cells = vec![
        family,
        (row.image_bytes / 1024).to_string(),
        row.boards.to_string(),
        bus,
        format!("{} %", row.loss * 100.0),
        format!("{} ms", row.latency_ms),
        format!("{:.3}", row.seconds),
        format!("{:.3}", row.bound_seconds),
        format!("{:.4}", row.ratio),
        format!("{:.1}", row.one_by_one_seconds),
        row.frames.to_string(),
        row.frames_repeated.to_string(),
        format!("{:.1} %", row.bus_load * 100.0),
        format!("{:.2}", row.host_cpu_seconds),
    ];
    if let Some(added) = row.added_seconds {
        cells.push(format!("adds {added:.3} s beyond the boards' own times"));
    }
    if missing > 0 {
        cells.push(format!("{missing} BOARDS DID NOT PASS"));
    }
    cells
}

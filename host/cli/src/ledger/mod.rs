//! `panelflash ledger`: the numbers given to boards, the count of what was ordered, and whether both add up.
//!
//! Reads and changes the ledger beside the records. Whatever can be looked at can be had as JSON; what does not
//! add up ends with exit code 1.

mod import;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use panel_codes::{Class, Code};
use panel_ledger::{
    Block, Change, Chip, Content, Eui, EuiBlock, EuiKind, Hash, Ledger, LedgerError, Needs, Pool, Request,
    SerialBlock, SqliteLedger, State, Step, UnitId,
};
use serde_json::json;

use crate::args::records_dir;
use crate::failure::Failure;
use crate::order::station::StationFile;
use crate::out::{line, print_json};
use show::{each_unit, find, numbers_text, parse_uid};

/// Log entries fetched at a time.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
    /// Where the ledger is: ledger.db in the directory of the records [default: the user's data directory].
    #[arg(long, value_name = "DIR", global = true)]
    records: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Reserve numbers for boards by hand, such as on a bench: the same chip gets the same numbers again.
    ///
    /// `panelflash run` does this by itself for every board of a panel. Example:
    /// panelflash ledger allocate --product widget --serial --uid 1e002f0033393739473935303031
    Allocate(Allocate),
    /// Add a block of serial numbers or addresses to give out, for jobs without a work order.
    ///
    /// Work orders bring their own blocks. Example:
    /// panelflash ledger add --product widget --serial-format 'W-{date:YYMM}-{counter:5}{check:mod37}' --first 1 --count 1000
    Add(AddBlock),
    /// Show a unit, or without one what is in the ledger: units by state, and what is left of every block.
    Show {
        /// UID, serial number, address, fingerprint of a key or certificate, or the ledger's own number of a unit.
        unit: Option<String>,
        /// List the units in this state, such as in_doubt.
        #[arg(long, value_name = "STATE", conflicts_with = "unit")]
        state: Option<String>,
    },
    /// Say where every unit of an order is: ordered = passed + failed + scrapped + in doubt + remaining.
    ///
    /// Exit code 1 if that does not add up, with what does not.
    Balance {
        /// The order; without it, all of them.
        order: Option<String>,
    },
    /// Look through everything: duplicates, gaps, keys and states against the log, the log's chain.
    ///
    /// Exit code 1 if anything is wrong. Prints the checkpoint to write down elsewhere; give one that was written
    /// down to see that no older copy of the ledger was put back.
    Audit {
        /// A checkpoint written down before, as NUMBER:HASH; may be given several times.
        #[arg(long, value_name = "NUMBER:HASH")]
        checkpoint: Vec<String>,
    },
    /// Read a list of numbers and blobs made elsewhere, one line per unit.
    ///
    /// CSV with a header; columns are serial, eui48, eui64 (several: eui48_1, eui48_2), blob:NAME and secret:NAME. A blob
    /// is written as hexadecimal digits or as @FILE, a path from where the list is. Secrets are kept encrypted to the
    /// station (its `secret`, as for releases) and given to units only: delete the list afterwards. Example:
    /// serial,blob:calibration,secret:wifi-psk
    /// W-00001,@cal/0001.bin,5f1e8a...
    Import {
        /// The list.
        file: PathBuf,
        /// The product it is for.
        #[arg(long, value_name = "NAME")]
        product: String,
        /// The order it belongs to.
        #[arg(long, value_name = "ORDER")]
        order: Option<String>,
        #[command(flatten)]
        station: StationFile,
    },
    /// Write all units as CSV (with --json one object a line), or the log.
    Export {
        /// The log instead of the units, one JSON object a line.
        #[arg(long)]
        log: bool,
        /// Into this file instead of to stdout.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write the certificate that a unit was issued (PEM).
    Certificate {
        /// UID, serial number or address of the unit.
        unit: String,
        /// The file to write.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Write a blob that a unit was given from a list; a secret is not given out.
    Blob {
        /// UID, serial number or address of the unit.
        unit: String,
        /// The blob's name.
        name: String,
        /// The file to write.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Take a unit out for ever: its numbers are never given again.
    Void {
        /// The ledger's own number of the unit, as `ledger show` prints it.
        unit: i64,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Args)]
struct Allocate {
    /// The product.
    #[arg(long, value_name = "NAME")]
    product: String,
    /// The chips, 24 hex digits each, in the order in which numbers are given.
    #[arg(long, value_name = "UID", required = true, num_args = 1..)]
    uid: Vec<String>,
    /// The order whose quota is used; without one, no quota is.
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
    /// Give a serial number.
    #[arg(long)]
    serial: bool,
    /// Give this many EUI-48 addresses.
    #[arg(long, value_name = "N", default_value_t = 0)]
    eui48: u8,
    /// Give this many EUI-64 addresses.
    #[arg(long, value_name = "N", default_value_t = 0)]
    eui64: u8,
    /// Give the blob of this name; may be given several times.
    #[arg(long, value_name = "NAME")]
    blob: Vec<String>,
    /// Station, for the record.
    #[arg(long, value_name = "NAME", env = "PANELFLASH_STATION", default_value = "unnamed")]
    station: String,
}

#[derive(Debug, Args)]
struct AddBlock {
    /// The product; without it, for all products.
    #[arg(long, value_name = "NAME")]
    product: Option<String>,
    /// A block of serial numbers of this format.
    #[arg(long, value_name = "FORMAT", required_unless_present_any = ["eui48", "eui64"])]
    serial_format: Option<String>,
    /// A block of EUI-48 addresses from this one on.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["serial_format", "eui64"])]
    eui48: Option<String>,
    /// A block of EUI-64 addresses from this one on.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "serial_format")]
    eui64: Option<String>,
    /// First counter of the serial numbers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    first: u64,
    /// How many serial numbers or addresses.
    #[arg(long, value_name = "N")]
    count: u64,
    /// Addresses set aside per unit: 1, 2, 4 ... 256.
    #[arg(long, value_name = "N", default_value_t = 1)]
    step: u64,
    /// The addresses are meant to be locally administered.
    #[arg(long)]
    local: bool,
}

/// The ledger's file in a record directory.
pub(crate) fn path(records: &Path) -> PathBuf {
    records.join("ledger.db")
}

/// A refusal of the ledger as the end of a command: no board is at fault when none was touched.
pub(crate) fn failure(error: &LedgerError) -> Failure {
    let code = error.code();
    let exit = if code.class() == Class::Station { 3 } else { 2 };
    Failure::with_exit(code, error.to_string(), exit)
}

pub(crate) fn ledger(args: &LedgerArgs) -> Result<u8, Failure> {
    let path = path(&records_dir(args.records.as_ref()));
    let makes = matches!(
        args.command,
        LedgerCommand::Allocate(_) | LedgerCommand::Add(_) | LedgerCommand::Import { .. }
    );
    if !makes && !path.exists() {
        return Err(Failure::new(
            Code::FileUnreadable,
            format!("{}: there is no ledger yet", path.display()),
        ));
    }
    if let Some(dir) = path.parent().filter(|_| makes) {
        std::fs::create_dir_all(dir)
            .map_err(|e| Failure::new(Code::RecordsUnwritable, format!("{}: {e}", dir.display())))?;
    }
    let mut ledger = SqliteLedger::open(&path).map_err(|e| failure(&e))?;
    match &args.command {
        LedgerCommand::Allocate(what) => allocate(&mut ledger, what, args.json),
        LedgerCommand::Add(block) => add(&mut ledger, block, args.json),
        LedgerCommand::Show { unit: Some(unit), .. } => show::show_unit(&ledger, unit, args.json),
        LedgerCommand::Show { state: Some(state), .. } => show::show_state(&ledger, state, args.json),
        LedgerCommand::Show { .. } => show::show(&ledger, args.json),
        LedgerCommand::Balance { order } => show::balance(&ledger, order.as_deref(), args.json),
        LedgerCommand::Audit { checkpoint } => show::audit(&ledger, checkpoint, args.json),
        LedgerCommand::Import { file, product, order, station } => {
            let pool = import::read(file, product, order.as_ref(), station)?;
            add_pool(&mut ledger, &pool, args.json)
        }
        LedgerCommand::Export { log, output } => export(&ledger, *log, output.as_deref(), args.json),
        LedgerCommand::Certificate { unit, output } => certificate(&ledger, unit, output),
        LedgerCommand::Blob { unit, name, output } => blob(&ledger, unit, name, output),
        LedgerCommand::Void { unit, reason } => void(&mut ledger, UnitId(*unit), reason, args.json),
    }
}

fn allocate(ledger: &mut SqliteLedger, what: &Allocate, as_json: bool) -> Result<u8, Failure> {
    let uids = what.uid.iter().map(|text| parse_uid(text)).collect::<Result<Vec<_>, _>>()?;
    let request = Request {
        product: what.product.clone(),
        order: what.order.clone(),
        release: None,
        run: "by hand".to_owned(),
        station: what.station.clone(),
        panel: None,
        needs: Needs { serial: what.serial, eui48: what.eui48, eui64: what.eui64, blobs: what.blob.clone() },
        chips: (1..).zip(uids).map(|(slot, uid)| Chip { slot, uid }).collect(),
    };
    let reserved = ledger.reserve_many(&request, Timestamp::now()).map_err(|e| failure(&e))?;
    for r in reserved {
        if as_json {
            line(
                &json!({ "unit": r.unit.0, "uid": r.chip.uid, "numbers": r.numbers, "state": r.state,
                          "consumed": r.consumed })
                .to_string(),
            );
        } else {
            let known = if r.before.is_some() { ", known before" } else { "" };
            line(&format!("{} {} {}{known}", r.unit, r.chip.uid, numbers_text(&r.numbers)));
        }
    }
    Ok(0)
}

fn add(ledger: &mut SqliteLedger, what: &AddBlock, as_json: bool) -> Result<u8, Failure> {
    let eui = |kind, first: &str| {
        let first = Eui::parse(kind, first).map_err(|e| failure(&e.into()))?;
        Ok(Block::Eui(EuiBlock { first, count: what.count, step: what.step, local: what.local }))
    };
    let block = match (&what.serial_format, &what.eui48, &what.eui64) {
        (Some(format), ..) => {
            let format = format.parse().map_err(|e: panel_ledger::SerialError| failure(&e.into()))?;
            Block::Serial(SerialBlock { format, first: what.first, count: what.count })
        }
        (None, Some(first), _) => eui(EuiKind::Eui48, first)?,
        (None, None, first) => eui(EuiKind::Eui64, first.as_deref().unwrap_or_default())?,
    };
    let pool = Pool { product: what.product.clone(), order: None, block };
    add_pool(ledger, &pool, as_json)
}

fn add_pool(ledger: &mut SqliteLedger, pool: &Pool, as_json: bool) -> Result<u8, Failure> {
    ledger.add_pool(pool, Timestamp::now()).map_err(|e| failure(&e))?;
    let pools = ledger.pools().map_err(|e| failure(&e))?;
    let Some(added) = pools.last() else { return Ok(0) };
    if as_json {
        print_json(added)?;
    } else {
        line(&format!("pool {}: {}, enough for {} units", added.pool, added.holds, added.left));
    }
    Ok(0)
}

fn export(ledger: &SqliteLedger, log: bool, output: Option<&Path>, as_json: bool) -> Result<u8, Failure> {
    let mut text = Vec::new();
    let failed = |e: panel_ledger::ExportError| Failure::new(Code::OutputFile, e.to_string());
    if log {
        let mut after = 0;
        loop {
            let events = ledger.events(after, PAGE).map_err(|e| failure(&e))?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            panel_ledger::write_json_lines(events, &mut text).map_err(failed)?;
        }
    } else {
        let mut units = Vec::new();
        each_unit(ledger, |unit| {
            units.push(unit);
            Ok(())
        })?;
        if as_json {
            panel_ledger::write_json_lines(units, &mut text).map_err(failed)?;
        } else {
            panel_ledger::write_units_csv(units, &mut text).map_err(failed)?;
        }
    }
    match output {
        Some(path) => crate::files::replace(path, &text)?,
        None => crate::out::bytes(&text),
    }
    Ok(0)
}

fn certificate(ledger: &SqliteLedger, query: &str, output: &Path) -> Result<u8, Failure> {
    let none = |what: &str| Failure::new(Code::Usage, format!("{query}: {what}"));
    let unit = find(ledger, query)?.pop().ok_or_else(|| none("no such unit"))?;
    let newest = unit.certificates.last().ok_or_else(|| none("it was issued no certificate"))?;
    let mut sha256 = [0; 32];
    hex::decode_to_slice(newest, &mut sha256).map_err(|_| none("its fingerprint is damaged"))?;
    let der = ledger.blob(unit.unit, Hash(sha256)).map_err(|e| failure(&e))?;
    let der = der.ok_or_else(|| none("its certificate is not in this ledger"))?;
    let pem =
        panel_ledger::certificate_pem(&der).map_err(|e| Failure::new(e.code(), format!("{query}: {e}")))?;
    crate::files::replace(output, pem.as_bytes())?;
    line(&format!("{}: certificate {newest} of {}", output.display(), unit.unit));
    Ok(0)
}

fn blob(ledger: &SqliteLedger, query: &str, name: &str, output: &Path) -> Result<u8, Failure> {
    let none = |what: &str| Failure::new(Code::Usage, format!("{query}: {what}"));
    let unit = find(ledger, query)?.pop().ok_or_else(|| none("no such unit"))?;
    let named = unit.numbers.blobs.iter().find(|blob| blob.name == name);
    let named = named.ok_or_else(|| none(&format!("it was given no blob {name:?}")))?;
    match ledger.content(named).map_err(|e| failure(&e))? {
        Some(Content::Plain(bytes)) => crate::files::replace(output, &bytes)?,
        Some(Content::Sealed(_)) => {
            return Err(none(&format!("blob {name:?} is a secret, for its unit only")));
        }
        None => return Err(none(&format!("blob {name:?} is not in this ledger"))),
    }
    line(&format!("{}: blob {name} {} of {}", output.display(), named.sha256, unit.unit));
    Ok(0)
}

fn void(ledger: &mut SqliteLedger, unit: UnitId, reason: &str, as_json: bool) -> Result<u8, Failure> {
    let change = Change::Void { reason: reason.to_owned() };
    let step = Step { unit, run: "by hand".to_owned(), change };
    ledger.advance(&[step], Timestamp::now()).map_err(|e| failure(&e))?;
    if as_json {
        print_json(&json!({ "unit": unit, "state": State::Void, "reason": reason }))?;
    } else {
        line(&format!("{unit} is void: {reason}"));
    }
    Ok(0)
}

//! `panelflash quarantine`: units that may not be run again, why, and what a person rules of them.
//!
//! The list is computed from the records by the policy of each unit's order. A ruling is an event in the records, with
//! who and why, that is never changed or taken out; scrapping makes the unit void in the ledger after that, so that
//! whoever is interrupted between the two calls it once more.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use panel_codes::Code;
use panel_ledger::{Change, Ledger, SqliteLedger, State, Step, Uid};
use panel_store::{KeptApart, Records, Ruling, RulingKind, UnitHistory};
use serde_json::json;

use crate::args::records_dir;
use crate::failure::Failure;
use crate::out::{line, print_json};
use crate::records::{Recorder, failure};

#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    #[command(subcommand)]
    command: Command,
    /// Only units of this product.
    #[arg(long, value_name = "NAME", global = true)]
    product: Option<String>,
    /// Where records and ledger are [default: the user's data directory].
    #[arg(long, value_name = "DIR", global = true)]
    records: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the units that may not be run again, and why: retests or strikes used up, or kept apart by a person.
    ///
    /// How often a unit may be run again is in its work order (`retests` and `strikes`); a PASS ends the matter.
    List,
    /// Keep a unit apart, whatever its results: no order runs it until it is released.
    Hold(Which),
    /// Let a unit be run again: what was held against it no longer is, and stays in its history for ever.
    ///
    /// Do this after a repair, or when the station was at fault. To run a unit just once more and count on, use
    /// `panelflash run --order NUMBER --permit REASON` instead. Example:
    /// panelflash quarantine release W-00003 --reason "socket 3 cleaned" --operator Kim
    Release(Which),
    /// Take a unit out of production: no order runs it, and its numbers are never given again.
    Scrap(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// UID or serial number of the unit, or the beginning of one.
    unit: String,
    /// Why; goes into the unit's history.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who rules this; goes into the unit's history.
    #[arg(long, value_name = "NAME", env = "PANELFLASH_OPERATOR")]
    operator: String,
}

pub(crate) fn quarantine(args: &QuarantineArgs) -> Result<u8, Failure> {
    match &args.command {
        Command::List => list(args),
        Command::Hold(which) => rule(args, which, RulingKind::Held),
        Command::Release(which) => rule(args, which, RulingKind::Released),
        Command::Scrap(which) => rule(args, which, RulingKind::Scrapped),
    }
}

fn list(args: &QuarantineArgs) -> Result<u8, Failure> {
    let records = Records::open(&records_dir(args.records.as_ref())).map_err(|e| failure(&e))?;
    let kept = records.kept_apart(args.product.as_deref()).map_err(|e| failure(&e))?;
    if args.json {
        print_json(&kept)?;
        return Ok(0);
    }
    line(&format!("{} units in quarantine", kept.len()));
    kept.iter().for_each(print_kept);
    Ok(0)
}

fn print_kept(unit: &KeptApart) {
    let serial = unit.serial.as_deref().unwrap_or("no serial");
    line(&format!("{} {} ({serial}): {}", unit.product, unit.uid, unit.reason));
    let last = &unit.last;
    let code = last.code.as_deref().unwrap_or("");
    let order = last.order.as_ref().map_or_else(String::new, |order| format!(" order {order}"));
    line(&format!(
        "  last: {} run {}{order} panel {} slot {}: {} {code}",
        last.started, last.run.0, last.panel, last.slot, last.result
    ));
    if let Some(detail) = &last.detail {
        line(&format!("    {detail}"));
    }
}

fn rule(args: &QuarantineArgs, which: &Which, kind: RulingKind) -> Result<u8, Failure> {
    let dir = records_dir(args.records.as_ref());
    let unit = find(&Records::open(&dir).map_err(|e| failure(&e))?, args, which, kind)?;
    let (utc_us, who) = (Timestamp::now().as_microsecond(), which.operator.clone());
    let ruling = Ruling { utc_us, kind, who, why: which.reason.clone() };
    // Scrapping that was interrupted is in the records already.
    if unit.standing.kept.as_ref().is_none_or(|kept| kept.kind != kind) {
        let mut store = Recorder::open(&dir, crate::room::needed(1, 0, true))?;
        store.rule(&unit.product, &unit.uid, &ruling).map_err(|e| failure(&e))?;
    }
    if kind == RulingKind::Scrapped {
        void(&crate::ledger::path(&dir), &unit, &ruling)?;
    }
    if args.json {
        let before = unit.standing;
        print_json(
            &json!({ "product": unit.product, "uid": unit.uid, "serial": unit.serial, "ruling": ruling,
                            "standing_before": before }),
        )?;
    } else {
        let serial = unit.serial.as_deref().unwrap_or("no serial");
        line(&format!("{} {} ({serial}): {kind} by {}: {}", unit.product, unit.uid, ruling.who, ruling.why));
    }
    Ok(0)
}

/// The one unit that is meant, if there is anything to rule of it.
fn find(
    records: &Records,
    args: &QuarantineArgs,
    which: &Which,
    kind: RulingKind,
) -> Result<UnitHistory, Failure> {
    let wanted = |product: &str| args.product.as_ref().is_none_or(|only| only == product);
    let refused = |what: String| Failure::new(Code::Usage, format!("{}: {what}", which.unit));
    let mut units = records.unit(&which.unit).map_err(|e| failure(&e))?;
    units.retain(|unit| wanted(&unit.product));
    let products: Vec<_> = units.iter().map(|unit| format!("{} {}", unit.product, unit.uid)).collect();
    let unit = match units.pop() {
        Some(unit) if units.is_empty() => unit,
        Some(_) => {
            return Err(refused(format!(
                "{} units: {}; give --product",
                products.len(),
                products.join(", ")
            )));
        }
        None => return Err(refused("no such unit of this product".to_owned())),
    };
    let held = unit.standing.kept.as_ref().map(|kept| kept.kind);
    match kind {
        RulingKind::Held if held.is_some() => Err(refused("is kept apart already".to_owned())),
        RulingKind::Released if held.is_none() => {
            let kept = records.kept_apart(Some(&unit.product)).map_err(|e| failure(&e))?;
            let is_kept = kept.iter().any(|kept| kept.uid == unit.uid);
            if is_kept { Ok(unit) } else { Err(refused("is not in quarantine".to_owned())) }
        }
        RulingKind::Held | RulingKind::Released | RulingKind::Scrapped => Ok(unit),
    }
}

/// Takes the unit's identity out for ever, if it has one.
fn void(path: &std::path::Path, unit: &UnitHistory, ruling: &Ruling) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    let failed = |e| crate::ledger::failure(&e);
    let mut ledger = SqliteLedger::open(path).map_err(failed)?;
    let known = ledger.find_chip(&unit.product, Uid(unit.uid.0)).map_err(failed)?.pop();
    let Some(known) = known.filter(|known| known.state != State::Void) else { return Ok(()) };
    let reason = format!("scrapped by {}: {}", ruling.who, ruling.why);
    let step = Step { unit: known.unit, run: "by hand".to_owned(), change: Change::Void { reason } };
    ledger.advance(&[step], Timestamp::now()).map_err(failed)
}

//! `panelflash report`: what the records say, for people and (`--json`) for machines. Reads only.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use panel_codes::Code;
use panel_store::{Filter, Records, Ruling, RunId, UnitHistory, UnitYield, YieldReport};

use crate::args::records_dir;
use crate::failure::Failure;
use crate::out::{line, print_json};
use crate::records::failure;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(subcommand)]
    report: Report,
    /// Where the records are [default: the user's data directory].
    #[arg(long, value_name = "DIR", global = true)]
    records: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Report {
    /// One CSV line per attempt: serial, UID, slot, panel, release hash, result, code, times, station, operator.
    Csv(Which),
    /// The whole history of a unit.
    Unit {
        /// UID or serial number, or the beginning of one.
        unit: String,
    },
    /// First-pass yield, final yield, units that passed only on a retest, Pareto of codes, slots with contact trouble.
    Yield(Which),
    /// Attempts of which nobody knows the end, because the station died.
    Doubt,
    /// Check that no event was changed or taken out, and that every row follows from the events.
    Verify,
}

#[derive(Debug, Args)]
struct Which {
    /// Only this product.
    #[arg(long)]
    product: Option<String>,
    /// Only this panel.
    #[arg(long)]
    panel: Option<String>,
    /// Only this run.
    #[arg(long)]
    run: Option<i64>,
    /// Only attempts begun at this time or later (RFC 3339, such as 2026-11-21T06:00:00Z).
    #[arg(long, value_name = "TIME")]
    from: Option<jiff::Timestamp>,
    /// Only attempts begun before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
}

impl Which {
    fn filter(&self) -> Filter {
        Filter {
            from_us: self.from.map(jiff::Timestamp::as_microsecond),
            until_us: self.until.map(jiff::Timestamp::as_microsecond),
            product: self.product.clone(),
            panel: self.panel.clone(),
            run: self.run.map(RunId),
        }
    }
}

pub(crate) fn report(args: &ReportArgs) -> Result<u8, Failure> {
    let records = Records::open(&records_dir(args.records.as_ref())).map_err(|e| failure(&e))?;
    let store = |e| failure(&e);
    match &args.report {
        Report::Csv(which) => {
            let lines = records.csv(&which.filter()).map_err(store)?;
            if args.json {
                print_json(&lines)?;
            } else {
                let mut text = Vec::new();
                panel_store::write_csv(&lines, &mut text)
                    .map_err(|e| Failure::new(Code::OutputFile, e.to_string()))?;
                line(String::from_utf8_lossy(&text).trim_end());
            }
        }
        Report::Unit { unit } => {
            let units = records.unit(unit).map_err(store)?;
            if args.json {
                print_json(&units)?;
            } else {
                units.iter().for_each(print_unit);
            }
        }
        Report::Yield(which) => {
            let report = records.yields(&which.filter()).map_err(store)?;
            if args.json { print_json(&report)? } else { print_yield(&report) }
        }
        Report::Doubt => {
            let doubts = records.in_doubt().map_err(store)?;
            if args.json {
                print_json(&doubts)?;
            } else {
                line(&format!("{} units in doubt", doubts.len()));
                for d in &doubts {
                    let uid = d.uid.map_or_else(|| "not identified".to_owned(), |u| u.to_string());
                    let step = d.last_step.as_deref().unwrap_or("-");
                    line(&format!(
                        "  run {} panel {} slot {:>3}  {uid}  last step {step}",
                        d.run.0, d.panel, d.slot
                    ));
                }
            }
        }
        Report::Verify => return verify(&records, args.json),
    }
    Ok(0)
}

/// Exit 1 if anything was changed.
fn verify(records: &Records, as_json: bool) -> Result<u8, Failure> {
    records.verify_file().map_err(|e| failure(&e))?;
    let chain = records.verify_chain().map_err(|e| failure(&e))?;
    let rows = records.verify_rows().map_err(|e| failure(&e))?;
    let good = chain.first_bad.is_none() && rows.first_difference.is_none();
    if as_json {
        print_json(&serde_json::json!({ "good": good, "chain": chain, "rows": rows }))?;
        return Ok(u8::from(!good));
    }
    line(&format!("{} events, head {}", chain.events, chain.head));
    if let Some(bad) = &chain.first_bad {
        line(&format!("event {} of run {}: {}", bad.seq, bad.run.0, bad.why));
    }
    if let Some(difference) = &rows.first_difference {
        line(&format!("a row does not follow from the events: {difference:?}"));
    }
    line(if good { "records are as they were written" } else { "RECORDS WERE CHANGED" });
    Ok(u8::from(!good))
}

fn print_unit(unit: &UnitHistory) {
    let serial = unit.serial.as_deref().unwrap_or("no serial");
    let result = unit.result.map_or_else(|| "not programmed".to_owned(), |r| r.to_string());
    let retest = if unit.passed_only_on_retest { ", passed only on retest" } else { "" };
    line(&format!("{} {} ({serial}): {result}{retest}", unit.product, unit.uid));
    for ruling in &unit.rulings {
        let Ruling { utc_us, kind, who, why } = ruling;
        line(&format!("  {} {kind} by {who}: {why}", time(*utc_us)));
    }
    for attempt in &unit.attempts {
        let code = attempt.code.as_deref().unwrap_or("");
        let seconds = attempt.seconds.map_or_else(String::new, |s| format!("{s:.3} s"));
        line(&format!(
            "  {} run {} panel {} slot {} attempt {}: {} {code} {seconds}",
            attempt.started,
            attempt.run.run.0,
            attempt.run.panel,
            attempt.slot,
            attempt.number,
            attempt.result,
        ));
        if let Some(detail) = &attempt.detail {
            line(&format!("    {detail}"));
        }
        if let Some(note) = &attempt.resolution_note {
            line(&format!("    was in doubt: {note}"));
        }
        line(&format!("    release {} {}", attempt.run.release, attempt.run.release_sha256));
        for step in &attempt.steps {
            let outcome = step.outcome.map_or_else(|| "not ended".to_owned(), |o| o.to_string());
            let seconds = step.seconds.map_or_else(String::new, |s| format!("{s:.3} s"));
            line(&format!("    {:<10} {outcome:<8} {seconds}", step.name));
        }
        for m in &attempt.measurements {
            line(&format!("    {} = {} {} ({})", m.name, m.value, m.unit, m.outcome));
        }
    }
}

fn time(utc_us: i64) -> String {
    jiff::Timestamp::from_microsecond(utc_us).map_or_else(|e| e.to_string(), |time| time.to_string())
}

fn print_yield(report: &YieldReport) {
    let a = &report.attempts;
    line(&format!(
        "attempts: {} PASS, {} FAIL, {} ERROR, {} SKIPPED, {} ABORTED, {} IN DOUBT",
        a.pass, a.fail, a.error, a.skipped, a.aborted, a.in_doubt
    ));
    print_units("all", &report.units);
    print_units("without station errors", &report.units_without_errors);
    if !report.passed_only_on_retest.is_empty() {
        line(&format!("{} units passed only on retest:", report.passed_only_on_retest.len()));
    }
    for unit in &report.passed_only_on_retest {
        let serial = unit.serial.as_deref().unwrap_or("no serial");
        let code = unit.first_code.as_deref().unwrap_or("in doubt");
        line(&format!("  {} {} ({serial}): {} attempts, first {code}", unit.product, unit.uid, unit.tries));
    }
    for code in &report.pareto {
        let (n, share, sum) = (code.attempts, code.percent, code.cumulative_percent);
        line(&format!("  {:<28} {n:>6}  {share:>5.1} %  {sum:>5.1} %", code.code));
    }
    for slot in report.slots.iter().filter(|s| s.contact_suspect) {
        line(&format!(
            "slot {}: signs of bad contact in {} runs; clean the pins",
            slot.slot, slot.contact_signs
        ));
    }
}

fn print_units(what: &str, units: &UnitYield) {
    let show = |r: &panel_store::Ratio| {
        r.percent.map_or_else(|| "none".to_owned(), |p| format!("{p:.1} % ({} of {})", r.passed, r.of))
    };
    line(&format!(
        "units, {what}: first-pass yield {}, final yield {}",
        show(&units.first_pass),
        show(&units.at_last)
    ));
}

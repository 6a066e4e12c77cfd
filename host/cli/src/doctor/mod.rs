//! `panelflash doctor`: is this station fit to run, and if not, what is to be done about it.
//!
//! Invariant: nothing is switched, written to a board or changed on the station; a line is opened only if that
//! leaves it as it is. Every check gives at least one line, also when all is well, so that a check which was not
//! made cannot be taken for one that passed.

mod lines;
mod links;
mod station;

use std::path::PathBuf;

use panel_backplane::Panel;
use panel_codes::Code;

use crate::args::records_dir;
use crate::failure::Failure;
use crate::out;
use crate::setup;

/// Exit code if something must be put right before a run.
const UNFIT: u8 = 3;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is FAIL (there may be warnings); 2 the panel file is wrong; 3 at least \
                        one check is FAIL: a run would be refused or go wrong."
)]
pub(crate) struct DoctorArgs {
    /// The panel whose links, ports and fixture lines are checked; without it, every CAN interface of this machine.
    #[arg(long, value_name = "PANEL.toml")]
    panel: Option<PathBuf>,
    /// Where records are kept [default: the user's data directory].
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Print one JSON object to stdout.
    #[arg(long)]
    json: bool,
}

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// A run works, but not as well or as safely as it could.
    Warn,
    /// A run is refused or goes wrong.
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) about: String,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, about: about.into(), found: found.into(), remedy: None }
    }

    pub(crate) fn warn(
        about: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warn, about: about.into(), found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn fail(
        about: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Fail, about: about.into(), found: found.into(), remedy: Some(remedy.into()) }
    }
}

pub(crate) fn doctor(args: &DoctorArgs) -> Result<u8, Failure> {
    let panel = args.panel.as_ref().map(|path| {
        let text = setup::read(path, Code::PanelFile)?;
        let name = path.display().to_string();
        Panel::parse(&text).map_err(|p| setup::problems(&name, panel_backplane::error_code(&p), &p))
    });
    let panel = panel.transpose()?;
    let mut findings = Vec::new();
    match &panel {
        Some(panel) => {
            findings.extend(links::of_panel(panel));
            findings.extend(links::ports(panel));
            findings.extend(lines::of_panel(panel));
        }
        None => findings.extend(links::of_machine()),
    }
    findings.extend(station::records(&records_dir(args.records.as_ref())));
    findings.extend(station::programs());
    let exit = if findings.iter().any(|f| f.level == Level::Fail) { UNFIT } else { 0 };
    if args.json {
        out::line(&json(panel.as_ref(), &findings).to_string());
    } else {
        findings.iter().for_each(print);
        out::line(&summary(&findings));
    }
    Ok(exit)
}

fn print(finding: &Finding) {
    let word = match finding.level {
        Level::Ok => "OK   ",
        Level::Warn => "WARN ",
        Level::Fail => "FAIL ",
    };
    out::line(&format!("{word} {}: {}", finding.about, finding.found));
    if let Some(remedy) = &finding.remedy {
        out::line(&format!("      do this: {remedy}"));
    }
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|f| f.level == level).count()
}

fn summary(findings: &[Finding]) -> String {
    let (warn, fail) = (count(findings, Level::Warn), count(findings, Level::Fail));
    let verdict = if fail == 0 { "fit to run" } else { "NOT fit to run" };
    format!("{verdict}: {} ok, {warn} warnings, {fail} failures", count(findings, Level::Ok))
}

fn json(panel: Option<&Panel>, findings: &[Finding]) -> serde_json::Value {
    serde_json::json!({
        "panel": panel.map(|p| p.name.clone()),
        "ok": count(findings, Level::Ok),
        "warn": count(findings, Level::Warn),
        "fail": count(findings, Level::Fail),
        "findings": findings,
    })
}

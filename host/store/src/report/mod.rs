//! What the records say, as values to print or to serialise. Nothing here changes anything.

mod finished;
mod lines;
mod unit;
mod yields;

use rusqlite::types::ToSql;
use serde::Serialize;

use crate::record::RunId;

pub use finished::Finished;
pub(crate) use finished::finished;
pub use lines::{UnitLine, write_csv};
pub(crate) use lines::{header_text, line_of, lines, lines_after, write_lines};
pub use unit::{AttemptHistory, EventRow, MeasurementRow, RunSummary, StepRow, UnitHistory};
pub(crate) use unit::{run, run_events, units};
pub(crate) use yields::yields;
pub use yields::{CodeCount, Ratio, ResultCounts, RetestPass, SlotYield, UnitYield, YieldReport};

/// Which attempts a report is about: those for which everything that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// Begun at this time or later, UTC microseconds.
    pub from_us: Option<i64>,
    /// Begun before this time, UTC microseconds.
    pub until_us: Option<i64>,
    /// Of this product.
    pub product: Option<String>,
    /// On this panel.
    pub panel: Option<String>,
    /// In this run.
    pub run: Option<RunId>,
}

impl Filter {
    /// The condition on attempts `a` of runs `r`, and its parameters. Only what is given is in it, so that the
    /// indexes are of use.
    pub(crate) fn sql(&self) -> (String, Vec<&dyn ToSql>) {
        let Self { from_us, until_us, product, panel, run } = self;
        let conditions: [(&str, Option<&dyn ToSql>); 5] = [
            ("a.started_us >= ?", from_us.as_ref().map(|value| value as _)),
            ("a.started_us < ?", until_us.as_ref().map(|value| value as _)),
            ("r.product = ?", product.as_ref().map(|value| value as _)),
            ("r.panel = ?", panel.as_ref().map(|value| value as _)),
            ("a.run = ?", run.as_ref().map(|value| value as _)),
        ];
        let mut sql = "TRUE".to_owned();
        let mut parameters = Vec::new();
        for (condition, parameter) in conditions {
            if let Some(parameter) = parameter {
                sql = format!("{sql} AND {condition}");
                parameters.push(parameter);
            }
        }
        (sql, parameters)
    }
}

//! Yields, failure codes and slots: the figures by which a line is judged.
//!
//! There are two countings. **Units** belong to the report if their first attempt is selected by the filter,
//! and then with all their attempts, so that no unit is counted in two periods. **Attempts** (counts per
//! result, per code, per slot) are those that the filter selects, whatever their unit: they speak of station
//! and fixture. Skipped, aborted and refused attempts say nothing of a unit and are none of its tries. Of a board that was not identified nothing is known but run and slot: it is the unit identified there in another
//! attempt of that run, or else a unit of its own.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::Filter;
use super::unit;
use crate::error::StoreError;
use crate::hex::Uid;
use crate::record::{AttemptId, AttemptResult};
use crate::trouble::{Trouble, is_try};

/// A slot with fewer signs of contact trouble than this is not suspected.
const MIN_SIGNS: usize = 3;

/// How many times more signs per run than in the other slots make a slot suspect.
const SUSPECT_RATIO: usize = 3;

/// What a line achieved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct YieldReport {
    /// What was selected.
    pub filter: Filter,
    /// Selected attempts by result.
    pub attempts: ResultCounts,
    /// Units, with attempts that ended in ERROR or in doubt counted as not passed.
    pub units: UnitYield,
    /// Units, as if attempts that ended in ERROR or in doubt had not been. The difference is the station's.
    pub units_without_errors: UnitYield,
    /// Units that passed in the end but not at every try.
    pub passed_only_on_retest: Vec<RetestPass>,
    /// Codes of selected FAIL and ERROR attempts, the most frequent first.
    pub pareto: Vec<CodeCount>,
    /// Slots with selected attempts, by number.
    pub slots: Vec<SlotYield>,
}

/// Attempts by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ResultCounts {
    /// PASS.
    pub pass: u64,
    /// FAIL.
    pub fail: u64,
    /// ERROR.
    pub error: u64,
    /// SKIPPED.
    pub skipped: u64,
    /// ABORTED.
    pub aborted: u64,
    /// IN DOUBT, including those that have not ended.
    pub in_doubt: u64,
}

/// Yields of units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct UnitYield {
    /// Passed at the first try.
    pub first_pass: Ratio,
    /// Passed at the last try.
    pub at_last: Ratio,
}

/// A share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// How many passed.
    pub passed: u64,
    /// Of how many.
    pub of: u64,
    /// The share in percent; none of none.
    pub percent: Option<f64>,
}

/// A unit whose last try passed and an earlier one had not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetestPass {
    /// Product.
    pub product: String,
    /// The chip.
    pub uid: Uid,
    /// Serial number.
    pub serial: Option<String>,
    /// How many tries it took in all.
    pub tries: u64,
    /// Whether one of them was a FAIL, which says that board, test or contact is doubtful.
    pub failed_before: bool,
    /// Code of the first try that did not pass.
    pub first_code: Option<String>,
}

/// How often a code occurred.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeCount {
    /// The code.
    pub code: String,
    /// Attempts that ended with it.
    pub attempts: u64,
    /// Share of all attempts with a code, in percent.
    pub percent: f64,
    /// The same with all more frequent codes.
    pub cumulative_percent: f64,
}

/// How a slot did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotYield {
    /// The slot.
    pub slot: u16,
    /// Its attempts by result.
    pub attempts: ResultCounts,
    /// Runs in which a try points to the contact: an ERROR that is not the station's, a code that says to look at the contact
    /// first, or the FAIL of a unit that passed later.
    pub contact_signs: u64,
    /// At least three such runs, and three times as many of all its runs as in the other slots together: clean
    /// the pins.
    pub contact_suspect: bool,
}

/// One attempt, as far as it counts.
struct Try {
    id: AttemptId,
    run: i64,
    slot: u16,
    result: AttemptResult,
    code: Option<String>,
    /// Whether it counts as a try of its board.
    tried: bool,
}

/// Who was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Unit(i64),
    Unidentified { run: i64, slot: u16 },
}

/// Computes the report.
pub(crate) fn yields(db: &Connection, filter: &Filter) -> Result<YieldReport, StoreError> {
    let (selected, who) = selected(db, filter)?;
    let tries = tries(db, &selected, &who)?;
    let (mut units, mut without) = (Count::default(), Count::default());
    let mut passed_only_on_retest = Vec::new();
    for (who, tries) in &tries {
        units.add(tries.iter().map(|attempt| attempt.result));
        let boards = tries.iter().map(|attempt| attempt.result);
        without.add(boards.filter(|result| matches!(result, AttemptResult::Pass | AttemptResult::Fail)));
        if let (Who::Unit(unit), true) = (who, is_retest_pass(tries)) {
            passed_only_on_retest.push(retest_pass(db, *unit, tries)?);
        }
    }
    let mut attempts = ResultCounts::default();
    selected.iter().for_each(|attempt| attempts.add(attempt.result));
    Ok(YieldReport {
        filter: filter.clone(),
        attempts,
        units: units.into(),
        units_without_errors: without.into(),
        passed_only_on_retest,
        pareto: pareto(&selected),
        slots: slots(&selected, &who, &tries),
    })
}

fn select() -> String {
    format!(
        "SELECT a.id, a.slot, a.result, a.code, a.run,
             coalesce(a.unit, (SELECT max(b.unit) FROM attempts b WHERE b.run = a.run AND b.slot = a.slot)), {}
         FROM attempts a JOIN runs r ON r.id = a.run",
        is_try("a")
    )
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<(Try, Who)> {
    let (slot, run, unit) = (row.get(1)?, row.get(4)?, row.get::<_, Option<i64>>(5)?);
    let result = row.get::<_, Option<_>>(2)?.unwrap_or(AttemptResult::InDoubt);
    let who = unit.map_or(Who::Unidentified { run, slot }, Who::Unit);
    Ok((Try { id: row.get(0)?, run, slot, result, code: row.get(3)?, tried: row.get(6)? }, who))
}

/// The attempts that the filter selects, in order, and beside each who was tried.
fn selected(db: &Connection, filter: &Filter) -> Result<(Vec<Try>, Vec<Who>), StoreError> {
    let (condition, parameters) = filter.sql();
    let mut statement = db.prepare(&format!("{} WHERE {condition} ORDER BY a.id", select()))?;
    let rows = statement.query_map(parameters.as_slice(), from_row)?;
    let pairs = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(pairs.into_iter().unzip())
}

/// All tries, in order, of everybody whose first one is among the selected.
fn tries(db: &Connection, selected: &[Try], who: &[Who]) -> Result<BTreeMap<Who, Vec<Try>>, StoreError> {
    let mut first = BTreeMap::<Who, AttemptId>::new();
    for (attempt, who) in selected.iter().zip(who).filter(|(attempt, _)| attempt.tried) {
        first.entry(*who).or_insert(attempt.id);
    }
    let mut of_unit = db.prepare(&format!(
        "{} WHERE a.id IN
             (SELECT c.id FROM attempts b JOIN attempts c ON c.run = b.run AND c.slot = b.slot WHERE b.unit = ?1)
         ORDER BY a.id",
        select()
    ))?;
    let mut of_slot = db.prepare(&format!("{} WHERE a.run = ?1 AND a.slot = ?2 ORDER BY a.id", select()))?;
    let mut tries = BTreeMap::new();
    for (who, first) in first {
        let rows = match who {
            Who::Unit(unit) => of_unit.query_map([unit], from_row)?,
            Who::Unidentified { run, slot } => of_slot.query_map(params![run, slot], from_row)?,
        };
        let mut all = rows.collect::<Result<Vec<_>, _>>()?;
        all.retain(|(attempt, other)| *other == who && attempt.tried);
        if all.first().is_some_and(|(attempt, _)| attempt.id == first) {
            tries.insert(who, all.into_iter().map(|(attempt, _)| attempt).collect());
        }
    }
    Ok(tries)
}

fn is_retest_pass(tries: &[Try]) -> bool {
    unit::is_retest_pass(&tries.iter().map(|attempt| attempt.result).collect::<Vec<_>>())
}

fn retest_pass(db: &Connection, unit: i64, tries: &[Try]) -> Result<RetestPass, StoreError> {
    let (product, uid, serial) = db
        .prepare_cached("SELECT product, uid, serial FROM units WHERE id = ?1")?
        .query_row([unit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(RetestPass {
        product,
        uid,
        serial,
        tries: tries.len() as u64,
        failed_before: tries.iter().any(|attempt| attempt.result == AttemptResult::Fail),
        first_code: tries.iter().find_map(|attempt| attempt.code.clone()),
    })
}

fn pareto(selected: &[Try]) -> Vec<CodeCount> {
    let mut counts = BTreeMap::<&str, u64>::new();
    for attempt in selected {
        if let (AttemptResult::Fail | AttemptResult::Error, Some(code)) = (attempt.result, &attempt.code) {
            *counts.entry(code).or_default() += 1;
        }
    }
    let total: u64 = counts.values().sum();
    let mut counts: Vec<_> = counts.into_iter().collect();
    // Stable: codes with the same count stay in alphabetical order.
    counts.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
    let mut so_far = 0;
    let percent = |count: u64| count as f64 * 100.0 / total as f64;
    counts
        .into_iter()
        .map(|(code, attempts)| {
            so_far += attempts;
            let (code, cumulative_percent) = (code.to_owned(), percent(so_far));
            CodeCount { code, attempts, percent: percent(attempts), cumulative_percent }
        })
        .collect()
}

/// What a run repeats by itself is one sign of its slot.
fn slots(selected: &[Try], who: &[Who], tries: &BTreeMap<Who, Vec<Try>>) -> Vec<SlotYield> {
    let mut slots = BTreeMap::<u16, Slot>::new();
    for (attempt, who) in selected.iter().zip(who) {
        let slot = slots.entry(attempt.slot).or_default();
        slot.counts.add(attempt.result);
        if !attempt.tried {
            continue;
        }
        slot.runs.insert(attempt.run);
        let passed_later = tries.get(who).is_some_and(|tries| {
            tries.iter().any(|other| other.id > attempt.id && other.result == AttemptResult::Pass)
        });
        let trouble = Trouble::of(attempt.result, attempt.code.as_deref().unwrap_or_default());
        if trouble == Some(Trouble::Contact) || trouble == Some(Trouble::Board) && passed_later {
            slot.signs.insert(attempt.run);
        }
    }
    let all_runs: usize = slots.values().map(|slot| slot.runs.len()).sum();
    let all_signs: usize = slots.values().map(|slot| slot.signs.len()).sum();
    let slot_yield = |(slot, Slot { counts, runs, signs }): (u16, Slot)| {
        let (signs, runs) = (signs.len(), runs.len());
        let (other_signs, other_runs) = (all_signs - signs, all_runs - runs);
        // signs / runs >= RATIO * other_signs / other_runs; a slot alone cannot be compared.
        let stands_out = other_runs > 0 && signs * other_runs >= SUSPECT_RATIO * other_signs * runs;
        let contact_suspect = signs >= MIN_SIGNS && stands_out;
        SlotYield { slot, attempts: counts, contact_signs: signs as u64, contact_suspect }
    };
    slots.into_iter().map(slot_yield).collect()
}

/// What is known of a slot.
#[derive(Default)]
struct Slot {
    counts: ResultCounts,
    /// Runs that tried a board in it.
    runs: BTreeSet<i64>,
    /// Those of them that point to its contact.
    signs: BTreeSet<i64>,
}

impl ResultCounts {
    fn add(&mut self, result: AttemptResult) {
        let count = match result {
            AttemptResult::Pass => &mut self.pass,
            AttemptResult::Fail => &mut self.fail,
            AttemptResult::Error => &mut self.error,
            AttemptResult::Skipped => &mut self.skipped,
            AttemptResult::Aborted => &mut self.aborted,
            AttemptResult::InDoubt => &mut self.in_doubt,
        };
        *count += 1;
    }
}

/// Units counted so far.
#[derive(Default)]
struct Count {
    units: u64,
    first: u64,
    last: u64,
}

impl Count {
    fn add(&mut self, mut results: impl DoubleEndedIterator<Item = AttemptResult>) {
        let Some(first) = results.next() else { return };
        let last = results.next_back().unwrap_or(first);
        self.units += 1;
        self.first += u64::from(first == AttemptResult::Pass);
        self.last += u64::from(last == AttemptResult::Pass);
    }
}

impl From<Count> for UnitYield {
    fn from(count: Count) -> Self {
        let ratio = |passed: u64| Ratio {
            passed,
            of: count.units,
            percent: (count.units > 0).then(|| passed as f64 * 100.0 / count.units as f64),
        };
        Self { first_pass: ratio(count.first), at_last: ratio(count.last) }
    }
}

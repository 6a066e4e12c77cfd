//! The operator's view of a run.
use crate::result::RunResult;
use panel_bound::Bound;
use panel_engine::{Event, Plan};
use panel_protocol::time::Micros;
use std::path::Path;
pub(crate) struct View {}
impl View {
    pub(crate) fn new(_plan: &Plan, _bound: Bound, _doubtful: usize) -> Self {
        Self {}
    }
    pub(crate) fn event(&mut self, _now: Micros, _event: &Event) {}
    pub(crate) fn tick(&mut self, _now: Micros) {}
    pub(crate) fn finish(self, result: &RunResult, dir: &Path) {
        crate::out::note(&format!(
            "{} passed, {} failed, {:.3} s, bound {:.3} s, ratio {:.3}, {}",
            result.passed,
            result.failed,
            result.seconds,
            result.bound_seconds,
            result.ratio,
            dir.display()
        ));
    }
}

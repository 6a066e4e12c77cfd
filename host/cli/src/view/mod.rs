//! The operator's view of a run: a live picture on a terminal, plain lines in a log, a summary at the end.
//!
//! It is made of events only (`state`); drawing is pure functions of that state (`map`, `live`, `plain`,
//! `summary`), so that what an operator sees can be tested as text. `run` hands over each event after it has
//! been recorded. The summary goes to stdout, unless stdout is for JSON; everything else to stderr.

mod live;
mod map;
mod plain;
mod screen;
mod state;
mod summary;
#[cfg(test)]
mod testing;
mod text;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use panel_bound::Bound;
use panel_engine::{Event, Plan};
use panel_protocol::time::Micros;

use crate::args::{colour_refused, terminal_is_dumb};
use crate::result::RunResult;
use plain::Reporter;
use screen::Screen;
use state::RunView;
pub(crate) use summary::Closing;
use text::Paint;

/// Shortest wall time between two frames: 15 a second at most.
const FRAME: Duration = Duration::from_millis(67);

/// What the person at the station sees of one run.
pub(crate) struct View {
    state: RunView,
    face: Face,
    screen: Screen,
    json: bool,
    began: Instant,
}

enum Face {
    /// On a terminal: when the last frame was drawn.
    Live(Option<Duration>),
    Lines(Reporter),
}

impl View {
    /// A view of a run that is about to begin; `json`: stdout is not for people. `doubtful` is the number of
    /// units that an earlier run left in doubt.
    #[expect(
        clippy::disallowed_methods,
        reason = "frames are paced by the wall clock, whatever the run's does"
    )]
    pub(crate) fn new(plan: &Plan, bound: Bound, doubtful: usize, json: bool) -> Self {
        let state = RunView::new(plan, bound, doubtful);
        let mut screen = Screen::new();
        let face = if std::io::stderr().is_terminal() && !terminal_is_dumb() {
            Face::Live(None)
        } else {
            Reporter::opening(&state).iter().for_each(|l| screen.line(l));
            Face::Lines(Reporter::default())
        };
        Self { state, face, screen, json, began: Instant::now() }
    }

    /// Something happened.
    pub(crate) fn event(&mut self, now: Micros, event: &Event) {
        self.state.event(now, event);
        if let Face::Lines(reporter) = &mut self.face {
            let wall = self.began.elapsed();
            reporter.event(&self.state, wall, event).iter().for_each(|l| self.screen.line(l));
        }
    }

    /// Time goes on.
    pub(crate) fn tick(&mut self, now: Micros) {
        self.state.now = now;
        let wall = self.began.elapsed();
        match &mut self.face {
            Face::Live(last) => {
                let due = last.is_none_or(|last| wall.saturating_sub(last) >= FRAME);
                if due && self.screen.is_ready() {
                    *last = Some(wall);
                    let (columns, lines) = screen::stderr_size();
                    let frame = live::frame(&self.state, paint(true), columns, lines);
                    self.screen.draw(&frame, columns);
                }
            }
            Face::Lines(reporter) => {
                if let Some(line) = reporter.tick(&self.state, wall) {
                    self.screen.line(&line);
                }
            }
        }
    }

    /// The run is over: the map stays, bars and clock give way to the summary.
    pub(crate) fn finish(mut self, result: &RunResult, closing: &Closing) {
        if matches!(self.face, Face::Live(_)) {
            let (columns, _) = screen::stderr_size();
            let map = live::last_map(&self.state, paint(true), columns);
            self.screen.draw(&map, columns);
        }
        self.screen.line("");
        self.screen.close();
        let (terminal, columns) = if self.json {
            (std::io::stderr().is_terminal(), screen::stderr_size().0)
        } else {
            (std::io::stdout().is_terminal(), screen::stdout_size().0)
        };
        let print = if self.json { crate::out::note } else { crate::out::line };
        let resolved = self.state.doubtful.saturating_sub(closing.doubtful);
        let columns = terminal.then_some(columns);
        let lines = summary::summary(result, closing, resolved, paint(terminal), columns);
        lines.iter().for_each(|l| print(l));
    }
}

fn paint(terminal: bool) -> Paint {
    Paint { colour: terminal && !colour_refused() && !terminal_is_dumb() }
}

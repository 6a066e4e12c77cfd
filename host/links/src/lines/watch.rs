//! Interlock and start button: levels become events, without bounce.
//!
//! Opening the interlock is believed at once, closing it and pressing start only after two looks in a row: a
//! contact that bounces must never look safe.

use panel_protocol::time::{Micros, Span};

use super::FixtureEvent;

/// Inputs are looked at this often.
pub(super) const LOOK_EVERY: Span = Span(20_000);

/// One input over time; levels are active or not, whatever their polarity.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<bool>,
    /// What was reported.
    settled: Option<bool>,
}

/// What the interlock is.
pub(super) fn interlock(watch: &mut Watch, closed: bool) -> Option<FixtureEvent> {
    let twice = watch.last.replace(closed) == Some(closed);
    let believed = !closed || twice;
    let changed = believed && watch.settled != Some(closed);
    changed.then(|| {
        watch.settled = Some(closed);
        FixtureEvent::Interlock { closed }
    })
}

/// Whether start was pressed just now. A button that is held down from the beginning was not pressed.
pub(super) fn start(watch: &mut Watch, pressed: bool) -> Option<FixtureEvent> {
    let twice = watch.last.replace(pressed) == Some(pressed);
    if !twice || watch.settled == Some(pressed) {
        return None;
    }
    let before = watch.settled.replace(pressed);
    (before == Some(false) && pressed).then_some(FixtureEvent::Start)
}

/// When to look again after looking at `now`.
pub(super) fn next(now: Micros) -> Micros {
    now + LOOK_EVERY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_interlock_is_believed_at_once_and_a_closing_one_when_it_stays() {
        let mut watch = Watch::default();
        let said: Vec<_> = [false, true, false, true, true, true, false, false]
            .into_iter()
            .map(|level| interlock(&mut watch, level))
            .collect();
        let (open, closed) =
            (Some(FixtureEvent::Interlock { closed: false }), Some(FixtureEvent::Interlock { closed: true }));
        assert_eq!(said, [open.clone(), None, None, None, closed, None, open, None]);
    }

    #[test]
    fn start_counts_when_it_is_pressed_and_not_while_it_is_held() {
        let mut watch = Watch::default();
        let levels = [true, true, true, false, false, true, false, true, true, true, false, false];
        let pressed: Vec<_> = levels.into_iter().map(|level| start(&mut watch, level).is_some()).collect();
        let mut expected = [false; 12];
        expected[8] = true;
        assert_eq!(pressed, expected);
    }
}

//! Relay boards of the LCUS kind: four bytes for each switch, never an answer.
//!
//! 9600 baud, 8N1: 0xA0, channel from 1, 0 or 1, and the sum of the three modulo 256. The board neither confirms nor
//! watches: a switch counts as done when its bytes have left at this rate, and when the program dies the relays
//! stay as they are.

use std::path::Path;

use panel_protocol::time::{Micros, Span};

use super::device::{Channel, DeadMan, Device, Patience};
use super::{FixtureError, Switched};
use crate::{Parity, SerialLink};

const BAUD: u32 = 9600;
/// Four bytes of ten bits at 9600 baud, and as much again for the board to act on them.
const SWITCH_TIME: Span = Span(8_400);

/// One board.
pub(super) struct LcusBoard {
    link: SerialLink,
    /// Switches whose bytes are on their way: when they have arrived, in order.
    under_way: std::collections::VecDeque<(Micros, Channel, bool)>,
}

/// The four bytes that set a channel.
pub(super) fn command(channel: u8, on: bool) -> [u8; 4] {
    let state = u8::from(on);
    [0xA0, channel, state, 0xA0_u8.wrapping_add(channel).wrapping_add(state)]
}

impl LcusBoard {
    pub(super) fn open(path: &Path) -> Result<Self, FixtureError> {
        let link = SerialLink::open(path, BAUD, Parity::None).map_err(|e| FixtureError::Open {
            line: format!("lcus:{}", path.display()),
            reason: e.to_string(),
        })?;
        Ok(Self { link, under_way: std::collections::VecDeque::new() })
    }

    fn send(&self, channel: Channel, high: bool) -> Result<(), FixtureError> {
        let channel = u8::try_from(channel).unwrap_or(u8::MAX);
        self.link.send(&command(channel, high)).map_err(|e| FixtureError::Switch {
            line: format!("lcus:{}#{channel}", self.link.path().display()),
            high,
            reason: e.to_string(),
        })
    }
}

impl Device for LcusBoard {
    fn set(&mut self, now: Micros, channel: Channel, high: bool) -> Result<Switched, FixtureError> {
        self.send(channel, high)?;
        let free = self.under_way.back().map_or(now, |(done, ..)| (*done).max(now));
        self.under_way.push_back((free + SWITCH_TIME, channel, high));
        Ok(Switched::Waiting)
    }

    fn poll(&mut self, now: Micros) -> Result<Option<(Channel, bool)>, FixtureError> {
        let done = self.under_way.pop_front_if(|(done, ..)| *done <= now);
        Ok(done.map(|(_, channel, high)| (channel, high)))
    }

    fn next_timeout(&self) -> Option<Micros> {
        self.under_way.front().map(|(done, ..)| *done)
    }

    fn force(&mut self, channel: Channel, high: bool, _patience: &mut Patience) -> Result<(), FixtureError> {
        // The kernel sends what it was given even when the program has ended.
        self.send(channel, high)
    }

    fn read(&mut self, _now: Micros, channel: Channel) -> Result<Option<bool>, FixtureError> {
        Err(FixtureError::Read {
            input: format!("lcus:{}#{channel}", self.link.path().display()),
            reason: "these boards have no inputs".to_owned(),
        })
    }

    fn dead_man(&self) -> DeadMan {
        DeadMan::Stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_the_bytes_that_the_boards_sheets_give() {
        // Start, channel, state, sum.
        assert_eq!(command(1, true), [0xA0, 0x01, 0x01, 0xA2]);
        assert_eq!(command(1, false), [0xA0, 0x01, 0x00, 0xA1]);
        assert_eq!(command(8, true), [0xA0, 0x08, 0x01, 0xA9]);
        assert_eq!(command(255, true), [0xA0, 0xFF, 0x01, 0xA0]);
    }
}

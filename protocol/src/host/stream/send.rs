//! What goes out next while data flows: a census, a chunk of the open window, or the next window.

use super::{Stage, Stream, StreamCounters, ask, control};
use crate::frame::Frame;
use crate::host::ask::{Ask, Request};
use crate::host::chunks::ChunkSet;
use crate::host::{BusEvent, Timing};
use crate::ident::{DataPosition, NodeId};
use crate::message::{Control, HostMessage, Seek};
use crate::time::{Micros, Span};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Windows between two censuses.
const CENSUS_WINDOWS: u32 = 16;

pub(super) struct Window {
    segment: u16,
    left: ChunkSet,
    repair: bool,
}

impl Stream {
    pub(in crate::host) fn poll_transmit(
        &mut self,
        now: Micros,
        timing: &Timing,
        out: &mut VecDeque<Frame>,
        counters: &mut StreamCounters,
        events: &mut VecDeque<BusEvent>,
    ) -> Option<Frame> {
        // Data for a bus that stands still would only lie in its way.
        if !matches!(self.stage, Stage::Data) || self.census.as_ref().is_some_and(Ask::is_unheard) {
            return None;
        }
        if self.census.is_none() && (now >= self.census_due || self.windows >= CENSUS_WINDOWS) {
            self.take_census(now, timing, out);
            return out.pop_front();
        }
        if self.window.is_none() {
            // A window once open is finished: what a node holds for is the room for the next one. Repairs fill
            // room that is taken already, and without them it would never be free.
            if self.repairs.is_empty() && self.paused() {
                return None;
            }
            self.next_window(now, timing, out, events);
            return out.pop_front();
        }
        let window = self.window.as_mut()?;
        let (segment, repair) = (window.segment, window.repair);
        let index = window.left.pop();
        if window.left.is_empty() {
            self.window = None;
        }
        let index = index?;
        let bytes = self.image.chunk_at(segment, index)?;
        let position = DataPosition { tag: (segment % 4) as u8, index };
        if repair {
            counters.repeated += 1;
        } else {
            counters.data += 1;
            self.sent += 1;
        }
        Some(HostMessage::Data(position, bytes).to_frame())
    }

    pub(super) fn take_census(&mut self, now: Micros, timing: &Timing, out: &mut VecDeque<Frame>) {
        self.windows = 0;
        self.census_due = now + timing.census;
        let request = Request::Control(Control::Census);
        request.frames(self.options.only, out);
        let nodes: Vec<NodeId> = self.nodes.iter().filter(|(_, p)| !p.left).map(|(&n, _)| n).collect();
        self.census = Some(ask(now, timing, &nodes, &request, Span::ZERO, out));
    }

    /// Opens the next window: first what nodes reported missing, then the stream, then the closing census.
    pub(super) fn next_window(
        &mut self,
        now: Micros,
        timing: &Timing,
        out: &mut VecDeque<Frame>,
        events: &mut VecDeque<BusEvent>,
    ) {
        let (repair, next) = match self.repairs.pop_first() {
            Some(next) => (true, Some(next)),
            None => (false, self.todo.pop_first()),
        };
        let Some((segment, left)) = next else {
            self.close(now, timing, out);
            return;
        };
        let Some(ranges) = self.image.segments().get(usize::from(segment)).and_then(|s| s.ranges) else {
            return;
        };
        let seek = control(self.options.only, Control::Seek(Seek { segment, repair, ranges }));
        out.push_back(seek);
        if repair {
            out.push_back(seek); // whoever misses it would miss the whole repair
        } else {
            self.windows += 1;
            events.push_back(BusEvent::Progress { sent: self.sent, total: self.total });
        }
        self.window = (!left.is_empty()).then_some(Window { segment, left, repair });
    }
}

//! One slot of a run: which board is in it, where it stands, how it ended.

use std::sync::Arc;

use panel_backplane::{BusIndex, Slot};
use panel_protocol::host::Image;
use panel_protocol::ident::NodeId;
use panel_protocol::message::Status;
use panel_protocol::node::Uid;
use panel_protocol::reply::Info;
use panel_protocol::time::Micros;

use crate::event::Step;
use crate::finishing::Reserved;
use crate::verdict::Verdict;

/// What a slot's cell shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing has happened yet.
    Waiting,
    /// Power is on, the board is looked for.
    Searching,
    /// The RAM agent is on its way into it, in percent.
    Loading(u8),
    /// Identified, waiting for data.
    Found,
    /// Its flash is being erased.
    Erasing,
    /// Programmed so far, in percent.
    Programming(u8),
    /// Left to a second pass.
    Straggling,
    /// Flash is read back.
    Verifying,
    /// Valid mark, start.
    Finishing,
    /// The image goes from the second slot to its place, in percent.
    Installing(u8),
    /// It stopped answering; what became of it is found out at the end.
    Lost,
    /// The attempt has ended.
    Ended,
}

/// A slot during a run.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) slot: Slot,
    pub(crate) bus: BusIndex,
    pub(crate) strap: u16,
    pub(crate) bad: bool,
    pub(crate) attempt: u8,
    pub(crate) state: SlotState,
    pub(crate) step: Step,
    pub(crate) node: Option<NodeId>,
    pub(crate) uid: Option<Uid>,
    pub(crate) nonce: u16,
    pub(crate) info: Option<Info>,
    /// Set when it stopped answering: what it last said of itself.
    pub(crate) lost: Option<Option<Status>>,
    /// It had begun to erase when it stopped answering.
    pub(crate) began: bool,
    /// When the RAM agent was loaded and started in this attempt.
    pub(crate) loaded: Option<Micros>,
    /// It was the last one of its bus, so that its agent takes part in that at once.
    pub(crate) joins: bool,
    /// An agent has given it image and identity; the rest goes through its ROM.
    pub(crate) to_finish: bool,
    /// It failed there, and another attempt follows.
    pub(crate) again: bool,
    /// It was cut off from power or held in reset for good.
    pub(crate) cut: bool,
    /// It missed a share of the frames that tells it from others.
    pub(crate) deaf: bool,
    /// Supply current when it stopped answering or was not found, in mA.
    pub(crate) current: Option<u32>,
    pub(crate) status: Option<Status>,
    /// Whether the image is in its second slot until it is committed; `None` until that is known.
    pub(crate) staged: Option<bool>,
    pub(crate) reserved: Option<Reserved>,
    /// The image that is its own, if it gets one.
    pub(crate) image: Option<Arc<Image>>,
    /// Its lock is proven.
    pub(crate) proved: bool,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) started: Micros,
    pub(crate) ended: Micros,
}

impl Board {
    pub(crate) const fn new(slot: Slot, bus: BusIndex, strap: u16, bad: bool) -> Self {
        Self {
            slot,
            bus,
            strap,
            bad,
            attempt: 0,
            state: SlotState::Waiting,
            step: Step::Power,
            node: None,
            uid: None,
            nonce: 0,
            info: None,
            lost: None,
            began: false,
            loaded: None,
            joins: false,
            to_finish: false,
            again: false,
            cut: false,
            deaf: false,
            current: None,
            status: None,
            staged: None,
            reserved: None,
            image: None,
            proved: false,
            verdict: None,
            started: Micros::ZERO,
            ended: Micros::ZERO,
        }
    }

    /// A new attempt: what was learnt of the board before counts no more.
    pub(crate) fn begin_attempt(&mut self, now: Micros) {
        if self.attempt == 0 {
            self.started = now;
        }
        *self = Self {
            attempt: self.attempt + 1,
            started: self.started,
            uid: self.uid,
            state: SlotState::Searching,
            ..Self::new(self.slot, self.bus, self.strap, self.bad)
        };
    }

    /// Takes part: powered, not lost, no verdict yet.
    pub(crate) const fn is_active(&self) -> bool {
        self.attempt > 0 && self.verdict.is_none() && self.lost.is_none()
    }
}

/// All bits equal: not the UID of any STM32.
pub(crate) fn implausible(uid: &Uid) -> bool {
    uid.0.iter().all(|&b| b == 0) || uid.0.iter().all(|&b| b == 0xFF)
}

//! Asking nodes and collecting their answers: one answer each, silent nodes asked again, then named.
//!
//! Used for everything that is not discovery and not the stream of data. A broadcast request goes out once;
//! repetitions go only to nodes that owe an answer. They all do the same work, so when some have answered and
//! the bus has fallen silent since, the others have missed the question: they are reminded then and not only
//! when the longest time the work may take is over. When nobody at all answers, it is the way to them that
//! has stopped (an adapter, a host short of processor time), and they are asked for [`STANDSTILL`] longer.

use super::Timing;
use crate::block::MAX_BLOCK;
use crate::frame::Frame;
use crate::ident::NodeId;
use crate::message::{BLOCK_PART, BlockKind, Control, HostMessage, IdentifyPart, Status};
use crate::reply::{Info, Profile, RegionCheck, Reply, Statistics};
use crate::time::{Micros, Span};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A control message.
    Control(Control),
    /// A block.
    Block(BlockKind, Vec<u8>),
}

/// A node's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To `Census`.
    Status(Status),
    /// To `Identify(Info)`.
    Info(Info),
    /// To `Identify(Profile)`.
    Profile(Profile),
    /// To `Verify`.
    RegionCheck(RegionCheck),
    /// To `Digest`: region and SHA-256.
    Digest(u8, [u8; 32]),
    /// To `Read`: address and bytes.
    Memory(u32, Vec<u8>),
    /// Done, or refused.
    Done {
        /// Opcode of the command.
        opcode: u8,
        /// Why not, if not.
        refusal: Option<crate::message::Refusal>,
        /// More.
        detail: u32,
    },
    /// To `Test`.
    Reading {
        /// Number of the item.
        item: u8,
        /// The request's token.
        token: u8,
        /// Unit code.
        unit: u8,
        /// Value.
        value: f32,
    },
    /// To `Statistics`.
    Statistics(Statistics),
}

impl From<Reply<'_>> for Answer {
    fn from(reply: Reply<'_>) -> Self {
        match reply {
            Reply::Info(info) => Self::Info(info),
            Reply::Profile(profile) => Self::Profile(profile),
            Reply::RegionCheck(check) => Self::RegionCheck(check),
            Reply::Digest(region, sha256) => Self::Digest(region, sha256),
            Reply::Memory(address, bytes) => Self::Memory(address, bytes.to_vec()),
            Reply::Done { opcode, refusal, detail } => Self::Done { opcode, refusal, detail },
            Reply::Reading { item, token, unit, value } => Self::Reading { item, token, unit, value },
            Reply::Statistics(statistics) => Self::Statistics(statistics),
        }
    }
}

impl Request {
    fn opcode(&self) -> u8 {
        match self {
            Self::Control(control) => control.opcode(),
            Self::Block(kind, _) => Control::BlockEnd { kind: *kind, len: 0, crc: 0 }.opcode(),
        }
    }

    /// Whether `answer` is one to this request.
    fn fits(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (_, Answer::Done { opcode, detail, .. }) => *opcode == self.opcode() && self.is_about(*detail),
            (Self::Control(Control::Census), Answer::Status(_))
            | (Self::Control(Control::Identify(IdentifyPart::Info)), Answer::Info(_))
            | (Self::Control(Control::Identify(IdentifyPart::Profile)), Answer::Profile(_))
            | (Self::Control(Control::Statistics), Answer::Statistics(_)) => true,
            (Self::Control(Control::Verify { region }), Answer::RegionCheck(check)) => {
                check.region == *region
            }
            (Self::Control(Control::Digest { region }), Answer::Digest(got, _)) => got == region,
            (Self::Control(Control::Read { address, .. }), Answer::Memory(got, _)) => got == address,
            (Self::Control(Control::Test { item, token, .. }), Answer::Reading { item: i, token: t, .. }) => {
                (i, t) == (item, token)
            }
            _ => false,
        }
    }

    /// Whether an outcome with this detail is one of this request, and not of an earlier one that was asked twice.
    fn is_about(&self, detail: u32) -> bool {
        match self {
            Self::Block(BlockKind::Identity, block) => {
                let place = block.first_chunk().map(|place| u32::from_le_bytes(*place));
                detail == BlockKind::Identity as u32 || Some(detail) == place
            }
            Self::Block(kind, _) => detail == *kind as u32,
            Self::Control(Control::Start { session: n } | Control::Commit { session: n })
            | Self::Control(Control::Digest { region: n } | Control::Test { item: n, .. }) => {
                detail == u32::from(*n)
            }
            Self::Control(Control::Read { address, .. } | Control::StartApplication { address }) => {
                detail == *address
            }
            Self::Control(_) => true,
        }
    }

    /// Whether a node that is still at it may be asked again without harm.
    const fn may_be_repeated(&self) -> bool {
        match self {
            Self::Control(control) => matches!(
                control,
                Control::Census
                    | Control::Identify(_)
                    | Control::Start { .. }
                    | Control::Verify { .. }
                    | Control::Digest { .. }
                    | Control::Commit { .. }
                    | Control::Read { .. }
                    | Control::Statistics
            ),
            Self::Block(kind, _) => {
                matches!(kind, BlockKind::Begin | BlockKind::Identity | BlockKind::Key)
            }
        }
    }

    /// Frames that one answer has at most; of replies longer than one, seven bytes in each.
    fn answer_frames(&self) -> u64 {
        match self {
            Self::Control(Control::Read { len, .. }) => (5 + u64::from(*len)).div_ceil(7),
            Self::Control(Control::Identify(IdentifyPart::Profile)) => PROFILE_FRAMES,
            Self::Control(Control::Identify(IdentifyPart::Info)) => 4,
            Self::Control(Control::Digest { .. }) => 5,
            Self::Control(Control::Statistics) => 3,
            Self::Control(Control::Test { .. }) => 2,
            // Status, check of a region, outcome.
            Self::Control(_) | Self::Block(..) => 1,
        }
    }

    pub(super) fn frames(&self, to: Option<NodeId>, out: &mut impl Extend<Frame>) {
        match self {
            Self::Control(control) => out.extend([HostMessage::Control(to, *control).to_frame()]),
            Self::Block(kind, block) => {
                let block = &block[..block.len().min(MAX_BLOCK)];
                out.extend(block.chunks(BLOCK_PART).enumerate().map(|(index, part)| {
                    let mut bytes = [0; BLOCK_PART];
                    bytes[..part.len()].copy_from_slice(part);
                    let data = Control::BlockData { index: index as u8, bytes, len: part.len() as u8 };
                    HostMessage::Control(to, data).to_frame()
                }));
                let crc = crate::CRC32.checksum(block);
                let end = Control::BlockEnd { kind: *kind, len: block.len() as u16, crc };
                out.extend([HostMessage::Control(to, end).to_frame()]);
            }
        }
    }
}

/// Frames of a profile with eight runs of erase units: 22 bytes and 8 for each run.
const PROFILE_FRAMES: u64 = 13;
/// How often the silent are reminded at most, beside the tries.
const REMINDERS: u8 = 4;
/// So few that reminding them costs nothing even if they are merely at work.
const FEW: usize = 3;

/// How long a bus on which several nodes answered before may stand still: what a link allows a frame to wait.
const STANDSTILL: Span = Span::from_millis(2000);

/// A round of questions.
pub(super) struct Ask {
    pending: BTreeMap<NodeId, Request>,
    /// How many were asked.
    asked: usize,
    /// Until when nobody of several is given up as long as nobody answers.
    standstill: Micros,
    /// Nobody has answered any try: one node is asked at a time, until one answers.
    probing: Option<usize>,
    patience: Span,
    tries: u8,
    all_tries: u8,
    /// When this try is over.
    over: Micros,
    /// How long an answer takes at most, if there is nothing to do for it and the bus is free.
    answer: Span,
    /// Time without a whole answer that tells that the others have missed the question.
    quiet: Span,
    /// The longest frame's time on the bus.
    frame: Span,
    reminders: u8,
    /// An answer has come since deadlines were last looked at.
    answered: bool,
    remind: Option<Micros>,
}

/// What a timeout led to.
pub(super) enum Verdict {
    Wait,
    /// Everybody has answered, or these never did.
    Done(Vec<NodeId>),
}

impl Ask {
    /// A round of questions that follow `queued` other frames; `patience` is what the work itself may take.
    pub(super) fn new(
        pending: BTreeMap<NodeId, Request>,
        timing: &Timing,
        patience: Span,
        queued: usize,
        now: Micros,
    ) -> Self {
        let sent = Span(timing.frame.0 * queued as u64);
        let longest = pending.values().map(Request::answer_frames).max().unwrap_or(0);
        let [answer, quiet] = [timing.answer, timing.quiet].map(|wait| wait + Span(timing.frame.0 * longest));
        let patience = patience + answer + sent;
        let repeatable = pending.values().all(Request::may_be_repeated);
        let mut ask = Self {
            asked: pending.len(),
            standstill: now + patience + STANDSTILL,
            probing: None,
            pending,
            patience,
            tries: timing.tries,
            all_tries: timing.tries,
            over: now + patience,
            answer,
            quiet,
            frame: timing.frame,
            reminders: if repeatable { REMINDERS } else { 0 },
            answered: false,
            remind: None,
        };
        ask.remind = ask.next_reminder(now + sent);
        ask
    }

    /// When to remind if nobody answers from now on.
    fn next_reminder(&self, now: Micros) -> Option<Micros> {
        (self.reminders > 0 && self.pending.len() <= FEW).then_some(now + self.answer)
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Micros {
        self.remind.map_or(self.over, |at| at.min(self.over))
    }

    /// The present try lasts until then.
    pub(super) const fn postpone(&mut self, until: Micros) {
        self.over = until;
        self.remind = None;
    }

    /// True if the answer was owed.
    pub(super) fn handle(&mut self, node: NodeId, answer: &Answer) -> bool {
        let fits = self.pending.get(&node).is_some_and(|request| request.fits(answer));
        if fits {
            self.pending.remove(&node);
            self.answered = true;
            if self.probing.take().is_some() {
                self.tries = self.all_tries;
            }
        }
        fits
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.asked -= usize::from(self.pending.remove(&node).is_some());
    }

    pub(super) fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    /// Several were asked more than once, and not one has answered: the bus stands still.
    pub(super) fn is_unheard(&self) -> bool {
        self.tries < self.all_tries && self.asked > FEW && self.pending.len() == self.asked
    }

    pub(super) fn handle_timeout(&mut self, now: Micros, out: &mut impl Extend<Frame>) -> Verdict {
        if self.pending.is_empty() {
            return Verdict::Done(Vec::new());
        }
        if core::mem::take(&mut self.answered) {
            // Answers come one after another: as long as they come, the next one waited for its turn on the bus.
            self.over = self.over.max(now + self.answer);
            if self.reminders > 0 {
                self.remind = Some(now + self.quiet);
            }
        }
        if now >= self.over {
            self.tries = self.tries.saturating_sub(1);
            if self.tries == 0 {
                if self.is_unheard() && now < self.standstill {
                    self.probe(now, out);
                    return Verdict::Wait;
                }
                return Verdict::Done(core::mem::take(&mut self.pending).into_keys().collect());
            }
            self.over = now + self.patience + Span(self.frame.0 * self.pending.len() as u64);
            self.remind = None;
        } else if self.remind.is_some_and(|at| now >= at) {
            self.reminders -= 1;
            self.remind = self.next_reminder(now);
        } else {
            return Verdict::Wait;
        }
        self.pending.iter().for_each(|(node, request)| request.frames(Some(*node), out));
        Verdict::Wait
    }

    /// Asks the next node alone: questions to all would wait in the way of the first answer.
    fn probe(&mut self, now: Micros, out: &mut impl Extend<Frame>) {
        let turn = self.probing.map_or(0, |last| last + 1);
        self.probing = Some(turn);
        self.tries = 1;
        self.over = now + self.patience;
        if let Some((node, request)) = self.pending.iter().nth(turn % self.asked) {
            request.frames(Some(*node), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Refusal;
    use alloc::vec;

    const QUIET: Span = Span::from_millis(4);
    /// What the work may take, and the answer.
    const WHOLE: Span = Span::from_millis(540);

    fn node(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn ask(nodes: u8, control: Control) -> Ask {
        ask_over(nodes, control, Span::ZERO)
    }

    /// On a bus whose frames take so long.
    fn ask_over(nodes: u8, control: Control, frame: Span) -> Ask {
        let pending = (0..nodes).map(|n| (node(n), Request::Control(control))).collect();
        let answer = Span::from_millis(40);
        let timing = Timing { quiet: QUIET, answer, frame, tries: 2, ..Timing::default() };
        Ask::new(pending, &timing, Span::from_millis(500), 0, Micros::ZERO)
    }

    fn done(control: Control) -> Answer {
        Answer::Done { opcode: control.opcode(), refusal: None, detail: 7 }
    }

    #[test]
    fn those_who_stay_silent_when_others_have_answered_are_reminded_long_before_the_work_must_be_over() {
        let commit = Control::Commit { session: 7 };
        let mut ask = ask(6, commit);
        let mut out = vec![];
        let answered = Micros(30_000);
        assert!(ask.handle(node(0), &done(commit)));
        assert!(matches!(ask.handle_timeout(answered, &mut out), Verdict::Wait));
        assert_eq!((ask.deadline(), out.len()), (answered + QUIET, 0));
        assert!(ask.handle(node(1), &done(commit)));
        assert!(matches!(ask.handle_timeout(answered + Span(1000), &mut out), Verdict::Wait));
        let due = answered + Span(1000) + QUIET;
        assert_eq!(ask.deadline(), due, "an answer shows that the bus is not silent yet");
        assert!(matches!(ask.handle_timeout(due, &mut out), Verdict::Wait));
        let silent = [2, 3, 4, 5].map(|n| HostMessage::Control(Some(node(n)), commit).to_frame());
        assert_eq!(out, silent);
        assert_eq!(ask.deadline(), Micros::ZERO + WHOLE, "once is enough until somebody answers");
    }

    #[test]
    fn a_few_are_reminded_although_nobody_has_answered() {
        let mut ask = ask(1, Control::Commit { session: 7 });
        let mut out = vec![];
        for reminder in 1..=REMINDERS {
            let due = Micros(40_000 * u64::from(reminder));
            assert_eq!(ask.deadline(), due);
            assert!(matches!(ask.handle_timeout(due, &mut out), Verdict::Wait));
            assert_eq!(out.len(), usize::from(reminder));
        }
        assert_eq!(ask.deadline(), Micros::ZERO + WHOLE, "it is not reminded for ever");
    }

    #[test]
    fn a_bus_on_which_nobody_answers_is_probed_node_by_node_and_then_everybody_is_asked_anew() {
        let commit = Control::Commit { session: 7 };
        let mut ask = ask(64, commit);
        let next = |ask: &mut Ask| {
            let mut out = vec![];
            while out.is_empty() {
                assert!(matches!(ask.handle_timeout(ask.deadline(), &mut out), Verdict::Wait));
            }
            out
        };
        let to = |n| HostMessage::Control(Some(node(n)), commit).to_frame();
        assert_eq!(next(&mut ask), (0..64).map(to).collect::<Vec<_>>(), "the second try goes to everybody");
        assert!(ask.is_unheard());
        assert_eq!((next(&mut ask), next(&mut ask)), (vec![to(0)], vec![to(1)]));
        assert!(ask.handle(node(9), &done(commit)));
        assert!(!ask.is_unheard());
        assert_eq!(next(&mut ask).len(), 63, "those that still owe an answer");
    }

    #[test]
    fn a_bus_that_stays_silent_is_given_up_after_two_seconds_and_a_few_nodes_after_their_tries() {
        let given_up = |nodes| {
            let mut ask = ask(nodes, Control::Census);
            let mut out = vec![];
            loop {
                let now = ask.deadline();
                if let Verdict::Done(silent) = ask.handle_timeout(now, &mut out) {
                    break (now, silent.len());
                }
            }
        };
        let (late, silent) = given_up(4);
        assert!(
            late >= Micros::ZERO + STANDSTILL && late < Micros::ZERO + STANDSTILL + WHOLE + WHOLE,
            "{late:?}"
        );
        assert_eq!(silent, 4);
        assert_eq!(given_up(3), (Micros::ZERO + WHOLE + WHOLE, 3));
    }

    #[test]
    fn nobody_is_reminded_while_all_are_at_work_or_of_what_must_not_be_done_twice() {
        let mut working = ask(6, Control::Commit { session: 7 });
        let mut testing = ask(2, Control::Test { item: 1, token: 2, argument: 0 });
        assert!(testing.handle(node(0), &Answer::Reading { item: 1, token: 2, unit: 0, value: 1.0 }));
        let mut out = vec![];
        for ask in [&mut working, &mut testing] {
            assert!(matches!(ask.handle_timeout(Micros(30_000), &mut out), Verdict::Wait));
            assert!(matches!(ask.handle_timeout(Micros(400_000), &mut out), Verdict::Wait));
            assert_eq!((ask.deadline(), out.len()), (Micros::ZERO + WHOLE, 0));
        }
    }

    #[test]
    fn nobody_is_asked_again_as_long_as_answers_come_one_after_another_over_a_slow_bus() {
        // 125 kbit/s: a frame takes 1.3 ms and an answer five of them, so that 60 take longer than any try.
        let frame = Span(1280);
        let mut ask = ask_over(60, Control::Digest { region: 0 }, frame);
        let mut out = vec![];
        let mut now = Micros(500_000);
        for n in 0..59 {
            now = now + Span(5 * frame.0);
            assert!(matches!(ask.handle_timeout(now, &mut out), Verdict::Wait));
            assert!(ask.handle(node(n), &Answer::Digest(0, [0; 32])));
            assert!(matches!(ask.handle_timeout(now, &mut out), Verdict::Wait));
        }
        assert_eq!(out.len(), 0);
        assert_eq!(ask.deadline(), now + Span(5 * frame.0) + QUIET, "the last one is reminded");
    }

    #[test]
    fn reminders_spend_no_try_and_the_silent_are_named_in_the_end() {
        let commit = Control::Commit { session: 7 };
        let mut ask = ask(5, commit);
        let mut out = vec![];
        let refusal = Some(Refusal::Flash);
        assert!(ask.handle(node(0), &Answer::Done { opcode: commit.opcode(), refusal, detail: 7 }));
        assert!(matches!(ask.handle_timeout(Micros(1), &mut out), Verdict::Wait));
        assert!(matches!(ask.handle_timeout(Micros(10_000), &mut out), Verdict::Wait));
        let first = Micros::ZERO + WHOLE;
        assert!(matches!(ask.handle_timeout(first, &mut out), Verdict::Wait));
        assert_eq!(out.len(), 8, "four were reminded, and asked again when their time was over");
        let Verdict::Done(silent) = ask.handle_timeout(first + WHOLE, &mut out) else {
            panic!("two tries are over");
        };
        assert_eq!(silent, [1, 2, 3, 4].map(node));
    }
}

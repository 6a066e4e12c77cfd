//! The host and any frames: it neither panics nor spins, and every operation ends.

use crate::util::any;
use crate::util::run::{image, options};
use panel_protocol::frame::Frame;
use panel_protocol::host::{BusEvent, BusMaster, Request, Timing};
use panel_protocol::ident::{Channel, NodeId};
use panel_protocol::message::{
    BlockKind, Control, HostMessage, IdentifyPart, NodeMessage, NodeState, Status, StatusFlags,
};
use panel_protocol::time::{Micros, Span};
use proptest::collection::vec;
use proptest::prelude::*;

/// Inputs and outputs that one operation may need: an image of 2800 frames sent a few times over.
const MOST_STEPS: u32 = 100_000;

#[derive(Debug, Clone, Copy)]
enum Operation {
    Discover(bool),
    Info,
    Census,
    Identity,
    Program { compare: bool },
    CatchUp,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        any::<bool>().prop_map(Operation::Discover),
        Just(Operation::Info),
        Just(Operation::Census),
        Just(Operation::Identity),
        any::<bool>().prop_map(|compare| Operation::Program { compare }),
        Just(Operation::CatchUp),
    ]
}

/// Frames that mean something to a host, mostly from the nodes that it talks to.
fn frame() -> impl Strategy<Value = Frame> {
    let node = prop_oneof![4 => 0u8..4, 1 => 0u8..128].prop_map(|n| NodeId::new(n).expect("in range"));
    prop_oneof![
        6 => (node, any::node_message()).prop_map(|(node, message)| message.to_frame(node)),
        2 => any::discovery().prop_map(|d| Frame::empty(Channel::Discovery(d).id())),
        1 => any::frame(),
    ]
}

fn begin(master: &mut BusMaster, now: Micros, operation: Operation) {
    let nodes: Vec<NodeId> = (0..4).filter_map(NodeId::new).collect();
    match operation {
        Operation::Discover(restart) => master.discover(now, restart),
        Operation::Info => {
            let request = Request::Control(Control::Identify(IdentifyPart::Info));
            master.ask_all(now, &request, &nodes, Span::ZERO);
        }
        Operation::Census => master.ask_all(now, &Request::Control(Control::Census), &nodes, Span::ZERO),
        Operation::Identity => {
            let request = Request::Block(BlockKind::Identity, vec![1; 40]);
            master.ask_each(now, nodes.into_iter().map(|n| (n, request.clone())).collect(), Span::ZERO);
        }
        Operation::Program { compare } => master.program(now, &image(1), &nodes, options(compare)),
        Operation::CatchUp => master.catch_up(now, &image(1), &nodes, options(false)),
    }
}

/// Feeds the frames, one every `gap`, then silence, until the operation has ended.
fn drive(master: &mut BusMaster, now: &mut Micros, frames: &[Frame], gap: Span) -> Vec<BusEvent> {
    let mut events = Vec::new();
    let mut frames = frames.iter();
    let mut arrives = *now + gap;
    for _ in 0..MOST_STEPS {
        while let Some(event) = master.poll_event() {
            events.push(event);
        }
        if !master.is_busy() && master.poll_transmit(*now).is_none() {
            return events;
        }
        if master.poll_transmit(*now).is_some() {
            *now = *now + Span(120);
        } else {
            let next = master.next_timeout();
            *now =
                next.into_iter().chain((frames.len() > 0).then_some(arrives)).min().unwrap_or(*now).max(*now);
        }
        if arrives <= *now
            && let Some(frame) = frames.next()
        {
            master.handle_frame(*now, frame);
            arrives = *now + gap;
        }
        if master.next_timeout().is_some_and(|at| at <= *now) {
            master.handle_timeout(*now);
            let next = master.next_timeout();
            assert!(next.is_none_or(|at| at > *now), "the deadline {next:?} has passed for good");
        }
    }
    panic!("an operation never ends; last events {:?}", &events[events.len().saturating_sub(5)..]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_operation_ends_whatever_comes_in(
        operations in vec(operation(), 1..4),
        frames in vec(frame(), 0..120),
        gap in 50u64..5000,
    ) {
        let mut master = BusMaster::new(Timing::default(), 1);
        let mut now = Micros(1);
        for operation in operations {
            begin(&mut master, now, operation);
            let events = drive(&mut master, &mut now, &frames, Span(gap));
            let ends = events.iter().filter(|e| {
                matches!(e, BusEvent::Discovered(_) | BusEvent::Asked { .. } | BusEvent::Streamed { .. })
            });
            prop_assert_eq!(ends.count(), 1, "{:?}", operation);
        }
    }

    #[test]
    fn an_idle_host_ignores_everything(frames in vec(frame(), 0..200)) {
        let mut master = BusMaster::new(Timing::default(), 1);
        let mut now = Micros(1);
        for frame in &frames {
            now = now + Span(100);
            master.handle_frame(now, frame);
            prop_assert_eq!((master.is_busy(), master.next_timeout(), master.poll_transmit(now)), (false, None, None));
        }
    }
}

/// What a node that follows the letter of the protocol may do to keep the host for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Honest,
    /// Reports the same chunk missing whenever it hears a seek, for ever.
    OneChunk,
    /// Reports everything missing at every question.
    Everything,
    /// Asks for a pause and never takes it back.
    Hold,
    /// Says that something is missing, but not what.
    Silent,
}

fn done(node: NodeId, opcode: u8, detail: u32) -> Frame {
    let mut bytes = [6, opcode, 0, 0, 0, 0, 0];
    bytes[3..].copy_from_slice(&detail.to_le_bytes());
    NodeMessage::ReplyPart { sequence: 0, last: true, bytes, len: 7 }.to_frame(node)
}

fn answers(node: NodeId, lie: Lie, message: &HostMessage<'_>) -> Vec<Frame> {
    let HostMessage::Control(to, control) = *message else { return Vec::new() };
    if to.is_some_and(|to| to != node) {
        return Vec::new();
    }
    let say = |message: NodeMessage| vec![message.to_frame(node)];
    match control {
        Control::BlockEnd { kind, .. } => vec![done(node, control.opcode(), kind as u32)],
        Control::Start { session } => vec![done(node, control.opcode(), session.into())],
        Control::Census => say(NodeMessage::Status(Status {
            state: if lie == Lie::Honest { NodeState::Programmed } else { NodeState::Receiving },
            flags: StatusFlags::empty(),
            missing: u16::from(lie != Lie::Honest),
            programmed: 11,
            free: 4,
            detail: 0,
        })),
        Control::QueryMissing | Control::Seek(_) if lie == Lie::OneChunk => {
            say(NodeMessage::Missing { segment: 0, chunks: [3, 0, 0, 0, 0, 0], len: 1 })
        }
        Control::QueryMissing if lie == Lie::Everything => {
            say(NodeMessage::MissingSegments { first: 0, count: 11 })
        }
        Control::Seek(_) if lie == Lie::Hold => say(NodeMessage::Hold { free: 0 }),
        _ => Vec::new(),
    }
}

/// Runs a pass with such nodes on the bus; when it ended and how.
fn pass(lies: &[Lie]) -> (Micros, BusEvent) {
    let nodes: Vec<NodeId> = (0..lies.len() as u8).filter_map(NodeId::new).collect();
    let mut master = BusMaster::new(Timing::default(), 1);
    let mut now = Micros(1);
    master.program(now, &image(1), &nodes, options(false));
    let mut held = now;
    for _ in 0..10 * MOST_STEPS {
        while let Some(event) = master.poll_event() {
            if let BusEvent::Streamed { .. } = event {
                return (now, event);
            }
        }
        match master.poll_transmit(now) {
            Some(frame) => {
                now = now + Span(120);
                let message = HostMessage::decode(&frame).expect("the host speaks its own language");
                for (&node, &lie) in nodes.iter().zip(lies) {
                    answers(node, lie, &message).iter().for_each(|f| master.handle_frame(now, f));
                }
            }
            None => now = master.next_timeout().expect("a deadline").min(held + Span(50_000)).max(now),
        }
        if now >= held + Span(50_000) {
            held = now;
            for (&node, _) in nodes.iter().zip(lies).filter(|(_, l)| **l == Lie::Hold) {
                master.handle_frame(now, &NodeMessage::Hold { free: 0 }.to_frame(node));
            }
        }
        master.handle_timeout(now);
    }
    panic!("the pass never ends, it is {now:?}");
}

#[test]
fn a_node_that_is_never_satisfied_ends_alone_and_among_others() {
    for lie in [Lie::OneChunk, Lie::Everything, Lie::Hold, Lie::Silent] {
        for honest in [0, 1, 3, 7] {
            let lies: Vec<Lie> = [lie].into_iter().chain([Lie::Honest; 7].into_iter().take(honest)).collect();
            let (ended, event) = pass(&lies);
            let BusEvent::Streamed { complete, .. } = event else { unreachable!() };
            let wanted: Vec<NodeId> = (1..=honest as u8).filter_map(NodeId::new).collect();
            assert_eq!(complete, wanted, "{lie:?} beside {honest}");
            assert!(ended < Micros(60_000_000), "{lie:?} beside {honest} took {ended:?}");
        }
    }
}

#[test]
fn an_answer_that_came_twice_is_not_taken_for_one_to_the_next_question() {
    let node = NodeId::new(3).expect("a node number");
    let place = 0x0800_C000u32;
    let block: Vec<u8> = place.to_le_bytes().into_iter().chain([0, 1, 2, 3, 4]).collect();
    let block_end = Control::BlockEnd { kind: BlockKind::Identity, len: 0, crc: 0 }.opcode();
    let commit = Control::Commit { session: 7 };
    let start = Control::StartApplication { address: place };
    for (request, opcode, stale, own) in [
        (Request::Block(BlockKind::Identity, block), block_end, vec![1, 3, 0x0800_8000], place),
        (Request::Block(BlockKind::Begin, vec![1; 50]), block_end, vec![2, 3, place], 1),
        (Request::Control(commit), commit.opcode(), vec![6, 8], 7),
        (Request::Control(start), start.opcode(), vec![0], place),
    ] {
        let mut master = BusMaster::new(Timing::default(), 1);
        master.ask_each(Micros(1), [(node, request.clone())].into(), Span::ZERO);
        for detail in stale {
            master.handle_frame(Micros(2), &done(node, opcode, detail));
            assert!(master.is_busy(), "{request:?} took {detail:#x} for its answer");
        }
        master.handle_frame(Micros(3), &done(node, opcode, own));
        assert!(!master.is_busy(), "{request:?}");
    }
}

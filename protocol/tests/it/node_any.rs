//! One node and any sequence of inputs: it breaks no rule of the flash, touches nothing but the application area
//! and its records, and never calls an image good that is not in flash byte for byte.

use crate::util::any;
use crate::util::flash::{Cut, Port};
use crate::util::solo::{Heard, Sample, Solo, node};
use crate::util::{APP, BASE, RECORDS, Rng, uid};
use panel_protocol::block::{BeginFlags, MAX_BLOCK, Write};
use panel_protocol::frame::Frame;
use panel_protocol::message::{BlockKind, Control, HostMessage, NodeState};
use panel_protocol::reply::ImageState;
use panel_protocol::time::Span;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::LazyLock;

/// An erase unit that no image here touches.
const SPARE: u32 = BASE + 0x8000;

/// So many of [`SAMPLES`] are images that a board may take.
const GOOD: usize = 6;

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let mut rng = Rng::new(77);
    let whole = rng.bytes(4 * 1024 + 600);
    let mut changed = whole.clone();
    changed[2100] ^= 1;
    let mut blank = rng.bytes(3 * 2048);
    blank[2048..4096].fill(0xFF);
    let second = rng.bytes(1024 + 12);
    vec![
        Sample::new(1, BeginFlags::empty(), &[(APP, whole.clone())]),
        Sample::new(2, BeginFlags::COMPARE, &[(APP, changed)]),
        Sample::new(3, BeginFlags::COMPARE, &[(APP, blank), (APP + 0x1800, second.clone())]),
        // The first again in a session of its own, and one that shares an erase unit between two regions.
        Sample::new(4, BeginFlags::COMPARE, &[(APP, whole)]),
        Sample::new(
            5,
            BeginFlags::empty(),
            &[(APP + 0x1004, second.clone()), (APP + 0x1804, second.clone())],
        ),
        // Reaches into the last unit, which is where some boards keep their records.
        Sample::new(11, BeginFlags::empty(), &[(BASE + 0x7F00, second.clone())]),
        // None of these may ever be taken: bootloader, records, past the end, not aligned, backwards.
        Sample::new(6, BeginFlags::empty(), &[(BASE, second.clone())]),
        Sample::new(7, BeginFlags::COMPARE, &[(RECORDS, second.clone())]),
        Sample::new(8, BeginFlags::empty(), &[(BASE + 0xBF00, second.clone())]),
        Sample::new(9, BeginFlags::empty(), &[(APP + 2, second.clone())]),
        Sample::new(10, BeginFlags::empty(), &[(APP + 0x1804, second.clone()), (APP + 0x1004, second)]),
    ]
});

#[derive(Debug, Clone)]
enum Action {
    Raw(Frame),
    Control(bool, Control),
    Wait(u64),
    Begin(usize),
    Manifest(usize),
    Start(usize),
    /// Image, segment, announced, chunk left out.
    Segment(usize, u16, bool, Option<u8>),
    Transfer(usize),
    /// Image, segments sent without a pause, microseconds waited after the start.
    Broken(usize, u16, u64),
    /// The end of whatever is under way.
    Interrupt(usize),
    Commit(usize),
    /// Offset from the flash's base, length, may erase.
    Identity(u32, usize, bool),
    /// An image, then one identity and another in the middle of it or beside it, then the commit.
    Stamp(usize, u32),
    /// The begin block of one image, manifest and data of another.
    Mixed(usize, usize),
    Restart,
    Number,
    CutIn(u64, Cut),
}

fn sample() -> impl Strategy<Value = usize> {
    prop_oneof![5 => 0..GOOD, 1 => GOOD..SAMPLES.len()]
}

fn action() -> impl Strategy<Value = Action> {
    let place = prop_oneof![
        0u32..0xC100,
        (0u32..0x1800).prop_map(|n| n / 4 * 4 + 0x800),
        (0u32..0x4000).prop_map(|n| n / 4 * 4 + SPARE - BASE),
    ];
    prop_oneof![
        2 => any::frame().prop_map(Action::Raw),
        4 => (any::<bool>(), any::control()).prop_map(|(all, control)| Action::Control(all, control)),
        6 => (0u64..30_000).prop_map(Action::Wait),
        3 => sample().prop_map(Action::Begin),
        3 => sample().prop_map(Action::Manifest),
        3 => sample().prop_map(Action::Start),
        8 => (sample(), 0u16..4, any::<bool>(), proptest::option::of(any::<u8>()))
            .prop_map(|(n, segment, seek, without)| Action::Segment(n, segment, seek, without)),
        4 => sample().prop_map(Action::Transfer),
        6 => (sample(), 0u16..4, 0u64..30_000).prop_map(|(n, segments, wait)| Action::Broken(n, segments, wait)),
        6 => (0usize..4).prop_map(Action::Interrupt),
        4 => sample().prop_map(Action::Commit),
        4 => (place, 1usize..200, any::<bool>())
            .prop_map(|(place, len, may_erase)| Action::Identity(place, len.div_ceil(4) * 4, may_erase)),
        3 => (sample(), 0u32..0x700).prop_map(|(n, words)| Action::Stamp(n, words * 4)),
        2 => (sample(), sample()).prop_map(|(a, b)| Action::Mixed(a, b)),
        1 => Just(Action::Restart),
        2 => Just(Action::Number),
        1 => (0u64..40, select(&[Cut::Before, Cut::During, Cut::After][..])).prop_map(|(n, cut)| Action::CutIn(n, cut)),
    ]
}

fn act(solo: &mut Solo, action: &Action) {
    match action {
        Action::Raw(frame) => solo.frame(frame),
        Action::Control(all, control) => {
            solo.frame(&HostMessage::Control((!all).then_some(node()), *control).to_frame());
        }
        Action::Wait(span) => solo.wait(Span(*span)),
        Action::Begin(n) => solo.begin(&SAMPLES[*n].begin),
        Action::Manifest(n) => solo.manifest(&SAMPLES[*n]),
        Action::Start(n) => solo.send(Control::Start { session: SAMPLES[*n].begin.session }),
        Action::Segment(n, segment, seek, without) => {
            let sample = &SAMPLES[*n];
            let segment = segment % sample.begin.segments() as u16;
            if *seek {
                solo.seek(segment, without.is_some());
            }
            solo.data(sample, segment, *without);
        }
        Action::Transfer(n) => solo.transfer(&SAMPLES[*n]),
        Action::Broken(n, segments, wait) => {
            let sample = &SAMPLES[*n];
            solo.begin(&sample.begin);
            solo.manifest(sample);
            solo.send(Control::Start { session: sample.begin.session });
            solo.wait(Span(*wait));
            for segment in 0..(*segments).min(sample.begin.segments() as u16) {
                solo.seek(segment, false);
                solo.data(sample, segment, None);
            }
        }
        Action::Interrupt(how) => {
            let message = [
                HostMessage::Control(None, Control::Abort),
                HostMessage::Stop,
                HostMessage::Control(Some(node()), Control::Release),
                HostMessage::Control(None, Control::Discover { min: 1, current: 1, restart: true }),
            ][*how];
            solo.frame(&message.to_frame());
            if *how >= 2 {
                solo.number();
            }
        }
        Action::Commit(n) => {
            solo.send(Control::Commit { session: SAMPLES[*n].begin.session });
            solo.wait(Span::from_millis(30));
        }
        Action::Identity(offset, len, may_erase) => {
            let bytes = vec![*len as u8; *len];
            let mut block = [0; MAX_BLOCK];
            let write = Write { place: BASE + offset, may_erase: *may_erase, bytes: &bytes };
            let len = write.encode(&mut block);
            solo.block(BlockKind::Identity, &block[..len]);
        }
        Action::Stamp(n, offset) => {
            act(solo, &Action::Transfer(*n));
            act(solo, &Action::Identity(APP - BASE + offset, 16, offset % 8 == 0));
            solo.wait(Span::from_millis(50));
            act(solo, &Action::Identity(APP - BASE + offset, 20, offset % 8 == 0));
            solo.wait(Span::from_millis(50));
            act(solo, &Action::Commit(*n));
        }
        Action::Mixed(a, b) => {
            let mixed = Sample { begin: SAMPLES[*a].begin, ..SAMPLES[*b].clone() };
            if mixed.begin.segments() == SAMPLES[*b].begin.segments() {
                solo.begin(&mixed.begin);
                solo.manifest(&SAMPLES[*b]);
                solo.send(Control::Start { session: mixed.begin.session });
                for segment in 0..mixed.begin.segments() as u16 {
                    solo.seek(segment, false);
                    solo.data(&SAMPLES[*b], segment, None);
                    solo.wait(Span::from_millis(60));
                }
                solo.rest();
                act(solo, &Action::Commit(*a));
            }
        }
        Action::Restart => solo.restart(),
        Action::Number => solo.number(),
        Action::CutIn(n, cut) => {
            let port = solo.board.node.port_mut();
            port.cut = Some((port.operations + n, *cut));
        }
    }
}

/// What must hold whatever has been done to the node.
fn check(solo: &Solo, before: &Port) {
    let port = solo.port();
    assert_eq!(port.violations, Vec::<String>::new());
    assert!(port.bytes[..0x800] == before.bytes[..0x800], "the bootloader has changed");
    if solo.state() == NodeState::Committed {
        let good = SAMPLES[..GOOD].iter().any(|s| s.is_in(port));
        assert!(good, "committed, and no image is whole in flash");
    }
    if !solo.board.is_alive() {
        return;
    }
    // What a restart at this moment would find.
    let mut copy = port.clone();
    copy.power_up();
    let info = Solo::numbered(copy, 2).info();
    if info.image == ImageState::Valid {
        let sample =
            SAMPLES[..GOOD].iter().find(|s| s.id() == info.image_id).expect("a mark of a known image");
        assert!(sample.is_in(port), "a valid mark over another image");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_inputs_breaks_no_rule(
        buffers in 1usize..5,
        soiled in any::<bool>(),
        records_last in any::<bool>(),
        actions in vec(action(), 1..25),
    ) {
        let mut port = Port::new(uid(1), Some(1));
        if soiled {
            port.soil(3);
        }
        if records_last {
            port.facts.flash.record_base = SPARE;
        }
        let before = port.clone();
        let mut solo = Solo::numbered(port, buffers);
        for action in &actions {
            if !solo.board.is_alive() {
                solo.restart();
                solo.number();
            }
            act(&mut solo, action);
            check(&solo, &before);
        }
        // It can still be updated.
        if solo.port().started.is_none() {
            solo.restart();
            solo.number();
            solo.transfer(&SAMPLES[0]);
            act(&mut solo, &Action::Commit(0));
            let protected = solo.port().protection != panel_protocol::node::Protection::Open;
            prop_assert!(protected || solo.state() == NodeState::Committed, "{:?}", solo.state());
            check(&solo, &before);
        }
    }

    #[test]
    fn a_node_without_a_number_says_nothing_but_its_key_when_asked(frames in vec(any::frame(), 0..40)) {
        let mut solo = Solo::new(Port::new(uid(1), None), 2);
        for frame in &frames {
            let asked = matches!(
                HostMessage::decode(frame),
                Ok(HostMessage::Control(_, Control::Discover { .. } | Control::Assign { .. }))
            );
            solo.frame(frame);
            prop_assert!(asked || solo.heard.is_empty(), "{frame:?}: {:?}", solo.heard);
            solo.heard.clear();
        }
        prop_assert_eq!(solo.port().operations, 0);
    }

    #[test]
    fn a_silenced_node_says_and_does_nothing(actions in vec(action(), 1..15)) {
        let mut solo = Solo::numbered(Port::new(uid(1), None), 2);
        solo.frame(&HostMessage::Silence(node()).to_frame());
        solo.heard.clear();
        for action in actions.iter().filter(|a| !matches!(a, Action::Restart | Action::Number)) {
            act(&mut solo, action);
        }
        prop_assert_eq!(&solo.heard, &Vec::<Heard>::new());
        prop_assert_eq!(solo.port().operations, 0);
    }
}

#[test]
fn a_session_abandoned_while_it_writes_a_record_leaves_that_place_to_it() {
    for wait in (0..1_000).step_by(37) {
        let mut solo = Solo::numbered(Port::new(uid(1), Some(1)), 1);
        let before = solo.port().clone();
        for action in [Action::Broken(0, 0, wait), Action::Number, Action::Transfer(0), Action::Commit(0)] {
            act(&mut solo, &action);
            check(&solo, &before);
        }
        assert_eq!(solo.state(), NodeState::Committed, "abandoned after {wait} us");
    }
}

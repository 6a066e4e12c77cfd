//! The bytes of version 1, written down once and for all in `tests/golden/v1`.
//!
//! Every line is encoded from a value and decoded to it. The `variants!` below match without a wildcard, so a
//! new message does not compile until it has a name here, and does not pass until a line has its bytes.

use crate::util::flash::Port;
use crate::util::solo::{Sample, Solo};
use crate::util::{APP, DEVICE, RECORDS, SLOT, uid};
use panel_protocol::block::{Begin, BeginFlags, MAX_BLOCK, MakeKey, Region, Seal, Write};
use panel_protocol::frame::{Frame, Id};
use panel_protocol::ident::{Channel, DataPosition, Discovery, NodeId, uid_key, uid_piece};
use panel_protocol::message::{
    BlockKind, ChunkRange, Control, ErrorReport, HostMessage, IdentifyPart, NodeFault, NodeMessage,
    NodeState, Refusal, Seek, Status, StatusFlags,
};
use panel_protocol::node::{
    Capabilities, EraseRun, FlashFacts, KeyKind, MAX_RUNS, Protection, ResetCause, Seals, Uid,
};
use panel_protocol::reply::{
    ImageState, Info, MAX_REPLY, Profile, RegionCheck, Reply, Statistics, uid_check,
};
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};
use panel_protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};

/// Names every variant of an enum; the names of one that is missing are missed by the compiler.
macro_rules! variants {
    ($all:ident, $name:ident, $type:ty, { $($pattern:pat => $text:literal,)* }) => {
        const $all: &[&str] = &[$($text),*];

        fn $name(message: &$type) -> &'static str {
            match message {
                $($pattern => $text,)*
            }
        }
    };
}

variants!(CONTROLS, control_name, Control, {
    Control::Discover { .. } => "discover",
    Control::Assign { .. } => "assign",
    Control::Split { .. } => "split",
    Control::Announce => "announce",
    Control::Release => "release",
    Control::Identify(_) => "identify",
    Control::BlockData { .. } => "block-data",
    Control::BlockEnd { .. } => "block-end",
    Control::Manifest { .. } => "manifest",
    Control::Start { .. } => "start",
    Control::Seek(_) => "seek",
    Control::Census => "census",
    Control::QueryMissing => "query-missing",
    Control::Verify { .. } => "verify",
    Control::Digest { .. } => "digest",
    Control::Commit { .. } => "commit",
    Control::Abort => "abort",
    Control::Read { .. } => "read",
    Control::SetProtection { .. } => "protect",
    Control::Test { .. } => "test",
    Control::StartApplication { .. } => "start-application",
    Control::Reset => "reset",
    Control::Statistics => "statistics",
});
variants!(HOSTS, host_name, HostMessage<'_>, {
    HostMessage::Stop => "stop",
    HostMessage::Silence(_) => "silence",
    HostMessage::Control(..) => "control",
    HostMessage::Data(..) => "data",
});
variants!(NODES, node_name, NodeMessage, {
    NodeMessage::Hold { .. } => "hold",
    NodeMessage::Resume => "resume",
    NodeMessage::Error(_) => "error",
    NodeMessage::MissingSegments { .. } => "missing-segments",
    NodeMessage::MissingSpan { .. } => "missing-span",
    NodeMessage::Missing { .. } => "missing",
    NodeMessage::Status(_) => "status",
    NodeMessage::ReplyPart { .. } => "reply",
});
variants!(REPLIES, reply_name, Reply<'_>, {
    Reply::Info(_) => "info",
    Reply::Profile(_) => "profile",
    Reply::RegionCheck(_) => "region-check",
    Reply::Digest(..) => "digest",
    Reply::Memory(..) => "memory",
    Reply::Done { .. } => "done",
    Reply::Reading { .. } => "reading",
    Reply::Statistics(_) => "statistics",
});
variants!(STATES, state_name, NodeState, {
    NodeState::Idle => "idle",
    NodeState::Manifest => "manifest",
    NodeState::Comparing => "comparing",
    NodeState::Receiving => "receiving",
    NodeState::Programmed => "programmed",
    NodeState::Committed => "committed",
    NodeState::Failed => "failed",
    NodeState::Installing => "installing",
});
variants!(FAULTS, fault_name, NodeFault, {
    NodeFault::EraseFailed => "erase-failed",
    NodeFault::EraseTooSlow => "erase-too-slow",
    NodeFault::ProgramFailed => "program-failed",
    NodeFault::ProgramTooSlow => "program-too-slow",
    NodeFault::ReadbackDiffers => "readback-differs",
    NodeFault::RecordFailed => "record-failed",
});
variants!(REFUSALS, refusal_name, Refusal, {
    Refusal::WrongChip => "wrong-chip",
    Refusal::OutsideFlash => "outside-flash",
    Refusal::Reserved => "reserved",
    Refusal::BadBlock => "bad-block",
    Refusal::TooLarge => "too-large",
    Refusal::ManifestIncomplete => "manifest-incomplete",
    Refusal::WrongState => "wrong-state",
    Refusal::Protected => "protected",
    Refusal::NotBlank => "not-blank",
    Refusal::Unsupported => "unsupported",
    Refusal::Unaligned => "unaligned",
    Refusal::NoConsent => "no-consent",
    Refusal::NotVerified => "not-verified",
    Refusal::Flash => "flash",
    Refusal::KeyFailed => "key-failed",
    Refusal::NotSealed => "not-sealed",
    Refusal::BadSeal => "bad-seal",
    Refusal::Downgrade => "downgrade",
});
variants!(BLOCKS, block_name, BlockKind, {
    BlockKind::Begin => "begin",
    BlockKind::Identity => "identity",
    BlockKind::Options => "options",
    BlockKind::Key => "key",
});

/// The lines of a golden file: name and columns.
pub(crate) fn lines(text: &'static str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let entries = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(|line| {
        let mut columns = line.split('|').map(str::trim);
        (columns.next().expect("a name"), columns.collect())
    });
    let entries: Vec<(&str, Vec<&str>)> = entries.collect();
    let map: BTreeMap<_, _> = entries.iter().cloned().collect();
    assert_eq!(map.len(), entries.len(), "names are used once");
    map
}

fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |d: u8| char::from(d).to_digit(16).expect("a hexadecimal digit") as u8;
    digits.chunks(2).map(|d| digit(d[0]) << 4 | digit(d[1])).collect()
}

fn frame(columns: &[&str]) -> Frame {
    let number = u32::from_str_radix(columns[0], 16).expect("an identifier");
    let id = if columns[0].len() == 3 { Id::Standard(number as u16) } else { Id::Extended(number) };
    let data = bytes(columns[1]);
    if data.len() > 8 { Frame::fd(id, &data) } else { Frame::classical(id, &data) }.expect("short enough")
}

/// Every value has its line, every line its value, and every variant at least one of them.
fn assert_complete<'a>(
    lines: &BTreeMap<&'static str, Vec<&'static str>>,
    values: impl Iterator<Item = &'a str>,
    variants: &[&str],
    met: &BTreeSet<&str>,
) {
    let values: BTreeSet<&str> = values.collect();
    assert_eq!(lines.keys().copied().collect::<BTreeSet<_>>(), values);
    assert_eq!(&variants.iter().copied().collect::<BTreeSet<_>>(), met, "a variant has no golden bytes");
}

fn node(n: u8) -> NodeId {
    NodeId::new(n).expect("a node number")
}

const UID: Uid = Uid([0x3A, 0x00, 0x41, 0x01, 0x05, 0x51, 0x36, 0x33, 0x38, 0x34, 0x31, 0x39]);
const RISING: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut i = 0;
    while i < 64 {
        bytes[i] = i as u8;
        i += 1;
    }
    bytes
};

fn sha(from: u8) -> [u8; 32] {
    core::array::from_fn(|i| from + i as u8)
}

pub(crate) fn controls() -> Vec<(&'static str, Control)> {
    let range = |first, last| ChunkRange { first, last };
    let seek = |repair, a, b| Control::Seek(Seek { segment: 0x0103, repair, ranges: (a, b) });
    let discover = |restart| Control::Discover { min: 1, current: 1, restart };
    let end = |kind, len| Control::BlockEnd { kind, len, crc: 0xDEAD_BEEF };
    let protect = |level, consent| Control::SetProtection { level, consent };
    vec![
        ("discover", discover(false)),
        ("discover-restart", discover(true)),
        ("assign-one", Control::Assign { first: node(5), keys: (0x3A_4105, None) }),
        ("assign-two", Control::Assign { first: node(5), keys: (0x3A_4105, Some(0x3A_4106)) }),
        ("split", Control::Split { from: node(5), piece: 3, bits: 0x0343, to: node(9) }),
        ("announce", Control::Announce),
        ("release", Control::Release),
        ("identify-info", Control::Identify(IdentifyPart::Info)),
        ("identify-profile", Control::Identify(IdentifyPart::Profile)),
        ("block-data", Control::BlockData { index: 2, bytes: [1, 2, 3, 4, 5, 0xFF], len: 6 }),
        ("block-data-short", Control::BlockData { index: 63, bytes: [1, 0, 0, 0, 0, 0], len: 1 }),
        ("block-end-begin", end(BlockKind::Begin, 94)),
        ("block-end-identity", end(BlockKind::Identity, 21)),
        ("block-end-options", end(BlockKind::Options, 9)),
        ("block-end-key", end(BlockKind::Key, 8)),
        ("manifest", Control::Manifest { segment: 0x0201, crc: 0xDEAD_BEEF }),
        ("start", Control::Start { session: 42 }),
        ("seek-one-range", seek(false, range(0, 255), None)),
        ("seek-two-ranges", seek(false, range(0, 15), Some(range(240, 255)))),
        ("seek-repair", seek(true, range(7, 9), None)),
        ("census", Control::Census),
        ("query-missing", Control::QueryMissing),
        ("verify", Control::Verify { region: 1 }),
        ("digest", Control::Digest { region: 1 }),
        ("commit", Control::Commit { session: 42 }),
        ("abort", Control::Abort),
        ("read", Control::Read { address: 0x1FFF_7A10, len: 12 }),
        ("protect-open", protect(Protection::Open, 0)),
        ("protect-level-1", protect(Protection::Level1, 0)),
        ("protect-level-2", protect(Protection::Level2, 0x4C32)),
        ("test", Control::Test { item: 7, token: 0x5A, argument: 0x1234_5678 }),
        ("start-application", Control::StartApplication { address: 0x0800_8000 }),
        ("reset", Control::Reset),
        ("statistics", Control::Statistics),
    ]
}

#[test]
fn the_host_speaks_version_1() {
    let lines = lines(include_str!("../golden/v1/host.txt"));
    let data = |tag, index, bytes| HostMessage::Data(DataPosition { tag, index }, bytes);
    let mut values: Vec<(&str, HostMessage<'_>)> =
        controls().into_iter().map(|(name, control)| (name, HostMessage::Control(None, control))).collect();
    values.extend([
        ("stop", HostMessage::Stop),
        ("silence", HostMessage::Silence(node(5))),
        ("to-node-5", HostMessage::Control(Some(node(5)), Control::Census)),
        ("to-node-0", HostMessage::Control(Some(node(0)), Control::Census)),
        ("to-node-127", HostMessage::Control(Some(node(127)), Control::Census)),
        ("data-classical", data(1, 0x4D, &[1, 0, 0xFF, 0, 0, 2, 3, 0])),
        ("data-last-position", data(3, 255, &[0x11; 8])),
        ("data-fd", data(1, 0x4D, &RISING)),
    ]);
    for (name, message) in &values {
        let frame = frame(&lines[name]);
        assert_eq!(message.to_frame(), frame, "{name}");
        assert_eq!(HostMessage::decode(&frame), Ok(*message), "{name}");
        if let HostMessage::Control(_, control) = message {
            assert_eq!(control.opcode(), frame.data()[0], "{name}");
        }
    }
    let met = values.iter().map(|(_, m)| host_name(m)).collect();
    assert_complete(&lines, values.iter().map(|(name, _)| *name), HOSTS, &met);
    let met: BTreeSet<&str> = controls().iter().map(|(_, c)| control_name(c)).collect();
    assert_eq!(met, CONTROLS.iter().copied().collect());
    let kinds = controls().into_iter().filter_map(|(_, c)| match c {
        Control::BlockEnd { kind, .. } => Some(block_name(&kind)),
        _ => None,
    });
    assert_eq!(kinds.collect::<BTreeSet<_>>(), BLOCKS.iter().copied().collect());
}

pub(crate) fn node_messages() -> Vec<(&'static str, NodeMessage)> {
    let status = |state, flags, missing, programmed, free, detail| {
        let flags = StatusFlags::from_bits_retain(flags);
        NodeMessage::Status(Status { state, flags, missing, programmed, free, detail })
    };
    let error =
        |fault, expected, got| NodeMessage::Error(ErrorReport { fault, address: 0x0800_8004, expected, got });
    let part = |sequence, last, bytes, len| NodeMessage::ReplyPart { sequence, last, bytes, len };
    vec![
        ("hold", NodeMessage::Hold { free: 2 }),
        ("resume", NodeMessage::Resume),
        ("error-erase-failed", error(NodeFault::EraseFailed, 0, 0)),
        ("error-erase-too-slow", error(NodeFault::EraseTooSlow, 0, 0)),
        ("error-program-failed", error(NodeFault::ProgramFailed, 0, 0)),
        ("error-program-too-slow", error(NodeFault::ProgramTooSlow, 0, 0)),
        ("error-readback-differs", error(NodeFault::ReadbackDiffers, 0xFF, 0xFE)),
        ("error-record-failed", error(NodeFault::RecordFailed, 0, 0)),
        ("missing-segments", NodeMessage::MissingSegments { first: 0x0103, count: 2 }),
        (
            "missing-span",
            NodeMessage::MissingSpan { segment: 0x0103, chunks: ChunkRange { first: 16, last: 31 } },
        ),
        ("missing-one", NodeMessage::Missing { segment: 0x0103, chunks: [7, 0, 0, 0, 0, 0], len: 1 }),
        ("missing-six", NodeMessage::Missing { segment: 0x0103, chunks: [7, 9, 11, 13, 15, 255], len: 6 }),
        ("status-idle", status(NodeState::Idle, 0, 0, 0, 0, 0)),
        ("status-manifest", status(NodeState::Manifest, 0, 128, 0, 16, 0)),
        ("status-comparing", status(NodeState::Comparing, 0b0_1000, 128, 0, 16, 0)),
        ("status-receiving", status(NodeState::Receiving, 0b0_1111, 127, 1, 2, 0)),
        ("status-programmed", status(NodeState::Programmed, 0b1_1000, 0, 128, 16, 0)),
        ("status-committed", status(NodeState::Committed, 0b1_1000, 0, 128, 16, 0)),
        ("status-failed", status(NodeState::Failed, 0b0_1000, 127, 1, 2, 5)),
        ("status-staged", status(NodeState::Programmed, 0b11_1000, 0, 128, 16, 0)),
        ("status-installing", status(NodeState::Installing, 0b0_1000, 0, 18, 16, 0)),
        ("reply-first", part(0, false, [6, 0x12, 0x3F, 0, 0, 0, 0], 7)),
        ("reply-last", part(1, true, [0xAA, 0xBB, 0, 0, 0, 0, 0], 2)),
    ]
}

#[test]
fn a_node_speaks_version_1() {
    let lines = lines(include_str!("../golden/v1/node.txt"));
    let values = node_messages();
    for (name, message) in &values {
        let frame = frame(&lines[name]);
        assert_eq!(message.to_frame(node(5)), frame, "{name}");
        assert_eq!(NodeMessage::decode(&frame), Ok((node(5), *message)), "{name}");
    }
    let piece = |piece, bits| Discovery::Piece { node: node(5), piece, bits };
    let answers = [
        ("key", Discovery::Key(uid_key(&UID))),
        ("piece-0", piece(0, uid_piece(&UID, 0))),
        ("piece-1", piece(1, uid_piece(&UID, 1))),
        ("piece-2", piece(2, uid_piece(&UID, 2))),
        ("piece-3", piece(3, uid_piece(&UID, 3))),
        ("piece-4", piece(4, uid_piece(&UID, 4))),
        ("nonce", piece(5, 0x1234)),
        ("strap", piece(6, 7)),
        ("no-strap", piece(6, 0x7FFF)),
    ];
    for (name, answer) in answers {
        let frame = frame(&lines[name]);
        assert_eq!(Frame::empty(Channel::Discovery(answer).id()), frame, "{name}");
        assert_eq!(Channel::of(frame.id()), Some(Channel::Discovery(answer)), "{name}");
    }
    let names = values.iter().map(|(name, _)| *name).chain(answers.iter().map(|(name, _)| *name));
    let met = values.iter().map(|(_, m)| node_name(m)).collect();
    assert_complete(&lines, names, NODES, &met);
    let states = values.iter().filter_map(|(_, m)| match m {
        NodeMessage::Status(status) => Some(state_name(&status.state)),
        _ => None,
    });
    assert_eq!(states.collect::<BTreeSet<_>>(), STATES.iter().copied().collect());
    let faults = values.iter().filter_map(|(_, m)| match m {
        NodeMessage::Error(report) => Some(fault_name(&report.fault)),
        _ => None,
    });
    assert_eq!(faults.collect::<BTreeSet<_>>(), FAULTS.iter().copied().collect());
}

fn profile() -> Profile {
    let run = |count, kib: u32, typical, longest| EraseRun {
        count,
        size: kib * 1024,
        typical: Span::from_millis(typical),
        longest: Span::from_millis(longest),
    };
    let mut runs = [EraseRun::default(); MAX_RUNS];
    (runs[0], runs[1], runs[2]) = (run(4, 16, 500, 800), run(1, 64, 960, 2400), run(7, 128, 2000, 4000));
    let flash = FlashFacts {
        base: 0x0800_0000,
        runs,
        unit: 4,
        program_typical: Span(16),
        program_longest: Span(100),
        app_base: 0x0800_8000,
        record_base: 0x0800_4000,
    };
    Profile { silicon_revision: 0x100F, flash, buffers: 16, max_segments: 512 }
}

pub(crate) fn replies() -> Vec<(&'static str, Reply<'static>)> {
    let info = Info {
        version: 1,
        device_id: 0x413,
        hardware_revision: 3,
        bootloader_version: 0x0102,
        capabilities: Capabilities::FD | Capabilities::RECEIVES_WHILE_BUSY | Capabilities::OPTIONS,
        reset_cause: ResetCause::BrownOut,
        protection: Protection::Open,
        supply_mv: 3300,
        image: ImageState::Valid,
        image_id: 0x1234_5678,
        profile_crc: 0xDEAD_BEEF,
        uid_check: uid_check(&UID, 0x1234),
        floor: 0,
    };
    let unknown = Info {
        device_id: 0x469,
        hardware_revision: 0,
        bootloader_version: 0x01FF,
        capabilities: Capabilities::empty(),
        reset_cause: ResetCause::PowerOn,
        protection: Protection::Level1,
        supply_mv: 0,
        image: ImageState::Incomplete,
        image_id: 0,
        profile_crc: 0,
        uid_check: 0,
        ..info
    };
    let check = |region, matches| Reply::RegionCheck(RegionCheck { region, matches, crc: 0xDEAD_BEEF });
    let refused = |opcode, refusal, detail| Reply::Done { opcode, refusal: Some(refusal), detail };
    let statistics = Statistics {
        tec: 1,
        rec: 2,
        overruns: 3,
        errors: 4,
        data_frames: 5,
        missed: 6,
        dropped: 7,
        holds: 8,
    };
    vec![
        ("info", Reply::Info(info)),
        ("info-level-1", Reply::Info(unknown)),
        ("profile", Reply::Profile(profile())),
        ("region-check", check(1, true)),
        ("region-check-differs", check(0, false)),
        ("digest", Reply::Digest(1, sha(0))),
        ("memory", Reply::Memory(0x1FFF_7A10, &UID.0)),
        ("done", Reply::Done { opcode: 0x32, refusal: None, detail: 42 }),
        ("refused-wrong-chip", refused(0x12, Refusal::WrongChip, 1)),
        ("refused-outside-flash", refused(0x34, Refusal::OutsideFlash, 0x2000_0000)),
        ("refused-reserved", refused(0x12, Refusal::Reserved, 1)),
        ("refused-bad-block", refused(0x12, Refusal::BadBlock, 1)),
        ("refused-too-large", refused(0x12, Refusal::TooLarge, 1)),
        ("refused-manifest-incomplete", refused(0x14, Refusal::ManifestIncomplete, 42)),
        ("refused-wrong-state", refused(0x14, Refusal::WrongState, 42)),
        ("refused-protected", refused(0x12, Refusal::Protected, 1)),
        ("refused-not-blank", refused(0x12, Refusal::NotBlank, 0x0800_C000)),
        ("refused-unsupported", refused(0x36, Refusal::Unsupported, 7)),
        ("refused-unaligned", refused(0x12, Refusal::Unaligned, 2)),
        ("refused-no-consent", refused(0x35, Refusal::NoConsent, 2)),
        ("refused-not-verified", refused(0x32, Refusal::NotVerified, 42)),
        ("refused-flash", refused(0x12, Refusal::Flash, 0x0800_C000)),
        ("refused-key-failed", refused(0x12, Refusal::KeyFailed, 4)),
        ("refused-not-sealed", refused(0x12, Refusal::NotSealed, 1)),
        ("refused-bad-seal", refused(0x12, Refusal::BadSeal, 1)),
        ("refused-downgrade", refused(0x12, Refusal::Downgrade, 1)),
        ("info-staged", Reply::Info(Info { image: ImageState::Staged, ..info })),
        ("info-floor", Reply::Info(Info { floor: 5, ..info })),
        ("reading", Reply::Reading { item: 7, token: 0x5A, unit: 1, value: 3.3125 }),
        ("statistics", Reply::Statistics(statistics)),
    ]
}

#[test]
fn replies_are_those_of_version_1() {
    let lines = lines(include_str!("../golden/v1/reply.txt"));
    let values = replies();
    for (name, reply) in &values {
        let wanted = bytes(lines[name][0]);
        let mut out = [0; MAX_REPLY];
        let len = reply.encode(&mut out);
        assert_eq!(out[..len], wanted, "{name}");
        assert_eq!(Reply::decode(&wanted).as_ref(), Some(reply), "{name}");
    }
    let met = values.iter().map(|(_, r)| reply_name(r)).collect();
    assert_complete(&lines, values.iter().map(|(name, _)| *name), REPLIES, &met);
    let refusals = values.iter().filter_map(|(_, r)| match r {
        Reply::Done { refusal: Some(refusal), .. } => Some(refusal_name(refusal)),
        _ => None,
    });
    assert_eq!(refusals.collect::<BTreeSet<_>>(), REFUSALS.iter().copied().collect());
}

#[test]
fn blocks_are_those_of_version_1() {
    let lines = lines(include_str!("../golden/v1/block.txt"));
    let regions = [
        Region { address: 0x0800_8000, len: 4096, crc: 0xDEAD_BEEF, sha256: sha(0) },
        Region { address: 0x0802_0000, len: 8, crc: 0x0102_0304, sha256: sha(32) },
    ];
    let begin = Begin::new(42, BeginFlags::COMPARE, 0x413, &regions).expect("two regions");
    let identity = Write { place: 0x0800_C000, may_erase: true, bytes: b"ABCDEFGH" };
    let options = Write { place: 2, may_erase: false, bytes: &[0xAA, 0xFF] };
    let mut out = [0; MAX_BLOCK];
    let len = begin.encode(&mut out);
    assert_eq!(out[..len], bytes(lines["begin"][0]));
    assert_eq!(Begin::decode(&bytes(lines["begin"][0])), Some(begin));
    assert_eq!(begin.image_id(), *bytes(lines["image-id"][0]));
    for (name, write) in [("identity", identity), ("options", options)] {
        let len = write.encode(&mut out);
        assert_eq!(out[..len], bytes(lines[name][0]), "{name}");
        assert_eq!(Write::decode(&bytes(lines[name][0])), Some(write), "{name}");
    }
    for (name, wish) in [
        ("key-ed25519", MakeKey { kind: KeyKind::Ed25519, name: b"W-00007" }),
        ("key-p256", MakeKey { kind: KeyKind::P256, name: b"W-00007" }),
    ] {
        let len = wish.encode(&mut out);
        assert_eq!(out[..len], bytes(lines[name][0]), "{name}");
        assert_eq!(MakeKey::decode(&bytes(lines[name][0])), Some(wish), "{name}");
    }
    let sealed = Begin::new(42, BeginFlags::empty(), 0x413, &regions[..1]).expect("one region");
    let seal = Seal { counter: 7, floor: 5, signature: SIGNATURE };
    let sealed = sealed.sealed(seal).expect("few regions");
    let len = sealed.encode(&mut out);
    assert_eq!(out[..len], bytes(lines["begin-sealed"][0]));
    assert_eq!(Begin::decode(&bytes(lines["begin-sealed"][0])), Some(sealed));
    let message = Seal::message(0x413, 7, 5, &sealed.image_id());
    assert_eq!(message.to_vec(), bytes(lines["sealed-bytes"][0]));
    let names = [
        "begin",
        "begin-sealed",
        "identity",
        "image-id",
        "key-ed25519",
        "key-p256",
        "options",
        "sealed-bytes",
    ];
    assert_eq!(lines.keys().copied().collect::<Vec<_>>(), names);
}

#[test]
fn the_byte_stream_is_that_of_version_1() {
    for (name, columns) in lines(include_str!("../golden/v1/stream.txt")) {
        let frame = frame(&columns);
        let wire = bytes(columns[3]);
        let mut out = [0; MAX_ENCODED];
        let len = encode(&frame, &mut out);
        assert_eq!(out[..len], wire, "{name}");
        let mut decoder = Decoder::default();
        assert_eq!(wire.iter().filter_map(|&b| decoder.handle_byte(b)).last(), Some(frame), "{name}");
        // The record before stuffing, as far as it has no zeros, stands in the stream as it is.
        let crc = &bytes(columns[2])[bytes(columns[2]).len() - 4..];
        assert!(wire.windows(4).any(|w| w == crc), "{name}");
    }
}

/// The signature of the golden bytes.
const SIGNATURE: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut i = 0;
    while i < 64 {
        bytes[i] = i as u8 * 3 + 1;
        i += 1;
    }
    bytes
};

#[test]
fn image_records_are_those_of_version_1() {
    let lines = lines(include_str!("../golden/v1/record.txt"));
    let first = (0..64).map(|i: u8| i.wrapping_mul(7)).collect();
    let second = (0..12).map(|i: u8| i.wrapping_mul(11).wrapping_add(1)).collect();
    let mut sample = Sample::new(42, BeginFlags::empty(), &[(APP, first), (APP + 0x1000, second)]);
    assert_eq!(DEVICE, sample.begin.device_id);
    let mut solo = Solo::numbered(Port::new(uid(1), None), 4);
    solo.transfer(&sample);
    assert_eq!(solo.port().at(RECORDS, 64), bytes(lines["incomplete"][0]));
    assert_eq!(solo.port().at(RECORDS + 64, 64), [0xFF; 64]);
    solo.send(Control::Commit { session: 42 });
    solo.wait(Span::from_millis(10));
    for (slot, name) in ["incomplete", "region-0", "region-1", "valid"].into_iter().enumerate() {
        assert_eq!(solo.port().at(RECORDS + 64 * slot as u32, 64), bytes(lines[name][0]), "{name}");
    }
    sample.begin =
        sample.begin.sealed(Seal { counter: 7, floor: 5, signature: SIGNATURE }).expect("two regions");
    let mut port = Port::new(uid(1), None);
    port.seals = Seals::Demanded;
    port.takes_any_seal = true;
    let mut solo = Solo::numbered(port, 4);
    solo.transfer(&sample);
    solo.send(Control::Commit { session: 42 });
    solo.wait(Span::from_millis(10));
    let names = ["incomplete", "seal-0", "seal-1", "region-0", "region-1", "valid", "trusted"];
    for (slot, name) in names.into_iter().enumerate() {
        assert_eq!(solo.port().at(RECORDS + 64 * slot as u32, 64), bytes(lines[name][0]), "sealed: {name}");
    }
}

#[test]
fn records_of_an_image_in_the_second_slot_are_those_of_version_1() {
    let lines = lines(include_str!("../golden/v1/record.txt"));
    let first: Vec<u8> = (0..64).map(|i: u8| i.wrapping_mul(7)).collect();
    let second: Vec<u8> = (0..12).map(|i: u8| i.wrapping_mul(11).wrapping_add(1)).collect();
    let older = Sample::new(41, BeginFlags::empty(), &[(APP, second.clone())]);
    let newer = Sample::new(42, BeginFlags::STAGE, &[(APP, first), (APP + 0x1000, second)]);
    let mut port = Port::new(uid(1), None);
    port.slot = Some(SLOT);
    let mut solo = Solo::numbered(port, 4);
    for sample in [&older, &newer] {
        solo.transfer(sample);
        solo.send(Control::Commit { session: sample.begin.session });
        solo.rest();
    }
    // Before them: incomplete, region and valid of the older image, two regions of this one.
    for (slot, name) in [(5, "staged"), (6, "installed")] {
        assert_eq!(solo.port().at(RECORDS + 64 * slot, 64), bytes(lines[name][0]), "{name}");
    }
}

//! Strategies for everything that can stand in a message.

use panel_protocol::frame::{Frame, Id};
use panel_protocol::ident::{DataPosition, Discovery, NodeId};
use panel_protocol::message::{
    BLOCK_PART, BlockKind, ChunkRange, Control, ErrorReport, IdentifyPart, MISSING_LIST, NodeFault,
    NodeMessage, NodeState, Refusal, Seek, Status, StatusFlags,
};
use panel_protocol::node::{Capabilities, EraseRun, FlashFacts, MAX_RUNS, Protection, ResetCause};
use panel_protocol::reply::{ImageState, Info, Profile, RegionCheck, Statistics};
use panel_protocol::time::Span;
use proptest::array::{uniform6, uniform32};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn node() -> impl Strategy<Value = NodeId> {
    (0..=NodeId::MAX).prop_map(|n| NodeId::new(n).expect("in range"))
}

fn key() -> impl Strategy<Value = u32> {
    0u32..1 << 24
}

pub(crate) fn range() -> impl Strategy<Value = ChunkRange> {
    (any::<u8>(), any::<u8>()).prop_map(|(a, b)| ChunkRange { first: a.min(b), last: a.max(b) })
}

pub(crate) fn protection() -> impl Strategy<Value = Protection> {
    select(&[Protection::Open, Protection::Level1, Protection::Level2][..])
}

pub(crate) fn refusal() -> impl Strategy<Value = Refusal> {
    (1u8..=15).prop_map(|b| Refusal::from_byte(b).expect("in range"))
}

fn seek() -> impl Strategy<Value = Seek> {
    (0u16..0x8000, any::<bool>(), range(), proptest::option::of(range()))
        .prop_map(|(segment, repair, a, b)| Seek { segment, repair, ranges: (a, b) })
}

pub(crate) fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(min, current, restart)| Control::Discover {
            min,
            current,
            restart
        }),
        (node(), key(), proptest::option::of(key()))
            .prop_map(|(first, a, b)| Control::Assign { first, keys: (a, b) }),
        (node(), any::<u8>(), any::<u16>(), node()).prop_map(|(from, piece, bits, to)| Control::Split {
            from,
            piece,
            bits,
            to
        }),
        select(
            &[
                Control::Announce,
                Control::Release,
                Control::Identify(IdentifyPart::Info),
                Control::Identify(IdentifyPart::Profile),
                Control::Census,
                Control::QueryMissing,
                Control::Abort,
                Control::Reset,
                Control::Statistics,
            ][..]
        ),
        (any::<u8>(), uniform6(any::<u8>()), 1..=BLOCK_PART).prop_map(|(index, mut bytes, len)| {
            bytes[len..].fill(0);
            Control::BlockData { index, bytes, len: len as u8 }
        }),
        (
            select(&[BlockKind::Begin, BlockKind::Identity, BlockKind::Options, BlockKind::Key][..]),
            any::<u16>(),
            any::<u32>()
        )
            .prop_map(|(kind, len, crc)| Control::BlockEnd { kind, len, crc }),
        (any::<u16>(), any::<u32>()).prop_map(|(segment, crc)| Control::Manifest { segment, crc }),
        any::<u8>().prop_map(|session| Control::Start { session }),
        seek().prop_map(Control::Seek),
        any::<u8>().prop_map(|region| Control::Verify { region }),
        any::<u8>().prop_map(|region| Control::Digest { region }),
        any::<u8>().prop_map(|session| Control::Commit { session }),
        (any::<u32>(), any::<u8>()).prop_map(|(address, len)| Control::Read { address, len }),
        (protection(), any::<u16>()).prop_map(|(level, consent)| Control::SetProtection { level, consent }),
        (any::<u8>(), any::<u8>(), any::<u32>()).prop_map(|(item, token, argument)| Control::Test {
            item,
            token,
            argument
        }),
        any::<u32>().prop_map(|address| Control::StartApplication { address }),
    ]
}

pub(crate) fn status() -> impl Strategy<Value = Status> {
    let state = (1u8..=7).prop_map(|b| NodeState::from_byte(b).expect("in range"));
    (state, any::<u8>(), any::<u16>(), any::<u16>(), any::<u8>(), any::<u8>()).prop_map(
        |(state, flags, missing, programmed, free, detail)| {
            let flags = StatusFlags::from_bits_retain(flags);
            Status { state, flags, missing, programmed, free, detail }
        },
    )
}

pub(crate) fn error_report() -> impl Strategy<Value = ErrorReport> {
    let fault = (1u8..=6).prop_map(|b| NodeFault::from_byte(b).expect("in range"));
    (fault, any::<u32>(), any::<u8>(), any::<u8>()).prop_map(|(fault, address, expected, got)| ErrorReport {
        fault,
        address,
        expected,
        got,
    })
}

pub(crate) fn node_message() -> impl Strategy<Value = NodeMessage> {
    prop_oneof![
        any::<u8>().prop_map(|free| NodeMessage::Hold { free }),
        Just(NodeMessage::Resume),
        error_report().prop_map(NodeMessage::Error),
        (any::<u16>(), any::<u16>()).prop_map(|(first, count)| NodeMessage::MissingSegments { first, count }),
        (any::<u16>(), range()).prop_map(|(segment, chunks)| NodeMessage::MissingSpan { segment, chunks }),
        (any::<u16>(), uniform6(any::<u8>()), 1..=MISSING_LIST).prop_map(|(segment, mut chunks, len)| {
            chunks[len..].fill(0);
            NodeMessage::Missing { segment, chunks, len: len as u8 }
        }),
        status().prop_map(NodeMessage::Status),
        (0u8..128, any::<bool>(), vec(any::<u8>(), 0..=7)).prop_map(|(sequence, last, part)| {
            let mut bytes = [0; 7];
            bytes[..part.len()].copy_from_slice(&part);
            NodeMessage::ReplyPart { sequence, last, bytes, len: part.len() as u8 }
        }),
    ]
}

pub(crate) fn info() -> impl Strategy<Value = Info> {
    let cause = select(
        &[
            ResetCause::PowerOn,
            ResetCause::Pin,
            ResetCause::BrownOut,
            ResetCause::Software,
            ResetCause::Watchdog,
        ][..],
    );
    let image = select(&[ImageState::None, ImageState::Incomplete, ImageState::Valid][..]);
    let words = (any::<u8>(), any::<u16>(), any::<u16>(), any::<u16>(), any::<u16>(), any::<u16>());
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    (words, cause, protection(), image, numbers).prop_map(
        |(
            (version, device_id, revision, bootloader, capabilities, supply_mv),
            cause,
            protection,
            image,
            n,
        )| Info {
            version,
            device_id,
            hardware_revision: revision,
            bootloader_version: bootloader,
            capabilities: Capabilities::from_bits_retain(capabilities),
            reset_cause: cause,
            protection,
            supply_mv,
            image,
            image_id: n.0,
            profile_crc: n.1,
            uid_check: n.2,
            floor: n.3,
        },
    )
}

pub(crate) fn profile() -> impl Strategy<Value = Profile> {
    let tenths = |n: u16| Span(u64::from(n) * 100);
    let run = (1u16..=512, 1u32..=256, any::<u16>(), any::<u16>()).prop_map(move |(count, kib, a, b)| {
        EraseRun { count, size: kib * 1024, typical: tenths(a), longest: tenths(b) }
    });
    let words = (any::<u16>(), any::<u16>(), any::<u16>());
    let flash = (vec(run, 0..=MAX_RUNS), 1u8..=32, any::<u16>(), any::<u16>(), any::<u32>(), any::<u32>());
    (words, flash).prop_map(|((silicon_revision, buffers, max_segments), flash)| {
        let (some, unit, typical, longest, app_base, record_base) = flash;
        let mut runs = [EraseRun::default(); MAX_RUNS];
        runs[..some.len()].copy_from_slice(&some);
        let flash = FlashFacts {
            base: 0x0800_0000,
            runs,
            unit,
            program_typical: Span(typical.into()),
            program_longest: Span(longest.into()),
            app_base,
            record_base,
        };
        Profile { silicon_revision, flash, buffers, max_segments }
    })
}

pub(crate) fn statistics() -> impl Strategy<Value = Statistics> {
    let small = (any::<u8>(), any::<u8>(), any::<u16>(), any::<u16>(), any::<u16>());
    (small, any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |((tec, rec, overruns, errors, holds), data_frames, missed, dropped)| Statistics {
            tec,
            rec,
            overruns,
            errors,
            data_frames,
            missed,
            dropped,
            holds,
        },
    )
}

pub(crate) fn region_check() -> impl Strategy<Value = RegionCheck> {
    (any::<u8>(), any::<bool>(), any::<u32>()).prop_map(|(region, matches, crc)| RegionCheck {
        region,
        matches,
        crc,
    })
}

pub(crate) fn digest() -> impl Strategy<Value = [u8; 32]> {
    uniform32(any::<u8>())
}

pub(crate) fn discovery() -> impl Strategy<Value = Discovery> {
    prop_oneof![
        key().prop_map(Discovery::Key),
        (node(), 0u8..7, 0u16..0x8000).prop_map(|(node, piece, bits)| Discovery::Piece { node, piece, bits }),
    ]
}

pub(crate) fn position() -> impl Strategy<Value = DataPosition> {
    (0u8..4, any::<u8>()).prop_map(|(tag, index)| DataPosition { tag, index })
}

/// Any frame that CAN can carry.
pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    let id = prop_oneof![
        (0u16..0x800).prop_map(Id::Standard),
        (0u32..1 << 29).prop_map(Id::Extended),
        // Discovery answers, else hardly ever met.
        (0u32..1 << 26).prop_map(|n| Id::Extended(n | 0b011 << 26)),
    ];
    (id, any::<bool>(), vec(any::<u8>(), 0..=64)).prop_map(|(id, fd, data)| {
        let frame = if fd { Frame::fd(id, &data) } else { Frame::classical(id, &data[..data.len().min(8)]) };
        frame.expect("short enough")
    })
}

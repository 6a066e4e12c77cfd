//! One node, step by step: what it reports missing, refuses, answers, and in which order.

use crate::util::flash::Port;
use crate::util::solo::{Heard, Sample, Solo, node};
use crate::util::{APP, Rng, uid};
use panel_protocol::block::{BeginFlags, MAX_BLOCK};
use panel_protocol::ident::DataPosition;
use panel_protocol::message::{
    BlockKind, ChunkRange, Control, HostMessage, NodeMessage, NodeState, Refusal, Seek, StatusFlags,
};
use panel_protocol::node::Capabilities;
use panel_protocol::reply::{ImageState, RegionCheck, Reply};
use panel_protocol::time::Span;
use sha2::{Digest, Sha256};

/// Five segments in one region.
pub(crate) fn sample() -> Sample {
    Sample::new(9, BeginFlags::empty(), &[(APP, Rng::new(5).bytes(4 * 2048 + 512))])
}

pub(crate) fn port() -> Port {
    let mut port = Port::new(uid(1), Some(1));
    port.soil(1);
    port
}

/// A node that waits for data.
pub(crate) fn receiving(sample: &Sample, port: Port) -> Solo {
    let mut solo = Solo::numbered(port, 6);
    solo.begin(&sample.begin);
    solo.manifest(sample);
    solo.send(Control::Start { session: sample.begin.session });
    solo.heard.clear();
    solo
}

pub(crate) fn programmed(sample: &Sample) -> Solo {
    let mut solo = Solo::numbered(port(), 6);
    solo.transfer(sample);
    assert_eq!(solo.state(), NodeState::Programmed);
    solo.heard.clear();
    solo
}

/// The last thing said about a command: its refusal, if any, and the detail.
pub(crate) fn done(solo: &Solo, of: Control) -> Option<(Option<Refusal>, u32)> {
    let outcomes = solo.replies().filter_map(|r| match r {
        Reply::Done { opcode, refusal, detail } if opcode == of.opcode() => Some((refusal, detail)),
        _ => None,
    });
    outcomes.last()
}

pub(crate) const BLOCK_END: Control = Control::BlockEnd { kind: BlockKind::Begin, len: 0, crc: 0 };

fn range(first: u8, last: u8) -> ChunkRange {
    ChunkRange { first, last }
}

// The start

#[test]
fn a_node_that_is_deaf_while_it_erases_confirms_the_start_when_everything_is_erased() {
    for compare in [BeginFlags::empty(), BeginFlags::COMPARE] {
        let sample = Sample::new(9, compare, &[(APP, Rng::new(5).bytes(4 * 2048 + 512))]);
        let mut deaf = port();
        deaf.facts.capabilities.remove(Capabilities::RECEIVES_WHILE_BUSY);
        let mut solo = Solo::numbered(deaf, 6);
        solo.begin(&sample.begin);
        solo.manifest(&sample);
        solo.heard.clear();
        let start = Control::Start { session: sample.begin.session };
        solo.send(start);
        solo.send(start); // the host asks again
        assert_eq!(done(&solo, start), None);
        let flash = solo.port().facts.flash;
        let index = |address| flash.erase_unit(address).map(|u| u64::from(u.index)).unwrap();
        let units = index(APP + 4 * 2048 + 511) - index(APP) + 1;
        while done(&solo, start).is_none() {
            assert!(solo.port().erases <= units);
            solo.wait(Span::from_millis(1));
        }
        assert_eq!(solo.port().erases, units);
        assert_eq!((done(&solo, start), solo.state()), (Some((None, 9)), NodeState::Receiving));
        assert_eq!(solo.replies().filter(|r| matches!(r, Reply::Done { .. })).count(), 1);
        solo.send(start);
        assert_eq!(solo.replies().filter(|r| matches!(r, Reply::Done { .. })).count(), 2, "at once now");
    }
}

// Reports of what is missing

#[test]
fn nothing_is_reported_while_a_segment_is_coming_in() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.seek(0, false);
    solo.data(&sample, 0, Some(17));
    assert_eq!(solo.heard, []);
}

#[test]
fn a_lost_chunk_is_reported_when_the_host_moves_on_and_its_repeat_completes_the_segment() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.seek(0, false);
    solo.data(&sample, 0, Some(17));
    solo.seek(1, false);
    let wanted = NodeMessage::Missing { segment: 0, chunks: [17, 0, 0, 0, 0, 0], len: 1 };
    assert_eq!(solo.heard, [Heard::Message(wanted)]);
    assert_eq!(solo.status().missing, 5);
    solo.seek(0, true);
    solo.chunk(&sample, 0, 17);
    assert_eq!(solo.status().missing, 4);
}

#[test]
fn scattered_losses_go_in_lists_of_six_and_long_runs_in_spans() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.seek(0, false);
    let lost = |i: u8| i % 30 == 3 || (100..120).contains(&i);
    (0..=255).filter(|&i| !lost(i)).for_each(|i| solo.chunk(&sample, 0, i));
    solo.seek(1, false);
    let reported: Vec<_> = solo.messages().copied().collect();
    assert_eq!(
        reported,
        [
            NodeMessage::Missing { segment: 0, chunks: [3, 33, 63, 93, 100, 101], len: 6 },
            NodeMessage::MissingSpan { segment: 0, chunks: range(102, 119) },
            NodeMessage::Missing { segment: 0, chunks: [123, 153, 183, 213, 243, 0], len: 5 },
        ]
    );
}

#[test]
fn a_seek_with_a_range_that_ends_before_it_begins_moves_nothing() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    for (first, last, second) in [(9, 3, None), (0, 3, Some(ChunkRange { first: 9, last: 8 }))] {
        let ranges = (ChunkRange { first, last }, second);
        solo.send(Control::Seek(Seek { segment: 3, repair: false, ranges }));
    }
    assert_eq!(solo.heard, []);
    let missing = solo.status().missing;
    solo.data(&sample, 0, None);
    solo.wait(Span::from_millis(5));
    assert_eq!(solo.status().missing, missing - 1, "the first segment is still the one that data belongs to");
}

#[test]
fn segments_that_went_by_unheard_are_reported_as_one_run() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.seek(3, false);
    let wanted = NodeMessage::MissingSegments { first: 0, count: 3 };
    assert_eq!(solo.heard, [Heard::Message(wanted)]);
}

#[test]
fn asked_what_is_missing_a_node_names_everything_and_then_its_status_says_how_much() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.seek(1, false);
    solo.data(&sample, 1, Some(200));
    solo.heard.clear();
    solo.send(Control::QueryMissing);
    let reported: Vec<_> = solo.messages().copied().collect();
    assert_eq!(
        reported,
        [
            NodeMessage::MissingSegments { first: 0, count: 1 },
            NodeMessage::Missing { segment: 1, chunks: [200, 0, 0, 0, 0, 0], len: 1 },
            NodeMessage::MissingSegments { first: 2, count: 3 },
        ]
    );
    assert_eq!(solo.status().missing, 5);
}

#[test]
fn a_lost_seek_costs_nothing_if_the_next_segment_follows() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.seek(0, false);
    solo.data(&sample, 0, None);
    solo.data(&sample, 1, None); // its Seek was lost
    solo.seek(2, false);
    assert_eq!(solo.status().missing, 3);
    assert_eq!(solo.messages().filter(|m| matches!(m, NodeMessage::Missing { .. })).count(), 0);
}

#[test]
fn chunks_outside_the_announced_ranges_are_not_waited_for() {
    let mut bytes = Rng::new(6).bytes(2048);
    bytes[8 * 10..8 * 50].fill(0xFF);
    let sample = Sample::new(9, BeginFlags::empty(), &[(APP, bytes)]);
    let mut solo = receiving(&sample, port());
    let ranges = (range(0, 9), Some(range(50, 255)));
    solo.send(Control::Seek(Seek { segment: 0, repair: false, ranges }));
    (0..=9).chain(50..=255).for_each(|i| solo.chunk(&sample, 0, i));
    solo.rest();
    assert_eq!(solo.state(), NodeState::Programmed);
}

#[test]
fn a_repair_without_data_tells_a_node_that_missed_the_seek_what_not_to_wait_for() {
    let mut bytes = Rng::new(6).bytes(2 * 2048);
    bytes[8 * 10..2048].fill(0xFF);
    let sample = Sample::new(9, BeginFlags::empty(), &[(APP, bytes)]);
    let mut solo = receiving(&sample, port());
    (0..=9).for_each(|i| solo.chunk(&sample, 0, i)); // the Seek was lost
    solo.seek(1, false);
    assert_eq!(solo.heard, [Heard::Message(NodeMessage::MissingSpan { segment: 0, chunks: range(10, 255) })]);
    solo.send(Control::Seek(Seek { segment: 0, repair: true, ranges: (range(0, 9), None) }));
    assert_eq!(solo.status().missing, 1);
}

#[test]
fn data_taken_for_another_segment_never_reaches_flash() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.seek(0, false);
    solo.data(&sample, 4, None); // same tag, and the Seek to segment 4 was lost
    assert_eq!(solo.status().missing, 5, "its CRC-32 is wrong");
    solo.seek(1, false);
    assert!(solo.messages().any(|m| *m == NodeMessage::MissingSegments { first: 0, count: 1 }));
    for segment in [0, 1, 2, 3, 4] {
        solo.seek(segment, true);
        solo.data(&sample, segment, None);
        solo.wait(Span::from_millis(60));
    }
    solo.rest();
    assert!(sample.is_in(solo.port()));
}

#[test]
fn fd_frames_carry_the_same_segments_in_chunks_of_64() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    for segment in 0..5u16 {
        let bytes = sample.segment(segment);
        let last = if segment == 4 { 7 } else { 31 };
        solo.send(Control::Seek(Seek { segment, repair: false, ranges: (range(0, last), None) }));
        for index in 0..=last {
            let chunk = &bytes[usize::from(index) * 64..][..64];
            let position = DataPosition { tag: (segment % 4) as u8, index };
            solo.frame(&HostMessage::Data(position, chunk).to_frame());
        }
        solo.wait(Span::from_millis(60));
    }
    assert_eq!(solo.state(), NodeState::Programmed);
    assert!(sample.is_in(solo.port()));
}

// Pauses

#[test]
fn a_node_asks_for_a_pause_in_time_and_takes_it_back() {
    let sample = sample();
    let mut solo = Solo::numbered(port(), 4);
    solo.begin(&sample.begin);
    solo.manifest(&sample);
    solo.send(Control::Start { session: 9 });
    solo.heard.clear();
    for segment in 0..2 {
        solo.seek(segment, false);
        solo.data(&sample, segment, None);
    }
    assert_eq!(solo.heard[0], Heard::Message(NodeMessage::Hold { free: 2 }));
    assert!(solo.status().flags.contains(StatusFlags::HOLDING));
    solo.heard.clear();
    solo.rest();
    let said: Vec<_> = solo.messages().copied().collect();
    assert_eq!(said.last(), Some(&NodeMessage::Resume), "{said:?}");
    assert!(!solo.status().flags.contains(StatusFlags::HOLDING));
}

#[test]
fn in_a_pause_a_node_says_what_its_buffers_lack_but_asks_for_no_further_segment() {
    let sample = sample();
    let mut solo = Solo::numbered(port(), 1);
    solo.begin(&sample.begin);
    solo.manifest(&sample);
    solo.send(Control::Start { session: 9 });
    solo.seek(0, false);
    solo.data(&sample, 0, Some(40));
    solo.seek(1, false);
    solo.chunk(&sample, 1, 0); // dropped: there is no buffer for it
    solo.seek(2, false);
    solo.wait(Span::from_millis(120));
    let missing = NodeMessage::Missing { segment: 0, chunks: [40, 0, 0, 0, 0, 0], len: 1 };
    let said: Vec<_> = solo.messages().copied().collect();
    assert!(said.contains(&missing), "{said:?}");
    assert!(said.contains(&NodeMessage::Hold { free: 0 }), "{said:?}");
    assert!(!said.iter().any(|m| matches!(m, NodeMessage::MissingSegments { .. })), "{said:?}");
    assert!(said.len() < 12, "not more often than needed: {said:?}");
    solo.heard.clear();
    solo.seek(0, true);
    solo.chunk(&sample, 0, 40);
    solo.rest();
    let said: Vec<_> = solo.messages().copied().collect();
    assert_eq!(said, [NodeMessage::Resume, NodeMessage::MissingSegments { first: 1, count: 2 }]);
}

// Blocks, order, versions

#[test]
fn parts_of_a_block_may_come_in_any_order_and_twice() {
    let sample = sample();
    let mut solo = Solo::numbered(port(), 4);
    let mut block = [0; MAX_BLOCK];
    let len = sample.begin.encode(&mut block);
    let parts: Vec<_> = block[..len].chunks(6).enumerate().collect();
    for (index, part) in parts.iter().rev().chain(&parts[..3]) {
        let mut bytes = [0; 6];
        bytes[..part.len()].copy_from_slice(part);
        solo.send(Control::BlockData { index: *index as u8, bytes, len: part.len() as u8 });
    }
    let crc = panel_protocol::CRC32.checksum(&block[..len]);
    for _ in 0..2 {
        solo.send(Control::BlockEnd { kind: BlockKind::Begin, len: len as u16, crc });
        assert_eq!(done(&solo, BLOCK_END), Some((None, BlockKind::Begin as u32)));
    }
    solo.send(Control::BlockEnd { kind: BlockKind::Begin, len: len as u16, crc: crc ^ 1 });
    assert_eq!(done(&solo, BLOCK_END).unwrap().0, Some(Refusal::BadBlock));
    assert_eq!(solo.state(), NodeState::Manifest, "a broken block ends nothing");
}

#[test]
fn a_start_needs_its_session_and_the_whole_manifest_and_may_be_repeated() {
    let sample = sample();
    let start = |session| Control::Start { session };
    let mut solo = Solo::numbered(port(), 4);
    solo.send(start(9));
    assert_eq!(done(&solo, start(9)), Some((Some(Refusal::WrongState), 9)));
    solo.begin(&sample.begin);
    solo.send(start(8));
    assert_eq!(done(&solo, start(9)), Some((Some(Refusal::WrongState), 8)));
    solo.send(start(9));
    assert_eq!(done(&solo, start(9)), Some((Some(Refusal::ManifestIncomplete), 9)));
    solo.manifest(&sample);
    assert!(solo.status().flags.contains(StatusFlags::MANIFEST_COMPLETE));
    for _ in 0..2 {
        solo.send(start(9));
        assert_eq!(done(&solo, start(9)), Some((None, 9)));
    }
}

#[test]
fn only_hosts_of_a_version_it_speaks_are_answered_and_any_may_make_it_forget() {
    let mut solo = Solo::new(port(), 4);
    for (min, current, answered) in
        [(1, 1, true), (0, 0, false), (2, 9, false), (1, 9, true), (255, 255, false)]
    {
        solo.heard.clear();
        solo.send(Control::Discover { min, current, restart: false });
        assert_eq!(!solo.heard.is_empty(), answered, "versions {min} to {current}");
    }
    solo.number();
    solo.send(Control::Discover { min: 255, current: 255, restart: true });
    assert_eq!((solo.board.node.number(), solo.heard.len()), (None, 0));
}

#[test]
fn a_released_node_takes_no_part_any_more() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.frame(&HostMessage::Control(Some(node()), Control::Release).to_frame());
    solo.rest();
    let operations = solo.port().operations;
    for segment in 0..5 {
        solo.seek(segment, false);
        solo.data(&sample, segment, None);
    }
    solo.rest();
    assert_eq!((solo.state(), solo.port().operations, solo.heard.len()), (NodeState::Idle, operations, 0));
}

// Verification and commit

#[test]
fn a_check_asked_for_early_is_answered_when_it_is_known() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.send(Control::Verify { region: 0 });
    assert_eq!(solo.heard, []);
    for segment in 0..5 {
        solo.seek(segment, false);
        solo.data(&sample, segment, None);
        solo.wait(Span::from_millis(60));
    }
    solo.rest();
    let crc = panel_protocol::CRC32.checksum(&sample.bytes[0]);
    let checks: Vec<_> = solo.replies().collect();
    assert_eq!(checks, [Reply::RegionCheck(RegionCheck { region: 0, matches: true, crc })]);
    solo.heard.clear();
    solo.send(Control::Digest { region: 0 });
    assert_eq!(solo.replies().next(), Some(Reply::Digest(0, Sha256::digest(&sample.bytes[0]).into())));
    solo.send(Control::Digest { region: 1 });
    assert_eq!(done(&solo, Control::Digest { region: 1 }), Some((Some(Refusal::WrongState), 1)));
}

#[test]
fn the_mark_is_written_once_and_only_after_verification() {
    let sample = sample();
    let commit = Control::Commit { session: 9 };
    let mut solo = receiving(&sample, port());
    solo.send(commit);
    assert_eq!(done(&solo, commit), Some((Some(Refusal::WrongState), 9)));
    let mut solo = programmed(&sample);
    solo.send(Control::Commit { session: 8 });
    assert_eq!(done(&solo, commit), Some((Some(Refusal::WrongState), 8)));
    let before = solo.port().programs;
    for _ in 0..2 {
        solo.heard.clear();
        solo.send(commit);
        solo.wait(Span::from_millis(10));
        assert_eq!(done(&solo, commit), Some((None, 9)));
    }
    // A record for the region, then the mark.
    assert_eq!(solo.port().programs, before + 2);
    let info = solo.info();
    assert_eq!(
        (solo.state(), info.image, info.image_id),
        (NodeState::Committed, ImageState::Valid, sample.id())
    );
}

#[test]
fn an_image_whose_hash_is_another_is_not_committed() {
    let sample = sample();
    let mut region = sample.begin.regions()[0];
    region.sha256[31] ^= 1;
    let begin = panel_protocol::block::Begin::new(9, BeginFlags::empty(), crate::util::DEVICE, &[region]);
    let sample = Sample { begin: begin.unwrap(), ..sample };
    let mut solo = programmed(&sample);
    solo.send(Control::Verify { region: 0 });
    assert!(matches!(solo.replies().next(), Some(Reply::RegionCheck(RegionCheck { matches: false, .. }))));
    solo.send(Control::Commit { session: 9 });
    let commit = Control::Commit { session: 9 };
    assert_eq!(done(&solo, commit), Some((Some(Refusal::NotVerified), 9)));
}

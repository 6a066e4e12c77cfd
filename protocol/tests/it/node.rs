//! One node, step by step: what it reports missing, refuses, answers, and in which order.

use crate::util::flash::{Defects, Port};
use crate::util::solo::{Heard, Sample, Solo, node};
use crate::util::{APP, BASE, RECORDS, Rng, uid};
use panel_protocol::block::{BeginFlags, MAX_BLOCK, Write};
use panel_protocol::ident::DataPosition;
use panel_protocol::message::{
    BlockKind, ChunkRange, Control, ErrorReport, HostMessage, IdentifyPart, LEVEL2_CONSENT, NodeFault,
    NodeMessage, NodeState, Refusal, Seek, StatusFlags,
};
use panel_protocol::node::{Capabilities, Protection};
use panel_protocol::reply::{ImageState, RegionCheck, Reply};
use panel_protocol::time::Span;
use sha2::{Digest, Sha256};

/// Five segments in one region.
fn sample() -> Sample {
    Sample::new(9, BeginFlags::empty(), &[(APP, Rng::new(5).bytes(4 * 2048 + 512))])
}

fn port() -> Port {
    let mut port = Port::new(uid(1), Some(1));
    port.soil(1);
    port
}

/// A node that waits for data.
fn receiving(sample: &Sample, port: Port) -> Solo {
    let mut solo = Solo::numbered(port, 6);
    solo.begin(&sample.begin);
    solo.manifest(sample);
    solo.send(Control::Start { session: sample.begin.session });
    solo.heard.clear();
    solo
}

fn programmed(sample: &Sample) -> Solo {
    let mut solo = Solo::numbered(port(), 6);
    solo.transfer(sample);
    assert_eq!(solo.state(), NodeState::Programmed);
    solo.heard.clear();
    solo
}

/// The last thing said about a command: its refusal, if any, and the detail.
fn done(solo: &Solo, of: Control) -> Option<(Option<Refusal>, u32)> {
    let outcomes = solo.replies().filter_map(|r| match r {
        Reply::Done { opcode, refusal, detail } if opcode == of.opcode() => Some((refusal, detail)),
        _ => None,
    });
    outcomes.last()
}

const BLOCK_END: Control = Control::BlockEnd { kind: BlockKind::Begin, len: 0, crc: 0 };

fn write(solo: &mut Solo, kind: BlockKind, place: u32, may_erase: bool, bytes: &[u8]) -> Option<Refusal> {
    let mut block = [0; MAX_BLOCK];
    let len = Write { place, may_erase, bytes }.encode(&mut block);
    solo.heard.clear();
    solo.block(kind, &block[..len]);
    solo.wait(Span::from_millis(100));
    done(solo, BLOCK_END).expect("an answer").0
}

fn range(first: u8, last: u8) -> ChunkRange {
    ChunkRange { first, last }
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
    assert_eq!(solo.port().programs, before + 1);
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

// Flash that misbehaves

/// A fault of the flash and what is to be reported of it.
fn fault(defects: Defects) -> ErrorReport {
    let mut port = port();
    port.defects = defects;
    let mut solo = Solo::numbered(port, 6);
    solo.transfer(&sample());
    assert_eq!(solo.state(), NodeState::Failed);
    let report = |solo: &Solo| {
        let reports = solo.messages().filter_map(|m| match m {
            NodeMessage::Error(report) => Some(*report),
            _ => None,
        });
        reports.last().expect("a report")
    };
    let first = report(&solo);
    solo.heard.clear();
    assert_eq!(solo.status().detail, first.fault as u8);
    assert_eq!(report(&solo), first, "it is told again at every census");
    first
}

#[test]
fn every_fault_of_the_flash_is_reported_with_its_place() {
    let at = |fault, address| ErrorReport { fault, address, expected: 0, got: 0 };
    let byte = |n: u32| sample().bytes[0][n as usize];
    let odd = (0..4096).find(|&n| byte(n) & 1 == 1 && n > 3000).unwrap();
    for (defects, expected) in [
        (
            Defects { program_fails: Some(APP + 2500), ..Defects::default() },
            at(NodeFault::ProgramFailed, APP + 2500),
        ),
        (
            Defects { erase_fails: Some(APP + 4000), ..Defects::default() },
            at(NodeFault::EraseFailed, APP + 2048),
        ),
        (
            Defects { sticks: Some(APP + odd), ..Defects::default() },
            ErrorReport {
                fault: NodeFault::ReadbackDiffers,
                address: APP + odd,
                expected: byte(odd),
                got: byte(odd) & !1,
            },
        ),
        (
            Defects { program_fails: Some(RECORDS + 3), ..Defects::default() },
            at(NodeFault::RecordFailed, RECORDS),
        ),
    ] {
        assert_eq!(fault(defects.clone()), expected, "{defects:?}");
    }
}

#[test]
fn a_flash_that_never_ends_is_reported_and_so_is_the_session_after_it() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.wait(Span(300)); // the mark is being written
    solo.board.node.port_mut().defects.hangs = true;
    solo.rest();
    assert_eq!(solo.state(), NodeState::Failed);
    solo.transfer(&sample);
    assert_eq!(solo.state(), NodeState::Failed, "nothing is begun in a flash that is busy");
    let last = solo.messages().filter(|m| matches!(m, NodeMessage::Error(_))).last();
    let wanted = ErrorReport { fault: NodeFault::EraseTooSlow, address: APP, expected: 0, got: 0 };
    assert_eq!(last, Some(&NodeMessage::Error(wanted)));
    assert!(solo.port().violations.is_empty());
    solo.board.node.port_mut().defects.hangs = false;
    solo.transfer(&sample);
    assert_eq!(solo.state(), NodeState::Programmed);
}

#[test]
fn a_record_area_that_does_not_erase_fails_the_session() {
    let sample = sample();
    let mut solo = Solo::numbered(port(), 6);
    solo.board.node.port_mut().bytes[0x800..0x1000].fill(0);
    solo.board.node.port_mut().defects.erase_does_nothing = true;
    solo.transfer(&sample);
    assert_eq!(solo.state(), NodeState::Failed);
    assert_eq!(solo.port().erases, 1, "it is not erased for ever");
    assert_eq!(solo.status().detail, NodeFault::RecordFailed as u8);
}

#[test]
fn an_abandoned_erase_is_waited_for_before_the_next_session_touches_the_flash() {
    let sample = sample();
    let mut solo = receiving(&sample, port());
    solo.wait(Span::from_millis(2));
    assert!(solo.status().flags.contains(StatusFlags::ERASING));
    solo.send(Control::Abort);
    assert_eq!(solo.state(), NodeState::Idle);
    solo.transfer(&sample);
    assert_eq!(solo.port().violations, Vec::<String>::new());
    assert_eq!(solo.state(), NodeState::Programmed);
}

// Single commands

#[test]
fn an_identity_is_written_read_back_and_changed_only_where_that_is_allowed() {
    let sample = sample();
    let place = BASE + 0x8000;
    let mut solo = programmed(&sample);
    solo.board.node.port_mut().bytes[0x8000..].fill(0xFF);
    let mut identity = |place, may_erase, bytes: &[u8]| {
        let refusal = write(&mut solo, BlockKind::Identity, place, may_erase, bytes);
        (refusal, solo.port().erases)
    };
    let erases = identity(place, false, &[1; 16]).1;
    assert_eq!(identity(place, false, &[1; 16]), (None, erases), "it is there already");
    assert_eq!(identity(place, false, &[2; 16]), (Some(Refusal::NotBlank), erases));
    assert_eq!(identity(place, true, &[2; 16]), (None, erases + 1));
    for (place, bytes, refusal) in [
        (BASE + 0x100, &[1; 8][..], Refusal::Reserved),
        (RECORDS + 0x400, &[1; 8], Refusal::Reserved),
        (APP + 64, &[1; 8], Refusal::Reserved),
        (APP - 4, &[1; 8], Refusal::Reserved),
        (place + 2, &[1; 8], Refusal::Unaligned),
        (place, &[1; 7], Refusal::Unaligned),
        (BASE + 0xC000 - 4, &[1; 8], Refusal::OutsideFlash),
        (BASE - 8, &[1; 8], Refusal::OutsideFlash),
        (u32::MAX - 3, &[1; 8], Refusal::OutsideFlash),
        // In an erase unit of the image, after its end.
        (APP + 4 * 2048 + 512, &[1; 8], Refusal::NotBlank),
    ] {
        if refusal == Refusal::NotBlank {
            let outcome = identity(place, true, bytes).0;
            assert_eq!(outcome, None, "blank: nothing has to be erased");
            assert_eq!(identity(place, true, &[3; 8]), (Some(refusal), erases + 1));
        } else {
            assert_eq!(identity(place, true, bytes), (Some(refusal), erases + 1), "{place:#010x}");
        }
    }
    assert_eq!(solo.port().at(place, 16), [2; 16]);
    assert!(sample.is_in(solo.port()));
    assert_eq!(solo.port().violations, Vec::<String>::new());
}

#[test]
fn a_good_image_is_guarded_against_identities_after_a_restart_too() {
    let sample = sample();
    let mut solo = programmed(&sample);
    solo.send(Control::Commit { session: 9 });
    solo.wait(Span::from_millis(10));
    solo.restart();
    solo.number();
    assert_eq!(write(&mut solo, BlockKind::Identity, APP + 64, true, &[1; 8]), Some(Refusal::Reserved));
    solo.board.node.port_mut().bytes[0x4000 - 16..0x4000].fill(7);
    let beside = BASE + 0x4000 - 16;
    assert_eq!(write(&mut solo, BlockKind::Identity, beside, true, &[1; 8]), Some(Refusal::NotBlank));
    assert!(sample.is_in(solo.port()));
}

#[test]
fn memory_is_read_unless_the_chip_is_protected_or_its_flash_at_work() {
    let sample = sample();
    let read = |address, len| Control::Read { address, len };
    let mut solo = programmed(&sample);
    solo.send(read(APP + 10, 192));
    assert_eq!(solo.replies().next(), Some(Reply::Memory(APP + 10, &sample.bytes[0][10..202])));
    for (address, len, refusal) in
        [(APP, 0, Refusal::TooLarge), (APP, 193, Refusal::TooLarge), (0x2000_0000, 4, Refusal::OutsideFlash)]
    {
        solo.send(read(address, len));
        assert_eq!(done(&solo, read(0, 0)), Some((Some(refusal), address)));
    }
    solo.board.node.port_mut().protection = Protection::Level1;
    solo.send(read(APP, 4));
    assert_eq!(done(&solo, read(0, 0)).unwrap().0, Some(Refusal::Protected));
    let mut solo = receiving(&sample, port());
    solo.wait(Span::from_millis(2));
    solo.send(read(BASE, 4));
    assert_eq!(done(&solo, read(0, 0)).unwrap().0, Some(Refusal::WrongState));
    assert_eq!(solo.port().stalls, 0);
}

#[test]
fn protection_for_ever_needs_consent_and_options_need_a_chip_that_has_them() {
    let protect = |level, consent| Control::SetProtection { level, consent };
    let mut solo = Solo::numbered(port(), 4);
    for (level, consent, outcome, after) in [
        (Protection::Level2, 0, Some(Refusal::NoConsent), Protection::Open),
        (Protection::Level2, LEVEL2_CONSENT ^ 1, Some(Refusal::NoConsent), Protection::Open),
        (Protection::Level1, 0, None, Protection::Level1),
        (Protection::Level2, LEVEL2_CONSENT, None, Protection::Level2),
    ] {
        solo.send(protect(level, consent));
        assert_eq!(done(&solo, protect(level, 0)), Some((outcome, level as u32)));
        assert_eq!(solo.port().protection, after);
    }
    let mut solo = Solo::numbered(port(), 4);
    assert_eq!(write(&mut solo, BlockKind::Options, 2, false, &[1, 2, 3]), None);
    assert_eq!(write(&mut solo, BlockKind::Options, 2, false, &[1; 17]), Some(Refusal::Flash));
    assert_eq!(write(&mut solo, BlockKind::Options, 256, false, &[1]), Some(Refusal::OutsideFlash));
    solo.board.node.port_mut().facts.capabilities = Capabilities::empty();
    assert_eq!(write(&mut solo, BlockKind::Options, 2, false, &[1]), Some(Refusal::Unsupported));
    solo.send(protect(Protection::Level1, 0));
    assert_eq!(done(&solo, protect(Protection::Level1, 0)).unwrap().0, Some(Refusal::Unsupported));
}

#[test]
fn a_test_item_answers_with_its_reading_and_an_unknown_one_with_a_refusal() {
    let test = |item| Control::Test { item, token: 0x5A, argument: 9 };
    let mut solo = Solo::numbered(port(), 4);
    solo.send(test(7));
    assert_eq!(solo.replies().next(), Some(Reply::Reading { item: 7, token: 0x5A, unit: 1, value: 4.5 }));
    solo.send(test(8));
    assert_eq!(done(&solo, test(8)), Some((Some(Refusal::Unsupported), 8)));
}

#[test]
fn the_application_starts_only_with_a_valid_mark_and_after_the_answer_has_left() {
    let sample = sample();
    let start = Control::StartApplication { address: APP };
    let mut solo = programmed(&sample);
    solo.send(start);
    assert_eq!(done(&solo, start), Some((Some(Refusal::NotVerified), APP)));
    assert_eq!(solo.port().started, None);
    solo.send(Control::Commit { session: 9 });
    solo.wait(Span::from_millis(10));
    let frame = HostMessage::Control(None, start).to_frame();
    solo.board.node.handle_frame(solo.now, &frame);
    assert_eq!(solo.port().started, None, "the answer is still in the outbox");
    solo.wait(Span(1));
    assert_eq!(done(&solo, start), Some((None, APP)));
    assert_eq!(solo.port().started, Some(APP));
}

#[test]
fn a_reset_comes_after_its_answer() {
    let mut solo = Solo::numbered(port(), 4);
    solo.board.node.handle_frame(solo.now, &HostMessage::Control(None, Control::Reset).to_frame());
    assert_eq!(solo.port().resets, 0);
    solo.wait(Span(1));
    assert_eq!((done(&solo, Control::Reset), solo.port().resets), (Some((None, 0)), 1));
}

#[test]
fn statistics_count_frames_losses_and_pauses() {
    let sample = sample();
    let mut solo = Solo::numbered(port(), 1);
    solo.begin(&sample.begin);
    solo.manifest(&sample);
    solo.send(Control::Start { session: 9 });
    solo.seek(0, false);
    solo.data(&sample, 0, Some(1));
    solo.seek(1, false);
    solo.chunk(&sample, 1, 0); // no buffer is free
    solo.send(Control::Statistics);
    let statistics = solo.replies().find_map(|r| match r {
        Reply::Statistics(statistics) => Some(statistics),
        _ => None,
    });
    let statistics = statistics.expect("statistics");
    assert_eq!((statistics.tec, statistics.rec, statistics.overruns, statistics.errors), (1, 2, 3, 4));
    assert_eq!((statistics.data_frames, statistics.missed), (256, 1));
    assert_eq!((statistics.dropped, statistics.holds), (1, 1));
}

#[test]
fn one_reply_is_under_way_and_a_question_meanwhile_is_answered_when_repeated() {
    let mut solo = Solo::numbered(port(), 4);
    let now = solo.now;
    for part in [IdentifyPart::Profile, IdentifyPart::Info] {
        let frame = HostMessage::Control(None, Control::Identify(part)).to_frame();
        solo.board.node.handle_frame(now, &frame);
    }
    solo.wait(Span(1));
    let replies: Vec<_> = solo.replies().collect();
    assert!(matches!(replies[..], [Reply::Profile(_)]), "{replies:?}");
    solo.heard.clear();
    assert_eq!(solo.info().version, 1);
}

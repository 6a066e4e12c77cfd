//! One node whose flash misbehaves, and the commands that are not about an image.

use crate::node::{BLOCK_END, done, port, programmed, receiving, sample};
use crate::util::flash::{Defects, OTP};
use crate::util::solo::Solo;
use crate::util::{APP, BASE, RECORDS};
use panel_protocol::block::{MAX_BLOCK, Write};
use panel_protocol::message::{
    BlockKind, Control, ErrorReport, HostMessage, IdentifyPart, LEVEL2_CONSENT, NodeFault, NodeMessage,
    NodeState, Refusal, StatusFlags,
};
use panel_protocol::node::{Capabilities, KeyKind, Protection, REQUEST_ADDRESS};
use panel_protocol::reply::Reply;
use panel_protocol::time::Span;

/// Writes an identity or option bytes; why not, if not.
fn write(solo: &mut Solo, kind: BlockKind, place: u32, may_erase: bool, bytes: &[u8]) -> Option<Refusal> {
    let mut block = [0; MAX_BLOCK];
    let len = Write { place, may_erase, bytes }.encode(&mut block);
    solo.heard.clear();
    solo.block(kind, &block[..len]);
    solo.wait(Span::from_millis(100));
    done(solo, BLOCK_END).expect("an answer").0
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
fn the_slot_of_a_record_that_failed_is_not_programmed_again() {
    let sample = sample();
    let mut port = port();
    port.defects.program_fails = Some(RECORDS + 40);
    let mut solo = Solo::numbered(port, 6);
    solo.transfer(&sample);
    assert_eq!(solo.state(), NodeState::Failed);
    solo.board.node.port_mut().defects.program_fails = None;
    solo.transfer(&sample);
    assert_eq!(solo.state(), NodeState::Programmed);
    assert!(solo.port().violations.is_empty(), "{:?}", solo.port().violations);
    assert_ne!(solo.port().at(RECORDS + 64, 64), [0xFF; 64], "the record is in the next slot");
}

#[test]
fn an_identity_that_a_power_cut_left_unreadable_is_written_anew_where_it_may_be_erased() {
    let mut port = port();
    let place = APP + 8 * 2048;
    port.flip(place + 1);
    port.defects.unreadable = Some(place + 1);
    let mut solo = Solo::numbered(port, 6);
    let mut identity = |may_erase| write(&mut solo, BlockKind::Identity, place, may_erase, &[1; 16]);
    assert_eq!([identity(false), identity(true)], [Some(Refusal::NotBlank), None]);
    assert_eq!(solo.port().at(place, 16), [1; 16]);
    assert!(solo.port().violations.is_empty(), "{:?}", solo.port().violations);
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
    let mut port = port();
    port.bytes[0x800..0x1000].fill(0);
    port.defects.erase_does_nothing = true;
    let mut solo = Solo::numbered(port, 6);
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
fn an_identity_in_otp_is_written_once_and_for_ever() {
    let sample = sample();
    let mut solo = programmed(&sample);
    let erases = solo.port().erases;
    let mut identity = |place, bytes: &[u8]| write(&mut solo, BlockKind::Identity, place, true, bytes);
    assert_eq!(identity(OTP.start + 8, &[1; 16]), None);
    assert_eq!(identity(OTP.start + 8, &[1; 16]), None, "it is there already");
    for (place, bytes, refusal) in [
        (OTP.start + 8, &[0; 16][..], Refusal::NotBlank),
        (OTP.start + 2, &[1; 8], Refusal::Unaligned),
        (OTP.start - 4, &[1; 8], Refusal::OutsideFlash),
        (OTP.end - 4, &[1; 8], Refusal::OutsideFlash),
    ] {
        assert_eq!(identity(place, bytes), Some(refusal), "{place:#010x}");
    }
    assert_eq!(solo.port().at(OTP.start + 8, 16), [1; 16]);
    assert_eq!(solo.port().erases, erases);
    assert_eq!(solo.port().violations, Vec::<String>::new());
}

#[test]
fn an_identity_is_written_read_back_and_changed_only_where_that_is_allowed() {
    let sample = sample();
    let place = BASE + 0x8000;
    let mut solo = programmed(&sample);
    solo.board.node.port_mut().bytes[0x8000..0xC000].fill(0xFF);
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
fn a_board_that_can_makes_its_key_and_shows_its_request_and_no_other_board_does() {
    let key = |solo: &mut Solo, block: &[u8]| {
        solo.heard.clear();
        solo.block(BlockKind::Key, block);
        done(solo, BLOCK_END)
    };
    let kind = BlockKind::Key as u32;
    let mut solo = Solo::numbered(port(), 4);
    assert_eq!(key(&mut solo, b"\x02W-1"), Some((Some(Refusal::Unsupported), kind)));
    solo.board.node.port_mut().facts.capabilities |= Capabilities::KEYS;
    for wrong in [&b""[..], b"\x02", b"\x03W-1", b"\x02W\n1", &[b'2'; 66]] {
        assert_eq!(key(&mut solo, wrong), Some((Some(Refusal::BadBlock), kind)), "{wrong:?}");
    }
    assert_eq!(key(&mut solo, b"\x02broken"), Some((Some(Refusal::KeyFailed), kind)));
    assert_eq!(key(&mut solo, b"\x02W-1"), Some((None, kind)));
    assert_eq!(solo.port().key, Some((KeyKind::P256, b"W-1".to_vec())));
    solo.heard.clear();
    solo.send(Control::Read { address: REQUEST_ADDRESS, len: 5 });
    assert_eq!(solo.replies().next(), Some(Reply::Memory(REQUEST_ADDRESS, b"\x03\0W-1")));
    solo.board.node.port_mut().protection = Protection::Level1;
    assert_eq!(key(&mut solo, b"\x01W-2"), Some((Some(Refusal::Protected), kind)));
    assert_eq!(solo.port().key, Some((KeyKind::P256, b"W-1".to_vec())), "a locked chip keeps its key");
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

//! One host and many nodes on one bus: everybody ends with the image, or with a reason.

use crate::util::bus::{Board, Bus};
use crate::util::flash::Port;
use crate::util::run::{LIMIT, holds, image, options, units};
use crate::util::{APP, BASE, uid};
use panel_protocol::host::{Answer, BusEvent, Request};
use panel_protocol::ident::{Channel, Discovery, NodeId, uid_key};
use panel_protocol::message::{Control, HostMessage, IdentifyPart, NodeState, Refusal};
use panel_protocol::node::Uid;
use panel_protocol::reply::ImageState;
use panel_protocol::time::Span;
use std::collections::BTreeSet;

/// Boards with an old image, whose flash lets only the new image's units be erased.
fn boards(count: u8, buffers: usize) -> Vec<Board> {
    (0..count).map(|n| board(n, buffers)).collect()
}

fn board(n: u8, buffers: usize) -> Board {
    let mut port = Port::new(uid(n), Some(n.into()));
    port.soil(n.into());
    port.erasable = Some(units(&image(1)));
    Board::new(port, buffers)
}

fn node(n: u8) -> NodeId {
    NodeId::new(n).expect("a node number")
}

/// The node number that the board in this position got.
fn number(bus: &Bus, board: usize) -> NodeId {
    bus.boards[board].node.number().expect("a number")
}

#[test]
fn every_board_is_programmed_verified_and_committed_and_no_frame_is_sent_twice() {
    let mut bus = Bus::new(1, boards(21, 8));
    let image = image(1);
    let outcome = bus.update(&image, false);
    bus.assert_lawful();
    assert_eq!(outcome.committed.len(), 21, "{outcome:?}");
    assert!((0..21).all(|n| holds(&bus, n, &image)));
    assert_eq!(outcome.data, (image.frames(), 0));
}

#[test]
fn boards_that_miss_frames_all_end_with_the_image() {
    for (seed, loss) in (1..=12).zip([1, 5, 10, 20].into_iter().cycle()) {
        let mut boards = boards(9, 6);
        boards.iter_mut().for_each(|b| b.loss = loss);
        let mut bus = Bus::new(seed, boards);
        bus.host_loss = loss / 5;
        let image = image(seed);
        let outcome = bus.update(&image, false);
        bus.assert_lawful();
        assert_eq!(outcome.discovered.found.len(), 9, "seed {seed}");
        assert_eq!(outcome.committed.len(), 9, "seed {seed}, {loss} per mille: {outcome:?}");
        assert!((0..9).all(|n| holds(&bus, n, &image)), "seed {seed}");
    }
}

#[test]
fn the_union_of_what_boards_miss_is_sent_again_and_not_the_sum() {
    let mut bus = Bus::new(3, boards(21, 8));
    let mut repairing = false;
    bus.swallow = Some(Box::new(move |frame| match HostMessage::decode(frame) {
        Ok(HostMessage::Control(_, Control::Seek(seek))) => {
            repairing = seek.repair;
            false
        }
        Ok(HostMessage::Data(position, _)) => position.index == 77 && !repairing,
        _ => false,
    }));
    let image = image(1);
    bus.master.discover(bus.now, true);
    bus.run(LIMIT);
    let nodes: Vec<NodeId> = (0..21).map(node).collect();
    bus.master.program(bus.now, &image, &nodes, options(false));
    bus.run(LIMIT);
    bus.run_idle(LIMIT);
    let with_chunk_77 = 10; // eleven segments, one of them blank
    assert_eq!(bus.master.counters().repeated, with_chunk_77);
    assert!((0..21).all(|n| holds(&bus, n, &image)));
}

#[test]
fn a_second_run_over_good_boards_sends_no_data_and_erases_nothing() {
    let mut bus = Bus::new(4, boards(5, 8));
    let image = image(1);
    assert_eq!(bus.update(&image, false).committed.len(), 5);
    let erases: Vec<u64> = bus.boards.iter().map(|b| b.node.port().erases).collect();
    let outcome = bus.update(&image, true);
    assert_eq!((outcome.committed.len(), outcome.data), (5, (0, 0)));
    assert_eq!(bus.boards.iter().map(|b| b.node.port().erases).collect::<Vec<_>>(), erases);
    bus.assert_lawful();
}

#[test]
fn after_a_run_broken_off_only_the_rest_is_sent() {
    let mut bus = Bus::new(5, boards(5, 4));
    let image = image(1);
    bus.discover(true);
    let nodes: Vec<NodeId> = (0..5).map(node).collect();
    bus.master.program(bus.now, &image, &nodes, options(false));
    bus.run_until(LIMIT, |b| b.boards[0].node.port().programs >= 50);
    bus.master.stop();
    let now = bus.now;
    bus.boards.iter_mut().for_each(|b| b.restart(now));
    bus.run_idle(LIMIT);
    let outcome = bus.update(&image, true);
    assert_eq!(outcome.committed.len(), 5, "{outcome:?}");
    assert!((0..5).all(|n| holds(&bus, n, &image)));
    assert!(
        outcome.data.0 > 0 && outcome.data.0 < image.frames() * 3 / 4,
        "{:?} of {}",
        outcome.data,
        image.frames()
    );
    bus.assert_lawful();
}

#[test]
fn only_the_segments_that_changed_and_their_erase_units_are_sent() {
    let mut bus = Bus::new(6, boards(3, 4));
    let old = image(1);
    assert_eq!(bus.update(&old, false).committed.len(), 3);
    let mut regions: Vec<(u32, Vec<u8>)> = old
        .begin()
        .regions()
        .iter()
        .map(|r| (r.address, bus.boards[0].node.port().at(r.address, r.len as usize).to_vec()))
        .collect();
    regions[0].1[100] ^= 0x55;
    let new = panel_protocol::host::Image::new(crate::util::DEVICE, &regions, false).expect("two regions");
    let new = std::sync::Arc::new(new);
    let outcome = bus.update(&new, true);
    assert_eq!(outcome.committed.len(), 3);
    assert_eq!(outcome.data, (256, 0), "one segment of 2 KiB in a unit of its own");
    assert!((0..3).all(|n| holds(&bus, n, &new)));
    bus.assert_lawful();
}

#[test]
fn two_boards_with_one_uid_are_quarantined_and_neither_is_touched() {
    let mut boards = boards(6, 4);
    let mut twin = Port::new(uid(2), Some(40));
    twin.nonce = 0x1234;
    twin.soil(99);
    boards.push(Board::new(twin, 4));
    let before: Vec<Vec<u8>> = [2, 6].map(|n: usize| boards[n].node.port().bytes.clone()).into();
    let mut bus = Bus::new(7, boards);
    let image = image(1);
    let outcome = bus.update(&image, false);
    assert_eq!(outcome.committed.len(), 5, "{outcome:?}");
    assert_eq!(outcome.discovered.duplicates.len(), 1);
    let duplicate = &outcome.discovered.duplicates[0];
    assert_eq!((duplicate.uid, duplicate.straps.as_slice()), (uid(2), [2, 40].as_slice()));
    for (n, before) in [2, 6].into_iter().zip(before) {
        assert!(bus.boards[n].node.port().bytes == before, "board {n} was written to");
    }
}

#[test]
fn a_quarantine_holds_although_one_of_the_twins_is_deaf_at_times() {
    for seed in 0..30 {
        let mut twins: Vec<Board> = [1, 2]
            .map(|strap| {
                let mut port = Port::new(uid(2), Some(strap));
                port.nonce = u32::from(strap);
                Board::new(port, 4)
            })
            .into();
        twins[1].loss = 100;
        let mut bus = Bus::new(seed, twins);
        let found = bus.discover(true);
        for board in &bus.boards {
            assert!(board.node.number().is_none() || found.found.is_empty(), "seed {seed}: {found:?}");
        }
        let outcome = bus.update_nodes(&image(1), options(false), vec![node(0), node(1), node(2)]);
        for (n, board) in bus.boards.iter().enumerate() {
            let quiet = found.found.iter().all(|f| Some(f.node) != board.node.number());
            assert!(
                !quiet || board.node.port().programs == 0,
                "seed {seed}: twin {n} was programmed, {outcome:?}"
            );
        }
    }
}

#[test]
fn boards_that_share_a_discovery_key_get_numbers_of_their_own() {
    // Same wafer coordinates and low wafer bytes: equal 24-bit keys, different UIDs.
    let same_key = |n: u8| {
        let mut uid = uid(3);
        uid.0[11] = n;
        uid.0[5] = n / 2;
        uid
    };
    assert_eq!(uid_key(&same_key(0)), uid_key(&same_key(4)));
    let mut boards = boards(3, 4);
    boards.extend((0..5).map(|n| Board::new(Port::new(same_key(n), Some(100 + u16::from(n))), 4)));
    let mut bus = Bus::new(8, boards);
    let outcome = bus.update(&image(1), false);
    assert_eq!(outcome.discovered.found.len(), 8, "{:?}", outcome.discovered);
    let numbers: BTreeSet<NodeId> = outcome.discovered.found.iter().map(|f| f.node).collect();
    let uids: BTreeSet<Uid> = outcome.discovered.found.iter().map(|f| f.uid).collect();
    assert_eq!((numbers.len(), uids.len(), outcome.committed.len()), (8, 8, 8));
}

#[test]
fn discovery_of_64_boards_costs_what_the_specification_says() {
    let mut bus = Bus::new(21, boards(64, 1));
    assert_eq!(bus.discover(true).found.len(), 64);
    assert_eq!(bus.frames, 64 + 32 + 7 * 64 + 5);
}

#[test]
fn a_full_bus_of_128_boards_is_found_and_programmed() {
    let mut bus = Bus::new(9, boards(128, 4));
    bus.log = Some(Vec::new());
    let found = bus.discover(true);
    assert_eq!(found.found.len(), 128);
    for found in &found.found {
        assert_eq!((found.uid, found.strap), (uid(found.strap.expect("straps") as u8), found.strap));
        assert_eq!(number(&bus, usize::from(found.strap.expect("straps"))), found.node);
    }
    let answers = bus
        .log
        .take()
        .unwrap()
        .iter()
        .filter(|f| matches!(Channel::of(f.id()), Some(Channel::Discovery(Discovery::Key(_)))))
        .count();
    assert_eq!(answers, 128, "every board says its key once");
    let nodes = found.found.iter().map(|f| f.node).collect();
    let outcome = bus.update_nodes(&image(1), options(false), nodes);
    assert_eq!(outcome.committed.len(), 128);
    assert_eq!(outcome.data.1, 0);
    bus.assert_lawful();
}

#[test]
fn a_board_too_many_ends_discovery_with_a_mark_instead_of_never() {
    let mut bus = Bus::new(10, boards(130, 4));
    let found = bus.discover(true);
    assert_eq!((found.found.len(), found.garbled), (128, 2), "{found:?}");
}

#[test]
fn an_empty_bus_is_found_empty() {
    let mut bus = Bus::new(11, Vec::new());
    assert_eq!(bus.discover(true), Default::default());
}

#[test]
fn boards_with_one_buffer_hold_the_stream_and_lose_nothing() {
    for buffers in [1, 2, 3, 5] {
        let mut bus = Bus::new(12, boards(3, buffers));
        let outcome = bus.update(&image(1), false);
        assert_eq!(outcome.committed.len(), 3, "{buffers} buffers: {outcome:?}");
        assert_eq!(outcome.data.1, 0, "{buffers} buffers: frames repeated");
        assert!(buffers > 3 || bus.master.counters().holds > 0, "{buffers} buffers: no pause counted");
        bus.assert_lawful();
    }
}

#[test]
fn boards_with_few_buffers_that_miss_frames_do_not_lock_up() {
    for seed in 0..20 {
        let mut boards = boards(4, 1 + seed as usize % 4);
        boards.iter_mut().for_each(|b| b.loss = 20);
        let mut bus = Bus::new(seed, boards);
        let outcome = bus.update(&image(1), false);
        assert_eq!(outcome.committed.len(), 4, "seed {seed}: {outcome:?}");
        bus.assert_lawful();
    }
}

#[test]
fn a_single_board_that_holds_for_long_is_waited_for() {
    let mut bus = Bus::new(13, boards(1, 2));
    let mut slow = options(false);
    (slow.flash_time, slow.patience) = (Span::from_millis(60), Span::from_millis(1));
    bus.discover(true);
    let outcome = bus.update_nodes(&image(1), slow, vec![node(0)]);
    assert_eq!(outcome.committed.len(), 1, "{outcome:?}");
}

#[test]
fn a_board_that_dies_is_lost_and_the_others_go_on() {
    for after in [0, 3, 20, 60] {
        let mut bus = Bus::new(14, boards(6, 8));
        bus.discover(true);
        let image = image(1);
        let victim = number(&bus, 2);
        bus.events.clear();
        bus.master.program(bus.now, &image, &(0..6).map(node).collect::<Vec<_>>(), options(false));
        bus.run_until(LIMIT, |b| b.boards[2].node.port().operations >= after);
        bus.boards[2].dead = true;
        bus.run(LIMIT);
        let lost = bus.events.iter().any(|e| matches!(e, BusEvent::Lost { node, .. } if *node == victim));
        let complete = bus.events.iter().find_map(|e| match e {
            BusEvent::Streamed { complete, .. } => Some(complete.len()),
            _ => None,
        });
        assert!(lost, "after {after} operations");
        assert_eq!(complete, Some(5), "after {after} operations");
    }
}

#[test]
fn a_board_that_restarts_in_the_middle_is_lost_and_can_be_found_again() {
    let mut bus = Bus::new(15, boards(4, 8));
    bus.discover(true);
    let image = image(1);
    let victim = number(&bus, 1);
    bus.events.clear();
    bus.master.program(bus.now, &image, &(0..4).map(node).collect::<Vec<_>>(), options(false));
    bus.run_until(LIMIT, |b| b.boards[1].node.port().operations >= 20);
    let now = bus.now;
    bus.boards[1].restart(now);
    bus.run(LIMIT);
    assert!(bus.events.iter().any(|e| matches!(e, BusEvent::Lost { node, .. } if *node == victim)));
    let again = bus.discover(false);
    assert_eq!(again.found.iter().map(|f| f.uid).collect::<Vec<_>>(), [uid(1)]);
    let outcome = bus.update_nodes(&image, options(true), again.found.iter().map(|f| f.node).collect());
    assert_eq!(outcome.committed.len(), 1);
    assert!(holds(&bus, 1, &image));
    bus.assert_lawful();
}

#[test]
fn a_board_that_forgot_its_session_is_lost_and_says_so_in_its_status() {
    let mut bus = Bus::new(16, boards(3, 8));
    bus.discover(true);
    let image = image(1);
    let victim = number(&bus, 0);
    bus.events.clear();
    bus.master.program(bus.now, &image, &(0..3).map(node).collect::<Vec<_>>(), options(false));
    bus.run_until(LIMIT, |b| b.boards[0].node.port().operations >= 20);
    let (abort, now) = (HostMessage::Control(Some(victim), Control::Abort).to_frame(), bus.now);
    bus.boards[0].node.handle_frame(now, &abort);
    bus.run(LIMIT);
    let lost = bus.events.iter().find_map(|e| match e {
        BusEvent::Lost { node, last, .. } if *node == victim => *last,
        _ => None,
    });
    assert_eq!(lost.map(|s| s.state), Some(NodeState::Idle));
    let outcome = bus.update(&image, false);
    assert_eq!(outcome.committed.len(), 3, "{outcome:?}");
    bus.assert_lawful();
}

#[test]
fn a_deaf_board_is_left_behind_and_served_in_the_second_pass() {
    let mut boards = boards(8, 8);
    boards[5].loss = 600;
    let mut bus = Bus::new(17, boards);
    let image = image(1);
    bus.boards[5].loss = 0;
    bus.discover(true);
    let deaf = number(&bus, 5);
    bus.events.clear();
    bus.master.program(bus.now, &image, &(0..8).map(node).collect::<Vec<_>>(), options(false));
    bus.run_until(LIMIT, |b| b.boards[5].node.state() == NodeState::Receiving);
    bus.boards[5].loss = 600;
    bus.run(LIMIT);
    let streamed = bus.events.iter().find_map(|e| match e {
        BusEvent::Streamed { complete, stragglers, .. } => Some((complete.len(), stragglers.clone())),
        _ => None,
    });
    assert_eq!(streamed, Some((7, vec![deaf])));
    bus.boards[5].loss = 10;
    bus.events.clear();
    bus.master.catch_up(bus.now, &image, &[deaf], options(false));
    bus.run(LIMIT);
    assert!(
        bus.events.iter().any(|e| matches!(e, BusEvent::Streamed { complete, .. } if complete == &[deaf]))
    );
    bus.run_idle(LIMIT);
    assert!(holds(&bus, 5, &image));
    bus.assert_lawful();
}

#[test]
fn an_update_never_erases_the_unit_that_a_board_keeps_for_its_identity() {
    let mut boards = boards(2, 21);
    let identity = |board: &mut Board, address: u32| {
        let port = board.node.port_mut();
        port.facts.identity = Some(address);
        port.bytes[(address - BASE) as usize..][..16].fill(0x5A);
    };
    let beside = BASE + 0xC000 - 16; // in the last unit
    identity(&mut boards[0], APP + 0x400);
    identity(&mut boards[1], beside);
    let mut bus = Bus::new(22, boards);
    let outcome = bus.update(&image(1), false);
    assert_eq!(outcome.refused.get(&number(&bus, 0)), Some(&Refusal::Reserved));
    assert_eq!(bus.boards[0].node.port().operations, 0);
    assert_eq!(outcome.committed, BTreeSet::from([number(&bus, 1)]));
    assert_eq!(bus.boards[1].node.port().bytes[(beside - BASE) as usize..][..16], [0x5A; 16]);
}

#[test]
fn a_board_that_is_refused_takes_no_part_and_the_others_do() {
    let mut boards = boards(4, 8);
    boards[1].node.port_mut().facts.device_id = 0x431;
    boards[2].node.port_mut().facts.flash.app_base = APP + 0x1000;
    boards[3].node.port_mut().protection = panel_protocol::node::Protection::Level1;
    let mut bus = Bus::new(18, boards);
    let outcome = bus.update(&image(1), false);
    let refusal = |n| outcome.refused.get(&number(&bus, n)).copied();
    assert_eq!(refusal(1), Some(Refusal::WrongChip));
    assert_eq!(refusal(2), Some(Refusal::Reserved));
    assert_eq!(refusal(3), Some(Refusal::Protected));
    assert_eq!(outcome.committed, BTreeSet::from([number(&bus, 0)]));
    assert!((1..4).all(|n| bus.boards[n].node.port().operations == 0));
}

#[test]
fn what_a_board_says_of_itself_is_what_it_is() {
    let mut bus = Bus::new(19, boards(2, 5));
    let found = bus.discover(true).found[1];
    let info =
        match bus.ask_one(Request::Control(Control::Identify(IdentifyPart::Info)), found.node, Span::ZERO) {
            Some(Answer::Info(info)) => info,
            other => panic!("{other:?}"),
        };
    let profile =
        match bus.ask_one(Request::Control(Control::Identify(IdentifyPart::Profile)), found.node, Span::ZERO)
        {
            Some(Answer::Profile(profile)) => profile,
            other => panic!("{other:?}"),
        };
    let facts = bus.boards[1].node.port().facts;
    assert_eq!((info.device_id, info.hardware_revision, info.supply_mv), (facts.device_id, 3, 3300));
    assert_eq!((info.image, info.image_id), (ImageState::None, 0));
    assert_eq!(info.uid_check, panel_protocol::reply::uid_check(&found.uid, found.nonce));
    assert_eq!(info.profile_crc, panel_protocol::reply::profile_crc(&profile));
    assert_eq!((profile.flash, profile.buffers, profile.max_segments), (facts.flash, 5, 32));
}

#[test]
fn two_runs_from_one_seed_are_the_same_frame_for_frame() {
    let run = || {
        let mut boards = boards(5, 4);
        boards.iter_mut().for_each(|b| b.loss = 15);
        let mut bus = Bus::new(20, boards);
        bus.log = Some(Vec::new());
        bus.update(&image(1), false);
        (bus.now, bus.log)
    };
    assert!(run() == run());
}

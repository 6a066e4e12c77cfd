//! Each fault of the catalogue does to its board what it says, and nothing to the others.

use super::*;

#[test]
fn a_slow_board_overruns_its_three_deep_fifo_and_the_others_do_not() {
    let mut world = powered(2, &[(2, Fault::SlowService { service: Span(10_000) })]);
    for _ in 0..10 {
        world.host_send(0, &frame(0x400)).unwrap();
    }
    wait(&mut world, 1000);
    // One frame is in the processor, three in the FIFO.
    let slow = world.board_counters(2).unwrap();
    assert_eq!((slow.received, slow.overruns), (1, 6));
    wait(&mut world, 50_000);
    assert_eq!(world.board_counters(2).unwrap().received, 4);
    let quick = world.board_counters(1).unwrap();
    assert_eq!((quick.received, quick.overruns), (10, 0));
}

#[test]
fn a_frame_lost_by_one_board_is_delivered_to_all_others() {
    let mut world = powered(3, &[(2, Fault::Loss { rate: 1.0 })]);
    assert_eq!(slots_of(&echo(&mut world)), [1, 3]);
    // Slot 2 also missed the answers of the other two.
    assert_eq!(world.board_counters(2).unwrap().missed, 3);
    assert_eq!(world.bus_stats(0).errors(), 0);
}

#[test]
fn a_brown_out_restarts_the_board_with_that_cause_and_an_empty_memory() {
    let fault = Fault::BrownOut { when: Trigger::At(Span::from_millis(100)) };
    let mut world = powered(2, &[(2, fault)]);
    assert_eq!(echo(&mut world), [(1, ResetCause::PowerOn as u8, 1), (2, ResetCause::PowerOn as u8, 1)]);
    wait(&mut world, 100_000);
    // Slot 1 has heard two questions and the other's answer, slot 2 one question since it started again.
    assert_eq!(echo(&mut world), [(1, ResetCause::PowerOn as u8, 3), (2, ResetCause::BrownOut as u8, 1)]);
    assert_eq!(world.board_counters(2).unwrap().starts, 2);
}

#[test]
fn a_dead_board_never_answers_again_whatever_is_done_to_it() {
    let mut world = powered(2, &[(1, Fault::Dead { when: Trigger::At(Span::from_millis(130)) })]);
    assert_eq!(slots_of(&echo(&mut world)), [1, 2]);
    assert_eq!(world.current_ma(1), Some(35));
    wait(&mut world, 60_000);
    assert_eq!(world.current_ma(1), Some(5));
    world.set_power(&[1], false);
    assert_eq!(world.current_ma(1), Some(0));
    world.set_power(&[1], true);
    world.set_reset(&[1], true);
    world.set_reset(&[1], false);
    wait(&mut world, 60_000);
    assert_eq!(slots_of(&echo(&mut world)), [2]);
}

#[test]
fn a_board_can_die_when_an_address_has_been_programmed() {
    let mut world = powered(2, &[(1, Fault::Dead { when: Trigger::Programmed(PLACE + 100) })]);
    world.host_send(0, &frame(PROGRAM)).unwrap();
    world.host_send(0, &frame(ECHO)).unwrap();
    assert_eq!(slots_of(&answers(&wait(&mut world, 900))), [1, 2], "256 bytes take 1024 us");
    wait(&mut world, 300);
    assert_eq!(slots_of(&echo(&mut world)), [2]);
    assert_eq!(world.flash_bytes(1, PLACE, 256), Some(&[0x42; 256][..]));
}

#[test]
fn a_babbling_board_fills_the_bus_until_its_power_is_cut() {
    let babbled = Frame::classical(Id::Standard(0x010), &[0xBA; 8]).unwrap();
    let babble = Fault::Babbling { at: Span::from_millis(30), frame: babbled };
    let mut world = powered(3, &[(3, babble)]);
    wait(&mut world, 10_000);
    let before = world.bus_stats(0);
    world.host_send(0, &frame(ECHO)).unwrap();
    let seen = wait(&mut world, 10_000);
    assert!(answers(&seen).is_empty());
    assert!(
        seen.iter()
            .all(|e| matches!(e, HostEvent::Received { frame, .. } if frame.id() == Id::Standard(0x010)))
    );
    let busy = world.bus_stats(0).since(&before).busy();
    assert!(busy.0 >= 9_800, "{busy:?} of 10 ms");
    world.set_power(&[3], false);
    assert_eq!(slots_of(&answers(&wait(&mut world, 10_000))), [1, 2]);
    assert_eq!(world.bus_stats(0).broken, 1, "the frame it was sending broke off");
    world.set_power(&[3], true);
    wait(&mut world, START_UP);
    assert!(echo(&mut world).is_empty(), "it babbles as soon as it starts again");
    world.set_reset(&[3], true);
    assert_eq!(slots_of(&answers(&wait(&mut world, 10_000))), [1, 2]);
}

#[test]
fn a_board_stuck_in_bus_off_neither_hears_nor_acknowledges() {
    let mut world = powered(2, &[(1, Fault::BusOff { at: Span::from_millis(120) })]);
    assert_eq!(slots_of(&echo(&mut world)), [1, 2]);
    wait(&mut world, 50_000);
    assert_eq!(slots_of(&echo(&mut world)), [2]);
    world.set_power(&[2], false);
    world.host_send(0, &frame(ECHO)).unwrap();
    assert!(wait(&mut world, 1000).iter().any(|e| matches!(e, HostEvent::NoAck { .. })));
    assert_eq!(world.current_ma(1), Some(35), "it looks alive to the fixture");
}

#[test]
fn a_board_can_fall_mute_after_its_first_erase_and_still_hear() {
    let mut world = powered(2, &[(1, Fault::MuteAfterErase)]);
    assert_eq!(slots_of(&echo(&mut world)), [1, 2]);
    world.host_send(0, &frame(ERASE)).unwrap();
    wait(&mut world, 300_000);
    let heard = world.board_counters(1).unwrap().received;
    assert_eq!(slots_of(&echo(&mut world)), [2]);
    assert_eq!(world.board_counters(1).unwrap().received, heard + 2);
    world.set_reset(&[1], true);
    world.set_reset(&[1], false);
    wait(&mut world, START_UP);
    assert_eq!(slots_of(&echo(&mut world)), [1, 2]);
}

#[test]
fn faults_of_what_is_fitted_show_in_the_boards_facts() {
    let g474 = crate::chip::Chip::by_name("G474").unwrap();
    let world = panel(
        6,
        &[
            (1, Fault::WrongChip { chip: g474 }),
            (2, Fault::WrongRevision { revision: 9 }),
            (3, Fault::SameUid { slot: 2 }),
            (4, Fault::Protected { level: Protection::Level1 }),
            (5, Fault::Absent),
            (6, Fault::SupplyLow { millivolts: 2500 }),
        ],
    );
    assert_eq!(world.boards[0].hardware().facts.device_id, 0x469);
    assert_eq!(world.boards[1].hardware().facts.hardware_revision, 9);
    assert_eq!(world.uid(3), world.uid(2));
    assert_ne!(world.uid(3), world.uid(1));
    assert_eq!(world.options(4).unwrap().protection, Protection::Level1);
    assert!(!world.is_fitted(5) && world.is_fitted(6));
    assert_eq!(world.boards[5].hardware().supply_mv, 2500);
}

#[test]
fn an_empty_slot_draws_nothing_and_says_nothing() {
    let mut world = powered(2, &[(1, Fault::Absent)]);
    assert_eq!((world.current_ma(1), world.is_powered(1)), (Some(0), false));
    assert_eq!(slots_of(&echo(&mut world)), [2]);
    assert_eq!(world.current_ma(99), None);
}

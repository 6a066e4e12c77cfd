//! The bus alone: endpoints that are driven by hand.

use super::*;
use crate::rng::Rng;

const MICRO: u64 = 1000;

fn bus(boards: usize, corruption: f64) -> Bus {
    let mut bus = Bus::new(BusSpeed::CAN_1M, boards + 1, Rate::new(corruption), Rng::new(5, 0));
    (0..=boards).for_each(|e| bus.connect(e, false));
    bus
}

fn frame(id: u16, payload: &[u8]) -> Frame {
    Frame::classical(Id::Standard(id), payload).unwrap()
}

/// Runs until `until` and returns what happened: time, outcome, first sender.
fn run(bus: &mut Bus, until: u64) -> Vec<(u64, Outcome, Option<usize>)> {
    let mut seen = Vec::new();
    while bus.due() <= until {
        let now = bus.due();
        let outcome = bus.run(now);
        if outcome != Outcome::Quiet {
            seen.push((now, outcome, bus.senders().iter().next()));
        }
    }
    seen
}

#[test]
fn the_lowest_identifier_wins_and_the_others_follow_back_to_back() {
    let mut bus = bus(3, 0.0);
    for (e, id) in [(1, 0x300), (2, 0x100), (3, 0x200)] {
        assert!(bus.submit(e, &frame(id, &[1, 2]), 0));
    }
    let seen = run(&mut bus, 1_000_000);
    let order: Vec<_> = seen.iter().map(|s| s.2.unwrap()).collect();
    assert_eq!(order, [2, 3, 1]);
    let bits: Vec<u64> =
        [0x100, 0x200, 0x300].map(|id| u64::from(bits::length(&frame(id, &[1, 2])).total())).into();
    // The end seen is that of the last bit; the interframe space follows.
    assert_eq!(seen[0].0, (bits[0] - 3) * MICRO);
    assert_eq!(seen[2].0, (bits[0] + bits[1] + bits[2] - 3) * MICRO);
    assert_eq!(bus.stats().busy_ns, bits.iter().sum::<u64>() * MICRO);
}

#[test]
fn a_frame_that_becomes_ready_while_another_is_sent_waits_and_then_competes() {
    let mut bus = bus(2, 0.0);
    bus.submit(1, &frame(0x400, &[0; 8]), 0);
    bus.submit(1, &frame(0x401, &[0; 8]), 0);
    bus.submit(2, &frame(0x080, &[]), 50 * MICRO);
    let order: Vec<_> = run(&mut bus, 1_000_000).iter().map(|s| s.2.unwrap()).collect();
    assert_eq!(order, [1, 2, 1]);
}

#[test]
fn identical_frames_sent_together_merge_into_one() {
    let mut bus = bus(64, 0.0);
    (1..=64).for_each(|e| assert!(bus.submit(e, &frame(0x300, &[7; 8]), 0)));
    let seen = run(&mut bus, 1_000_000);
    assert_eq!(seen.len(), 1);
    assert_eq!(bus.senders().len(), 64);
    assert_eq!((bus.stats().frames, bus.stats().merged, bus.stats().errors()), (1, 63, 0));
    assert!((1..=64).all(|e| !bus.controller(e).has_mail() && bus.controller(e).tec() == 0));
}

#[test]
fn equal_identifiers_with_different_data_destroy_each_other_as_published() {
    // Contenders, attempts, delivered, driven bus-off.
    for (contenders, attempts, delivered, off) in
        [(2, 18, 2, 0), (8, 24, 8, 0), (16, 32, 16, 0), (20, 32, 16, 4), (32, 32, 16, 16), (64, 32, 16, 48)]
    {
        let mut bus = bus(contenders, 0.0);
        let mut rng = Rng::new(11, contenders as u64);
        for e in 1..=contenders {
            let mut payload = [0; 8];
            rng.fill(&mut payload[..6]);
            bus.submit(e, &frame(0x300, &payload), 0);
        }
        // Bus-off lasts 1.4 ms of idle bus; nobody comes back while the others still send.
        let mut seen = Vec::new();
        while bus.sample_at() != NEVER || bus.phase != Phase::Idle {
            let now = bus.due();
            let outcome = bus.run(now);
            if outcome != Outcome::Quiet {
                seen.push(outcome);
            }
        }
        let frames = seen.iter().filter(|o| **o == Outcome::Delivered).count();
        assert_eq!((seen.len(), frames), (attempts, delivered), "{contenders} contenders");
        assert_eq!(bus.stats().bus_off, off, "{contenders} contenders");
        assert_eq!(bus.stats().collisions, attempts as u64 - delivered as u64);
    }
}

#[test]
fn a_lone_transmitter_becomes_passive_but_never_bus_off() {
    let mut bus = bus(1, 0.0);
    bus.disconnect(1);
    bus.submit(0, &frame(0x123, &[1]), 0);
    let seen = run(&mut bus, 100_000 * MICRO);
    assert!(seen.len() > 500);
    assert!(seen.iter().all(|s| s.1 == Outcome::Destroyed(ErrorKind::NoAcknowledge)));
    assert_eq!(bus.controller(0).tec(), 128);
    assert!(bus.controller(0).is_passive() && !bus.is_off(0));
    // A listener appears: the frame goes through at last.
    bus.connect(1, false);
    assert_eq!(run(&mut bus, 100_400 * MICRO).last().unwrap().1, Outcome::Delivered);
    assert_eq!(bus.due(), NEVER);
}

#[test]
fn noise_is_seen_by_everybody_and_the_frame_is_sent_again() {
    let mut bus = bus(2, 0.05);
    let mut delivered = 0;
    let mut now = 0;
    for i in 0..2000 {
        bus.submit(0, &frame(0x400 + i % 256, &[0x5A; 8]), now);
        loop {
            now = bus.due();
            match bus.run(now) {
                Outcome::Delivered => break,
                Outcome::Destroyed(kind) => assert!(matches!(kind, ErrorKind::Noise | ErrorKind::LastBit)),
                Outcome::Quiet => {}
            }
        }
        delivered += 1;
    }
    assert_eq!(bus.stats().frames, delivered);
    let noise = bus.stats().noise;
    assert!((60..160).contains(&noise), "{noise} of 2000 frames at 5 %");
    assert!(bus.stats().last_bit <= noise / 20);
    assert!(bus.controller(0).tec() < 128 && bus.controller(1).rec() < 128);
    assert_eq!(u64::from(bus.controller(2).errors()), noise);
}

#[test]
fn bus_off_ends_after_128_times_11_recessive_bits() {
    let mut bus = bus(20, 0.0);
    for e in 1..=20u8 {
        bus.submit(usize::from(e), &frame(0x300, &[e]), 0);
    }
    let seen = run(&mut bus, 20_000 * MICRO);
    assert_eq!(bus.stats().bus_off, 4);
    // The four come back together, collide again, and are heard in the end.
    assert_eq!(seen.iter().filter(|s| s.1 == Outcome::Delivered).count(), 20);
    let back = seen[32].0 - seen[31].0;
    assert!((1_400 * MICRO..1_500 * MICRO).contains(&back), "{back} ns");
    assert!((1..=20).all(|e| !bus.is_off(e)));
}

#[test]
fn a_classical_controller_destroys_fd_frames_until_it_is_passive() {
    let mut bus = Bus::new(BusSpeed::FD_1M_5M, 3, Rate::default(), Rng::new(1, 1));
    bus.connect(0, true);
    bus.connect(1, true);
    bus.connect(2, false);
    bus.submit(0, &Frame::fd(Id::Standard(0x400), &[3; 64]).unwrap(), 0);
    let seen = run(&mut bus, 100_000 * MICRO);
    let destroyed = seen.iter().filter(|s| s.1 == Outcome::Destroyed(ErrorKind::NotFd)).count();
    assert_eq!((destroyed, seen.len()), (15, 16));
    assert!(bus.controller(2).is_passive() && !bus.is_off(0));
    assert!(!bus.receivers().contains(2) && bus.receivers().contains(1));
}

#[test]
fn a_controller_at_another_rate_destroys_frames_but_not_where_rates_are_of_no_account() {
    for ignored in [false, true] {
        let mut bus = bus(2, 0.0);
        bus.set_rate(2, 125_000);
        if ignored {
            bus.ignore_rates();
        }
        bus.submit(1, &frame(0x100, &[1]), 0);
        let first = run(&mut bus, 300 * MICRO).first().map(|seen| seen.1);
        let expected = if ignored { Outcome::Delivered } else { Outcome::Destroyed(ErrorKind::WrongRate) };
        assert_eq!(first, Some(expected));
    }
}

#[test]
fn a_frame_whose_transmitter_vanishes_is_broken_and_not_repeated() {
    let mut bus = bus(2, 0.0);
    bus.submit(1, &frame(0x10, &[1; 8]), 0);
    assert_eq!(bus.run(bus.due()), Outcome::Quiet);
    bus.disconnect(1);
    let seen = run(&mut bus, 1_000_000);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].1, Outcome::Destroyed(ErrorKind::Broken));
    assert_eq!(bus.due(), NEVER);
}

#[test]
fn who_comes_up_in_the_middle_of_a_frame_does_not_receive_it() {
    let mut bus = bus(2, 0.0);
    bus.disconnect(2);
    bus.submit(0, &frame(0x10, &[1; 8]), 0);
    bus.run(bus.due());
    bus.connect(2, false);
    assert_eq!(run(&mut bus, 200 * MICRO).len(), 1);
    assert!(!bus.receivers().contains(2) && bus.receivers().contains(1));
    bus.submit(0, &frame(0x11, &[]), 200 * MICRO);
    run(&mut bus, 400 * MICRO);
    assert!(bus.receivers().contains(2));
}

#[test]
fn a_random_base_frame_takes_as_long_as_published_at_1_mbit() {
    let mut bus = bus(1, 0.0);
    let mut rng = Rng::new(3, 3);
    let frames = 5000;
    for i in 0..frames {
        let mut payload = [0; 8];
        rng.fill(&mut payload);
        bus.submit(0, &frame((i % 2048) as u16, &payload), bus.free_at);
        run(&mut bus, u64::MAX - 1);
    }
    let micros = bus.stats().busy_ns as f64 / 1000.0 / f64::from(frames);
    assert!((micros - 114.3).abs() < 0.4, "{micros}");
}

#[test]
fn noise_in_the_last_bit_delivers_a_frame_twice() {
    let mut bus = bus(1, 0.3);
    let (mut taken, frames) = (0, 4000);
    for _ in 0..frames {
        bus.submit(0, &frame(0x300, &[]), bus.free_at);
        while bus.due() != NEVER {
            match bus.run(bus.due()) {
                Outcome::Delivered | Outcome::Destroyed(ErrorKind::LastBit) => taken += 1,
                Outcome::Destroyed(_) | Outcome::Quiet => {}
            }
        }
    }
    assert_eq!(taken - frames, bus.stats().last_bit);
    assert!((10..100).contains(&bus.stats().last_bit), "{:?}", bus.stats());
}

//! The multidrop bound of cases small enough to be added up by hand, and what must hold for any.

use super::*;
use crate::EraseUnit;
use core::num::NonZeroU32;
use proptest::prelude::*;

const MEGABIT: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();
const CLASSICAL: BusSpeed = BusSpeed::Classical { bit_rate: MEGABIT };
const FD: BusSpeed = BusSpeed::Fd { nominal: MEGABIT, data: NonZeroU32::new(5_000_000).unwrap() };
const START: u32 = 0x0800_0000;

/// Four pages of 2 KiB and two of 16 KiB; 8 bytes are programmed at a time.
fn flash() -> FlashTimes {
    let unit = |address, size, typical_ns| EraseUnit { address: START + address, size, typical_ns };
    FlashTimes {
        units: vec![
            unit(0, 0x800, 1_000),
            unit(0x800, 0x800, 2_000),
            unit(0x1000, 0x800, 4_000),
            unit(0x1800, 0x800, 8_000),
            unit(0x2000, 0x4000, 16_000),
            unit(0x6000, 0x4000, 32_000),
        ],
        program_unit: NonZeroU32::new(8).unwrap(),
        program_typical_ns: 10,
    }
}

fn job<'a>(
    bus: BusSpeed,
    boards: u32,
    regions: &'a [(u32, &'a [u8])],
    flash: &'a FlashTimes,
) -> Multidrop<'a> {
    let power = PowerOn { fixture_ns: 300, start_up_ns: 77 };
    Multidrop { bus, boards, regions, flash, power }
}

fn bound(bus: BusSpeed, boards: u32, regions: &[(u32, &[u8])]) -> Bound {
    job(bus, boards, regions, &flash()).bound()
}

#[test]
fn an_image_that_waits_in_a_second_slot_is_erased_for_and_programmed_once_more() {
    let direct = bound(CLASSICAL, 3, &[(START + 0x2000, &[7; 64])]);
    let staged = direct.installed();
    assert_eq!((direct.install_ns, staged.install_ns), (0, 16_000 + 8 * 10));
    assert_eq!(staged.total_ns, direct.total_ns + staged.install_ns);
}

#[test]
fn two_frames_to_two_boards_cost_what_the_hand_adds_up() {
    // Identifiers 0x400 and 0x401; 127 bits are those of eight zeros under 0x400, see the frame tests.
    let second = crate::frame::classical(Id::Standard(0x401), &[1, 2]).nominal;
    let bound = bound(CLASSICAL, 2, &[(START, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 2])]);
    assert_eq!(
        bound,
        Bound {
            power_ns: 377,
            load_ns: 0,
            discover_ns: 2 * 4 * 68_000,
            bus_ns: (127 + u64::from(second)) * 1000,
            erase_ns: 1_000,
            program_ns: 2 * 10,
            verify_ns: 2 * 111_000,
            install_ns: 0,
            latency_ns: 0,
            total_ns: 377 + 544_000 + (127 + u64::from(second)) * 1000 + 222_000,
            frames: 2,
            bits: 127 + u64::from(second),
        }
    );
}

#[test]
fn an_fd_bus_is_charged_at_both_rates_and_uses_fd_for_short_frames_only_if_that_is_faster() {
    let image = [0x55; 64];
    let fast = bound(FD, 1, &[(START, &image)]);
    // 0 1 00000(1)00000(1)00 101: start of frame, identifier, RRS and IDE, then FDF, res, BRS.
    let data = crate::frame::fd(Id::Standard(0x400), &image);
    assert_eq!(data, crate::frame::FrameBits { nominal: 29 + 2, data: 550 });
    assert_eq!((fast.frames, fast.bits), (1, 581));
    assert_eq!(fast.bus_ns, 31_000 + 550 * 200);
    assert!(fast.discover_ns < 4 * 68_000 && fast.verify_ns < 111_000);

    let slow = bound(BusSpeed::Fd { nominal: MEGABIT, data: MEGABIT }, 1, &[(START, &image)]);
    assert_eq!((slow.discover_ns, slow.verify_ns), (4 * 68_000, 111_000));
}

#[test]
fn blank_frames_cost_nothing_and_numbering_goes_on_behind_them() {
    let mut image = vec![0xFF; 4096];
    image[..8].fill(0);
    image[2056..2064].fill(0);
    let bound = bound(CLASSICAL, 1, &[(START, &image)]);
    let behind = crate::frame::classical(Id::Standard(0x501), &[0; 8]).nominal;
    assert_eq!((bound.frames, bound.bits), (2, 127 + u64::from(behind)));
    assert_eq!(bound.program_ns, 2 * 10);
    // What the region spans must be erased, blank or not.
    assert_eq!(bound.erase_ns, 1_000 + 2_000);
}

#[test]
fn an_image_cut_into_adjoining_regions_costs_the_same_as_in_one() {
    let image: Vec<u8> = (0..1000u32).map(|i| (i * i) as u8).collect();
    let whole = bound(FD, 3, &[(START + 4, &image)]);
    let (a, b) = image.split_at(333);
    assert_eq!(bound(FD, 3, &[(START + 4, a), (START + 337, b)]), whole);
    assert_eq!(bound(FD, 3, &[(START + 337, b), (START + 337, &[]), (START + 4, a)]), whole);
}

#[test]
fn a_region_behind_a_gap_is_cut_from_its_own_first_address() {
    let image = [0u8; 8];
    // 12 bytes further on, so that a grid running on would cut it in two.
    let bound = bound(CLASSICAL, 1, &[(START, &image), (START + 20, &image)]);
    assert_eq!((bound.frames, bound.bits), (2, 2 * 127));
    // But not programmed from there: bytes 20 to 28 lie in two units of 8.
    assert_eq!(bound.program_ns, 3 * 10);
}

#[test]
fn erase_and_program_hide_behind_the_bus_or_the_bus_behind_them() {
    let image = [0; 64];
    let mut flash = flash();
    let bus = job(CLASSICAL, 1, &[(START, &image)], &flash).bound();
    assert_eq!(bus.total_ns, bus.power_ns + bus.discover_ns + bus.bus_ns + bus.verify_ns);
    flash.program_typical_ns = 1_000_000;
    let slow = job(CLASSICAL, 1, &[(START, &image)], &flash).bound();
    assert_eq!(slow.program_ns, 8_000_000);
    assert_eq!(slow.total_ns, slow.power_ns + slow.discover_ns + 8_001_000 + slow.verify_ns);
}

#[test]
fn one_by_one_repeats_the_transfer_and_nothing_else() {
    let image = [0; 64];
    let flash = flash();
    let regions = [(START, &image[..])];
    let job = job(CLASSICAL, 5, &regions, &flash);
    let (together, apart) = (job.bound(), job.one_by_one());
    assert_eq!(apart.total_ns, together.total_ns + 4 * together.bus_ns);
    assert_eq!((apart.frames, apart.erase_ns), (5 * together.frames, 5 * together.erase_ns));
    assert_eq!(Multidrop { boards: 1, ..job }.one_by_one(), Multidrop { boards: 1, ..job }.bound());
}

#[test]
fn nothing_to_do_takes_no_time_and_the_last_address_is_an_address() {
    assert_eq!(bound(CLASSICAL, 0, &[(START, &[0])]), Bound::default());
    let empty = bound(FD, 1, &[]);
    assert_eq!((empty.bus_ns, empty.erase_ns, empty.program_ns), (0, 0, 0));
    assert_eq!(bound(FD, 1, &[(u32::MAX, &[0, 0])]).frames, 1);
    let endless = FlashTimes { program_typical_ns: u64::MAX, ..flash() };
    assert_eq!(job(FD, u32::MAX, &[(0, &[0; 99])], &endless).one_by_one().total_ns, u64::MAX);
}

proptest! {
    #[test]
    fn more_boards_never_take_less_time(boards in 1u32..200, more in 0u32..200, image in any::<[u8; 100]>()) {
        let few = bound(CLASSICAL, boards, &[(START, &image)]);
        let many = bound(CLASSICAL, boards + more, &[(START, &image)]);
        prop_assert!(many.total_ns >= few.total_ns);
        prop_assert_eq!(many.bus_ns, few.bus_ns);
    }

    #[test]
    fn a_longer_image_never_takes_less_time(
        image in proptest::collection::vec(any::<u8>(), 1..3000),
        cut in any::<proptest::sample::Index>(),
    ) {
        // In whole frames: a frame that is filled up may lose stuff bits of its CRC.
        let cut = cut.index(image.len()) & !7;
        let short = bound(CLASSICAL, 3, &[(START, &image[..cut])]);
        let long = bound(CLASSICAL, 3, &[(START, &image)]);
        prop_assert!(short.total_ns <= long.total_ns && short.program_ns <= long.program_ns);
        prop_assert!(short.erase_ns <= long.erase_ns && short.bits <= long.bits);
    }

    #[test]
    fn the_bus_time_lies_between_that_of_frames_without_and_with_all_stuff_bits(
        image in proptest::collection::vec(0u8..0xFF, 1..2000),
    ) {
        let bound = bound(CLASSICAL, 1, &[(START, &image)]);
        let (frames, bytes) = (image.len().div_ceil(8) as u64, image.len() as u64);
        prop_assert_eq!(bound.frames, frames);
        prop_assert!((47 * frames + 8 * bytes..=55 * frames + 10 * bytes).contains(&bound.bits));
        prop_assert_eq!(bound.bus_ns, bound.bits * 1000);
    }
}

//! The bound of ROM conversations against byte and bit counts from the application notes.

use super::*;
use crate::EraseUnit;

const START: u32 = 0x0800_0000;

const fn rate(bits_per_second: u32) -> NonZeroU32 {
    NonZeroU32::new(bits_per_second).unwrap()
}

/// Eight pages of 1 KiB, half-words, as on an F1.
fn flash() -> FlashTimes {
    let unit = |i: u32| EraseUnit { address: START + i * 0x400, size: 0x400, typical_ns: 30_000_000 };
    FlashTimes { units: (0..8).map(unit).collect(), program_unit: rate(2), program_typical_ns: 52_500 }
}

fn job<'a>(link: RomLink, regions: &'a [(u32, &'a [u8])], flash: &'a FlashTimes) -> Rom<'a> {
    let power = PowerOn { fixture_ns: 500, start_up_ns: 11 };
    Rom { link, boards: 1, regions, flash, mass_erase_ns: None, power, latency_ns: 0 }
}

fn uart(baud: u32) -> RomLink {
    RomLink::Uart { baud: rate(baud) }
}

const CAN: RomLink = RomLink::Can { bit_rate: rate(1_000_000) };
const FDCAN: RomLink = RomLink::Fdcan { nominal: rate(250_000), data: rate(1_000_000) };

#[test]
fn a_block_on_a_uart_is_268_characters_each_way_and_its_flash_time() {
    let (flash, block) = (flash(), [0; 256]);
    // 110,000 baud: a character takes 100 us.
    let bound = job(uart(110_000), &[(START, &block)], &flash).bound();
    assert_eq!(
        bound,
        Bound {
            power_ns: 511,
            load_ns: 0,
            discover_ns: 900_000,
            bus_ns: (268 + 7) * 100_000,
            erase_ns: 30_000_000,
            program_ns: 6_720_000,
            verify_ns: 26_800_000,
            install_ns: 0,
            latency_ns: 0,
            total_ns: 511 + 900_000 + 27_500_000 + 30_000_000 + 6_720_000 + 26_800_000,
            frames: 275,
            bits: 275 * 11,
        }
    );
    // The published 25.6 ms at 115200 baud.
    let verify_ns = job(uart(115_200), &[(START, &block)], &flash).bound().verify_ns;
    assert_eq!(verify_ns, 268 * 11 * 1_000_000_000 / 115_200);
}

#[test]
fn blank_blocks_are_neither_written_nor_read_back_but_erased() {
    let flash = flash();
    let mut image = vec![0xFF; 2048];
    image[700] = 1;
    let bound = job(uart(110_000), &[(START, &image)], &flash).bound();
    assert_eq!(bound.verify_ns, 26_800_000);
    assert_eq!(bound.erase_ns, 60_000_000);
    assert_eq!(bound.frames, 268 + 8);
}

#[test]
fn a_block_that_is_covered_in_part_costs_the_words_that_are_covered() {
    let flash = flash();
    // 0xFE to 0x105: one word of the first block (0xFC to 0x100) and two of the second (0x100 to 0x108).
    let bound = job(uart(110_000), &[(START + 0xFE, &[0; 7])], &flash).bound();
    assert_eq!(bound.verify_ns, (12 + 4 + 12 + 8) * 100_000);
    assert_eq!(bound.program_ns, 6 * 52_500);
}

#[test]
fn a_mass_erase_is_taken_if_it_is_quicker() {
    let flash = flash();
    let regions = [(START, &[0u8; 2048][..])];
    let pages = job(uart(110_000), &regions, &flash);
    assert_eq!(pages.bound().erase_ns, 60_000_000);
    let slow = Rom { mass_erase_ns: Some(60_000_001), ..pages };
    assert_eq!(slow.bound(), pages.bound());
    let quick = Rom { mass_erase_ns: Some(40_000_000), ..pages };
    assert_eq!(quick.bound().erase_ns, 40_000_000);
    assert_eq!(quick.bound().frames, pages.bound().frames - 2);
}

#[test]
fn latency_is_charged_three_times_a_block_each_way() {
    let flash = flash();
    let regions = [(START, &[0u8; 2048][..])];
    let wire = job(uart(115_200), &regions, &flash);
    let usb = Rom { latency_ns: 16_000_000, ..wire };
    assert_eq!(usb.bound().latency_ns, 8 * 6 * 16_000_000);
    assert_eq!(usb.bound().total_ns, wire.bound().total_ns + usb.bound().latency_ns);
}

#[test]
fn uarts_work_in_parallel_and_boards_on_can_one_after_the_other() {
    let flash = flash();
    let regions = [(START, &[0u8; 2048][..])];
    let one = job(uart(115_200), &regions, &flash);
    let many = Rom { boards: 21, ..one };
    assert_eq!(many.bound(), one.bound());
    assert_eq!(many.one_by_one().total_ns, 21 * (one.bound().total_ns - 500) + 500);

    for link in [CAN, FDCAN] {
        let one = Rom { link, ..one };
        let many = Rom { link, ..many };
        assert_eq!(many.bound().total_ns, 21 * (one.bound().total_ns - 500) + 500);
        assert_eq!(many.bound(), many.one_by_one());
    }
    assert_eq!(Rom { boards: 0, ..one }.bound(), Bound::default());
}

#[test]
fn blocks_on_can_have_the_published_bits_and_the_stuff_bits_of_their_contents() {
    // Published without stuffing: 5509 bits for a write, 3749 for a read, of 256 bytes.
    let block: Vec<u8> = (0..=255u8).map(|i| i.wrapping_mul(0x9D) ^ 0x55).collect();
    let (mut write, mut read) = (Wire::default(), Wire::default());
    let waits = CAN.write(&mut write, u64::from(START), &block);
    assert_eq!((waits, write.frames), (33, 1 + 1 + 2 * 32 + 1));
    assert_eq!(CAN.read(&mut read, u64::from(START), &block), 1);
    assert_eq!(read.frames, 1 + 1 + 32 + 1);
    assert!((5509..=5509 * 12 / 10).contains(&write.bits()), "{write:?}");
    assert!((3749..=3749 * 12 / 10).contains(&read.bits()), "{read:?}");
    // Request and acknowledgements of both are alike but for the identifier: data frames make the difference.
    let stuffed = write.bits() - 5509;
    assert!(stuffed > 5509 * 3 / 100, "{stuffed} stuff bits");
}

#[test]
fn a_block_on_fdcan_takes_the_published_3_2_milliseconds() {
    // Four frames of 666 us, a request of 189 us, two acknowledgements of 157 us, and stuff bits.
    let block: Vec<u8> = (0..=255u8).map(|i| i.wrapping_mul(0x9D) ^ 0x55).collect();
    let mut wire = Wire::default();
    assert_eq!(FDCAN.write(&mut wire, u64::from(START), &block), 2);
    assert_eq!(wire.frames, 7);
    let us = FDCAN.ns(&wire) / 1000;
    assert!((3167..=3167 * 106 / 100).contains(&us), "{us} us");
}

#[test]
fn can_begins_at_125_kbit_and_changes_speed_only_if_it_must() {
    let stay = RomLink::Can { bit_rate: CAN_START_RATE }.connect_ns();
    let change = CAN.connect_ns();
    // Two empty frames and two or three short ones at 8 us a bit, at least; the change pays for itself.
    assert!(stay > 6 * 47 * 8_000, "{stay}");
    assert!(change > 4 * 47 * 8_000 && change < stay, "{change}");
}

//! Frame lengths against bit strings written out by hand, and against published limits and averages.

use super::*;
use proptest::prelude::*;

const fn nominal(bits: u32) -> FrameBits {
    FrameBits { nominal: bits, data: 0 }
}

/// SplitMix64: bytes without a pattern, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.next() as u8)
    }
}

/// Mean length of `count` frames with random identifiers and contents.
fn mean<const N: usize>(count: u32, length: impl Fn(u32, &[u8]) -> f64) -> f64 {
    let mut random = Random(7);
    (0..count).map(|_| length(random.next() as u32, &random.bytes::<N>())).sum::<f64>() / f64::from(count)
}

#[test]
fn crc15_has_the_check_value_of_the_catalogue() {
    let mut bits = BitString::default();
    for byte in *b"123456789" {
        bits.put(u32::from(byte), 8);
    }
    assert_eq!(crc15(bits), 0x059E);
}

#[test]
fn a_frame_of_zeros_has_six_stuff_bits_in_its_34_zeros() {
    // 00000(1)00000(1)00000(1)00000(1)00000(1)00000(1)0000: the CRC of zeros is zero; 13 bits follow.
    assert_eq!(classical(Id::Standard(0), &[]), nominal(34 + 6 + 13));
}

#[test]
fn classical_frames_have_the_length_of_their_bits_written_out() {
    // Stuff bits in brackets. SOF, identifier, RTR IDE r0, length code, data, CRC.
    //   0 10101010101 000 00(1)00 000110011101001
    assert_eq!(classical(Id::Standard(0x555), &[]), nominal(34 + 1 + 13));
    //   0 11111(0)111111 -> 0 11111(0)11111(0)1 000 00(1)00 ...
    assert_eq!(classical(Id::Standard(0x7FF), &[]), nominal(34 + 3 + 13));
    //   0 00100100011 000 0100 DE AD BE EF 001110011010111 with two runs of five
    assert_eq!(classical(Id::Standard(0x123), &[0xDE, 0xAD, 0xBE, 0xEF]), nominal(66 + 2 + 13));
    assert_eq!(classical(Id::Standard(0x400), &[0; 8]), nominal(98 + 16 + 13));
    assert_eq!(classical(Id::Standard(0x400), &[0, 1, 2, 3, 4, 5, 6, 7]), nominal(98 + 12 + 13));
    assert_eq!(classical(Id::Extended(0), &[]), nominal(54 + 7 + 13));
    assert_eq!(classical(Id::Extended(0x1FFF_FFFF), &[0xFF; 8]), nominal(118 + 18 + 13));
}

#[test]
fn five_equal_bits_at_the_end_of_the_crc_are_followed_by_a_stuff_bit() {
    //   0 01010101010 000 0(1)001 00010111 11(0)1101101011111(0)
    let mut bits = BitString::default();
    bits.put(0, 1).put(0x2AA, 11).put(0, 3).put(1, 4).put(0x17, 8);
    assert_eq!(crc15(bits) & 0x1F, 0x1F);
    assert_eq!(classical(Id::Standard(0x2AA), &[0x17]), nominal(42 + 3 + 13));
}

#[test]
fn classical_averages_over_random_contents_are_the_published_ones() {
    let standard = |id: u32, data: &[u8]| f64::from(classical(Id::Standard(id as u16 & 0x7FF), data).nominal);
    let extended = |id: u32, data: &[u8]| f64::from(classical(Id::Extended(id & 0x1FFF_FFFF), data).nominal);
    for (got, expected) in [
        (mean::<8>(20_000, standard), 114.3),
        (mean::<1>(20_000, standard), 57.0),
        (mean::<0>(20_000, standard), 49.0),
        (mean::<8>(20_000, extended), 135.1),
        (mean::<1>(20_000, extended), 77.8),
        (mean::<0>(20_000, extended), 69.7),
    ] {
        assert!((got - expected).abs() < 0.15, "{got} is not {expected}");
    }
}

#[test]
fn an_fd_frame_of_64_alternating_bytes_has_29_nominal_and_550_data_bits() {
    // 0 10101010101 00 101 | 0 1111 0101...: no run of five anywhere.
    assert_eq!(fd(Id::Standard(0x555), &[0x55; 64]), FrameBits { nominal: 29, data: 550 });
    // 29-bit identifier: 0 10101010101 11 010101010101010101 0 101
    assert_eq!(fd(Id::Extended(0x1555_5555), &[0x55; 64]), FrameBits { nominal: 48, data: 550 });
}

#[test]
fn a_short_fd_frame_has_crc_17_and_six_fixed_stuff_bits() {
    // ESI 0, length 0000 after BRS 1: five zeros, and the fixed stuff bit comes in their place.
    assert_eq!(fd(Id::Standard(0x555), &[]), FrameBits { nominal: 29, data: 1 + 4 + 4 + 17 + 6 + 1 });
    // 0 0001 00000(1)000: the stuff bit after the fifth zero.
    assert_eq!(
        fd(Id::Standard(0x555), &[0]),
        FrameBits { nominal: 29, data: 1 + 4 + 8 + 1 + 4 + 17 + 6 + 1 }
    );
    // 16 bytes are the last with CRC-17, 20 the first with CRC-21.
    assert_eq!(fd(Id::Standard(0x555), &[0x55; 16]).data, 1 + 4 + 128 + 4 + 17 + 6 + 1);
    assert_eq!(fd(Id::Standard(0x555), &[0x55; 20]).data, 1 + 4 + 160 + 4 + 21 + 7 + 1);
}

#[test]
fn an_fd_frame_is_padded_with_blank_bytes_to_the_next_length() {
    for (len, size) in [(9, 12), (13, 16), (17, 20), (21, 24), (25, 32), (33, 48), (49, 64)] {
        let mut padded = vec![0x35; len];
        padded.resize(size, 0xFF);
        assert_eq!(fd(Id::Standard(1), &padded[..len]), fd(Id::Standard(1), &padded));
        assert_eq!(fd_length(size).1, size);
    }
}

#[test]
fn fd_averages_over_random_contents_are_the_published_ones() {
    let frame_us = |nominal_mhz: f64, data_mhz: f64| {
        move |id: u32, data: &[u8]| {
            let bits = fd(Id::Standard(id as u16 & 0x7FF), data);
            f64::from(bits.nominal) / nominal_mhz + f64::from(bits.data) / data_mhz
        }
    };
    for (got, expected) in [
        (mean::<64>(5_000, frame_us(0.5, 2.0)), 342.5),
        (mean::<64>(5_000, frame_us(1.0, 2.0)), 313.0),
        (mean::<64>(5_000, frame_us(1.0, 5.0)), 142.9),
        (mean::<64>(5_000, frame_us(1.0, 8.0)), 100.3),
    ] {
        assert!((got - expected).abs() < 0.6, "{got} is not {expected}");
    }
}

proptest! {
    #[test]
    fn classical_lengths_stay_between_the_published_limits(
        id in 0u32..1 << 29,
        data in proptest::collection::vec(prop_oneof![Just(0u8), Just(0xFF), Just(0x0F), any::<u8>()], 0..=8),
    ) {
        let n = data.len() as u32;
        let standard = classical(Id::Standard((id & 0x7FF) as u16), &data);
        prop_assert_eq!(standard.data, 0);
        prop_assert!((47 + 8 * n..=55 + 10 * n).contains(&standard.nominal));
        let extended = classical(Id::Extended(id), &data);
        prop_assert!((67 + 8 * n..=80 + 10 * n).contains(&extended.nominal));
    }

    #[test]
    fn fd_lengths_stay_between_the_published_limits(
        id in 0u32..1 << 29,
        data in proptest::collection::vec(prop_oneof![Just(0u8), Just(0xFF), Just(0x0F), any::<u8>()], 64),
    ) {
        // At most one stuff bit for every four bits but the first.
        let bits = fd(Id::Standard((id & 0x7FF) as u16), &data);
        prop_assert!((29..=33).contains(&bits.nominal));
        prop_assert!((550..=550 + 130).contains(&bits.data));
        let us = f64::from(bits.nominal) + f64::from(bits.data) / 5.0;
        prop_assert!((139.0..=168.8).contains(&us), "{} us", us);
    }
}

//! Pieces to bytes, and back to the program.
//!
//! A range coder that is its own state (rANS): what is put in last comes out first, so packing goes backwards. Unpacking is
//! the front's way, and refuses where the front would read what is not there. Called by the packer.

use crate::model::{MATCH, Model, ONE, Step, Windows};
use crate::parse::Piece;
use std::vec::Vec;

/// The state is at least this while a bit comes out.
const LEAST: u32 = 1 << 24;

/// The bytes of a program that is made of these pieces.
pub(crate) fn encode(program: &[u16], pieces: &[Piece], span: u32) -> Vec<u8> {
    let mut model = Model::new(span);
    let mut steps = Vec::new();
    let mut place = 0;
    for piece in pieces {
        piece.bits(program, place, |windows, node, bit| steps.push(model.learn(windows, node, bit)));
        place += piece.length();
    }
    let mut state = LEAST;
    let mut bytes = Vec::new();
    for Step { chance, surprise } in steps.into_iter().rev() {
        let (range, first) = if surprise { (chance, 0) } else { (ONE - chance, chance) };
        while state / range >= LEAST >> 8 {
            bytes.push(state as u8);
            state >>= 8;
        }
        state = ((state / range) << 16) + first + state % range;
    }
    bytes.extend(state.to_le_bytes());
    bytes.reverse();
    bytes
}

/// What bytes unpack to.
pub(crate) struct Unpacked {
    pub(crate) program: Vec<u16>,
    /// By how many bytes at least what is packed has to end behind the program, for both to share their memory.
    pub(crate) margin: i64,
    /// Packed bytes that were read.
    pub(crate) taken: usize,
}

/// Unpacks as many half-words; `None` if these bytes are not a program of this length.
pub(crate) fn decode(packed: &[u8], length: usize, span: u32) -> Option<Unpacked> {
    let mut bits = Bits { packed, taken: 0, state: 0, model: Model::new(span) };
    let (mut program, mut ahead) = (Vec::new(), 0);
    while program.len() < length {
        let upper = Windows::upper(program.last().copied().unwrap_or(0));
        if bits.bit(upper, MATCH)? {
            let distance =
                u16::from_be_bytes([bits.byte(Windows::DISTANCE[0])?, bits.byte(Windows::DISTANCE[1])?]);
            let from = program.len().checked_sub(distance.into()).filter(|&from| from < program.len())?;
            for place in from..from + usize::from(bits.byte(Windows::LENGTH)?) {
                program.push(program[place]);
            }
        } else {
            let first = bits.byte(upper)?;
            program.push(u16::from_be_bytes([first, bits.byte(Windows::lower(first))?]));
        }
        ahead = ahead.max(2 * program.len() as i64 - bits.taken as i64);
    }
    let margin = ahead - 2 * length as i64 + packed.len() as i64;
    (program.len() == length).then_some(Unpacked { program, margin, taken: bits.taken })
}

struct Bits<'a> {
    packed: &'a [u8],
    taken: usize,
    state: u32,
    model: Model,
}

impl Bits<'_> {
    fn bit(&mut self, windows: Windows, node: usize) -> Option<bool> {
        while self.state < LEAST {
            self.state = self.state << 8 | u32::from(*self.packed.get(self.taken)?);
            self.taken += 1;
        }
        let state = &mut self.state;
        Some(self.model.decide(windows, node, |chance, unlikely| {
            let (whole, part) = (*state >> 16, *state & (ONE - 1));
            let surprise = part < chance;
            *state = if surprise { whole * chance + part } else { *state - whole * chance - chance };
            (surprise == unlikely, surprise)
        }))
    }

    fn byte(&mut self, windows: Windows) -> Option<u8> {
        let mut node = 1;
        while node < 0x100 {
            node = 2 * node + usize::from(self.bit(windows, node)?);
        }
        Some(node as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use proptest::prelude::*;

    /// Half-words that repeat, and some that do not.
    fn program() -> impl Strategy<Value = Vec<u16>> {
        let runs = (any::<u16>(), 1..100_usize).prop_map(|(half, times)| std::vec![half; times]);
        let some = prop::collection::vec(
            prop::sample::select(std::vec![0x4770_u16, 0xB510, 0x2000, 0xFFFF, 0]),
            1..9,
        );
        let any = prop::collection::vec(any::<u16>(), 1..9);
        prop::collection::vec(prop_oneof![1 => runs, 4 => some, 4 => any], 1..30)
            .prop_map(|parts| parts.concat())
    }

    fn packed(program: &[u16], span: u32) -> Vec<u8> {
        encode(program, &parse(program, span), span)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_was_packed_comes_out_again(program in program(), span in 0_u32..5000) {
            prop_assert_eq!(decode(&packed(&program, span), program.len(), span).unwrap().program, program);
        }

        #[test]
        fn wrong_bits_are_refused_or_make_a_program_of_the_same_length(
            program in program(),
            wrong in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        ) {
            let mut packed = packed(&program, 3000);
            for (at, bits) in wrong {
                let at = at.index(packed.len());
                packed[at] ^= bits;
            }
            let out = decode(&packed, program.len(), 3000);
            prop_assert!(out.is_none_or(|out| out.program.len() == program.len()));
        }

        #[test]
        fn with_the_margin_nothing_is_overtaken_and_with_less_something_is(program in program()) {
            let packed = packed(&program, 3000);
            let margin = decode(&packed, program.len(), 3000).unwrap().margin;
            // As they lie when the packed bytes end `margin` behind the program: what is read is never overwritten before.
            let first = 2 * program.len() as i64 + margin - packed.len() as i64;
            let closest = |length: usize| {
                let start = decode(&packed, length, 3000);
                start.map(|start| first + start.taken as i64 - 2 * length as i64)
            };
            prop_assert_eq!((0..=program.len()).filter_map(closest).min(), Some(0));
        }
    }

    #[test]
    fn a_match_before_the_program_is_refused() {
        let program = [7, 7, 7, 7];
        let pieces = [Piece::Match { distance: 1, length: 3 }];
        let packed = encode(&program, &pieces, 3000);
        assert!(decode(&packed, 3, 3000).is_none());
    }
}

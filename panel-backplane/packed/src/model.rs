//! The model that packer and unpacker share: how likely the next bit is, by what was there before.
//!
//! Everything is coded as bytes, a byte as the way from the root of a binary tree to a leaf, and each step of the way by
//! two windows of weights: their sum is the logarithm of the odds, and what it erred by moves both. Windows lie closer
//! than they are long, so many of them fit into little memory: most of each is never touched. The arithmetic is the
//! front's, to the bit. Called by parser and coder.

use crate::{odds, windows};
use std::vec::Vec;

/// Windows that a byte is coded by: one that learns fast because it is general, and one that knows much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows(pub(crate) u32, pub(crate) u32);

impl Windows {
    /// Of an instruction's upper byte after this half-word, and whether a match begins instead.
    pub(crate) fn upper(before: u16) -> Self {
        Self(windows::UPPER, windows::AFTER + u32::from(before >> 10))
    }

    /// Of the lower byte behind this upper one.
    pub(crate) fn lower(upper: u8) -> Self {
        Self(windows::CLASS + u32::from(upper >> 4), windows::LOWER + u32::from(upper))
    }

    /// Of the two bytes of a match's distance.
    pub(crate) const DISTANCE: [Self; 2] =
        [Self::same(windows::DISTANCE[0]), Self::same(windows::DISTANCE[1])];
    /// Of its length.
    pub(crate) const LENGTH: Self = Self::same(windows::LENGTH);

    const fn same(window: u32) -> Self {
        Self(window, window)
    }
}

/// A bit to be coded: how likely the less likely value was, of 65,536, and whether it is that value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) chance: u32,
    pub(crate) surprise: bool,
}

/// Weights, as they are at one place of the program.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    weights: Vec<i16>,
    span: u32,
}

/// The node that tells whether a match begins; a byte's tree has its root at 1.
pub(crate) const MATCH: usize = windows::MATCH as usize;

impl Model {
    /// Nothing known yet; windows begin at one of `span` weights.
    pub(crate) fn new(span: u32) -> Self {
        Self { weights: std::vec![0; (span + windows::WEIGHTS) as usize], span }
    }

    /// The step that `bit` is at a node of a tree.
    pub(crate) fn step(&self, windows: Windows, node: usize, bit: bool) -> Step {
        let (chance, unlikely) = self.foretold(self.places(windows, node));
        Step { chance, surprise: bit == unlikely }
    }

    /// The same, and learns from it.
    pub(crate) fn learn(&mut self, windows: Windows, node: usize, bit: bool) -> Step {
        self.decide(windows, node, |chance, unlikely| {
            let surprise = bit == unlikely;
            (Step { chance, surprise }, surprise)
        })
    }

    /// Tells `decide` the less likely bit and its chance, and learns whether it came, which is the second thing that it returns.
    pub(crate) fn decide<T>(
        &mut self,
        windows: Windows,
        node: usize,
        decide: impl FnOnce(u32, bool) -> (T, bool),
    ) -> T {
        let places = self.places(windows, node);
        let (chance, unlikely) = self.foretold(places);
        let (said, surprise) = decide(chance, unlikely);
        let wrong = if surprise { chance as i32 - ONE as i32 } else { chance as i32 };
        // Odds are for 0. All bits turned round is nearly the same as the negative, and one instruction less for the front.
        let learnt = ((wrong >> odds::RATE) ^ -i32::from(!unlikely)) as i16;
        for place in places {
            self.weights[place] = self.weights[place].wrapping_add(learnt);
        }
        said
    }

    fn places(&self, windows: Windows, node: usize) -> [usize; 2] {
        [windows.0, windows.1].map(|window| windows::place(window, self.span) as usize + node)
    }

    /// The chance of the less likely bit, and which that is.
    fn foretold(&self, places: [usize; 2]) -> (u32, bool) {
        let odds: i32 = places.iter().map(|&place| i32::from(self.weights[place])).sum();
        let sure = (odds ^ odds >> 31) as u32;
        // Half as likely with each digit of the odds, on a straight line between two of them.
        let part = (!sure & 0xFF) + 0xFF;
        ((part << 6).checked_shr(sure >> odds::FRACTION).unwrap_or(0) + odds::FLOOR, odds >= 0)
    }
}

/// What chances are parts of.
pub(crate) const ONE: u32 = 0x1_0000;

/// A byte's way through its tree: node and bit.
pub(crate) fn way(byte: u8) -> impl Iterator<Item = (usize, bool)> {
    (0..8).rev().map(move |place| ((0x100 | usize::from(byte)) >> (place + 1), byte >> place & 1 == 1))
}

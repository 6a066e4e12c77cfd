//! What a program is made of: half-words as they are, and matches with what came before.
//!
//! The cheapest way to each place is kept together with the model as that way has left it, so a choice is paid with what it
//! really costs there. Called by the packer.

use crate::model::{MATCH, Model, ONE, Step, Windows, way};
use std::rc::Rc;
use std::vec::Vec;

/// A piece of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The next half-word.
    Literal,
    /// As many half-words as so many before.
    Match { distance: u16, length: u8 },
}

impl Piece {
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Literal => 1,
            Self::Match { length, .. } => length.into(),
        }
    }

    /// Tells every bit of the piece at `place`, in the order in which they are coded: windows, node, value.
    pub(crate) fn bits(self, program: &[u16], place: usize, mut tell: impl FnMut(Windows, usize, bool)) {
        let before = place.checked_sub(1).map_or(0, |last| program[last]);
        let upper = Windows::upper(before);
        tell(upper, MATCH, matches!(self, Self::Match { .. }));
        let mut byte = |windows, byte| way(byte).for_each(|(node, bit)| tell(windows, node, bit));
        match self {
            Self::Literal => {
                let [first, second] = program[place].to_be_bytes();
                byte(upper, first);
                byte(Windows::lower(first), second);
            }
            Self::Match { distance, length } => {
                let [first, second] = distance.to_be_bytes();
                byte(Windows::DISTANCE[0], first);
                byte(Windows::DISTANCE[1], second);
                byte(Windows::LENGTH, length);
            }
        }
    }
}

/// The last piece of a way from the beginning to some place, and the way before it.
struct Way {
    last: Piece,
    before: Option<Rc<Self>>,
}

/// Where a way has come to: itself, and what the model has learnt on it.
struct Arrival {
    way: Option<Rc<Way>>,
    model: Model,
    /// In 1/65,536 bit.
    cost: u64,
}

/// The cheapest piece so far that ends at a place. The model learns it only if it stays that.
struct Offer {
    piece: Piece,
    from: Rc<Arrival>,
    cost: u64,
}

impl Offer {
    /// Goes there.
    fn accept(self, program: &[u16], place: usize) -> Arrival {
        let Self { piece, from, cost } = self;
        let mut model = from.model.clone();
        piece.bits(program, place - piece.length(), |windows, node, bit| {
            model.learn(windows, node, bit);
        });
        Arrival { way: Some(Rc::new(Way { last: piece, before: from.way.clone() })), model, cost }
    }
}

/// The pieces of a program, if windows begin at one of `span` weights.
pub(crate) fn parse(program: &[u16], span: u32) -> Vec<Piece> {
    let costs = Costs::new();
    let earlier = Earlier::of(program);
    let mut offers: Vec<Option<Offer>> = (0..=program.len()).map(|_| None).collect();
    let mut here = Rc::new(Arrival { way: None, model: Model::new(span), cost: 0 });
    for place in 0..=program.len() {
        if let Some(offer) = offers[place].take() {
            here = Rc::new(offer.accept(program, place));
        }
        let mut consider = |piece: Piece| {
            let mut cost = here.cost;
            piece.bits(program, place, |windows, node, bit| {
                cost += costs.of(here.model.step(windows, node, bit))
            });
            let best = &mut offers[place + piece.length()];
            if best.as_ref().is_none_or(|best| cost < best.cost) {
                *best = Some(Offer { piece, from: here.clone(), cost });
            }
        };
        if place < program.len() {
            consider(Piece::Literal);
        }
        for (distance, lengths) in earlier.matches(program, place) {
            lengths.for_each(|length| consider(Piece::Match { distance, length }));
        }
    }
    let mut pieces = Vec::new();
    let mut way = here.way.clone();
    while let Some(piece) = way {
        pieces.push(piece.last);
        way = piece.before.clone();
    }
    pieces.reverse();
    pieces
}

/// What a step costs, by how likely it is: 1/65,536 bit.
struct Costs(Vec<u32>);

impl Costs {
    fn new() -> Self {
        let bits = |n: u32| -(f64::from(2 * n + 1) / 8192.0).log2();
        Self((0..4096).map(|n| (bits(n) * 65536.0).round() as u32).collect())
    }

    fn of(&self, step: Step) -> u64 {
        let chance = if step.surprise { step.chance } else { ONE - step.chance };
        self.0[chance as usize >> 4].into()
    }
}

/// Where a half-word was before.
struct Earlier(Vec<Option<usize>>);

impl Earlier {
    fn of(program: &[u16]) -> Self {
        let mut last = std::vec![None; 0x1_0000];
        Self(
            program.iter().enumerate().map(|(place, &half)| last[usize::from(half)].replace(place)).collect(),
        )
    }

    /// Distances at which there is what follows `place`, nearest first, each with the lengths that no nearer one has.
    fn matches(&self, program: &[u16], place: usize) -> Vec<(u16, core::ops::RangeInclusive<u8>)> {
        let most = (program.len() - place).min(0xFF);
        let (mut found, mut longest) = (Vec::new(), 0);
        let mut earlier = self.0.get(place).copied().flatten();
        while let Some(from) = earlier.filter(|&from| place - from <= 0xFFFF && longest < most) {
            let length = (longest..most).find(|&n| program[from + n] != program[place + n]).unwrap_or(most);
            let whole = length > longest && program[from..from + longest] == program[place..place + longest];
            if whole {
                found.push(((place - from) as u16, longest as u8 + 1..=length as u8));
                longest = length;
            }
            earlier = self.0[from];
        }
        found
    }
}

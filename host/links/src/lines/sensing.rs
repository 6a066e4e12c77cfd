//! Supply currents that were asked for and come one after another, put together again.

use std::collections::{BTreeMap, VecDeque};

use panel_backplane::Slot;

use super::device::Channel;

/// A device, and one of its outputs.
pub(super) type Output = (usize, Channel);
/// Milliamperes by slot; `None` where nobody can measure.
pub(super) type Currents = Vec<(Slot, Option<u32>)>;

/// What is being measured, in the order of asking.
#[derive(Debug, Default)]
pub(super) struct Sensing(VecDeque<Question>);

#[derive(Debug)]
struct Question {
    slots: Vec<Slot>,
    awaited: BTreeMap<Output, Slot>,
    read: BTreeMap<Slot, u32>,
}

impl Sensing {
    /// The currents of `slots` are wanted; those of `awaited` are being measured.
    pub(super) fn ask(&mut self, slots: &[Slot], awaited: BTreeMap<Output, Slot>) {
        self.0.push_back(Question { slots: slots.to_vec(), awaited, read: BTreeMap::new() });
    }

    /// An output was measured.
    pub(super) fn measured(&mut self, output: Output, milliamperes: Option<u32>) {
        let question = self.0.iter_mut().find(|question| question.awaited.contains_key(&output));
        if let Some(question) = question
            && let (Some(slot), Some(ma)) = (question.awaited.remove(&output), milliamperes)
        {
            question.read.insert(slot, ma);
        }
    }

    /// The oldest question, once all of it is answered.
    pub(super) fn answer(&mut self) -> Option<Currents> {
        let answered = self.0.pop_front_if(|question| question.awaited.is_empty())?;
        Some(answered.slots.iter().map(|slot| (*slot, answered.read.get(slot).copied())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_when_the_last_current_of_its_question_has_come() {
        let mut sensing = Sensing::default();
        let slots = [Slot(1), Slot(2), Slot(3)];
        sensing.ask(&slots, BTreeMap::from([((0, 7), Slot(1)), ((1, 7), Slot(3))]));
        sensing.ask(&slots[..1], BTreeMap::from([((0, 7), Slot(1))]));
        sensing.measured((0, 7), Some(45));
        assert_eq!(sensing.answer(), None);
        sensing.measured((0, 7), Some(46));
        assert_eq!(sensing.answer(), None, "the first question goes first");
        sensing.measured((1, 7), None);
        assert_eq!(sensing.answer(), Some(vec![(Slot(1), Some(45)), (Slot(2), None), (Slot(3), None)]));
        assert_eq!(sensing.answer(), Some(vec![(Slot(1), Some(46))]));
        assert_eq!(sensing.answer(), None);
    }
}

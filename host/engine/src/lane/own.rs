//! Boards with bytes of their own inside the image, such as a serial number in the application.
//!
//! What boards have in common is broadcast first; the segments that hold a window are left blank. Then each board in
//! turn is begun anew with the image that is its own: it compares, asks for those segments, and what it verifies,
//! commits and checks at every start is its own image. A board that was found locked takes no part in the first
//! half; in the second it reads its image back.

use panel_backplane::{BusKind, Slot};
use panel_codes::Code;
use panel_protocol::host::{self, ProgramOptions};
use panel_protocol::reply::ImageState;
use panel_protocol::time::Micros;
use std::sync::Arc;

use super::{Lane, Stage};
use crate::board::Board;
use crate::event::Event;
use crate::finishing::{OwnImage, Window};

/// The regions that all boards have in common: segments with a window in them are blank.
pub(crate) fn shared(regions: &[(u32, Vec<u8>)], windows: &[Window]) -> Vec<(u32, Vec<u8>)> {
    let mut shared = regions.to_vec();
    for (from, bytes) in &mut shared {
        let (from, end) = (*from, *from + bytes.len() as u32);
        for window in windows.iter().filter(|w| w.address < end && from < w.address + w.length) {
            let segment = panel_protocol::message::SEGMENT as u32;
            let first = window.address.saturating_sub(from) / segment * segment;
            let last = (window.address + window.length - from).next_multiple_of(segment).min(end - from);
            bytes[first as usize..last as usize].fill(0xFF);
        }
    }
    shared
}

impl Board {
    /// It holds the whole image that is its own.
    fn holds_its_own(&self) -> bool {
        self.image.as_deref().is_some_and(|own| {
            self.info.is_some_and(|i| i.image == ImageState::Valid && i.image_id == short_id(own))
        })
    }
}

/// First four bytes of an image's ID, as boards report it.
pub(super) fn short_id(image: &host::Image) -> u32 {
    let [a, b, c, d, ..] = image.begin().image_id();
    u32::from_le_bytes([a, b, c, d])
}

impl Lane {
    /// Whether boards get images of their own.
    pub(super) fn has_windows(&self) -> bool {
        !self.plan.recipe.finishing.windows.is_empty()
    }

    /// What a board holds in the end: its own image, or everybody's.
    pub(super) fn image_of(&self, slot: Slot) -> Option<&Arc<host::Image>> {
        let own = self.boards.get(&slot).and_then(|b| b.image.as_ref());
        own.or_else(|| self.plan.images.get(self.bus.index()))
    }

    /// Lays out the image of one board, before anything is done to it.
    pub(super) fn give_image(&mut self, now: Micros, slot: Slot, images: &[OwnImage]) {
        if !self.has_windows() {
            return;
        }
        let image = match self.lay_out(images) {
            Ok(image) => Arc::new(image),
            Err(text) => {
                self.fail(now, slot, Code::IdentityWriteFailed, text);
                return;
            }
        };
        for OwnImage { facts, .. } in images {
            self.events.push_back(Event::ImageGiven { slot, image: facts.clone() });
        }
        let Some(board) = self.boards.get_mut(&slot) else { return };
        let Some(info) = board.info else { return };
        let same = info.image_id == short_id(&image);
        board.image = Some(image);
        self.events.push_back(Event::ImageFound { slot, state: info.image, same });
        if board.was_locked() && !board.holds_its_own() {
            let text = format!("level {}, {:?} record of another image", info.protection as u8, info.image);
            self.fail(now, slot, Code::AlreadyProtected, text);
        }
    }

    fn lay_out(&self, images: &[OwnImage]) -> Result<host::Image, String> {
        let mut regions = self.plan.regions.clone();
        let mut open: Vec<&Window> = self.plan.recipe.finishing.windows.iter().collect();
        for OwnImage { facts, bytes } in images {
            let place = regions.iter_mut().find_map(|(from, region)| {
                let at = facts.address.checked_sub(*from)? as usize;
                region.get_mut(at..at + bytes.len())
            });
            let place = place.ok_or_else(|| {
                format!("image {:?} at {:#010x} is not in the plan", facts.name, facts.address)
            })?;
            place.copy_from_slice(bytes);
            let end = facts.address + bytes.len() as u32;
            open.retain(|w| w.address < facts.address || w.address + w.length > end);
        }
        if let Some(Window { name, address, .. }) = open.first() {
            return Err(format!("nothing was reserved for window {name:?} at {address:#010x}"));
        }
        let bus = self.plan.panel.buses.get(self.bus.index());
        let fd = bus.is_some_and(|bus| matches!(bus.kind, BusKind::Fd { .. }));
        host::Image::new(self.plan.recipe.chip.device_id, &regions, fd).map_err(|e| e.to_string())
    }

    /// Boards that are sent what all have in common. A locked one would refuse it.
    pub(super) fn sharing(&self) -> Vec<panel_protocol::ident::NodeId> {
        let shares = |slot| self.boards.get(&slot).is_some_and(|b| !b.was_locked());
        self.active().into_iter().filter(|&node| self.slot_of(node).is_some_and(shares)).collect()
    }

    /// Nobody needs what all have in common.
    pub(super) fn all_hold_their_own(&self) -> bool {
        self.active_slots().iter().all(|slot| self.boards.get(slot).is_some_and(Board::holds_its_own))
    }

    /// The common part is in flash: now each board's own.
    pub(super) fn give_own(&mut self, now: Micros) {
        self.to_give = self.active_slots();
        self.next_own(now);
    }

    pub(super) fn next_own(&mut self, now: Micros) {
        while let Some(slot) = self.to_give.pop_first() {
            let board = self.boards.get(&slot).filter(|b| b.is_active());
            let Some((node, image)) = board.and_then(|b| Some((b.node?, b.image.clone()?))) else { continue };
            self.stage = Stage::Own;
            let options = ProgramOptions { compare: true, only: Some(node), ..self.options() };
            self.master.program(now, &image, &[node], options);
            return;
        }
        if self.active().is_empty() {
            self.after_group(now);
        } else {
            self.verify(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(address: u32, length: u32) -> Window {
        Window { name: "serial".to_owned(), address, length }
    }

    #[test]
    fn exactly_the_segments_with_a_window_are_left_out_of_what_all_boards_share() {
        let regions = [(0x0800_8000, vec![1; 5000]), (0x0801_0000, vec![2; 100])];
        let blank_of = |windows: &[Window]| {
            let shared = shared(&regions, windows);
            let blank = |bytes: &[u8]| bytes.chunks(2048).map(|c| c.iter().all(|b| *b == 0xFF)).collect();
            shared.iter().map(|(_, bytes)| blank(bytes)).collect::<Vec<Vec<bool>>>()
        };
        assert_eq!(blank_of(&[window(0x0800_8000, 1)]), [vec![true, false, false], vec![false]]);
        assert_eq!(blank_of(&[window(0x0800_87FF, 2)]), [vec![true, true, false], vec![false]]);
        assert_eq!(blank_of(&[window(0x0800_9387, 1)]), [vec![false, false, true], vec![false]]);
        assert_eq!(blank_of(&[window(0x0801_0010, 4)]), [vec![false; 3], vec![true]]);
    }
}

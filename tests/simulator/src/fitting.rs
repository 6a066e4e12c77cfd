//! What is fitted in the slots before the world begins: chips, UIDs, flash contents, checked for consistency.
//!
//! A board whose flash is kept in a file is the same board in the next world: its UID comes from the file too.

use std::path::Path;

use panel_protocol::node::Uid;

use crate::chip::Chip;
use crate::config::{SlotConfig, WorldError};
use crate::fault::Fault;
use crate::flash::{Flash, Store};
use crate::hardware::{Hardware, Identity};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::set::Set;

/// One slot's board.
pub(crate) struct Fitted {
    pub(crate) chip: &'static Chip,
    pub(crate) hardware: Hardware,
}

/// Who draws from a board's chance.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Flash,
    Hardware,
    Board,
}

/// The generator of one part of one board.
pub(crate) fn stream(seed: u64, slot: &SlotConfig, part: Stream) -> Rng {
    Rng::new(seed, 1000 + 4 * u64::from(slot.slot) + part as u64)
}

/// Makes every slot's hardware, with the faults that lie in what is fitted.
pub(crate) fn fit(
    slots: &[SlotConfig],
    scenario: &Scenario,
    flash_dir: Option<&Path>,
    seed: u64,
) -> Result<Vec<Fitted>, WorldError> {
    let faults = &scenario.faults;
    let mut parts = Vec::with_capacity(slots.len());
    for (nth, slot) in slots.iter().enumerate() {
        let mut chip = slot.chip;
        for (_, fault) in faults.iter().filter(|f| f.0 == slot.slot) {
            if let Fault::WrongChip { chip: other } = fault {
                chip = other;
            }
        }
        let rng = stream(seed, slot, Stream::Flash);
        let sealed = scenario.seal_key.is_some();
        let mut flash =
            if slot.rom.is_some() { Flash::blank(chip, rng) } else { Flash::new(chip, sealed, rng) };
        let mut uid = uid(nth, seed);
        if let Some(dir) = flash_dir {
            let path = dir.join(format!("slot-{}-{}.flash", slot.slot, chip.name));
            uid = flash.attach(Store::open(&path, chip.device_id, chip.flash_size() + chip.otp.1)?, uid)?;
        }
        parts.push((chip, uid, flash));
    }
    let uids: Vec<Uid> = parts.iter().map(|p| p.1).collect();
    let fitted = slots.iter().zip(parts).map(|(slot, (chip, uid, flash))| {
        let mut identity = Identity {
            chip,
            uid,
            hardware_revision: slot.hardware_revision,
            strap: if slot.select_line && slot.strap.is_none() { Some(0) } else { slot.strap },
            receives_while_busy: slot.receives_while_busy,
            seal_key: scenario.seal_key,
        };
        for (_, fault) in faults.iter().filter(|f| f.0 == slot.slot) {
            match *fault {
                Fault::WrongRevision { revision } => identity.hardware_revision = revision,
                Fault::SameUid { slot } => {
                    identity.uid = slots.iter().position(|s| s.slot == slot).map_or(uid, |i| uids[i]);
                }
                _ => {}
            }
        }
        Fitted { chip, hardware: Hardware::new(identity, flash, stream(seed, slot, Stream::Hardware)) }
    });
    Ok(fitted.collect())
}

/// Refuses slots, buses and faults that do not belong together.
pub(crate) fn check(slots: &[SlotConfig], buses: usize, faults: &[(u16, Fault)]) -> Result<(), WorldError> {
    for (i, slot) in slots.iter().enumerate() {
        if slots[..i].iter().any(|s| s.slot == slot.slot) {
            return Err(WorldError::DuplicateSlot { slot: slot.slot });
        }
        if slot.bus >= buses {
            return Err(WorldError::NoSuchBus { slot: slot.slot, bus: slot.bus, buses });
        }
    }
    for bus in 0..buses {
        let boards = slots.iter().filter(|s| s.bus == bus).count();
        if boards >= Set::CAPACITY {
            return Err(WorldError::TooManyBoards { bus, boards, most: Set::CAPACITY - 1 });
        }
    }
    let mut named = faults.iter().flat_map(|(slot, fault)| {
        let twin = if let Fault::SameUid { slot } = fault { Some(*slot) } else { None };
        [Some(*slot), twin].into_iter().flatten()
    });
    match named.find(|&n| slots.iter().all(|s| s.slot != n)) {
        Some(slot) => Err(WorldError::NoSuchSlot { slot }),
        None => Ok(()),
    }
}

/// UIDs as they come from one reel: the same lot and wafer, neighbouring dies (reference manuals, "Unique device
/// ID register": X and Y coordinates, wafer number, lot number).
fn uid(nth: usize, seed: u64) -> Uid {
    let nth = nth as u64;
    let mut lot = Rng::new(seed, 999);
    let (x, y) = (20 + lot.below(20) + nth % 8, 10 + lot.below(40) + nth / 8);
    let mut uid = [0; 12];
    uid[..2].copy_from_slice(&(x as u16).to_le_bytes());
    uid[2..4].copy_from_slice(&(y as u16).to_le_bytes());
    uid[4] = 1 + lot.below(25) as u8;
    uid[5..].iter_mut().for_each(|b| *b = b"0123456789ABCDEFGHJKLMNPQRSTUVWX"[lot.below(32) as usize]);
    Uid(uid)
}

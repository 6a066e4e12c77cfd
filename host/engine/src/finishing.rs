//! What a factory does to a board beside its image: identity, option bytes, protection, and the proof of it.
//!
//! Plain data of the recipe, and what passes between a run and whoever keeps the identities. The order is the
//! engine's and no recipe changes it: identify, reserve, erase, program, verify, key, identity, commit, options,
//! lock, prove the lock, start. A board whose recipe asks for a lock does not pass without [`LockProof`].

use core::fmt;
use core::ops::{Deref, Range};

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::node::{KeyKind, Protection, Uid};
use zeroize::Zeroizing;

use crate::chip::Chip;
use crate::event::Event;

/// What is to be done to a board beside its image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finishing {
    /// Boards that were found and checked wait for [`crate::Run::handle_reserved`] before anything is erased.
    pub reserve: bool,
    /// Kind of key that a board makes for itself if it can; its certificate comes with
    /// [`crate::Run::handle_certified`]. Boards that cannot get the key that [`Reserved`] brings.
    pub key: Option<KeyKind>,
    /// Where the identity is written that [`Reserved`] brings.
    pub identity: Option<IdentityPlace>,
    /// Places in the image that are each board's own; what is there comes with [`Reserved::images`].
    pub windows: Vec<Window>,
    /// Option bytes.
    pub options: Vec<OptionWrite>,
    /// Readout protection.
    pub lock: Lock,
}

impl Finishing {
    /// Whether there is anything to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what the chip cannot do. `regions` are the image's; `room` is the flash between bootloader and records.
    pub(crate) fn check(
        &self,
        chip: &Chip,
        regions: &[(u32, Vec<u8>)],
        room: &Range<u32>,
    ) -> Result<(), FinishingError> {
        if let Some(place) = &self.identity {
            place.check(chip, regions, room)?;
            if self.key.is_some() && chip.is_otp(place.address) {
                return Err(place.refuse("no readout protection hides a key in one-time programmable memory"));
            }
        }
        self.windows.iter().try_for_each(|window| window.check(regions))?;
        self.options.iter().try_for_each(|option| option.check(chip))?;
        match self.lock {
            Lock::Level2(_) if !chip.options.level2 => Err(FinishingError::NoLevel2 { chip: chip.name }),
            _ => Ok(()),
        }
    }
}

/// What cannot be done to boards of this chip.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FinishingError {
    /// The identity's place is not one where it can be written.
    #[error("identity at {address:#010x}, {length} bytes: {why}")]
    Place {
        /// Its address.
        address: u32,
        /// Its length.
        length: u32,
        /// Why not.
        why: String,
    },
    /// A place for bytes of each board's own that is not in the image.
    #[error("window {name:?} at {address:#010x}, {length} bytes: not within one region of the image")]
    Window {
        /// Its name.
        name: String,
        /// Its address.
        address: u32,
        /// Its length.
        length: u32,
    },
    /// Option bytes that the chip does not have, or that no job may set.
    #[error("option bytes {name} at offset {offset}: {why}")]
    Option {
        /// Their name.
        name: String,
        /// Their offset.
        offset: u8,
        /// Why not.
        why: &'static str,
    },
    /// Level 2 on a chip without it.
    #[error("{chip} has no readout protection level 2")]
    NoLevel2 {
        /// The chip.
        chip: &'static str,
    },
}

impl FinishingError {
    /// Its code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Place { .. } | Self::Window { .. } | Self::Option { .. } | Self::NoLevel2 { .. } => {
                Code::JobFile
            }
        }
    }
}

/// The place of the identity region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityPlace {
    /// Address in flash or one-time programmable memory, a multiple of the chip's programming unit.
    pub address: u32,
    /// Bytes set aside, a multiple of the programming unit.
    pub length: u32,
    /// The erase units of the place may be erased when they are not blank. They never are if image, bootloader or
    /// records have a byte in them. One-time programmable memory has none.
    pub may_erase: bool,
}

impl IdentityPlace {
    fn refuse(&self, why: impl Into<String>) -> FinishingError {
        FinishingError::Place { address: self.address, length: self.length, why: why.into() }
    }

    fn check(
        &self,
        chip: &Chip,
        regions: &[(u32, Vec<u8>)],
        room: &Range<u32>,
    ) -> Result<(), FinishingError> {
        let Self { address, length, .. } = *self;
        let refuse = |why: String| Err(self.refuse(why));
        let flash = &chip.flash;
        let in_otp = chip.is_otp(address);
        let (area, area_end) = match chip.otp {
            (base, len) if in_otp => ("one-time programmable memory", base + len),
            _ => ("flash", chip.flash_end()),
        };
        let Some(end) = address.checked_add(length).filter(|&end| length > 0 && end <= area_end) else {
            return refuse(format!("the {area} of {} ends at {:#010x}", chip.name, area_end - 1));
        };
        let unit = u32::from(flash.unit);
        if !address.is_multiple_of(unit) || !length.is_multiple_of(unit) {
            return refuse(format!("not a multiple of the {unit} bytes that {} programs at once", chip.name));
        }
        if in_otp {
            return Ok(());
        }
        if address < room.start {
            return refuse(format!("below {:#010x} is the bootloader", room.start));
        }
        if end > room.end {
            let (from, to) = (room.end, chip.flash_end() - 1);
            return refuse(format!("boards keep their image records from {from:#010x} to {to:#010x}"));
        }
        let image = regions.iter().find(|(from, bytes)| *from < end && address < from + bytes.len() as u32);
        match image {
            Some((from, bytes)) => {
                let last = from + bytes.len() as u32 - 1;
                refuse(format!("the image fills {from:#010x} to {last:#010x}; leave a hole in it"))
            }
            None => Ok(()),
        }
    }
}

/// Bytes within the image that differ from board to board, such as a serial number in the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Name for messages.
    pub name: String,
    /// Flash address.
    pub address: u32,
    /// Length in bytes.
    pub length: u32,
}

impl Window {
    fn check(&self, regions: &[(u32, Vec<u8>)]) -> Result<(), FinishingError> {
        let Self { name, address, length } = self;
        let (from, end) = (u64::from(*address), u64::from(*address) + u64::from(*length));
        let within = |(at, bytes): &(u32, Vec<u8>)| {
            u64::from(*at) <= from && end <= u64::from(*at) + bytes.len() as u64
        };
        if *length > 0 && regions.iter().any(within) {
            return Ok(());
        }
        Err(FinishingError::Window { name: name.clone(), address: *address, length: *length })
    }
}

/// An image of the release as one board gets it, with its own bytes in the windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnImage {
    /// What a record says of it.
    pub facts: ImageFacts,
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

/// What a record says of an image that is one board's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Name.
    pub name: String,
    /// First address.
    pub address: u32,
    /// Length in bytes.
    pub length: u32,
    /// CRC-32/ISO-HDLC of the bytes as written.
    pub crc32: u32,
    /// SHA-256 of the bytes as written.
    pub sha256: [u8; 32],
}

/// Option bytes as declared data: bits of the family's option area and what they must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionWrite {
    /// Name for records and messages, such as `BOR_LEV`.
    pub name: String,
    /// Offset of the first byte in the option area.
    pub offset: u8,
    /// The bytes; bits outside `mask` do not count.
    pub bytes: Vec<u8>,
    /// Which bits are set; as long as `bytes`.
    pub mask: Vec<u8>,
    /// Set for write protection of the bootloader: the first address that stays writable.
    pub protects_to: Option<u32>,
}

impl OptionWrite {
    fn check(&self, chip: &Chip) -> Result<(), FinishingError> {
        let refuse = |why| Err(FinishingError::Option { name: self.name.clone(), offset: self.offset, why });
        let facts = chip.options;
        let end = usize::from(self.offset) + self.bytes.len();
        if self.bytes.is_empty() || self.bytes.len() != self.mask.len() {
            return refuse("as many mask bytes as bytes are needed, at least one");
        }
        if end > usize::from(facts.length) {
            return refuse("beyond the option area of the chip");
        }
        let rdp = usize::from(facts.rdp).checked_sub(self.offset.into());
        if rdp.and_then(|at| self.mask.get(at)).is_some_and(|&mask| mask != 0) {
            return refuse("the readout protection is set by `lock`, as the last step");
        }
        Ok(())
    }
}

/// The first byte that is not as declared; `found` begins at this offset of the option area.
pub(crate) fn first_difference(options: &[OptionWrite], found: &[u8], from: u8) -> Option<String> {
    let differs = |option: &OptionWrite| {
        let bits = option.bytes.iter().zip(&option.mask).zip(usize::from(option.offset)..);
        bits.map(|((&byte, &mask), at)| {
            let got = at.checked_sub(usize::from(from)).and_then(|at| found.get(at));
            (at, byte & mask, got.map(|got| got & mask))
        })
        .find(|(_, wanted, got)| Some(*wanted) != *got)
        .map(|(at, wanted, got)| {
            let got = got.map_or_else(|| "nothing".to_owned(), |got| format!("{got:#04x}"));
            format!("{} at offset {at}: {wanted:#04x} wanted, {got} found", option.name)
        })
    };
    options.iter().find_map(differs)
}

/// Puts the declared bits into option bytes that begin at this offset of the area.
pub(crate) fn merge(options: &[OptionWrite], bytes: &mut [u8], from: u8) {
    for option in options {
        for ((&byte, &mask), at) in option.bytes.iter().zip(&option.mask).zip(usize::from(option.offset)..) {
            if let Some(old) = at.checked_sub(usize::from(from)).and_then(|at| bytes.get_mut(at)) {
                *old = *old & !mask | byte & mask;
            }
        }
    }
}

/// Readout protection that boards leave with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Lock {
    /// None.
    #[default]
    None,
    /// RDP level 1: nothing can be read; lifting it erases the chip.
    Level1,
    /// RDP level 2: for ever.
    Level2(Consent),
}

impl Lock {
    /// The protection that is set; `None` if none is.
    #[must_use]
    pub const fn level(&self) -> Option<Protection> {
        match self {
            Self::None => None,
            Self::Level1 => Some(Protection::Level1),
            Self::Level2(_) => Some(Protection::Level2),
        }
    }
}

/// Two persons in charge have agreed to a lock that lasts for ever: a release's second signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Who, for the record.
    pub by: String,
}

/// Bytes of an identity region, which may hold a key: wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityBytes(Zeroizing<Vec<u8>>);

impl IdentityBytes {
    /// These bytes followed by as many 0xFF as whole programming units of `unit` bytes need.
    pub(crate) fn padded(&self, unit: usize) -> Self {
        let len = self.len().next_multiple_of(unit);
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        bytes.extend_from_slice(self);
        bytes.resize(len, 0xFF);
        Self(bytes)
    }
}

impl From<Vec<u8>> for IdentityBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<Zeroizing<Vec<u8>>> for IdentityBytes {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl Deref for IdentityBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for IdentityBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityBytes({})", self.len())
    }
}

/// A key that a board made for itself, and what it asks to be certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMade {
    /// Slot.
    pub slot: Slot,
    /// The board.
    pub uid: Uid,
    /// Its certificate request (PKCS#10, DER), as received.
    pub request: Vec<u8>,
}

/// The name of a unit in certificate and request: its serial number, without one the UID of its chip.
#[must_use]
pub fn common_name(serial: Option<&str>, uid: Uid) -> String {
    serial.map_or_else(|| uid.to_string(), str::to_owned)
}

/// The answer to a reservation: what this board is to become.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reserved {
    /// Bytes of the identity region, at most as long as its place. `None`: nothing is written.
    pub identity: Option<IdentityBytes>,
    /// The images that have bytes of this board's own in them: every one with a window, whole.
    pub images: Vec<OwnImage>,
    /// Serial number, for records and screens.
    pub serial: Option<String>,
    /// What else a record says of the identity: name and value.
    pub facts: Vec<(String, String)>,
    /// This very identity was read back from this very chip in an earlier run. A board that is found locked can
    /// no longer show its identity; without this it does not pass.
    pub written: bool,
}

impl Reserved {
    /// What is told of it, and recorded.
    #[must_use]
    pub fn event(&self, slot: Slot) -> Event {
        Event::Reserved { slot, serial: self.serial.clone(), facts: self.facts.clone() }
    }
}

/// Why a board gets no identity; it is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its code.
    pub code: Code,
    /// Values.
    pub text: String,
}

/// What a board answered after it was locked and started anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockProof {
    /// Protection that it reports.
    pub level: Protection,
    /// It was found locked and not touched; otherwise this attempt locked it.
    pub found_locked: bool,
    /// How it was started after the lock was set; `None` if it was found locked.
    pub restarted_by: Option<RestartedBy>,
    /// Its whole reply to Identify, as received.
    pub identify: Vec<u8>,
    /// Address that was asked for.
    pub read_address: u32,
    /// Its whole reply to Read, as received: a refusal.
    pub read: Vec<u8>,
}

/// How a board was started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartedBy {
    /// The fixture took its power and gave it back.
    Power,
    /// It reset itself when told to.
    Reset,
}

impl RestartedBy {
    /// The word in records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Reset => "reset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_byte_that_was_not_read_is_a_difference() {
        let option = OptionWrite {
            name: "WRP".to_owned(),
            offset: 24,
            bytes: vec![0],
            mask: vec![0x7F],
            protects_to: None,
        };
        let text = first_difference(core::slice::from_ref(&option), &[0xFF; 16], 0).expect("differs");
        assert_eq!(text, "WRP at offset 24: 0x00 wanted, nothing found");
        let mut bytes = [0xFF; 2];
        merge(core::slice::from_ref(&option), &mut bytes, 23);
        assert_eq!((bytes, first_difference(&[option], &bytes, 23)), ([0xFF, 0x80], None));
    }
}

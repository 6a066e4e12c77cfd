//! What the flash of a simulated board really holds, from the file that keeps it.

use std::path::Path;

use panel_ledger::region::{self, SlotUse};
use panel_ledger::{Hash, KeyKind, UnitKey};

use super::fixture::{FLASH, REGION, REGION_LENGTH, WINDOW};

/// Bytes before the flash in a board's file, where its protection and its UID are (tests/simulator).
const HEADER: usize = 4096;
const PROTECTION: usize = 14;
const UID: std::ops::Range<usize> = 48..60;

/// What a board's flash really holds, read past every protection.
pub(super) struct BoardFile {
    pub(super) uid: [u8; 12],
    pub(super) locked: bool,
    pub(super) serial: Option<String>,
    /// The window for it in the application.
    pub(super) window: Vec<u8>,
    /// What its key slot holds, and whether that is the secret.
    key: Option<([u8; 32], SlotUse)>,
}

impl BoardFile {
    /// A board that was never in a slot has no file.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok().filter(|bytes| !bytes.is_empty())?;
        let mut uid = [0; 12];
        uid.copy_from_slice(&bytes[UID]);
        let at = |address: u32| HEADER + (address - FLASH) as usize;
        let view = region::decode(&bytes[at(REGION)..at(REGION) + REGION_LENGTH as usize]);
        let window = bytes[at(WINDOW.0)..][..WINDOW.1 as usize].to_vec();
        let serial = view.ok().map(|view| view.serial().to_owned());
        let key = view.ok().and_then(|view| view.keys().next().map(|slot| (*slot.data, slot.holds)));
        Some(Self { uid, locked: bytes[PROTECTION] != 0, serial, window, key })
    }

    /// Fingerprint of the public half of the key in it.
    pub(super) fn key_fingerprint(&self) -> Option<String> {
        let (data, holds) = self.key?;
        if holds == SlotUse::Fingerprint {
            return Some(Hash(data).to_string());
        }
        let entropy = |buffer: &mut [u8; 32]| {
            *buffer = data;
            Ok::<_, String>(())
        };
        let key = UnitKey::make(KeyKind::P256, entropy).ok()?;
        Some(key.fingerprint().unwrap().to_string())
    }
}

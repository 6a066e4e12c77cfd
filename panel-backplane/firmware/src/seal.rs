//! The signature of an image's seal, checked with the public key of the board file. What is signed, and what follows
//! from the answer, is the node's business.

use crate::chip::{BOARD, IS_AGENT};
use crate::watchdog;
use panel_protocol::block::SEALED;
use panel_protocol::node::Seals;

// Without the multiplier of a Cortex-M4 (UMAAL) the curve takes longer than a host waits; G431's RAM has no room for it.
const _: () = assert!(BOARD.seal.is_none() || cfg!(any(feature = "f405", feature = "g474")));

/// What this program does with seals. An agent judges none: it keeps them for the resident that may come.
pub(crate) const DUTY: Seals = if BOARD.seal.is_some() && !IS_AGENT { Seals::Demanded } else { Seals::Kept };

/// Whether the board file's key has signed a message. Never called by an agent, which so does not carry the curve.
pub(crate) fn is_signed(message: &[u8; SEALED], signature: &[u8; 64]) -> bool {
    watchdog::feed();
    let Some(key) = BOARD.seal else { return false };
    salty::PublicKey::try_from(&key).is_ok_and(|key| key.verify(message, &signature.into()).is_ok())
}

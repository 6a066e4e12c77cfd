//! The signature of an image's seal, checked with the public key of the board file. What is signed, and what follows
//! from the answer, is the node's business.

use crate::chip::{BOARD, Role};
use crate::watchdog;
use panel_protocol::block::SEALED;
use panel_protocol::node::Seals;

/// Tells whether the board file's key has signed a message.
pub(crate) type Check = fn(&[u8; SEALED], &[u8; 64]) -> bool;

/// What a resident of this board checks seals with. An agent is not given it, so that it does not carry the curve.
pub const CHECK: Option<Check> = match BOARD.seal {
    Some(_) => Some(is_signed),
    None => None,
};

// Without the multiplier of a Cortex-M4 (UMAAL) the curve takes longer than a host waits.
const _: () = assert!(CHECK.is_none() || cfg!(any(feature = "f405", feature = "g431", feature = "g474")));

/// What this program does with seals. An agent judges none: it keeps them for the resident that may come.
pub(crate) fn duty(role: Role) -> Seals {
    if CHECK.is_some() && role == Role::Resident { Seals::Demanded } else { Seals::Kept }
}

fn is_signed(message: &[u8; SEALED], signature: &[u8; 64]) -> bool {
    watchdog::feed();
    let Some(key) = BOARD.seal else { return false };
    salty::PublicKey::try_from(&key).is_ok_and(|key| key.verify(message, &signature.into()).is_ok())
}

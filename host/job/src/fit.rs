//! Whether a job fits a panel: which way each slot takes, and what production forbids.

use std::collections::BTreeMap;

use panel_backplane::{Panel, Port, Slot, Way};
use panel_codes::Code;

use crate::job::Job;

/// Why a job does not fit a panel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The slot offers none of the job's ways.
    #[error("slot {slot} offers {}, and the job allows only {}", names(offered), names(allowed))]
    WayNotOffered {
        /// The slot.
        slot: Slot,
        /// What the panel offers there.
        offered: Vec<Way>,
        /// What the job allows.
        allowed: Vec<Way>,
    },
    /// A production job over a port whose name follows the order of plugging.
    #[error("slot {slot} has the port {port}, whose name may belong to another slot after a restart")]
    UnstablePort {
        /// The slot.
        slot: Slot,
        /// Its port.
        port: Port,
    },
    /// Every slot is marked bad.
    #[error("every slot of the panel is marked bad")]
    NoSlot,
}

impl FitError {
    /// Its code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::WayNotOffered { .. } => Code::WayNotOffered,
            Self::UnstablePort { .. } => Code::PortUnstable,
            Self::NoSlot => Code::PanelFile,
        }
    }
}

impl Job {
    /// The way of every slot that is not marked bad: the first that the panel offers there and the job allows.
    ///
    /// # Errors
    /// The first slot, by number, that cannot be reached as the job wants.
    pub fn ways_on(&self, panel: &Panel) -> Result<BTreeMap<Slot, Way>, FitError> {
        ways_on(panel, &self.ways, self.production)
    }
}

/// The way of every slot that is not marked bad: the first that the panel offers there and `allowed` has; any, if that
/// is empty. A `production` job takes no port whose name follows the order of plugging.
///
/// # Errors
/// The first slot, by number, that cannot be reached so.
pub fn ways_on(panel: &Panel, allowed: &[Way], production: bool) -> Result<BTreeMap<Slot, Way>, FitError> {
    let mut ways = BTreeMap::new();
    for slot in panel.slots.iter().filter(|s| !s.bad) {
        let may = |way: &&Way| allowed.is_empty() || allowed.contains(way);
        let &way = slot.ways.iter().find(may).ok_or_else(|| FitError::WayNotOffered {
            slot: slot.slot,
            offered: slot.ways.clone(),
            allowed: allowed.to_vec(),
        })?;
        let unstable = slot.port.as_ref().filter(|p| production && way.needs_port() && !p.is_stable());
        if let Some(port) = unstable {
            return Err(FitError::UnstablePort { slot: slot.slot, port: port.clone() });
        }
        ways.insert(slot.slot, way);
    }
    if ways.is_empty() { Err(FitError::NoSlot) } else { Ok(ways) }
}

fn names(ways: &[Way]) -> String {
    ways.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ")
}

//! Which unit a recovered board is, and what it may become: never a new one.
//!
//! 1. A recovery gives no number: a chip without a unit, and one whose unit is void, get none.
//! 2. By an order, a unit is made anew by what was signed, and its pass confirms it as in a run.
//! 3. By a job, a bare image is put back into a unit that is there. A unit that had passed stays passed; one that
//!    its order has yet to pass stays in doubt, because nobody signed the image.
//!
//! Called by [`super::keeper`] before anything is reserved.

use panel_codes::Code;
use panel_engine::Refused;
use panel_job::Job;
use panel_ledger::{Hash, State, Unit};
use panel_protocol::node::Uid;
use panel_release::manifest::{IdentityNeeds, RegionPlace};

use super::identity::{Owner, Template};
use super::keeper::Terms;

/// How one board is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// By the signed release of an order.
    ByOrder,
    /// By a job's bare image.
    ByJob {
        /// The job locks the board again.
        locks: bool,
        /// The unit has passed in a run of its order, by the records.
        passed: bool,
    },
}

/// Why a unit that a job recovered is not confirmed.
const NOT_PASSED: &str = "recovered with a job's image before its work order had passed it: run the order";

impl Recovery {
    /// Whether this unit is to get its identity again; `false` if there is none to restore. What a job does not say
    /// of a unit's numbers is taken from the unit.
    pub(crate) fn admit(
        self,
        unit: Option<&Unit>,
        uid: Uid,
        template: &mut Template,
    ) -> Result<bool, Refused> {
        let refuse = |code, text| Err(Refused { code, text });
        let unit = match (unit, self) {
            (Some(unit), _) => unit,
            (None, Self::ByOrder) => {
                let text = format!(
                    "chip {uid} was never given an identity: `panelflash run --order` makes a unit of it"
                );
                return refuse(Code::UnitUnknown, text);
            }
            (None, Self::ByJob { .. }) => return Ok(false),
        };
        let name = name(unit);
        if unit.state == State::Void {
            let reason = unit.reason.as_deref().unwrap_or("no reason is recorded");
            return refuse(Code::UnitVoid, format!("{name} is void: {reason}"));
        }
        let Self::ByJob { locks, .. } = self else { return Ok(true) };
        if unit.lock_required && !locks {
            let text = format!("{name} leaves locked: the job has to say `[finish] lock = \"level-1\"`");
            return refuse(Code::JobFile, text);
        }
        if !unit.keys.is_empty() || !unit.numbers.blobs.is_empty() {
            let order = unit.order.as_deref().unwrap_or("ORDER");
            let text = format!(
                "{name} has a key or blobs of its own, which only a release describes: recover it with `--order {order}`"
            );
            return refuse(Code::JobFile, text);
        }
        // What an order without a region leaves in the ledger: the hash of no bytes.
        let has_none = unit.read_back == Some(Hash::of(&[]));
        if template.needs.region.is_none() && !has_none {
            let text = format!(
                "the ledger knows this chip as {name}, and the job does not say where its identity lies: give it an \
                 [identity], or recover the board with --order"
            );
            return refuse(Code::JobFile, text);
        }
        template.needs = IdentityNeeds {
            serial: unit.numbers.serial.is_some(),
            eui48: count(unit.numbers.eui48.len()),
            eui64: count(unit.numbers.eui64.len()),
            region: template.needs.region.filter(|_| !has_none),
            ..IdentityNeeds::default()
        };
        check_same(unit, template)?;
        Ok(true)
    }

    /// Why a pass does not confirm this unit, if it does not.
    pub(crate) fn unconfirmable(self, unit: &Unit) -> Option<&'static str> {
        match self {
            Self::ByJob { passed, .. } => {
                let passes = passed || unit.state == State::Confirmed || unit.order.is_none();
                (!passes).then_some(NOT_PASSED)
            }
            Self::ByOrder => None,
        }
    }
}

/// What the keeper has to know where a job's image is put back.
pub(crate) fn terms_of(job: &Job, station: &str, panel: &str, locks: bool) -> Terms {
    let identity = job.identity.as_ref();
    let place =
        |i: &panel_job::IdentityArea| RegionPlace { address: i.address, length: i.length, unit: i.unit };
    let template = Template {
        product: job.product.clone(),
        hardware: identity.map_or_else(String::new, |i| i.hardware.clone()),
        needs: IdentityNeeds { region: identity.map(place), ..IdentityNeeds::default() },
        open: false,
        issuer: None,
        secret: None,
    };
    Terms {
        order: None,
        product: job.product.clone(),
        station: station.to_owned(),
        panel: panel.to_owned(),
        template,
        recovery: Some(Recovery::ByJob { locks, passed: false }),
    }
}

/// The bytes that would be written are those that were read back from this chip before, where that is known.
fn check_same(unit: &Unit, template: &Template) -> Result<(), Refused> {
    let refused = |text| Refused { code: Code::JobFile, text };
    let owner = Owner {
        uid: Uid(unit.uid.0),
        numbers: unit.numbers.clone(),
        reserved: unit.reserved_at,
        blobs: Vec::new(),
    };
    let made = template.make(&owner, unit.changed_at);
    let made = made.map_err(|e| refused(format!("[identity]: {}", e.message)))?.region;
    let Some(made) = made else { return Ok(()) };
    match unit.read_back {
        Some(before) if before != Hash::of(&made) => Err(refused(format!(
            "{} had another identity region than the job's [identity] makes of its numbers: `unit` or `hardware` differ",
            name(unit)
        ))),
        _ => Ok(()),
    }
}

fn name(unit: &Unit) -> String {
    let serial = unit.numbers.serial.as_deref().unwrap_or("without a serial number");
    let order = unit.order.as_ref().map_or_else(String::new, |order| format!(" of order {order}"));
    format!("unit {serial}{order}")
}

fn count(numbers: usize) -> u8 {
    u8::try_from(numbers).unwrap_or(u8::MAX)
}

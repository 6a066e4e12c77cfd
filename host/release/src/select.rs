//! From a scan to exactly one release, or to the reason for each candidate why not.
//!
//! The operator scans an order number and chooses nothing. One order must answer to it, and exactly one
//! release must fit that order; every file that was looked at and not taken is listed with its reason, also one
//! that could not be read: a foreign file in a folder stops nobody.

use std::collections::BTreeMap;

use jiff::Timestamp;
use panel_codes::Code;
use zeroize::Zeroizing;

use crate::{
    hash::Sha256Hash,
    manifest::Manifest,
    order::{LockLevel, ReleaseChoice, VerifiedOrder, inspect_order},
    refusal::Refusal,
    root::TrustedRoot,
    verify::{Admit, ReleasePolicy, VerifiedRelease, inspect, verify},
};

/// A file that may be the one.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What to call it in messages, such as its file name.
    pub label: String,
    /// Its bytes, decrypted where it was encrypted; or why they cannot be had.
    pub bytes: Result<Zeroizing<Vec<u8>>, Unreadable>,
}

/// Why a candidate's bytes cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its stable code.
    pub code: Code,
    /// What happened, with the path.
    pub text: String,
}

/// Where and when the selection takes place.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The trusted root.
    pub root: &'a TrustedRoot,
    /// This station's id.
    pub station: &'a str,
    /// The time.
    pub now: Timestamp,
    /// Lowest release counter per product that this station still takes.
    pub floors: &'a BTreeMap<String, u64>,
}

/// What was selected.
#[derive(Debug)]
pub struct Selection {
    /// The order.
    pub order: VerifiedOrder,
    /// The release to program.
    pub release: VerifiedRelease,
}

/// Why a candidate was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is refused by itself.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It cannot be read or decrypted here.
    #[error("{code}: {text}")]
    Unreadable {
        /// The code of that.
        code: Code,
        /// What happened.
        text: String,
    },
    /// It is an order of another number.
    #[error("is order {got}, scanned was {scanned:?}")]
    OtherOrder {
        /// The order's number.
        got: String,
        /// What was scanned.
        scanned: String,
    },
    /// It is a release of another name or version.
    #[error("is release {name} {version}, the order wants {wanted}")]
    OtherRelease {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// What the order wants.
        wanted: String,
    },
    /// It fits, and so does another one with other content.
    #[error("fits as well as another one with other content (SHA-256 {sha256})")]
    Ambiguous {
        /// Hash of its document.
        sha256: Sha256Hash,
    },
}

/// A candidate that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// What it is called.
    pub label: String,
    /// Why it was not taken.
    pub reason: Reason,
    /// Whether it says of itself that it is what is wanted. Nobody has to have signed that: it only tells which
    /// of many reasons is the one to act on.
    pub claims: bool,
}

/// Nothing was selected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSelection {
    /// No order, or more than one, answers to the scan.
    #[error("no single work order answers to {scanned:?} ({} looked at){}", rejected.len(), list(rejected))]
    Order {
        /// What was scanned.
        scanned: String,
        /// Every order looked at.
        rejected: Vec<Rejected>,
    },
    /// No release, or more than one, fits the order.
    #[error("no single release fits order {order} ({} looked at){}", rejected.len(), list(rejected))]
    Release {
        /// The order's number.
        order: String,
        /// Every release looked at.
        rejected: Vec<Rejected>,
    },
}

/// Selects the order that was scanned and the one release that fits it. Identical copies of one file count
/// as one.
///
/// # Errors
/// [`NoSelection`] with the reason for each candidate.
pub fn select_release(
    scanned: &str,
    orders: &[Candidate],
    releases: &[Candidate],
    place: &Place<'_>,
) -> Result<Selection, NoSelection> {
    let order = single(
        orders,
        VerifiedOrder::sha256,
        |bytes| check_order(scanned, bytes, place),
        |bytes| inspect_order(bytes).is_ok_and(|order| order.id == scanned),
    )
    .map_err(|rejected| NoSelection::Order { scanned: scanned.to_owned(), rejected })?;
    let release = single(
        releases,
        VerifiedRelease::manifest_sha256,
        |bytes| check_release(&order, bytes, place),
        |bytes| {
            inspect(bytes).is_ok_and(|release| {
                release.manifest.product == order.order().product
                    && is_chosen(&order.order().release, &release.manifest, release.manifest_sha256)
            })
        },
    )
    .map_err(|rejected| NoSelection::Release { order: order.order().id.clone(), rejected })?;
    Ok(Selection { order, release })
}

/// The one candidate that passes `check`; all others' reasons if there is none or are several. `claims` reads, without
/// trusting it, whether a file says that it is the wanted one.
fn single<T>(
    candidates: &[Candidate],
    sha256: impl Fn(&T) -> Sha256Hash,
    check: impl Fn(&Zeroizing<Vec<u8>>) -> Result<T, Reason>,
    claims: impl Fn(&[u8]) -> bool,
) -> Result<T, Vec<Rejected>> {
    let mut fitting: Vec<(&str, T)> = Vec::new();
    let mut rejected = Vec::new();
    for Candidate { label, bytes } in candidates {
        let checked = match bytes {
            Ok(bytes) => check(bytes),
            Err(Unreadable { code, text }) => Err(Reason::Unreadable { code: *code, text: text.clone() }),
        };
        match checked {
            Ok(found) if fitting.iter().any(|(_, other)| sha256(other) == sha256(&found)) => {}
            Ok(found) => fitting.push((label, found)),
            Err(reason) => {
                let claims = bytes.as_ref().is_ok_and(|bytes| claims(bytes));
                rejected.push(Rejected { label: label.clone(), reason, claims });
            }
        }
    }
    if fitting.len() > 1 {
        rejected.extend(fitting.iter().map(|(label, found)| Rejected {
            label: (*label).to_owned(),
            reason: Reason::Ambiguous { sha256: sha256(found) },
            claims: true,
        }));
        return Err(rejected);
    }
    fitting.pop().map(|(_, found)| found).ok_or(rejected)
}

fn check_order(scanned: &str, bytes: &[u8], place: &Place<'_>) -> Result<VerifiedOrder, Reason> {
    let order = VerifiedOrder::open(bytes, place.root, place.now)?;
    if order.order().id != scanned {
        return Err(Reason::OtherOrder { got: order.order().id.clone(), scanned: scanned.to_owned() });
    }
    order.check_use(place.root, place.station, place.now)?;
    Ok(order)
}

fn check_release(
    order: &VerifiedOrder,
    bytes: &Zeroizing<Vec<u8>>,
    place: &Place<'_>,
) -> Result<VerifiedRelease, Reason> {
    let order = order.order();
    let policy = ReleasePolicy {
        now: place.now,
        admit: Admit::ProductionOnly,
        floor: place.floors.get(&order.product).copied().unwrap_or(0),
    };
    let release = verify(bytes.clone(), place.root, &policy)?;
    let manifest = release.manifest();
    if manifest.product != order.product {
        return Err(
            Refusal::WrongProduct { expected: order.product.clone(), got: manifest.product.clone() }.into()
        );
    }
    if order.policy.lock == LockLevel::Rdp2 && !release.permits_irreversible() {
        return Err(Refusal::NoConsent.into());
    }
    if is_chosen(&order.release, manifest, release.manifest_sha256()) {
        return Ok(release);
    }
    let wanted = match &order.release {
        ReleaseChoice::Version { name, version } => format!("{name} {version}"),
        ReleaseChoice::Manifest(sha256) => format!("the one with manifest {sha256}"),
    };
    Err(Reason::OtherRelease { name: manifest.name.clone(), version: manifest.version.clone(), wanted })
}

fn is_chosen(choice: &ReleaseChoice, manifest: &Manifest, manifest_sha256: Sha256Hash) -> bool {
    match choice {
        ReleaseChoice::Version { name, version } => *name == manifest.name && *version == manifest.version,
        ReleaseChoice::Manifest(sha256) => *sha256 == manifest_sha256,
    }
}

fn list(rejected: &[Rejected]) -> String {
    rejected.iter().map(|Rejected { label, reason, .. }| format!("; {label}: {reason}")).collect()
}

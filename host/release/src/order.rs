//! The work order: how many units of which product, from which release, on which stations, until when.
//!
//! It is signed like a release and never changed: more units, another station or another date are a new
//! order with a new number. The number blocks stand in it as text and integers; the ledger gives them their
//! meaning and counts the quota.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, MAX_INTEGER},
    envelope::{Envelope, Kind},
    hash::Sha256Hash,
    keys::PublicKey,
    label,
    refusal::{Invalid, Refusal},
    root::{RoleName, TrustedRoot},
    schema,
};

/// Most members of a list of an order.
const LIST_LIMIT: usize = 256;

/// Which release an order wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReleaseChoice {
    /// The release of this name and version.
    Version {
        /// Name of the release.
        name: String,
        /// Its version.
        version: String,
    },
    /// Exactly the release with this manifest.
    Manifest(Sha256Hash),
}

/// A block of serial numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialBlock {
    /// Format in the ledger's format language.
    pub format: String,
    /// First counter.
    pub first: u64,
    /// Last counter, inclusive.
    pub last: u64,
}

/// A block of EUI-48 or EUI-64 addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EuiBlock {
    /// First address: 12 or 16 hex digits.
    pub first: String,
    /// Number of addresses.
    pub count: u64,
    /// Addresses set aside per unit.
    pub step: u64,
}

/// How far a unit is locked before it may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockLevel {
    /// Not locked.
    None,
    /// Read-out protection level 1.
    Rdp1,
    /// Read-out protection level 2, which nothing undoes; the release must permit it.
    Rdp2,
}

/// Automatic retests per failure class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetestBudget {
    /// After a contact failure.
    pub contact: u8,
    /// After an error of the station.
    pub station: u8,
    /// After a failure of the board.
    pub board: u8,
}

/// What the line may do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinePolicy {
    /// Retests.
    pub retests: RetestBudget,
    /// Failed runs after which a unit is quarantined.
    pub strikes: u8,
    /// Lock that must be proven before PASS.
    pub lock: LockLevel,
}

/// The content of a work order (`.pfo`), schema 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkOrder {
    /// Schema number, 1.
    pub schema: u64,
    /// Order number, a plain label: what the operator scans.
    pub id: String,
    /// The product to make.
    pub product: String,
    /// The release to program.
    pub release: ReleaseChoice,
    /// Units that may be made.
    pub quantity: u64,
    /// Stations that may make them.
    pub stations: Vec<String>,
    /// Valid from this time on.
    pub not_before: Timestamp,
    /// Not valid any more from this time on.
    pub not_after: Timestamp,
    /// Serial numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serials: Vec<SerialBlock>,
    /// EUI-48 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eui48: Vec<EuiBlock>,
    /// EUI-64 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eui64: Vec<EuiBlock>,
    /// What the line may do.
    pub policy: LinePolicy,
    /// Counter of the root document it was signed under.
    pub root: u64,
}

impl WorkOrder {
    /// The unsigned file of this order; see [`crate::sign()`].
    ///
    /// # Errors
    /// [`Refusal::Invalid`] when the order contradicts itself.
    pub fn to_unsigned(&self) -> Result<Vec<u8>, Refusal> {
        self.check()?;
        let document = canonical::write(self)?;
        Ok(Envelope { kind: Kind::Order, document: &document, signatures: Vec::new(), payload: &[] }
            .to_bytes())
    }

    /// Refuses an order that contradicts itself.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        schema::expect_number(self.schema)?;
        label::check("order number", &self.id)?;
        label::check("product", &self.product)?;
        if let ReleaseChoice::Version { name, version } = &self.release {
            label::check("release name", name)?;
            label::check("release version", version)?;
        }
        self.stations.iter().try_for_each(|station| label::check("station", station))?;
        let lists = [
            ("stations", self.stations.len(), 1),
            ("serials", self.serials.len(), 0),
            ("eui48", self.eui48.len(), 0),
            ("eui64", self.eui64.len(), 0),
        ];
        for (field, got, min) in lists {
            if got < min || got > LIST_LIMIT {
                return Err(Invalid::Count { field, got, min, max: LIST_LIMIT }.into());
            }
        }
        if self.quantity == 0 || self.quantity > MAX_INTEGER {
            let rule = "must be from 1 to 2^53 - 1";
            return Err(Invalid::Number { field: "quantity", got: self.quantity, rule }.into());
        }
        if self.not_before >= self.not_after {
            return Err(Invalid::Window { from: self.not_before, until: self.not_after }.into());
        }
        for block in &self.serials {
            if block.first > block.last {
                let rule = "must not be before the first";
                return Err(Invalid::Number { field: "last serial", got: block.last, rule }.into());
            }
        }
        for block in self.eui48.iter().chain(&self.eui64) {
            if block.count == 0 || block.step == 0 {
                let rule = "count and step must be at least 1";
                return Err(Invalid::Number { field: "eui block", got: 0, rule }.into());
            }
        }
        Ok(())
    }
}

/// A work order whose signatures and content were checked. Dates, station and revocation are checked each
/// time it is used, by [`VerifiedOrder::check_use`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedOrder {
    order: WorkOrder,
    sha256: Sha256Hash,
    signers: Vec<PublicKey>,
}

impl VerifiedOrder {
    /// Verifies the order in `bytes` against the trusted root.
    ///
    /// # Errors
    /// The first [`Refusal`] in the order layout, signatures, root, document.
    pub fn open(bytes: &[u8], root: &TrustedRoot, now: Timestamp) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(bytes, Kind::Order)?;
        schema::expect_no_payload(&envelope)?;
        let signers = envelope.signers()?;
        root.authorise(RoleName::Order, &signers)?;
        root.check_fresh(now)?;
        let order: WorkOrder = schema::parse(envelope.document)?;
        order.check()?;
        root.check_knows(order.root)?;
        Ok(Self { order, sha256: Sha256Hash::of(envelope.document), signers })
    }

    /// Refuses the use of the order here and now.
    ///
    /// # Errors
    /// [`Refusal::Revoked`], [`Refusal::NotYetValid`], [`Refusal::Expired`], [`Refusal::OtherStation`].
    pub fn check_use(&self, root: &TrustedRoot, station: &str, now: Timestamp) -> Result<(), Refusal> {
        let WorkOrder { id, stations, not_before, not_after, .. } = &self.order;
        let document = root.document();
        if document.revoked_orders.contains(id) {
            return Err(Refusal::Revoked { root: document.counter, what: format!("order {id}") });
        }
        if now < *not_before {
            return Err(Refusal::NotYetValid { not_before: *not_before, now });
        }
        if now >= *not_after {
            return Err(Refusal::Expired { expired: *not_after, now });
        }
        if !stations.iter().any(|name| name == station) {
            return Err(Refusal::OtherStation { station: station.to_owned(), allowed: stations.clone() });
        }
        Ok(())
    }

    /// Refuses an order for another product than the one on the fixture.
    ///
    /// # Errors
    /// [`Refusal::WrongProduct`].
    pub fn check_product(&self, product: &str) -> Result<(), Refusal> {
        if self.order.product == product {
            return Ok(());
        }
        Err(Refusal::WrongProduct { expected: product.to_owned(), got: self.order.product.clone() })
    }

    /// What it says.
    #[must_use]
    pub fn order(&self) -> &WorkOrder {
        &self.order
    }

    /// SHA-256 of the document: two orders of one number and different content are told apart by it.
    #[must_use]
    pub fn sha256(&self) -> Sha256Hash {
        self.sha256
    }

    /// The keys that signed it, ascending.
    #[must_use]
    pub fn signers(&self) -> &[PublicKey] {
        &self.signers
    }
}

/// Reads what an order says without trusting it.
///
/// # Errors
/// [`Refusal`] when the order cannot even be read.
pub fn inspect_order(bytes: &[u8]) -> Result<WorkOrder, Refusal> {
    schema::parse(Envelope::parse(bytes, Kind::Order)?.document)
}

//! The root document: which keys may sign what, how many must, and what the owner has revoked.
//!
//! A station trusts exactly one root document at a time. The first is installed by a person who compares
//! its fingerprint; each later one must carry the next counter and be signed by the threshold of the old
//! document **and** of the new one ([`TrustedRoot::advance`]), so that keys rotate without a visit and a
//! stolen minority of keys rotates nothing. Counters never go back, so an old list of revocations cannot be
//! played again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    canonical,
    envelope::{Envelope, Kind},
    hash::Sha256Hash,
    keys::PublicKey,
    label,
    refusal::{Invalid, Refusal},
    schema::{self, SCHEMA},
};

/// The roles a key can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    /// Signs root documents.
    Root,
    /// Signs release packages.
    Release,
    /// Signs work orders.
    Order,
    /// Signs a release in addition when it may do what cannot be undone (read-out protection level 2).
    Irreversible,
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Release => "release",
            Self::Order => "order",
            Self::Irreversible => "irreversible",
        })
    }
}

/// The keys of one role and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Keys, ascending.
    pub keys: BTreeSet<PublicKey>,
    /// How many different ones must sign, at least 1.
    pub threshold: usize,
}

/// The content of a root document (`.pfk`), schema 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootDocument {
    /// Schema number, 1.
    pub schema: u64,
    /// The owner, for people.
    pub owner: String,
    /// 1 for the first document, one more for each that follows.
    pub counter: u64,
    /// After this nothing is accepted until a newer root is imported.
    pub expires: Timestamp,
    /// Keys and threshold per role; `root`, `release` and `order` must be there.
    pub roles: BTreeMap<RoleName, Role>,
    /// Keys that no longer count, so that a refusal can say so.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked_keys: BTreeSet<PublicKey>,
    /// Manifest hashes of releases that must not be programmed any more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked_releases: BTreeSet<Sha256Hash>,
    /// Numbers of work orders that are withdrawn.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked_orders: BTreeSet<String>,
    /// Lowest release counter accepted, per product.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floors: BTreeMap<String, u64>,
}

impl RootDocument {
    /// The unsigned file of this document; see [`crate::sign()`].
    ///
    /// # Errors
    /// [`Refusal::Invalid`] when the document contradicts itself.
    pub fn to_unsigned(&self) -> Result<Vec<u8>, Refusal> {
        self.check()?;
        let document = canonical::write(self)?;
        Ok(Envelope { kind: Kind::Root, document: &document, signatures: Vec::new(), payload: &[] }
            .to_bytes())
    }

    fn check(&self) -> Result<(), Refusal> {
        schema::expect_number(self.schema)?;
        if self.counter == 0 {
            return Err(Invalid::Number { field: "counter", got: 0, rule: "the first root is 1" }.into());
        }
        for name in [RoleName::Root, RoleName::Release, RoleName::Order] {
            if !self.roles.contains_key(&name) {
                return Err(Invalid::Count { field: "roles", got: self.roles.len(), min: 3, max: 4 }.into());
            }
        }
        for (name, role) in &self.roles {
            if role.threshold == 0 || role.threshold > role.keys.len() {
                return Err(Invalid::Number {
                    field: "threshold",
                    got: role.threshold as u64,
                    rule: "must be from 1 to the number of the role's keys",
                }
                .into());
            }
            if let Some(key) = role.keys.intersection(&self.revoked_keys).next() {
                return Err(Invalid::RevokedInRole { key: *key, role: *name }.into());
            }
        }
        self.floors.keys().try_for_each(|product| label::check("floors", product)).map_err(Refusal::from)
    }
}

/// A root document whose signatures were checked; the anchor of every other check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedRoot {
    document: RootDocument,
    fingerprint: Sha256Hash,
}

impl TrustedRoot {
    /// Opens the root document that the station already trusts, or that a person installs after comparing
    /// its [`fingerprint`](Self::fingerprint). It must be signed by its own threshold.
    ///
    /// # Errors
    /// Any [`Refusal`] of layout, signature or content. Expiry is checked at each use, not here.
    pub fn open(bytes: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(bytes, Kind::Root)?;
        schema::expect_no_payload(&envelope)?;
        let signers = envelope.signers()?;
        let document: RootDocument = schema::parse(envelope.document)?;
        document.check()?;
        let root = Self { document, fingerprint: Sha256Hash::of(envelope.document) };
        root.authorise(RoleName::Root, &signers)?;
        Ok(root)
    }

    /// The next trusted root: `bytes` must carry the next counter and be signed by the root threshold of
    /// this document and of its own. Feed a chain of documents one after the other.
    ///
    /// # Errors
    /// [`Refusal::RootChain`] for another counter, else any [`Refusal`] of signature or content. An expired
    /// root may still be advanced: that is how a station gets out of expiry.
    pub fn advance(&self, bytes: &[u8]) -> Result<Self, Refusal> {
        let next = Self::open(bytes)?;
        let expected = self.document.counter + 1;
        if next.document.counter != expected {
            return Err(Refusal::RootChain { trusted: self.document.counter, got: next.document.counter });
        }
        let signers = Envelope::parse(bytes, Kind::Root)?.signers()?;
        self.authorise(RoleName::Root, &signers)?;
        Ok(next)
    }

    /// What a signer must see to be right before signing.
    pub(crate) fn check_document(document: &[u8]) -> Result<(), Refusal> {
        schema::parse::<RootDocument>(document)?.check()
    }

    /// What it says.
    #[must_use]
    pub fn document(&self) -> &RootDocument {
        &self.document
    }

    /// SHA-256 of the document: what a person compares before trusting the first root.
    #[must_use]
    pub fn fingerprint(&self) -> Sha256Hash {
        self.fingerprint
    }

    /// Refuses when this document is over its time.
    ///
    /// # Errors
    /// [`Refusal::RootExpired`].
    pub fn check_fresh(&self, now: Timestamp) -> Result<(), Refusal> {
        let RootDocument { counter, expires: expired, .. } = self.document;
        if now >= expired { Err(Refusal::RootExpired { counter, expired, now }) } else { Ok(()) }
    }

    /// Refuses a file that was signed under a newer root than this one.
    pub(crate) fn check_knows(&self, needed: u64) -> Result<(), Refusal> {
        let have = self.document.counter;
        if needed > have { Err(Refusal::RootOutdated { needed, have }) } else { Ok(()) }
    }

    /// Whether enough keys of `role` are among `signers`, whose signatures were checked before.
    pub(crate) fn authorise(&self, role: RoleName, signers: &[PublicKey]) -> Result<(), Refusal> {
        let Some(rule) = self.document.roles.get(&role) else {
            return Err(Refusal::WrongKey { role, keys: signers.to_vec() });
        };
        let needed = rule.threshold;
        let have = signers.iter().filter(|key| rule.keys.contains(key)).count();
        if have >= needed {
            return Ok(());
        }
        if signers.is_empty() {
            return Err(Refusal::Unsigned { role, needed });
        }
        if let Some(key) = signers.iter().find(|key| self.document.revoked_keys.contains(key)) {
            return Err(Refusal::RevokedKey { key: *key, role, have, needed });
        }
        if have == 0 {
            return Err(Refusal::WrongKey { role, keys: signers.to_vec() });
        }
        Err(Refusal::HalfSigned { role, have, needed })
    }
}

/// The empty first root document of an owner, to be filled and signed.
#[must_use]
pub fn first_root(owner: &str, expires: Timestamp, roles: BTreeMap<RoleName, Role>) -> RootDocument {
    RootDocument {
        schema: SCHEMA,
        owner: owner.to_owned(),
        counter: 1,
        expires,
        roles,
        revoked_keys: BTreeSet::new(),
        revoked_releases: BTreeSet::new(),
        revoked_orders: BTreeSet::new(),
        floors: BTreeMap::new(),
    }
}

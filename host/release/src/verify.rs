//! Verifying a release: the only way from a file to bytes that may be written to a board.
//!
//! 1. Signatures are checked over raw bytes, before anything of the document is interpreted.
//! 2. Every image is hashed before the package counts as verified.
//! 3. Each image is hashed again by [`VerifiedImage::checked_bytes`] at the moment of writing, so that what
//!    was checked and what is used cannot be two things.
//!
//! [`VerifiedRelease`] can be made in no other way, so holding one is the proof.

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{
    envelope::{Envelope, Kind},
    hash::{Sha256Hash, crc32},
    keys::PublicKey,
    manifest::{BuildKind, ImageEntry, Manifest, PatchWindow},
    refusal::{Part, Refusal},
    root::{RoleName, TrustedRoot},
    schema,
};

/// Which builds a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Production builds only.
    ProductionOnly,
    /// Debug builds too; the units are not for shipment.
    AnyBuild,
}

/// What a release must satisfy beyond its signatures.
#[derive(Debug, Clone, Copy)]
pub struct ReleasePolicy {
    /// The time of the check.
    pub now: Timestamp,
    /// Which builds are taken.
    pub admit: Admit,
    /// Lowest release counter taken: the highest this station has programmed for the product. The root
    /// document may ask for more.
    pub floor: u64,
}

/// A release all of whose signatures, hashes and policies were checked.
#[derive(Debug)]
pub struct VerifiedRelease {
    bytes: Zeroizing<Vec<u8>>,
    payload_at: usize,
    manifest: Manifest,
    manifest_sha256: Sha256Hash,
    signers: Vec<PublicKey>,
    irreversible: bool,
}

/// What a person is shown of a package that was not verified: never its images.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The manifest as it stands in the file.
    pub manifest: Manifest,
    /// Its hash.
    pub manifest_sha256: Sha256Hash,
    /// The keys that signed it, or why they cannot be told.
    pub signers: Result<Vec<PublicKey>, Refusal>,
    /// Whether every image matches its hash.
    pub payload: Result<(), Refusal>,
}

/// Verifies the package in `bytes` against the trusted root and the job's policy.
///
/// # Errors
/// The first [`Refusal`] in the order layout, signatures, root, document, images, policy.
pub fn verify(
    bytes: Zeroizing<Vec<u8>>,
    root: &TrustedRoot,
    policy: &ReleasePolicy,
) -> Result<VerifiedRelease, Refusal> {
    let envelope = Envelope::parse(&bytes, Kind::Release)?;
    let signers = envelope.signers()?;
    root.authorise(RoleName::Release, &signers)?;
    root.check_fresh(policy.now)?;
    let manifest: Manifest = schema::parse(envelope.document)?;
    manifest.check()?;
    check_payload(&manifest, envelope.payload)?;
    let manifest_sha256 = Sha256Hash::of(envelope.document);
    check_policy(&manifest, manifest_sha256, root, policy)?;
    let payload_at = bytes.len() - envelope.payload.len();
    let irreversible = root.authorise(RoleName::Irreversible, &signers).is_ok();
    Ok(VerifiedRelease { payload_at, manifest, manifest_sha256, signers, irreversible, bytes })
}

/// Reads what a package says without trusting it.
///
/// # Errors
/// [`Refusal`] when the package cannot even be read.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Refusal> {
    let envelope = Envelope::parse(bytes, Kind::Release)?;
    let manifest: Manifest = schema::parse(envelope.document)?;
    let payload = check_payload(&manifest, envelope.payload);
    let manifest_sha256 = Sha256Hash::of(envelope.document);
    Ok(Inspection { manifest, manifest_sha256, signers: envelope.signers(), payload })
}

impl VerifiedRelease {
    /// What the package says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest: the name of this release in every record.
    #[must_use]
    pub fn manifest_sha256(&self) -> Sha256Hash {
        self.manifest_sha256
    }

    /// The keys that signed it, ascending.
    #[must_use]
    pub fn signers(&self) -> &[PublicKey] {
        &self.signers
    }

    /// Whether units made with it may leave the house.
    #[must_use]
    pub fn may_ship(&self) -> bool {
        self.manifest.build == BuildKind::Production
    }

    /// Whether the second signature for what cannot be undone (read-out protection level 2) is there.
    #[must_use]
    pub fn permits_irreversible(&self) -> bool {
        self.irreversible
    }

    /// Refuses a chip or board the release is not for. `hardware` is the board's revision where it is known.
    ///
    /// # Errors
    /// [`Refusal::WrongChip`], [`Refusal::WrongHardware`].
    pub fn check_board(&self, device_id: u16, hardware: Option<&str>) -> Result<(), Refusal> {
        let Manifest { targets, hardware: allowed, .. } = &self.manifest;
        if !targets.iter().any(|target| target.device_id == device_id) {
            let allowed = targets.iter().map(|target| format!("{} = {:#05x}", target.name, target.device_id));
            return Err(Refusal::WrongChip {
                found: device_id,
                allowed: allowed.collect::<Vec<_>>().join(", "),
            });
        }
        match hardware {
            Some(found) if !allowed.is_empty() && !allowed.iter().any(|name| name == found) => {
                Err(Refusal::WrongHardware { found: found.to_owned(), allowed: allowed.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The images, ascending by address.
    pub fn images(&self) -> impl ExactSizeIterator<Item = VerifiedImage<'_>> {
        let mut at = self.payload_at;
        self.manifest.images.iter().map(move |entry| {
            let bytes = &self.bytes[at..at + entry.length as usize];
            at += entry.length as usize;
            VerifiedImage { entry, bytes, windows: &self.manifest.patches }
        })
    }
}

/// One image of a verified release.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedImage<'a> {
    entry: &'a ImageEntry,
    bytes: &'a [u8],
    windows: &'a [PatchWindow],
}

impl<'a> VerifiedImage<'a> {
    /// Its line in the manifest.
    #[must_use]
    pub fn entry(&self) -> &'a ImageEntry {
        self.entry
    }

    /// The bytes to write, hashed again now.
    ///
    /// # Errors
    /// [`Refusal::ChangedSinceVerified`] when the memory no longer holds what was verified.
    pub fn checked_bytes(&self) -> Result<&'a [u8], Refusal> {
        let got = Sha256Hash::of(self.bytes);
        if got == self.entry.sha256 {
            return Ok(self.bytes);
        }
        Err(Refusal::ChangedSinceVerified { name: self.entry.name.clone(), expected: self.entry.sha256, got })
    }

    pub(crate) fn windows(&self) -> &'a [PatchWindow] {
        self.windows
    }
}

/// Every image has the length, SHA-256 and CRC-32 its entry states, and nothing is left over.
pub(crate) fn check_payload(manifest: &Manifest, payload: &[u8]) -> Result<(), Refusal> {
    let stated = manifest.images.iter().map(|image| u64::from(image.length)).sum();
    if stated != payload.len() as u64 {
        return Err(Refusal::Length { stated_by: "manifest", stated, got: payload.len() as u64 });
    }
    let mut rest = payload;
    for image in &manifest.images {
        let (bytes, after) = rest.split_at(image.length as usize);
        rest = after;
        if Sha256Hash::of(bytes) != image.sha256 || crc32(bytes) != image.crc32 {
            let part = Part::Image { name: image.name.clone(), address: image.address };
            return Err(Refusal::Altered { part });
        }
    }
    Ok(())
}

fn check_policy(
    manifest: &Manifest,
    sha256: Sha256Hash,
    root: &TrustedRoot,
    policy: &ReleasePolicy,
) -> Result<(), Refusal> {
    let ReleasePolicy { now, admit, floor } = *policy;
    root.check_knows(manifest.root)?;
    let document = root.document();
    if document.revoked_releases.contains(&sha256) {
        return Err(Refusal::Revoked { root: document.counter, what: format!("release {sha256}") });
    }
    if now >= manifest.expires {
        return Err(Refusal::Expired { expired: manifest.expires, now });
    }
    let floor = floor.max(document.floors.get(&manifest.product).copied().unwrap_or(0));
    if manifest.counter < floor {
        return Err(Refusal::Downgrade {
            product: manifest.product.clone(),
            counter: manifest.counter,
            floor,
        });
    }
    if manifest.build == BuildKind::Debug && admit == Admit::ProductionOnly {
        return Err(Refusal::DebugBuild);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{
        canonical::CanonicalError,
        keys::SecretKey,
        refusal::Invalid,
        root::{Role, first_root},
    };

    fn key() -> SecretKey {
        SecretKey::from_entropy([5; 32])
    }

    fn root() -> TrustedRoot {
        let role = || Role { keys: BTreeSet::from([key().public()]), threshold: 1 };
        let names = [RoleName::Root, RoleName::Release, RoleName::Order];
        let roles = BTreeMap::from(names.map(|name| (name, role())));
        let unsigned =
            first_root("owner", "2030-01-01T00:00:00Z".parse().unwrap(), roles).to_unsigned().unwrap();
        TrustedRoot::open(&crate::sign(&unsigned, &key()).unwrap()).unwrap()
    }

    const DOCUMENT: &str = concat!(
        r#"{"build":"production","counter":1,"expires":"2029-01-01T00:00:00Z","identity":{"certificate":false,"#,
        r#""eui48":0,"eui64":0,"serial":false},"images":[{"address":134217728,"crc32":3984772369,"length":4,"#,
        r#""name":"d","role":"data","sha256":"88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"}],"#,
        r#""memory":[{"address":134217728,"kind":"flash","length":1024}],"name":"n","product":"p","root":1,"#,
        r#""schema":1,"source_revision":"r","targets":[{"device_id":1043,"name":"F405"}],"version":"1"}"#,
    );

    /// A package whose owner signed whatever `document` says: what a careless or malicious key holder
    /// could make.
    fn verify_signed(document: &str, payload: &[u8]) -> Result<VerifiedRelease, Refusal> {
        let document = document.as_bytes();
        let mut envelope = Envelope { kind: Kind::Release, document, signatures: Vec::new(), payload };
        envelope.sign(&key()).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let policy = ReleasePolicy { now, admit: Admit::ProductionOnly, floor: 0 };
        verify(Zeroizing::new(envelope.to_bytes()), &root(), &policy)
    }

    #[test]
    fn a_good_signature_does_not_excuse_a_bad_document() {
        assert!(verify_signed(DOCUMENT, b"abcd").is_ok());
        let with = |from: &str, to: &str| {
            assert!(DOCUMENT.contains(from), "{from}");
            verify_signed(&DOCUMENT.replace(from, to), b"abcd").unwrap_err()
        };
        assert_eq!(with(r#""schema":1"#, r#""schema":2"#), Refusal::UnknownSchema { got: 2, known: 1 });
        assert!(matches!(
            with(r#""name":"d""#, r#""name":"../../boot""#),
            Refusal::Invalid(Invalid::Label { field: "image name", .. })
        ));
        let spaced = with(r#""schema":1"#, r#""schema": 1"#);
        assert!(matches!(spaced, Refusal::Malformed(CanonicalError::Spelling { .. })));
        let unknown = with(r#""schema":1"#, r#""schema":1,"script":"x""#);
        assert!(matches!(unknown, Refusal::Malformed(CanonicalError::Shape { .. })));
        let far = with(r#""address":134217728,"crc32""#, r#""address":4294967295,"crc32""#);
        assert!(matches!(far, Refusal::Invalid(Invalid::Range { address: 0xFFFF_FFFF, .. })));
        let long = with(r#""length":4,"#, r#""length":5,"#);
        assert_eq!(long, Refusal::Length { stated_by: "manifest", stated: 5, got: 4 });
        let wrong_crc = with("3984772369", "3984772360");
        assert!(matches!(wrong_crc, Refusal::Altered { part: Part::Image { .. } }));
    }

    #[test]
    fn bytes_that_change_after_the_check_are_caught_at_the_moment_of_writing() {
        let mut release = verify_signed(DOCUMENT, b"abcd").unwrap();
        assert_eq!(release.images().next().unwrap().checked_bytes(), Ok(b"abcd".as_slice()));
        let at = release.payload_at;
        release.bytes[at + 2] ^= 0x40;
        let refused = release.images().next().unwrap().checked_bytes();
        assert!(matches!(refused, Err(Refusal::ChangedSinceVerified { .. })), "{refused:?}");
    }
}

//! What a unit is given beside its image: the bytes of its identity region, its key, its certificate and its blobs.
//!
//! A key made here lives in memory that is wiped, goes into the region's bytes and nowhere else. A key made by the
//! board never leaves it: what comes is a certificate request, and the region says which key it is. Of both are kept
//! the fingerprint, and the certificate, which is public. The certificate goes into the region too, as a blob.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use panel_codes::Code;
use panel_engine::common_name;
use panel_ledger::region::{self, Blob, Identity, KeySlot, SlotUse};
use panel_ledger::{
    Contents, Hash, Issued, KeyKind, Numbers, UnitKey, VerifiedRequest, certificate_facts, check_issued,
};
use panel_protocol::node::Uid;
use panel_release::StationSecret;
use panel_release::manifest::{IdentityNeeds, RegionPlace, UnitKeyKind};
use zeroize::Zeroizing;

use super::keeper::CERTIFICATE;
use super::station::UnitIssuer;
use crate::failure::Failure;

/// What goes into a board and what is kept of it.
pub(crate) struct Made {
    /// The region, if the release has a place for one.
    pub(crate) region: Option<Zeroizing<Vec<u8>>>,
    /// What is kept of its key and certificate.
    pub(crate) kept: Kept,
}

/// What the ledger keeps of a unit's key and certificate.
pub(crate) struct Kept {
    /// SHA-256 of the region, or of nothing.
    pub(crate) region: Hash,
    /// Fingerprint of the key.
    pub(crate) key: Option<Hash>,
    /// The certificate issued now.
    pub(crate) certificate: Option<Issued>,
}

/// Who gets an identity.
pub(crate) struct Owner {
    pub(crate) uid: Uid,
    pub(crate) numbers: Numbers,
    /// When its numbers were reserved first.
    pub(crate) reserved: Timestamp,
    /// The blobs that the ledger gave it, in the order of the release.
    pub(crate) blobs: Vec<OwnBlob>,
}

/// A unit's blob as it is written; it may be a secret.
pub(crate) struct OwnBlob {
    pub(crate) name: String,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// What every unit of a run has in common.
pub(crate) struct Template {
    pub(crate) product: String,
    /// The board's hardware revision, where the release is for one only.
    pub(crate) hardware: String,
    pub(crate) needs: IdentityNeeds,
    /// Readout protection does not hide the region: it is in one-time programmable memory.
    pub(crate) open: bool,
    pub(crate) issuer: Option<UnitIssuer>,
    /// Opens the secrets among the blobs.
    pub(crate) secret: Option<StationSecret>,
}

/// The key that a region speaks of.
struct Key<'a> {
    slot: KeySlot<'a>,
    fingerprint: Hash,
    certificate: Option<Issued>,
}

impl Template {
    /// Makes the identity of a unit, with a key from here if its release asks for one.
    pub(crate) fn make(&self, owner: &Owner, now: Timestamp) -> Result<Made, Failure> {
        let Some(kind) = self.needs.key else { return self.made(owner, None) };
        let key = UnitKey::make(key_kind(kind), crate::release::fill).map_err(wrong)?;
        let fingerprint = key.fingerprint().map_err(wrong)?;
        let certificate = match self.needs.certificate {
            true => Some(self.issue(owner, now, |issuer, contents| issuer.issuer.issue(&key, contents))?),
            false => None,
        };
        key.inject(|secret| {
            let slot = KeySlot { kind: key_kind(kind), holds: SlotUse::Secret, data: secret };
            self.made(owner, Some(Key { slot, fingerprint, certificate }))
        })
    }

    /// Makes the identity of a unit whose board made the key and asks for a certificate. The certificate that the unit
    /// has already (`known`) stays if it is for this key and still good, so that the identity stays the same.
    pub(crate) fn certify(
        &self,
        owner: &Owner,
        request: &[u8],
        known: Option<Vec<u8>>,
        now: Timestamp,
    ) -> Result<Made, Failure> {
        let refuse = |e: panel_ledger::CertificateError| Failure::new(Code::KeyRequest, e.to_string());
        let kind = key_kind(self.needs.key.unwrap_or(UnitKeyKind::P256));
        let name = common_name(owner.numbers.serial.as_deref(), owner.uid);
        let request = VerifiedRequest::open(request, &name).map_err(refuse)?;
        if request.kind() != kind {
            let text = format!("request for a key of kind {:?}, expected {kind:?}", request.kind());
            return Err(Failure::new(Code::KeyRequest, text));
        }
        let fingerprint = request.key().map_err(refuse)?;
        let known = known.and_then(|der| self.still_good(der, fingerprint, now));
        let certificate = match known {
            _ if !self.needs.certificate => None,
            Some(issued) => Some(issued),
            None => Some(self.issue(owner, now, |i, contents| i.issuer.issue_request(&request, contents))?),
        };
        let slot = KeySlot { kind, holds: SlotUse::Fingerprint, data: &fingerprint.0 };
        self.made(owner, Some(Key { slot, fingerprint, certificate }))
    }

    /// A certificate that was issued before, if it is for this key, from this issuer, and good for half its time yet.
    fn still_good(&self, der: Vec<u8>, key: Hash, now: Timestamp) -> Option<Issued> {
        let issuer = self.issuer.as_ref()?;
        check_issued(&der, &issuer.issuer.certificate().ok()?).ok()?;
        let (of, until) = certificate_facts(&der).ok()?;
        let half = jiff::SignedDuration::from_hours(i64::from(issuer.valid_days) * 12);
        let good = of == key && now.checked_add(half).is_ok_and(|then| then <= until);
        good.then(|| Issued { fingerprint: Hash::of(&der), der, key })
    }

    fn made(&self, owner: &Owner, key: Option<Key<'_>>) -> Result<Made, Failure> {
        let keys = key.as_ref().map(|key| key.slot);
        let certificate = key.as_ref().and_then(|key| key.certificate.as_ref());
        let place = self.needs.region;
        let region =
            place.map(|place| self.region(owner, place, keys.as_slice(), certificate)).transpose()?;
        let hash = Hash::of(region.as_ref().map_or(&[], |bytes| bytes.as_slice()));
        let fingerprint = key.as_ref().map(|key| key.fingerprint);
        let certificate = key.and_then(|key| key.certificate);
        Ok(Made { region, kept: Kept { region: hash, key: fingerprint, certificate } })
    }

    fn region(
        &self,
        owner: &Owner,
        place: RegionPlace,
        keys: &[KeySlot<'_>],
        certificate: Option<&Issued>,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let Numbers { serial, eui48, eui64, .. } = &owner.numbers;
        let eui48: Vec<[u8; 6]> = eui48.iter().filter_map(|eui| eui.octets().try_into().ok()).collect();
        let eui64: Vec<[u8; 8]> = eui64.iter().filter_map(|eui| eui.octets().try_into().ok()).collect();
        let identity = Identity {
            product: &self.product,
            hardware: &self.hardware,
            serial: serial.as_deref().unwrap_or_default(),
            date: date(owner.reserved),
            eui48: &eui48,
            eui64: &eui64,
            keys,
        };
        let wrong = |e: region::RegionError| Failure::new(Code::ReleaseTarget, format!("identity: {e}"));
        let unit = place.unit as usize;
        let certificate = certificate.map(|issued| Blob { name: CERTIFICATE, bytes: &issued.der });
        let given = owner.blobs.iter().map(|blob| Blob { name: &blob.name, bytes: &blob.bytes });
        let blobs: Vec<_> = certificate.into_iter().chain(given).collect();
        let length = match blobs.iter().map(|blob| region::blob_length(blob.bytes.len())).sum() {
            0 => region::padded_length(unit).map_err(wrong)?,
            behind => region::BLOBS + behind,
        };
        if length > place.length as usize {
            let RegionPlace { address, length: aside, .. } = place;
            let text = format!(
                "an identity of {length} bytes is needed, and {aside} bytes are set aside at {address:#010x}"
            );
            return Err(Failure::new(Code::ReleaseTarget, text));
        }
        let mut bytes = Zeroizing::new(vec![0xFF; length]);
        region::encode(&identity, unit, &mut bytes).map_err(wrong)?;
        let mut at = region::BLOBS;
        for blob in blobs {
            at += region::encode_blob(blob, &mut bytes[at..]).map_err(wrong)?;
        }
        Ok(bytes)
    }

    fn issue(
        &self,
        owner: &Owner,
        now: Timestamp,
        issue: impl FnOnce(&UnitIssuer, &Contents<'_>) -> Result<Issued, panel_ledger::CertificateError>,
    ) -> Result<Issued, Failure> {
        let Some(issuer) = &self.issuer else {
            let text = "the release asks for certificates, and station.toml names no [issuer]";
            return Err(Failure::new(Code::Certificate, text));
        };
        let hours = jiff::SignedDuration::from_hours(i64::from(issuer.valid_days) * 24);
        let until = now.checked_add(hours).map_err(|e| Failure::new(Code::StationFile, e.to_string()))?;
        let contents = Contents {
            common_name: &common_name(owner.numbers.serial.as_deref(), owner.uid),
            serial: *crate::release::entropy::<16>()?,
            from: now,
            until,
        };
        issue(issuer, &contents).map_err(wrong)
    }
}

fn wrong(error: panel_ledger::CertificateError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

pub(crate) fn key_kind(kind: UnitKeyKind) -> KeyKind {
    match kind {
        UnitKeyKind::Ed25519 => KeyKind::Ed25519,
        UnitKeyKind::P256 => KeyKind::P256,
    }
}

/// Decimal YYYYMMDD in UTC.
fn date(at: Timestamp) -> u32 {
    let date = at.to_zoned(TimeZone::UTC).date();
    let number = |n: i8| u32::try_from(n).unwrap_or(0);
    u32::try_from(date.year()).unwrap_or(0) * 10_000 + number(date.month()) * 100 + number(date.day())
}

//! What a unit is given beside its image: the bytes of its identity region, its key and its certificate.
//!
//! A key is made here, lives in memory that is wiped, and goes into the region's bytes and nowhere else: what is
//! kept of it is its fingerprint, and the certificate, which is public.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use panel_codes::Code;
use panel_ledger::region::{self, Identity, KeySlot, SlotUse};
use panel_ledger::{Contents, Hash, Issued, KeyKind, Numbers, UnitKey};
use panel_release::manifest::{IdentityNeeds, UnitKeyKind};
use zeroize::Zeroizing;

use super::station::UnitIssuer;
use crate::failure::Failure;

/// What goes into a board and what is kept of it.
pub(crate) struct Made {
    /// The region, if the release has a place for one.
    pub(crate) region: Option<Zeroizing<Vec<u8>>>,
    /// Fingerprint of the key made now.
    pub(crate) key: Option<Hash>,
    /// The certificate issued now.
    pub(crate) certificate: Option<Issued>,
}

/// What every unit of a run has in common.
pub(crate) struct Template {
    pub(crate) product: String,
    /// The board's hardware revision, where the release is for one only.
    pub(crate) hardware: String,
    pub(crate) needs: IdentityNeeds,
    pub(crate) issuer: Option<UnitIssuer>,
}

impl Template {
    /// Makes the identity of a unit with these numbers that was reserved first at `reserved`.
    pub(crate) fn make(
        &self,
        numbers: &Numbers,
        reserved: Timestamp,
        now: Timestamp,
    ) -> Result<Made, Failure> {
        let wrong = |e: panel_ledger::CertificateError| Failure::new(e.code(), e.to_string());
        let key = self.needs.key.map(|kind| UnitKey::make(key_kind(kind), crate::release::fill));
        let key = key.transpose().map_err(wrong)?;
        let fingerprint = key.as_ref().map(UnitKey::fingerprint).transpose().map_err(wrong)?;
        let certificate = match &key {
            Some(key) if self.needs.certificate => Some(self.certify(key, numbers, now)?),
            _ => None,
        };
        let region = match (self.needs.region, key) {
            (None, _) => None,
            (Some(place), None) => Some(self.region(numbers, reserved, place.unit, &[])?),
            (Some(place), Some(key)) => {
                let kind = key_kind(self.needs.key.unwrap_or(UnitKeyKind::Ed25519));
                let region = key.inject(|secret| {
                    let slot = KeySlot { kind, holds: SlotUse::Secret, data: secret };
                    self.region(numbers, reserved, place.unit, &[slot])
                });
                Some(region?)
            }
        };
        Ok(Made { region, key: fingerprint, certificate })
    }

    fn region(
        &self,
        numbers: &Numbers,
        reserved: Timestamp,
        unit: u32,
        keys: &[KeySlot<'_>],
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let eui48: Vec<[u8; 6]> =
            numbers.eui48.iter().filter_map(|eui| eui.octets().try_into().ok()).collect();
        let eui64: Vec<[u8; 8]> =
            numbers.eui64.iter().filter_map(|eui| eui.octets().try_into().ok()).collect();
        let identity = Identity {
            product: &self.product,
            hardware: &self.hardware,
            serial: numbers.serial.as_deref().unwrap_or_default(),
            date: date(reserved),
            eui48: &eui48,
            eui64: &eui64,
            keys,
        };
        let wrong = |e: region::RegionError| Failure::new(Code::ReleaseTarget, format!("identity: {e}"));
        let length = region::padded_length(unit as usize).map_err(wrong)?;
        let mut bytes = Zeroizing::new(vec![0; length]);
        region::encode(&identity, unit as usize, &mut bytes).map_err(wrong)?;
        Ok(bytes)
    }

    fn certify(&self, key: &UnitKey, numbers: &Numbers, now: Timestamp) -> Result<Issued, Failure> {
        let wrong = |e: panel_ledger::CertificateError| Failure::new(e.code(), e.to_string());
        let Some(UnitIssuer { issuer, valid_days }) = &self.issuer else {
            let text = "the release asks for certificates, and station.toml names no [issuer]";
            return Err(Failure::new(Code::Certificate, text));
        };
        let hours = jiff::SignedDuration::from_hours(i64::from(*valid_days) * 24);
        let until = now.checked_add(hours).map_err(|e| Failure::new(Code::StationFile, e.to_string()))?;
        let contents = Contents {
            common_name: numbers.serial.as_deref().unwrap_or_default(),
            serial: *crate::release::entropy::<16>()?,
            from: now,
            until,
        };
        issuer.issue(key, &contents).map_err(wrong)
    }
}

fn key_kind(kind: UnitKeyKind) -> KeyKind {
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

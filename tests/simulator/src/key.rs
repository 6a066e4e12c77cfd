//! A board that makes a key of its own: the key, and the certificate request written from RFC 2986.
//!
//! The secret comes from the chip's UID, as from a root key that was burnt into it: the same chip always has the same
//! key, whatever is erased. The DER here is written by hand and shares nothing with the host that checks it; only
//! the arithmetic is a crate's. ECDSA on P-256 is the only kind.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use panel_protocol::node::{KeyKind, Uid};
use sha2::{Digest, Sha256};

/// What a software implementation takes on a processor of 16 MHz, roughly: ns.
pub(crate) const MAKE_NS: u64 = 250_000_000;

/// What is wrong with a board's way of making keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// `key-fails`: it says that it cannot.
    Fails,
    /// `key-hangs`: it never comes back from it; a reset ends that.
    Hangs,
    /// `key-forged`: the request is signed with another key.
    Forged,
    /// `key-foreign`: the request is for another unit.
    Foreign,
    /// `key-repeated`: a broken source of randomness: every such board has the same key.
    Repeated,
}

/// The part of a board that makes keys.
#[derive(Debug, Default)]
pub(crate) struct KeyMaker {
    pub(crate) fault: Option<KeyFault>,
    /// Length and request, as they are read.
    request: Vec<u8>,
}

impl KeyMaker {
    /// Makes the key, or not.
    pub(crate) fn make(&mut self, uid: Uid, kind: KeyKind, name: &[u8]) -> bool {
        self.request.clear();
        if kind != KeyKind::P256 || self.fault == Some(KeyFault::Fails) {
            return false;
        }
        let seed = if self.fault == Some(KeyFault::Repeated) { [0; 12] } else { uid.0 };
        let Some(key) = secret(&seed) else { return false };
        let signer = if self.fault == Some(KeyFault::Forged) { secret(b"another") } else { None };
        let name = if self.fault == Some(KeyFault::Foreign) { b"W-99999" } else { name };
        let request = request(&key, signer.as_ref().unwrap_or(&key), name);
        self.request.extend((request.len() as u16).to_le_bytes());
        self.request.extend(request);
        true
    }

    /// Copies from the request; false beyond it.
    pub(crate) fn read(&self, from: usize, out: &mut [u8]) -> bool {
        let part = self.request.get(from..from + out.len());
        part.map(|part| out.copy_from_slice(part)).is_some()
    }

    /// RAM is lost: the request has to be asked for again.
    pub(crate) fn forget(&mut self) {
        self.request.clear();
    }
}

/// The secret that belongs to a chip: a hash as a number, which is in range but once in 2^32.
fn secret(seed: &[u8]) -> Option<SigningKey> {
    SigningKey::from_slice(&Sha256::digest([b"root key of ".as_slice(), seed].concat())).ok()
}

/// CertificationRequest (RFC 2986, 4.2) of `key` with the subject CN=`name` (RFC 5280, 4.1.2.4).
fn request(key: &SigningKey, signer: &SigningKey, name: &[u8]) -> Vec<u8> {
    const COMMON_NAME: &[u8] = &[0x06, 3, 0x55, 0x04, 0x03];
    const EC_PUBLIC_KEY: &[u8] = &[0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
    const PRIME256V1: &[u8] = &[0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
    const ECDSA_WITH_SHA256: &[u8] = &[0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
    let attribute = tlv(0x30, &[COMMON_NAME, &tlv(0x0C, &[name])]);
    let subject = tlv(0x30, &[&tlv(0x31, &[&attribute])]);
    let point = key.verifying_key().to_sec1_point(false);
    let algorithm = tlv(0x30, &[EC_PUBLIC_KEY, PRIME256V1]);
    let public = tlv(0x30, &[&algorithm, &tlv(0x03, &[&[0], point.as_bytes()])]);
    let info = tlv(0x30, &[&[0x02, 1, 0], &subject, &public, &[0xA0, 0]]);
    let signature: DerSignature = signer.sign(&info);
    let signature = tlv(0x03, &[&[0], signature.as_bytes()]);
    tlv(0x30, &[&info, &tlv(0x30, &[ECDSA_WITH_SHA256]), &signature])
}

/// Tag, length, value (X.690, 8.1.3), for values up to 65535 bytes.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = match value.len() {
        n @ 0..=127 => vec![n as u8],
        n @ 128..=255 => vec![0x81, n as u8],
        n => vec![0x82, (n >> 8) as u8, n as u8],
    };
    [&[tag][..], &length, &value].concat()
}

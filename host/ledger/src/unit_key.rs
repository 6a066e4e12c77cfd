//! A unit's own key pair, made at the station because the board cannot make one.
//!
//! The secret exists in memory from [`UnitKey::make`] to [`UnitKey::inject`], which gives it away once and
//! wipes it; it has no text form and no way into a file. What stays is the fingerprint of the public half.

use std::fmt;

use x509_cert::{SubjectPublicKeyInfo, spki::EncodePublicKey};

use zeroize::Zeroizing;

use crate::{certificate::CertificateError, types::Hash};

/// Kinds of unit keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519 (RFC 8032); the secret is the 32-byte seed.
    Ed25519,
    /// ECDSA on NIST P-256 (FIPS 186-5); the secret is the 32-byte big-endian scalar.
    P256,
}

/// A key pair that was not injected yet. Wiped when dropped.
pub struct UnitKey {
    pub(crate) pair: KeyPair,
    public: SubjectPublicKeyInfo,
}

/// Both halves. The types of both crates wipe their secrets when dropped.
pub(crate) enum KeyPair {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl UnitKey {
    /// Makes a key pair from `entropy`, which must fill the buffer with bytes nobody can guess.
    ///
    /// # Errors
    /// [`CertificateError::Entropy`] when the source fails, or gives what can be no key eight times.
    pub fn make<E: fmt::Display>(
        kind: KeyKind,
        mut entropy: impl FnMut(&mut [u8; 32]) -> Result<(), E>,
    ) -> Result<Self, CertificateError> {
        let mut seed = Zeroizing::new([0; 32]);
        // A P-256 scalar is out of range once in 2^32 draws; eight failures mean a broken source.
        for _ in 0..8 {
            entropy(&mut seed).map_err(|error| CertificateError::Entropy { detail: error.to_string() })?;
            if seed.iter().all(|byte| *byte == seed[0]) {
                continue;
            }
            let pair = match kind {
                KeyKind::Ed25519 => KeyPair::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed)),
                KeyKind::P256 => match p256::ecdsa::SigningKey::from_slice(seed.as_slice()) {
                    Ok(key) => KeyPair::P256(key),
                    Err(_) => continue,
                },
            };
            let public = pair.public()?;
            return Ok(Self { pair, public });
        }
        Err(CertificateError::Entropy { detail: "it gives no usable key".to_owned() })
    }

    /// SHA-256 of the public key's SubjectPublicKeyInfo (DER): what the ledger keeps.
    ///
    /// # Errors
    /// [`CertificateError::Encoding`] if the encoder fails.
    pub fn fingerprint(&self) -> Result<Hash, CertificateError> {
        fingerprint(&self.public)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &SubjectPublicKeyInfo {
        &self.public
    }

    /// Gives the secret to `write`, which sends it to the board, and wipes it.
    pub fn inject<T>(self, write: impl FnOnce(&[u8; 32]) -> T) -> T {
        let secret: Zeroizing<[u8; 32]> = match &self.pair {
            KeyPair::Ed25519(key) => Zeroizing::new(key.to_bytes()),
            KeyPair::P256(key) => {
                let mut secret = Zeroizing::new([0; 32]);
                secret.copy_from_slice(Zeroizing::new(key.to_bytes()).as_slice());
                secret
            }
        };
        write(&secret)
    }
}

impl fmt::Debug for UnitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnitKey(secret)")
    }
}

impl KeyPair {
    pub(crate) fn public(&self) -> Result<SubjectPublicKeyInfo, CertificateError> {
        let encoded = match self {
            Self::Ed25519(key) => key.verifying_key().to_public_key_der(),
            Self::P256(key) => key.verifying_key().to_public_key_der(),
        };
        let document = encoded.map_err(CertificateError::encoding)?;
        document.decode_msg().map_err(CertificateError::encoding)
    }
}

/// SHA-256 of a public key's SubjectPublicKeyInfo.
pub(crate) fn fingerprint(public: &SubjectPublicKeyInfo) -> Result<Hash, CertificateError> {
    use x509_cert::der::Encode;
    Ok(Hash::of(&public.to_der().map_err(CertificateError::encoding)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> impl FnMut(&mut [u8; 32]) -> Result<(), &'static str> {
        let mut next = 0_u8;
        move |buffer| {
            buffer.iter_mut().for_each(|byte| {
                next = next.wrapping_mul(5).wrapping_add(17);
                *byte = next;
            });
            Ok(())
        }
    }

    #[test]
    fn the_injected_secret_belongs_to_the_public_half() {
        let key = UnitKey::make(KeyKind::Ed25519, counting()).unwrap();
        let fingerprint = key.fingerprint().unwrap();
        let again = key.inject(ed25519_dalek::SigningKey::from_bytes);
        let public = again.verifying_key().to_public_key_der().unwrap();
        assert_eq!(Hash::of(public.as_bytes()), fingerprint);

        let key = UnitKey::make(KeyKind::P256, counting()).unwrap();
        let fingerprint = key.fingerprint().unwrap();
        let again = key.inject(|secret| p256::ecdsa::SigningKey::from_slice(secret).unwrap());
        let public = again.verifying_key().to_public_key_der().unwrap();
        assert_eq!(Hash::of(public.as_bytes()), fingerprint);
    }

    #[test]
    fn a_source_that_fails_or_stands_still_makes_no_key() {
        for kind in [KeyKind::Ed25519, KeyKind::P256] {
            for byte in [0, 0xFF] {
                let still = UnitKey::make(kind, |buffer| {
                    *buffer = [byte; 32];
                    Ok::<_, String>(())
                });
                assert!(matches!(still, Err(CertificateError::Entropy { .. })));
            }
            let gone = UnitKey::make(kind, |_| Err("source gone"));
            assert!(matches!(gone, Err(CertificateError::Entropy { detail }) if detail == "source gone"));
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = UnitKey::make(KeyKind::P256, counting()).unwrap();
        assert_eq!(format!("{key:?}"), "UnitKey(secret)");
    }
}

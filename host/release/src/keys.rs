//! Signing keys: Ed25519 (RFC 8032), public halves as hex, secret halves as PKCS#8 PEM.
//!
//! PKCS#8 so that any ordinary tool can make or keep the key. A [`SecretKey`] is wiped when dropped and
//! has no `Debug` that shows it. Key bytes come from the caller: this crate draws no randomness itself.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A public key is not 64 hexadecimal digits.
    #[error("public key is not 64 hex digits: {text:?}")]
    PublicText {
        /// What was found, cut at 80 characters.
        text: String,
    },
    /// The bytes are no point of the curve, or one of the few weak ones.
    #[error("public key {key} is not a usable Ed25519 point")]
    PublicPoint {
        /// The key as hex.
        key: String,
    },
    /// A secret key file is not an Ed25519 key in PKCS#8 PEM.
    #[error("secret key is not Ed25519 in PKCS#8 PEM: {detail}")]
    SecretText {
        /// What the reader says; never any key material.
        detail: String,
    },
}

/// An Ed25519 public key; written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A key from its 32 bytes as they stand in a signature block. Whether they are a usable point shows
    /// when a signature is checked.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` over `message` was made by this key (strict: no malleable or weak-key forms).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    /// Refuses bytes that no signature could ever verify under.
    pub(crate) fn check_usable(&self) -> Result<(), KeyError> {
        let usable = VerifyingKey::from_bytes(&self.0).is_ok_and(|key| !key.is_weak());
        if usable { Ok(()) } else { Err(KeyError::PublicPoint { key: self.to_string() }) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| KeyError::PublicText { text: text.chars().take(80).collect() })?;
        let key = Self(bytes);
        key.check_usable()?;
        Ok(key)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An Ed25519 secret key, wiped when dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A key from 32 bytes of entropy, which are wiped here.
    #[must_use]
    pub fn from_entropy(mut seed: [u8; 32]) -> Self {
        let key = Self(SigningKey::from_bytes(&seed));
        seed.zeroize();
        key
    }

    /// Reads a PKCS#8 PEM file's text.
    ///
    /// # Errors
    /// [`KeyError::SecretText`] when it is anything else.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(text)
            .map(Self)
            .map_err(|error| KeyError::SecretText { detail: error.to_string() })
    }

    /// The key as PKCS#8 PEM, for the owner's key file.
    ///
    /// # Errors
    /// [`KeyError::SecretText`] if the encoder fails.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.0
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| KeyError::SecretText { detail: error.to_string() })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// A signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(public {})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_test_vector_signs_and_verifies() {
        // RFC 8032, section 7.1, test 2.
        let mut seed = [0; 32];
        hex::decode_to_slice("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", &mut seed)
            .unwrap();
        let key = SecretKey::from_entropy(seed);
        assert_eq!(
            key.public().to_string(),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        let signature = key.sign(&[0x72]);
        assert!(hex::encode(signature).starts_with("92a009a9f0d4cab8720e820b5f642540"));
        assert!(key.public().verifies(&[0x72], &signature));
        assert!(!key.public().verifies(&[0x73], &signature));
    }

    #[test]
    fn a_secret_key_survives_its_pem_file_and_never_prints_itself() {
        let key = SecretKey::from_entropy([7; 32]);
        let pem = key.to_pem().unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(SecretKey::from_pem(&pem).unwrap().public(), key.public());
        assert!(!format!("{key:?}").contains(&hex::encode([7; 32])));
        assert!(matches!(SecretKey::from_pem("nonsense"), Err(KeyError::SecretText { .. })));
    }

    #[test]
    fn public_keys_that_could_verify_nothing_are_refused() {
        let zero_point = format!("01{}", "00".repeat(31));
        assert!(matches!(zero_point.parse::<PublicKey>(), Err(KeyError::PublicPoint { .. })));
        assert!(matches!("ab".parse::<PublicKey>(), Err(KeyError::PublicText { .. })));
    }
}

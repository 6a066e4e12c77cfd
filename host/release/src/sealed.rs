//! Encryption at rest: a whole package as an `age` file for the stations that may read it.
//!
//! Format: age-encryption.org/v1 with X25519 recipients, so the owner can also use the ordinary tool.
//! The plain package exists in memory only and is wiped when dropped; nothing here writes a file. It stops
//! the theft of a file, not a listener at the fixture. `age` draws its file keys from the operating system.

use std::io::{Read, Write};

use age::{
    secrecy::ExposeSecret,
    x25519::{Identity, Recipient},
};
use zeroize::Zeroizing;

use crate::envelope::FILE_LIMIT;

/// First bytes of every age file.
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// Why a package cannot be encrypted or decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A recipient is not an `age1...` key.
    #[error("recipient {text:?} is not an age X25519 public key: {detail}")]
    Recipient {
        /// What was given.
        text: String,
        /// Why it is none.
        detail: String,
    },
    /// No recipient was given, so nobody could read the file.
    #[error("no recipient given")]
    NoRecipient,
    /// A station's secret is not an `AGE-SECRET-KEY-1...` text.
    #[error("not an age X25519 secret key: {detail}")]
    Secret {
        /// Why it is none; never any key material.
        detail: String,
    },
    /// The package could not be encrypted.
    #[error("cannot encrypt: {detail}")]
    Encrypt {
        /// What went wrong.
        detail: String,
    },
    /// The file is not an age file, was cut or changed, or is for other stations.
    #[error("cannot decrypt: {detail}")]
    Decrypt {
        /// What went wrong.
        detail: String,
    },
    /// The decrypted package is greater than any package may be.
    #[error("decrypted package is greater than the limit of {limit} bytes")]
    Oversize {
        /// The limit in bytes.
        limit: u64,
    },
}

/// A station's secret for encrypted packages; wiped when dropped.
pub struct StationSecret(Identity);

impl StationSecret {
    /// A new secret, from the operating system's randomness (inside `age`).
    #[must_use]
    pub fn generate() -> Self {
        Self(Identity::generate())
    }

    /// Reads the `AGE-SECRET-KEY-1...` text.
    ///
    /// # Errors
    /// [`SealError::Secret`].
    pub fn from_text(text: &str) -> Result<Self, SealError> {
        text.trim().parse().map(Self).map_err(|detail: &str| SealError::Secret { detail: detail.to_owned() })
    }

    /// The secret as text, for the station's key file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    /// The `age1...` text of the public half, to encrypt to.
    #[must_use]
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }
}

/// Whether `bytes` are an encrypted file.
#[must_use]
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(AGE_MAGIC)
}

/// Encrypts a package to `recipients` (`age1...` texts).
///
/// # Errors
/// [`SealError::Recipient`], [`SealError::NoRecipient`], [`SealError::Encrypt`].
pub fn seal(package: &[u8], recipients: &[String]) -> Result<Vec<u8>, SealError> {
    let keys = recipients
        .iter()
        .map(|text| {
            text.parse::<Recipient>()
                .map_err(|detail| SealError::Recipient { text: text.clone(), detail: detail.to_owned() })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let encryptor = age::Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient))
        .map_err(|_| SealError::NoRecipient)?;
    let mut out = Vec::new();
    let failed = |error: std::io::Error| SealError::Encrypt { detail: error.to_string() };
    let mut writer = encryptor.wrap_output(&mut out).map_err(failed)?;
    writer.write_all(package).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(out)
}

/// Decrypts a package into memory that is wiped when dropped.
///
/// # Errors
/// [`SealError::Decrypt`] for other stations' files and for any changed byte, [`SealError::Oversize`].
pub fn unseal(sealed: &[u8], secret: &StationSecret) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let failed = |detail: String| SealError::Decrypt { detail };
    let decryptor = age::Decryptor::new_buffered(sealed).map_err(|error| failed(error.to_string()))?;
    let reader = decryptor
        .decrypt(std::iter::once(&secret.0 as &dyn age::Identity))
        .map_err(|error| failed(error.to_string()))?;
    // Room for the whole is reserved at once: a growing vector would leave unwiped copies behind.
    let mut package = Zeroizing::new(Vec::with_capacity(sealed.len().min(FILE_LIMIT as usize + 1)));
    reader.take(FILE_LIMIT + 1).read_to_end(&mut package).map_err(|error| failed(error.to_string()))?;
    if package.len() as u64 > FILE_LIMIT {
        return Err(SealError::Oversize { limit: FILE_LIMIT });
    }
    Ok(package)
}

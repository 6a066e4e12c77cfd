//! Certificates of units: self-signed, or signed by the issuer at the station, or for a board's own request.
//!
//! X.509 v3 (RFC 5280) with ECDSA P-256/SHA-256 or Ed25519; requests are PKCS#10 (RFC 2986). A unit's
//! certificate is an end entity's: no CA, digital signature only. Nothing is issued for a request whose
//! signature or subject is wrong, nor by an issuer whose key is not its certificate's.

use std::time::Duration;

use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use jiff::Timestamp;
use p256::ecdsa::signature::Verifier;
use x509_cert::{
    AlgorithmIdentifier, Certificate, SubjectPublicKeyInfo,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    certificate::TbsCertificate,
    der::{
        Decode, Encode, EncodePem, asn1::BitString, asn1::GeneralizedTime, asn1::UtcTime, flagset::FlagSet,
        pem::LineEnding,
    },
    ext::{
        Extension, ToExtension,
        pkix::{AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier},
    },
    name::Name,
    request::CertReq,
    serial_number::SerialNumber,
    spki::{DecodePublicKey, ObjectIdentifier, SubjectPublicKeyInfoRef},
    time::{Time, Validity},
};
use zeroize::Zeroizing;

use crate::{
    issuer_chain,
    types::Hash,
    unit_key::{KeyKind, KeyPair, UnitKey, fingerprint},
};

/// id-Ed25519 (RFC 8410) and ecdsa-with-SHA256 (RFC 5758).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// Greatest certificate or request looked at, in bytes.
pub(crate) const LIMIT: usize = 16 * 1024;

/// Why a key, request or certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bytes are not what they should be.
    #[error("malformed {what}: {detail}")]
    Malformed {
        /// Certificate, request or key.
        what: &'static str,
        /// What the reader says; never any key material.
        detail: String,
    },
    /// An algorithm other than Ed25519 and ECDSA P-256 with SHA-256.
    #[error("algorithm {oid} is not supported (Ed25519 or ECDSA P-256 with SHA-256)")]
    Algorithm {
        /// Its object identifier.
        oid: String,
    },
    /// A signature does not belong to its document.
    #[error("signature of the {what} is wrong")]
    Signature {
        /// Certificate or request.
        what: &'static str,
    },
    /// The request is for another subject.
    #[error("request is for {got:?}, expected {expected:?}")]
    Subject {
        /// Common name wanted.
        expected: String,
        /// Common name in the request, empty if there is none.
        got: String,
    },
    /// A name that cannot stand in a certificate.
    #[error("{name:?} cannot be a common name (1 to 64 of letters, digits and ` ._:/-`)")]
    Name {
        /// The name.
        name: String,
    },
    /// The issuer's key is not the one of its certificate.
    #[error("issuer's key does not belong to its certificate")]
    IssuerKey,
    /// A certificate of the issuer's file may not issue.
    #[error(
        "certificate {position} of the file, {subject}, is not one of a certificate authority: it lacks {lacks}"
    )]
    NotAnAuthority {
        /// Its place in the file, from 1.
        position: usize,
        /// Its subject.
        subject: String,
        /// What it lacks.
        lacks: &'static str,
    },
    /// The certificates of the issuer's file do not follow each other.
    #[error("certificate {position} of the file is not vouched for by certificate {next}: {detail}")]
    Chain {
        /// Its place in the file, from 1.
        position: usize,
        /// The place of the one that should vouch for it.
        next: usize,
        /// Why not.
        detail: String,
    },
    /// A certificate of the issuer's file is not valid now.
    #[error(
        "certificate {position} of the file, {subject}, is valid from {from} to {until}, and now is {now}"
    )]
    NotNow {
        /// Its place in the file, from 1.
        position: usize,
        /// Its subject.
        subject: String,
        /// Its begin.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
        /// The time of use.
        now: Timestamp,
    },
    /// The issuer's certificate begins after, or ends before what it should issue.
    #[error("issuer's certificate is valid from {begin} to {until}, wanted from {from} to {wanted}")]
    IssuerValidity {
        /// Its begin.
        begin: Timestamp,
        /// Its end.
        until: Timestamp,
        /// Begin of the validity wanted.
        from: Timestamp,
        /// End of the validity wanted.
        wanted: Timestamp,
    },
    /// The validity wanted is empty or cannot be written in a certificate.
    #[error("validity from {from} to {until} is not possible")]
    Validity {
        /// Its begin.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
    },
    /// No usable randomness.
    #[error("source of randomness: {detail}")]
    Entropy {
        /// What went wrong.
        detail: String,
    },
    /// The encoder failed.
    #[error("cannot encode: {detail}")]
    Encoding {
        /// What it says.
        detail: String,
    },
}

impl CertificateError {
    pub(crate) fn encoding(error: impl std::fmt::Display) -> Self {
        Self::Encoding { detail: error.to_string() }
    }

    fn malformed(what: &'static str) -> impl Fn(x509_cert::der::Error) -> Self {
        move |error| Self::Malformed { what, detail: error.to_string() }
    }

    /// The stable error code.
    #[must_use]
    pub fn code(&self) -> panel_codes::Code {
        panel_codes::Code::Certificate
    }
}

/// What a certificate shall say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents<'a> {
    /// Common name: the unit's serial number.
    pub common_name: &'a str,
    /// Certificate serial number: 16 bytes nobody can guess (RFC 5280, 4.1.2.2).
    pub serial: [u8; 16],
    /// Valid from.
    pub from: Timestamp,
    /// Valid to.
    pub until: Timestamp,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// SHA-256 of it.
    pub fingerprint: Hash,
    /// Fingerprint of the key it is for.
    pub key: Hash,
}

/// A board's request whose signature and subject were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRequest {
    common_name: String,
    public: SubjectPublicKeyInfo,
}

impl VerifiedRequest {
    /// Checks a request (PKCS#10, DER) of the unit that should be called `common_name`. The signature proves
    /// that the board has the secret half.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`], [`CertificateError::Algorithm`], [`CertificateError::Signature`],
    /// [`CertificateError::Subject`].
    pub fn open(der: &[u8], common_name: &str) -> Result<Self, CertificateError> {
        const WHAT: &str = "request";
        limit(WHAT, der)?;
        let request = CertReq::from_der(der).map_err(CertificateError::malformed(WHAT))?;
        let message = request.info.to_der().map_err(CertificateError::encoding)?;
        let CertReq { info, algorithm, signature } = request;
        check_signature(WHAT, &info.public_key, &algorithm, &message, &signature)?;
        let got = common_name_of(&info.subject).unwrap_or_default();
        if got != common_name {
            return Err(CertificateError::Subject { expected: common_name.to_owned(), got });
        }
        Ok(Self { common_name: got, public: info.public_key })
    }

    /// Kind of its key.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        if self.public.algorithm.oid == ED25519 { KeyKind::Ed25519 } else { KeyKind::P256 }
    }

    /// Fingerprint of its key, for the ledger.
    ///
    /// # Errors
    /// [`CertificateError::Encoding`] if the encoder fails.
    pub fn key(&self) -> Result<Hash, CertificateError> {
        fingerprint(&self.public)
    }
}

/// Who signs certificates at the station. Its key is wiped when dropped.
pub struct Issuer {
    certificate: Certificate,
    /// What vouches for it, as far as its file says.
    chain: Vec<Certificate>,
    key: KeyPair,
}

impl Issuer {
    /// Opens an issuer from its certificate (PEM), which those that vouch for it may follow, and its key (PKCS#8 PEM).
    ///
    /// # Errors
    /// [`CertificateError::Malformed`], [`CertificateError::IssuerKey`], [`CertificateError::NotAnAuthority`],
    /// [`CertificateError::Chain`].
    pub fn open(certificate_pem: &str, key_pem: &str) -> Result<Self, CertificateError> {
        let mut chain = issuer_chain::read(certificate_pem)?;
        let certificate = chain.remove(0);
        let key = read_key(key_pem)?;
        Self::new(certificate, chain, key)
    }

    /// Makes an issuer of its own, for demonstrations and small makers: a self-signed authority.
    ///
    /// # Errors
    /// [`CertificateError::Name`], [`CertificateError::Validity`], [`CertificateError::Encoding`].
    pub fn make(key: UnitKey, contents: &Contents<'_>) -> Result<Self, CertificateError> {
        let certificate = build(contents, key.public(), None, &key.pair, true)?;
        Self::new(certificate, Vec::new(), key.pair)
    }

    fn new(
        certificate: Certificate,
        chain: Vec<Certificate>,
        key: KeyPair,
    ) -> Result<Self, CertificateError> {
        if *certificate.tbs_certificate().subject_public_key_info() != key.public()? {
            return Err(CertificateError::IssuerKey);
        }
        Ok(Self { certificate, chain, key })
    }

    /// Refuses to be used at a time at which its certificate, or one that vouches for it, is not valid.
    ///
    /// # Errors
    /// [`CertificateError::NotNow`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), CertificateError> {
        issuer_chain::check_time(core::iter::once(&self.certificate).chain(&self.chain), now)
    }

    /// The issuer's certificate, DER.
    ///
    /// # Errors
    /// [`CertificateError::Encoding`] if the encoder fails.
    pub fn certificate(&self) -> Result<Vec<u8>, CertificateError> {
        self.certificate.to_der().map_err(CertificateError::encoding)
    }

    /// The issuer's certificate as PEM, for the owner's file.
    ///
    /// # Errors
    /// [`CertificateError::Encoding`] if the encoder fails.
    pub fn certificate_pem(&self) -> Result<String, CertificateError> {
        self.certificate.to_pem(LineEnding::LF).map_err(CertificateError::encoding)
    }

    /// The issuer's key as PKCS#8 PEM, for the owner's file. Keys of units have no such way out.
    ///
    /// # Errors
    /// [`CertificateError::Encoding`] if the encoder fails.
    pub fn key_pem(&self) -> Result<Zeroizing<String>, CertificateError> {
        match &self.key {
            KeyPair::Ed25519(key) => key.to_pkcs8_pem(LineEnding::LF),
            KeyPair::P256(key) => key.to_pkcs8_pem(LineEnding::LF),
        }
        .map_err(CertificateError::encoding)
    }

    /// A certificate for a key that was made at the station.
    ///
    /// # Errors
    /// [`CertificateError::Name`], [`CertificateError::Validity`], [`CertificateError::IssuerValidity`].
    pub fn issue(&self, key: &UnitKey, contents: &Contents<'_>) -> Result<Issued, CertificateError> {
        self.issue_for(key.public(), contents)
    }

    /// A certificate for a key that the board made. `contents.common_name` must be the request's.
    ///
    /// # Errors
    /// [`CertificateError::Subject`], and those of [`Issuer::issue`].
    pub fn issue_request(
        &self,
        request: &VerifiedRequest,
        contents: &Contents<'_>,
    ) -> Result<Issued, CertificateError> {
        if request.common_name != contents.common_name {
            return Err(CertificateError::Subject {
                expected: contents.common_name.to_owned(),
                got: request.common_name.clone(),
            });
        }
        self.issue_for(&request.public, contents)
    }

    fn issue_for(
        &self,
        public: &SubjectPublicKeyInfo,
        contents: &Contents<'_>,
    ) -> Result<Issued, CertificateError> {
        let Validity { not_before, not_after, .. } = self.certificate.tbs_certificate().validity();
        let (begin, until) = (timestamp(*not_before), timestamp(*not_after));
        if contents.from < begin || contents.until > until {
            let (from, wanted) = (contents.from, contents.until);
            return Err(CertificateError::IssuerValidity { begin, until, from, wanted });
        }
        let issuer = self.certificate.tbs_certificate().subject().clone();
        issued(&build(contents, public, Some(issuer), &self.key, false)?, public)
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({})", self.certificate.tbs_certificate().subject())
    }
}

/// A certificate that the unit's own key signs.
///
/// # Errors
/// [`CertificateError::Name`], [`CertificateError::Validity`].
pub fn self_signed(key: &UnitKey, contents: &Contents<'_>) -> Result<Issued, CertificateError> {
    issued(&build(contents, key.public(), None, &key.pair, false)?, key.public())
}

/// Checks that `der` is a certificate signed by `issuer_der` (or by itself, if both are the same).
///
/// # Errors
/// [`CertificateError::Malformed`], [`CertificateError::Algorithm`], [`CertificateError::Signature`].
pub fn check_issued(der: &[u8], issuer_der: &[u8]) -> Result<(), CertificateError> {
    const WHAT: &str = "certificate";
    limit(WHAT, der)?;
    limit(WHAT, issuer_der)?;
    let certificate = Certificate::from_der(der).map_err(CertificateError::malformed(WHAT))?;
    let issuer = Certificate::from_der(issuer_der).map_err(CertificateError::malformed(WHAT))?;
    let message = certificate.tbs_certificate().to_der().map_err(CertificateError::encoding)?;
    let public = issuer.tbs_certificate().subject_public_key_info();
    // The algorithm stands twice (RFC 5280, 4.1.1.2); only the one inside is signed.
    if certificate.signature_algorithm() != certificate.tbs_certificate().signature() {
        return Err(CertificateError::Signature { what: WHAT });
    }
    check_signature(WHAT, public, certificate.signature_algorithm(), &message, certificate.signature())
}

/// What a certificate that was issued earlier is worth now: the fingerprint of its key, and the end of its validity.
///
/// # Errors
/// [`CertificateError::Malformed`].
pub fn certificate_facts(der: &[u8]) -> Result<(Hash, Timestamp), CertificateError> {
    const WHAT: &str = "certificate";
    limit(WHAT, der)?;
    let certificate = Certificate::from_der(der).map_err(CertificateError::malformed(WHAT))?;
    let tbs = certificate.tbs_certificate();
    Ok((fingerprint(tbs.subject_public_key_info())?, timestamp(tbs.validity().not_after)))
}

/// A certificate as PEM, for people's tools.
///
/// # Errors
/// [`CertificateError::Malformed`] when `der` is none.
pub fn certificate_pem(der: &[u8]) -> Result<String, CertificateError> {
    let certificate = Certificate::from_der(der).map_err(CertificateError::malformed("certificate"))?;
    certificate.to_pem(LineEnding::LF).map_err(CertificateError::encoding)
}

struct Profile {
    issuer: Option<Name>,
    subject: Name,
    authority: bool,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, subject: &Name) -> Name {
        self.issuer.as_ref().unwrap_or(subject).clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        public: SubjectPublicKeyInfoRef<'_>,
        issuer: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let mut extensions: Vec<Extension> = Vec::new();
        let usage: FlagSet<KeyUsages> = if self.authority {
            KeyUsages::KeyCertSign | KeyUsages::CRLSign
        } else {
            KeyUsages::DigitalSignature.into()
        };
        let constraints =
            BasicConstraints { ca: self.authority, path_len_constraint: self.authority.then_some(0) };
        let authority = AuthorityKeyIdentifier::try_from(issuer)?;
        extensions.push(constraints.to_extension(&self.subject, &extensions)?);
        extensions.push(KeyUsage(usage).to_extension(&self.subject, &extensions)?);
        extensions.push(SubjectKeyIdentifier::try_from(public)?.to_extension(&self.subject, &extensions)?);
        extensions.push(authority.to_extension(&self.subject, &extensions)?);
        Ok(extensions)
    }
}

fn build(
    contents: &Contents<'_>,
    public: &SubjectPublicKeyInfo,
    issuer: Option<Name>,
    key: &KeyPair,
    authority: bool,
) -> Result<Certificate, CertificateError> {
    let profile = Profile { issuer, subject: name(contents.common_name)?, authority };
    // A positive number of at most 20 bytes (RFC 5280, 4.1.2.2): the leading bit stays clear.
    let mut serial = contents.serial;
    serial[0] = serial[0] & 0x7F | 0x40;
    let serial = SerialNumber::new(&serial).map_err(CertificateError::encoding)?;
    let validity = validity(contents)?;
    let builder = CertificateBuilder::new(profile, serial, validity, public.clone())
        .map_err(CertificateError::encoding)?;
    let built = match key {
        KeyPair::Ed25519(key) => builder.build::<_, ed25519_dalek::Signature>(key),
        KeyPair::P256(key) => builder.build::<_, p256::ecdsa::DerSignature>(key),
    };
    built.map_err(CertificateError::encoding)
}

fn issued(certificate: &Certificate, public: &SubjectPublicKeyInfo) -> Result<Issued, CertificateError> {
    let der = certificate.to_der().map_err(CertificateError::encoding)?;
    Ok(Issued { fingerprint: Hash::of(&der), der, key: fingerprint(public)? })
}

fn name(common_name: &str) -> Result<Name, CertificateError> {
    let refuse = || CertificateError::Name { name: common_name.chars().take(80).collect() };
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._:/-".contains(c);
    let length = common_name.len();
    if length == 0 || length > 64 || !common_name.chars().all(allowed) || common_name.trim() != common_name {
        return Err(refuse());
    }
    format!("CN={common_name}").parse().map_err(|_| refuse())
}

fn common_name_of(name: &Name) -> Option<String> {
    name.common_name().ok().flatten().map(|text| text.value().into_owned())
}

/// RFC 5280, 4.1.2.5: UTCTime up to 2049, GeneralizedTime from 2050.
fn validity(contents: &Contents<'_>) -> Result<Validity, CertificateError> {
    let Contents { from, until, .. } = *contents;
    let wrong = || CertificateError::Validity { from, until };
    let time = |at: Timestamp| {
        let since = Duration::from_secs(u64::try_from(at.as_second()).map_err(|_| wrong())?);
        let general = || GeneralizedTime::from_unix_duration(since).map(Time::from);
        UtcTime::from_unix_duration(since).map(Time::from).or_else(|_| general()).map_err(|_| wrong())
    };
    if from >= until {
        return Err(wrong());
    }
    Ok(Validity::new(time(from)?, time(until)?))
}

pub(crate) fn timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn read_key(pem: &str) -> Result<KeyPair, CertificateError> {
    if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
        return Ok(KeyPair::Ed25519(key));
    }
    p256::ecdsa::SigningKey::from_pkcs8_pem(pem).map(KeyPair::P256).map_err(|error| {
        CertificateError::Malformed { what: "issuer's key (PKCS#8 PEM)", detail: error.to_string() }
    })
}

fn check_signature(
    what: &'static str,
    public: &SubjectPublicKeyInfo,
    algorithm: &AlgorithmIdentifier,
    message: &[u8],
    signature: &BitString,
) -> Result<(), CertificateError> {
    let wrong = || CertificateError::Signature { what };
    let bytes = signature.as_bytes().ok_or_else(wrong)?;
    let der = public.to_der().map_err(CertificateError::encoding)?;
    let key = |error: x509_cert::spki::Error| CertificateError::Malformed {
        what: "public key",
        detail: error.to_string(),
    };
    if algorithm.oid == ED25519 {
        let public = ed25519_dalek::VerifyingKey::from_public_key_der(&der).map_err(key)?;
        let signature = ed25519_dalek::Signature::from_slice(bytes).map_err(|_| wrong())?;
        public.verify_strict(message, &signature).map_err(|_| wrong())
    } else if algorithm.oid == ECDSA_SHA256 {
        let public = p256::ecdsa::VerifyingKey::from_public_key_der(&der).map_err(key)?;
        let signature = p256::ecdsa::DerSignature::from_bytes(bytes).map_err(|_| wrong())?;
        public.verify(message, &signature).map_err(|_| wrong())
    } else {
        Err(CertificateError::Algorithm { oid: algorithm.oid.to_string() })
    }
}

fn limit(what: &'static str, bytes: &[u8]) -> Result<(), CertificateError> {
    if bytes.len() > LIMIT {
        let detail = format!("{} bytes, at most {LIMIT} are looked at", bytes.len());
        return Err(CertificateError::Malformed { what, detail });
    }
    Ok(())
}

//! The certificates of an issuer's file: its own first, then, if the file has them, those that vouch for it.
//!
//! Whether they really follow each other is checked before a unit gets a certificate that nobody could verify:
//! names, signatures, the right to issue, and the time. Positions in messages count from 1, as in the file.

use jiff::Timestamp;
use x509_cert::{
    Certificate,
    der::Encode,
    ext::pkix::{BasicConstraints, KeyUsage, KeyUsages},
};

use crate::certificate::{CertificateError, LIMIT, check_issued, timestamp};

/// Most certificates of one chain.
const LONGEST: usize = 8;
const FILE: &str = "issuer's certificate";

/// Reads an issuer's certificate and what vouches for it, and checks that they belong together.
pub(crate) fn read(pem: &str) -> Result<Vec<Certificate>, CertificateError> {
    let malformed = |detail: String| CertificateError::Malformed { what: FILE, detail };
    if pem.len() > LONGEST * LIMIT {
        return Err(malformed(format!("{} bytes, at most {} are looked at", pem.len(), LONGEST * LIMIT)));
    }
    let mut chain = Vec::new();
    for block in blocks(pem) {
        let position = chain.len() + 1;
        let read = Certificate::load_pem_chain(block.as_bytes());
        let read = read.map_err(|e| malformed(format!("certificate {position} of the file: {e}")))?;
        chain.extend(read);
    }
    match chain.len() {
        0 => return Err(malformed("no certificate in the file (-----BEGIN CERTIFICATE-----)".to_owned())),
        1..=LONGEST => {}
        n => return Err(malformed(format!("{n} certificates, at most {LONGEST}"))),
    }
    chain.iter().zip(1..).try_for_each(|(certificate, position)| check_right(certificate, position))?;
    chain.windows(2).zip(1..).try_for_each(|(pair, position)| check_link(&pair[0], &pair[1], position))?;
    Ok(chain)
}

/// Refuses a chain of which one certificate is not valid at `now`.
pub(crate) fn check_time<'c>(
    chain: impl Iterator<Item = &'c Certificate>,
    now: Timestamp,
) -> Result<(), CertificateError> {
    for (certificate, position) in chain.zip(1..) {
        let validity = certificate.tbs_certificate().validity();
        let (from, until) = (timestamp(validity.not_before), timestamp(validity.not_after));
        if now < from || now > until {
            let subject = certificate.tbs_certificate().subject().to_string();
            return Err(CertificateError::NotNow { position, subject, from, until, now });
        }
    }
    Ok(())
}

/// Each PEM block by itself, so that a message can say which one is wrong.
fn blocks(pem: &str) -> impl Iterator<Item = String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    pem.split(BEGIN).skip(1).map(|rest| format!("{BEGIN}{rest}"))
}

fn check_right(certificate: &Certificate, position: usize) -> Result<(), CertificateError> {
    let tbs = certificate.tbs_certificate();
    let malformed = |e: x509_cert::der::Error| CertificateError::Malformed {
        what: FILE,
        detail: format!("certificate {position} of the file: {e}"),
    };
    let refuse = |lacks| {
        let subject = tbs.subject().to_string();
        Err(CertificateError::NotAnAuthority { position, subject, lacks })
    };
    let constraints = tbs.get_extension::<BasicConstraints>().map_err(malformed)?;
    if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return refuse("basicConstraints CA");
    }
    let usage = tbs.get_extension::<KeyUsage>().map_err(malformed)?;
    if usage.is_some_and(|(_, usage)| !usage.0.contains(KeyUsages::KeyCertSign)) {
        return refuse("keyUsage keyCertSign");
    }
    Ok(())
}

fn check_link(child: &Certificate, parent: &Certificate, position: usize) -> Result<(), CertificateError> {
    let wanted = child.tbs_certificate().issuer().to_string();
    let got = parent.tbs_certificate().subject().to_string();
    let refuse = |detail| Err(CertificateError::Chain { position, next: position + 1, detail });
    if wanted != got {
        return refuse(format!("it names {wanted} as its issuer, the next one is {got}"));
    }
    let der = |certificate: &Certificate| certificate.to_der().map_err(CertificateError::encoding);
    match check_issued(&der(child)?, &der(parent)?) {
        Ok(()) => Ok(()),
        Err(CertificateError::Signature { .. }) => refuse(format!("its signature is not one of {got}")),
        Err(error) => refuse(error.to_string()),
    }
}

//! Unit keys and certificates: what is issued, what is refused, and that a key is nowhere on the disk.

use std::{fs, path::Path};

use jiff::Timestamp;
use p256::ecdsa::DerSignature;
use panel_ledger::{
    CertificateError, Change, Chip, Contents, Hash, Issuer, KeyKind, Ledger, Needs, NumberKind, Request,
    SqliteLedger, Step, Uid, UnitKey, VerifiedRequest, check_issued, self_signed,
};
use x509_cert::{
    Certificate,
    builder::Builder,
    der::{Decode, Encode, EncodePem},
    request::RequestBuilder,
};

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn contents(common_name: &str) -> Contents<'_> {
    Contents {
        common_name,
        serial: *b"sixteen bytes!!!",
        from: time("2026-06-01T00:00:00Z"),
        until: time("2036-06-01T00:00:00Z"),
    }
}

fn key(kind: KeyKind, seed: u8) -> UnitKey {
    UnitKey::make(kind, |buffer| {
        buffer.iter_mut().enumerate().for_each(|(at, byte)| *byte = seed.wrapping_add(at as u8));
        Ok::<_, String>(())
    })
    .expect("a key")
}

fn issuer(kind: KeyKind) -> Issuer {
    let contents = Contents {
        from: time("2026-01-01T00:00:00Z"),
        until: time("2056-01-01T00:00:00Z"),
        ..contents("Example Instruments plant 1")
    };
    Issuer::make(key(kind, 200), &contents).expect("an issuer")
}

const KINDS: [KeyKind; 2] = [KeyKind::Ed25519, KeyKind::P256];

#[test]
fn certificates_of_both_kinds_are_signed_by_both_kinds_and_name_their_unit() {
    for issuer_kind in KINDS {
        let issuer = issuer(issuer_kind);
        for kind in KINDS {
            let key = key(kind, 1);
            let issued = issuer.issue(&key, &contents("SH-2606-00042")).unwrap();
            assert_eq!(check_issued(&issued.der, &issuer.certificate().unwrap()), Ok(()));
            assert_eq!(issued.key, key.fingerprint().unwrap());
            assert_eq!(issued.fingerprint, Hash::of(&issued.der));
            let certificate = Certificate::from_der(&issued.der).unwrap();
            let tbs = certificate.tbs_certificate();
            assert_eq!(tbs.subject().to_string(), "CN=SH-2606-00042");
            assert_eq!(tbs.issuer().to_string(), "CN=Example Instruments plant 1");

            let own = self_signed(&key, &contents("SH-2606-00042")).unwrap();
            assert_eq!(check_issued(&own.der, &own.der), Ok(()));
            let wrong = check_issued(&own.der, &issuer.certificate().unwrap());
            assert!(wrong.is_err(), "{issuer_kind:?} {kind:?}");
        }
    }
}

#[test]
fn validity_is_written_right_before_and_after_2050_and_never_outlives_the_issuer() {
    let issuer = issuer(KeyKind::P256);
    let late = Contents { until: time("2055-12-31T23:59:59Z"), ..contents("A") };
    let issued = issuer.issue(&key(KeyKind::P256, 1), &late).unwrap();
    let certificate = Certificate::from_der(&issued.der).unwrap();
    let validity = certificate.tbs_certificate().validity();
    assert_eq!(validity.not_before.to_unix_duration().as_secs() as i64, late.from.as_second());
    assert_eq!(validity.not_after.to_unix_duration().as_secs() as i64, late.until.as_second());

    let beyond = Contents { until: time("2056-01-01T00:00:01Z"), ..contents("A") };
    let refused = issuer.issue(&key(KeyKind::P256, 1), &beyond);
    assert!(matches!(refused, Err(CertificateError::IssuerValidity { .. })));
    let empty = Contents { until: contents("A").from, ..contents("A") };
    assert!(matches!(self_signed(&key(KeyKind::P256, 1), &empty), Err(CertificateError::Validity { .. })));
}

#[test]
fn names_that_would_mean_something_else_in_a_certificate_are_refused() {
    for name in ["", "A,O=Other", "CN=A", "A+B", "#0401", " A", "A\u{0}", "ü", &"A".repeat(65)] {
        let refused = self_signed(&key(KeyKind::Ed25519, 1), &contents(name));
        assert!(matches!(refused, Err(CertificateError::Name { .. })), "{name:?}");
    }
    assert!(self_signed(&key(KeyKind::Ed25519, 1), &contents("SH/26.06_0-1:2")).is_ok());
}

/// A request as a board would make it.
fn board_request(common_name: &str) -> Vec<u8> {
    let secret = p256::ecdsa::SigningKey::from_slice(&[0x21; 32]).expect("a key");
    let subject = format!("CN={common_name}").parse().expect("a name");
    let builder = RequestBuilder::new(subject).expect("a builder");
    builder.build::<_, DerSignature>(&secret).expect("a request").to_der().expect("der")
}

#[test]
fn a_boards_request_is_answered_and_every_changed_byte_of_it_refused() {
    let issuer = issuer(KeyKind::Ed25519);
    let der = board_request("SH-00042");
    let request = VerifiedRequest::open(&der, "SH-00042").unwrap();
    let issued = issuer.issue_request(&request, &contents("SH-00042")).unwrap();
    assert_eq!(check_issued(&issued.der, &issuer.certificate().unwrap()), Ok(()));
    assert_eq!(issued.key, request.key().unwrap());

    let other = VerifiedRequest::open(&der, "SH-00043");
    assert!(matches!(other, Err(CertificateError::Subject { got, .. }) if got == "SH-00042"));
    let other = issuer.issue_request(&request, &contents("SH-00043"));
    assert!(matches!(other, Err(CertificateError::Subject { .. })));
    for offset in 0..der.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut bytes = der.clone();
            bytes[offset] ^= change;
            assert!(VerifiedRequest::open(&bytes, "SH-00042").is_err(), "byte {offset} xor {change:#04x}");
        }
        assert!(VerifiedRequest::open(&der[..offset], "SH-00042").is_err());
    }
}

/// Requests made with openssl for `CN=SH-2606-00042`.
fn foreign_request(text: &str) -> Vec<u8> {
    hex::decode(text.split_whitespace().collect::<String>()).expect("hex")
}

#[test]
fn requests_of_another_implementation_are_understood() {
    let open = |text| VerifiedRequest::open(&foreign_request(text), "SH-2606-00042");
    for text in [include_str!("golden/request_p256.hex"), include_str!("golden/request_ed.hex")] {
        let request = open(text).unwrap();
        let issuer = issuer(KeyKind::P256);
        let issued = issuer.issue_request(&request, &contents("SH-2606-00042")).unwrap();
        assert_eq!(check_issued(&issued.der, &issuer.certificate().unwrap()), Ok(()));
    }
    let rsa = open(include_str!("golden/request_rsa.hex"));
    assert!(matches!(rsa, Err(CertificateError::Algorithm { .. })), "{rsa:?}");
}

#[test]
fn every_changed_byte_of_a_certificate_is_refused() {
    let issuer = issuer(KeyKind::P256);
    let authority = issuer.certificate().unwrap();
    let issued = issuer.issue(&key(KeyKind::P256, 1), &contents("SH-00042")).unwrap();
    for offset in 0..issued.der.len() {
        let mut bytes = issued.der.clone();
        bytes[offset] ^= 0x04;
        assert!(check_issued(&bytes, &authority).is_err(), "byte {offset}");
    }
    let huge = vec![0x30; 1 << 20];
    assert!(matches!(check_issued(&huge, &authority), Err(CertificateError::Malformed { .. })));
}

#[test]
fn an_issuer_needs_its_own_key_and_the_right_to_issue() {
    use p256::pkcs8::{EncodePrivateKey, LineEnding};
    let secret = p256::ecdsa::SigningKey::from_slice(&[0x31; 32]).unwrap();
    let pem = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
    let make = || {
        UnitKey::make(KeyKind::P256, |buffer| {
            // Not all bytes alike, as any real key.
            *buffer = [0x32; 32];
            buffer[31] = 0x33;
            Ok::<_, String>(())
        })
        .unwrap()
    };
    let other = Issuer::make(make(), &contents("Plant")).unwrap();
    let to_pem = |der: &[u8]| Certificate::from_der(der).unwrap().to_pem(LineEnding::LF).unwrap();
    let mismatch = Issuer::open(&to_pem(&other.certificate().unwrap()), &pem);
    assert_eq!(mismatch.err(), Some(CertificateError::IssuerKey));

    let mut bytes = [0x32; 32];
    bytes[31] = 0x33;
    let right = p256::ecdsa::SigningKey::from_slice(&bytes).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap();
    let opened = Issuer::open(&to_pem(&other.certificate().unwrap()), &right).unwrap();
    assert!(opened.issue(&key(KeyKind::Ed25519, 1), &contents("A")).is_ok());
    let unit = self_signed(&make(), &contents("A")).unwrap();
    let no_right = Issuer::open(&to_pem(&unit.der), &right).err();
    assert!(matches!(no_right, Some(CertificateError::NotAnAuthority { .. })), "{no_right:?}");
    for (certificate, key) in [("", right.as_str()), ("-----BEGIN CERTIFICATE-----", &right)] {
        assert!(matches!(Issuer::open(certificate, key), Err(CertificateError::Malformed { .. })));
    }
    let no_key = Issuer::open(&to_pem(&other.certificate().unwrap()), "nonsense");
    assert!(matches!(no_key, Err(CertificateError::Malformed { .. })));
}

/// Every file under `directory`, read as bytes.
fn all_bytes(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            out.extend(all_bytes(&path));
        } else {
            out.push((path.display().to_string(), fs::read(&path).expect("a file")));
        }
    }
    out
}

/// The whole groups of base64 (RFC 4648) without what needs padding.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize])
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// The spellings in which a secret could leak: raw, hex in both cases, base64.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let hexadecimal = hex::encode(secret);
    // Inside a longer base64 text the secret may begin at each of the three places of a group.
    let mut spellings: Vec<Vec<u8>> = (0..3).map(|skipped| base64(&secret[skipped..])).collect();
    spellings.extend([
        secret.to_vec(),
        hexadecimal.to_uppercase().into_bytes(),
        hexadecimal.into_bytes(),
        secret.iter().rev().copied().collect(),
    ]);
    spellings
}

#[test]
fn a_planted_key_is_nowhere_in_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = SqliteLedger::open(&directory.path().join("ledger.db")).unwrap();
    let now = time("2026-06-02T00:00:00Z");
    let request = Request {
        product: "sensor-head".to_owned(),
        order: None,
        release: None,
        run: "run-1".to_owned(),
        station: "line1".to_owned(),
        panel: None,
        needs: Needs::default(),
        chips: vec![Chip { slot: 0, uid: Uid(*b"canary board") }],
    };
    let unit = ledger.reserve_many(&request, now).unwrap()[0].unit;
    let canary = *b"THIS-CANARY-MUST-NOT-BE-ON-DISK!";
    let key = UnitKey::make(KeyKind::P256, |buffer| {
        *buffer = canary;
        Ok::<_, String>(())
    })
    .unwrap();
    let certificate = issuer(KeyKind::Ed25519).issue(&key, &contents("SH-00001")).unwrap();
    let step = |change| Step { unit, run: "run-1".to_owned(), change };
    let fingerprint = key.fingerprint().unwrap();
    let steps = [
        step(Change::Writing),
        step(Change::Fingerprint { kind: NumberKind::Key, value: fingerprint }),
        step(Change::Fingerprint { kind: NumberKind::Certificate, value: certificate.fingerprint }),
        step(Change::Blob { name: "certificate".to_owned(), bytes: certificate.der }),
    ];
    ledger.advance(&steps, now).unwrap();
    let mut board = Vec::new();
    key.inject(|secret| board.extend_from_slice(secret));
    assert_eq!(board, canary);

    let look = |directory: &Path, what: &[u8]| -> Vec<String> {
        let holds = |bytes: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        all_bytes(directory).into_iter().filter(|(_, bytes)| holds(bytes)).map(|(name, _)| name).collect()
    };
    // With the database open (its journal is there too) and after it was closed.
    for round in ["open", "closed"] {
        for spelling in spellings(&canary) {
            assert_eq!(look(directory.path(), &spelling), [] as [String; 0], "{round}");
        }
        let found = look(directory.path(), fingerprint.to_string().as_bytes());
        assert!(!found.is_empty(), "{round}: the search must find what is there");
        if round == "open" {
            drop(std::mem::replace(
                &mut ledger,
                SqliteLedger::open(&directory.path().join("other.db")).unwrap(),
            ));
        }
    }
}

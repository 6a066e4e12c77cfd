//! Issuers' files: which are opened, and what is said of those that are not. Made with openssl, see golden/issuer.

use jiff::Timestamp;
use panel_ledger::{CertificateError, Contents, Issuer, KeyKind, UnitKey, check_issued};

const ROOT: &str = include_str!("golden/issuer/root.pem");
const INTERMEDIATE: &str = include_str!("golden/issuer/intermediate.pem");
const NO_SIGNING: &str = include_str!("golden/issuer/no_signing.pem");
const NAMESAKE: &str = include_str!("golden/issuer/namesake.pem");
const KEY: &str = include_str!("golden/issuer/intermediate.key");

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn open(parts: &[&str]) -> Result<Issuer, CertificateError> {
    Issuer::open(&parts.concat(), KEY)
}

fn refusal(parts: &[&str]) -> String {
    open(parts).expect_err("it must be refused").to_string()
}

#[test]
fn an_issuer_is_opened_alone_or_with_those_that_vouch_for_it_and_issues() {
    for parts in [&[INTERMEDIATE][..], &[INTERMEDIATE, ROOT], &["a line of text\n", INTERMEDIATE, "\n", ROOT]]
    {
        let issuer = open(parts).expect("an issuer");
        let now = time("2030-01-01T00:00:00Z");
        assert_eq!(issuer.check_time(now), Ok(()));
        let key = UnitKey::make(KeyKind::P256, |seed| {
            seed.iter_mut().zip(1..).for_each(|(byte, n)| *byte = n);
            Ok::<_, String>(())
        });
        let until = time("2040-01-01T00:00:00Z");
        let contents = Contents { common_name: "W-1", serial: [7; 16], from: now, until };
        let issued = issuer.issue(&key.expect("a key"), &contents).expect("a certificate");
        assert_eq!(check_issued(&issued.der, &issuer.certificate().expect("der")), Ok(()));
    }
}

#[test]
fn a_chain_that_is_wrong_is_told_with_the_place_of_the_wrong_link() {
    for (parts, words) in [
        (
            &[INTERMEDIATE, INTERMEDIATE][..],
            "certificate 1 of the file is not vouched for by certificate 2: it names CN=Example Root",
        ),
        (&[INTERMEDIATE, NAMESAKE], "its signature is not one of CN=Example Root"),
        (&[INTERMEDIATE, ROOT, NAMESAKE], "certificate 2 of the file is not vouched for by certificate 3"),
        (
            &[NO_SIGNING, ROOT],
            "certificate 1 of the file, CN=Example Line 1, is not one of a certificate authority: it lacks keyUsage",
        ),
        (&[], "no certificate in the file"),
        (&["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"], "certificate 1 of the file: "),
        (
            &[INTERMEDIATE, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"],
            "certificate 2 of the file: ",
        ),
    ] {
        let refusal = refusal(parts);
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
    assert_eq!(open(&[ROOT]).err(), Some(CertificateError::IssuerKey));
    let long = [INTERMEDIATE].repeat(9);
    assert!(refusal(&long).contains("9 certificates, at most 8"));
    assert!(refusal(&[&"x".repeat(1 << 20)]).contains("bytes, at most"));
}

#[test]
fn a_damaged_issuer_is_refused_wherever_it_is_damaged() {
    let whole: String = [INTERMEDIATE, ROOT].concat();
    for at in 0..whole.len() {
        let mut bytes = whole.clone().into_bytes();
        bytes[at] = if bytes[at] == b'B' { b'C' } else { b'B' };
        // Text before and between certificates, and unused bits of the last base64 digit, mean nothing.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let Ok(issuer) = Issuer::open(&text, KEY) else { continue };
        let same = issuer.certificate_pem().expect("pem") == INTERMEDIATE;
        assert!(same, "a change of byte {at} is taken for another issuer");
    }
}

#[test]
fn a_time_outside_of_any_certificate_of_the_file_is_told_with_its_window() {
    let issuer = open(&[INTERMEDIATE, ROOT]).expect("an issuer");
    for (now, position) in
        [("2020-01-01T00:00:00Z", 1), ("2200-01-01T00:00:00Z", 1), ("2125-09-01T00:00:00Z", 1)]
    {
        let refused = issuer.check_time(time(now)).expect_err("it must be refused");
        assert!(
            matches!(&refused, CertificateError::NotNow { position: p, .. } if *p == position),
            "{refused}"
        );
        assert!(refused.to_string().contains(now) && refused.to_string().contains("CN=Example Line 1"));
    }
}

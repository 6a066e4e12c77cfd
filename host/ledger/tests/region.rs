//! The identity region: golden bytes, the C header compiled and run on them, and what a board may hold.

use std::{fs, process::Command};

use panel_ledger::{
    KeyKind,
    region::{
        BLOBS, Blob, Found, Identity, KeySlot, LENGTH, RegionError, SlotUse, blob_length, blobs, c_header,
        compare, decode, encode, encode_blob, padded_length,
    },
};
use proptest::prelude::*;

const SECRET: [u8; 32] = *b"a secret of exactly 32 bytes....";
const PUBLIC: [u8; 32] = [0xC3; 32];

fn identity() -> Identity<'static> {
    Identity {
        product: "sensor-head",
        hardware: "B",
        serial: "SH-2606-00042-K",
        date: 20_260_602,
        eui48: &[[0x70, 0xB3, 0xD5, 0xAB, 0xC0, 0x10], [0x70, 0xB3, 0xD5, 0xAB, 0xC0, 0x11]],
        eui64: &[[0x70, 0xB3, 0xD5, 0xFF, 0xFE, 0xAB, 0xC0, 0x10]],
        keys: &[
            KeySlot { kind: KeyKind::P256, holds: SlotUse::Secret, data: &SECRET },
            KeySlot { kind: KeyKind::Ed25519, holds: SlotUse::Fingerprint, data: &PUBLIC },
        ],
    }
}

fn encoded(identity: &Identity<'_>, unit: usize) -> Vec<u8> {
    let mut out = vec![0x55; 400];
    let length = encode(identity, unit, &mut out).expect("it fits");
    out.truncate(length);
    out
}

#[test]
fn the_bytes_are_the_golden_ones() {
    // Boards in the field carry these. If this fails, revert the code.
    let golden = include_str!("golden/identity_v1.hex");
    let golden: String = golden.lines().filter_map(|line| line.split('#').next()).collect();
    let golden: String = golden.split_whitespace().collect();
    assert_eq!(hex::encode(encoded(&identity(), 8)), golden);
}

#[test]
fn what_is_encoded_is_decoded() {
    for unit in [2, 4, 8, 16] {
        let bytes = encoded(&identity(), unit);
        assert_eq!(bytes.len(), padded_length(unit).unwrap());
        assert_eq!(bytes.len() % unit, 0);
        assert!(bytes[LENGTH..].iter().all(|byte| *byte == 0xFF));
        let view = decode(&bytes).unwrap();
        let wanted = identity();
        assert_eq!(
            (view.product(), view.hardware(), view.serial(), view.date()),
            (wanted.product, wanted.hardware, wanted.serial, wanted.date)
        );
        assert_eq!((view.eui48(), view.eui64()), (wanted.eui48, wanted.eui64));
        assert_eq!(view.keys().collect::<Vec<_>>(), wanted.keys);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_field() {
    let refused = |identity: Identity<'_>| encode(&identity, 8, &mut [0; 400]).unwrap_err();
    let long = "x".repeat(64);
    assert_eq!(
        refused(Identity { serial: &long, ..identity() }),
        RegionError::Text { field: "serial", limit: 63 }
    );
    assert_eq!(
        refused(Identity { hardware: "rev\n", ..identity() }),
        RegionError::Text { field: "hardware", limit: 7 }
    );
    assert_eq!(
        refused(Identity { eui48: &[[2; 6]; 9], ..identity() }),
        RegionError::Count { field: "eui48", got: 9, limit: 8 }
    );
    for date in [1, 20_261_301, 20_260_010, 20_260_132, 19_990_101] {
        assert_eq!(refused(Identity { date, ..identity() }), RegionError::Date { got: date });
    }
    let mut small = [0; LENGTH];
    assert_eq!(encode(&identity(), 16, &mut small), Err(RegionError::Space { got: LENGTH, needed: 352 }));
    assert_eq!(encode(&identity(), 3, &mut [0; 400]), Err(RegionError::Unit { unit: 3 }));
}

#[test]
fn every_changed_bit_of_a_region_is_found() {
    let good = encoded(&identity(), 2);
    for offset in 0..LENGTH {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[offset] ^= 1 << bit;
            assert!(decode(&bytes).is_err(), "byte {offset} bit {bit}");
        }
    }
    assert_eq!(decode(&good[..LENGTH - 1]), Err(RegionError::Space { got: LENGTH - 1, needed: LENGTH }));
    assert_eq!(decode(&[0xFF; 400]), Err(RegionError::Blank));
    assert!(matches!(decode(&[0; 400]), Err(RegionError::Magic { got: 0 })));
}

#[test]
fn an_identity_in_doubt_is_resolved_by_what_the_board_holds() {
    let wanted = encoded(&identity(), 8);
    assert_eq!(compare(&wanted, &wanted), Found::Equal);
    assert_eq!(compare(&[0xFF; 400], &wanted), Found::Blank);
    // Cut off after any programming unit: never taken for whole, never for another one.
    for units in 1..wanted.len() / 8 - 1 {
        let mut read = wanted.clone();
        read[units * 8..].fill(0xFF);
        assert_eq!(compare(&read, &wanted), Found::Partial, "{units} units");
    }
    let other = encoded(&Identity { serial: "SH-2606-00043-5", ..identity() }, 8);
    assert_eq!(compare(&other, &wanted), Found::Other);
    assert_eq!(compare(&[0x42; 400], &wanted), Found::Foreign);
    assert_eq!(compare(&wanted[..8], &wanted), Found::Foreign);
}

/// A region with two blobs behind it, as it lies in memory.
fn with_blobs() -> Vec<u8> {
    let mut memory = encoded(&identity(), 2);
    memory.resize(512, 0xFF);
    let mut at = BLOBS;
    for (name, bytes) in [("token", &b"0123456789"[..]), ("certificate", b"not really X.509.")] {
        at += encode_blob(Blob { name, bytes }, &mut memory[at..]).expect("it fits");
    }
    memory
}

#[test]
fn blobs_are_the_golden_bytes_and_come_back() {
    // Boards in the field carry these. If this fails, revert the code.
    let golden = "5046424c 0a000000 746f6b656e00000000000000000000000000000000000000 30313233343536373839 20b60ddd ffff";
    let memory = with_blobs();
    assert_eq!(hex::encode(&memory[BLOBS..BLOBS + blob_length(10)]), golden.replace(' ', ""));
    let found: Vec<_> = blobs(&memory).map(|blob| blob.map(|b| (b.name, b.bytes))).collect();
    let expected = [Ok(("token", &b"0123456789"[..])), Ok(("certificate", &b"not really X.509."[..]))];
    assert_eq!(found, expected);
    assert_eq!(blobs(&memory[..BLOBS]).count() + blobs(&[0xFF; 512]).count() + blobs(&[]).count(), 0);
}

#[test]
fn every_changed_bit_of_a_blob_is_found_or_ends_the_list() {
    let memory = with_blobs();
    for at in BLOBS..BLOBS + 46 {
        for bit in 0..8 {
            let mut changed = memory.clone();
            changed[at] ^= 1 << bit;
            let first = blobs(&changed).next();
            assert!(first.is_none_or(|blob| blob.is_err()), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn a_blob_that_does_not_fit_or_has_no_proper_name_is_refused() {
    let refused = |name: &str, room: usize| {
        encode_blob(Blob { name, bytes: &[7; 30] }, &mut vec![0; room]).unwrap_err()
    };
    assert_eq!(refused("token", 79), RegionError::Space { got: 79, needed: 80 });
    for name in ["", "x\n", "a name of twenty-four ch"] {
        assert_eq!(refused(name, 80), RegionError::Text { field: "name", limit: 23 }, "{name:?}");
    }
}

#[test]
fn the_committed_c_header_is_the_one_of_the_table() {
    let committed = include_str!("../../../docs/identity_region.h");
    assert!(committed == c_header(), "run: cargo run -p panel-ledger --example write-identity-header");
}

const C_READER: &str = r#"
#include <stdio.h>
#include <string.h>
#include "identity_region.h"

int main(int argc, char **argv)
{
    static union { uint32_t align; unsigned char bytes[512]; } memory;
    memset(memory.bytes, 0xFF, sizeof memory.bytes);
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file) return 2;
    size_t read = fread(memory.bytes, 1, sizeof memory.bytes, file);
    fclose(file);
    const panel_identity_t *id = panel_identity_at(memory.bytes);
    if (!id) { puts("none"); return read ? 0 : 2; }
    printf("%s|%s|%s|%lu|", id->product, id->hardware, id->serial, (unsigned long)id->date);
    for (int i = 0; i < id->eui48_count; i++)
        for (int j = 0; j < 6; j++) printf("%02x", id->eui48[i][j]);
    printf("|");
    for (int i = 0; i < id->eui64_count; i++)
        for (int j = 0; j < 8; j++) printf("%02x", id->eui64[i][j]);
    printf("|");
    for (int i = 0; i < id->key_count; i++)
        printf("%d.%d.%.4s,", id->key_kind[i], id->key_use[i], (const char *)id->key_data[i]);
    puts("");
    uint32_t length = 0;
    const uint8_t *blob = panel_identity_blob(memory.bytes, sizeof memory.bytes, "certificate", &length);
    if (blob) printf("%lu bytes: %.*s\n", (unsigned long)length, (int)length, (const char *)blob);
    return 0;
}
"#;

#[test]
fn a_c_program_with_the_header_reads_what_was_encoded() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("identity_region.h"), c_header()).expect("a file");
    fs::write(at("reader.c"), C_READER).expect("a file");
    for standard in ["c99", "c11"] {
        let compiled = Command::new("cc")
            .arg(format!("-std={standard}"))
            .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-o"])
            .args([at("reader"), at("reader.c")])
            .output()
            .expect("a C compiler");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let read = |bytes: &[u8]| {
            fs::write(at("region.bin"), bytes).expect("a file");
            let output = Command::new(at("reader")).arg(at("region.bin")).output().expect("it runs");
            assert!(output.status.success());
            output.stdout
        };
        let expected = format!(
            "sensor-head|B|SH-2606-00042-K|20260602|70b3d5abc01070b3d5abc011|70b3d5fffeabc010|2.1.a se,1.2.{},",
            "\u{c3}"
        );
        let expected: Vec<u8> = expected
            .chars()
            .flat_map(|c| if c == '\u{c3}' { vec![0xC3; 4] } else { vec![c as u8] })
            .chain(*b"\n")
            .collect();
        let good = encoded(&identity(), 16);
        assert_eq!(read(&good), expected, "{standard}");
        let mut damaged = good.clone();
        damaged[60] ^= 1;
        assert_eq!(read(&damaged), b"none\n");
        assert_eq!(read(&[0xFF; 64]), b"none\n");
        let whole = with_blobs();
        let with_certificate = [&expected[..], b"17 bytes: not really X.509.\n"].concat();
        assert_eq!(read(&whole), with_certificate, "{standard}");
        for at in [BLOBS, BLOBS + 40, BLOBS + 60, BLOBS + 64 + 4] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(read(&damaged), expected, "a damaged blob is none, byte {at}");
        }
        let mut endless = whole.clone();
        endless[BLOBS + 64 + 7] = 0xFF;
        assert_eq!(read(&endless), expected, "nothing is read behind the memory");
    }
}

proptest! {
    #[test]
    fn any_identity_that_fits_comes_back(
        product in "[ -~]{0,31}",
        hardware in "[ -~]{0,7}",
        serial in "[ -~]{0,63}",
        eui48 in prop::collection::vec(any::<[u8; 6]>(), 0..=8),
        eui64 in prop::collection::vec(any::<[u8; 8]>(), 0..=4),
    ) {
        let identity = Identity {
            product: &product, hardware: &hardware, serial: &serial, date: 0, eui48: &eui48, eui64: &eui64,
            keys: &[],
        };
        let bytes = encoded(&identity, 4);
        let view = decode(&bytes).unwrap();
        prop_assert_eq!(view.product(), product);
        prop_assert_eq!(view.serial(), serial);
        prop_assert_eq!(view.eui48(), eui48);
        prop_assert_eq!(view.eui64(), eui64);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
        let behind = [&[0; BLOBS], b"PFBL".as_slice(), &bytes].concat();
        prop_assert!(blobs(&behind).count() < 16);
        let _ = compare(&bytes, &[0; LENGTH]);
    }
}

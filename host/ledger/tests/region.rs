//! The identity region: golden bytes, the C header compiled and run on them, and what a board may hold.

use std::{fs, process::Command};

use panel_ledger::{
    KeyKind,
    region::{
        Found, Identity, KeySlot, LENGTH, RegionError, SlotUse, c_header, compare, decode, encode,
        padded_length,
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
        let _ = compare(&bytes, &[0; LENGTH]);
    }
}

//! What is refused, and with which words: release packages, root documents, encryption and patches.

mod common;

use common::{
    FLASH, held, image, key, manifest, now, package, policy, root_document, root_file, signed, time, trusted,
    unsigned_package,
};
use panel_image::{Image, VectorProblem};
use panel_release::{
    Admit, ImageInput, Invalid, Manifest, PackError, Part, Patch, PatchError, Refusal, ReleasePolicy,
    RoleName, RootDocument, SealError, SecretKey, Sha256Hash, StationSecret, TrustedRoot, VerifiedRelease,
    manifest::{BuildKind, ImageRole, PatchValue, PatchWindow},
    pack, seal, sign, unseal, verify,
};

fn check(bytes: &[u8]) -> Result<VerifiedRelease, Refusal> {
    verify(held(bytes), &trusted(), &policy())
}

fn refusal(bytes: &[u8]) -> Refusal {
    check(bytes).expect_err("must be refused")
}

#[test]
fn a_good_package_gives_its_images_in_order_of_address() {
    let release = check(&package()).unwrap();
    assert!(release.may_ship());
    assert!(!release.permits_irreversible());
    assert_eq!(release.signers().len(), 2);
    let images: Vec<_> = release
        .images()
        .map(|image| (image.entry().name.clone(), image.entry().address, image.checked_bytes().unwrap()))
        .collect();
    assert_eq!(images[0], ("boot".to_owned(), FLASH, image(FLASH, 64).as_slice()));
    assert_eq!(images[1], ("app".to_owned(), FLASH + 0x4000, image(FLASH + 0x4000, 128).as_slice()));
    assert_eq!(images[2], ("options".to_owned(), 0x1FFF_C000, [0xAA, 0x55, 0xEF, 0xFF].as_slice()));
}

#[test]
fn a_package_of_these_inputs_is_byte_for_byte_the_golden_one() {
    // Format 1, schema 1. If this fails, files in the field would no longer be read: revert the code.
    let bytes = package();
    let document_length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let document = std::str::from_utf8(&bytes[24..24 + document_length]).unwrap();
    assert_eq!(document, include_str!("golden/manifest_v1.json").trim_end());
    assert_eq!(
        Sha256Hash::of(&bytes).to_string(),
        include_str!("golden/package_v1.sha256").trim_end(),
        "the container changed"
    );
}

#[test]
fn every_single_byte_of_a_package_is_guarded() {
    let good = package();
    let mut kinds = std::collections::BTreeSet::new();
    for offset in 0..good.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut bytes = good.clone();
            bytes[offset] ^= change;
            let refusal = refusal(&bytes);
            let text = format!("{refusal:?}");
            kinds.insert(text.split([' ', '{', '(']).next().unwrap().to_owned());
        }
    }
    // The words differ by what was hit: magic, format, lengths, signatures, document, images.
    let expected = ["Altered", "Length", "NotOurs", "Oversize", "SignatureOrder", "UnknownFormat"];
    assert!(kinds.iter().eq(expected), "{kinds:?}");
}

#[test]
fn sampled_changes_of_a_large_package_name_the_image_that_was_hit() {
    let good = signed(&unsigned_package(manifest(), 900_000), &[11, 13]);
    let payload_at = good.len() - 900_000 - 64 - 4;
    for sample in 0..40_usize {
        let offset = payload_at + 64 + sample * 22_499;
        let mut bytes = good.clone();
        bytes[offset] = bytes[offset].wrapping_add(1);
        let part = Part::Image { name: "app".to_owned(), address: FLASH + 0x4000 };
        assert_eq!(refusal(&bytes), Refusal::Altered { part }, "{offset}");
    }
}

#[test]
fn a_changed_signature_is_told_from_a_changed_manifest() {
    let good = package();
    let at = |text: &str| good.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let mut bytes = good.clone();
    bytes[at("1.4.2")] = b'2';
    assert_eq!(refusal(&bytes), Refusal::Altered { part: Part::Document });
    let document_length = u32::from_le_bytes(good[12..16].try_into().unwrap()) as usize;
    let mut bytes = good.clone();
    bytes[24 + document_length + 96 + 40] ^= 1;
    assert_eq!(refusal(&bytes), Refusal::Altered { part: Part::Signature { index: 1, count: 2 } });
}

#[test]
fn a_third_damaged_signature_is_refused_although_two_good_ones_suffice() {
    let mut bytes = signed(&unsigned_package(manifest(), 128), &[11, 12, 13]);
    let at = bytes.len() - (128 + 64 + 4) - 1;
    bytes[at] ^= 0x10;
    assert_eq!(refusal(&bytes), Refusal::Altered { part: Part::Signature { index: 2, count: 3 } });
}

#[test]
fn too_few_and_wrong_signatures_are_told_apart() {
    let unsigned = unsigned_package(manifest(), 128);
    assert_eq!(refusal(&unsigned), Refusal::Unsigned { role: RoleName::Release, needed: 2 });
    assert_eq!(
        refusal(&signed(&unsigned, &[12])),
        Refusal::HalfSigned { role: RoleName::Release, have: 1, needed: 2 }
    );
    // One key twice is one signature; a root or order key is no release key.
    assert!(matches!(refusal(&signed(&unsigned, &[12, 12])), Refusal::HalfSigned { have: 1, .. }));
    assert!(matches!(refusal(&signed(&unsigned, &[12, 21, 1])), Refusal::HalfSigned { have: 1, .. }));
    let keys = vec![key(99).public()];
    assert_eq!(refusal(&signed(&unsigned, &[99])), Refusal::WrongKey { role: RoleName::Release, keys });
    assert!(check(&signed(&unsigned, &[11, 13, 99])).is_ok(), "a further signature does not harm");
}

#[test]
fn what_cannot_be_undone_needs_the_second_role() {
    let release = check(&signed(&unsigned_package(manifest(), 128), &[11, 12, 31])).unwrap();
    assert!(release.permits_irreversible());
}

#[test]
fn expired_debug_and_downgraded_releases_are_refused_by_policy() {
    let at = |text| verify(held(&package()), &trusted(), &ReleasePolicy { now: time(text), ..policy() });
    assert!(at("2026-12-30T23:59:59Z").is_ok());
    assert!(matches!(at("2026-12-31T00:00:00Z"), Err(Refusal::Expired { .. })));
    assert!(matches!(at("2027-01-01T00:00:00Z"), Err(Refusal::RootExpired { counter: 1, .. })));

    let floor = |floor| verify(held(&package()), &trusted(), &ReleasePolicy { floor, ..policy() });
    assert!(floor(17).is_ok());
    assert_eq!(
        floor(18).unwrap_err(),
        Refusal::Downgrade { product: "sensor-head".to_owned(), counter: 17, floor: 18 }
    );

    let debug = Manifest { build: BuildKind::Debug, ..manifest() };
    let bytes = signed(&unsigned_package(debug, 128), &[11, 12]);
    assert_eq!(refusal(&bytes), Refusal::DebugBuild);
    let any = ReleasePolicy { admit: Admit::AnyBuild, ..policy() };
    assert!(!verify(held(&bytes), &trusted(), &any).unwrap().may_ship());
}

#[test]
fn boards_the_release_is_not_for_are_refused() {
    let release = check(&package()).unwrap();
    assert_eq!(release.check_board(0x413, Some("C")), Ok(()));
    assert_eq!(release.check_board(0x413, None), Ok(()));
    assert!(matches!(release.check_board(0x419, None), Err(Refusal::WrongChip { found: 0x419, .. })));
    assert!(matches!(release.check_board(0x413, Some("A")), Err(Refusal::WrongHardware { .. })));
}

fn pack_app(address: u32, bytes: &[u8]) -> Result<Vec<u8>, PackError> {
    let image = Image::from_bin(bytes, "app.bin", address).expect("an image");
    let images = [ImageInput { role: ImageRole::Application, name: "app", image: &image }];
    pack(Manifest { patches: Vec::new(), ..manifest() }, &images)
}

#[test]
fn the_packer_refuses_images_that_do_not_fit_the_chip() {
    assert!(pack_app(FLASH, &image(FLASH, 64)).is_ok());
    let problem = |packed| match packed {
        Err(PackError::VectorTable { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    // Linked for another address than it is placed at.
    let elsewhere = problem(pack_app(FLASH + 0x4000, &image(FLASH, 64)));
    assert_eq!(elsewhere, VectorProblem::ResetOutsideImage { reset: 0x0800_0011 });
    // For a chip with more RAM.
    let mut bytes = image(FLASH, 64);
    bytes[..4].copy_from_slice(&0x2003_0000_u32.to_le_bytes());
    let stack = problem(pack_app(FLASH, &bytes));
    assert_eq!(stack, VectorProblem::StackOutsideRam { stack: 0x2003_0000 });
    // An ARM, not a Thumb address.
    let mut bytes = image(FLASH, 64);
    bytes[12] &= !1;
    assert!(matches!(pack_app(FLASH, &bytes), Err(PackError::Vector { vector: "HardFault", .. })));
    assert_eq!(problem(pack_app(FLASH, &[0; 7])), VectorProblem::Missing { address: FLASH });
    assert!(matches!(
        pack_app(FLASH + 64, &image(FLASH + 64, 64)),
        Err(PackError::VectorAlignment { address: 0x0800_0040, .. })
    ));
    // Past the end of flash, and outside it.
    for (address, length) in [(FLASH + 0xF_FF80, 256), (0x0900_0000, 64)] {
        let refused = pack_app(address, &image(address, length));
        assert!(matches!(
            refused,
            Err(PackError::Manifest(Refusal::Invalid(Invalid::Outside { wanted: "flash", .. })))
        ));
    }
}

#[test]
fn overlaps_path_tricks_and_empty_packages_are_refused() {
    let pack_two = |name, second| {
        let at = |address| Image::from_bin(&[0; 32], "x.bin", address).unwrap();
        let (a, b) = (at(FLASH), at(second));
        let images = [
            ImageInput { role: ImageRole::Data, name: "a", image: &a },
            ImageInput { role: ImageRole::Data, name, image: &b },
        ];
        match pack(Manifest { patches: Vec::new(), ..manifest() }, &images) {
            Err(PackError::Manifest(Refusal::Invalid(invalid))) => Some(invalid),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    assert_eq!(pack_two("b", FLASH + 32), None);
    assert!(matches!(pack_two("b", FLASH + 31), Some(Invalid::Overlap { address: 0x0800_001F, .. })));
    assert!(matches!(pack_two("b", 0x080F_F0F0), Some(Invalid::Overlap { .. })), "the identity region");
    assert!(matches!(pack_two("../b", FLASH + 32), Some(Invalid::Label { field: "image name", .. })));
    assert!(matches!(
        pack(manifest(), &[]),
        Err(PackError::Manifest(Refusal::Invalid(Invalid::Count { field: "images", got: 0, .. })))
    ));
}

/// A 32-bit ARM ELF file with one loaded segment and 4 KiB of debug information behind it.
fn elf_with_debug_information(program: &[u8]) -> Vec<u8> {
    let mut elf = b"\x7fELF\x01\x01\x01".to_vec();
    elf.resize(16, 0);
    for half in [2_u16, 40] {
        elf.extend(half.to_le_bytes()); // ET_EXEC, EM_ARM
    }
    for word in [1_u32, FLASH + 0x11, 52, 0, 0x0500_0000] {
        elf.extend(word.to_le_bytes()); // version, entry, program headers at, no sections, EABI 5
    }
    for half in [52_u16, 32, 1, 40, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    let length = program.len() as u32;
    for word in [1, 84, FLASH, FLASH, length, length, 5, 4] {
        elf.extend(word.to_le_bytes()); // PT_LOAD at file offset 84
    }
    elf.extend(program);
    elf.extend(b"DEBUG-INFO /home/jane/secret-project/main.c ".repeat(93));
    elf
}

#[test]
fn debug_information_of_an_elf_file_does_not_get_into_the_package() {
    let elf = elf_with_debug_information(&image(FLASH, 64));
    let image = panel_image::parse(&elf, "app.elf", None).unwrap();
    let inputs = [ImageInput { role: ImageRole::Application, name: "app", image: &image }];
    let bytes = pack(Manifest { patches: Vec::new(), ..manifest() }, &inputs).unwrap();
    assert!(elf.len() > 4_000 && bytes.len() < 2_000);
    assert!(!bytes.windows(10).any(|window| window == b"DEBUG-INFO"));
    assert!(check(&signed(&bytes, &[11, 12])).is_ok());
}

#[test]
fn nobody_signs_an_altered_package_or_a_foreign_file() {
    let mut bytes = package();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(matches!(sign(&bytes, &key(13)), Err(Refusal::Altered { part: Part::Image { .. } })));
    assert!(matches!(sign(b"PK\x03\x04", &key(13)), Err(Refusal::NotOurs { .. })));
}

#[test]
fn keys_rotate_only_by_the_next_document_signed_by_old_and_new() {
    let root = trusted();
    let mut next = root_document();
    next.counter = 2;
    let role = next.roles.get_mut(&RoleName::Root).unwrap();
    role.keys.remove(&key(1).public());
    role.keys.insert(key(4).public());
    next.revoked_keys.insert(key(1).public());

    // Old threshold only, new threshold only, both.
    let new_half = root.advance(&root_file(&next, &[1, 2]));
    assert!(matches!(new_half, Err(Refusal::RevokedKey { have: 1, .. })), "{new_half:?}");
    let old_half = root.advance(&root_file(&next, &[3, 4]));
    assert_eq!(old_half, Err(Refusal::HalfSigned { role: RoleName::Root, have: 1, needed: 2 }));
    let second = root.advance(&root_file(&next, &[2, 3])).unwrap();
    assert_eq!(second.document().counter, 2);

    // No gap, no way back, no repetition.
    let third = root_file(&root_number(3), &[1, 2]);
    assert_eq!(root.advance(&third), Err(Refusal::RootChain { trusted: 1, got: 3 }));
    let first = root_file(&root_document(), &[2, 3]);
    assert_eq!(second.advance(&first), Err(Refusal::RootChain { trusted: 2, got: 1 }));
}

fn root_number(counter: u64) -> RootDocument {
    RootDocument { counter, ..root_document() }
}

#[test]
fn a_newer_root_revokes_keys_and_releases_and_raises_floors() {
    let release = check(&package()).unwrap();
    let advance = |change: &dyn Fn(&mut RootDocument)| {
        let mut next = root_number(2);
        change(&mut next);
        trusted().advance(&root_file(&next, &[1, 2])).unwrap()
    };
    let under = |root: &TrustedRoot, bytes: &[u8]| verify(held(bytes), root, &policy()).map(|_| ());

    let revoked = advance(&|next| {
        next.revoked_releases.insert(release.manifest_sha256());
    });
    assert!(matches!(under(&revoked, &package()), Err(Refusal::Revoked { root: 2, .. })));

    let floored = advance(&|next| {
        next.floors.insert("sensor-head".to_owned(), 18);
    });
    assert!(matches!(under(&floored, &package()), Err(Refusal::Downgrade { floor: 18, .. })));

    let without_11 = advance(&|next| {
        next.roles.get_mut(&RoleName::Release).unwrap().keys.remove(&key(11).public());
        next.revoked_keys.insert(key(11).public());
    });
    assert_eq!(
        under(&without_11, &package()),
        Err(Refusal::RevokedKey { key: key(11).public(), role: RoleName::Release, have: 1, needed: 2 })
    );
    let others = signed(&unsigned_package(manifest(), 128), &[11, 12, 13]);
    assert_eq!(under(&without_11, &others), Ok(()), "two keys that still count suffice");

    let newer = signed(&unsigned_package(Manifest { root: 2, ..manifest() }, 128), &[11, 12]);
    assert_eq!(refusal(&newer), Refusal::RootOutdated { needed: 2, have: 1 });
}

#[test]
fn every_single_byte_of_a_root_document_is_guarded() {
    let good = root_file(&root_document(), &[1, 2]);
    for offset in 0..good.len() {
        let mut bytes = good.clone();
        bytes[offset] ^= 1 << (offset % 8);
        assert!(TrustedRoot::open(&bytes).is_err(), "{offset}");
    }
}

#[test]
fn roots_that_contradict_themselves_are_not_made() {
    let made = |change: &dyn Fn(&mut RootDocument)| {
        let mut document = root_document();
        change(&mut document);
        document.to_unsigned()
    };
    let threshold = made(&|root| root.roles.get_mut(&RoleName::Order).unwrap().threshold = 3);
    assert!(matches!(threshold, Err(Refusal::Invalid(Invalid::Number { field: "threshold", got: 3, .. }))));
    let none = made(&|root| root.roles.get_mut(&RoleName::Order).unwrap().threshold = 0);
    assert!(none.is_err());
    let missing = made(&|root| drop(root.roles.remove(&RoleName::Release)));
    assert!(matches!(missing, Err(Refusal::Invalid(Invalid::Count { field: "roles", .. }))));
    let both = made(&|root| {
        root.revoked_keys.insert(key(12).public());
    });
    assert!(matches!(both, Err(Refusal::Invalid(Invalid::RevokedInRole { .. }))));
    assert!(made(&|root| root.counter = 0).is_err());
}

#[test]
fn an_encrypted_package_opens_for_its_stations_only_and_every_change_shows() {
    let (station, stranger) = (StationSecret::generate(), StationSecret::generate());
    let package = package();
    let sealed = seal(&package, &[station.recipient()]).unwrap();
    assert!(panel_release::is_sealed(&sealed));
    assert!(!panel_release::is_sealed(&package));
    assert!(!sealed.windows(5).any(|window| window == b"1.4.2"), "the manifest must not shine through");
    assert_eq!(*unseal(&sealed, &station).unwrap(), package);
    let again = StationSecret::from_text(&station.to_text()).unwrap();
    assert_eq!(*unseal(&sealed, &again).unwrap(), package);
    assert!(matches!(unseal(&sealed, &stranger), Err(SealError::Decrypt { .. })));
    for offset in 0..sealed.len() {
        let mut bytes = sealed.clone();
        bytes[offset] ^= 0x20;
        assert!(unseal(&bytes, &station).is_err(), "{offset}");
    }
    assert!(matches!(unseal(&sealed[..sealed.len() - 1], &station), Err(SealError::Decrypt { .. })));
    assert_eq!(seal(&package, &[]), Err(SealError::NoRecipient));
    assert!(matches!(seal(&package, &["age1x".to_owned()]), Err(SealError::Recipient { .. })));
    assert!(matches!(StationSecret::from_text("x"), Err(SealError::Secret { .. })));
}

#[test]
fn a_patch_goes_only_into_its_declared_window_and_both_hashes_are_kept() {
    let release = check(&package()).unwrap();
    let images: Vec<_> = release.images().collect();
    let (boot, app) = (images[0], images[1]);
    let good = Patch { window: "build-id", value: b"SH-00042" };
    let patched = panel_release::patch(&app, &[good]).unwrap();
    assert_eq!(&patched.bytes[0x20..0x28], b"SH-00042");
    assert_eq!(patched.signed_sha256, app.entry().sha256);
    assert_eq!(patched.patched_sha256, Sha256Hash::of(&patched.bytes));
    assert_ne!(patched.patched_sha256, patched.signed_sha256);
    let mut restored = patched.bytes;
    restored[0x20..0x28].copy_from_slice(&app.checked_bytes().unwrap()[0x20..0x28]);
    assert_eq!(restored, app.checked_bytes().unwrap());

    let refused = |image, patches: &[Patch<'_>]| panel_release::patch(image, patches).unwrap_err();
    assert!(matches!(refused(&boot, &[good]), PatchError::NoWindow { .. }));
    assert!(matches!(refused(&app, &[Patch { window: "other", value: b"" }]), PatchError::NoWindow { .. }));
    let short = Patch { window: "build-id", value: b"SH" };
    assert!(matches!(refused(&app, &[short]), PatchError::Length { expected: 8, got: 2, .. }));
    assert!(matches!(refused(&app, &[good, good]), PatchError::Twice { .. }));
}

#[test]
fn a_window_takes_only_a_value_that_units_get_and_that_fills_it() {
    let packed = check(&package()).unwrap().manifest().clone();
    let with = |value: PatchValue, length| {
        let window =
            PatchWindow { name: "w".to_owned(), address: FLASH + 0x4020, length, value: Some(value) };
        Manifest { patches: vec![window], ..packed.clone() }.check()
    };
    assert_eq!(with(PatchValue::Serial, 20), Ok(()));
    assert_eq!(with(PatchValue::Eui48, 12), Ok(()), "two addresses");
    let refused = |value, length| match with(value, length) {
        Err(Refusal::Invalid(Invalid::Patch { wanted, .. })) => wanted,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(PatchValue::Eui48, 6), Some(12));
    assert_eq!(refused(PatchValue::Eui64, 8), None);
}

#[test]
fn a_wrong_path_does_not_fill_the_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.pfr");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1 << 36).unwrap();
    let refused = panel_release::files::read_bounded(&path);
    assert!(matches!(refused, Err(panel_release::files::FileError::Oversize { .. })));
    std::fs::write(&path, package()).unwrap();
    assert_eq!(*panel_release::files::read_bounded(&path).unwrap(), package());
}

#[test]
fn a_signing_key_survives_its_file() {
    let pem = key(11).to_pem().unwrap();
    let again = SecretKey::from_pem(&pem).unwrap();
    let unsigned = unsigned_package(manifest(), 128);
    assert_eq!(sign(&unsigned, &again).unwrap(), signed(&unsigned, &[11]));
    assert!(now() < manifest().expires);
}

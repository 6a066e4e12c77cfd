//! A small owner for the tests: three release keys with threshold two, a root, a release and an order.
//!
//! Everything is made from fixed seeds and times, so that every byte is the same in every run.

#![expect(dead_code, reason = "each test binary uses its own part of the fixture")]
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use panel_image::Image;
use panel_release::{
    Admit, EuiBlock, ImageInput, LinePolicy, LockLevel, Manifest, ReleaseChoice, ReleasePolicy, RetestBudget,
    Role, RoleName, RootDocument, SecretKey, SerialBlock, TrustedRoot, WorkOrder, first_root,
    manifest::{BuildKind, IdentityNeeds, ImageRole, Memory, MemoryKind, PatchWindow, RegionPlace, Target},
    pack, sign,
};
use zeroize::Zeroizing;

pub(crate) const FLASH: u32 = 0x0800_0000;

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    time("2026-06-01T08:00:00Z")
}

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_entropy([seed; 32])
}

/// Root keys 1 to 3, release keys 11 to 13, order keys 21 and 22, irreversible key 31.
pub(crate) fn roles() -> BTreeMap<RoleName, Role> {
    let role = |seeds: &[u8], threshold| Role {
        keys: seeds.iter().map(|seed| key(*seed).public()).collect(),
        threshold,
    };
    BTreeMap::from([
        (RoleName::Root, role(&[1, 2, 3], 2)),
        (RoleName::Release, role(&[11, 12, 13], 2)),
        (RoleName::Order, role(&[21, 22], 1)),
        (RoleName::Irreversible, role(&[31], 1)),
    ])
}

pub(crate) fn root_document() -> RootDocument {
    first_root("Example Instruments", time("2027-01-01T00:00:00Z"), roles())
}

pub(crate) fn signed(unsigned: &[u8], seeds: &[u8]) -> Vec<u8> {
    seeds.iter().fold(unsigned.to_vec(), |bytes, seed| sign(&bytes, &key(*seed)).unwrap())
}

pub(crate) fn root_file(document: &RootDocument, seeds: &[u8]) -> Vec<u8> {
    signed(&document.to_unsigned().unwrap(), seeds)
}

pub(crate) fn trusted() -> TrustedRoot {
    TrustedRoot::open(&root_file(&root_document(), &[1, 2])).unwrap()
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        schema: 1,
        product: "sensor-head".to_owned(),
        name: "sensor-head-fw".to_owned(),
        version: "1.4.2".to_owned(),
        build: BuildKind::Production,
        counter: 17,
        source_revision: "3f1c9d2".to_owned(),
        notes: "first series".to_owned(),
        root: 1,
        expires: time("2026-12-31T00:00:00Z"),
        targets: vec![Target { name: "STM32F405".to_owned(), device_id: 0x413 }],
        hardware: vec!["B".to_owned(), "C".to_owned()],
        memory: vec![
            Memory { kind: MemoryKind::Flash, address: FLASH, length: 0x10_0000 },
            Memory { kind: MemoryKind::Ram, address: 0x2000_0000, length: 0x2_0000 },
            Memory { kind: MemoryKind::OptionBytes, address: 0x1FFF_C000, length: 16 },
        ],
        images: Vec::new(),
        identity: IdentityNeeds {
            serial: true,
            eui48: 2,
            region: Some(RegionPlace { address: 0x080F_F000, length: 256, unit: 8 }),
            ..IdentityNeeds::default()
        },
        patches: vec![PatchWindow {
            name: "build-id".to_owned(),
            address: FLASH + 0x4020,
            length: 8,
            value: None,
        }],
        seals: Vec::new(),
    }
}

/// An image that begins with a right vector table, `length` bytes long.
pub(crate) fn image(address: u32, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|index| (index * 7 + 3) as u8).collect();
    let vectors = [0x2002_0000, address + 0x11, address + 0x13, address + 0x15];
    for (index, word) in vectors.into_iter().enumerate() {
        bytes[index * 4..][..4].copy_from_slice(&u32::to_le_bytes(word));
    }
    bytes
}

pub(crate) fn unsigned_package(manifest: Manifest, application_bytes: usize) -> Vec<u8> {
    let (boot, app) = (image(FLASH, 64), image(FLASH + 0x4000, application_bytes));
    let options = [0xAA, 0x55, 0xEF, 0xFF];
    let boot = Image::from_bin(&boot, "boot.bin", FLASH).unwrap();
    let app = Image::from_bin(&app, "app.bin", FLASH + 0x4000).unwrap();
    let options = Image::from_bin(&options, "options.bin", 0x1FFF_C000).unwrap();
    let images = [
        ImageInput { role: ImageRole::Application, name: "app", image: &app },
        ImageInput { role: ImageRole::Bootloader, name: "boot", image: &boot },
        ImageInput { role: ImageRole::OptionBytes, name: "options", image: &options },
    ];
    pack(manifest, &images).unwrap()
}

pub(crate) fn package() -> Vec<u8> {
    signed(&unsigned_package(manifest(), 128), &[11, 12])
}

pub(crate) fn policy() -> ReleasePolicy {
    ReleasePolicy { now: now(), admit: Admit::ProductionOnly, floor: 0 }
}

pub(crate) fn order() -> WorkOrder {
    WorkOrder {
        schema: 1,
        id: "WO-2026-0117".to_owned(),
        product: "sensor-head".to_owned(),
        release: ReleaseChoice::Version { name: "sensor-head-fw".to_owned(), version: "1.4.2".to_owned() },
        quantity: 100,
        stations: vec!["line1-a".to_owned(), "line1-b".to_owned()],
        not_before: time("2026-05-01T00:00:00Z"),
        not_after: time("2026-07-01T00:00:00Z"),
        serials: vec![SerialBlock { format: "SH-{date:YYMM}-{counter:5}".to_owned(), first: 1, last: 100 }],
        eui48: vec![EuiBlock { first: "70b3d5abc000".to_owned(), count: 200, step: 2 }],
        eui64: Vec::new(),
        policy: LinePolicy {
            retests: RetestBudget { contact: 2, station: 1, board: 1 },
            strikes: 3,
            lock: LockLevel::Rdp1,
        },
        root: 1,
    }
}

pub(crate) fn order_file(order: &WorkOrder) -> Vec<u8> {
    signed(&order.to_unsigned().unwrap(), &[21])
}

pub(crate) fn held(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

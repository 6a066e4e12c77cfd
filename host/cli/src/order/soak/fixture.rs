//! What the soak programs, on which panel, and what goes wrong there.

use std::collections::BTreeMap;
use std::path::Path;

use panel_release::manifest::{
    BuildKind, IdentityNeeds, ImageRole, Manifest, Memory, MemoryKind, RegionPlace, Target, UnitKeyKind,
};
use panel_release::{
    ImageInput, LinePolicy, LockLevel, ReleaseChoice, RetestBudget, Role, RoleName, SecretKey, SerialBlock,
    WorkOrder, first_root, sign,
};

use super::{FLASH, REGION};

/// Faults of scenario files; `AT` is replaced by a time in milliseconds.
pub(super) const FAULTS: [&str; 16] = [
    "fault = \"absent\"",
    "fault = \"brown-out\"\nat_ms = AT",
    "fault = \"dead\"\nat_ms = AT",
    "fault = \"brown-out\"\nat_address = 0x0801F000",
    "fault = \"dead\"\nat_address = 0x0801F100",
    "fault = \"brown-out\"\nwhen = \"option-write\"",
    "fault = \"brown-out\"\nwhen = \"locked\"",
    "fault = \"dead\"\nwhen = \"locked\"",
    "fault = \"program-fails\"\naddress = 0x08005100",
    "fault = \"reads-back-wrong\"\naddress = 0x0801F020",
    "fault = \"erase-fails\"\naddress = 0x08005000",
    "fault = \"option-write-fails\"",
    "fault = \"lock-ignored\"",
    "fault = \"reads-when-locked\"",
    // Where boards make keys of their own.
    "fault = \"key-fails\"",
    "fault = \"key-forged\"",
];

/// 2 x 2 boards on one bus.
const PANEL: &str = "name = \"soak\"\nrows = 2\ncolumns = 2\nbinding = \"straps\"\n\
     [[bus]]\nname = \"can\"\nbit_rate = \"1M\"\nlink = \"sim\"\n";

/// Makes a station at this directory that trusts one order and its release.
pub(crate) fn station(dir: &Path, keyed: bool) -> WorkOrder {
    for folder in ["orders", "releases"] {
        std::fs::create_dir(dir.join(folder)).unwrap();
    }
    let key = |n: u8| SecretKey::from_entropy([n; 32]);
    let role = |n: u8| Role { keys: [key(n).public()].into(), threshold: 1 };
    let names = [RoleName::Root, RoleName::Release, RoleName::Order];
    let roles = BTreeMap::from([(names[0], role(1)), (names[1], role(2)), (names[2], role(3))]);
    let root = first_root("soak", "2099-01-01T00:00:00Z".parse().unwrap(), roles).to_unsigned().unwrap();
    let order = order();
    let signed = sign(&order.to_unsigned().unwrap(), &key(3)).unwrap();
    for (name, bytes) in [
        ("root.pfk", sign(&root, &key(1)).unwrap()),
        ("releases/fw.pfr", sign(&package(keyed), &key(2)).unwrap()),
        ("orders/o.pfo", signed),
        ("station.toml", b"id = \"soak\"\npanel = \"panel.toml\"\n".to_vec()),
        ("panel.toml", PANEL.into()),
    ] {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    order
}

/// A small release for boards of STM32G431 that get serial numbers, and keys if `keyed`.
fn package(keyed: bool) -> Vec<u8> {
    let data: Vec<u8> = (0..1500_u32).map(|n| (n * 7 + n / 256) as u8).collect();
    let image = panel_image::Image::from_bin(&data, "app.bin", 0x0800_5000).unwrap();
    let images = [ImageInput { role: ImageRole::Data, name: "app", image: &image }];
    let manifest = Manifest {
        schema: 1,
        product: "soaked".to_owned(),
        name: "fw".to_owned(),
        version: "1".to_owned(),
        build: BuildKind::Production,
        counter: 1,
        source_revision: "r".to_owned(),
        notes: String::new(),
        root: 1,
        expires: "2099-01-01T00:00:00Z".parse().unwrap(),
        targets: vec![Target { name: "STM32G431".to_owned(), device_id: 0x468 }],
        hardware: Vec::new(),
        memory: vec![Memory { kind: MemoryKind::Flash, address: FLASH, length: 128 * 1024 }],
        images: Vec::new(),
        identity: IdentityNeeds {
            serial: true,
            key: keyed.then_some(UnitKeyKind::P256),
            region: Some(RegionPlace { address: REGION.0, length: REGION.1, unit: 8 }),
            ..IdentityNeeds::default()
        },
        patches: Vec::new(),
        seals: Vec::new(),
    };
    panel_release::pack(manifest, &images).unwrap()
}

/// An order of 20 locked units.
fn order() -> WorkOrder {
    WorkOrder {
        schema: 1,
        id: "WO-SOAK".to_owned(),
        product: "soaked".to_owned(),
        release: ReleaseChoice::Version { name: "fw".to_owned(), version: "1".to_owned() },
        quantity: 20,
        stations: vec!["soak".to_owned()],
        not_before: "2020-01-01T00:00:00Z".parse().unwrap(),
        not_after: "2098-01-01T00:00:00Z".parse().unwrap(),
        serials: vec![SerialBlock { format: "S-{counter:4}".to_owned(), first: 1, last: 20 }],
        eui48: Vec::new(),
        eui64: Vec::new(),
        policy: LinePolicy {
            retests: RetestBudget { contact: 1, station: 1, board: 1 },
            strikes: 255,
            lock: LockLevel::Rdp1,
        },
        root: 1,
    }
}

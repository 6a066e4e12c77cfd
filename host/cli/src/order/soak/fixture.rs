//! What the soak programs, on which panel, and what goes wrong there.

use std::collections::BTreeMap;
use std::path::Path;

use panel_ledger::{Contents, Issuer, KeyKind, UnitKey};
use panel_release::manifest::{
    BuildKind, IdentityNeeds, ImageRole, Manifest, Memory, MemoryKind, PatchValue, PatchWindow, RegionPlace,
    Target, UnitKeyKind,
};
use panel_release::{
    ImageInput, LinePolicy, LockLevel, ReleaseChoice, RetestBudget, Role, RoleName, SecretKey, SerialBlock,
    WorkOrder, first_root, sign,
};

/// Begin of the flash.
pub(super) const FLASH: u32 = 0x0800_0000;
/// Where the identity is in flash, and its room; with a certificate it needs more.
pub(super) const REGION: u32 = 0x0801_F000;
pub(super) const REGION_LENGTH: u32 = 512;
const REGION_WITH_CERTIFICATE: u32 = 1024;
/// Where the application is, and where the serial number is in it.
const APPLICATION: u32 = 0x0800_8000;
pub(super) const WINDOW: (u32, u32) = (APPLICATION + 512, 16);

/// What an order gives its units, and how their boards are reached.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kind {
    /// A key, which boards make for themselves if they can.
    pub(crate) keyed: bool,
    /// A certificate for that key.
    pub(crate) certified: bool,
    /// Their serial number in the application, too.
    pub(crate) patched: bool,
    /// How blank boards are reached; others have a bootloader of ours.
    pub(crate) blank: Option<&'static str>,
}

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
    "fault = \"program-fails\"\naddress = 0x08008100",
    "fault = \"reads-back-wrong\"\naddress = 0x0801F020",
    "fault = \"erase-fails\"\naddress = 0x08008000",
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

/// The panel of blank boards, and what a station with such boards has besides.
fn blank_panel(way: &str) -> String {
    format!(
        "name = \"soak\"\nrows = 2\ncolumns = 2\nbinding = \"straps\"\nways = [\"{way}\"]\nport = \"sim\"\n\
         [[bus]]\nlink = \"sim\"\n[fixture]\npower = \"sim:p{{slot}}\"\nnrst = \"sim:r{{slot}}\"\nboot0 = \"sim:b\"\n"
    )
}

fn station_file(kind: Kind) -> String {
    let mut text = String::from("id = \"soak\"\npanel = \"panel.toml\"\n");
    if kind.blank.is_some_and(|way| way.ends_with("+agent")) {
        text += "agent = { file = \"agent.bin\", address = 0x20004000 }\n";
    }
    if kind.certified {
        text += "[issuer]\ncertificate = \"issuer.pem\"\nkey = \"issuer.key\"\nvalid_days = 365\n";
    }
    text
}

/// An authority for certificates, in two files.
fn issuer(dir: &Path) {
    let key = UnitKey::make(KeyKind::P256, |seed: &mut [u8; 32]| {
        (1..).zip(seed.iter_mut()).for_each(|(at, byte)| *byte = at);
        Ok::<_, String>(())
    });
    let (from, until) = ("2020-01-01T00:00:00Z".parse().unwrap(), "2098-01-01T00:00:00Z".parse().unwrap());
    let contents = Contents { common_name: "Example Units", serial: [7; 16], from, until };
    let issuer = Issuer::make(key.unwrap(), &contents).unwrap();
    std::fs::write(dir.join("issuer.pem"), issuer.certificate_pem().unwrap()).unwrap();
    std::fs::write(dir.join("issuer.key"), issuer.key_pem().unwrap().as_bytes()).unwrap();
}

/// Makes a station at this directory that trusts one order and its release.
pub(crate) fn station(dir: &Path, kind: Kind) -> WorkOrder {
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
        ("releases/fw.pfr", sign(&package(kind), &key(2)).unwrap()),
        ("orders/o.pfo", signed),
        ("station.toml", station_file(kind).into()),
        ("panel.toml", kind.blank.map_or_else(|| PANEL.to_owned(), blank_panel).into()),
        ("agent.bin", (0..1200_u32).map(|at| (at * 11 + at / 256) as u8).collect()),
    ] {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    if kind.certified {
        issuer(dir);
    }
    order
}

/// A small release for boards of STM32G431 that get serial numbers, and what else their kind gets.
fn package(kind: Kind) -> Vec<u8> {
    let window = PatchWindow {
        name: "serial".to_owned(),
        address: WINDOW.0,
        length: WINDOW.1,
        value: Some(PatchValue::Serial),
    };
    let length = if kind.certified { REGION_WITH_CERTIFICATE } else { REGION_LENGTH };
    let data: Vec<u8> = (0..1500_u32).map(|n| (n * 7 + n / 256) as u8).collect();
    let image = panel_image::Image::from_bin(&data, "app.bin", APPLICATION).unwrap();
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
            key: kind.keyed.then_some(UnitKeyKind::P256),
            certificate: kind.certified,
            region: Some(RegionPlace { address: REGION, length, unit: 8 }),
            ..IdentityNeeds::default()
        },
        patches: kind.patched.then_some(window).into_iter().collect(),
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

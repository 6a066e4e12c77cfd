//! Descriptions of what is to be packed: TOML, one file per release, work order or root document.
//!
//! Work orders and root documents are written with the very names of the signed documents. A release is described
//! by what its maker knows (chip names, files); memory map, hashes and flash units follow from that.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use panel_codes::Code;
use panel_engine::chip::{CHIPS, Chip};
use panel_ledger as ledger;
use panel_release::manifest::{
    BuildKind, IdentityNeeds, ImageRole, Manifest, Memory, MemoryKind, PatchWindow, RegionPlace, Target,
    UnitKeyKind,
};
use panel_release::{LockLevel, RootDocument, SCHEMA, WorkOrder};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};

use crate::failure::Failure;

/// A description, by what it describes.
pub(crate) enum Description {
    Release(Box<Release>),
    Order(Box<WorkOrder>),
    Root(Box<RootDocument>),
}

/// A release before its images are read.
pub(crate) struct Release {
    /// Everything but the images.
    pub(crate) manifest: Manifest,
    /// The images, paths joined to the description's directory.
    pub(crate) images: Vec<ImageFile>,
    /// What the images are sealed with, the path joined likewise.
    pub(crate) seal: Option<SealText>,
}

/// An image file of a release.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageFile {
    pub(crate) role: ImageRole,
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    /// Where the data of a raw binary belongs.
    pub(crate) address: Option<u32>,
}

/// How a release is sealed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealText {
    /// The product's secret key.
    pub(crate) key: PathBuf,
    /// Boards then take nothing with a lower counter.
    #[serde(default)]
    pub(crate) floor: u32,
}

/// Reads the description at `path`.
pub(crate) fn read(path: &Path) -> Result<Description, Failure> {
    let text = crate::setup::read(path, Code::Description)?;
    let wrong = |detail: String| Failure::new(Code::Description, format!("{}: {detail}", path.display()));
    let which: Which = parse(&text).map_err(wrong)?;
    match which {
        Which { targets: Some(_), quantity: None, roles: None } => {
            let directory = path.parent().unwrap_or_else(|| Path::new(""));
            let release: ReleaseText = parse(&text).map_err(wrong)?;
            Ok(Description::Release(Box::new(release.resolve(directory).map_err(wrong)?)))
        }
        Which { targets: None, quantity: Some(_), roles: None } => {
            let order: WorkOrder = parse(&text).map_err(wrong)?;
            // What the ledger would refuse at the line is refused here.
            terms(&order, ledger::Hash([0; 32])).map_err(|e| wrong(e.message))?;
            Ok(Description::Order(Box::new(order)))
        }
        Which { targets: None, quantity: None, roles: Some(_) } => {
            Ok(Description::Root(Box::new(parse(&text).map_err(wrong)?)))
        }
        _ => Err(wrong(
            "exactly one of `targets` (a release), `quantity` (a work order) and `roles` (a root document) must be there"
                .to_owned(),
        )),
    }
}

/// What the ledger keeps of an order.
pub(crate) fn terms(order: &WorkOrder, document: ledger::Hash) -> Result<ledger::OrderTerms, Failure> {
    let wrong = |e: ledger::LedgerError| Failure::new(e.code(), format!("order {}: {e}", order.id));
    let mut blocks = Vec::new();
    for block in &order.serials {
        let format = block.format.parse().map_err(|e: ledger::SerialError| wrong(e.into()))?;
        let count = block.last - block.first + 1;
        blocks.push(ledger::Block::Serial(ledger::SerialBlock { format, first: block.first, count }));
    }
    let euis = order.eui48.iter().map(|block| (ledger::EuiKind::Eui48, block));
    for (kind, block) in euis.chain(order.eui64.iter().map(|block| (ledger::EuiKind::Eui64, block))) {
        let first = ledger::Eui::parse(kind, &block.first).map_err(|e| wrong(e.into()))?;
        let block = ledger::EuiBlock { first, count: block.count, step: block.step, local: false };
        block.check(&[]).map_err(|e| wrong(e.into()))?;
        blocks.push(ledger::Block::Eui(block));
    }
    Ok(ledger::OrderTerms {
        id: order.id.clone(),
        document,
        product: order.product.clone(),
        quantity: order.quantity,
        lock_required: order.policy.lock != LockLevel::None,
        blocks,
    })
}

/// Decides which kind of description a file is.
#[derive(Deserialize)]
struct Which {
    targets: Option<IgnoredAny>,
    quantity: Option<IgnoredAny>,
    roles: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseText {
    schema: u64,
    product: String,
    name: String,
    version: String,
    build: BuildKind,
    counter: u64,
    source_revision: String,
    #[serde(default)]
    notes: String,
    root: u64,
    #[serde(deserialize_with = "time")]
    expires: Timestamp,
    targets: Vec<String>,
    #[serde(default)]
    hardware: Vec<u16>,
    #[serde(default)]
    memory: Vec<Memory>,
    #[serde(default)]
    identity: IdentityText,
    #[serde(default, rename = "patch")]
    patches: Vec<PatchWindow>,
    seal: Option<SealText>,
    #[serde(rename = "image")]
    images: Vec<ImageFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct IdentityText {
    serial: bool,
    eui48: u8,
    eui64: u8,
    key: Option<UnitKeyKind>,
    certificate: bool,
    region: Option<RegionText>,
    blobs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionText {
    address: u32,
    length: u32,
}

impl ReleaseText {
    fn resolve(self, directory: &Path) -> Result<Release, String> {
        let chips: Vec<&'static Chip> =
            self.targets.iter().map(|name| chip(name)).collect::<Result<_, _>>()?;
        let mut memory = shared_memory(&chips);
        memory.extend(self.memory);
        let unit = chips.iter().map(|chip| u32::from(chip.flash.unit)).max().unwrap_or(4);
        let IdentityText { serial, eui48, eui64, key, certificate, region, blobs } = self.identity;
        let region = region.map(|RegionText { address, length }| RegionPlace { address, length, unit });
        let manifest = Manifest {
            schema: self.schema,
            product: self.product,
            name: self.name,
            version: self.version,
            build: self.build,
            counter: self.counter,
            source_revision: self.source_revision,
            notes: self.notes,
            root: self.root,
            expires: self.expires,
            targets: chips
                .iter()
                .map(|chip| Target { name: chip.name.to_owned(), device_id: chip.device_id })
                .collect(),
            hardware: self.hardware.iter().map(u16::to_string).collect(),
            memory,
            images: Vec::new(),
            identity: IdentityNeeds { serial, eui48, eui64, key, certificate, region, blobs },
            patches: self.patches,
            seals: Vec::new(),
        };
        if let Some(window) = manifest.patches.iter().find(|window| window.value.is_none()) {
            return Err(format!("patch {:?}: `value` says what goes there, and is missing", window.name));
        }
        if manifest.schema != SCHEMA {
            return Err(format!("schema = {} is not known, this program writes {SCHEMA}", manifest.schema));
        }
        let images = self.images.into_iter().map(|image| {
            let file = directory.join(&image.file);
            ImageFile { file, ..image }
        });
        let seal = self.seal.map(|seal| SealText { key: directory.join(&seal.key), ..seal });
        Ok(Release { manifest, images: images.collect(), seal })
    }
}

fn chip(name: &str) -> Result<&'static Chip, String> {
    Chip::by_name(name).ok_or_else(|| {
        let known: Vec<_> = CHIPS.iter().map(|chip| chip.name).collect();
        format!("targets: {name:?} is none of {}", known.join(", "))
    })
}

/// The memory that all of the chips have: areas that begin at the same address, as long as the shortest.
fn shared_memory(chips: &[&'static Chip]) -> Vec<Memory> {
    let areas = |chip: &Chip| {
        let flash = Memory { kind: MemoryKind::Flash, address: chip.flash.base, length: chip.flash.size() };
        let options = Memory {
            kind: MemoryKind::OptionBytes,
            address: chip.options.base,
            length: chip.options.length.into(),
        };
        let ram = chip.ram.iter().map(|&(address, length)| Memory { kind: MemoryKind::Ram, address, length });
        [flash, options].into_iter().chain(ram).collect::<Vec<_>>()
    };
    let Some((first, others)) = chips.split_first() else { return Vec::new() };
    let mut shared = areas(first);
    for chip in others {
        let theirs = areas(chip);
        shared.retain_mut(|area| match theirs.iter().find(|other| other.address == area.address) {
            Some(other) => {
                area.length = area.length.min(other.length);
                true
            }
            None => false,
        });
    }
    shared
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
}

/// RFC 3339 in quotes, as in the signed document.
fn time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| D::Error::custom(format!("{text:?} is no time in UTC: {error}")))
}

//! The manifest of a release: what is in the package, for which chips, made from what.
//!
//! [`Manifest::check`] is the one place where a manifest may contradict itself or not: it runs when a
//! package is packed, signed and verified, so that no reader has to ask again whether an image lies in
//! flash or a name is a path.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    canonical::MAX_INTEGER,
    hash::Sha256Hash,
    keys::PublicKey,
    label,
    refusal::{Invalid, Refusal},
    schema,
};

/// Most images, regions, targets or other members of a list.
pub const LIST_LIMIT: usize = 256;
/// Most characters of the notes.
pub const NOTES_LIMIT: usize = 16 * 1024;

/// Most characters of a blob's name: what its head in the identity region holds with a closing zero.
const BLOB_NAME_LIMIT: usize = 23;

/// For whom the build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildKind {
    /// May be shipped.
    Production,
    /// For developers; production jobs refuse it.
    Debug,
}

/// A chip the release is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Part name for people, such as `STM32F405`.
    pub name: String,
    /// The 12-bit device id the chip reports (`DBGMCU_IDCODE`, the Get ID command of AN3155).
    pub device_id: u16,
}

/// What a piece of the chip's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// Main flash.
    Flash,
    /// RAM, where an initial stack pointer may point to.
    Ram,
    /// Option bytes.
    OptionBytes,
    /// One-time programmable area.
    Otp,
}

impl MemoryKind {
    /// The kind as a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Flash => "flash",
            Self::Ram => "RAM",
            Self::OptionBytes => "option bytes",
            Self::Otp => "OTP",
        }
    }
}

/// A span of the chip's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// What it is.
    pub kind: MemoryKind,
    /// First address.
    pub address: u32,
    /// Length in bytes.
    pub length: u32,
}

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageRole {
    /// Starts first; stays through updates.
    Bootloader,
    /// Neither code that starts nor option bytes.
    Data,
    /// The firmware.
    Application,
    /// Option bytes as declared data.
    OptionBytes,
}

impl ImageRole {
    /// Whether an image of this role starts with a vector table.
    #[must_use]
    pub fn has_vectors(self) -> bool {
        matches!(self, Self::Bootloader | Self::Application)
    }

    fn lives_in(self) -> &'static [MemoryKind] {
        match self {
            Self::Bootloader | Self::Application => &[MemoryKind::Flash],
            Self::Data => &[MemoryKind::Flash, MemoryKind::Otp],
            Self::OptionBytes => &[MemoryKind::OptionBytes],
        }
    }
}

/// One run of bytes of the payload; an image with holes has several entries of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEntry {
    /// What it is for.
    pub role: ImageRole,
    /// Its name, a plain label.
    pub name: String,
    /// Where it is written.
    pub address: u32,
    /// Length in bytes.
    pub length: u32,
    /// SHA-256 of the bytes.
    pub sha256: Sha256Hash,
    /// CRC-32/ISO-HDLC of the bytes.
    pub crc32: u32,
}

/// Kind of a per-unit key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKeyKind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on NIST P-256.
    P256,
}

/// Where the identity region is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionPlace {
    /// Its address, in flash or OTP.
    pub address: u32,
    /// Bytes set aside for it.
    pub length: u32,
    /// Flash programming unit in bytes: 2, 4, 8 or 16.
    pub unit: u32,
}

/// What each unit must be given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityNeeds {
    /// Whether a serial number is needed.
    #[serde(default)]
    pub serial: bool,
    /// Number of EUI-48 addresses.
    #[serde(default)]
    pub eui48: u8,
    /// Number of EUI-64 addresses.
    #[serde(default)]
    pub eui64: u8,
    /// A key pair of the unit's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<UnitKeyKind>,
    /// Whether that key needs a certificate.
    #[serde(default)]
    pub certificate: bool,
    /// Where the identity region goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionPlace>,
    /// Names of further blobs each unit gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<String>,
}

/// What is patched into a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchValue {
    /// The serial number in ASCII, filled up with zeros.
    Serial,
    /// All EUI-48 addresses, one after the other, 6 bytes each.
    Eui48,
    /// All EUI-64 addresses, one after the other, 8 bytes each.
    Eui64,
}

/// A seal over the whole image of one chip, for boards whose bootloader has the product's public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSeal {
    /// The chip's 12-bit device ID.
    pub device_id: u16,
    /// Boards that have taken the image take none with a lower release counter; at most the manifest's counter.
    pub floor: u32,
    /// The product's public key.
    pub key: PublicKey,
    /// Ed25519 signature over what docs/protocol.md (section 4) says: 128 hex digits.
    #[serde(with = "hex::serde")]
    pub signature: [u8; 64],
}

/// A place in an image into which a value per unit may be patched; nothing else may be patched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchWindow {
    /// What is patched there, a plain label.
    pub name: String,
    /// First address.
    pub address: u32,
    /// Length in bytes.
    pub length: u32,
    /// What goes there. A window without it cannot be filled by a run of an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<PatchValue>,
}

impl PatchWindow {
    /// Refuses a value that the unit does not get, or that is of another length.
    fn check_value(&self, needs: &IdentityNeeds) -> Result<(), Invalid> {
        let IdentityNeeds { serial, eui48, eui64, .. } = needs;
        let Some(value) = &self.value else { return Ok(()) };
        let wanted = match value {
            PatchValue::Serial => serial.then_some(self.length),
            PatchValue::Eui48 => (*eui48 > 0).then_some(u32::from(*eui48) * 6),
            PatchValue::Eui64 => (*eui64 > 0).then_some(u32::from(*eui64) * 8),
        };
        match wanted {
            Some(wanted) if wanted == self.length => Ok(()),
            _ => Err(Invalid::Patch { name: self.name.clone(), length: self.length, wanted }),
        }
    }
}

/// The manifest of a release, schema 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Schema number, 1.
    pub schema: u64,
    /// The product it is for (part number).
    pub product: String,
    /// Name of the release.
    pub name: String,
    /// Version, for people and for work orders.
    pub version: String,
    /// For whom it was built.
    pub build: BuildKind,
    /// Goes up by at least one with every release of the product; versions are not compared.
    pub counter: u64,
    /// The sources it was built from, such as a commit hash.
    pub source_revision: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// Counter of the root document it was signed under.
    pub root: u64,
    /// It must not be programmed from this time on.
    pub expires: Timestamp,
    /// Chips.
    pub targets: Vec<Target>,
    /// Hardware revisions of the board; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardware: Vec<String>,
    /// The chip's memory.
    pub memory: Vec<Memory>,
    /// Images, ascending by address, in the order of the payload.
    pub images: Vec<ImageEntry>,
    /// What each unit must be given.
    pub identity: IdentityNeeds,
    /// Places that may be patched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<PatchWindow>,
    /// Seals for boards that demand them, one for a chip.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seals: Vec<ImageSeal>,
}

/// A span of addresses with the words that name it in a message.
struct Span {
    what: String,
    address: u32,
    length: u32,
}

impl Span {
    fn end(&self) -> u64 {
        u64::from(self.address) + u64::from(self.length)
    }

    /// The span, if it is not empty and stays in the 32-bit address space.
    fn new(what: String, address: u32, length: u32) -> Result<Self, Invalid> {
        let span = Self { what, address, length };
        if length == 0 || span.end() > 1 << 32 {
            return Err(Invalid::Range { what: span.what, address, length });
        }
        Ok(span)
    }

    fn is_inside(&self, address: u32, length: u32) -> bool {
        self.address >= address && self.end() <= u64::from(address) + u64::from(length)
    }
}

impl Manifest {
    /// Refuses a manifest that contradicts itself.
    ///
    /// # Errors
    /// [`Refusal::UnknownSchema`] or [`Refusal::Invalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        schema::expect_number(self.schema)?;
        self.check_labels()?;
        self.check_counts()?;
        self.check_places()?;
        Ok(())
    }

    fn check_labels(&self) -> Result<(), Invalid> {
        label::check("product", &self.product)?;
        label::check("name", &self.name)?;
        label::check("version", &self.version)?;
        label::check("source revision", &self.source_revision)?;
        self.targets.iter().try_for_each(|target| label::check("target", &target.name))?;
        self.hardware.iter().try_for_each(|revision| label::check("hardware revision", revision))?;
        self.images.iter().try_for_each(|image| label::check("image name", &image.name))?;
        self.patches.iter().try_for_each(|patch| label::check("patch name", &patch.name))?;
        self.identity.blobs.iter().try_for_each(|blob| label::check("blob name", blob))?;
        let twice = |field, names: Vec<&String>| match repeated(names) {
            Some(name) => Err(Invalid::Twice { field, what: name.clone() }),
            None => Ok(()),
        };
        let chips: Vec<String> = self.seals.iter().map(|seal| format!("{:#05x}", seal.device_id)).collect();
        twice("seals", chips.iter().collect())?;
        twice("hardware", self.hardware.iter().collect())?;
        twice("patches", self.patches.iter().map(|patch| &patch.name).collect())?;
        twice("blobs", self.identity.blobs.iter().collect())
    }

    fn check_counts(&self) -> Result<(), Invalid> {
        let lists = [
            ("targets", self.targets.len(), 1),
            ("hardware", self.hardware.len(), 0),
            ("memory", self.memory.len(), 1),
            ("images", self.images.len(), 1),
            ("patches", self.patches.len(), 0),
            ("blobs", self.identity.blobs.len(), 0),
            ("seals", self.seals.len(), 0),
        ];
        for (field, got, min) in lists {
            if got < min || got > LIST_LIMIT {
                return Err(Invalid::Count { field, got, min, max: LIST_LIMIT });
            }
        }
        if self.notes.len() > NOTES_LIMIT {
            return Err(Invalid::Count { field: "notes", got: self.notes.len(), min: 0, max: NOTES_LIMIT });
        }
        if self.counter == 0 || self.counter > MAX_INTEGER {
            return Err(Invalid::Number {
                field: "counter",
                got: self.counter,
                rule: "must be from 1 to 2^53 - 1",
            });
        }
        if let Some(target) = self.targets.iter().find(|target| target.device_id > 0xFFF) {
            return Err(Invalid::Number {
                field: "device id",
                got: target.device_id.into(),
                rule: "must be 12 bits",
            });
        }
        if let Some(seal) = self.seals.iter().find(|seal| u64::from(seal.floor) > self.counter) {
            return Err(Invalid::Number {
                field: "floor of a seal",
                got: seal.floor.into(),
                rule: "must not be above the counter",
            });
        }
        if !self.seals.is_empty() && u32::try_from(self.counter).is_err() {
            return Err(Invalid::Number {
                field: "counter",
                got: self.counter,
                rule: "of a sealed release must be below 2^32",
            });
        }
        self.patches.iter().try_for_each(|patch| patch.check_value(&self.identity))?;
        if !self.seals.is_empty() && !self.patches.is_empty() {
            // A seal is over the image that all boards get.
            return Err(Invalid::Count {
                field: "patches of a sealed release",
                got: self.patches.len(),
                min: 0,
                max: 0,
            });
        }
        let IdentityNeeds { blobs, region, certificate, .. } = &self.identity;
        if !blobs.is_empty() && region.is_none() {
            return Err(Invalid::Count { field: "identity region for blobs", got: 0, min: 1, max: 1 });
        }
        if let Some(name) = blobs.iter().find(|name| name.len() > BLOB_NAME_LIMIT) {
            let field = "characters of a blob's name";
            return Err(Invalid::Count { field, got: name.len(), min: 1, max: BLOB_NAME_LIMIT });
        }
        if *certificate && blobs.iter().any(|name| name == "certificate") {
            return Err(Invalid::Twice { field: "blobs", what: "certificate".to_owned() });
        }
        if self.identity.certificate && self.identity.key.is_none() {
            return Err(Invalid::Count { field: "identity key", got: 0, min: 1, max: 1 });
        }
        Ok(())
    }

    fn check_places(&self) -> Result<(), Invalid> {
        let mut memory = Vec::new();
        for piece in &self.memory {
            memory.push(Span::new(piece.kind.word().to_owned(), piece.address, piece.length)?);
        }
        refuse_overlap(memory)?;
        let mut written = Vec::new();
        for image in &self.images {
            let span = Span::new(format!("image {:?}", image.name), image.address, image.length)?;
            self.expect_inside(&span, image.role.lives_in())?;
            written.push(span);
        }
        if let Some(pair) = self.images.windows(2).find(|pair| pair[0].address > pair[1].address) {
            return Err(Invalid::Number {
                field: "image address",
                got: pair[1].address.into(),
                rule: "images must ascend by address",
            });
        }
        let mut windows = Vec::new();
        for patch in &self.patches {
            let span = Span::new(format!("patch {:?}", patch.name), patch.address, patch.length)?;
            let inside = |image: &&ImageEntry| span.is_inside(image.address, image.length);
            if self.images.iter().find(inside).is_none_or(|image| image.role == ImageRole::OptionBytes) {
                return Err(outside(&span, "image"));
            }
            windows.push(span);
        }
        refuse_overlap(windows)?;
        if let Some(region) = self.identity.region {
            let span = Span::new("the identity region".to_owned(), region.address, region.length)?;
            self.expect_inside(&span, &[MemoryKind::Flash, MemoryKind::Otp])?;
            if ![2, 4, 8, 16].contains(&region.unit) || region.address % region.unit != 0 {
                return Err(Invalid::Number {
                    field: "identity region unit",
                    got: region.unit.into(),
                    rule: "must be 2, 4, 8 or 16 and divide the address",
                });
            }
            written.push(span);
        }
        refuse_overlap(written)
    }

    fn expect_inside(&self, span: &Span, kinds: &[MemoryKind]) -> Result<(), Invalid> {
        let fits =
            |piece: &Memory| kinds.contains(&piece.kind) && span.is_inside(piece.address, piece.length);
        if self.memory.iter().any(fits) {
            return Ok(());
        }
        Err(outside(span, kinds[0].word()))
    }
}

fn outside(span: &Span, wanted: &'static str) -> Invalid {
    Invalid::Outside { what: span.what.clone(), address: span.address, length: span.length, wanted }
}

fn refuse_overlap(mut spans: Vec<Span>) -> Result<(), Invalid> {
    spans.sort_by_key(|span| span.address);
    for pair in spans.windows(2) {
        if pair[0].end() > u64::from(pair[1].address) {
            return Err(Invalid::Overlap {
                a: pair[0].what.clone(),
                b: pair[1].what.clone(),
                address: pair[1].address,
            });
        }
    }
    Ok(())
}

fn repeated<T: Ord + Copy>(mut items: Vec<T>) -> Option<T> {
    items.sort_unstable();
    items.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

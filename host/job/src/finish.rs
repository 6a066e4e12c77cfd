//! The job's `[finish]`: what boards are given beside the image, as it stands in the file.
//!
//! Names of option fields are checked against the chip when the run is planned. New identities are a matter of work
//! orders and not of jobs: a job only says where a unit's lies, for those who restore it.

use panel_backplane::document::{FromToml, Mismatch, Section, word};
use panel_backplane::units::Address;
use toml::de::DeValue;

/// What boards are given beside the image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finish {
    /// Readout protection.
    pub lock: JobLock,
    /// The bootloader is protected from being overwritten.
    pub protect_bootloader: bool,
    /// Option fields by name, and their values.
    pub options: Vec<OptionField>,
}

/// Readout protection that a job can ask for. Level 2 is for ever, and so not for a file that anybody can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JobLock {
    /// None.
    #[default]
    None,
    /// RDP level 1.
    Level1,
}

/// An option field and its value, written `BOR_LEV=2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionField {
    /// Its name in the reference manual.
    pub name: String,
    /// Its value.
    pub value: u16,
}

/// Where the identity region of the product's units lies: what `[identity]` of the release that made them says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityArea {
    /// Its address, a multiple of `unit`.
    pub address: u32,
    /// Bytes set aside for it.
    pub length: u32,
    /// Flash programming unit in bytes: 2, 4, 8 or 16.
    pub unit: u32,
    /// The hardware revision that stands in it; empty if none does.
    pub hardware: String,
}

pub(crate) fn read_identity(mut section: Section<'_>) -> Option<IdentityArea> {
    let address = section.need::<Address>("address");
    let length = section.need::<u32>("length");
    let unit = section.need::<u32>("unit");
    let hardware = section.get::<String>("hardware").map(|h| h.value).unwrap_or_default();
    let (address, length, unit) = (address?, length?, unit?);
    if ![2, 4, 8, 16].contains(&unit.value) {
        let reason = format!("{} is not 2, 4, 8 or 16, what the chip's flash programs at once", unit.value);
        section.bad_value("unit", unit.at, reason);
        return None;
    }
    if !address.value.0.is_multiple_of(unit.value) {
        let reason = format!("{:#010x} is not a multiple of the unit, {}", address.value.0, unit.value);
        section.bad_value("address", address.at, reason);
    }
    if length.value == 0 || address.value.0.checked_add(length.value).is_none() {
        section.bad_value("length", length.at, format!("{} bytes are no area there", length.value));
    }
    Some(IdentityArea { address: address.value.0, length: length.value, unit: unit.value, hardware })
}

pub(crate) fn read(mut section: Section<'_>) -> Finish {
    let protect = section.get::<Protected>("write_protect").is_some();
    let options = section.get_list::<OptionField>("options");
    Finish {
        lock: section.get_or("lock", JobLock::default()),
        protect_bootloader: protect,
        options: options.map(|list| list.value.into_iter().map(|o| o.value).collect()).unwrap_or_default(),
    }
}

impl FromToml for JobLock {
    const EXPECTED: &'static str = "a word in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        if value.as_str() == Some("level-2") {
            let why = "level 2 is for ever: only a release with a second signature for it may ask for it";
            return Err(Mismatch::Value(why.to_owned()));
        }
        word(value, &[("none", Self::None), ("level-1", Self::Level1)])
    }
}

/// What can be protected from writing.
struct Protected;

impl FromToml for Protected {
    const EXPECTED: &'static str = "a word in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        word(value, &[("bootloader", ())]).map(|()| Self)
    }
}

impl FromToml for OptionField {
    const EXPECTED: &'static str = "a text such as \"BOR_LEV=2\"";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        let text = value.as_str().ok_or(Mismatch::Type)?;
        let parts = text.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        let parsed = parts.and_then(|(name, value)| {
            let value = match value.strip_prefix("0x") {
                Some(hex) => u16::from_str_radix(hex, 16).ok()?,
                None => value.parse().ok()?,
            };
            (!name.is_empty()).then(|| Self { name: name.to_owned(), value })
        });
        parsed.ok_or_else(|| {
            Mismatch::Value(format!("`{text}` is not a field with its value, such as `BOR_LEV=2`"))
        })
    }
}

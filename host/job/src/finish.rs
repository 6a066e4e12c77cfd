//! The job's `[finish]`: what boards are given beside the image, as it stands in the file.
//!
//! Names of option fields and addresses are checked against the chip when the run is planned.

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
    /// Where the identity is written; the identity itself comes from the ledger of a work order.
    pub identity: Option<IdentityRegion>,
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

/// The place of the identity region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityRegion {
    /// First address.
    pub address: u32,
    /// Bytes set aside.
    pub length: u32,
    /// Its erase unit may be erased when it is not blank.
    pub may_erase: bool,
}

pub(crate) fn read(mut section: Section<'_>) -> Finish {
    let protect = section.get::<Protected>("write_protect").is_some();
    let options = section.get_list::<OptionField>("options");
    Finish {
        lock: section.get_or("lock", JobLock::default()),
        protect_bootloader: protect,
        options: options.map(|list| list.value.into_iter().map(|o| o.value).collect()).unwrap_or_default(),
        identity: section.section("identity").and_then(read_identity),
    }
}

fn read_identity(mut section: Section<'_>) -> Option<IdentityRegion> {
    let address = section.need::<Address>("address");
    let length = section.need::<u16>("length");
    let may_erase = section.get_or("may_erase", true);
    Some(IdentityRegion { address: address?.value.0, length: length?.value.into(), may_erase })
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

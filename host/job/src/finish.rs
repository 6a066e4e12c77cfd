//! The job's `[finish]`: what boards are given beside the image, as it stands in the file.
//!
//! Names of option fields are checked against the chip when the run is planned. Identities are a matter of work
//! orders and not of jobs.

use panel_backplane::document::{FromToml, Mismatch, Section, word};
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

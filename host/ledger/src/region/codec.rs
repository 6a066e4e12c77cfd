//! Encoder and decoder of the identity region, from the table in `layout`. `core` only, no heap.

use super::layout::{LENGTH, MAGIC, Shape, VERSION, offset_of, shape_of};

/// What erased flash reads as on every STM32 this project programs.
pub(super) const BLANK: u8 = 0xFF;
pub(super) const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// What a key slot's 32 bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotUse {
    /// The secret key, made at the station.
    Secret,
    /// SHA-256 of the public key, made on the board; the secret is elsewhere in the chip.
    Fingerprint,
}

/// A key slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeySlot<'a> {
    /// Kind of key.
    pub kind: crate::unit_key::KeyKind,
    /// What `data` is.
    pub holds: SlotUse,
    /// The bytes.
    pub data: &'a [u8; 32],
}

/// Does not show a secret.
impl core::fmt::Debug for KeySlot<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "KeySlot({:?}, {:?})", self.kind, self.holds)
    }
}

/// What is written into the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Product, at most 31 characters.
    pub product: &'a str,
    /// Hardware revision, at most 7 characters.
    pub hardware: &'a str,
    /// Serial number, at most 63 characters.
    pub serial: &'a str,
    /// Date as decimal YYYYMMDD, 0 if unknown.
    pub date: u32,
    /// EUI-48 addresses, at most 8.
    pub eui48: &'a [[u8; 6]],
    /// EUI-64 addresses, at most 4.
    pub eui64: &'a [[u8; 8]],
    /// Keys, at most 4.
    pub keys: &'a [KeySlot<'a>],
}

/// Why an identity cannot be written, or bytes are no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// The flash unit is none of 2, 4, 8, 16 bytes.
    #[error("flash unit of {unit} bytes, expected 2, 4, 8 or 16")]
    Unit {
        /// What was given.
        unit: usize,
    },
    /// Not enough bytes.
    #[error("{got} bytes, {needed} needed")]
    Space {
        /// Bytes there.
        got: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// A text is too long or not printable ASCII.
    #[error("{field} does not fit: at most {limit} printable ASCII characters")]
    Text {
        /// The field.
        field: &'static str,
        /// The most it holds.
        limit: usize,
    },
    /// Too many entries.
    #[error("{got} entries for {field}, at most {limit}")]
    Count {
        /// The field.
        field: &'static str,
        /// What was given or found.
        got: usize,
        /// The most it holds.
        limit: usize,
    },
    /// Not a date.
    #[error("{got} is no date YYYYMMDD")]
    Date {
        /// What was given or found.
        got: u32,
    },
    /// Erased memory: no identity was written.
    #[error("blank: no identity was written")]
    Blank,
    /// Something else is there.
    #[error("no identity: it begins with {got:#010x}, expected {MAGIC:#010x}")]
    Magic {
        /// The first word.
        got: u32,
    },
    /// Another layout.
    #[error("identity layout {got}, known is {VERSION}")]
    Version {
        /// The version found.
        got: u16,
    },
    /// A length that is not the version's.
    #[error("identity of {got} bytes, expected {LENGTH}")]
    Length {
        /// The length found.
        got: u16,
    },
    /// Written in part, or damaged.
    #[error("identity damaged: CRC {got:#010x}, computed {computed:#010x}")]
    Crc {
        /// The CRC found.
        got: u32,
        /// The CRC of the bytes found.
        computed: u32,
    },
    /// The CRC is right and a field makes no sense: written by something else.
    #[error("identity field {field} makes no sense")]
    Field {
        /// The field.
        field: &'static str,
    },
}

/// What a board holds, compared with what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The wanted identity, whole.
    Equal,
    /// Nothing.
    Blank,
    /// The wanted identity in part: writing was cut off. The same identity is written again.
    Partial,
    /// A whole identity, and another one: never overwritten without a person's word.
    Other,
    /// Something that is no identity.
    Foreign,
}

/// Bytes of the region in memory with programming units of `unit` bytes.
///
/// # Errors
/// [`RegionError::Unit`].
pub const fn padded_length(unit: usize) -> Result<usize, RegionError> {
    match unit {
        2 | 4 | 8 | 16 => Ok(LENGTH.next_multiple_of(unit)),
        _ => Err(RegionError::Unit { unit }),
    }
}

/// Writes the region for `identity` into `out` and gives its padded length.
///
/// # Errors
/// [`RegionError`] for the first thing that does not fit; `out` is then to be thrown away.
pub fn encode(identity: &Identity<'_>, unit: usize, out: &mut [u8]) -> Result<usize, RegionError> {
    let needed = padded_length(unit)?;
    let got = out.len();
    let out = out.get_mut(..needed).ok_or(RegionError::Space { got, needed })?;
    let (region, padding) = out.split_at_mut(LENGTH);
    region.fill(0);
    padding.fill(BLANK);
    let Identity { product, hardware, serial, date, eui48, eui64, keys } = identity;
    put(region, const { offset_of("magic") }, &MAGIC.to_le_bytes());
    put(region, const { offset_of("version") }, &VERSION.to_le_bytes());
    put(region, const { offset_of("length") }, &(LENGTH as u16).to_le_bytes());
    put_text(region, "product", const { (offset_of("product"), shape_of("product").size()) }, product)?;
    put_text(region, "hardware", const { (offset_of("hardware"), shape_of("hardware").size()) }, hardware)?;
    put_text(region, "serial", const { (offset_of("serial"), shape_of("serial").size()) }, serial)?;
    check_date(*date)?;
    put(region, const { offset_of("date") }, &date.to_le_bytes());
    region[const { offset_of("eui48_count") }] = count("eui48", eui48.len(), EUI48)?;
    region[const { offset_of("eui64_count") }] = count("eui64", eui64.len(), EUI64)?;
    region[const { offset_of("key_count") }] = count("keys", keys.len(), KEYS)?;
    put(region, const { offset_of("eui48") }, eui48.as_flattened());
    put(region, const { offset_of("eui64") }, eui64.as_flattened());
    for (slot, key) in keys.iter().enumerate() {
        region[const { offset_of("key_kind") } + slot] = kind_number(key.kind);
        region[const { offset_of("key_use") } + slot] = use_number(key.holds);
        put(region, const { offset_of("key_data") } + slot * 32, key.data);
    }
    let crc = CRC.checksum(&region[..CRC_AT]);
    put(region, CRC_AT, &crc.to_le_bytes());
    Ok(needed)
}

/// Reads a region. `bytes` may be longer than it.
///
/// # Errors
/// [`RegionError`], from [`RegionError::Blank`] to [`RegionError::Field`].
pub fn decode(bytes: &[u8]) -> Result<View<'_>, RegionError> {
    let region =
        bytes.first_chunk::<LENGTH>().ok_or(RegionError::Space { got: bytes.len(), needed: LENGTH })?;
    if region.iter().all(|byte| *byte == BLANK) {
        return Err(RegionError::Blank);
    }
    let view = View { region };
    let magic = view.u32(const { offset_of("magic") });
    if magic != MAGIC {
        return Err(RegionError::Magic { got: magic });
    }
    let version = view.u16(const { offset_of("version") });
    if version != VERSION {
        return Err(RegionError::Version { got: version });
    }
    let length = view.u16(const { offset_of("length") });
    if usize::from(length) != LENGTH {
        return Err(RegionError::Length { got: length });
    }
    let (got, computed) = (view.u32(CRC_AT), CRC.checksum(&region[..CRC_AT]));
    if got != computed {
        return Err(RegionError::Crc { got, computed });
    }
    view.check()?;
    Ok(view)
}

/// Says what a board holds where the region `wanted` (as encoded, with padding) should be.
#[must_use]
pub fn compare(read: &[u8], wanted: &[u8]) -> Found {
    let Some(read) = read.get(..wanted.len()) else { return Found::Foreign };
    if read == wanted {
        return Found::Equal;
    }
    if read.iter().all(|byte| *byte == BLANK) {
        return Found::Blank;
    }
    if decode(read).is_ok() {
        return Found::Other;
    }
    // Flash is programmed in units, and each is either as wanted or still erased.
    if read.iter().zip(wanted).all(|(read, wanted)| read == wanted || *read == BLANK) {
        return Found::Partial;
    }
    Found::Foreign
}

const CRC_AT: usize = offset_of("crc32");
const EUI48: usize = runs("eui48");
const EUI64: usize = runs("eui64");
const KEYS: usize = runs("key_data");

const fn runs(name: &str) -> usize {
    match shape_of(name) {
        Shape::Runs(runs, _) => runs,
        Shape::U8 | Shape::U16 | Shape::U32 | Shape::Text(_) => 1,
    }
}

/// A region that was checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    region: &'a [u8; LENGTH],
}

impl core::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "View({} {})", self.product(), self.serial())
    }
}

impl<'a> View<'a> {
    /// Product.
    #[must_use]
    pub fn product(&self) -> &'a str {
        self.text(const { offset_of("product") }, const { shape_of("product").size() }).unwrap_or("")
    }

    /// Hardware revision.
    #[must_use]
    pub fn hardware(&self) -> &'a str {
        self.text(const { offset_of("hardware") }, const { shape_of("hardware").size() }).unwrap_or("")
    }

    /// Serial number.
    #[must_use]
    pub fn serial(&self) -> &'a str {
        self.text(const { offset_of("serial") }, const { shape_of("serial").size() }).unwrap_or("")
    }

    /// Date as decimal YYYYMMDD, 0 if unknown.
    #[must_use]
    pub fn date(&self) -> u32 {
        self.u32(const { offset_of("date") })
    }

    /// EUI-48 addresses.
    #[must_use]
    pub fn eui48(&self) -> &'a [[u8; 6]] {
        let count = usize::from(self.region[const { offset_of("eui48_count") }]).min(EUI48);
        self.region[const { offset_of("eui48") }..][..count * 6].as_chunks().0
    }

    /// EUI-64 addresses.
    #[must_use]
    pub fn eui64(&self) -> &'a [[u8; 8]] {
        let count = usize::from(self.region[const { offset_of("eui64_count") }]).min(EUI64);
        self.region[const { offset_of("eui64") }..][..count * 8].as_chunks().0
    }

    /// Keys.
    pub fn keys(&self) -> impl Iterator<Item = KeySlot<'a>> {
        let view = *self;
        let count = usize::from(self.region[const { offset_of("key_count") }]).min(KEYS);
        (0..count).filter_map(move |slot| view.key(slot))
    }

    fn key(&self, slot: usize) -> Option<KeySlot<'a>> {
        use crate::unit_key::KeyKind;
        let kind = match self.region[const { offset_of("key_kind") } + slot] {
            1 => KeyKind::Ed25519,
            2 => KeyKind::P256,
            _ => return None,
        };
        let holds = match self.region[const { offset_of("key_use") } + slot] {
            1 => SlotUse::Secret,
            2 => SlotUse::Fingerprint,
            _ => return None,
        };
        let data = self.region[const { offset_of("key_data") } + slot * 32..].first_chunk()?;
        Some(KeySlot { kind, holds, data })
    }

    fn check(&self) -> Result<(), RegionError> {
        for (field, offset, size) in const {
            [
                ("product", offset_of("product"), shape_of("product").size()),
                ("hardware", offset_of("hardware"), shape_of("hardware").size()),
                ("serial", offset_of("serial"), shape_of("serial").size()),
            ]
        } {
            self.text(offset, size).ok_or(RegionError::Field { field })?;
        }
        check_date(self.date())?;
        for (field, offset, limit) in const {
            [
                ("eui48", offset_of("eui48_count"), EUI48),
                ("eui64", offset_of("eui64_count"), EUI64),
                ("keys", offset_of("key_count"), KEYS),
            ]
        } {
            count(field, self.region[offset].into(), limit)?;
        }
        if self.keys().count() != usize::from(self.region[const { offset_of("key_count") }]) {
            return Err(RegionError::Field { field: "key_kind" });
        }
        Ok(())
    }

    /// Printable ASCII, then zeros, at least one.
    fn text(&self, offset: usize, size: usize) -> Option<&'a str> {
        let field = &self.region[offset..offset + size];
        let end = field.iter().position(|byte| *byte == 0)?;
        let (text, rest) = field.split_at(end);
        let right =
            text.iter().all(|byte| (b' '..=b'~').contains(byte)) && rest.iter().all(|byte| *byte == 0);
        if right { core::str::from_utf8(text).ok() } else { None }
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.region[at], self.region[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|offset| self.region[at + offset]);
        u32::from_le_bytes([a, b, c, d])
    }
}

pub(super) fn put(region: &mut [u8], at: usize, bytes: &[u8]) {
    region[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn put_text(
    region: &mut [u8],
    field: &'static str,
    (at, size): (usize, usize),
    text: &str,
) -> Result<(), RegionError> {
    if text.len() >= size || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(RegionError::Text { field, limit: size - 1 });
    }
    put(region, at, text.as_bytes());
    Ok(())
}

fn count(field: &'static str, got: usize, limit: usize) -> Result<u8, RegionError> {
    match u8::try_from(got) {
        Ok(count) if got <= limit => Ok(count),
        _ => Err(RegionError::Count { field, got, limit }),
    }
}

fn check_date(date: u32) -> Result<(), RegionError> {
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    let plausible = (2000..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if date == 0 || plausible { Ok(()) } else { Err(RegionError::Date { got: date }) }
}

fn kind_number(kind: crate::unit_key::KeyKind) -> u8 {
    match kind {
        crate::unit_key::KeyKind::Ed25519 => 1,
        crate::unit_key::KeyKind::P256 => 2,
    }
}

fn use_number(holds: SlotUse) -> u8 {
    match holds {
        SlotUse::Secret => 1,
        SlotUse::Fingerprint => 2,
    }
}

//! The one definition of the identity region, layout version 1, and of the blobs behind it.
//!
//! A field is never moved, resized or given another meaning under this version number.

/// `PFID` in the order of the bytes.
pub const MAGIC: u32 = u32::from_le_bytes(*b"PFID");
/// The layout version described here.
pub const VERSION: u16 = 1;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One byte.
    U8,
    /// 16 bits.
    U16,
    /// 32 bits.
    U32,
    /// Printable ASCII of at most so many bytes less one; the rest is zero.
    Text(usize),
    /// So many runs of so many bytes; the unused ones are zero.
    Runs(usize, usize),
}

impl Shape {
    /// Bytes it takes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
            Self::Text(size) => size,
            Self::Runs(runs, size) => runs * size,
        }
    }
}

/// One field: its name in C, what it holds, and what that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name of the member of the C structure.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// What it means.
    pub meaning: &'static str,
}

const fn field(name: &'static str, shape: Shape, meaning: &'static str) -> Field {
    Field { name, shape, meaning }
}

/// The fields, one after the other without gaps; each lies on a multiple of its integers' size.
pub const LAYOUT: [Field; 17] = [
    field("magic", Shape::U32, "PANEL_IDENTITY_MAGIC, the bytes \"PFID\""),
    field("version", Shape::U16, "layout version, PANEL_IDENTITY_VERSION"),
    field("length", Shape::U16, "bytes from magic to crc32, both included"),
    field("product", Shape::Text(32), "product (part number)"),
    field("hardware", Shape::Text(8), "hardware revision of the board"),
    field("serial", Shape::Text(64), "serial number"),
    field("date", Shape::U32, "date of personalisation, decimal YYYYMMDD in UTC, 0 if unknown"),
    field("eui48_count", Shape::U8, "addresses used in eui48"),
    field("eui64_count", Shape::U8, "addresses used in eui64"),
    field("key_count", Shape::U8, "slots used in the key fields"),
    field("reserved", Shape::U8, "0"),
    field("eui48", Shape::Runs(8, 6), "EUI-48 addresses, first octet first"),
    field("eui64", Shape::Runs(4, 8), "EUI-64 addresses, first octet first"),
    field("key_kind", Shape::Runs(4, 1), "kind of key: 0 none, 1 Ed25519, 2 ECDSA P-256"),
    field(
        "key_use",
        Shape::Runs(4, 1),
        "what key_data holds: 0 nothing, 1 secret key, 2 SHA-256 of the public key",
    ),
    field("key_data", Shape::Runs(4, 32), "32 bytes per key slot"),
    field("crc32", Shape::U32, "CRC-32/ISO-HDLC of all bytes before it"),
];

/// Bytes of the region without padding.
pub const LENGTH: usize = offset_of("crc32") + 4;

/// `PFBL` in the order of the bytes.
pub const BLOB_MAGIC: u32 = u32::from_le_bytes(*b"PFBL");
/// Blobs begin at multiples of this: the largest flash programming unit.
pub const BLOB_ALIGN: usize = 16;
/// Where the first blob begins, counted from the region's beginning.
pub const BLOBS: usize = LENGTH.next_multiple_of(BLOB_ALIGN);

/// The head of a blob; its bytes follow, then their CRC-32.
pub const BLOB_LAYOUT: [Field; 3] = [
    field("magic", Shape::U32, "PANEL_BLOB_MAGIC, the bytes \"PFBL\""),
    field("length", Shape::U32, "bytes that follow this head, without the CRC-32 behind them"),
    field("name", Shape::Text(24), "what it is, such as \"certificate\" (X.509, DER)"),
];

/// Bytes of the head.
pub const BLOB_HEAD: usize = size_of_all(&BLOB_LAYOUT);

/// Where the field called `name` of the region begins.
pub(super) const fn offset_of(name: &str) -> usize {
    offset_in(&LAYOUT, name)
}

/// What the field called `name` of the region holds.
pub(super) const fn shape_of(name: &str) -> Shape {
    shape_in(&LAYOUT, name)
}

/// Where the field called `name` begins. Evaluated at compile time; an unknown name does not compile.
pub(super) const fn offset_in(layout: &[Field], name: &str) -> usize {
    let mut index = 0;
    let mut offset = 0;
    while index < layout.len() {
        if same(layout[index].name, name) {
            return offset;
        }
        offset += layout[index].shape.size();
        index += 1;
    }
    panic!("no such field")
}

/// What the field called `name` holds.
pub(super) const fn shape_in(layout: &[Field], name: &str) -> Shape {
    let mut index = 0;
    while index < layout.len() {
        if same(layout[index].name, name) {
            return layout[index].shape;
        }
        index += 1;
    }
    panic!("no such field")
}

const fn size_of_all(layout: &[Field]) -> usize {
    let (mut index, mut size) = (0, 0);
    while index < layout.len() {
        size += layout[index].shape.size();
        index += 1;
    }
    size
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offsets_of_version_1_are_the_documented_ones() {
        // Boards in the field carry this layout. If this fails, revert the code.
        let expected = [
            ("magic", 0),
            ("version", 4),
            ("length", 6),
            ("product", 8),
            ("hardware", 40),
            ("serial", 48),
            ("date", 112),
            ("eui48_count", 116),
            ("eui64_count", 117),
            ("key_count", 118),
            ("reserved", 119),
            ("eui48", 120),
            ("eui64", 168),
            ("key_kind", 200),
            ("key_use", 204),
            ("key_data", 208),
            ("crc32", 336),
        ];
        for ((name, offset), field) in expected.into_iter().zip(LAYOUT) {
            assert_eq!((field.name, offset_of(field.name)), (name, offset));
        }
        assert_eq!(LENGTH, 340);
        let head = BLOB_LAYOUT.map(|field| (field.name, offset_in(&BLOB_LAYOUT, field.name)));
        assert_eq!(head, [("magic", 0), ("length", 4), ("name", 8)]);
        assert_eq!((BLOBS, BLOB_HEAD), (352, 32));
    }

    #[test]
    fn every_integer_lies_on_a_multiple_of_its_size() {
        for (layout, field) in
            LAYOUT.iter().map(|f| (&LAYOUT[..], f)).chain(BLOB_LAYOUT.iter().map(|f| (&BLOB_LAYOUT[..], f)))
        {
            let align = match field.shape {
                Shape::U16 => 2,
                Shape::U32 => 4,
                Shape::U8 | Shape::Text(_) | Shape::Runs(..) => 1,
            };
            assert_eq!(offset_in(layout, field.name) % align, 0, "{}", field.name);
        }
    }
}

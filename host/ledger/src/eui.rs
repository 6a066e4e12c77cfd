//! EUI-48 ("MAC") and EUI-64 addresses and the blocks they are taken from.
//!
//! A block is refused when it holds an address that must never be on a board: group addresses, locally
//! administered ones (unless asked for), all zeros, all ones, well-known vendor defaults. A unit's addresses
//! are one aligned run of `step`, so that a board with two ports gets two neighbours.

use std::fmt;

use serde::{Serialize, Serializer};

/// Which of the two widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EuiKind {
    /// 48 bits.
    Eui48,
    /// 64 bits.
    Eui64,
}

impl EuiKind {
    /// Its bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Eui48 => 48,
            Self::Eui64 => 64,
        }
    }

    fn greatest(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
}

/// One address; serialised as its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Eui {
    /// Its width.
    pub kind: EuiKind,
    /// Its value, first octet highest.
    pub value: u64,
}

impl Eui {
    /// Reads 12 or 16 hex digits, with or without `:` or `-` between the octets.
    ///
    /// # Errors
    /// [`EuiError::Text`].
    pub fn parse(kind: EuiKind, text: &str) -> Result<Self, EuiError> {
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-')).collect();
        let wrong = || EuiError::Text { kind, text: text.chars().take(40).collect() };
        let right = digits.len() == kind.bits() as usize / 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !right {
            return Err(wrong());
        }
        u64::from_str_radix(&digits, 16).map(|value| Self { kind, value }).map_err(|_| wrong())
    }

    /// The octets as they go into a board: 6 or 8, first octet first.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        self.value.to_be_bytes()[8 - self.kind.bits() as usize / 8..].to_vec()
    }
}

/// Lower-case hex without separators: the form in which addresses are stored and compared.
impl fmt::Display for Eui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.value, width = self.kind.bits() as usize / 4)
    }
}

impl Serialize for Eui {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why an address or a block is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EuiError {
    /// Not an address at all.
    #[error("{text:?} is not an {kind:?} address")]
    Text {
        /// The width wanted.
        kind: EuiKind,
        /// What was found, cut at 40 characters.
        text: String,
    },
    /// The block is empty or runs past the last address.
    #[error("block from {first} with {count} addresses is empty or runs past the last address")]
    Range {
        /// Its first address.
        first: Eui,
        /// Its addresses.
        count: u64,
    },
    /// The step is not a power of two up to 256, or first and count are not multiples of it.
    #[error("block from {first} with {count} addresses is not aligned to steps of {step} (1, 2, 4 ... 256)")]
    Alignment {
        /// Its first address.
        first: Eui,
        /// Its addresses.
        count: u64,
        /// Addresses per unit.
        step: u64,
    },
    /// The group bit is set: such an address names nobody.
    #[error("{address} is a group (multicast) address")]
    Group {
        /// The address.
        address: Eui,
    },
    /// The local bit is set and was not asked for.
    #[error("{address} is locally administered; say so if that is meant")]
    Local {
        /// The address.
        address: Eui,
    },
    /// It runs over the end of a 24-bit assignment; no owner has both sides.
    #[error("block from {first} with {count} addresses crosses the end of its 24-bit assignment")]
    Crosses {
        /// Its first address.
        first: Eui,
        /// Its addresses.
        count: u64,
    },
    /// A chip maker's default, found on countless boards that were never given an address.
    #[error("{address} lies in a vendor's default range, {what}")]
    VendorDefault {
        /// The address.
        address: Eui,
        /// Whose.
        what: &'static str,
    },
    /// It lies in no block that is registered as owned.
    #[error("block from {first} with {count} addresses is outside every assignment registered as owned")]
    NotOwned {
        /// Its first address.
        first: Eui,
        /// Its addresses.
        count: u64,
    },
}

/// Addresses that reference designs carry: prefix, its bits and where it is from.
const VENDOR_DEFAULTS: [(u64, u32, &str); 3] = [
    (0x037f, 24, "Atheros reference designs"),
    (0x80e1, 24, "STMicroelectronics examples"),
    (0x0000, 24, "zeros in front"),
];

/// A block of addresses of which each unit gets `step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EuiBlock {
    /// First address.
    pub first: Eui,
    /// Number of addresses.
    pub count: u64,
    /// Addresses set aside per unit.
    pub step: u64,
    /// Whether locally administered addresses are meant.
    pub local: bool,
}

/// An assignment the owner holds: an MA-L (24 bits), MA-M (28) or MA-S (36), or the whole of a local range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Its first address, all bits after the prefix zero.
    pub first: Eui,
    /// Bits of the prefix.
    pub prefix_bits: u32,
}

impl Assignment {
    fn holds(&self, block: &EuiBlock) -> bool {
        let shift = self.first.kind.bits().saturating_sub(self.prefix_bits);
        let prefix = |value: u64| value.checked_shr(shift).unwrap_or(0);
        self.first.kind == block.first.kind
            && prefix(block.first.value) == prefix(self.first.value)
            && prefix(block.last()) == prefix(self.first.value)
    }

    /// Refuses a prefix that is none.
    ///
    /// # Errors
    /// [`EuiError::Range`].
    pub fn check(&self) -> Result<(), EuiError> {
        let shift = self.first.kind.bits().saturating_sub(self.prefix_bits);
        let rest = (1_u64 << shift.min(63)) - 1;
        if !(8..=44).contains(&self.prefix_bits) || self.first.value & rest != 0 {
            return Err(EuiError::Range { first: self.first, count: 0 });
        }
        Ok(())
    }
}

impl EuiBlock {
    /// Value of the last address.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first.value.saturating_add(self.count.saturating_sub(1))
    }

    /// Units it is enough for.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.count / self.step.max(1)
    }

    /// The first `n` addresses of unit number `index` of the block.
    #[must_use]
    pub fn addresses(&self, index: u64, n: u8) -> Vec<Eui> {
        let first = self.first.value.saturating_add(index.saturating_mul(self.step));
        (0..u64::from(n)).map(|offset| Eui { value: first.saturating_add(offset), ..self.first }).collect()
    }

    /// Whether both want one address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first.kind == other.first.kind
            && self.first.value <= other.last()
            && other.first.value <= self.last()
    }

    /// Refuses a block that must not be given out; `owned` empty means that no assignment is registered.
    ///
    /// # Errors
    /// The first [`EuiError`] found.
    pub fn check(&self, owned: &[Assignment]) -> Result<(), EuiError> {
        let Self { first, count, step, local } = *self;
        let kind = first.kind;
        let fits = first.value.checked_add(count.wrapping_sub(1)).is_some_and(|last| last <= kind.greatest());
        if count == 0 || !fits {
            return Err(EuiError::Range { first, count });
        }
        let aligned = first.value.checked_rem(step) == Some(0) && count.checked_rem(step) == Some(0);
        if !step.is_power_of_two() || step > 256 || !aligned {
            return Err(EuiError::Alignment { first, count, step });
        }
        let oui = |value: u64| value >> (kind.bits() - 24);
        if oui(first.value) != oui(self.last()) {
            return Err(EuiError::Crosses { first, count });
        }
        let first_octet = oui(first.value) >> 16;
        if first_octet & 1 != 0 {
            return Err(EuiError::Group { address: first });
        }
        if first_octet & 2 != 0 && !local {
            return Err(EuiError::Local { address: first });
        }
        for (prefix, bits, what) in VENDOR_DEFAULTS {
            if first.value >> (kind.bits() - bits) == prefix {
                return Err(EuiError::VendorDefault { address: first, what });
            }
        }
        let mut of_kind = owned.iter().filter(|assignment| assignment.first.kind == kind).peekable();
        if of_kind.peek().is_some() && !of_kind.any(|assignment| assignment.holds(self)) {
            return Err(EuiError::NotOwned { first, count });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eui48(text: &str) -> Eui {
        Eui::parse(EuiKind::Eui48, text).unwrap()
    }

    fn block(first: &str, count: u64, step: u64) -> EuiBlock {
        EuiBlock { first: eui48(first), count, step, local: false }
    }

    #[test]
    fn addresses_are_read_in_the_usual_spellings_and_written_in_one() {
        for text in ["70b3d5abc010", "70:B3:D5:AB:C0:10", "70-b3-d5-ab-c0-10"] {
            assert_eq!(eui48(text).to_string(), "70b3d5abc010");
        }
        assert_eq!(eui48("70b3d5abc010").octets(), [0x70, 0xB3, 0xD5, 0xAB, 0xC0, 0x10]);
        let wide = Eui::parse(EuiKind::Eui64, "8c1f64fffe000001").unwrap();
        assert_eq!(wide.octets(), [0x8C, 0x1F, 0x64, 0xFF, 0xFE, 0, 0, 1]);
        for text in ["", "70b3d5abc01", "70b3d5abc0100", "+0b3d5abc010", "70b3d5abc01g"] {
            assert!(matches!(Eui::parse(EuiKind::Eui48, text), Err(EuiError::Text { .. })), "{text}");
        }
    }

    #[test]
    fn blocks_that_must_not_be_given_out_are_refused() {
        let check = |block: EuiBlock| block.check(&[]);
        assert_eq!(check(block("70b3d5abc000", 4096, 2)), Ok(()));
        assert!(matches!(check(block("71b3d5abc000", 2, 2)), Err(EuiError::Group { .. })));
        assert!(matches!(check(block("72b3d5abc000", 2, 2)), Err(EuiError::Local { .. })));
        assert_eq!(check(EuiBlock { local: true, ..block("72b3d5abc000", 2, 2) }), Ok(()));
        assert!(matches!(check(block("000000000000", 2, 2)), Err(EuiError::VendorDefault { .. })));
        assert!(matches!(check(block("00037f000000", 2, 2)), Err(EuiError::VendorDefault { .. })));
        assert!(matches!(check(block("ffffffffffff", 1, 1)), Err(EuiError::Group { .. })));
        assert!(matches!(check(block("70b3d5fffff0", 32, 2)), Err(EuiError::Crosses { .. })));
        assert!(matches!(check(block("ffffffffffff", 2, 1)), Err(EuiError::Range { .. })));
        assert!(matches!(check(block("70b3d5abc000", 0, 1)), Err(EuiError::Range { .. })));
        for (first, count, step) in [("70b3d5abc001", 2, 2), ("70b3d5abc000", 3, 2), ("70b3d5abc000", 6, 3)] {
            assert!(matches!(check(block(first, count, step)), Err(EuiError::Alignment { .. })));
        }
        assert!(matches!(check(block("70b3d5abc000", 4, 0)), Err(EuiError::Alignment { .. })));
    }

    #[test]
    fn a_block_outside_the_owned_assignments_is_refused() {
        let owned = [Assignment { first: eui48("70b3d5abc000"), prefix_bits: 36 }];
        assert_eq!(owned[0].check(), Ok(()));
        assert_eq!(block("70b3d5abc000", 4096, 1).check(&owned), Ok(()));
        assert!(matches!(block("70b3d5abcff0", 32, 1).check(&owned), Err(EuiError::NotOwned { .. })));
        assert!(matches!(block("70b3d5abd000", 16, 1).check(&owned), Err(EuiError::NotOwned { .. })));
        assert!(Assignment { first: eui48("70b3d5abc001"), prefix_bits: 36 }.check().is_err());
    }

    #[test]
    fn each_unit_gets_its_own_aligned_run() {
        let block = block("70b3d5abc000", 16, 4);
        assert_eq!(block.units(), 4);
        let texts = |index| block.addresses(index, 2).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(0), ["70b3d5abc000", "70b3d5abc001"]);
        assert_eq!(texts(3), ["70b3d5abc00c", "70b3d5abc00d"]);
    }

    #[test]
    fn a_block_at_the_end_of_the_64_bit_space_does_not_overflow() {
        let first = Eui { kind: EuiKind::Eui64, value: 0xFCFF_FFFF_FFFF_FFFF };
        let block = EuiBlock { first, count: u64::MAX, step: 1, local: false };
        assert!(matches!(block.check(&[]), Err(EuiError::Range { .. })));
        let block = EuiBlock { first, count: 2, step: 1, local: false };
        assert!(block.check(&[]).is_err());
    }
}

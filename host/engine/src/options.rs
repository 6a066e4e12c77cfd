//! Option bytes of the families: where they are, what they are called, how long they take, which of them keep the
//! bootloader from being overwritten.
//!
//! Addresses and names are those of the reference manuals: PM0075 (F1), RM0090 (F4), RM0440 (G4), RM0444 (G0), RM0351 (L4).
//! Readout protection is not among the names: it is set by its own step, last, and proven.

use panel_protocol::time::Span;

use crate::chip::Chip;
use crate::finishing::OptionWrite;

/// The option area of a family.
#[derive(Debug, PartialEq, Eq)]
pub struct OptionFacts {
    /// Its first address.
    pub base: u32,
    /// Bytes that can be declared.
    pub length: u8,
    /// Offset of the byte that holds the readout protection.
    pub rdp: u8,
    /// Readout protection level 2 exists.
    pub level2: bool,
    /// Longest time of one write: the erase of the area and its programming.
    pub longest: Span,
    /// Fields by name.
    pub fields: &'static [OptionField],
    write_protection: WriteProtection,
}

/// How option bytes keep the first erase units of the flash from being written.
#[derive(Debug, PartialEq, Eq)]
enum WriteProtection {
    /// A bit for each sector, in bytes from offset 8 on; 0 protects.
    Sectors,
    /// A bit for every two pages, in every other byte from offset 8 on; 0 protects.
    PagePairs,
    /// The first and the last page, in these bits of bytes 24 and 26.
    Pages(u8),
}

/// A field of at most 8 bits within one byte.
#[derive(Debug, PartialEq, Eq)]
pub struct OptionField {
    /// Name in the reference manual.
    pub name: &'static str,
    /// Offset of its byte.
    pub offset: u8,
    /// Its lowest bit.
    pub shift: u8,
    /// Its width in bits.
    pub width: u8,
}

const fn field(name: &'static str, offset: u8, shift: u8, width: u8) -> OptionField {
    OptionField { name, offset, shift, width }
}

/// PM0075, 2.6 and DS5319 table 28: a page erase and eight half-words. Complements are made by the hardware.
pub static F1: OptionFacts = OptionFacts {
    base: 0x1FFF_F800,
    length: 16,
    rdp: 0,
    level2: false,
    longest: Span(42_000),
    fields: &[
        field("WDG_SW", 2, 0, 1),
        field("nRST_STOP", 2, 1, 1),
        field("nRST_STDBY", 2, 2, 1),
        field("BFB2", 2, 3, 1),
        field("DATA0", 4, 0, 8),
        field("DATA1", 6, 0, 8),
    ],
    write_protection: WriteProtection::PagePairs,
};

/// RM0090, 3.6. DS8626 gives no time; that of the smallest sector is taken.
pub static F4: OptionFacts = OptionFacts {
    base: 0x1FFF_C000,
    length: 10,
    rdp: 1,
    level2: true,
    longest: Span(500_000),
    fields: &[
        field("BOR_LEV", 0, 2, 2),
        field("WDG_SW", 0, 5, 1),
        field("nRST_STOP", 0, 6, 1),
        field("nRST_STDBY", 0, 7, 1),
    ],
    write_protection: WriteProtection::Sectors,
};

/// RM0440, 3.4 and DS12288: a page erase and its double words.
pub static G4: OptionFacts = OptionFacts {
    base: 0x1FFF_7800,
    length: 32,
    rdp: 0,
    level2: true,
    longest: Span(26_000),
    fields: &[
        field("BOR_LEV", 1, 0, 3),
        field("nRST_STOP", 1, 4, 1),
        field("nRST_STDBY", 1, 5, 1),
        field("nRST_SHDW", 1, 6, 1),
        field("IWDG_SW", 2, 0, 1),
        field("IWDG_STOP", 2, 1, 1),
        field("IWDG_STDBY", 2, 2, 1),
        field("WWDG_SW", 2, 3, 1),
        field("BFB2", 2, 4, 1),
        field("DBANK", 2, 6, 1),
        field("nBOOT1", 2, 7, 1),
        field("SRAM_PE", 3, 0, 1),
        field("CCMSRAM_RST", 3, 1, 1),
        field("nSWBOOT0", 3, 2, 1),
        field("nBOOT0", 3, 3, 1),
        field("NRST_MODE", 3, 4, 2),
        field("IRHEN", 3, 6, 1),
    ],
    write_protection: WriteProtection::Pages(0x7F),
};

/// RM0444, 3.4 and DS13560: a page erase and its double words.
pub static G0: OptionFacts = OptionFacts {
    base: 0x1FFF_7800,
    length: 32,
    rdp: 0,
    level2: true,
    longest: Span(42_000),
    fields: &[
        field("BOR_EN", 1, 0, 1),
        field("BORR_LEV", 1, 1, 2),
        field("BORF_LEV", 1, 3, 2),
        field("nRST_STOP", 1, 5, 1),
        field("nRST_STDBY", 1, 6, 1),
        field("nRST_SHDW", 1, 7, 1),
        field("IWDG_SW", 2, 0, 1),
        field("IWDG_STOP", 2, 1, 1),
        field("IWDG_STDBY", 2, 2, 1),
        field("WWDG_SW", 2, 3, 1),
        field("nSWAP_BANK", 2, 4, 1),
        field("DUAL_BANK", 2, 5, 1),
        field("RAM_PARITY_CHECK", 2, 6, 1),
        field("nBOOT_SEL", 3, 0, 1),
        field("nBOOT1", 3, 1, 1),
        field("nBOOT0", 3, 2, 1),
        field("NRST_MODE", 3, 3, 2),
        field("IRHEN", 3, 5, 1),
    ],
    write_protection: WriteProtection::Pages(0x7F),
};

/// RM0351, 3.4 and DS11585.
pub static L4: OptionFacts = OptionFacts {
    base: 0x1FFF_7800,
    length: 32,
    rdp: 0,
    level2: true,
    longest: Span(26_000),
    fields: &[
        field("BOR_LEV", 1, 0, 3),
        field("nRST_STOP", 1, 4, 1),
        field("nRST_STDBY", 1, 5, 1),
        field("nRST_SHDW", 1, 6, 1),
        field("IWDG_SW", 2, 0, 1),
        field("IWDG_STOP", 2, 1, 1),
        field("IWDG_STDBY", 2, 2, 1),
        field("WWDG_SW", 2, 3, 1),
        field("BFB2", 2, 4, 1),
        field("DUALBANK", 2, 5, 1),
        field("nBOOT1", 2, 7, 1),
        field("SRAM2_PE", 3, 0, 1),
        field("SRAM2_RST", 3, 1, 1),
        field("nSWBOOT0", 3, 2, 1),
        field("nBOOT0", 3, 3, 1),
    ],
    write_protection: WriteProtection::Pages(0xFF),
};

/// A name or value that the chip's option bytes do not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such field.
    #[error("{chip} has no option field `{name}`; it has {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The chip.
        chip: &'static str,
        /// Every name.
        known: String,
    },
    /// The value needs more bits than the field has.
    #[error("`{name}` has {bits} bits, {value} does not fit")]
    TooLarge {
        /// The field.
        name: String,
        /// Its width.
        bits: u8,
        /// The value.
        value: u16,
    },
}

/// A field by its name in the reference manual, in either case, with its value.
///
/// # Errors
/// [`OptionError`].
pub fn named(chip: &Chip, name: &str, value: u16) -> Result<OptionWrite, OptionError> {
    let fields = chip.options.fields;
    let Some(field) = fields.iter().find(|f| f.name.eq_ignore_ascii_case(name)) else {
        let known = fields.iter().map(|f| f.name).collect::<Vec<_>>().join(", ");
        return Err(OptionError::Unknown { name: name.to_owned(), chip: chip.name, known });
    };
    if value >> field.width != 0 {
        return Err(OptionError::TooLarge { name: field.name.to_owned(), bits: field.width, value });
    }
    let mask = ((1u16 << field.width) - 1) << field.shift;
    Ok(OptionWrite {
        name: field.name.to_owned(),
        offset: field.offset,
        bytes: vec![(value << field.shift) as u8],
        mask: vec![mask as u8],
        protects_to: None,
    })
}

/// Write protection of all the flash that the bootloader keeps, one that takes only sealed images or one that takes any.
/// Application and image records stay writable.
#[must_use]
pub fn protect_bootloader(chip: &Chip, sealed: bool) -> OptionWrite {
    let end = chip.images_from(sealed);
    let last = chip.flash.erase_unit(end - 1).map_or(0, |unit| unit.index);
    let (offset, bytes, mask) = match chip.options.write_protection {
        WriteProtection::Sectors => cleared(last + 1, 1),
        WriteProtection::PagePairs => cleared(last / 2 + 1, 2),
        WriteProtection::Pages(mask) => (24, vec![0, 0, last as u8], vec![mask, 0, mask]),
    };
    OptionWrite { name: "WRP".to_owned(), offset, bytes, mask, protects_to: Some(end) }
}

/// So many bits of 0 from offset 8 on, in every byte or in every other one.
fn cleared(bits: u16, step: usize) -> (u8, Vec<u8>, Vec<u8>) {
    let mut mask = vec![0; usize::from((bits - 1) / 8) * step + 1];
    (0..bits).for_each(|bit| mask[usize::from(bit / 8) * step] |= 1 << (bit % 8));
    (8, vec![0; mask.len()], mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::CHIPS;

    #[test]
    fn no_field_overlaps_another_or_the_readout_protection_or_leaves_the_area() {
        for chip in CHIPS {
            let facts = chip.options;
            let mut used = vec![0u8; facts.length.into()];
            used[usize::from(facts.rdp)] = 0xFF;
            for OptionField { name, .. } in facts.fields {
                let top = facts.fields.iter().find(|f| f.name == *name).map_or(0, |f| (1u16 << f.width) - 1);
                let write = named(chip, name, top).expect("the largest value fits");
                assert_eq!(write.bytes, write.mask, "{} {name}", chip.name);
                let used = &mut used[usize::from(write.offset)];
                assert_eq!(*used & write.mask[0], 0, "{} {name}", chip.name);
                *used |= write.mask[0];
            }
            let wrp = protect_bootloader(chip, true);
            assert!(usize::from(wrp.offset) + wrp.bytes.len() <= used.len(), "{}", chip.name);
        }
    }

    #[test]
    fn write_protection_ends_with_the_last_erase_unit_of_the_bootloader() {
        // PM0075 2.6: WRP0 is for pages 0 to 15 of 2 KiB. RM0090 3.9.10: sectors 0 and 1, with a key 2 as well. RM0440 3.7.12,
        // RM0444 3.7.11, RM0351 3.7.11: pages of 2 KiB, the last one included.
        let (plain, sealed): (&[u8], &[u8]) = (&[0, 0, 15], &[0, 0, 19]);
        for (chip, sealed_too, offset, bytes, mask) in [
            ("STM32F103xE", false, 8, &[0][..], &[0xFF][..]),
            ("STM32F405", false, 8, &[0], &[0x03]),
            ("STM32F405", true, 8, &[0], &[0x07]),
            ("STM32G431", false, 24, plain, &[0x7F, 0, 0x7F]),
            ("STM32G474", true, 24, sealed, &[0x7F, 0, 0x7F]),
            ("STM32G0B1", false, 24, sealed, &[0x7F, 0, 0x7F]),
            ("STM32L496", false, 24, plain, &[0xFF, 0, 0xFF]),
        ] {
            let known = Chip::by_name(chip).expect("known");
            let write = protect_bootloader(known, sealed_too);
            let said = (write.offset, write.bytes.as_slice(), write.mask.as_slice());
            assert_eq!(said, (offset, bytes, mask), "{chip}");
            assert_eq!(write.protects_to, Some(known.images_from(sealed_too)), "{chip}");
        }
    }

    #[test]
    fn an_unknown_name_and_a_value_too_large_are_refused_with_what_there_is() {
        let f4 = Chip::by_name("STM32F405").expect("known");
        let write = named(f4, "bor_lev", 3).expect("known");
        assert_eq!(
            (write.name.as_str(), write.offset, write.bytes[0], write.mask[0]),
            ("BOR_LEV", 0, 12, 12)
        );
        let unknown = named(f4, "nBOOT0", 1).expect_err("F4 has none").to_string();
        assert!(unknown.contains("STM32F405") && unknown.contains("BOR_LEV"), "{unknown}");
        assert_eq!(
            named(f4, "BOR_LEV", 4).expect_err("2 bits").to_string(),
            "`BOR_LEV` has 2 bits, 4 does not fit"
        );
    }
}

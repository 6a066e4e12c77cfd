//! The chips that can be simulated.
//!
//! Identity, addresses and start-up times: AN2606 and the reference manuals. Flash times: typical datasheet
//! figures (F103, F405, F411, G030, L4 datasheets); where none was to hand the nearest family's stands, which
//! is good enough for pacing and no more. Values that are our own assumption say so.

mod f_series;
mod newer;
mod parts;
mod versions;

use crate::model::Model;
use f_series::{CHECKSUM, F072, F103, F103HD, F103XL, F107, F302, F405, F411, F746};
use newer::{
    C031, G0B1, G031, G071, G431, G431_V13_3, G474, H563, H743, L053, L151, L152, L476, L496, U575, WB55,
};
use versions::{F378, F412, G071_V11_2, H723, H743_PB14, H743_V9_0, H743_V9_1, H743_V13_2, H743_V13_3};

/// Every simulated chip.
pub const MODELS: &[Model] = &[
    F103, F103HD, F103XL, F107, F072, F302, F405, F411, F746, G031, G071, G0B1, G431, G431_V13_3, G474, L053,
    L151, L152, L476, L496, H743, H563, C031, U575, WB55, F412, G071_V11_2, F378, H743_V9_0, H743_V9_1,
    H743_V13_2, H743_V13_3, H743_PB14, H723, CHECKSUM,
];

/// The chip of that name: `F405`, `f405` and `STM32F405` are the same.
#[must_use]
pub fn find(name: &str) -> Option<&'static Model> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("STM32").unwrap_or(&upper);
    MODELS.iter().find(|model| model.name == short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_in_any_spelling() {
        for model in MODELS {
            assert_eq!(MODELS.iter().filter(|m| m.name == model.name).count(), 1, "{}", model.name);
        }
        assert_eq!(find("stm32f405").map(|m| m.product_id), Some(0x413));
        assert!(find("F999").is_none());
    }

    #[test]
    fn flash_sizes_are_the_ones_the_parts_are_sold_with() {
        let kib = |name: &str| find(name).map(|m| m.flash.size() / 1024);
        for (name, size) in [
            ("F103", 128),
            ("F103XL", 1024),
            ("F405", 1024),
            ("F411", 512),
            ("F746", 1024),
            ("G031", 64),
            ("L053", 64),
            ("L152", 512),
            ("H743", 2048),
            ("WB55", 1024),
        ] {
            assert_eq!(kib(name), Some(size), "{name}");
        }
    }

    #[test]
    fn no_region_of_a_chip_overlaps_another() {
        for model in MODELS {
            let flash = (model.flash.base, model.flash.base + model.flash.size() - 1);
            let regions = [Some(flash), Some(model.map.host_ram), Some(model.map.system)];
            let regions: Vec<_> = regions.into_iter().flatten().collect();
            for (i, a) in regions.iter().enumerate() {
                assert!(a.0 <= a.1, "{}", model.name);
                assert!(regions[i + 1..].iter().all(|b| a.1 < b.0 || b.1 < a.0), "{}", model.name);
            }
        }
    }
}

//! Any bytes behind an ELF magic number are an error or an image whose regions are in order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = panel_image::parse(bytes, "fuzz.elf", None) {
        assert!(image.regions().windows(2).all(|pair| pair[0].end() < pair[1].address()));
    }
});

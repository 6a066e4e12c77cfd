//! Any bytes given to the Intel HEX reader are an error or an image that survives writing and reading.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panel_image::intel_hex;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = intel_hex::parse(bytes, "fuzz") {
        let text = intel_hex::write(&image);
        assert_eq!(intel_hex::parse(text.as_bytes(), "fuzz").as_ref(), Ok(&image));
    }
});

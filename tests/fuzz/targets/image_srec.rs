//! Any bytes given to the S-record reader are an error or an image that survives writing and reading.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panel_image::srec;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = srec::parse(bytes, "fuzz") {
        let text = srec::write(&image);
        assert_eq!(srec::parse(text.as_bytes(), "fuzz").as_ref(), Ok(&image));
    }
});

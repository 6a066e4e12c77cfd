//! A chip in its ROM that answers whatever the bytes say: the session ends within a bounded number of polls and sends
//! nothing outside its plan. The bytes also choose chip, image, operation and link.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stm32_rom_bootloader::testing::{Chaos, fuzz};

fuzz_target!(|bytes: &[u8]| {
    if let Err(wrong) = fuzz(&mut Chaos::from_bytes(bytes)) {
        panic!("{wrong}");
    }
});

//! The resident bootloader: see the library.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "called by the start-up code")]

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    panel_firmware::main(panel_firmware::Role::Resident, panel_firmware::CHECK)
}

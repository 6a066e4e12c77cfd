//! The program, resident bootloader or RAM agent: see the library.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "called by the start-up code")]

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    panel_firmware::main()
}

//! The emulator on programs of its own, and the shipped firmware on the emulator.
//!
//! Needs `arm-none-eabi-gcc` for the test programs and the firmware's ELF files in `target/firmware`
//! (`panel-backplane/firmware/build`); `tests/firmware/run` brings both and runs this.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; the printed lines are their measurements"
)]

mod blank;
mod budget;
mod factory;
mod faults;
mod panel;
mod processor;
mod seal;
mod slot;
mod struck;
mod tools;
mod update;
mod watchdog;

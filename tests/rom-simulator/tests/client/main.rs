//! The client crate `stm32-rom-bootloader` against the simulated ROMs, which share no code with it: every command,
//! every chip of the catalogue, and every peculiarity of a ROM that can be shown. In virtual time.
//!
//! `stm32-rom-bootloader/docs/field-behaviour.md` says which test stands for which behaviour.

mod can;
mod commands;
mod every_chip;
mod field_can;
mod field_usart;
mod table;
mod target;
mod uart;

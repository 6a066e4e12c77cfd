//! Firmware for STM32 boards on a panel: resident bootloader and RAM agent.
//!
//! Both are the same program around [`panel_protocol::node::Node`], and both run wholly from RAM, so that they
//! receive while the flash is busy. The resident lies at the start of flash, the agent is loaded by the ROM bootloader;
//! both packed, behind a front that unpacks them. This crate is chip glue only: registers, interrupts, start-up. What a frame
//! means, when flash is erased and which image may start is decided in `panel-protocol`.
//!
//! What differs between boards is one constant in `boards/`; what differs between chips is one file each in
//! `chip/`, `flash/` and `can/`. docs/node.md tells how to put it into a product.
#![no_std]

pub mod board;
mod can;
mod chip;
mod core_registers;
mod flash;
mod front;
mod gpio;
mod mailbox;
mod mem;
mod memory;
mod port;
mod regs;
mod run;
mod seal;
mod start;
mod usart;
mod vectors;
mod watchdog;

pub use start::main;

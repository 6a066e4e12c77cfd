//! Simulated STM32 ROM bootloaders: boards that answer on USART (AN3155), CAN (AN3154) and FDCAN (AN5405).
//!
//! They are written from ST's application notes and from field reports, and share nothing with any host
//! program: no constants, no encoders, no device table. A host that works against them and against which
//! stm32flash, stm32loader and canprog work too has met the protocol from two sides.
//!
//! The devices are sans-IO: they take `now` in [`Nanos`] and never read a clock, a file or an environment.
//! Same model, settings and inputs, same outputs. [`catalog`] lists the chips, [`fault`] the faults. Around
//! them, [`wire`] is a UART in virtual time and [`pty`] serves devices on pseudo-terminals in real time, [`bridge`] a CAN
//! device to other programs.
//!
//! What they do not do: run the application (after Go a board is silent until reset), the I2C, SPI and USB
//! loaders, and secure parts (TrustZone, H5 provisioning).
#![doc = concat!("\n\nFaults:\n\n```text\n", include_str!("fault_help.txt"), "```")]

mod board;
pub mod bridge;
mod can;
mod can_classic;
mod can_fd;
pub mod catalog;
mod chip;
mod command;
pub mod fault;
mod flash;
mod line;
pub mod model;
mod options;
pub mod pty;
mod rng;
mod time;
mod usart;
pub mod wire;

pub use board::{Board, CanVariant, Settings, State};
pub use can::{CanDevice, CanFrame, CanKind, CanTx};
pub use chip::Chip;
pub use fault::Fault;
pub use flash::{Flash, FlashModel, Parallelism, Run};
pub use line::{LineByte, LineError, Parity, sample};
pub use model::Model;
pub use options::Protection;
pub use time::{Nanos, bit_time};
pub use usart::{TxByte, UsartDevice};

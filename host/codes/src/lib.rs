//! The stable error catalogue of panelflash: one [`Code`] for each way a board, a station or a file can fail.
//!
//! A code is a number and a slug, `E214 program-failed`. It appears in results, records, exports and on the
//! operator's screen, so a number is never given a second meaning and never reused; a code that is no longer
//! raised stays in the table. Every code says what went wrong ([`Code::title`]), how that comes about
//! ([`Code::cause`]) and what to do next ([`Code::remedy`]).
//!
//! docs/errors.md is written from this table by `cargo run -p panel-codes --example write-errors-md`; a test
//! fails when the two differ. The crate holds no values of a failure (addresses, expected and got): those
//! belong to the error types that name a code.

mod catalogue;
mod code;
mod document;

pub use catalogue::Code;
pub use code::{Class, Group, ParseCodeError};
pub use document::errors_markdown;

//! The crate as its users see it, against the toy ROM of its feature `testing`, in virtual time.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod can;
mod common;
mod connect;
mod operations;
mod program;
mod quirks;
mod script;
mod timing;

//! The binary in the factory: signed releases and orders, the ledger, runs of work orders.

#![expect(clippy::unwrap_used, reason = "a step that cannot be taken is a failed test")]

mod blank;
mod blobs;
mod canary;
mod far;
mod keys;
mod ledger;
mod order;
mod otp;
mod owner;
mod patch;
mod refusals;
mod rejects;
mod release;
mod seal;
mod trouble;
mod unsafe_files;
mod walk;
mod whole;

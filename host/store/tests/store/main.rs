//! Tests of the record store through its public API, on real files.

#![expect(clippy::unwrap_used, reason = "in a test, also in its helpers, a panic is the report")]

mod check;
mod crash;
mod fixture;
mod kill;
mod model;
mod opening;
mod reports;
mod rules;
mod rulings;
mod sample;
mod script;
mod support;
mod units_csv;

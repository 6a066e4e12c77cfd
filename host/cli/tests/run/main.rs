//! The batch run as a user gets it: the binary, files, exit codes, records. Boards are simulated, time is
//! virtual except where a test is about real time.

mod bad_input;
mod binding;
mod bit_rates;
#[expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "relay boards of real time, in threads of their own"
)]
#[path = "../../../links/tests/lines/boards.rs"]
mod boards;
mod books_gone;
mod bus;
mod determinism;
mod fault_catalogue;
mod fixture;
mod full;
mod harness;
mod interrupt;
mod kill;
mod links;
mod locked;
mod random_faults;
mod relays;
mod rom_ways;
mod seal;
mod second_slot;

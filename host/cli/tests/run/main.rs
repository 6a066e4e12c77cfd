//! The batch run as a user gets it: the binary, files, exit codes, records. Boards are simulated, time is
//! virtual except where a test is about real time.

mod bad_input;
mod binding;
mod bus;
mod determinism;
mod fault_catalogue;
mod fixture;
mod harness;
mod interrupt;
mod kill;
mod links;
mod locked;
mod random_faults;
mod rom_ways;

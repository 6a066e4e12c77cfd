//! Tests of the protocol as its users see it: golden bytes, codecs, one node, one host, and both on a bus.
//!
//! One test binary, so that the bus and the flash in `util` are compiled once. Randomness has a seed in every
//! test; a failure names it.

mod util;

mod agent;
mod boot;
mod codec;
mod corpus;
mod doc;
mod golden;
mod host_any;
mod node;
mod node_any;
mod node_commands;
mod node_locked;
mod pair;
mod power;
mod seal;
mod slot;

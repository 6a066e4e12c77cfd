//! The boards' end of the protocol.

mod port;

pub use port::*;

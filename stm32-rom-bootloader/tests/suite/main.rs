//! The crate as its users see it, against the toy ROM of its feature `testing`, in virtual time.

mod can;
mod common;
mod connect;
mod operations;
mod program;
mod quirks;
mod timing;

//! What the simulated devices do on the wire, written from the device's side of the notes.
//!
//! Every request here is a literal byte string with a comment, so that these tests share nothing with any host
//! program either.

mod bench;
mod can;
mod families;
mod faults;
mod fdcan;
mod protection;
mod pty;
mod usart_commands;
mod usart_connection;

//! The host's end of a simulated bus as bytes: an slcan adapter, or a gateway that speaks the byte stream.
//!
//! A server moves bytes and frames: [`HostEvent`]s of one bus in, bytes out; bytes in, frames for the bus out. Both
//! peers are written from the specifications and share no code with the links that they serve. Invariant: a frame
//! taken is answered once it has been on the bus, or never.

mod slcan;
mod stream;

pub use slcan::SlcanAdapter;
pub use stream::StreamGateway;

use panel_protocol::frame::Frame;

use crate::world::HostEvent;

/// The far end of a link that carries bytes.
pub trait WirePeer {
    /// Bytes from the host.
    fn handle_bytes(&mut self, bytes: &[u8]);

    /// The next frame for the bus; call while the bus's adapter has room.
    fn poll_frame(&mut self) -> Option<Frame>;

    /// What the adapter at the bus saw.
    fn handle_event(&mut self, event: &HostEvent);

    /// Bytes for the host since the last call.
    fn take_output(&mut self) -> Vec<u8>;

    /// The host is gone: forget what was under way; the caller clears the bus's adapter, too.
    fn hang_up(&mut self);
}

//! Any bytes given to the byte-stream decoder are noise or frames that survive the journey, and any such frame
//! is no message or a message that survives it too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panel_protocol::frame::Frame;
use panel_protocol::ident::Channel;
use panel_protocol::message::{HostMessage, NodeMessage};
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    for frame in bytes.iter().filter_map(|&b| decoder.handle_byte(b)) {
        let mut out = [0; MAX_ENCODED];
        let len = encode(&frame, &mut out);
        let mut again = Decoder::default();
        assert_eq!(out[..len].iter().filter_map(|&b| again.handle_byte(b)).last(), Some(frame));
        message(&frame);
    }
    // A checksum is hard to hit: the same bytes as identifier and payload of one frame.
    if let Some((head, data)) = bytes.split_first_chunk::<2>() {
        let id = panel_protocol::frame::Id::Standard(u16::from_le_bytes(*head) & 0x7FF);
        Frame::classical(id, &data[..data.len().min(8)]).iter().for_each(message);
    }
});

fn message(frame: &Frame) {
    assert!(Channel::of(frame.id()).is_none_or(|c| c.id() == frame.id()));
    if let Ok(message) = HostMessage::decode(frame) {
        assert_eq!(HostMessage::decode(&message.to_frame()), Ok(message));
    }
    if let Ok((node, message)) = NodeMessage::decode(frame) {
        assert_eq!(NodeMessage::decode(&message.to_frame(node)), Ok((node, message)));
    }
}

//! Replays the fuzzing corpora of `tests/fuzz`: the checks are those of its targets.

use panel_protocol::block::{Begin, MAX_BLOCK, Write};
use panel_protocol::frame::{Frame, Id};
use panel_protocol::ident::Channel;
use panel_protocol::message::{HostMessage, NodeMessage};
use panel_protocol::reply::{MAX_READ, MAX_REPLY, Reply};
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};
use std::fs;
use std::path::Path;

/// Gives every input of a corpus to `check`, which says whether anything was found in it; both must occur.
fn replay(target: &str, check: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let (mut good, mut bad) = (0, 0);
    for entry in fs::read_dir(folder).expect("the corpus is part of the checkout") {
        let bytes = fs::read(entry.expect("a readable folder").path()).expect("a readable file");
        if check(&bytes) { good += 1 } else { bad += 1 }
    }
    assert!(good > 3 && bad > 3, "{target}: {good} good and {bad} bad inputs");
}

fn is_message(frame: &Frame) -> bool {
    assert!(Channel::of(frame.id()).is_none_or(|c| c.id() == frame.id()));
    let host = HostMessage::decode(frame).map(|message| {
        let again = message.to_frame();
        assert_eq!(HostMessage::decode(&again), Ok(message));
    });
    let node = NodeMessage::decode(frame).map(|(node, message)| {
        assert_eq!(NodeMessage::decode(&message.to_frame(node)), Ok((node, message)));
    });
    host.is_ok() || node.is_ok()
}

#[test]
fn the_corpus_of_frames_makes_no_decoder_fail() {
    replay("protocol_frames", |bytes| {
        let mut decoder = Decoder::default();
        let mut found = false;
        for frame in bytes.iter().filter_map(|&b| decoder.handle_byte(b)) {
            let mut out = [0; MAX_ENCODED];
            let len = encode(&frame, &mut out);
            let mut again = Decoder::default();
            assert_eq!(out[..len].iter().filter_map(|&b| again.handle_byte(b)).last(), Some(frame));
            found |= is_message(&frame);
        }
        if let Some((head, data)) = bytes.split_first_chunk::<2>() {
            let id = Id::Standard(u16::from_le_bytes(*head) & 0x7FF);
            found |= is_message(&Frame::classical(id, &data[..data.len().min(8)]).expect("short"));
        }
        found
    });
}

#[test]
fn the_corpus_of_blocks_and_replies_makes_no_decoder_fail() {
    replay("protocol_blocks", |bytes| {
        let begin = Begin::decode(bytes).inspect(|begin| {
            let mut out = [0; MAX_BLOCK];
            let len = begin.encode(&mut out);
            assert_eq!(Begin::decode(&out[..len]).as_ref(), Some(begin));
            assert!(begin.place(begin.segments()).is_none());
        });
        let write = Write::decode(bytes).inspect(|write| {
            let mut out = [0; MAX_BLOCK];
            let len = write.encode(&mut out);
            assert_eq!(Write::decode(&out[..len]).as_ref(), Some(write));
        });
        let reply = Reply::decode(bytes).inspect(|reply| {
            let too_long = matches!(reply, Reply::Memory(_, bytes) if bytes.len() > MAX_READ);
            let not_a_number = matches!(reply, Reply::Reading { value, .. } if value.is_nan());
            if !too_long && !not_a_number {
                let mut out = [0; MAX_REPLY];
                let len = reply.encode(&mut out);
                assert_eq!(Reply::decode(&out[..len]).as_ref(), Some(reply));
            }
        });
        begin.is_some() || reply.is_some() || write.is_some_and(|w| w.place >> 28 == 0)
    });
}

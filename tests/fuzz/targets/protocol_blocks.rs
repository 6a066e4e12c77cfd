//! Any bytes given to the decoders of replies and blocks are nothing or something that survives the journey.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panel_protocol::block::{Begin, MAX_BLOCK, Write};
use panel_protocol::reply::{MAX_READ, MAX_REPLY, Reply};

fuzz_target!(|bytes: &[u8]| {
    if let Some(begin) = Begin::decode(bytes) {
        let mut out = [0; MAX_BLOCK];
        let len = begin.encode(&mut out);
        assert_eq!(Begin::decode(&out[..len]), Some(begin));
        assert!(begin.place(begin.segments()).is_none());
    }
    if let Some(write) = Write::decode(bytes) {
        let mut out = [0; MAX_BLOCK];
        let len = write.encode(&mut out);
        assert_eq!(Write::decode(&out[..len]), Some(write));
    }
    let Some(reply) = Reply::decode(bytes) else { return };
    let too_long = matches!(reply, Reply::Memory(_, bytes) if bytes.len() > MAX_READ);
    let not_a_number = matches!(reply, Reply::Reading { value, .. } if value.is_nan());
    if !too_long && !not_a_number {
        let mut out = [0; MAX_REPLY];
        let len = reply.encode(&mut out);
        assert_eq!(Reply::decode(&out[..len]).as_ref(), Some(&reply));
    }
});

//! What is encoded is decoded as it was, and no bytes make a decoder panic.

use crate::util::any;
use panel_protocol::block::{Begin, BeginFlags, MAX_BLOCK, MAX_REGIONS, MAX_WRITE, Region, Write};
use panel_protocol::frame::{Frame, Id};
use panel_protocol::ident::{Channel, uid_from, uid_key, uid_piece};
use panel_protocol::message::{HostMessage, NodeMessage};
use panel_protocol::node::Uid;
use panel_protocol::reply::{MAX_READ, MAX_REPLY, Reply};
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};
use proptest::array::uniform12;
use proptest::collection::vec;
use proptest::prelude::*;

fn regions() -> impl Strategy<Value = Vec<Region>> {
    let region = (0u32..0x9000_0000, 1u32..=0x400_0000, any::<u32>(), any::digest())
        .prop_map(|(address, len, crc, sha256)| Region { address, len, crc, sha256 });
    vec(region, 1..=MAX_REGIONS)
}

/// Encodes and decodes; also what stands before and after, and that nothing shorter passes for the same.
fn journey(reply: &Reply<'_>) -> Result<(), TestCaseError> {
    let mut out = [0; MAX_REPLY];
    let len = reply.encode(&mut out);
    let decoded = Reply::decode(&out[..len]);
    prop_assert_eq!(decoded.as_ref(), Some(reply));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn control_survives_the_journey(to in proptest::option::of(any::node()), control in any::control()) {
        let message = HostMessage::Control(to, control);
        let frame = message.to_frame();
        prop_assert_eq!(HostMessage::decode(&frame), Ok(message));
        prop_assert!(NodeMessage::decode(&frame).is_err(), "no node speaks so");
    }

    #[test]
    fn stop_and_silence_survive_the_journey(node in any::node()) {
        for message in [HostMessage::Stop, HostMessage::Silence(node)] {
            let frame = message.to_frame();
            prop_assert_eq!(HostMessage::decode(&frame), Ok(message));
        }
    }

    #[test]
    fn data_survives_the_journey(position in any::position(), bytes in prop_oneof![vec(any::<u8>(), 8), vec(any::<u8>(), 64)]) {
        let message = HostMessage::Data(position, &bytes);
        let frame = message.to_frame();
        prop_assert_eq!(frame.is_fd(), bytes.len() == 64);
        prop_assert_eq!(HostMessage::decode(&frame), Ok(message));
    }

    #[test]
    fn node_messages_survive_the_journey(node in any::node(), message in any::node_message()) {
        let frame = message.to_frame(node);
        prop_assert_eq!(NodeMessage::decode(&frame), Ok((node, message)));
        prop_assert!(HostMessage::decode(&frame).is_err(), "no host speaks so");
    }

    #[test]
    fn discovery_answers_survive_the_journey(answer in any::discovery()) {
        let channel = Channel::Discovery(answer);
        prop_assert_eq!(Channel::of(channel.id()), Some(channel));
    }

    #[test]
    fn uids_survive_the_journey_in_key_and_pieces(uid in uniform12(any::<u8>())) {
        let uid = Uid(uid);
        let pieces = core::array::from_fn(|i| uid_piece(&uid, i as u8));
        prop_assert_eq!(uid_from(uid_key(&uid), pieces), uid);
    }

    #[test]
    fn info_survives_the_journey(info in any::info()) {
        journey(&Reply::Info(info))?;
    }

    #[test]
    fn profiles_survive_the_journey(profile in any::profile()) {
        journey(&Reply::Profile(profile))?;
    }

    #[test]
    fn other_replies_survive_the_journey(
        check in any::region_check(),
        (region, digest) in (any::<u8>(), any::digest()),
        (address, bytes) in (any::<u32>(), vec(any::<u8>(), 0..=MAX_READ)),
        (opcode, refusal, detail) in (any::<u8>(), proptest::option::of(any::refusal()), any::<u32>()),
        (item, token, unit, value) in (any::<u8>(), any::<u8>(), any::<u8>(), any::<f32>()),
        statistics in any::statistics(),
    ) {
        journey(&Reply::RegionCheck(check))?;
        journey(&Reply::Digest(region, digest))?;
        journey(&Reply::Memory(address, &bytes))?;
        journey(&Reply::Done { opcode, refusal, detail })?;
        journey(&Reply::Reading { item, token, unit, value })?;
        journey(&Reply::Statistics(statistics))?;
    }

    #[test]
    fn readers_ignore_what_a_newer_version_appends(info in any::info(), statistics in any::statistics(), more in vec(any::<u8>(), 1..8)) {
        for reply in [Reply::Info(info), Reply::Statistics(statistics)] {
            let mut out = [0; MAX_REPLY];
            let len = reply.encode(&mut out);
            out[len..len + more.len()].copy_from_slice(&more);
            prop_assert_eq!(Reply::decode(&out[..len + more.len()]), Some(reply));
        }
    }

    #[test]
    fn begin_blocks_survive_the_journey(session in any::<u8>(), flags in any::<u8>(), device in any::<u16>(), regions in regions()) {
        let flags = BeginFlags::from_bits_retain(flags);
        let begin = Begin::new(session, flags, device, &regions).expect("1 to 8 regions");
        let mut out = [0; MAX_BLOCK];
        let len = begin.encode(&mut out);
        prop_assert_eq!(Begin::decode(&out[..len]), Some(begin));
    }

    #[test]
    fn writes_survive_the_journey(place in any::<u32>(), may_erase in any::<bool>(), bytes in vec(any::<u8>(), 1..=MAX_WRITE)) {
        let write = Write { place, may_erase, bytes: &bytes };
        let mut out = [0; MAX_BLOCK];
        let len = write.encode(&mut out);
        prop_assert_eq!(Write::decode(&out[..len]), Some(write));
    }

    #[test]
    fn frames_survive_the_byte_stream_cut_anywhere(frames in vec(any::frame(), 1..5), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        for frame in &frames {
            let mut out = [0; MAX_ENCODED];
            let len = encode(frame, &mut out);
            bytes.extend_from_slice(&out[..len]);
        }
        let (head, tail) = bytes.split_at(cut.index(bytes.len()));
        let mut decoder = Decoder::default();
        let mut found: Vec<Frame> = head.iter().filter_map(|&b| decoder.handle_byte(b)).collect();
        found.extend(tail.iter().filter_map(|&b| decoder.handle_byte(b)));
        prop_assert_eq!((found, decoder.bad()), (frames, 0));
    }

    #[test]
    fn decoders_survive_any_frame(frame in any::frame()) {
        let channel = Channel::of(frame.id());
        prop_assert!(channel.is_none_or(|c| c.id() == frame.id()));
        let host = HostMessage::decode(&frame);
        let node = NodeMessage::decode(&frame);
        prop_assert!(host.is_err() || node.is_err(), "an identifier belongs to one side");
    }

    #[test]
    fn a_frame_that_decodes_encodes_to_itself_but_for_what_readers_ignore(frame in any::frame()) {
        // Decoding what was encoded from a decoded message gives the same message: nothing is made up.
        if let Ok(message) = HostMessage::decode(&frame) {
            let frame = message.to_frame();
            prop_assert_eq!(HostMessage::decode(&frame), Ok(message));
        }
        if let Ok((node, message)) = NodeMessage::decode(&frame) {
            prop_assert_eq!(NodeMessage::decode(&message.to_frame(node)), Ok((node, message)));
        }
    }

    #[test]
    fn block_and_reply_decoders_survive_any_bytes(bytes in vec(any::<u8>(), 0..=MAX_BLOCK)) {
        let _ = (Reply::decode(&bytes), Write::decode(&bytes));
        if let Some(begin) = Begin::decode(&bytes) {
            let segments = begin.segments();
            prop_assert!(begin.place(segments).is_none());
            prop_assert!(begin.place(segments.wrapping_sub(1)).is_some());
        }
    }

    #[test]
    fn almost_right_replies_never_panic(kind in 1u8..=8, bytes in vec(any::<u8>(), 0..=MAX_REPLY)) {
        let reply: Vec<u8> = [kind].into_iter().chain(bytes).collect();
        let _ = Reply::decode(&reply);
    }

    #[test]
    fn the_stream_decoder_survives_any_bytes(bytes in vec(prop_oneof![Just(0u8), any::<u8>()], 0..2000)) {
        let mut decoder = Decoder::default();
        let frames = bytes.iter().filter_map(|&b| decoder.handle_byte(b)).count();
        prop_assert!(frames == 0, "a CRC-32 by chance");
        // Back in step after whatever that was.
        let frame = Frame::empty(Id::Standard(1));
        let mut out = [0; MAX_ENCODED];
        let len = encode(&frame, &mut out);
        prop_assert_eq!(out[..len].iter().filter_map(|&b| decoder.handle_byte(b)).last(), Some(frame));
    }
}

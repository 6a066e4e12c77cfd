//! A frame as a line for a person: who says what to whom.
//!
//! What a frame means is asked of the protocol; only the words are made here. A frame of nobody's is said to be
//! foreign, with what is wrong with it.

use panel_protocol::frame::Frame;
use panel_protocol::ident::{Channel, Discovery};
use panel_protocol::message::{Control, HostMessage, NodeMessage};

/// Who sent a frame, by its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    Host,
    Node(u8),
    /// A board that has no number yet.
    Unnumbered,
    Foreign,
}

impl Speaker {
    pub(super) fn of(frame: &Frame) -> Self {
        match Channel::of(frame.id()) {
            Some(
                Channel::Stop
                | Channel::Silence
                | Channel::Control(_)
                | Channel::ControlAll
                | Channel::Data(_),
            ) => Self::Host,
            Some(
                Channel::Urgent(node) | Channel::Missing(node) | Channel::Status(node) | Channel::Reply(node),
            ) => Self::Node(node.get()),
            Some(Channel::Discovery(Discovery::Piece { node, .. })) => Self::Node(node.get()),
            Some(Channel::Discovery(Discovery::Key(_))) => Self::Unnumbered,
            None => Self::Foreign,
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Host => "host".to_owned(),
            Self::Node(number) => format!("node {number}"),
            Self::Unnumbered => "board".to_owned(),
            Self::Foreign => "?".to_owned(),
        }
    }
}

/// What a frame says.
pub(super) fn meaning(frame: &Frame) -> String {
    match Speaker::of(frame) {
        Speaker::Host => match HostMessage::decode(frame) {
            Ok(message) => host(&message),
            Err(error) => format!("not understood: {error}"),
        },
        Speaker::Node(_) | Speaker::Unnumbered => node(frame),
        Speaker::Foreign => "nobody's identifier".to_owned(),
    }
}

fn host(message: &HostMessage<'_>) -> String {
    match message {
        HostMessage::Stop => "stop: everybody abandon everything".to_owned(),
        HostMessage::Silence(node) => format!("silence to node {}", node.get()),
        HostMessage::Data(position, bytes) => {
            format!("data, segment tag {}, chunk {}, {} bytes", position.tag, position.index, bytes.len())
        }
        HostMessage::Control(to, control) => {
            let to = to.map_or_else(|| "all".to_owned(), |node| format!("node {}", node.get()));
            format!("to {to}: {}", self::control(control))
        }
    }
}

fn control(control: &Control) -> String {
    match control {
        Control::Discover { min, current, restart } => {
            let first = if *restart { ", forget numbers first" } else { "" };
            format!("who is there? Versions {min} to {current}{first}")
        }
        Control::Assign { first, keys: (key, None) } => format!("key {key:06X} is node {}", first.get()),
        Control::Assign { first, keys: (key, Some(next)) } => {
            format!("keys {key:06X}, {next:06X} are nodes {}, {}", first.get(), first.get() + 1)
        }
        Control::BlockData { index, bytes, len } => {
            format!(
                "block bytes at {}: {}",
                u16::from(*index) * 6,
                hex::encode(&bytes[..usize::from(*len).min(6)])
            )
        }
        Control::Manifest { segment, crc } => format!("segment {segment} has CRC-32 {crc:08X}"),
        Control::Seek(seek) => {
            let (first, second) = seek.ranges;
            let more = second.map_or_else(String::new, |r| format!(" and {}-{}", r.first, r.last));
            let repair = if seek.repair { " (repair)" } else { "" };
            format!(
                "data of segment {} follows, chunks {}-{}{more}{repair}",
                seek.segment, first.first, first.last
            )
        }
        Control::Census => "census".to_owned(),
        // The names and fields of the others say what they mean.
        other => format!("{other:?}"),
    }
}

fn node(frame: &Frame) -> String {
    match Channel::of(frame.id()) {
        Some(Channel::Discovery(Discovery::Key(key))) => return format!("here, UID key {key:06X}"),
        Some(Channel::Discovery(Discovery::Piece { piece, bits, .. })) => {
            return match piece {
                5 => format!("nonce {bits:04X}"),
                6 => format!("straps {bits}"),
                _ => format!("UID piece {piece}: {bits:04X}"),
            };
        }
        _ => {}
    }
    match NodeMessage::decode(frame) {
        Err(error) => format!("not understood: {error}"),
        Ok((_, NodeMessage::Hold { free })) => format!("hold, {free} buffers free"),
        Ok((_, NodeMessage::Resume)) => "go on".to_owned(),
        Ok((_, NodeMessage::Error(e))) => {
            format!("{:?} at {:#010x}, expected {:02X}, got {:02X}", e.fault, e.address, e.expected, e.got)
        }
        Ok((_, NodeMessage::Status(s))) => format!(
            "{:?}, {} segments missing, {} programmed, {} buffers free",
            s.state, s.missing, s.programmed, s.free
        ),
        Ok((_, NodeMessage::ReplyPart { sequence, last, bytes, len })) => {
            let end = if last { ", the last" } else { "" };
            format!("reply part {sequence}{end}: {}", hex::encode(&bytes[..usize::from(len).min(7)]))
        }
        Ok((_, NodeMessage::Missing { segment, chunks, len })) => {
            format!("misses of segment {segment} chunks {:?}", &chunks[..usize::from(len).min(chunks.len())])
        }
        Ok((_, NodeMessage::MissingSpan { segment, chunks })) => {
            format!("misses of segment {segment} chunks {}-{}", chunks.first, chunks.last)
        }
        Ok((_, NodeMessage::MissingSegments { first, count })) => {
            format!("misses {count} segments from {first}")
        }
    }
}

#[cfg(test)]
mod tests {
    use panel_protocol::frame::Id;
    use panel_protocol::ident::NodeId;

    use super::*;

    fn said(frame: &Frame) -> (String, String) {
        (Speaker::of(frame).name(), meaning(frame))
    }

    #[test]
    fn frames_are_told_by_speaker_and_meaning() {
        let node = NodeId::new(7).expect("a number");
        let census = HostMessage::Control(None, Control::Census).to_frame();
        assert_eq!(said(&census), ("host".to_owned(), "to all: census".to_owned()));
        let hold = NodeMessage::Hold { free: 2 }.to_frame(node);
        assert_eq!(said(&hold), ("node 7".to_owned(), "hold, 2 buffers free".to_owned()));
        let key = Frame::empty(Channel::Discovery(Discovery::Key(0x3A_4105)).id());
        assert_eq!(said(&key), ("board".to_owned(), "here, UID key 3A4105".to_owned()));
        let seek = Control::Manifest { segment: 3, crc: 0xDEAD_BEEF };
        let seek = HostMessage::Control(Some(node), seek).to_frame();
        assert_eq!(meaning(&seek), "to node 7: segment 3 has CRC-32 DEADBEEF");
    }

    #[test]
    fn what_is_not_ours_is_said_to_be_foreign() {
        let foreign = Frame::classical(Id::Extended(0x18DA_F110), &[2, 0x3E, 0]).expect("short");
        assert_eq!(said(&foreign), ("?".to_owned(), "nobody's identifier".to_owned()));
        let short = Frame::empty(Channel::ControlAll.id());
        assert!(meaning(&short).starts_with("not understood: "), "{}", meaning(&short));
    }
}

//! One node alone: the test is the host, and looks at every frame that comes back.

use super::bus::Board;
use super::flash::Port;
use panel_protocol::block::{Begin, MAX_BLOCK};
use panel_protocol::frame::Frame;
use panel_protocol::ident::{DataPosition, NodeId, uid_key};
use panel_protocol::message::{
    BLOCK_PART, BlockKind, CHUNK_CLASSICAL, ChunkRange, Control, HostMessage, IdentifyPart, NodeMessage,
    NodeState, SEGMENT, Seek, Status,
};
use panel_protocol::reply::{Info, Reply};
use panel_protocol::time::{Micros, Span};

/// Frames that one input may call forth at most: reports of every chunk of a small image.
const MOST_FRAMES: usize = 2000;

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Message(NodeMessage),
    /// A whole reply, as bytes.
    Reply(Vec<u8>),
    /// Discovery answers and what is none of these.
    Other(Frame),
}

pub(crate) struct Solo {
    pub(crate) board: Board,
    pub(crate) now: Micros,
    pub(crate) heard: Vec<Heard>,
    parts: Vec<u8>,
}

impl Solo {
    pub(crate) fn new(port: Port, buffers: usize) -> Self {
        let mut solo = Self {
            board: Board::new(port, buffers),
            now: Micros(1000),
            heard: Vec::new(),
            parts: Vec::new(),
        };
        solo.settle();
        solo
    }

    /// With the number 5.
    pub(crate) fn numbered(port: Port, buffers: usize) -> Self {
        let mut solo = Self::new(port, buffers);
        solo.number();
        solo
    }

    pub(crate) fn number(&mut self) {
        let key = uid_key(&self.port().facts.uid);
        self.send(Control::Discover { min: 1, current: 1, restart: true });
        self.send(Control::Assign { first: node(), keys: (key, None) });
        assert!(!self.board.is_alive() || self.board.node.number() == Some(node()));
        self.heard.clear();
    }

    pub(crate) fn port(&self) -> &Port {
        self.board.node.port()
    }

    pub(crate) fn state(&self) -> NodeState {
        self.board.node.state()
    }

    pub(crate) fn restart(&mut self) {
        self.board.restart(self.now);
        self.parts.clear();
        self.settle();
    }

    // What the host may do

    pub(crate) fn frame(&mut self, frame: &Frame) {
        self.now = self.now + Span(120);
        if self.board.is_alive() {
            self.board.node.port_mut().now = self.now;
            self.board.node.handle_frame(self.now, frame);
        }
        self.settle();
    }

    pub(crate) fn send(&mut self, control: Control) {
        self.frame(&HostMessage::Control(None, control).to_frame());
    }

    pub(crate) fn block(&mut self, kind: BlockKind, block: &[u8]) {
        for (index, part) in block.chunks(BLOCK_PART).enumerate() {
            let mut bytes = [0; BLOCK_PART];
            bytes[..part.len()].copy_from_slice(part);
            self.send(Control::BlockData { index: index as u8, bytes, len: part.len() as u8 });
        }
        let crc = panel_protocol::CRC32.checksum(block);
        self.send(Control::BlockEnd { kind, len: block.len() as u16, crc });
    }

    pub(crate) fn begin(&mut self, begin: &Begin) {
        let mut block = [0; MAX_BLOCK];
        let len = begin.encode(&mut block);
        self.block(BlockKind::Begin, &block[..len]);
    }

    pub(crate) fn manifest(&mut self, sample: &Sample) {
        for segment in 0..sample.begin.segments() as u16 {
            let crc = panel_protocol::CRC32.checksum(&sample.segment(segment));
            self.send(Control::Manifest { segment, crc });
        }
    }

    pub(crate) fn seek(&mut self, segment: u16, repair: bool) {
        self.send(Control::Seek(Seek {
            segment,
            repair,
            ranges: (ChunkRange { first: 0, last: 255 }, None),
        }));
    }

    /// All chunks of a segment but the one to be left out.
    pub(crate) fn data(&mut self, sample: &Sample, segment: u16, without: Option<u8>) {
        for index in (0..=255).filter(|&i| Some(i) != without) {
            self.chunk(sample, segment, index);
        }
    }

    pub(crate) fn chunk(&mut self, sample: &Sample, segment: u16, index: u8) {
        let at = usize::from(index) * CHUNK_CLASSICAL;
        let bytes = &sample.segment(segment)[at..at + CHUNK_CLASSICAL];
        self.frame(&HostMessage::Data(DataPosition { tag: (segment % 4) as u8, index }, bytes).to_frame());
    }

    /// Lets time pass, with everything that becomes due in it.
    pub(crate) fn wait(&mut self, span: Span) {
        let until = self.now + span;
        while let Some(at) = self.board.due().filter(|&at| at <= until) {
            self.now = at.max(self.now);
            self.settle();
        }
        self.now = until;
        self.settle();
    }

    /// Lets flash and checks come to their end.
    pub(crate) fn rest(&mut self) {
        self.wait(Span::from_millis(1000));
    }

    /// From begin to the last data, whatever state the node is in.
    pub(crate) fn transfer(&mut self, sample: &Sample) {
        self.begin(&sample.begin);
        self.manifest(sample);
        self.send(Control::Start { session: sample.begin.session });
        self.wait(Span::from_millis(1));
        for segment in 0..sample.begin.segments() as u16 {
            self.seek(segment, false);
            self.data(sample, segment, None);
            self.wait(Span::from_millis(60)); // no holds: flash is done before the next one comes
        }
        self.rest();
    }

    // What came back

    pub(crate) fn replies(&self) -> impl Iterator<Item = Reply<'_>> {
        self.heard.iter().filter_map(|h| match h {
            Heard::Reply(bytes) => Reply::decode(bytes),
            _ => None,
        })
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = &NodeMessage> {
        self.heard.iter().filter_map(|h| match h {
            Heard::Message(message) => Some(message),
            _ => None,
        })
    }

    pub(crate) fn status(&mut self) -> Status {
        self.send(Control::Census);
        let last = self.messages().filter_map(|m| match m {
            NodeMessage::Status(status) => Some(*status),
            _ => None,
        });
        last.last().expect("a node with a number answers a census")
    }

    pub(crate) fn info(&mut self) -> Info {
        self.send(Control::Identify(IdentifyPart::Info));
        let last = self.replies().filter_map(|r| match r {
            Reply::Info(info) => Some(info),
            _ => None,
        });
        last.last().expect("a node with a number says what it is")
    }

    fn settle(&mut self) {
        for _ in 0..MOST_FRAMES {
            self.board.settle(self.now);
            if !self.board.is_alive() {
                return;
            }
            let Some(frame) = self.board.node.poll_transmit() else {
                self.board.node.handle_all_sent(self.now);
                return;
            };
            self.hear(frame);
        }
        panic!("the node never falls silent");
    }

    fn hear(&mut self, frame: Frame) {
        let heard = match NodeMessage::decode(&frame) {
            Ok((n, NodeMessage::ReplyPart { sequence, last, bytes, len }))
                if Some(n) == self.board.node.number() =>
            {
                if sequence == 0 {
                    self.parts.clear();
                }
                assert_eq!(self.parts.len(), usize::from(sequence) * 7, "parts of a reply are in order");
                self.parts.extend_from_slice(&bytes[..usize::from(len)]);
                if !last {
                    return;
                }
                Heard::Reply(core::mem::take(&mut self.parts))
            }
            Ok((_, message)) => Heard::Message(message),
            Err(_) => Heard::Other(frame),
        };
        self.heard.push(heard);
    }
}

pub(crate) fn node() -> NodeId {
    NodeId::new(5).expect("a node number")
}

/// An image as bytes and as the block that announces it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) begin: Begin,
    pub(crate) bytes: Vec<Vec<u8>>,
}

impl Sample {
    pub(crate) fn new(
        session: u8,
        flags: panel_protocol::block::BeginFlags,
        regions: &[(u32, Vec<u8>)],
    ) -> Self {
        let image = panel_protocol::host::Image::new(super::DEVICE, regions, false).expect("a few regions");
        let begin =
            Begin::new(session, flags, super::DEVICE, image.begin().regions()).expect("a few regions");
        Self { begin, bytes: regions.iter().map(|(_, bytes)| bytes.clone()).collect() }
    }

    /// The bytes of a segment, padded.
    pub(crate) fn segment(&self, n: u16) -> Vec<u8> {
        let place = self.begin.place(n.into()).expect("a segment of the image");
        let region = usize::from(place.region);
        let from = (place.address - self.begin.regions()[region].address) as usize;
        let mut bytes = self.bytes[region][from..from + usize::from(place.len)].to_vec();
        bytes.resize(SEGMENT, 0xFF);
        bytes
    }

    pub(crate) fn id(&self) -> u32 {
        let [a, b, c, d, ..] = self.begin.image_id();
        u32::from_le_bytes([a, b, c, d])
    }

    pub(crate) fn is_in(&self, port: &Port) -> bool {
        self.begin
            .regions()
            .iter()
            .zip(&self.bytes)
            .all(|(r, bytes)| port.at(r.address, bytes.len()) == bytes)
    }
}

//! What runs on a board's processor.
//!
//! The seam between the board model and the code under test: [`NodeFirmware`] is the real node of
//! `panel-protocol`; tests of the simulator itself put scripted senders in its place. The board calls these
//! methods and nothing else, always after setting the hardware's clock.

use panel_protocol::frame::Frame;
use panel_protocol::node::{ManifestEntry, Node, NodeMemory, Poll, SegmentBuffer};
use panel_protocol::time::Micros;

use crate::chip::Chip;
use crate::hardware::{BoardPort, Hardware};

/// Bytes of image that one manifest entry and one buffer stand for.
const SEGMENT: u32 = 2048;

/// Code on a board.
pub trait Firmware {
    /// Starts after power-on or reset.
    fn start(hardware: Box<Hardware>, chip: &'static Chip, now: Micros) -> Self;
    /// Ends, by power-off, reset or hand-over to the application; the hardware stays.
    fn stop(self) -> Box<Hardware>;
    /// The board's hardware.
    fn hardware(&self) -> &Hardware;
    /// The board's hardware.
    fn hardware_mut(&mut self) -> &mut Hardware;
    /// A frame has been taken from the receive FIFO.
    fn handle_frame(&mut self, now: Micros, frame: &Frame);
    /// One step of background work.
    fn poll(&mut self, now: Micros) -> Poll;
    /// The next frame to send.
    fn poll_transmit(&mut self) -> Option<Frame>;
    /// Every mailbox is empty.
    fn handle_all_sent(&mut self, now: Micros);
}

/// The node's share of RAM.
#[derive(Debug)]
pub struct Ram {
    buffers: Box<[SegmentBuffer]>,
    manifest: Box<[ManifestEntry]>,
}

impl Ram {
    fn new(chip: &Chip) -> Self {
        let entries = chip.flash_size() / SEGMENT;
        Self {
            buffers: (0..chip.segments).map(|_| SegmentBuffer::EMPTY).collect(),
            manifest: vec![ManifestEntry::EMPTY; entries as usize].into(),
        }
    }
}

impl NodeMemory for Ram {
    fn parts(&mut self) -> (&mut [SegmentBuffer], &mut [ManifestEntry]) {
        (&mut self.buffers, &mut self.manifest)
    }
}

/// The node code of `panel-protocol`, as the firmware runs it.
pub struct NodeFirmware(Node<BoardPort, Ram>);

impl Firmware for NodeFirmware {
    fn start(hardware: Box<Hardware>, chip: &'static Chip, now: Micros) -> Self {
        Self(Node::new(BoardPort(hardware), Ram::new(chip), now))
    }

    fn stop(mut self) -> Box<Hardware> {
        std::mem::replace(&mut self.0.port_mut().0, Box::new(Hardware::detached()))
    }

    fn hardware(&self) -> &Hardware {
        &self.0.port().0
    }

    fn hardware_mut(&mut self) -> &mut Hardware {
        &mut self.0.port_mut().0
    }

    fn handle_frame(&mut self, now: Micros, frame: &Frame) {
        self.0.handle_frame(now, frame);
    }

    fn poll(&mut self, now: Micros) -> Poll {
        self.0.poll(now)
    }

    fn poll_transmit(&mut self) -> Option<Frame> {
        self.0.poll_transmit()
    }

    fn handle_all_sent(&mut self, now: Micros) {
        self.0.handle_all_sent(now);
    }
}

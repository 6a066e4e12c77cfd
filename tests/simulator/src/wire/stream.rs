//! A gateway between a byte stream and a bus, after docs/protocol.md section 14. Frames of the host are sent back
//! once they have been on the bus.
//!
//! Written from the specification, apart from the codec that hosts and boards use.

use std::collections::VecDeque;

use panel_protocol::frame::{Frame, Id};

use super::WirePeer;
use crate::world::HostEvent;

/// A gateway on one bus.
#[derive(Debug, Default)]
pub struct StreamGateway {
    packet: Vec<u8>,
    queue: VecDeque<Frame>,
    under_way: VecDeque<Frame>,
    output: Vec<u8>,
}

impl StreamGateway {
    fn tell(&mut self, frame: &Frame) {
        let head = match frame.id() {
            Id::Standard(id) => u32::from(id),
            Id::Extended(id) => 0x8000_0000 + id,
        };
        let head = head + if frame.is_fd() { 0x4000_0000 } else { 0 };
        let mut record: Vec<u8> = head.to_le_bytes().to_vec();
        record.extend(frame.data());
        let check = crc32(&record);
        record.extend(check.to_le_bytes());
        self.output.push(0);
        for stretch in record.split(|&b| b == 0) {
            self.output.push(stretch.len() as u8 + 1);
            self.output.extend(stretch);
        }
        self.output.push(0);
    }
}

impl WirePeer for StreamGateway {
    fn handle_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == 0 {
                let packet = std::mem::take(&mut self.packet);
                self.queue.extend(unstuff(&packet).as_deref().and_then(frame));
            } else if self.packet.len() < 128 {
                self.packet.push(byte);
            }
        }
    }

    fn poll_frame(&mut self) -> Option<Frame> {
        let frame = self.queue.pop_front()?;
        self.under_way.push_back(frame);
        Some(frame)
    }

    fn handle_event(&mut self, event: &HostEvent) {
        match event {
            HostEvent::Received { frame, .. } => self.tell(frame),
            HostEvent::Sent { .. } => {
                if let Some(frame) = self.under_way.pop_front() {
                    self.tell(&frame);
                }
            }
            HostEvent::BusOff { .. } => self.under_way.clear(),
            HostEvent::BusError { .. }
            | HostEvent::ErrorPassive { .. }
            | HostEvent::NoAck { .. }
            | HostEvent::Readable { .. } => {}
        }
    }

    fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn hang_up(&mut self) {
        self.packet.clear();
        self.queue.clear();
        self.under_way.clear();
        self.output.clear();
    }
}

fn unstuff(packet: &[u8]) -> Option<Vec<u8>> {
    let mut record = Vec::new();
    let mut rest = packet;
    while let Some((&code, tail)) = rest.split_first() {
        let (stretch, next) = tail.split_at_checked(usize::from(code) - 1)?;
        if !record.is_empty() || rest.len() != packet.len() {
            record.push(0);
        }
        record.extend(stretch);
        rest = next;
    }
    Some(record)
}

fn frame(record: &[u8]) -> Option<Frame> {
    let (body, check) = record.split_at_checked(record.len().checked_sub(4)?)?;
    let (head, data) = body.split_at_checked(4)?;
    if check != crc32(body).to_le_bytes() {
        return None;
    }
    let head = u32::from_le_bytes(head.try_into().ok()?);
    let number = head & 0x1FFF_FFFF;
    let id = match (head >> 31, head >> 29 & 1) {
        (_, 1) => return None,
        (0, _) if number < 0x800 => Id::Standard(number as u16),
        (1, _) => Id::Extended(number),
        _ => return None,
    };
    match head >> 30 & 1 {
        0 => Frame::classical(id, data),
        _ => Frame::fd(id, data).filter(|f| f.data().len() == data.len()),
    }
}

/// CRC-32 of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests {
    use panel_protocol::time::Micros;

    use super::*;

    #[test]
    fn the_examples_of_the_specification_are_understood_and_sent_back_after_the_bus_had_them() {
        // docs/protocol.md section 14.
        let examples: [(&[u8], Frame); 3] = [
            (
                &[0x00, 0x01, 0x02, 0x03, 0x01, 0x06, 0x21, 0xAD, 0x48, 0xFE, 0x98, 0x00],
                Frame::classical(Id::Standard(0x300), &[0x21]).unwrap(),
            ),
            (
                &[0x00, 0x09, 0x05, 0x41, 0x3A, 0x8C, 0xAB, 0xD9, 0x65, 0xA6, 0x00],
                Frame::empty(Id::Extended(0x0C3A_4105)),
            ),
            (
                &[
                    0x00, 0x03, 0x4D, 0x05, 0x01, 0x02, 0x01, 0x02, 0xFF, 0x01, 0x03, 0x02, 0x03, 0x05, 0xCC,
                    0xF0, 0x89, 0xA4, 0x00,
                ],
                Frame::classical(Id::Standard(0x54D), &[1, 0, 0xFF, 0, 0, 2, 3, 0]).unwrap(),
            ),
        ];
        let mut gateway = StreamGateway::default();
        for (bytes, frame) in examples {
            gateway.handle_bytes(bytes);
            assert_eq!(gateway.poll_frame(), Some(frame));
            assert_eq!(gateway.take_output(), []);
            gateway.handle_event(&HostEvent::Sent { bus: 0, at: Micros(0) });
            assert_eq!(gateway.take_output(), bytes);
        }
    }

    #[test]
    fn a_damaged_record_is_no_frame() {
        let mut gateway = StreamGateway::default();
        gateway
            .handle_bytes(&[0x00, 0x01, 0x02, 0x03, 0x01, 0x06, 0x22, 0xAD, 0x48, 0xFE, 0x98, 0x00, 9, 1, 0]);
        assert_eq!(gateway.poll_frame(), None);
    }
}

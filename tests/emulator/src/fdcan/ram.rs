//! The message RAM of one FDCAN cell: filters, FIFOs, transmit buffers (RM0440 44.3.5 to 44.3.10).
//!
//! Elements are 18 words each whatever their length. The FIFOs' indices are kept here, next to what they index.
//! Called by the cell for frames and by the chip for the processor's accesses.

use panel_protocol::frame::{Frame, Id};

/// Words of one cell's part.
pub(crate) const WORDS: usize = 212;
const EXTENDED_FILTERS: usize = 0x70 / 4;
const FIFOS: [usize; 2] = [0xB0 / 4, 0x188 / 4];
const BUFFERS: usize = 0x278 / 4;
const ELEMENT: usize = 18;
const DEPTH: usize = 3;

const XTD: u32 = 1 << 30;
const RTR: u32 = 1 << 29;
const FDF: u32 = 1 << 21;
const BRS: u32 = 1 << 20;

/// Payload lengths of the codes from 8 on (ISO 11898-1, table 5).
const LONG: [usize; 8] = [8, 12, 16, 20, 24, 32, 48, 64];

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    Stored { waiting: usize },
    Lost,
}

#[derive(Debug, Clone, Copy, Default)]
struct Fifo {
    get: usize,
    level: usize,
    lost: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct MessageRam {
    words: Vec<u32>,
    fifos: [Fifo; 2],
}

impl Default for MessageRam {
    fn default() -> Self {
        Self { words: vec![0; WORDS], fifos: [Fifo::default(); 2] }
    }
}

impl MessageRam {
    /// The same contents with empty FIFOs.
    pub(crate) fn kept(&mut self) -> Self {
        Self { words: std::mem::take(&mut self.words), ..Self::default() }
    }

    /// Empties the FIFOs.
    pub(crate) fn forget(&mut self) {
        self.fifos = Default::default();
    }

    pub(crate) fn read(&self, offset: u32) -> u32 {
        self.words.get(offset as usize / 4).copied().unwrap_or(0)
    }

    pub(crate) fn write(&mut self, offset: u32, value: u32) {
        if let Some(word) = self.words.get_mut(offset as usize / 4) {
            *word = value;
        }
    }

    /// RXFnS: level, get index, put index, full, lost.
    pub(crate) fn fifo_status(&self, n: usize) -> u32 {
        let Fifo { get, level, lost } = self.fifos[n];
        let put = (get + level) % DEPTH;
        (level | get << 8 | put << 16) as u32 | u32::from(level == DEPTH) << 24 | u32::from(lost) << 25
    }

    /// Frees everything up to this element; how many frames that were, or `None` if it holds none.
    pub(crate) fn release(&mut self, n: usize, index: u32) -> Option<u64> {
        let fifo = &mut self.fifos[n];
        let frames = (0..fifo.level).find(|k| (fifo.get + k) % DEPTH == index as usize)? + 1;
        fifo.get = (fifo.get + frames) % DEPTH;
        fifo.level -= frames;
        fifo.lost = false;
        Some(frames as u64)
    }

    /// The FIFO that takes a frame: the first filter that fits, else RXGFC's rule for what fits none.
    pub(crate) fn accept(&self, frame: &Frame, rxgfc: u32, xidam: u32) -> Option<usize> {
        let (count, rest) = match frame.id() {
            Id::Standard(_) => (rxgfc >> 16 & 0x1F, rxgfc >> 4 & 3),
            Id::Extended(_) => (rxgfc >> 24 & 0xF, rxgfc >> 2 & 3),
        };
        let hit = (0..count as usize).find_map(|n| match frame.id() {
            Id::Standard(id) => standard(self.words[n], id.into()),
            Id::Extended(id) => {
                let at = EXTENDED_FILTERS + 2 * n;
                extended(self.words[at], self.words[at + 1], id, xidam)
            }
        });
        match hit.unwrap_or(rest + 1) {
            1 | 5 => Some(0),
            2 | 6 => Some(1),
            _ => None,
        }
    }

    /// Puts a frame into FIFO `n`.
    pub(crate) fn push(&mut self, n: usize, frame: &Frame, overwrite: bool) -> Accepted {
        let Fifo { get, level, .. } = self.fifos[n];
        if level == DEPTH && !overwrite {
            self.fifos[n].lost = true;
            return Accepted::Lost;
        }
        if level == DEPTH {
            self.fifos[n].get = (get + 1) % DEPTH;
        } else {
            self.fifos[n].level += 1;
        }
        let at = FIFOS[n] + ELEMENT * ((get + level) % DEPTH);
        let data = frame.data();
        let format = if frame.is_fd() { FDF | BRS } else { 0 };
        self.words[at] = match frame.id() {
            Id::Standard(id) => u32::from(id) << 18,
            Id::Extended(id) => id | XTD,
        };
        self.words[at + 1] = format | code(data.len()) << 16;
        for (word, bytes) in self.words[at + 2..at + ELEMENT].iter_mut().zip(data.chunks(4)) {
            let mut whole = [0; 4];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_le_bytes(whole);
        }
        Accepted::Stored { waiting: self.fifos[n].level }
    }

    /// The frame in a transmit buffer; `None` for what this bus does not carry: remote frames, FD without BRS.
    pub(crate) fn outgoing(&self, n: u32) -> Option<Frame> {
        let at = BUFFERS + ELEMENT * n as usize;
        let (head, format) = (self.words[at], self.words[at + 1]);
        let fd = format & FDF != 0;
        if head & RTR != 0 || fd && format & BRS == 0 {
            return None;
        }
        let code = (format >> 16 & 0xF) as usize;
        let len = if code <= 8 {
            code
        } else if fd {
            LONG[code - 8]
        } else {
            8
        };
        let words = &self.words[at + 2..at + ELEMENT];
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).take(len).collect();
        let id = if head & XTD != 0 {
            Id::Extended(head & 0x1FFF_FFFF)
        } else {
            Id::Standard((head >> 18 & 0x7FF) as u16)
        };
        if fd { Frame::fd(id, &bytes) } else { Frame::classical(id, &bytes) }
    }
}

/// The code of a payload's length.
fn code(len: usize) -> u32 {
    let long = LONG.iter().position(|&l| l == len).map_or(len, |n| n + 8);
    if len <= 8 { len as u32 } else { long as u32 }
}

/// SFEC of a standard filter element that fits (44.3.8): 1 and 5 FIFO 0, 2 and 6 FIFO 1, 3 reject.
fn standard(element: u32, id: u32) -> Option<u32> {
    let (one, two) = (element >> 16 & 0x7FF, element & 0x7FF);
    let hit = match element >> 30 {
        0 => (one..=two).contains(&id),
        1 => id == one || id == two,
        2 => (id ^ one) & two == 0,
        _ => false,
    };
    let target = element >> 27 & 7;
    (hit && target != 0).then_some(target)
}

/// EFEC of an extended filter element that fits (44.3.9).
fn extended(first: u32, second: u32, id: u32, mask: u32) -> Option<u32> {
    let (one, two, id) = (first & 0x1FFF_FFFF, second & 0x1FFF_FFFF, id & mask);
    let hit = match second >> 30 {
        0 | 3 => (one..=two).contains(&id),
        1 => id == one || id == two,
        _ => (id ^ one) & two == 0,
    };
    let target = first >> 29;
    (hit && target != 0).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(id: u16) -> Frame {
        Frame::classical(Id::Standard(id), &[1]).expect("a frame")
    }

    #[test]
    fn the_first_filter_that_fits_decides_and_the_rest_follows_the_rule() {
        let mut ram = MessageRam::default();
        ram.write(0, 2 << 30 | 2 << 27 | 0x100 << 16 | 0x700); // 0x100 to 0x1FF into FIFO 1
        ram.write(4, 3 << 27 | 0x200 << 16 | 0x210); // a range that is rejected
        let rule = |rest: u32| 2 << 16 | rest << 4;
        let fifo = |id, rest| ram.accept(&short(id), rule(rest), 0x1FFF_FFFF);
        assert_eq!(fifo(0x155, 0), Some(1));
        assert_eq!(fifo(0x205, 0), None);
        assert_eq!((fifo(0x300, 0), fifo(0x300, 1), fifo(0x300, 2)), (Some(0), Some(1), None));
    }

    #[test]
    fn an_fd_frame_comes_out_of_an_element_as_it_went_in() {
        let mut ram = MessageRam::default();
        let bytes: Vec<u8> = (0..48).collect();
        let frame = Frame::fd(Id::Extended(0x1234_5678), &bytes).expect("a frame");
        assert_eq!(ram.push(0, &frame, false), Accepted::Stored { waiting: 1 });
        assert_eq!(ram.read(0xB0), 0x1234_5678 | XTD);
        assert_eq!(ram.read(0xB4), FDF | BRS | 14 << 16);
        for word in 0..ELEMENT as u32 {
            let value = ram.read(0xB0 + 4 * word);
            ram.write(0x278 + 4 * word, value);
        }
        assert_eq!(ram.outgoing(0), Some(frame));
    }
}

//! The identifier plan: who may send what, and who wins the bus when two want it at once.
//!
//! The panel bus is private, so the whole identifier space is ours and data goes in 11 bits (29 would cost 18 %
//! of the bus). The lower number wins arbitration, hence the order: stop, then a node in need, then the host's
//! control to one node, then answers, then control to all, then discovery, then image data, which may fill the bus without starving anything.
//!
//! | identifiers | who | what |
//! | --- | --- | --- |
//! | 000 | host | stop: abandon everything |
//! | 001 | host | silence: the node named in the payload transmits nothing until it is reset |
//! | 080 + n | node n | urgent: hold, resume, error, missing ranges |
//! | 100 + n | node n | missing chunks |
//! | 180 + n | host | control to node n |
//! | 200 + n | node n | status |
//! | 280 + n | node n | reply in parts |
//! | 300 base | host | control to all |
//! | 301..3FF base | host | reserved for parity (repair) frames |
//! | 300..3FF extended | node | discovery: UID bits in the identifier, no data |
//! | 400..7FF | host | image data: segment tag (2 bits), chunk index (8 bits) |

use core::num::NonZeroU8;

use crate::frame::Id;
use crate::node::Uid;

/// A node's short number on its bus, `0..=127`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU8);

/// Set beside the number, so that none at all is another value of the same byte.
const IS_NODE: u8 = 0x80;

impl NodeId {
    /// The largest number.
    pub const MAX: u8 = 127;

    /// `n` as a node number, if it is one.
    #[must_use]
    pub const fn new(n: u8) -> Option<Self> {
        match NonZeroU8::new(n | IS_NODE) {
            Some(node) if n <= Self::MAX => Some(Self(node)),
            _ => None,
        }
    }

    /// The number, `0..=127`.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get() & Self::MAX
    }
}

impl core::fmt::Display for NodeId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.get().fmt(f)
    }
}

/// Position of image data on the wire: the segment's number modulo 4, and the chunk within the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPosition {
    /// Segment number modulo 4.
    pub tag: u8,
    /// Chunk within the segment.
    pub index: u8,
}

impl DataPosition {
    /// Of an identifier that is at least [`DATA`].
    pub(crate) const fn of(id: u16) -> Self {
        Self { tag: (id >> 8) as u8 & 3, index: id as u8 }
    }
}

/// What an unnumbered or freshly numbered node says in an empty extended frame: bits in the identifier
/// arbitrate cleanly where they differ and merge where they are equal, so no answer can collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discovery {
    /// The first 24 bits of the UID's [`uid_key`] order.
    Key(u32),
    /// One of seven pieces of 15 bits: 0..=4 the rest of the UID, 5 the nonce, 6 the address straps.
    Piece {
        /// The tentative number.
        node: NodeId,
        /// Which piece, `0..=6`.
        piece: u8,
        /// 15 bits.
        bits: u16,
    },
}

/// Pieces of a [`Discovery::Piece`] answer.
pub const PIECES: u8 = 7;
/// The piece that carries the nonce.
pub const NONCE_PIECE: u8 = 5;
/// The piece that carries the address straps.
pub const STRAP_PIECE: u8 = 6;
/// What a board without straps answers as its strap value.
pub const NO_STRAP: u16 = 0x7FFF;

/// Who may send an identifier, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Host: abandon everything.
    Stop,
    /// Host: the node in the payload falls silent.
    Silence,
    /// Node: hold, resume, error, missing ranges.
    Urgent(NodeId),
    /// Node: missing chunks.
    Missing(NodeId),
    /// Host: control to every node.
    ControlAll,
    /// Host: control to one node.
    Control(NodeId),
    /// Node: status.
    Status(NodeId),
    /// Node: a reply in parts.
    Reply(NodeId),
    /// Node: discovery answer.
    Discovery(Discovery),
    /// Host: image data.
    Data(DataPosition),
}

/// What the host sends, as identifier and mask of 11 bits: filters for a node's CAN controller.
pub const HOST_FILTERS: [(u16, u16); 4] =
    [(0x000, 0x7FE), (CONTROL, 0x780), (CONTROL_ALL, 0x7FF), (DATA, DATA)];

pub(crate) const STOP: u16 = 0x000;
pub(crate) const SILENCE: u16 = 0x001;
pub(crate) const URGENT: u16 = 0x080;
pub(crate) const MISSING: u16 = 0x100;
pub(crate) const CONTROL: u16 = 0x180;
pub(crate) const CONTROL_ALL: u16 = 0x300;
pub(crate) const STATUS: u16 = 0x200;
pub(crate) const REPLY: u16 = 0x280;
pub(crate) const DATA: u16 = 0x400;
const DISCOVERY_PREFIX: u32 = 0b011 << 26;
const PIECE_FLAG: u32 = 1 << 25;

/// The identifier of a node's channel.
pub(crate) const fn of_node(channel: u16, node: NodeId) -> Id {
    Id::Standard(channel + node.get() as u16)
}

/// Whether this is the host's control, to one node or to all.
pub(crate) const fn is_control(id: u16) -> bool {
    id & !0x7F == CONTROL || id == CONTROL_ALL
}

impl Discovery {
    /// The identifier of this answer.
    pub(crate) const fn id(self) -> Id {
        Id::Extended(discovery_id(self))
    }
}

impl Channel {
    /// The identifier of this channel.
    #[must_use]
    pub const fn id(self) -> Id {
        Id::Standard(match self {
            Self::Stop => STOP,
            Self::Silence => SILENCE,
            Self::Urgent(n) => return of_node(URGENT, n),
            Self::Missing(n) => return of_node(MISSING, n),
            Self::ControlAll => CONTROL_ALL,
            Self::Control(n) => return of_node(CONTROL, n),
            Self::Status(n) => return of_node(STATUS, n),
            Self::Reply(n) => return of_node(REPLY, n),
            Self::Data(DataPosition { tag, index }) => DATA | ((tag as u16 & 3) << 8) | index as u16,
            Self::Discovery(d) => return d.id(),
        })
    }

    /// The channel of an identifier, or `None` if the plan gives it to nobody.
    #[must_use]
    pub const fn of(id: Id) -> Option<Self> {
        let id = match id {
            Id::Standard(id) => id,
            Id::Extended(id) => return parse_discovery(id),
        };
        if id & DATA != 0 {
            return Some(Self::Data(DataPosition::of(id)));
        }
        let Some(node) = NodeId::new(id as u8 & NodeId::MAX) else { return None };
        Some(match (id & !0x7F, id & 0x7F) {
            (STOP, 0) => Self::Stop,
            (STOP, SILENCE) => Self::Silence,
            (URGENT, _) => Self::Urgent(node),
            (MISSING, _) => Self::Missing(node),
            (CONTROL, _) => Self::Control(node),
            (STATUS, _) => Self::Status(node),
            (REPLY, _) => Self::Reply(node),
            (CONTROL_ALL, 0) => Self::ControlAll,
            _ => return None,
        })
    }
}

const fn discovery_id(answer: Discovery) -> u32 {
    DISCOVERY_PREFIX
        | match answer {
            Discovery::Key(key) => key & 0xFF_FFFF,
            Discovery::Piece { node, piece, bits } => {
                PIECE_FLAG | (node.get() as u32) << 18 | (piece as u32 & 7) << 15 | (bits as u32 & 0x7FFF)
            }
        }
}

const fn parse_discovery(id: u32) -> Option<Channel> {
    if id >> 26 != DISCOVERY_PREFIX >> 26 {
        return None;
    }
    if id & PIECE_FLAG == 0 {
        return if id & (1 << 24) == 0 {
            Some(Channel::Discovery(Discovery::Key(id & 0xFF_FFFF)))
        } else {
            None
        };
    }
    let piece = (id >> 15) as u8 & 7;
    match NodeId::new((id >> 18) as u8 & 0x7F) {
        Some(node) if piece < PIECES => {
            Some(Channel::Discovery(Discovery::Piece { node, piece, bits: id as u16 & 0x7FFF }))
        }
        _ => None,
    }
}

/// UID bytes in the order discovery sends them: first those that differ inside a reel (X and Y on the wafer,
/// low bytes, then the wafer number), lot characters last. 3 bytes of key, 9 bytes of pieces.
const ORDER: [u8; 12] = [0, 2, 4, 1, 3, 5, 6, 7, 8, 9, 10, 11];

/// The three bytes of a UID from the `n`th in that order on; behind the last byte there are zeros.
fn three_bytes(uid: &Uid, n: usize) -> u32 {
    let byte = |n| ORDER.get(n).and_then(|&at| uid.0.get(usize::from(at))).map_or(0, |&byte| byte.into());
    (n..n + 3).fold(0, |bits: u32, n| bits << 8 | byte(n))
}

/// The first 24 bits of a UID in discovery order.
#[must_use]
pub fn uid_key(uid: &Uid) -> u32 {
    three_bytes(uid, 0)
}

/// UID piece `0..=4`: 15 bits of the remaining 72, the last piece padded with zeros.
#[must_use]
pub fn uid_piece(uid: &Uid, piece: u8) -> u16 {
    let first = 15 * usize::from(piece.min(4));
    (three_bytes(uid, 3 + first / 8) >> (9 - first % 8)) as u16 & 0x7FFF
}

/// The UID put together again from its key and its five pieces.
#[must_use]
pub fn uid_from(key: u32, pieces: [u16; 5]) -> Uid {
    let rest = pieces.iter().fold(0u128, |acc, &p| acc << 15 | u128::from(p & 0x7FFF)) >> 3;
    let mut uid = [0; 12];
    for (i, &at) in ORDER.iter().enumerate() {
        uid[usize::from(at)] =
            if i < 3 { (key >> (16 - 8 * i)) as u8 } else { (rest >> (64 - 8 * (i - 3))) as u8 };
    }
    Uid(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identifier_means_one_thing_and_back() {
        for id in (0..0x800).map(Id::Standard).chain((0..1 << 29).step_by(997).map(Id::Extended)) {
            if let Some(channel) = Channel::of(id) {
                assert_eq!(channel.id(), id, "{channel:?}");
            }
        }
    }

    #[test]
    fn priorities_follow_the_plan() {
        let n = NodeId::new(127).expect("valid");
        let first = NodeId::new(0).expect("valid");
        let order = [
            Channel::Stop,
            Channel::Silence,
            Channel::Urgent(n),
            Channel::Missing(first),
            Channel::Control(n),
            Channel::Status(first),
            Channel::Reply(n),
            Channel::ControlAll,
            Channel::Discovery(Discovery::Key(0)),
            Channel::Data(DataPosition { tag: 0, index: 0 }),
        ];
        assert!(order.windows(2).all(|w| w[0].id().arbitration() < w[1].id().arbitration()));
    }

    #[test]
    fn a_uid_survives_the_journey_in_pieces() {
        let uid = Uid([0x3A, 0x00, 0x41, 0x01, 0x05, 0x51, 0x36, 0x33, 0x38, 0x34, 0x31, 0x39]);
        let pieces = core::array::from_fn(|i| uid_piece(&uid, i as u8));
        assert_eq!(uid_from(uid_key(&uid), pieces), uid);
        assert_eq!(uid_key(&uid), 0x3A4105);
    }
}

//! The container of every signed file: header, document, signatures, payload, and nothing else.
//!
//! All integers are little-endian:
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | `89 50 46 k 0D 0A 1A 0A`, k = `R` release, `O` work order, `K` root (keys) |
//! | 8 | 2 | container format, 1 |
//! | 10 | 2 | number of signatures s, 0 to 16 |
//! | 12 | 4 | length d of the document, at most 256 KiB |
//! | 16 | 8 | length p of the payload, at most 64 MiB; 0 except in a release |
//! | 24 | d | the document: canonical JSON |
//! | 24 + d | 96 s | signatures, ascending by key: 32 bytes public key, 64 bytes Ed25519 signature |
//! | 24 + d + 96 s | p | the payload: the images' bytes one after the other, in the order of the manifest |
//!
//! The file ends there; a byte more or less is refused. Nothing is compressed, so nothing can unpack to
//! more than it is. What is signed: `panelflash signed document 1`, a zero byte, the kind's name, a zero
//! byte, the document. The payload is covered through the SHA-256 of each image in the document.
//!
//! A signature names its key itself, so **every** signature in the file is checked, also one by a key that
//! no longer counts; that is how a change of any byte is found even where the threshold is met without it.

use std::fmt;

use crate::{
    keys::{PublicKey, SecretKey},
    refusal::{Part, Refusal},
};

/// The container format this version writes and reads.
pub const FORMAT: u16 = 1;
/// Greatest document in bytes.
pub const DOCUMENT_LIMIT: usize = 256 * 1024;
/// Greatest payload in bytes: more than any STM32 with all its external flash.
pub const PAYLOAD_LIMIT: u64 = 64 * 1024 * 1024;
/// Most signatures.
pub const SIGNATURE_LIMIT: usize = 16;
/// Greatest file in bytes; a reader need not fetch more than this plus one.
pub const FILE_LIMIT: u64 =
    HEADER as u64 + DOCUMENT_LIMIT as u64 + (SIGNATURE_LIMIT * SIGNATURE_BLOCK) as u64 + PAYLOAD_LIMIT;

const HEADER: usize = 24;
const KEY: usize = 32;
const SIGNATURE_BLOCK: usize = KEY + 64;
/// The fourth byte is the kind. The first is not ASCII and the last four change when line ends are
/// "converted": a copy in text mode is recognised as damage, not as a bad signature.
const MAGIC: [u8; 8] = [0x89, b'P', b'F', 0, 0x0D, 0x0A, 0x1A, 0x0A];
const DOMAIN: &[u8] = b"panelflash signed document 1\0";

/// What a signed file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A release package, `.pfr`.
    Release,
    /// A work order, `.pfo`.
    Order,
    /// A root document, `.pfk`.
    Root,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Release, Self::Order, Self::Root];

    fn letter(self) -> u8 {
        match self {
            Self::Release => b'R',
            Self::Order => b'O',
            Self::Root => b'K',
        }
    }

    fn magic(self) -> [u8; 8] {
        let mut magic = MAGIC;
        magic[3] = self.letter();
        magic
    }

    /// What `bytes` begin as, if as one of ours.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| bytes.starts_with(&kind.magic()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Release => "release",
            Self::Order => "order",
            Self::Root => "root",
        })
    }
}

/// One signature as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignatureBlock {
    pub(crate) key: PublicKey,
    pub(crate) signature: [u8; 64],
}

/// A file taken apart, its bounds checked and nothing else.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) kind: Kind,
    pub(crate) document: &'a [u8],
    pub(crate) signatures: Vec<SignatureBlock>,
    pub(crate) payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes a file of the wanted kind apart.
    pub(crate) fn parse(bytes: &'a [u8], expected: Kind) -> Result<Self, Refusal> {
        let Some(kind) = Kind::detect(bytes) else {
            return Err(Refusal::NotOurs { expected, got: bytes.iter().copied().take(8).collect() });
        };
        if kind != expected {
            return Err(Refusal::OtherKind { expected, got: kind });
        }
        let header = Header::read(bytes)?;
        let stated = header.file_length();
        if stated != bytes.len() as u64 {
            return Err(Refusal::Length { stated_by: "header", stated, got: bytes.len() as u64 });
        }
        let (document, rest) = bytes[HEADER..].split_at(header.document);
        let (blocks, payload) = rest.split_at(header.signatures * SIGNATURE_BLOCK);
        let signatures: Vec<_> = blocks.chunks_exact(SIGNATURE_BLOCK).map(read_block).collect();
        if let Some(index) = signatures.windows(2).position(|pair| pair[0].key >= pair[1].key) {
            return Err(Refusal::SignatureOrder { index: index + 2 });
        }
        Ok(Self { kind, document, signatures, payload })
    }

    /// The keys that signed, after checking every signature in the file.
    pub(crate) fn signers(&self) -> Result<Vec<PublicKey>, Refusal> {
        let message = message(self.kind, self.document);
        let good: Vec<bool> =
            self.signatures.iter().map(|block| block.key.verifies(&message, &block.signature)).collect();
        match good.iter().position(|good| !good) {
            None => Ok(self.signatures.iter().map(|block| block.key).collect()),
            Some(_) if good.len() == 1 => Err(Refusal::Altered { part: Part::DocumentOrSignature }),
            Some(_) if good.iter().all(|good| !good) => Err(Refusal::Altered { part: Part::Document }),
            Some(index) => Err(Refusal::Altered { part: Part::Signature { index, count: good.len() } }),
        }
    }

    /// The file's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let length =
            HEADER + self.document.len() + self.signatures.len() * SIGNATURE_BLOCK + self.payload.len();
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(&self.kind.magic());
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.signatures.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.document.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.payload.len() as u64).to_le_bytes());
        out.extend_from_slice(self.document);
        for block in &self.signatures {
            out.extend_from_slice(block.key.as_bytes());
            out.extend_from_slice(&block.signature);
        }
        out.extend_from_slice(self.payload);
        out
    }

    /// Adds the signature of `key`, or replaces the one it gave before.
    pub(crate) fn sign(&mut self, key: &SecretKey) -> Result<(), Refusal> {
        let block =
            SignatureBlock { key: key.public(), signature: key.sign(&message(self.kind, self.document)) };
        self.signatures.retain(|other| other.key != block.key);
        self.signatures.push(block);
        self.signatures.sort_by_key(|block| block.key);
        check_limit("the signature list", self.signatures.len() as u64, SIGNATURE_LIMIT as u64)
    }
}

struct Header {
    signatures: usize,
    document: usize,
    payload: u64,
}

impl Header {
    /// Reads the 24 bytes and checks each length against its limit before anything is reserved for it.
    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let short = Refusal::Length { stated_by: "header", stated: HEADER as u64, got: bytes.len() as u64 };
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Err(short) };
        let [.., f0, f1, s0, s1, d0, d1, d2, d3, p0, p1, p2, p3, p4, p5, p6, p7] = *header;
        let format = u16::from_le_bytes([f0, f1]);
        if format != FORMAT {
            return Err(Refusal::UnknownFormat { got: format, known: FORMAT });
        }
        let signatures = u16::from_le_bytes([s0, s1]);
        let document = u32::from_le_bytes([d0, d1, d2, d3]);
        let payload = u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]);
        check_limit("the signature list", signatures.into(), SIGNATURE_LIMIT as u64)?;
        check_limit("the document", document.into(), DOCUMENT_LIMIT as u64)?;
        check_limit("the payload", payload, PAYLOAD_LIMIT)?;
        Ok(Self { signatures: signatures.into(), document: document as usize, payload })
    }

    fn file_length(&self) -> u64 {
        (HEADER + self.document + self.signatures * SIGNATURE_BLOCK) as u64 + self.payload
    }
}

pub(crate) fn check_limit(part: &'static str, got: u64, limit: u64) -> Result<(), Refusal> {
    if got > limit { Err(Refusal::Oversize { part, got, limit }) } else { Ok(()) }
}

fn read_block(block: &[u8]) -> SignatureBlock {
    let mut key = [0; KEY];
    let mut signature = [0; 64];
    key.copy_from_slice(&block[..KEY]);
    signature.copy_from_slice(&block[KEY..]);
    SignatureBlock { key: PublicKey::from_bytes(key), signature }
}

fn message(kind: Kind, document: &[u8]) -> Vec<u8> {
    let kind = kind.to_string();
    [DOMAIN, kind.as_bytes(), &[0], document].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> Vec<u8> {
        let mut envelope =
            Envelope { kind: Kind::Order, document: b"{}", signatures: Vec::new(), payload: b"xyz" };
        for seed in [9, 4] {
            envelope.sign(&SecretKey::from_entropy([seed; 32])).unwrap();
        }
        envelope.to_bytes()
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = signed();
        // magic                  format  2 signatures  2 bytes of document  3 bytes of payload  document
        let golden = "8950464f0d0a1a0a 0100 0200 02000000 0300000000000000 7b7d".replace(' ', "");
        assert_eq!(hex::encode(&bytes[..26]), golden);
        assert_eq!(bytes.len(), 24 + 2 + 2 * 96 + 3);
        assert!(bytes.ends_with(b"xyz"));
        let envelope = Envelope::parse(&bytes, Kind::Order).unwrap();
        assert!(envelope.signatures[0].key < envelope.signatures[1].key);
        assert_eq!(envelope.signers().unwrap().len(), 2);
    }

    #[test]
    fn a_signature_for_one_kind_does_not_serve_another() {
        let mut bytes = signed();
        bytes[3] = b'R';
        let envelope = Envelope::parse(&bytes, Kind::Release).unwrap();
        assert_eq!(envelope.signers(), Err(Refusal::Altered { part: Part::Document }));
    }

    #[test]
    fn signing_twice_with_one_key_leaves_one_signature() {
        let bytes = signed();
        let mut envelope = Envelope::parse(&bytes, Kind::Order).unwrap();
        envelope.sign(&SecretKey::from_entropy([4; 32])).unwrap();
        assert_eq!(envelope.to_bytes(), bytes);
    }

    #[test]
    fn stated_sizes_beyond_the_limits_are_refused_before_anything_is_read() {
        for (offset, value) in [(10, 17), (15, 1), (20, 1)] {
            let mut bytes = signed();
            bytes[offset] = value;
            assert!(
                matches!(Envelope::parse(&bytes, Kind::Order), Err(Refusal::Oversize { .. })),
                "{offset}"
            );
        }
    }

    #[test]
    fn every_cut_and_every_addition_is_refused() {
        let bytes = signed();
        for length in 0..bytes.len() {
            assert!(Envelope::parse(&bytes[..length], Kind::Order).is_err(), "{length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(Envelope::parse(&longer, Kind::Order), Err(Refusal::Length { .. })));
    }

    #[test]
    fn swapped_or_doubled_signatures_are_refused() {
        let bytes = signed();
        let envelope = Envelope::parse(&bytes, Kind::Order).unwrap();
        let (first, second) = (envelope.signatures[0], envelope.signatures[1]);
        for signatures in [vec![second, first], vec![first, first]] {
            let bytes = Envelope { signatures, ..Envelope::parse(&bytes, Kind::Order).unwrap() }.to_bytes();
            assert_eq!(
                Envelope::parse(&bytes, Kind::Order).unwrap_err(),
                Refusal::SignatureOrder { index: 2 }
            );
        }
    }
}

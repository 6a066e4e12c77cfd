//! The shipped bootloader of a board with a public key: what it refuses, and what it never starts.
//!
//! A host of a few lines speaks to it over the serial port, so that it can announce what the engine never would. Seals
//! are made by `ed25519-dalek`, with the secret key of RFC 8032, 7.1, test 1, whose public half is in
//! `boards/f405-sealed.rs`.

use ed25519_dalek::{Signer, SigningKey};
use panel_emulator::{Board, BoardConfig, Chip, Program};
use panel_protocol::CRC32;
use panel_protocol::block::{Begin, BeginFlags, MAX_BLOCK, Region, Seal};
use panel_protocol::ident::{Channel, DataPosition, Discovery, NodeId};
use panel_protocol::message::{
    BlockKind, ChunkRange, Control, HostMessage, NodeMessage, Refusal, SEGMENT, Seek,
};
use panel_protocol::reply::Reply;
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};
use sha2::{Digest, Sha256};

use crate::tools::{F405, firmware};
use crate::update::{Alive, start_within};

const MS: u64 = 1_000_000;
const DEVICE: u16 = 0x413;
/// RFC 8032, 7.1, test 1.
const SECRET: [u8; 32] = [
    0x9D, 0x61, 0xB1, 0x9D, 0xEF, 0xFD, 0x5A, 0x60, 0xBA, 0x84, 0x4A, 0xF4, 0x92, 0xEC, 0x2C, 0xC4, 0x44,
    0x49, 0xC5, 0x69, 0x7B, 0x32, 0x69, 0x19, 0x70, 0x3B, 0xAC, 0x03, 0x1C, 0xAE, 0x7F, 0x60,
];
/// The longest that a host waits for an answer (docs/protocol.md, section 4).
const PATIENCE_MS: u64 = 3000;

/// A board that was switched on, and the time.
struct Dialog {
    board: Board,
    now: u64,
    decoder: Decoder,
    reply: Vec<u8>,
}

impl Dialog {
    /// A board with this flash has been given its number.
    fn new(flash: impl FnOnce(&mut Board)) -> Self {
        let config = BoardConfig { fill: Some(0xA5), ..BoardConfig::new(Chip::F405, 1) };
        let mut board = Board::new(config).expect("unicorn works");
        flash(&mut board);
        board.set_power(0, true);
        let mut dialog = Self { board, now: 0, decoder: Decoder::default(), reply: Vec::new() };
        dialog.wait(60);
        let discover = Control::Discover { min: 1, current: 1, restart: true };
        let first = NodeId::new(0).expect("a number");
        dialog.send(HostMessage::Control(None, discover));
        dialog.wait(PATIENCE_MS); // at a first start the seal of what is there is looked at
        let key = dialog.frames().iter().find_map(|frame| match Channel::of(frame.id()) {
            Some(Channel::Discovery(Discovery::Key(key))) => Some(key),
            _ => None,
        });
        let keys = (key.expect("a board without a number answers"), None);
        dialog.ask(Control::Assign { first, keys });
        dialog
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms * MS;
        self.board.run(self.now, None);
    }

    fn frames(&mut self) -> Vec<panel_protocol::frame::Frame> {
        let sent = self.board.usart(1).take_sent();
        sent.iter().filter_map(|&b| self.decoder.handle_byte(b)).collect()
    }

    /// A frame, and the time that it takes at 115,200 baud.
    fn send(&mut self, message: HostMessage<'_>) {
        let mut bytes = [0; MAX_ENCODED];
        let len = encode(&message.to_frame(), &mut bytes);
        self.board.usart(1).feed(self.now, &bytes[..len]);
        self.wait(3);
    }

    fn ask(&mut self, control: Control) {
        self.send(HostMessage::Control(None, control));
    }

    /// The refusal in the next Done, within so many milliseconds; and how long it took.
    fn done(&mut self) -> (Option<Refusal>, u64) {
        for waited in 0..PATIENCE_MS {
            for frame in self.frames() {
                let Ok((_, NodeMessage::ReplyPart { last, bytes, len, .. })) = NodeMessage::decode(&frame)
                else {
                    continue;
                };
                self.reply.extend(&bytes[..usize::from(len)]);
                if !last {
                    continue;
                }
                let reply = std::mem::take(&mut self.reply);
                if let Some(Reply::Done { refusal, .. }) = Reply::decode(&reply) {
                    return (refusal, waited);
                }
            }
            self.wait(1);
        }
        panic!("no answer; pc {:#010x}, {:?}", self.board.program_counter(), self.board.complaints());
    }

    /// Announces an image.
    fn begin(&mut self, begin: &Begin) -> (Option<Refusal>, u64) {
        let mut block = [0; MAX_BLOCK];
        let len = begin.encode(&mut block);
        for (index, part) in block[..len].chunks(6).enumerate() {
            let mut bytes = [0; 6];
            bytes[..part.len()].copy_from_slice(part);
            self.ask(Control::BlockData { index: index as u8, bytes, len: part.len() as u8 });
        }
        let crc = CRC32.checksum(&block[..len]);
        self.ask(Control::BlockEnd { kind: BlockKind::Begin, len: len as u16, crc });
        self.done()
    }

    /// The rest of the update of an image of one segment.
    fn transfer(&mut self, begin: &Begin, bytes: &[u8]) {
        let mut segment = [0xFF; SEGMENT];
        segment[..bytes.len()].copy_from_slice(bytes);
        self.ask(Control::Manifest { segment: 0, crc: CRC32.checksum(&segment) });
        self.ask(Control::Start { session: begin.session });
        assert_eq!(self.done().0, None);
        let chunks = bytes.len().div_ceil(8);
        let ranges = (ChunkRange { first: 0, last: (chunks - 1) as u8 }, None);
        self.ask(Control::Seek(Seek { segment: 0, repair: false, ranges }));
        for (index, chunk) in segment.chunks(8).take(chunks).enumerate() {
            self.send(HostMessage::Data(DataPosition { tag: 0, index: index as u8 }, chunk));
        }
        self.wait(PATIENCE_MS); // erased, programmed, read back
        self.ask(Control::Commit { session: begin.session });
        assert_eq!(self.done().0, None);
    }

    /// How the board starts when its power comes back; a seal that nobody has found good is looked at each time.
    fn starts(&self) -> Alive {
        start_within(&F405, self.board.flash().cells(), 1, 1500).expect("it is alive")
    }
}

fn sealed_board(board: &mut Board) {
    board.program(&firmware("f405-sealed-bootloader"));
}

fn application(version: &str) -> (Begin, Vec<u8>) {
    let (address, mut bytes) = F405.linked("app-sealed.ld", version, 100).flat();
    bytes.resize(bytes.len().next_multiple_of(8), 0xFF);
    assert!(bytes.len() <= SEGMENT);
    let (crc, sha256) = (CRC32.checksum(&bytes), Sha256::digest(&bytes).into());
    let region = Region { address, len: bytes.len() as u32, crc, sha256 };
    let session = version.bytes().next().unwrap_or_default();
    (Begin::new(session, BeginFlags::empty(), DEVICE, &[region]).expect("one region"), bytes)
}

fn sealed(begin: Begin, counter: u32, floor: u32) -> Begin {
    let message = Seal::message(DEVICE, counter, floor, &begin.image_id());
    let signature = SigningKey::from_bytes(&SECRET).sign(&message).to_bytes();
    begin.sealed(Seal { counter, floor, signature }).expect("one region")
}

#[test]
fn a_board_with_a_key_takes_and_starts_what_is_sealed_and_refuses_everything_else() {
    let program: Program = firmware("f405-sealed-bootloader");
    let mut dialog = Dialog::new(sealed_board);
    let (plain, bytes) = application("1");
    let good = sealed(plain, 7, 5);
    let seal = *good.seal().expect("it is sealed");
    let mut signature = seal.signature;
    signature[40] ^= 1;
    let wrong = plain.sealed(Seal { signature, ..seal }).expect("one region");
    assert_eq!(dialog.begin(&plain).0, Some(Refusal::NotSealed));
    assert_eq!(dialog.begin(&wrong).0, Some(Refusal::BadSeal));
    assert_eq!(
        dialog.begin(&sealed(application("2").0, 7, 5).sealed(seal).expect("one")).0,
        Some(Refusal::BadSeal)
    );
    assert_eq!(dialog.starts(), Alive::Bootloader);
    let (refusal, took) = dialog.begin(&good);
    println!("measured: a seal is looked at in {took} ms, {PATIENCE_MS} allowed");
    assert_eq!(refusal, None);
    dialog.transfer(&good, &bytes);
    assert_eq!(dialog.starts(), Alive::Application("1".to_owned()));
    // An older release, sealed as it should be, from before the floor.
    assert_eq!(dialog.begin(&sealed(application("0").0, 4, 0)).0, Some(Refusal::Downgrade));
    assert_eq!(dialog.starts(), Alive::Application("1".to_owned()));

    let symbol = |name| program.symbol(name).expect("linker script");
    let (limit, top) = (symbol("_stack_limit"), symbol("_stack_top"));
    let memory = dialog.board.memory(limit, (top - limit) as usize);
    let untouched = memory.iter().position(|&b| b != 0xA5).unwrap_or(memory.len());
    println!("budget: stack {} of {} bytes used with seals", memory.len() - untouched, memory.len());
    assert!(untouched >= 256, "{untouched} bytes were never touched");
}

#[test]
fn what_was_written_without_this_bootloader_starts_only_with_a_good_seal() {
    // Whoever wrote it, an agent or a bootloader without a key, has kept the seal and looked at nothing.
    let written = |begin: Begin, bytes: &[u8]| {
        let mut dialog = Dialog::new(|board| board.program(&firmware("f405-bootloader")));
        assert_eq!(dialog.begin(&begin).0, None);
        dialog.transfer(&begin, bytes);
        let cells = dialog.board.flash().cells().clone();
        Dialog::new(|board| {
            board.flash_mut().set_cells(&cells);
            sealed_board(board);
        })
    };
    let (plain, bytes) = application("3");
    let good = sealed(plain, 7, 5);
    let seal = *good.seal().expect("it is sealed");
    let wrong = plain.sealed(Seal { counter: 8, ..seal }).expect("one region");
    assert_eq!(written(plain, &bytes).starts(), Alive::Bootloader);
    assert_eq!(written(wrong, &bytes).starts(), Alive::Bootloader);
    assert_eq!(written(good, &bytes).starts(), Alive::Application("3".to_owned()));
}

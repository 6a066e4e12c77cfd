//! The shipped bootloaders of boards with a public key: what they refuse, and what they never start.
//!
//! A host of a few lines speaks to them over the serial port, so that it can announce what the engine never would. Seals
//! are made by `ed25519-dalek`, with the secret key of RFC 8032, 7.1, test 1, whose public half is the
//! boards' example key.

use ed25519_dalek::{Signer, SigningKey};
use panel_emulator::{Board, Cells, FLASH_BASE, Noise};
use panel_protocol::CRC32;
use panel_protocol::block::{Begin, BeginFlags, MAX_BLOCK, Region, Seal};
use panel_protocol::ident::{Channel, DataPosition, Discovery, NodeId};
use panel_protocol::message::{
    BlockKind, ChunkRange, Control, HostMessage, NodeMessage, Refusal, SEGMENT, Seek,
};
use panel_protocol::reply::Reply;
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};
use sha2::{Digest, Sha256};

use crate::budget::IN_USE;
use crate::tools::{F405, F405_SEALED, G474, G474_SEALED, Kit};
use crate::update::{Alive, both, start_within};

const MS: u64 = 1_000_000;
/// RFC 8032, 7.1, test 1.
const SECRET: [u8; 32] = [
    0x9D, 0x61, 0xB1, 0x9D, 0xEF, 0xFD, 0x5A, 0x60, 0xBA, 0x84, 0x4A, 0xF4, 0x92, 0xEC, 0x2C, 0xC4, 0x44,
    0x49, 0xC5, 0x69, 0x7B, 0x32, 0x69, 0x19, 0x70, 0x3B, 0xAC, 0x03, 0x1C, 0xAE, 0x7F, 0x60,
];
/// The longest that a host waits for an answer (docs/protocol.md, section 4).
const PATIENCE_MS: u64 = 3000;

/// A board with a key, and the same without.
#[derive(Debug)]
struct Product {
    sealed: &'static Kit,
    plain: &'static Kit,
}

const ON_F405: Product = Product { sealed: &F405_SEALED, plain: &F405 };
const ON_G474: Product = Product { sealed: &G474_SEALED, plain: &G474 };

/// A board that was switched on, and the time.
struct Dialog {
    kit: &'static Kit,
    board: Board,
    now: u64,
    decoder: Decoder,
    reply: Vec<u8>,
}

impl Dialog {
    /// A board with its bootloader alone has been given its number.
    fn new(kit: &'static Kit) -> Self {
        let mut board = Board::new(kit.config(1)).expect("unicorn works");
        board.program(&kit.bootloader());
        board.set_power(0, true);
        let mut dialog = Self { kit, board, now: 0, decoder: Decoder::default(), reply: Vec::new() };
        dialog.wait(200); // it has unpacked itself, with weights and a stack where the program's stack is
        let (limit, top) = dialog.stack();
        assert!(dialog.board.spoil_memory(limit, &vec![0xA5; (top - limit - IN_USE) as usize]));
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

    fn stack(&self) -> (u32, u32) {
        let unpacked = self.kit.unpacked();
        let symbol = |name| unpacked.symbol(name).expect("linker script");
        (symbol("_stack_limit"), symbol("_stack_top"))
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

    /// How the board starts when its power comes back.
    fn starts(&self) -> Alive {
        starts(self.kit, self.board.flash().cells()).expect("it is alive")
    }
}

fn application(product: &Product, version: &str) -> (Begin, Vec<u8>) {
    let (address, mut bytes) = product.sealed.application(version, 100).flat();
    bytes.resize(bytes.len().next_multiple_of(8), 0xFF);
    assert!(bytes.len() <= SEGMENT);
    let (crc, sha256) = (CRC32.checksum(&bytes), Sha256::digest(&bytes).into());
    let region = Region { address, len: bytes.len() as u32, crc, sha256 };
    let session = version.bytes().next().unwrap_or_default();
    let device = product.sealed.planned().device_id;
    (Begin::new(session, BeginFlags::empty(), device, &[region]).expect("one region"), bytes)
}

fn sealed(begin: Begin, counter: u32, floor: u32) -> Begin {
    let message = Seal::message(begin.device_id, counter, floor, &begin.image_id());
    let signature = SigningKey::from_bytes(&SECRET).sign(&message).to_bytes();
    begin.sealed(Seal { counter, floor, signature }).expect("one region")
}

#[test]
fn an_f405_with_a_key_takes_and_starts_what_is_sealed_and_refuses_everything_else() {
    takes_what_is_sealed(&ON_F405);
}

#[test]
fn a_g474_with_a_key_takes_and_starts_what_is_sealed_and_refuses_everything_else() {
    takes_what_is_sealed(&ON_G474);
}

fn takes_what_is_sealed(product: &Product) {
    let mut dialog = Dialog::new(product.sealed);
    let (plain, bytes) = application(product, "1");
    let good = sealed(plain, 7, 5);
    let seal = *good.seal().expect("it is sealed");
    let mut signature = seal.signature;
    signature[40] ^= 1;
    let wrong = plain.sealed(Seal { signature, ..seal }).expect("one region");
    let other = application(product, "2").0;
    assert_eq!(dialog.begin(&plain).0, Some(Refusal::NotSealed));
    assert_eq!(dialog.begin(&wrong).0, Some(Refusal::BadSeal));
    assert_eq!(dialog.begin(&other.sealed(seal).expect("one")).0, Some(Refusal::BadSeal));
    assert!(dialog.board.flash_mut().take_journal().is_empty(), "refused before the flash is touched");
    assert_eq!(dialog.starts(), Alive::Bootloader);
    let (refusal, took) = dialog.begin(&good);
    let name = product.sealed.name;
    println!("measured: {name}: a seal is looked at in {took} ms, {PATIENCE_MS} allowed");
    assert_eq!(refusal, None);
    dialog.transfer(&good, &bytes);
    assert_eq!(dialog.starts(), Alive::Application("1".to_owned()));
    // An older release, sealed as it should be, from before the floor.
    dialog.board.flash_mut().take_journal();
    assert_eq!(dialog.begin(&sealed(application(product, "0").0, 4, 0)).0, Some(Refusal::Downgrade));
    assert!(dialog.board.flash_mut().take_journal().is_empty(), "refused before the flash is touched");
    assert_eq!(dialog.starts(), Alive::Application("1".to_owned()));

    let (limit, top) = dialog.stack();
    let memory = dialog.board.memory(limit, (top - limit) as usize);
    let untouched = memory.iter().position(|&b| b != 0xA5).unwrap_or(memory.len());
    println!("budget: {name}: stack {} of {} bytes used with seals", memory.len() - untouched, memory.len());
    assert!(untouched >= 256, "{untouched} bytes were never touched");
}

/// Flash of a board that was given this image by whoever looks at no seal (an agent, a bootloader without a key), and after
/// that the bootloader with the key.
fn written(product: &Product, begin: &Begin, bytes: &[u8]) -> Cells {
    let mut dialog = Dialog::new(product.plain);
    assert_eq!(dialog.begin(begin).0, None);
    dialog.transfer(begin, bytes);
    dialog.board.program(&product.sealed.bootloader());
    dialog.board.flash().cells().clone()
}

/// How a board with this flash starts; a seal that nobody has found good is looked at first.
fn starts(kit: &Kit, cells: &Cells) -> Result<Alive, String> {
    start_within(kit, cells, 1, 1500)
}

#[test]
fn what_was_written_without_this_bootloader_starts_only_with_a_good_seal() {
    for product in [&ON_F405, &ON_G474] {
        let (plain, bytes) = application(product, "3");
        let good = sealed(plain, 7, 5);
        let seal = *good.seal().expect("it is sealed");
        let wrong = plain.sealed(Seal { counter: 8, ..seal }).expect("one region");
        let given = |begin| starts(product.sealed, &written(product, begin, &bytes));
        assert_eq!(given(&plain), Ok(Alive::Bootloader));
        assert_eq!(given(&wrong), Ok(Alive::Bootloader));
        assert_eq!(given(&good), Ok(Alive::Application("3".to_owned())));
    }
}

/// What is done to a sealed image in flash.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    /// A bit of its signature, counter or floor, in a record whose CRC-32 fits: only the signature is wrong.
    Seal(u32, u8),
    /// A bit of one of the seal's records, or of the image.
    Bit(u32, u8),
}

/// A record, and where its CRC-32 is (docs/protocol.md, section 13).
const RECORD: u32 = 64;
const CRC_AT: usize = 56;

impl Wrong {
    fn done_to(self, cells: &Cells) -> Cells {
        let (Self::Seal(at, bit) | Self::Bit(at, bit)) = self;
        let mut cells = cells.clone();
        cells.flip(at, bit);
        if let Self::Bit(..) = self {
            return cells;
        }
        let record = at & !(RECORD - 1);
        let from = (record - FLASH_BASE) as usize;
        let crc = CRC32.checksum(&cells.bytes()[from..from + CRC_AT]);
        cells.put(record + CRC_AT as u32, &crc.to_le_bytes());
        cells
    }
}

/// The same flash after a start at which the seal was found good, which is noted in a record.
fn looked_at(kit: &Kit, cells: &Cells) -> Cells {
    let mut board = kit.board(1);
    board.flash_mut().set_cells(cells);
    board.set_power(0, true);
    board.run(1500 * MS, None);
    board.flash().cells().clone()
}

#[test]
fn a_sealed_image_with_a_wrong_bit_in_its_seal_or_its_body_never_starts_on_f405() {
    wrong_bits(&ON_F405, 1, 1000);
}

/// The node's code is the same; every 19th bit meets every field of the seal, and every place within a byte.
#[test]
fn a_sealed_image_with_a_wrong_bit_in_its_seal_or_its_body_never_starts_on_g474() {
    wrong_bits(&ON_G474, 19, 50);
}

/// Every so manieth bit of the seal and its records, and so many of the body.
fn wrong_bits(product: &Product, every: usize, of_the_body: u32) {
    let kit = product.sealed;
    let (plain, bytes) = application(product, "4");
    let cells = written(product, &sealed(plain, 7, 5), &bytes);
    assert_eq!(starts(kit, &cells), Ok(Alive::Application("4".to_owned())));
    // Behind the Incomplete record: the seal's two, the region's, Valid.
    let records = kit.planned().flash.record_base;
    let seal = [records + RECORD, records + 2 * RECORD];
    let kinds = seal.map(|at| cells.bytes()[(at - FLASH_BASE) as usize + 4]);
    assert_eq!(kinds, [4, 4], "the seal's records");
    let bits = |from: u32, len: u32| (from..from + len).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    // Counter, floor and half of the signature; the other half.
    let contents = bits(seal[0] + 12, 40).chain(bits(seal[1] + 12, 32));
    let mut cases: Vec<Wrong> = contents.step_by(every).map(|(at, bit)| Wrong::Seal(at, bit)).collect();
    let signed = cases.len();
    // Everything that the CRC-32 of the seal's records covers, and itself; `update.rs` has the region's record and Valid.
    let records = seal.into_iter().flat_map(|at| bits(at, CRC_AT as u32 + 4));
    cases.extend(records.step_by(every).map(|(at, bit)| Wrong::Bit(at, bit)));
    let covered = cases.len() - signed;
    let mut noise = Noise::new(6);
    let body = plain.regions()[0];
    let flips: Vec<Wrong> = (0..of_the_body)
        .map(|_| Wrong::Bit(body.address + noise.below(body.len.into()) as u32, noise.below(8) as u8))
        .collect();
    // Whether the seal was found good before or is looked at now, which takes a board three quarters of a second, a wrong body
    // never starts.
    cases.extend(flips.iter().step_by(10));
    let trusted = looked_at(kit, &cells);
    assert_ne!(trusted, cells, "what was found good is noted");
    let cases: Vec<(&Cells, Wrong)> =
        cases.into_iter().map(|c| (&cells, c)).chain(flips.into_iter().map(|c| (&trusted, c))).collect();
    let bad = both(&cases, |(cells, wrong)| match starts(kit, &wrong.done_to(cells)) {
        Ok(Alive::Bootloader) => Ok(()),
        other => Err(format!("{wrong:x?}: {other:?}")),
    });
    println!(
        "measured: {}: {signed} wrong bits of the seal, {covered} of the seal's records, {of_the_body} of the body, {} images started",
        kit.name,
        bad.len()
    );
    assert!(bad.is_empty(), "{:#?}", &bad[..bad.len().min(5)]);
}

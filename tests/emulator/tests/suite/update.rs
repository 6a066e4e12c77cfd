//! One board and its flash: power cut at every flash operation of an update, and images that must not start.
//!
//! What a power cut leaves of a board is its flash: the operations before the cut, and of the one that was cut
//! anything. So the update runs once, its operations are kept, and every cut is a flash of its own that is put into a
//! fresh board and started.

use panel_emulator::{Board, BoardConfig, Broken, Cells, FLASH_BASE, Noise, Operation, Program};
use panel_protocol::frame::Frame;
use panel_protocol::message::{Control, HostMessage};
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};

use crate::tools::{F405, G431, Kit, Station, all_pass};

const MS: u64 = 1_000_000;
/// Unpacking, a start at 16 MHz, the start window of 300 ms, the check of a small image, and the first words of the
/// application.
const SETTLED: u64 = 580;

/// What became of a board that was switched on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Alive {
    /// An application said its version.
    Application(String),
    /// The bootloader answers.
    Bootloader,
}

/// Switches a board with this flash on and looks what it does.
fn start(kit: &Kit, flash: &Cells, seed: u64) -> Result<Alive, String> {
    start_within(kit, flash, seed, SETTLED)
}

/// The same, with so many milliseconds until it must have settled.
pub(crate) fn start_within(kit: &Kit, flash: &Cells, seed: u64, settled: u64) -> Result<Alive, String> {
    let config = BoardConfig { seed, ..kit.config(1) };
    let mut board = Board::new(config).map_err(|e| format!("{e:?}"))?;
    board.flash_mut().set_cells(flash);
    board.set_power(0, true);
    board.run(settled * MS, None);
    let said = String::from_utf8_lossy(&board.usart(1).take_sent()).into_owned();
    if let Some(version) = said.trim_end().strip_prefix("application ") {
        return Ok(Alive::Application(version.to_owned()));
    }
    // Whoever waits in the bootloader answers a Discover on the serial port with its key.
    let discover = Control::Discover { min: 1, current: 1, restart: true };
    let mut bytes = [0; MAX_ENCODED];
    let len = encode(&HostMessage::Control(None, discover).to_frame(), &mut bytes);
    board.usart(1).feed(settled * MS, &bytes[..len]);
    board.run((settled + 10) * MS, None);
    let mut decoder = Decoder::default();
    let frames: Vec<Frame> =
        board.usart(1).take_sent().iter().filter_map(|&b| decoder.handle_byte(b)).collect();
    match frames.is_empty() {
        false => Ok(Alive::Bootloader),
        true => Err(format!(
            "neither application nor bootloader; pc {:#010x}, resets {:?}, faults {:?}, {:?}",
            board.program_counter(),
            board.resets(),
            board.faults(),
            board.complaints()
        )),
    }
}

/// Flash of a board that carries `image`, committed, and the operations that put it there.
pub(crate) fn updated(kit: &Kit, flash: Option<&Cells>, image: &Program) -> (Cells, Cells, Vec<Operation>) {
    let mut board = kit.board(1);
    match flash {
        Some(cells) => board.flash_mut().set_cells(cells),
        None => board.program(&kit.bootloader()),
    }
    let before = board.flash().cells().clone();
    let mut station = Station::with(kit, vec![board]);
    let reports = station.program(image, false);
    all_pass(&station, &reports);
    let mut board = station.boards[0].board();
    let operations = board.flash_mut().take_journal();
    (before, board.flash().cells().clone(), operations)
}

/// Runs `check` for every one of `cases`, each second one on one processor; gives what went wrong.
pub(crate) fn both<T: Sync>(cases: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let half = |first| cases.iter().skip(first).step_by(2).filter_map(|c| check(c).err()).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|first| scope.spawn(move || half(first)));
        halves.into_iter().flat_map(|h| h.join().expect("a check does not panic")).collect()
    })
}

#[test]
fn a_power_cut_at_every_flash_operation_leaves_an_f405_that_runs_or_can_be_programmed() {
    cut_everywhere(&F405);
}

#[test]
fn a_power_cut_at_every_flash_operation_leaves_a_g431_that_runs_or_can_be_programmed() {
    cut_everywhere(&G431);
}

fn cut_everywhere(kit: &Kit) {
    let (old, new) = (kit.application("old", 1000), kit.application("new", 2200));
    let (_, first, _) = updated(kit, None, &old);
    assert_eq!(start(kit, &first, 1), Ok(Alive::Application("old".to_owned())));
    let (before, after, operations) = updated(kit, Some(&first), &new);
    assert_eq!(start(kit, &after, 1), Ok(Alive::Application("new".to_owned())));
    assert!(operations.len() > 250 && operations.iter().any(Operation::is_erase));
    let some = |n: usize, operation: &Operation| n.is_multiple_of(RECOVERED) || operation.is_erase();
    let recovered = cut(kit, before, &operations, &[("old", &old), ("new", &new)], |_| true, some);
    println!(
        "measured: {}: {} flash operations of an update cut, {recovered} of them programmed again",
        kit.name,
        operations.len()
    );
}

#[test]
fn a_power_cut_while_full_records_are_erased_and_begun_anew_leaves_a_g431_that_can_be_programmed() {
    // One page holds 32 records and an update writes three: sooner or later they do not fit any more.
    let kit = &G431;
    let mut images = [("old", kit.application("old", 600)), ("new", kit.application("new", 700))];
    let (_, mut flash, _) = updated(kit, None, &images[0].1);
    let records = FLASH_BASE + flash.bytes().len() as u32 - 2048;
    for update in 1..20 {
        let (before, after, operations) = updated(kit, Some(&flash), &images[1].1);
        if !operations.iter().any(|o| o.is_erase() && o.address == records) {
            flash = after;
            images.swap(0, 1);
            continue;
        }
        assert_eq!(start(kit, &after, 1), Ok(Alive::Application(images[1].0.to_owned())));
        let known = images.each_ref().map(|(version, image)| (*version, image));
        let touched = |operation: &Operation| operation.address >= records;
        let recovered = cut(kit, before, &operations, &known, touched, |_, _| true);
        println!(
            "measured: {}: update {update} erased the records; {recovered} operations on them cut, all programmed again",
            kit.name
        );
        assert!(recovered > 20, "the erase, and records of eight double words each");
        return;
    }
    panic!("twenty updates, and the records were never erased");
}

/// What the power leaves in the flash when it goes in the middle of and right after each operation that `touched` names.
pub(crate) fn cuts(
    mut flash: Cells,
    operations: &[Operation],
    touched: impl Fn(&Operation) -> bool,
) -> Vec<(usize, Broken, Cells)> {
    let mut cuts = Vec::new();
    for (n, operation) in operations.iter().enumerate() {
        for how in [Broken::Anything(n as u64), Broken::Done] {
            operation.leave(&mut flash, how);
            if touched(operation) {
                cuts.push((n, how, flash.clone()));
            }
        }
    }
    cuts
}

/// Cuts the power in the middle of and right after each operation that `touched` names, and starts the board: it runs one of
/// these images, whole, or waits in its bootloader. What `recover` names is then programmed with the last image; how many
/// were.
fn cut(
    kit: &Kit,
    flash: Cells,
    operations: &[Operation],
    images: &[(&str, &Program)],
    touched: impl Fn(&Operation) -> bool,
    recover: impl Fn(usize, &Operation) -> bool + Sync,
) -> usize {
    let cuts = cuts(flash, operations, touched);
    let complete = |flash: &Cells, image: &Program| {
        let (address, bytes) = image.flat();
        let at = (address - FLASH_BASE) as usize;
        flash.bytes()[at..at + bytes.len()] == bytes
    };
    let (last, image) = images.last().expect("an image");
    let recovered = std::sync::atomic::AtomicUsize::new(0);
    let bad = both(&cuts, |(n, how, flash)| {
        let operation = &operations[*n];
        let place =
            format!("cut at operation {n} of {} ({:#010x}, {how:?})", operations.len(), operation.address);
        let alive = start(kit, flash, *n as u64).map_err(|why| format!("{place}: {why}"))?;
        if let Alive::Application(version) = &alive
            && !images.iter().any(|(known, image)| version == known && complete(flash, image))
        {
            return Err(format!("{place}: {alive:?} runs, but its image is not complete"));
        }
        // Recovered: the same update, by the engine, from what the cut left.
        if matches!(how, Broken::Anything(_)) && recover(*n, operation) {
            let (_, flash, _) = updated(kit, Some(flash), image);
            recovered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if start(kit, &flash, 1) != Ok(Alive::Application((*last).to_owned())) {
                return Err(format!("{place}: not recovered"));
            }
        }
        Ok(())
    });
    assert!(bad.is_empty(), "{} of {}: {:#?}", bad.len(), cuts.len(), &bad[..bad.len().min(5)]);
    recovered.into_inner()
}

/// One in so many cuts is followed by a whole update, which takes a second; every erase is.
const RECOVERED: usize = 16;

#[test]
fn an_image_with_a_wrong_bit_in_its_records_or_its_body_never_starts_on_f405() {
    wrong_bits(&F405);
}

#[test]
fn an_image_with_a_wrong_bit_in_its_records_or_its_body_never_starts_on_g431() {
    wrong_bits(&G431);
}

fn wrong_bits(kit: &Kit) {
    let image = kit.application("1", 1500);
    let (_, flash, operations) = updated(kit, None, &image);
    assert_eq!(start(kit, &flash, 1), Ok(Alive::Application("1".to_owned())));
    // The image's own records: what the update wrote outside the image and left there.
    let (address, bytes) = image.flat();
    let body = address..address + bytes.len() as u32;
    let records: Vec<u32> = operations
        .iter()
        .filter(|o| !o.is_erase() && !body.contains(&o.address))
        .flat_map(|o| o.address..o.address + o.after.len() as u32)
        .collect();
    let newest = records.iter().max().map_or(0, |last| last & !63);
    // The Valid record and the record of the image's one region before it (docs/protocol.md, section 13).
    let header = (newest - 64)..(newest + 64);
    let mut flips: Vec<(u32, u8)> = header.clone().flat_map(|a| (0..8).map(move |bit| (a, bit))).collect();
    let mut noise = Noise::new(5);
    flips.extend(
        (0..1000).map(|_| (body.start + noise.below(bytes.len() as u64) as u32, noise.below(8) as u8)),
    );
    let bad = both(&flips, |&(at, bit)| {
        let mut flash = flash.clone();
        flash.flip(at, bit);
        let place = format!("bit {bit} of {at:#010x}");
        let alive = start(kit, &flash, 1).map_err(|why| format!("{place}: {why}"))?;
        // Bytes that no CRC-32 covers and no rule reads: the four after a record's CRC.
        let unused = header.contains(&at) && at % 64 >= 60;
        match alive {
            Alive::Bootloader => Ok(()),
            Alive::Application(_) if unused => Ok(()),
            Alive::Application(_) => Err(format!("{place}: started")),
        }
    });
    println!("measured: {}: {} wrong bits, {} images started", kit.name, flips.len(), bad.len());
    assert!(bad.is_empty(), "{:#?}", &bad[..bad.len().min(5)]);
}

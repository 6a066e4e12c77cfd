//! What the binary may cost: time to listen, stack, and the processor's share of a frame.
//!
//! Figures are those of the pessimistic cost model of `cost.rs` at 16 MHz without PLL; each is printed as a line that
//! begins with `budget:`.

use std::ops::Range;

use panel_emulator::station::drive;
use panel_emulator::{Board, BoardConfig, Program};
use panel_engine::Finishing;
use panel_protocol::time::Span;

use crate::tools::{
    F103, F405, F405_SEALED, G0B1, G431, G431_SLOT, G474, G474_SEALED, Kit, Station, all_pass,
};

const MS: u64 = 1_000_000;

#[test]
fn an_f405_listens_soon_after_power_up_and_keeps_within_its_stack() {
    listens(&F405);
}

#[test]
fn an_f103_listens_soon_after_power_up_and_keeps_within_its_stack() {
    listens(&F103);
}

#[test]
fn a_g474_listens_soon_after_power_up_and_keeps_within_its_stack() {
    listens(&G474);
}

#[test]
fn a_g0b1_listens_soon_after_power_up_and_keeps_within_its_stack() {
    listens(&G0B1);
}

/// All its RAM is 32 KiB: the stack is what program and buffers leave.
#[test]
fn a_g431_listens_soon_after_power_up_and_keeps_within_its_stack() {
    listens(&G431);
}

#[test]
fn a_g431_with_a_second_slot_listens_soon_after_power_up_and_keeps_within_its_stack() {
    listens(&G431_SLOT);
}

/// `seal.rs` has their stack.
#[test]
fn boards_with_a_key_listen_soon_after_power_up() {
    for kit in [&F405_SEALED, &G474_SEALED] {
        listens_within(kit, kit.planned().listens(true));
    }
}

/// A board with its bootloader and known bytes in RAM.
fn filled(kit: &Kit) -> Board {
    let mut board = Board::new(BoardConfig { fill: Some(0xA5), ..kit.config(1) }).expect("unicorn works");
    board.program(&kit.bootloader());
    board
}

/// Where the program lies once it is unpacked.
fn place(unpacked: &Program) -> Range<u32> {
    unpacked.segments.first().map(|(from, bytes)| *from..from + bytes.len() as u32).expect("bytes")
}

fn listens_within(kit: &Kit, allowed: Span) {
    let mut lonely = filled(kit);
    lonely.set_power(0, true);
    let place = place(&kit.unpacked());
    let unpacks = (1..2000).find(|tenth| {
        lonely.run(tenth * MS / 10, None);
        place.contains(&lonely.program_counter())
    });
    let unpacks = unpacks.expect("it ends");
    let allowed = allowed.0 / 1000;
    let (unpacks_ms, name) = (unpacks.div_ceil(10), kit.name);
    println!(
        "budget: {name}: the program runs {unpacks_ms} ms after power-up, {} allowed",
        allowed - CLOCKS_MS
    );
    assert!(unpacks_ms <= allowed - CLOCKS_MS);
    // It wakes once a millisecond, so whole milliseconds alone could find it awake each time.
    let tenths = (unpacks..2000).find(|tenth| {
        lonely.run(tenth * MS / 10, None);
        lonely.is_asleep()
    });
    let listens = tenths.expect("it sleeps when there is nothing to do").div_ceil(10);
    println!("budget: {name}: listens {listens} ms after power-up, {allowed} allowed");
    assert!(listens <= allowed);
}

fn listens(kit: &Kit) {
    listens_within(kit, kit.planned().listens(false));
    let (unpacked, name) = (kit.unpacked(), kit.name);
    let (limit, top) = (unpacked.symbol("_stack_limit"), unpacked.symbol("_stack_top"));
    let (limit, top) = (limit.expect("linker script"), top.expect("linker script"));
    let place = place(&unpacked);
    let mut station = Station::with(kit, vec![filled(kit)]);
    let mut run = station.begin(&kit.application("stack", 20_000), false, Finishing::default());
    // Where RAM is short the packed image has lain where the stack is now, so after each start that is filled anew, but for
    // what may be in use then.
    let unused = vec![0xA5; (top - limit - IN_USE) as usize];
    let mut filled = 0;
    while !run.is_finished() {
        drive(&mut run, &mut station.world, Span::from_millis(1));
        let mut board = station.boards[0].board();
        let starts = board.resets().len();
        if starts > filled && board.is_asleep() && place.contains(&board.program_counter()) {
            assert!(board.spoil_memory(limit, &unused));
            filled = starts;
        }
    }
    all_pass(&station, &run.reports());
    let memory = station.boards[0].board().memory(limit, (top - limit) as usize);
    let untouched = memory.iter().position(|&b| b != 0xA5).unwrap_or(memory.len());
    let used = memory.len() - untouched;
    println!("budget: {name}: stack {used} of {} bytes used by a whole run", memory.len());
    assert!(untouched >= SPARE_STACK, "{untouched} bytes were never touched");
}

/// Of the time that plans and simulated boards count from power-up until a board listens, what is left for clocks and
/// controllers when it has unpacked itself.
const CLOCKS_MS: u64 = 10;
/// Stack that a board may use while it waits for something to do.
pub(crate) const IN_USE: u32 = 1024;
/// Stack that must be left after a run.
const SPARE_STACK: usize = 256;

#[test]
fn frames_back_to_back_at_1_mbit_are_never_missed_at_16_mhz() {
    let mut station = Station::new(&F405, 1);
    let reports = station.program(&F405.application("frames", 60_000), false);
    all_pass(&station, &reports);
    let board = station.boards[0].board();
    let counters = board.can_counters();
    println!("measured: {} frames received, at most {} of 3 waited", counters.received, counters.deepest);
    assert!(counters.received > 7500);
    assert_eq!((counters.overruns, board.stalled()), (0, 0));
    assert_eq!(board.complaints(), []);
}

/// What the reception of a data frame may cost, its share of the segment's CRC-32 included.
const FRAME_INSTRUCTIONS: u64 = 900;

#[test]
fn a_data_frame_costs_no_more_instructions_than_its_budget() {
    let mut station = Station::new(&F405, 1);
    // While a sector is erased nothing can be programmed: what the processor does then is receive.
    let (instructions, cycles, frames) = station.reception(&F405.application("busy", 60_000));
    assert!(frames > 500, "{frames} frames while the first sector was erased");
    let (each, awake) = (instructions / frames, cycles / frames);
    println!(
        "budget: {each} instructions per data frame, {FRAME_INSTRUCTIONS} allowed ({frames} frames, awake {awake} cycles each)"
    );
    assert!(each <= FRAME_INSTRUCTIONS);
}

//! What a factory adds to a board beside its image, on the shipped bootloader: identity in flash and in one-time
//! programmable memory, option bytes, lock; and the power cut in each of their flash operations.
//!
//! A first run writes everything and its operations are kept, as in `update.rs`. Every cut is a board of its own: it must
//! answer or run its application, and a second run must resolve it: right to the last byte, or refused with its code.

use panel_codes::Code;
use panel_emulator::{Board, Broken, Cells, Noise, Operation};
use panel_engine::{Finishing, IdentityPlace, Lock, OptionWrite, Reserved, SlotReport, Verdict};

use crate::tools::{F103, F405, G431, Kit, Station};
use crate::update::{Alive, both, start_within};

/// Bytes of the identities here.
const LEN: usize = 32;
/// Start-up, the start window of 300 ms, the check of a small image; F103 does all of it at 8 MHz.
const SETTLED: u64 = 700;

/// The identity of this number.
fn identity(number: u64) -> Vec<u8> {
    let mut noise = Noise::new(number);
    (0..LEN).map(|_| noise.next() as u8).collect()
}

/// One board with this flash, programmed and finished by the real engine.
struct Made {
    report: SlotReport,
    cells: Cells,
    operations: Vec<Operation>,
    /// The board as the run left it.
    option_word: u32,
}

impl Made {
    /// Its code; `None` if it passed.
    fn code(&self) -> Option<Code> {
        match &self.report.verdict {
            Some(verdict) if *verdict == Verdict::pass() => None,
            verdict => verdict.as_ref().and_then(|v| v.code),
        }
    }
}

fn board(kit: &Kit, flash: Option<&Cells>) -> Board {
    let mut board = kit.board(1);
    match flash {
        Some(cells) => board.flash_mut().set_cells(cells),
        None => board.program(&kit.bootloader()),
    }
    board
}

/// Makes a unit of `board`, with the identity of this number where the recipe has a place for one.
fn make(kit: &Kit, board: Board, finishing: &Finishing, number: u64) -> Made {
    let image = kit.application("1.0", 300);
    let mut station = Station::with(kit, vec![board]);
    let identity = finishing.identity.map(|_| identity(number).into());
    let reports = match identity {
        None => station.finish(&image, false, finishing.clone()),
        Some(_) => station.issue(&image, finishing.clone(), &mut |_, _| {
            Ok(Reserved { identity: identity.clone(), ..Reserved::default() })
        }),
    };
    let mut board = station.boards[0].board();
    Made {
        report: reports[0].clone(),
        operations: board.flash_mut().take_journal(),
        cells: board.flash().cells().clone(),
        option_word: board.option_word(),
    }
}

/// What the power leaves in the flash when it goes in the middle of each operation that `touched` names, in as many ways as
/// asked for, and right after erases and the last of them.
fn cuts(
    mut flash: Cells,
    operations: &[Operation],
    ways: u64,
    touched: impl Fn(&Operation) -> bool,
) -> Vec<(String, Cells)> {
    let mut cuts = Vec::new();
    let last = operations.iter().rposition(&touched);
    for (n, operation) in operations.iter().enumerate() {
        if touched(operation) {
            let middles = (0..ways).map(|way| Broken::Anything(way << 32 | n as u64));
            let erases = operation.after.iter().all(|&b| b == 0xFF);
            let end = (erases || Some(n) == last).then_some(Broken::Done);
            for how in middles.chain(end) {
                let mut left = flash.clone();
                operation.leave(&mut left, how);
                cuts.push((format!("operation {n} ({:#010x}), {how:?}", operation.address), left));
            }
        }
        operation.leave(&mut flash, Broken::Done);
    }
    cuts
}

/// Says of each cut what went wrong, and how many units a second run made whole and how many it refused.
fn resolve(
    kit: &Kit,
    cuts: &[(String, Cells)],
    finishing: &Finishing,
    check: impl Fn(&Cells, &Result<Alive, String>, &Made) -> Result<(), String> + Sync,
) -> [usize; 2] {
    let resolved = std::sync::Mutex::new([0, 0]);
    let bad = both(cuts, |(place, cells)| {
        let alive = start_within(kit, cells, 1, SETTLED);
        let made = make(kit, board(kit, Some(cells)), finishing, 1);
        check(cells, &alive, &made).map_err(|why| format!("{place}: {alive:?}: {why}: {:?}", made.report))?;
        resolved.lock().unwrap()[usize::from(made.code().is_some())] += 1;
        Ok(())
    });
    assert!(bad.is_empty(), "{} of {}: {:#?}", bad.len(), cuts.len(), &bad[..bad.len().min(5)]);
    *resolved.lock().unwrap()
}

fn at(address: u32, may_erase: bool) -> Finishing {
    let identity = Some(IdentityPlace { address, length: LEN as u32, may_erase });
    Finishing { identity, ..Finishing::default() }
}

fn within(address: u32, len: usize) -> impl Fn(&Operation) -> bool {
    move |o| o.address < address + len as u32 && address < o.address + o.after.len() as u32
}

/// An identity over an older one, whose erase unit may be erased.
fn cut_identity(kit: &Kit, place: u32) {
    let finishing = at(place, true);
    let mut first = board(kit, None);
    first.flash_mut().preset(place, &identity(7));
    let before = first.flash().cells().clone();
    let made = make(kit, first, &finishing, 1);
    assert_eq!(made.code(), None, "{:?}", made.report);
    assert_eq!(made.cells.get(place, LEN), Some(&identity(1)[..]));
    let cuts = cuts(before, &made.operations, 1, within(place, LEN));
    let [whole, refused] = resolve(kit, &cuts, &finishing, |_, alive, made| {
        if *alive != Ok(Alive::Bootloader) {
            return Err("started before its image was committed".to_owned());
        }
        let written = made.cells.get(place, LEN) == Some(&identity(1)[..]);
        let clean = (place..).step_by(8).take(LEN / 8).all(|at| !made.cells.is_spoilt(at));
        let runs = start_within(kit, &made.cells, 1, SETTLED);
        match (made.code(), written && clean, runs) {
            (None, true, Ok(Alive::Application(_))) => Ok(()),
            (.., runs) => Err(format!("identity written: {written}, check bits: {clean}, then {runs:?}")),
        }
    });
    println!("measured: {}: {} cuts while an identity is written: {whole} made whole", kit.name, cuts.len());
    assert_eq!((whole, refused), (cuts.len(), 0));
    assert!(cuts.len() > LEN / 8, "the erase, and each programming unit");
}

#[test]
fn a_power_cut_at_every_flash_operation_of_an_identity_leaves_an_f405_that_gets_it_in_the_next_run() {
    cut_identity(&F405, 0x0800_C000);
}

#[test]
fn a_power_cut_at_every_flash_operation_of_an_identity_leaves_a_g431_that_gets_it_in_the_next_run() {
    cut_identity(&G431, 0x0801_0000);
}

/// An identity in one-time programmable memory, which nobody can erase.
fn cut_otp(kit: &Kit, place: u32) {
    let finishing = at(place, false);
    let first = board(kit, None);
    let before = first.flash().cells().clone();
    let made = make(kit, first, &finishing, 1);
    assert_eq!(made.code(), None, "{:?}", made.report);
    assert_eq!(made.cells.get(place, LEN), Some(&identity(1)[..]));
    // The same once more is what is there already; another unit's is refused and changes nothing.
    let again = make(kit, board(kit, Some(&made.cells)), &finishing, 1);
    assert_eq!((again.code(), again.cells.get(place, LEN)), (None, Some(&identity(1)[..])));
    let other = make(kit, board(kit, Some(&made.cells)), &finishing, 2);
    assert_eq!(
        (other.code(), other.cells.get(place, LEN)),
        (Some(Code::IdentityWriteFailed), Some(&identity(1)[..]))
    );
    let detail = &other.report.verdict.as_ref().unwrap().detail;
    assert!(detail.contains("NotBlank"), "{detail}");

    let cuts = cuts(before, &made.operations, 1, within(place, LEN));
    let [whole, refused] = resolve(kit, &cuts, &finishing, |left, alive, made| {
        if *alive != Ok(Alive::Bootloader) {
            return Err("started before its image was committed".to_owned());
        }
        let clean = (place..).step_by(8).take(LEN / 8).all(|at| !left.is_spoilt(at));
        let found = left.get(place, LEN).unwrap();
        let usable = clean && (found == identity(1) || found == [0xFF; LEN]);
        let wanted = identity(1);
        let expected = if usable { (None, &wanted[..]) } else { (Some(Code::IdentityWriteFailed), found) };
        let got = (made.code(), made.cells.get(place, LEN).unwrap());
        if got == expected { Ok(()) } else { Err(format!("expected {expected:02x?}, got {got:02x?}")) }
    });
    println!(
        "measured: {}: {} cuts while an identity is written to OTP: {whole} units whole, {refused} refused for good",
        kit.name,
        cuts.len()
    );
    assert!(whole > 0 && refused > 0, "nothing begun or all written; and everything between");
}

#[test]
fn an_identity_in_one_time_memory_of_an_f405_is_written_once_and_a_cut_in_it_is_never_taken_for_whole() {
    cut_otp(&F405, 0x1FFF_7800);
}

#[test]
fn an_identity_in_one_time_memory_of_a_g431_is_written_once_and_a_cut_in_it_is_never_taken_for_whole() {
    cut_otp(&G431, 0x1FFF_7000);
}

/// Option bytes of a family.
struct Options {
    kit: &'static Kit,
    /// Where they are in memory, and how many.
    area: (u32, usize),
    /// What the recipe declares, a value that is not the delivered one.
    declared: OptionWrite,
    /// Whether option bytes that were loaded protect from readout.
    protects: fn(u32) -> bool,
    /// Ways in which each operation is broken off.
    ways: u64,
}

fn declared(name: &str, offset: u8, mask: u8, byte: u8) -> OptionWrite {
    OptionWrite { name: name.to_owned(), offset, bytes: vec![byte], mask: vec![mask], protects_to: None }
}

/// Option bytes, then the lock. The image is committed before: what the cut leaves is a board that runs it, open or
/// protected. One that is protected cannot be changed any more: it passes with the proof of its lock, or is refused because
/// of an option byte that the cut took. G4 loads a flash that may only be executed where the cut hit the option bytes of PCROP
/// (RM0440 3.4.2): no program can prevent or undo that, and the run has to say that nobody answers.
fn cut_options(options: &Options) {
    let Options { kit, area, declared, protects, ways } = options;
    let finishing = Finishing { options: vec![declared.clone()], lock: Lock::Level1, ..Finishing::default() };
    let first = board(kit, None);
    let before = first.flash().cells().clone();
    let made = make(kit, first, &finishing, 1);
    assert_eq!(made.code(), None, "{:?}", made.report);
    let set = |cells: &Cells| {
        let byte = cells.get(area.0 + u32::from(declared.offset), 1).unwrap()[0];
        byte & declared.mask[0] == declared.bytes[0]
    };
    assert!(set(&made.cells) && protects(made.option_word), "{:#010x}", made.option_word);
    let cuts = cuts(before, &made.operations, *ways, within(area.0, area.1));
    let runs = Ok(Alive::Application("1.0".to_owned()));
    let silent = std::sync::atomic::AtomicUsize::new(0);
    let [whole, refused] = resolve(kit, &cuts, &finishing, |_, alive, made| {
        if let Err(why) = alive
            && why.contains("the flash is execute-only")
        {
            silent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            // Of a panel of one, nobody acknowledges.
            let silent = made.code() == Some(Code::BusDead);
            return if silent { Ok(()) } else { Err("not said to be silent".to_owned()) };
        }
        let after = start_within(kit, &made.cells, 1, SETTLED);
        let right = match made.code() {
            None => set(&made.cells),
            Some(Code::OptionBytesFailed) => !set(&made.cells),
            Some(_) => false,
        };
        let locked = protects(made.option_word);
        match right && locked && *alive == runs && after == runs {
            true => Ok(()),
            false => Err(format!("option word {:#010x}, then {after:?}", made.option_word)),
        }
    });
    let silent = silent.into_inner();
    println!(
        "measured: {}: {} cuts while option bytes and lock are written: {whole} boards locked and proven, {} refused with \
         an option byte lost, {silent} silent (option bytes of PCROP that do not match)",
        kit.name,
        cuts.len(),
        refused - silent
    );
    assert!(whole > 0, "after the last operation at least");
    assert!(kit.name == "g431" || silent == 0, "F1 and F4 have no such option bytes");
}

#[test]
fn a_power_cut_at_every_operation_on_option_bytes_leaves_an_f405_that_runs_and_is_locked_or_refused_by_the_next_run()
 {
    cut_options(&Options {
        kit: &F405,
        area: (0x1FFF_C000, 16),
        declared: declared("BOR_LEV", 0, 0x0C, 0x04),
        protects: |word| !matches!(word >> 8 & 0xFF, 0xAA),
        ways: 3,
    });
}

#[test]
fn a_power_cut_at_every_operation_on_option_bytes_leaves_an_f103_that_runs_and_is_locked_or_refused_by_the_next_run()
 {
    cut_options(&Options {
        kit: &F103,
        area: (0x1FFF_F800, 16),
        declared: declared("DATA0", 4, 0xFF, 0x37),
        protects: |word| word != 0xA5,
        ways: 1,
    });
}

#[test]
fn a_power_cut_at_every_operation_on_option_bytes_leaves_a_g431_that_runs_and_is_locked_or_is_known_to_be_lost()
 {
    cut_options(&Options {
        kit: &G431,
        area: (0x1FFF_7800, 48),
        declared: declared("BOR_LEV", 1, 0x07, 0x01),
        protects: |word| word & 0xFF != 0xAA,
        ways: 1,
    });
}

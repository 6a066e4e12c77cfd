//! The shipped bootloader of a board with a second slot: power cut at every flash operation of an update, and always an
//! application runs; wrong bits in the slot are never installed.

use panel_emulator::{Broken, Cells, Noise, Operation};

use crate::tools::{F405_SLOT, G431_SLOT, Kit};
use crate::update::{Alive, both, cuts, start_within, updated};

/// Bytes of ballast in the images, enough for two pieces of 256 bytes in the pipeline.
const BALLAST: usize = 300;

/// A start at 16 MHz, erasing and programming of a small image's place, the start window of 300 ms, a reset and the check.
const SETTLED: u64 = 1200;

fn start(kit: &Kit, flash: &Cells, seed: u64) -> Result<Alive, String> {
    start_within(kit, flash, seed, SETTLED)
}

/// A board with an application, and the update of it: its flash before, and the operations.
fn update(kit: &Kit) -> (Cells, Vec<Operation>) {
    let (old, new) = (kit.application("old", BALLAST), kit.application("new", BALLAST));
    let (_, first, _) = updated(kit, None, &old);
    let (before, after, operations) = updated(kit, Some(&first), &new);
    assert_eq!(start(kit, &before, 1), Ok(Alive::Application("old".to_owned())));
    assert_eq!(start(kit, &after, 1), Ok(Alive::Application("new".to_owned())));
    (before, operations)
}

/// The first operation of the installation: what is erased again where the application stands.
fn installs_from(kit: &Kit, operations: &[Operation]) -> usize {
    let (place, _) = kit.application("new", BALLAST).flat();
    let first = operations.iter().position(|o| o.is_erase() && o.address == place);
    first.expect("the place is erased once")
}

fn cut_everywhere(kit: &Kit) {
    let (before, operations) = update(kit);
    cut(kit, before, &operations, ["old", "new"], |_| true);
    println!(
        "measured: {}: {} flash operations of a staged update cut, {} of them before the installation: an application runs after each",
        kit.name,
        operations.len(),
        installs_from(kit, &operations)
    );
    assert!(operations.len() > 150, "{}", operations.len());
}

/// Cuts the power in the middle of and right after each operation that `touched` names, and starts the board. The Staged
/// record is one of the last before the installation: until the first of its words nothing else can run than the old
/// application, from its last word on nothing else than the new one.
fn cut(
    kit: &Kit,
    flash: Cells,
    operations: &[Operation],
    [old, new]: [&str; 2],
    touched: impl Fn(&Operation) -> bool,
) {
    let install = installs_from(kit, operations);
    let staged = install - STAGED_UNITS;
    let cuts = cuts(flash, operations, touched);
    let bad = both(&cuts, |(n, how, flash)| {
        let place = format!("cut at operation {n} of {}, {how:?}", operations.len());
        let alive = start(kit, flash, *n as u64).map_err(|why| format!("{place}: {why}"))?;
        let may = |version: &str| alive == Alive::Application(version.to_owned());
        match *n {
            n if n < staged && may(old) => Ok(()),
            n if n >= install && may(new) => Ok(()),
            n if (staged..install).contains(&n) && (may(old) || may(new)) => Ok(()),
            _ => Err(format!("{place}: {alive:?}")),
        }
    });
    assert!(bad.is_empty(), "{} of {}: {:#?}", bad.len(), cuts.len(), &bad[..bad.len().min(5)]);
}

/// Program operations of one record of 64 bytes at most: words of four.
const STAGED_UNITS: usize = 16;

fn wrong_bits(kit: &Kit) {
    let (mut flash, operations) = update(kit);
    let install = installs_from(kit, &operations);
    operations[..install].iter().for_each(|operation| operation.leave(&mut flash, Broken::Done));
    assert_eq!(start(kit, &flash, 1), Ok(Alive::Application("new".to_owned())));
    let (_, bytes) = kit.application("new", BALLAST).flat();
    let first = operations.iter().find(|o| !o.is_erase()).expect("the slot is programmed");
    let mut noise = Noise::new(7);
    let flips: Vec<(u32, u8)> = (0..200)
        .map(|_| (first.address + noise.below(bytes.len() as u64) as u32, noise.below(8) as u8))
        .collect();
    let bad = both(&flips, |&(at, bit)| {
        let mut flash = flash.clone();
        flash.flip(at, bit);
        let place = format!("bit {bit} of {at:#010x}");
        match start(kit, &flash, 1).map_err(|why| format!("{place}: {why}"))? {
            Alive::Bootloader => Ok(()),
            Alive::Application(version) => Err(format!("{place}: {version} runs")),
        }
    });
    println!(
        "measured: {}: {} wrong bits in the slot, {} images installed",
        kit.name,
        flips.len(),
        bad.len()
    );
    assert!(bad.is_empty(), "{:#?}", &bad[..bad.len().min(5)]);
}

#[test]
fn a_power_cut_at_every_flash_operation_of_a_staged_update_leaves_an_f405_that_runs_an_application() {
    cut_everywhere(&F405_SLOT);
}

#[test]
fn a_power_cut_at_every_flash_operation_of_a_staged_update_leaves_a_g431_that_runs_an_application() {
    cut_everywhere(&G431_SLOT);
}

#[test]
fn a_power_cut_while_full_records_are_moved_and_begun_anew_leaves_a_g431_that_runs_an_application() {
    // One page holds 32 records and an update writes three.
    let kit = &G431_SLOT;
    let mut images = ["old", "new"].map(|version| (version, kit.application(version, BALLAST)));
    let (_, mut flash, _) = updated(kit, None, &images[0].1);
    for update in 1..20 {
        let (before, after, operations) = updated(kit, Some(&flash), &images[1].1);
        if operations.iter().any(|o| o.is_erase() && o.address == G431_KEPT) {
            let touched = |operation: &&Operation| operation.address >= G431_KEPT;
            let count = operations.iter().filter(touched).count();
            cut(kit, before, &operations, [images[0].0, images[1].0], |o| touched(&o));
            println!(
                "measured: {}: update {update} moved the newest record; {count} operations cut",
                kit.name
            );
            assert!(count > 60, "two erases, and twice four records of eight double words");
            return;
        }
        flash = after;
        images.swap(0, 1);
    }
    panic!("twenty updates, and the records were never full");
}

/// The slot's last page on `g431-slot`; the records are in the page behind it.
const G431_KEPT: u32 = 0x0801_F000;

#[test]
fn a_wrong_bit_in_the_slot_is_never_installed_on_f405() {
    wrong_bits(&F405_SLOT);
}

#[test]
fn a_wrong_bit_in_the_slot_is_never_installed_on_g431() {
    wrong_bits(&G431_SLOT);
}

//! Whatever a device answers: no panic, no session without end, nothing sent outside the plan.
//!
//! The example `fuzz` runs the same for as long as one likes.

use stm32_rom_bootloader::testing::{Chaos, Hostility, fuzz};

#[test]
fn two_hundred_thousand_hostile_devices_get_nothing_outside_the_plan() {
    let (mut succeeded, mut changes, mut honest_failures) = (0u32, 0u32, 0u32);
    for seed in 0..200_000 {
        let verdict =
            fuzz(&mut Chaos::from_seed(seed)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        succeeded += u32::from(verdict.error.is_none());
        changes += verdict.changes;
        honest_failures += u32::from(verdict.hostility == Hostility::Honest && verdict.error.is_some());
    }
    // The runs must get somewhere, or they would prove nothing.
    assert!(succeeded > 40_000, "only {succeeded} runs succeeded");
    assert!(changes > 200_000, "only {changes} writes and erases");
    // Protected chips, refused mass erases and drivers without lines fail honestly.
    assert!(honest_failures < 15_000, "{honest_failures} honest runs failed");
}

#[test]
fn bytes_of_a_fuzzer_decide_a_run() {
    let one = fuzz(&mut Chaos::from_bytes(&[0; 64])).unwrap();
    let again = fuzz(&mut Chaos::from_bytes(&[0; 64])).unwrap();
    assert_eq!(one, again);
}

#[test]
fn what_fuzzing_found_worth_keeping_is_replayed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/rom_session");
    let mut honest = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let verdict = fuzz(&mut Chaos::from_bytes(&std::fs::read(&path).unwrap()));
        let verdict = verdict.unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        if name.starts_with("honest") {
            assert_eq!((verdict.hostility, verdict.error), (Hostility::Honest, None), "{name}");
            honest += 1;
        }
    }
    assert!(honest >= 8, "only {honest} seeds are honest");
}

//! Up to three faults of any kind in any slots, seeded: nobody fails but the faulty, whatever the binding.

use std::collections::BTreeSet;

use super::harness::{Place, Run};

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

fn fault(r: &mut Random) -> String {
    let time = format!("at_ms = {}", r.below(3700));
    let address = format!("address = {:#x}", 0x0802_0000 + 4 * r.below(0x1_0000));
    let when = if r.below(2) == 0 { time.clone() } else { format!("at_{address}") };
    let identifier =
        r.of(&[0u16, 1, 2, 0x10, 0x85, 0x107, 0x187, 0x205, 0x287, 0x300, 0x3FF, 0x400, 0x5A5, 0x7FF]);
    let (name, more) = match r.below(15) {
        0 => ("absent", String::new()),
        1 => ("dead", when),
        2 => ("brown-out", when),
        3 => ("program-fails", address),
        4 => ("reads-back-wrong", address),
        5 => ("erase-fails", address),
        6 => ("erase-slow", format!("factor = {}", r.of(&[1.2, 1.7, 3.0]))),
        7 => ("wrong-chip", "chip = \"F429\"".to_owned()),
        8 => ("protected", String::new()),
        9 => ("babbling", format!("{time}\nidentifier = {identifier:#x}")),
        10 => ("bus-off", time),
        11 => ("supply-low", String::new()),
        12 => ("mute-after-erase", String::new()),
        13 => ("loss", format!("rate = {}", r.of(&[0.02, 0.2, 0.5, 0.9]))),
        _ => ("slow-service", format!("service_us = {}", r.of(&[150, 300, 1000]))),
    };
    format!("fault = \"{name}\"\n{more}\n")
}

fn run(seed: u64) -> (String, BTreeSet<u64>, Run) {
    let mut r = Random(seed);
    let faulty: BTreeSet<u64> = (0..=r.below(3)).map(|_| 1 + r.below(21)).collect();
    let mut text = r.of(&["", "[all]\nloss = 0.001\n", "[all]\nloss = 0.01\n"]).to_owned();
    for slot in &faulty {
        text.push_str(&format!("[[slot]]\nslot = {slot}\n{}", fault(&mut r)));
    }
    let binding = r.of(&["straps", "select", "power-groups"]);
    let place = Place::new();
    let panel = format!(
        "name = \"p\"\nrows = 3\ncolumns = 7\nbinding = \"{binding}\"\nbus = [{{ link = \"sim\" }}]\n"
    );
    let panel = place.file("panel.toml", panel);
    let scenario = place.file("scenario.toml", &text);
    let seed = seed.to_string();
    let args = ["--seed".as_ref(), seed.as_ref(), "--panel".as_ref(), panel.as_os_str()];
    let run = place.run(args.into_iter().chain(["--scenario".as_ref(), scenario.as_os_str()]));
    (format!("seed {seed}, {binding}\n{text}"), faulty, run)
}

#[test]
fn nobody_fails_but_the_faulty() {
    for seed in 1..=24 {
        let (what, faulty, run) = run(seed);
        assert_eq!(run.boards().len(), 21, "{what}{}", run.stderr);
        let harmed: Vec<_> = run.failures().into_iter().filter(|(slot, ..)| !faulty.contains(slot)).collect();
        assert!(harmed.is_empty(), "{what}{harmed:?}");
        assert!(run.json["seconds"].as_f64().is_some_and(|s| s < 12.0), "{what}{}", run.json["seconds"]);
    }
}

//! Which board sits in which slot, found out without straps.

use super::harness::{Place, Run, scenario};

fn panel(place: &Place, binding: &str, buses: usize) -> std::path::PathBuf {
    let buses = "[[bus]]\nlink = \"sim\"\n".repeat(buses);
    place.file(
        "panel.toml",
        format!("name = \"bound\"\nrows = 3\ncolumns = 7\nbinding = \"{binding}\"\n{buses}"),
    )
}

fn run(binding: &str, buses: usize, name: Option<&str>) -> Run {
    let place = Place::new();
    let mut args = vec!["--panel".into(), panel(&place, binding, buses).into_os_string()];
    if let Some(name) = name {
        args.extend(["--scenario".into(), scenario(name).into_os_string()]);
    }
    place.run(args)
}

fn uids(run: &Run) -> Vec<(u64, String)> {
    let uid = |b: &serde_json::Value| b["uid"].as_str().unwrap_or_default().to_owned();
    run.boards().iter().map(|b| (b["slot"].as_u64().unwrap_or_default(), uid(b))).collect()
}

#[test]
fn every_way_of_binding_finds_the_same_board_in_every_slot() {
    let straps = run("straps", 1, None);
    straps.assert_all_pass();
    for binding in ["select", "power-groups"] {
        for buses in [1, 2] {
            let run = run(binding, buses, None);
            run.assert_all_pass();
            assert_eq!(uids(&run), uids(&straps), "{binding}, {buses}");
        }
    }
}

#[test]
fn faulty_boards_do_not_move_others_into_their_slots() {
    let straps = run("straps", 1, None);
    for binding in ["select", "power-groups"] {
        for (name, expected) in [
            ("absent", &[(7, "E101 board-absent")][..]),
            ("same-uid", &[(3, "E102 duplicate-uid"), (7, "E102 duplicate-uid")]),
            ("dead-in-discovery", &[(7, "E301 board-silent")]),
            ("bus-off-at-start", &[(7, "E305 board-bus-off")]),
            ("babbling-in-discovery", &[(7, "E304 babbling")]),
            ("loss-1-in-100", &[]),
        ] {
            let run = run(binding, 1, Some(name));
            let failures: Vec<_> = run.failures().iter().map(|&(slot, _, code)| (slot, code)).collect();
            assert_eq!(failures, expected, "{binding}, {name}: {}", run.stderr);
            let passed = |(slot, _): &(u64, String)| expected.iter().all(|(s, _)| s != slot);
            let at = |run: &Run| uids(run).into_iter().filter(passed).collect::<Vec<_>>();
            assert_eq!(at(&run), at(&straps), "{binding}, {name}");
        }
    }
}

#[test]
fn a_board_that_misses_half_of_everything_is_never_put_into_anothers_slot() {
    for seed in ["1", "2", "3", "4", "5"] {
        let place = Place::new();
        let half = place.file("half.toml", "[[slot]]\nslot = 9\nfault = \"loss\"\nrate = 0.5\n");
        let straps = place.run(["--seed", seed]);
        let panel = panel(&place, "power-groups", 1);
        let args = ["--seed".as_ref(), seed.as_ref(), "--panel".as_ref(), panel.as_os_str()];
        let run = place.run(args.into_iter().chain(["--scenario".as_ref(), half.as_os_str()]));
        let failed: Vec<u64> = run.failures().iter().map(|&(slot, _, _)| slot).collect();
        assert_eq!(failed, [9], "{:?}", run.failures());
        let others = |run: &Run| uids(run).into_iter().filter(|u| u.0 != 9).collect::<Vec<_>>();
        assert_eq!(others(&run), others(&straps), "seed {seed}");
    }
}

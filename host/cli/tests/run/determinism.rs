//! Same seed, same events, byte for byte.

use super::harness::{Place, scenario};

/// The event log of a run in a place of its own.
fn log(name: Option<&str>, seed: &str) -> Vec<u8> {
    let place = Place::new();
    let log = place.path("log");
    let mut args = vec!["--seed".into(), seed.into(), "--event-log".into(), log.clone().into_os_string()];
    if let Some(name) = name {
        args.extend(["--scenario".into(), scenario(name).into_os_string()]);
    }
    let run = place.run(args);
    assert_eq!(run.boards().len(), 21, "{}", run.stderr);
    std::fs::read(log).expect("the log")
}

#[test]
fn the_same_seed_gives_the_same_events_with_and_without_faults() {
    for name in
        [None, Some("five-faults"), Some("loss-1-in-100"), Some("corruption-1-in-100"), Some("loss-half")]
    {
        let first = log(name, "7");
        assert!(first.len() > 10_000, "{name:?}: {} bytes", first.len());
        // Not assert_eq: a difference would print both logs.
        assert!(first == log(name, "7"), "{name:?}");
    }
}

#[test]
fn another_seed_gives_other_boards_and_other_losses() {
    assert!(log(None, "7") != log(None, "8"));
    assert!(log(Some("loss-1-in-100"), "7") != log(Some("loss-1-in-100"), "8"));
}

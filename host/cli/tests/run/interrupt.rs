//! Ctrl-C in the middle of a run in real time: boards are left safe, the record is complete.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use panel_store::{AttemptResult, Filter, Store};

use super::harness::{Place, Run};

#[expect(clippy::disallowed_methods, reason = "this test is about real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this test is about real time")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// A run of about four seconds that gets `signal` so long after its first word.
fn interrupted(place: &Place, command: &mut Command, signal: &str, after: Duration) -> (Run, Duration) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut said = String::new();
    stderr.read_line(&mut said).expect("it says something");
    assert!(place.records().exists(), "{said}");
    wait(after);
    let sent = now();
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.expect("kill is there").success());
    // Whoever stopped listening would keep the program from ending.
    std::io::copy(&mut stderr, &mut std::io::sink()).expect("until it ends");
    let run = Run::of(&child.wait_with_output().expect("it ends"));
    (run, sent.elapsed())
}

fn assert_left_safe(place: &Place, run: &Run, took: Duration) {
    assert_eq!(run.exit, Some(130), "{}", run.stderr);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(run.boards().len(), 21);
    for board in run.boards() {
        assert_eq!((&board["result"], &board["code"]), (&"aborted".into(), &"E407 interrupted".into()));
    }
    let store = Store::open(&place.records()).expect("the database opens");
    assert_eq!(store.in_doubt().expect("it says who is in doubt"), []);
    let lines = store.records().csv(&Filter::default()).expect("attempts");
    assert_eq!(lines.len(), 21);
    assert!(lines.iter().all(|l| l.result == AttemptResult::Aborted && l.ended.is_some()));
}

#[test]
fn an_interrupt_ends_the_run_at_once_with_a_complete_record() {
    let place = Place::new();
    let (run, took) = interrupted(&place, place.command().arg("--json"), "-INT", Duration::from_millis(1500));
    assert_left_safe(&place, &run, took);
}

#[test]
fn a_request_to_terminate_does_the_same_even_before_boards_are_found() {
    let place = Place::new();
    let (run, took) = interrupted(&place, place.command().arg("--json"), "-TERM", Duration::ZERO);
    assert_left_safe(&place, &run, took);
}

#[test]
fn a_run_after_an_interrupted_one_passes() {
    let place = Place::new();
    let boards = place.path("boards");
    let args = ["--boards".as_ref(), boards.as_os_str()];
    let (run, _) = interrupted(&place, place.command().args(args), "-INT", Duration::from_millis(1200));
    assert_eq!(run.exit, Some(130));
    place.run(args).assert_all_pass();
}

#[test]
fn what_a_simulated_panel_that_was_killed_left_behind_is_removed_by_the_next_one() {
    let place = Place::new();
    let files = place.path("temporary");
    std::fs::create_dir(&files).expect("the test's own directory");
    let serving = || {
        let mut sim = super::harness::panelflash("sim");
        sim.args(["panel", "--tcp", "127.0.0.1:0"]).env("TMPDIR", &files);
        let mut sim = sim.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let lines = BufReader::new(sim.stdout.take().expect("it is piped")).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.starts_with("panel ")), "it says where it is");
        sim
    };
    let names = || {
        let entries = std::fs::read_dir(&files).expect("it is there");
        entries
            .map(|entry| entry.expect("readable").file_name().into_string().expect("a name"))
            .collect::<Vec<_>>()
    };
    let mut killed = serving();
    killed.kill().expect("it can be killed");
    killed.wait().expect("it ends");
    assert_eq!(names(), [format!("panelflash-sim-{}", killed.id())], "nobody can remove it then");
    let mut next = serving();
    assert_eq!(names(), [format!("panelflash-sim-{}", next.id())]);
    let kill = Command::new("kill").args(["-TERM", &next.id().to_string()]).status();
    assert!(kill.expect("kill is there").success() && next.wait().expect("it ends").success());
    assert_eq!(names(), Vec::<String>::new());
}

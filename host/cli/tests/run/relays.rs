//! Runs whose boards get their power through a relay board, in real time: the relay board is simulated on a
//! pseudo-terminal, with a decoder of its own, and switches the power of boards that are simulated in another process.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::boards::{Controller, Lcus, Wiring};
use super::harness::{Place, Run, job, panelflash};
use super::links::{Far, panel};

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than two looks at an input.
const PRESS: Duration = Duration::from_millis(250);

#[expect(clippy::disallowed_methods, reason = "these tests are about real time")]
fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[expect(clippy::disallowed_methods, reason = "these tests are about real time")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// The supply of the simulated boards: one connection, for as long as somebody switches.
struct Supply(Mutex<BufReader<UnixStream>>);

impl Supply {
    fn ask(&self, command: &str) -> String {
        let mut stream = self.0.lock().expect("nobody panicked");
        writeln!(stream.get_mut(), "{command}").expect("the boards are there");
        let mut answer = String::new();
        stream.read_line(&mut answer).expect("the boards are there");
        answer.trim_end().to_owned()
    }
}

/// Four boards behind an slcan adapter, and a job for them.
struct Bench {
    place: Place,
    job: PathBuf,
    link: String,
    supply: Arc<Supply>,
    _far: Far,
}

impl Bench {
    fn new(faults: &str) -> Self {
        let place = Place::new();
        // Two processes on a machine that may be busy with others: boards are given more time to start than they need.
        let text = format!("{}[limits]\nstartup = \"300 ms\"\n", job("bench-64k.bin", ""));
        let job = place.file("job.toml", text);
        let socket = place.path("supply");
        let link = format!("slcan:{}", place.path("adapter").display());
        let there = place.file("there.toml", panel(&link, &socket, ""));
        let faults = place.file("faults.toml", faults);
        let far =
            Far::start(&["--panel".as_ref(), there.as_os_str(), "--scenario".as_ref(), faults.as_os_str()]);
        let stream = UnixStream::connect(&socket).expect("it listens");
        let supply = Arc::new(Supply(Mutex::new(BufReader::new(stream))));
        Self { place, job, link, supply, _far: far }
    }

    /// Outputs 1 to 4 are the power of slots 1 to 4, and measure it.
    fn wiring(&self) -> Wiring {
        let (switched, measured) = (Arc::clone(&self.supply), Arc::clone(&self.supply));
        Wiring {
            switch: Box::new(move |output, on| {
                let to = if on { "on" } else { "off" };
                assert_eq!(switched.ask(&format!("power {to} {output}")), "ok");
            }),
            draws: Box::new(move |output| {
                let answer = measured.ask(&format!("current {output}"));
                answer.split('=').nth(1).and_then(|ma| ma.parse().ok())
            }),
        }
    }

    fn command(&self, fixture: &str) -> Command {
        let text = format!(
            "name = \"relays\"\nrows = 1\ncolumns = 4\nbus = [{{ link = \"{}\" }}]\n[fixture]\n{fixture}\n",
            self.link
        );
        let panel = self.place.file("panel.toml", text);
        let mut command = self.place.command();
        command.arg(&self.job).arg("--panel").arg(panel).arg("--json").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// While a run goes on, `doctor` names it, and the ports that it holds.
    fn assert_doctor_sees(&self, run: u32, port: &str) {
        let report = self.doctor();
        let said = |level: &str, what: &str| {
            let findings = report["findings"].as_array().expect("a list").iter();
            findings
                .filter(|f| f["level"] == level)
                .any(|f| f["found"].as_str().is_some_and(|t| t.contains(what)))
        };
        assert!(said("warn", &format!("another one is running: process {run}")), "{report:#}");
        assert!(said("fail", &format!("{port}: in use by another program")), "{report:#}");
    }

    /// What `doctor` says of the panel file of the last run.
    fn doctor(&self) -> serde_json::Value {
        let mut doctor = panelflash("doctor");
        doctor.arg("--json").arg("--panel").arg(self.place.path("panel.toml"));
        let output = doctor.arg("--records").arg(self.place.records()).output().expect("the binary starts");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Level and text of what `doctor` finds about this, for a panel with this fixture.
    fn diagnosis(&self, fixture: &str, about: &str) -> Vec<(String, String)> {
        drop(self.command(fixture));
        let report = self.doctor();
        let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
        let findings = report["findings"].as_array().expect("a list").iter();
        let of = findings.filter(|f| text(f, "about").starts_with(about));
        of.map(|f| (text(f, "level"), text(f, "found"))).collect()
    }

    fn start(&self, fixture: &str) -> Started {
        Started::new(self.command(fixture).spawn().expect("the binary starts"))
    }
}

/// A run that is going on.
struct Started {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Started {
    fn new(mut child: Child) -> Self {
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        Self { child, stderr, said: String::new() }
    }

    /// Waits until it says this.
    fn hear(&mut self, text: &str) {
        let from = self.said.len();
        while !self.said[from..].contains(text) {
            let count = self.stderr.read_line(&mut self.said).expect("text");
            assert!(count > 0, "it ended without saying `{text}`: {}", self.said);
        }
    }

    fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(kill.expect("kill is there").success());
    }

    fn end(mut self) -> Run {
        let out = self.child.stdout.take().expect("it is piped");
        let json = std::thread::spawn(move || std::io::read_to_string(out).expect("text"));
        while self.stderr.read_line(&mut self.said).expect("text") > 0 {}
        let exit = self.child.wait().expect("it ends").code();
        let json = serde_json::from_str(&json.join().expect("it ends")).unwrap_or_default();
        Run { exit, json, stderr: self.said }
    }
}

fn controlled(board: &Controller, more: &str) -> String {
    format!("power = \"ascii-relay:{}#{{slot}}\"\n{more}", board.path())
}

fn all(code: &'static str, result: &'static str) -> Vec<(u64, &'static str, &'static str)> {
    (1..=4).map(|slot| (slot, result, code)).collect()
}

#[test]
fn a_run_waits_for_lid_and_button_and_gives_and_measures_power_through_the_controller() {
    let faults = "[[slot]]\nslot = 2\nfault = \"dead\"\nat_ms = 0\n[[slot]]\nslot = 3\nfault = \"absent\"\n";
    let bench = Bench::new(faults);
    let board = Controller::new(4, 60_000, bench.wiring());
    let path = board.path();
    let inputs = format!("interlock = \"ascii-relay:{path}#1\"\nstart = \"ascii-relay:{path}#2\"\n");
    let mut run = bench.start(&controlled(&board, &inputs));
    run.hear("close the fixture");
    bench.assert_doctor_sees(run.child.id(), board.path());
    board.input(2, true);
    wait(PRESS);
    board.input(2, false);
    wait(PRESS);
    board.input(1, true);
    run.hear("press the start button");
    assert!(board.on().is_empty(), "pressed on an open fixture, it did not count");
    board.input(2, true);
    let run = run.end();
    let codes: Vec<(u64, &str)> = run.failures().iter().map(|f| (f.0, f.2)).collect();
    assert_eq!(codes, [(2, "E301 board-silent"), (3, "E101 board-absent")], "{}", run.stderr);
    assert_eq!(run.board(3)["detail"], "no answer, 0 mA");
    let drawn = run.board(2)["detail"].as_str().expect("text");
    assert!(drawn.starts_with("no answer, draws ") && drawn.ends_with(" mA"), "{drawn}");
    assert_eq!((run.exit, board.on()), (Some(1), vec![]));
}

#[test]
fn a_run_that_is_stopped_while_it_waits_for_the_lid_never_gave_power() {
    let bench = Bench::new("");
    let given = Arc::new(AtomicBool::new(false));
    let (told, Wiring { switch, draws }) = (Arc::clone(&given), bench.wiring());
    let switch = Box::new(move |output, on| {
        told.fetch_or(on, Ordering::Relaxed);
        switch(output, on);
    });
    let board = Controller::new(4, 0, Wiring { switch, draws });
    let more = format!("interlock = \"ascii-relay:{}#1\"\ndischarge = \"0 s\"\n", board.path());
    let mut run = bench.start(&controlled(&board, &more));
    run.hear("close the fixture");
    run.signal("-TERM");
    let run = run.end();
    assert_eq!((run.exit, run.failures()), (Some(130), all("E407 interrupted", "aborted")), "{}", run.stderr);
    assert!(!given.load(Ordering::Relaxed));
}

#[test]
fn opening_the_lid_takes_power_from_all_boards_at_once_and_ends_the_run() {
    let bench = Bench::new("");
    let board = Controller::new(4, 60_000, bench.wiring());
    board.input(1, true);
    let interlock = format!("interlock = \"ascii-relay:{}#1\"\n", board.path());
    let run = bench.start(&controlled(&board, &interlock));
    wait_until("power", || board.on() == [1, 2, 3, 4]);
    board.input(1, false);
    wait_until("power off", || board.on().is_empty());
    let run = run.end();
    assert_eq!(run.failures(), all("E418 interlock-open", "error"), "{}", run.stderr);
    assert_eq!(run.exit, Some(3));
}

#[test]
fn every_signal_that_ends_a_run_switches_power_off_without_help_of_a_watchdog() {
    let bench = Bench::new("");
    let board = Controller::new(4, 0, bench.wiring());
    for signal in ["-INT", "-TERM", "-HUP"] {
        let run = bench.start(&controlled(&board, ""));
        wait_until("power", || board.on() == [1, 2, 3, 4]);
        run.signal(signal);
        let run = run.end();
        assert_eq!((run.exit, board.on()), (Some(130), vec![]), "{signal}: {}", run.stderr);
        assert_eq!(run.failures(), all("E407 interrupted", "aborted"), "{signal}");
    }
}

#[test]
fn killed_outright_a_run_leaves_its_boards_to_the_controllers_watchdog() {
    let bench = Bench::new("");
    let board = Controller::new(4, 300, bench.wiring());
    let run = bench.start(&controlled(&board, ""));
    wait_until("power", || board.on() == [1, 2, 3, 4]);
    run.signal("-KILL");
    wait_until("the watchdog", || board.on().is_empty());
    assert_eq!(bench.supply.ask("current 1 2 3 4"), "ok 1=0 2=0 3=0 4=0");
    run.end();
}

#[test]
fn a_controller_that_falls_silent_ends_the_run_and_it_says_that_power_may_be_on() {
    let bench = Bench::new("");
    let board = Controller::new(4, 0, bench.wiring());
    board.input(1, true);
    let interlock = format!("interlock = \"ascii-relay:{}#1\"\n", board.path());
    let run = bench.start(&controlled(&board, &interlock));
    wait_until("power", || board.on() == [1, 2, 3, 4]);
    board.silence();
    let run = run.end();
    assert_eq!(run.failures(), all("E404 fixture-fault", "error"), "{}", run.stderr);
    let detail = run.board(1)["detail"].as_str().expect("text");
    assert!(detail.contains("no answer to `IN 1` within 250 ms, asked 3 times"), "{detail}");
    assert!(run.stderr.contains("the fixture could not be made safe"), "{}", run.stderr);
    assert_eq!(run.exit, Some(3));
}

#[test]
fn doctor_says_what_each_kind_of_fixture_is_and_what_becomes_of_power_without_the_program() {
    let bench = Bench::new("");
    let after_death = "power if this program dies";
    let (watched, unwatched) =
        (Controller::new(4, 3_000, Wiring::none()), Controller::new(2, 0, Wiring::none()));
    let one = |fixture: &str, about: &str| {
        let found = bench.diagnosis(fixture, about);
        let [(level, text)] = found.as_slice() else { panic!("{fixture}: {found:?}") };
        (level.clone(), text.clone())
    };
    let (level, text) = one(&controlled(&watched, ""), "fixture controller");
    assert_eq!(
        (level.as_str(), text.as_str()),
        ("ok", "simulated board: 4 outputs, 4 inputs, watchdog 3000 ms")
    );
    let (level, text) = one(&controlled(&watched, ""), after_death);
    assert!(level == "ok" && text.ends_with("switches it off by its watchdog"), "{text}");
    let (level, text) = one(&controlled(&unwatched, ""), after_death);
    assert!(level == "warn" && text.ends_with("has no watchdog"), "{text}");
    let (level, text) = one(&controlled(&watched, "").replace("ascii", "!ascii"), after_death);
    assert!(level == "fail" && text.contains("would switch it ON"), "{text}");
    let found = bench.diagnosis(&controlled(&unwatched, ""), "power ascii-relay");
    assert_eq!(found, vec![("fail".to_owned(), "the controller has only 2 outputs".to_owned()); 2]);
    let plain = Lcus::new(Wiring::none());
    let lcus = format!("power = \"lcus:{}#{{slot}}\"\n", plain.path());
    assert_eq!(one(&lcus, "relay board"), ("ok".to_owned(), "free".to_owned()));
    assert_eq!(one(&lcus, after_death).0, "warn");
    watched.silence();
    let (level, text) = one(&controlled(&watched, ""), "fixture controller");
    assert!(level == "fail" && text.contains("no answer to `ID`"), "{text}");
    assert!(watched.on().is_empty() && plain.on().is_empty(), "nothing was switched");
}

#[test]
fn a_plain_relay_board_switches_the_power_of_a_run() {
    let bench = Bench::new("");
    let board = Lcus::new(bench.wiring());
    let settle = "power_settle = \"20 ms\"\n";
    let run = bench.start(&format!("power = \"lcus:{}#{{slot}}\"\n{settle}", board.path()));
    wait_until("power", || board.on() == [1, 2, 3, 4]);
    run.end().assert_all_pass();
    // The board never says when it is done.
    wait_until("power off", || board.on().is_empty());
    assert_eq!(board.damaged(), 0);
}

#[test]
fn an_operator_switches_what_no_line_can_and_is_told_to_switch_it_off_at_the_end() {
    let bench = Bench::new("");
    let mut child = bench.command("power = \"manual:the bench supply\"\n");
    let mut child = child.stdin(Stdio::piped()).spawn().expect("the binary starts");
    let mut keys = child.stdin.take().expect("it is piped");
    let mut run = Started::new(child);
    run.hear("switch off: the bench supply (power of slots 1, 2, 3, 4), then press Enter");
    writeln!(keys).expect("it listens");
    run.hear("switch on: the bench supply");
    assert_eq!(bench.supply.ask("power on 1 2 3 4"), "ok");
    writeln!(keys).expect("it listens");
    let run = run.end();
    run.assert_all_pass();
    assert!(
        run.stderr.contains("switch off now: the bench supply (power of slots 1, 2, 3, 4)"),
        "{}",
        run.stderr
    );

    let nobody = bench.start("power = \"manual:the bench supply\"\n").end();
    assert_eq!(nobody.failures(), all("E404 fixture-fault", "error"), "{}", nobody.stderr);
    let detail = nobody.board(1)["detail"].as_str().expect("text");
    assert!(detail.starts_with("nobody is there to do this: switch off: the bench supply"), "{detail}");
}

/// A pseudo-terminal has no RTS: that the attempt to set it is what fails, and not the opening of a port that is in use,
/// shows that lines and link share the port. What the lines do on a UART is checked in tests/vm.
#[test]
fn rts_of_a_slots_own_port_is_switched_through_the_port_that_is_open_already() {
    let place = Place::new();
    let (port, socket) = (place.path("port"), place.path("supply"));
    let text = |lines: &str| {
        format!(
            "name = \"uart\"\nrows = 1\ncolumns = 1\nways = [\"rom-uart\"]\nport = \"{}\"\n[fixture]\n{lines}\n",
            port.display()
        )
    };
    let there = place.file("there.toml", text(&format!("power = \"sim:{}#p\"", socket.display())));
    let _far = Far::start(&["--panel".as_ref(), there.as_os_str()]);
    place.file("image.bin", [1_u8; 512]);
    let job = place.file(
        "job.toml",
        "name = \"rom\"\nstart_application = false\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n\
         [[image]]\nfile = \"image.bin\"\naddress = 0x08004000\n",
    );
    let here = place.file("here.toml", text(&format!("nrst = \"rts:{}\"", port.display())));
    let mut command = place.command();
    command.arg(job).arg("--panel").arg(here).arg("--json").stdin(Stdio::null());
    let run = Run::of(&command.output().expect("the binary starts"));
    assert_eq!(run.failures(), [(1, "error", "E404 fixture-fault")], "{}", run.stderr);
    let detail = run.board(1)["detail"].as_str().expect("text");
    assert!(detail.starts_with("rts:") && detail.contains("could not be set low"), "{detail}");
}

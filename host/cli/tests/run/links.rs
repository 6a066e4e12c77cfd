//! Runs over real links in real time: the boards are simulated in another process, behind a pseudo-terminal with an
//! slcan adapter or behind TCP; power is switched over that process's socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, spawn};

use panel_simulator::{BusSpeed, Chip, World, WorldConfig};
use panel_store::{RunId, Store};

use super::harness::{Place, Run, firmware, job, panelflash, scenario};

const IMAGE: &str = "bench-64k.bin";

/// A panel of four boards whose bus is reached over `link`.
pub(crate) fn panel(link: &str, socket: &Path, more: &str) -> String {
    let socket = socket.display();
    format!(
        "name = \"far\"\nrows = 1\ncolumns = 4\nbus = [{{ link = \"{link}\"{more} }}]\n\
         [fixture]\npower = \"sim:{socket}#power-{{slot}}\"\nnrst = \"sim:{socket}#nrst-{{slot}}\"\n"
    )
}

/// The process with the boards.
pub(crate) struct Far {
    child: Child,
    /// The links of its buses, as panel.toml names them.
    links: Vec<String>,
}

impl Far {
    pub(crate) fn start(args: &[&std::ffi::OsStr]) -> Self {
        let mut command = panelflash("sim");
        command.arg("panel").args(args).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut far = Self { child: command.spawn().expect("the binary starts"), links: Vec::new() };
        let out = far.child.stdout.take().expect("piped");
        for line in BufReader::new(out).lines() {
            let line = line.expect("text");
            match line.split_once(' ') {
                Some(("fixture", _)) => return far,
                Some((_, link)) => far.links.push(link.to_owned()),
                None => break,
            }
        }
        panic!("it said nothing of its fixture");
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// One station, and the boards that it has.
struct Station {
    place: Place,
    job: PathBuf,
}

impl Station {
    fn new(lines: &str) -> Self {
        let place = Place::new();
        let job = place.file("job.toml", job(IMAGE, "") + lines);
        Self { place, job }
    }

    fn socket(&self) -> PathBuf {
        self.place.path("fixture")
    }

    /// Boards behind the link that `panel` names.
    fn boards(&self, panel: &Path, more: &[&std::ffi::OsStr]) -> Far {
        let flash = self.place.path("boards");
        let mut args = vec!["--panel".as_ref(), panel.as_os_str(), "--boards".as_ref(), flash.as_os_str()];
        args.extend(more);
        Far::start(&args)
    }

    fn command(&self, panel: &Path) -> Command {
        let mut command = self.place.command();
        command.arg(&self.job).arg("--panel").arg(panel).arg("--json").stdin(Stdio::null());
        command
    }

    fn run(&self, panel: &Path) -> Run {
        Run::of(&self.command(panel).output().expect("works on this machine"))
    }

    /// Whether the board's flash holds the image.
    fn holds_image(&self, slot: u16) -> bool {
        let mut config =
            WorldConfig::panel(4, Chip::by_name("F405").expect("works on this machine"), BusSpeed::CAN_1M);
        config.flash_dir = Some(self.place.path("boards"));
        let image = std::fs::read(firmware(IMAGE)).expect("works on this machine");
        let world = World::new(config, 1).expect("works on this machine");
        world.flash_bytes(slot, 0x0802_0000, image.len()) == Some(&image)
    }

    /// The notes about links in the record of the first run.
    fn notes(&self) -> String {
        let store = Store::open(&self.place.records()).expect("works on this machine");
        let events = store.records().events(RunId(1)).expect("works on this machine");
        events.iter().map(|e| format!("{} {}\n", e.kind, e.body)).collect()
    }
}

#[test]
fn boards_behind_an_slcan_adapter_are_programmed_and_a_bad_one_is_told_apart() {
    let station = Station::new("");
    let link = format!("slcan:{}", station.place.path("adapter").display());
    let file = station.place.file("panel.toml", panel(&link, &station.socket(), ""));
    let faults = station.place.file("faults.toml", "[[slot]]\nslot = 3\nfault = \"absent\"\n");
    let far = station.boards(&file, &["--scenario".as_ref(), faults.as_os_str()]);
    assert_eq!(far.links, [link]);
    let run = station.run(&file);
    assert_eq!(run.failures(), [(3, "error", "E101 board-absent")], "{}", run.stderr);
    drop(far);
    for slot in [1, 2, 4] {
        assert!(station.holds_image(slot), "slot {slot}");
    }
    assert!(!station.holds_image(3));
    assert!(
        station.notes().contains("transmit queue full 0 times, 0 received frames lost"),
        "{}",
        station.notes()
    );
}

#[test]
fn boards_behind_a_gateway_are_programmed_over_can_fd() {
    let station = Station::new("");
    let fd = ", kind = \"fd\", bit_rate = \"500k\", data_bit_rate = \"2M\"";
    let there = station.place.file("there.toml", panel("tcp://127.0.0.1:1", &station.socket(), fd));
    let job = std::fs::read_to_string(&station.job).expect("works on this machine");
    let job =
        job.replace("STM32F405", "STM32G474").replace("0x413", "0x469").replace(IMAGE, "small-g474-64k.bin");
    std::fs::write(&station.job, job.replace("0x08020000", "0x08008000")).expect("works on this machine");
    let device: [&std::ffi::OsStr; 4] =
        ["--tcp".as_ref(), "127.0.0.1:0".as_ref(), "--device".as_ref(), "G474".as_ref()];
    let far = station.boards(&there, &device);
    let here = station.place.file("here.toml", panel(&far.links[0], &station.socket(), fd));
    station.run(&here).assert_all_pass();
}

/// Passes bytes between the program and the boards, and cuts the connection once after this many from the program.
fn cutter(to: String, after: usize) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("works on this machine");
    let address = listener.local_addr().expect("works on this machine").to_string();
    let work = spawn(move || {
        for limit in [after, usize::MAX] {
            let near = listener.accept().expect("works on this machine").0;
            let far = TcpStream::connect(&to).expect("works on this machine");
            near.set_nodelay(true).expect("works on this machine");
            far.set_nodelay(true).expect("works on this machine");
            let (back_from, back_to) = (
                far.try_clone().expect("works on this machine"),
                near.try_clone().expect("works on this machine"),
            );
            let back = spawn(move || pass(back_from, back_to, usize::MAX));
            pass(near, far, limit);
            back.join().expect("works on this machine");
        }
    });
    (address, work)
}

fn pass(mut from: TcpStream, mut to: TcpStream, limit: usize) {
    let mut buffer = [0; 4096];
    let mut passed = 0;
    while passed < limit
        && let Ok(count @ 1..) = from.read(&mut buffer)
        && to.write_all(&buffer[..count]).is_ok()
    {
        passed += count;
    }
    _ = from.shutdown(std::net::Shutdown::Both);
    _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_link_that_breaks_in_the_middle_of_the_image_is_waited_for_and_nothing_is_lost() {
    let station = Station::new("");
    let there = station.place.file("there.toml", panel("tcp://127.0.0.1:1", &station.socket(), ""));
    let far = station.boards(&there, &["--tcp".as_ref(), "127.0.0.1:0".as_ref()]);
    let (address, cutter) = cutter(far.links[0].replace("tcp://", ""), 60_000);
    let here = station.place.file("here.toml", panel(&format!("tcp://{address}"), &station.socket(), ""));
    station.run(&here).assert_all_pass();
    let notes = station.notes();
    assert!(
        notes.contains("down: the other end closed the connection") && notes.contains("back after"),
        "{notes}"
    );
    drop(far);
    cutter.join().expect("works on this machine");
    assert!((1..=4).all(|slot| station.holds_image(slot)));
}

#[test]
fn a_link_that_stays_away_ends_the_run_with_its_code_and_everything_off() {
    let station = Station::new("[limits]\nlink_wait = \"0 s\"\n");
    let there = station.place.file("there.toml", panel("tcp://127.0.0.1:1", &station.socket(), ""));
    let far = station.boards(&there, &["--tcp".as_ref(), "127.0.0.1:0".as_ref()]);
    let (address, _cutter) = cutter(far.links[0].replace("tcp://", ""), 60_000);
    let here = station.place.file("here.toml", panel(&format!("tcp://{address}"), &station.socket(), ""));
    let run = station.run(&here);
    let expected: Vec<(u64, &str, &str)> = (1..=4).map(|slot| (slot, "error", "E401 link-down")).collect();
    assert_eq!((run.exit, run.failures()), (Some(3), expected), "{}", run.stderr);
    let detail = run.board(1)["detail"].as_str().expect("works on this machine");
    assert!(detail.starts_with("tcp://127.0.0.1:") && detail.contains("closed the connection"), "{detail}");
    assert_eq!(ask(&station.socket(), "current 1 2 3 4"), "ok 1=0 2=0 3=0 4=0");
}

/// One question to the simulated fixture.
pub(crate) fn ask(socket: &Path, command: &str) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("works on this machine");
    writeln!(stream, "{command}").expect("works on this machine");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("works on this machine");
    answer.trim_end().to_owned()
}

#[test]
fn an_adapter_at_the_wrong_rate_leaves_the_bus_and_the_run_says_so() {
    let station = Station::new("");
    let link = format!("slcan:{}", station.place.path("adapter").display());
    let there = station.place.file("there.toml", panel(&link, &station.socket(), ""));
    let here = station.place.file("here.toml", panel(&link, &station.socket(), ", bit_rate = \"500k\""));
    let _far = station.boards(&there, &[]);
    let run = station.run(&here);
    let off: Vec<(u64, &str, &str)> = (1..=4).map(|slot| (slot, "error", "E414 station-bus-off")).collect();
    assert_eq!((run.exit, run.failures()), (Some(3), off), "{}", run.stderr);
}

#[test]
fn boards_lose_their_power_when_the_program_that_gave_it_is_killed() {
    let station = Station::new("");
    let link = format!("slcan:{}", station.place.path("adapter").display());
    let file = station.place.file("panel.toml", panel(&link, &station.socket(), ""));
    let far = station.boards(&file, &[]);
    let mut run = station
        .command(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("works on this machine");
    let powered = || !ask(&station.socket(), "current 1").ends_with("=0");
    while !powered() {
        assert!(run.try_wait().expect("works on this machine").is_none(), "it ended without power");
        std::thread::yield_now();
    }
    run.kill().expect("works on this machine");
    run.wait().expect("works on this machine");
    while powered() {
        std::thread::yield_now();
    }
    drop(far);
}

#[test]
fn what_only_the_built_in_simulation_can_do_is_refused_on_real_links() {
    let station = Station::new("");
    let file = station.place.file("panel.toml", panel("tcp://127.0.0.1:1", &station.socket(), ""));
    for (option, value) in [
        ("--seed", "7"),
        ("--scenario", scenario("loss-1-in-1000").to_str().expect("works on this machine")),
        ("--boards", "x"),
    ] {
        let output = station.command(&file).args([option, value]).output().expect("works on this machine");
        let run = Run::of(&output);
        assert_eq!(run.exit, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains("E511 usage") && run.stderr.contains(option), "{}", run.stderr);
    }
    let run = station.run(&file);
    assert_eq!(run.exit, Some(3));
    assert!(
        run.stderr.contains("E417 link-missing") && run.stderr.contains("cannot connect"),
        "{}",
        run.stderr
    );
}

#[test]
fn blank_boards_behind_a_multiplexer_are_programmed_over_one_port() {
    let place = Place::new();
    let (port, socket) = (place.path("port"), place.path("fixture"));
    let lines: Vec<String> = ["power", "nrst", "boot0"]
        .iter()
        .map(|l| format!("{l} = \"sim:{}#{l}-{{slot}}\"\n", socket.display()))
        .collect();
    let panel = place.file(
        "panel.toml",
        format!(
            "name = \"mux\"\nrows = 1\ncolumns = 3\nways = [\"rom-uart\"]\nport = \"{}\"\n[fixture]\n{}\
             mux = [\"sim:{socket}#A\", \"!sim:{socket}#B\"]\n",
            port.display(),
            lines.concat(),
            socket = socket.display(),
        ),
    );
    place.file("image.bin", (0..2000_u32).map(|at| (at * 7 + at / 256) as u8).collect::<Vec<u8>>());
    let job = place.file(
        "job.toml",
        "name = \"rom\"\nstart_application = false\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n\
         [[image]]\nfile = \"image.bin\"\naddress = 0x08004000\n",
    );
    let far = Far::start(&["--panel".as_ref(), panel.as_os_str()]);
    assert_eq!(far.links, vec![port.display().to_string(); 3], "one port leads to three slots");
    let mut command = place.command();
    command.arg(&job).arg("--panel").arg(&panel).arg("--json").stdin(Stdio::null());
    Run::of(&command.output().expect("the binary starts")).assert_all_pass();
    // What the socket refuses, it says, and nothing is switched by it.
    for (command, answer) in [
        ("mux on C", "error there is no mux line `C`"),
        ("mux high A", "error on or off expected, got `high`"),
        ("power on 4", "error there is no slot 4"),
        ("power on x", "error there is no slot x"),
        ("power", "error on or off expected, got ``"),
        ("reboot 1", "error `reboot` is no command"),
        ("", "error empty line"),
        ("current 1 2 3", "ok 1=0 2=0 3=0"),
        ("mux on A", "ok"),
    ] {
        assert_eq!(ask(&socket, command), answer, "{command}");
    }
}

#[test]
fn blank_boards_at_serial_ports_are_programmed_side_by_side_and_a_mute_one_is_told_apart() {
    let place = Place::new();
    let (dir, socket) = (place.path("ports"), place.path("fixture"));
    std::fs::create_dir(&dir).expect("the test's own directory");
    let lines: Vec<String> = ["power", "nrst", "boot0"]
        .iter()
        .map(|l| format!("{l} = \"sim:{}#{l}-{{slot}}\"\n", socket.display()))
        .collect();
    let panel = place.file(
        "panel.toml",
        format!(
            "name = \"uart\"\nrows = 1\ncolumns = 3\nways = [\"rom-uart\"]\nport = \"{}/{{slot}}\"\n[fixture]\n{}",
            dir.display(),
            lines.concat()
        ),
    );
    let image: Vec<u8> = (0..3000_u32).map(|at| (at * 7 + at / 256) as u8).collect();
    place.file("image.bin", image);
    let job = place.file(
        "job.toml",
        "name = \"rom\"\nstart_application = false\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n\
         [[image]]\nfile = \"image.bin\"\naddress = 0x08004000\n",
    );
    let faults = place.file("faults.toml", "[[slot]]\nslot = 2\nfault = \"rom\"\nrom = \"mute\"\n");
    let far = Far::start(&["--panel".as_ref(), panel.as_os_str(), "--scenario".as_ref(), faults.as_os_str()]);
    assert_eq!(far.links[1], dir.join("2").display().to_string());
    let mut command = place.command();
    command.arg(&job).arg("--panel").arg(&panel).arg("--json").stdin(Stdio::null());
    let run = Run::of(&command.output().expect("the binary starts"));
    let failed: Vec<u64> = run.failures().iter().map(|f| f.0).collect();
    assert_eq!((run.exit, failed), (Some(1), vec![2]), "{}", run.stderr);
}

#[test]
fn blank_boards_of_another_process_get_an_agent_through_their_ports_and_then_the_image_over_their_bus() {
    let place = Place::new();
    let (dir, socket) = (place.path("ports"), place.path("fixture"));
    std::fs::create_dir(&dir).expect("the test's own directory");
    let lines: Vec<String> = ["power", "nrst", "boot0"]
        .iter()
        .map(|l| format!("{l} = \"sim:{}#{l}-{{slot}}\"\n", socket.display()))
        .collect();
    let dir = dir.display();
    let panel = place.file(
        "panel.toml",
        format!(
            "name = \"blank\"\nrows = 1\ncolumns = 3\nbinding = \"straps\"\nways = [\"rom-uart+agent\"]\n\
             port = \"{dir}/{{slot}}\"\n[[bus]]\nlink = \"slcan:{dir}/can\"\nbit_rate = \"500k\"\n[fixture]\n{}",
            lines.concat()
        ),
    );
    place.file("image.bin", (0..3000_u32).map(|at| (at * 7 + at / 256) as u8).collect::<Vec<u8>>());
    let agent =
        place.file("agent.bin", (0..2000_u32).map(|at| (at * 13 + at / 64) as u8).collect::<Vec<u8>>());
    let job = place.file(
        "job.toml",
        "name = \"rom\"\nstart_application = false\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n\
         [[image]]\nfile = \"image.bin\"\naddress = 0x08004000\n[agent]\nfile = \"agent.bin\"\naddress = 0x20003000\n",
    );
    let far = Far::start(&[
        "--panel".as_ref(),
        panel.as_os_str(),
        "--agent".as_ref(),
        agent.as_os_str(),
        "--agent-address".as_ref(),
        "0x20003000".as_ref(),
    ]);
    assert_eq!(far.links.len(), 4, "{:?}", far.links);
    let mut command = place.command();
    command.arg(&job).arg("--panel").arg(&panel).arg("--json").stdin(Stdio::null());
    let run = Run::of(&command.output().expect("the binary starts"));
    run.assert_all_pass();
    assert_eq!(run.boards().len(), 3);
}

#[test]
fn a_port_that_is_taken_or_missing_costs_its_own_slot_and_the_others_are_programmed() {
    let place = Place::new();
    let (dir, socket) = (place.path("ports"), place.path("fixture"));
    std::fs::create_dir(&dir).expect("the test's own directory");
    let lines: Vec<String> = ["power", "nrst", "boot0"]
        .iter()
        .map(|l| format!("{l} = \"sim:{}#{l}-{{slot}}\"\n", socket.display()))
        .collect();
    let text = format!(
        "name = \"uart\"\nrows = 1\ncolumns = 4\nways = [\"rom-uart\"]\nport = \"{}/{{slot}}\"\n[fixture]\n{}",
        dir.display(),
        lines.concat()
    );
    let panel = place.file("panel.toml", &text);
    place.file("image.bin", (0..3000_u32).map(|at| (at * 7 + at / 256) as u8).collect::<Vec<u8>>());
    let job = place.file(
        "job.toml",
        "name = \"rom\"\nstart_application = false\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n\
         [[image]]\nfile = \"image.bin\"\naddress = 0x08004000\n",
    );
    let far = Far::start(&["--panel".as_ref(), panel.as_os_str()]);
    assert_eq!(far.links.len(), 4, "{:?}", far.links);
    let other_program = std::fs::File::open(dir.join("2")).expect("a terminal");
    other_program.try_lock().expect("nobody else has it");
    std::fs::remove_file(dir.join("4")).expect("its name");
    let run = |panel: &Path| {
        let mut command = place.command();
        command.arg(&job).arg("--panel").arg(panel).arg("--json").stdin(Stdio::null());
        Run::of(&command.output().expect("the binary starts"))
    };
    let some = run(&panel);
    let failed = [(2, "error", "E720 port-busy"), (4, "error", "E722 port-missing")];
    assert_eq!((some.exit, some.failures()), (Some(1), failed.to_vec()), "{}", some.stderr);
    assert!(some.board(2)["detail"].as_str().is_some_and(|d| d.contains("in use")), "{}", some.stderr);
    // Nothing is left of a panel whose only port is taken.
    let only =
        place.file("only.toml", text.replace("columns = 4", "columns = 1").replace("{slot}\"\n[", "2\"\n["));
    let none = run(&only);
    assert!(none.stderr.contains("E720 port-busy"), "{}", none.stderr);
    assert!(none.boards().is_empty(), "nothing was begun: {}", none.stderr);
}

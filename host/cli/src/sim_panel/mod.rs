//! `panelflash sim panel`: a panel of simulated boards as a process of its own, on real links and in real time.
//!
//! The world computes as in a simulated run; here it follows the wall clock, its buses end in [`gate::Gate`]s, its
//! fixture in a [`socket::FixtureSocket`]. This is a driver: it reads the clock and waits.

mod gate;
mod ports;
mod socket;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use panel_backplane::{Link, Panel, PanelSlot, Port};
use panel_codes::Code;
use panel_job::demo;
use panel_links::BusRates;
use panel_protocol::time::{Micros, Span};
use panel_simulator::{AdapterConfig, AgentCode, Chip, RomConfig, RomLink, World};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::args::SCRATCH;
use crate::failure::Failure;
use crate::setup;
use gate::{Gate, behind_kernel};
use ports::SlotPort;
use socket::FixtureSocket;

/// Shortest and longest sleep. Boards do something every few microseconds; a host behind a USB adapter would see it
/// no sooner, and what comes from the host wakes at once.
const SHORTEST: Span = Span::from_millis(1);
const LONGEST: Span = Span::from_millis(50);
/// Shortest time between two looks at the links: some frames.
const ROUND: Span = Span(400);
/// What is made in the directory.
const FIXTURE: &str = "fixture";
const PANEL: &str = "panel.toml";
/// Frames that the adapter at a bus takes at once.
const QUEUE: usize = 24;

#[derive(Debug, Args)]
pub(crate) struct PanelArgs {
    /// CAN interfaces of the kernel, one for each bus.
    #[arg(long, value_name = "IF")]
    can: Vec<String>,
    /// An slcan adapter on a pseudo-terminal for each bus; the simulated bus is the wire.
    #[arg(long, conflicts_with_all = ["can", "tcp"])]
    pty: bool,
    /// Addresses to listen at, one for each bus, in the byte-stream framing; port 0 for any free one.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "can")]
    tcp: Vec<String>,
    /// The panel; without --can, --pty or --tcp its links say where its buses are to be served.
    #[arg(long, value_name = "PANEL.toml")]
    panel: Option<PathBuf>,
    /// The chip fitted in every slot, such as F405, G431, F103.
    #[arg(long, value_parser = chip, default_value = "F405")]
    device: &'static Chip,
    /// The RAM agent for panels with a way `+agent`: a blank board that is told to start these very bytes joins its
    /// bus. What the bytes do is simulated, so that any file will do; say the job's.
    #[arg(long, value_name = "FILE", requires = "agent_address")]
    agent: Option<PathBuf>,
    /// Where the agent is loaded, as in the job, such as 0x20003000.
    #[arg(long, value_name = "ADDRESS", value_parser = crate::rom::number, requires = "agent")]
    agent_address: Option<u32>,
    /// What is wrong with the boards and buses.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Seed of UIDs and dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the boards' flash in files of this directory.
    #[arg(long, value_name = "DIR")]
    boards: Option<PathBuf>,
    /// Where the fixture's socket, and panel.toml if none is given, are made [default: panelflash-sim-PID in the
    /// directory for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

fn chip(name: &str) -> Result<&'static Chip, String> {
    let names = || panel_simulator::CHIPS.iter().map(|c| c.name).collect::<Vec<_>>().join(", ");
    Chip::by_name(name).ok_or_else(|| format!("no simulated {name}; there are {}", names()))
}

pub(crate) fn panel(args: &PanelArgs) -> Result<u8, Failure> {
    let dir = args.dir.clone().unwrap_or_else(crate::args::scratch_dir);
    if args.dir.is_none() {
        sweep(&dir);
    }
    let own = dir.join(FIXTURE);
    let (panel, text) = read_panel(args, &own)?;
    let named = panel.fixture.lines.iter().find_map(|line| line.wire.connection.sim_socket());
    // A panel that says itself where its fixture is needs no directory. Declared before what lies in it, so that it
    // goes after that.
    let _folder = if named.is_none_or(|named| Path::new(named) == own) || args.dir.is_some() {
        Some(Folder::make(&dir)?)
    } else {
        None
    };
    let fixture = FixtureSocket::listen(named.map_or(&own, Path::new), &panel)?;
    let gates = gates(args, &panel)?;
    let mut world = world(args, &panel, matches!(gates.first(), Some(Gate::Kernel { .. })))?;
    // What the fixture cannot switch has power all the time.
    let unswitched = panel.slots.iter().filter(|s| s.lines.power.is_none()).map(|s| s.slot.0);
    world.set_power(&unswitched.collect::<Vec<_>>(), true);

    let names = panel.buses.iter().zip(&gates).map(|(bus, gate)| format!("{} {}", bus.name, gate.link()));
    let ports = slot_ports(&panel)?;
    let slots =
        |port: &SlotPort| port.slots().map(|s| format!("slot-{s} {}", port.name())).collect::<Vec<_>>();
    let slots = ports.iter().flat_map(slots);
    let mut lines: Vec<String> =
        names.chain(slots).chain([format!("fixture sim:{}", fixture.path().display())]).collect();
    let file = text.as_ref().map(|_| dir.join(PANEL));
    if let (Some(text), Some(file), Some(gate)) = (text, &file, gates.first()) {
        let text = text.replace("link = \"sim\"", &format!("link = \"{}\"", gate.link()));
        std::fs::write(file, text).map_err(|e| cannot_write(file, &e))?;
        lines.push(format!("panel {}", file.display()));
    }
    let stop = crate::run::stop_flag()?;
    let mut out = std::io::stdout().lock();
    let printed = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    printed.map_err(|e| Failure::new(Code::OutputFile, format!("standard output: {e}")))?;
    drop(out);

    serve(&mut world, gates, ports, fixture, &stop)?;
    for (bus, config) in panel.buses.iter().enumerate() {
        crate::out::note(&format!(
            "{}: {} frames on the simulated bus",
            config.name,
            world.bus_stats(bus).frames
        ));
    }
    if let Some(file) = file {
        _ = std::fs::remove_file(file);
    }
    match world.store_error() {
        None => Ok(0),
        Some(error) => Err(Failure::new(Code::OutputFile, error.to_string())),
    }
}

/// Removes what processes that were killed left beside our directory: only what they make there.
fn sweep(own: &Path) {
    let beside = own.parent().and_then(|parent| std::fs::read_dir(parent).ok());
    for dir in beside.into_iter().flatten().flatten() {
        let name = dir.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.parse().ok());
        let gone = |pid| test_kill_process(pid) == Err(Errno::SRCH);
        if id.and_then(Pid::from_raw).is_some_and(gone) {
            _ = std::fs::remove_file(dir.path().join(FIXTURE));
            _ = std::fs::remove_file(dir.path().join(PANEL));
            _ = std::fs::remove_dir(dir.path());
        }
    }
}

/// A directory that goes away with the program, however that ends, if it was made here and nothing is left in it.
struct Folder {
    path: PathBuf,
    fresh: bool,
}

impl Folder {
    fn make(path: &Path) -> Result<Self, Failure> {
        let fresh = !path.exists();
        std::fs::create_dir_all(path).map_err(|e| cannot_write(path, &e))?;
        Ok(Self { path: path.to_owned(), fresh })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.fresh {
            _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// The panel; and the demonstration's text, with lines to this process, if none was given.
fn read_panel(args: &PanelArgs, socket: &Path) -> Result<(Panel, Option<String>), Failure> {
    if args.panel.is_some() {
        return setup::panel(args.panel.as_deref()).map(|panel| (panel, None));
    }
    let socket = socket.display();
    let text = format!(
        "{}\n[fixture]\npower = \"sim:{socket}#power-{{slot}}\"\nnrst = \"sim:{socket}#nrst-{{slot}}\"\n",
        demo::PANEL_TOML
    );
    let panel = Panel::parse(&text).map_err(|p| setup::problems("demo panel", Code::PanelFile, &p))?;
    Ok((panel, Some(text)))
}

fn gates(args: &PanelArgs, panel: &Panel) -> Result<Vec<Gate>, Failure> {
    let given = args.can.len().max(args.tcp.len());
    if given > 0 && given != panel.buses.len() {
        let text = format!("panel {} has {} buses, {given} links are given", panel.name, panel.buses.len());
        return Err(Failure::new(Code::Usage, text));
    }
    panel
        .buses
        .iter()
        .enumerate()
        .map(|(n, bus)| {
            let rates = BusRates::from(bus);
            let speed = setup::bus_speed(bus);
            let missing =
                |e: &dyn std::fmt::Display| Failure::new(Code::LinkMissing, format!("bus {}: {e}", bus.name));
            let kernel = |name: &str| {
                Gate::kernel(name, rates).map_err(|e| crate::real_drive::open_failure(&bus.name, &e))
            };
            let slcan = match &bus.link {
                Link::Slcan(path) => Some(PathBuf::from(path)),
                _ => None,
            };
            match (&bus.link, args.can.get(n), args.tcp.get(n)) {
                (_, Some(name), _) => kernel(name),
                (_, _, Some(address)) => Gate::tcp(address).map_err(|e| missing(&e)),
                _ if args.pty => Gate::terminal(speed, slcan.as_deref()).map_err(|e| missing(&e)),
                (Link::SocketCan(name), ..) => kernel(name),
                (Link::Slcan(path), ..) => {
                    Gate::terminal(speed, Some(Path::new(path))).map_err(|e| missing(&e))
                }
                (Link::Tcp(address), ..) => Gate::tcp(address).map_err(|e| missing(&e)),
                (Link::Sim, ..) => {
                    let text =
                        format!("bus {}: where is it to be served? Say --can, --pty or --tcp", bus.name);
                    Err(Failure::new(Code::Usage, text))
                }
            }
        })
        .collect()
}

fn world(args: &PanelArgs, panel: &Panel, in_kernel: bool) -> Result<World, Failure> {
    let scenario = setup::scenario(args.scenario.as_deref(), panel)?;
    let agent = match (&args.agent, args.agent_address) {
        (Some(file), Some(address)) => {
            let bytes = setup::agent(file, address)?.bytes;
            Some(Arc::new(AgentCode { address, bytes }))
        }
        _ => None,
    };
    let rom = |slot: &PanelSlot| {
        blank(slot).map(|link| RomConfig { link, agent: agent.clone(), latency: Duration::ZERO })
    };
    let mut config = setup::world_of(panel, args.device, 1, scenario, rom);
    if in_kernel {
        for speed in &mut config.buses {
            speed.nominal = behind_kernel(speed.nominal);
            speed.data = speed.data.map(behind_kernel);
        }
    }
    config.adapter = AdapterConfig { latency: Span::ZERO, queue: QUEUE };
    config.flash_dir.clone_from(&args.boards);
    if let Some(dir) = &args.boards {
        std::fs::create_dir_all(dir).map_err(|e| cannot_write(dir, &e))?;
    }
    let mut world =
        World::new(config, args.seed).map_err(|e| Failure::new(Code::ScenarioFile, e.to_string()))?;
    if in_kernel {
        // The rate at which a frame was sent cannot be seen there.
        world.ignore_bit_rates();
    }
    Ok(world)
}

/// A board whose slot is reached through its ROM first is blank; where its ROM listens.
fn blank(slot: &PanelSlot) -> Option<RomLink> {
    setup::rom_link(*slot.ways.first()?)
}

/// The serial ports that the panel names, for boards that are blank.
fn slot_ports(panel: &Panel) -> Result<Vec<SlotPort>, Failure> {
    let blank = |slot: &&PanelSlot| blank(slot) == Some(RomLink::Uart);
    let mut ports: Vec<(&PanelSlot, SlotPort)> = Vec::new();
    for slot in panel.slots.iter().filter(blank) {
        if let Some((_, port)) = ports.iter_mut().find(|(first, _)| first.shares_port(slot)) {
            port.add(slot.slot.0, panel.baud);
            continue;
        }
        let missing = |e: &dyn std::fmt::Display| {
            Failure::new(Code::PortMissing, format!("the port of slot {}: {e}", slot.slot))
        };
        match &slot.port {
            Some(Port::Serial(path)) => {
                let port = SlotPort::open(slot.slot.0, Path::new(path), panel.baud);
                ports.push((slot, port.map_err(|e| missing(&e))?));
            }
            _ => return Err(missing(&"only ports that are paths can be served, as pseudo-terminals")),
        }
    }
    Ok(ports.into_iter().map(|(_, port)| port).collect())
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::OutputFile, format!("{}: {error}", path.display()))
}

/// Follows the wall clock until it is stopped.
fn serve(
    world: &mut World,
    mut gates: Vec<Gate>,
    mut ports: Vec<SlotPort>,
    mut fixture: FixtureSocket,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    #[expect(clippy::disallowed_methods, reason = "this is the driver that reads the clock")]
    let start = Instant::now();
    let base = world.now();
    let clock = || base + Span(start.elapsed().as_micros() as u64);
    while !stop.load(Ordering::Relaxed) {
        let now = clock();
        catch_up(world, &mut gates, now);
        for (bus, gate) in gates.iter_mut().enumerate() {
            gate.work(now, world, bus);
        }
        ports.iter_mut().for_each(|port| port.write(world, fixture.mux()));
        let ready = wait(world, &gates, &ports, &fixture, now)?;
        ports
            .iter_mut()
            .zip(&ready.ports)
            .filter(|(_, ready)| **ready)
            .for_each(|(port, _)| port.read(world, fixture.mux()));
        if ready.fixture {
            // What is switched is switched now, not when the last round began.
            catch_up(world, &mut gates, clock());
            fixture.work(world);
        }
        // A round for every frame would cost more than the simulation.
        let rest = ROUND.0.saturating_sub(clock().since(now).0);
        if rest > 0 {
            _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: rest as i64 * 1000 }));
        }
    }
    Ok(())
}

/// What there is to do outside of the buses.
struct Ready {
    ports: Vec<bool>,
    fixture: bool,
}

/// Lets everything happen that happens up to `now`.
fn catch_up(world: &mut World, gates: &mut [Gate], now: Micros) {
    loop {
        let reached = world.advance(now);
        let mut seen = false;
        while let Some(event) = world.poll_host() {
            seen = true;
            if let Some(gate) = event.bus().and_then(|bus| gates.get_mut(bus)) {
                gate.handle_event(&event);
            }
        }
        if !seen && reached >= now {
            return;
        }
    }
}

fn wait(
    world: &World,
    gates: &[Gate],
    ports: &[SlotPort],
    fixture: &FixtureSocket,
    now: Micros,
) -> Result<Ready, Failure> {
    let due = world.next_event().into_iter().chain(gates.iter().filter_map(Gate::next_timeout)).min();
    let sleep = due.map_or(LONGEST, |due| due.since(now)).max(SHORTEST).min(LONGEST);
    let mut fds: Vec<PollFd<'_>> = Vec::new();
    for (bus, gate) in gates.iter().enumerate() {
        let read = if gate.wants_read(world, bus) { PollFlags::IN } else { PollFlags::empty() };
        let write = if gate.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
        if let Some(fd) = gate.fd() {
            fds.push(PollFd::from_borrowed_fd(fd, read | write));
        }
    }
    let first_port = fds.len();
    fds.extend(ports.iter().map(|port| PollFd::from_borrowed_fd(port.fd(), PollFlags::IN)));
    fds.extend(fixture.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let sleep = Timespec { tv_sec: 0, tv_nsec: sleep.0 as i64 * 1000 };
    match poll(&mut fds, Some(&sleep)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(Failure::new(Code::Internal, format!("waiting for links: {e}"))),
    }
    let mut ready = fds[first_port..].iter().map(|fd| !fd.revents().is_empty());
    Ok(Ready { ports: ready.by_ref().take(ports.len()).collect(), fixture: ready.any(|ready| ready) })
}

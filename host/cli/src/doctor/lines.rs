//! Fixture lines and inputs: is every device there, and what becomes of a powered slot when this program dies.
//!
//! Lines are not switched. RTS and DTR ports are not even opened here, because that raises both for a moment.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;

use panel_backplane::{Connection, InputSource, Line, LineFunction, Panel, Port};
use panel_links::Parity;
use panel_links::lines::{ControllerIdentity, identify_controller, look_at_gpio};

use super::{Finding, links};

/// LCUS boards know this rate only.
const LCUS_BAUD: u32 = 9_600;

pub(super) fn of_panel(panel: &Panel) -> Vec<Finding> {
    let mut look = Look { panel, findings: Vec::new(), seen: BTreeMap::new() };
    for line in &panel.fixture.lines {
        look.line(line);
    }
    let inputs = &panel.fixture.inputs;
    for (name, input) in [("interlock", &inputs.interlock), ("start", &inputs.start)] {
        if let Some(input) = input {
            look.input(name, &input.to_string(), &input.source);
        }
    }
    let Look { mut findings, seen, .. } = look;
    findings.extend(dead_man(panel, &seen));
    findings
}

/// Whether power goes off when this program is gone, once for each kind of power line.
fn dead_man(panel: &Panel, seen: &BTreeMap<String, Device>) -> Vec<Finding> {
    let power = panel.fixture.lines.iter().filter(|l| l.function == LineFunction::Power);
    let mut findings: Vec<Finding> = Vec::new();
    for line in power {
        let finding = match &line.wire.connection {
            Connection::Sim(_) => continue,
            connection => after_death(connection, line.wire.active_low, seen),
        };
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

fn after_death(connection: &Connection, active_low: bool, seen: &BTreeMap<String, Device>) -> Finding {
    let about = "power if this program dies";
    match connection {
        Connection::Gpio { .. } => Finding::ok(
            about,
            "the kernel releases GPIO lines, the fixture's pull resistors must then hold power off",
        ),
        Connection::AsciiRelay { port, .. } => match seen.get(port) {
            _ if active_low => Finding::fail(
                about,
                format!("the controller {port} would switch it ON: its outputs fall to 0, which is on here"),
                "wire power so that it is on at 1, and take the `!` out of the panel file",
            ),
            Some(Device::Controller(identity)) if identity.watchdog_ms > 0 => {
                Finding::ok(about, format!("the controller {port} switches it off by its watchdog"))
            }
            _ => stays_on(about, &format!("the controller {port} has no watchdog")),
        },
        Connection::Lcus { port, .. } => {
            stays_on(about, &format!("the relay board {port} keeps its relays as they are"))
        }
        Connection::Rts(port) | Connection::Dtr(port) => Finding::warn(
            about,
            format!(
                "RTS and DTR of {port} fall when it is closed, but both rise for a moment when it is opened"
            ),
            "use them for NRST or BOOT0, and a GPIO line or a controller for power",
        ),
        Connection::Manual(_) => stays_on(about, "only the operator switches it"),
        Connection::Sim(_) => Finding::ok(about, "simulated"),
    }
}

fn stays_on(about: &str, why: &str) -> Finding {
    let remedy = "tell the operator to switch the supply off after a crash, or use a fixture controller with a watchdog";
    Finding::warn(about, format!("it stays on: {why}"), remedy)
}

/// Lines of the built-in simulation, or of a simulated panel in another process.
fn simulated(socket: Option<&str>) -> Finding {
    match socket.map(|socket| (socket, UnixStream::connect(socket))) {
        None => Finding::ok("fixture", "simulated"),
        Some((socket, Ok(_))) => Finding::ok(format!("fixture {socket}"), "a simulated panel listens"),
        Some((socket, Err(error))) => {
            let remedy = "start `panelflash sim panel` with this panel file first";
            Finding::fail(format!("fixture {socket}"), error.to_string(), remedy)
        }
    }
}

/// What a device was found to be.
#[derive(Clone)]
enum Device {
    Controller(ControllerIdentity),
    Other,
    Unusable,
}

struct Look<'a> {
    panel: &'a Panel,
    findings: Vec<Finding>,
    seen: BTreeMap<String, Device>,
}

impl Look<'_> {
    fn line(&mut self, line: &Line) {
        let about = format!("{} {}", line.function.name(), line.wire);
        match &line.wire.connection {
            Connection::Sim(_) => {
                let socket = line.wire.connection.sim_socket();
                self.once(socket.unwrap_or("sim"), || (simulated(socket), Device::Other));
            }
            Connection::Gpio { chip, line } => self.gpio(&about, chip, line),
            Connection::Lcus { port, .. } => {
                let about = format!("relay board {port}");
                self.once(port, || (links::port(&about, port, (LCUS_BAUD, Parity::None)), Device::Other));
            }
            Connection::AsciiRelay { port, channel } => {
                let outputs = |identity: &ControllerIdentity| identity.outputs;
                self.controller(&about, port, *channel, "outputs", outputs);
            }
            Connection::Rts(port) | Connection::Dtr(port) => self.modem(port),
            Connection::Manual(what) => {
                self.findings.push(Finding::ok(&about, format!("the operator switches: {what}")));
            }
        }
    }

    fn input(&mut self, name: &str, text: &str, source: &InputSource) {
        let about = format!("{name} {text}");
        match source {
            InputSource::Gpio { chip, line } => self.gpio(&about, chip, line),
            InputSource::Controller { port, input } => {
                self.controller(&about, port, *input, "inputs", |identity| identity.inputs);
            }
            InputSource::Cts(port) | InputSource::Dsr(port) | InputSource::Dcd(port) => self.modem(port),
        }
    }

    fn gpio(&mut self, about: &str, chip: &str, line: &str) {
        self.findings.push(match look_at_gpio(chip, line) {
            Ok(()) => Finding::ok(about, "free"),
            Err(reason) => Finding::fail(
                about,
                reason,
                "list chips and lines with `gpioinfo`; your user needs read and write access to /dev/gpiochip*",
            ),
        });
    }

    fn modem(&mut self, port: &str) {
        let slots_own = self.panel.slots.iter().any(|s| s.port == Some(Port::Serial(port.to_owned())));
        let about = format!("modem lines of {port}");
        let there = Path::new(port).exists();
        self.once(port, || {
            let finding = match (there, slots_own) {
                (false, _) => {
                    Finding::fail(&about, "no such port", "plug the adapter in, or correct the name")
                }
                (true, true) => Finding::ok(&about, "shared with the slot's port"),
                (true, false) => Finding::ok(&about, "there"),
            };
            (finding, Device::Other)
        });
    }

    fn controller(
        &mut self,
        about: &str,
        port: &str,
        channel: u8,
        what: &str,
        count: impl Fn(&ControllerIdentity) -> u32,
    ) {
        let name = format!("fixture controller {port}");
        self.once(port, || match identify_controller(Path::new(port)) {
            Ok(identity) => {
                let found = format!(
                    "{}: {} outputs, {} inputs, watchdog {}",
                    identity.name,
                    identity.outputs,
                    identity.inputs,
                    if identity.watchdog_ms == 0 {
                        "none".to_owned()
                    } else {
                        format!("{} ms", identity.watchdog_ms)
                    }
                );
                (Finding::ok(&name, found), Device::Controller(identity))
            }
            Err(error) => {
                let remedy =
                    "check port, cable and the controller's firmware (docs/hardware.md, its protocol)";
                (Finding::fail(&name, error.to_string(), remedy), Device::Unusable)
            }
        });
        if let Some(Device::Controller(identity)) = self.seen.get(port)
            && u32::from(channel) > count(identity)
        {
            let found = format!("the controller has only {} {what}", count(identity));
            self.findings.push(Finding::fail(about, found, "correct the number in the panel file"));
        }
    }

    /// Looks at a device the first time that it is named.
    fn once(&mut self, key: &str, look: impl FnOnce() -> (Finding, Device)) {
        if !self.seen.contains_key(key) {
            let (finding, device) = look();
            self.findings.push(finding);
            self.seen.insert(key.to_owned(), device);
        }
    }
}

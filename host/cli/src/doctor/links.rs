//! Links and serial ports: are they there, may we use them, are they set as panel.toml says.

use std::collections::BTreeSet;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use panel_backplane::{Bus, Link, Panel, Port};
use panel_links::{
    BusRates, CanInterfaceState, LinkError, Parity, SerialLink, can_interfaces, frames_in_flight,
};

use super::Finding;

/// A serial server that takes longer is no use in a run either.
const CONNECT: Duration = Duration::from_secs(2);
/// Latency timers above this cost a ROM bootloader more time than its bytes do.
const LATENCY_MS: u128 = 1;
/// ISO 11898-1: a controller with such a counter warns.
const ERROR_WARNING: u16 = 96;

/// The buses of a panel.
pub(super) fn of_panel(panel: &Panel) -> Vec<Finding> {
    panel.buses.iter().flat_map(bus).collect()
}

fn bus(bus: &Bus) -> Vec<Finding> {
    let about = format!("bus {}, {}", bus.name, bus.link);
    match &bus.link {
        Link::Sim => vec![Finding::ok(about, "simulated")],
        Link::SocketCan(name) => interface(&about, name, BusRates::from(bus)),
        Link::Slcan(path) => vec![port(&about, path)],
        Link::Tcp(address) => vec![server(&about, address)],
    }
}

fn interface(about: &str, name: &str, rates: BusRates) -> Vec<Finding> {
    let state = match CanInterfaceState::read(name) {
        Ok(state) => state,
        Err(error) => {
            let remedy = "plug the adapter in, load its driver, or correct `link` in the panel file";
            return vec![Finding::fail(about, error.to_string(), remedy)];
        }
    };
    if let Err(error) = state.check(rates) {
        return vec![Finding::fail(about, error.to_string(), state.command(rates))];
    }
    let mut findings = vec![Finding::ok(about, describe(&state))];
    let wanted = frames_in_flight(rates.nominal);
    if let Some(length) = state.queue_length.filter(|&length| (length as usize) < wanted) {
        findings.push(Finding::warn(
            about,
            format!("the transmit queue holds {length} frames, {wanted} keep the bus busy"),
            format!("sudo ip link set {name} txqueuelen {}", wanted.next_multiple_of(10)),
        ));
    }
    findings.extend(health(about, &state));
    findings
}

fn health(about: &str, state: &CanInterfaceState) -> Option<Finding> {
    let (tx, rx) = state.errors?;
    let sick = tx.max(rx) >= ERROR_WARNING || state.state.is_some_and(|s| s != "ERROR-ACTIVE");
    sick.then(|| {
        let found =
            format!("error counters {tx} transmit, {rx} receive, {}", state.state.unwrap_or("state unknown"));
        let remedy = "check termination (60 ohm between CANH and CANL with power off), bit rate and wiring";
        Finding::warn(about, found, remedy)
    })
}

fn describe(state: &CanInterfaceState) -> String {
    let mut words = vec!["up".to_owned()];
    words.extend(state.bit_rate.map(|rate| format!("{rate} bit/s")));
    words.extend(state.data_bit_rate.map(|rate| format!("payload {rate} bit/s")));
    words.extend(state.state.map(str::to_owned));
    words.extend(state.queue_length.map(|length| format!("queue of {length} frames")));
    if state.bit_rate.is_none() {
        words.push("virtual: no bit rate".to_owned());
    }
    words.join(", ")
}

/// Every CAN interface of the machine, when no panel says which.
pub(super) fn of_machine() -> Vec<Finding> {
    let names = can_interfaces();
    if names.is_empty() {
        let remedy = "plug a CAN adapter in, or use an slcan: or tcp:// link; say which with --panel";
        return vec![Finding::warn("CAN interfaces", "this machine has none", remedy)];
    }
    let look = |name: &String| match CanInterfaceState::read(name) {
        Ok(state) if state.up => Finding::ok(name, describe(&state)),
        Ok(_) => Finding::warn(
            name,
            "down",
            format!("sudo ip link set {name} type can bitrate 1000000 && sudo ip link set {name} up"),
        ),
        Err(error) => Finding::fail(name, error.to_string(), "look at the kernel's messages: dmesg | tail"),
    };
    names.iter().map(look).collect()
}

/// The slots' own ports.
pub(super) fn ports(panel: &Panel) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for slot in &panel.slots {
        let Some(its) = &slot.port else { continue };
        if !seen.insert(its.clone()) {
            continue;
        }
        let about = format!("slot {}, port {its}", slot.slot);
        match its {
            Port::Sim => {}
            Port::Serial(path) => findings.push(port(&about, path)),
            Port::Tcp(address) => findings.push(server(&about, address)),
        }
    }
    findings
}

/// A serial port; it is opened and closed, which nothing on it notices but RTS and DTR.
pub(super) fn port(about: &str, path: &str) -> Finding {
    let link = match SerialLink::open(Path::new(path), 115_200, Parity::None) {
        Ok(link) => link,
        Err(error) => return Finding::fail(about, error.to_string(), port_remedy(&error)),
    };
    if !Port::Serial(path.to_owned()).is_stable() {
        let remedy = "name it by its socket: ls -l /dev/serial/by-path, or a udev rule (docs/hardware.md)";
        return Finding::warn(about, "the name follows the order of plugging", remedy);
    }
    match link.latency() {
        Some(latency) if latency.0.as_millis() > LATENCY_MS => {
            let ms = latency.0.as_millis();
            let found = format!("the adapter keeps received bytes back for {ms} ms (latency timer)");
            Finding::warn(about, found, "set it to 1 ms with the udev rule of docs/hardware.md")
        }
        Some(latency) => Finding::ok(about, format!("free, latency timer {} ms", latency.0.as_millis())),
        None => Finding::ok(about, "free"),
    }
}

const fn port_remedy(error: &LinkError) -> &'static str {
    match error {
        LinkError::Missing { .. } => "plug the adapter in, or correct the name: ls -l /dev/serial/by-path",
        LinkError::Busy { .. } => "end the other program; ModemManager and getty take ports too",
        LinkError::Permission { .. } => "sudo usermod -a -G dialout $USER, then log in again",
        LinkError::Settings { .. } => "use an adapter that can do the rate, or correct the name",
        LinkError::Gone { .. } => "plug the adapter in again; look at dmesg",
    }
}

fn server(about: &str, address: &str) -> Finding {
    let target = match address.to_socket_addrs().map(|mut found| found.next()) {
        Ok(Some(target)) => target,
        Ok(None) => return Finding::fail(about, "the name has no address", "correct the host name"),
        Err(error) => {
            return Finding::fail(about, error.to_string(), "correct the host name or its DNS entry");
        }
    };
    match TcpStream::connect_timeout(&target, CONNECT) {
        Ok(_) => Finding::ok(about, "answers"),
        Err(error) => {
            Finding::fail(about, format!("{target}: {error}"), "start the server, check network and port")
        }
    }
}

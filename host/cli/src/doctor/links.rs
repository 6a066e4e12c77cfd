//! Links and serial ports: are they there, may we use them, are they set as panel.toml says.

use std::collections::BTreeSet;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use panel_backplane::{Bus, Link, Panel, Port};
use panel_links::{
    BusRates, CanInterfaceState, Latency, LinkError, Parity, SerialLink, can_interfaces, frames_in_flight,
};

use super::Finding;

/// A serial server that takes longer is no use in a run either.
const CONNECT: Duration = Duration::from_secs(2);
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
        Link::Slcan(path) => vec![port(&about, path, (115_200, Parity::None))],
        Link::Tcp(address) => vec![server(&about, address)],
    }
}

fn interface(about: &str, name: &str, rates: BusRates) -> Vec<Finding> {
    match CanInterfaceState::read(name) {
        Ok(state) => judge(about, &state, rates),
        Err(error) => {
            let remedy = "plug the adapter in, load its driver, or correct `link` in the panel file";
            vec![Finding::fail(about, error.to_string(), remedy)]
        }
    }
}

/// Bit rate, transmit queue and error counters of an interface, beside what a bus wants.
fn judge(about: &str, state: &CanInterfaceState, rates: BusRates) -> Vec<Finding> {
    if let Err(error) = state.check(rates) {
        return vec![Finding::fail(about, error.to_string(), state.command(rates))];
    }
    let name = &state.name;
    let mut findings = vec![Finding::ok(about, describe(state))];
    let wanted = frames_in_flight(rates.nominal);
    if let Some(length) = state.queue_length.filter(|&length| (length as usize) < wanted) {
        findings.push(Finding::warn(
            about,
            format!("the transmit queue holds {length} frames, {wanted} keep the bus busy"),
            format!("sudo ip link set {name} txqueuelen {}", wanted.next_multiple_of(10)),
        ));
    }
    findings.extend(health(about, state));
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
            Port::Serial(path) => findings.push(port(&about, path, (panel.baud, Parity::Even))),
            Port::Tcp(address) => findings.push(server(&about, address)),
        }
    }
    findings
}

/// A serial port and whether it can be set so; it is opened and closed, which nothing on it notices but RTS and DTR.
pub(super) fn port(about: &str, path: &str, (baud, parity): (u32, Parity)) -> Finding {
    let link = match SerialLink::open(Path::new(path), baud, parity) {
        Ok(link) => link,
        Err(error) => return Finding::fail(about, error.to_string(), port_remedy(&error)),
    };
    if !Port::Serial(path.to_owned()).is_stable() {
        let remedy = "name it by its socket: ls -l /dev/serial/by-path, or a udev rule (docs/hardware.md)";
        return Finding::warn(about, "the name follows the order of plugging", remedy);
    }
    free(about, link.latency())
}

fn free(about: &str, latency: Option<Latency>) -> Finding {
    match latency {
        Some(latency) if latency.is_long() => {
            let found = format!("the adapter keeps received bytes back for {latency} (latency timer)");
            Finding::warn(about, found, "set it to 1 ms with the udev rule of docs/hardware.md")
        }
        Some(latency) => Finding::ok(about, format!("free, latency timer {latency}")),
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

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const RATES: BusRates = BusRates { nominal: 1_000_000, data: None };

    fn sound() -> CanInterfaceState {
        CanInterfaceState {
            name: "can0".to_owned(),
            up: true,
            fd: false,
            bit_rate: Some(1_000_000),
            data_bit_rate: None,
            state: Some("ERROR-ACTIVE"),
            errors: Some((0, 0)),
            restart_ms: Some(0),
            queue_length: Some(100),
        }
    }

    /// Level, what was found, and what to do.
    fn say(state: &CanInterfaceState, rates: BusRates) -> Vec<(Level, String, String)> {
        let findings = judge("bus", state, rates).into_iter();
        findings.map(|f| (f.level, f.found, f.remedy.unwrap_or_default())).collect()
    }

    #[test]
    fn a_sound_interface_is_described() {
        let found = "up, 1000000 bit/s, ERROR-ACTIVE, queue of 100 frames".to_owned();
        assert_eq!(say(&sound(), RATES), [(Level::Ok, found, String::new())]);
    }

    #[test]
    fn an_interface_that_is_down_slow_or_not_fd_fails_with_the_command_that_sets_it() {
        let down = CanInterfaceState { up: false, ..sound() };
        let slow = CanInterfaceState { bit_rate: Some(500_000), ..sound() };
        let fd = BusRates { data: Some(5_000_000), ..RATES };
        for (state, rates, found, remedy) in [
            (down, RATES, "down", "type can bitrate 1000000 &&"),
            (slow, RATES, "500000", "type can bitrate 1000000 &&"),
            (sound(), fd, "FD", "dbitrate 5000000 fd on"),
        ] {
            let said = say(&state, rates);
            let [(Level::Fail, what, command)] = said.as_slice() else { panic!("{said:?}") };
            assert!(what.contains(found) && command.contains(remedy), "{said:?}");
        }
    }

    #[test]
    fn a_short_queue_and_error_counters_are_warned_of() {
        let state = CanInterfaceState { queue_length: Some(10), errors: Some((3, 128)), ..sound() };
        let said = say(&state, RATES);
        assert_eq!(said.iter().map(|s| s.0).collect::<Vec<_>>(), [Level::Ok, Level::Warn, Level::Warn]);
        assert!(said[1].1.contains("holds 10 frames") && said[1].2.contains("txqueuelen"), "{said:?}");
        assert!(said[2].1.contains("128 receive") && said[2].2.contains("60 ohm"), "{said:?}");
    }

    #[test]
    fn a_latency_timer_is_told_and_one_that_nobody_set_is_warned_of() {
        assert_eq!(free("port", None).level, Level::Ok);
        let set = free("port", Some(Latency(Duration::from_millis(1))));
        assert_eq!((set.level, set.found.as_str()), (Level::Ok, "free, latency timer 1 ms"));
        let long = free("port", Some(Latency(Duration::from_millis(16))));
        assert!(long.level == Level::Warn && long.found.contains("16 ms") && long.remedy.is_some());
    }

    #[test]
    fn every_way_in_which_a_port_can_fail_has_its_own_remedy() {
        let path = || "/dev/x".into();
        let source = || std::io::ErrorKind::BrokenPipe.into();
        let errors = [
            LinkError::Missing { path: path() },
            LinkError::Busy { path: path() },
            LinkError::Permission { path: path() },
            LinkError::Settings { path: path(), baud: 115_200, parity: Parity::Even },
            LinkError::Gone { path: path(), source: source() },
        ];
        let remedies: BTreeSet<&str> = errors.iter().map(port_remedy).collect();
        assert_eq!(remedies.len(), errors.len());
    }
}

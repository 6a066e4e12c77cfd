//! Opens everything that a run needs: the links of its buses and the lines of its fixture.
//!
//! All of it is opened before anything is switched or sent. A link or a line that cannot be opened is a station error
//! and nothing was touched; a port that cannot be opened costs its own slots, unless there is nothing else.

use panel_backplane::{Connection, Link, Panel, Port, Slot};
use panel_codes::Code;
use panel_engine::Plan;
use panel_engine::rom::PlanPort;
use panel_links::lines::{Lines, NoLines, SimLines};
use panel_links::{
    BusRates, CanLink, CanOpenError, FixtureDriver, LinkError, PortLink, PortOpenError, SerialLink, open_can,
};

use crate::failure::Failure;

/// The opened links of a panel, by bus, and its fixture.
pub(crate) struct Station {
    pub(crate) links: Vec<Box<dyn CanLink>>,
    /// As the plan counts them; what cannot be opened says why.
    pub(crate) ports: Vec<Result<PortLink, Failure>>,
    pub(crate) fixture: Box<dyn FixtureDriver>,
}

/// Opens the links, ports and lines of a panel without simulated ones.
pub(crate) fn open(plan: &Plan) -> Result<Station, Failure> {
    let panel = &plan.panel;
    let mut links = Vec::new();
    for bus in &panel.buses {
        let simulated = || Failure::new(Code::PanelFile, format!("bus {} is simulated", bus.name));
        let opened = open_can(&bus.link, BusRates::from(bus)).ok_or_else(simulated)?;
        links.push(opened.map_err(|e| open_failure(&bus.name, &e))?);
    }
    let mut ports = Vec::new();
    for PlanPort { slots, port, baud } in &plan.ports {
        let slot = slots.iter().map(Slot::to_string).collect::<Vec<_>>().join(", ");
        let simulated = || Failure::new(Code::PanelFile, format!("the port of slot {slot} is simulated"));
        let opened = PortLink::open(port, *baud).ok_or_else(simulated)?;
        ports.push(opened.map_err(|e| port_failure(&slot, &e)));
    }
    if panel.buses.is_empty() && ports.iter().all(Result::is_err) {
        ports.drain(..).next().transpose()?;
    }
    let fixture = fixture(panel, &ports)?;
    Ok(Station { links, ports, fixture })
}

/// The lines; RTS and DTR of a slot's own port are those of the port that is open already.
fn fixture(panel: &Panel, ports: &[Result<PortLink, Failure>]) -> Result<Box<dyn FixtureDriver>, Failure> {
    let lines = &panel.fixture.lines;
    if lines.is_empty() {
        return Ok(Box::new(NoLines));
    }
    if lines.iter().any(|line| line.wire.connection.sim_socket().is_some()) {
        let lines = SimLines::connect(&panel.fixture);
        return lines
            .map(|lines| Box::new(lines) as _)
            .map_err(|e| Failure::new(Code::FixtureFault, e.to_string()));
    }
    let serial: Vec<&SerialLink> = ports.iter().flatten().filter_map(PortLink::serial).collect();
    Lines::open(&panel.fixture, &serial)
        .map(|lines| Box::new(lines) as _)
        .map_err(|e| Failure::new(Code::FixtureFault, e.to_string()))
}

/// Why a bus's link cannot be used, by what the operator can do about it.
pub(crate) fn open_failure(bus: &str, error: &CanOpenError) -> Failure {
    let code = match error {
        CanOpenError::BitRate { .. } | CanOpenError::NotFd { .. } => Code::BusBitRate,
        CanOpenError::BusOff { .. } => Code::StationBusOff,
        CanOpenError::Port(LinkError::Busy { .. }) => Code::PortBusy,
        _ => Code::LinkMissing,
    };
    Failure::new(code, format!("bus {bus}: {error}"))
}

fn port_failure(slot: &str, error: &PortOpenError) -> Failure {
    let code = match error {
        PortOpenError::Serial(LinkError::Busy { .. }) => Code::PortBusy,
        PortOpenError::Serial(LinkError::Gone { .. }) => Code::PortGone,
        PortOpenError::Serial(_) | PortOpenError::Connect { .. } => Code::PortMissing,
    };
    Failure::new(code, format!("the port of slot {slot}: {error}"))
}

/// Whether a panel is the built-in simulation; an error if it is half of it.
pub(crate) fn is_simulated(panel: &Panel) -> Result<bool, Failure> {
    let buses = panel.buses.iter().map(|b| (format!("bus {} ({})", b.name, b.link), b.link == Link::Sim));
    let ports = panel.slots.iter().filter_map(|s| {
        let port = s.port.as_ref()?;
        Some((format!("the port of slot {} ({port})", s.slot), *port == Port::Sim))
    });
    let lines = panel.fixture.lines.iter().map(|line| {
        let connection = &line.wire.connection;
        let built_in = matches!(connection, Connection::Sim(_)) && connection.sim_socket().is_none();
        (format!("{} {}", line.function.name(), line.wire), built_in)
    });
    let all: Vec<(String, bool)> = buses.chain(ports).chain(lines).collect();
    let simulated = all.first().is_none_or(|(_, sim)| *sim);
    match all.iter().find(|(_, sim)| *sim != simulated) {
        None => Ok(simulated),
        Some((other, _)) => {
            let (one, two) = if simulated { ("simulated", "is not") } else { ("real", "is simulated") };
            let text = format!(
                "{} is {one} and {other} {two}; a panel is wholly one or the other (the lines of `panelflash sim panel` are \
                 `sim:/SOCKET#NAME`)",
                all[0].0
            );
            Err(Failure::new(Code::PanelFile, text))
        }
    }
}

//! The slots' own ports, and the rates of adapters, in a run's driver: what boards in their ROM bootloader need.

use panel_backplane::BusIndex;
use panel_engine::{LinkEvent, PortIndex, PortOutput};
use panel_links::{BusRates, Latency, PortInput, SerialLink};
use panel_protocol::time::Micros;

use super::Driver;

impl Driver<'_> {
    /// Slots whose ports could not be opened are told so; the others go on.
    pub(super) fn give_up_ports(&mut self, now: Micros) {
        for (index, port) in (0..).map(PortIndex).zip(&self.station.ports) {
            if let Err(failure) = port {
                self.run.handle_port_fault(now, index, failure.code, &failure.message);
            }
        }
    }

    /// Writes down how long adapters keep received bytes back, and warns of those that need not.
    pub(super) fn note_latencies(&mut self) {
        for port in self.station.ports.iter().flatten() {
            let Some(latency) = port.serial().and_then(SerialLink::latency) else { continue };
            let (text, warn) = latency_note(port.name(), latency);
            if warn {
                crate::out::note(&text);
            }
            self.run.note_link(BusIndex(0), "port", text);
        }
    }

    /// Everything that the ports have to say.
    pub(super) fn hear_ports(&mut self, now: Micros) {
        let ports = (0..).map(PortIndex).zip(&mut self.station.ports);
        for (index, port) in ports.filter_map(|(index, port)| Some((index, port.as_mut().ok()?))) {
            while let Some(input) = port.receive(now) {
                match input {
                    PortInput::Bytes(bytes) => self.run.handle_bytes(now, index, &bytes),
                    PortInput::Stuck => self.run.handle_port_link(now, index, LinkEvent::Stuck),
                    PortInput::Down { why } => {
                        self.run.note_link(BusIndex(0), "port", format!("{}: {why}", port.name()));
                        self.run.handle_port_link(now, index, LinkEvent::Down);
                    }
                }
            }
        }
    }

    /// Bytes for the ports; whether there were any.
    pub(super) fn write_ports(&mut self, now: Micros) -> bool {
        let mut moved = false;
        let ports = (0..).map(PortIndex).zip(&mut self.station.ports);
        for (index, port) in ports.filter_map(|(index, port)| Some((index, port.as_mut().ok()?))) {
            while let Some(output) = self.run.poll_bytes(index) {
                match output {
                    PortOutput::Configure { baud } => port.configure(baud),
                    PortOutput::Write(bytes) => port.write(now, &bytes),
                }
                moved = true;
            }
        }
        moved
    }

    /// Adapters go to the rates that the run wants; whether any had to.
    pub(super) fn set_rates(&mut self, now: Micros) -> bool {
        let mut moved = false;
        for (bus, link) in self.station.links.iter_mut().enumerate() {
            let index = BusIndex(bus as u8);
            while let Some(rate) = self.run.poll_bit_rate(index) {
                let done = link.set_rates(now, BusRates { nominal: rate.nominal, data: rate.data });
                self.run.handle_bit_rate(now, index, done);
                moved = true;
            }
        }
        moved
    }
}

/// What is said of an adapter, and whether the operator is to know.
fn latency_note(port: &str, latency: Latency) -> (String, bool) {
    let slow = latency.is_long();
    let more = if slow {
        "; every answer of the board waits for that: the udev rule of docs/hardware.md sets it to 1 ms"
    } else {
        ""
    };
    (format!("{port}: the adapter's latency timer is {latency}{more}"), slow)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_latency_timer_that_nobody_has_set_is_warned_of_and_a_short_one_is_written_down() {
        let (text, warn) = latency_note("/dev/ttyUSB0", Latency(Duration::from_millis(16)));
        assert!(
            warn && text.starts_with("/dev/ttyUSB0: the adapter's latency timer is 16 ms; every"),
            "{text}"
        );
        let (text, warn) = latency_note("/dev/ttyUSB0", Latency(Duration::from_millis(1)));
        assert_eq!((text.as_str(), warn), ("/dev/ttyUSB0: the adapter's latency timer is 1 ms", false));
    }
}

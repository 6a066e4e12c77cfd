//! What the kernel says about a CAN interface, and whether that is what panel.toml wants.
//!
//! Setting an interface up takes root's rights and is one command, which every error here spells out. Only the rates that
//! boards in their ROM bootloader need are set by the program, where it has the right to ([`set_rates`]).

use std::fs;

use socketcan::CanInterface;
use socketcan::nl::{CanState, InterfaceDetails, Mtu};

use crate::can::{BusRates, CanOpenError};

/// ARPHRD_CAN of linux/if_arp.h.
const ARPHRD_CAN: &str = "280";

/// A CAN interface as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanInterfaceState {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Whether it carries FD frames.
    pub fd: bool,
    /// Bits per second; `None` for virtual interfaces and drivers that do not tell.
    pub bit_rate: Option<u32>,
    /// Bits per second of FD payloads.
    pub data_bit_rate: Option<u32>,
    /// `ERROR-ACTIVE` and so on, as `ip -details link show` writes it; `None` where the driver does not tell.
    pub state: Option<&'static str>,
    /// Transmit and receive error counters.
    pub errors: Option<(u16, u16)>,
    /// After how many milliseconds a controller that went off the bus is restarted; 0: never.
    pub restart_ms: Option<u32>,
    /// Frames that the transmit queue holds.
    pub queue_length: Option<u32>,
}

impl CanInterfaceState {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`CanOpenError::NoInterface`], or what the system said.
    pub fn read(name: &str) -> Result<Self, CanOpenError> {
        let interface = CanInterface::open(name)
            .map_err(|_| CanOpenError::NoInterface { interface: name.to_owned(), known: can_interfaces() })?;
        let details = interface.details().map_err(|e| CanOpenError::System {
            link: format!("socketcan:{name}"),
            what: "ask the kernel about the interface",
            source: std::io::Error::other(e.to_string()),
        })?;
        let length = fs::read_to_string(format!("/sys/class/net/{name}/tx_queue_len"));
        Ok(Self::new(name, &details, length.ok().and_then(|l| l.trim().parse().ok())))
    }

    fn new(name: &str, details: &InterfaceDetails, queue_length: Option<u32>) -> Self {
        let can = &details.can;
        // A driver that does not know its rate says 0 or all ones (CAN_BITRATE_UNKNOWN).
        let known = |rate: u32| (rate != 0 && rate != u32::MAX).then_some(rate);
        Self {
            name: name.to_owned(),
            up: details.is_up,
            fd: details.mtu == Some(Mtu::Fd),
            bit_rate: can.bit_timing.and_then(|t| known(t.bitrate)),
            data_bit_rate: can.data_bit_timing.and_then(|t| known(t.bitrate)),
            state: can.state.map(state_name),
            errors: can.berr_counter.map(|c| (c.txerr, c.rxerr)),
            restart_ms: can.restart_ms,
            queue_length,
        }
    }

    /// Whether the interface can serve a bus with these rates.
    ///
    /// # Errors
    /// What is wrong, with the command that sets it right.
    pub fn check(&self, rates: BusRates) -> Result<(), CanOpenError> {
        let interface = self.name.clone();
        let command = self.command(rates);
        if !self.up {
            return Err(CanOpenError::InterfaceDown { interface, command });
        }
        if let Some(got) = self.bit_rate.filter(|&got| got != rates.nominal) {
            let (what, expected) = ("bit rate", rates.nominal);
            return Err(CanOpenError::BitRate { interface, what, expected, got, command });
        }
        if let Some(expected) = rates.data {
            if !self.fd {
                return Err(CanOpenError::NotFd { interface, command });
            }
            if let Some(got) = self.data_bit_rate.filter(|&got| got != expected) {
                let what = "data bit rate";
                return Err(CanOpenError::BitRate { interface, what, expected, got, command });
            }
        }
        if self.state == Some("BUS-OFF") && self.restart_ms.unwrap_or(0) == 0 {
            let errors = self.errors.map_or_else(
                || "error counters unknown".to_owned(),
                |(tx, rx)| format!("error counters: {tx} transmit, {rx} receive"),
            );
            let command = format!("sudo ip link set {interface} type can restart");
            return Err(CanOpenError::BusOff { interface, errors, command });
        }
        Ok(())
    }

    /// Whether it has no bit rate at all, as `vcan` has none.
    #[must_use]
    pub const fn is_virtual(&self) -> bool {
        self.bit_rate.is_none() && self.state.is_none()
    }

    /// What brings the interface up at these rates.
    #[must_use]
    pub fn command(&self, rates: BusRates) -> String {
        let name = &self.name;
        if self.is_virtual() {
            // Virtual: there is nothing to set but whether it carries FD frames.
            let mtu = if rates.data.is_some() { " mtu 72" } else { "" };
            return format!("sudo ip link set {name} down && sudo ip link set {name}{mtu} up");
        }
        let fd = rates.data.map_or_else(String::new, |data| format!(" dbitrate {data} fd on"));
        let rate = rates.nominal;
        format!(
            "sudo ip link set {name} down && sudo ip link set {name} type can bitrate {rate}{fd} && sudo ip link \
             set {name} up"
        )
    }
}

/// Takes an interface down, gives it other rates and brings it up again; takes the right to configure networks.
///
/// # Errors
/// What the kernel said; the interface is up again then, at the rates it has.
pub(crate) fn set_rates(name: &str, rates: BusRates) -> Result<(), String> {
    let interface = CanInterface::open(name).map_err(|e| e.to_string())?;
    interface.bring_down().map_err(|e| e.to_string())?;
    let set = interface.set_bitrate(rates.nominal, None);
    let set = set.and_then(|()| rates.data.map_or(Ok(()), |data| interface.set_data_bitrate(data, None)));
    let up = interface.bring_up();
    set.and(up).map_err(|e| e.to_string())
}

/// The CAN interfaces of this machine, by name.
#[must_use]
pub fn can_interfaces() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    let is_can = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("type")).is_ok_and(|kind| kind.trim() == ARPHRD_CAN)
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(is_can)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

const fn state_name(state: CanState) -> &'static str {
    match state {
        CanState::ErrorActive => "ERROR-ACTIVE",
        CanState::ErrorWarning => "ERROR-WARNING",
        CanState::ErrorPassive => "ERROR-PASSIVE",
        CanState::BusOff => "BUS-OFF",
        CanState::Stopped => "STOPPED",
        CanState::Sleeping => "SLEEPING",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSICAL: BusRates = BusRates { nominal: 1_000_000, data: None };
    const FD: BusRates = BusRates { nominal: 1_000_000, data: Some(5_000_000) };

    fn good() -> CanInterfaceState {
        CanInterfaceState {
            name: "can0".to_owned(),
            up: true,
            fd: false,
            bit_rate: Some(1_000_000),
            data_bit_rate: None,
            state: Some("ERROR-ACTIVE"),
            errors: Some((0, 0)),
            restart_ms: Some(0),
            queue_length: Some(10),
        }
    }

    #[test]
    fn an_interface_at_the_wrong_rate_is_refused_with_the_command_that_sets_it() {
        let error =
            CanInterfaceState { bit_rate: Some(500_000), ..good() }.check(CLASSICAL).expect_err("wrong");
        assert_eq!(
            error.to_string(),
            "socketcan:can0: bit rate 1000000 bit/s expected, 500000 found; set it: sudo ip link set can0 down && \
             sudo ip link set can0 type can bitrate 1000000 && sudo ip link set can0 up"
        );
        good().check(CLASSICAL).expect("right");
    }

    #[test]
    fn an_fd_bus_needs_an_fd_interface_at_its_data_rate() {
        let error = good().check(FD).expect_err("classical").to_string();
        assert!(error.contains("type can bitrate 1000000 dbitrate 5000000 fd on"), "{error}");
        let slow = CanInterfaceState { fd: true, data_bit_rate: Some(2_000_000), ..good() };
        let error = slow.check(FD).expect_err("slow").to_string();
        assert!(error.contains("data bit rate 5000000 bit/s expected, 2000000 found"), "{error}");
    }

    #[test]
    fn an_interface_that_is_down_or_off_the_bus_is_told_apart() {
        let down = CanInterfaceState { up: false, ..good() }.check(CLASSICAL).expect_err("down");
        assert!(matches!(down, CanOpenError::InterfaceDown { .. }));
        let off = CanInterfaceState { state: Some("BUS-OFF"), errors: Some((248, 0)), ..good() };
        let error = off.check(CLASSICAL).expect_err("off").to_string();
        assert!(error.contains("248 transmit") && error.contains("type can restart"), "{error}");
        // One that restarts by itself may be used.
        CanInterfaceState { restart_ms: Some(100), ..off }.check(CLASSICAL).expect("comes back");
    }

    #[test]
    fn a_virtual_interface_has_no_rate_to_be_wrong() {
        let virtual_can = CanInterfaceState {
            name: "vcan0".to_owned(),
            bit_rate: None,
            state: None,
            errors: None,
            restart_ms: None,
            ..good()
        };
        virtual_can.check(CLASSICAL).expect("any rate");
        let error = virtual_can.check(FD).expect_err("mtu 16").to_string();
        assert!(error.ends_with("sudo ip link set vcan0 mtu 72 up"), "{error}");
    }
}

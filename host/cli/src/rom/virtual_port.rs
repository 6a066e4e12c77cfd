//! Drives a ROM session against a simulated chip in virtual time, over a line with exact byte times.
//!
//! The same sessions as on real ports, and a chip that shares no code with them: benches measure here, and tests
//! take cable and power away at any byte.

use std::time::Duration;

use panel_codes::Code;
use rom_simulator::wire::{LineConfig, UartLine};
use rom_simulator::{Model, Nanos, Settings, UsartDevice};
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{Identity, LineAction, LineResult, Operation, Output, UartSession, UartSettings};

use super::attempt::Link;
use crate::failure::Failure;

/// A simulated chip on a simulated line.
pub(crate) struct VirtualPort {
    line: UartLine,
    now: Nanos,
    /// What sessions are told.
    pub(crate) settings: UartSettings,
    /// Bytes the host has sent.
    pub(crate) sent: usize,
    /// Bytes the host has received.
    pub(crate) received: usize,
    /// Where each frame of the host ended, in bytes sent.
    pub(crate) frames: Vec<usize>,
    /// The cable is pulled after this many bytes.
    pub(crate) cut_after: Option<usize>,
    /// Somebody switches the board's power where a session asks for a reset.
    pub(crate) has_power_line: bool,
}

impl VirtualPort {
    /// A chip just powered, its ROM ready to listen, behind an adapter of this latency.
    pub(crate) fn new(model: &'static Model, baud: u32, latency: Duration, settings: &Settings) -> Self {
        let mut device = UsartDevice::new(model, settings, Nanos::ZERO);
        device.board_mut().finish_startup();
        let config = LineConfig { baud, to_host: latency, ..LineConfig::default() };
        Self {
            line: UartLine::new(device, config),
            now: Nanos::ZERO,
            settings: UartSettings { latency, ..UartSettings::new(baud) },
            sent: 0,
            received: 0,
            frames: Vec::new(),
            cut_after: None,
            has_power_line: false,
        }
    }

    /// Virtual time since the chip was powered.
    pub(crate) fn now(&self) -> Duration {
        self.now.since(Nanos::ZERO)
    }

    fn act(&mut self, action: LineAction) -> LineResult {
        if !self.has_power_line || !matches!(action, LineAction::EnterRom | LineAction::PowerCycleIntoRom) {
            return LineResult::Unavailable;
        }
        self.power_cycle();
        _ = self.line.host_read_all(self.now);
        LineResult::Done
    }

    fn power_cycle(&mut self) {
        self.line.device_mut().power_off(self.now);
        self.now = self.now + Duration::from_millis(100);
        self.line.device_mut().power_on(self.now);
        self.line.advance(self.now);
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let left = self.cut_after.map_or(bytes.len(), |cut| cut.saturating_sub(self.sent));
        let sent = &bytes[..left.min(bytes.len())];
        self.line.host_write(self.now, sent);
        self.sent += sent.len();
        self.frames.push(self.sent);
        if self.cut_after.is_some_and(|cut| self.sent >= cut) {
            self.line.run_ahead();
            return Err(Failure::with_exit(Code::PortGone, "the cable was pulled", 3));
        }
        Ok(())
    }
}

impl Link for VirtualPort {
    fn run<'a, O: Operation<'a>>(
        &mut self,
        operation: O,
        connected: Option<&Identity>,
        on_event: &mut dyn FnMut(&stm32::Event),
    ) -> Result<O::Outcome, Failure>
    where
        O::Outcome: 'a,
    {
        let mut settings = self.settings.clone();
        if let Some(identity) = connected {
            settings.entry = stm32::Entry::Connected(identity.clone());
        }
        let mut session = UartSession::new(operation, settings, self.now());
        loop {
            let until = match session.poll() {
                Output::Transmit(bytes) => {
                    self.send(&bytes)?;
                    continue;
                }
                Output::Line(action) => {
                    let result = self.act(action);
                    session.handle_line(self.now(), result);
                    continue;
                }
                Output::Event(event) => {
                    on_event(&event);
                    continue;
                }
                Output::Wait { until, .. } => Nanos::ZERO + until,
                Output::Done(result) => return result.map_err(|e| super::explain(&e)),
            };
            let next = self.line.next_deadline().map_or(until, |due| due.min(until)).max(self.now);
            self.now = next;
            self.line.advance(next);
            let bytes = self.line.host_read_all(next);
            self.received += bytes.len();
            if !bytes.is_empty() {
                session.handle_rx(self.now(), &bytes);
            } else if next >= until {
                session.handle_timeout(self.now());
            }
        }
    }
}

#[cfg(test)]
impl VirtualPort {
    /// The cable is plugged in again; `power_lost` if the board was off meanwhile.
    pub(crate) fn reconnect(&mut self, power_lost: bool) {
        self.cut_after = None;
        self.line.discard();
        if power_lost {
            self.power_cycle();
        }
        self.now = self.now + Duration::from_secs(1);
        self.line.advance(self.now);
        _ = self.line.host_read_all(self.now);
    }

    /// The simulated chip.
    pub(crate) fn chip_mut(&mut self) -> &mut rom_simulator::Chip {
        self.line.device_mut().board_mut().chip_mut()
    }
}

//! A UART between a host and a simulated device, in virtual time: bit rates, parity, adapter latency.
//!
//! The host side is an adapter: what the host writes waits `to_device` and then goes out byte after byte; what
//! the device sends can be read `to_host` after its stop bit. Drive it like the device: [`UartLine::advance`]
//! to the time of [`UartLine::next_deadline`], and read.

use crate::line::{LineByte, Parity, sample};
use crate::time::Nanos;
use crate::usart::UsartDevice;
use core::time::Duration;
use std::collections::VecDeque;

/// The host's end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineConfig {
    /// Bit rate the host has set.
    pub baud: u32,
    /// Parity the host has set.
    pub parity: Parity,
    /// From the host's write to the first start bit.
    pub to_device: Duration,
    /// From a byte's stop bit to the moment the host can read it (a USB adapter's latency timer).
    pub to_host: Duration,
}

impl Default for LineConfig {
    /// 115200 baud, even parity, no latency.
    fn default() -> Self {
        Self { baud: 115_200, parity: Parity::Even, to_device: Duration::ZERO, to_host: Duration::ZERO }
    }
}

/// A device with the line that leads to it.
#[derive(Debug)]
pub struct UartLine {
    device: UsartDevice,
    config: LineConfig,
    /// Bytes on their way, with the time their stop bit ends.
    to_device: VecDeque<(Nanos, LineByte)>,
    line_free: Nanos,
    /// Bytes for the host, with the time they can be read; already as the host's receiver sees them.
    to_host: VecDeque<(Nanos, u8)>,
}

impl UartLine {
    /// Connects `device`.
    #[must_use]
    pub fn new(device: UsartDevice, config: LineConfig) -> Self {
        Self { device, config, to_device: VecDeque::new(), line_free: Nanos::ZERO, to_host: VecDeque::new() }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &UsartDevice {
        &self.device
    }

    /// The device, for its power, reset and BOOT0 lines.
    pub fn device_mut(&mut self) -> &mut UsartDevice {
        &mut self.device
    }

    /// The host's settings.
    #[must_use]
    pub fn config(&self) -> LineConfig {
        self.config
    }

    /// Changes the host's settings for what it sends and receives from now on.
    pub fn set_config(&mut self, config: LineConfig) {
        self.config = config;
    }

    /// The host writes `bytes` at `now`.
    pub fn host_write(&mut self, now: Nanos, bytes: &[u8]) {
        let mut start = (now + self.config.to_device).max(self.line_free);
        if start == self.line_free
            && let Some((_, before)) = self.to_device.back_mut()
        {
            before.back_to_back = !bytes.is_empty();
        }
        for (i, &value) in bytes.iter().enumerate() {
            let byte = LineByte {
                value,
                baud: self.config.baud,
                parity: self.config.parity,
                parity_hit: false,
                back_to_back: i + 1 < bytes.len(),
            };
            start = start + byte.duration();
            self.to_device.push_back((start, byte));
        }
        self.line_free = start;
    }

    /// Runs ahead to the moment the last byte written so far reaches the device.
    ///
    /// Nothing the host does later can come before that, so the outcome is the same as byte by byte; a driver
    /// in real time saves itself a wake-up for every byte. What the device sends still has its own time.
    pub fn run_ahead(&mut self) {
        if let Some((end, _)) = self.to_device.back() {
            self.advance(*end);
        }
    }

    /// When the last byte that the device is sending can be read; `None` if there is nothing to read.
    #[must_use]
    pub fn answer_ends(&self) -> Option<Nanos> {
        let on_wire = self.device.answer_ends().map(|end| end + self.config.to_host);
        on_wire.or_else(|| self.to_host.back().map(|(at, _)| *at))
    }

    /// The next byte the host can read at `now`.
    pub fn host_read(&mut self, now: Nanos) -> Option<u8> {
        self.to_host.pop_front_if(|(at, _)| *at <= now).map(|(_, value)| value)
    }

    /// All bytes the host can read at `now`.
    pub fn host_read_all(&mut self, now: Nanos) -> Vec<u8> {
        core::iter::from_fn(|| self.host_read(now)).collect()
    }

    /// Forgets what is under way in either direction: the host has closed its port.
    pub fn discard(&mut self) {
        self.to_device.clear();
        self.to_host.clear();
        self.line_free = Nanos::ZERO;
    }

    /// When something happens next: a byte arrives at either end, or the device has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        let arrival = self.to_device.front().map(|(at, _)| *at);
        let readable = self.to_host.front().map(|(at, _)| *at);
        [arrival, readable, self.device.next_deadline()].into_iter().flatten().min()
    }

    /// When something can change that [`Self::advance`] does not foresee: the last byte written so far has arrived,
    /// or the device does something by itself. For a driver that does not look at every byte.
    #[must_use]
    pub fn next_change(&self) -> Option<Nanos> {
        let arrived = self.to_device.back().map(|(at, _)| *at);
        [arrived, self.device.next_change()].into_iter().flatten().min()
    }

    /// Lets everything up to `now` happen, in order of time.
    pub fn advance(&mut self, now: Nanos) {
        loop {
            let arrival = self.to_device.front().map(|(at, _)| *at).filter(|at| *at <= now);
            let timeout = self.device.next_deadline().filter(|at| *at <= now);
            match (arrival, timeout) {
                (Some(arrival), timeout) if timeout.is_none_or(|t| arrival <= t) => {
                    if let Some((at, byte)) = self.to_device.pop_front() {
                        self.device.handle_rx(at, byte);
                    }
                }
                (_, Some(timeout)) => self.device.handle_timeout(timeout),
                _ => break,
            }
            self.collect();
        }
        self.device.handle_timeout(now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(sent) = self.device.poll_tx() {
            // What fails the host's parity or stop bit check is dropped, as a driver without PARMRK does.
            if let Ok(value) = sample(&sent.byte, self.config.baud, self.config.parity) {
                self.to_host.push_back((sent.at + self.config.to_host, value));
            }
        }
    }
}

//! A bench for one device: bytes in, bytes and times out. Every frame in these tests is written by hand.

use core::time::Duration;
use rom_simulator::wire::{LineConfig, UartLine};
use rom_simulator::{Nanos, Settings, State, UsartDevice, catalog};

pub(crate) const ACK: u8 = 0x79;
pub(crate) const NACK: u8 = 0x1F;

/// A device at the end of a UART line, and the time.
pub(crate) struct Bench {
    pub(crate) line: UartLine,
    pub(crate) now: Nanos,
}

impl Bench {
    /// Powered, but not listening yet.
    pub(crate) fn cold(device: &str, settings: &Settings) -> Self {
        let model = catalog::find(device).expect("device");
        let device = UsartDevice::new(model, settings, Nanos::ZERO);
        Self { line: UartLine::new(device, LineConfig::default()), now: Nanos::ZERO }
    }

    /// Started, not yet connected.
    pub(crate) fn started(device: &str, settings: &Settings) -> Self {
        let mut bench = Self::cold(device, settings);
        bench.wait(Duration::from_secs(3));
        bench
    }

    /// Connected at 115200.
    pub(crate) fn connected_with(device: &str, settings: &Settings) -> Self {
        let mut bench = Self::started(device, settings);
        assert_eq!(bench.say(&[0x7F]), [ACK], "{device} connects");
        bench
    }

    pub(crate) fn connected(device: &str) -> Self {
        Self::connected_with(device, &Settings::default())
    }

    /// Connected with the first seed that does (F746 is unsure of 115200), with one sync byte or two, and by an F378
    /// at 57600.
    pub(crate) fn connected_somehow(device: &str) -> Self {
        let baud = if device == "F378" { 57_600 } else { 115_200 };
        (1..40)
            .map(|seed| Self::started(device, &Settings { seed, ..Settings::default() }))
            .find_map(|mut bench| {
                bench.line.set_config(LineConfig { baud, ..bench.line.config() });
                let syncs = [bench.say(&[0x7F]), bench.say(&[0x7F])];
                match (syncs[0].as_slice(), syncs[1].as_slice()) {
                    ([], [ACK]) => Some(bench),
                    // The second was half a command; its complement is that of none.
                    ([ACK], []) => (bench.say(&[0x00]) == [NACK]).then_some(bench),
                    _ => None,
                }
            })
            .expect("one seed in forty connects")
    }

    /// Settings with these faults, as the command line writes them.
    pub(crate) fn faulty(faults: &[&str]) -> Settings {
        let faults = faults.iter().map(|fault| fault.parse().expect("fault")).collect();
        Settings { faults, ..Settings::default() }
    }

    /// Sends `bytes` and returns all that comes back until the device has nothing more to do.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.line.host_write(self.now, bytes);
        let mut answer = Vec::new();
        while let Some(due) = self.line.next_deadline() {
            // A fault set for later is not this answer's business.
            if due > self.now + Duration::from_secs(60) {
                break;
            }
            self.now = self.now.max(due);
            self.line.advance(self.now);
            answer.extend(self.line.host_read_all(self.now));
        }
        answer
    }

    /// Sends `bytes` and lets exactly `time` pass.
    pub(crate) fn say_for(&mut self, bytes: &[u8], time: Duration) -> Vec<u8> {
        self.line.host_write(self.now, bytes);
        self.wait(time)
    }

    pub(crate) fn wait(&mut self, time: Duration) -> Vec<u8> {
        self.now = self.now + time;
        self.line.advance(self.now);
        self.line.host_read_all(self.now)
    }

    /// How long `bytes` take until the device has nothing more to do.
    pub(crate) fn time(&mut self, bytes: &[u8]) -> (Vec<u8>, Duration) {
        let start = self.now;
        let answer = self.say(bytes);
        (answer, self.now.since(start))
    }

    pub(crate) fn reset(&mut self) {
        self.line.device_mut().reset(self.now);
        self.wait(Duration::from_secs(3));
    }

    pub(crate) fn power_cycle(&mut self) {
        self.line.device_mut().power_off(self.now);
        self.wait(Duration::from_millis(100));
        self.line.device_mut().power_on(self.now);
        self.wait(Duration::from_secs(3));
    }

    pub(crate) fn state(&self) -> State {
        self.line.device().board().state()
    }

    /// Flash content at `offset`.
    pub(crate) fn flash(&self, offset: usize, len: usize) -> &[u8] {
        &self.line.device().board().chip().flash().bytes()[offset..offset + len]
    }

    /// Puts `data` into flash as if it had been there at power-on.
    pub(crate) fn preload(&mut self, offset: usize, data: &[u8]) {
        self.line.device_mut().board_mut().chip_mut().flash_mut().preload(offset, data);
    }

    /// Write Memory of `data`, answers of all three stages run together.
    pub(crate) fn write(&mut self, address: u32, data: &[u8]) -> Vec<u8> {
        let mut answer = self.say(&[0x31, 0xCE]);
        answer.extend(self.say(&with_check(&address.to_be_bytes())));
        if answer == [ACK, ACK] {
            let mut block = vec![(data.len() - 1) as u8];
            block.extend_from_slice(data);
            answer.extend(self.say(&with_check(&block)));
        }
        answer
    }

    /// Read Memory; ACKs and data run together.
    pub(crate) fn read(&mut self, address: u32, len: usize) -> Vec<u8> {
        let mut answer = self.say(&[0x11, 0xEE]);
        answer.extend(self.say(&with_check(&address.to_be_bytes())));
        if answer == [ACK, ACK] {
            let len = (len - 1) as u8;
            answer.extend(self.say(&[len, !len]));
        }
        answer
    }
}

/// A block and the byte that makes the XOR of all of it zero.
pub(crate) fn with_check(block: &[u8]) -> Vec<u8> {
    let check = block.iter().fold(0, |acc, b| acc ^ b);
    block.iter().copied().chain([check]).collect()
}

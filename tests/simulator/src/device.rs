//! The seam for a board of another make: whatever sits in a slot and is no model of this crate.
//!
//! A device gets the fixture's lines and the frames of its bus, and drives a controller through [`CanPort`]. The
//! world calls [`Device::run`] when the device is due; between such calls it may assume nothing about time but
//! that it does not run backwards. Times are nanoseconds of the world.

use panel_protocol::frame::Frame;

use crate::bus::Bus;

/// A board of another make.
pub trait Device {
    /// When [`Device::run`] is to be called, or `u64::MAX`.
    fn due(&self) -> u64;
    /// Lets the device live until `now`; true if something new can be read from the slot's own port.
    fn run(&mut self, now: u64, port: &mut CanPort<'_>) -> bool;
    /// A frame ended on the bus.
    fn receive(&mut self, now: u64, frame: &Frame, port: &mut CanPort<'_>);
    /// One of the device's frames has been sent; its place in the controller is free.
    fn sent(&mut self, now: u64, frame: &Frame, port: &mut CanPort<'_>);
    /// The supply was switched.
    fn set_power(&mut self, now: u64, on: bool, port: &mut CanPort<'_>);
    /// NRST was pulled or released.
    fn set_reset(&mut self, now: u64, asserted: bool, port: &mut CanPort<'_>);
    /// The slot's select line was driven.
    fn set_select(&mut self, on: bool);
    /// The level of BOOT0, for chips that have such a pin.
    fn set_boot0(&mut self, _high: bool) {}
    /// The host writes to the slot's own port.
    fn port_write(&mut self, _now: u64, _bytes: &[u8]) {}
    /// What can be read from the slot's own port.
    fn port_read(&mut self, _now: u64) -> Vec<u8> {
        Vec::new()
    }
    /// The host sets the rate of the slot's own port; what is under way is lost.
    fn port_configure(&mut self, _baud: u32) {}
    /// Supply current in milliamperes; asked only while the supply is on.
    fn current_ma(&self, now: u64) -> u32;
}

/// A device's connection to its bus.
pub struct CanPort<'a> {
    pub(crate) bus: &'a mut Bus,
    pub(crate) endpoint: usize,
}

impl CanPort<'_> {
    /// Takes part in the bus with cleared counters and empty mailboxes; `fd`: knows FD frames.
    pub fn connect(&mut self, fd: bool) {
        self.bus.disconnect(self.endpoint);
        self.bus.connect(self.endpoint, fd);
    }

    /// Leaves the bus, in the middle of a frame if need be.
    pub fn disconnect(&mut self) {
        self.bus.disconnect(self.endpoint);
    }

    /// Takes part in the bus.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.bus.is_connected(self.endpoint)
    }

    /// The controller's own (nominal) bit rate; it came up with the one that the bus was built with. Another one than the
    /// others' destroys frames.
    pub fn set_bit_rate(&mut self, rate: u32) {
        self.bus.set_rate(self.endpoint, rate);
    }

    /// Whether a frame waits in a mailbox.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.bus.controller(self.endpoint).has_mail()
    }

    /// Whether no frame is on the bus: its level has been recessive for at least the end of one.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.bus.is_idle()
    }

    /// Puts a frame into one of the controller's three mailboxes; false if all are full or it is not connected.
    pub fn submit(&mut self, now: u64, frame: &Frame) -> bool {
        self.bus.submit(self.endpoint, frame, now)
    }

    /// Throws away what has not been sent.
    pub fn abort(&mut self) {
        self.bus.abort(self.endpoint);
    }

    /// Transmit and receive error counters.
    #[must_use]
    pub fn error_counters(&self) -> (u16, u16) {
        let controller = self.bus.controller(self.endpoint);
        (controller.tec(), controller.rec())
    }

    /// Whether the controller is bus-off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.bus.is_off(self.endpoint)
    }

    /// From now on the controller comes back from bus-off only when [`CanPort::recover`] lets it, until it is connected
    /// anew.
    pub fn wait_when_off(&mut self) {
        self.bus.wait_when_off(self.endpoint);
    }

    /// Lets a controller that is bus-off come back after 128 times eleven recessive bits from now on.
    pub fn recover(&mut self, now: u64) {
        self.bus.recover_from(self.endpoint, now);
    }

    /// Opens or closes the line from the controller to the transceiver: what is sent while it is open reaches nobody, what
    /// others send is heard.
    pub fn open_transmitter(&mut self, open: bool) {
        self.bus.open_transmitter(self.endpoint, open);
    }

    /// Bits per second of arbitration, and of FD payloads on a bus that carries them.
    #[must_use]
    pub fn bit_rates(&self) -> (u32, Option<u32>) {
        self.bus.bit_rates()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use panel_protocol::frame::Id;
    use panel_protocol::time::Micros;

    use super::*;
    use crate::chip::Chip;
    use crate::config::{BusSpeed, WorldConfig};
    use crate::world::{HostEvent, World};

    /// Says every frame again under another identifier, 50 us later.
    struct Parrot {
        due: u64,
        said: Option<Frame>,
        sent: Arc<Mutex<u32>>,
    }

    impl Device for Parrot {
        fn due(&self) -> u64 {
            self.due
        }

        fn run(&mut self, now: u64, port: &mut CanPort<'_>) -> bool {
            if self.due <= now
                && let Some(frame) = self.said.take()
            {
                assert!(port.submit(now, &frame));
                self.due = u64::MAX;
            }
            false
        }

        fn receive(&mut self, now: u64, frame: &Frame, _: &mut CanPort<'_>) {
            self.said = Frame::classical(Id::Standard(0x123), frame.data());
            self.due = now + 50_000;
        }

        fn sent(&mut self, _: u64, frame: &Frame, port: &mut CanPort<'_>) {
            assert_eq!(frame.id(), Id::Standard(0x123));
            assert_eq!(port.error_counters(), (0, 0));
            *self.sent.lock().unwrap() += 1;
        }

        fn set_power(&mut self, _: u64, on: bool, port: &mut CanPort<'_>) {
            assert_eq!(port.bit_rates(), (1_000_000, None));
            if on { port.connect(false) } else { port.disconnect() }
        }

        fn set_reset(&mut self, _: u64, _: bool, _: &mut CanPort<'_>) {}

        fn set_select(&mut self, _: bool) {}

        fn current_ma(&self, _: u64) -> u32 {
            17
        }
    }

    #[test]
    fn a_device_hears_the_bus_and_answers_on_it_while_it_has_power() {
        let chip = Chip::by_name("F405").unwrap();
        let mut world = World::new(WorldConfig::panel(2, chip, BusSpeed::CAN_1M), 1).unwrap();
        let sent = Arc::new(Mutex::new(0));
        let parrot = Parrot { due: u64::MAX, said: None, sent: Arc::clone(&sent) };
        assert!(world.install(2, Box::new(parrot)));
        world.set_power(&[2], true);
        assert_eq!((world.current_ma(1), world.current_ma(2)), (Some(0), Some(17)));
        let question = Frame::classical(Id::Standard(0x456), &[1, 2, 3]).unwrap();
        world.host_send(0, &question).unwrap();
        let mut answer = None;
        while world.now() < Micros(1000) {
            world.advance(Micros(1000));
            while let Some(event) = world.poll_host() {
                if let HostEvent::Received { frame, .. } = event {
                    answer = Some(frame);
                }
            }
        }
        assert_eq!(answer.map(|f| (f.id(), f.data().to_vec())), Some((Id::Standard(0x123), vec![1, 2, 3])));
        assert_eq!(*sent.lock().unwrap(), 1);
        world.set_power(&[2], false);
        assert_eq!(world.current_ma(2), Some(0));
    }

    #[test]
    fn nothing_is_put_into_a_slot_with_power() {
        let chip = Chip::by_name("F405").unwrap();
        let mut world = World::new(WorldConfig::panel(1, chip, BusSpeed::CAN_1M), 1).unwrap();
        world.set_power(&[1], true);
        let parrot = || Box::new(Parrot { due: u64::MAX, said: None, sent: Arc::default() });
        assert!(!world.install(1, parrot()));
        assert!(!world.install(7, parrot()));
    }
}

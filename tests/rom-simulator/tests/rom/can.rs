//! The classical CAN loader (AN3154), frame by frame.

use core::time::Duration;
use rom_simulator::{
    CanDevice, CanFrame, CanKind, CanVariant, Fault, Nanos, Protection, Settings, State, catalog,
};

/// A device on a bus of its own, at the host's bit rate.
struct Bus {
    device: CanDevice,
    now: Nanos,
    bitrate: u32,
}

/// Answers as (identifier, data).
type Frames = Vec<(u16, Vec<u8>)>;

impl Bus {
    fn started(device: &str, settings: &Settings) -> Self {
        let model = catalog::find(device).expect("device");
        let device = CanDevice::new(model, CanKind::Classic, settings, Nanos::ZERO).expect("CAN");
        let mut bus = Self { device, now: Nanos::from_millis(3_000), bitrate: 125_000 };
        bus.device.handle_timeout(bus.now);
        bus
    }

    fn connected(device: &str, settings: &Settings) -> Self {
        let mut bus = Self::started(device, settings);
        assert_eq!(bus.say(0x79, &[]), [(0x79, vec![0x79])]);
        bus
    }

    /// Sends a frame and returns all answers until the device has nothing more to do.
    fn say(&mut self, id: u16, data: &[u8]) -> Frames {
        self.now = self.now + Duration::from_millis(1);
        self.device.handle_frame(self.now, &CanFrame::new(id, data), self.bitrate);
        self.drain()
    }

    fn drain(&mut self) -> Frames {
        let mut answers = Vec::new();
        loop {
            while let Some(tx) = self.device.poll_tx() {
                answers.push((tx.frame.id, tx.frame.data));
            }
            let Some(due) = self.device.next_deadline() else { break };
            self.now = self.now.max(due);
            self.device.handle_timeout(self.now);
        }
        answers
    }

    fn reset(&mut self) {
        self.device.reset(self.now);
        self.drain();
    }

    fn flash(&self, offset: usize, len: usize) -> &[u8] {
        &self.device.board().chip().flash().bytes()[offset..offset + len]
    }
}

fn acks(id: u16, count: usize) -> Frames {
    vec![(id, vec![0x79]); count]
}

fn nack(id: u16) -> Frames {
    vec![(id, vec![0x1F])]
}

#[test]
fn the_start_frame_is_acknowledged_once_and_then_refused() {
    let mut bus = Bus::started("F405", &Settings::default());
    // Any length will do.
    assert_eq!(bus.say(0x79, &[1, 2, 3]), acks(0x79, 1));
    assert_eq!(bus.say(0x79, &[]), nack(0x79));
}

#[test]
fn other_traffic_before_the_start_frame_keeps_the_rom_off_the_bus_until_reset() {
    let mut bus = Bus::started("F405", &Settings::default());
    assert_eq!(bus.say(0x123, &[1]), []);
    assert_eq!(bus.say(0x79, &[]), []);
    bus.reset();
    assert_eq!(bus.say(0x79, &[]), acks(0x79, 1));
    assert_eq!(bus.say(0x123, &[1]), [], "afterwards it is ignored");
    assert_eq!(bus.say(0x02, &[]).len(), 3);
}

#[test]
fn without_a_crystal_it_knows_there_is_no_can() {
    for (device, crystals, crystal_mhz, answers) in [
        ("F405", false, 8, false),
        ("F405", true, 13, true),
        ("L496", true, 13, false),
        ("L496", true, 8, true),
    ] {
        let settings = Settings { crystals, crystal_mhz, ..Settings::default() };
        let mut bus = Bus::started(device, &settings);
        assert_eq!(!bus.say(0x79, &[]).is_empty(), answers, "{device} with {crystal_mhz} MHz: {crystals}");
    }
}

#[test]
fn frames_at_another_bit_rate_are_not_seen() {
    let mut bus = Bus::started("F405", &Settings::default());
    bus.bitrate = 500_000;
    assert_eq!(bus.say(0x79, &[]), []);
    bus.bitrate = 125_000;
    assert_eq!(bus.say(0x79, &[]), acks(0x79, 1));
}

#[test]
fn get_version_and_id_come_in_frames_of_their_own() {
    let mut bus = Bus::connected("F405", &Settings::default());
    let get = bus.say(0x00, &[]);
    let bytes: Vec<u8> = get.iter().flat_map(|(_, data)| data.clone()).collect();
    // ACK, N = 12, version 2.0, twelve commands, ACK; one byte in each frame.
    assert_eq!(
        bytes,
        [0x79, 12, 0x20, 0x00, 0x01, 0x02, 0x03, 0x11, 0x21, 0x31, 0x43, 0x63, 0x73, 0x82, 0x92, 0x79]
    );
    assert!(get.iter().all(|(id, data)| *id == 0x00 && data.len() == 1));
    assert_eq!(
        bus.say(0x01, &[]),
        [(0x01, vec![0x79]), (0x01, vec![0x20]), (0x01, vec![0x00, 0x00]), (0x01, vec![0x79])]
    );
    assert_eq!(bus.say(0x02, &[]), [(0x02, vec![0x79]), (0x02, vec![0x04, 0x13]), (0x02, vec![0x79])]);
}

#[test]
fn speed_acknowledges_at_the_old_rate_and_again_at_the_new_one() {
    let mut bus = Bus::connected("F405", &Settings::default());
    assert_eq!(bus.say(0x03, &[0x05]), nack(0x03));
    bus.now = bus.now + Duration::from_millis(1);
    bus.device.handle_frame(bus.now, &CanFrame::new(0x03, &[0x04]), 125_000);
    let mut rates = Vec::new();
    while let Some(due) = bus.device.next_deadline() {
        bus.now = bus.now.max(due);
        bus.device.handle_timeout(bus.now);
        rates.extend(core::iter::from_fn(|| bus.device.poll_tx()).map(|tx| (tx.frame.id, tx.bitrate)));
    }
    assert_eq!(rates, [(0x03, 125_000), (0x03, 1_000_000)]);
    assert_eq!(bus.say(0x02, &[]), [], "the old rate is gone");
    bus.bitrate = 1_000_000;
    assert_eq!(bus.say(0x02, &[]).len(), 3);
    // One passage of the note prints 0x02 for the second ACK.
    let can = CanVariant { speed_ack_id: 0x02, ..CanVariant::default() };
    let mut bus = Bus::connected("F405", &Settings { can, ..Settings::default() });
    assert_eq!(bus.say(0x03, &[0x02]), [(0x03, vec![0x79]), (0x02, vec![0x79])]);
}

#[test]
fn write_acknowledges_every_data_frame_and_once_more_when_programmed() {
    let mut bus = Bus::connected("F405", &Settings::default());
    // 12 bytes at 0x08000000.
    assert_eq!(bus.say(0x31, &[0x08, 0x00, 0x00, 0x00, 0x0B]), acks(0x31, 1));
    // The identifier of data frames is not checked.
    assert_eq!(bus.say(0x04, &[1, 2, 3, 4, 5, 6, 7, 8]), acks(0x31, 1));
    assert_eq!(bus.say(0x31, &[9, 10, 11, 12]), acks(0x31, 2));
    assert_eq!(bus.flash(0, 12), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(bus.say(0x31, &[0x09, 0x00, 0x00, 0x00, 0x0B]), nack(0x31));
    assert_eq!(bus.say(0x31, &[0x08, 0x00]), nack(0x31), "half an address");
}

#[test]
fn read_comes_in_frames_of_eight() {
    let mut bus = Bus::connected("F405", &Settings::default());
    bus.device.board_mut().chip_mut().flash_mut().preload(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let read = |bus: &mut Bus| bus.say(0x11, &[0x08, 0x00, 0x00, 0x00, 0x09]);
    let ack = (0x11, vec![0x79]);
    let eight = (0x11, vec![1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(read(&mut bus), [ack.clone(), eight.clone(), (0x11, vec![9, 10]), ack.clone()]);
    let can = CanVariant { remainder_in_single_bytes: true, ..CanVariant::default() };
    let mut bus = Bus::connected("F405", &Settings { can, ..Settings::default() });
    bus.device.board_mut().chip_mut().flash_mut().preload(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(read(&mut bus), [ack.clone(), eight, (0x11, vec![9]), (0x11, vec![10]), ack]);
}

#[test]
fn erase_has_two_readings_of_its_acks() {
    for (extra, global, count, list) in [(false, 2, 1, 2), (true, 3, 2, 1)] {
        let can = CanVariant { extra_erase_ack: extra, ..CanVariant::default() };
        let mut bus = Bus::connected("F405", &Settings { can, ..Settings::default() });
        bus.device.board_mut().chip_mut().flash_mut().preload(0, &[0; 0x20000]);
        assert_eq!(bus.say(0x43, &[0x01]), acks(0x43, count));
        assert_eq!(bus.say(0x43, &[0x00, 0x02]), acks(0x43, list));
        assert_eq!([bus.flash(0, 1), bus.flash(0x4000, 1), bus.flash(0x8000, 1)], [[0xFF], [0], [0xFF]]);
        assert_eq!(bus.say(0x43, &[0xFF]), acks(0x43, global));
        assert_eq!(bus.flash(0x4000, 1), [0xFF]);
    }
}

#[test]
fn a_page_list_may_need_several_frames() {
    let mut bus = Bus::connected("F405", &Settings::default());
    assert_eq!(bus.say(0x43, &[0x09]), acks(0x43, 1));
    assert_eq!(bus.say(0x43, &[0, 1, 2, 3, 4, 5, 6, 7]), []);
    assert_eq!(bus.say(0x43, &[8, 9]), acks(0x43, 2));
}

#[test]
fn while_it_erases_three_frames_wait_and_more_are_lost() {
    let mut bus = Bus::connected("F405", &Settings::default());
    for (id, data) in [(0x43u16, &[0xFFu8][..]), (0x01, &[]), (0x01, &[]), (0x01, &[]), (0x02, &[])] {
        bus.now = bus.now + Duration::from_millis(1);
        bus.device.handle_frame(bus.now, &CanFrame::new(id, data), 125_000);
    }
    assert_eq!(bus.device.overruns(), 1);
    let answers = bus.drain();
    assert_eq!(answers.iter().filter(|(id, _)| *id == 0x01).count(), 12);
    assert!(answers.iter().all(|(id, _)| *id != 0x02));
}

#[test]
fn protection_commands_acknowledge_twice_and_reset() {
    let mut bus = Bus::connected("F405", &Settings::default());
    assert_eq!(bus.say(0x82, &[]), acks(0x82, 2));
    assert_eq!(bus.say(0x79, &[]), acks(0x79, 1));
    assert_eq!(bus.device.board().chip().protection(), Protection::Level1);
    assert_eq!(bus.say(0x11, &[0x08, 0, 0, 0, 7]), nack(0x11));
    assert_eq!(bus.say(0x02, &[]).len(), 3);
    assert_eq!(bus.say(0x92, &[]), acks(0x92, 2));
    assert_eq!(bus.say(0x79, &[]), acks(0x79, 1));
    assert_eq!(bus.device.board().chip().protection(), Protection::Open);
}

#[test]
fn write_unprotect_does_nothing_on_f40x() {
    for (device, left) in [("F405", vec![3u8]), ("F746", vec![])] {
        let mut bus = Bus::connected(device, &Settings::default());
        assert_eq!(bus.say(0x63, &[0x01]), acks(0x63, 1));
        assert_eq!(bus.say(0x63, &[0x03]), acks(0x63, 1));
        assert_eq!(bus.say(0x79, &[]), acks(0x79, 1), "it has reset itself");
        assert_eq!(bus.device.board().chip().write_protected(), [3]);
        assert_eq!(bus.say(0x73, &[]), acks(0x73, 2), "{device}");
        bus.reset();
        assert_eq!(bus.device.board().chip().write_protected(), left, "{device}");
    }
}

#[test]
fn go_acknowledges_and_leaves_the_bus() {
    let mut bus = Bus::connected("F405", &Settings::default());
    assert_eq!(bus.say(0x21, &[0x09, 0x00, 0x00, 0x00]), nack(0x21));
    assert_eq!(bus.say(0x21, &[0x08, 0x00, 0x00, 0x00]), acks(0x21, 1));
    assert_eq!(bus.device.board().state(), State::Application(Some(0x0800_0000)));
    assert_eq!(bus.say(0x79, &[]), []);
}

#[test]
fn faults_strike_on_can_too() {
    let with = |fault: &str| {
        let faults: Vec<Fault> = vec![fault.parse().expect("fault")];
        Bus::connected("F405", &Settings { faults, ..Settings::default() })
    };
    assert_eq!(with("nack:answer=2").say(0x02, &[]), nack(0x02));
    assert_eq!(with("mute:command=1").say(0x02, &[]), []);
    let mut bus = with("kill:byte=2,off-ms=10");
    assert_eq!(bus.say(0x02, &[]), []);
    assert_eq!(bus.say(0x79, &[]), acks(0x79, 1), "back after 10 ms");
}

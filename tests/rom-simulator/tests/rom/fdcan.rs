//! The FDCAN loader (AN5405), as far as it is known.

use core::time::Duration;
use rom_simulator::{CanDevice, CanFrame, CanKind, CanVariant, Nanos, Protection, Settings, catalog};

struct Bus {
    device: CanDevice,
    now: Nanos,
}

type Frames = Vec<(u16, Vec<u8>)>;

impl Bus {
    fn new(device: &str, settings: &Settings) -> Self {
        let model = catalog::find(device).expect("device");
        let device = CanDevice::new(model, CanKind::Fd, settings, Nanos::ZERO).expect("FDCAN");
        let mut bus = Self { device, now: Nanos::from_millis(1_000) };
        bus.device.handle_timeout(bus.now);
        bus
    }

    fn say(&mut self, id: u16, data: &[u8]) -> Frames {
        self.now = self.now + Duration::from_millis(1);
        self.device.handle_frame(self.now, &CanFrame::fd(id, data), 250_000);
        let mut answers = Vec::new();
        loop {
            while let Some(tx) = self.device.poll_tx() {
                assert!(tx.frame.fd && tx.bitrate == 250_000);
                answers.push((tx.frame.id, tx.frame.data));
            }
            let Some(due) = self.device.next_deadline() else { break };
            self.now = self.now.max(due);
            self.device.handle_timeout(self.now);
        }
        answers
    }
}

fn acks(id: u16, count: usize) -> Frames {
    vec![(id, vec![0x79]); count]
}

fn nack(id: u16) -> Frames {
    vec![(id, vec![0x1F])]
}

#[test]
fn the_first_frame_is_a_command_already_and_there_is_no_speed() {
    let mut bus = Bus::new("G0B1", &Settings::default());
    assert_eq!(bus.say(0x02, &[]), [(0x02, vec![0x79]), (0x02, vec![0x04, 0x67]), (0x02, vec![0x79])]);
    assert_eq!(bus.say(0x03, &[0x04]), nack(0x03));
}

#[test]
fn only_parts_that_have_the_loader_can_be_made() {
    // G4 has FDCAN hardware, but not in its ROM.
    for device in ["G431", "G474", "F405"] {
        let model = catalog::find(device).expect("device");
        assert!(CanDevice::new(model, CanKind::Fd, &Settings::default(), Nanos::ZERO).is_none());
    }
}

#[test]
fn get_gives_the_version_by_part() {
    for (device, version) in [("G0B1", 0x10), ("H743", 0x11), ("U575", 0x11), ("H563", 0x20)] {
        let mut bus = Bus::new(device, &Settings::default());
        assert_eq!(bus.say(0x00, &[])[2], (0x00, vec![version]), "{device}");
        assert_eq!(bus.say(0x01, &[])[1], (0x01, vec![version]), "{device}");
    }
}

#[test]
fn write_takes_64_bytes_a_frame_and_acknowledges_only_the_last() {
    let mut bus = Bus::new("G0B1", &Settings::default());
    // 136 bytes: two full frames and one of 8, padded to 64.
    assert_eq!(bus.say(0x31, &[0x08, 0x00, 0x00, 0x00, 135]), acks(0x31, 1));
    assert_eq!(bus.say(0x31, &[1; 64]), []);
    assert_eq!(bus.say(0x31, &[2; 64]), []);
    let last = [&[3; 8][..], &[0xFF; 56]].concat();
    assert_eq!(bus.say(0x31, &last), acks(0x31, 1));
    let flash = bus.device.board().chip().flash().bytes();
    assert_eq!((flash[0], flash[64], flash[135], flash[136]), (1, 2, 3, 0xFF));
}

#[test]
fn read_pads_its_last_frame() {
    let mut bus = Bus::new("G0B1", &Settings::default());
    bus.device.board_mut().chip_mut().flash_mut().preload(0, &[7; 100]);
    let frames = bus.say(0x11, &[0x08, 0x00, 0x00, 0x00, 99]);
    assert_eq!(frames.len(), 4);
    assert_eq!(frames[1], (0x11, vec![7; 64]));
    assert_eq!(frames[2], (0x11, [&[7; 36][..], &[0xFF; 28]].concat()));
}

#[test]
fn erase_is_44_with_banks_and_lists() {
    let mut bus = Bus::new("G0B1", &Settings::default());
    bus.device.board_mut().chip_mut().flash_mut().preload(0, &[0; 8192]);
    // Two pages: 1 and 3.
    assert_eq!(bus.say(0x44, &[0x00, 0x02]), acks(0x44, 2));
    let mut list = vec![0xFF; 64];
    list[..4].copy_from_slice(&[0x00, 0x01, 0x00, 0x03]);
    assert_eq!(bus.say(0x44, &list), acks(0x44, 1));
    let bytes = bus.device.board().chip().flash().bytes();
    assert_eq!([bytes[0], bytes[2048], bytes[4096], bytes[6144]], [0, 0xFF, 0, 0xFF]);
    assert_eq!(bus.say(0x44, &[0xFF, 0xFE]), acks(0x44, 2), "bank 1");
    assert_eq!(bus.say(0x44, &[0xFF, 0xFF]), acks(0x44, 2), "everything");
    assert_eq!(bus.say(0x44, &[0x00, 32]), nack(0x44), "31 pages fit a frame");
    assert_eq!(bus.say(0x44, &[0x00, 0x00]), nack(0x44));
    // The other reading of the count.
    let can = CanVariant { fd_erase_count_less_one: true, ..CanVariant::default() };
    let mut bus = Bus::new("G0B1", &Settings { can, ..Settings::default() });
    assert_eq!(bus.say(0x44, &[0x00, 0x00]), acks(0x44, 2));
}

#[test]
fn readout_unprotect_answers_on_111_before_it_erases() {
    let settings = Settings { faults: vec!["protected".parse().expect("fault")], ..Settings::default() };
    let mut bus = Bus::new("U575", &settings);
    assert_eq!(bus.say(0x11, &[0x08, 0, 0, 0, 63]), nack(0x11));
    assert_eq!(bus.say(0x92, &[]), acks(0x111, 2));
    bus.device.reset(bus.now);
    assert_eq!(bus.device.board().chip().protection(), Protection::Open);
}

#[test]
fn write_protect_takes_its_list_in_the_same_frame() {
    let mut bus = Bus::new("H743", &Settings::default());
    assert_eq!(bus.say(0x63, &[0x02, 0x01, 0x04]), acks(0x63, 2));
    bus.device.reset(bus.now);
    assert_eq!(bus.device.board().chip().write_protected(), [1, 4]);
}

#[test]
fn go_gives_two_acks() {
    let mut bus = Bus::new("H743", &Settings::default());
    assert_eq!(bus.say(0x21, &[0x08, 0x00, 0x00, 0x00]), acks(0x21, 2));
}

#[test]
fn special_on_h5_answers_on_111() {
    let mut bus = Bus::new("H563", &Settings::default());
    assert_eq!(bus.say(0x50, &[0x00, 0x02]), acks(0x111, 1));
    assert_eq!(bus.say(0x50, &[0x00, 0xA4]), nack(0x111), "C5 only");
}

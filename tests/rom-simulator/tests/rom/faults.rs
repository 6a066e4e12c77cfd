//! Each fault does what its line in the help text says, and strikes when it says.

use crate::bench::{ACK, Bench, NACK, with_check};
use core::time::Duration;
use rom_simulator::{Settings, State};

#[test]
fn a_mute_device_hears_and_does_not_answer() {
    let mut bench = Bench::started("F405", &Bench::faulty(&["mute"]));
    assert_eq!(bench.say(&[0x7F]), []);
    // From its third command on: sync is no command.
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["mute:command=3"]));
    assert_eq!(bench.say(&[0x02, 0xFD]).len(), 5);
    assert_eq!(bench.say(&[0x02, 0xFD]).len(), 5);
    assert_eq!(bench.say(&[0x02, 0xFD]), []);
}

#[test]
fn the_kth_answer_is_a_nack_and_the_work_is_not_done() {
    // Answers: 1 sync, 2 command, 3 address, 4 programming.
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["nack:answer=4"]));
    assert_eq!(bench.write(0x0800_0000, &[0; 4]), [ACK, ACK, NACK]);
    assert_eq!(bench.flash(0, 4), [0xFF; 4]);
    assert_eq!(bench.write(0x0800_0000, &[0; 4]), [ACK; 3]);
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["nack:answer=2,times=2"]));
    assert_eq!(bench.say(&[0x02, 0xFD]), [NACK]);
    assert_eq!(bench.say(&[0x02, 0xFD]), [NACK]);
    assert_eq!(bench.say(&[0x02, 0xFD]).len(), 5);
}

#[test]
fn wrong_data_is_one_bit_in_one_block() {
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["wrong-data:read=2"]));
    let good = bench.read(0x0800_0000, 256);
    let bad = bench.read(0x0800_0000, 256);
    assert_eq!(good, bench.read(0x0800_0000, 256));
    let bits: u32 = good.iter().zip(&bad).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!(bits, 1);
}

#[test]
fn a_reset_on_the_way_needs_a_new_connection() {
    // Byte 1 is 7F; bytes 2 and 3 a command, 4 to 8 its address.
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["reset:byte=6"]));
    assert_eq!(bench.write(0x0800_0000, &[0; 4]), [ACK]);
    bench.wait(Duration::from_millis(100));
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    assert_eq!(bench.write(0x0800_0000, &[0; 4]), [ACK; 3]);
}

#[test]
fn a_power_cut_while_programming_leaves_the_first_half() {
    // The bench starts the device at 3000 ms; the block's last byte arrives at 3056.7 ms.
    let mut bench = Bench::started("F103", &Bench::faulty(&["kill:ms=3060,off-ms=50"]));
    assert_eq!(bench.say_for(&[0x7F], Duration::from_millis(1)), [ACK]);
    assert_eq!(bench.say_for(&[0x31, 0xCE], Duration::from_millis(1)), [ACK]);
    assert_eq!(bench.say_for(&[0x08, 0x00, 0x00, 0x00, 0x08], Duration::from_millis(30)), [ACK]);
    let block = with_check(&[&[0xFF][..], &[0x00; 256]].concat());
    assert_eq!(bench.say_for(&block, Duration::from_millis(30)), []);
    assert_eq!(bench.state(), State::Off(Some(rom_simulator::Nanos::from_millis(3_110))));
    let zeros = bench.flash(0, 256).iter().take_while(|&&b| b == 0).count();
    assert!((80..160).contains(&zeros), "{zeros} bytes were programmed");
    assert!(bench.flash(zeros + 2, 252 - zeros).iter().all(|&b| b == 0xFF));
    bench.wait(Duration::from_millis(100));
    assert_eq!(bench.say(&[0x7F]), [ACK], "power is back");
}

#[test]
fn a_power_cut_while_erasing_leaves_garbage() {
    let mut bench = Bench::connected("F405");
    bench.say(&[0x44, 0xBB]);
    bench.say_for(&[0x00, 0x00, 0x00, 0x00, 0x00], Duration::from_millis(200));
    bench.power_cycle();
    let page = bench.flash(0, 16 * 1024);
    assert!(page.iter().any(|&b| b != 0xFF) && page.iter().any(|&b| b != 0x00));
    assert_eq!(bench.flash(16 * 1024, 1), [0xFF]);
}

#[test]
fn slow_answers_come_late_and_the_device_waits_with_them() {
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["slow-ack:ms=20,answer=3"]));
    assert!(bench.time(&[0x02, 0xFD]).1 > Duration::from_millis(20));
    assert!(bench.time(&[0x02, 0xFD]).1 < Duration::from_millis(2));
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["slow-ack:ms=20"]));
    assert!(bench.time(&[0x02, 0xFD]).1 > Duration::from_millis(40), "two answers");
}

#[test]
fn bytes_get_lost_in_either_direction() {
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["lost:byte=2"]));
    assert_eq!(bench.say(&[0x02, 0xFD]), [], "only FD arrived");
    assert_eq!(bench.say(&[0x00]), [NACK]);
    // Sent: 1 the sync ACK, 2 the command's ACK, 3 the count.
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["lost:byte=3,from=device"]));
    assert_eq!(bench.say(&[0x02, 0xFD]), [ACK, 0x04, 0x13, ACK]);
    let mut bench = Bench::started("F405", &Bench::faulty(&["lost:rate=0.5,from=host"]));
    let heard = bench.line.device().board().bytes();
    bench.say(&[0x55; 100]);
    assert_eq!(bench.line.device().board().bytes(), heard + 100, "counted before they are lost");
}

#[test]
fn a_stray_byte_comes_before_the_first_answer_only() {
    let mut bench = Bench::started("F405", &Bench::faulty(&["stray"]));
    assert_eq!(bench.say(&[0x7F]), [0x00, ACK]);
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK]);
}

#[test]
fn a_stuck_bit_survives_erase_and_programming() {
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["stuck:address=0x08000002"]));
    assert_eq!(bench.write(0x0800_0000, &[0; 4]), [ACK; 3]);
    assert_eq!(bench.flash(0, 4), [0, 0, 1, 0]);
}

#[test]
fn a_fault_strikes_once_and_survives_a_power_cycle() {
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["kill:command=1"]));
    assert_eq!(bench.say(&[0x02, 0xFD]), []);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    assert_eq!(bench.say(&[0x02, 0xFD]).len(), 5);
}

#[test]
fn the_same_seed_and_bytes_give_the_same_answers_to_the_nanosecond() {
    let run = |seed| {
        let settings = Settings {
            seed,
            faults: ["lost:rate=0.02", "parity:rate=0.02", "wrong-data:rate=0.3"]
                .map(|f| f.parse().expect("fault"))
                .to_vec(),
            ..Settings::default()
        };
        let mut bench = Bench::started("F103", &settings);
        let mut all = Vec::new();
        for _ in 0..50 {
            all.push((bench.say(&[0x7F]), bench.now));
            all.push((bench.say(&[0x11, 0xEE, 0x08, 0x00, 0x00, 0x00, 0x08]), bench.now));
            all.push((bench.say(&[0x0F, 0xF0]), bench.now));
        }
        all
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

//! Connecting: start-up, the first 0x7F, wrong rates, parity, the receiver without FIFO (AN3155 sections 2, 3).

use crate::bench::{ACK, Bench, NACK};
use core::time::Duration;
use rom_simulator::wire::LineConfig;
use rom_simulator::{Parity, Settings, State};

#[test]
fn the_first_7f_is_answered_once_and_a_second_is_half_a_command() {
    let mut bench = Bench::connected("F405");
    assert_eq!(bench.say(&[0x7F]), []);
    // The next byte completes it, and no command has that complement.
    assert_eq!(bench.say(&[0x7F]), [NACK]);
    assert_eq!(bench.say(&[0x02, 0xFD]), [ACK, 0x01, 0x04, 0x13, ACK]);
}

#[test]
fn a_7f_before_the_rom_is_up_is_lost_without_harm() {
    // F405 needs 84.59 ms.
    let mut bench = Bench::cold("F405", &Settings::default());
    assert_eq!(bench.say_for(&[0x7F], Duration::from_millis(80)), []);
    assert_eq!(bench.wait(Duration::from_millis(20)), []);
    assert_eq!(bench.say(&[0x7F]), [ACK]);
}

#[test]
fn without_its_crystal_a_slow_starter_takes_seconds() {
    let settings = Settings { crystals: false, ..Settings::default() };
    let mut bench = Bench::cold("L476", &settings);
    bench.wait(Duration::from_millis(2_500));
    assert_eq!(bench.say_for(&[0x7F], Duration::from_millis(10)), []);
    bench.wait(Duration::from_millis(60));
    assert_eq!(bench.say(&[0x7F]), [ACK]);
}

#[test]
fn any_rate_in_range_is_measured_and_kept() {
    for baud in [1_200, 9_600, 57_600, 115_200, 230_400, 460_800] {
        let mut bench = Bench::started("F405", &Settings::default());
        bench.line.set_config(LineConfig { baud, ..LineConfig::default() });
        assert_eq!(bench.say(&[0x7F]), [ACK], "{baud}");
        assert_eq!(bench.say(&[0x02, 0xFD]), [ACK, 0x01, 0x04, 0x13, ACK], "{baud}");
        let rate = bench.line.device().baud().expect("synced");
        assert!(rate.abs_diff(baud) * 100 <= baud, "{rate} for {baud}");
    }
}

#[test]
fn a_host_that_changes_its_rate_is_no_longer_understood() {
    let mut bench = Bench::connected("F405");
    bench.line.set_config(LineConfig { baud: 57_600, ..LineConfig::default() });
    assert_ne!(bench.say(&[0x02, 0xFD]), [ACK, 0x01, 0x04, 0x13, ACK]);
}

#[test]
fn noise_before_the_7f_spoils_the_rate_until_reset() {
    for noise in ["glitch", "glitch:byte=0xF0", "glitch:byte=0xFF"] {
        let mut bench = Bench::started("G031", &Bench::faulty(&[noise]));
        let first = bench.say(&[0x7F]);
        assert_ne!(first, [ACK], "{noise}");
        for _ in 0..4 {
            assert!(!bench.say(&[0x7F]).contains(&ACK), "{noise}");
        }
        bench.reset();
        assert_eq!(bench.say(&[0x7F]), [ACK], "{noise}");
    }
}

#[test]
fn another_byte_than_7f_is_measured_as_if_it_were_one() {
    // 0x55: the second falling edge comes after 2 bits instead of 8, so the rate is taken as four times too high.
    let mut bench = Bench::started("G431", &Settings::default());
    bench.line.set_config(LineConfig { baud: 9_600, ..LineConfig::default() });
    bench.say(&[0x55]);
    assert_eq!(bench.line.device().baud(), Some(38_400));
}

#[test]
fn above_what_a_part_can_do_it_falls_silent() {
    // F1: 9xxxxx baud never works (field reports).
    let mut bench = Bench::started("F103", &Settings::default());
    bench.line.set_config(LineConfig { baud: 921_600, ..LineConfig::default() });
    assert_eq!(bench.say(&[0x7F]), []);
    bench.line.set_config(LineConfig::default());
    assert_eq!(bench.say(&[0x7F]), [], "deaf until reset");
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK]);
}

#[test]
fn f746_at_115200_fails_for_some_attempts_and_never_at_57600() {
    let attempts = |baud| {
        (1..=40)
            .filter(|&seed| {
                let mut bench = Bench::started("F746", &Settings { seed, ..Settings::default() });
                bench.line.set_config(LineConfig { baud, ..LineConfig::default() });
                let _sync = bench.say(&[0x7F]);
                bench.say(&[0x02, 0xFD]) == [ACK, 0x01, 0x04, 0x49, ACK]
            })
            .count()
    };
    assert_eq!(attempts(57_600), 40);
    assert!((10..=30).contains(&attempts(115_200)));
}

#[test]
fn without_parity_the_7f_passes_and_the_first_command_does_not() {
    let mut bench = Bench::started("F103", &Settings::default());
    bench.line.set_config(LineConfig { parity: Parity::None, ..LineConfig::default() });
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    // 00 has an even number of ones: its parity bit would be 0, the stop bit stands there instead.
    assert_eq!(bench.say(&[0x00, 0xFF]), []);
    assert_eq!(bench.say(&[0x01, 0xFE]), []);

    let mut bench = Bench::started("F103", &Bench::faulty(&["parity"]));
    assert_eq!(bench.say(&[0x7F]), [ACK], "the fault is the same thing seen from the adapter");
    assert_eq!(bench.say(&[0x00, 0xFF]), []);
}

#[test]
fn a_byte_with_a_bad_parity_bit_is_dropped_in_silence() {
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["parity:rate=0.0"]));
    assert_eq!(bench.say(&[0x02, 0xFD]).len(), 5);
    // Every byte is hit from the start: not even the command is seen. (The rate measurement needs no parity.)
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["parity:rate=1.0"]));
    assert_eq!(bench.say(&[0x02, 0xFD]), []);
}

#[test]
fn while_the_rom_erases_one_byte_is_kept_and_the_rest_is_lost() {
    let mut bench = Bench::connected("F405");
    bench.say(&[0x44, 0xBB]);
    // Sector 0, 400 ms; then Get ID and Get Version while it is busy.
    bench.say_for(&[0x00, 0x00, 0x00, 0x00, 0x00], Duration::from_millis(100));
    assert_eq!(bench.say(&[0x02, 0xFD, 0x01, 0xFE]), [ACK]);
    assert_eq!(bench.line.device().overruns(), 3);
    // The 02 was kept as half a command.
    assert_eq!(bench.say(&[0xFD]), [ACK, 0x01, 0x04, 0x13, ACK]);
}

#[test]
fn an_unfinished_command_waits_for_ever_and_filler_brings_a_nack() {
    let mut bench = Bench::connected("F405");
    assert_eq!(bench.say(&[0x31, 0xCE]), [ACK]);
    assert_eq!(bench.say(&[0x08, 0x00]), []);
    bench.wait(Duration::from_secs(600));
    // Two more address bytes and a check byte that cannot fit.
    assert_eq!(bench.say(&[0xFF, 0xFF, 0x00]), [NACK]);
    assert_eq!(bench.say(&[0x01, 0xFE]), [ACK, 0x31, 0x00, 0x00, ACK]);
}

#[test]
fn boot0_low_starts_the_application_and_the_line_is_dead() {
    let mut bench = Bench::started("F405", &Settings { boot0: false, ..Settings::default() });
    assert_eq!(bench.state(), State::Application(None));
    assert_eq!(bench.say(&[0x7F]), []);
    bench.line.device_mut().board_mut().set_boot0(true);
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK]);
}

#[test]
fn the_same_seed_gives_the_same_board_and_another_seed_another() {
    let uid = |seed| {
        let bench = Bench::connected_with("F103", &Settings { seed, ..Settings::default() });
        bench.line.device().board().chip().uid()
    };
    assert_eq!(uid(7), uid(7));
    assert_ne!(uid(7), uid(8));
}

#[test]
fn adapter_latency_delays_both_directions() {
    let mut bench = Bench::connected("F103");
    bench.line.set_config(LineConfig {
        to_device: Duration::from_millis(1),
        to_host: Duration::from_millis(16),
        ..LineConfig::default()
    });
    // 2 bytes out, 3 + 1 + 1 back at 95.5 us, and 17 ms.
    let (answer, time) = bench.time(&[0x02, 0xFD]);
    assert_eq!(answer, [ACK, 0x01, 0x04, 0x10, ACK]);
    assert!((17_600..17_800).contains(&time.as_micros()), "{time:?}");
}

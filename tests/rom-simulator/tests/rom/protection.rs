//! Read-out and write protection, option bytes, and who resets itself (AN3155 sections 3.10 to 3.13).

use crate::bench::{ACK, Bench, NACK};
use core::time::Duration;
use rom_simulator::{Protection, State};

fn protection(bench: &Bench) -> Protection {
    bench.line.device().board().chip().protection()
}

#[test]
fn under_level_1_only_four_commands_are_accepted() {
    let mut bench = Bench::connected_with("G431", &Bench::faulty(&["protected"]));
    for code in [0x11u8, 0x21, 0x31, 0x44, 0x63, 0x73, 0x82] {
        assert_eq!(bench.say(&[code, !code]), [NACK], "{code:#04x}");
    }
    assert_eq!(bench.say(&[0x00, 0xFF]).len(), 15);
    assert_eq!(bench.say(&[0x01, 0xFE]), [ACK, 0x31, 0x00, 0x00, ACK]);
    assert_eq!(bench.say(&[0x02, 0xFD]), [ACK, 0x01, 0x04, 0x68, ACK]);
}

#[test]
fn f40x_refuses_read_and_write_with_two_nacks() {
    let mut bench = Bench::connected_with("F405", &Bench::faulty(&["protected:level=1"]));
    assert_eq!(bench.say(&[0x11, 0xEE]), [NACK, NACK]);
    assert_eq!(bench.say(&[0x31, 0xCE]), [NACK, NACK]);
    assert_eq!(bench.say(&[0x44, 0xBB]), [NACK]);
    let mut bench = Bench::connected_with("F411", &Bench::faulty(&["protected:level=1"]));
    assert_eq!(bench.say(&[0x11, 0xEE]), [NACK], "F411 does not");
}

#[test]
fn under_level_2_there_is_no_rom() {
    let mut bench = Bench::started("F405", &Bench::faulty(&["protected:level=2"]));
    assert_eq!(bench.state(), State::Locked);
    assert_eq!(bench.say(&[0x7F]), []);
}

#[test]
fn readout_protect_then_unprotect_erases_flash_and_ram() {
    let mut bench = Bench::connected("F405");
    assert_eq!(bench.write(0x0800_0000, &[0x5A; 4]), [ACK; 3]);
    assert_eq!(bench.write(0x2000_2000, &[0x5A; 4]), [ACK; 3]);
    assert_eq!(bench.say(&[0x82, 0x7D]), [ACK, ACK]);
    // F4 resets itself: a new connection, and the protection is in force.
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    assert_eq!(protection(&bench), Protection::Level1);
    let (answer, time) = bench.time(&[0x92, 0x6D]);
    assert_eq!(answer, [ACK, ACK]);
    // x8 mass erase: 16 s typical.
    assert!(time > Duration::from_secs(16), "{time:?}");
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    assert_eq!(bench.read(0x0800_0000, 4)[3..], [0xFF; 4]);
    assert_eq!(bench.read(0x2000_2000, 4)[3..], [0x00; 4]);
}

#[test]
fn newer_roms_acknowledge_unprotect_before_they_erase() {
    let mut bench = Bench::connected_with("G431", &Bench::faulty(&["protected"]));
    bench.preload(0, &[0x5A; 4]);
    // Both ACKs within 1 ms, erased 22 ms later.
    assert_eq!(bench.say_for(&[0x92, 0x6D], Duration::from_millis(1)), [ACK, ACK]);
    assert_eq!(bench.flash(0, 4), [0x5A; 4]);
    bench.wait(Duration::from_millis(60));
    assert_eq!(bench.flash(0, 4), [0xFF; 4]);
    // F1 erases first.
    let mut bench = Bench::connected_with("F103", &Bench::faulty(&["protected"]));
    assert_eq!(bench.say_for(&[0x92, 0x6D], Duration::from_millis(1)), [ACK]);
    assert_eq!(bench.wait(Duration::from_millis(100)), [ACK]);
}

#[test]
fn where_the_rom_does_not_reset_itself_options_wait_for_a_reset() {
    for device in ["F103", "G431", "L053"] {
        let mut bench = Bench::connected(device);
        assert_eq!(bench.say(&[0x82, 0x7D]), [ACK, ACK], "{device}");
        assert_eq!(bench.read(0x0800_0000, 4).len(), 7, "{device}: not in force yet");
        bench.reset();
        assert_eq!(bench.say(&[0x7F]), [ACK], "{device}");
        assert_eq!(bench.say(&[0x11, 0xEE]), [NACK], "{device}");
    }
}

#[test]
fn write_protected_sectors_are_passed_over_in_silence() {
    let mut bench = Bench::connected("F103");
    bench.say(&[0x63, 0x9C]);
    // One code, 0: pages 0 to 3. Code 200 does not exist and is not checked either.
    assert_eq!(bench.say(&[0x01, 0x00, 0xC8, 0xC9]), [ACK]);
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    assert_eq!(bench.write(0x0800_0000, &[0; 4]), [ACK; 3]);
    assert_eq!(bench.flash(0, 4), [0xFF; 4]);
    assert_eq!(bench.write(0x0800_1000, &[0; 4]), [ACK; 3], "page 4 is free");
    assert_eq!(bench.flash(0x1000, 4), [0; 4]);
    bench.say(&[0x43, 0xBC]);
    assert_eq!(bench.say(&[0xFF, 0x00]), [ACK], "and a global erase does nothing");
    assert_eq!(bench.flash(0x1000, 4), [0; 4]);
    assert_eq!(bench.say(&[0x73, 0x8C]), [ACK, ACK]);
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    assert_eq!(bench.write(0x0800_0000, &[0; 4]), [ACK; 3]);
    assert_eq!(bench.flash(0, 4), [0; 4]);
}

#[test]
fn write_protect_replaces_the_earlier_protection() {
    let mut bench = Bench::connected("F405");
    for code in [2u8, 5] {
        bench.say(&[0x63, 0x9C]);
        assert_eq!(bench.say(&[0x00, code, code]), [ACK]);
        assert_eq!(bench.say(&[0x7F]), [ACK], "F4 resets itself");
        assert_eq!(bench.line.device().board().chip().write_protected(), [code]);
    }
    // nWRP at offset 8: bit 5 clear.
    assert_eq!(bench.read(0x1FFF_C008, 2)[3..], [0xDF, 0x0F]);
}

#[test]
fn option_bytes_are_rewritten_from_their_base_only() {
    let mut bench = Bench::connected("F405");
    assert_eq!(bench.write(0x1FFF_C004, &[0; 4]), [ACK, ACK, NACK]);
    // User EF, RDP AA, then nWRP at 8 with sector 1 protected; ACK, then a reset.
    let area = [0xEF, 0xAA, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFD, 0x0F, 0xFF, 0xFF];
    assert_eq!(bench.write(0x1FFF_C000, &area), [ACK; 3]);
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    assert_eq!(bench.line.device().board().chip().write_protected(), [1]);
    assert_eq!(protection(&bench), Protection::Open);
}

#[test]
fn an_f1_option_write_without_complements_locks_the_chip() {
    let mut bench = Bench::connected("F103");
    assert_eq!(bench.write(0x1FFF_F800, &[0xA5, 0xFF, 0xFF, 0xFF]), [ACK; 3]);
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    assert_eq!(protection(&bench), Protection::Level1);
}

#[test]
fn after_an_option_change_the_empty_flag_is_new() {
    // A programmed G0 that is made to load its options leaves the ROM: no power cycle needed.
    let mut bench = Bench::connected("G031");
    assert_eq!(bench.write(0x0800_0000, &[0; 8]), [ACK; 3]);
    assert_eq!(bench.say(&[0x82, 0x7D]), [ACK, ACK]);
    bench.reset();
    assert_eq!(bench.state(), State::Application(None));
}

#[test]
fn h5_has_no_readout_commands_at_all() {
    let mut bench = Bench::connected("H563");
    assert_eq!(bench.say(&[0x82, 0x7D]), [NACK]);
    assert_eq!(bench.say(&[0x92, 0x6D]), [NACK]);
}

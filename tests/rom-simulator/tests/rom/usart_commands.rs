//! Every command of AN3155 section 3, good and bad, byte by byte, with the times flash takes.

use crate::bench::{ACK, Bench, NACK, with_check};
use core::time::Duration;
use rom_simulator::State;

#[test]
fn get_lists_version_and_commands() {
    // N = 11: version and 11 codes, less one.
    let classic = |erase, version| {
        vec![ACK, 11, version, 0x00, 0x01, 0x02, 0x11, 0x21, 0x31, erase, 0x63, 0x73, 0x82, 0x92, ACK]
    };
    assert_eq!(Bench::connected("F405").say(&[0x00, 0xFF]), classic(0x44, 0x31));
    assert_eq!(Bench::connected("F103").say(&[0x00, 0xFF]), classic(0x43, 0x22));
    assert_eq!(Bench::connected("F103XL").say(&[0x00, 0xFF]), classic(0x44, 0x30));
    assert_eq!(
        Bench::connected("H563").say(&[0x00, 0xFF]),
        [ACK, 10, 0x40, 0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x50, 0x63, 0x73, ACK],
        "v4.0 lists are shorter"
    );
    assert_eq!(
        Bench::connected("WB55").say(&[0x00, 0xFF])[..3],
        [ACK, 13, 0x32],
        "v3.2 has the two special commands"
    );
}

#[test]
fn get_version_and_get_id_answer_as_written() {
    let mut bench = Bench::connected("F405");
    assert_eq!(bench.say(&[0x01, 0xFE]), [ACK, 0x31, 0x00, 0x00, ACK]);
    assert_eq!(bench.say(&[0x02, 0xFD]), [ACK, 0x01, 0x04, 0x13, ACK]);
    // ROM V1.0 of F107 reports 2.0 though it follows 2.2.
    assert_eq!(Bench::connected("F107").say(&[0x01, 0xFE]), [ACK, 0x20, 0x00, 0x00, ACK]);
}

#[test]
fn a_wrong_complement_or_an_unknown_code_is_one_nack() {
    let mut bench = Bench::connected("F405");
    assert_eq!(bench.say(&[0x02, 0xFC]), [NACK]);
    assert_eq!(bench.say(&[0x55, 0xAA]), [NACK]);
    // 0x43 and 0x44 never coexist.
    assert_eq!(bench.say(&[0x43, 0xBC]), [NACK]);
    assert_eq!(Bench::connected("F103").say(&[0x44, 0xBB]), [NACK]);
}

#[test]
fn read_returns_flash_ram_and_rom_and_no_check_byte() {
    let mut bench = Bench::connected("F405");
    bench.preload(0x100, &[1, 2, 3, 4]);
    assert_eq!(bench.say(&[0x11, 0xEE]), [ACK]);
    assert_eq!(bench.say(&[0x08, 0x00, 0x01, 0x00, 0x09]), [ACK]);
    // 5 bytes: length - 1 and its complement.
    assert_eq!(bench.say(&[0x04, 0xFB]), [ACK, 1, 2, 3, 4, 0xFF]);
    assert_eq!(bench.read(0x2000_2000, 2), [ACK, ACK, ACK, 0, 0]);
    // Bootloader ID.
    assert_eq!(bench.read(0x1FFF_77DE, 1), [ACK, ACK, ACK, 0x31]);
}

#[test]
fn read_refuses_wrong_checks_lengths_and_addresses() {
    let mut bench = Bench::connected("F405");
    bench.say(&[0x11, 0xEE]);
    assert_eq!(bench.say(&[0x08, 0x00, 0x01, 0x00, 0x08]), [NACK]);
    bench.say(&[0x11, 0xEE]);
    bench.say(&[0x08, 0x00, 0x01, 0x00, 0x09]);
    assert_eq!(bench.say(&[0x04, 0x04]), [NACK], "a single byte is checked by its complement");
    assert_eq!(bench.read(0x2000_1FFC, 4), [ACK, NACK], "RAM of the ROM");
    assert_eq!(bench.read(0x0900_0000, 4), [ACK, NACK]);
    assert_eq!(bench.read(0x080F_FFF0, 32), [ACK, ACK, NACK], "over the end of flash");
}

#[test]
fn before_3_1_a_bad_address_goes_unanswered_and_the_length_becomes_a_command() {
    for device in ["F103", "F103XL", "L151", "F107"] {
        let mut bench = Bench::connected(device);
        bench.say(&[0x11, 0xEE]);
        assert_eq!(bench.say(&with_check(&[0x09, 0x00, 0x00, 0x00])), [], "{device}");
        assert_eq!(bench.say(&[0xFF, 0x00]), [NACK], "{device}");
        // A wrong check byte has always been refused.
        bench.say(&[0x11, 0xEE]);
        assert_eq!(bench.say(&[0x09, 0x00, 0x00, 0x00, 0x00]), [NACK], "{device}");
        // Go too.
        bench.say(&[0x21, 0xDE]);
        assert_eq!(bench.say(&with_check(&[0x09, 0x00, 0x00, 0x00])), [NACK], "{device}");
    }
}

#[test]
fn write_programs_and_answers_when_it_is_done() {
    let mut bench = Bench::connected("F405");
    let data: Vec<u8> = (0..=255).collect();
    bench.say(&[0x31, 0xCE]);
    bench.say(&[0x08, 0x00, 0x00, 0x00, 0x08]);
    let mut block = vec![0xFF];
    block.extend(&data);
    let (answer, time) = bench.time(&with_check(&block));
    assert_eq!(answer, [ACK]);
    assert_eq!(bench.flash(0, 256), data);
    // 259 bytes at 95.5 us = 24.7 ms, and 256 x 16 us = 4.1 ms of x8 programming.
    assert!((28_800..29_000).contains(&time.as_micros()), "{time:?}");
}

#[test]
fn write_refuses_bad_checks_lengths_and_addresses() {
    let mut bench = Bench::connected("F405");
    assert_eq!(bench.write(0x0800_0002, &[0; 4]), [ACK, NACK], "not word aligned");
    assert_eq!(bench.write(0x0800_0000, &[0; 6]), [ACK, ACK, NACK], "not a multiple of 4");
    assert_eq!(bench.write(0x2000_0000, &[0; 4]), [ACK, NACK], "RAM of the ROM");
    assert_eq!(bench.write(0x1FFF_0000, &[0; 4]), [ACK, NACK], "the ROM itself");
    bench.say(&[0x31, 0xCE]);
    bench.say(&[0x08, 0x00, 0x00, 0x00, 0x08]);
    assert_eq!(bench.say(&[0x03, 1, 2, 3, 4, 0x00]), [NACK], "check byte");
    assert_eq!(bench.flash(0, 4), [0xFF; 4]);
}

#[test]
fn write_reaches_ram_at_once() {
    let mut bench = Bench::connected("F405");
    assert_eq!(bench.write(0x2000_2000, &[9, 8, 7, 6]), [ACK, ACK, ACK]);
    assert_eq!(bench.read(0x2000_2000, 4), [ACK, ACK, ACK, 9, 8, 7, 6]);
}

#[test]
fn programming_over_old_data_follows_the_family() {
    // F4 clears bits, F1 and G4 refuse in silence what is not erased.
    for (device, left) in [("F405", 0x0F & 0xF1), ("F103", 0x0F), ("G431", 0x0F), ("L053", 0x0F)] {
        let mut bench = Bench::connected(device);
        assert_eq!(bench.write(0x0800_0000, &[0x0F; 8]), [ACK; 3], "{device}");
        assert_eq!(bench.write(0x0800_0000, &[0xF1; 8]), [ACK; 3], "{device}");
        assert_eq!(bench.flash(0, 8), [left; 8], "{device}");
    }
}

#[test]
fn the_voltage_range_byte_makes_f4_program_words() {
    let mut bench = Bench::connected("F405");
    let block = with_check(&[&[0xFF][..], &[0x5A; 256]].concat());
    let program = |bench: &mut Bench, address: u32| {
        bench.say(&[0x31, 0xCE]);
        bench.say(&with_check(&address.to_be_bytes()));
        let (answer, time) = bench.time(&block);
        assert_eq!(answer, [ACK]);
        time
    };
    let slow = program(&mut bench, 0x0800_0000);
    assert_eq!(bench.write(0xFFFF_0000, &[0x03, 0xFF, 0xFF, 0xFF]), [ACK; 3]);
    let fast = program(&mut bench, 0x0800_0100);
    // 4.096 ms down to 1.024 ms.
    assert_eq!((slow - fast).as_micros(), 3_072);
    assert_eq!(bench.write(0xFFFF_0000, &[0x07, 0xFF, 0xFF, 0xFF]), [ACK, ACK, NACK], "no such range");
    assert_eq!(bench.write(0xFFFF_0000, &[0x03, 0x00, 0x00, 0x00]), [ACK, ACK, NACK], "the rest must be FF");
    // It is erase parallelism too: 16 KiB in 250 ms instead of 400.
    bench.say(&[0x44, 0xBB]);
    let (_, erase) = bench.time(&[0x00, 0x00, 0x00, 0x00, 0x00]);
    assert!((250..252).contains(&erase.as_millis()), "{erase:?}");
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK]);
    let again = program(&mut bench, 0x0800_0200);
    assert!(again.abs_diff(slow) < Duration::from_micros(300), "x8 after reset: {again:?} {slow:?}");
    // Not on families without it.
    assert_eq!(Bench::connected("G431").write(0xFFFF_0000, &[0x03, 0xFF, 0xFF, 0xFF]), [ACK, NACK]);
}

#[test]
fn erase_takes_page_numbers_of_one_byte() {
    let mut bench = Bench::connected("F103");
    bench.preload(0, &[0; 4096]);
    assert_eq!(bench.say(&[0x43, 0xBC]), [ACK]);
    // Two pages: n - 1 = 1, pages 1 and 3; 30 ms each.
    let (answer, time) = bench.time(&[0x01, 0x01, 0x03, 0x03]);
    assert_eq!(answer, [ACK]);
    assert!((60..61).contains(&time.as_millis()), "{time:?}");
    assert_eq!(
        [bench.flash(0, 1), bench.flash(1024, 1), bench.flash(2048, 1), bench.flash(3072, 1)],
        [[0x00], [0xFF], [0x00], [0xFF]]
    );
    bench.say(&[0x43, 0xBC]);
    assert_eq!(bench.say(&[0x00, 0x80, 0x80]), [NACK], "page 128 of 128");
    bench.say(&[0x43, 0xBC]);
    assert_eq!(bench.say(&[0x00, 0x01, 0x00]), [NACK], "check byte");
}

#[test]
fn global_erase_is_ff_00_and_ff_with_another_byte_erases_nothing() {
    let mut bench = Bench::connected("F103");
    bench.preload(0, &[0; 4]);
    bench.say(&[0x43, 0xBC]);
    assert_eq!(bench.say(&[0xFF, 0x01]), [ACK]);
    assert_eq!(bench.flash(0, 4), [0; 4]);
    bench.say(&[0x43, 0xBC]);
    assert_eq!(bench.say(&[0xFF, 0x00]), [ACK]);
    assert_eq!(bench.flash(0, 4), [0xFF; 4]);
}

#[test]
fn extended_erase_takes_lists_banks_and_everything() {
    let mut bench = Bench::connected("G474");
    bench.preload(0, &vec![0; 512 * 1024]);
    let bytes = |bench: &Bench| [0, 2048, 256 * 1024].map(|at| bench.flash(at, 1)[0]);
    bench.say(&[0x44, 0xBB]);
    // One page: number 0x0001.
    assert_eq!(bench.say(&[0x00, 0x00, 0x00, 0x01, 0x01]), [ACK]);
    assert_eq!(bytes(&bench), [0x00, 0xFF, 0x00]);
    bench.say(&[0x44, 0xBB]);
    assert_eq!(bench.say(&[0xFF, 0xFD, 0x02]), [ACK], "bank 2");
    assert_eq!(bytes(&bench), [0x00, 0xFF, 0xFF]);
    bench.say(&[0x44, 0xBB]);
    assert_eq!(bench.say(&[0xFF, 0xFE, 0x01]), [ACK], "bank 1");
    assert_eq!(bytes(&bench), [0xFF; 3]);
    bench.say(&[0x44, 0xBB]);
    assert_eq!(bench.say(&[0xFF, 0xFF, 0x00]), [ACK], "everything");
    for reserved in [[0xFF, 0xFC, 0x03], [0xFF, 0xF0, 0x0F]] {
        bench.say(&[0x44, 0xBB]);
        assert_eq!(bench.say(&reserved), [NACK]);
    }
    bench.say(&[0x44, 0xBB]);
    assert_eq!(bench.say(&[0xFF, 0xFF, 0x01]), [NACK], "check byte");
    bench.say(&[0x44, 0xBB]);
    assert_eq!(bench.say(&[0x00, 0x00, 0x01, 0x00, 0x01]), [NACK], "page 256 of 256");
}

#[test]
fn go_jumps_into_flash_or_ram_and_nowhere_else() {
    let mut bench = Bench::connected("F405");
    bench.say(&[0x21, 0xDE]);
    assert_eq!(bench.say(&with_check(&[0x1F, 0xFF, 0x00, 0x00])), [NACK]);
    bench.say(&[0x21, 0xDE]);
    assert_eq!(bench.say(&[0x08, 0x00, 0x00, 0x00, 0x08]), [ACK]);
    assert_eq!(bench.state(), State::Application(Some(0x0800_0000)));
    assert_eq!(bench.say(&[0x7F]), [], "the application does not answer");
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK]);
}

#[test]
fn checksum_exists_only_where_get_lists_it() {
    assert_eq!(Bench::connected("F405").say(&[0xA1, 0x5E]), [NACK]);
    let mut bench = Bench::connected("CHECKSUM");
    bench.preload(0, &[0x78, 0x56, 0x34, 0x12]);
    assert_eq!(bench.say(&[0xA1, 0x5E]), [ACK]);
    assert_eq!(bench.say(&[0x08, 0x00, 0x00, 0x00, 0x08]), [ACK], "address");
    assert_eq!(bench.say(&[0x00, 0x00, 0x00, 0x01, 0x01]), [ACK], "one word");
    assert_eq!(bench.say(&[0x04, 0xC1, 0x1D, 0xB7, 0x6F]), [ACK], "polynomial");
    // Initial value; then the CRC of 0x12345678 from the reference implementations and its check byte.
    assert_eq!(bench.say(&[0xFF, 0xFF, 0xFF, 0xFF, 0x00]), [ACK, ACK, 0xDF, 0x8A, 0x8A, 0x2B, 0xF4]);
}

#[test]
fn special_reset_works_on_h5_only() {
    assert_eq!(Bench::connected("F405").say(&[0x50, 0xAF]), [NACK]);
    let mut bench = Bench::connected("WB55");
    assert_eq!(bench.say(&[0x50, 0xAF]), [ACK]);
    assert_eq!(bench.say(&[0x00, 0x02, 0x02]), [NACK]);
    let mut bench = Bench::connected("H563");
    bench.say(&[0x50, 0xAF]);
    assert_eq!(bench.say(&[0x00, 0x02, 0x02]), [ACK]);
    // No data; one status byte of 0; then it resets.
    assert_eq!(bench.say(&[0x00, 0x00, 0x00]), [ACK, 0x00, 0x00, 0x00, 0x01, 0x00, ACK]);
    assert_eq!(bench.say(&[0x7F]), [ACK], "a new connection");
}

//! One test for each departure of a ROM from the plain protocol (AN2606 limitations, field reports).

use crate::bench::{ACK, Bench, NACK, with_check};
use core::time::Duration;
use rom_simulator::{Settings, State};

/// Extended Erase of these pages.
fn erase(bench: &mut Bench, pages: &[u16]) -> Vec<u8> {
    assert_eq!(bench.say(&[0x44, 0xBB]), [ACK]);
    let mut list = ((pages.len() - 1) as u16).to_be_bytes().to_vec();
    list.extend(pages.iter().flat_map(|page| page.to_be_bytes()));
    bench.say(&with_check(&list))
}

fn mass(bench: &mut Bench, code: [u8; 3]) -> Vec<u8> {
    assert_eq!(bench.say(&[0x44, 0xBB]), [ACK]);
    bench.say(&code)
}

#[test]
fn f103_xl_takes_154_pages_and_hangs_at_155() {
    let mut bench = Bench::connected("F103XL");
    let pages: Vec<u16> = (0..155).collect();
    assert_eq!(erase(&mut bench, &pages[..154]), [ACK]);
    assert_eq!(erase(&mut bench, &pages), []);
    assert_eq!(bench.say(&[0xFF; 8]), [], "not even filler brings it back");
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK]);
}

#[test]
fn l0_and_l1_take_512_pages_at_once() {
    let pages: Vec<u16> = (0..513).collect();
    let mut bench = Bench::connected("L152");
    assert_eq!(erase(&mut bench, &pages[..512]), [ACK]);
    assert_eq!(erase(&mut bench, &pages), []);
}

#[test]
fn l0_and_l1_refuse_mass_erase_and_erase_to_zero() {
    for device in ["L053", "L151", "L152"] {
        let mut bench = Bench::connected(device);
        bench.preload(0, &[0xAA; 512]);
        assert_eq!(mass(&mut bench, [0xFF, 0xFF, 0x00]), [NACK], "{device}");
        assert_eq!(erase(&mut bench, &[0]), [ACK], "{device}");
        assert_eq!(bench.flash(0, 128), [0x00; 128], "{device}");
    }
}

#[test]
fn g071_fails_on_more_than_one_page_a_command() {
    let mut bench = Bench::connected("G071");
    assert_eq!(erase(&mut bench, &[0, 1]), [NACK]);
    assert_eq!(erase(&mut bench, &[0]), [ACK]);
}

#[test]
fn g0b1_fails_on_more_than_one_page_in_bank_2() {
    let mut bench = Bench::connected("G0B1");
    assert_eq!(erase(&mut bench, &[0, 1]), [ACK]);
    assert_eq!(erase(&mut bench, &[127, 128]), [NACK]);
    assert_eq!(erase(&mut bench, &[128]), [ACK]);
}

#[test]
fn l496_refuses_bank_erase_and_takes_pages() {
    let mut bench = Bench::connected("L496");
    assert_eq!(mass(&mut bench, [0xFF, 0xFE, 0x01]), [NACK]);
    assert_eq!(mass(&mut bench, [0xFF, 0xFD, 0x02]), [NACK]);
    assert_eq!(erase(&mut bench, &[0, 511]), [ACK]);
    assert_eq!(mass(&mut bench, [0xFF, 0xFF, 0x00]), [ACK]);
}

#[test]
fn after_a_misaligned_write_every_write_fails_until_reset() {
    for device in ["G431", "F746", "H743", "U575", "L476", "C031"] {
        let mut bench = Bench::connected_somehow(device);
        assert_eq!(bench.write(0x0800_0000, &[0; 4]), [ACK, ACK, NACK], "{device}: length 4");
        assert_eq!(bench.write(0x0800_0000, &[0; 256]), [ACK, ACK, NACK], "{device}: sticks");
        let connects = (0..40).any(|_| {
            bench.reset();
            bench.say(&[0x7F]) == [ACK]
        });
        assert!(connects, "{device}");
        assert_eq!(bench.write(0x0800_0000, &[0; 256]), [ACK; 3], "{device}");
    }
    // H5 and U5 program 16 bytes.
    let mut bench = Bench::connected("H563");
    assert_eq!(bench.write(0x0800_0008, &[0; 16]), [ACK, ACK, NACK]);
}

#[test]
fn half_a_double_word_spoils_the_other_half_on_g0() {
    // AN2606 asks for 4 bytes on G0, its flash for 8: the second half is refused in silence.
    let mut bench = Bench::connected("G031");
    assert_eq!(bench.write(0x0800_0000, &[0x11; 4]), [ACK; 3]);
    assert_eq!(bench.write(0x0800_0004, &[0x22; 4]), [ACK; 3]);
    assert_eq!(bench.flash(0, 8), [0x11, 0x11, 0x11, 0x11, 0xFF, 0xFF, 0xFF, 0xFF]);
}

#[test]
fn a_factory_fresh_g0_returns_to_its_rom_until_its_power_is_cycled() {
    let mut bench = Bench::connected("G031");
    assert!(bench.line.device().board().chip().empty_flag());
    assert_eq!(bench.write(0x0800_0000, &[0; 8]), [ACK; 3]);
    bench.reset();
    assert_eq!(bench.say(&[0x7F]), [ACK], "the flag is not worked out again by NRST");
    bench.power_cycle();
    assert_eq!(bench.state(), State::Application(None), "and BOOT0 is ignored");
}

#[test]
fn an_erase_clears_the_empty_flag_of_g0b1() {
    let mut bench = Bench::connected("G0B1");
    assert_eq!(erase(&mut bench, &[0]), [ACK]);
    bench.reset();
    assert_eq!(bench.state(), State::Application(None), "though the flash is empty");
}

#[test]
fn l496_starts_its_rom_by_pin_or_by_empty_flash() {
    let low = Settings { boot0: false, ..Settings::default() };
    let mut bench = Bench::connected_with("L496", &low);
    assert_eq!(bench.write(0x0800_0000, &[0; 8]), [ACK; 3]);
    bench.power_cycle();
    assert_eq!(bench.state(), State::Application(None));
}

#[test]
fn f4_gives_its_unique_id_only_in_a_whole_block() {
    let mut bench = Bench::connected("F405");
    let uid = bench.line.device().board().chip().uid();
    assert_eq!(bench.read(0x1FFF_7A10, 12), [ACK, NACK]);
    assert_eq!(bench.read(0x1FFF_7A00, 48), [ACK, ACK, NACK]);
    let block = bench.read(0x1FFF_7A00, 256);
    assert_eq!(block.len(), 259);
    assert_eq!(block[3 + 0x10..3 + 0x1C], uid);
    // 1024 KiB at 0x22.
    assert_eq!(block[3 + 0x22..3 + 0x24], [0x00, 0x04]);
}

#[test]
fn l0_and_l1_have_their_third_uid_word_elsewhere() {
    let mut bench = Bench::connected("L053");
    let uid = bench.line.device().board().chip().uid();
    assert_eq!(bench.read(0x1FF8_0050, 12), [ACK, NACK], "no short reads");
    let block = bench.read(0x1FF8_0000, 128);
    assert_eq!(block[3 + 0x50..3 + 0x58], uid[..8]);
    assert_eq!(block[3 + 0x64..3 + 0x68], uid[8..]);
    assert_eq!(block[3 + 0x7C..3 + 0x7E], [64, 0]);

    let mut bench = Bench::connected("L152");
    let uid = bench.line.device().board().chip().uid();
    assert_eq!(bench.read(0x1FF8_00D0, 8)[3..], uid[..8]);
    assert_eq!(bench.read(0x1FF8_00E4, 4)[3..], uid[8..]);
}

#[test]
fn elsewhere_uid_and_size_are_simply_readable() {
    for (device, uid_at, size_at, kib) in [
        ("F103", 0x1FFF_F7E8, 0x1FFF_F7E0, 128u16),
        ("F072", 0x1FFF_F7AC, 0x1FFF_F7CC, 128),
        ("F746", 0x1FF0_F420, 0x1FF0_F442, 1024),
        ("G031", 0x1FFF_7590, 0x1FFF_75E0, 64),
        ("G431", 0x1FFF_7590, 0x1FFF_75E0, 128),
        ("C031", 0x1FFF_7550, 0x1FFF_75A0, 32),
        ("H743", 0x1FF1_E800, 0x1FF1_E880, 2048),
        ("U575", 0x0BFA_0700, 0x0BFA_07A0, 2048),
        ("H563", 0x08FF_F800, 0x08FF_F80C, 2048),
    ] {
        let mut bench = Bench::connected_somehow(device);
        let uid = bench.line.device().board().chip().uid();
        assert_eq!(bench.read(uid_at, 12)[3..], uid, "{device}");
        assert_eq!(bench.read(size_at, 2)[3..], kib.to_le_bytes(), "{device}");
    }
}

#[test]
fn g431_v13_3_hides_the_engineering_bytes() {
    let mut bench = Bench::connected("G431-V13.3");
    assert_eq!(bench.read(0x1FFF_7590, 12), [ACK, NACK]);
    assert_eq!(bench.read(0x1FFF_7500, 256), [ACK, NACK]);
    assert_eq!(bench.read(0x1FFF_6FFE, 1), [ACK, ACK, ACK, 0xD3], "the bootloader ID is readable");
}

#[test]
fn every_device_connects_says_who_it_is_and_programs_a_block() {
    for model in rom_simulator::catalog::MODELS {
        let mut bench = Bench::connected_somehow(model.name);
        let [high, low] = model.product_id.to_be_bytes();
        assert_eq!(bench.say(&[0x02, 0xFD]), [ACK, 0x01, high, low, ACK], "{}", model.name);
        let data: Vec<u8> = (0..=255).collect();
        assert_eq!(bench.write(0x0800_0100, &data), [ACK; 3], "{}", model.name);
        // An H723 shows it a little later.
        bench.wait(Duration::from_millis(5));
        assert_eq!(bench.read(0x0800_0100, 256)[3..], data, "{}", model.name);
    }
}

#[test]
fn an_h723_shows_blank_flash_just_after_a_write() {
    let mut bench = Bench::connected("H723");
    assert_eq!(bench.write(0x0800_0000, &[0x5A; 32]), [ACK; 3]);
    assert_eq!(bench.read(0x0800_0000, 32)[3..], [0xFF; 32]);
    bench.wait(Duration::from_millis(5));
    assert_eq!(bench.read(0x0800_0000, 32)[3..], [0x5A; 32]);
}

#[test]
fn versions_of_the_h743_go_wrong_each_in_its_own_way() {
    let go = |device: &str| {
        let mut bench = Bench::connected(device);
        let answers = [bench.say(&[0x21, 0xDE]), bench.say(&[0x08, 0x00, 0x00, 0x00, 0x08])];
        (answers, bench.line.device().board().state())
    };
    let started = State::Application(Some(0x0800_0000));
    assert_eq!(go("H743"), ([vec![ACK], vec![ACK]], started));
    assert_eq!(go("H743-V9.0"), ([vec![], vec![ACK]], started));
    assert_eq!(go("H743-V13.2"), ([vec![ACK], vec![ACK]], State::Loader));
    let bank_2 = |device: &str| {
        let mut bench = Bench::connected(device);
        assert_eq!(bench.say(&[0x44, 0xBB]), [ACK]);
        bench.say(&[0xFF, 0xFD, 0x02])
    };
    assert_eq!(bank_2("H743"), [ACK]);
    assert_eq!(bank_2("H743-V13.3"), [NACK]);
}

#[test]
fn g071_v11_2_loads_its_options_at_power_on_only() {
    let mut bench = Bench::connected("G071-V11.2");
    assert_eq!(bench.say(&[0x82, 0x7D]), [ACK, ACK]);
    let now = bench.now;
    bench.line.device_mut().reset(now);
    assert_eq!(bench.line.device().board().chip().protection(), rom_simulator::Protection::Open);
    bench.line.device_mut().power_off(now);
    bench.line.device_mut().power_on(now);
    assert_eq!(bench.line.device().board().chip().protection(), rom_simulator::Protection::Level1);
}

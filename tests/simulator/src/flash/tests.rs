//! The flash alone: rules, times, interruptions, defects, files.

use super::*;
use crate::chip::CHIPS;

const MS: u64 = 1_000_000;

fn flash(name: &str) -> Flash {
    Flash::new(Chip::by_name(name).unwrap(), false, Rng::new(1, 2))
}

fn unit(flash: &Flash, address: u32) -> EraseUnit {
    flash.facts().erase_unit(address).unwrap()
}

/// Programs and waits; the result and the time it took.
fn program(flash: &mut Flash, address: u32, bytes: &[u8]) -> (FlashState, u64) {
    flash.start_program(0, address, bytes);
    let end = if flash.end() == NEVER { 0 } else { flash.end() };
    (flash.poll(end), end)
}

fn erase(flash: &mut Flash, address: u32) -> (FlashState, u64) {
    let unit = unit(flash, address);
    flash.start_erase(0, &unit);
    let end = if flash.end() == NEVER { 0 } else { flash.end() };
    (flash.poll(end), end)
}

fn read(flash: &Flash, address: u32, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    assert!(flash.read(address, &mut out));
    out
}

#[test]
fn programming_and_erasing_take_the_datasheets_typical_times() {
    for (chip, program_us, erase_ms) in
        [("F405", 64.0 * 16.0, 250.0), ("F103xE", 128.0 * 52.5, 30.0), ("G474", 32.0 * 81.69, 22.02)]
    {
        let mut flash = flash(chip);
        assert_eq!(
            program(&mut flash, 0x0800_8000, &[0x5A; 256]),
            (FlashState::Idle, (program_us * 1000.0) as u64)
        );
        assert_eq!(erase(&mut flash, 0x0800_8000), (FlashState::Idle, (erase_ms * 1e6) as u64), "{chip}");
        assert_eq!(read(&flash, 0x0800_8000, 256), [0xFF; 256]);
    }
    let mut flash = flash("F405");
    assert_eq!(erase(&mut flash, 0x0801_0000).1, 550 * MS);
    assert_eq!(erase(&mut flash, 0x080E_0000).1, 1000 * MS);
}

#[test]
fn nothing_shows_before_the_operation_ends() {
    let mut flash = flash("F405");
    flash.start_program(5, 0x0800_8000, &[0, 1, 2, 3]);
    assert_eq!(flash.poll(16_004), FlashState::Busy);
    assert_eq!(read(&flash, 0x0800_8000, 4), [0xFF; 4]);
    assert_eq!(flash.poll(16_005), FlashState::Idle);
    assert_eq!(read(&flash, 0x0800_8000, 4), [0, 1, 2, 3]);
}

#[test]
fn f4_clears_bits_again_and_again_but_setting_one_is_a_violation() {
    let mut flash = flash("F405");
    program(&mut flash, 0x0800_8000, &[0xF0; 4]);
    program(&mut flash, 0x0800_8000, &[0x30; 4]);
    assert_eq!(flash.violations(), 0);
    assert_eq!(program(&mut flash, 0x0800_8000, &[0x0F; 4]).0, FlashState::Idle);
    assert_eq!(flash.violations(), 1);
    assert_eq!(read(&flash, 0x0800_8000, 4), [0; 4]);
}

#[test]
fn f1_refuses_a_half_word_that_is_not_erased_unless_zero_is_written() {
    let mut flash = flash("F103xE");
    let at = 0x0800_8000;
    assert_eq!(program(&mut flash, at, &[1, 2, 3, 4]).0, FlashState::Idle);
    let again = program(&mut flash, at + 2, &[3, 4]).0;
    assert_eq!(again, FlashState::Failed(FlashFault::Program { address: at + 2 }));
    assert_eq!(flash.poll(u64::MAX), FlashState::Idle, "a failure is told once");
    assert_eq!(program(&mut flash, at, &[0, 0]).0, FlashState::Idle);
    assert_eq!(read(&flash, at, 4), [0, 0, 3, 4]);
    assert_eq!(flash.violations(), 1);
}

#[test]
fn g4_programs_a_double_word_once_even_if_it_holds_only_ones() {
    let mut flash = flash("G474");
    let at = 0x0800_8000;
    assert_eq!(program(&mut flash, at, &[0xFF; 8]).0, FlashState::Idle);
    let again = program(&mut flash, at, &[0x11; 8]).0;
    assert_eq!(again, FlashState::Failed(FlashFault::Program { address: at }));
    erase(&mut flash, at);
    assert_eq!(program(&mut flash, at, &[0x11; 8]).0, FlashState::Idle);
    assert_eq!(read(&flash, at, 8), [0x11; 8]);
}

#[test]
fn misaligned_oversized_overlapping_and_foreign_requests_are_refused_at_once() {
    let mut flash = flash("G474");
    let end = FLASH_BASE + flash.data().len() as u32;
    for (address, len) in [
        (0x0800_8004, 8),
        (0x0800_8000, 12),
        (0x0800_8000, 264),
        (0x0800_8000, 0),
        (end - 8, 16),
        (FLASH_BASE, 8),
    ] {
        let refused = program(&mut flash, address, &vec![0; len]);
        assert_eq!(refused, (FlashState::Failed(FlashFault::Program { address }), 0), "{address:#x}, {len}");
    }
    assert_eq!(flash.violations(), 6);
    assert_eq!(
        erase(&mut flash, FLASH_BASE).0,
        FlashState::Failed(FlashFault::Erase),
        "the bootloader is protected"
    );
    let odd = EraseUnit { size: 4096, ..unit(&flash, 0x0800_8000) };
    flash.start_erase(0, &odd);
    assert_eq!(flash.poll(0), FlashState::Failed(FlashFault::Erase));
    flash.start_program(0, 0x0800_8000, &[1; 8]);
    flash.start_program(0, 0x0800_8008, &[1; 8]);
    assert_eq!(read(&flash, 0x0800_8008, 8), [0xFF; 8], "one operation at a time");
}

#[test]
fn power_lost_while_programming_spoils_one_unit_and_keeps_the_rest_of_the_call() {
    let mut flash = flash("F405");
    let at = 0x0800_8000;
    flash.start_program(0, at, &[0x55; 64]);
    flash.interrupt(3 * 16_000 + 9_000);
    assert_eq!(read(&flash, at, 12), [0x55; 12]);
    assert_eq!(read(&flash, at + 16, 48), [0xFF; 48]);
    assert_eq!(flash.poll(0), FlashState::Idle);
}

#[test]
fn power_lost_while_erasing_spoils_that_unit_and_no_other() {
    let mut flash = flash("F103xE");
    let (before, at) = (0x0800_8800, 0x0800_9000);
    for page in [before, at, at + 2048] {
        program(&mut flash, page, &[0x11; 256]);
    }
    let page = unit(&flash, at);
    flash.start_erase(0, &page);
    flash.interrupt(15 * MS);
    assert_ne!(read(&flash, at, 2048), [0xFF; 2048]);
    assert_ne!(read(&flash, at, 256), [0x11; 256]);
    assert_eq!(read(&flash, before, 256), [0x11; 256]);
    assert_eq!(read(&flash, at + 2048, 256), [0x11; 256]);
}

#[test]
fn wherever_power_is_lost_only_the_place_of_the_running_operation_suffers() {
    let mut rng = Rng::new(6, 6);
    for chip in &CHIPS {
        let mut flash = Flash::new(chip, false, Rng::new(8, 8));
        let before = flash.data().to_vec();
        for _ in 0..40 {
            let cut = rng.below(300 * MS);
            let mut touched = (0, 0);
            let mut now = 0;
            while now <= cut {
                flash.settle(now);
                let page = flash.facts().erase_unit(chip.app_base() + rng.below(40_000) as u32).unwrap();
                touched = if rng.below(2) == 0 {
                    flash.start_erase(now, &page);
                    (page.address, page.size)
                } else {
                    flash.preset(page.address, &[0xFF; 256]);
                    flash.start_program(now, page.address, &[rng.next() as u8; 256]);
                    (page.address, 256)
                };
                now = flash.end();
            }
            let kept = flash.data().to_vec();
            flash.interrupt(cut);
            let at = (touched.0 - FLASH_BASE) as usize;
            let end = at + touched.1 as usize;
            assert!(flash.data()[..at] == kept[..at] && flash.data()[end..] == kept[end..], "{}", chip.name);
            assert_eq!(flash.poll(cut), FlashState::Idle);
        }
        assert_eq!(flash.violations(), 0, "{}", chip.name);
        let kept = ..chip.resident.plain as usize;
        assert_eq!(flash.data()[kept], before[kept]);
    }
}

#[test]
fn a_cell_that_will_not_program_is_reported_with_its_address() {
    let mut flash = flash("F405");
    flash.defects.program_fails = Some(0x0800_8022);
    let (state, time) = program(&mut flash, 0x0800_8000, &[0x77; 64]);
    assert_eq!(state, FlashState::Failed(FlashFault::Program { address: 0x0800_8020 }));
    assert_eq!(time, 9 * 16_000);
    assert_eq!(read(&flash, 0x0800_8000, 32), [0x77; 32]);
    assert_eq!(read(&flash, 0x0800_8024, 28), [0xFF; 28]);
}

#[test]
fn a_cell_that_reads_back_wrong_reports_nothing() {
    let mut flash = flash("L496");
    flash.defects.reads_back_wrong = Some(0x0800_8009);
    assert_eq!(program(&mut flash, 0x0800_8000, &[0x77; 16]).0, FlashState::Idle);
    let mut expected = [0x77; 16];
    expected[9] ^= 0x10;
    assert_eq!(read(&flash, 0x0800_8000, 16), expected);
}

#[test]
fn an_erase_can_fail_and_can_be_slow() {
    let mut flash = flash("F405");
    flash.defects = Defects { erase_fails: Some(0x0801_2345), erase_factor: 5.0, ..Defects::default() };
    program(&mut flash, 0x0801_0000, &[0; 4]);
    assert_eq!(erase(&mut flash, 0x0801_0000), (FlashState::Failed(FlashFault::Erase), 5 * 550 * MS));
    assert_eq!(read(&flash, 0x0801_0000, 4), [0; 4]);
    assert_eq!(erase(&mut flash, 0x0802_0000), (FlashState::Idle, 5000 * MS));
}

/// Writes option bytes from time 0 on and waits for it; false if the controller refuses.
fn set_options(flash: &mut Flash, offset: u8, bytes: &[u8]) -> bool {
    let end = flash.option_cells.write(0, offset, bytes);
    flash.settle(end.unwrap_or(0));
    end.is_some()
}

fn protect(flash: &mut Flash, level: Protection) -> bool {
    let end = flash.option_cells.protect(0, level);
    flash.settle(end.unwrap_or(0));
    end.is_some()
}

#[test]
fn options_act_after_a_reset_and_level_2_is_for_ever() {
    let mut flash = flash("F405");
    let fresh = *flash.options();
    assert!(set_options(&mut flash, 4, &[1, 2, 3]));
    assert!(protect(&mut flash, Protection::Level1));
    assert_eq!(*flash.options(), fresh);
    flash.reload_options();
    assert_eq!(flash.options().protection, Protection::Level1);
    assert_eq!(flash.options().bytes[4..7], [1, 2, 3]);
    assert!(!set_options(&mut flash, 30, &[0; 3]), "beyond the option area");
    assert!(protect(&mut flash, Protection::Level2));
    flash.reload_options();
    assert!(!protect(&mut flash, Protection::Open));
    assert!(!set_options(&mut flash, 0, &[0]));
    assert!(!protect(&mut self::flash("F103xE"), Protection::Level2), "F1 has no level 2");
}

#[test]
fn option_bytes_read_with_their_protection_byte_and_the_complements_that_the_hardware_makes() {
    let mut g4 = flash("G474");
    assert!(set_options(&mut g4, 0, &[0xCC, 0xF0, 0x12, 0x34, 0x77]), "only bytes 1 to 3 are written");
    g4.reload_options();
    assert_eq!(g4.options().protection, Protection::Open);
    assert_eq!(read(&g4, 0x1FFF_7800, 8), [0xAA, 0xF0, 0x12, 0x34, !0xAA, !0xF0, !0x12, !0x34]);
    let mut f1 = flash("F103xE");
    assert!(set_options(&mut f1, 4, &[0x5A, 0x00]));
    protect(&mut f1, Protection::Level1);
    f1.reload_options();
    assert_eq!(read(&f1, 0x1FFF_F800, 6), [0x00, 0xFF, 0xFF, 0x00, 0x5A, !0x5A]);
}

#[test]
fn option_bytes_cut_off_while_they_are_written_leave_the_chip_at_level_1() {
    let mut flash = flash("F405");
    let end = flash.option_cells.write(0, 8, &[0xFE]).unwrap();
    assert_eq!(end, 250 * MS);
    flash.interrupt(end - 1);
    flash.reload_options();
    assert_eq!(flash.options().protection, Protection::Level1);
}

#[test]
fn write_protected_units_are_neither_erased_nor_programmed() {
    for (name, offset, bytes, address) in [
        ("F405", 8, vec![0xFB], 0x0800_8000),
        ("F103xE", 10, vec![0xF7], 0x0800_B000),
        ("G474", 24, vec![0x10, 0xFF, 0x11], 0x0800_8800),
    ] {
        let mut flash = flash(name);
        assert_eq!(erase(&mut flash, address).0, FlashState::Idle, "{name}");
        assert!(set_options(&mut flash, offset, &bytes));
        flash.reload_options();
        assert_eq!(erase(&mut flash, address).0, FlashState::Failed(FlashFault::Erase), "{name}");
        let refused = FlashState::Failed(FlashFault::Program { address });
        assert_eq!(program(&mut flash, address, &[0; 8]).0, refused, "{name}");
        assert_eq!(erase(&mut flash, address + 0x1_0000).0, FlashState::Idle, "{name}");
    }
}

#[test]
fn a_fading_cell_reads_back_right_at_first() {
    let mut flash = flash("F405");
    flash.defects.fades = Some(0x0800_8002);
    let (_, end) = program(&mut flash, 0x0800_8000, &[0x55; 4]);
    assert_eq!(read(&flash, 0x0800_8000, 4), [0x55; 4]);
    flash.settle(end + 5 * MS);
    assert_eq!(read(&flash, 0x0800_8000, 4), [0x55, 0x55, 0x51, 0x55]);
}

#[test]
fn leaving_level_1_erases_the_whole_flash_and_the_bootloader_with_it() {
    let mut flash = flash("G431");
    flash.preset_protection(Protection::Level1);
    assert!(flash.has_bootloader());
    protect(&mut flash, Protection::Open);
    flash.reload_options();
    assert!(!flash.has_bootloader());
    assert_eq!(program(&mut flash, 0x0800_8000, &[0; 8]).0, FlashState::Idle);
}

#[test]
fn the_watched_address_is_reached_when_it_has_been_programmed() {
    let mut flash = flash("F405");
    flash.watch = Some(0x0800_8104);
    program(&mut flash, 0x0800_8000, &[1; 256]);
    assert!(!flash.reached);
    program(&mut flash, 0x0800_8100, &[1; 256]);
    assert!(flash.reached);
}

#[test]
fn a_file_brings_back_contents_marks_and_options() {
    let dir = tempfile::tempdir().unwrap();
    let open = |flash: &mut Flash, uid: u8| {
        let chip = flash.chip;
        let size = chip.flash_size() + chip.otp.1;
        let store = Store::open(&dir.path().join("a.flash"), chip.device_id, size).unwrap();
        flash.attach(store, Uid([uid; 12]))
    };
    let mut first = flash("G431");
    assert_eq!(open(&mut first, 1).unwrap(), Uid([1; 12]));
    program(&mut first, 0x0800_8000, &[0xA5; 256]);
    program(&mut first, 0x0800_8100, &[0xFF; 8]);
    set_options(&mut first, 3, &[9]);
    assert!(first.store_error().is_none());
    let page = unit(&first, 0x0800_9000);
    program(&mut first, page.address, &[0x33; 256]);
    first.start_erase(0, &page);
    let kept = first.data().to_vec();
    drop(first); // killed in the middle of an erase

    let mut second = Flash::new(Chip::by_name("G431").unwrap(), false, Rng::new(77, 1));
    assert_eq!(open(&mut second, 2).unwrap(), Uid([1; 12]), "the chip keeps its UID");
    let page_at = (page.address - FLASH_BASE) as usize;
    assert_eq!(second.data()[..page_at], kept[..page_at]);
    assert_ne!(second.data()[page_at..page_at + 256], [0x33; 256]);
    assert_ne!(second.data()[page_at..page_at + 256], [0xFF; 256]);
    assert_eq!(second.options().bytes[3], 9);
    let again = program(&mut second, 0x0800_8100, &[0; 8]).0;
    assert_eq!(again, FlashState::Failed(FlashFault::Program { address: 0x0800_8100 }));

    let mut other = flash("F405");
    assert!(matches!(open(&mut other, 3), Err(StoreError::Foreign { .. })));
}

#[test]
fn every_chip_starts_with_a_bootloader_and_is_erased_above_it() {
    for chip in &CHIPS {
        for sealed in [false, true] {
            let flash = Flash::new(chip, sealed, Rng::new(4, 4));
            assert!(flash.has_bootloader());
            let (bootloader, rest) = flash.data().split_at(chip.resident.bytes(sealed) as usize);
            assert!(bootloader.iter().any(|&b| b != 0xFF), "{}", chip.name);
            assert!(rest.iter().all(|&b| b == 0xFF), "{}", chip.name);
        }
    }
}

#[test]
fn one_time_programmable_memory_outlasts_everything_but_what_is_programmed_over_it() {
    let mut flash = flash("G431");
    let otp = flash.otp();
    assert_eq!(program(&mut flash, otp.start, &[0xA5; 16]).0, FlashState::Idle);
    assert_eq!(read(&flash, otp.start, 16), [0xA5; 16]);
    let again = program(&mut flash, otp.start, &[0; 8]).0;
    assert_eq!(again, FlashState::Failed(FlashFault::Program { address: otp.start }), "once is once");
    assert!(!flash.read(otp.end - 4, &mut [0; 8]));
    assert_eq!(program(&mut flash, otp.end - 8, &[1; 8]).0, FlashState::Idle);
    flash.preset_protection(Protection::Level1);
    protect(&mut flash, Protection::Open);
    flash.reload_options(); // the mass erase
    assert!(flash.data().iter().all(|&byte| byte == 0xFF));
    assert_eq!((read(&flash, otp.start, 16), read(&flash, otp.end - 8, 8)), (vec![0xA5; 16], vec![1; 8]));

    let mut none = Flash::new(Chip::by_name("F103xE").unwrap(), false, Rng::new(1, 1));
    assert!(none.otp().is_empty() && !none.read(0x1FFF_7000, &mut [0; 8]));
    assert!(matches!(program(&mut none, 0x1FFF_7000, &[0; 8]).0, FlashState::Failed(_)));
}

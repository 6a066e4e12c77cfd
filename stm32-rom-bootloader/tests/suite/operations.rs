//! The operations that are not the whole job, over USART.

use core::time::Duration;

use stm32_rom_bootloader::device::RdpLevel;
use stm32_rom_bootloader::testing::{Quirks, UartLink};
use stm32_rom_bootloader::{
    Area, Command, EraseFlash, EraseTarget, Error, Event, Execute, Field, Go, Identify, Inspect, LineAction,
    Opcode, Protect, Protection, ReadMemory, Reply, Step, WriteOptions,
};

use crate::common::{device, run, run_on, toy};

const LINES: UartLink = UartLink { lines: true, ..UartLink::new(115_200) };

#[test]
fn everything_there_is_to_know_is_read_without_changing_anything() {
    let mut toy = toy(0x440, Quirks::default());
    toy.memory.poke(0x1FFF_F800, &[0xAA, 0x55, 0xFF, 0x00]);
    let info = run(Inspect, &mut toy).result.unwrap().unwrap();
    assert_eq!(info.identity.device, Some(device(0x440)));
    assert_eq!(info.identity.protected, Some(false));
    assert_eq!(info.version, Some(0x31));
    assert_eq!(info.uid.value().map(|uid| uid[11]), Some(0x1C));
    assert_eq!(info.flash_kib, Field::Value(64));
    assert_eq!(info.option_bytes.value().map(Vec::len), Some(16));
    assert_eq!(info.readout, Some(RdpLevel::Zero));
    assert_eq!(info.is_blank(), Some(true));
    assert!(toy.memory.writes.is_empty() && toy.memory.erased_units.is_empty());

    toy.memory.poke(0x0800_0000, &[0x00, 0x20, 0x00, 0x20, 0x01, 0x01, 0x00, 0x08]);
    toy.reset(Duration::ZERO, true);
    let info = run(Inspect, &mut toy).result.unwrap().unwrap();
    assert_eq!(info.vectors, Field::Value([0x2000_2000, 0x0800_0101]));
    assert_eq!(info.is_blank(), Some(false));
}

#[test]
fn on_an_l1_the_unique_id_is_put_together_from_two_places() {
    let mut toy = toy(0x427, Quirks::default());
    let info = run(Inspect, &mut toy).result.unwrap().unwrap();
    let uid = [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C];
    assert_eq!(info.uid, Field::Value(uid));
    assert_eq!(info.is_blank(), Some(true));
}

#[test]
fn a_protected_chip_is_recognised_and_still_says_who_it_is() {
    let mut toy = toy(0x413, Quirks { protected: true, ..Quirks::default() });
    let info = run(Inspect, &mut toy).result.unwrap().unwrap();
    assert_eq!(info.identity.product_id, 0x413);
    assert_eq!(info.identity.protected, Some(true));
    assert_eq!(info.readout, Some(RdpLevel::One));
    assert_eq!(info.is_blank(), None);
}

#[test]
fn identifying_tells_protection_with_as_few_bytes_as_possible() {
    for (product_id, protected) in [(0x413, false), (0x413, true), (0x410, false), (0x410, true)] {
        let mut toy = toy(product_id, Quirks { protected, ..Quirks::default() });
        let run = run(Identify, &mut toy);
        // Get, Get ID and one Read of three frames: of the ROM's version, or where it has none of the flash.
        let asked = run.sent.iter().filter(|frame| **frame != [0x7F]);
        assert!(asked.count() <= 5, "{:02x?}", run.sent);
        let identity = run.result.unwrap().unwrap();
        assert_eq!((identity.product_id, identity.protected), (product_id, Some(protected)));
    }
}

#[test]
fn option_blocks_of_both_banks_are_read() {
    let mut toy = toy(0x415, Quirks::default());
    toy.memory.poke(0x1FFF_7800, &[0xCC]);
    let info = run(Inspect, &mut toy).result.unwrap().unwrap();
    assert_eq!(info.option_bytes.value().map(Vec::len), Some(32));
    assert_eq!(info.readout, Some(RdpLevel::Two));
}

#[test]
fn reading_starts_and_ends_anywhere() {
    let mut toy = toy(0x440, Quirks::default());
    let data: Vec<u8> = (0..=255).cycle().take(2000).map(|byte: u8| byte.wrapping_mul(3)).collect();
    toy.memory.poke(0x0800_0000, &data);
    for (offset, len) in [(0, 1), (5, 600), (255, 2), (256, 256), (100, 0)] {
        toy.reset(Duration::ZERO, true);
        let run = run(ReadMemory { address: 0x0800_0000 + offset as u32, len: len as u32 }, &mut toy);
        assert_eq!(run.result.unwrap().unwrap().data, data[offset..offset + len]);
    }
}

#[test]
fn an_erase_of_a_range_takes_the_units_it_touches() {
    let mut toy = toy(0x413, Quirks::default());
    let target = EraseTarget::Range(Area { start: 0x0800_7FFF, end: 0x0801_0000 });
    let outcome = run(EraseFlash::new(target), &mut toy).result.unwrap().unwrap();
    assert_eq!(toy.memory.erased_units, [1, 2, 3, 4]);
    assert_eq!(outcome.units.len(), 4);
}

#[test]
fn units_that_do_not_exist_are_refused_before_anything_is_sent() {
    for target in [
        EraseTarget::Units(vec![3, 64]),
        EraseTarget::Units(vec![]),
        EraseTarget::Range(Area { start: 0x0900_0000, end: 0x0900_0001 }),
        EraseTarget::Bank(3),
    ] {
        let mut toy = toy(0x440, Quirks::default());
        let run = run(EraseFlash::new(target), &mut toy);
        assert_eq!(run.times_sent(&[0x44, 0xBB]), 0);
        assert!(matches!(run.result, Some(Err(Error::BadArgument { .. }))));
    }
}

#[test]
fn everything_goes_with_one_command() {
    let mut toy = toy(0x440, Quirks::default());
    let run = run(EraseFlash::new(EraseTarget::Everything), &mut toy);
    assert_eq!(run.times_sent(&[0xFF, 0xFF, 0x00]), 1);
    assert!(run.result.unwrap().unwrap().units.is_empty());
}

#[test]
fn an_application_is_started_at_its_address() {
    let mut toy = toy(0x440, Quirks::default());
    let started = run(Go { address: 0x0800_1000 }, &mut toy).result.unwrap().unwrap();
    assert!(!started.by_reset);
    assert_eq!(toy.started_at, Some(0x0800_1000));
    let mut toy = crate::common::toy(0x440, Quirks::default());
    let refused = run(Go { address: 0x6000_0000 }, &mut toy).result.unwrap();
    assert!(matches!(refused, Err(Error::Refused { command: Opcode::GO, address: Some(0x6000_0000), .. })));
}

#[test]
fn protection_is_set_and_lifted_and_the_chip_is_there_again() {
    let quirks = Quirks { resets_itself: true, ..Quirks::default() };
    let mut toy = toy(0x440, quirks);
    toy.memory.poke(0x0800_0000, b"secret");
    let protect = |protection| Protect { protection };
    let set = run_on(protect(Protection::Readout), &mut toy, &LINES).result.unwrap().unwrap();
    assert_eq!(set.identity.protected, Some(true));
    toy.reset(Duration::ZERO, true);
    let lifted =
        run_on(protect(Protection::LiftReadoutErasingAll), &mut toy, &LINES).result.unwrap().unwrap();
    assert_eq!(lifted.identity.protected, Some(false));
    assert_eq!(toy.memory.peek(0x0800_0000), 0xFF);
    toy.reset(Duration::ZERO, true);
    let run = run_on(protect(Protection::Write(vec![0, 1, 5])), &mut toy, &LINES);
    assert_eq!(run.times_sent(&[0x02, 0x00, 0x01, 0x05, 0x06]), 1);
    assert!(run.result.unwrap().is_ok() && !toy.memory.options_pending);
    toy.reset(Duration::ZERO, true);
    assert!(run_on(protect(Protection::LiftWrite), &mut toy, &LINES).result.unwrap().is_ok());
}

#[test]
fn a_chip_busy_erasing_after_its_early_ack_is_not_reset() {
    let quirks = Quirks { protected: true, early_unprotect_ack: true, ..Quirks::default() };
    let mut toy = toy(0x410, quirks);
    let lift = Protect { protection: Protection::LiftReadoutErasingAll };
    let run = run_on(lift, &mut toy, &LINES);
    // Asked while it erased, and reset only once it had answered.
    assert!(toy.bytes_lost > 0);
    assert_eq!(run.lines, [LineAction::EnterRom, LineAction::EnterRom]);
    assert!(run.result.unwrap().is_ok());
}

#[test]
fn option_bytes_are_written_loaded_and_read_back() {
    let mut toy = toy(0x440, Quirks { resets_itself: true, ..Quirks::default() });
    let data = [0xAA, 0x55, 0xFF, 0x00, 0x12, 0xED, 0x34, 0xCB];
    let run = run(WriteOptions { block: 0, data: &data, irreversible: false }, &mut toy);
    assert_eq!(run.times_sent(&[0x1F, 0xFF, 0xF8, 0x00, 0x18]), 2);
    assert_eq!(run.result.unwrap().unwrap().after, Some(data.to_vec()));
    assert!(!toy.memory.options_pending);
}

#[test]
fn what_cannot_be_taken_back_needs_to_be_said_twice() {
    let closed = [0xCC, 0x33, 0xFF, 0x00];
    let mut toy = toy(0x440, Quirks { resets_itself: true, ..Quirks::default() });
    let guarded = run(WriteOptions { block: 0, data: &closed, irreversible: false }, &mut toy);
    assert!(matches!(guarded.result, Some(Err(Error::BadArgument { .. }))));
    assert!(toy.memory.writes.is_empty());
    toy.reset(Duration::ZERO, true);
    assert!(
        run(WriteOptions { block: 0, data: &closed, irreversible: true }, &mut toy).result.unwrap().is_ok()
    );
    // On F4 the RDP byte is the second one.
    let mut f4 = crate::common::toy(0x413, Quirks::default());
    let guarded =
        run(WriteOptions { block: 0, data: &[0xEC, 0xCC, 0xFF, 0xFF], irreversible: false }, &mut f4);
    assert!(matches!(guarded.result, Some(Err(Error::BadArgument { .. }))));
}

#[test]
fn option_bytes_that_do_not_fit_are_not_sent() {
    for (product_id, data) in
        [(0x440, &[0xAA; 20][..]), (0x440, &[0xAA; 3]), (0x440, &[]), (0x472, &[0xAA; 4])]
    {
        let mut toy = toy(product_id, Quirks::default());
        let run = run(WriteOptions { block: 0, data, irreversible: false }, &mut toy);
        assert!(matches!(run.result, Some(Err(Error::BadArgument { .. }))), "{product_id:#x}");
        assert!(toy.memory.writes.is_empty());
    }
}

#[test]
fn single_commands_have_the_bytes_of_the_application_note() {
    let cases: [(Command<'_>, &[&[u8]]); 6] = [
        (Command::GetVersion, &[&[0x01, 0xFE]]),
        (Command::GetId, &[&[0x02, 0xFD]]),
        // code, address, len - 1
        (
            Command::Read { address: 0x0800_1234, len: 16 },
            &[&[0x11, 0xEE], &[0x08, 0x00, 0x12, 0x34, 0x2E], &[0x0F, 0xF0]],
        ),
        // code, address, len - 1 with data
        (
            Command::Write { address: 0x0800_0000, data: &[0xDE, 0xAD, 0xBE, 0xEF] },
            &[&[0x31, 0xCE], &[0x08, 0x00, 0x00, 0x00, 0x08], &[0x03, 0xDE, 0xAD, 0xBE, 0xEF, 0x21]],
        ),
        (
            Command::Erase(stm32_rom_bootloader::Erase::Units(&[1, 0x1FF])),
            &[&[0x44, 0xBB], &[0x00, 0x01, 0x00, 0x01, 0x01, 0xFF, 0xFE]],
        ),
        (Command::Erase(stm32_rom_bootloader::Erase::Mass), &[&[0x44, 0xBB], &[0xFF, 0xFF, 0x00]]),
    ];
    for (command, frames) in cases {
        let mut toy = toy(0x440, Quirks { startup: Some(Duration::ZERO), ..Quirks::default() });
        let run = run(Execute { command }, &mut toy);
        assert_eq!(run.sent[3..], *frames, "{command:?}");
        assert!(run.result.unwrap().is_ok(), "{command:?}");
    }
}

#[test]
fn one_byte_erase_lists_have_their_own_form() {
    let mut toy = toy(0x410, Quirks::default());
    let command = Command::Erase(stm32_rom_bootloader::Erase::Units(&[7, 9]));
    let run = run(Execute { command }, &mut toy);
    assert_eq!(run.sent[run.sent.len() - 2..], [&[0x43, 0xBC][..], &[0x01, 0x07, 0x09, 0x0F]]);
    assert_eq!(run.result.unwrap().unwrap().reply, Reply::Done);
    assert_eq!(toy.memory.erased_units, [7, 9]);
}

#[test]
fn arguments_that_cannot_be_sent_are_refused() {
    let long = [0; 257];
    for command in [
        Command::Read { address: 0x0800_0000, len: 0 },
        Command::Read { address: 0x0800_0000, len: 257 },
        Command::Write { address: 0x0800_0000, data: &long },
        Command::Write { address: 0x0800_0000, data: &[] },
        Command::Erase(stm32_rom_bootloader::Erase::Units(&[])),
        Command::WriteProtect { units: &[] },
    ] {
        let mut toy = toy(0x440, Quirks::default());
        let run = run(Execute { command }, &mut toy);
        assert!(matches!(run.result, Some(Err(Error::BadArgument { .. }))), "{command:?}");
    }
}

#[test]
fn progress_of_reading_is_told_block_by_block() {
    let mut toy = toy(0x440, Quirks::default());
    let run = run(ReadMemory { address: 0x0800_0080, len: 300 }, &mut toy);
    let progress: Vec<u32> = run
        .events
        .iter()
        .filter_map(|event| {
            if let Event::Progress { step: Step::Read, done, .. } = event { Some(*done) } else { None }
        })
        .collect();
    assert_eq!(progress, [128, 300]);
}

/// Compiles only while sessions may move to another thread, and borrow nothing they were not given.
#[test]
fn sessions_are_send_and_may_be_static() {
    fn check<T: Send>(_: &T) {}
    let settings = stm32_rom_bootloader::UartSettings::new(115_200);
    let uart: stm32_rom_bootloader::UartSession<'static, _> =
        stm32_rom_bootloader::UartSession::new(Inspect, settings, Duration::ZERO);
    check(&uart);
    let can: stm32_rom_bootloader::CanSession<'static, _> = stm32_rom_bootloader::CanSession::new(
        Inspect,
        stm32_rom_bootloader::CanSettings::fd(),
        Duration::ZERO,
    );
    check(&can);
}

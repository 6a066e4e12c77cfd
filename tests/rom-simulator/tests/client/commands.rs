//! Every command of AN3155, AN3154 and AN5405, one by one, and what it did to the chip.

use crate::can::CanBench;
use crate::uart::Bench;
use rom_simulator::{Protection, State, catalog};
use stm32_rom_bootloader::{CanRate, Command, Erase, Error, Execute, Opcode, Reply, Wait};

const FLASH: u32 = 0x0800_0000;

fn usart(bench: &mut Bench, command: Command<'_>) -> Reply {
    bench.run(Execute { command }).unwrap_or_else(|e| panic!("{command:?}: {e}")).reply
}

fn can(bench: &mut CanBench, command: Command<'_>) -> Reply {
    bench.run(Execute { command }).unwrap_or_else(|e| panic!("{command:?}: {e}")).reply
}

fn filled(bench: &mut Bench) {
    bench.chip().flash_mut().preload(0, &[0x11; 65536]);
}

#[test]
fn get_get_version_and_get_id_over_usart() {
    let mut bench = Bench::new("WB55");
    let listed = catalog::find("WB55").expect("there").usart.commands;
    let commands = listed.iter().map(|code| Opcode(*code)).collect();
    assert_eq!(usart(&mut bench, Command::Get), Reply::Commands { version: 0x32, commands });
    assert_eq!(usart(&mut bench, Command::GetVersion), Reply::Version(0x32));
    assert_eq!(usart(&mut bench, Command::GetId), Reply::Id(0x495));
}

#[test]
fn read_write_and_go_over_usart() {
    let mut bench = Bench::new("F405");
    let data: Vec<u8> = (0..=255).collect();
    assert_eq!(usart(&mut bench, Command::Write { address: FLASH + 256, data: &data }), Reply::Done);
    assert_eq!(bench.flash()[256..512], data);
    assert_eq!(usart(&mut bench, Command::Read { address: FLASH + 256, len: 256 }), Reply::Data(data));
    assert_eq!(usart(&mut bench, Command::Read { address: FLASH + 257, len: 1 }), Reply::Data(vec![1]));
    assert_eq!(usart(&mut bench, Command::Go { address: FLASH }), Reply::Done);
    assert_eq!(bench.line.device().board().state(), State::Application(Some(FLASH)));
}

#[test]
fn erase_of_pages_and_of_everything_over_usart() {
    let mut bench = Bench::new("F103");
    filled(&mut bench);
    usart(&mut bench, Command::Erase(Erase::Units(&[1, 3])));
    let blank = |page: usize, bench: &mut Bench| {
        bench.flash()[page * 1024..(page + 1) * 1024].iter().all(|byte| *byte == 0xFF)
    };
    assert_eq!([0, 1, 2, 3, 4].map(|page| blank(page, &mut bench)), [false, true, false, true, false]);
    usart(&mut bench, Command::Erase(Erase::Mass));
    assert!(bench.flash().iter().all(|byte| *byte == 0xFF));
}

#[test]
fn extended_erase_of_pages_banks_and_everything_over_usart() {
    let fill = |bench: &mut Bench| {
        bench.chip().flash_mut().preload(0, &[0x11; 4096]);
        bench.chip().flash_mut().preload(256 << 10, &[0x11; 4096]);
    };
    for (what, low, high) in [
        (Erase::Units(&[0, 1]), true, false),
        (Erase::Bank1, true, false),
        (Erase::Bank2, false, true),
        (Erase::Mass, true, true),
    ] {
        let mut bench = Bench::new("G474");
        fill(&mut bench);
        usart(&mut bench, Command::Erase(what));
        let blank = |at: usize, bench: &mut Bench| bench.flash()[at..at + 4096].iter().all(|b| *b == 0xFF);
        assert_eq!((blank(0, &mut bench), blank(256 << 10, &mut bench)), (low, high), "{what:?}");
    }
}

#[test]
fn protection_commands_over_usart() {
    let mut bench = Bench::new("F405");
    usart(&mut bench, Command::WriteProtect { units: &[2, 3] });
    bench.pass(core::time::Duration::from_secs(1));
    assert_eq!(bench.chip().write_protected(), [2, 3]);
    usart(&mut bench, Command::WriteUnprotect);
    bench.pass(core::time::Duration::from_secs(1));
    assert!(bench.chip().write_protected().is_empty());
    filled(&mut bench);
    usart(&mut bench, Command::ReadoutProtect);
    bench.pass(core::time::Duration::from_secs(1));
    assert_eq!(bench.chip().protection(), Protection::Level1);
    usart(&mut bench, Command::ReadoutUnprotect);
    bench.pass(core::time::Duration::from_secs(20));
    assert_eq!(bench.chip().protection(), Protection::Open);
    assert!(bench.flash().iter().all(|byte| *byte == 0xFF));
}

#[test]
fn special_commands_over_usart_are_carried_out_or_their_refusal_is_named() {
    // 0x0002 resets an H5 (AN2606); nobody knows any other here.
    let reset = Command::Special { opcode: 0x0002, data: &[] };
    let mut bench = Bench::new("H563");
    assert_eq!(usart(&mut bench, reset), Reply::Special { data: vec![], status: vec![0] });
    let unknown = Command::Special { opcode: 0x7777, data: &[1, 2] };
    let told = Bench::new("H563").run(Execute { command: unknown }).unwrap_err();
    assert!(matches!(told, Error::Refused { command: Opcode::SPECIAL, .. }), "{told}");
    let extended = Command::ExtendedSpecial { opcode: 0x0001, first: &[1], second: &[2, 3] };
    let told = Bench::new("WB55").run(Execute { command: extended }).unwrap_err();
    assert!(matches!(told, Error::Refused { command: Opcode::EXTENDED_SPECIAL, .. }), "{told}");
    let told = Bench::new("F405").run(Execute { command: extended }).unwrap_err();
    assert!(matches!(told, Error::NotListed { command: Opcode::EXTENDED_SPECIAL, .. }), "{told}");
}

#[test]
fn get_checksum_is_used_where_it_is_listed_and_agrees_with_the_chip() {
    let command =
        Command::GetChecksum { address: FLASH, words: 1, polynomial: 0x04C1_1DB7, initial: 0xFFFF_FFFF };
    let mut bench = Bench::new("CHECKSUM");
    bench.chip().flash_mut().preload(0, &[0x78, 0x56, 0x34, 0x12]);
    // The value printed in ST's examples for 0x12345678.
    assert_eq!(usart(&mut bench, command), Reply::Checksum(0xDF8A_8A2B));
    let told = Bench::new("F405").run(Execute { command }).unwrap_err();
    assert!(matches!(told, Error::NotListed { command: Opcode::GET_CHECKSUM, .. }), "{told}");
}

#[test]
fn every_command_over_can() {
    let mut bench = CanBench::classic("L476").without_lines();
    let Reply::Commands { commands, .. } = can(&mut bench, Command::Get) else { panic!("no list") };
    assert!([0x03, 0x11, 0x43, 0x92].iter().all(|code| commands.contains(&Opcode(*code))));
    assert_eq!(can(&mut bench, Command::GetVersion), Reply::Version(0x20));
    assert_eq!(can(&mut bench, Command::GetId), Reply::Id(0x415));
    let data: Vec<u8> = (0..=255).collect();
    can(&mut bench, Command::Write { address: FLASH, data: &data });
    assert_eq!(can(&mut bench, Command::Read { address: FLASH, len: 256 }), Reply::Data(data));
    can(&mut bench, Command::Erase(Erase::Units(&[0])));
    assert!(bench.flash()[..2048].iter().all(|byte| *byte == 0xFF));
    bench.chip().flash_mut().preload(0, &[0x11; 65536]);
    can(&mut bench, Command::Erase(Erase::Mass));
    assert!(bench.flash().iter().all(|byte| *byte == 0xFF));
    for (command, id) in [
        (Command::WriteProtect { units: &[1] }, 0x63),
        (Command::WriteUnprotect, 0x73),
        (Command::ReadoutProtect, 0x82),
    ] {
        can(&mut bench, command);
        assert_eq!(bench.sent.iter().filter(|frame| frame.id() == id).count().min(1), 1, "{command:?}");
    }
    can(&mut bench, Command::Go { address: FLASH });
    bench.pass(core::time::Duration::from_millis(5));
    assert_eq!(bench.device.board().state(), State::Application(Some(FLASH)));
}

#[test]
fn speed_goes_to_every_rate_that_an3154_has() {
    for (rate, bits) in [
        (CanRate::Kbit125, 125_000),
        (CanRate::Kbit250, 250_000),
        (CanRate::Kbit500, 500_000),
        (CanRate::Mbit1, 1_000_000),
    ] {
        let mut bench = CanBench::classic("F405").with_speed(rate);
        assert_eq!(can(&mut bench, Command::GetId), Reply::Id(0x413));
        assert_eq!((bench.device.bitrate(), bench.rate), (bits, bits));
    }
}

#[test]
fn every_command_over_fdcan() {
    let mut bench = CanBench::fd("G0B1").without_lines();
    assert!(matches!(can(&mut bench, Command::Get), Reply::Commands { version: 0x10, .. }));
    assert_eq!(can(&mut bench, Command::GetVersion), Reply::Version(0x10));
    assert_eq!(can(&mut bench, Command::GetId), Reply::Id(0x467));
    let data: Vec<u8> = (0..=255).collect();
    can(&mut bench, Command::Write { address: FLASH, data: &data });
    assert_eq!(can(&mut bench, Command::Read { address: FLASH, len: 256 }), Reply::Data(data));
    for what in [Erase::Units(&[0]), Erase::Bank1, Erase::Mass] {
        bench.chip().flash_mut().preload(0, &[0x11; 2048]);
        can(&mut bench, Command::Erase(what));
        assert!(bench.flash()[..2048].iter().all(|byte| *byte == 0xFF), "{what:?}");
    }
    bench.chip().flash_mut().preload(256 << 10, &[0x11; 2048]);
    can(&mut bench, Command::Erase(Erase::Bank2));
    assert!(bench.flash().iter().all(|byte| *byte == 0xFF));
    can(&mut bench, Command::WriteProtect { units: &[0] });
    can(&mut bench, Command::WriteUnprotect);
    can(&mut bench, Command::ReadoutProtect);
    let mut bench = CanBench::fd("U575").without_lines();
    can(&mut bench, Command::Go { address: FLASH });
    bench.pass(core::time::Duration::from_millis(5));
    assert_eq!(bench.device.board().state(), State::Application(Some(FLASH)));
    // How Special goes on over FDCAN behind its first ACK is in no source; the H5 is reset by it all the same.
    let mut bench = CanBench::fd("H563").without_lines();
    let reset = Command::Special { opcode: 0x0002, data: &[] };
    let told = bench.run(Execute { command: reset }).unwrap_err();
    assert!(
        matches!(told, Error::TimedOut { command: Some(Opcode::SPECIAL), wait: Wait::Argument, .. }),
        "{told}"
    );
    can(&mut bench, Command::GetId);
}

//! Getting hold of a ROM over USART in every state it may be in.

use core::time::Duration;

use crate::common::{device, find, run, toy};
use stm32_rom_bootloader::testing::{Quirks, Run, ToyUart, UartLink, run_uart, run_uart_with};
use stm32_rom_bootloader::{
    Chip, Command, Entry, Error, Event, Execute, Executed, Inspect, LineAction, Opcode, Reply, Step,
    UartSession, UartSettings, Wait,
};

const MS: Duration = Duration::from_millis(1);
const GET_ID: Execute<'static> = Execute { command: Command::GetId };

fn connect(toy: &mut ToyUart, link: &UartLink, settings: UartSettings) -> Run<Executed> {
    let mut session = UartSession::new(GET_ID, settings, Duration::ZERO);
    run_uart(&mut session, toy, link, Duration::ZERO)
}

fn connected(toy: &mut ToyUart) -> Run<Executed> {
    let run = connect(toy, &UartLink::new(115_200), UartSettings::new(115_200));
    assert_eq!(
        run.result.as_ref().unwrap().as_ref().unwrap().reply,
        Reply::Id(toy.product_id),
        "{:?}",
        run.sent
    );
    run
}

#[test]
fn a_fresh_rom_is_asked_nothing_that_is_not_needed() {
    let mut toy = toy(0x440, Quirks { startup: Some(Duration::ZERO), ..Quirks::default() });
    let run = connected(&mut toy);
    assert_eq!(run.sent, [&[0x7F][..], &[0x00, 0xFF], &[0x02, 0xFD], &[0x02, 0xFD]]);
    // 1 + 1, 2 + 15, twice 2 + 5 bytes.
    assert!(run.time < Duration::from_micros(95 * 34), "{:?}", run.time);
}

#[test]
fn a_synchronised_rom_is_found_by_its_nack() {
    let mut toy = toy(0x440, Quirks::default());
    toy.abandon(&[]);
    let run = connected(&mut toy);
    assert_eq!(run.times_sent(&[0x7F]), 2);
    assert!(run.events.contains(&Event::Synced { already: true }));
}

#[test]
fn any_half_sent_command_is_ended_without_harm() {
    let frames: &[&[u8]] = &[
        &[0x11],
        &[0x31, 0xCE, 0x08, 0x00],
        &[0x11, 0xEE, 0x08, 0x00, 0x00, 0x00, 0x08],
        &[0x31, 0xCE, 0x08, 0x00, 0x00, 0x00, 0x08],
        &[0x31, 0xCE, 0x08, 0x00, 0x00, 0x00, 0x08, 0xFF, 0xFF, 0xFF],
        &[0x31, 0xCE, 0x08, 0x00, 0x00, 0x00, 0x08, 0x0F, 0x01, 0x02, 0x03, 0x7F],
        &[0x44, 0xBB],
        &[0x44, 0xBB, 0x00],
        &[0x44, 0xBB, 0x00, 0x03, 0x00, 0x01],
        &[0x63, 0x9C],
        &[0x63, 0x9C, 0x01, 0x02],
    ];
    for frame in frames {
        let mut toy = toy(0x440, Quirks::default());
        toy.memory.poke(0x0800_0000, &[0x5A; 1024]);
        toy.abandon(frame);
        connected(&mut toy);
        assert!(toy.memory.erased_units.is_empty() && toy.memory.mass_erases == 0, "{frame:02x?}");
        assert!(!toy.memory.options_pending, "{frame:02x?}");
        // A write may have been completed with filler, at its own address and nowhere else.
        assert!(toy.memory.writes.iter().all(|(address, _)| *address == 0x0800_0000), "{frame:02x?}");
    }
}

#[test]
fn an_abandoned_one_byte_erase_is_ended_without_harm() {
    for frame in [&[0x43, 0xBC][..], &[0x43, 0xBC, 0x05, 0x01], &[0x43, 0xBC, 0x00]] {
        let mut toy = toy(0x410, Quirks::default());
        toy.abandon(frame);
        connected(&mut toy);
        assert!(toy.memory.mass_erases == 0, "{frame:02x?}");
    }
}

#[test]
fn noise_before_the_ack_and_a_nack_behind_it_do_no_harm() {
    for noise in [&[0x00][..], &[0xFF, 0x00, 0x3C], &[0x7F]] {
        let mut toy = toy(0x440, Quirks { noise_before_ack: noise.to_vec(), ..Quirks::default() });
        connected(&mut toy);
    }
    let mut toy = toy(0x431, Quirks { nack_after_sync: true, ..Quirks::default() });
    connected(&mut toy);
}

#[test]
fn a_rom_that_ignores_the_first_sync_byte_gets_a_second() {
    let mut toy = toy(0x450, Quirks { two_sync_bytes: true, ..Quirks::default() });
    connected(&mut toy);
}

#[test]
fn slow_starters_are_waited_for() {
    // L47x without LSE: 2.56 s; nobody has said which chip it is.
    let mut toy = toy(0x415, Quirks { startup: Some(2560 * MS), ..Quirks::default() });
    let run = connected(&mut toy);
    assert!(run.time < 2900 * MS, "{:?}", run.time);
}

#[test]
fn with_the_chip_known_the_sync_byte_goes_out_when_it_starts() {
    let mut toy = toy(0x413, Quirks::default());
    let mut settings = UartSettings::new(115_200);
    settings.chip = Chip::Expect(device(0x413));
    settings.entry = Entry::Reset;
    let link = UartLink { lines: true, ..UartLink::new(115_200) };
    let run = connect(&mut toy, &link, settings);
    assert_eq!(run.lines, [LineAction::EnterRom]);
    assert_eq!(run.times_sent(&[0x7F]), 1);
    assert_eq!(toy.bytes_lost, 0);
    assert!(run.result.unwrap().is_ok());
}

#[test]
fn a_glitch_that_spoils_the_baud_rate_is_cured_by_another_reset() {
    let mut toy = toy(0x440, Quirks { startup: Some(Duration::ZERO), ..Quirks::default() });
    let mut settings = UartSettings::new(115_200);
    settings.entry = Entry::Reset;
    // The first reset leaves the ROM deaf: the glitch comes with the first sync byte.
    let mut session = UartSession::new(GET_ID, settings, Duration::ZERO);
    let link = UartLink { lines: true, ..UartLink::new(115_200) };
    let mut resets = 0;
    let run = run_uart_with(&mut session, &mut toy, &link, Duration::ZERO, |toy, action| {
        resets += u32::from(action == LineAction::EnterRom);
        if resets == 1 {
            toy.receive(Duration::ZERO, 0x00);
        }
    });
    assert!(run.result.unwrap().is_ok());
    assert_eq!(resets, 2);
}

#[test]
fn missing_parity_is_named() {
    let mut toy = toy(0x440, Quirks { no_parity: true, ..Quirks::default() });
    let run = connect(&mut toy, &UartLink::new(115_200), UartSettings::new(115_200));
    assert_eq!(run.result.unwrap().unwrap_err(), Error::ParityMissing);
}

#[test]
fn an_echo_is_named() {
    let mut toy = toy(0x440, Quirks { startup: Some(Duration::from_secs(1000)), ..Quirks::default() });
    let link = UartLink { echo: true, lines: true, ..UartLink::new(115_200) };
    let mut settings = UartSettings::new(115_200);
    settings.entry = Entry::Reset;
    let run = connect(&mut toy, &link, settings);
    assert_eq!(run.result.unwrap().unwrap_err(), Error::Echo);
}

#[test]
fn silence_ends_in_a_bounded_time_with_what_was_heard() {
    let mut toy = toy(0x440, Quirks { startup: Some(Duration::from_secs(1000)), ..Quirks::default() });
    let link = UartLink { lines: true, ..UartLink::new(115_200) };
    let mut settings = UartSettings::new(115_200);
    settings.entry = Entry::Reset;
    let run = connect(&mut toy, &link, settings);
    match run.result.unwrap().unwrap_err() {
        Error::NoAnswer { heard, .. } => assert_eq!(heard.count, 0),
        other => panic!("{other:?}"),
    }
    assert_eq!(run.lines.len(), 3);
    assert!(run.time < Duration::from_secs(7), "{:?}", run.time);
}

#[test]
fn garbage_instead_of_an_answer_is_told_without_trying_for_long() {
    let noise = vec![0xF9, 0x3F, 0x3F];
    let mut toy = toy(0x449, Quirks { noise_before_ack: noise, garbled: true, ..Quirks::default() });
    let run = connect(&mut toy, &UartLink::new(115_200), UartSettings::new(115_200));
    match run.result.unwrap().unwrap_err() {
        Error::NoAnswer { heard, .. } => assert_eq!((heard.count, heard.first), (3, [0xF9, 0x3F, 0x3F, 0])),
        other => panic!("{other:?}"),
    }
    assert!(run.time < Duration::from_secs(4), "{:?}", run.time);
}

#[test]
fn a_chip_with_a_doubtful_rate_gets_the_advice_to_go_slower() {
    let mut toy = toy(0x449, Quirks { startup: Some(Duration::from_secs(1000)), ..Quirks::default() });
    let mut settings = UartSettings::new(115_200);
    settings.chip = Chip::Expect(device(0x449));
    let run = connect(&mut toy, &UartLink::new(115_200), settings);
    assert!(matches!(run.result, Some(Err(Error::NoAnswer { try_baud: Some(57_600), .. }))));
}

#[test]
fn adapter_latency_does_not_make_sync_bytes_pile_up() {
    let mut toy = toy(0x440, Quirks { startup: Some(Duration::ZERO), ..Quirks::default() });
    let link = UartLink { latency: 16 * MS, ..UartLink::new(115_200) };
    let mut settings = UartSettings::new(115_200);
    settings.latency = 16 * MS;
    let run = connect(&mut toy, &link, settings);
    assert!(run.result.unwrap().is_ok());
    assert_eq!(run.sent.len(), 4);
}

#[test]
fn answers_later_than_the_next_sync_byte_are_sorted_out() {
    // An F105 with PA9 high takes 105 ms to answer: by then more sync bytes are under way.
    let mut toy = toy(0x418, Quirks { sync_answer_delay: 105 * MS, ..Quirks::default() });
    let run = connected(&mut toy);
    assert!(run.times_sent(&[0x7F]) > 2);
}

#[test]
fn lists_of_any_length_are_read_to_their_end() {
    // H5 protocol 4.0 lists ten commands; longer lists exist too.
    for commands in
        [&[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x50, 0x63, 0x73][..], &[0, 1, 2, 0x11, 0x31, 0x44]]
    {
        let mut toy = toy(0x484, Quirks::default());
        toy.commands = commands.to_vec();
        toy.version = 0x40;
        let run = connected(&mut toy);
        let identity = run.result.unwrap().unwrap().identity;
        assert_eq!(identity.commands.len(), commands.len());
        assert_eq!(identity.protocol, 0x40);
    }
}

#[test]
fn a_command_that_is_not_listed_is_not_sent() {
    let mut toy = toy(0x440, Quirks::default());
    let checksum =
        Command::GetChecksum { address: 0x0800_0000, words: 4, polynomial: 0x04C1_1DB7, initial: 0 };
    let run = run(Execute { command: checksum }, &mut toy);
    let expected = Error::NotListed { step: Step::Execute, command: Opcode::GET_CHECKSUM };
    assert_eq!(run.result.unwrap().unwrap_err(), expected);
}

#[test]
fn an_unknown_product_id_is_told_and_the_wrong_one_refused() {
    let mut toy = toy(0x440, Quirks::default());
    toy.product_id = 0x123;
    let info = run(Inspect, &mut toy).result.unwrap().unwrap();
    assert_eq!((info.identity.product_id, info.identity.device), (0x123, None));

    let mut settings = UartSettings::new(115_200);
    settings.chip = Chip::Expect(device(0x440));
    toy.reset(Duration::ZERO, true);
    let run = connect(&mut toy, &UartLink::new(115_200), settings.clone());
    assert_eq!(run.result.unwrap().unwrap_err(), Error::WrongChip { expected: 0x440, got: 0x123 });

    settings.chip = Chip::Force(device(0x440));
    toy.reset(Duration::ZERO, true);
    let run = connect(&mut toy, &UartLink::new(115_200), settings);
    assert_eq!(run.result.unwrap().unwrap().identity.device, Some(device(0x440)));
}

#[test]
fn the_rom_version_chooses_the_row_where_there_are_several() {
    let mut toy = toy(0x413, Quirks::default());
    toy.memory.poke(0x1FFF_77DE, &[0x91]);
    let info = run(Inspect, &mut toy).result.unwrap().unwrap();
    assert_eq!(info.identity.bootloader_id, Some(0x91));
    assert_eq!(info.identity.device, Some(find(0x413, 0x91)));
}

#[test]
fn a_session_can_go_on_where_another_stopped() {
    let mut toy = toy(0x413, Quirks::default());
    let first = connected(&mut toy);
    let mut settings = UartSettings::new(115_200);
    settings.entry = Entry::Connected(first.result.unwrap().unwrap().identity);
    let mut session = UartSession::new(GET_ID, settings, first.time);
    let run = run_uart(&mut session, &mut toy, &UartLink::new(115_200), first.time);
    assert!(run.result.unwrap().is_ok());
    assert_eq!(run.sent, [[0x02, 0xFD]]);
}

#[test]
fn a_lost_byte_of_any_command_is_survived() {
    let mut toy = toy(0x440, Quirks { startup: Some(Duration::ZERO), ..Quirks::default() });
    let bytes = connected(&mut toy).sent.concat().len();
    for number in 0..bytes {
        toy.reset(Duration::ZERO, true);
        let link = UartLink { lose_sent_byte: Some(number), ..UartLink::new(115_200) };
        let run = connect(&mut toy, &link, UartSettings::new(115_200));
        assert!(
            run.result.as_ref().unwrap().is_ok(),
            "byte {number} lost: {:02x?} {:?}",
            run.sent,
            run.result
        );
    }
    for number in 0..31 {
        toy.reset(Duration::ZERO, true);
        let link = UartLink { lose_received_byte: Some(number), ..UartLink::new(115_200) };
        let run = connect(&mut toy, &link, UartSettings::new(115_200));
        assert!(
            run.result.as_ref().unwrap().is_ok(),
            "answer {number} lost: {:02x?} {:?}",
            run.sent,
            run.result
        );
    }
}

#[test]
fn timeouts_name_the_wait() {
    let mut toy = toy(0x440, Quirks { hang_above_pages: Some(0), ..Quirks::default() });
    let command = Command::Erase(stm32_rom_bootloader::Erase::Units(&[3]));
    let run = run(Execute { command }, &mut toy);
    match run.result.unwrap().unwrap_err() {
        Error::TimedOut {
            step: Step::Execute,
            command: Some(Opcode::ERASE),
            wait: Wait::Erased,
            after,
            ..
        } => {
            // Twice the 40 ms of the datasheet and a second for the answer.
            assert!((1000 * MS..1200 * MS).contains(&after), "{after:?}");
        }
        other => panic!("{other:?}"),
    }
}

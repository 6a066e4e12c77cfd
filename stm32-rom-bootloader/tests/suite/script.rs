//! Commands that the toy does not know, against an exchange written down byte by byte (AN3155, section 3).

use core::time::Duration;

use stm32_rom_bootloader::{
    Command, Error, Execute, Executed, Output, Reply, Step, UartSession, UartSettings, Wait,
};

const ACK: &[u8] = &[0x79];

/// Runs a command; after the sync, Get and Get ID, `exchange` says what must be sent and what is answered.
fn exchange(command: Command<'_>, exchange: &[(&[u8], &[u8])]) -> Result<Executed, Error> {
    let listed = [
        0x79, 15, 0x33, 0, 1, 2, 0x11, 0x21, 0x31, 0x44, 0x50, 0x51, 0x63, 0x73, 0x82, 0x92, 0xA1, 0xA2, 0x79,
    ];
    let begin: [(&[u8], &[u8]); 3] =
        [(&[0x7F], ACK), (&[0x00, 0xFF], &listed), (&[0x02, 0xFD], &[0x79, 1, 0x04, 0x84, 0x79])];
    let mut script = begin.iter().chain(exchange);
    let mut session = UartSession::new(Execute { command }, UartSettings::new(115_200), Duration::ZERO);
    let mut answer: &[u8] = &[];
    let mut now = Duration::ZERO;
    loop {
        match session.poll() {
            Output::Transmit(bytes) => {
                let (expected, next) = script.next().expect("more is sent than the script has");
                assert_eq!(bytes, *expected);
                answer = next;
            }
            Output::Line(_) | Output::Event(_) => {}
            Output::Wait { until, .. } => match answer.split_first() {
                Some((byte, rest)) => {
                    session.handle_rx(now, &[*byte]);
                    answer = rest;
                }
                None => {
                    now = until;
                    session.handle_timeout(now);
                }
            },
            Output::Done(result) => {
                assert!(script.next().is_none(), "less is sent than the script has");
                return result;
            }
        }
    }
}

#[test]
fn special_sends_a_sized_packet_and_reads_two() {
    let command = Command::Special { opcode: 0x0082, data: &[1, 2, 3] };
    let reply = exchange(
        command,
        &[
            (&[0x50, 0xAF], ACK),
            // opcode, xor
            (&[0x00, 0x82, 0x82], ACK),
            // size, data, xor; ACK, then size and data, size and status, ACK
            (&[0x00, 0x03, 1, 2, 3, 0x03], &[0x79, 0, 2, 0xAB, 0xCD, 0, 1, 0x07, 0x79]),
        ],
    );
    assert_eq!(reply.unwrap().reply, Reply::Special { data: vec![0xAB, 0xCD], status: vec![7] });
}

#[test]
fn extended_special_sends_two_packets_and_reads_a_status() {
    let command = Command::ExtendedSpecial { opcode: 0x1234, first: &[9], second: &[8, 7] };
    let reply = exchange(
        command,
        &[
            (&[0x51, 0xAE], ACK),
            (&[0x12, 0x34, 0x26], ACK),
            (&[0x00, 0x01, 9, 0x08], ACK),
            (&[0x00, 0x02, 8, 7, 0x0D], &[0x79, 0, 2, 0, 1, 0x79]),
        ],
    );
    assert_eq!(reply.unwrap().reply, Reply::Special { data: vec![], status: vec![0, 1] });
}

#[test]
fn get_checksum_sends_words_polynomial_and_initial_value() {
    let command = Command::GetChecksum {
        address: 0x0800_0000,
        words: 0x100,
        polynomial: 0x04C1_1DB7,
        initial: 0xFFFF_FFFF,
    };
    let frames: [(&[u8], &[u8]); 5] = [
        (&[0xA1, 0x5E], ACK),
        (&[0x08, 0x00, 0x00, 0x00, 0x08], ACK),
        (&[0x00, 0x00, 0x01, 0x00, 0x01], ACK),
        (&[0x04, 0xC1, 0x1D, 0xB7, 0x6F], ACK),
        (&[0xFF, 0xFF, 0xFF, 0xFF, 0x00], &[0x79, 0x79, 0xDE, 0xAD, 0xBE, 0xEF, 0x22]),
    ];
    assert_eq!(exchange(command, &frames).unwrap().reply, Reply::Checksum(0xDEAD_BEEF));
    let mut wrong = frames;
    wrong[4].1 = &[0x79, 0x79, 0xDE, 0xAD, 0xBE, 0xEF, 0x23];
    assert!(matches!(
        exchange(command, &wrong),
        Err(Error::Garbled { step: Step::Execute, wait: Wait::Data, .. })
    ));
}

#[test]
fn write_protection_is_one_counted_list() {
    let reply = exchange(
        Command::WriteProtect { units: &[4, 5] },
        &[(&[0x63, 0x9C], ACK), (&[0x01, 4, 5, 0x00], ACK)],
    );
    assert_eq!(reply.unwrap().reply, Reply::Done);
}

#[test]
fn banks_have_codes_of_their_own() {
    for (erase, frame) in [
        (stm32_rom_bootloader::Erase::Bank1, [0xFF, 0xFE, 0x01]),
        (stm32_rom_bootloader::Erase::Bank2, [0xFF, 0xFD, 0x02]),
    ] {
        assert!(exchange(Command::Erase(erase), &[(&[0x44, 0xBB], ACK), (&frame, ACK)]).is_ok());
    }
}

#[test]
fn a_refusal_names_the_ack_that_was_due() {
    let read = Command::Read { address: 0x0800_0000, len: 4 };
    let refuse: &[u8] = &[0x1F];
    let address: &[u8] = &[0x08, 0, 0, 0, 8];
    // Refused once more, because the first refusal may have been a disturbed byte.
    let frames: [(&[u8], &[u8]); 4] =
        [(&[0x11, 0xEE], ACK), (address, refuse), (&[0x11, 0xEE], ACK), (address, refuse)];
    let error = exchange(read, &frames).unwrap_err();
    assert_eq!(
        error.to_string(),
        "execute: Read Memory (0x11) at 0x08000000: refused instead of ACK of the address"
    );
}

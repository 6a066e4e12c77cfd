//! The lines of the slcan protocol: LAWICEL's "CAN232 Manual" (commands S, O, C, Z, F, t, T), the FD commands b, B
//! and Y of CANable 2.0, and the reports s and e that the Linux driver slcan understands.
//!
//! A line ends with CR; a refusal is the single byte BEL. Remote frames are not used here.

use panel_protocol::frame::{Frame, Id};

use crate::can::{BusRates, CanEvent};

/// End of a line, and by itself the answer that a command was carried out.
pub(super) const CR: u8 = b'\r';
/// The answer that a command was refused.
pub(super) const BELL: u8 = 7;

/// FD payload lengths by data length code.
const FD_LENGTHS: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];

/// A line from an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A frame, and its time in milliseconds within a minute if timestamps are on.
    Frame(Frame, Option<u16>),
    /// A command or frame was accepted.
    Accepted,
    /// Status flags, as asked for by `F`.
    Status(u8),
    /// Something that the adapter reports by itself.
    Report(Vec<CanEvent>),
    /// Anything else: version, serial number, noise.
    Other,
}

/// The line of a frame, its end included.
pub(super) fn encode(frame: &Frame) -> Vec<u8> {
    let data = frame.data();
    let code = FD_LENGTHS.iter().position(|&l| l == data.len()).unwrap_or(0);
    let mut line = match (frame.id(), frame.is_fd()) {
        (Id::Standard(id), false) => format!("t{id:03X}{code:X}"),
        (Id::Extended(id), false) => format!("T{id:08X}{code:X}"),
        (Id::Standard(id), true) => format!("b{id:03X}{code:X}"),
        (Id::Extended(id), true) => format!("B{id:08X}{code:X}"),
    };
    for byte in data {
        line.push_str(&format!("{byte:02X}"));
    }
    line.push('\r');
    line.into_bytes()
}

/// What a line without its end means.
pub(super) fn parse(line: &[u8]) -> Line {
    let Some((&kind, rest)) = line.split_first() else { return Line::Accepted };
    match kind {
        b't' => frame(rest, 3, false),
        b'T' => frame(rest, 8, false),
        b'd' | b'b' => frame(rest, 3, true),
        b'D' | b'B' => frame(rest, 8, true),
        b'z' | b'Z' if rest.is_empty() => Some(Line::Accepted),
        b'F' => number(rest).filter(|_| rest.len() == 2).map(|n| Line::Status(n as u8)),
        b's' => state(rest),
        b'e' => errors(rest),
        _ => None,
    }
    .unwrap_or(Line::Other)
}

fn frame(rest: &[u8], id_digits: usize, fd: bool) -> Option<Line> {
    let (id, rest) = rest.split_at_checked(id_digits)?;
    let id = number(id)?;
    let id = match id_digits {
        3 => Id::Standard(u16::try_from(id).ok().filter(|&id| id < 0x800)?),
        _ => Id::Extended(Some(id).filter(|&id| id < 1 << 29)?),
    };
    let (code, rest) = rest.split_at_checked(1)?;
    let length = *FD_LENGTHS.get(number(code)? as usize)?;
    let (digits, rest) = rest.split_at_checked(2 * length)?;
    let mut data = [0; 64];
    for (byte, digits) in data.iter_mut().zip(digits.chunks(2)) {
        *byte = number(digits)? as u8;
    }
    let stamp = match rest.len() {
        0 => None,
        4 => Some(number(rest)? as u16),
        _ => return None,
    };
    let frame = if fd { Frame::fd(id, &data[..length]) } else { Frame::classical(id, data.get(..length)?) };
    frame.map(|frame| Line::Frame(frame, stamp))
}

/// `sbRRRTTT`: state and error counters.
fn state(rest: &[u8]) -> Option<Line> {
    let (state, counters) = rest.split_first()?;
    let numbers = counters.len() == 6 && counters.iter().all(u8::is_ascii_digit);
    let events = match state {
        b'a' | b'w' => vec![CanEvent::Restarted],
        b'p' => vec![CanEvent::ErrorPassive],
        b'f' => vec![CanEvent::BusOff],
        _ => return None,
    };
    numbers.then_some(Line::Report(events))
}

/// `enX...`: n kinds of error, one letter each.
fn errors(rest: &[u8]) -> Option<Line> {
    let (count, kinds) = rest.split_first()?;
    if !count.is_ascii_digit() || kinds.len() != usize::from(count - b'0') {
        return None;
    }
    let event = |kind: &u8| match kind {
        b'a' => Some(CanEvent::NoAck),
        b'b' | b'B' | b'c' | b'f' | b's' => Some(CanEvent::BusError),
        b'o' => Some(CanEvent::Overrun { frames: 1 }),
        // A transmit overrun was answered with BEL already.
        b'O' => None,
        _ => None,
    };
    Some(Line::Report(kinds.iter().filter_map(event).collect()))
}

/// What status flags report (CAN232 Manual, command F).
pub(super) fn status_events(flags: u8) -> Vec<CanEvent> {
    let known = [
        (0x01, CanEvent::Overrun { frames: 1 }),
        (0x08, CanEvent::Overrun { frames: 1 }),
        (0x20, CanEvent::ErrorPassive),
        (0x40, CanEvent::ArbitrationLost),
        (0x80, CanEvent::BusError),
    ];
    known.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, event)| event).collect()
}

fn number(digits: &[u8]) -> Option<u32> {
    let good = !digits.is_empty() && digits.len() <= 8 && digits.iter().all(u8::is_ascii_hexdigit);
    let text = good.then(|| std::str::from_utf8(digits).ok()).flatten()?;
    u32::from_str_radix(text, 16).ok()
}

/// Rates that have a command, and it.
pub(super) const RATES: [(u32, &str); 9] = [
    (10_000, "S0"),
    (20_000, "S1"),
    (50_000, "S2"),
    (100_000, "S3"),
    (125_000, "S4"),
    (250_000, "S5"),
    (500_000, "S6"),
    (800_000, "S7"),
    (1_000_000, "S8"),
];

/// Data rates that have a command, and it.
pub(super) const DATA_RATES: [(u32, &str); 5] =
    [(1_000_000, "Y1"), (2_000_000, "Y2"), (4_000_000, "Y4"), (5_000_000, "Y5"), (8_000_000, "Y8")];

/// The commands that set these rates, or which of them has none.
pub(super) fn rate_commands(rates: BusRates) -> Result<Vec<&'static str>, (&'static str, u32, &'static str)> {
    let find = |table: &[(u32, &'static str)], rate| table.iter().find(|r| r.0 == rate).map(|r| r.1);
    let nominal = find(&RATES, rates.nominal).ok_or((
        "bit rate",
        rates.nominal,
        "10k, 20k, 50k, 100k, 125k, 250k, 500k, 800k and 1M",
    ))?;
    let Some(data) = rates.data else { return Ok(vec![nominal]) };
    let data = find(&DATA_RATES, data).ok_or(("data bit rate", data, "1M, 2M, 4M, 5M and 8M"))?;
    Ok(vec![nominal, data])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classical(id: Id, data: &[u8]) -> Frame {
        Frame::classical(id, data).unwrap()
    }

    #[test]
    fn frames_are_written_as_the_manual_says() {
        assert_eq!(encode(&classical(Id::Standard(0x100), &[0x11, 0x33])), b"t10021133\r");
        assert_eq!(encode(&classical(Id::Extended(0x0000_0100), &[0x11, 0x33])), b"T0000010021133\r");
        assert_eq!(encode(&Frame::empty(Id::Standard(0x7FF))), b"t7FF0\r");
        let fd = encode(&Frame::fd(Id::Standard(0x400), &[0xAB; 64]).unwrap());
        assert_eq!((&fd[..5], fd.len()), (&b"b400F"[..], 5 + 128 + 1));
    }

    #[test]
    fn frames_are_read_with_and_without_a_timestamp() {
        let frame = classical(Id::Standard(0x100), &[0x11, 0x33]);
        assert_eq!(parse(b"t10021133"), Line::Frame(frame, None));
        assert_eq!(parse(b"t10021133EA5F"), Line::Frame(frame, Some(0xEA5F)));
        for frame in [
            Frame::empty(Id::Extended(0x1FFF_FFFF)),
            Frame::fd(Id::Standard(0x4FF), &[7; 48]).unwrap(),
            Frame::fd(Id::Extended(5), &[]).unwrap(),
        ] {
            let line = encode(&frame);
            assert_eq!(parse(&line[..line.len() - 1]), Line::Frame(frame, None));
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        for text in
            ["t1002113", "t8000", "t1009", "T200000000", "t10021133EA5", "txyz0", "t", "V1013", "b4", "e2a"]
        {
            assert_eq!(parse(text.as_bytes()), Line::Other, "{text}");
        }
    }

    #[test]
    fn answers_and_reports_are_told_apart() {
        assert_eq!((parse(b""), parse(b"z"), parse(b"Z")), (Line::Accepted, Line::Accepted, Line::Accepted));
        assert_eq!(parse(b"F28"), Line::Status(0x28));
        assert_eq!(status_events(0x28), [CanEvent::Overrun { frames: 1 }, CanEvent::ErrorPassive]);
        assert_eq!(parse(b"sf000255"), Line::Report(vec![CanEvent::BusOff]));
        assert_eq!(parse(b"e2ab"), Line::Report(vec![CanEvent::NoAck, CanEvent::BusError]));
    }

    #[test]
    fn a_rate_without_a_command_is_named() {
        assert_eq!(
            rate_commands(BusRates { nominal: 1_000_000, data: Some(5_000_000) }),
            Ok(vec!["S8", "Y5"])
        );
        let error = rate_commands(BusRates { nominal: 83_333, data: None }).unwrap_err();
        assert_eq!((error.0, error.1), ("bit rate", 83_333));
    }
}

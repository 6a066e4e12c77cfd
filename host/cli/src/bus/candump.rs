//! The log format of candump (`candump -L`), as can-utils write and read it:
//! `(1436509052.249713) vcan0 044#2A366C2BBA`, `##1` and flags for FD frames, an `R` or `T` at the end of a line for
//! the direction where it was asked for.

use panel_protocol::frame::{Frame, Id};

/// Bit-rate switch, of the flags digit after `##`.
const BRS: u8 = 1;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Microseconds since 1970.
    pub(super) time_us: u64,
    pub(super) interface: String,
    /// `None` for remote and error frames, which mean nothing to the protocol.
    pub(super) frame: Option<Frame>,
}

/// The line of a frame.
pub(super) fn line(time_us: u64, interface: &str, frame: &Frame) -> String {
    let id = match frame.id() {
        Id::Standard(id) => format!("{id:03X}"),
        Id::Extended(id) => format!("{id:08X}"),
    };
    let mark = if frame.is_fd() { format!("##{BRS:X}") } else { "#".to_owned() };
    let data = hex::encode_upper(frame.data());
    format!("({}.{:06}) {interface} {id}{mark}{data}", time_us / 1_000_000, time_us % 1_000_000)
}

/// What a line says, or what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Entry, String> {
    let mut words = text.split_whitespace();
    let (Some(time), Some(interface), Some(frame)) = (words.next(), words.next(), words.next()) else {
        return Err("expected `(seconds.microseconds) interface frame`".to_owned());
    };
    let time_us = time
        .strip_prefix('(')
        .and_then(|t| t.strip_suffix(')'))
        .and_then(|t| t.split_once('.'))
        .filter(|(_, fraction)| fraction.len() == 6)
        .and_then(|(s, us)| s.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(us.parse().ok()?))
        .ok_or_else(|| format!("`{time}` is no time such as `(1436509052.249713)`"))?;
    let frame = self::frame(frame).ok_or_else(|| format!("`{frame}` is no frame"))?;
    Ok(Entry { time_us, interface: interface.to_owned(), frame })
}

/// The inner `None`: a frame that the protocol has no use for.
#[expect(clippy::option_option, reason = "no frame and no frame of ours are different things")]
fn frame(text: &str) -> Option<Option<Frame>> {
    let (id, data) = text.split_once('#')?;
    let number = u32::from_str_radix(id, 16).ok()?;
    let id = match id.len() {
        3 if number < 0x800 => Id::Standard(number as u16),
        // CAN_ERR_FLAG: an error frame.
        8 if number & 0x2000_0000 != 0 => return Some(None),
        8 if number < 1 << 29 => Id::Extended(number),
        _ => return None,
    };
    if let Some(fd) = data.strip_prefix('#') {
        let (_flags, data) = fd.split_at_checked(1)?;
        return bytes(data).and_then(|data| Frame::fd(id, &data)).map(Some);
    }
    if data.starts_with('R') {
        return Some(None);
    }
    bytes(data).and_then(|data| Frame::classical(id, &data)).map(Some)
}

/// can-utils may put points between bytes.
fn bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.replace('.', "")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_candump_and_are_read_back() {
        let classical =
            Frame::classical(Id::Standard(0x044), &[0x2A, 0x36, 0x6C, 0x2B, 0xBA]).expect("short");
        let text = line(1_436_509_052_249_713, "vcan0", &classical);
        assert_eq!(text, "(1436509052.249713) vcan0 044#2A366C2BBA");
        let fd = Frame::fd(Id::Extended(0x0C3A_4105), &[0x11; 12]).expect("fits");
        assert_eq!(line(5, "can1", &fd), "(0.000005) can1 0C3A4105##1111111111111111111111111");
        for frame in [classical, fd, Frame::empty(Id::Standard(0x300))] {
            let entry = parse(&line(77_000_123, "can0", &frame)).expect("its own line");
            assert_eq!(
                entry,
                Entry { time_us: 77_000_123, interface: "can0".to_owned(), frame: Some(frame) }
            );
        }
    }

    #[test]
    fn what_others_write_is_understood() {
        let with_direction = parse("(1700000000.000001) can0 123#11.22.33 R").expect("candump -x");
        assert_eq!(with_direction.frame, Frame::classical(Id::Standard(0x123), &[0x11, 0x22, 0x33]));
        for ignored in
            ["(1.000000) can0 123#R", "(1.000000) can0 123#R4", "(1.000000) can0 20000004#0001000000000000"]
        {
            assert_eq!(parse(ignored).expect(ignored).frame, None);
        }
    }

    #[test]
    fn what_is_no_line_is_refused_with_what_is_wrong() {
        for (text, wrong) in [
            ("", "expected"),
            ("(1.0) can0 123#", "no time"),
            ("(1.000000) can0 1234#", "no frame"),
            ("(1.000000) can0 900#", "no frame"),
            ("(1.000000) can0 123#1", "no frame"),
            ("(1.000000) can0 123#112233445566778899", "no frame"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }
}

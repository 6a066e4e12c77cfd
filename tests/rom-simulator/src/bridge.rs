//! Serves one simulated CAN device to another program over a byte stream, one frame a line.
//!
//! Lines either way are `ID#DATA` for a classical frame and `ID##DATA` for an FD frame, both in hexadecimal, as
//! candump writes them (without its flags digit): `31#0800000000FF`. The program may also send `BITRATE N`
//! (the rate it uses from now on; at first the device's own) and `RESET` (a pulse on NRST). The device runs
//! as fast as possible in virtual time: it is for checking what hosts say, not how long they take.
//!
//! This is a driver for one connection at a time; it blocks on the stream and reads no clock.

use crate::can::{CanDevice, CanFrame};
use crate::time::Nanos;
use std::io::{BufRead, BufReader, Read, Write};

/// Serves `device` on one connection until the other side closes it.
///
/// # Errors
/// [`std::io::Error`] from the stream; a line that is no frame is [`std::io::ErrorKind::InvalidData`].
pub fn serve(device: &mut CanDevice, input: impl Read, mut output: impl Write) -> std::io::Result<()> {
    let mut now = Nanos::ZERO;
    let mut bitrate = device.bitrate();
    run(device, &mut now, &mut output)?;
    for line in BufReader::new(input).lines() {
        let line = line?;
        if let Some(rate) = line.strip_prefix("BITRATE ") {
            bitrate = rate.trim().parse().map_err(|_| invalid(&line))?;
        } else if line.trim() == "RESET" {
            device.reset(now);
            bitrate = device.bitrate();
        } else {
            let frame = parse(line.trim()).ok_or_else(|| invalid(&line))?;
            now = Nanos(now.0 + 1_000);
            device.handle_frame(now, &frame, bitrate);
        }
        run(device, &mut now, &mut output)?;
    }
    Ok(())
}

/// Lets the device do all it can without the host, and sends what it says.
fn run(device: &mut CanDevice, now: &mut Nanos, output: &mut impl Write) -> std::io::Result<()> {
    device.handle_timeout(*now);
    loop {
        while let Some(tx) = device.poll_tx() {
            writeln!(output, "{}", print(&tx.frame))?;
        }
        let Some(due) = device.next_deadline() else { break };
        *now = (*now).max(due);
        device.handle_timeout(*now);
    }
    output.flush()
}

fn print(frame: &CanFrame) -> String {
    let mark = if frame.fd { "##" } else { "#" };
    let data: String = frame.data.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{:X}{mark}{data}", frame.id)
}

fn parse(line: &str) -> Option<CanFrame> {
    let (id, rest) = line.split_once('#')?;
    let (fd, digits) = rest.strip_prefix('#').map_or((false, rest), |digits| (true, digits));
    let id = u16::from_str_radix(id, 16).ok().filter(|&id| id < 0x800)?;
    let digits = digits.as_bytes();
    if !digits.iter().all(u8::is_ascii_hexdigit)
        || !digits.len().is_multiple_of(2)
        || digits.len() > if fd { 128 } else { 16 }
    {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok();
    let data = digits.chunks(2).map(byte).collect::<Option<_>>()?;
    Some(CanFrame { id, data, fd })
}

fn invalid(line: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("not a frame: \"{line}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_print_and_parse_back() {
        for frame in [CanFrame::new(0x79, &[]), CanFrame::new(0x31, &[8, 0xFF]), CanFrame::fd(0x11, &[1; 64])]
        {
            assert_eq!(parse(&print(&frame)), Some(frame));
        }
    }

    #[test]
    fn lines_that_are_no_frames_are_refused() {
        for line in ["", "79", "800#", "31#0", "31#000102030405060708", "31#zz", "31##+1"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}

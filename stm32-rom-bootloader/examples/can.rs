//! A driver over CAN, and what it finds out about a chip.
//!
//! Frames go through another program as lines such as `31#0800000000FF`, identifier and data in hexadecimal, with `##`
//! between them for CAN FD: a bridge to an adapter, or a simulated ROM. The project has one of each kind:
//!
//! ```text
//! cargo run -p stm32-rom-bootloader --example can -- target/debug/rom-simulator --can classic --device F405
//! cargo run -p stm32-rom-bootloader --example can -- --fd target/debug/rom-simulator --can fd --device G0B1
//! ```
//!
//! With SocketCAN a driver reads and writes frames of a socket in the same places.

use core::time::Duration;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use stm32_rom_bootloader::{
    CanSession, CanSettings, Frame, Inspect, LineResult, Operation, Output, ReadMemory,
};

/// Reads frames on a thread of its own until the program ends.
fn listen(lines: impl BufRead + Send + 'static) -> Receiver<Frame> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if parse(&line).is_some_and(|frame| sender.send(frame).is_err()) {
                return;
            }
        }
    });
    receiver
}

fn parse(line: &str) -> Option<Frame> {
    let (id, data) = line.trim().split_once('#')?;
    let (fd, data) = data.strip_prefix('#').map_or((false, data), |rest| (true, rest));
    let id = u16::from_str_radix(id, 16).ok()?;
    let byte = |at: usize| u8::from_str_radix(data.get(at..at + 2)?, 16).ok();
    let data: Vec<u8> = (0..data.len()).step_by(2).map(byte).collect::<Option<_>>()?;
    if fd { Frame::fd(id, &data) } else { Frame::classic(id, &data) }
}

fn print(frame: &Frame) -> String {
    let data: String = frame.data().iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{:X}{}{data}\n", frame.id(), if frame.is_fd() { "##" } else { "#" })
}

/// Runs a session to its end.
fn drive<'a, O: Operation<'a>>(
    operation: O,
    settings: CanSettings,
    bus: &mut impl Write,
    received: &Receiver<Frame>,
) -> Result<O::Outcome, String>
where
    O::Outcome: 'a,
{
    #[expect(clippy::disallowed_methods, reason = "this is the driver, which owns the clock")]
    let start = Instant::now();
    let mut session = CanSession::new(operation, settings, start.elapsed());
    loop {
        match session.poll() {
            Output::Transmit(frame) => {
                let sent = bus.write_all(print(&frame).as_bytes()).and_then(|()| bus.flush());
                sent.map_err(|error| error.to_string())?;
            }
            // A driver with a reset line, or an adapter that changes its bit rate, would do so here.
            Output::Line(_) => session.handle_line(start.elapsed(), LineResult::Unavailable),
            Output::Event(_) => {}
            Output::Wait { until, .. } => {
                match received.recv_timeout(until.saturating_sub(start.elapsed())) {
                    Ok(frame) => session.handle_rx(start.elapsed(), &frame),
                    Err(RecvTimeoutError::Timeout) => session.handle_timeout(start.elapsed()),
                    Err(RecvTimeoutError::Disconnected) => return Err("the other program has ended".into()),
                }
            }
            Output::Done(result) => return result.map_err(|error| error.to_string()),
        }
    }
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let fd = arguments.iter().position(|a| a == "--fd").map(|at| arguments.remove(at)).is_some();
    let Some((program, rest)) = arguments.split_first() else {
        return say("usage: can [--fd] PROGRAM [ARGUMENTS]", ExitCode::FAILURE);
    };
    let child = Command::new(program).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    match child.map_err(|error| format!("{program}: {error}")).and_then(|child| look(child, fd)) {
        Ok(found) => say(&found, ExitCode::SUCCESS),
        Err(why) => say(&why, ExitCode::FAILURE),
    }
}

/// Asks the chip who it is, and reads the first bytes of its flash.
fn look(mut child: Child, fd: bool) -> Result<String, String> {
    let (Some(mut bus), Some(lines)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("no pipes to the other program".into());
    };
    let received = listen(BufReader::new(lines));
    let settings = if fd { CanSettings::fd() } else { CanSettings::classic() };
    let settings = CanSettings { latency: Duration::from_millis(1), ..settings };
    let info = drive(Inspect, settings.clone(), &mut bus, &received)?;
    let device = info.identity.device.ok_or("unknown chip")?;
    let mut found = format!("{}, protected: {:?}", device.name, info.identity.protected);
    if let (Some(flash), Some(false)) = (device.flash, info.identity.protected) {
        let read = ReadMemory { address: flash.start, len: 16 };
        let data = drive(read, settings, &mut bus, &received)?.data;
        found += &format!("\n{:#010x}: {data:02x?}", flash.start);
    }
    drop(bus);
    // The other program ends with its input; how does not matter.
    drop(child.wait());
    Ok(found)
}

fn say(line: &str, code: ExitCode) -> ExitCode {
    // If nobody can read it, there is nobody to tell.
    drop(writeln!(io::stdout(), "{line}"));
    code
}

//! A driver over anything that implements `Read` and `Write`, and a small flasher made with it.
//!
//! On Linux, without any further crate:
//!
//! ```text
//! stty -F /dev/ttyUSB0 115200 raw -echo cs8 parenb -parodd -cstopb
//! cargo run --example blocking -- /dev/ttyUSB0 firmware.bin
//! ```

use core::time::Duration;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use stm32_rom_bootloader::{
    Entry, Error, Event, Field, Image, Inspect, LineResult, Operation, Output, Plan, PlanOptions, Program,
    Region, UartSession, UartSettings,
};

/// Why driving a session failed.
#[derive(Debug)]
enum Failure {
    /// The port.
    Port(io::Error),
    /// The session.
    Session(Error),
}

/// Reads on a thread of its own, because `read` may block for ever. Ends when the port or the receiver does.
fn listen(mut port: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        loop {
            let read = port.read(&mut buffer).map(|count| buffer[..count].to_vec());
            let ended = read.is_err();
            if sender.send(read).is_err() || ended {
                return;
            }
        }
    });
    receiver
}

/// Runs a session to its end. `on_event` sees what happens on the way.
fn drive<'a, O: Operation<'a>>(
    operation: O,
    settings: UartSettings,
    port: &mut impl Write,
    received: &Receiver<io::Result<Vec<u8>>>,
    mut on_event: impl FnMut(Event),
) -> Result<O::Outcome, Failure>
where
    O::Outcome: 'a,
{
    #[expect(clippy::disallowed_methods, reason = "this is the driver, which owns the clock")]
    let start = Instant::now();
    let mut session = UartSession::new(operation, settings, start.elapsed());
    loop {
        match session.poll() {
            Output::Transmit(bytes) => port.write_all(&bytes).map_err(Failure::Port)?,
            // A driver that can move DTR and RTS would do so here.
            Output::Line(_) => session.handle_line(start.elapsed(), LineResult::Unavailable),
            Output::Event(event) => on_event(event),
            Output::Wait { until, .. } => {
                let left = until.saturating_sub(start.elapsed());
                match received.recv_timeout(left) {
                    Ok(Ok(bytes)) => session.handle_rx(start.elapsed(), &bytes),
                    Ok(Err(error)) => return Err(Failure::Port(error)),
                    Err(RecvTimeoutError::Timeout) => session.handle_timeout(start.elapsed()),
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(Failure::Port(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
            Output::Done(result) => return result.map_err(Failure::Session),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, file] = arguments.as_slice() else {
        return report("usage: blocking PORT FIRMWARE.BIN");
    };
    match flash(port, file) {
        Ok(blocks) => {
            report(&format!("{blocks} blocks written and read back"));
            ExitCode::SUCCESS
        }
        Err(message) => report(&message),
    }
}

/// Asks the chip who it is, plans, and programs; the number of blocks written.
fn flash(port: &str, file: &str) -> Result<usize, String> {
    let firmware = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let mut port =
        OpenOptions::new().read(true).write(true).open(port).map_err(|error| format!("{port}: {error}"))?;
    let received = listen(port.try_clone().map_err(|error| error.to_string())?);
    // An adapter left alone holds a byte back for up to 16 ms.
    let settings = UartSettings { latency: Duration::from_millis(16), ..UartSettings::new(115_200) };

    let info = drive(Inspect, settings.clone(), &mut port, &received, |_| {}).map_err(words)?;
    let device = info.identity.device.ok_or("unknown chip")?;
    report(&format!("{} with {:?} KiB", device.name, info.flash_kib.value()));

    let start = device.flash.map_or(0x0800_0000, |flash| flash.start);
    let image =
        Image::new([Region { address: start, data: &firmware }]).map_err(|error| error.to_string())?;
    let options = PlanOptions {
        flash_kib: if let Field::Value(kib) = info.flash_kib { Some(kib) } else { None },
        bootloader_id: info.identity.bootloader_id,
        ..PlanOptions::default()
    };
    let plan = Plan::new(device, &image, &options).map_err(|error| error.to_string())?;

    // The chip is connected already: go on where the first session stopped.
    let settings = UartSettings { entry: Entry::Connected(info.identity), ..settings };
    let outcome = drive(Program::new(&plan, &image), settings, &mut port, &received, |event| {
        if let Event::Progress { step, done, total } = event {
            report(&format!("{step} {done} of {total}"));
        }
    });
    Ok(outcome.map_err(words)?.blocks_written)
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Port(error) => format!("the port failed: {error}"),
        Failure::Session(error) => error.to_string(),
    }
}

fn report(line: &str) -> ExitCode {
    // If nobody can read it, there is nobody to tell.
    drop(writeln!(io::stderr(), "{line}"));
    ExitCode::FAILURE
}

//! `panelflash rom --can` against a simulated chip behind a TCP gateway that sends every frame of the host back once
//! it has been on the bus. The chip lives in its own time, which only runs while it has something to do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use panel_protocol::frame::{Frame, Id};
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};
use rom_simulator::{CanDevice, CanFrame, CanKind, Nanos, Settings, catalog};
use serde_json::Value;

/// A gateway with one chip behind it, for as long as the test lives; one connection after the other.
fn gateway(device: &str, kind: CanKind) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let model = catalog::find(device).expect("simulated");
    let mut chip = CanDevice::new(model, kind, &Settings::default(), Nanos::ZERO).expect("speaks it");
    std::thread::spawn(move || {
        let mut now = Nanos::ZERO;
        run_dry(&mut chip, &mut now);
        for connection in listener.incoming() {
            serve(connection.expect("a host"), &mut chip, &mut now);
        }
    });
    format!("tcp://{address}")
}

fn serve(mut host: TcpStream, chip: &mut CanDevice, now: &mut Nanos) {
    host.set_nodelay(true).expect("a socket");
    let mut decoder = Decoder::default();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = host.read(&mut buffer) {
        for frame in buffer[..count].iter().filter_map(|&byte| decoder.handle_byte(byte)) {
            let Id::Standard(id) = frame.id() else { continue };
            let heard = CanFrame { id, data: frame.data().to_vec(), fd: frame.is_fd() };
            chip.handle_frame(*now, &heard, chip.bitrate());
            let answers = run_dry(chip, now).into_iter().map(|answer| {
                let id = Id::Standard(answer.id);
                let frame =
                    if answer.fd { Frame::fd(id, &answer.data) } else { Frame::classical(id, &answer.data) };
                frame.expect("a frame that exists")
            });
            for frame in std::iter::once(frame).chain(answers) {
                let mut out = [0; MAX_ENCODED];
                let len = encode(&frame, &mut out);
                if host.write_all(&out[..len]).is_err() {
                    return;
                }
            }
        }
    }
}

/// Lets the chip do all that it has to do; what it sends on the way.
fn run_dry(chip: &mut CanDevice, now: &mut Nanos) -> Vec<CanFrame> {
    let mut sent = Vec::new();
    while let Some(due) = chip.next_deadline() {
        *now = due.max(*now);
        chip.handle_timeout(*now);
        sent.extend(std::iter::from_fn(|| chip.poll_tx()).map(|tx| tx.frame));
    }
    sent
}

/// Exit code, what it printed, what it said.
fn rom(can: &str, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_panelflash"))
        .args(["rom", "--json", "--can", can])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), value, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_chip_on_a_can_bus_is_identified_written_and_read_back() {
    for (device, kind, product_id, more) in
        [("F405", CanKind::Classic, "0x413", &[][..]), ("G0B1", CanKind::Fd, "0x467", &["--fd"])]
    {
        let can = gateway(device, kind);
        let (exit, info, said) = rom(&can, &[&["info"], more].concat());
        assert_eq!((exit, &info["product_id"]), (Some(0), &Value::from(product_id)), "{said}");
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("firmware.bin");
        let firmware: Vec<u8> = (0..5000u32).map(|at| (at * 13 + at / 256) as u8).collect();
        std::fs::write(&file, firmware).expect("writable");
        let file = file.display().to_string();
        let (exit, written, said) = rom(&can, &[&["write", &file], more].concat());
        assert_eq!((exit, &written["verified"]), (Some(0), &Value::from(true)), "{said}");
        let (exit, verified, said) = rom(&can, &[&["verify", &file], more].concat());
        assert_eq!((exit, &verified["equal"]), (Some(0), &Value::from(true)), "{said}");
    }
}

#[test]
fn a_board_on_a_can_bus_is_recovered_and_locked_and_recovered_again() {
    for (device, chip, id, kind, more) in [
        ("F405", "STM32F405", "0x413", CanKind::Classic, &[][..]),
        ("G0B1", "STM32G0B1", "0x467", CanKind::Fd, &["--fd"]),
    ] {
        let can = gateway(device, kind);
        let directory = tempfile::tempdir().expect("temporary directory");
        let firmware: Vec<u8> = (0..3000u32).map(|at| (at * 13 + at / 256) as u8).collect();
        std::fs::write(directory.path().join("firmware.bin"), firmware).expect("writable");
        // A G0 is locked by a power cycle only, and this bus has no lines.
        let lock = if kind == CanKind::Classic { "level-1" } else { "none" };
        let job = format!(
            "name = 'can'\nproduct = 'p'\nstart_application = false\n[target]\nchip = '{chip}'\ndevice_id = {id}\n\
             [[image]]\nfile = 'firmware.bin'\naddress = 0x08000000\n[finish]\nlock = '{lock}'\n"
        );
        let file = directory.path().join("job.toml");
        std::fs::write(&file, job).expect("writable");
        for found in ["blank", if lock == "none" { "this-release" } else { "protected" }] {
            let output = Command::new(env!("CARGO_BIN_EXE_panelflash"))
                .current_dir(directory.path())
                .args(["recover", "job.toml", "--json", "--yes", "--records", "records", "--can", &can])
                .args(more)
                .stdin(Stdio::null())
                .output()
                .expect("runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            assert_eq!(
                (&value["result"], &value["board"]["found"]),
                (&"pass".into(), &found.into()),
                "{said}"
            );
            assert_eq!(value["board"]["locked"], lock != "none");
        }
    }
}

#[test]
fn what_is_wrong_with_a_bus_is_named() {
    let (exit, _, said) = rom("nocan7", &["info"]);
    assert_eq!(exit, Some(3), "{said}");
    assert!(said.contains("nocan7"), "{said}");
    let (exit, _, said) = rom("can0", &["info", "--reset", "dtr"]);
    assert!(exit == Some(3) || exit == Some(2), "{said}");
    // A bus without a chip on it.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!("tcp://{}", listener.local_addr().expect("bound"));
    let (exit, _, said) = rom(&nobody, &["info"]);
    assert!(exit == Some(3) && said.contains("E701 rom-no-sync"), "{said}");
}

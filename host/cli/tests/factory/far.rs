//! A work order on boards of another process, over a real link and by the clock: nothing of it is simulated time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::owner::Said;
use crate::whole::{boards, line};

/// The process with the boards.
struct Far(Child);

impl Drop for Far {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn a_work_order_over_a_real_link_ends_with_locked_boards_their_identities_and_a_balance_that_adds_up() {
    work_order_over(&["--tcp", "127.0.0.1:0"], "tcp:");
}

#[test]
fn a_work_order_over_an_slcan_adapter_on_a_terminal_ends_the_same_way() {
    work_order_over(&["--pty"], "slcan:");
}

/// Runs an order twice on boards whose process serves its bus like this.
fn work_order_over(served: &[&str], link: &str) {
    let owner = line("");
    // USER byte of the F405 (RM0090 3.9.2): BOR level 1.
    std::fs::write(owner.path("options.bin"), [0xEB]).unwrap();
    let lines = "identity = { serial = true, eui48 = 2, key = \"p256\", certificate = true, \
                 region = { address = 0x080C0000, length = 1024 } }";
    let options = "[[image]]\nrole = \"option_bytes\"\nname = \"options\"\nfile = \"options.bin\"\naddress = 0x1FFFC000\n";
    let app = crate::owner::image("application", "app", "bench-64k.bin", Some(0x0802_0000));
    owner.place_release("fw", lines, &(app + options));
    let socket = owner.path("fixture").display().to_string();
    let panel = |link: &str| {
        format!(
            "name = \"quad\"\nrows = 2\ncolumns = 2\nbinding = \"straps\"\n[[bus]]\nlink = \"{link}\"\n\
             [fixture]\npower = \"sim:{socket}#power-{{slot}}\"\nnrst = \"sim:{socket}#nrst-{{slot}}\"\n"
        )
    };
    owner.file("there.toml", &panel("tcp://127.0.0.1:1"));
    let sim = ["sim", "panel", "--panel", "there.toml", "--boards", "boards"];
    let mut sim = owner.command(&[&sim[..], served].concat());
    let mut far = Far(sim.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut said = BufReader::new(far.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = said.next().unwrap();
    let link = first.split(' ').find(|word| word.starts_with(link)).unwrap();
    assert!(said.any(|line| line.starts_with("fixture ")));
    owner.file("panel.toml", &panel(link));

    let args =
        ["run", "--order", "WO-1", "--station-file", "line/station.toml", "--records", "records", "--json"];
    let run = || Said::of(&owner.command(&args).output().unwrap());
    let first = run().good();
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
    for board in boards(&first) {
        let serial = board["serial"].as_str().unwrap();
        let show = ["ledger", "show", serial, "--records", "records", "--json"];
        let unit = &owner.call(&show).good().json()[0];
        assert_eq!(
            (&unit["state"], &unit["uid"].as_str().map(str::to_uppercase)),
            (&"confirmed".into(), &board["uid"].as_str().map(str::to_uppercase))
        );
        assert!(unit["lock_proof"].is_string() && unit["record"].is_string(), "{unit}");
        let steps = owner.call(&["report", "unit", serial, "--records", "records", "--json"]).good().stdout;
        for words in ["\"options\"", "\"lock\"", "lock-proof"] {
            assert!(steps.contains(words), "{words}: {steps}");
        }
    }
    // The same locked boards again: known, proven again, nothing consumed.
    let again = run().good();
    let who = |said: &Said| {
        boards(said).iter().map(|b| (b["uid"].clone(), b["serial"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(who(&first), who(&again));
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
    owner.call(&["ledger", "audit", "--records", "records"]).good();
    drop(far);
    for slot in 1..=4 {
        let chip = owner.chip(slot);
        assert_eq!(
            (chip[14], chip[16]),
            (1, 0xEB),
            "slot {slot}: protection and first option byte in the chip"
        );
    }
}

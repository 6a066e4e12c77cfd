//! What is said of a recovery: lines for people, one object for machines.

use panel_ledger::Unit;
use panel_protocol::time::Micros;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::out::line;
use crate::rom::attempt::Done;

pub(super) fn json(result: &Result<Done, Failure>, unit: Option<&Unit>, now: Micros) -> Value {
    let seconds = now.0 as f64 / 1e6;
    match result {
        Ok(done) => {
            let identity = unit.map(|unit| {
                json!({
                    "serial": unit.numbers.serial, "order": unit.order, "state": unit.state,
                    "restored": done.identity_restored,
                })
            });
            json!({ "result": "pass", "board": done, "identity": identity, "seconds": seconds })
        }
        Err(failure) => json!({
            "result": if failure.exit() == 130 { "aborted" } else if failure.exit() == 1 { "fail" } else { "error" },
            "code": failure.code.to_string(), "detail": failure.message, "seconds": seconds,
        }),
    }
}

pub(super) fn report(done: &Done, unit: Option<&Unit>) {
    let uid = done.uid.as_deref().unwrap_or("not readable");
    line(&format!("PASS  {}  UID {uid}", done.chip));
    match done.blocks_written {
        0 => line("nothing had to be written: the board holds the release, read back whole"),
        n => line(&format!("{n} blocks written and read back, {} units erased", done.units_erased)),
    }
    if done.write_protection_lifted {
        line("write protection was lifted from all sectors, and stays lifted");
    }
    line(&identity(done, unit));
    if done.options_written {
        line("option bytes are set and were read back");
    }
    if done.locked {
        line(
            "readout protection is set, and the chip refuses to be read; the next reset starts its application",
        );
    }
    if done.needs_power_cycle {
        line("switch the board's power off and on: until then it starts its ROM and not its application");
    }
}

/// What became of the board's identity.
fn identity(done: &Done, unit: Option<&Unit>) -> String {
    let Some(unit) = unit else {
        return "the ledger has no unit with this UID: no identity was restored".to_owned();
    };
    let serial = unit.numbers.serial.as_deref().unwrap_or("without a serial number");
    let order =
        unit.order.as_ref().map_or_else(|| "no work order".to_owned(), |order| format!("order {order}"));
    let written = if done.identity_restored { ", its identity written and read back" } else { "" };
    format!("unit {serial} of {order}, {}{written}", unit.state)
}

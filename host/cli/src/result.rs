//! The result of a run for machines: one JSON object, and one line per event (docs/engineer-guide.md).

use panel_codes::Code;
use panel_engine::{Event, Outcome, Run, SlotReport};
use panel_protocol::time::Micros;
use panel_store::RunStart;
use serde::Serialize;

use crate::stage::Traffic;

/// What became of one board.
#[derive(Debug, Serialize)]
pub(crate) struct BoardResult {
    pub(crate) slot: u16,
    pub(crate) uid: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) result: &'static str,
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) step: Option<&'static str>,
    pub(crate) attempts: u8,
    pub(crate) seconds: f64,
}

/// What became of a run.
#[derive(Debug, Serialize)]
pub(crate) struct RunResult {
    pub(crate) panel: String,
    pub(crate) job: String,
    pub(crate) release: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<String>,
    pub(crate) boards: Vec<BoardResult>,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) seconds: f64,
    pub(crate) bound_seconds: f64,
    pub(crate) ratio: f64,
    pub(crate) bus_frames: u64,
    pub(crate) frames_repeated: u64,
    pub(crate) queue_full: u64,
    pub(crate) frames_lost: u64,
    pub(crate) host_cpu_seconds: f64,
    pub(crate) host_cpu_us_per_frame: f64,
}

impl RunResult {
    pub(crate) fn new(start: &RunStart, run: &Run, bound_ns: u64, traffic: &Traffic) -> Self {
        let reports = run.reports();
        let ended = reports.iter().map(|r| r.ended).max().unwrap_or(Micros::ZERO);
        let seconds = ended.0 as f64 / 1e6;
        let bound_seconds = bound_ns as f64 / 1e9;
        let boards: Vec<BoardResult> = reports.iter().map(board).collect();
        let count = |result| boards.iter().filter(|b| b.result == result).count();
        let (passed, skipped) = (count("pass"), count("skipped"));
        Self {
            panel: start.panel.clone(),
            job: start.job.clone(),
            release: start.release.name.clone(),
            order: start.order.clone(),
            passed,
            failed: boards.len() - passed - skipped,
            boards,
            seconds,
            bound_seconds,
            ratio: if bound_seconds > 0.0 { seconds / bound_seconds } else { 0.0 },
            bus_frames: traffic.frames,
            frames_repeated: crate::run::buses(run).map(|b| run.counters(b).repeated).sum(),
            queue_full: traffic.queue_full,
            frames_lost: traffic.frames_lost,
            host_cpu_seconds: traffic.cpu,
            host_cpu_us_per_frame: traffic.cpu * 1e6 / traffic.frames.max(1) as f64,
        }
    }

    /// Takes the PASS of these slots back.
    pub(crate) fn withdraw(&mut self, slots: &std::collections::BTreeSet<u16>, code: Code) {
        for board in self.boards.iter_mut().filter(|b| b.result == "pass" && slots.contains(&b.slot)) {
            board.result = "error";
            board.code = Some(code.to_string());
            board.detail = Some("the pass could not be kept: run the board again".to_owned());
            self.passed -= 1;
            self.failed += 1;
        }
    }

    /// 3 if link or fixture failed some board, else 1 if a board failed.
    pub(crate) fn exit(&self) -> u8 {
        let station = |b: &BoardResult| b.code.as_deref().is_some_and(|code| code.starts_with("E4"));
        if self.boards.iter().any(station) {
            return 3;
        }
        crate::run::exit_of(self.boards.iter().map(|b| match b.result {
            "pass" => Outcome::Pass,
            "skipped" => Outcome::Skipped,
            _ => Outcome::Fail,
        }))
    }
}

fn board(report: &SlotReport) -> BoardResult {
    let verdict = report.verdict.as_ref();
    let result = match verdict.map(|v| v.outcome) {
        Some(Outcome::Pass) => "pass",
        Some(Outcome::Fail) => "fail",
        Some(Outcome::Skipped) => "skipped",
        Some(Outcome::Aborted) => "aborted",
        Some(Outcome::Error) | None => "error",
    };
    BoardResult {
        slot: report.slot.0,
        uid: report.uid.map(|u| u.to_string()),
        serial: report.serial.clone(),
        result,
        code: verdict.and_then(|v| v.code).map(|c| c.to_string()),
        detail: verdict.map(|v| v.detail.clone()).filter(|d| !d.is_empty()),
        step: verdict.and_then(|v| v.step).map(panel_engine::Step::name),
        attempts: report.attempts,
        seconds: report.ended.since(report.started).as_secs_f64(),
    }
}

/// An image that is one board's own.
pub(crate) fn own_image(image: &panel_engine::ImageFacts) -> serde_json::Value {
    let panel_engine::ImageFacts { name, address, length, crc32, sha256 } = image;
    serde_json::json!({
        "name": name, "address": address, "length": length, "crc32": crc32, "sha256": hex::encode(sha256),
    })
}

/// The proof of a lock, with the raw answers in hexadecimal.
pub(crate) fn lock_proof(proof: &panel_engine::LockProof) -> serde_json::Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    serde_json::json!({
        "level": proof.level as u8,
        "found_locked": proof.found_locked,
        "restarted_by": proof.restarted_by.map(panel_engine::RestartedBy::word),
        "identify": hex(&proof.identify),
        "read_address": proof.read_address,
        "read": hex(&proof.read),
    })
}

/// One event as a JSON object on one line.
pub(crate) fn event_line(now: Micros, event: &Event) -> String {
    use serde_json::json;
    let value = match event {
        Event::Attempt { slot, number } => json!({"event": "attempt", "slot": slot.0, "number": number}),
        Event::Identified { slot, uid } => {
            json!({"event": "identified", "slot": slot.0, "uid": uid.to_string()})
        }
        Event::ImageFound { slot, state, same } => {
            json!({"event": "image-found", "slot": slot.0, "state": format!("{state:?}"), "same": same})
        }
        Event::Reserved { slot, serial, facts } => {
            json!({"event": "reserved", "slot": slot.0, "serial": serial, "identity": facts})
        }
        Event::ImageGiven { slot, image } => {
            json!({"event": "image-given", "slot": slot.0, "image": own_image(image)})
        }
        Event::IdentityWritten { slot } => json!({"event": "identity-written", "slot": slot.0}),
        Event::LockProved { slot, proof } => {
            json!({"event": "lock-proved", "slot": slot.0, "proof": lock_proof(proof)})
        }
        Event::StepBegan { slot, step } => {
            json!({"event": "step-began", "slot": slot.0, "step": step.name()})
        }
        Event::StepEnded { slot, step, ok } => {
            json!({"event": "step-ended", "slot": slot.0, "step": step.name(), "ok": ok})
        }
        Event::Measured { slot, name, value, unit, low } => {
            json!({"event": "measured", "slot": slot.0, "name": name, "value": value, "unit": unit, "low": low})
        }
        Event::State { slot, state } => {
            json!({"event": "state", "slot": slot.0, "state": format!("{state:?}")})
        }
        Event::Phase { bus, phase } => json!({"event": "phase", "bus": bus.0, "phase": phase.name()}),
        Event::Progress { bus, sent, total } => {
            json!({"event": "progress", "bus": bus.0, "sent": sent, "total": total})
        }
        Event::Ended { slot, verdict, again } => json!({
            "event": "ended", "slot": slot.0, "result": verdict.outcome.word(),
            "code": verdict.code.map(|c| c.to_string()), "detail": verdict.detail,
            "step": verdict.step.map(panel_engine::Step::name), "again": again,
        }),
        Event::Note { slot, topic, text } => {
            json!({"event": "note", "slot": slot.map(|s| s.0), "topic": topic, "text": text})
        }
    };
    let mut line = json!({"us": now.0});
    if let (Some(line), serde_json::Value::Object(fields)) = (line.as_object_mut(), value) {
        line.extend(fields);
    }
    line.to_string()
}

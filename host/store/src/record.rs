//! What a writer says: the plain values that [`Store`](crate::Store) takes and stores.
//!
//! These types are also the JSON in the database's `events.body`. Every database ever written must stay
//! readable: add optional fields and new variants, never rename or remove one. The fixture of each schema
//! version in `tests/fixtures` holds this to its word.

use serde::{Deserialize, Serialize};

use crate::hex::{Sha256, Uid};
use crate::retest::RetestPolicy;
use crate::text::word_enum;

/// The step without which no attempt passes: reading the flash back.
pub const VERIFY_STEP: &str = "verify";

/// Topic of a note about an image that is one board's own: its body is an [`Image`], which takes the place of the
/// release's image of that name and address in everything that is said of the attempt.
pub const IMAGE_NOTE: &str = "image-given";

/// Topic of a note with what a unit was given beside its serial number: an object of lists by name.
pub const IDENTITY_NOTE: &str = "identity";

/// Number of a run in its database, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

/// Number of an attempt in its database, from 1, in the order in which attempts began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub i64);

macro_rules! id_in_sql {
    ($($name:ident)+) => {$(
        impl rusqlite::types::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.0.into())
            }
        }
        impl rusqlite::types::FromSql for $name {
            fn column_result(
                value: rusqlite::types::ValueRef<'_>,
            ) -> rusqlite::types::FromSqlResult<Self> {
                value.as_i64().map(Self)
            }
        }
    )+};
}
id_in_sql!(RunId AttemptId);

/// Everything known about a run before anything is powered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStart {
    /// UTC microseconds.
    pub utc_us: i64,
    /// Panel id, as scanned or given.
    pub panel: String,
    /// Product; a unit is one UID of one product.
    pub product: String,
    /// Name of the job.
    pub job: String,
    /// SHA-256 of the job file.
    pub job_sha256: Sha256,
    /// What is programmed.
    pub release: Release,
    /// Work order, if one was given.
    pub order: Option<String>,
    /// Station id.
    pub station: String,
    /// Who works at the station.
    pub operator: String,
    /// Fixture id.
    pub fixture: String,
    /// Version of panelflash.
    pub program_version: String,
    /// Set when the boards are simulated.
    pub simulation: Option<Simulation>,
    /// Whether passed units may be shipped.
    pub shipment: Shipment,
    /// Steps which must have ended well in an attempt before it may pass, besides [`VERIFY_STEP`].
    pub required_steps: Vec<String>,
    /// How often its order lets a unit be run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retests: Option<RetestPolicy>,
}

/// How boards were simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulation {
    /// Seed of the simulator.
    pub seed: u64,
    /// Simulated time instead of the wall clock.
    pub virtual_time: bool,
}

/// A release, or the bare images of a developer job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Name of the release, or of the image file.
    pub name: String,
    /// Version; empty if the release has none.
    pub version: String,
    /// SHA-256 of the package, or of the planned image.
    pub sha256: Sha256,
    /// The images in it.
    pub images: Vec<Image>,
}

/// One image of a release as it lies in flash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Name, such as `bootloader` or `application`.
    pub name: String,
    /// First address.
    pub address: u32,
    /// Length in bytes.
    pub length: u32,
    /// CRC-32 (ISO-HDLC) of the bytes.
    pub crc32: u32,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
}

word_enum! {
    /// Whether the passed units of a run may be shipped.
    Shipment {
        /// A signed release under a work order.
        Allowed = "for shipment",
        /// A developer job.
        Forbidden = "NOT FOR SHIPMENT",
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// UTC microseconds.
    pub utc_us: i64,
    /// Microseconds since the run began.
    pub run_us: u64,
    /// The exit code of the run.
    pub exit: u8,
}

/// An event with its times.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRecord {
    /// UTC microseconds.
    pub utc_us: i64,
    /// Microseconds since the run began, by a clock that never goes back.
    pub run_us: u64,
    /// What happened, or is about to.
    pub event: Event,
}

/// Something that happened, or is about to happen, to the board in a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// From here on things may be done to the board. Append it before the first of them.
    AttemptStarted {
        /// Slot on the panel.
        slot: u16,
    },
    /// The board said which chip it is.
    Identified {
        /// Slot on the panel.
        slot: u16,
        /// The chip's unique id.
        uid: Uid,
    },
    /// The unit has this serial number.
    SerialGiven {
        /// Slot on the panel.
        slot: u16,
        /// The serial number.
        serial: String,
    },
    /// A step begins. Steps with different names may overlap.
    StepStarted {
        /// Slot on the panel.
        slot: u16,
        /// Name of the step.
        step: String,
    },
    /// A begun step ended.
    StepEnded {
        /// Slot on the panel.
        slot: u16,
        /// Name of the step.
        step: String,
        /// How it ended.
        outcome: StepOutcome,
    },
    /// A quantity was measured.
    Measured {
        /// Slot on the panel.
        slot: u16,
        /// The measurement.
        #[serde(flatten)]
        measurement: Measurement,
    },
    /// The attempt ended. Append a PASS before anybody is told of it.
    AttemptEnded {
        /// Slot on the panel.
        slot: u16,
        /// With what result.
        #[serde(flatten)]
        verdict: Verdict,
    },
    /// Anything else worth keeping, such as the raw answers of a lock proof or of a whole-bus event.
    Note {
        /// Slot on the panel; none if it concerns the whole run.
        slot: Option<u16>,
        /// What the note is about.
        topic: String,
        /// The note.
        body: serde_json::Value,
    },
}

impl Event {
    /// The slot concerned, if it is one slot's.
    pub fn slot(&self) -> Option<u16> {
        match self {
            Self::AttemptStarted { slot }
            | Self::Identified { slot, .. }
            | Self::SerialGiven { slot, .. }
            | Self::StepStarted { slot, .. }
            | Self::StepEnded { slot, .. }
            | Self::Measured { slot, .. }
            | Self::AttemptEnded { slot, .. } => Some(*slot),
            Self::Note { slot, .. } => *slot,
        }
    }

    /// The word for the kind of event, as in the database.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AttemptStarted { .. } => "attempt-started",
            Self::Identified { .. } => "identified",
            Self::SerialGiven { .. } => "serial-given",
            Self::StepStarted { .. } => "step-started",
            Self::StepEnded { .. } => "step-ended",
            Self::Measured { .. } => "measured",
            Self::AttemptEnded { .. } => "attempt-ended",
            Self::Note { .. } => "note",
        }
    }
}

word_enum! {
    /// How a step ended.
    StepOutcome {
        /// Done, and found good where it can be checked.
        Ok = "ok",
        /// Failed.
        Failed = "failed",
        /// Was not needed or not allowed. Does not count as a required step.
        Skipped = "skipped",
    }
}

/// A measured quantity with its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Name, such as `supply`.
    pub name: String,
    /// The value; finite.
    pub value: f64,
    /// Unit of `value`, `low` and `high`, such as `V`.
    pub unit: String,
    /// Lowest good value.
    pub low: Option<f64>,
    /// Highest good value.
    pub high: Option<f64>,
}

impl Measurement {
    /// Compares the value with its limits; both limits are good values.
    pub fn outcome(&self) -> MeasurementOutcome {
        let too_low = self.low.is_some_and(|low| self.value < low);
        let too_high = self.high.is_some_and(|high| self.value > high);
        match (self.low, self.high) {
            (None, None) => MeasurementOutcome::NoLimits,
            _ if too_low || too_high => MeasurementOutcome::Fail,
            _ => MeasurementOutcome::Pass,
        }
    }
}

word_enum! {
    /// How a measured value compares with its limits.
    MeasurementOutcome {
        /// Within its limits.
        Pass = "pass",
        /// Outside.
        Fail = "fail",
        /// It has none.
        NoLimits = "no-limits",
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The result.
    pub result: AttemptResult,
    /// Stable code of the failure; required for FAIL and ERROR.
    pub code: Option<String>,
    /// What exactly happened.
    pub detail: Option<String>,
    /// The step in which it happened.
    pub step: Option<String>,
}

impl Verdict {
    /// A pass.
    pub fn pass() -> Self {
        Self { result: AttemptResult::Pass, code: None, detail: None, step: None }
    }
}

word_enum! {
    /// Result of an attempt; the six are never merged.
    AttemptResult {
        /// The board is good.
        Pass = "pass",
        /// The board is bad.
        Fail = "fail",
        /// The station or the contact had trouble; says nothing of the board.
        Error = "error",
        /// Marked bad before.
        Skipped = "skipped",
        /// Stopped by a person.
        Aborted = "aborted",
        /// Nobody knows in what state the board is.
        InDoubt = "in-doubt",
    }
}

/// What became of an attempt in doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// UTC microseconds.
    pub utc_us: i64,
    /// What was found.
    pub kind: ResolutionKind,
    /// In words, for the record: who found it, and how.
    pub note: String,
    /// The run that read the board, if one did.
    pub by_run: Option<RunId>,
}

word_enum! {
    /// What became of an attempt in doubt.
    ResolutionKind {
        /// The board was read back and holds all of the release.
        Complete = "complete",
        /// The board was found incomplete and programmed again.
        Reprogrammed = "reprogrammed",
        /// The board did not come back.
        NotSeen = "not-seen",
        /// The board was taken out of production.
        Scrapped = "scrapped",
    }
}

/// What a person ruled of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// UTC microseconds.
    pub utc_us: i64,
    /// What was ruled.
    pub kind: RulingKind,
    /// Who ruled it; not empty.
    pub who: String,
    /// Why; not empty.
    pub why: String,
}

word_enum! {
    /// What may be ruled of a unit.
    RulingKind {
        /// It is kept apart, whatever its results.
        Held = "held",
        /// It may be run again: what was held against it before no longer is.
        Released = "released",
        /// It is taken out of production.
        Scrapped = "scrapped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_its_limit_is_good_and_one_beyond_is_not() {
        let at = |value, low, high| {
            Measurement { name: "supply".into(), value, unit: "V".into(), low, high }.outcome()
        };
        assert_eq!(at(3.2, Some(3.2), Some(3.4)), MeasurementOutcome::Pass);
        assert_eq!(at(3.4, Some(3.2), Some(3.4)), MeasurementOutcome::Pass);
        assert_eq!(at(3.19, Some(3.2), None), MeasurementOutcome::Fail);
        assert_eq!(at(3.41, None, Some(3.4)), MeasurementOutcome::Fail);
        assert_eq!(at(3.41, None, None), MeasurementOutcome::NoLimits);
    }

    #[test]
    fn the_kind_and_slot_of_an_event_are_those_of_its_json() {
        let verdict = Verdict { code: Some("E214".into()), ..Verdict::pass() };
        let measurement =
            Measurement { name: "supply".into(), value: 0.1, unit: "V".into(), low: None, high: None };
        let events = [
            Event::AttemptStarted { slot: 1 },
            Event::Identified { slot: 1, uid: [7; 12].into() },
            Event::SerialGiven { slot: 1, serial: "A-1".into() },
            Event::StepStarted { slot: 1, step: "erase".into() },
            Event::StepEnded { slot: 1, step: "erase".into(), outcome: StepOutcome::Ok },
            Event::Measured { slot: 1, measurement },
            Event::AttemptEnded { slot: 1, verdict },
            Event::Note { slot: Some(1), topic: "lock".into(), body: serde_json::json!({"a": [1]}) },
        ];
        for event in events {
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["kind"], event.kind());
            assert_eq!(json["slot"], 1);
            assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        }
    }
}

//! Durable records of production runs: what was done to which board, with what result, and the proof.
//!
//! A record directory holds `records.db` (SQLite) and `units.csv` (one line per ended attempt).
//! [`Store`] writes them and is the only writer; [`Records`] reads them, also while a [`Store`] writes.
//!
//! 1. **Durable before effect.** [`Store::append`] returns only when the events are on the disk. An attempt's
//!    start is appended before anything is done to the board, its PASS before anybody is told.
//! 2. **Events are the truth.** Runs, units, attempts, steps and measurements are computed from the events and
//!    can be computed again ([`Records::verify_rows`]). A hash chain over all events of the database shows a
//!    changed, removed or inserted one ([`Records::verify_chain`]).
//! 3. **An attempt that never ended is IN DOUBT.** Nothing closes it but [`Store::resolve`], with what reading
//!    the board showed; it never becomes a PASS.
//! 4. **No PASS without its proof.** An attempt passes only with an identified unit and after its `verify` step
//!    and every required step of the run ended well. See [`Refusal`].
//!
//! What the crate deliberately does not do: it reads no clock (times are arguments), prints nothing, knows no
//! error code's meaning, and hands out no identities.

mod chain;
mod doubt;
mod error;
mod faults;
mod hex;
mod lock;
mod project;
mod record;
mod records;
mod replay;
mod report;
mod retest;
mod schema;
mod store;
mod text;
mod trouble;
mod units_csv;

pub use chain::{BadEvent, ChainReport};
pub use doubt::InDoubt;
pub use error::{Refusal, StoreError};
pub use faults::Moment;
pub use hex::{Hex, ParseHexError, Sha256, Uid};
pub use record::{
    AttemptId, AttemptResult, Event, EventRecord, IDENTITY_NOTE, IMAGE_NOTE, Image, Measurement,
    MeasurementOutcome, Release, Resolution, ResolutionKind, Ruling, RulingKind, RunEnd, RunId, RunStart,
    Shipment, Simulation, StepOutcome, VERIFY_STEP, Verdict,
};
pub use records::Records;
pub use replay::{RowDifference, RowsReport};
pub use report::{
    AttemptHistory, CodeCount, EventRow, Filter, Finished, MeasurementRow, Ratio, ResultCounts, RetestPass,
    RunSummary, SlotYield, StepRow, UnitHistory, UnitLine, UnitYield, YieldReport, write_csv,
};
pub use retest::{KeptApart, LastTry, RetestPolicy, RetestRefusal, Standing};
pub use store::{Store, room};
pub use units_csv::CsvState;

//! The batch run of a panel: what will be done is a [`Plan`], doing it is a [`Run`].
//!
//! The engine knows slots, buses, steps, retries and budgets. It takes `now`, frames and the fixture's answers
//! and gives frames, line actions and [`Event`]s; it opens nothing, prints nothing and reads no clock, so that
//! a real station, a simulated panel in real time and a simulated panel in virtual time drive the very same
//! code. What it deliberately does not know: files, databases, terminals.

mod board;
pub mod chip;
mod event;
mod finishing;
mod lane;
mod lines;
pub mod options;
mod plan;
pub mod rom;
mod run;
mod twins;
mod verdict;

pub use board::SlotState;
pub use event::{BusRate, Event, LinkEvent, Phase, PortOutput, Step};
pub use finishing::{
    Consent, Finishing, FinishingError, IdentityBytes, IdentityPlace, ImageFacts, KeyMade, Lock, LockProof,
    OptionWrite, OwnImage, Refused, Reserved, RestartedBy, Window, common_name,
};
pub use plan::{Limits, Plan, PlanError, Recipe, image_id};
pub use run::{PortIndex, Run, SlotReport};
pub use verdict::{Outcome, Verdict};

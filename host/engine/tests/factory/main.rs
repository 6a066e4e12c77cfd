//! The factory part of a run against simulated boards: identity, option bytes, lock and its proof.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

mod keys;
mod mixed;
mod own_images;
mod resume;
mod rom;
mod sequence;
mod station;
mod trouble;

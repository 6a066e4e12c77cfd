//! The demonstration that `panelflash run` shows without arguments: 21 simulated STM32F405 boards, 256 KiB.
//!
//! Both files stand in `host/job/demo` and can be copied as a start for one's own.

use std::path::Path;

use panel_backplane::{Panel, Problems};

use crate::job::Job;

/// The text of the demonstration's job.toml.
pub const JOB_TOML: &str = include_str!("../demo/job.toml");

/// The text of the demonstration's panel.toml.
pub const PANEL_TOML: &str = include_str!("../demo/panel.toml");

/// The demonstration's job. Its one image is a raw binary that the program carries with it; `directory` is only
/// put in front of its path.
///
/// # Errors
/// None for the text above; a test reads it.
pub fn job(directory: &Path) -> Result<Job, Problems> {
    Job::parse(JOB_TOML, directory)
}

/// The demonstration's panel.
///
/// # Errors
/// None for the text above; a test reads it.
pub fn panel() -> Result<Panel, Problems> {
    Panel::parse(PANEL_TOML)
}

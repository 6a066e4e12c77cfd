//! `panelflash report`
use crate::failure::Failure;
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {}
pub(crate) fn report(_: &ReportArgs) -> Result<u8, Failure> {
    Ok(0)
}

//! What a session's error means to the person at the bench: a code, the values, an exit code.

use panel_codes::Code;
use stm32_rom_bootloader::{Device, Error, PlanError};

use crate::failure::Failure;

/// Exit 1: the board; 2: the request; 3: the port.
pub(crate) fn explain(error: &Error) -> Failure {
    let (code, exit) = match error {
        Error::NoAnswer { .. } | Error::Echo => (Code::RomNoSync, 3),
        Error::ParityMissing => (Code::RomParityMissing, 3),
        Error::TimedOut { .. } => (Code::RomSilent, 1),
        Error::Refused { .. } => (Code::RomRefused, 1),
        Error::Garbled { .. } | Error::Flooded { .. } => (Code::RomAnswer, 1),
        Error::NotListed { .. } => (Code::RomUnsupported, 1),
        Error::UnknownChip { .. } => (Code::RomUnknownChip, 1),
        Error::WrongChip { .. } => (Code::WrongChip, 1),
        Error::Protected { .. } => (Code::RomProtected, 1),
        Error::ResetNeeded { .. } | Error::LinesUnavailable { .. } => (Code::RomPowerCycle, 1),
        Error::WriteProtected { .. } => (Code::RomWriteProtected, 1),
        Error::NotBlank { .. } => (Code::ProgramFailed, 1),
        Error::VerifyFailed { .. } => (Code::VerifyMismatch, 1),
        Error::PlanMismatch { .. } => (Code::DoesNotFit, 1),
        Error::Plan(plan) => return plan_failure(plan),
        Error::BadArgument { .. } => (Code::Usage, 2),
        Error::Cancelled { .. } => (Code::Interrupted, 130),
        _ => (Code::RomAnswer, 1),
    };
    Failure::with_exit(code, error.to_string(), exit)
}

/// Adds to the failure of a chip that does not answer how it is made to start its ROM.
pub(crate) fn with_the_way_in(mut failure: Failure, device: Option<&Device>) -> Failure {
    if let (Code::RomNoSync, Some(device)) = (failure.code, device) {
        let way = device.entry_conditions();
        failure.message = format!("{}; {} starts its ROM with {way}", failure.message, device.name);
    }
    failure
}

/// A plan that cannot be made is the file's or the request's fault; nothing was touched.
pub(crate) fn plan_failure(error: &PlanError) -> Failure {
    Failure::with_exit(Code::ImageOutsideFlash, error.to_string(), 2)
}

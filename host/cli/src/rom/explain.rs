//! What a session's error means to the person at the bench: a code, the values, an exit code.

use panel_codes::Code;
use stm32_rom_bootloader::{Device, Error, PlanError};

use crate::failure::Failure;

/// Exit 1: the board; 2: the request; 3: the port.
pub(crate) fn explain(error: &Error) -> Failure {
    let code = panel_engine::rom::explain(error);
    let exit = match code {
        Code::RomNoSync | Code::RomParityMissing => 3,
        Code::Usage | Code::ImageOutsideFlash => 2,
        Code::Interrupted => 130,
        _ => 1,
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
    Failure::with_exit(panel_engine::rom::plan_code(error), error.to_string(), 2)
}

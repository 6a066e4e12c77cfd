//! What a session's error means on the factory floor: its code, and a sentence with the values.

use panel_codes::Code;
use stm32_rom_bootloader::{Device, Error, PlanError};

/// The code of a session's error; the error's own text has the values.
#[must_use]
pub fn explain(error: &Error) -> Code {
    match error {
        Error::NoAnswer { .. } | Error::Echo => Code::RomNoSync,
        Error::ParityMissing => Code::RomParityMissing,
        Error::TimedOut { .. } => Code::RomSilent,
        Error::Refused { .. } => Code::RomRefused,
        Error::NotListed { .. } => Code::RomUnsupported,
        Error::UnknownChip { .. } => Code::RomUnknownChip,
        Error::WrongChip { got, .. } if Device::find(*got, None).is_none() => Code::RomUnknownChip,
        Error::WrongChip { .. } => Code::WrongChip,
        Error::Protected { .. } => Code::RomProtected,
        Error::ResetNeeded { .. } | Error::LinesUnavailable { .. } => Code::RomPowerCycle,
        Error::WriteProtected { .. } => Code::RomWriteProtected,
        Error::NotBlank { .. } => Code::ProgramFailed,
        Error::VerifyFailed { .. } => Code::VerifyMismatch,
        Error::PlanMismatch { .. } => Code::DoesNotFit,
        Error::Plan(plan) => plan_code(plan),
        Error::BadArgument { .. } => Code::Usage,
        Error::Cancelled { .. } => Code::Interrupted,
        _ => Code::RomAnswer,
    }
}

/// The code of a plan that cannot be made: the image's or the request's fault, nothing was touched.
#[must_use]
pub const fn plan_code(_: &PlanError) -> Code {
    Code::ImageOutsideFlash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_that_no_table_knows_is_told_from_a_wrong_one() {
        let code = |got| explain(&Error::WrongChip { expected: 0x413, got });
        assert_eq!(code(0x414), Code::WrongChip);
        assert_eq!(code(0xFFF), Code::RomUnknownChip);
    }
}

//! Which stable error code each refusal has.
//!
//! One place, so that a new variant without a code does not compile. The same refusal has another code for
//! a work order than for a release, because another person has to act.

use panel_codes::Code;

use crate::{
    envelope::Kind,
    pack::PackError,
    patch::PatchError,
    refusal::Refusal,
    sealed::SealError,
    select::{NoSelection, Reason},
};

impl Refusal {
    /// The code of this refusal of a file of kind `of`.
    #[must_use]
    pub fn code(&self, of: Kind) -> Code {
        let by_kind = |release, order| match of {
            Kind::Release => release,
            Kind::Order => order,
            Kind::Root => Code::ReleaseRoot,
        };
        match self {
            Self::NotOurs { .. }
            | Self::OtherKind { .. }
            | Self::Length { .. }
            | Self::SignatureOrder { .. }
            | Self::Malformed(_) => by_kind(Code::ReleaseDamaged, Code::OrderFile),
            Self::Altered { .. } | Self::WrongKey { .. } | Self::RevokedKey { .. } | Self::Key(_) => {
                by_kind(Code::ReleaseSignature, Code::OrderSignature)
            }
            Self::Unsigned { .. } | Self::HalfSigned { .. } => {
                by_kind(Code::ReleaseUnsigned, Code::OrderUnsigned)
            }
            Self::UnknownFormat { .. } | Self::UnknownSchema { .. } => Code::ReleaseNewer,
            Self::Oversize { .. } | Self::Invalid(_) => by_kind(Code::ReleaseUnsafe, Code::OrderFile),
            Self::RootExpired { .. } | Self::RootOutdated { .. } | Self::RootChain { .. } => {
                Code::ReleaseRoot
            }
            Self::Expired { .. } | Self::NotYetValid { .. } => by_kind(Code::ReleaseExpired, Code::OrderDate),
            Self::Revoked { .. } => by_kind(Code::ReleaseRevoked, Code::OrderRevoked),
            Self::Downgrade { .. } => Code::ReleaseDowngrade,
            Self::DebugBuild => Code::ReleaseDebug,
            Self::NoConsent => Code::LockConsent,
            Self::OtherStation { .. } => Code::OrderStation,
            Self::WrongProduct { .. } => Code::OrderRelease,
            Self::WrongChip { .. } | Self::WrongHardware { .. } => Code::ReleaseTarget,
            Self::ChangedSinceVerified { .. } => Code::ReleaseDamaged,
        }
    }
}

impl PackError {
    /// The code of this refusal to pack.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Manifest(refusal) => refusal.code(Kind::Release),
            Self::VectorTable { .. } | Self::VectorAlignment { .. } | Self::Vector { .. } => {
                Code::ImageWrongChip
            }
        }
    }
}

impl PatchError {
    /// The code of this refusal to patch.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoWindow { .. } | Self::Length { .. } | Self::Twice { .. } => Code::ReleaseTarget,
            Self::Image(refusal) => refusal.code(Kind::Release),
        }
    }
}

impl SealError {
    /// The code of this failure to encrypt or decrypt.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Recipient { .. } | Self::NoRecipient => Code::Usage,
            Self::Encrypt { .. } | Self::Secret { .. } | Self::Decrypt { .. } => Code::ReleaseEncrypted,
            Self::Oversize { .. } => Code::ReleaseUnsafe,
        }
    }
}

impl NoSelection {
    /// The code of this failed selection: of the refusal of the one file that says it is the wanted one, or of the
    /// only file there is; else that none fits.
    #[must_use]
    pub fn code(&self) -> Code {
        let (rejected, kind) = match self {
            Self::Order { rejected, .. } => (rejected, Kind::Order),
            Self::Release { rejected, .. } => (rejected, Kind::Release),
        };
        let mut claiming = rejected.iter().filter(|rejected| rejected.claims);
        let reason = match (claiming.next(), claiming.next(), rejected.as_slice()) {
            (Some(one), None, _) | (None, _, [one]) => &one.reason,
            _ => return Code::OrderRelease,
        };
        match reason {
            Reason::Refused(refusal) => refusal.code(kind),
            Reason::Unreadable { code, .. } => *code,
            Reason::OtherOrder { .. } | Reason::OtherRelease { .. } | Reason::Ambiguous { .. } => {
                Code::OrderRelease
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use panel_codes::Class;

    use super::*;
    use crate::root::RoleName;

    #[test]
    fn one_refusal_has_the_code_of_the_file_it_is_about_and_touches_no_board() {
        let unsigned = Refusal::Unsigned { role: RoleName::Release, needed: 2 };
        assert_eq!(unsigned.code(Kind::Release).to_string(), "E601 release-unsigned");
        assert_eq!(unsigned.code(Kind::Order).to_string(), "E627 order-unsigned");
        assert_eq!(unsigned.code(Kind::Root).to_string(), "E611 release-root");
        assert_eq!(Refusal::DebugBuild.code(Kind::Release).class(), Class::Usage);
    }
}

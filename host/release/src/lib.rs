//! Signed releases and work orders: what a factory may program, how often, and who says so.
//!
//! Three kinds of signed file share one container ([`envelope`]) and one signing core:
//!
//! - a **release** (`.pfr`): [`pack()`] makes it, [`sign()`] signs it, [`verify()`] turns it into a
//!   [`VerifiedRelease`], the only way to bytes that may be written to a board;
//! - a **work order** (`.pfo`): [`WorkOrder`] and [`VerifiedOrder`]; [`select_release`] goes from a scan to
//!   exactly one release;
//! - a **root document** (`.pfk`): [`TrustedRoot`] says which keys count, how many are needed and what is
//!   revoked; keys rotate by a chain of them.
//!
//! Principles. (1) Signatures are checked before anything is interpreted. (2) One value has one spelling
//! ([`canonical`]). (3) Every refusal is typed and says what is wrong ([`Refusal`]). (4) Sizes are bounded
//! before memory is reserved, nothing is compressed, names are labels and never paths.
//!
//! What it does not do: it reads no clock and no environment, prints nothing, keeps no key files and counts
//! no quota (that is the ledger's). It does not hide the image from a listener at the fixture.

mod codes;
mod label;
mod order;
mod pack;
mod patch;
mod refusal;
mod root;
mod schema;
mod sealed;
mod select;
mod sign;
mod verify;

pub mod canonical;
pub mod envelope;
pub mod files;
pub mod hash;
pub mod keys;
pub mod manifest;

pub use envelope::{DOCUMENT_LIMIT, FILE_LIMIT, Kind, PAYLOAD_LIMIT, SIGNATURE_LIMIT};
pub use hash::Sha256Hash;
pub use keys::{KeyError, PublicKey, SecretKey};
pub use manifest::Manifest;
pub use order::{
    EuiBlock, LinePolicy, LockLevel, ReleaseChoice, RetestBudget, SerialBlock, VerifiedOrder, WorkOrder,
    inspect_order,
};
pub use pack::{ImageInput, PackError, pack};
pub use patch::{Patch, PatchError, PatchedImage, patch};
pub use refusal::{Invalid, Part, Refusal};
pub use root::{Role, RoleName, RootDocument, TrustedRoot, first_root};
pub use schema::SCHEMA;
pub use sealed::{SealError, StationSecret, is_sealed, seal, unseal};
pub use select::{Candidate, NoSelection, Place, Reason, Rejected, Selection, Unreadable, select_release};
pub use sign::sign;
pub use verify::{Admit, Inspection, ReleasePolicy, VerifiedImage, VerifiedRelease, inspect, verify};

//! Blobs that lists have for units: whether there are any, and their bytes as a unit gets them.
//!
//! A secret lies in the ledger encrypted to this station. It is opened here, into memory that is wiped, right before it
//! becomes a part of an identity region; called by the keeper once the unit's reservation is durable.

use panel_codes::Code;
use panel_ledger::{Content, Hash, Ledger, NamedBlob, Numbers, SqliteLedger, Supply};
use panel_release::WorkOrder;
use zeroize::Zeroizing;

use super::identity::{OwnBlob, Template};
use crate::failure::Failure;

/// Refuses an order for whose release nothing was imported. Gives blobs of zeros as long as the longest there are, to
/// see whether they fit.
pub(crate) fn check(
    ledger: &SqliteLedger,
    order: &WorkOrder,
    template: &Template,
) -> Result<Vec<OwnBlob>, Failure> {
    let mut longest = Vec::new();
    for name in &template.needs.blobs {
        let supply = ledger.supply(&template.product, Some(&order.id), name);
        let Supply { listed, longest: length, sealed, .. } =
            supply.map_err(|e| crate::ledger::failure(&e))?;
        if listed == 0 {
            let text = format!(
                "the release gives each unit a blob {name:?}, and none was imported for {:?}: `panelflash ledger import`",
                template.product
            );
            return Err(Failure::new(Code::IdentityExhausted, text));
        }
        if sealed && template.open {
            let text = format!(
                "blob {name:?} is a secret, and the identity region is in one-time programmable memory, which no \
                 readout protection hides: give it a place in flash"
            );
            return Err(Failure::new(Code::ReleaseTarget, text));
        }
        if sealed && template.secret.is_none() {
            return Err(no_secret(name));
        }
        longest.push(OwnBlob { name: name.clone(), bytes: Zeroizing::new(vec![0; length]) });
    }
    Ok(longest)
}

/// The blobs that a unit was given, in the order of its release.
pub(crate) fn open(
    ledger: &SqliteLedger,
    numbers: &Numbers,
    template: &Template,
) -> Result<Vec<OwnBlob>, Failure> {
    let given = |name: &String| numbers.blobs.iter().find(|blob| blob.name == *name);
    let blobs = template.needs.blobs.iter().filter_map(given);
    blobs.map(|blob| open_one(ledger, blob, template)).collect()
}

fn open_one(ledger: &SqliteLedger, blob: &NamedBlob, template: &Template) -> Result<OwnBlob, Failure> {
    let NamedBlob { name, sha256 } = blob;
    let broken = |why: String| Failure::new(Code::LedgerBroken, format!("blob {name:?} {sha256}: {why}"));
    let content = ledger.content(blob).map_err(|e| crate::ledger::failure(&e))?;
    let bytes = match content.ok_or_else(|| broken("its bytes are not in the ledger".to_owned()))? {
        Content::Plain(bytes) => Zeroizing::new(bytes),
        Content::Sealed(sealed) => {
            let secret = template.secret.as_ref().ok_or_else(|| no_secret(name))?;
            panel_release::unseal(&sealed, secret).map_err(|e| broken(e.to_string()))?
        }
    };
    let got = Hash::of(&bytes);
    if got != *sha256 {
        return Err(broken(format!("the bytes there have SHA-256 {got}")));
    }
    Ok(OwnBlob { name: name.clone(), bytes })
}

fn no_secret(name: &str) -> Failure {
    let text = format!("blob {name:?} is a secret, and station.toml names no `secret` that opens it");
    Failure::new(Code::StationFile, text)
}

//! The highest release counter that this station has programmed, per product: nothing older is taken.
//!
//! Kept in floors.json beside the ledger, raised durably before a release's first run. A floor that somebody
//! deletes comes back with the next run; the owner's root document can ask for one that nobody at the station
//! can delete.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use panel_codes::Code;

use crate::failure::Failure;

/// The floors, and where they are kept.
pub(crate) struct Floors {
    path: PathBuf,
    by_product: BTreeMap<String, u64>,
}

impl Floors {
    pub(crate) fn read(records: &Path) -> Result<Self, Failure> {
        let path = records.join("floors.json");
        let wrong =
            |e: String| Failure::with_exit(Code::DatabaseCorrupt, format!("{}: {e}", path.display()), 3);
        let by_product = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(wrong(e.to_string())),
        };
        Ok(Self { path, by_product })
    }

    pub(crate) fn by_product(&self) -> &BTreeMap<String, u64> {
        &self.by_product
    }

    pub(crate) fn raise(&mut self, product: &str, counter: u64) -> Result<(), Failure> {
        let floor = self.by_product.entry(product.to_owned()).or_default();
        if *floor >= counter {
            return Ok(());
        }
        *floor = counter;
        let text =
            serde_json::to_vec(&self.by_product).map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
        crate::files::replace(&self.path, &text)
            .map_err(|e| Failure::with_exit(Code::RecordStore, e.message, 3))
    }
}

//! Reading a list for `ledger import`: its files, and the sealing of its secrets to the station.

use std::path::Path;

use panel_codes::Code;
use panel_ledger::{BlobSource, Block, MAX_BLOB, Pool};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::order::station::{Station, StationFile};

/// Reads the list `file` as numbers and blobs to give out.
pub(super) fn read(
    file: &Path,
    product: &str,
    order: Option<&String>,
    station: &StationFile,
) -> Result<Pool, Failure> {
    let name = file.display();
    let text = std::fs::read(file).map(Zeroizing::new);
    let text = text.map_err(|e| Failure::new(Code::FileUnreadable, format!("{name}: {e}")))?;
    let directory = file.parent().unwrap_or_else(|| Path::new(""));
    let mut files = Files { directory, station, recipient: None };
    let rows = panel_ledger::read_list(&text, &mut files)
        .map_err(|e| Failure::new(e.code(), format!("{name}: {e}")))?;
    Ok(Pool { product: Some(product.to_owned()), order: order.cloned(), block: Block::List(rows) })
}

struct Files<'a> {
    /// Where the list is.
    directory: &'a Path,
    station: &'a StationFile,
    /// The public half of the station's secret, once it was needed.
    recipient: Option<String>,
}

impl BlobSource for Files<'_> {
    fn file(&mut self, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        use std::io::Read as _;
        let path = self.directory.join(name);
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        let file = std::fs::File::open(&path).map_err(failed)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BLOB + 1));
        file.take(MAX_BLOB as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn seal(&mut self, secret: &[u8]) -> Result<Vec<u8>, String> {
        if self.recipient.is_none() {
            self.recipient = Some(recipient(self.station)?);
        }
        panel_release::seal(secret, self.recipient.as_slice()).map_err(|e| e.to_string())
    }
}

fn recipient(file: &StationFile) -> Result<String, String> {
    let secret = Station::read(&file.path).and_then(|station| station.secret());
    let secret = secret.map_err(|e| format!("a secret is kept encrypted to the station: {}", e.message))?;
    let secret = secret.ok_or_else(|| {
        let file = file.path.display();
        format!("a secret is kept encrypted to the station, and {file} names no `secret` (`release key station` makes one)")
    })?;
    Ok(secret.recipient())
}

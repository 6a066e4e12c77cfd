//! `panelflash release verify` and `show`: what a file says, and whether that counts here and now.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use panel_release::manifest::Manifest;
use panel_release::{
    Admit, Kind, PublicKey, ReleasePolicy, RootDocument, Sha256Hash, TrustedRoot, VerifiedOrder, WorkOrder,
};
use serde_json::json;

use super::{kind_of, read, read_plain, refused, station_secret};
use crate::failure::Failure;
use crate::out::line;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The file to check.
    file: PathBuf,
    /// The trusted root document. For a root document this is the one before it, or itself if it is the first.
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// Accept a debug build, as developer jobs do.
    #[arg(long)]
    debug_builds: bool,
    /// Lowest release counter that is accepted.
    #[arg(long, value_name = "N", default_value_t = 0)]
    floor: u64,
    /// Also check that this station may use the work order now.
    #[arg(long, value_name = "ID")]
    station: Option<String>,
    /// This station's key, for an encrypted release.
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The file to show.
    file: PathBuf,
    /// This station's key, for an encrypted release.
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
}

/// Reads a root document that is trusted because it is where the station keeps it.
pub(crate) fn trusted_root(path: &Path) -> Result<TrustedRoot, Failure> {
    TrustedRoot::open(&read(path)?).map_err(|e| refused(path, Kind::Root, &e))
}

pub(crate) fn verify(args: &VerifyArgs, as_json: bool) -> Result<u8, Failure> {
    let now = Timestamp::now();
    let root = trusted_root(&args.root)?;
    let secret = args.secret.as_deref().map(station_secret).transpose()?;
    let bytes = read_plain(&args.file, secret.as_ref())?;
    let kind = kind_of(&bytes);
    let refuse = |e| refused(&args.file, kind, &e);
    let (text, value) = match kind {
        Kind::Release => {
            let admit = if args.debug_builds { Admit::AnyBuild } else { Admit::ProductionOnly };
            let policy = ReleasePolicy { now, admit, floor: args.floor };
            let release = panel_release::verify(bytes, &root, &policy).map_err(refuse)?;
            let Manifest { name, version, .. } = release.manifest();
            (
                format!("release {name} {version}, manifest {}", release.manifest_sha256()),
                json!({ "manifest_sha256": release.manifest_sha256(), "signers": release.signers(),
                        "may_ship": release.may_ship(), "permits_irreversible": release.permits_irreversible() }),
            )
        }
        Kind::Order => {
            let order = VerifiedOrder::open(&bytes, &root, now).map_err(refuse)?;
            if let Some(station) = &args.station {
                order.check_use(&root, station, now).map_err(refuse)?;
            }
            (
                format!("order {}, document {}", order.order().id, order.sha256()),
                json!({ "document_sha256": order.sha256(), "signers": order.signers() }),
            )
        }
        Kind::Root => {
            let same = *bytes == *read(&args.root)?;
            let next = if same { root } else { root.advance(&bytes).map_err(refuse)? };
            next.check_fresh(now).map_err(refuse)?;
            let (counter, fingerprint) = (next.document().counter, next.fingerprint());
            (
                format!("root document {counter}, fingerprint {fingerprint}"),
                json!({ "counter": counter, "fingerprint": fingerprint }),
            )
        }
    };
    if as_json {
        let good = json!({ "good": true, "kind": kind.to_string(), "file": args.file.display().to_string() });
        line(&merged(good, value).to_string());
    } else {
        line(&format!("{}: good: {text}", args.file.display()));
    }
    Ok(0)
}

pub(crate) fn show(args: &ShowArgs, as_json: bool) -> Result<u8, Failure> {
    let secret = args.secret.as_deref().map(station_secret).transpose()?;
    let bytes = read_plain(&args.file, secret.as_ref())?;
    let kind = kind_of(&bytes);
    let refuse = |e| refused(&args.file, kind, &e);
    match kind {
        Kind::Release => {
            let inspection = panel_release::inspect(&bytes).map_err(refuse)?;
            let signers = inspection.signers.map_err(refuse)?;
            let payload = inspection.payload.err().map(|e| e.to_string());
            if as_json {
                let hash = inspection.manifest_sha256;
                line(&json!({ "kind": "release", "verified": false, "manifest_sha256": hash, "signers": signers,
                              "damage": payload, "manifest": inspection.manifest }).to_string());
            } else {
                show_release(&inspection.manifest, inspection.manifest_sha256, &signers);
                payload.iter().for_each(|damage| line(&format!("DAMAGED: {damage}")));
            }
        }
        Kind::Order => {
            let order = panel_release::inspect_order(&bytes).map_err(refuse)?;
            if as_json {
                line(&json!({ "kind": "order", "verified": false, "order": order }).to_string());
            } else {
                show_order(&order);
            }
        }
        Kind::Root => {
            let root = TrustedRoot::open(&bytes).map_err(refuse)?;
            if as_json {
                line(
                    &json!({ "kind": "root", "fingerprint": root.fingerprint(), "root": root.document() })
                        .to_string(),
                );
            } else {
                show_root(root.document(), root.fingerprint());
            }
        }
    }
    if kind != Kind::Root && !as_json {
        line("shown as it stands in the file; `release verify` says whether it counts");
    }
    Ok(0)
}

fn show_release(manifest: &Manifest, hash: Sha256Hash, signers: &[PublicKey]) {
    let Manifest { product, name, version, build, counter, source_revision, notes, .. } = manifest;
    line(&format!("release {name} {version} for {product}, {build:?} build, counter {counter}"));
    line(&format!("  manifest {hash}"));
    line(&format!("  made from {source_revision}, expires {}", manifest.expires));
    let targets: Vec<_> = manifest.targets.iter().map(|t| t.name.as_str()).collect();
    let hardware = if manifest.hardware.is_empty() { "any".to_owned() } else { manifest.hardware.join(", ") };
    line(&format!("  for {}, hardware {hardware}", targets.join(", ")));
    for image in &manifest.images {
        let (from, to) = (image.address, image.address + (image.length - 1));
        line(&format!(
            "  {from:#010x} to {to:#010x}  {:?} {}  SHA-256 {}",
            image.role, image.name, image.sha256
        ));
    }
    let identity = &manifest.identity;
    if let Some(region) = identity.region {
        line(&format!("  identity region at {:#010x}, {} bytes", region.address, region.length));
    }
    for seal in &manifest.seals {
        let (chip, key, floor) = (seal.device_id, seal.key, seal.floor);
        line(&format!("  sealed for device {chip:#05x} with key {key}, then nothing below counter {floor}"));
    }
    if signers.is_empty() {
        line("  not signed");
    }
    signers.iter().for_each(|key| line(&format!("  signed by {key}")));
    if !notes.is_empty() {
        line(&format!("  {notes}"));
    }
}

fn show_order(order: &WorkOrder) {
    let WorkOrder { id, product, quantity, stations, not_before, not_after, .. } = order;
    line(&format!("order {id}: {quantity} x {product} from {:?}", order.release));
    line(&format!("  at {}, from {not_before} until {not_after}", stations.join(", ")));
    for block in &order.serials {
        line(&format!("  serials {} from {} to {}", block.format, block.first, block.last));
    }
    for block in order.eui48.iter().chain(&order.eui64) {
        line(&format!("  {} addresses from {}, {} per unit", block.count, block.first, block.step));
    }
    line(&format!("  lock {:?}, {} strikes", order.policy.lock, order.policy.strikes));
}

fn show_root(root: &RootDocument, fingerprint: Sha256Hash) {
    line(&format!("root document {} of {}, expires {}", root.counter, root.owner, root.expires));
    line(&format!("  fingerprint {fingerprint}"));
    for (name, role) in &root.roles {
        line(&format!("  {name}: {} of", role.threshold));
        role.keys.iter().for_each(|key| line(&format!("    {key}")));
    }
    root.revoked_keys.iter().for_each(|key| line(&format!("  revoked key {key}")));
    root.revoked_releases.iter().for_each(|hash| line(&format!("  revoked release {hash}")));
    root.revoked_orders.iter().for_each(|id| line(&format!("  revoked order {id}")));
    for (product, floor) in &root.floors {
        line(&format!("  {product}: release counter {floor} or higher"));
    }
}

fn merged(mut a: serde_json::Value, b: serde_json::Value) -> serde_json::Value {
    if let (Some(a), serde_json::Value::Object(b)) = (a.as_object_mut(), b) {
        a.extend(b);
    }
    a
}

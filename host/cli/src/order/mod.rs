//! A run of a work order: from the scan to exactly one verified release, and to everything a run needs.
//!
//! Nothing here asks the operator anything: the order's number selects the order, the order selects the release,
//! the station says what it trusts. What cannot be used is refused before the panel is touched, with the reason
//! for every file that was looked at.

pub(crate) mod blobs;
mod certify;
mod floors;
mod identity;
pub(crate) mod keeper;
pub(crate) mod recovery;
pub(crate) mod same_ledger;
#[cfg(test)]
pub(crate) mod soak;
pub(crate) mod station;
mod windows;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use panel_codes::Code;
use panel_engine::chip::Chip;
use panel_engine::rom::Ways;
use panel_engine::{Consent, Finishing, IdentityPlace, Limits, Lock, OptionWrite, Plan, Recipe};
use panel_image::Image;
use panel_ledger::{Hash, Ledger, LedgerError, Numbers, SqliteLedger};
use panel_protocol::node::{self, Uid};
use panel_release::manifest::{ImageRole, RegionPlace, UnitKeyKind};
use panel_release::{LockLevel, Place, Selection, VerifiedImage, VerifiedRelease, WorkOrder, select_release};
use panel_store as store;

use crate::failure::Failure;
use crate::room::Room;
use floors::Floors;
use identity::{OwnBlob, Owner, Template};
use keeper::{Clock, Keeper, Signed, Terms};
use recovery::Recovery;
use station::{Station, UnitIssuer};

/// Serial number of the identity that is made on trial before the panel is touched: as long as one can be, so that
/// every unit's certificate fits where the trial's does.
const TRIAL: &str = "TRIAL-0123456789-0123456789-0123456789-0123456789-0123456789-01";

/// A work order that can be run at this station now.
pub(crate) struct Ordered {
    pub(crate) station: String,
    pub(crate) order: WorkOrder,
    order_sha256: Hash,
    release: VerifiedRelease,
    template: Template,
    floors: Floors,
    /// One board of the order is recovered: nobody is given a new number.
    pub(crate) recovery: Option<Recovery>,
}

/// Selects the order that was scanned and its release, and lays it on the station's panel.
pub(crate) fn load(
    scanned: &str,
    station_file: &Path,
    panel_file: Option<&Path>,
    records: &Path,
) -> Result<(Ordered, Plan), Failure> {
    let now = Timestamp::now();
    let station = Station::read(station_file)?;
    let root = station.trusted_root()?;
    let floors = Floors::read(records)?;
    let place = Place { root: &root, station: &station.id, now, floors: floors.by_product() };
    let Selection { order, release } =
        select_release(scanned, &station.orders()?, &station.releases()?, &place)
            .map_err(|e| Failure::new(e.code(), e.to_string().replace("; ", "\n")))?;
    let panel = crate::setup::panel(Some(panel_file.unwrap_or(&station.panel)))?;
    let chip = chip(&station, &release)?;
    let template = Template {
        product: order.order().product.clone(),
        hardware: single(&release.manifest().hardware),
        open: release.manifest().identity.region.is_some_and(|region| chip.is_otp(region.address)),
        needs: release.manifest().identity.clone(),
        issuer: station.issuer()?,
        secret: station.secret()?,
    };
    let recipe = recipe(order.order(), &release, chip, now)?;
    try_identity(&template, Vec::new(), now)?;
    let of = panel_job::ways_on(&panel, &[], true).map_err(|e| Failure::new(e.code(), e.to_string()))?;
    let ways = Ways { of, agent: station.agent()?, supply_mv: station.supply_mv };
    let plan = Plan::with_ways(recipe, panel, ways).map_err(|e| Failure::new(e.code(), e.to_string()))?;
    let plan = crate::seal::of_release(plan, release.manifest())?;
    let order_sha256 = Hash(order.sha256().0);
    let order = order.order().clone();
    let ordered =
        Ordered { station: station.id, order, order_sha256, release, template, floors, recovery: None };
    Ok((ordered, plan))
}

impl Ordered {
    /// How often a unit of the order may be run again.
    pub(crate) fn retests(&self) -> store::RetestPolicy {
        let panel_release::LinePolicy { strikes, retests, .. } = &self.order.policy;
        let panel_release::RetestBudget { contact, station, board } = *retests;
        store::RetestPolicy { contact, station, board, strikes: *strikes }
    }

    /// The release as the records keep it.
    pub(crate) fn stored_release(&self) -> store::Release {
        let manifest = self.release.manifest();
        let image = |entry: &panel_release::manifest::ImageEntry| store::Image {
            name: entry.name.clone(),
            address: entry.address,
            length: entry.length,
            crc32: entry.crc32,
            sha256: store::Hex(entry.sha256.0),
        };
        store::Release {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sha256: store::Hex(self.release.manifest_sha256().0),
            images: manifest.images.iter().map(image).collect(),
        }
    }

    /// Hash of the order's document, for the record.
    pub(crate) fn order_sha256(&self) -> [u8; 32] {
        self.order_sha256.0
    }

    /// Opens the ledger beside the records.
    pub(crate) fn open_ledger(records: &Path) -> Result<SqliteLedger, Failure> {
        SqliteLedger::open(&crate::ledger::path(records)).map_err(station_failure)
    }

    /// Makes the ledger ready for a panel: what an earlier run left is settled, the order is made known. Returns
    /// how many identities are in doubt.
    pub(crate) fn prepare(
        &self,
        ledger: &mut SqliteLedger,
        records: &store::Records,
        now: Timestamp,
    ) -> Result<usize, Failure> {
        let doubtful = keeper::settle(ledger, records, now)?;
        let terms = crate::release::terms(&self.order, self.order_sha256)?;
        ledger.open_order(&terms, now).map_err(|e| crate::ledger::failure(&e))?;
        let longest = blobs::check(ledger, &self.order, &self.template)?;
        try_identity(&self.template, longest, now)?;
        Ok(doubtful)
    }

    /// The keeper of this order's identities in a run. From now on the station takes no older release.
    pub(crate) fn keeper(
        mut self,
        ledger: SqliteLedger,
        clock: Clock,
        run: String,
        panel: String,
        plan: &Arc<Plan>,
        room: Rc<Room>,
    ) -> Result<Keeper, Failure> {
        let manifest = self.release.manifest();
        self.floors.raise(&manifest.product, manifest.counter)?;
        let terms = Terms {
            order: Some(Signed { order: self.order.id, release: self.release, plan: Arc::clone(plan) }),
            product: self.order.product,
            station: self.station,
            panel,
            template: self.template,
            recovery: self.recovery,
        };
        Ok(Keeper::new(ledger, clock, run, terms, room))
    }
}

/// A ledger that cannot be used is the station's trouble, whatever its code says of files.
fn station_failure(error: LedgerError) -> Failure {
    Failure::with_exit(error.code(), error.to_string(), 3)
}

/// The chip on the panel: the release's only one, or the one that the station names.
fn chip(station: &Station, release: &VerifiedRelease) -> Result<&'static Chip, Failure> {
    let targets = &release.manifest().targets;
    let named: Vec<&'static Chip> = targets.iter().filter_map(|t| Chip::by_id(t.device_id)).collect();
    let wanted = station.chip.as_deref();
    let fits = |chip: &&&'static Chip| wanted.is_none_or(|name| Chip::by_name(name) == Some(**chip));
    let fitting: Vec<_> = named.iter().filter(fits).collect();
    match fitting.as_slice() {
        [chip] => Ok(chip),
        _ => {
            let names: Vec<_> = targets.iter().map(|t| t.name.as_str()).collect();
            let text = format!(
                "the release is for {}, and station.toml says chip = {:?}: exactly one must fit",
                names.join(", "),
                wanted.unwrap_or("(nothing)")
            );
            Err(Failure::new(Code::ReleaseTarget, text))
        }
    }
}

fn recipe(
    order: &WorkOrder,
    release: &VerifiedRelease,
    chip: &'static Chip,
    now: Timestamp,
) -> Result<Recipe, Failure> {
    let manifest = release.manifest();
    let wrong = |text: String| Failure::new(Code::ReleaseTarget, text);
    let revision = |text: &String| {
        text.parse::<u16>()
            .map_err(|_| wrong(format!("hardware revision {text:?}: boards report a number from 0 to 65535")))
    };
    let mut parts = Vec::new();
    for image in release.images().filter(|image| image.entry().role != ImageRole::OptionBytes) {
        let bytes = image
            .checked_bytes()
            .map_err(|e| Failure::new(e.code(panel_release::Kind::Release), e.to_string()))?;
        let (name, address) = (&image.entry().name, image.entry().address);
        parts.push(Image::from_bin(bytes, name, address).map_err(|e| crate::setup::image_failure(&e))?);
    }
    let image = Image::merge(&parts).map_err(|e| crate::setup::image_failure(&e))?;
    let retests = order.policy.retests;
    let sealed = manifest.seals.iter().any(|seal| seal.device_id == chip.device_id);
    Ok(Recipe {
        job: order.id.clone(),
        release: format!("{} {}", manifest.name, manifest.version),
        image,
        chip,
        revisions: manifest.hardware.iter().map(revision).collect::<Result<_, _>>()?,
        min_supply_mv: None,
        // As many as a job may ask for.
        retries: retests.contact.max(retests.station).max(retests.board).min(10),
        digest: true,
        start_application: manifest.images.iter().any(|image| image.role == ImageRole::Application),
        finishing: finishing(order, release, chip, now)?,
        limits: Limits { start_up: chip.start_up(sealed), ..Limits::default() },
    })
}

fn finishing(
    order: &WorkOrder,
    release: &VerifiedRelease,
    chip: &Chip,
    now: Timestamp,
) -> Result<Finishing, Failure> {
    let manifest = release.manifest();
    let place = |region: RegionPlace| IdentityPlace {
        address: region.address,
        length: region.length,
        may_erase: true,
    };
    let identity = manifest.identity.region.map(place);
    let lock = match order.policy.lock {
        LockLevel::None => Lock::None,
        LockLevel::Rdp1 => Lock::Level1,
        LockLevel::Rdp2 => {
            let by: Vec<_> = release.signers().iter().map(ToString::to_string).collect();
            Lock::Level2(Consent { by: by.join(" ") })
        }
    };
    let options = release.images().filter(|image| image.entry().role == ImageRole::OptionBytes);
    let options = options.map(|image| option_write(&image, chip)).collect::<Result<_, _>>()?;
    let key = manifest.identity.key.filter(|_| identity.is_some()).map(board_key);
    let windows = windows::of(manifest, order, now)?;
    Ok(Finishing { reserve: true, key, identity, windows, options, lock })
}

/// The key that boards make for themselves if they can.
fn board_key(kind: UnitKeyKind) -> node::KeyKind {
    match kind {
        UnitKeyKind::Ed25519 => node::KeyKind::Ed25519,
        UnitKeyKind::P256 => node::KeyKind::P256,
    }
}

/// Option bytes of the release as they are set. The byte of the readout protection is left out: that is the order's
/// to say, and the last step.
fn option_write(image: &VerifiedImage<'_>, chip: &Chip) -> Result<OptionWrite, Failure> {
    let entry = image.entry();
    let bytes = image
        .checked_bytes()
        .map_err(|e| Failure::new(e.code(panel_release::Kind::Release), e.to_string()))?
        .to_vec();
    let offset = entry.address.checked_sub(chip.options.base).and_then(|at| u8::try_from(at).ok());
    let Some(offset) = offset else {
        let (name, address, base) = (&entry.name, entry.address, chip.options.base);
        let text = format!(
            "image {name:?} at {address:#010x}: the option bytes of {} begin at {base:#010x}",
            chip.name
        );
        return Err(Failure::new(Code::ReleaseTarget, text));
    };
    let is_protection = |at: usize| usize::from(offset) + at == usize::from(chip.options.rdp);
    let mask = (0..bytes.len()).map(|at| if is_protection(at) { 0 } else { 0xFF }).collect();
    Ok(OptionWrite { name: entry.name.clone(), offset, bytes, mask, protects_to: None })
}

/// An identity is made and thrown away: an issuer that cannot issue and a region that is too small are told before
/// any board has taken a number.
fn try_identity(template: &Template, blobs: Vec<OwnBlob>, now: Timestamp) -> Result<(), Failure> {
    if let Some(UnitIssuer { issuer, .. }) = &template.issuer {
        issuer.check_time(now).map_err(|e| Failure::new(e.code(), e.to_string()))?;
    }
    let serial = template.needs.serial.then(|| TRIAL.to_owned());
    let numbers = Numbers { serial, ..Numbers::default() };
    template.make(&Owner { uid: Uid([0; 12]), numbers, reserved: now, blobs }, now).map(|_| ())
}

/// The only one of a list; empty if there is none or are several.
fn single(list: &[String]) -> String {
    match list {
        [only] => only.clone(),
        _ => String::new(),
    }
}

//! A station: its id, what it trusts, and where its orders and releases lie. `panelflash station`.
//!
//! The operator names an order and nothing else; everything that decides which file is programmed stands in
//! station.toml, which an engineer writes once. The trusted root document changes only by [`TrustedRoot::advance`].

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use panel_codes::Code;
use panel_engine::rom::Agent;
use panel_ledger::Issuer;
use panel_release::{
    Admit, Candidate, Kind, Manifest, Refusal, ReleasePolicy, Sha256Hash, StationSecret, TrustedRoot,
    Unreadable, VerifiedOrder, WorkOrder,
};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::floors::Floors;
use crate::args::records_dir;
use crate::failure::Failure;
use crate::out::line;
use crate::release::{read, read_plain, refused, secret_text, station_secret, trusted_root};

#[derive(Debug, Args)]
pub(crate) struct StationArgs {
    #[command(subcommand)]
    command: StationCommand,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum StationCommand {
    /// Make a station's directory: station.toml, the root document, folders for orders and releases.
    ///
    /// The root document is trusted from now on, so its fingerprint is compared with the one that the owner told
    /// by another way. Example:
    /// panelflash station init line1 --id line1-a --panel panel.toml --root root.pfk --fingerprint 3f1c...
    Init(Init),
    /// Trust a newer root document: it must follow the one trusted now and be signed under both.
    Root {
        /// The newer root document.
        file: PathBuf,
        #[command(flatten)]
        station: StationFile,
    },
    /// Say for every order and release of the station whether it could be used now, and why not.
    Show {
        #[command(flatten)]
        station: StationFile,
        /// Where the records are: they know the newest release programmed here, and nothing older is taken
        /// [default: the user's data directory].
        #[arg(long, value_name = "DIR")]
        records: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Init {
    /// The directory to make.
    directory: PathBuf,
    /// The station's id, as work orders name it.
    #[arg(long, value_name = "ID")]
    id: String,
    /// The panel file of the station's fixture.
    #[arg(long, value_name = "PANEL.toml")]
    panel: PathBuf,
    /// The owner's root document.
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// Its fingerprint, as the owner told it.
    #[arg(long, value_name = "SHA256")]
    fingerprint: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StationFile {
    /// The station.
    #[arg(
        long = "station-file",
        value_name = "STATION.toml",
        env = "PANELFLASH_STATION_FILE",
        default_value = "station.toml"
    )]
    pub(crate) path: PathBuf,
}

/// station.toml as a value, with paths that begin where the file stands.
pub(crate) struct Station {
    pub(crate) id: String,
    pub(crate) root: PathBuf,
    orders: PathBuf,
    releases: PathBuf,
    pub(crate) panel: PathBuf,
    /// The chip on this fixture, for releases that are for several.
    pub(crate) chip: Option<String>,
    /// Supply of the boards in millivolts, if stated: F2, F4 and F7 are then programmed by words through their ROM.
    pub(crate) supply_mv: Option<u16>,
    agent: Option<AgentText>,
    secret: Option<PathBuf>,
    issuer: Option<IssuerText>,
}

/// Who signs the certificates of units, and for how long they are good.
pub(crate) struct UnitIssuer {
    pub(crate) issuer: Issuer,
    pub(crate) valid_days: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StationText {
    id: String,
    #[serde(default = "usual_root")]
    root: PathBuf,
    #[serde(default = "usual_orders")]
    orders: PathBuf,
    #[serde(default = "usual_releases")]
    releases: PathBuf,
    panel: PathBuf,
    chip: Option<String>,
    supply_mv: Option<u16>,
    agent: Option<AgentText>,
    secret: Option<PathBuf>,
    issuer: Option<IssuerText>,
}

/// The RAM agent for the station's blank boards.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentText {
    file: PathBuf,
    address: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerText {
    certificate: PathBuf,
    key: PathBuf,
    valid_days: u32,
}

fn usual_root() -> PathBuf {
    "root.pfk".into()
}

fn usual_orders() -> PathBuf {
    "orders".into()
}

fn usual_releases() -> PathBuf {
    "releases".into()
}

impl Station {
    /// Reads station.toml.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = crate::setup::read(path, Code::StationFile)?;
        let wrong = |e: toml::de::Error| {
            Failure::new(Code::StationFile, format!("{}: {}", path.display(), e.to_string().trim_end()))
        };
        let text: StationText = toml::from_str(&text).map_err(wrong)?;
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        let join = |path: PathBuf| directory.join(path);
        Ok(Self {
            id: text.id,
            root: join(text.root),
            orders: join(text.orders),
            releases: join(text.releases),
            panel: join(text.panel),
            chip: text.chip,
            supply_mv: text.supply_mv,
            agent: text.agent.map(|agent| AgentText { file: join(agent.file), ..agent }),
            secret: text.secret.map(join),
            issuer: text.issuer.map(|i| IssuerText {
                certificate: join(i.certificate),
                key: join(i.key),
                ..i
            }),
        })
    }

    pub(crate) fn trusted_root(&self) -> Result<TrustedRoot, Failure> {
        trusted_root(&self.root)
    }

    /// The RAM agent, if the station has one.
    pub(crate) fn agent(&self) -> Result<Option<Agent>, Failure> {
        let read = |agent: &AgentText| crate::setup::agent(&agent.file, agent.address);
        self.agent.as_ref().map(read).transpose()
    }

    pub(crate) fn issuer(&self) -> Result<Option<UnitIssuer>, Failure> {
        let Some(IssuerText { certificate, key, valid_days }) = &self.issuer else { return Ok(None) };
        let pem = secret_text(certificate)?;
        let issuer = Issuer::open(&pem, &secret_text(key)?).map_err(|e| {
            Failure::new(e.code(), format!("{} with {}: {e}", certificate.display(), key.display()))
        })?;
        Ok(Some(UnitIssuer { issuer, valid_days: *valid_days }))
    }

    pub(crate) fn orders(&self) -> Result<Vec<Candidate>, Failure> {
        let plain = |path: &Path| read(path);
        candidates(&self.orders, "pfo", plain)
    }

    /// Releases, decrypted where they are encrypted to this station.
    pub(crate) fn releases(&self) -> Result<Vec<Candidate>, Failure> {
        let secret = self.secret()?;
        candidates(&self.releases, "pfr", |path| read_plain(path, secret.as_ref()))
    }

    /// The station's key for what is encrypted to it, if it has one.
    pub(crate) fn secret(&self) -> Result<Option<StationSecret>, Failure> {
        self.secret.as_deref().map(station_secret).transpose()
    }
}

/// The files of a folder with this extension, by name. What cannot be read is a candidate that nobody takes.
fn candidates(
    folder: &Path,
    extension: &str,
    read: impl Fn(&Path) -> Result<Zeroizing<Vec<u8>>, Failure>,
) -> Result<Vec<Candidate>, Failure> {
    let failed = |e: std::io::Error| Failure::new(Code::FileUnreadable, format!("{}: {e}", folder.display()));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    let candidate = |path: PathBuf| {
        let label = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = plain_file(&path).and_then(|()| read(&path));
        Candidate { label, bytes: bytes.map_err(|e| Unreadable { code: e.code, text: e.message }) }
    };
    Ok(paths.into_iter().map(candidate).collect())
}

/// Refuses what is no file: opening a pipe would wait for ever, a device may have no end.
fn plain_file(path: &Path) -> Result<(), Failure> {
    let about = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if about.is_file() {
        return Ok(());
    }
    Err(Failure::new(Code::FileUnreadable, format!("{}: it is no regular file", path.display())))
}

pub(crate) fn station(args: &StationArgs) -> Result<u8, Failure> {
    match &args.command {
        StationCommand::Init(init) => self::init(init),
        StationCommand::Root { file, station } => advance(file, &Station::read(&station.path)?),
        StationCommand::Show { station, records } => {
            let floors = Floors::read(&records_dir(records.as_ref()))?;
            show(&Station::read(&station.path)?, &floors, args.json)
        }
    }
}

fn init(init: &Init) -> Result<u8, Failure> {
    let bytes = read(&init.root)?;
    let root = TrustedRoot::open(&bytes).map_err(|e| refused(&init.root, Kind::Root, &e))?;
    let told: Sha256Hash = init.fingerprint.trim().parse().map_err(|e| {
        Failure::new(Code::Usage, format!("--fingerprint {:?} is no SHA-256: {e}", init.fingerprint))
    })?;
    if told != root.fingerprint() {
        let text = format!("{}: fingerprint is {}, expected {told}", init.root.display(), root.fingerprint());
        return Err(Failure::new(Code::ReleaseRoot, text));
    }
    let panel = std::fs::canonicalize(&init.panel).map_err(|e| unreadable(&init.panel, &e))?;
    let dir = &init.directory;
    for folder in [dir.clone(), dir.join(usual_orders()), dir.join(usual_releases())] {
        std::fs::create_dir_all(&folder)
            .map_err(|e| Failure::new(Code::OutputFile, format!("{}: {e}", folder.display())))?;
    }
    let text = format!(
        "# A station of panelflash; every key is explained in docs/engineer-guide.md.\nid = {}\npanel = {}\n",
        toml::Value::String(init.id.clone()),
        toml::Value::String(panel.display().to_string())
    );
    crate::files::create(&dir.join(usual_root()), &bytes)?;
    crate::files::create(&dir.join("station.toml"), text.as_bytes())?;
    line(&format!(
        "station {} trusts root document {} of {}",
        init.id,
        root.document().counter,
        root.document().owner
    ));
    line(&format!(
        "put orders into {} and releases into {}",
        dir.join("orders").display(),
        dir.join("releases").display()
    ));
    Ok(0)
}

fn advance(file: &Path, station: &Station) -> Result<u8, Failure> {
    let bytes = read(file)?;
    let next = station.trusted_root()?.advance(&bytes).map_err(|e| refused(file, Kind::Root, &e))?;
    crate::files::replace(&station.root, &bytes)?;
    line(&format!("station {} trusts root document {} from now on", station.id, next.document().counter));
    Ok(0)
}

fn show(station: &Station, floors: &Floors, as_json: bool) -> Result<u8, Failure> {
    let now = Timestamp::now();
    let root = station.trusted_root()?;
    let refused = |e: &Refusal, kind| Unreadable { code: e.code(kind), text: e.to_string() };
    let order = |candidate: &Candidate| {
        let order = VerifiedOrder::open(candidate.bytes.as_ref().map_err(Unreadable::clone)?, &root, now)
            .and_then(|order| order.check_use(&root, &station.id, now).map(|()| order))
            .map_err(|e| refused(&e, Kind::Order))?;
        let WorkOrder { id, quantity, product, .. } = order.order();
        Ok(format!("order {id}, {quantity} x {product}"))
    };
    let release = |candidate: &Candidate| {
        let policy = ReleasePolicy { now, admit: Admit::ProductionOnly, floor: 0 };
        let release = panel_release::verify(candidate.bytes.clone()?, &root, &policy)
            .map_err(|e| refused(&e, Kind::Release))?;
        let Manifest { name, version, product, counter, .. } = release.manifest();
        let floor = floors.by_product().get(product).copied().unwrap_or(0);
        if *counter < floor {
            let older = Refusal::Downgrade { product: product.clone(), counter: *counter, floor };
            return Err(refused(&older, Kind::Release));
        }
        Ok(format!("release {name} {version} for {product}"))
    };
    let orders = station.orders()?;
    let releases = station.releases()?;
    let rows: Vec<_> = orders
        .iter()
        .map(|c| (&c.label, order(c)))
        .chain(releases.iter().map(|c| (&c.label, release(c))))
        .collect();
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(file, found): &(_, Result<String, Unreadable>)| {
                let code = found.as_ref().err().map(|e| e.code.to_string());
                let text = found.as_ref().unwrap_or_else(|e| &e.text);
                json!({ "file": file, "usable": found.is_ok(), "code": code, "text": text })
            })
            .collect();
        line(&json!({ "station": station.id, "root": root.document().counter, "files": rows }).to_string());
        return Ok(0);
    }
    line(&format!("station {}, root document {}", station.id, root.document().counter));
    for (file, found) in rows {
        match found {
            Ok(text) => line(&format!("  {file}: {text}")),
            Err(Unreadable { code, text }) => line(&format!("  {file}: {code}: {text}")),
        }
    }
    Ok(0)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::FileUnreadable, format!("{}: {error}", path.display()))
}

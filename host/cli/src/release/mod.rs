//! `panelflash release`: from a description and images to a signed file, and back to what it says.
//!
//! Releases (.pfr), work orders (.pfo) and root documents (.pfk) are packed from TOML, signed and shown by the
//! same commands. Nothing is signed or shown as good that was not checked first; keys never leave their files.

mod check;
mod describe;
mod key;
mod pack;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use panel_codes::Code;
use panel_release::{Kind, SecretKey, StationSecret, files};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::out::{line, note};

pub(crate) use check::trusted_root;
pub(crate) use describe::terms;
pub(crate) use key::{entropy, fill};

/// Signed releases, work orders and root documents.
///
/// A release is one file (.pfr): images, what they are for, and as many signatures as the owner's root document
/// asks for. The way to one:
///
///   panelflash release key new alice.pem
///
///   panelflash release pack release.toml --output fw-1.4.2.pfr
///
///   panelflash release sign fw-1.4.2.pfr --key alice.pem
///
///   panelflash release verify fw-1.4.2.pfr --root root.pfk
///
/// Work orders (.pfo) and root documents (.pfk) are packed and signed in the same way. docs/engineer-guide.md
/// has every key of the descriptions and a walk through all of it.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    #[command(subcommand)]
    command: ReleaseCommand,
    /// Print one JSON object to stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ReleaseCommand {
    /// Make an unsigned release, work order or root document from its description.
    ///
    /// What the description has tells which: `targets` makes a release, `quantity` a work order, `roles` a root
    /// document. Of an ELF file only what is loaded into the chip is packed: debug information stays behind and
    /// is reported. Images whose vector table or addresses do not fit the chip are refused (E508, E609).
    Pack(pack::PackArgs),
    /// Add a signature to a release, work order or root document.
    ///
    /// The file is checked first: nobody signs what contradicts itself or was changed. Example:
    /// panelflash release sign fw.pfr --key alice.pem
    Sign(SignArgs),
    /// Check a release, work order or root document against a trusted root document.
    ///
    /// Exit code 0: good here and now. 2: refused, with the code and the reason.
    Verify(check::VerifyArgs),
    /// Show what a file says, without trusting it.
    Show(check::ShowArgs),
    /// Encrypt a signed release for the stations that may read it (age, X25519).
    Encrypt(EncryptArgs),
    /// Keys: of people who sign, of stations that decrypt, of the issuer of unit certificates.
    #[command(subcommand)]
    Key(key::KeyCommand),
}

#[derive(Debug, Args)]
struct SignArgs {
    /// The file to sign.
    file: PathBuf,
    /// The signer's secret key (PKCS#8 PEM, Ed25519).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Write the signed file here instead of replacing the original.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct EncryptArgs {
    /// The signed release.
    file: PathBuf,
    /// A station's public key (age1...), as `release key station` printed it; may be given several times.
    #[arg(long = "to", value_name = "KEY", required = true)]
    to: Vec<String>,
    /// Where to write the encrypted file.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn release(args: &ReleaseArgs) -> Result<u8, Failure> {
    let json = args.json;
    match &args.command {
        ReleaseCommand::Pack(args) => pack::pack(args, json),
        ReleaseCommand::Sign(args) => sign(args, json),
        ReleaseCommand::Verify(args) => check::verify(args, json),
        ReleaseCommand::Show(args) => check::show(args, json),
        ReleaseCommand::Encrypt(args) => encrypt(args, json),
        ReleaseCommand::Key(command) => key::key(command, json),
    }
}

fn sign(args: &SignArgs, json: bool) -> Result<u8, Failure> {
    let bytes = read(&args.file)?;
    if panel_release::is_sealed(&bytes) {
        let text = format!("{}: it is encrypted; sign first, encrypt afterwards", args.file.display());
        return Err(Failure::new(Code::ReleaseEncrypted, text));
    }
    let key = secret_key(&args.key)?;
    let signed = panel_release::sign(&bytes, &key).map_err(|e| refused(&args.file, kind_of(&bytes), &e))?;
    let output = args.output.as_ref().unwrap_or(&args.file);
    crate::files::replace(output, &signed)?;
    let public = key.public();
    if json {
        line(
            &serde_json::json!({ "file": output.display().to_string(), "key": public.to_string() })
                .to_string(),
        );
    } else {
        line(&format!("{}: signed by {public}", output.display()));
    }
    Ok(0)
}

fn encrypt(args: &EncryptArgs, json: bool) -> Result<u8, Failure> {
    let bytes = read(&args.file)?;
    let inspection = panel_release::inspect(&bytes).map_err(|e| refused(&args.file, Kind::Release, &e))?;
    let signers = inspection.signers.map_err(|e| refused(&args.file, Kind::Release, &e))?;
    if signers.is_empty() {
        note("note: it is not signed yet, and cannot be signed once it is encrypted");
    }
    let sealed = panel_release::seal(&bytes, &args.to)
        .map_err(|e| Failure::new(e.code(), format!("{}: {e}", args.file.display())))?;
    crate::files::replace(&args.output, &sealed)?;
    let output = args.output.display().to_string();
    if json {
        line(&serde_json::json!({ "file": output, "stations": args.to.len() }).to_string());
    } else {
        line(&format!("{output}: encrypted to {} keys", args.to.len()));
    }
    Ok(0)
}

/// A signed file, wiped from memory when dropped.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    files::read_bounded(path).map_err(|error| match error {
        files::FileError::Io { path, source } => {
            Failure::new(Code::FileUnreadable, format!("{path}: {source}"))
        }
        files::FileError::Oversize { .. } => Failure::new(Code::ReleaseUnsafe, error.to_string()),
    })
}

/// A signed file that may be encrypted, decrypted in memory.
pub(crate) fn read_plain(path: &Path, secret: Option<&StationSecret>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bytes = read(path)?;
    if !panel_release::is_sealed(&bytes) {
        return Ok(bytes);
    }
    let Some(secret) = secret else {
        let text = format!("{}: it is encrypted, and no key of this station was given", path.display());
        return Err(Failure::new(Code::ReleaseEncrypted, text));
    };
    panel_release::unseal(&bytes, secret)
        .map_err(|e| Failure::new(e.code(), format!("{}: {e}", path.display())))
}

/// A station's secret for encrypted releases.
pub(crate) fn station_secret(path: &Path) -> Result<StationSecret, Failure> {
    let text = secret_text(path)?;
    StationSecret::from_text(&text)
        .map_err(|e| Failure::new(Code::KeyFile, format!("{}: {e}", path.display())))
}

fn secret_key(path: &Path) -> Result<SecretKey, Failure> {
    let text = secret_text(path)?;
    SecretKey::from_pem(&text).map_err(|e| Failure::new(Code::KeyFile, format!("{}: {e}", path.display())))
}

/// The text of a key file, wiped when dropped.
pub(crate) fn secret_text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |detail: String| Failure::new(Code::KeyFile, format!("{}: {detail}", path.display()));
    let bytes = read(path)?;
    let text = core::str::from_utf8(&bytes).map_err(|e| failed(format!("not a text file: {e}")))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// A refusal of a file, with its name.
pub(crate) fn refused(path: &Path, kind: Kind, refusal: &panel_release::Refusal) -> Failure {
    Failure::new(refusal.code(kind), format!("{}: {refusal}", path.display()))
}

/// What the file claims to be; a release if it is nothing of ours.
pub(crate) fn kind_of(bytes: &[u8]) -> Kind {
    Kind::detect(bytes).unwrap_or(Kind::Release)
}

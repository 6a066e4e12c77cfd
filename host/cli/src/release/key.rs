//! `panelflash release key`: the key files people and stations need. Secrets go into files that only their owner
//! may read, never to a screen, and no file is ever overwritten.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use panel_codes::Code;
use panel_ledger::{Contents, Issuer, KeyKind, UnitKey};
use panel_release::{SecretKey, StationSecret};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::out::line;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a signer's key (Ed25519, PKCS#8 PEM) and print its public half for the root document.
    ///
    /// Every signer makes a key of their own and keeps the file. Example: panelflash release key new alice.pem
    New(NewKey),
    /// Print the public half of a signer's or station's key.
    Show(NewKey),
    /// Make a station's key for encrypted releases (age, X25519) and print what releases are encrypted to.
    Station(NewKey),
    /// Make an authority for unit certificates: a self-signed certificate and its key, P-256.
    ///
    /// For trials and small makers; others bring the certificate of an intermediate authority and its key.
    Issuer(NewIssuer),
}

#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// The key file.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct NewIssuer {
    /// Name of the authority.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where to write the certificate (PEM).
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Where to write the key (PKCS#8 PEM).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Days until it ends.
    #[arg(long, value_name = "N", default_value_t = 3650)]
    days: u32,
}

pub(crate) fn key(command: &KeyCommand, json: bool) -> Result<u8, Failure> {
    match command {
        KeyCommand::New(NewKey { file }) => {
            let key = SecretKey::from_entropy(*entropy::<32>()?);
            let pem = key.to_pem().map_err(|e| unusable(file, &e))?;
            crate::files::create_secret(file, &pem)?;
            tell(file, "public key", &key.public().to_string(), json);
        }
        KeyCommand::Show(NewKey { file }) => {
            let text = super::secret_text(file)?;
            let public = if text.trim_start().starts_with("AGE-SECRET-KEY-") {
                StationSecret::from_text(&text).map_err(|e| unusable(file, &e))?.recipient()
            } else {
                super::secret_key(file)?.public().to_string()
            };
            tell(file, "public key", &public, json);
        }
        KeyCommand::Station(NewKey { file }) => {
            let secret = StationSecret::generate();
            let text = Zeroizing::new(format!("{}\n", secret.to_text().as_str()));
            crate::files::create_secret(file, &text)?;
            tell(file, "encrypt releases to", &secret.recipient(), json);
        }
        KeyCommand::Issuer(new) => issuer(new, json)?,
    }
    Ok(0)
}

fn issuer(new: &NewIssuer, json: bool) -> Result<(), Failure> {
    let failed = |e: panel_ledger::CertificateError| Failure::new(e.code(), e.to_string());
    let now = jiff::Timestamp::now();
    let hours = i64::from(new.days) * 24;
    let until = now
        .checked_add(jiff::SignedDuration::from_hours(hours))
        .map_err(|e| Failure::new(Code::Usage, format!("--days {}: {e}", new.days)))?;
    let contents = Contents { common_name: &new.name, serial: *entropy::<16>()?, from: now, until };
    let key = UnitKey::make(KeyKind::P256, fill).map_err(failed)?;
    let issuer = Issuer::make(key, &contents).map_err(failed)?;
    let pem = issuer.key_pem().map_err(failed)?;
    let certificate = issuer.certificate_pem().map_err(failed)?;
    crate::files::create_secret(&new.key, &pem)?;
    crate::files::create(&new.certificate, certificate.as_bytes())?;
    tell(&new.certificate, "authority", &new.name, json);
    Ok(())
}

/// Bytes nobody can guess, from the operating system.
pub(crate) fn entropy<const N: usize>() -> Result<Zeroizing<[u8; N]>, Failure> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|e| Failure::new(Code::Internal, format!("no randomness from the system: {e}")))?;
    Ok(bytes)
}

/// The same for [`UnitKey::make`].
pub(crate) fn fill(buffer: &mut [u8; 32]) -> Result<(), getrandom::Error> {
    getrandom::fill(buffer)
}

fn unusable(file: &Path, error: &impl std::fmt::Display) -> Failure {
    Failure::new(Code::KeyFile, format!("{}: {error}", file.display()))
}

fn tell(file: &Path, what: &str, public: &str, json: bool) {
    let name = file.display().to_string();
    if json {
        line(&serde_json::json!({ "file": name, "public": public }).to_string());
    } else {
        line(&format!("{name}: {what} {public}"));
    }
}

//! `panelflash release pack`: images into an unsigned release, with a report of what was left behind; work orders
//! and root documents into unsigned files.

use std::path::{Path, PathBuf};

use clap::Args;
use panel_codes::Code;
use panel_image::{Format, Image};
use panel_release::ImageInput;
use panel_release::manifest::ImageRole;
use serde::Serialize;

use super::describe::{self, Description, ImageFile, Release};
use crate::failure::Failure;
use crate::out::line;

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// The description (TOML).
    description: PathBuf,
    /// The file to write: .pfr for a release, .pfo for a work order, .pfk for a root document.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Serialize)]
struct Packed {
    file: String,
    kind: &'static str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_sha256: Option<String>,
    images: Vec<PackedImage>,
}

#[derive(Serialize)]
struct PackedImage {
    name: String,
    file: String,
    bytes: usize,
    debug_bytes_left_out: u64,
}

pub(crate) fn pack(args: &PackArgs, json: bool) -> Result<u8, Failure> {
    let (kind, bytes, images) = match describe::read(&args.description)? {
        Description::Release(release) => {
            let (bytes, images) = pack_release(&args.description, *release)?;
            ("release", bytes, images)
        }
        Description::Order(order) => {
            ("order", order.to_unsigned().map_err(|e| invalid(&args.description, &e))?, Vec::new())
        }
        Description::Root(root) => {
            ("root", root.to_unsigned().map_err(|e| invalid(&args.description, &e))?, Vec::new())
        }
    };
    crate::files::replace(&args.output, &bytes)?;
    let manifest_sha256 = panel_release::inspect(&bytes).ok().map(|i| i.manifest_sha256.to_string());
    let file = args.output.display().to_string();
    let packed = Packed { file, kind, bytes: bytes.len(), manifest_sha256, images };
    if json {
        line(&serde_json::to_string(&packed).unwrap_or_default());
    } else {
        report(&packed);
    }
    Ok(0)
}

fn pack_release(description: &Path, release: Release) -> Result<(Vec<u8>, Vec<PackedImage>), Failure> {
    let mut images = Vec::new();
    let mut report = Vec::new();
    for file in &release.images {
        let (image, packed) = read_image(file)?;
        images.push(image);
        report.push(packed);
    }
    let inputs: Vec<_> = release
        .images
        .iter()
        .zip(&images)
        .map(|(file, image)| ImageInput { role: file.role, name: &file.name, image })
        .collect();
    let mut manifest = release.manifest;
    if let Some(seal) = &release.seal {
        let burnt = inputs.iter().filter(|input| input.role != ImageRole::OptionBytes);
        let parts: Vec<Image> = burnt.map(|input| input.image.clone()).collect();
        let image = Image::merge(&parts).map_err(|e| crate::setup::image_failure(&e))?;
        manifest.seals = crate::seal::for_targets(&image, &manifest, &seal.key, seal.floor)?;
    }
    let bytes = panel_release::pack(manifest, &inputs)
        .map_err(|e| Failure::new(e.code(), format!("{}: {e}", description.display())))?;
    Ok((bytes, report))
}

fn read_image(file: &ImageFile) -> Result<(Image, PackedImage), Failure> {
    let name = file.file.display().to_string();
    let bytes =
        std::fs::read(&file.file).map_err(|e| Failure::new(Code::FileUnreadable, format!("{name}: {e}")))?;
    let image =
        panel_image::parse(&bytes, &name, file.address).map_err(|e| crate::setup::image_failure(&e))?;
    let debug_bytes_left_out = match Format::detect(&bytes, &name) {
        Format::Elf => panel_image::debug_bytes(&bytes),
        Format::Bin | Format::IntelHex | Format::Srec => 0,
    };
    let packed =
        PackedImage { name: file.name.clone(), file: name, bytes: image.len(), debug_bytes_left_out };
    Ok((image, packed))
}

fn invalid(description: &Path, refusal: &panel_release::Refusal) -> Failure {
    Failure::new(Code::Description, format!("{}: {refusal}", description.display()))
}

fn report(packed: &Packed) {
    for PackedImage { name, file, bytes, debug_bytes_left_out: debug } in &packed.images {
        let left =
            if *debug > 0 { format!(", {debug} bytes of debug information left out") } else { String::new() };
        line(&format!("  {name}: {bytes} bytes from {file}{left}"));
    }
    let hash = packed.manifest_sha256.as_ref().map_or_else(String::new, |h| format!(", manifest {h}"));
    line(&format!("{}: unsigned {} of {} bytes{hash}", packed.file, packed.kind, packed.bytes));
}

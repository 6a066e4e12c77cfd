//! Seals: the signature of an image's owner, for boards whose bootloader has the product's public key.
//!
//! Such boards take no other image (docs/protocol.md, section 4). A job is sealed when it is read, a release when it is
//! packed; what a release carries is checked here against the image as it will really be laid on the chip, before
//! anything is touched.

use std::path::Path;

use panel_codes::Code;
use panel_engine::chip::Chip;
use panel_engine::{Plan, image_id};
use panel_image::Image;
use panel_job::{Job, JobSeal};
use panel_protocol::block::Seal;
use panel_release::manifest::ImageSeal;
use panel_release::{Manifest, SecretKey};

use crate::failure::Failure;

/// The plan with the seal that the job asks for.
pub(crate) fn of_job(plan: Plan, job: &Job) -> Result<Plan, Failure> {
    let Some(JobSeal { key, counter, floor }) = &job.seal else { return Ok(plan) };
    let key = read_key(key, Code::JobFile)?;
    let Some(image_id) = plan.image_id() else {
        let text =
            "[seal] is for boards with a bootloader of their own, and the panel has no bus with such boards";
        return Err(Failure::new(Code::JobFile, text));
    };
    let seal = make(&key, plan.recipe.chip, (*counter, *floor), &image_id);
    plan.sealed(seal).map_err(|e| Failure::new(e.code(), e.to_string()))
}

/// The plan with the release's seal for its chip, if it has one.
pub(crate) fn of_release(plan: Plan, manifest: &Manifest) -> Result<Plan, Failure> {
    let chip = plan.recipe.chip;
    let seal = manifest.seals.iter().find(|seal| seal.device_id == chip.device_id);
    let (Some(seal), Some(image_id)) = (seal, plan.image_id()) else { return Ok(plan) };
    let ImageSeal { floor, key, signature, .. } = *seal;
    let counter = u32::try_from(manifest.counter).unwrap_or(u32::MAX);
    if !key.verifies(&Seal::message(chip.device_id, counter, floor, &image_id), &signature) {
        let text = format!("the seal for {} by key {key} is not one of this image on this chip", chip.name);
        return Err(Failure::new(Code::ReleaseTarget, text));
    }
    plan.sealed(Seal { counter, floor, signature }).map_err(|e| Failure::new(e.code(), e.to_string()))
}

/// A seal of this image for each chip that the release is for.
pub(crate) fn for_targets(
    image: &Image,
    manifest: &Manifest,
    key: &Path,
    floor: u32,
) -> Result<Vec<ImageSeal>, Failure> {
    let key = read_key(key, Code::Description)?;
    let counter = u32::try_from(manifest.counter).unwrap_or(u32::MAX);
    let seal = |chip: &'static Chip| {
        let id = image_id(image, chip).map_err(|e| Failure::new(Code::Description, e.to_string()))?;
        let Seal { signature, .. } = make(&key, chip, (counter, floor), &id);
        Ok(ImageSeal { device_id: chip.device_id, floor, key: key.public(), signature })
    };
    manifest.targets.iter().filter_map(|target| Chip::by_id(target.device_id)).map(seal).collect()
}

fn make(key: &SecretKey, chip: &Chip, (counter, floor): (u32, u32), image_id: &[u8; 32]) -> Seal {
    let message = Seal::message(chip.device_id, counter, floor, image_id);
    Seal { counter, floor, signature: key.sign(&message) }
}

fn read_key(file: &Path, code: Code) -> Result<SecretKey, Failure> {
    let text = crate::setup::read(file, code)?;
    SecretKey::from_pem(&text).map_err(|e| Failure::new(code, format!("{}: {e}", file.display())))
}

//! The seal of a job's image: made from the product's secret key when the job is read.
//!
//! Boards whose bootloader has the public key take no other image (docs/protocol.md, section 4). Called by
//! `setup::load`, before anything is touched.

use panel_codes::Code;
use panel_engine::Plan;
use panel_job::{Job, JobSeal};
use panel_protocol::block::Seal;
use panel_release::SecretKey;

use crate::failure::Failure;

/// The plan with the seal that the job asks for.
pub(crate) fn sealed(plan: Plan, job: &Job) -> Result<Plan, Failure> {
    let Some(JobSeal { key: file, counter, floor }) = &job.seal else { return Ok(plan) };
    let (counter, floor) = (*counter, *floor);
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(Code::FileUnreadable, format!("{name}: {e}")))?;
    let key = SecretKey::from_pem(&text).map_err(|e| Failure::new(Code::JobFile, format!("{name}: {e}")))?;
    let Some(image_id) = plan.image_id() else {
        let text =
            "[seal] is for boards with a bootloader of their own, and the panel has no bus with such boards";
        return Err(Failure::new(Code::JobFile, text));
    };
    let message = Seal::message(plan.recipe.chip.device_id, counter, floor, &image_id);
    let seal = Seal { counter, floor, signature: key.sign(&message) };
    plan.sealed(seal).map_err(|e| Failure::new(e.code(), e.to_string()))
}

//! job.toml to [`Job`]. docs/job-files.md describes every key; a test parses its examples.

use core::ops::RangeInclusive;
use std::path::Path;

use panel_backplane::document::{Document, FromToml, Located, Mismatch, Section, word};
use panel_backplane::units::{Address, Duration};
use panel_backplane::{Problems, Way};
use panel_protocol::time::Span;
use toml::de::DeValue;

use crate::finish::{self, Finish};
use crate::job::{AgentFile, ImageFile, Job, JobSeal, Limits, Target, Verify};

impl Job {
    /// Reads the text of a job.toml. `directory` is where the file stands: relative paths in it begin there.
    ///
    /// # Errors
    /// Everything that is wrong with it, by line; the code is E501.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, Problems> {
        let document = Document::parse(text);
        let job = read(document.root(), directory);
        document.finish(job)
    }
}

fn read(mut root: Section<'_>, directory: &Path) -> Option<Job> {
    let name = root.need::<String>("name");
    let product = root.get::<String>("product");
    let production = root.get_or("production", false);
    let station = root.get::<String>("station");
    let operator = root.get::<String>("operator");
    let ways = ways(&mut root);
    let retries = ranged(&mut root, "retries", 0, 0..=10);
    let verify = root.get_or("verify", Verify::default());
    // Below 1.62 V no STM32 runs; above 5.5 V none survives.
    let minimum_supply_mv = millivolts(&mut root, "minimum_supply_mv", 1620..=5500);
    let supply_mv = millivolts(&mut root, "supply_mv", 1800..=3600);
    let agent = root.section("agent").and_then(|section| read_agent(section, directory));
    let seal = root.section("seal").and_then(|section| read_seal(section, directory));
    let start_application = root.get_or("start_application", true);
    let target = section(&mut root, "target").and_then(read_target);
    let images = read_images(&mut root, directory);
    let finish = root.section("finish").map_or_else(Finish::default, finish::read);
    let identity = root.section("identity").and_then(finish::read_identity);
    let limits = root.section("limits").map_or_else(Limits::default, read_limits);
    let name = name?.value;
    Some(Job {
        product: product.map_or_else(|| name.clone(), |p| p.value),
        name,
        production,
        station: station.map(|s| s.value),
        operator: operator.map(|o| o.value),
        target: target?,
        images,
        ways,
        retries: u8::try_from(retries).ok()?,
        verify,
        minimum_supply_mv,
        supply_mv,
        agent,
        seal,
        start_application,
        finish,
        identity,
        limits,
    })
}

/// A table that must be there.
fn section<'d>(root: &mut Section<'d>, key: &'static str) -> Option<Section<'d>> {
    if !root.has(key) {
        root.missing(key);
    }
    root.section(key)
}

fn ways(root: &mut Section<'_>) -> Vec<Way> {
    let Some(list) = root.get_list::<Way>("ways") else { return Vec::new() };
    if list.value.is_empty() {
        root.bad_value("ways", list.at, "it names no way that is known; leave it out to allow any");
    }
    list.value.into_iter().map(|w| w.value).collect()
}

fn millivolts(root: &mut Section<'_>, key: &'static str, range: RangeInclusive<u16>) -> Option<u16> {
    let supply = root.get::<u16>(key)?;
    if !range.contains(&supply.value) {
        let reason = format!("{} is not {} to {}", supply.value, range.start(), range.end());
        root.bad_value(key, supply.at, reason);
    }
    Some(supply.value)
}

fn read_agent(mut section: Section<'_>, directory: &Path) -> Option<AgentFile> {
    let file = section.need::<String>("file");
    let address = section.need::<Address>("address");
    Some(AgentFile { path: directory.join(file?.value), address: address?.value.0 })
}

fn read_seal(mut section: Section<'_>, directory: &Path) -> Option<JobSeal> {
    let key = section.need::<String>("key");
    let counter = section.need::<u32>("counter");
    let floor = section.get::<u32>("floor");
    if let (Some(counter), Some(floor)) = (&counter, &floor)
        && floor.value > counter.value
    {
        let reason = format!("{} is above the image's own counter, {}", floor.value, counter.value);
        section.bad_value("floor", floor.at, reason);
    }
    let floor = floor.map_or(0, |f| f.value);
    Some(JobSeal { key: directory.join(key?.value), counter: counter?.value, floor })
}

fn read_target(mut section: Section<'_>) -> Option<Target> {
    let chip = section.need::<String>("chip");
    let device_id = section.need::<u16>("device_id");
    if let Some(id) = device_id
        && !(1..=0xFFF).contains(&id.value)
    {
        let reason = format!("{:#x} is not a 12-bit device ID such as 0x413", id.value);
        section.bad_value("device_id", id.at, reason);
    }
    let revisions = section.get_list::<u16>("hardware_revisions");
    if let Some(list) = &revisions
        && list.value.is_empty()
    {
        section.bad_value("hardware_revisions", list.at, "it names no revision; leave it out to allow any");
    }
    let mut hardware_revisions: Vec<u16> =
        revisions.map(|list| list.value.into_iter().map(|r| r.value).collect()).unwrap_or_default();
    hardware_revisions.sort_unstable();
    hardware_revisions.dedup();
    Some(Target { chip: chip?.value, device_id: device_id?.value, hardware_revisions })
}

fn read_images(root: &mut Section<'_>, directory: &Path) -> Vec<ImageFile> {
    let sections = root.sections("image");
    if sections.is_empty() && !root.has("image") {
        root.missing("image");
    }
    let image = |mut section: Section<'_>| {
        let file = section.need::<String>("file");
        let address = section.get::<Address>("address").map(|a| a.value.0);
        Some(ImageFile { path: directory.join(file?.value), address })
    };
    sections.into_iter().filter_map(image).collect()
}

fn read_limits(mut section: Section<'_>) -> Limits {
    let usual = Limits::default();
    let link_wait = section.get::<Duration>("link_wait").map_or(usual.link_wait, |wait| wait.value.0);
    let mut said = |key| {
        let Located { value: Duration(span), at } = section.get::<Duration>(key)?;
        if span == Span::ZERO {
            section.bad_value(key, at, "no time at all is not enough");
        }
        Some(span)
    };
    let startup = said("startup");
    let mut time = |key, usual: Span| said(key).unwrap_or(usual);
    Limits {
        startup,
        quiet: time("quiet", usual.quiet),
        answer: time("answer", usual.answer),
        census: time("census", usual.census),
        straggler_wait: time("straggler_wait", usual.straggler_wait),
        straggler_pass: time("straggler_pass", usual.straggler_pass),
        tries: u8::try_from(ranged(&mut section, "tries", usual.tries.into(), 1..=20)).unwrap_or(usual.tries),
        missed_per_mille: ranged(&mut section, "missed_per_mille", usual.missed_per_mille, 1..=1000),
        link_wait,
    }
}

/// A whole number in a range; out of it, the problem is reported and `usual` taken.
fn ranged(section: &mut Section<'_>, key: &'static str, usual: u16, range: RangeInclusive<u16>) -> u16 {
    let Some(number) = section.get::<u16>(key) else { return usual };
    if range.contains(&number.value) {
        return number.value;
    }
    let reason = format!("{} is not {} to {}", number.value, range.start(), range.end());
    section.bad_value(key, number.at, reason);
    usual
}

impl FromToml for Verify {
    const EXPECTED: &'static str = "a word in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        word(value, &[("crc+sha256", Self::CrcAndSha256), ("digest", Self::Digest)])
    }
}

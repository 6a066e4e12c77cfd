//! The station itself: record directory, disk, clock, and other copies of this program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use panel_store::{Records, StoreError};

use super::Finding;

/// A record of 64 boards is some hundred kilobytes; this is room for hundreds of panels.
const ROOM_WANTED: u64 = 1 << 30;
/// A run of 64 boards of a work order with a retry each is refused with less.
const ROOM_NEEDED: u64 = crate::room::needed(64, 1, true);
/// No panelflash was written before this: a clock that shows it has lost its battery.
const EARLIEST: &str = "2026-01-01T00:00:00Z";

/// Record directory, its disk, its database, and the clock beside the last record.
pub(super) fn records(dir: &Path) -> Vec<Finding> {
    let about = format!("records in {}", dir.display());
    let mut findings = vec![writable(&about, dir)];
    findings.extend(room(&about, dir));
    let (database, newest) = database(&about, dir);
    findings.extend(database);
    findings.push(clock(Timestamp::now(), newest));
    findings
}

fn writable(about: &str, dir: &Path) -> Finding {
    let place = crate::files::existing(dir);
    let trial = place.join(format!(".panelflash-doctor-{}", std::process::id()));
    let written = fs::write(&trial, b"x").and_then(|()| fs::remove_file(&trial));
    match written {
        Ok(()) if place == dir => Finding::ok(about, "writable"),
        Ok(()) => Finding::ok(about, "not there yet; the first run makes it"),
        Err(error) => Finding::fail(
            about,
            format!("{}: {error}", place.display()),
            "make it writable for this user, or name another with --records",
        ),
    }
}

fn room(about: &str, dir: &Path) -> Option<Finding> {
    let place = crate::files::existing(dir);
    let free = match rustix::fs::statvfs(place) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            let found = format!("free space unknown: {error}");
            return Some(Finding::warn(about, found, "look with `df -h`"));
        }
    };
    Some(enough(about, free))
}

fn enough(about: &str, free: u64) -> Finding {
    let found = format!("{} MiB free on its disk", free >> 20);
    let remedy = "free disk space, or move the records to a larger disk with --records";
    match free {
        0..ROOM_NEEDED => Finding::fail(about, found, remedy),
        ROOM_NEEDED..ROOM_WANTED => Finding::warn(about, found, remedy),
        ROOM_WANTED.. => Finding::ok(about, found),
    }
}

/// What the database says, and when its newest event was.
fn database(about: &str, dir: &Path) -> (Option<Finding>, Option<Timestamp>) {
    let records = match Records::open(dir) {
        Ok(records) => records,
        Err(StoreError::Missing { .. }) => return (Some(Finding::ok(about, "no records yet")), None),
        Err(error) => {
            let failure = crate::records::failure(&error);
            return (Some(Finding::fail(about, error.to_string(), failure.code.remedy())), None);
        }
    };
    let read = records.in_doubt().and_then(|doubts| Ok((doubts.len(), records.newest_us()?)));
    match read {
        Ok((doubts, newest)) => {
            let newest = newest.and_then(|us| Timestamp::from_microsecond(us).ok());
            let finding = match doubts {
                0 => Finding::ok(about, "every attempt has ended"),
                n => Finding::warn(
                    about,
                    format!("{n} attempts in doubt: a run died or is under way"),
                    "run the same boards again, which resolves them; `panelflash report doubt` lists them",
                ),
            };
            (Some(finding), newest)
        }
        Err(error) => {
            let failure = crate::records::failure(&error);
            (Some(Finding::fail(about, error.to_string(), failure.code.remedy())), None)
        }
    }
}

fn clock(now: Timestamp, newest: Option<Timestamp>) -> Finding {
    let about = "clock";
    let remedy = "set the clock or its time source: timedatectl status";
    let earliest: Option<Timestamp> = EARLIEST.parse().ok();
    match newest {
        Some(newest) if now < newest => {
            Finding::fail(about, format!("{now} is before the last record of {newest}"), remedy)
        }
        _ if earliest.is_some_and(|earliest| now < earliest) => {
            Finding::fail(about, format!("{now} cannot be: this program is younger"), remedy)
        }
        Some(newest) => Finding::ok(about, format!("{now}, after the last record of {newest}")),
        None => Finding::ok(about, format!("{now}, plausible; there is no record to compare with")),
    }
}

/// Other processes that may hold links and records, and other copies that may be started by mistake.
pub(super) fn programs() -> Vec<Finding> {
    let about = "this program";
    let mut findings = Vec::new();
    for (pid, command) in running() {
        findings.push(Finding::warn(
            about,
            format!("another one is running: process {pid}, `{command}`"),
            "wait for it to end, or stop it with Ctrl-C",
        ));
    }
    let copies = copies();
    if copies.len() > 1 {
        let list: Vec<String> = copies.iter().map(|p| p.display().to_string()).collect();
        findings.push(Finding::warn(
            about,
            format!("{} copies are installed: {}", list.len(), list.join(", ")),
            "remove all but one: which of them runs depends on PATH",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(about, format!("version {}, the only one", env!("CARGO_PKG_VERSION"))));
    }
    findings
}

/// Other processes of this program that work on boards; simulated boards are none of these.
fn running() -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != std::process::id());
    let mut found: Vec<(u32, String)> = others.filter_map(|pid| Some((pid, work_of(pid)?))).collect();
    found.sort();
    found
}

fn work_of(pid: u32) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<String> =
        command.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let program = Path::new(words.first()?).file_name()?.to_str()?;
    let works = words.get(1).is_some_and(|w| matches!(w.as_str(), "run" | "recover" | "rom" | "bus"));
    (program == "panelflash" && works).then(|| words.join(" ").trim().to_owned())
}

/// The different files that the shell could start by this program's name.
fn copies() -> BTreeSet<PathBuf> {
    let folders = crate::args::program_folders();
    folders.iter().filter_map(|folder| fs::canonicalize(folder.join("panelflash")).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_disk_with_little_room_is_warned_of_and_one_without_fails() {
        let level = |free: u64| enough("records", free).level;
        assert_eq!(
            [level(ROOM_NEEDED - 1), level(ROOM_NEEDED), level(ROOM_WANTED - 1), level(ROOM_WANTED)],
            [Level::Fail, Level::Warn, Level::Warn, Level::Ok]
        );
    }

    #[test]
    fn a_directory_that_cannot_be_made_fails() {
        let finding = writable("records", Path::new("/dev/null/records"));
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.found.contains("/dev/null") && finding.remedy.is_some(), "{finding:?}");
    }

    #[test]
    fn a_clock_before_the_last_record_or_before_this_program_is_wrong() {
        let now = at("2026-11-21T07:00:00Z");
        assert_eq!(clock(now, Some(at("2026-11-20T07:00:00Z"))).level, Level::Ok);
        assert_eq!(clock(now, None).level, Level::Ok);
        let finding = clock(now, Some(at("2026-11-21T07:00:01Z")));
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.found.contains("2026-11-21T07:00:01Z"), "{}", finding.found);
        assert_eq!(clock(at("2000-01-01T00:03:00Z"), None).level, Level::Fail);
    }
}

//! docs/job-files.md: every example is what the page says it is, and no key is left out.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;

use panel_backplane::Panel;
use panel_job::Job;

const PAGE: &str = include_str!("../../../docs/job-files.md");

/// The TOML blocks of the page, each with the words after `toml` on its first line.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = PAGE.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

fn job(text: &str) -> Job {
    Job::parse(text, Path::new("")).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn every_example_is_read() {
    let (mut jobs, mut panels) = (0, 0);
    for (kind, text) in blocks() {
        if kind.starts_with("toml job") {
            job(text);
            jobs += 1;
        } else {
            assert_eq!(kind, "toml panel");
            Panel::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            panels += 1;
        }
    }
    assert!(jobs >= 3 && panels >= 4, "{jobs} jobs and {panels} panels");
}

#[test]
fn the_defaults_written_out_are_the_defaults() {
    let of = |wanted| blocks().into_iter().find(|(kind, _)| *kind == wanted).unwrap().1;
    assert_eq!(job(of("toml job minimal")), job(of("toml job defaults")));
}

#[test]
fn every_key_of_the_examples_is_in_the_tables() {
    for (_, text) in blocks() {
        let keys = text.lines().filter_map(|l| l.split_once(" = ")).map(|(key, _)| key.trim());
        for key in
            keys.filter(|k| k.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()))
        {
            let in_a_table = PAGE.lines().any(|l| l.starts_with('|') && l.contains(&format!("`{key}`")));
            let a_table_itself = ["bus", "slot"].contains(&key);
            assert!(in_a_table || a_table_itself, "`{key}` is in no table");
        }
    }
}

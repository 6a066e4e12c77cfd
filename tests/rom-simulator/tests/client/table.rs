//! The table of field behaviour names tests that exist, and every test of this suite is in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("../../../../stm32-rom-bootloader/docs/field-behaviour.md");

/// Names in backticks that contain `::`.
fn named() -> BTreeSet<&'static str> {
    TABLE.split('`').skip(1).step_by(2).filter(|name| name.contains("::") && !name.ends_with("::")).collect()
}

/// The functions under `#[test]` in a source file.
fn tests_of(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let names = text.split("#[test]\nfn ").skip(1);
    let indented = text.split("#[test]\n    fn ").skip(1);
    names.chain(indented).filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())).collect()
}

/// Where the tests of a module are.
fn source(module: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crate_dir = here.join("../../stm32-rom-bootloader");
    match module.split_once("::") {
        Some(("client", file)) => here.join("tests/client").join(file).with_extension("rs"),
        Some((folder, "tests")) => crate_dir.join("src").join(folder).join("tests.rs"),
        _ => crate_dir.join("tests/suite").join(module).with_extension("rs"),
    }
}

#[test]
fn every_test_that_the_table_names_exists() {
    let named = named();
    assert!(named.len() > 60, "only {} names", named.len());
    for name in named {
        let (module, test) = name.rsplit_once("::").expect("has a module");
        assert!(tests_of(&source(module)).iter().any(|known| known == test), "no test {name}");
    }
}

#[test]
fn every_test_of_field_behaviour_is_in_the_table() {
    for module in ["client::field_usart", "client::field_can", "client::commands"] {
        for test in tests_of(&source(module)) {
            let name = format!("{module}::{test}");
            let quiet = [
                "a_bit_that_cannot_be_programmed_is_no_write_protection",
                "a_pause_of_the_adapter_costs_time_and_nothing_else",
            ];
            assert!(
                named().contains(name.as_str()) || quiet.contains(&test.as_str()),
                "{name} is not in the table"
            );
        }
    }
}

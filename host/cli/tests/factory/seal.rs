//! Releases that are sealed for boards with their product's public key: packed, checked, run.

use crate::owner::{Owner, Said, application};

/// A station with an order for the release that these lines describe, and boards that have the key `product.pem`.
fn line(lines: &str) -> Owner {
    let owner = Owner::new();
    owner.station();
    let public = owner.key("product");
    owner.file("scenario.toml", &format!("[all]\nseal_key = \"{public}\"\n"));
    owner.place_release("fw", lines, &application());
    owner.place_order("order", "");
    owner
}

fn run(owner: &Owner) -> Said {
    owner.run("WO-1", &["--scenario", "scenario.toml"])
}

#[test]
fn a_sealed_release_is_taken_by_its_products_boards() {
    let owner = line("seal = { key = \"product.pem\", floor = 16 }");
    let shown = owner.call(&["release", "show", "line/releases/fw.pfr"]).good();
    assert!(shown.stdout.contains("then nothing below counter 16"), "{}", shown.stdout);
    run(&owner).good();
    assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6]);
}

#[test]
fn a_release_without_a_seal_or_sealed_for_another_product_is_refused_by_every_board_untouched() {
    for (lines, code) in [("", "E112 not-sealed"), ("seal = { key = \"sales.pem\" }", "E113 bad-seal")] {
        let owner = line(lines);
        let said = run(&owner);
        assert_eq!(said.exit, Some(1), "{said:?}");
        let boards = said.json()["boards"].as_array().unwrap().clone();
        assert_eq!(boards.len(), 4);
        assert!(boards.iter().all(|board| board["code"] == code), "{boards:?}");
    }
}

#[test]
fn a_floor_above_the_release_itself_and_a_key_that_is_none_are_refused_when_it_is_packed() {
    let owner = Owner::new();
    owner.key("product");
    let above = owner.release("above", "seal = { key = \"product.pem\", floor = 18 }", &application());
    above.refused("E", "must not be above the counter");
    let none = owner.release("none", "seal = { key = \"root.toml\" }", &application());
    none.refused("E", "not Ed25519");
}

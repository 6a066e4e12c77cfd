//! Boards whose bootloader has its product's public key, through the binary: which images they take, and what is said
//! of the others. A refused board keeps what it has.

use super::harness::{Place, Run, job};
use panel_release::SecretKey;

const IMAGE: &str = "demo-f405-256k.bin";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_entropy([seed; 32])
}

/// Runs the job with these lines of `[seal]`, signed with the key of that seed, on boards that have the key of seed 7.
fn run(place: &Place, seal: Option<(u8, &str)>) -> Run {
    let seal = seal.map_or_else(String::new, |(seed, lines)| {
        let pem = key(seed).to_pem().expect("a key");
        place.file("product.pem", pem.as_bytes());
        format!("[seal]\nkey = \"product.pem\"\n{lines}\n")
    });
    let job = format!("{}{seal}", job(IMAGE, "start_application = false"));
    place.run_again(&job, &format!("[all]\nseal_key = \"{}\"\n", key(7).public()))
}

/// Every board of the panel failed with this code, and this is said of each.
fn assert_all_fail(run: &Run, code: &str, detail: &str) {
    assert_eq!(run.exit, Some(1), "{}", run.stderr);
    assert_eq!(run.failures().len(), 21);
    for board in run.boards() {
        assert_eq!(board["code"], code);
        assert!(board["detail"].as_str().is_some_and(|text| text.contains(detail)), "{board}");
    }
}

#[test]
fn boards_take_an_image_that_is_sealed_for_their_product_and_no_other() {
    let place = Place::new();
    run(&place, Some((7, "counter = 3"))).assert_all_pass();
    let none = run(&place, None);
    assert_all_fail(&none, "E112 not-sealed", "the image has none");
    let foreign = run(&place, Some((8, "counter = 4")));
    assert_all_fail(&foreign, "E113 bad-seal", "BadSeal");
    let again = run(&place, Some((7, "counter = 3")));
    again.assert_all_pass();
    let seconds = again.json["seconds"].as_f64().unwrap_or_default();
    assert!(seconds < 2.0, "nothing was erased by those that were refused: {seconds} s");
}

#[test]
fn boards_take_nothing_older_than_the_newest_release_allows() {
    let place = Place::new();
    run(&place, Some((7, "counter = 9\nfloor = 8"))).assert_all_pass();
    let older = run(&place, Some((7, "counter = 7")));
    assert_all_fail(&older, "E114 downgrade", "release counter 8 or newer expected, 7 found");
    run(&place, Some((7, "counter = 8"))).assert_all_pass();
}

#[test]
fn a_seal_that_cannot_be_made_is_refused_before_anything_is_touched() {
    for (pem, lines, code, words) in [
        ("nonsense", "counter = 3", "E501", "not Ed25519"),
        ("", "counter = 3\nfloor = 4", "E501", "above the image's own counter"),
        ("", "", "E501", "counter"),
    ] {
        let place = Place::new();
        place.file("product.pem", pem);
        let text = format!("{}[seal]\nkey = \"product.pem\"\n{lines}\n", job(IMAGE, ""));
        let run = place.run([place.file("job.toml", text)]);
        assert_eq!(run.exit, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(code) && run.stderr.contains(words), "{}", run.stderr);
        assert!(!place.records().exists());
    }
    let place = Place::new();
    let text = format!("{}[seal]\nkey = \"missing.pem\"\ncounter = 1\n", job(IMAGE, ""));
    let run = place.run([place.file("job.toml", text)]);
    assert_eq!(run.exit, Some(2));
    assert!(run.stderr.contains("missing.pem"), "{}", run.stderr);
}

//! Replays the fuzzing corpora of `tests/fuzz`: every input is an error or an image that holds together.

use std::fs;
use std::path::Path;

use panel_image::Image;
use panel_image::ImageError;
use panel_image::intel_hex;
use panel_image::parse;
use panel_image::srec;

/// Gives every file of a corpus to `check`, which says whether it was a good image; both kinds must occur.
fn replay(target: &str, check: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let (mut good, mut bad) = (0, 0);
    for entry in fs::read_dir(&folder).expect("the corpus is part of the checkout") {
        let path = entry.expect("a readable folder").path();
        if check(&fs::read(&path).expect("a readable file")) { good += 1 } else { bad += 1 }
    }
    assert!(good > 3 && bad > 3, "{target}: {good} good and {bad} bad inputs");
}

fn survives_writing(
    parse: fn(&[u8], &str) -> Result<Image, ImageError>,
    write: fn(&Image) -> String,
) -> impl Fn(&[u8]) -> bool {
    move |bytes| {
        let Ok(image) = parse(bytes, "corpus") else { return false };
        assert_eq!(parse(write(&image).as_bytes(), "corpus"), Ok(image));
        true
    }
}

#[test]
fn the_intel_hex_corpus_makes_no_reader_fail() {
    replay("image_intel_hex", survives_writing(intel_hex::parse, intel_hex::write));
}

#[test]
fn the_s_record_corpus_makes_no_reader_fail() {
    replay("image_srec", survives_writing(srec::parse, srec::write));
}

#[test]
fn the_elf_corpus_makes_no_reader_fail() {
    replay("image_elf", |bytes| {
        let Ok(image) = parse(bytes, "corpus.elf", None) else { return false };
        assert!(image.regions().windows(2).all(|pair| pair[0].end() < pair[1].address()));
        true
    });
}

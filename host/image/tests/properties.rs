//! Properties: what is written is read back the same, and no bytes make a reader panic or break an image.

use std::num::NonZeroU32;

use panel_image::Format;
use panel_image::Image;
use panel_image::intel_hex;
use panel_image::parse;
use panel_image::srec;
use proptest::collection::vec;
use proptest::prelude::*;

/// A few blocks anywhere, many of them near each other and near 64 KiB boundaries.
fn image() -> impl Strategy<Value = Image> {
    let address = prop_oneof![any::<u32>(), 0x0800_FF00..0x0801_0100_u32, 0..300_u32];
    let blocks = vec((address, vec(any::<u8>(), 1..80)), 1..6);
    blocks.prop_filter_map("blocks overlap", |blocks| {
        let images: Result<Vec<_>, _> =
            blocks.iter().map(|(address, bytes)| Image::from_bin(bytes, "a", *address)).collect();
        Image::merge(&images.ok()?).ok()
    })
}

/// Text that is nearly a file: a valid one with some bytes replaced, cut off somewhere.
fn damaged(text: fn(&Image) -> String) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), Just(b'\n'), Just(b':'), Just(b'S'), Just(b'0'), Just(b'F')];
    (image(), vec((any::<prop::sample::Index>(), byte), 0..4), any::<prop::sample::Index>()).prop_map(
        move |(image, changes, cut)| {
            let mut bytes = text(&image).into_bytes();
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            let keep = cut.index(2 * bytes.len());
            bytes.truncate(keep);
            bytes
        },
    )
}

fn assert_well_formed(image: &Image) {
    assert!(!image.regions().is_empty());
    assert!(image.regions().iter().all(|r| !r.data().is_empty()));
    assert!(image.regions().windows(2).all(|pair| pair[0].end() < pair[1].address()));
    assert_eq!(image.len(), image.regions().iter().map(|r| (r.end() - r.address()) as usize).sum::<usize>());
    for region in image.regions() {
        assert!(image.origin(region.address()).is_some());
        assert!(image.origin(region.end() - 1).is_some());
    }
}

proptest! {
    #[test]
    fn intel_hex_is_read_back_as_it_was_written(image in image()) {
        let text = intel_hex::write(&image);
        prop_assert_eq!(Format::detect(text.as_bytes(), "x"), Format::IntelHex);
        prop_assert_eq!(parse(text.as_bytes(), "x", None), Ok(image));
    }

    #[test]
    fn s_records_are_read_back_as_they_were_written(image in image()) {
        let text = srec::write(&image);
        prop_assert_eq!(Format::detect(text.as_bytes(), "x"), Format::Srec);
        prop_assert_eq!(parse(text.as_bytes(), "x", None), Ok(image));
    }

    #[test]
    fn a_damaged_file_is_an_error_or_a_well_formed_image(
        hex in damaged(intel_hex::write),
        srec in damaged(srec::write),
    ) {
        for (bytes, name) in [(hex, "x.hex"), (srec, "x.srec")] {
            if let Ok(image) = parse(&bytes, name, None) {
                assert_well_formed(&image);
            }
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_a_well_formed_image(mut bytes in vec(any::<u8>(), 0..600), address: Option<u32>) {
        for name in ["x.bin", "x.hex", "x.s19", "x.elf"] {
            if let Ok(image) = parse(&bytes, name, address) {
                assert_well_formed(&image);
            }
        }
        // The same behind the beginning of a good ELF header.
        bytes.splice(..bytes.len().min(6), *b"\x7FELF\x01\x01");
        let _ = parse(&bytes, "x", None).map(|image| assert_well_formed(&image));
    }

    #[test]
    fn every_byte_of_a_merged_image_is_in_one_of_its_parts(image in image()) {
        for region in image.regions() {
            prop_assert_eq!(image.bytes(region.address()..region.end()), Some(region.data()));
        }
        assert_well_formed(&image);
    }

    #[test]
    fn blank_and_used_runs_partition_the_units_that_have_data(image in image(), unit in 1..5000_u32) {
        let unit = NonZeroU32::new(unit).unwrap();
        let mut runs: Vec<_> = image.blank_runs(unit).into_iter().chain(image.used_runs(unit)).collect();
        runs.sort_by_key(|run| run.start);
        prop_assert!(runs.windows(2).all(|pair| pair[0].end <= pair[1].start));
        prop_assert!(runs.iter().all(|run| run.start % unit == 0));
        let covered = |address| runs.iter().any(|run| run.contains(&address));
        for region in image.regions() {
            prop_assert!(covered(region.address()) && covered(region.end() - 1));
        }
    }
}

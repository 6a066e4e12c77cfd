//! Tests of the sparse image: merging, looking up, filling, limits.

use super::*;

fn bin(address: u32, bytes: &[u8], name: &str) -> Image {
    Image::from_bin(bytes, name, address).unwrap()
}

fn layout(image: &Image) -> Vec<(u32, &[u8])> {
    image.regions().iter().map(|r| (r.address(), r.data())).collect()
}

#[test]
fn touching_files_become_one_region_in_address_order_and_keep_their_origins() {
    let image = Image::merge(&[
        bin(0x104, &[5, 6], "app"),
        bin(0x100, &[1, 2, 3, 4], "boot"),
        bin(0x200, &[9], "cfg"),
    ])
    .unwrap();
    assert_eq!(layout(&image), [(0x100, &[1, 2, 3, 4, 5, 6][..]), (0x200, &[9])]);
    assert_eq!(image.len(), 7);
    assert_eq!(image.span(), 0x100..0x201);
    let name = |address| image.origin(address).map(ToString::to_string);
    assert_eq!(name(0x103).as_deref(), Some("boot"));
    assert_eq!(name(0x104).as_deref(), Some("app"));
    assert_eq!(name(0x106), None);
    assert_eq!(name(0xFF), None);
}

#[test]
fn overlapping_files_are_refused_with_both_names_and_the_first_common_address() {
    let error =
        Image::merge(&[bin(0x0800_0100, &[0; 4], "app.bin"), bin(0x0800_0000, &[0; 0x102], "boot.bin")]);
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "app.bin supplies data for 0x08000100, and so does boot.bin");
    assert!(matches!(error, ImageError::Overlap { address: 0x0800_0100, .. }));
}

#[test]
fn a_block_inside_another_is_an_overlap_even_with_equal_bytes() {
    let images = [bin(0, &[7; 100], "a"), bin(10, &[7], "b"), bin(50, &[7], "c")];
    assert!(matches!(Image::merge(&images), Err(ImageError::Overlap { address: 10, .. })));
}

#[test]
fn merging_nothing_is_an_error_and_not_an_empty_image() {
    assert!(matches!(Image::merge(&[]), Err(ImageError::Empty { .. })));
}

#[test]
fn bytes_are_given_only_where_the_image_has_all_of_them() {
    let image = Image::merge(&[bin(16, &[1, 2, 3], "a"), bin(20, &[4], "b")]).unwrap();
    assert_eq!(image.bytes(17..19), Some(&[2, 3][..]));
    assert_eq!(image.bytes(16..16), Some(&[][..]));
    assert_eq!(image.bytes(18..20), None);
    assert_eq!(image.bytes(15..17), None);
    let backwards = Range { start: 18, end: 17 };
    assert_eq!(image.bytes(backwards), None);
}

#[test]
fn filling_closes_the_gaps_inside_the_range_and_no_others() {
    let image = Image::merge(&[bin(10, &[1], "a"), bin(14, &[2], "b"), bin(30, &[3], "c")]).unwrap();
    assert_eq!(image.gaps(8..20), [8..10, 11..14, 15..20]);
    let filled = image.fill(8..20, 0xEE).unwrap();
    let expected = [0xEE, 0xEE, 1, 0xEE, 0xEE, 0xEE, 2, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE];
    assert_eq!(layout(&filled), [(8, &expected[..]), (30, &[3])]);
    assert_eq!(filled.origin(14).map(ToString::to_string).as_deref(), Some("b"));
    assert_eq!(filled.origin(15).map(|o| o.place), Some(Place::Fill));
    assert_eq!(image.fill(10..11, 0).unwrap(), image);
    assert_eq!(image.gaps(10..11), []);
}

#[test]
fn a_gap_too_large_to_fill_is_refused_before_memory_is_taken() {
    let image = Image::merge(&[bin(0, &[1], "a"), bin(0xF000_0000, &[2], "b")]).unwrap();
    assert!(matches!(image.to_bin(0xFF), Err(ImageError::TooSparse { end: 0xF000_0001, .. })));
    assert!(matches!(image.fill(0..u32::MAX, 0xFF), Err(ImageError::TooSparse { .. })));
}

#[test]
fn a_raw_binary_has_gaps_filled_from_the_lowest_address_on() {
    let image = Image::merge(&[bin(6, &[2], "b"), bin(3, &[1], "a")]).unwrap();
    assert_eq!(image.to_bin(0xFF).unwrap(), [1, 0xFF, 0xFF, 2]);
}

#[test]
fn data_up_to_the_last_address_but_one_fit_in_the_address_space() {
    assert_eq!(bin(0xFFFF_FFFE, &[1], "a").span(), 0xFFFF_FFFE..0xFFFF_FFFF);
    let error = Image::from_bin(&[1, 2], "a.bin", 0xFFFF_FFFE).unwrap_err();
    assert!(matches!(error, ImageError::PastAddressSpace { address: 0xFFFF_FFFE, length: 2, .. }));
}

#[test]
fn more_than_64_mib_of_data_are_refused_in_one_file_and_in_several() {
    let half = vec![0; MAX_DATA / 2 + 1];
    let images = [bin(0, &half, "a"), bin(0x4000_0000, &half, "b")];
    assert!(matches!(Image::merge(&images), Err(ImageError::TooLarge { file, .. }) if &*file == "b"));
    let whole = vec![0; MAX_DATA + 1];
    assert!(matches!(Image::from_bin(&whole, "c", 0), Err(ImageError::TooLarge { .. })));
}

#[test]
fn data_outside_the_flash_name_file_and_first_bad_address() {
    let flash = [0x0800_0000..0x0800_0010, 0x0800_0010..0x0800_0020];
    bin(0x0800_000C, &[0; 20], "a.bin").check_fits(&flash).unwrap();
    let error = bin(0x0800_000C, &[0; 21], "a.bin").check_fits(&flash).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a.bin: data at 0x08000020 is outside the flash, \
         0x08000000..0x08000010, 0x08000010..0x08000020"
    );
    assert!(matches!(
        bin(0x07FF_FFFF, &[0; 2], "a.bin").check_fits(&flash),
        Err(ImageError::OutsideFlash { address: 0x07FF_FFFF, .. })
    ));
    assert!(bin(0, &[0], "a.bin").check_fits(&[]).is_err());
}

#[test]
fn checksums_are_the_published_ones() {
    // The check value of CRC-32/ISO-HDLC and the "abc" example of FIPS 180-4.
    assert_eq!(bin(0, b"123456789", "a").regions()[0].crc32(), 0xCBF4_3926);
    let digest = bin(0, b"abc", "a").regions()[0].sha256();
    assert_eq!(digest[..8], [0xBA, 0x78, 0x16, 0xBF, 0x8F, 0x01, 0xCF, 0xEA]);
}

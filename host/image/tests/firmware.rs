//! The readers against files that other programs made: GNU ld and objcopy.

use std::num::NonZeroU32;
use std::ops::Range;

use panel_image::BLANK;
use panel_image::Image;
use panel_image::VectorTable;
use panel_image::parse;

const DEMO_BIN: &[u8] = include_bytes!("../../../tests/data/firmware/demo-f405-256k.bin");
const DEMO_ELF: &[u8] = include_bytes!("../../../tests/data/firmware/demo-f405.elf");
const DEMO_HEX: &[u8] = include_bytes!("../../../tests/data/firmware/demo-f405.hex");
const DEMO_SREC: &[u8] = include_bytes!("../../../tests/data/firmware/demo-f405.srec");
const BLINK_ELF: &[u8] = include_bytes!("../../../tests/data/firmware/blink-headers-loaded.elf");
const BLINK_BIN: &[u8] = include_bytes!("../../../tests/data/firmware/blink-headers-loaded.bin");

const DEMO: Range<u32> = 0x0802_0000..0x0806_0000;
const RAM: Range<u32> = 0x2000_0000..0x2002_0000;
const SMALL_FLASH: Range<u32> = 0x0800_0000..0x0804_0000;

fn demo() -> Image {
    parse(DEMO_BIN, "demo-f405-256k.bin", Some(DEMO.start)).expect("committed file")
}

#[test]
fn elf_hex_srec_and_bin_of_one_program_are_one_image() {
    let expected = demo();
    assert_eq!(expected.span(), DEMO);
    let hex = parse(DEMO_HEX, "demo-f405.hex", None).unwrap();
    let srec = parse(DEMO_SREC, "demo-f405.srec", None).unwrap();
    let elf = parse(DEMO_ELF, "demo-f405.elf", None).unwrap();
    assert!(hex.regions().len() > 5, "the text formats leave the gaps out");
    assert_eq!(hex, srec);
    for (name, image) in [("hex", hex), ("srec", srec), ("elf", elf)] {
        assert_eq!(image.fill(DEMO, BLANK).unwrap(), expected, "{name}");
        assert_eq!(image.to_bin(BLANK).unwrap(), DEMO_BIN, "{name}");
    }
}

#[test]
fn the_demonstration_is_a_program_for_its_address_with_blank_gaps() {
    let demo = demo();
    let table = VectorTable::check(&demo, DEMO.start, &[RAM]).unwrap();
    assert_eq!(table.stack, 0x2002_0000);
    assert!(DEMO.contains(&table.reset));
    assert!(DEMO_BIN.ends_with(b"END\0"), "the version record ends the image");
    let unit = NonZeroU32::new(256).unwrap();
    let blank = demo.blank_runs(unit);
    let used = demo.used_runs(unit);
    let bytes = |runs: &[Range<u32>]| runs.iter().map(|r| r.len()).sum::<usize>();
    assert_eq!(bytes(&blank) + bytes(&used), DEMO_BIN.len());
    assert_eq!(blank.len(), 6);
    assert!((20 << 10..32 << 10).contains(&bytes(&blank)), "{} blank bytes", bytes(&blank));
    for run in &used {
        assert!(demo.bytes(run.clone()).unwrap().iter().any(|&byte| byte != BLANK));
    }
}

#[test]
fn the_small_images_are_programs_for_their_addresses() {
    let ram = |kib: u32| 0x2000_0000..0x2000_0000 + kib * 1024;
    let images: [(&str, &[u8], u32, Range<u32>); 4] = [
        ("bench-64k", include_bytes!("../../../tests/data/firmware/bench-64k.bin"), 0x0802_0000, ram(128)),
        ("g431", include_bytes!("../../../tests/data/firmware/small-g431-64k.bin"), 0x0800_5000, ram(22)),
        ("g474", include_bytes!("../../../tests/data/firmware/small-g474-64k.bin"), 0x0800_8000, ram(96)),
        ("f103", include_bytes!("../../../tests/data/firmware/small-f103-64k.bin"), 0x0800_8000, ram(20)),
    ];
    for (name, bytes, address, ram) in images {
        assert_eq!(bytes.len(), 64 << 10, "{name}");
        let image = Image::from_bin(bytes, name, address).unwrap();
        VectorTable::check(&image, address, std::slice::from_ref(&ram)).unwrap();
        let elsewhere = Image::from_bin(bytes, name, address + 0x4_0000).unwrap();
        assert!(VectorTable::check(&elsewhere, address + 0x4_0000, &[ram]).is_err(), "{name}");
    }
}

#[test]
fn elf_headers_that_the_linker_put_into_a_segment_are_not_flashed() {
    let image = parse(BLINK_ELF, "blink.elf", None).unwrap();
    assert_eq!(image, Image::from_bin(BLINK_BIN, "blink.bin", 0x0800_5000).unwrap());
}

#[test]
fn merging_a_bootloader_with_an_application_that_overlaps_it_names_both_files() {
    let boot = Image::from_bin(&vec![0; 0x2_0008], "boot.bin", 0x0800_0000).unwrap();
    let app = parse(DEMO_HEX, "app.hex", None).unwrap();
    assert_eq!(
        Image::merge(&[boot, app.clone()]).unwrap_err().to_string(),
        "app.hex line 2 supplies data for 0x08020000, and so does boot.bin"
    );
    assert_eq!(
        app.check_fits(&[SMALL_FLASH]).unwrap_err().to_string(),
        "app.hex line 7967: data at 0x08040000 is outside the flash, 0x08000000..0x08040000"
    );
}

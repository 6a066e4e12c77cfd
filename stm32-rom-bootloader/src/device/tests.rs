//! The table as a whole: in step with its CSV, complete, and consistent with itself.

use super::*;

#[path = "../../examples/generate_device_table.rs"]
#[expect(dead_code, reason = "its main is for the command line")]
mod generate;

#[test]
fn the_committed_table_is_what_the_csv_generates() {
    let generated = generate::generate(include_str!("../../data/stm32_devices.csv")).unwrap();
    assert_eq!(generated, include_str!("table.rs"), "run the example generate_device_table");
}

#[test]
fn every_product_of_the_sources_is_there() {
    let mut ids: Vec<u16> = Device::all().iter().map(|device| device.product_id).collect();
    assert_eq!(ids.len(), 102);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 88);
}

#[test]
fn product_name_and_rom_version_name_one_row() {
    for (i, one) in Device::all().iter().enumerate() {
        for other in &Device::all()[..i] {
            let same = (one.product_id, one.name, one.bootloader_id)
                == (other.product_id, other.name, other.bootloader_id);
            assert!(!same, "{} twice", one.name);
        }
    }
}

#[test]
fn rows_of_one_product_agree_on_what_is_read_before_the_version_is_known() {
    for device in Device::all() {
        let first = Device::with_product_id(device.product_id).next().unwrap();
        assert_eq!(device.bootloader_id_address, first.bootloader_id_address, "{}", device.name);
        assert_eq!(device.flash, first.flash, "{}", device.name);
        assert_eq!(device.family, first.family, "{}", device.name);
    }
}

#[test]
fn memory_areas_are_in_order_and_do_not_overlap() {
    for device in Device::all() {
        let mut areas: Vec<Area> = Vec::new();
        areas.extend(device.ram);
        areas.extend(device.system_memory);
        if let Some(flash) = device.flash {
            areas.push(Area { start: flash.start, end: flash.start + u32::from(flash.max_kib) * 1024 - 1 });
        }
        if let OptionBytes::Memory(options) = device.option_bytes {
            areas.extend(options);
        }
        for (i, one) in areas.iter().enumerate() {
            assert!(one.start <= one.end, "{} {one:x?}", device.name);
            for other in &areas[..i] {
                // The option bytes of several families are carved out of the system memory's range.
                let carved = |outer: &Area, inner: &Area| {
                    device.system_memory == Some(*outer)
                        && outer.contains(inner.start)
                        && outer.contains(inner.end)
                };
                let apart = one.end < other.start || other.end < one.start;
                assert!(
                    apart || carved(one, other) || carved(other, one),
                    "{} {one:x?} {other:x?}",
                    device.name
                );
            }
        }
    }
}

#[test]
fn the_bootloader_id_lies_in_the_rom() {
    // AN2606 prints an address outside for the H523; the G0B1 has a second ROM part from 0x1FFF8000 on.
    let known = [0x478, 0x467];
    for device in Device::all().iter().filter(|device| !known.contains(&device.product_id)) {
        if let (Some(address), Some(rom)) = (device.bootloader_id_address, device.system_memory) {
            assert!(rom.contains(address), "{} {address:#010x} not in {rom:x?}", device.name);
        }
        assert_eq!(device.bootloader_id.is_some(), device.bootloader_id_address.is_some(), "{}", device.name);
    }
}

#[test]
fn erase_units_cover_the_flash_without_gap_in_every_mode() {
    for device in Device::all() {
        let Some(flash) = device.flash else {
            // C5 and H5E: no source gives the geometry.
            assert!(matches!(device.product_id, 0x44E | 0x44F | 0x45A | 0x47A), "{}", device.name);
            continue;
        };
        for mode in [BankMode::Single, BankMode::Dual] {
            let Some(units) = flash.units(flash.max_kib, mode) else { continue };
            let mut next = flash.start;
            for (index, unit) in units.iter().enumerate() {
                assert_eq!(usize::from(unit.index), index, "{} {mode:?}", device.name);
                assert_eq!(unit.address, next, "{} {mode:?} unit {index}", device.name);
                assert!(unit.bytes.is_power_of_two(), "{} {mode:?}", device.name);
                next = unit.end();
            }
            assert_eq!(next - flash.start, u32::from(flash.max_kib) * 1024, "{} {mode:?}", device.name);
        }
        assert!(flash.units(flash.max_kib, flash.usual_mode(flash.max_kib)).is_some(), "{}", device.name);
    }
}

#[test]
fn an_f405_has_the_sectors_of_its_manual() {
    let f405 = Device::find(0x413, Some(0x31)).unwrap();
    let flash = f405.flash.unwrap();
    let units = flash.units(1024, flash.usual_mode(1024)).unwrap();
    assert_eq!(units.len(), 12);
    assert_eq!(units[4], EraseUnit { index: 4, address: 0x0801_0000, bytes: 64 << 10 });
    assert_eq!(units[11], EraseUnit { index: 11, address: 0x080E_0000, bytes: 128 << 10 });
    let half = flash.units(512, flash.usual_mode(512)).unwrap();
    assert_eq!(half.last().unwrap().index, 7);
}

#[test]
fn an_f429_with_half_its_die_is_one_bank_and_with_all_of_it_two() {
    let flash = Device::find(0x419, Some(0x91)).unwrap().flash.unwrap();
    assert_eq!(flash.usual_mode(1024), BankMode::Single);
    assert_eq!(flash.units(1024, BankMode::Single).unwrap().len(), 12);
    let units = flash.units(2048, flash.usual_mode(2048)).unwrap();
    assert_eq!(units.len(), 24);
    assert_eq!(units[12], EraseUnit { index: 12, address: 0x0810_0000, bytes: 16 << 10 });
}

#[test]
fn an_f767_has_12_sectors_either_way_in_each_bank() {
    let flash = Device::find(0x451, None).unwrap().flash.unwrap();
    assert_eq!(flash.units(2048, BankMode::Single).unwrap().len(), 12);
    let dual = flash.units(2048, BankMode::Dual).unwrap();
    assert_eq!((dual.len(), dual[12].address, dual[12].bytes), (24, 0x0810_0000, 16 << 10));
}

#[test]
fn a_g474_has_pages_of_the_size_its_option_bit_says() {
    let device = Device::find(0x469, None).unwrap();
    let flash = device.flash.unwrap();
    assert_eq!(flash.units(512, BankMode::Dual).unwrap()[1].bytes, 2048);
    assert_eq!(flash.units(512, BankMode::Single).unwrap()[1].bytes, 4096);
    let option = device.traits(None).bank_option.unwrap();
    assert_eq!(option.mode(0xFFEF_F8AA), BankMode::Dual);
    assert_eq!(option.mode(0xFFAF_F8AA), BankMode::Single);
}

#[test]
fn every_part_with_pages_of_two_sizes_says_which_option_bit_decides() {
    for device in Device::all() {
        let both = device.flash.is_some_and(|flash| flash.single.is_some() && flash.dual.is_some());
        assert_eq!(both, device.traits(None).bank_option.is_some(), "{}", device.name);
    }
}

#[test]
fn the_unique_id_is_where_each_family_has_it() {
    let parts = |id| Device::find(id, None).unwrap().uid_parts().unwrap();
    let area = |start, end| Area { start, end };
    assert_eq!(parts(0x413), [area(0x1FFF_7A10, 0x1FFF_7A17), area(0x1FFF_7A18, 0x1FFF_7A1B)]);
    assert_eq!(parts(0x417), [area(0x1FF8_0050, 0x1FF8_0057), area(0x1FF8_0064, 0x1FF8_0067)]);
    assert_eq!(parts(0x427), [area(0x1FF8_00D0, 0x1FF8_00D7), area(0x1FF8_00E4, 0x1FF8_00E7)]);
    // One address for each family, except where a die differs: these are the exceptions.
    let exceptions = [0x452, 0x416, 0x429, 0x459, 0x489, 0x480, 0x485];
    for one in Device::all().iter().filter(|one| !exceptions.contains(&one.product_id)) {
        for other in Device::all().iter().filter(|other| !exceptions.contains(&other.product_id)) {
            if let (Some(a), Some(b)) = (one.uid_address, other.uid_address) {
                assert!(a == b || one.family != other.family || one.family == Family::L1, "{}", one.name);
            }
        }
    }
}

#[test]
fn flash_size_registers_are_masked_by_part() {
    let decode = |id, raw| Device::find(id, None).unwrap().decode_flash_size(raw);
    assert_eq!(decode(0x413, 1024), Some(1024));
    assert_eq!(decode(0x413, 0xFFFF), None);
    assert_eq!(decode(0x413, 0), None);
    assert_eq!(decode(0x466, 0xFF40), Some(64));
    assert_eq!(decode(0x460, 0xFF80), Some(128));
    assert_eq!(decode(0x467, 0xFE00), Some(512));
    assert_eq!(decode(0x436, 0), Some(384));
    assert_eq!(decode(0x436, 1), Some(256));
    assert_eq!(decode(0x429, 0xA080), Some(128));
}

#[test]
fn lookup_takes_the_rom_version_its_alias_or_its_nearest_relative() {
    let found = |id, version| Device::find(id, version).unwrap();
    assert_eq!(found(0x413, Some(0x91)).ram.unwrap().start, 0x2000_3000);
    assert_eq!(found(0x413, Some(0x31)).ram.unwrap().start, 0x2000_2000);
    assert_eq!(found(0x413, None).bootloader_id, Some(0x31));
    assert_eq!(found(0x448, Some(0xA2)).name, "STM32F070xB");
    assert_eq!(found(0x415, Some(0x90)).bootloader_id, Some(0x92));
    assert_eq!(found(0x496, None).product_id, 0x495);
    assert_eq!(Device::find(0x123, None), None);
}

#[test]
fn a_name_finds_its_part_in_any_case() {
    let ids: Vec<u16> = Device::with_name("f405").map(|device| device.product_id).collect();
    assert_eq!(ids, [0x413, 0x413]);
    assert_eq!(Device::with_name("G431").next().unwrap().product_id, 0x468);
    assert_eq!(Device::with_name("F999").count(), 0);
}

#[test]
fn readout_codes_mean_what_each_family_means() {
    let level = |id, byte| Device::find(id, None).unwrap().readout.level(byte);
    assert_eq!(level(0x410, 0xA5), Some(RdpLevel::Zero));
    assert_eq!(level(0x410, 0xCC), Some(RdpLevel::One));
    assert_eq!(level(0x413, 0xAA), Some(RdpLevel::Zero));
    assert_eq!(level(0x413, 0x55), Some(RdpLevel::One));
    assert_eq!(level(0x413, 0xCC), Some(RdpLevel::Two));
    assert_eq!(level(0x482, 0x55), Some(RdpLevel::Half));
    assert_eq!(level(0x484, 0xED), Some(RdpLevel::Zero));
    assert_eq!(level(0x484, 0x5C), Some(RdpLevel::Two));
    assert_eq!(level(0x44E, 0xAA), None);
}

#[test]
fn every_row_names_its_source_and_every_quirk_does() {
    assert!(Device::all().iter().all(|device| !device.source.is_empty() && !device.name.is_empty()));
    assert!(quirk::QUIRKS.iter().all(|quirk| quirk.source.len() > 5));
}

#[test]
fn startup_times_of_slow_starters_keep_both_figures() {
    let startup = |id, version| Device::find(id, version).unwrap().startup.unwrap();
    assert_eq!(startup(0x415, Some(0x92)).worst, Duration::from_millis(2560));
    assert_eq!(startup(0x415, Some(0x92)).best, Duration::from_millis(55));
    assert_eq!(startup(0x418, None).worst, Duration::from_micros(524_400));
    assert_eq!(startup(0x413, Some(0x31)).best, Duration::from_micros(84_590));
}

#[test]
fn the_way_into_the_rom_is_told_for_every_chip() {
    let text = |id| Device::find(id, None).unwrap().entry_conditions();
    assert!(text(0x460).contains("empty flash") && text(0x460).contains("BOOT_LOCK"));
    assert!(text(0x413).contains("BOOT1 = 0"));
    assert!(text(0x440).contains("nBOOT1"));
    assert!(Device::all().iter().all(|device| device.entry_conditions().contains("BOOT0")));
}

#[test]
fn the_first_sync_byte_comes_a_little_after_the_start() {
    let startup = Device::find(0x413, Some(0x31)).unwrap().startup.unwrap();
    assert!(
        startup.first_sync() > startup.best && startup.first_sync() < startup.best + Duration::from_millis(6)
    );
}

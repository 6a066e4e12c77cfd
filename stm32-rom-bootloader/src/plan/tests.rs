//! What plans erase, write, leave alone and refuse.

use super::*;
use crate::image::Region;

fn device(product_id: u16) -> &'static Device {
    Device::find(product_id, None).unwrap()
}

fn plan_of(product_id: u16, regions: &[(u32, &[u8])], options: &PlanOptions) -> Result<Plan, PlanError> {
    let image = Image::new(regions.iter().map(|(address, data)| Region { address: *address, data })).unwrap();
    Plan::new(device(product_id), &image, options)
}

fn with(erase: EraseChoice) -> PlanOptions {
    PlanOptions { erase, ..PlanOptions::default() }
}

fn indices(plan: &Plan) -> Vec<u16> {
    plan.units().iter().map(|unit| unit.index).collect()
}

#[test]
fn only_touched_units_are_erased_and_what_else_stood_in_them_is_lost() {
    let plan =
        plan_of(0x413, &[(0x0800_4100, &[1; 0x300]), (0x0801_0000, &[2; 16])], &with(EraseChoice::Touched));
    let plan = plan.unwrap();
    assert_eq!(indices(&plan), [1, 4]);
    let area = |start, end| Area { start, end };
    assert_eq!(
        plan.lost(),
        [area(0x0800_4000, 0x0800_40FF), area(0x0800_4400, 0x0800_7FFF), area(0x0801_0010, 0x0801_FFFF)]
    );
}

#[test]
fn everything_is_erased_at_once_where_that_is_faster_and_sound() {
    let many = vec![1; 32 << 10];
    // F1: 30 ms for all against 30 ms a page. F4: sectors of 16 KiB are faster than 16 s.
    for (product_id, expected) in
        [(0x410, Erasing::Everything), (0x413, Erasing::Units), (0x417, Erasing::Units)]
    {
        let plan = plan_of(product_id, &[(0x0800_0000, &many)], &PlanOptions::default()).unwrap();
        assert_eq!(plan.erase(), expected, "{product_id:#x}");
    }
    let all = plan_of(0x410, &[(0x0800_0000, &many)], &PlanOptions::default()).unwrap();
    assert_eq!(all.lost(), [Area { start: 0x0800_8000, end: 0x0801_FFFF }]);
    // One page of an F1 is not slower than all of them.
    let one = plan_of(0x410, &[(0x0800_0000, &[1; 4])], &PlanOptions::default()).unwrap();
    assert_eq!(one.erase(), Erasing::Units);
}

#[test]
fn what_has_to_be_kept_is_kept_or_there_is_no_plan() {
    let keep = vec![Area { start: 0x0801_FC00, end: 0x0801_FFFF }];
    let options = PlanOptions { keep: keep.clone(), ..PlanOptions::default() };
    let many = vec![1; 32 << 10];
    assert_eq!(plan_of(0x410, &[(0x0800_0000, &many)], &options).unwrap().erase(), Erasing::Units);
    let error = plan_of(0x410, &[(0x0801_FFFC, &[1; 4])], &options).unwrap_err();
    assert_eq!(error, PlanError::WouldDestroyKept { unit: 0x0801_FC00, kept: 0x0801_FC00 });
    let everything = PlanOptions { keep, ..with(EraseChoice::Everything) };
    assert!(matches!(
        plan_of(0x410, &[(0x0800_0000, &[1])], &everything),
        Err(PlanError::WouldDestroyKept { .. })
    ));
}

#[test]
fn blocks_start_on_256_byte_boundaries_and_never_cross_one() {
    let plan = plan_of(0x440, &[(0x0800_00F0, &[1; 0x220])], &with(EraseChoice::Touched)).unwrap();
    let blocks: Vec<(u32, u16)> = plan.blocks().iter().map(|block| (block.address, block.len)).collect();
    assert_eq!(blocks, [(0x0800_0000, 256), (0x0800_0100, 256), (0x0800_0200, 256), (0x0800_0300, 16)]);
}

#[test]
fn regions_that_share_a_window_share_a_block() {
    let regions: [(u32, &[u8]); 3] =
        [(0x0800_0000, &[1; 8]), (0x0800_0080, &[2; 9]), (0x0800_00F0, &[3; 20])];
    let plan = plan_of(0x468, &regions, &with(EraseChoice::Touched)).unwrap();
    let blocks: Vec<(u32, u16)> = plan.blocks().iter().map(|block| (block.address, block.len)).collect();
    assert_eq!(blocks, [(0x0800_0000, 256), (0x0800_0100, 8)]);
}

#[test]
fn on_an_l0_a_block_stays_within_the_pages_that_are_erased() {
    // Pages of 128 bytes: the first half of the window is another page, which is not touched.
    let plan = plan_of(0x417, &[(0x0800_0090, &[1; 8])], &PlanOptions::default()).unwrap();
    assert_eq!(indices(&plan), [1]);
    assert_eq!(plan.blocks(), [Block { address: 0x0800_0080, len: 24, ram: false }]);
    let plan = plan_of(0x417, &[(0x0800_0000, &[1; 8])], &PlanOptions::default()).unwrap();
    assert!(plan.blocks()[0].end() <= 0x0800_0080);
}

#[test]
fn blank_blocks_are_left_out_and_known() {
    let mut data = [0xFF; 1024];
    data[700] = 0;
    let plan = plan_of(0x440, &[(0x0800_0000, &data)], &with(EraseChoice::Touched)).unwrap();
    let addresses = |blocks: &[Block]| blocks.iter().map(|block| block.address).collect::<Vec<_>>();
    assert_eq!(addresses(plan.blocks()), [0x0800_0200]);
    assert_eq!(addresses(plan.blank_blocks()), [0x0800_0000, 0x0800_0100, 0x0800_0300]);
    // On L1 erased flash reads zero: there it is the other way round.
    let plan = plan_of(0x427, &[(0x0800_0000, &data)], &PlanOptions::default()).unwrap();
    assert_eq!((plan.blocks().len(), plan.blank_blocks().len()), (4, 0));
}

#[test]
fn without_an_erase_nothing_is_padded_in_front() {
    let plan = plan_of(0x468, &[(0x0800_0044, &[1; 20])], &with(EraseChoice::Nothing)).unwrap();
    assert_eq!(plan.blocks(), [Block { address: 0x0800_0040, len: 24, ram: false }]);
    assert!(plan.units().is_empty() && plan.lost().is_empty());
}

#[test]
fn an_image_that_does_not_fit_has_no_plan() {
    let outside = |address| Err(PlanError::OutsideMemory { address });
    assert_eq!(plan_of(0x440, &[(0x0801_0000, &[1])], &PlanOptions::default()), outside(0x0801_0000));
    assert_eq!(plan_of(0x440, &[(0x0800_FFFF, &[1; 2])], &PlanOptions::default()), outside(0x0801_0000));
    assert_eq!(plan_of(0x440, &[(0x2000_0000, &[1])], &PlanOptions::default()), outside(0x2000_0000));
    let small = PlanOptions { flash_kib: Some(16), ..PlanOptions::default() };
    assert_eq!(plan_of(0x440, &[(0x0800_4000, &[1])], &small), outside(0x0800_4000));
    assert!(plan_of(0x440, &[(0x2000_0800, &[1])], &small).is_ok());
}

#[test]
fn flash_nobody_knows_or_that_does_not_exist_has_no_plan() {
    let unknown = plan_of(0x44E, &[(0x0800_0000, &[1])], &PlanOptions::default());
    assert!(matches!(unknown, Err(PlanError::UnknownGeometry { .. })));
    for (kib, banks) in [(Some(4096), None), (Some(0), None), (None, Some(BankMode::Dual))] {
        let options = PlanOptions { flash_kib: kib, banks, ..PlanOptions::default() };
        let plan = plan_of(0x440, &[(0x0800_0000, &[1])], &options);
        assert!(matches!(plan, Err(PlanError::NoSuchFlash { .. })), "{kib:?} {banks:?}");
    }
}

#[test]
fn the_bank_mode_decides_the_pages() {
    let erased = |banks| {
        let options = PlanOptions { banks, ..with(EraseChoice::Touched) };
        let plan = plan_of(0x469, &[(0x0800_1000, &[1; 8])], &options).unwrap();
        (plan.units()[0].index, plan.units()[0].bytes)
    };
    assert_eq!(erased(None), (2, 2048));
    assert_eq!(erased(Some(BankMode::Single)), (1, 4096));
}

#[test]
fn a_voltage_is_used_only_where_it_is_of_use() {
    let options = PlanOptions { voltage: Some(SupplyVoltage::From2V7), ..PlanOptions::default() };
    let f4 = plan_of(0x413, &[(0x0800_0000, &[1])], &options).unwrap();
    assert_eq!((f4.voltage(), f4.parallelism()), (Some(SupplyVoltage::From2V7), Parallelism::X32));
    assert_eq!(plan_of(0x410, &[(0x0800_0000, &[1])], &options).unwrap().voltage(), None);
}

#[test]
fn a_plan_knows_what_it_allows() {
    let plan = plan_of(0x440, &[(0x0800_0400, &[1; 300])], &with(EraseChoice::Touched)).unwrap();
    assert!(plan.allows_write(0x0800_0400, 256) && plan.allows_write(0x0800_0500, 44));
    assert!(!plan.allows_write(0x0800_0500, 48) && !plan.allows_write(0x0800_03FC, 8));
    assert!(!plan.allows_write(0x0800_0400, 300) && !plan.allows_write(0xFFFF_FFFC, 8));
    assert!(plan.allows_erase(1) && !plan.allows_erase(0) && !plan.allows_erase(2));
}

#[test]
fn the_estimate_of_the_f103_is_that_of_its_datasheet_and_its_wire() {
    // 64 KiB at 115200 baud: 256 blocks of 25.6 ms on the wire and 6.7 ms of flash, and as much wire to verify.
    let data = vec![1; 64 << 10];
    let plan = plan_of(0x410, &[(0x0800_0000, &data)], &PlanOptions::default()).unwrap();
    let link = LinkModel {
        speed: LinkSpeed::Uart { baud: 115_200 },
        latency: core::time::Duration::from_millis(16),
    };
    let estimate = plan.estimate(&link);
    let seconds = |time: core::time::Duration| time.as_secs_f64();
    assert!((seconds(estimate.write.bus + estimate.write.flash) - 8.25).abs() < 0.02, "{estimate:?}");
    assert!((seconds(estimate.verify.bus) - 6.55).abs() < 0.01, "{estimate:?}");
    assert!((seconds(estimate.write.latency) - 12.288).abs() < 0.001, "{estimate:?}");
    assert_eq!(
        estimate.sum().total(),
        [estimate.connect, estimate.erase, estimate.write, estimate.verify].iter().map(Estimate::total).sum()
    );
}

#[test]
fn plans_for_every_chip_stay_within_their_rules() {
    // Seeded shapes on every device: blocks in order, inside erased units and windows, every byte covered once.
    let mut seed = 1u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    for device in Device::all().iter().filter(|device| device.flash.is_some()) {
        for _ in 0..20 {
            let flash = device.flash.unwrap();
            let size = u32::from(flash.max_kib) * 1024;
            let data = vec![0x5A; 1 + random(3000.min(size - 1)) as usize];
            let address = flash.start + random(size - data.len() as u32 + 1);
            let image = Image::new([Region { address, data: &data }]).unwrap();
            let erase = [EraseChoice::Auto, EraseChoice::Touched][random(2) as usize];
            let plan = Plan::new(device, &image, &with(erase)).unwrap();
            let mut next = 0;
            for block in plan.blocks() {
                assert!(block.address >= next && block.len > 0 && block.len <= 256, "{}", device.name);
                assert_eq!(block.address / BLOCK, (block.end() - 1) / BLOCK, "{}", device.name);
                assert!(
                    u32::from(block.len).is_multiple_of(4) && block.address.is_multiple_of(4),
                    "{}",
                    device.name
                );
                let erased =
                    |at: u32| plan.units().iter().any(|unit| (unit.address..unit.end()).contains(&at));
                assert!(erased(block.address) && erased(block.end() - 1), "{} {block:x?}", device.name);
                next = block.end();
            }
            let end = address + data.len() as u32;
            assert!((address..end).step_by(37).all(|at| plan.allows_write(at, 1)), "{}", device.name);
        }
    }
}

#[test]
fn the_flash_size_is_worth_a_read_only_if_a_smaller_chip_would_get_another_plan() {
    let depends = |product_id, address, len: usize, options: &PlanOptions| {
        let data = vec![1; len];
        let image = Image::new([Region { address, data: &data }]).unwrap();
        Plan::depends_on_flash_size(device(product_id), &image, options)
    };
    let touched = with(EraseChoice::Touched);
    // 64 KiB fit on every STM32F40x, and what lies behind them need not.
    assert!(!depends(0x413, 0x0800_0000, 64 << 10, &touched));
    assert!(depends(0x413, 0x0800_0000, (64 << 10) + 1, &touched));
    assert!(depends(0x413, 0x0804_0000, 4, &touched));
    // What is lost by erasing everything is a matter of size; so are the banks of an F42x and of an L47x.
    assert!(depends(0x410, 0x0800_0000, 4 << 10, &with(EraseChoice::Everything)));
    assert!(depends(0x419, 0x0800_0000, 4 << 10, &touched));
    // RAM is the same on all of them.
    assert!(!depends(0x413, 0x2000_4000, 64, &touched));
    // And nobody knows the flash of this one.
    let unknown = Device::all().iter().find(|device| device.flash.is_none()).unwrap();
    let image = Image::new([Region { address: 0x0800_0000, data: &[1; 4] }]).unwrap();
    assert!(Plan::depends_on_flash_size(unknown, &image, &touched));
}

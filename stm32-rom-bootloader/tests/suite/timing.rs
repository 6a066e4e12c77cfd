//! How long jobs take, against the physical bound that the plan computes.

use core::time::Duration;

use stm32_rom_bootloader::device::SupplyVoltage;
use stm32_rom_bootloader::testing::{CanLink, Quirks, ToyCan, ToyUart, UartLink, run_can, run_uart};
use stm32_rom_bootloader::{
    CanKind, CanRate, CanSession, CanSettings, Chip, EraseChoice, Image, LinkModel, LinkSpeed, Plan,
    PlanOptions, Program, Region, UartSession, UartSettings,
};

use crate::common::device;

fn image(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 253) as u8 & 0x7F | 1).collect()
}

struct Timed {
    seconds: f64,
    bound: f64,
    latency: f64,
}

fn uart(product_id: u16, len: usize, baud: u32, latency_ms: u64, options: &PlanOptions) -> Timed {
    let data = image(len);
    let start = device(product_id).flash.unwrap().start;
    let image = Image::new([Region { address: start, data: &data }]).unwrap();
    let plan = Plan::new(device(product_id), &image, options).unwrap();
    let latency = Duration::from_millis(latency_ms);
    let settings = UartSettings {
        latency,
        chip: Chip::Expect(device(product_id)),
        entry: stm32_rom_bootloader::Entry::Reset,
        ..UartSettings::new(baud)
    };
    let mut session = UartSession::new(Program::new(&plan, &image), settings, Duration::ZERO);
    let mut toy = ToyUart::new(device(product_id), Quirks { voltage_range: true, ..Quirks::default() });
    let link = UartLink { latency, lines: true, ..UartLink::new(baud) };
    let run = run_uart(&mut session, &mut toy, &link, Duration::ZERO);
    run.result.unwrap().unwrap();
    assert_eq!(toy.bytes_lost, 0, "sent while the ROM could not listen");
    let estimate = plan.estimate(&LinkModel { speed: LinkSpeed::Uart { baud }, latency }).sum();
    Timed {
        seconds: run.time.as_secs_f64(),
        bound: estimate.total().as_secs_f64(),
        latency: estimate.latency.as_secs_f64(),
    }
}

#[test]
fn with_a_perfect_adapter_a_job_takes_its_bound() {
    for (product_id, len) in
        [(0x410, 64 << 10), (0x413, 64 << 10), (0x468, 32 << 10), (0x417, 8 << 10), (0x440, 2000)]
    {
        for baud in [115_200, 230_400, 460_800] {
            let timed = uart(product_id, len, baud, 0, &PlanOptions::default());
            let ratio = timed.seconds / timed.bound;
            assert!((0.995..=1.02).contains(&ratio), "{product_id:#x} at {baud}: {ratio:.4}");
        }
    }
}

#[test]
fn latency_costs_three_waits_a_block_and_nothing_more() {
    for latency in [1, 16] {
        let timed = uart(0x410, 16 << 10, 115_200, latency, &PlanOptions::default());
        let blocks = (16 << 10) as f64 / 256.0;
        // Write and verify; the rest is connecting and erasing.
        let waits = 2.0 * blocks * 3.0 * latency as f64 / 1000.0;
        assert!(timed.latency - waits < 0.015 * latency as f64, "{}", timed.latency);
        let ratio = timed.seconds / timed.bound;
        assert!((0.995..=1.02).contains(&ratio), "{latency} ms: {ratio:.4}");
    }
}

#[test]
fn with_the_voltage_stated_an_f4_programs_a_block_in_one_millisecond() {
    let touched = PlanOptions { erase: EraseChoice::Touched, ..PlanOptions::default() };
    let fast = PlanOptions { voltage: Some(SupplyVoltage::From2V7), ..touched.clone() };
    let (slow, fast) =
        (uart(0x413, 32 << 10, 460_800, 0, &touched), uart(0x413, 32 << 10, 460_800, 0, &fast));
    // 128 blocks: 4.1 ms each against 1.0; two sectors of 16 KiB: 400 ms each against 250.
    let saved = slow.seconds - fast.seconds;
    assert!((0.68..0.70).contains(&saved), "{saved}");
    assert!(fast.seconds / fast.bound <= 1.02);
}

#[test]
fn blank_blocks_cost_nothing() {
    let mut data = image(16 << 10);
    data[4 << 10..8 << 10].fill(0xFF);
    let image = Image::new([Region { address: 0x0800_0000, data: &data }]).unwrap();
    let plan = Plan::new(device(0x410), &image, &PlanOptions::default()).unwrap();
    let link = LinkModel { speed: LinkSpeed::Uart { baud: 115_200 }, latency: Duration::ZERO };
    let estimate = plan.estimate(&link);
    assert_eq!(plan.bytes(), 12 << 10);
    let verify = estimate.verify.bus.as_secs_f64();
    assert!((verify - 48.0 * 0.02559).abs() < 0.001, "{verify}");
}

#[test]
fn over_can_a_job_takes_its_bound_too() {
    let kinds = [
        (CanKind::Classic { speed: None }, LinkSpeed::Can(CanRate::Kbit125), 0x413, Duration::ZERO),
        // Speed alone takes 303 ms until its second ACK, which the bound does not know.
        (
            CanKind::Classic { speed: Some(CanRate::Mbit1) },
            LinkSpeed::Can(CanRate::Mbit1),
            0x413,
            Duration::from_millis(305),
        ),
        (CanKind::Fd, LinkSpeed::FdCan, 0x472, Duration::ZERO),
    ];
    for (kind, speed, product_id, extra) in kinds {
        let data = image(32 << 10);
        let image = Image::new([Region { address: 0x0800_0000, data: &data }]).unwrap();
        let plan = Plan::new(device(product_id), &image, &PlanOptions::default()).unwrap();
        let settings = CanSettings {
            kind,
            chip: Chip::Expect(device(product_id)),
            entry: stm32_rom_bootloader::Entry::Reset,
            ..CanSettings::classic()
        };
        let mut session = CanSession::new(Program::new(&plan, &image), settings, Duration::ZERO);
        let mut toy = ToyCan::new(device(product_id), kind == CanKind::Fd, Quirks::default());
        let run = run_can(&mut session, &mut toy, &CanLink::default(), Duration::ZERO);
        run.result.unwrap().unwrap();
        let bound = plan.estimate(&LinkModel { speed, latency: Duration::ZERO }).sum().total() + extra;
        let ratio = run.time.as_secs_f64() / bound.as_secs_f64();
        assert!((0.98..=1.02).contains(&ratio), "{kind:?}: {ratio:.4}");
    }
}

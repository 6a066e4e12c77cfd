//! The whole job over USART: what is erased, written and read back, resumed and survived.

use core::time::Duration;

use stm32_rom_bootloader::testing::{Quirks, Run, ToyUart, UartLink, run_uart, run_uart_with};
use stm32_rom_bootloader::{
    Area, Compare, EraseChoice, Erasing, Error, Event, Finish, Image, LineAction, Note, Plan, PlanOptions,
    Program, Programmed, Region, Resume, Step, UartSession, UartSettings, Verify,
};

use crate::common::{device, run, run_on, toy};

/// Bytes that are neither blank nor alike.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251 + 1) as u8 & 0x7F).collect()
}

/// A job for a chip: `data` at an offset into its flash.
struct Job {
    data: Vec<u8>,
    start: u32,
    product_id: u16,
    options: PlanOptions,
}

impl Job {
    fn new(product_id: u16, len: usize) -> Self {
        let start = device(product_id).flash.unwrap().start;
        Self { data: pattern(len), start, product_id, options: PlanOptions::default() }
    }

    fn image(&self) -> Image<'_> {
        Image::new([Region { address: self.start, data: &self.data }]).unwrap()
    }

    fn plan(&self) -> Plan {
        Plan::new(device(self.product_id), &self.image(), &self.options).unwrap()
    }

    fn is_in(&self, toy: &ToyUart) -> bool {
        (self.start..).zip(&self.data).all(|(address, byte)| toy.memory.peek(address) == *byte)
    }

    fn run(&self, toy: &mut ToyUart, change: impl FnOnce(&mut Program<'_>)) -> Run<Programmed> {
        self.run_on(toy, &UartLink::new(115_200), change)
    }

    fn run_on(
        &self,
        toy: &mut ToyUart,
        link: &UartLink,
        change: impl FnOnce(&mut Program<'_>),
    ) -> Run<Programmed> {
        let (image, plan) = (self.image(), self.plan());
        let mut program = Program::new(&plan, &image);
        change(&mut program);
        let mut run = run_on(program, toy, link);
        // Nothing outside the plan, ever.
        for (address, len) in &toy.memory.writes {
            let filler_only = plan.allows_write(*address, *len as u32) || *address == 0xFFFF_0000;
            if !filler_only {
                run.result = None;
            }
        }
        run
    }
}

fn done(run: Run<Programmed>) -> Programmed {
    run.result.expect("ended within the plan").unwrap()
}

#[test]
fn an_f103_is_mass_erased_written_and_read_back() {
    let job = Job::new(0x410, 10_000);
    let mut toy = toy(0x410, Quirks::default());
    toy.memory.poke(0x0800_0000, &[0; 2000]);
    assert_eq!(job.plan().erase(), Erasing::Everything);
    let run = job.run(&mut toy, |_| {});
    assert_eq!(run.times_sent(&[0x43, 0xBC]), 1);
    let outcome = done(run);
    assert!(job.is_in(&toy) && !toy.memory.wrote_over);
    assert_eq!(outcome.blocks_written, 10_000usize.div_ceil(256));
    assert_eq!(toy.memory.mass_erases, 1);
}

#[test]
fn an_f405_erases_only_the_sectors_touched() {
    let mut job = Job::new(0x413, 40_000);
    job.start += 20_000 & !0xFF;
    let mut toy = toy(0x413, Quirks::default());
    toy.memory.poke(0x0800_0000, &[0; 0x10_0000]);
    let outcome = done(job.run(&mut toy, |_| {}));
    assert_eq!(toy.memory.erased_units, [1, 2, 3]);
    assert_eq!(outcome.units_erased, 3);
    assert!(job.is_in(&toy) && !toy.memory.wrote_over);
    assert_eq!(toy.memory.peek(0x0800_0000), 0);
    assert_eq!(toy.memory.peek(0x0801_0000), 0);
}

#[test]
fn blank_blocks_are_neither_written_nor_read_back() {
    let mut job = Job::new(0x440, 16 * 256);
    job.data[256..1024].fill(0xFF);
    job.data[2048..2304].fill(0xFF);
    let mut toy = toy(0x440, Quirks::default());
    let outcome = done(job.run(&mut toy, |_| {}));
    assert_eq!(outcome.blocks_written, 12);
    assert_eq!((toy.memory.writes.len(), toy.memory.reads), (12, 12));
    assert!(job.is_in(&toy));
}

#[test]
fn on_an_l0_erased_flash_is_zero_so_blocks_of_0xff_are_written() {
    let mut job = Job::new(0x417, 1024);
    job.data[256..512].fill(0xFF);
    job.data[512..768].fill(0x00);
    let mut toy = toy(0x417, Quirks::default());
    done(job.run(&mut toy, |_| {}));
    assert_eq!(toy.memory.writes.len(), 3);
    assert!(job.is_in(&toy));
    assert_eq!(toy.memory.mass_erases, 0);
}

#[test]
fn every_transmit_is_one_frame_and_every_answer_is_followed_at_once() {
    let job = Job::new(0x440, 256);
    let mut toy = toy(0x440, Quirks { startup: Some(Duration::ZERO), ..Quirks::default() });
    let run = job.run(&mut toy, |_| {});
    let lengths: Vec<usize> = run.sent.iter().map(Vec::len).collect();
    // Sync, Get, Get ID, erase one page, write, read.
    assert_eq!(lengths, [1, 2, 2, 2, 5, 2, 5, 258, 2, 5, 2], "{:02x?}", run.sent);
}

#[test]
fn a_tail_is_padded_to_what_the_family_programs() {
    for (product_id, padded) in [(0x440, 4), (0x460, 8), (0x450, 64), (0x482, 16)] {
        let mut job = Job::new(product_id, 1);
        job.options.bootloader_id = device(product_id).bootloader_id;
        if product_id == 0x450 {
            job.options.bootloader_id = Some(0x90);
        }
        let plan = job.plan();
        assert_eq!(plan.blocks()[0].len, padded, "{product_id:#x}");
    }
}

#[test]
fn a_wrong_byte_is_found_by_reading_back() {
    let job = Job::new(0x440, 1000);
    let (image, plan) = (job.image(), job.plan());
    let mut toy = toy(0x440, Quirks::default());
    done(job.run(&mut toy, |_| {}));
    toy.memory.poke(0x0800_0203, &[0xEE]);
    toy.reset(Duration::ZERO, true);
    let run = run(Verify { plan: &plan, image: &image }, &mut toy);
    match run.result.unwrap().unwrap_err() {
        Error::VerifyFailed { address: 0x0800_0203, got: 0xEE, differing: 1, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_blank_in_the_image_must_be_blank_in_the_flash_when_only_verified() {
    let mut job = Job::new(0x440, 1024);
    job.data[512..].fill(0xFF);
    let (image, plan) = (job.image(), job.plan());
    let mut toy = toy(0x440, Quirks::default());
    done(job.run(&mut toy, |_| {}));
    toy.reset(Duration::ZERO, true);
    let good = run(Verify { plan: &plan, image: &image }, &mut toy).result.unwrap().unwrap();
    assert_eq!(good.blocks, 4);
    toy.memory.poke(0x0800_0300, &[0]);
    toy.reset(Duration::ZERO, true);
    assert!(run(Verify { plan: &plan, image: &image }, &mut toy).result.unwrap().is_err());
}

#[test]
fn taking_stock_tells_blank_from_half_written_from_other() {
    let mut job = Job::new(0x440, 2048);
    job.data[256..512].fill(0xFF);
    let (image, plan) = (job.image(), job.plan());
    let stock = |contents: &[u8]| {
        let mut toy = toy(0x440, Quirks::default());
        toy.memory.poke(job.start, contents);
        let outcome = run(Compare { plan: &plan, image: &image }, &mut toy).result.unwrap().unwrap();
        assert!(toy.memory.writes.is_empty() && toy.memory.erased_units.is_empty());
        (outcome.as_planned, outcome.blank, outcome.other)
    };
    assert_eq!(stock(&[]), (1, 7, 0));
    assert_eq!(stock(&job.data[..1000]), (3, 4, 1));
    assert_eq!(stock(&job.data), (8, 0, 0));
    assert_eq!(stock(&[0x55; 2048]), (0, 0, 8));
}

#[test]
fn the_wrong_chip_is_not_touched() {
    let job = Job::new(0x440, 100);
    let mut toy = toy(0x413, Quirks::default());
    let run = job.run(&mut toy, |_| {});
    assert_eq!(run.result.unwrap().unwrap_err(), Error::WrongChip { expected: 0x440, got: 0x413 });
    assert!(toy.memory.writes.is_empty() && toy.memory.mass_erases == 0);
}

#[test]
fn a_protected_chip_is_an_error_unless_erasing_everything_is_allowed() {
    for product_id in [0x410, 0x413] {
        let job = Job::new(product_id, 3000);
        let quirks = Quirks { protected: true, resets_itself: product_id == 0x413, ..Quirks::default() };
        let mut chip = toy(product_id, quirks.clone());
        let run = job.run(&mut chip, |_| {});
        assert!(matches!(run.result, Some(Err(Error::Protected { .. }))), "{:?}", run.result);
        assert_eq!(chip.memory.mass_erases, 0);

        let mut chip = toy(product_id, quirks);
        let link = UartLink { lines: true, ..UartLink::new(115_200) };
        let outcome = done(job.run_on(&mut chip, &link, |program| program.unprotect_readout = true));
        assert!(outcome.unprotected && job.is_in(&chip));
        // Lifting the protection has erased everything; nothing is erased again.
        assert_eq!((chip.memory.mass_erases, chip.memory.erased_units.len()), (1, 0));
        assert!(!chip.memory.options_pending);
    }
}

#[test]
fn resuming_at_a_block_erases_nothing_and_reads_everything_back() {
    let job = Job::new(0x440, 2048);
    let mut toy = toy(0x440, Quirks::default());
    toy.memory.poke(job.start, &job.data[..1024]);
    let outcome = done(job.run(&mut toy, |program| program.resume = Resume::AtBlock(4)));
    assert_eq!(outcome.blocks_written, 4);
    assert_eq!((toy.memory.mass_erases, toy.memory.erased_units.len(), toy.memory.reads), (0, 0, 8));
    assert!(job.is_in(&toy));
}

#[test]
fn resuming_by_comparing_erases_only_what_is_wrong() {
    let mut job = Job::new(0x440, 8 * 1024);
    job.options.erase = EraseChoice::Touched;
    job.data[0x1400..0x1500].fill(0xFF);
    let mut toy = toy(0x440, Quirks::default());
    // Pages 0 and 1 are right, 2 is half written, 3 has a wrong byte, 4 a byte where the image is blank, 5 to 7
    // are blank.
    toy.memory.poke(job.start, &job.data[..0x0A00]);
    toy.memory.poke(job.start + 0x0C00, &job.data[0x0C00..0x1000]);
    toy.memory.poke(job.start + 0x0C10, &[0xEE]);
    toy.memory.poke(job.start + 0x1480, &[0x12]);
    let outcome = done(job.run(&mut toy, |program| program.resume = Resume::Compare));
    assert_eq!(toy.memory.erased_units, [3, 5]);
    assert!(job.is_in(&toy) && !toy.memory.wrote_over);
    assert!(outcome.blocks_written < 32 - 10, "{}", outcome.blocks_written);
}

#[test]
fn comparing_a_finished_chip_changes_nothing() {
    let job = Job::new(0x413, 5000);
    let mut toy = toy(0x413, Quirks::default());
    toy.memory.poke(job.start, &job.data);
    let outcome = done(job.run(&mut toy, |program| program.resume = Resume::Compare));
    assert_eq!((outcome.blocks_written, outcome.units_erased), (0, 0));
    assert!(toy.memory.writes.is_empty());
}

#[test]
fn comparing_on_an_l0_looks_at_half_blocks_because_its_pages_are_half_blocks() {
    let mut job = Job::new(0x417, 1024);
    job.options.erase = EraseChoice::Touched;
    let mut toy = toy(0x417, Quirks::default());
    toy.memory.poke(job.start, &job.data);
    toy.memory.poke(job.start + 0x90, &[0xEE]);
    let outcome = done(job.run(&mut toy, |program| program.resume = Resume::Compare));
    assert_eq!(toy.memory.erased_units, [1]);
    assert_eq!(outcome.blocks_written, 1);
    assert!(job.is_in(&toy));
}

#[test]
fn a_job_cut_at_any_byte_is_finished_by_a_second_one() {
    let mut job = Job::new(0x440, 700);
    job.options.erase = EraseChoice::Touched;
    let quirks = Quirks { startup: Some(Duration::ZERO), ..Quirks::default() };
    let whole = job.run(&mut toy(0x440, quirks.clone()), |_| {});
    let bytes = whole.sent.concat().len();
    assert!(bytes > 750);
    for cut in 1..bytes {
        for power_lost in [false, true] {
            let mut chip = toy(0x440, quirks.clone());
            let link = UartLink { cut_after_bytes: Some(cut), ..UartLink::new(115_200) };
            assert!(job.run_on(&mut chip, &link, |_| {}).result.is_none());
            if power_lost {
                chip.reset(Duration::ZERO, true);
            }
            // A chip that is still erasing or programming has time to end it.
            while chip.pop().is_some() {}
            let resume = if cut % 2 == 0 { Resume::Compare } else { Resume::FromStart };
            let (image, plan) = (job.image(), job.plan());
            let mut program = Program::new(&plan, &image);
            program.resume = resume;
            let later = Duration::from_secs(60);
            let mut session = UartSession::new(program, UartSettings::new(115_200), later);
            let run = run_uart(&mut session, &mut chip, &UartLink::new(115_200), later);
            let tail = &run.sent[run.sent.len().saturating_sub(8)..];
            assert!(run.result.as_ref().unwrap().is_ok(), "cut after {cut}: {:?} {tail:02x?}", run.result);
            assert!(job.is_in(&chip), "cut after {cut}");
        }
    }
}

#[test]
fn a_single_lost_byte_never_fails_a_job_nor_writes_anything_wrong() {
    let mut job = Job::new(0x440, 600);
    // Bytes that filler could replace by accident.
    job.data[10..26].copy_from_slice(&core::array::from_fn::<u8, 16, _>(|at| 0xF0 | at as u8));
    job.data[300] = 0xFF;
    job.options.erase = EraseChoice::Touched;
    let quirks = Quirks { startup: Some(Duration::ZERO), ..Quirks::default() };
    let whole = job.run(&mut toy(0x440, quirks.clone()), |_| {});
    let sent = whole.sent.concat().len();
    for number in 0..sent {
        let mut chip = toy(0x440, quirks.clone());
        chip.memory.poke(0x0800_0C00, &[0x55; 1024]);
        let link = UartLink { lose_sent_byte: Some(number), ..UartLink::new(115_200) };
        let run = job.run_on(&mut chip, &link, |_| {});
        let result = run.result.expect("within the plan");
        assert!(result.is_ok() || matches!(result, Err(Error::NotBlank { .. })), "byte {number}: {result:?}");
        assert!(result.is_err() || job.is_in(&chip), "byte {number}");
        // Flash the plan does not touch is as it was.
        assert!((0x0800_0C00..0x0800_1000).all(|address| chip.memory.peek(address) == 0x55), "byte {number}");
    }
    for number in 0..700 {
        let mut chip = toy(0x440, quirks.clone());
        let link = UartLink { lose_received_byte: Some(number), ..UartLink::new(115_200) };
        let run = job.run_on(&mut chip, &link, |_| {});
        assert!(run.result.as_ref().is_some_and(Result::is_ok), "answer {number}: {:?}", run.result);
        assert!(job.is_in(&chip), "answer {number}");
    }
}

#[test]
fn a_chip_that_resets_mid_way_is_taken_up_again() {
    let mut job = Job::new(0x440, 600);
    job.options.erase = EraseChoice::Touched;
    let quirks = Quirks { startup: Some(Duration::ZERO), ..Quirks::default() };
    let sent = job.run(&mut toy(0x440, quirks.clone()), |_| {}).sent.concat().len();
    let (mut finished, mut tried) = (0, 0);
    for number in (0..sent).step_by(3) {
        let mut chip = toy(0x440, quirks.clone());
        let link = UartLink { reset_at_byte: Some(number), lines: true, ..UartLink::new(115_200) };
        let run = job.run_on(&mut chip, &link, |_| {});
        tried += 1;
        finished += u32::from(run.result.unwrap().is_ok() && job.is_in(&chip));
    }
    assert_eq!(finished, tried);
}

#[test]
fn a_driver_with_lines_is_asked_for_a_reset_when_nothing_else_helps() {
    let mut job = Job::new(0x440, 600);
    job.options.erase = EraseChoice::Touched;
    let mut chip = toy(0x440, Quirks { startup: Some(Duration::ZERO), ..Quirks::default() });
    let (image, plan) = (job.image(), job.plan());
    let mut session =
        UartSession::new(Program::new(&plan, &image), UartSettings::new(115_200), Duration::ZERO);
    let link = UartLink { reset_at_byte: Some(300), lines: true, ..UartLink::new(115_200) };
    let run = run_uart(&mut session, &mut chip, &link, Duration::ZERO);
    assert_eq!(run.lines, [LineAction::EnterRom]);
    assert!(run.result.unwrap().is_ok() && job.is_in(&chip));
}

#[test]
fn without_lines_a_chip_that_resets_mid_way_is_found_again_or_told() {
    let mut job = Job::new(0x440, 600);
    job.options.erase = EraseChoice::Touched;
    let quirks = Quirks { startup: Some(Duration::ZERO), ..Quirks::default() };
    let sent = job.run(&mut toy(0x440, quirks.clone()), |_| {}).sent.concat().len();
    let mut finished = 0;
    for number in (0..sent).step_by(3) {
        let mut chip = toy(0x440, quirks.clone());
        let link = UartLink { reset_at_byte: Some(number), ..UartLink::new(115_200) };
        let run = job.run_on(&mut chip, &link, |_| {});
        // Bytes of the job that reach a ROM waiting for its sync byte send it to a wrong rate: then only a reset
        // helps, and a second call.
        match run.result.expect("within the plan") {
            Ok(_) => {
                finished += 1;
                assert!(job.is_in(&chip), "byte {number}");
            }
            Err(_) => {
                chip.reset(Duration::ZERO, true);
                let again = job.run(&mut chip, |program| program.resume = Resume::Compare);
                assert!(again.result.unwrap().is_ok() && job.is_in(&chip), "byte {number}");
            }
        }
    }
    assert!(finished > 0);
}

#[test]
fn what_the_rom_was_told_of_the_supply_is_told_again_after_a_reset() {
    let mut job = Job::new(0x413, 1000);
    job.options.voltage = Some(stm32_rom_bootloader::device::SupplyVoltage::From2V7);
    let mut chip = toy(0x413, Quirks { voltage_range: true, ..Quirks::default() });
    let link = UartLink { reset_at_byte: Some(400), lines: true, ..UartLink::new(115_200) };
    let run = job.run_on(&mut chip, &link, |_| {});
    assert_eq!(run.times_sent(&[3, 3, 0xFF, 0xFF, 0xFF, 0xFF]), 2);
    assert!(run.result.unwrap().is_ok() && job.is_in(&chip));
}

#[test]
fn a_refused_voltage_is_noted_and_the_job_goes_on() {
    let mut job = Job::new(0x413, 1000);
    job.options.voltage = Some(stm32_rom_bootloader::device::SupplyVoltage::From2V7);
    let mut chip = toy(0x413, Quirks { voltage_range: true, refuse_voltage: true, ..Quirks::default() });
    let run = job.run(&mut chip, |_| {});
    assert!(run.events.contains(&Event::Note(Note::VoltageRangeRefused)));
    assert!(run.result.unwrap().is_ok());
}

#[test]
fn ram_is_written_as_it_is_and_started() {
    let mut job = Job::new(0x413, 1001);
    job.start = 0x2000_4000;
    job.data[256..512].fill(0xFF);
    let mut toy = toy(0x413, Quirks::default());
    let run = job.run(&mut toy, |program| program.finish = Finish::Go(0x2000_4000));
    assert!(job.is_in(&toy) && run.result.unwrap().is_ok());
    assert_eq!((toy.memory.writes.len(), toy.memory.mass_erases, toy.memory.erased_units.len()), (4, 0, 0));
    assert_eq!(toy.started_at, Some(0x2000_4000));
}

#[test]
fn steps_and_progress_come_in_the_order_promised() {
    let job = Job::new(0x440, 600);
    let run = job.run(&mut toy(0x440, Quirks::default()), |_| {});
    let steps: Vec<Step> = run
        .events
        .iter()
        .filter_map(|event| if let Event::Step(step) = event { Some(*step) } else { None })
        .collect();
    assert_eq!(steps, [Step::Connect, Step::Identify, Step::Prepare, Step::Erase, Step::Write, Step::Verify]);
    let written: Vec<(u32, u32)> = run
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Progress { step: Step::Write, done, total } => Some((*done, *total)),
            _ => None,
        })
        .collect();
    assert_eq!(written, [(256, 600), (512, 600), (600, 600)]);
}

#[test]
fn cancelling_stops_at_once() {
    let job = Job::new(0x440, 600);
    let (image, plan) = (job.image(), job.plan());
    let mut session =
        UartSession::new(Program::new(&plan, &image), UartSettings::new(115_200), Duration::ZERO);
    let mut toy = toy(0x440, Quirks::default());
    let link = UartLink { deadline: Duration::from_millis(40), ..UartLink::new(115_200) };
    assert!(run_uart(&mut session, &mut toy, &link, Duration::ZERO).result.is_none());
    session.cancel(Duration::from_millis(50));
    let end = loop {
        match session.poll() {
            stm32_rom_bootloader::Output::Done(result) => break result,
            stm32_rom_bootloader::Output::Wait { .. } => panic!("still waiting"),
            _ => {}
        }
    };
    assert!(matches!(end, Err(Error::Cancelled { .. })));
}

#[test]
fn a_chip_can_be_reset_into_its_application_in_the_end() {
    let job = Job::new(0x440, 100);
    let (image, plan) = (job.image(), job.plan());
    let mut program = Program::new(&plan, &image);
    program.finish = Finish::Reset;
    let mut session = UartSession::new(program, UartSettings::new(115_200), Duration::ZERO);
    let link = UartLink { lines: true, ..UartLink::new(115_200) };
    let mut toy = toy(0x440, Quirks::default());
    let run = run_uart_with(&mut session, &mut toy, &link, Duration::ZERO, |_, _| {});
    assert_eq!(run.lines, [LineAction::StartApplication]);
    assert!(run.result.unwrap().is_ok());
}

#[test]
fn kept_areas_survive_a_job_next_to_them() {
    let mut job = Job::new(0x440, 2000);
    job.options.keep = vec![Area { start: 0x0800_F800, end: 0x0800_FFFF }];
    let mut toy = toy(0x440, Quirks::default());
    toy.memory.poke(0x0800_F800, b"identity");
    done(job.run(&mut toy, |_| {}));
    assert_eq!(toy.memory.mass_erases, 0);
    assert_eq!(toy.memory.peek(0x0800_F800), b'i');
}

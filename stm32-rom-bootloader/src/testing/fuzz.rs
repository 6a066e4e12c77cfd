//! A device that answers anything, and a checker of what the session sends all the same.
//!
//! One run takes its decisions from a [`Chaos`]: which chip, which operation, which link, and after each answer
//! of a toy ROM whether it is passed on, changed, lost, repeated or replaced. A run fails if the session does
//! not end within a bounded number of polls, or sends a command that its operation has no use for, a write
//! outside its plan, or an erase of something its plan does not erase.

use core::time::Duration;
use std::collections::VecDeque;

use super::check::Check;
use super::{Quirks, ToyCan, ToyUart};
use crate::command::CanRate;
use crate::device::{Area, Device, SupplyVoltage};
use crate::error::Error;
use crate::event::LineResult;
use crate::frame::Frame;
use crate::image::{Image, Region};
use crate::ops::{
    Compare, EraseFlash, EraseTarget, Finish, Identify, Inspect, Operation, Program, Protect, Protection,
    ReadMemory, Resume, Verify,
};
use crate::plan::{EraseChoice, Plan, PlanOptions};
use crate::session::{CanSession, Output, UartSession};
use crate::settings::{CanKind, CanSettings, Chip, Entry, UartSettings};

/// The longest honest job of these runs needs a few thousand polls; the longest search for a ROM inside an
/// abandoned command sends some thousand sync bytes and chunks of filler.
const MOST_POLLS: u32 = 100_000;
/// Chips with different erase commands, units, quirks and links.
const CHIPS: &[(u16, u16)] = &[
    (0x412, 16),
    (0x413, 64),
    (0x468, 32),
    (0x467, 32),
    (0x457, 16),
    (0x435, 32),
    (0x450, 256),
    (0x472, 32),
];

/// Where a run takes its decisions from: a seed, or the bytes of a fuzzer followed by a seed made of them.
#[derive(Debug, Clone)]
pub struct Chaos<'a> {
    bytes: &'a [u8],
    state: u64,
}

impl<'a> Chaos<'a> {
    /// The same seed makes the same run.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Chaos<'static> {
        Chaos { bytes: &[], state: seed ^ 0x9E37_79B9_7F4A_7C15 }
    }

    /// The bytes decide, as long as there are any.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        let seed = bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        Chaos { bytes, state: seed ^ 0x9E37_79B9_7F4A_7C15 }
    }

    fn byte(&mut self) -> u8 {
        if let Some((first, rest)) = self.bytes.split_first() {
            self.bytes = rest;
            return *first;
        }
        // splitmix64
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 32) as u8
    }

    fn below(&mut self, n: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % n.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// How wrong answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostility {
    /// As the toy gives them.
    Honest,
    /// One in this many is changed.
    Noisy(u16),
    /// They have nothing to do with what was asked.
    Random,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// How wrong the answers were.
    pub hostility: Hostility,
    /// How often the session was polled.
    pub polls: u32,
    /// Why the operation failed, if it did.
    pub error: Option<Error>,
    /// How many writes and erases were sent and found to be allowed.
    pub changes: u32,
}

/// One run.
///
/// # Errors
/// What the session did wrong, in words.
pub fn fuzz(chaos: &mut Chaos<'_>) -> Result<Verdict, String> {
    let (id, kib) = CHIPS[chaos.below(CHIPS.len())];
    let device = Device::find(id, None).ok_or("no such chip")?;
    let flash = device.flash.ok_or("no flash")?;
    let data: Vec<u8> = (0..64 + chaos.below(1200)).map(|at| (at * 7 + at / 256) as u8).collect();
    let start = flash.start + (chaos.below(usize::from(kib) * 1024 - data.len()) as u32 & !7);
    let gap = (data.len() / 2) & !7;
    let image = Image::new([
        Region { address: start, data: &data[..gap / 2] },
        Region { address: start + gap as u32, data: &data[gap..] },
    ])
    .map_err(|error| error.to_string())?;
    let mut options = PlanOptions { flash_kib: Some(kib), ..PlanOptions::default() };
    options.erase = [EraseChoice::Auto, EraseChoice::Touched, EraseChoice::Nothing][chaos.below(3)];
    options.voltage = chaos.one_in(2).then_some(SupplyVoltage::From2V7);
    let plan = Plan::new(device, &image, &options).map_err(|error| error.to_string())?;
    let mut trial = Trial {
        hostility: match chaos.below(8) {
            0 => Hostility::Honest,
            1..=3 => Hostility::Noisy(100),
            4 | 5 => Hostility::Noisy(10),
            _ => Hostility::Random,
        },
        chaos,
        device,
        kib,
        check: Check::new(&plan),
        must_expect: false,
        polls: 0,
    };
    trial.operate(&plan, &image, start)
}

struct Trial<'c, 'b, 'p> {
    chaos: &'c mut Chaos<'b>,
    hostility: Hostility,
    device: &'static Device,
    kib: u16,
    check: Check<'p>,
    must_expect: bool,
    polls: u32,
}

impl Trial<'_, '_, '_> {
    fn operate(&mut self, plan: &Plan, image: &Image<'_>, start: u32) -> Result<Verdict, String> {
        let reading = [0x00, 0x01, 0x02, 0x03, 0x11];
        self.check.allowed = reading.to_vec();
        match self.chaos.below(14) {
            0 => self.link(Inspect),
            1 => self.link(ReadMemory { address: start, len: 300 }),
            2 => self.link(Verify { plan, image }),
            3 => {
                self.check.allowed.extend([0x43, 0x44]);
                self.check.may_erase_all = false;
                self.check.units = plan.units().iter().map(|unit| unit.index).collect();
                let (Some(first), Some(last)) = (plan.units().first(), plan.units().last()) else {
                    return self.link(Inspect);
                };
                let range = EraseTarget::Range(Area { start: first.address, end: last.end() - 1 });
                self.check.units = (first.index..=last.index).collect();
                // A range means other units on another chip.
                self.must_expect = true;
                self.link(EraseFlash { flash_kib: Some(self.kib), ..EraseFlash::new(range) })
            }
            4 => {
                self.check.allowed.push(0x82);
                self.link(Protect { protection: Protection::Readout })
            }
            5 => {
                self.check.allowed.push(0x92);
                self.link(Protect { protection: Protection::LiftReadoutErasingAll })
            }
            12 => self.link(Identify),
            13 => self.link(Compare { plan, image }),
            choice => {
                self.check.allowed.extend([0x31, 0x43, 0x44]);
                let mut program = Program::new(plan, image);
                program.resume =
                    [Resume::FromStart, Resume::Compare, Resume::AtBlock(2)][self.chaos.below(3)];
                program.verify = choice != 6;
                if choice == 7 {
                    program.finish = Finish::Go(start);
                    self.check.allowed.push(0x21);
                }
                if choice == 8 {
                    program.unprotect_readout = true;
                    self.check.allowed.push(0x92);
                }
                self.link(program)
            }
        }
    }

    fn quirks(&mut self) -> Quirks {
        Quirks {
            protected: self.chaos.one_in(8),
            second_nack: self.chaos.one_in(4),
            resets_itself: self.chaos.one_in(2),
            early_unprotect_ack: self.chaos.one_in(2),
            voltage_range: true,
            no_mass_erase: self.chaos.one_in(8),
            one_erase_ack: self.chaos.one_in(4),
            three_mass_acks: self.chaos.one_in(4),
            ..Quirks::default()
        }
    }

    fn link<'a, O: Operation<'a>>(&mut self, operation: O) -> Result<Verdict, String>
    where
        O::Outcome: 'a,
    {
        let chip =
            if self.must_expect || self.chaos.one_in(2) { Chip::Expect(self.device) } else { Chip::Detect };
        let entry = if self.chaos.one_in(2) { Entry::Reset } else { Entry::AsIs };
        if self.chaos.below(3) > 0 {
            let mut settings = UartSettings::new(115_200);
            (settings.chip, settings.entry) = (chip, entry);
            self.uart(UartSession::new(operation, settings, Duration::ZERO))
        } else {
            let mut settings = if self.chaos.one_in(2) { CanSettings::fd() } else { CanSettings::classic() };
            if settings.kind != CanKind::Fd && self.chaos.one_in(2) {
                settings.kind = CanKind::Classic { speed: Some(CanRate::Kbit500) };
            }
            (settings.chip, settings.entry) = (chip, entry);
            let fd = settings.kind == CanKind::Fd;
            self.can(CanSession::new(operation, settings, Duration::ZERO), fd)
        }
    }

    fn uart<'a, R: 'a>(&mut self, mut session: UartSession<'a, R>) -> Result<Verdict, String> {
        let quirks = self.quirks();
        let mut toy = ToyUart::with_flash(self.device, self.kib, quirks);
        let mut answers: VecDeque<u8> = VecDeque::new();
        let mut now = Duration::ZERO;
        loop {
            self.count()?;
            match session.poll() {
                Output::Transmit(bytes) => {
                    self.check.uart(&bytes)?;
                    now += Duration::from_micros(95) * bytes.len() as u32;
                    bytes.into_iter().for_each(|byte| toy.receive(now.max(toy.busy_until()), byte));
                    while let Some((_, byte)) = toy.pop() {
                        self.distort_byte(byte, &mut answers);
                    }
                }
                Output::Line(_) => {
                    let result =
                        if self.chaos.one_in(8) { LineResult::Unavailable } else { LineResult::Done };
                    toy.reset(now, false);
                    session.handle_line(now, result);
                }
                Output::Event(_) => {}
                Output::Wait { until, .. } => {
                    if self.hostility == Hostility::Random && !self.chaos.one_in(3) {
                        answers.clear();
                        answers.push_back(self.random_byte());
                    }
                    let some = self.chaos.below(answers.len() + 1).max(answers.len().min(1));
                    let bytes: Vec<u8> = answers.drain(..some).collect();
                    if bytes.is_empty() {
                        now = now.max(until);
                        session.handle_timeout(now);
                    } else {
                        now += Duration::from_micros(95);
                        session.handle_rx(now, &bytes);
                    }
                }
                Output::Done(result) => return Ok(self.verdict(result.err())),
            }
        }
    }

    fn can<'a, R: 'a>(&mut self, mut session: CanSession<'a, R>, fd: bool) -> Result<Verdict, String> {
        let quirks = self.quirks();
        let mut toy = ToyCan::new(self.device, fd, quirks);
        let mut answers: VecDeque<Frame> = VecDeque::new();
        let mut now = Duration::from_secs(1);
        let mut rate = 125_000;
        loop {
            self.count()?;
            match session.poll() {
                Output::Transmit(frame) => {
                    self.check.can(&frame)?;
                    now += Duration::from_millis(1);
                    toy.receive(now, &frame, rate);
                    while let Some((_, frame)) = toy.pop() {
                        self.distort_frame(frame, &mut answers);
                    }
                }
                Output::Line(action) => {
                    let result =
                        if self.chaos.one_in(8) { LineResult::Unavailable } else { LineResult::Done };
                    match action {
                        crate::LineAction::BitRate(new) => rate = new.bits_per_second(),
                        _ => toy.reset(now),
                    }
                    session.handle_line(now, result);
                }
                Output::Event(_) => {}
                Output::Wait { until, .. } => {
                    if self.hostility == Hostility::Random && !self.chaos.one_in(3) {
                        answers.clear();
                        answers.extend(self.random_frame(fd));
                    }
                    match answers.pop_front() {
                        Some(frame) => session.handle_rx(now, &frame),
                        None => {
                            now = now.max(until);
                            session.handle_timeout(now);
                        }
                    }
                }
                Output::Done(result) => return Ok(self.verdict(result.err())),
            }
        }
    }

    fn count(&mut self) -> Result<(), String> {
        self.polls += 1;
        if self.polls > MOST_POLLS { Err("the session does not end".into()) } else { Ok(()) }
    }

    const fn verdict(&self, error: Option<Error>) -> Verdict {
        Verdict { hostility: self.hostility, polls: self.polls, error, changes: self.check.changes }
    }

    fn random_byte(&mut self) -> u8 {
        match self.chaos.below(8) {
            0..=3 => 0x79,
            4 => 0x1F,
            _ => self.chaos.byte(),
        }
    }

    fn random_frame(&mut self, fd: bool) -> Option<Frame> {
        let last = self.check.code.map_or(0x79, u16::from);
        let id = if self.chaos.one_in(8) { u16::from(self.chaos.byte()) } else { last };
        let len = [1, 1, 1, 0, 2, 8][self.chaos.below(6)];
        let data: Vec<u8> = (0..len).map(|_| self.random_byte()).collect();
        if fd { Frame::fd(id, &data) } else { Frame::classic(id, &data) }
    }

    fn distort_byte(&mut self, byte: u8, answers: &mut VecDeque<u8>) {
        let Hostility::Noisy(rarity) = self.hostility else { return answers.push_back(byte) };
        if !self.chaos.one_in(rarity.into()) {
            return answers.push_back(byte);
        }
        match self.chaos.below(6) {
            0 => {}
            1 => answers.extend([byte, byte]),
            2 => answers.extend([self.random_byte(), byte]),
            3 => answers.push_back(byte ^ 1 << self.chaos.below(8)),
            4 => answers.push_back(if byte == 0x79 { 0x1F } else { 0x79 }),
            _ => answers.clear(),
        }
    }

    fn distort_frame(&mut self, frame: Frame, answers: &mut VecDeque<Frame>) {
        let Hostility::Noisy(rarity) = self.hostility else { return answers.push_back(frame) };
        if !self.chaos.one_in(rarity.into()) {
            return answers.push_back(frame);
        }
        match self.chaos.below(4) {
            0 => {}
            1 => answers.extend([frame, frame]),
            2 => answers.extend(self.random_frame(frame.is_fd())),
            _ => answers.clear(),
        }
    }
}

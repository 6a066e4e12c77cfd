//! What all loaders of a chip share: power, reset, start-up, and the faults that strike by count or by time.
//!
//! A board is off, starting, in its loader, in its application, or locked for ever (level 2). Whatever restarts
//! it bumps [`Board::generation`]; the loader in front of it sees that and forgets its half-finished command.

use crate::chip::Chip;
use crate::fault::{Direction, Fault, Point, Which};
use crate::model::Model;
use crate::options::Protection;
use crate::rng::Rng;
use crate::time::Nanos;
use core::time::Duration;

/// Circumstances of a simulated board.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Fixes the unique ID and all dice.
    pub seed: u64,
    /// Level of BOOT0: high (the default) keeps sending the chip to its ROM.
    pub boot0: bool,
    /// Crystals are fitted; without them some ROMs start late and none speaks CAN.
    pub crystals: bool,
    /// Frequency of the main crystal, which the CAN loaders must recognise.
    pub crystal_mhz: u8,
    /// Faults, in any order.
    pub faults: Vec<Fault>,
    /// Which reading of the CAN note's open points the device follows.
    pub can: CanVariant,
}

/// Points where AN3154, ST's published sources and working hosts disagree. The default is what the hosts expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanVariant {
    /// Classical Erase acknowledges its first frame twice. Global: ACK, ACK, erase, ACK instead of ACK, erase,
    /// ACK. Pages: ACK, ACK, list, erase, ACK instead of ACK, list, ACK, erase, ACK.
    pub extra_erase_ack: bool,
    /// The last `length % 8` bytes of a read come one to a frame instead of in one short frame.
    pub remainder_in_single_bytes: bool,
    /// Identifier of Speed's second ACK: 0x03, or 0x02 as one passage prints it.
    pub speed_ack_id: u16,
    /// FDCAN Erase counts its pages less one, as the USART protocol does.
    pub fd_erase_count_less_one: bool,
}

impl Default for CanVariant {
    fn default() -> Self {
        Self {
            extra_erase_ack: false,
            remainder_in_single_bytes: false,
            speed_ack_id: 0x03,
            fd_erase_count_less_one: false,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            boot0: true,
            crystals: true,
            crystal_mhz: 8,
            faults: Vec::new(),
            can: CanVariant::default(),
        }
    }
}

/// What a board is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No power; with a time if a fault will bring it back.
    Off(Option<Nanos>),
    /// Reset released, ROM not listening yet.
    Starting(Nanos),
    /// The ROM listens.
    Loader,
    /// The application runs, started by reset (`None`) or by Go at this address.
    Application(Option<u32>),
    /// Read-out protection level 2: the ROM does not start.
    Locked,
}

/// The parts of a board that do not depend on the link.
#[derive(Debug)]
pub struct Board {
    chip: Chip,
    rng: Rng,
    faults: Vec<(Fault, bool)>,
    state: State,
    boot0: bool,
    startup: Duration,
    first_power_on: Nanos,
    muted: bool,
    bytes: u64,
    sent: u64,
    commands: u64,
    answers: u64,
    reads: u64,
    generation: u64,
}

impl Board {
    /// A board that gets its power at `now`.
    pub(crate) fn new(model: &'static Model, settings: &Settings, now: Nanos) -> Self {
        let startup =
            if settings.crystals { model.usart.startup_us } else { model.usart.startup_without_crystal_us };
        let mut board = Self {
            chip: Chip::new(model, settings.seed),
            rng: Rng::new(settings.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0xB0A2D),
            faults: settings.faults.iter().map(|&f| (f, false)).collect(),
            state: State::Off(None),
            boot0: settings.boot0,
            startup: Duration::from_micros(u64::from(startup)),
            first_power_on: now,
            muted: false,
            bytes: 0,
            sent: 0,
            commands: 0,
            answers: 0,
            reads: 0,
            generation: 0,
        };
        for &fault in &settings.faults {
            match fault {
                Fault::Mute(None) => board.muted = true,
                Fault::Protected(level) => board.chip.set_protection(level),
                Fault::LockIgnored => board.chip.defects.ignores_lock = true,
                Fault::ReadsWhenLocked => board.chip.defects.reads_when_locked = true,
                Fault::OptionsRefused => board.chip.defects.refuses_options = true,
                Fault::ProductId(id) => board.chip.defects.product_id = Some(id),
                Fault::Stuck(address) => {
                    let offset = address.saturating_sub(model.flash.base);
                    board.chip.flash_mut().stick(offset as usize);
                }
                _ => {}
            }
        }
        board.power_on(now);
        board
    }

    /// The chip.
    #[must_use]
    pub fn chip(&self) -> &Chip {
        &self.chip
    }

    /// The chip, to prepare or inspect it.
    pub fn chip_mut(&mut self) -> &mut Chip {
        &mut self.chip
    }

    /// What the board is doing.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Commands recognised since the first power-on.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Bytes (on CAN: frames) that arrived since the first power-on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// ACKs and NACKs given since the first power-on.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Sets BOOT0; it counts at the next reset.
    pub fn set_boot0(&mut self, high: bool) {
        self.boot0 = high;
    }

    /// Gives the board power; does nothing if it has it.
    pub fn power_on(&mut self, now: Nanos) {
        if matches!(self.state, State::Off(_)) {
            self.chip.reset(now, true);
            self.boot(now);
        }
    }

    /// Takes its power away: a running flash operation stays half done.
    pub fn power_off(&mut self, now: Nanos) {
        if !matches!(self.state, State::Off(_)) {
            self.chip.cut_power(now, &mut self.rng);
            self.state = State::Off(None);
            self.generation += 1;
        }
    }

    /// A pulse on NRST, or the reset a ROM gives itself.
    pub fn reset(&mut self, now: Nanos) {
        if !matches!(self.state, State::Off(_)) {
            // A reset stops a running flash operation as abruptly as a power cut (RM0090 "Device limits on reset").
            self.chip.cut_power(now, &mut self.rng);
            self.chip.reset(now, false);
            self.boot(now);
        }
    }

    /// Ends the start-up time at once, as for a board that was powered long before anyone looked.
    pub fn finish_startup(&mut self) {
        if matches!(self.state, State::Starting(_)) {
            self.state = State::Loader;
        }
    }

    fn boot(&mut self, now: Nanos) {
        self.generation += 1;
        self.state = if self.chip.protection() == Protection::Level2 {
            State::Locked
        } else if self.chip.starts_rom(self.boot0) {
            State::Starting(now + self.startup)
        } else {
            State::Application(None)
        };
    }

    pub(crate) fn start_application(&mut self, entry: u32) {
        self.generation += 1;
        self.state = State::Application(Some(entry));
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn listens(&self) -> bool {
        self.state == State::Loader
    }

    // ---- time ---------------------------------------------------------------------------------------------

    pub(crate) fn next_deadline(&self) -> Option<Nanos> {
        let own = match self.state {
            State::Off(back) => back,
            State::Starting(ready) => Some(ready),
            State::Loader | State::Application(_) | State::Locked => None,
        };
        let due =
            self.faults.iter().filter(|(_, spent)| !spent).filter_map(|(fault, _)| match point(fault) {
                Some(Point::Time(after)) => Some(self.first_power_on + after),
                _ => None,
            });
        own.into_iter().chain(due).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Nanos) {
        self.chip.settle(now);
        match self.state {
            State::Off(Some(back)) if back <= now => self.power_on(now),
            State::Starting(ready) if ready <= now => self.state = State::Loader,
            _ => {}
        }
        let passed = now.since(self.first_power_on);
        self.strike(now, |point| matches!(point, Point::Time(at) if at <= passed));
    }

    // ---- faults -------------------------------------------------------------------------------------------

    /// Carries out the faults whose point has come.
    fn strike(&mut self, now: Nanos, come: impl Fn(Point) -> bool) {
        for index in 0..self.faults.len() {
            let (fault, spent) = self.faults[index];
            if spent || !point(&fault).is_some_and(&come) {
                continue;
            }
            self.faults[index].1 = true;
            match fault {
                Fault::Mute(_) => self.muted = true,
                Fault::Reset(_) => self.reset(now),
                Fault::Kill { off, .. } => {
                    self.power_off(now);
                    self.state = State::Off(Some(now + off));
                }
                _ => {}
            }
        }
    }

    /// Notes a byte or frame from the host; false if a fault swallows it.
    pub(crate) fn arrives(&mut self, now: Nanos) -> bool {
        self.bytes += 1;
        let count = self.bytes;
        self.strike(now, |point| point == Point::Byte(count));
        !self.loses(Direction::Host, count)
    }

    /// Notes a byte or frame to the host; false if a fault swallows it.
    pub(crate) fn leaves(&mut self) -> bool {
        self.sent += 1;
        !self.muted && !self.loses(Direction::Device, self.sent)
    }

    fn loses(&mut self, way: Direction, count: u64) -> bool {
        let Self { faults, rng, .. } = self;
        faults.iter().any(|(fault, _)| match *fault {
            Fault::Lost { which, from } if from == way => hits(which, count, rng),
            _ => false,
        })
    }

    /// Notes a command code.
    pub(crate) fn command(&mut self, now: Nanos) {
        self.commands += 1;
        let count = self.commands;
        self.strike(now, |point| point == Point::Command(count));
    }

    /// Whether a fault turns the next answer into a NACK (asked before the work it would acknowledge).
    pub(crate) fn next_is_nack(&self) -> bool {
        let next = self.answers + 1;
        self.faults.iter().any(|(fault, _)| match *fault {
            Fault::Nack { answer, times } => (answer..answer.saturating_add(times)).contains(&next),
            _ => false,
        })
    }

    /// Notes an answer that is about to be sent; by how much a fault delays it.
    pub(crate) fn answer(&mut self, now: Nanos) -> Duration {
        self.answers += 1;
        let count = self.answers;
        self.strike(now, |point| point == Point::Answer(count));
        let delay = self.faults.iter().map(|(fault, _)| match *fault {
            Fault::SlowAnswer { delay, answer } if answer.is_none_or(|k| k == count) => delay,
            _ => Duration::ZERO,
        });
        delay.max().unwrap_or_default()
    }

    /// Notes a block that is read out and spoils it if a fault says so.
    pub(crate) fn reads(&mut self, data: &mut [u8]) {
        self.reads += 1;
        let Self { faults, rng, reads, .. } = self;
        for (fault, _) in faults.iter() {
            if let Fault::WrongData(which) = *fault
                && hits(which, *reads, rng)
            {
                let at = (rng.next_u64() % data.len().max(1) as u64) as usize;
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << (rng.byte() % 8);
                }
            }
        }
    }

    pub(crate) fn adapter_sends_parity(&self) -> bool {
        !self.faults.iter().any(|(fault, _)| *fault == Fault::NoParity)
    }

    pub(crate) fn parity_is_hit(&mut self) -> bool {
        let Self { faults, rng, .. } = self;
        faults.iter().any(|(fault, _)| matches!(*fault, Fault::BadParity(rate) if rng.chance(rate)))
    }

    /// The noise byte before the host's first byte, once.
    pub(crate) fn take_glitch(&mut self) -> Option<u8> {
        self.take(|fault| match fault {
            Fault::Glitch(byte) => Some(byte),
            _ => None,
        })
    }

    /// The noise byte before the first answer, once.
    pub(crate) fn take_stray(&mut self) -> Option<u8> {
        self.take(|fault| match fault {
            Fault::Stray(byte) => Some(byte),
            _ => None,
        })
    }

    fn take(&mut self, wanted: impl Fn(Fault) -> Option<u8>) -> Option<u8> {
        self.faults.iter_mut().filter(|(_, spent)| !spent).find_map(|(fault, spent)| {
            let byte = wanted(*fault)?;
            *spent = true;
            Some(byte)
        })
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

fn point(fault: &Fault) -> Option<Point> {
    match *fault {
        Fault::Mute(point) => point,
        Fault::Reset(point) | Fault::Kill { at: point, .. } => Some(point),
        _ => None,
    }
}

fn hits(which: Which, count: u64, rng: &mut Rng) -> bool {
    match which {
        Which::Nth(n) => n == count,
        Which::Rate(p) => rng.chance(p),
    }
}

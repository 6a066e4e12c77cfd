//! One board's way through a job, as a state machine that takes `now`.
//!
//! Contract: after [`Attempt::new`] and after every `handle_*`, call [`Attempt::poll`]
//! until it returns [`Output::Wait`] or [`Output::Done`]. What it returns is in the order in which it must
//! happen: a step or an identity comes before the bytes it is about, so that a driver that makes it durable
//! first has true records whatever happens next.

use std::collections::VecDeque;

use panel_codes::Code;
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::device::SupplyVoltage;
use stm32_rom_bootloader::{
    Device, EraseChoice, Field, Finish, Identity, Info, Inspect, LineAction, LineResult, PlanOptions,
    ProgramShared, Programmed, SharedImage,
};

use super::explain::{explain, plan_code};
use super::session::{Link, Packet, Session, Wish};
use crate::event::Step;

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Erase, program, read back; a protected board fails.
    Program,
    /// Put the image, which lies in RAM, there and start it. Nothing lasting is done to the board.
    LoadAgent,
}

/// What is to be done to a board.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// What for.
    pub(crate) goal: Goal,
    /// The chip that must be there.
    pub(crate) device: &'static Device,
    /// What to write.
    pub(crate) image: SharedImage,
    /// Start the code whose vector table is there.
    pub(crate) start: Option<u32>,
    /// Supply of the board, if the job states it: F2, F4 and F7 are then programmed by words.
    pub(crate) voltage: Option<SupplyVoltage>,
}

/// What came of an attempt that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// The chip, once known.
    pub(crate) chip: Option<Identity>,
    /// Its unique ID, if it was read.
    pub(crate) uid: Option<Uid>,
    /// Units erased.
    pub(crate) units_erased: usize,
    /// Blocks written.
    pub(crate) blocks_written: usize,
    /// The chip starts its ROM until its power has been off once.
    pub(crate) needs_power_cycle: bool,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The code.
    pub(crate) code: Code,
    /// The values.
    pub(crate) detail: String,
}

/// What an attempt wants next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// Send this, in one piece.
    Send(Packet),
    /// Move lines (or the bus's bit rate), then call [`Attempt::handle_line`].
    Line(LineAction),
    /// A step begins; the one before has ended well.
    Step(Step),
    /// The board's identity, before anything is done to it.
    Identified(Uid),
    /// Progress of the session.
    Watch(stm32::Event),
    /// Nothing before input comes or it is this time.
    Wait(Micros),
    /// The end, once.
    Done(Result<Done, Trouble>),
}

/// Never: an attempt that has ended.
const FOREVER: Micros = Micros(u64::MAX);

#[derive(Debug)]
enum Running {
    Inspect(Session<Info>),
    Program(Session<Programmed>),
    Over,
}

/// What one poll of a session brought.
enum Polled {
    Output(Output),
    Event(stm32::Event),
    Inspected(Info),
    Programmed(Programmed),
    Failed(Trouble),
}

/// One board's way through a job.
#[derive(Debug)]
pub(crate) struct Attempt {
    work: Work,
    link: Link,
    now: Micros,
    running: Running,
    queue: VecDeque<Output>,
    step: Step,
    done: Done,
}

impl Attempt {
    /// Begins; nothing is sent before the first poll.
    pub(crate) fn new(work: Work, link: Link, now: Micros) -> Self {
        let mut attempt = Self {
            work,
            link,
            now,
            running: Running::Over,
            queue: VecDeque::new(),
            step: Step::Power,
            done: Done::default(),
        };
        match attempt.work.goal {
            Goal::LoadAgent => {
                attempt.begin(Step::Load);
                attempt.load();
            }
            Goal::Program => {
                attempt.begin(Step::Discover);
                attempt.inspect();
            }
        }
        attempt
    }

    /// Bytes or a frame came in.
    pub(crate) fn handle_rx(&mut self, now: Micros, packet: &Packet) {
        self.now = now;
        match &mut self.running {
            Running::Inspect(session) => session.handle_rx(now, packet),
            Running::Program(session) => session.handle_rx(now, packet),
            Running::Over => {}
        }
    }

    /// It is the time that the last [`Output::Wait`] named. Harmless if it is not.
    pub(crate) fn handle_timeout(&mut self, now: Micros) {
        self.now = now;
        match &mut self.running {
            Running::Inspect(session) => session.handle_timeout(now),
            Running::Program(session) => session.handle_timeout(now),
            Running::Over => {}
        }
    }

    /// A line action was carried out, or cannot be.
    pub(crate) fn handle_line(&mut self, now: Micros, result: LineResult) {
        self.now = now;
        match &mut self.running {
            Running::Inspect(session) => session.handle_line(now, result),
            Running::Program(session) => session.handle_line(now, result),
            Running::Over => {}
        }
    }

    /// What to do next, see [`Output`].
    pub(crate) fn poll(&mut self) -> Output {
        loop {
            if let Some(output) = self.queue.pop_front() {
                return output;
            }
            match self.poll_session() {
                Polled::Output(output) => return output,
                Polled::Event(event) => self.follow(event),
                Polled::Inspected(info) => self.inspected(info),
                Polled::Programmed(outcome) => {
                    self.done.units_erased = outcome.units_erased;
                    self.done.blocks_written = outcome.blocks_written;
                    self.done.needs_power_cycle = outcome.needs_power_cycle;
                    self.done.chip.get_or_insert(outcome.identity);
                    let done = core::mem::take(&mut self.done);
                    self.end(Ok(done));
                }
                Polled::Failed(trouble) => self.end(Err(trouble)),
            }
        }
    }

    fn poll_session(&mut self) -> Polled {
        match &mut self.running {
            Running::Inspect(session) => polled(session.poll(), Polled::Inspected),
            Running::Program(session) => polled(session.poll(), Polled::Programmed),
            Running::Over => Polled::Output(Output::Wait(FOREVER)),
        }
    }

    /// Sessions have finer steps than records.
    fn follow(&mut self, event: stm32::Event) {
        match event {
            stm32::Event::Step(stm32::Step::Verify) => self.begin(Step::Verify),
            stm32::Event::Step(stm32::Step::Start) if self.work.goal != Goal::LoadAgent => {
                self.begin(Step::Start);
            }
            _ => {}
        }
        self.queue.push_back(Output::Watch(event));
    }

    fn begin(&mut self, step: Step) {
        if self.step != step {
            self.step = step;
            self.queue.push_back(Output::Step(step));
        }
    }

    fn end(&mut self, result: Result<Done, Trouble>) {
        self.running = Running::Over;
        self.queue.push_back(Output::Done(result));
    }

    fn fail(&mut self, code: Code, detail: impl Into<String>) {
        self.end(Err(Trouble { code, detail: detail.into() }));
    }

    fn inspect(&mut self) {
        self.running = Running::Inspect(Session::new(Inspect, &self.link, self.now));
    }

    fn inspected(&mut self, info: Info) {
        self.begin(Step::Identify);
        self.done.chip = Some(info.identity.clone());
        if let Err(trouble) = self.check(&info) {
            self.end(Err(trouble));
            return;
        }
        if let Field::Value(uid) = info.uid {
            self.done.uid = Some(Uid(uid));
            self.queue.push_back(Output::Identified(Uid(uid)));
        }
        if info.identity.protected == Some(true) {
            let detail = "readout protection level 1: its flash can be neither read nor written";
            self.fail(Code::RomProtected, detail);
        } else {
            self.program(&info);
        }
    }

    fn check(&self, info: &Info) -> Result<(), Trouble> {
        let (got, expected) = (info.identity.product_id, self.work.device);
        let (code, detail) = match info.identity.device {
            None => {
                let detail = format!("unknown product ID {got:#05x}; expected {:#05x}", expected.product_id);
                (Code::RomUnknownChip, detail)
            }
            Some(device) if device.product_id != expected.product_id => {
                let detail = format!(
                    "expected {} (product ID {:#05x}), got {} ({got:#05x})",
                    expected.name, expected.product_id, device.name
                );
                (Code::WrongChip, detail)
            }
            // A protected chip does not say its UID, and fails for that.
            Some(_) if info.uid.value().is_some() || info.identity.protected == Some(true) => return Ok(()),
            Some(_) => {
                let detail = "this ROM version does not give out the UID, without which there is no record; \
                              `panelflash rom write` needs none";
                (Code::RomUnsupported, detail.to_owned())
            }
        };
        Err(Trouble { code, detail })
    }

    /// Plans for the very chip that answered, and begins.
    fn program(&mut self, info: &Info) {
        let id = &info.identity;
        let options = PlanOptions {
            flash_kib: info.flash_kib.value().copied(),
            bootloader_id: id.bootloader_id,
            erase: EraseChoice::Touched,
            voltage: self.work.voltage,
            ..PlanOptions::default()
        };
        match self.work.image.plan(id.device.unwrap_or(self.work.device), &options) {
            Err(error) => self.fail(plan_code(&error), error.to_string()),
            Ok(job) => {
                self.begin(Step::Program);
                let finish = self.work.start.map_or(Finish::Stay, Finish::Go);
                let program = ProgramShared { job, verify: true, finish };
                let link = self.link.connected(id.clone());
                self.running = Running::Program(Session::new(program, &link, self.now));
            }
        }
    }

    /// The link's own check bytes stand for a read-back: an agent that arrived spoilt does not answer.
    fn load(&mut self) {
        let options = PlanOptions { erase: EraseChoice::Nothing, ..PlanOptions::default() };
        match self.work.image.plan(self.work.device, &options) {
            Err(error) => self.fail(plan_code(&error), error.to_string()),
            Ok(job) => {
                let finish = self.work.start.map_or(Finish::Stay, Finish::Go);
                let program = ProgramShared { job, verify: false, finish };
                self.running = Running::Program(Session::new(program, &self.link, self.now));
            }
        }
    }
}

fn polled<R>(wish: Wish<R>, ended: impl FnOnce(R) -> Polled) -> Polled {
    match wish {
        Wish::Send(packet) => Polled::Output(Output::Send(packet)),
        Wish::Line(action) => Polled::Output(Output::Line(action)),
        Wish::Event(event) => Polled::Event(event),
        Wish::Wait(until) => Polled::Output(Output::Wait(until)),
        Wish::Ended(Ok(outcome)) => ended(outcome),
        Wish::Ended(Err(error)) => {
            Polled::Failed(Trouble { code: explain(&error), detail: error.to_string() })
        }
    }
}

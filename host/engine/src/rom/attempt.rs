//! One board's way through a job, as a state machine that takes `now`.
//!
//! Contract: after [`Attempt::new`] and after every `handle_*`, `answer` and `cancel`, call [`Attempt::poll`]
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
    CompareShared, Compared, Device, EraseChoice, Field, Finish, Identity, Info, Inspect, Job, LineAction,
    LineResult, Plan, PlanOptions, ProgramShared, Programmed, Protect, Protected, Protection, SharedImage,
};

use super::explain::{explain, plan_code};
use super::session::{Link, Packet, Session, Wish};
use crate::event::Step;

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Erase, program, read back; a protected board fails.
    Program,
    /// The same, but the board is looked at first, and nothing is destroyed without [`Attempt::answer`].
    Recover,
    /// Put the image, which lies in RAM, there and start it. Nothing lasting is done to the board.
    LoadAgent,
}

/// What is to be done to a board.
#[derive(Debug, Clone)]
pub struct Work {
    /// What for.
    pub goal: Goal,
    /// The chip that must be there.
    pub device: &'static Device,
    /// What to write.
    pub image: SharedImage,
    /// Start the code whose vector table is there.
    pub start: Option<u32>,
    /// Supply of the board, if the job states it: F2, F4 and F7 are then programmed by words.
    pub voltage: Option<SupplyVoltage>,
}

/// The state that a board was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Blank where the image belongs.
    Blank,
    /// Nothing of it can be read.
    Protected,
    /// Parts of the image are there, parts are missing.
    HalfWritten,
    /// It holds the image, whole.
    ThisRelease,
    /// It holds something else.
    OtherContents,
}

impl Found {
    /// In words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Blank => "blank where the release belongs",
            Self::Protected => "readout protected: nothing of it can be read",
            Self::HalfWritten => "half-written: parts of this release are there, parts are missing",
            Self::ThisRelease => "holds this release, whole",
            Self::OtherContents => "holds something else: another release, or data",
        }
    }
}

/// What came of an attempt that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// The chip, once known.
    pub chip: Option<Identity>,
    /// Its unique ID, if it was read.
    pub uid: Option<Uid>,
    /// The state it was found in, if it was looked at.
    pub found: Option<Found>,
    /// Units erased.
    pub units_erased: usize,
    /// Blocks written.
    pub blocks_written: usize,
    /// Readout protection was lifted.
    pub unprotected: bool,
    /// The chip starts its ROM until its power has been off once.
    pub needs_power_cycle: bool,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The code.
    pub code: Code,
    /// The values.
    pub detail: String,
}

/// What an attempt wants next.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this, in one piece.
    Send(Packet),
    /// Move lines (or the bus's bit rate), then call [`Attempt::handle_line`].
    Line(LineAction),
    /// A step begins; the one before has ended well.
    Step(Step),
    /// The board's identity, before anything is done to it.
    Identified(Uid),
    /// The state the board was found in; [`Goal::Recover`] only.
    Found(Found),
    /// May what this state's remedy destroys be destroyed? Call [`Attempt::answer`].
    Ask(Found),
    /// Progress of the session.
    Watch(stm32::Event),
    /// Nothing before input comes or it is this time.
    Wait(Micros),
    /// The end, once.
    Done(Result<Done, Trouble>),
}

/// Never: an attempt that waits for an answer or has ended.
const FOREVER: Micros = Micros(u64::MAX);

#[derive(Debug)]
enum Running {
    Inspect(Session<Info>),
    Lift(Session<Protected>),
    Compare(Session<Compared>, Job),
    Program(Session<Programmed>),
    /// An answer is awaited: about a protected board, or about carrying out this job.
    Asking(Option<Job>),
    Over,
}

/// What one poll of a session brought.
enum Polled {
    Output(Output),
    Event(stm32::Event),
    Inspected(Info),
    Lifted,
    Compared(Compared, Job),
    Programmed(Programmed),
    Failed(Trouble),
}

/// One board's way through a job.
#[derive(Debug)]
pub struct Attempt {
    work: Work,
    link: Link,
    now: Micros,
    running: Running,
    queue: VecDeque<Output>,
    step: Step,
    info: Option<Info>,
    done: Done,
}

impl Attempt {
    /// Begins; nothing is sent before the first poll.
    #[must_use]
    pub fn new(work: Work, link: Link, now: Micros) -> Self {
        let mut attempt = Self {
            work,
            link,
            now,
            running: Running::Over,
            queue: VecDeque::new(),
            step: Step::Power,
            info: None,
            done: Done::default(),
        };
        match attempt.work.goal {
            Goal::LoadAgent => {
                attempt.begin(Step::Load);
                attempt.load();
            }
            Goal::Program | Goal::Recover => {
                attempt.begin(Step::Discover);
                attempt.inspect();
            }
        }
        attempt
    }

    /// Bytes or a frame came in.
    pub fn handle_rx(&mut self, now: Micros, packet: &Packet) {
        self.now = now;
        match &mut self.running {
            Running::Inspect(session) => session.handle_rx(now, packet),
            Running::Lift(session) => session.handle_rx(now, packet),
            Running::Compare(session, _) => session.handle_rx(now, packet),
            Running::Program(session) => session.handle_rx(now, packet),
            Running::Asking(_) | Running::Over => {}
        }
    }

    /// It is the time that the last [`Output::Wait`] named. Harmless if it is not.
    pub fn handle_timeout(&mut self, now: Micros) {
        self.now = now;
        match &mut self.running {
            Running::Inspect(session) => session.handle_timeout(now),
            Running::Lift(session) => session.handle_timeout(now),
            Running::Compare(session, _) => session.handle_timeout(now),
            Running::Program(session) => session.handle_timeout(now),
            Running::Asking(_) | Running::Over => {}
        }
    }

    /// A line action was carried out, or cannot be.
    pub fn handle_line(&mut self, now: Micros, result: LineResult) {
        self.now = now;
        match &mut self.running {
            Running::Inspect(session) => session.handle_line(now, result),
            Running::Lift(session) => session.handle_line(now, result),
            Running::Compare(session, _) => session.handle_line(now, result),
            Running::Program(session) => session.handle_line(now, result),
            Running::Asking(_) | Running::Over => {}
        }
    }

    /// The answer to [`Output::Ask`]: go on, or the refusal.
    pub fn answer(&mut self, now: Micros, answer: Result<(), Trouble>) {
        self.now = now;
        match (core::mem::replace(&mut self.running, Running::Over), answer) {
            (Running::Asking(_), Err(refusal)) => self.end(Err(refusal)),
            (Running::Asking(Some(job)), Ok(())) => self.program(job),
            (Running::Asking(None), Ok(())) => {
                // The chip will not tell its UID before everything is gone.
                self.begin(Step::Program);
                let lift = Protect { protection: Protection::LiftReadoutErasingAll };
                self.running = Running::Lift(Session::new(lift, &self.connected(), self.now));
            }
            (running, _) => self.running = running,
        }
    }

    /// Stop: the attempt ends with [`Code::Interrupted`].
    pub fn cancel(&mut self, now: Micros) {
        self.now = now;
        match &mut self.running {
            Running::Inspect(session) => session.cancel(now),
            Running::Lift(session) => session.cancel(now),
            Running::Compare(session, _) => session.cancel(now),
            Running::Program(session) => session.cancel(now),
            Running::Asking(_) | Running::Over => {}
        }
    }

    /// The plan that is about to be carried out, while [`Output::Ask`] waits for its answer.
    #[must_use]
    pub fn asked_plan(&self) -> Option<&Plan> {
        match &self.running {
            Running::Asking(job) => job.as_ref().map(Job::plan),
            _ => None,
        }
    }

    /// The step that is under way.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// What to do next, see [`Output`].
    pub fn poll(&mut self) -> Output {
        loop {
            if let Some(output) = self.queue.pop_front() {
                return output;
            }
            match self.poll_session() {
                Polled::Output(output) => return output,
                Polled::Event(event) => self.follow(event),
                Polled::Inspected(info) => self.inspected(info),
                Polled::Lifted => {
                    self.done.unprotected = true;
                    self.done.chip = None;
                    self.inspect();
                }
                Polled::Compared(compared, job) => self.compared(&compared, job),
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
            Running::Lift(session) => polled(session.poll(), |_| Polled::Lifted),
            Running::Compare(session, job) => {
                let job = &*job;
                polled(session.poll(), |compared| Polled::Compared(compared, job.clone()))
            }
            Running::Program(session) => polled(session.poll(), Polled::Programmed),
            Running::Asking(_) | Running::Over => Polled::Output(Output::Wait(FOREVER)),
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

    fn connected(&self) -> Link {
        match &self.done.chip {
            Some(identity) => self.link.connected(identity.clone()),
            None => self.link.clone(),
        }
    }

    fn inspect(&mut self) {
        self.running = Running::Inspect(Session::new(Inspect, &self.connected(), self.now));
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
        let protected = info.identity.protected == Some(true);
        self.info = Some(info);
        if protected {
            self.protected();
        } else {
            self.lay_out();
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
            // A protected chip says its UID once it is erased.
            Some(_) if info.uid.value().is_some() || info.identity.protected == Some(true) => return Ok(()),
            Some(_) => {
                let detail = "this ROM version does not give out the UID, without which there is no record; \
                              `panelflash rom write` needs none";
                (Code::RomUnsupported, detail.to_owned())
            }
        };
        Err(Trouble { code, detail })
    }

    fn protected(&mut self) {
        if self.work.goal == Goal::Recover && !self.done.unprotected {
            self.found(Found::Protected);
            self.running = Running::Asking(None);
            self.queue.push_back(Output::Ask(Found::Protected));
        } else {
            self.fail(
                Code::RomProtected,
                "readout protection level 1: its flash can be neither read nor written",
            );
        }
    }

    /// Plans for the very chip that answered, then looks at it or programs it.
    fn lay_out(&mut self) {
        let (id, kib) = match &self.info {
            Some(info) => (&info.identity, info.flash_kib.value().copied()),
            None => return,
        };
        let options = PlanOptions {
            flash_kib: kib,
            bootloader_id: id.bootloader_id,
            erase: EraseChoice::Touched,
            voltage: self.work.voltage,
            ..PlanOptions::default()
        };
        match self.work.image.plan(id.device.unwrap_or(self.work.device), &options) {
            Err(error) => self.fail(plan_code(&error), error.to_string()),
            Ok(job) if self.work.goal == Goal::Recover && !self.done.unprotected => {
                let compare = CompareShared { job: job.clone() };
                self.running = Running::Compare(Session::new(compare, &self.connected(), self.now), job);
            }
            Ok(job) => self.program(job),
        }
    }

    fn compared(&mut self, compared: &Compared, job: Job) {
        let found = classify(compared, job.plan());
        self.found(found);
        if found == Found::ThisRelease {
            // All of it was read back just now.
            self.begin(Step::Verify);
            let done = core::mem::take(&mut self.done);
            self.end(Ok(done));
        } else {
            self.running = Running::Asking(Some(job));
            self.queue.push_back(Output::Ask(found));
        }
    }

    fn found(&mut self, found: Found) {
        self.done.found = Some(found);
        self.queue.push_back(Output::Found(found));
    }

    fn program(&mut self, job: Job) {
        self.begin(Step::Program);
        let finish = self.work.start.map_or(Finish::Stay, Finish::Go);
        let program = ProgramShared { job, verify: true, finish };
        self.running = Running::Program(Session::new(program, &self.connected(), self.now));
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

fn classify(compared: &Compared, plan: &Plan) -> Found {
    // Blank blocks of the image count as planned in a blank chip too: they say nothing.
    let telling = compared.as_planned.saturating_sub(plan.blank_blocks().len());
    match (telling, compared.blank, compared.other) {
        (_, 0, 0) => Found::ThisRelease,
        (0, _, 0) => Found::Blank,
        (0, _, _) | (_, 0, _) => Found::OtherContents,
        _ => Found::HalfWritten,
    }
}

//! One board's way through a job, as a state machine that takes `now`.
//!
//! Contract: after [`Attempt::new`] and after every `handle_*`, call [`Attempt::poll`]
//! until it returns [`Output::Wait`] or [`Output::Done`]. What it returns is in the order in which it must
//! happen: a step or an identity comes before the bytes it is about, so that a driver that makes it durable
//! first has true records whatever happens next. `finish.rs` has what comes after the image: identity, option
//! bytes, lock, its proof, start.

mod finish;

use std::collections::VecDeque;
use std::sync::Arc;

use panel_codes::Code;
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::device::SupplyVoltage;
use stm32_rom_bootloader::{
    Device, EraseChoice, Field, Finish, Info, Inspect, LineAction, LineResult, PlanOptions, ProgramShared,
    Resume, SharedImage,
};

use super::explain::{explain, plan_code};
use super::session::{Link, Outcome, Packet, Session, Wish};
use crate::event::Step;
use crate::finishing::{IdentityBytes, IdentityPlace, OptionWrite, Reserved};

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Erase, program, read back, and everything else that a board needs; a protected board fails.
    Program,
    /// Put the image, which lies in RAM, there and start it. Nothing lasting is done to the board.
    LoadAgent,
    /// The board has its image and its identity: option bytes, lock and proof are left.
    Finish,
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
    /// What a factory adds.
    pub(crate) extras: Arc<Extras>,
    /// The board that must be there, if it is known already.
    pub(crate) uid: Option<Uid>,
}

/// What a factory adds to a board beside its image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    /// Nothing is erased before [`Attempt::handle_reserved`].
    pub(crate) reserve: bool,
    /// Where the identity goes; `may_erase` already says no where the image has a byte in the erase unit.
    pub(crate) place: Option<IdentityPlace>,
    /// Bytes that the flash programs at once.
    pub(crate) unit: usize,
    pub(crate) options: Vec<OptionWrite>,
    /// Readout protection level 1.
    pub(crate) lock: bool,
}

impl Extras {
    /// Whether nothing follows the image.
    pub(super) fn is_empty(&self) -> bool {
        self.place.is_none() && !self.restarts()
    }

    /// Whether something is done that acts after a restart.
    pub(crate) fn restarts(&self) -> bool {
        self.lock || !self.options.is_empty()
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The code.
    pub(crate) code: Code,
    /// The values.
    pub(crate) detail: String,
}

/// What a locked board answered, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) get_id: Vec<u8>,
    pub(crate) address: u32,
    pub(crate) read: Vec<u8>,
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
    /// It is to be reserved; call [`Attempt::handle_reserved`].
    Reserve,
    /// The identity was read back and is right.
    IdentityWritten,
    /// The board is locked and has proved it.
    LockProved(Answers),
    /// Something worth keeping: topic and text.
    Note(&'static str, String),
    /// Progress of the session.
    Watch(stm32::Event),
    /// Nothing before input comes or it is this time.
    Wait(Micros),
    /// The end, once.
    Done(Result<(), Trouble>),
}

/// Never: an attempt that has ended, or that somebody else has to go on with.
const FOREVER: Micros = Micros(u64::MAX);

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Who is there?
    Looking,
    /// Somebody else reserves an identity.
    Reserving,
    Programming,
    WritingIdentity,
    WritingOptions,
    /// Is it still the same board, before its lock?
    Binding,
    Locking,
    /// The adapter goes back to the rate at which ROMs begin,
    BackToFirstRate,
    /// because the board starts anew and has to prove its lock.
    Proving,
    Starting,
    /// The fixture starts it.
    StartedByReset,
    Over,
}

/// One board's way through a job.
#[derive(Debug)]
pub(crate) struct Attempt {
    work: Work,
    link: Link,
    now: Micros,
    doing: Doing,
    session: Option<Session>,
    queue: VecDeque<Output>,
    step: Step,
    /// What was read of the chip last.
    info: Option<Info>,
    uid: Option<Uid>,
    /// The identity to write.
    identity: Option<IdentityBytes>,
    /// The command that locks may have reached the board.
    lock_sent: bool,
    /// Proofs begun.
    proofs: u8,
    /// What went wrong when the board was locked; its proof says whether that mattered.
    doubt: Option<String>,
}

impl Attempt {
    /// Begins; nothing is sent before the first poll.
    pub(crate) fn new(work: Work, link: Link, now: Micros) -> Self {
        let mut attempt = Self {
            work,
            link,
            now,
            doing: Doing::Over,
            session: None,
            queue: VecDeque::new(),
            step: Step::Power,
            info: None,
            uid: None,
            identity: None,
            lock_sent: false,
            proofs: 0,
            doubt: None,
        };
        match attempt.work.goal {
            Goal::LoadAgent => {
                attempt.begin(Step::Load);
                attempt.load();
            }
            Goal::Program => {
                attempt.begin(Step::Discover);
                attempt.inspect(Doing::Looking);
            }
            Goal::Finish => {
                attempt.uid = attempt.work.uid;
                attempt.begin(if attempt.work.extras.options.is_empty() {
                    Step::Lock
                } else {
                    Step::Options
                });
                attempt.inspect(Doing::Looking);
            }
        }
        attempt
    }

    /// Bytes or a frame came in.
    pub(crate) fn handle_rx(&mut self, now: Micros, packet: &Packet) {
        self.now = now;
        if let Some(session) = &mut self.session {
            session.handle_rx(now, packet);
        }
    }

    /// It is the time that the last [`Output::Wait`] named. Harmless if it is not.
    pub(crate) fn handle_timeout(&mut self, now: Micros) {
        self.now = now;
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
    }

    /// A line action was carried out, or cannot be.
    pub(crate) fn handle_line(&mut self, now: Micros, result: LineResult) {
        self.now = now;
        match (&mut self.session, self.doing) {
            (Some(session), _) => session.handle_line(now, result),
            (None, Doing::BackToFirstRate) => self.prove(result),
            (None, Doing::StartedByReset) => self.started_by_reset(result),
            (None, _) => {}
        }
    }

    /// The identity that the board is to have.
    pub(crate) fn handle_reserved(&mut self, now: Micros, reserved: &Reserved) {
        self.now = now;
        if self.doing == Doing::Reserving {
            self.identity.clone_from(&reserved.identity);
            self.program();
        }
    }

    /// Whether its ROM writes option bytes now.
    pub(crate) const fn writes_options(&self) -> bool {
        matches!(self.doing, Doing::WritingOptions | Doing::Locking)
    }

    /// Whether the board may be locked by now: another attempt could neither read nor write it.
    pub(crate) const fn may_be_locked(&self) -> bool {
        self.lock_sent
    }

    /// What to do next, see [`Output`].
    pub(crate) fn poll(&mut self) -> Output {
        loop {
            if let Some(output) = self.queue.pop_front() {
                return output;
            }
            let Some(session) = &mut self.session else { return Output::Wait(FOREVER) };
            match session.poll() {
                Wish::Send(packet) => return Output::Send(packet),
                Wish::Line(action) => return Output::Line(action),
                Wish::Wait(until) => return Output::Wait(until),
                Wish::Event(event) => self.follow(event),
                Wish::Ended(result) => {
                    self.session = None;
                    match result {
                        Ok(outcome) => self.ended(outcome),
                        Err(error) => self.session_failed(&error),
                    }
                }
            }
        }
    }

    fn ended(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Info(info) if self.doing == Doing::Binding => self.bound(info),
            Outcome::Info(info) => self.looked(info),
            Outcome::Programmed(done) if self.doing == Doing::Programming => {
                if done.needs_power_cycle {
                    let text = "starts its ROM until its power has been off once".to_owned();
                    self.queue.push_back(Output::Note("power-cycle", text));
                }
                self.programmed();
            }
            Outcome::Programmed(_) => self.identity_written(),
            Outcome::Options(written) => self.options_written(written),
            Outcome::Protected => self.locked(),
            Outcome::Proof(proof) => self.proved(&proof),
            Outcome::Started => self.end(Ok(())),
        }
    }

    /// Sessions have finer steps than records.
    fn follow(&mut self, event: stm32::Event) {
        if self.doing == Doing::Programming {
            match event {
                stm32::Event::Step(stm32::Step::Verify) => self.begin(Step::Verify),
                stm32::Event::Step(stm32::Step::Start) if self.work.goal != Goal::LoadAgent => {
                    self.begin(Step::Start);
                }
                _ => {}
            }
        }
        let progress = matches!(event, stm32::Event::Progress { .. });
        if self.doing == Doing::Programming || !progress {
            self.queue.push_back(Output::Watch(event));
        }
    }

    fn begin(&mut self, step: Step) {
        if self.step != step {
            self.step = step;
            self.queue.push_back(Output::Step(step));
        }
    }

    fn end(&mut self, result: Result<(), Trouble>) {
        self.doing = Doing::Over;
        self.session = None;
        self.queue.push_back(Output::Done(result));
    }

    fn fail(&mut self, code: Code, detail: impl Into<String>) {
        self.end(Err(Trouble { code, detail: detail.into() }));
    }

    /// Reads what there is to know, of a board that is yet to be found or that is connected.
    fn inspect(&mut self, doing: Doing) {
        self.doing = doing;
        let link = self.connected();
        self.session = Some(Session::new(Inspect, Outcome::Info, &link, self.now));
    }

    /// The link to the chip that was found, or to the one that is to be found.
    fn connected(&self) -> Link {
        let identity = self.info.as_ref().map(|info| info.identity.clone());
        identity.map_or_else(|| self.link.clone(), |identity| self.link.connected(identity))
    }

    fn looked(&mut self, info: Info) {
        if self.work.goal == Goal::Program {
            self.begin(Step::Identify);
        }
        let (check, uid) = (self.check(&info), info.uid.value().copied().map(Uid));
        let protected = info.identity.protected == Some(true);
        self.info = Some(info);
        if let Err(trouble) = check {
            self.end(Err(trouble));
            return;
        }
        if self.work.goal == Goal::Finish {
            self.looked_again(protected, uid);
            return;
        }
        if let Some(uid) = uid {
            self.uid = Some(uid);
            self.queue.push_back(Output::Identified(uid));
        }
        if protected {
            let detail = "readout protection level 1: its flash can be neither read nor written, and its ROM no \
                          longer says its UID (AN3155), so that nobody can tell which unit it is; `panelflash \
                          recover` erases it and programs it anew";
            self.fail(Code::RomProtected, detail);
        } else if self.work.extras.reserve {
            self.begin(Step::Reserve);
            self.doing = Doing::Reserving;
            self.queue.push_back(Output::Reserve);
        } else {
            self.program();
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
                let detail = match info.uid {
                    Field::Unreadable => {
                        "this ROM version does not give out the UID (AN2606), without which there"
                    }
                    _ => "the ROM refused to give out the UID, without which there",
                };
                let detail = format!("{detail} is no record of the unit; `panelflash rom write` needs none");
                (Code::RomUnsupported, detail)
            }
        };
        Err(Trouble { code, detail })
    }

    /// How to plan for the very chip that answered.
    fn plan_options(&self, erase: EraseChoice) -> PlanOptions {
        let info = self.info.as_ref();
        PlanOptions {
            flash_kib: info.and_then(|info| info.flash_kib.value().copied()),
            bootloader_id: info.and_then(|info| info.identity.bootloader_id),
            erase,
            voltage: self.work.voltage,
            ..PlanOptions::default()
        }
    }

    fn device(&self) -> &'static Device {
        self.info.as_ref().and_then(|info| info.identity.device).unwrap_or(self.work.device)
    }

    /// Erases, writes and reads back what belongs on the chip that answered.
    fn program(&mut self) {
        match self.work.image.plan(self.device(), &self.plan_options(EraseChoice::Touched)) {
            Err(error) => self.fail(plan_code(&error), error.to_string()),
            Ok(job) => {
                self.begin(Step::Program);
                let finish =
                    self.work.start.filter(|_| self.work.extras.is_empty()).map_or(Finish::Stay, Finish::Go);
                self.write(Doing::Programming, job, Resume::FromStart, finish);
            }
        }
    }

    fn write(&mut self, doing: Doing, job: stm32::Job, resume: Resume, finish: Finish) {
        self.doing = doing;
        let program = ProgramShared { job, resume, verify: true, finish };
        self.session = Some(Session::new(program, Outcome::Programmed, &self.connected(), self.now));
    }

    /// The link's own check bytes stand for a read-back: an agent that arrived spoilt does not answer.
    fn load(&mut self) {
        let options = PlanOptions { erase: EraseChoice::Nothing, ..PlanOptions::default() };
        match self.work.image.plan(self.work.device, &options) {
            Err(error) => self.fail(plan_code(&error), error.to_string()),
            Ok(job) => {
                let finish = self.work.start.map_or(Finish::Stay, Finish::Go);
                let program = ProgramShared { job, resume: Resume::FromStart, verify: false, finish };
                self.doing = Doing::Programming;
                self.session = Some(Session::new(program, Outcome::Programmed, &self.link, self.now));
            }
        }
    }

    fn session_failed(&mut self, error: &stm32::Error) {
        if !self.finish_failed(error) {
            self.fail(explain(error), error.to_string());
        }
    }
}

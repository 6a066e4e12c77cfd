//! Who stands at the bench: asks before anything is destroyed, and writes everything down before it happens.

use panel_backplane::Slot;
use panel_codes::Code;
use panel_engine::{Event, Reserved};
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{Device, Identity, Operation, Plan};

use super::BENCH;
use crate::books::Books;
use crate::failure::Failure;
use crate::out::note;
use crate::rom::attempt::{Done, Found, Link, Overseer};
use crate::rom::{Port, Progress, consent, with_the_way_in};

/// A real port as a link.
pub(super) struct BenchPort {
    pub(super) port: Port,
    /// What the job says it is.
    pub(super) device: &'static Device,
}

impl Link for BenchPort {
    fn run<'a, O: Operation<'a>>(
        &mut self,
        operation: O,
        connected: Option<&Identity>,
        on_event: &mut dyn FnMut(&stm32::Event),
    ) -> Result<O::Outcome, Failure>
    where
        O::Outcome: 'a,
    {
        let result = self.port.run(operation, connected, on_event);
        result.map_err(|failure| with_the_way_in(failure, Some(self.device)))
    }
}

/// Records first, then the ledger, then the screen; asks before anything is destroyed.
pub(super) struct Bench {
    pub(super) books: Books,
    clock: std::time::Instant,
    progress: Progress,
    yes: bool,
}

impl Bench {
    pub(super) fn new(books: Books, clock: std::time::Instant, yes: bool) -> Self {
        Self { books, clock, progress: Progress::default(), yes }
    }

    pub(super) fn now(&self) -> Micros {
        Micros(u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Closes the record of a recovery that ended so.
    pub(super) fn end(&mut self, result: &Result<Done, Failure>) -> Result<(), Failure> {
        self.progress.end();
        let exit = result.as_ref().map_or_else(Failure::exit, |_| 0);
        let now = self.now();
        self.books.recorder.end(now, exit).map_err(|e| crate::records::failure(&e))
    }
}

impl Overseer for Bench {
    fn tell(&mut self, event: Event) -> Result<(), Failure> {
        let now = self.now();
        let written = self.books.events(now, &[event]);
        written.map_err(|why| {
            self.books.failure().unwrap_or_else(|| Failure::with_exit(Code::RecordStore, why, 3))
        })
    }

    fn reserve(&mut self, uid: Uid) -> Result<Reserved, Failure> {
        let now = self.now();
        let answer: Option<(Slot, _)> = self.books.reserve(now, &[(BENCH, uid)]).pop();
        let Some((_, answer)) = answer else { return Ok(Reserved::default()) };
        if let Some(failure) = self.books.failure() {
            return Err(failure);
        }
        // Nothing more has been done to the board; what has to be put right is not at the station.
        answer.map_err(|refused| Failure::new(refused.code, refused.text))
    }

    fn may(&mut self, found: Found, plan: Option<&Plan>) -> Result<(), Failure> {
        self.progress.end();
        note(&format!("the board is {}", found.describe()));
        match found {
            Found::ThisRelease => Ok(()),
            Found::Protected => {
                consent(self.yes, "Readout Unprotect ERASES THE WHOLE CHIP, also what is not in the release")
            }
            Found::WriteProtected => consent(self.yes, "going on opens EVERY sector of the chip to writing"),
            Found::Blank if plan.is_some_and(|p| p.lost().is_empty()) => Ok(()),
            Found::Blank | Found::HalfWritten | Found::OtherIdentity | Found::OtherContents => {
                consent(self.yes, &format!("going on erases {}", plan.map_or_else(String::new, erased)))
            }
        }
    }

    fn watch(&mut self, event: &stm32::Event) {
        if let stm32::Event::Syncing { attempt: 5 } = event {
            note("no answer yet; a chip that was interrupted while erasing may need half a minute more");
        }
        self.progress.show(event);
    }
}

/// What a plan destroys, in words.
fn erased(plan: &Plan) -> String {
    let units = plan.units();
    let all = units.first().zip(units.last());
    let range = all.map_or_else(String::new, |(first, last)| {
        format!("{} units of flash from {:#010x} to {:#010x}", units.len(), first.address, last.end() - 1)
    });
    match plan.lost() {
        [] => range,
        lost => {
            let bytes: u32 = lost.iter().map(stm32::Area::len).sum();
            format!("{range}, and with them {bytes} bytes outside the release")
        }
    }
}

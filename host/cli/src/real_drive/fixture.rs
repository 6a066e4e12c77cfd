//! The fixture's part of a run's driver: lines, currents, the interlock, and the operator who switches by hand.

use panel_backplane::LineAction;
use panel_links::{FixtureEvent, Switched};
use panel_protocol::time::Micros;

use super::Driver;

impl Driver<'_> {
    /// Waits until the fixture is closed and its start button is pressed, where it has these inputs. The run's clock
    /// stands still until then.
    pub(super) fn await_start(&mut self) {
        let inputs = self.run.plan().panel.fixture.inputs.clone();
        let mut closed = inputs.interlock.is_none();
        let mut pressed = inputs.start.is_none();
        self.clock.stop();
        let mut told = None;
        while !closed || !pressed {
            self.clock.look();
            if self.observer.tick(self.clock.now()) {
                // At once: the first round of the run would give power.
                self.stopping = true;
                self.run.interrupt(self.clock.now());
                break;
            }
            let wanted = if closed { "press the start button" } else { "close the fixture" };
            if told != Some(wanted) {
                crate::out::note(wanted);
                told = Some(wanted);
            }
            match self.station.fixture.poll(self.clock.real()) {
                Ok(Some(FixtureEvent::Interlock { closed: now })) => closed = now,
                // Pressed on an open fixture, it does not count.
                Ok(Some(FixtureEvent::Start)) => pressed |= closed,
                Ok(Some(_)) => {}
                Ok(None) => {
                    let nap = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                    _ = rustix::event::poll(&mut [], Some(&nap));
                }
                Err(error) => {
                    self.run.handle_fixture_fault(self.clock.now(), &error.to_string());
                    break;
                }
            }
        }
        self.clock.go_on();
    }

    /// What the fixture has to say. Its times are real times: it works on while a link is waited for.
    pub(super) fn hear_fixture(&mut self, now: Micros) {
        self.hear_operator(now);
        loop {
            match self.station.fixture.poll(self.clock.real()) {
                Ok(None) => return,
                Ok(Some(FixtureEvent::Switched(action))) => self.run.handle_switched(now, action),
                Ok(Some(FixtureEvent::Ask(text))) => {
                    crate::out::note(&format!("{text}, then press Enter"));
                    self.asked = Some(text);
                }
                Ok(Some(FixtureEvent::Currents(currents))) => self.run.handle_currents(now, &currents),
                Ok(Some(FixtureEvent::Interlock { closed: false })) => self.run.handle_interlock_open(now),
                // The run has begun already.
                Ok(Some(FixtureEvent::Interlock { closed: true } | FixtureEvent::Start)) => {}
                Err(error) => {
                    self.run.handle_fixture_fault(now, &error.to_string());
                    return;
                }
            }
        }
    }

    /// Enter says that what was asked is done; a closed input, that nobody is there to do it.
    fn hear_operator(&mut self, now: Micros) {
        let Some(text) = &self.asked else { return };
        let stdin = rustix::stdio::stdin();
        let ready = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(stdin, rustix::event::PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut fds, Some(&ready)), Ok(1..)) {
            return;
        }
        let mut keys = [0; 64];
        match rustix::io::read(stdin, &mut keys) {
            Ok(count) if keys[..count].contains(&b'\n') => {
                self.asked = None;
                if let Some(action) = self.station.fixture.confirm() {
                    self.run.handle_switched(now, action);
                }
            }
            Ok(0) => {
                let why = format!("nobody is there to do this: {text}");
                self.asked = None;
                self.run.handle_fixture_fault(now, &why);
            }
            _ => {}
        }
    }

    /// Switches lines; whether there was one to switch.
    pub(super) fn switch(&mut self) -> bool {
        let mut moved = false;
        while let Some(action) = self.run.poll_line() {
            moved = true;
            self.switch_line(action);
        }
        moved
    }

    fn switch_line(&mut self, action: LineAction) {
        let switched = self.station.fixture.switch(self.clock.real(), action);
        // Making the events before it durable takes its time, and the line too.
        self.clock.look();
        let now = self.clock.now();
        match switched {
            Ok(Switched::Done) => self.run.handle_switched(now, action),
            Ok(Switched::Waiting) => {}
            Err(error) => self.run.handle_fixture_fault(now, &error.to_string()),
        }
    }

    /// Reads supply currents; whether any were asked for.
    pub(super) fn sense(&mut self, now: Micros) -> bool {
        let Some(slots) = self.run.poll_sense() else { return false };
        match self.station.fixture.sense(self.clock.real(), &slots) {
            Ok(Some(currents)) => self.run.handle_currents(now, &currents),
            // The fixture will tell.
            Ok(None) => {}
            Err(error) => self.run.handle_fixture_fault(now, &error.to_string()),
        }
        true
    }
}

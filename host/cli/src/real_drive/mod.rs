//! Drives a run over real links: one loop over their descriptors, the run's deadlines and the stop flag.
//!
//! The same contract as `sim_drive`: events are handed to the observer, which makes them durable, before any line
//! is switched or frame sent that the run asks for after them. The loop sleeps until a descriptor or a deadline
//! wakes it. While a link is away, the clock of the run stands still: no board is blamed for that. Invariant: the
//! fixture is safe when [`drive`] returns, whatever happened.

mod clock;
mod fixture;
mod open;
mod ports;
mod watch;

pub(crate) use open::{Station, is_simulated, open, open_failure};

use panel_backplane::BusIndex;
use panel_engine::{Event, LinkEvent, Run};
use panel_links::{CanEvent, CanInput, Stamp};
use panel_protocol::time::{Micros, Span};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sim_drive::Observer;
pub(crate) use clock::Clock;
pub(crate) use watch::LinkReport;
use watch::{Fault, LinkWatch};

/// Longest time between two looks at the keyboard and two frames of the view.
const TICK: Span = Span::from_millis(50);
/// Rest of the driver after it was woken: the time of about two frames, of the two milliseconds that may be under way.
const ROUND: Span = Span(250);
/// Frames taken from one link before the others and the run have their turn.
const TURN: usize = 64;

/// What became of the links, by bus.
pub(crate) struct Driven {
    pub(crate) ended: Micros,
    pub(crate) links: Vec<LinkReport>,
}

/// Runs to the end. `link_wait`: how long a link may be away.
pub(crate) fn drive(
    run: &mut Run,
    station: &mut Station,
    link_wait: Span,
    observer: &mut dyn Observer,
) -> Driven {
    let mut driver = Driver {
        watches: station.links.iter().map(|_| LinkWatch::new(link_wait)).collect(),
        run,
        station,
        observer,
        clock: Clock::start(),
        batch: Vec::new(),
        stopping: false,
        next_tick: Micros::ZERO,
        asked: None,
    };
    driver.work();
    driver.close()
}

struct Driver<'a> {
    run: &'a mut Run,
    station: &'a mut Station,
    observer: &'a mut dyn Observer,
    watches: Vec<LinkWatch>,
    clock: Clock,
    batch: Vec<Event>,
    stopping: bool,
    next_tick: Micros,
    /// The operator has been asked to do something and has not said yet that it is done.
    asked: Option<String>,
}

impl Driver<'_> {
    fn work(&mut self) {
        self.note_latencies();
        self.await_start();
        self.clock.look();
        self.give_up_ports(self.clock.now());
        loop {
            self.clock.look();
            let now = self.clock.now();
            let mut behind = false;
            for bus in 0..self.station.links.len() {
                behind |= self.receive(now, bus);
            }
            self.hear_ports(now);
            self.watch_links();
            self.hear_fixture(now);
            // A link may have come back: the clock goes on.
            let now = self.clock.now();
            // Nobody is too late whose frames are here and not yet read.
            if !behind && self.run.next_timeout().is_some_and(|due| now >= due) && !self.clock.stands() {
                self.run.handle_timeout(now);
            }
            self.flush();
            if self.run.is_finished() {
                return;
            }
            self.tick();
            if !behind {
                self.wait();
            }
        }
    }

    /// Everything that a link has to say, up to a turn; whether there may be more.
    fn receive(&mut self, now: Micros, bus: usize) -> bool {
        let index = BusIndex(bus as u8);
        for _ in 0..TURN {
            let Some(input) = self.station.links[bus].receive(now) else { return false };
            match input {
                CanInput::Received(frame, stamp) => {
                    if let Some(Stamp::Kernel(at)) = stamp {
                        self.watches[bus].received_at(at);
                    }
                    self.watches[bus].alive();
                    self.run.handle_frame(now, index, &frame);
                }
                CanInput::Sent(_) => self.watches[bus].alive(),
                CanInput::Event(event) => self.handle_event(now, bus, event),
            }
        }
        true
    }

    fn handle_event(&mut self, now: Micros, bus: usize, event: CanEvent) {
        let index = BusIndex(bus as u8);
        let real = self.clock.real();
        if self.watches[bus].is_news(&event) {
            let text = format!("{}: {event}", self.station.links[bus].name());
            self.run.note_link(index, "link", text);
        }
        match event {
            CanEvent::BusError => self.run.handle_link(now, index, LinkEvent::BusError),
            CanEvent::ErrorPassive => self.run.handle_link(now, index, LinkEvent::ErrorPassive),
            CanEvent::NoAck => self.run.handle_link(now, index, LinkEvent::NoAck),
            CanEvent::BusOff => {
                self.watches[bus].bus_off(real);
                self.run.handle_link(now, index, LinkEvent::BusOff);
            }
            CanEvent::Restarted => {
                self.watches[bus].alive();
                self.run.handle_link(now, index, LinkEvent::Restarted);
            }
            CanEvent::ArbitrationLost => {}
            CanEvent::Overrun { .. } => {
                let lost = self.station.links[bus].counters().overruns;
                if let Some(fault) = self.watches[bus].overrun(lost) {
                    self.fault(now, bus, &fault);
                }
            }
            CanEvent::Stuck { .. } => {
                let fault = Fault { code: panel_codes::Code::TransmitStuck, why: event.to_string() };
                self.fault(now, bus, &fault);
            }
            CanEvent::Down { why } => match self.watches[bus].went_down(real, why) {
                Some(fault) => self.fault(now, bus, &fault),
                None => self.clock.stop(),
            },
        }
    }

    /// Brings links back, and gives up those that stay away.
    fn watch_links(&mut self) {
        let real = self.clock.real();
        for bus in 0..self.watches.len() {
            if self.watches[bus].wants_restore(real) {
                let now = self.clock.now();
                match self.station.links[bus].restore(now) {
                    Ok(()) => {
                        let text = self.watches[bus].came_back(real);
                        let text = format!("{}: {text}", self.station.links[bus].name());
                        self.run.note_link(BusIndex(bus as u8), "link", text);
                        self.run.handle_link(now, BusIndex(bus as u8), LinkEvent::Restarted);
                    }
                    Err(error) => self.watches[bus].still_away(&error),
                }
            }
            if let Some(fault) = self.watches[bus].check(real) {
                let now = self.clock.now();
                self.fault(now, bus, &fault);
            }
        }
        if self.clock.stands() && !self.watches.iter().any(LinkWatch::is_away) {
            self.clock.go_on();
        }
    }

    fn fault(&mut self, now: Micros, bus: usize, fault: &Fault) {
        let text = format!("{}: {}", self.station.links[bus].name(), fault.why);
        self.run.handle_link_fault(now, BusIndex(bus as u8), fault.code, &text);
    }

    /// Events first, then their effects, until nothing moves.
    fn flush(&mut self) {
        loop {
            let now = self.clock.now();
            while let Some(event) = self.run.poll_event() {
                self.batch.push(event);
            }
            if !self.batch.is_empty() {
                if let Err(why) = self.observer.events(now, &self.batch)
                    && !self.stopping
                {
                    self.stopping = true;
                    self.run.handle_store_fault(now, &why);
                }
                self.batch.clear();
                continue;
            }
            if let Some(boards) = self.run.poll_reserve() {
                let answers = self.observer.reserve(now, &boards);
                self.run.handle_reserved(now, answers);
                continue;
            }
            if let Some(made) = self.run.poll_certify() {
                let answers = self.observer.certify(now, &made);
                self.run.handle_certified(now, answers);
                continue;
            }
            let moved = self.switch() || self.sense(now) || self.set_rates(now) || self.write_ports(now);
            if !moved && !self.transmit(now) {
                return;
            }
        }
    }

    fn transmit(&mut self, now: Micros) -> bool {
        let mut moved = false;
        for (bus, link) in self.station.links.iter_mut().enumerate() {
            while link.has_room(now)
                && let Some(frame) = self.run.poll_transmit(now, BusIndex(bus as u8))
            {
                link.send(now, &frame);
                moved = true;
            }
        }
        moved
    }

    fn tick(&mut self) {
        // Making events durable takes its time.
        self.clock.look();
        let now = self.clock.now();
        let real = self.clock.real();
        if real >= self.next_tick {
            self.next_tick = real + TICK;
            if self.observer.tick(now) && !self.stopping {
                self.stopping = true;
                self.run.interrupt(now);
                self.flush();
            }
        }
    }

    /// Sleeps until something comes or is due.
    fn wait(&self) {
        let (now, real) = (self.clock.now(), self.clock.real());
        let links = self.station.links.iter().filter_map(|link| link.next_timeout());
        let due = if self.clock.stands() { None } else { self.run.next_timeout() };
        let due = due.into_iter().chain(links).min().map_or(TICK, |due| due.since(now));
        let fixture = self.station.fixture.next_timeout().map_or(TICK, |due| due.since(real));
        let sleep = due.min(fixture).min(self.next_tick.since(real)).min(TICK);
        if self.run.is_finished() {
            return;
        }
        let mut fds = Vec::with_capacity(self.station.links.len() + self.station.ports.len() + 1);
        for link in &self.station.links {
            let write = if link.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
            if let Some(fd) = link.fd() {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN | write));
            }
        }
        for port in self.station.ports.iter().flatten() {
            let write = if port.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
            if let Some(fd) = port.fd() {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN | write));
            }
        }
        let stdin = rustix::stdio::stdin();
        if self.asked.is_some() {
            fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        let sleep = Timespec { tv_sec: 0, tv_nsec: sleep.0 as i64 * 1000 };
        // Interrupted by a signal: the stop flag is looked at. Nothing else can go wrong with these descriptors.
        _ = poll(&mut fds, Some(&sleep));
        if self.station.ports.is_empty() && self.asked.is_none() {
            // A round for every frame that is confirmed would cost more than it gains.
            let rest = Timespec { tv_sec: 0, tv_nsec: ROUND.0 as i64 * 1000 };
            _ = poll(&mut [], Some(&rest));
        }
    }

    /// Leaves everything safe, and writes down what the links counted.
    fn close(mut self) -> Driven {
        self.clock.look();
        let now = self.clock.now();
        let mut links = Vec::new();
        // What was sent last is confirmed by now.
        for link in &mut self.station.links {
            while link.receive(now).is_some() {}
        }
        for (bus, watch) in self.watches.iter().enumerate() {
            let link = &self.station.links[bus];
            let report = watch.report(link.name(), link.counters());
            self.run.note_link(BusIndex(bus as u8), "link", report.to_string());
            links.push(report);
        }
        if let Err(error) = self.station.fixture.safe() {
            self.run.note_link(BusIndex(0), "fixture", format!("not safe: {error}"));
            crate::out::note(&format!("the fixture could not be made safe: {error}"));
        }
        for text in self.station.fixture.left_on() {
            crate::out::note(&text);
            self.run.note_link(BusIndex(0), "fixture", text);
        }
        self.flush();
        Driven { ended: now, links }
    }
}

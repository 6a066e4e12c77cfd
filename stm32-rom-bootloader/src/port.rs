//! The inside of every session: an `async fn` that is driven by hand.
//!
//! A protocol of questions and answers is easiest to read as straight code: send, wait for the ACK, send. So an
//! operation is written as an `async fn`, and [`Core`] polls it with a waker that does nothing. There is no
//! executor and no clock: the only thing such a function can await is [`Port`], which is either given something
//! by `handle_*` or says until when it waits and for what. Both ends share one small mailbox; the lock is never
//! held across an await and never contended, it only makes sessions `Send`.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Fault};
use crate::event::{Event, LineAction, LineResult, Wait};

/// More of an answer than this nobody wants to keep: a block of 256 bytes and what stands around it.
const MOST_HEARD: usize = 512;

/// What goes over the link in one piece: bytes on a UART (the identifier is 0), one frame on CAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) id: u16,
    pub(crate) data: Vec<u8>,
}

/// What a session emits before it waits.
#[derive(Debug)]
pub(crate) enum Item {
    Packet(Packet),
    Line(LineAction),
    Event(Event),
}

/// What [`Core::poll`] returns.
#[derive(Debug)]
pub(crate) enum Polled<R> {
    Item(Item),
    Wait { until: Duration, why: Wait },
    Done(Result<R, Error>),
}

#[derive(Debug)]
struct Mailbox {
    now: Duration,
    out: VecDeque<Item>,
    inbox: VecDeque<Packet>,
    line: Option<LineResult>,
    cancelled: bool,
    wait: (Duration, Wait),
    /// What has come in since [`Port::listen`], as it came.
    heard: Vec<u8>,
}

/// The operation's end of the mailbox.
#[derive(Debug, Clone)]
pub(crate) struct Port(Arc<Mutex<Mailbox>>);

impl Port {
    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `now` of the last input.
    pub(crate) fn now(&self) -> Duration {
        self.lock().now
    }

    pub(crate) fn send(&self, id: u16, data: Vec<u8>) {
        self.lock().out.push_back(Item::Packet(Packet { id, data }));
    }

    pub(crate) fn event(&self, event: Event) {
        self.lock().out.push_back(Item::Event(event));
    }

    /// The next packet, or `None` once it is `until`.
    pub(crate) async fn receive(&self, until: Duration, why: Wait) -> Result<Option<Packet>, Fault> {
        self.wait_for(until, why, |mailbox| mailbox.inbox.pop_front()).await
    }

    /// Lets `length` pass; packets stay in the inbox.
    pub(crate) async fn pause(&self, length: Duration, why: Wait) -> Result<(), Fault> {
        let until = self.now().saturating_add(length);
        self.wait_for(until, why, |_| None::<()>).await.map(|_| ())
    }

    /// Throws away what has come in.
    pub(crate) fn clear(&self) {
        self.lock().inbox.clear();
    }

    /// Forgets what was heard before.
    pub(crate) fn listen(&self) {
        self.lock().heard.clear();
    }

    /// What has come in since [`Self::listen`]: the bytes, or the data of the frames one after the other.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.lock().heard.clone()
    }

    /// Asks the driver for a line action; `None` if it does not answer within `limit`.
    pub(crate) async fn line(
        &self,
        action: LineAction,
        limit: Duration,
    ) -> Result<Option<LineResult>, Fault> {
        let until = {
            let mut mailbox = self.lock();
            mailbox.line = None;
            mailbox.out.push_back(Item::Line(action));
            mailbox.now.saturating_add(limit)
        };
        self.wait_for(until, Wait::Lines, |mailbox| mailbox.line.take()).await
    }

    async fn wait_for<T>(
        &self,
        until: Duration,
        why: Wait,
        mut take: impl FnMut(&mut Mailbox) -> Option<T> + Send,
    ) -> Result<Option<T>, Fault> {
        poll_fn(move |_| {
            let mut mailbox = self.lock();
            if mailbox.cancelled {
                return Poll::Ready(Err(Fault::Cancelled));
            }
            if let Some(taken) = take(&mut mailbox) {
                return Poll::Ready(Ok(Some(taken)));
            }
            if mailbox.now >= until {
                return Poll::Ready(Ok(None));
            }
            mailbox.wait = (until, why);
            Poll::Pending
        })
        .await
    }
}

type Running<'a, R> = Pin<Box<dyn Future<Output = Result<R, Error>> + Send + 'a>>;

/// The driver's end of the mailbox, and the operation.
pub(crate) struct Core<'a, R> {
    port: Port,
    running: Option<Running<'a, R>>,
    result: Option<Result<R, Error>>,
}

impl<'a, R> Core<'a, R> {
    /// Nothing runs before the first poll.
    pub(crate) fn new<F>(now: Duration, start: impl FnOnce(Port) -> F) -> Self
    where
        F: Future<Output = Result<R, Error>> + Send + 'a,
    {
        let port = Port(Arc::new(Mutex::new(Mailbox {
            now,
            out: VecDeque::new(),
            inbox: VecDeque::new(),
            line: None,
            cancelled: false,
            wait: (Duration::MAX, Wait::Finished),
            heard: Vec::new(),
        })));
        let running: Running<'a, R> = Box::pin(start(port.clone()));
        Self { port, running: Some(running), result: None }
    }

    pub(crate) fn handle(&mut self, now: Duration, packet: Option<Packet>) {
        let mut mailbox = self.port.lock();
        mailbox.now = mailbox.now.max(now);
        if let Some(packet) = &packet {
            let room = MOST_HEARD.saturating_sub(mailbox.heard.len()).min(packet.data.len());
            mailbox.heard.extend_from_slice(&packet.data[..room]);
        }
        mailbox.inbox.extend(packet);
    }

    pub(crate) fn handle_line(&mut self, now: Duration, result: LineResult) {
        let mut mailbox = self.port.lock();
        mailbox.now = mailbox.now.max(now);
        mailbox.line = Some(result);
    }

    pub(crate) fn cancel(&mut self, now: Duration) {
        let mut mailbox = self.port.lock();
        mailbox.now = mailbox.now.max(now);
        mailbox.cancelled = true;
    }

    pub(crate) fn poll(&mut self) -> Polled<R> {
        loop {
            if let Some(item) = self.port.lock().out.pop_front() {
                return Polled::Item(item);
            }
            if let Some(result) = self.result.take() {
                return Polled::Done(result);
            }
            let Some(running) = self.running.as_mut() else {
                return Polled::Wait { until: Duration::MAX, why: Wait::Finished };
            };
            let mut context = Context::from_waker(Waker::noop());
            match running.as_mut().poll(&mut context) {
                Poll::Ready(result) => {
                    self.result = Some(result);
                    self.running = None;
                }
                Poll::Pending => {
                    let mailbox = self.port.lock();
                    if mailbox.out.is_empty() {
                        let (until, why) = mailbox.wait;
                        return Polled::Wait { until, why };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn echo_twice(now: Duration) -> Core<'static, usize> {
        Core::new(now, |port| async move {
            let mut seen = 0;
            for _ in 0..2 {
                let until = port.now() + 10 * MS;
                let Ok(Some(packet)) = port.receive(until, Wait::Data).await else { break };
                seen += packet.data.len();
                port.send(7, packet.data);
            }
            Ok(seen)
        })
    }

    #[test]
    fn output_comes_before_the_wait_and_the_result_after_all_output() {
        let mut core = echo_twice(5 * MS);
        assert!(matches!(core.poll(), Polled::Wait { until, why: Wait::Data } if until == 15 * MS));
        core.handle(6 * MS, Some(Packet { id: 0, data: vec![1, 2] }));
        assert!(matches!(core.poll(), Polled::Item(Item::Packet(packet)) if packet.data == [1, 2]));
        assert!(matches!(core.poll(), Polled::Wait { until, .. } if until == 16 * MS));
        core.handle(7 * MS, Some(Packet { id: 0, data: vec![3] }));
        assert!(matches!(core.poll(), Polled::Item(Item::Packet(packet)) if packet.data == [3]));
        assert!(matches!(core.poll(), Polled::Done(Ok(3))));
        assert!(matches!(core.poll(), Polled::Wait { why: Wait::Finished, .. }));
    }

    #[test]
    fn a_deadline_that_has_passed_ends_the_wait_and_an_early_timeout_does_not() {
        let mut core = echo_twice(Duration::ZERO);
        assert!(matches!(core.poll(), Polled::Wait { .. }));
        core.handle(9 * MS, None);
        assert!(matches!(core.poll(), Polled::Wait { .. }));
        core.handle(10 * MS, None);
        assert!(matches!(core.poll(), Polled::Done(Ok(0))));
    }

    #[test]
    fn time_never_goes_back() {
        let mut core = echo_twice(100 * MS);
        core.handle(50 * MS, None);
        assert!(matches!(core.poll(), Polled::Wait { until, .. } if until == 110 * MS));
    }

    #[test]
    fn cancelling_ends_the_next_wait() {
        let mut core: Core<'_, ()> = Core::new(Duration::ZERO, |port| async move {
            match port.pause(MS, Wait::Quiet).await {
                Err(Fault::Cancelled) => Err(Error::Cancelled { step: crate::event::Step::Connect }),
                _ => Ok(()),
            }
        });
        assert!(matches!(core.poll(), Polled::Wait { .. }));
        core.cancel(Duration::ZERO);
        assert!(matches!(core.poll(), Polled::Done(Err(Error::Cancelled { .. }))));
    }
}

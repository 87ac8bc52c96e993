//! The session as a state machine: calls and bytes go in, frames and wake-ups
//! come out. It does no I/O, reads no clock and runs no handler.

mod answering;
mod calling;
mod ending;
mod receiving;
#[cfg(test)]
mod tests;

use std::task::Waker;
use std::time::{Duration, Instant};

use panpipe_transport::buffer::Outbox;
use panpipe_transport::frame;

use super::calls::{Calls, Room};
use super::close::CloseReason;
use super::deadlines::{Deadlines, Due, Ticket};
use super::handlers::{Handlers, Stop};
use super::hello::{Hello, ServiceInfo};
use super::message::{Kind, ROOT_PORT, put_header};
use crate::codec::Codec;
use crate::error::CallError;
use crate::limits::{self, Limits};

/// Which side of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Connects: says hello first and chooses the codec.
    Dialer,
    /// Was connected to: answers the hello.
    Acceptor,
}

/// What a session is made with.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) role: Role,
    pub(crate) codec: Codec,
    pub(crate) limits: Limits,
    pub(crate) wants: Option<ServiceInfo>,
    pub(crate) offers: Option<ServiceInfo>,
}

impl Config {
    /// The side that connects, with the defaults.
    pub(crate) fn dialer(wants: ServiceInfo) -> Self {
        Config { role: Role::Dialer, wants: wants.or_none(), ..Config::acceptor(None) }
    }

    /// The side that was connected to, with the defaults.
    pub(crate) fn acceptor(offers: Option<ServiceInfo>) -> Self {
        let (codec, limits) = (Codec::default(), Limits::default());
        Config { role: Role::Acceptor, codec, limits, wants: None, offers }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No hello has passed.
    Quiet,
    /// Our hello is on its way, the answer is not here.
    Greeted,
    /// Both hellos have passed.
    Open,
    /// Nothing more is read; what is queued still goes out.
    Ending(CloseReason),
    Ended(CloseReason),
}

/// A call of the peer's that has been let in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    /// The id that the reply goes to; none for a one-way call.
    pub(crate) id: Option<u32>,
    pub(crate) method: u64,
    pub(crate) deadline: Option<Instant>,
    /// Where the arguments start in the frame.
    pub(crate) args: usize,
}

/// The time that a call has left, and when it is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) left: Duration,
}

/// Encodes arguments or a reply with the connection's codec.
pub(crate) type Encode<'a> = dyn FnMut(Codec, &mut Vec<u8>) -> Result<(), String> + 'a;

#[derive(Debug)]
pub(crate) struct Core {
    role: Role,
    codec: Codec,
    hello: Hello,
    limits: Limits,
    phase: Phase,
    /// What the peer takes; the protocol's least until its hello is here.
    room: Room,
    max_message: usize,
    outbox: Outbox,
    calls: Calls,
    handlers: Handlers,
    deadlines: Deadlines,
    /// Until a hello has passed: when it has to have.
    greeting: Option<Ticket>,
    reply_waiters: Vec<Waker>,
    wakes: Vec<Waker>,
    driver: Option<Waker>,
    /// True while the driver is at work and will see what is queued.
    driving: bool,
    /// What the driver's timer stands at.
    armed: Option<Instant>,
    peer_draining: bool,
    draining: bool,
    closing: bool,
}

impl Core {
    pub(crate) fn new(config: Config) -> Self {
        let limits = config.limits.at_least_the_protocols();
        Core {
            role: config.role,
            codec: config.codec,
            hello: Hello::new(config.codec, &limits, config.wants, config.offers),
            limits,
            phase: Phase::Quiet,
            room: Room { calls: 1, bytes: usize::MAX },
            max_message: limits::FIRST_MESSAGE,
            outbox: Outbox::default(),
            calls: Calls::default(),
            handlers: Handlers::default(),
            deadlines: Deadlines::default(),
            greeting: None,
            reply_waiters: Vec::new(),
            wakes: Vec::new(),
            driver: None,
            driving: false,
            armed: None,
            peer_draining: false,
            draining: false,
            closing: false,
        }
    }

    /// Starts the clock of the handshake: the acceptor's for the peer's hello,
    /// the dialer's for saying hello without a call.
    pub(crate) fn begin(&mut self, now: Instant) {
        let (within, due) = match self.role {
            Role::Acceptor => (self.limits.handshake_timeout, Due::Handshake),
            Role::Dialer => (limits::HELLO_DELAY, Due::Hello),
        };
        // A time past the end of the clock is all the time there is.
        self.greeting = now.checked_add(within).map(|at| self.deadlines.insert(at, due));
    }

    // ---- bytes out ----

    pub(crate) fn outgoing(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Bytes have gone out: lets those in who waited for room.
    pub(crate) fn after_write(&mut self) {
        if !self.has_queue_room() {
            return;
        }
        while self.has_queue_room() {
            let Some((id, failure)) = self.handlers.take_deferred() else {
                break;
            };
            self.fail(id, failure);
        }
        if !self.reply_waiters.is_empty() {
            self.wake_reply_waiters();
        }
        self.grant();
    }

    /// Whether less waits to be sent than may wait. Where it does not, no handler
    /// is to start: its reply would wait in memory too.
    pub(crate) fn has_queue_room(&self) -> bool {
        self.outbox.pending().len() < self.limits.queued_bytes
    }

    /// Whether a call that was just queued should be written by its caller:
    /// only when nothing else is on its way, else the driver writes them as one.
    pub(crate) fn write_inline(&self, before: usize) -> bool {
        before == 0 && !self.driving && self.calls.alone()
    }

    /// The same for a reply.
    pub(crate) fn write_answer_inline(&self, before: usize) -> bool {
        before == 0 && !self.driving && self.handlers.active() == 0
    }

    fn put_frame(&mut self, kind: Kind, id: u64, body: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = FrameInProgress::begin(&mut self.outbox);
        put_header(frame.out(), kind, ROOT_PORT, id);
        body(frame.out());
        frame.finish(limits::LARGEST_MESSAGE).expect("what the session itself says is short");
    }

    // ---- time ----

    /// When `on_timeout` is to be called next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        while let Some(due) = self.deadlines.pop(now) {
            match due {
                Due::Call(key) => {
                    self.calls.get_mut(key).deadline = None;
                    if let Some(id) =
                        self.calls.finish(key, Err(CallError::DeadlineExceeded), &mut self.wakes)
                    {
                        self.put_frame(Kind::Cancel, u64::from(id), |_| ());
                    }
                    self.grant();
                }
                Due::Handler(id) => {
                    self.handlers.stop(u64::from(id), Stop::DeadlineExceeded, &mut self.wakes)
                }
                Due::Hello => {
                    self.greeting = None;
                    self.say_hello();
                }
                Due::Handshake => {
                    self.greeting = None;
                    self.violation("no hello came in time");
                }
            }
        }
    }

    // ---- the driver ----

    pub(crate) fn driver_starts(&mut self) {
        self.driving = true;
    }

    /// The driver has written what it could and goes to wait.
    pub(crate) fn driver_waits(&mut self, waker: &Waker, armed: Option<Instant>) {
        self.driving = false;
        self.armed = armed;
        remember(&mut self.driver, waker);
    }

    /// Sees to it that the driver runs, if it does not already.
    pub(crate) fn wake_driver(&mut self) {
        if !self.driving {
            self.wakes.extend(self.driver.take());
        }
    }

    /// Wakes the driver if its timer stands too late.
    pub(crate) fn check_timer(&mut self) {
        if let Some(next) = self.next_timeout() {
            if self.armed.is_none_or(|armed| next < armed) {
                self.wake_driver();
            }
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// Who is to be woken, once the core is no longer borrowed.
    pub(crate) fn take_wakes(&mut self, into: &mut Vec<Waker>) {
        into.append(&mut self.wakes);
    }

    pub(crate) fn has_wakes(&self) -> bool {
        !self.wakes.is_empty()
    }
}

fn remember(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(known) => known.clone_from(waker),
        none => *none = Some(waker.clone()),
    }
}

/// A frame that is being encoded into the outbox, and is taken back out of it
/// if it does not get finished: by an error, or by a panic in `Serialize`.
struct FrameInProgress<'a> {
    outbox: &'a mut Outbox,
    start: usize,
    frame: frame::Start,
    finished: bool,
}

impl<'a> FrameInProgress<'a> {
    fn begin(outbox: &'a mut Outbox) -> Self {
        let out = outbox.append();
        let start = out.len();
        let frame = frame::begin(out);
        FrameInProgress { outbox, start, frame, finished: false }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        self.outbox.append()
    }

    /// The frame's size, or its size and the limit that it is over.
    fn finish(mut self, max: usize) -> Result<usize, (u64, u64)> {
        let frame = self.frame;
        let out = self.outbox.append();
        frame::finish(out, frame, max).map_err(|error| (error.size as u64, error.limit as u64))?;
        self.finished = true;
        Ok(self.outbox.append().len() - self.start)
    }
}

impl Drop for FrameInProgress<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.outbox.append().truncate(self.start);
        }
    }
}

//! The session as a state machine: calls and bytes go in, frames and wake-ups
//! come out. It does no I/O, reads no clock and runs no handler.

use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use panpipe_transport::buffer::Outbox;
use panpipe_transport::frame;
use panpipe_transport::varint;

use super::calls::{CallState, Calls, Reply, Room};
use super::close::CloseReason;
use super::deadlines::{Deadlines, Due};
use super::handlers::{Handlers, Stop};
use super::hello::{Hello, ServiceInfo};
use super::message::{Header, Kind, MAGIC, ROOT_PORT, Status, put_header, put_str, take_str, take_u64};
use super::reply::{Failure, clipped, put_failure};
use crate::codec::Codec;
use crate::error::{CallError, Refusal, RefusalReason};
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
        match self.role {
            Role::Acceptor => self.deadlines.insert(now + self.limits.handshake_timeout, Due::Handshake),
            Role::Dialer => self.deadlines.insert(now + limits::HELLO_DELAY, Due::Hello),
        };
    }

    // ---- hello ----

    /// Says hello now, if it has not been said.
    pub(crate) fn say_hello(&mut self) {
        if self.phase == Phase::Quiet && self.role == Role::Dialer {
            self.put_hello();
            self.phase = Phase::Greeted;
        }
    }

    fn put_hello(&mut self) {
        self.outbox.append().extend_from_slice(&MAGIC);
        let hello = self.hello.clone();
        self.put_frame(Kind::Hello, 0, |out| hello.encode(out));
    }

    fn on_hello(&mut self, body: &[u8]) {
        let Some(peer) = Hello::decode(body) else {
            return self.violation("the hello cannot be read");
        };
        if let Err(refusal) = self.hello.check(&peer) {
            return self.refuse(refusal);
        }
        if self.role == Role::Acceptor {
            self.codec = Codec::from_id(peer.codec).unwrap_or(self.codec);
            self.hello.codec = peer.codec;
            self.put_hello();
        }
        self.phase = Phase::Open;
        // Who announces nothing gets the least there is, not a division by nought.
        self.room = Room {
            calls: usize::try_from(peer.max_calls).unwrap_or(usize::MAX).clamp(1, u32::MAX as usize - 1),
            bytes: usize::try_from(peer.max_call_bytes).unwrap_or(usize::MAX).max(1),
        };
        self.max_message =
            usize::try_from(peer.max_message).unwrap_or(usize::MAX).min(limits::LARGEST_MESSAGE);
        self.grant();
    }

    /// Turns the peer down, in words.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        if self.role == Role::Acceptor && self.phase == Phase::Quiet {
            self.outbox.append().extend_from_slice(&MAGIC);
        }
        self.put_frame(Kind::Refuse, 0, |out| {
            out.push(refusal.reason.code());
            put_str(out, clipped(&refusal.message));
        });
        self.end(CloseReason::Refused(refusal));
    }

    // ---- calls of ours ----

    /// Starts a call, or waits for room. `key` names the call from its first
    /// wait or its start on; it is `None` when the result is an error.
    pub(crate) fn poll_call(
        &mut self,
        key: &mut Option<usize>,
        method: u64,
        deadline: Option<Deadline>,
        waker: &Waker,
        encode: &mut Encode<'_>,
    ) -> Poll<Result<(), CallError>> {
        let granted = match *key {
            None => {
                self.open_for_calls()?;
                false
            }
            Some(known) => {
                let call = self.calls.get_mut(known);
                match call.state {
                    CallState::Waiting => {
                        remember(&mut call.waker, waker);
                        return Poll::Pending;
                    }
                    CallState::Granted => true,
                    // Its deadline passed, or the connection ended, as it waited.
                    _ => {
                        *key = None;
                        return Poll::Ready(self.take_result(known).map(drop));
                    }
                }
            }
        };
        let room = granted || self.calls.has_room(self.room);
        let started = if room && self.has_queue_room() {
            self.say_hello();
            let left = deadline.map(|deadline| deadline.left);
            let encoded = self.put_call(Kind::Call, u64::from(self.calls.next_id()), method, left, encode);
            match encoded {
                Ok(started) => started,
                Err(error) => {
                    if let Some(known) = key.take() {
                        self.forget(known);
                    }
                    return Poll::Ready(Err(error));
                }
            }
        } else {
            None
        };
        let known = *key.get_or_insert_with(|| {
            let known = self.calls.add(None);
            if let Some(deadline) = deadline {
                let ticket = self.deadlines.insert(deadline.at, Due::Call(known));
                self.calls.get_mut(known).deadline = Some(ticket);
            }
            known
        });
        match started {
            Some(bytes) => {
                self.calls.sent(known, bytes, self.outbox.queued_total(), granted);
                Poll::Ready(Ok(()))
            }
            None => {
                self.calls.wait(known, granted);
                remember(&mut self.calls.get_mut(known).waker, waker);
                Poll::Pending
            }
        }
    }

    /// Waits for the reply to a call that was started.
    pub(crate) fn poll_reply(
        &mut self,
        key: &mut Option<usize>,
        waker: &Waker,
    ) -> Poll<Result<Reply, CallError>> {
        let known = key.expect("a started call keeps its key until its result is taken");
        let call = self.calls.get_mut(known);
        if !matches!(call.state, CallState::Done(_)) {
            remember(&mut call.waker, waker);
            return Poll::Pending;
        }
        *key = None;
        Poll::Ready(self.take_result(known))
    }

    /// Sends a one-way call. `Ready(Ok)` when it is queued; when there is no
    /// room, `waker` is woken once there is.
    pub(crate) fn poll_oneway(
        &mut self,
        method: u64,
        waker: &Waker,
        encode: &mut Encode<'_>,
    ) -> Poll<Result<(), CallError>> {
        self.open_for_calls()?;
        if self.has_queue_room() {
            self.say_hello();
            if self.put_call(Kind::Oneway, 0, method, None, encode)?.is_some() {
                return Poll::Ready(Ok(()));
            }
        }
        self.reply_waiters.push(waker.clone());
        Poll::Pending
    }

    /// The caller has gone: gives up its place, or tells the peer to stop.
    pub(crate) fn drop_call(&mut self, key: usize) {
        if let Some(id) = self.forget(key) {
            self.put_frame(Kind::Cancel, u64::from(id), |_| ());
        }
        self.grant();
    }

    fn open_for_calls(&self) -> Result<(), CallError> {
        match &self.phase {
            Phase::Ending(reason) | Phase::Ended(reason) => Err(reason.unsent()),
            _ if self.peer_draining || self.closing => Err(CallError::Disconnected { sent: false }),
            _ => Ok(()),
        }
    }

    /// Encodes a call's frame. `Ok(None)`: it has to wait for the peer's hello.
    fn put_call(
        &mut self,
        kind: Kind,
        id: u64,
        method: u64,
        left: Option<Duration>,
        encode: &mut Encode<'_>,
    ) -> Result<Option<usize>, CallError> {
        let codec = self.codec;
        let open = self.phase == Phase::Open;
        if self.role == Role::Acceptor && !open {
            return Ok(None);
        }
        let mut frame = FrameInProgress::begin(&mut self.outbox);
        let out = frame.out();
        put_header(out, kind, ROOT_PORT, id);
        out.extend_from_slice(&method.to_le_bytes());
        if kind == Kind::Call {
            varint::put(out, left.map_or(0, |left| micros(left).saturating_add(1)));
        }
        encode(codec, out).map_err(CallError::Malformed)?;
        match frame.finish(self.max_message) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) if !open => Ok(None),
            Err((size, limit)) => Err(CallError::TooLarge { size, limit }),
        }
    }

    /// Removes a call. Returns its id if the peer is still at it.
    fn forget(&mut self, key: usize) -> Option<u32> {
        let (call, id) = self.calls.remove(key);
        if let Some(ticket) = call.deadline {
            self.deadlines.remove(ticket);
        }
        id
    }

    fn take_result(&mut self, key: usize) -> Result<Reply, CallError> {
        let (call, _) = self.calls.remove(key);
        if let Some(ticket) = call.deadline {
            self.deadlines.remove(ticket);
        }
        match call.state {
            CallState::Done(result) => result,
            _ => unreachable!("a result is taken of a call that is done"),
        }
    }

    fn grant(&mut self) {
        if self.has_queue_room() {
            self.calls.grant(self.room, &mut self.wakes);
        }
    }

    // ---- calls of the peer's ----

    fn on_call(
        &mut self,
        header: Header,
        frame: &[u8],
        now: &mut dyn FnMut() -> Instant,
    ) -> Option<Incoming> {
        let mut rest = &frame[header.body..];
        if header.port != ROOT_PORT {
            self.violation("a call is for a port that is not open");
            return None;
        }
        let method = take_u64(&mut rest);
        let left = if header.kind == Kind::Call { varint::take(&mut rest) } else { Some(0) };
        let (Some(method), Some(left)) = (method, left) else {
            self.violation("the head of a call cannot be read");
            return None;
        };
        let args = frame.len() - rest.len();
        if header.kind == Kind::Oneway {
            if self.draining {
                return None;
            }
            self.handlers.oneway_started();
            return Some(Incoming { id: None, method, deadline: None, args });
        }
        let too_many = header.id >= u64::from(self.limits.max_calls)
            || (self.handlers.active() > 0 && self.handlers.bytes() >= self.limits.max_call_bytes);
        if too_many {
            self.overloaded(header.id);
            return None;
        }
        let id = u32::try_from(header.id).expect("the id is below a u32 limit");
        // Clamped before any arithmetic: a deadline years away is as good as any.
        let deadline =
            (left > 0).then(|| now() + Duration::from_micros(left - 1).min(limits::LONGEST_DEADLINE));
        let ticket = deadline.map(|at| self.deadlines.insert(at, Due::Handler(id)));
        if !self.handlers.add(id, frame.len(), ticket) {
            self.violation("a call uses the id of another that still runs");
            return None;
        }
        if self.draining {
            self.fail(id, Failure::NotRun);
            return None;
        }
        Some(Incoming { id: Some(id), method, deadline, args })
    }

    fn overloaded(&mut self, id: u64) {
        if self.has_queue_room() {
            self.put_frame(Kind::Reply, id, |out| put_failure(out, &Failure::Overloaded));
        } else {
            // A peer over its limit that does not read its replies either.
            self.violation("more calls came than this side accepts, and their replies are not read");
        }
    }

    /// Answers a call with what `encode` appends, status byte included.
    /// Pending when the outgoing queue is full.
    pub(crate) fn poll_answer(&mut self, id: u32, waker: &Waker, encode: &mut Encode<'_>) -> Poll<()> {
        if !self.handlers.contains(id) || self.is_over() {
            self.settle(id);
            return Poll::Ready(());
        }
        if !self.has_queue_room() {
            self.reply_waiters.push(waker.clone());
            return Poll::Pending;
        }
        match self.put_answer(id, encode) {
            Ok(()) => self.settle(id),
            Err(failure) => self.fail(id, failure),
        }
        Poll::Ready(())
    }

    fn put_answer(&mut self, id: u32, encode: &mut Encode<'_>) -> Result<(), Failure> {
        let codec = self.codec;
        let mut frame = FrameInProgress::begin(&mut self.outbox);
        put_header(frame.out(), Kind::Reply, ROOT_PORT, u64::from(id));
        encode(codec, frame.out())
            .map_err(|why| Failure::Malformed(format!("the reply cannot be encoded: {why}")))?;
        frame.finish(self.max_message).map_err(|(size, limit)| Failure::TooLarge { size, limit })?;
        Ok(())
    }

    /// Answers a call with a failure, at once or as soon as there is room.
    pub(crate) fn fail(&mut self, id: u32, failure: Failure) {
        if self.is_over() {
            self.settle(id);
        } else if self.has_queue_room() {
            self.put_frame(Kind::Reply, u64::from(id), |out| put_failure(out, &failure));
            self.settle(id);
        } else {
            self.handlers.defer(id, failure);
        }
    }

    /// The call has been answered; its id is the peer's again.
    fn settle(&mut self, id: u32) {
        if let Some(Some(ticket)) = self.handlers.remove(id) {
            self.deadlines.remove(ticket);
        }
    }

    /// Whether the handler of `id` has to stop.
    pub(crate) fn poll_stop(&mut self, id: u32, waker: &Waker) -> Option<Stop> {
        self.handlers.stopped(id, waker)
    }

    pub(crate) fn oneway_ended(&mut self) {
        let was_full = self.is_full_of_oneways();
        self.handlers.oneway_ended();
        if was_full || self.draining {
            self.wake_driver();
        }
    }

    /// Whether so many one-way calls run that no more may be read.
    pub(crate) fn is_full_of_oneways(&self) -> bool {
        self.handlers.oneways() >= self.limits.max_calls as usize
    }

    // ---- bytes in ----

    /// The largest frame that may come next.
    pub(crate) fn max_frame_in(&self) -> usize {
        match self.phase {
            Phase::Quiet | Phase::Greeted => limits::HELLO,
            _ => self.limits.max_message,
        }
    }

    /// Takes one frame that is not a reply. A call that has been let in is
    /// handed back for its handler to run; everything else is dealt with here.
    /// `now` is asked only where a deadline needs it.
    pub(crate) fn receive(
        &mut self,
        header: Header,
        frame: &[u8],
        now: &mut dyn FnMut() -> Instant,
    ) -> Option<Incoming> {
        let body = &frame[header.body..];
        match (&self.phase, header.kind) {
            (Phase::Ending(_) | Phase::Ended(_), _) => {}
            (Phase::Quiet | Phase::Greeted, Kind::Hello) => self.on_hello(body),
            (_, Kind::Refuse) => self.on_refuse(body),
            (_, Kind::Close) => self.on_close(body),
            (Phase::Open, Kind::Call | Kind::Oneway) => return self.on_call(header, frame, now),
            (Phase::Open, Kind::Cancel) => self.handlers.stop(header.id, Stop::Cancelled, &mut self.wakes),
            (Phase::Open, Kind::Goodbye) => self.on_goodbye(),
            (Phase::Open, Kind::Hello) => self.violation("a second hello came"),
            _ => self.violation("something else came where a hello belongs"),
        }
        None
    }

    /// Takes the reply to call `id`.
    pub(crate) fn receive_reply(&mut self, id: u64, reply: Reply) {
        if self.phase != Phase::Open {
            return self.violation("a reply came where a hello belongs");
        }
        match self.calls.land(id) {
            None => self.violation("a reply came for a call that was not made"),
            Some(caller) => {
                if let Some(key) = caller {
                    self.calls.finish(key, Ok(reply), &mut self.wakes);
                }
                self.grant();
            }
        }
    }

    /// The peer's first bytes are not panpipe's.
    pub(crate) fn not_panpipe(&mut self) {
        let message =
            "the other side does not speak panpipe: its first bytes are not the protocol's".to_owned();
        self.refuse(Refusal { reason: RefusalReason::NotPanpipe, message });
    }

    fn on_refuse(&mut self, body: &[u8]) {
        let (&code, mut body) = body.split_first().unwrap_or((&0, &[]));
        let message = take_str(&mut body, limits::WORDS).unwrap_or("the other side gave no reason");
        let reason = RefusalReason::from_code(code).unwrap_or(RefusalReason::NotAllowed);
        self.end(CloseReason::Refused(Refusal { reason, message: message.to_owned() }));
    }

    fn on_close(&mut self, mut body: &[u8]) {
        let why = take_str(&mut body, limits::WORDS).unwrap_or("the other side gave no reason");
        self.end(CloseReason::ByPeer(why.to_owned()));
    }

    fn on_goodbye(&mut self) {
        self.peer_draining = true;
        for key in self.calls.keys() {
            if matches!(self.calls.get_mut(key).state, CallState::Waiting | CallState::Granted) {
                self.calls.finish(key, Err(CallError::Disconnected { sent: false }), &mut self.wakes);
            }
        }
        self.wake_reply_waiters();
    }

    /// The peer broke the protocol: says so to it and ends.
    pub(crate) fn violation(&mut self, why: &str) {
        if self.is_over() {
            return;
        }
        if self.phase == Phase::Quiet {
            self.outbox.append().extend_from_slice(&MAGIC);
        }
        self.put_frame(Kind::Close, 0, |out| put_str(out, clipped(why)));
        self.end(CloseReason::Protocol(why.to_owned()));
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
                Due::Hello => self.say_hello(),
                Due::Handshake if self.phase == Phase::Quiet => {
                    self.violation("no hello came in time");
                }
                Due::Handshake => {}
            }
        }
    }

    // ---- the end ----

    /// Lets running handlers finish, takes no new calls, then ends.
    pub(crate) fn drain(&mut self) {
        if !self.draining && !self.is_over() {
            self.draining = true;
            match self.phase {
                Phase::Open => self.put_frame(Kind::Goodbye, 0, |_| ()),
                _ => self.end(CloseReason::Local),
            }
            self.wake_driver();
        }
    }

    /// Nobody on this side needs the connection any more.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.wake_driver();
    }

    /// Whether all is said: the connection may be closed.
    pub(crate) fn is_finished(&self) -> bool {
        let quiet = self.outbox.pending().is_empty();
        match self.phase {
            Phase::Ended(_) => true,
            Phase::Ending(_) => quiet,
            _ if self.closing => quiet,
            _ => self.draining && quiet && self.handlers.active() == 0 && self.handlers.oneways() == 0,
        }
    }

    /// Ends as soon as what is queued has gone out.
    fn end(&mut self, reason: CloseReason) {
        if !self.is_over() {
            self.phase = Phase::Ending(reason.clone());
            self.fail_everything(&reason);
            self.wake_driver();
        }
    }

    /// The connection is gone: every call that is left ends now.
    pub(crate) fn ended(&mut self, reason: CloseReason) {
        let reason = match &self.phase {
            Phase::Ended(_) => return,
            Phase::Ending(first) => first.clone(),
            _ => reason,
        };
        self.fail_everything(&reason);
        self.phase = Phase::Ended(reason);
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ending(_) | Phase::Ended(_))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        match &self.phase {
            Phase::Ending(reason) | Phase::Ended(reason) => Some(reason),
            _ => None,
        }
    }

    fn fail_everything(&mut self, reason: &CloseReason) {
        let written = self.outbox.written_total();
        for key in self.calls.keys() {
            let error = match self.calls.get_mut(key).state {
                CallState::Done(_) => continue,
                CallState::Sent { end, .. } if end <= written => reason.sent(),
                _ => reason.unsent(),
            };
            self.calls.finish(key, Err(error), &mut self.wakes);
            if let Some(ticket) = self.calls.get_mut(key).deadline.take() {
                self.deadlines.remove(ticket);
            }
        }
        self.handlers.stop_all(Stop::Disconnected, &mut self.wakes);
        self.deadlines.clear();
        self.wake_reply_waiters();
    }

    fn wake_reply_waiters(&mut self) {
        self.wakes.append(&mut self.reply_waiters);
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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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

/// The status byte of a reply that carries the method's own value or error.
pub(crate) fn put_status(out: &mut Vec<u8>, is_value: bool) {
    out.push(if is_value { Status::Value } else { Status::AppError } as u8);
}

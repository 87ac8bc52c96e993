//! Moves a session's bytes: reads, hands frames to the core and calls to
//! their handlers, writes what is queued, keeps the one timer.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use panpipe_transport::buffer::{Inbox, Prefix};
use tokio::time::{Sleep, sleep_until};

use super::close::CloseReason;
use super::core::Incoming;
use super::message::{Kind, MAGIC, parse_header};
use super::outlet::Inlet;
use super::{Session, State};
use crate::codec::Codec;
use crate::dispatch::{IncomingCall, dispatch};
use crate::limits;
use crate::service::AnyService;

/// The future that is a connection's only task. It ends with the connection.
pub(crate) struct Driver {
    session: Arc<Session>,
    /// What the peer may call. It goes with the driver, so that a service that
    /// holds a client of this very connection does not keep it for ever.
    service: Option<Arc<dyn AnyService>>,
    inlet: Inlet,
    inbox: Inbox,
    /// Calls whose handlers wait to be started until the peer reads its replies.
    /// How many, and of how many bytes, is bounded as for calls that run.
    parked: VecDeque<Parked>,
    magic_seen: bool,
    /// What the stream ended or failed with; nothing more is read.
    read_end: Option<CloseReason>,
    write_end: Option<CloseReason>,
    unflushed: bool,
    timer: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
    /// How long the last words may take.
    linger: Option<Pin<Box<Sleep>>>,
}

impl Driver {
    pub(crate) fn new(session: Arc<Session>, inlet: Inlet) -> Self {
        Driver {
            session,
            service: None,
            inlet,
            inbox: Inbox::default(),
            parked: VecDeque::new(),
            magic_seen: false,
            read_end: None,
            write_end: None,
            unflushed: false,
            timer: None,
            armed: None,
            linger: None,
        }
    }

    /// Sets what the peer may call; to be done before the driver runs.
    pub(crate) fn set_service(&mut self, service: Arc<dyn AnyService>) {
        self.service = Some(service);
    }

    /// Reads what there is and deals with it. Ready when nothing more will come.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            if let Some(end) = &self.read_end {
                return Poll::Ready(end.clone());
            }
            if !self.take_frames() {
                // Full of one-way calls: the end of one of them wakes the driver.
                return Poll::Pending;
            }
            match ready!(self.inbox.poll_fill(cx, Pin::new(&mut self.inlet))) {
                Ok(0) => {
                    self.take_frames();
                    self.read_end = Some(match self.inbox.eof() {
                        Ok(()) => CloseReason::Closed,
                        Err(_) => CloseReason::Truncated,
                    });
                }
                Ok(_) => {
                    self.take_frames();
                    // What the batch has answered goes out before the next one.
                    self.session
                        .with(|state| Self::write(state, cx, &mut self.write_end, &mut self.unflushed));
                }
                Err(error) => self.read_end = Some(lost(&error)),
            }
        }
    }

    /// Deals with every whole frame in the inbox. False: it has to wait.
    fn take_frames(&mut self) -> bool {
        let Driver { session, service, inbox, parked, magic_seen, .. } = self;
        let mut now = Instant::now;
        loop {
            // One lock for all that the core deals with alone; a call leaves it.
            let step = session.with(|state| {
                let core = &mut state.core;
                loop {
                    if core.is_over() {
                        inbox.clear();
                        return Step::Done;
                    }
                    if core.is_full_of_oneways() {
                        return Step::Wait;
                    }
                    if !*magic_seen {
                        match inbox.strip_prefix(&MAGIC) {
                            Prefix::Stripped => *magic_seen = true,
                            Prefix::Incomplete => return Step::Done,
                            Prefix::Mismatch => {
                                core.not_panpipe();
                                return Step::Done;
                            }
                        }
                    }
                    let frame = match inbox.peek_frame(core.max_frame_in()) {
                        Ok(Some(frame)) => frame,
                        Ok(None) => return Step::Done,
                        Err(error) => {
                            core.violation(&error.to_string());
                            return Step::Done;
                        }
                    };
                    let header = match parse_header(frame) {
                        Ok(header) => header,
                        Err(why) => {
                            core.violation(&why);
                            return Step::Done;
                        }
                    };
                    if header.kind == Kind::Reply {
                        let mut reply = inbox.take_frame();
                        reply.advance(header.body);
                        core.receive_reply(header.id, reply);
                        continue;
                    }
                    if let Some(incoming) = core.receive(header, frame, &mut now) {
                        // One-way calls have no reply to wait with.
                        let parks = incoming.id.is_some() && !(parked.is_empty() && core.has_queue_room());
                        let codec = core.codec();
                        return if parks { Step::Park(incoming, codec) } else { Step::Call(incoming, codec) };
                    }
                    inbox.consume_frame();
                }
            });
            match step {
                Step::Wait => return false,
                Step::Done => return true,
                Step::Call(incoming, codec) => {
                    let args = &inbox.peeked()[incoming.args..];
                    dispatch(service.as_ref(), incoming.call(session, codec, args));
                    inbox.consume_frame();
                }
                Step::Park(incoming, codec) => {
                    let args = inbox.peeked()[incoming.args..].into();
                    parked.push_back(Parked { incoming, codec, args });
                    inbox.consume_frame();
                }
            }
        }
    }

    /// Starts the handlers that wait, as long as there is room for replies.
    fn start_parked(&mut self) {
        while !self.parked.is_empty() && self.session.with(|state| state.core.has_queue_room()) {
            let Some(Parked { incoming, codec, args }) = self.parked.pop_front() else { return };
            let stop = incoming.id.and_then(|id| Some((id, self.session.poll_stop(id, Waker::noop())?)));
            match stop {
                Some((id, stop)) => self.session.fail(id, stop.into()),
                None => dispatch(self.service.as_ref(), incoming.call(&self.session, codec, &args)),
            }
        }
    }

    /// Writes what is queued, as far as it goes.
    fn write(state: &mut State, cx: &mut Context<'_>, end: &mut Option<CloseReason>, unflushed: &mut bool) {
        let State { core, outlet } = state;
        while end.is_none() && !core.outgoing().pending().is_empty() {
            let outbox = core.outgoing();
            match outlet.poll_write(cx, outbox.pending()) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    outbox.advance(n);
                    *unflushed = true;
                    core.after_write();
                }
                Poll::Ready(Ok(_)) => {
                    *end = Some(CloseReason::Io("the stream takes no more bytes".to_owned()))
                }
                Poll::Ready(Err(error)) => *end = Some(lost(&error)),
                Poll::Pending => break,
            }
        }
        // Callers write for themselves, and do not flush.
        *unflushed |= end.is_none() && core.is_finished();
        if *unflushed && end.is_none() {
            match outlet.poll_flush(cx) {
                Poll::Ready(Ok(())) => *unflushed = false,
                Poll::Ready(Err(error)) => *end = Some(lost(&error)),
                Poll::Pending => {}
            }
        }
    }

    /// Sets the timer to what the core waits for next.
    fn arm(&mut self, cx: &mut Context<'_>, next: Option<Instant>) {
        let Some(next) = next else { return };
        // A timer that fires too early costs one look; re-arming costs every call.
        if self.timer.is_some() && self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(next.into()),
            None => self.timer = Some(Box::pin(sleep_until(next.into()))),
        }
        self.armed = Some(next);
        if self.poll_timer(cx) {
            cx.waker().wake_by_ref();
        }
    }

    /// Whether the timer has fired. The core has been told.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.timer else {
            return false;
        };
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        self.armed = None;
        self.session.with(|state| state.core.on_timeout(Instant::now()));
        true
    }

    /// Whether the last words have had their time.
    fn has_lingered(&mut self, cx: &mut Context<'_>) -> bool {
        let linger = self
            .linger
            .get_or_insert_with(|| Box::pin(sleep_until((Instant::now() + limits::LINGER).into())));
        linger.as_mut().poll(cx).is_ready()
    }

    fn finish(&mut self, cx: &mut Context<'_>, reason: CloseReason) -> Poll<CloseReason> {
        let reason = self.session.with(|state| {
            state.core.ended(reason);
            // The other side sees the end even if it never reads; errors no longer matter.
            state.outlet.shut_down(cx);
            state.core.close_reason().cloned().unwrap_or(CloseReason::Local)
        });
        Poll::Ready(reason)
    }
}

/// A call that was let in and whose handler has not been started.
struct Parked {
    incoming: Incoming,
    codec: Codec,
    args: Box<[u8]>,
}

impl Incoming {
    fn call<'a>(self, session: &'a Arc<Session>, codec: Codec, args: &'a [u8]) -> IncomingCall<'a> {
        let Incoming { id, method, deadline, .. } = self;
        IncomingCall { session, id, method, deadline, peer: session.peer, codec, args }
    }
}

enum Step {
    Call(Incoming, Codec),
    Park(Incoming, Codec),
    Done,
    Wait,
}

impl Future for Driver {
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let this = self.get_mut();
        this.session.with(|state| state.core.driver_starts());
        this.poll_timer(cx);
        this.start_parked();
        let read = this.poll_read(cx);
        let session = Arc::clone(&this.session);
        let (finished, over, next, room) = session.with(|state| {
            Self::write(state, cx, &mut this.write_end, &mut this.unflushed);
            let core = &mut state.core;
            let next = core.next_timeout();
            let armed = match (this.armed, next) {
                (Some(armed), Some(next)) => Some(armed.min(next)),
                (armed, next) => armed.or(next),
            };
            core.driver_waits(cx.waker(), armed);
            (
                core.is_finished() && !this.unflushed,
                core.is_over() || core.is_closing(),
                next,
                core.has_queue_room(),
            )
        });
        if let Poll::Ready(end) = read {
            return this.finish(cx, end);
        }
        if finished {
            return this.finish(cx, CloseReason::Local);
        }
        // A peer that has gone may have said why: its words, or its end, are on
        // their way where writing fails already.
        if (over || this.write_end.is_some()) && this.has_lingered(cx) {
            let end = this.write_end.take().unwrap_or(CloseReason::Local);
            return this.finish(cx, end);
        }
        if room && !this.parked.is_empty() {
            cx.waker().wake_by_ref();
        }
        this.arm(cx, next);
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A runtime that shuts down drops its drivers: nobody may wait for ever.
        self.session.with(|state| state.core.ended(CloseReason::Local));
    }
}

/// What an I/O error means for the connection.
fn lost(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
            CloseReason::Closed
        }
        _ => CloseReason::Io(error.to_string()),
    }
}

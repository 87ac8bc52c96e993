//! Moves a session's bytes: reads, hands frames to the core and calls to
//! their handlers, writes what is queued, keeps the one timer.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use panpipe_transport::buffer::{Assembly, FrameBuf, Inbox, Prefix};

use super::close::CloseReason;
use super::core::{Core, Incoming, IncomingExtras};
use super::intake::Intake;
use super::message::{FLUSH, Header, Kind, MAGIC, OPEN, parse_header};
use super::outlet::{Inlet, Outlet};
use super::{Session, State, Wants};
use crate::carried::Claims;
use crate::codec::Codec;
use crate::dispatch::{IncomingCall, dispatch};
use crate::error::CallError;
use crate::limits;
#[cfg(feature = "metrics")]
use crate::metrics::OpenConnection;
use crate::offers::Services;
use crate::timer::Timer;

type OnOpen = Box<dyn FnOnce() + Send>;

/// The future that is a connection's only task. It ends with the connection.
pub(crate) struct Driver {
    pub(super) session: Arc<Session>,
    /// What the peer may call. It goes with the driver, so that a service that
    /// holds a client of this very connection does not keep it for ever.
    services: Services,
    /// What is to be done once the peer's hello has been taken, before any call runs.
    on_open: Option<OnOpen>,
    pub(super) intake: Box<Intake>,
    /// Calls whose handlers wait to be started until the peer reads its replies.
    /// How many, and of how many bytes, is bounded as for calls that run.
    parked: Waiting,
    /// One-way calls whose handlers wait to be started until fewer run.
    oneways: Waiting,
    /// What the connection has ended with, where one-way calls that had come are
    /// still to be run.
    ended: Option<Box<CloseReason>>,
    write_end: Option<Box<CloseReason>>,
    unflushed: bool,
    /// Whether both hellos have passed.
    greeted: bool,
    timer: Option<Timer>,
    armed: Option<Instant>,
    /// How long the last words may take.
    linger: Option<Timer>,
    /// What it waits for, where threads drive it.
    pub(super) wants: Wants,
    #[cfg(feature = "metrics")]
    counted: OpenConnection,
}

impl Driver {
    pub(crate) fn new(
        session: Arc<Session>,
        inlet: Inlet,
        #[cfg(feature = "metrics")] counted: OpenConnection,
    ) -> Self {
        Driver {
            #[cfg(feature = "metrics")]
            counted,
            session,
            services: Services::default(),
            on_open: None,
            intake: Box::new(Intake::new(inlet)),
            parked: Waiting::default(),
            oneways: Waiting::default(),
            ended: None,
            write_end: None,
            unflushed: false,
            greeted: false,
            timer: None,
            armed: None,
            linger: None,
            wants: Wants::default(),
        }
    }

    /// Sets what the peer may call; to be done before the driver runs.
    pub(crate) fn set_services(&mut self, services: Services) {
        self.services = services;
    }

    /// Sets what is to be done once the peer is known, before any call of its runs.
    pub(crate) fn set_on_open(&mut self, on_open: impl FnOnce() + Send + 'static) {
        self.on_open = Some(Box::new(on_open));
    }

    /// Reads what there is and deals with it. Ready when nothing more will come.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            if let Some(end) = &self.intake.end {
                return Poll::Ready(CloseReason::clone(end));
            }
            if self.intake.held_up {
                self.intake.held_up = !self.take_frames();
            }
            if self.intake.held_up {
                // One-way calls wait: the end of one that runs wakes the driver.
                return Poll::Pending;
            }
            // Where threads drive they read before they poll.
            if self.intake.is_blocking() {
                return Poll::Pending;
            }
            let read = ready!(self.intake.poll_fill(cx));
            self.intake.has_read(read);
            if self.intake.end.is_none() {
                self.intake.held_up = !self.take_frames();
                // What the batch has answered goes out before the next one.
                self.session.with(|state| Self::write(state, cx, &mut self.write_end, &mut self.unflushed));
            }
        }
    }

    /// Deals with every whole frame in the inbox. False: it has to wait.
    fn take_frames(&mut self) -> bool {
        let Driver { session, services, on_open, intake, parked, oneways, .. } = self;
        let Intake { inbox, magic_seen, diverted, .. } = &mut **intake;
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
                    if diverted.is_some() {
                        let Some(message) = inbox.take_diverted() else { return Step::Done };
                        let header = diverted.take().expect("what is diverted has a header");
                        let whole = match header.kind {
                            Kind::Part | Kind::LastPart => core.put_incomplete(&header, message),
                            _ => Some((header, message.into_frame())),
                        };
                        match whole.and_then(|whole| receive_whole(core, whole, &mut now)) {
                            Some(call) => return call,
                            None => continue,
                        }
                    }
                    let frame = match inbox.peek_frame(core.max_frame_in()) {
                        Ok(Some(frame)) => frame,
                        Ok(None) => {
                            *diverted = divert(core, inbox);
                            return Step::Done;
                        }
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
                        let reply = inbox.take_frame();
                        core.receive_reply(header, reply);
                        continue;
                    }
                    if matches!(header.kind, Kind::Part | Kind::LastPart) {
                        let Some(mut message) = core.take_incomplete(&header) else { continue };
                        message.append(&frame[header.body..]);
                        inbox.consume_frame();
                        let whole = core.put_incomplete(&header, message);
                        match whole.and_then(|whole| receive_whole(core, whole, &mut now)) {
                            Some(call) => return call,
                            None => continue,
                        }
                    }
                    if header.kind == Kind::Item {
                        if core.is_special(&header, frame) {
                            let item = inbox.take_frame();
                            core.receive_item(header, item);
                        } else {
                            core.receive_small_item(header, frame);
                            inbox.consume_frame();
                        }
                        continue;
                    }
                    if let Some(incoming) = core.receive(header, frame, &mut now) {
                        return Step::Call(Admitted::of(core, incoming));
                    }
                    inbox.consume_frame();
                    if header.kind == Kind::Hello && core.is_open() {
                        return Step::Opened;
                    }
                }
            });
            match step {
                Step::Opened => {
                    if let Some(on_open) = on_open.take() {
                        on_open();
                    }
                }
                Step::Wait => return false,
                Step::Done => return true,
                Step::Call(admitted) => {
                    let args = admitted.incoming.args(inbox.peeked());
                    admitted.run_or_park(session, services, (parked, oneways), args);
                    inbox.consume_frame();
                }
                Step::Whole(admitted, whole) => {
                    let args = admitted.incoming.args(&whole);
                    admitted.run_or_park(session, services, (parked, oneways), args);
                }
            }
        }
    }

    /// Starts the handlers that wait, as long as there is room for replies, and for
    /// one-way calls.
    fn start_parked(&mut self) {
        let mut handed_on = false;
        while let Some(next) = self.oneways.front() {
            let bytes = next.bytes();
            if !self.session.with(|state| state.core.starts_waiting_oneway(bytes)) {
                break;
            }
            let Some(Parked { incoming, codec, args }) = self.oneways.pop_front() else { return };
            incoming.run(&self.session, &mut self.services, codec, &args);
            handed_on = true;
        }
        if handed_on {
            self.session.with(|state| state.core.oneways_are_handed_on());
        }
        while !self.parked.is_empty() && self.session.with(|state| state.core.has_queue_room()) {
            let Some(Parked { incoming, codec, args }) = self.parked.pop_front() else { return };
            let stop =
                incoming.reply_to.and_then(|call| Some((call, self.session.poll_stop(call, Waker::noop())?)));
            match stop {
                Some((call, stop)) => {
                    self.session.with(|state| state.core.let_go_of(incoming));
                    self.session.fail(call, CallError::from(stop).into());
                }
                None => incoming.run(&self.session, &mut self.services, codec, &args),
            }
        }
    }

    /// Writes what is queued, as far as it goes.
    fn write(
        state: &mut State,
        cx: &mut Context<'_>,
        end: &mut Option<Box<CloseReason>>,
        unflushed: &mut bool,
    ) {
        let State { core, outlet } = state;
        let mut turn = 0;
        while end.is_none() {
            core.feed();
            outlet.hold_little(core.is_bulk_passed());
            if core.outbox().pending().is_empty() {
                break;
            }
            if turn >= core.write_turn() {
                // What has come in meanwhile is not to wait for all of it. The
                // event loop has to look first: a yield comes back behind that.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                break;
            }
            let outbox = core.outbox();
            match outlet.poll_write(cx, outbox) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    outbox.advance(n);
                    turn += n;
                    *unflushed = true;
                    core.after_write();
                }
                Poll::Ready(Ok(_)) => {
                    *end = Some(Box::new(CloseReason::Io("the stream takes no more bytes".to_owned())))
                }
                Poll::Ready(Err(error)) => *end = Some(Box::new(CloseReason::lost(&error))),
                Poll::Pending => break,
            }
        }
        // Callers write for themselves, and do not flush.
        *unflushed |= end.is_none() && core.is_finished();
        if *unflushed && end.is_none() {
            match outlet.poll_flush(cx) {
                Poll::Ready(Ok(())) => *unflushed = false,
                Poll::Ready(Err(error)) => *end = Some(Box::new(CloseReason::lost(&error))),
                Poll::Pending => {}
            }
        }
    }

    /// Sets the timer to what the core waits for next.
    fn arm(&mut self, cx: &mut Context<'_>, next: Option<Instant>) {
        if self.is_exact() && self.armed != next {
            (self.timer, self.armed) = (None, None);
        }
        let Some(next) = next else { return };
        // A timer that fires too early costs one look; re-arming costs every call.
        if self.timer.is_some() && self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        match &mut self.timer {
            Some(timer) => timer.reset(next),
            None => self.timer = Some(Timer::of(self.session.executor(), next)),
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
        if Pin::new(timer).poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        self.armed = None;
        self.session.with(|state| state.core.on_timeout(Instant::now()));
        true
    }

    /// Whether the last words have had their time.
    fn has_lingered(&mut self, cx: &mut Context<'_>) -> bool {
        let Driver { linger, session, .. } = self;
        let linger =
            linger.get_or_insert_with(|| Timer::of(session.executor(), Instant::now() + limits::LINGER));
        Pin::new(linger).poll(cx).is_ready()
    }

    /// Whether the timer stands at what is next and never earlier: a thread that has a
    /// time to look at cannot wait in the read itself.
    fn is_exact(&self) -> bool {
        self.intake.is_blocking()
    }

    fn finish(&mut self, cx: &mut Context<'_>, reason: CloseReason) -> Poll<CloseReason> {
        let reason = self.session.with(|state| {
            state.core.ended(reason);
            // The other side sees the end even if it never reads; errors no longer matter.
            state.outlet.shut_down(cx);
            state.core.close_reason().cloned().unwrap_or(CloseReason::Local)
        });
        #[cfg(feature = "metrics")]
        if let CloseReason::Refused(refusal) = &reason {
            self.counted.refused(refusal.reason);
        }
        self.ended = Some(Box::new(reason));
        self.poll_ended(cx)
    }

    /// Runs what one-way calls had come before the end. Ready when all are running.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            self.start_parked();
            if self.oneways.is_empty() {
                return Poll::Ready(self.ended.take().map_or(CloseReason::Local, |reason| *reason));
            }
            let can_start = self.session.with(|state| {
                state.core.driver_waits(cx.waker(), None);
                state.core.can_run_oneways()
            });
            if !can_start {
                self.wants = Wants { goes_on: true, ..Wants::default() };
                return Poll::Pending;
            }
        }
    }
}

/// Deals with a message that stands alone. A call is handed back.
fn receive_whole(
    core: &mut Core,
    (header, whole): (Header, FrameBuf),
    now: &mut dyn FnMut() -> Instant,
) -> Option<Step> {
    match header.kind {
        Kind::Reply => core.receive_reply(header, whole),
        Kind::Item if core.is_special(&header, &whole) => core.receive_item(header, whole),
        Kind::Item => core.receive_small_item(header, &whole),
        _ => {
            let incoming = core.receive(header, &whole, now)?;
            return Some(Step::Whole(Admitted::of(core, incoming), whole));
        }
    }
    None
}

/// Has the rest of a large frame that has begun read straight to where it is
/// wanted.
fn divert(core: &mut Core, inbox: &mut Inbox) -> Option<Header> {
    let (begun, size) = inbox.begun(core.max_frame_in()).ok()??;
    if size < limits::READ_CHUNK / 4 {
        return None;
    }
    let header = parse_header(begun).ok()?;
    match header.kind {
        Kind::Part | Kind::LastPart => {
            let message = core.take_incomplete(&header)?;
            inbox.divert(header.body, message);
        }
        Kind::Item | Kind::Reply => inbox.divert(0, Assembly::default()),
        _ => return None,
    }
    Some(header)
}

/// Calls that wait, in their order. Mostly there is none.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "it is there in each connection, and empty in most")]
struct Waiting(Option<Box<VecDeque<Parked>>>);

impl Waiting {
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn front(&self) -> Option<&Parked> {
        self.0.as_ref()?.front()
    }

    fn push_back(&mut self, parked: Parked) {
        self.0.get_or_insert_default().push_back(parked);
    }

    fn pop_front(&mut self) -> Option<Parked> {
        let parked = self.0.as_mut()?.pop_front();
        self.0.take_if(|waiting| waiting.is_empty());
        parked
    }

    fn iter(&self) -> impl Iterator<Item = &Parked> {
        self.0.iter().flat_map(|waiting| waiting.iter())
    }
}

/// A call that was let in and whose handler has not been started.
struct Parked {
    incoming: Incoming,
    codec: Codec,
    args: Box<[u8]>,
}

impl Parked {
    /// What it takes.
    fn bytes(&self) -> usize {
        size_of::<Parked>() + self.args.len()
    }
}

/// A call that was let in.
struct Admitted {
    incoming: Incoming,
    codec: Codec,
    /// Whether there is room for its reply, or for one more one-way call.
    has_room: bool,
}

impl Admitted {
    #[inline]
    fn of(core: &mut Core, incoming: Incoming) -> Admitted {
        let has_room = match incoming.reply_to {
            Some(_) => core.has_queue_room(),
            // One-way calls have no reply to wait with.
            None => core.admits_oneway(size_of::<Parked>() + incoming.args.len()),
        };
        Admitted { codec: core.codec(), has_room, incoming }
    }

    /// Hands the call to its service, or keeps it until there is room for its reply.
    #[inline]
    fn run_or_park(
        self,
        session: &Arc<Session>,
        services: &mut Services,
        (parked, oneways): (&mut Waiting, &mut Waiting),
        args: &[u8],
    ) {
        let Admitted { incoming, codec, has_room } = self;
        let places = if incoming.reply_to.is_some() { parked } else { oneways };
        if has_room && places.is_empty() {
            incoming.run(session, services, codec, args);
        } else {
            places.push_back(Parked { incoming, codec, args: args.into() });
        }
    }
}

impl Incoming {
    /// Hands the call to its service.
    #[inline]
    fn run(self, session: &Arc<Session>, services: &mut Services, codec: Codec, args: &[u8]) {
        let Incoming { reply_to, method, deadline, extras, .. } = self;
        let call = IncomingCall {
            session,
            reply_to,
            method,
            deadline,
            version: None,
            trace: None,
            codec,
            args,
            claims: None,
        };
        match extras {
            None if method > FLUSH => dispatch(services.root(session), call),
            None if method == OPEN => services.open(call),
            None => call.flush(),
            Some(extras) => run_with_extras(call, *extras, services),
        }
    }
}

/// Hands a call to its service that belongs to a trace, carries ports, or is for another
/// than the root.
#[cold]
fn run_with_extras(call: IncomingCall<'_>, extras: IncomingExtras, services: &mut Services) {
    let IncomingExtras { trace, service, attached } = extras;
    let mut call = IncomingCall { trace: trace.as_ref(), ..call };
    // No claims are made where nobody is left to use them: the session ends.
    if let Some(link) = call.session.link().filter(|_| !attached.is_empty()) {
        call.claims = Some(Claims::new(link, call.codec, attached));
    }
    match service {
        Some(service) => dispatch(Some(&service), call),
        None if call.method() == OPEN => services.open(call),
        None => dispatch(services.root(call.session), call),
    }
}

enum Step {
    /// A call that is the frame last peeked at.
    Call(Admitted),
    /// A call that stands alone: it came in parts.
    Whole(Admitted, FrameBuf),
    /// The peer's hello has been taken.
    Opened,
    Done,
    Wait,
}

impl Future for Driver {
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let this = self.get_mut();
        this.session.with(|state| state.core.driver_starts());
        if this.ended.is_some() {
            return this.poll_ended(cx);
        }
        this.poll_timer(cx);
        this.start_parked();
        let read = this.poll_read(cx);
        let session = Arc::clone(&this.session);
        let is_exact = this.is_exact();
        let (finished, over, next, can_start) = session.with(|state| {
            Self::write(state, cx, &mut this.write_end, &mut this.unflushed);
            let core = &mut state.core;
            core.watch_goodbye(Instant::now);
            let next = core.next_timeout();
            if !this.greeted && core.is_open() {
                this.greeted = true;
                if next.is_none() {
                    // A runtime reads the clock each time it waits, as long as there is
                    // any timer.
                    this.timer = None;
                    this.armed = None;
                }
            }
            if is_exact {
                let waits = !(this.parked.is_empty() && this.oneways.is_empty()) || this.write_end.is_some();
                this.wants = core.wants(this.intake.end.is_none() && !this.intake.held_up, waits);
                // A pipe that nobody reads is always ready to be written.
                this.wants.has_unsent &= this.write_end.is_none();
            }
            let armed = match (this.armed, next) {
                _ if is_exact => next,
                (Some(armed), Some(next)) => Some(armed.min(next)),
                (armed, next) => armed.or(next),
            };
            core.driver_waits(cx.waker(), armed);
            (
                core.is_finished() && !this.unflushed,
                core.is_over() || core.is_closing(),
                next,
                // What ends from here on wakes the driver.
                (core.has_queue_room() && !this.parked.is_empty()) || core.can_run_oneways(),
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
            let end = this.write_end.take().map_or(CloseReason::Local, |reason| *reason);
            return this.finish(cx, end);
        }
        if can_start {
            cx.waker().wake_by_ref();
        }
        this.arm(cx, next);
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A runtime that shuts down drops its drivers: nobody may wait for ever, the
        // peer included, however long somebody holds on to the session.
        let outlet = self.session.with(|state| {
            state.core.ended(CloseReason::Local);
            // Calls that were never started are answered by nobody.
            self.parked.iter().filter_map(|parked| parked.incoming.reply_to).for_each(|call| {
                state.core.settle(call);
            });
            std::mem::replace(&mut state.outlet, Outlet::Closed)
        });
        drop(outlet);
    }
}

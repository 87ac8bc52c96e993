//! Moves a session's bytes: reads, hands frames to the core and calls to
//! their handlers, writes what is queued, keeps the one timer.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use panpipe_transport::blocking::wait;
use panpipe_transport::buffer::{lend, recycle};

use super::admitted::{Parked, Waiting};
use super::close::CloseReason;
use super::intake::{Intake, Reader, Step};
use super::outlet::{Inlet, Outlet};
use super::{Flushed, Session, State, Wants};
use crate::error::CallError;
use crate::in_place;
use crate::limits;
#[cfg(feature = "metrics")]
use crate::metrics::OpenConnection;
use crate::offers::Services;
use crate::timer::Timer;

type OnOpen = Box<dyn FnOnce() + Send>;

/// What is likely to come next.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// Who has its answer may call again.
    Call,
    /// The replies to calls that have just gone out.
    Reply,
}

/// How far what is written has come.
#[derive(Default)]
struct Written {
    /// What ends it, as soon as nothing can be written any more.
    end: Option<Box<CloseReason>>,
    unflushed: bool,
    /// There was no room in this poll, and will hardly be before the next.
    is_full: bool,
    /// No more bulk goes out in this poll: callers have their turn first.
    spares_bulk: bool,
    /// The driver is to be polled again behind the event loop and whatever else is ready.
    yields: bool,
}

impl Written {
    /// Takes what has become of a write: how much went. Nothing where it waits for room, or
    /// ends.
    #[inline]
    fn take(&mut self, written: Poll<io::Result<usize>>) -> Option<usize> {
        let why = match written {
            Poll::Ready(Ok(n)) if n > 0 => {
                self.unflushed = true;
                return Some(n);
            }
            Poll::Ready(Ok(_)) => CloseReason::Io("the stream takes no more bytes".to_owned()),
            Poll::Ready(Err(error)) => CloseReason::lost(&error),
            Poll::Pending => {
                self.is_full = true;
                return None;
            }
        };
        self.end = Some(Box::new(why));
        None
    }

    /// Takes what has become of a flush.
    fn is_flushed(&mut self, flushed: Poll<io::Result<()>>) {
        match flushed {
            Poll::Ready(Ok(())) => self.unflushed = false,
            Poll::Ready(Err(error)) => self.end = Some(Box::new(CloseReason::lost(&error))),
            Poll::Pending => {}
        }
    }

    /// Has the driver be polled again, if so much was written that others have their turn.
    /// The event loop has to look first: a yield comes back behind that.
    #[inline]
    fn give_way(&mut self, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.yields) {
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }

    /// Whether more can be written.
    #[inline]
    fn goes_on(&self) -> bool {
        self.end.is_none() && !self.is_full
    }
}

/// A timer that will fire.
struct Armed {
    timer: Timer,
    at: Instant,
}

/// The future that is a connection's only task. It ends with the connection.
pub(crate) struct Driver {
    pub(super) session: Arc<Session>,
    /// What the peer may call. It goes with the driver, so that a service that
    /// holds a client of this very connection does not keep it for ever.
    pub(super) services: Services,
    /// What is to be done once the peer's hello has been taken, before any call runs.
    on_open: Option<Box<OnOpen>>,
    /// What it reads with; nothing while a caller has it.
    pub(super) intake: Option<Box<Intake>>,
    /// Calls whose handlers wait to be started until the peer reads its replies.
    /// How many, and of how many bytes, is bounded as for calls that run.
    pub(super) parked: Waiting,
    /// One-way calls whose handlers wait to be started until fewer run.
    pub(super) oneways: Waiting,
    /// What the connection has ended with, where one-way calls that had come are
    /// still to be run.
    ended: Option<Box<CloseReason>>,
    written: Written,
    /// What comes next, if it is to be looked for.
    next: Option<Next>,
    /// Whether both hellos have passed.
    greeted: bool,
    /// Whether it writes to a stream of the user's own.
    is_users: bool,
    timer: Option<Box<Armed>>,
    /// How long the last words may take.
    linger: Option<Box<Timer>>,
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
            is_users: matches!(inlet, Inlet::Stream(_)),
            intake: Some(Box::new(Intake::new(inlet, session.clock))),
            session,
            services: Services::default(),
            on_open: None,
            parked: Waiting::default(),
            oneways: Waiting::default(),
            ended: None,
            written: Written::default(),
            next: None,
            greeted: false,
            timer: None,
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
        self.on_open = Some(Box::new(Box::new(on_open)));
    }

    /// Reads what there is and deals with it. Ready when nothing more will come.
    #[inline(always)]
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let (mut looks, mut reads) = (0, 0);
        loop {
            let Some(intake) = &mut self.intake else { return Poll::Pending };
            if let Some(end) = &intake.end {
                return Poll::Ready(CloseReason::clone(end));
            }
            if !intake.held_up {
                // Where threads drive they read before they poll.
                if intake.is_blocking() {
                    return Poll::Pending;
                }
                if intake.is_to_prepare() {
                    intake.prepares();
                }
                match intake.poll_fill(cx) {
                    Poll::Ready(read) => intake.has_read(read),
                    Poll::Pending => ready!(self.poll_look(cx, &mut looks)),
                }
                if self.intake.as_ref().is_some_and(|intake| intake.end.is_some()) {
                    continue;
                }
            }
            self.take_frames();
            if self.is_exact() {
                // It is written behind this, and more is read before the next poll.
                return Poll::Pending;
            }
            if matches!(self.next, Some(Next::Call)) {
                // Who has called has read meanwhile: an answer is not to wait for what this
                // poll has found before.
                self.written.is_full = false;
            }
            reads += 1;
            if reads >= limits::READ_TURN && self.session.with(|state| state.core.awaits_streams()) {
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Poll::Pending;
            }
            // What the batch has answered goes out before the next one.
            self.write_beside(cx);
            self.session.with(|state| Self::write(state, cx, &mut self.written));
            self.written.give_way(cx);
        }
    }

    /// Looks for a moment for what is to come: that is mostly quicker than a thread that
    /// wakes. Ready when something has been read.
    fn poll_look(&mut self, cx: &mut Context<'_>, looks: &mut u32) -> Poll<()> {
        let Some(intake) = &mut self.intake else { return Poll::Pending };
        *looks += 1;
        // Others of the runtime's have their turn at times.
        let has_turn = *looks <= limits::LOOKS_FOR_CALLS;
        if !self.session.lends {
            // A call that was answered has made nobody ready here, as a reply does.
            let answered = matches!(self.next.take(), Some(Next::Call));
            let asks = answered && has_turn && intake.is_awake();
            let looks = asks && self.session.with(|state| state.core.has_had_its_turn());
            return if looks && intake.look() { Poll::Ready(()) } else { Poll::Pending };
        }
        let is_expected = self.next.is_some() || intake.has_begun();
        let pays = self.session.with(|state| state.core.is_to_come(is_expected));
        if pays && has_turn {
            self.next = None;
            if intake.look() {
                return Poll::Ready(());
            }
        }
        let has_read = intake.listens();
        if has_read && has_turn {
            return Poll::Ready(());
        }
        if !has_turn && (pays || has_read) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Deals with every whole frame in the inbox. Reading never stops for calls that wait: a
    /// running handler may wait for the reply, the item or the end that comes behind them.
    fn take_frames(&mut self) {
        let Driver { session, services, on_open, intake, parked, oneways, next, .. } = self;
        let Some(intake) = intake else { return };
        loop {
            // One lock for all that the core deals with alone; a call leaves it.
            let step = session.with(|state| intake.step(&mut state.core, Reader::Driver));
            match step {
                Step::Opened => {
                    if let Some(on_open) = on_open.take() {
                        on_open();
                    }
                }
                Step::Bypass(writer) => session.with(|state| state.take_up(writer)),
                Step::Wait | Step::Done => {
                    intake.held_up = false;
                    return;
                }
                Step::Call(admitted) => {
                    *next = Some(Next::Call);
                    let args = admitted.args(intake.inbox.peeked());
                    admitted.run_or_park(session, services, (parked, oneways), args);
                    intake.inbox.consume_frame();
                }
                Step::Whole(admitted, whole) => {
                    in_place::decode_in(*whole, |whole| {
                        let args = admitted.args(whole);
                        admitted.run_or_park(session, services, (parked, oneways), args);
                    });
                }
            }
        }
    }

    /// Starts the handlers that wait, as long as there is room for replies, and for
    /// one-way calls.
    fn start_parked(&mut self) {
        let mut handed_on = false;
        while let Some(next) = self.oneways.front() {
            let cost = next.oneway_cost();
            if !self.session.with(|state| state.core.starts_waiting_oneway(cost)) {
                break;
            }
            let Some(parked) = self.oneways.pop_front() else { return };
            parked.run(&self.session, &mut self.services);
            handed_on = true;
        }
        if handed_on {
            self.session.with(|state| state.core.oneways_are_handed_on());
        }
        // At the end the queue is never emptied. The calls are given up then: others may wait for
        // the tickets that they hold.
        while !self.parked.is_empty() {
            let (has_room, is_over) =
                self.session.with(|state| (state.core.has_queue_room(), state.core.is_over()));
            if !has_room && !is_over {
                break;
            }
            let Some(parked) = self.parked.pop_front() else { return };
            let stop =
                parked.reply_to().and_then(|call| Some((call, self.session.poll_stop(call, Waker::noop())?)));
            match stop {
                Some((call, stop)) => {
                    // Its ticket goes first: that wakes the next, which is not to be done under
                    // the lock.
                    let incoming = parked.into_incoming();
                    self.session.with(|state| state.core.let_go_of(incoming));
                    self.session.fail(call, CallError::from(stop).into());
                }
                None if is_over => drop(parked),
                None => parked.run(&self.session, &mut self.services),
            }
        }
    }

    /// Writes outside of the lock. In a runtime of many threads this holds up none of the
    /// callers on other threads; a stream of the user's own is user code.
    #[inline]
    fn write_beside(&mut self, cx: &mut Context<'_>) {
        if self.session.lends && self.written.goes_on() {
            self.write_outside(cx);
        }
        if self.is_users {
            self.write_to_users(cx);
        }
    }

    /// Writes a copy of what is queued to a stream of the user's own, whose code may use this
    /// session.
    fn write_to_users(&mut self, cx: &mut Context<'_>) {
        let (mut copy, mut turn) = (lend(), 0);
        let (most, spares_bulk) =
            self.session.with(|state| (state.core.write_turn(), state.core.spares_bulk()));
        self.written.spares_bulk |= spares_bulk;
        while self.written.goes_on() {
            let written = &mut self.written;
            let taken = self.session.with(|state| {
                let State { core, outlet, .. } = state;
                if !written.spares_bulk {
                    core.feed();
                }
                core.outbox().copy_pending(limits::WRITE_TURN, &mut copy);
                if copy.is_empty() {
                    written.yields |= written.spares_bulk && core.has_unsent();
                    return None;
                }
                if turn >= most.min(core.write_turn()) {
                    written.yields = true;
                    return None;
                }
                Some(std::mem::replace(outlet, Outlet::Away))
            });
            let Some(mut outlet) = taken else { break };
            let n = self.written.take(outlet.poll_write_copy(cx, &copy));
            self.session.with(|state| {
                state.outlet = outlet;
                if let Some(n) = n {
                    state.core.outbox().advance(n);
                    state.core.after_write();
                }
            });
            turn += n.unwrap_or(0);
        }
        recycle(copy);
        if self.written.unflushed && self.written.end.is_none() {
            let mut outlet = self.session.with(|state| std::mem::replace(&mut state.outlet, Outlet::Away));
            let flushed = outlet.poll_flush(cx);
            self.session.with(|state| state.outlet = outlet);
            self.written.is_flushed(flushed);
        }
        self.written.give_way(cx);
    }

    fn write_outside(&mut self, cx: &mut Context<'_>) {
        let taken = self.session.with(|state| {
            state.choose_way();
            state.outlet.hold(state.core.hold());
            let taken = state.core.outbox().take_out()?;
            Some((taken, std::mem::replace(&mut state.outlet, Outlet::Away)))
        });
        let Some((taken, mut outlet)) = taken else { return };
        let written = outlet.poll_write_out(cx, &taken);
        let gone = self.written.take(written);
        self.session.with(|state| {
            state.outlet = outlet;
            state.core.outbox().put_back(taken, gone.unwrap_or(0));
            if gone.is_some() {
                state.core.after_write();
            }
        });
    }

    /// Writes what is queued, as far as it goes. A pipe's readiness is all that runs under the
    /// lock; a stream of the user's own is [written to](Self::write_to_users) outside of it.
    fn write(state: &mut State, cx: &mut Context<'_>, written: &mut Written) {
        state.choose_way();
        let State { core, outlet, .. } = state;
        if matches!(outlet, Outlet::Stream(_)) {
            return;
        }
        let (mut turn, most) = (0, core.write_turn());
        // A thread that reads for itself has its turn when it has left the driver.
        written.spares_bulk |= core.spares_bulk() && !matches!(outlet, Outlet::Blocking(_));
        while written.goes_on() {
            if !written.spares_bulk {
                core.feed();
            }
            outlet.hold(core.hold());
            let is_empty = core.outbox().pending().is_empty();
            // Bulk may be left where it is the turn of streams that have not run since.
            if is_empty && !core.has_unsent() {
                break;
            }
            if is_empty || turn >= most.min(core.write_turn()) {
                // What has come in meanwhile is not to wait for all of it, nor what callers
                // say to it. And bulk that is alone again may go by the other way.
                written.yields = true;
                break;
            }
            let outbox = core.outbox();
            let Some(n) = written.take(outlet.poll_write(cx, outbox)) else { break };
            outbox.advance(n);
            turn += n;
            core.after_write();
        }
        // Callers write for themselves, and do not flush.
        written.unflushed |= written.end.is_none() && core.is_finished();
        if written.unflushed && written.end.is_none() {
            written.is_flushed(outlet.poll_flush(cx));
        }
    }

    /// Sets the timer to what the core waits for next.
    fn arm(&mut self, cx: &mut Context<'_>, next: Option<Instant>) {
        if self.is_exact() && self.armed() != next {
            self.timer = None;
        }
        let Some(next) = next else { return };
        // A timer that fires too early costs one look; re-arming costs every call.
        match &mut self.timer {
            Some(armed) if armed.at <= next => return,
            Some(armed) => {
                armed.timer.reset(next);
                armed.at = next;
            }
            None => {
                let timer = Timer::of(self.session.executor(), next);
                self.timer = Some(Box::new(Armed { timer, at: next }));
            }
        }
        if self.poll_timer(cx) {
            cx.waker().wake_by_ref();
        }
    }

    /// What the timer stands at.
    fn armed(&self) -> Option<Instant> {
        self.timer.as_ref().map(|armed| armed.at)
    }

    /// Whether the timer has fired. The core has been told.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(armed) = &mut self.timer else { return false };
        if Pin::new(&mut armed.timer).poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        let (now, peer) = (self.session.clock.now(), self.session.peer());
        self.session.with(|state| state.core.on_timeout(now, peer));
        true
    }

    /// Whether the last words have had their time.
    fn has_lingered(&mut self, cx: &mut Context<'_>) -> bool {
        let Driver { linger, session, .. } = self;
        let linger = linger.get_or_insert_with(|| {
            Box::new(Timer::of(session.executor(), session.clock.now() + limits::LINGER))
        });
        Pin::new(&mut **linger).poll(cx).is_ready()
    }

    /// Whether the timer stands at what is next and never earlier: a thread that has a
    /// time to look at cannot wait in the read itself.
    fn is_exact(&self) -> bool {
        self.intake.as_ref().is_some_and(|intake| intake.is_blocking())
    }

    /// Ends it. By `by_peer` the other side has ended before: nobody there waits for an end.
    fn finish(&mut self, cx: &mut Context<'_>, by_peer: bool, reason: CloseReason) -> Poll<CloseReason> {
        // What it reads with closes with the driver, unless one-way calls are still to be run.
        let closes = by_peer && self.oneways.is_empty();
        let (lost, reason, mut outlet) = self.session.with(|state| {
            let lost = state.core.accepted_unsent();
            state.core.ended(reason);
            let reason = state.core.close_reason().cloned().unwrap_or(CloseReason::Local);
            (lost, reason, std::mem::replace(&mut state.outlet, Outlet::Away))
        });
        if closes && matches!(outlet, Outlet::Pipe(_)) {
            outlet = Outlet::Closed;
        }
        // The other side sees the end even if it never reads; errors no longer matter.
        outlet.shut_down(cx);
        self.session.with(|state| state.outlet = outlet);
        self.session.report_lost(lost);
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
            let mut waker = Some(cx.waker().clone());
            let can_start = self.session.with(|state| {
                state.core.driver_waits(&mut waker, None);
                state.core.can_run_oneways()
            });
            if !can_start {
                self.wants = Wants { goes_on: true, ..Wants::default() };
                return Poll::Pending;
            }
        }
    }
}

impl Future for Driver {
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let this = self.get_mut();
        (this.written.is_full, this.written.spares_bulk) = (false, false);
        let Driver { session, intake, .. } = this;
        let (calls_queued, is_known) = session.with(|state| {
            state.core.driver_starts();
            if let Some(lending) = &mut state.lending {
                *intake = lending.take_back().or(intake.take());
            }
            let calls_queued = state.core.has_unsent() && state.core.is_open();
            (calls_queued, state.core.is_drivers(cx.waker()))
        });
        // Nobody wakes a driver that is at work: the waker that is known is so at the end too.
        let mut waker = (!is_known).then(|| cx.waker().clone());
        if calls_queued {
            // They go out first: who then waits for what comes waits for their replies too.
            this.write_beside(cx);
            let Driver { session, next, written, .. } = this;
            session.with(|state| {
                Self::write(state, cx, written);
                *next = state.core.awaits_replies().then_some(Next::Reply);
            });
            written.give_way(cx);
        }
        if this.ended.is_some() {
            return this.poll_ended(cx);
        }
        this.start_parked();
        let read = this.poll_read(cx);
        // Behind the read: what has come in time counts, though it is looked at late.
        this.poll_timer(cx);
        this.write_beside(cx);
        let is_exact = this.is_exact();
        let Driver { session, intake, parked, oneways, written, greeted, timer, wants, is_users, .. } = this;
        let (finished, over, next, can_start) = session.with(|state| {
            if state.core.ways().is_due() {
                if let Some(intake) = intake {
                    state.tend_bypass(&mut intake.inlet, session.peer());
                }
            }
            Self::write(state, cx, written);
            let core = &mut state.core;
            core.watch_goodbye(|| session.clock.now());
            let next = core.next_timeout();
            if !*greeted && core.is_open() {
                *greeted = true;
                if next.is_none() {
                    // A runtime reads the clock each time it waits, as long as there is
                    // any timer.
                    *timer = None;
                }
            }
            if is_exact {
                let waits = !(parked.is_empty() && oneways.is_empty()) || written.end.is_some();
                // Whether it has dealt with all that has come and more may come.
                let reads = intake.as_ref().is_some_and(|intake| !intake.is_held_up());
                *wants = core.wants(reads, waits);
                // A pipe that nobody reads is always ready to be written.
                wants.has_unsent &= written.end.is_none();
            }
            let armed = match (timer.as_ref().map(|armed| armed.at), next) {
                _ if is_exact => next,
                (Some(armed), Some(next)) => Some(armed.min(next)),
                (armed, next) => armed.or(next),
            };
            core.driver_waits(&mut waker, armed);
            // What has only just been found to pay is asked for in the next poll.
            let asks = core.ways().is_to_ask() && intake.is_some();
            let leaves = read.is_pending() && *greeted && !core.is_over() && !core.is_closing();
            let can_leave = |intake: &Intake| leaves && !intake.is_held_up();
            let is_back = match &mut state.lending {
                // A caller that has brought it back while the driver was at work woke nobody.
                Some(lending) if intake.as_deref().is_none_or(can_leave) => lending.leave(intake),
                _ => false,
            };
            let core = &mut state.core;
            (
                core.is_finished() && !written.unflushed,
                core.is_over() || core.is_closing(),
                next,
                // What ends from here on wakes the driver.
                is_back
                    || asks
                    || (core.has_queue_room() && !parked.is_empty())
                    || core.can_run_oneways()
                    // Queued by other threads since it was written to.
                    || (*is_users && written.goes_on() && core.outbox().pending_len() > 0),
            )
        });
        this.written.give_way(cx);
        if let Poll::Ready(end) = read {
            return this.finish(cx, true, end);
        }
        if finished {
            return this.finish(cx, false, CloseReason::Local);
        }
        // A peer that has gone may have said why: its words, or its end, are on
        // their way where writing fails already.
        if (over || this.written.end.is_some()) && this.has_lingered(cx) {
            let end = this.written.end.take().map_or(CloseReason::Local, |reason| *reason);
            return this.finish(cx, false, end);
        }
        if can_start {
            cx.waker().wake_by_ref();
        }
        this.arm(cx, next);
        Poll::Pending
    }
}

/// Until when the connections of a runtime that ends wait together. Those of one that ends
/// later wait anew.
fn last_writes_end() -> Instant {
    static END: Mutex<Option<Instant>> = Mutex::new(None);
    let now = Instant::now();
    let mut end = END.lock().unwrap_or_else(PoisonError::into_inner);
    match *end {
        Some(end) if now < end + limits::LAST_WRITES_AGAIN => end,
        _ => *end.insert(now + limits::LAST_WRITES),
    }
}

impl Driver {
    /// Writes what is queued, where the runtime ends before the connection does. Waits for the
    /// peer, if one-way calls and items were accepted, and not for long.
    fn write_last(&mut self) {
        if self.is_users && !std::thread::panicking() && !self.session.with(|state| state.core.is_ended()) {
            (self.written.is_full, self.written.spares_bulk) = (false, false);
            // A stream of the user's own may need the runtime that is going.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                self.write_to_users(&mut Context::from_waker(Waker::noop()));
            }));
        }
        loop {
            let (flushed, accepted, room) = self.session.with(|state| {
                if state.core.is_ended() {
                    return (Flushed::All, 0, None);
                }
                (state.flush(), state.core.accepted_unsent(), state.outlet.room())
            });
            if flushed != Flushed::Left || accepted == 0 {
                return;
            }
            let left = last_writes_end().saturating_duration_since(Instant::now());
            let Some(room) = room.filter(|_| !left.is_zero()) else { return };
            if wait(None, Some(&room), None, Some(left)).is_err() {
                return;
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.write_last();
        // A runtime that shuts down drops its drivers: nobody may wait for ever, the
        // peer included, however long somebody holds on to the session.
        let (lost, outlet) = self.session.with(|state| {
            let lost = if state.core.is_ended() { 0 } else { state.core.accepted_unsent() };
            state.core.ended(CloseReason::Local);
            // Calls that were never started are answered by nobody.
            self.parked.iter().filter_map(Parked::reply_to).for_each(|call| {
                state.core.settle(call);
            });
            if let Some(lending) = &mut state.lending {
                lending.end();
            }
            (lost, std::mem::replace(&mut state.outlet, Outlet::Closed))
        });
        drop(outlet);
        self.session.report_lost(lost);
    }
}

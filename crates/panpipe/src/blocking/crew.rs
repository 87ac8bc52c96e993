//! The threads of one connection: one leads, the others follow.
//!
//! Who leads polls the driver, and waits for bytes where it can do nothing else: in the
//! read itself, if nothing but bytes can matter to it, and else at the pipe, its bell and
//! the clock together. When what it has wanted is there it lays the driver down, for the
//! next who waits, or for the helper, if the connection is to be looked after all the same.
//!
//! A thread in a read hears nothing. So whoever queues bytes meanwhile writes them itself,
//! and waits by itself until there is room for them (`waiting.rs`), or has the helper do so.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use panpipe_transport::blocking::{Interrupt, Ready, wait};

use super::helper::{Helper, Tasks};
use super::parker::{Own, Parker};
use crate::clock;
use crate::limits;
use crate::session::{CloseReason, Driver, Flushed, Session};
use crate::timer::{earlier, poll_again_at, take_poll_again};

/// Nobody leads.
const NOBODY: u8 = 0;
/// The leader is at work, and looks again before it waits. That it is may be seen late:
/// it costs a look too many.
const AT_WORK: u8 = 1;
/// It waits where it can be woken.
const AT_BELL: u8 = 2;
/// It is in a read.
const READING: u8 = 3;

thread_local! {
    /// The crew that this thread is waiting in: it looks by itself at what is to be done.
    static WAITING_IN: Cell<*const Crew> = const { Cell::new(ptr::null()) };
    /// What this thread waits for comes as bytes, and by nobody else: as of its last poll.
    static BY_BYTES: Cell<bool> = const { Cell::new(false) };
}

/// What this thread has polled is pending for others than the peer too.
pub(super) fn not_by_bytes_alone() {
    BY_BYTES.set(false);
}

/// The threads of a connection.
pub(crate) struct Crew {
    pub(super) state: Mutex<State>,
    session: OnceLock<Weak<Session>>,
    /// Ends a read that goes on; none in tests without one.
    interrupt: Option<Interrupt>,
    /// The driver is to be polled.
    woken: AtomicBool,
    /// What the leader does.
    stance: AtomicU8,
}

pub(super) struct State {
    place: Place,
    /// Who leads, or has led last: mostly the same leads again.
    leader: Option<Arc<Parker>>,
    followers: VecDeque<Arc<Parker>>,
    /// Who wait for the end.
    enders: Vec<Waker>,
    pub(super) helper: Helper,
    pub(super) tasks: Tasks,
    /// Whether the connection is to be looked after where nobody waits in it.
    pub(super) is_kept: bool,
    /// Whether something that comes over it is waited for elsewhere.
    is_awaited: bool,
}

/// Where the driver is.
enum Place {
    Here(Idle),
    Led,
    Ended(CloseReason),
}

/// A driver that nobody polls, and when it wants to be polled again at the latest.
struct Idle {
    driver: Box<Driver>,
    until: Option<Instant>,
}

/// What a thread is that has come to wait.
pub(super) enum Role<'a> {
    Leads(Lead<'a>),
    Follows,
    /// It leads already, further out: what it waits for can never come.
    Within,
    /// The connection has ended.
    Alone,
}

/// Whether a thread that finds no driver wants it next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    Follower,
    /// It is told by itself when nobody else wants it.
    Helper,
}

impl Crew {
    /// A crew without a connection, and what ends a read of that.
    pub(crate) fn new(interrupt: Option<Interrupt>) -> Arc<Crew> {
        let state = State {
            place: Place::Led,
            leader: None,
            followers: VecDeque::new(),
            enders: Vec::new(),
            helper: Helper::None,
            tasks: Tasks::default(),
            is_kept: false,
            is_awaited: false,
        };
        Arc::new(Crew {
            state: Mutex::new(state),
            session: OnceLock::new(),
            interrupt,
            woken: AtomicBool::new(true),
            stance: AtomicU8::new(NOBODY),
        })
    }

    /// Gives it the connection's driver.
    pub(crate) fn take_up(&self, session: &Arc<Session>, driver: Driver) {
        let _ = self.session.set(Arc::downgrade(session));
        self.lock().place = Place::Here(Idle { driver: Box::new(driver), until: None });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the connection has ended, once it has.
    pub(crate) fn poll_ended(&self, waker: &Waker) -> Poll<CloseReason> {
        let mut state = self.lock();
        if let Place::Ended(reason) = &state.place {
            return Poll::Ready(reason.clone());
        }
        if !state.enders.iter().any(|known| known.will_wake(waker)) {
            state.enders.push(waker.clone());
        }
        Poll::Pending
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.lock().place, Place::Ended(_))
    }

    /// Takes the lead, if nobody has it.
    pub(super) fn join<'a>(self: &'a Arc<Self>, parker: &'a Arc<Parker>, rank: Rank) -> Role<'a> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.place, Place::Led) {
            Place::Here(Idle { driver, until }) => {
                // It may come as one who was to follow, and has been woken meanwhile.
                state.followers.retain(|known| !Arc::ptr_eq(known, parker));
                if !state.leader.as_ref().is_some_and(|last| Arc::ptr_eq(last, parker)) {
                    state.leader = Some(Arc::clone(parker));
                }
                drop(state);
                self.stance.store(AT_WORK, Ordering::Release);
                Role::Leads(Lead { crew: self, parker, driver: Some(driver), until, is_polling: false })
            }
            Place::Led => {
                if state.leader.as_ref().is_some_and(|leader| Arc::ptr_eq(leader, parker)) {
                    return Role::Within;
                }
                if rank == Rank::Follower && !state.followers.iter().any(|known| Arc::ptr_eq(known, parker)) {
                    state.followers.push_back(Arc::clone(parker));
                }
                Role::Follows
            }
            Place::Ended(reason) => {
                state.place = Place::Ended(reason);
                Role::Alone
            }
        }
    }

    /// A follower goes. If it was to lead, another is.
    pub(super) fn leave(self: &Arc<Self>, parker: &Arc<Parker>) {
        let mut state = self.lock();
        state.followers.retain(|known| !Arc::ptr_eq(known, parker));
        if matches!(state.place, Place::Here(_)) {
            self.pass_on(state, None);
        }
    }

    /// Has the next one lead, if there is one: they have been left without, by `gone`.
    fn pass_on(self: &Arc<Self>, mut state: MutexGuard<'_, State>, gone: Option<&Arc<Parker>>) {
        match state.followers.pop_front() {
            Some(next) => {
                drop(state);
                next.wake_thread();
            }
            None if state.is_kept || state.is_awaited || !state.tasks.are_done() => {
                drop(state);
                self.start_helper();
            }
            None => {
                // There may be nothing left for it, unless that is what it has just found.
                let helper = state
                    .helper
                    .running()
                    .filter(|helper| gone.is_none_or(|gone| !Arc::ptr_eq(gone, helper)));
                let helper = helper.map(Arc::clone);
                drop(state);
                helper.into_iter().for_each(|helper| helper.wake_thread());
            }
        }
    }

    /// Something is to be done that the leader may not see to. Whoever waits in this
    /// crew itself does it itself.
    fn attend(self: &Arc<Self>) {
        let Some(session) = self.session.get().and_then(Weak::upgrade) else { return };
        if session.flush(&self.waker()) == Flushed::Left {
            // Who leads next has to see that there is something to write.
            self.woken.store(true, Ordering::SeqCst);
            self.keep();
        } else if session.is_over() {
            // Its last words have been said: nobody is to wait for an answer.
            self.end_reading();
        }
    }

    /// When something of the session's falls due next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.session.get().and_then(Weak::upgrade)?.next_timeout()
    }

    /// Something is waited for that comes over the connection, by this thread or, if it does
    /// not wait in this crew, by somebody who leaves the reading to others.
    #[inline]
    pub(crate) fn awaits(self: &Arc<Self>) {
        if WAITING_IN.get() == Arc::as_ptr(self) {
            BY_BYTES.set(true);
        } else {
            self.lock().is_awaited = true;
            self.start_helper();
        }
    }

    /// Whether something is waited for elsewhere, as far as is known.
    pub(super) fn is_awaited(&self) -> bool {
        if !std::mem::take(&mut self.lock().is_awaited) {
            return false;
        }
        let session = self.session.get().and_then(Weak::upgrade);
        let is_awaited = session.is_some_and(|session| session.is_awaited());
        // Who waits since then has said so again.
        self.lock().is_awaited |= is_awaited;
        is_awaited
    }

    /// Has the leader find the end of the stream, where the system can.
    pub(crate) fn end_reading(&self) {
        self.interrupt.iter().for_each(Interrupt::end_reading);
    }

    /// Whether something waits to be written.
    pub(super) fn has_unsent(&self) -> bool {
        self.session.get().and_then(Weak::upgrade).is_some_and(|session| session.has_unsent())
    }

    /// Whether the driver is led, by whoever it is.
    pub(super) fn is_led(state: &State) -> bool {
        matches!(state.place, Place::Led)
    }

    /// Whether the driver is to be polled and nobody has it.
    pub(super) fn is_left_woken(&self, state: &State) -> bool {
        matches!(state.place, Place::Here(_)) && self.woken.load(Ordering::SeqCst)
    }

    pub(super) fn look_at_clock(&self) {
        if let Some(session) = self.session.get().and_then(Weak::upgrade) {
            session.look_at_clock();
        }
    }

    /// Has the helper look after the connection, as long as there is a reason to.
    pub(crate) fn keep(self: &Arc<Self>) {
        self.lock().is_kept = true;
        self.start_helper();
    }

    /// A thread that has waited goes: nothing that it has begun is left undone.
    #[inline]
    pub(super) fn depart(self: &Arc<Self>) {
        if self.woken.load(Ordering::SeqCst) && self.stance.load(Ordering::SeqCst) != AT_WORK {
            self.attend();
        }
    }

    /// Nobody holds the connection any more: sees it to its end.
    pub(crate) fn wind_up(self: &Arc<Self>) {
        Own::with(|own| match self.join(&own.parker, Rank::Helper) {
            Role::Leads(mut lead) => {
                if lead.poll_driver().is_pending() {
                    // It has last words that are not read yet.
                    drop(lead);
                    self.keep();
                }
            }
            // Who leads has been woken.
            Role::Follows | Role::Within | Role::Alone => {}
        });
    }

    /// Wakes the driver.
    #[inline]
    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Waits for the leader to bring what is waited for, or to give up the lead. What this
    /// thread has queued it writes out itself where the leader is in a read.
    pub(super) fn follow(self: &Arc<Self>, parker: &Parker, until: Option<Instant>) {
        while self.stance.load(Ordering::SeqCst) == READING && !parker.is_woken() {
            let Some(session) = self.session.get().and_then(Weak::upgrade) else { break };
            match session.flush(&self.waker()) {
                Flushed::All => break,
                Flushed::Broken => {
                    // The other side may go on writing; nothing that is asked of it is answered.
                    session.cannot_write();
                    self.end_reading();
                    break;
                }
                Flushed::Left | Flushed::Turn => {}
            }
            let Some(room) = session.room() else { break };
            let bell = parker.go_to_bell();
            if bell.is_none() && parker.is_woken() {
                break;
            }
            let left = until.map(|until| until.saturating_duration_since(clock::system()));
            // Without a bell, for want of descriptors, it has to be looked now and then.
            let left = match bell {
                Some(_) => left,
                None => Some(left.map_or(limits::NO_BELL, |left| left.min(limits::NO_BELL))),
            };
            let waited = wait(None, Some(&room), bell, left);
            parker.leave_bell();
            if waited.is_err() || until.is_some_and(|until| clock::system() >= until) {
                break;
            }
        }
        parker.park(until);
    }

    /// Notes that this thread waits here, until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> WaitsIn {
        BY_BYTES.set(false);
        WaitsIn(WAITING_IN.replace(Arc::as_ptr(self)))
    }

    fn wake_driver(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        match self.stance.load(Ordering::SeqCst) {
            AT_WORK => {}
            AT_BELL => {
                let leader = self.lock().leader.clone();
                leader.into_iter().for_each(|leader| leader.wake_thread());
            }
            _ if WAITING_IN.get() == Arc::as_ptr(self) => {}
            _ => {
                self.attend();
                if self.next_timeout().is_some() {
                    // Who is in a read looks at no clock.
                    self.keep();
                }
            }
        }
    }
}

/// This thread waits in a crew; before, perhaps, in another.
pub(super) struct WaitsIn(*const Crew);

impl Drop for WaitsIn {
    #[inline]
    fn drop(&mut self) {
        WAITING_IN.set(self.0);
    }
}

/// As the driver's waker.
impl Wake for Crew {
    fn wake(self: Arc<Self>) {
        self.wake_driver();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_driver();
    }
}

/// The lead of a crew. It is given up when this is dropped.
pub(super) struct Lead<'a> {
    crew: &'a Arc<Crew>,
    /// This thread's.
    parker: &'a Arc<Parker>,
    /// None once the connection has ended.
    driver: Option<Box<Driver>>,
    until: Option<Instant>,
    /// The driver is being polled: a panic then has left it in the middle of anything.
    is_polling: bool,
}

/// What has ended a leader's wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It was woken, or its time has come.
    Woken,
    /// The connection has ended.
    Ended,
}

impl Lead<'_> {
    /// Drives the connection until this thread is woken, or until some time.
    #[inline]
    pub(super) fn drive(&mut self, parker: &Parker, until: Option<Instant>, rank: Rank) -> Step {
        // A helper has always something to run: what comes is not to wait for that.
        let mut looks = rank == Rank::Helper;
        loop {
            if self.crew.woken.load(Ordering::SeqCst) {
                if self.driver.as_ref().is_some_and(|driver| driver.wants().has_unsent) {
                    self.look();
                }
                if self.poll_driver().is_ready() {
                    return Step::Ended;
                }
                if parker.is_woken() && !looks {
                    return Step::Woken;
                }
                if self.crew.woken.load(Ordering::SeqCst) {
                    continue;
                }
            }
            if std::mem::take(&mut looks) && parker.is_woken() {
                if self.look() && self.poll_driver().is_ready() {
                    return Step::Ended;
                }
                return Step::Woken;
            }
            let Some(driver) = &mut self.driver else { return Step::Ended };
            let wants = driver.wants();
            let until = earlier(until, self.until);
            if wants.is_just_read && until.is_none() && rank == Rank::Follower && BY_BYTES.get() {
                self.crew.stance.store(READING, Ordering::SeqCst);
                if self.crew.woken.load(Ordering::SeqCst) || parker.is_woken() {
                    self.crew.stance.store(AT_WORK, Ordering::Release);
                    if parker.is_woken() {
                        return Step::Woken;
                    }
                    continue;
                }
                driver.read();
                self.crew.stance.store(AT_WORK, Ordering::Release);
                if !self.deals_in_place() && self.poll_driver().is_ready() {
                    return Step::Ended;
                }
            } else {
                let Some(ready) = self.wait(parker, until) else { return Step::Woken };
                let is_late = until.is_some_and(|until| clock::system() >= until);
                if ready.readable {
                    self.read();
                }
                if (ready.readable || ready.writable || is_late) && self.poll_driver().is_ready() {
                    return Step::Ended;
                }
                if is_late {
                    return Step::Woken;
                }
            }
            if parker.is_woken() {
                return Step::Woken;
            }
            if rank == Rank::Helper && !self.is_kept() && self.crew.lock().tasks.are_done() {
                return Step::Woken;
            }
        }
    }

    /// Waits for bytes, for room if there is something to write, and for the bell. `None`
    /// if the thread has been woken before.
    fn wait(&mut self, parker: &Parker, until: Option<Instant>) -> Option<Ready> {
        let crew = self.crew;
        let driver = self.driver.as_deref()?;
        let wants = driver.wants();
        let room = if wants.has_unsent { driver.room() } else { None };
        let bell = parker.go_to_bell();
        if bell.is_none() && parker.is_woken() {
            return None;
        }
        // Without a bell, for want of descriptors, it has to be looked now and then.
        let no_bell = bell.is_none().then_some(limits::NO_BELL);
        crew.stance.store(AT_BELL, Ordering::SeqCst);
        let ready = if crew.woken.load(Ordering::SeqCst) {
            Ready::default()
        } else {
            let left = until.map(|until| until.saturating_duration_since(clock::system()));
            let timeout = match (left, no_bell) {
                (Some(left), Some(most)) => Some(left.min(most)),
                (left, most) => left.or(most),
            };
            let reader = driver.reader().filter(|_| wants.reads);
            wait(reader, room.as_ref(), bell, timeout).unwrap_or_else(|_| {
                // Out of memory: as if a signal had come.
                std::thread::yield_now();
                Ready::default()
            })
        };
        crew.stance.store(AT_WORK, Ordering::Release);
        parker.leave_bell();
        Some(ready)
    }

    /// Reads what is there, if anything is.
    fn look(&mut self) -> bool {
        let Some(driver) = self.driver.as_deref() else { return false };
        let Some(reader) = driver.reader().filter(|_| driver.wants().reads) else { return false };
        let is_readable =
            wait(Some(reader), None, None, Some(Duration::ZERO)).is_ok_and(|ready| ready.readable);
        if is_readable {
            self.read();
        }
        is_readable
    }

    fn read(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.read();
        }
    }

    /// Has the driver do something, by which handlers may be polled. Gives also when it, or
    /// one of them, wants to be polled again.
    #[inline]
    fn with_driver<R>(&mut self, f: impl FnOnce(&mut Driver) -> R) -> Option<(R, Option<Instant>)> {
        let driver = self.driver.as_deref_mut()?;
        // What others have left there is theirs.
        let (theirs, by_bytes) = (take_poll_again(), BY_BYTES.get());
        self.is_polling = true;
        let result = f(driver);
        self.is_polling = false;
        let again = take_poll_again();
        theirs.into_iter().for_each(poll_again_at);
        BY_BYTES.set(by_bytes);
        Some((result, again))
    }

    /// Deals with what has been read, if the driver need not be polled for that.
    #[inline]
    fn deals_in_place(&mut self) -> bool {
        // Of a handler that is still pending its own task is polled again.
        self.with_driver(Driver::deals_in_place).is_some_and(|(dealt, _)| dealt)
    }

    /// Polls the driver. Ready when the connection has ended.
    #[inline]
    pub(super) fn poll_driver(&mut self) -> Poll<()> {
        if self.crew.woken.load(Ordering::SeqCst) {
            self.crew.woken.swap(false, Ordering::SeqCst);
        }
        let waker = self.crew.waker();
        let poll = |driver: &mut Driver| driver.poll_in_place(&mut Context::from_waker(&waker));
        let Some((polled, again)) = self.with_driver(poll) else { return Poll::Ready(()) };
        self.until = again;
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(reason) => {
                self.end(reason);
                Poll::Ready(())
            }
        }
    }

    #[cold]
    fn end(&mut self, reason: CloseReason) {
        let driver = self.driver.take();
        let (followers, enders) = {
            let mut state = self.crew.lock();
            state.place = Place::Ended(reason);
            state.leader = None;
            (std::mem::take(&mut state.followers), std::mem::take(&mut state.enders))
        };
        self.crew.stance.store(NOBODY, Ordering::SeqCst);
        drop(driver);
        followers.iter().for_each(|follower| follower.wake_thread());
        enders.into_iter().for_each(Waker::wake);
        self.crew.wake_helper();
    }

    /// Whether the connection is to be looked after where nobody waits in it.
    pub(super) fn is_kept(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.wants().is_kept())
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let Some(mut driver) = self.driver.take() else { return };
        if self.is_polling {
            self.driver = Some(driver);
            return self.end(CloseReason::Io("the thread that drove the connection has panicked".to_owned()));
        }
        driver.rest();
        let is_kept = driver.wants().is_kept();
        let mut state = self.crew.lock();
        state.place = Place::Here(Idle { driver, until: self.until });
        if self.parker.has_bell() {
            // It may have to end: a connection that nobody leads keeps no descriptors.
            state.leader = None;
        }
        state.is_kept = is_kept;
        self.crew.stance.store(NOBODY, Ordering::SeqCst);
        self.crew.pass_on(state, Some(self.parker));
    }
}

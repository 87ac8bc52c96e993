//! A session: the state machine behind a lock, together with the way out.
//! Callers and handlers use it directly; the driver feeds it.

mod admitted;
mod batch;
mod blocking;
mod calls;
mod close;
mod core;
mod deadlines;
mod driver;
mod encoded;
mod handlers;
mod hello;
mod intake;
mod large;
mod lending;
mod load;
mod lost;
mod marks;
mod message;
mod on_demand;
mod oneway_window;
mod outlet;
mod parts;
mod ports;
mod reply;
mod scheduler;
mod stream_end;
mod ways;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use panpipe_transport::Peer;

pub(crate) use self::batch::{Batch, RawItem};
pub(crate) use self::blocking::{Flushed, Wants};
pub(crate) use self::calls::Reply;
pub use self::close::CloseReason;
pub(crate) use self::core::Role;
pub(crate) use self::core::{CallTarget, Config, ItemError, Sending};
use self::core::{Core, Deadline, PortAftermath, Root};
pub(crate) use self::driver::Driver;
pub(crate) use self::encoded::{Encoded, EncodedMessage};
pub(crate) use self::handlers::{ReplyTo, Stop};
pub use self::hello::ServiceInfo;
pub(crate) use self::hello::find_service;
use self::lending::{Lending, wake_behind};
pub(crate) use self::load::Load;
pub(crate) use self::lost::Lost;
pub(crate) use self::message::{FLUSH, OPEN, PING, ROOT_PORT, put_str, take_str, take_u64, take_version};
pub(crate) use self::outlet::{Inlet, Outlet, of_blocking, of_pipe, of_stream};
pub(crate) use self::ports::{Attached, PortKind};
pub(crate) use self::reply::{Failure, ReplyBody, parse as parse_reply, put_status};
pub(crate) use self::stream_end::StreamEnd;
use crate::call;
use crate::clock::{self, Clock};
use crate::codec::{Codec, Decoder};
use crate::error::{CallError, Refusal};
use crate::executor::Executor;
use crate::guarded::drop_guarded;
use crate::hooks::Hooks;
use crate::limits;
use crate::link::Link;
use crate::log_limit::log_limited;
use crate::metadata::{Metadata, MetadataError};
#[cfg(feature = "metrics")]
use crate::metrics::OpenConnection;

thread_local! {
    /// An empty list, with the memory of the last wakers that this thread has woken.
    static SPARE: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

fn take_spare() -> Vec<Waker> {
    // Gone while the thread ends.
    SPARE.try_with(Cell::take).unwrap_or_default()
}

fn keep_spare(wakes: Vec<Waker>) {
    if wakes.capacity() <= limits::SPARE_WAKES {
        let _ = SPARE.try_with(|spare| spare.set(wakes));
    }
}

/// One end of a connection.
pub(crate) struct Session {
    /// Unlike that of any other session of this process.
    id: u64,
    state: Mutex<State>,
    /// Whether callers read too.
    lends: bool,
    /// The codec, once it is known: what is sent is encoded outside of the lock.
    codec: OnceLock<Codec>,
    peer: Peer,
    /// How many calls of the peer run at once that do not nest.
    max_calls: u32,
    /// How deep the values nest at most that the peer sends.
    max_depth: u32,
    /// The users' handle of this session, as long as there is any.
    link: Weak<Link>,
    /// What the peer's calls have to pass, if anything.
    hooks: OnceLock<Arc<Hooks>>,
    /// Who runs the tasks of its streams and handlers.
    executor: Executor,
    /// Counts the times of the connection.
    clock: Clock,
}

struct State {
    core: Core,
    outlet: Outlet,
    /// In a runtime of many threads: who reads.
    lending: Option<Box<Lending>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that `link` is the users' handle of, and the driver that moves its bytes;
    /// the driver must be run.
    pub(crate) fn new(
        config: Config,
        peer: Peer,
        (inlet, outlet): (Inlet, Outlet),
        executor: Executor,
        link: Weak<Link>,
    ) -> (Arc<Session>, Driver) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        #[cfg(feature = "metrics")]
        let counted = OpenConnection::of(config.role);
        let codec = match config.role {
            Role::Dialer => OnceLock::from(config.codec),
            // The peer's hello says it.
            Role::Acceptor => OnceLock::new(),
        };
        let mut core = Core::new(config);
        let (max_calls, max_depth) = (core.max_calls(), core.max_depth());
        let clock = executor.clock();
        core.begin(clock.now());
        let lending = inlet.is_lent().then(Box::default);
        let session = Arc::new(Session {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            lends: lending.is_some(),
            codec,
            state: Mutex::new(State { core, outlet, lending }),
            peer,
            max_calls,
            max_depth,
            link,
            hooks: OnceLock::new(),
            executor,
            clock,
        });
        let driver = Driver::new(
            Arc::clone(&session),
            inlet,
            #[cfg(feature = "metrics")]
            counted,
        );
        (session, driver)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The users' handle. None once the last of them has let go: the session is
    /// closing.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.link.upgrade()
    }

    /// Sets what the peer's calls have to pass; to be done before the driver runs.
    pub(crate) fn set_hooks(&self, hooks: Arc<Hooks>) {
        let _ = self.hooks.set(hooks);
    }

    #[inline]
    pub(crate) fn hooks(&self) -> Option<&Hooks> {
        self.hooks.get().map(|hooks| &**hooks)
    }

    #[inline]
    pub(crate) fn codec(&self) -> Codec {
        self.known_codec().unwrap_or_else(|| self.with(|state| state.core.codec()))
    }

    /// The codec, which a side that was connected to learns with the peer's hello.
    #[inline]
    pub(crate) fn known_codec(&self) -> Option<Codec> {
        self.codec.get().copied().or_else(|| self.learn_codec())
    }

    #[cold]
    fn learn_codec(&self) -> Option<Codec> {
        let codec = self.with(|state| state.core.is_open().then(|| state.core.codec()))?;
        Some(*self.codec.get_or_init(|| codec))
    }

    /// The metadata of a type that the peer has given for the connection.
    pub(crate) fn peer_metadata<M: Metadata>(&self) -> Result<Option<M>, MetadataError> {
        let metadata = self.with(|state| state.core.peer_metadata().cloned());
        metadata.map_or(Ok(None), |metadata| metadata.get())
    }

    /// How the peer's messages in this codec are decoded.
    #[inline]
    pub(crate) fn decoder(&self, codec: Codec) -> Decoder {
        Decoder { codec, max_depth: self.max_depth }
    }

    /// How deep a call nests that the handler makes of the peer's call with this id; `None`
    /// for a one-way call.
    #[inline]
    pub(crate) fn nesting_in(&self, call: Option<ReplyTo>) -> u32 {
        let beyond = call.map_or(0, |call| call.id().saturating_add(1).saturating_sub(self.max_calls));
        beyond + 1
    }

    #[inline]
    pub(crate) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Runs `f` on the state, and does outside the lock what is left to do then. No user code
    /// runs in `f`: it could call this very session, or wait for a thread that waits for it.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state);
        if !state.core.aftermath().is_empty() {
            self.finish_up(state);
        }
        result
    }

    /// Polls the state. Only what is pending takes a clone of the waker, which is made outside
    /// of the lock: `poll` is called once more then, with the clone, and may leave there
    /// another waker for which this one is kept.
    #[inline]
    fn poll_with<R>(
        &self,
        waker: &Waker,
        mut poll: impl FnMut(&mut State, &mut Option<Waker>) -> Poll<R>,
    ) -> Poll<R> {
        let polled = self.with(|state| poll(state, &mut None));
        if polled.is_ready() { polled } else { self.poll_again(waker, &mut poll) }
    }

    /// Polls what is pending once more, with a clone of the waker.
    #[cold]
    fn poll_again<R>(
        &self,
        waker: &Waker,
        poll: &mut dyn FnMut(&mut State, &mut Option<Waker>) -> Poll<R>,
    ) -> Poll<R> {
        let mut waker = Some(waker.clone());
        self.with(|state| poll(state, &mut waker))
    }

    /// Does what is left to do, outside of the lock.
    fn finish_up(&self, mut state: MutexGuard<'_, State>) {
        let aftermath = state.core.aftermath();
        if aftermath.wakes.len() <= 1 && aftermath.spent.len() <= 1 && aftermath.ports.is_none() {
            // As it is after most calls; the lists keep their memory.
            let (waker, spent) = (aftermath.wakes.pop(), aftermath.spent.pop());
            drop(state);
            waker.into_iter().for_each(Waker::wake);
            return drop(spent);
        }
        let spent = std::mem::take(&mut aftermath.spent);
        let mut wakes = std::mem::replace(&mut aftermath.wakes, take_spare());
        let ports = aftermath.ports.take();
        drop(state);
        wakes.drain(..).for_each(Waker::wake);
        keep_spare(wakes);
        drop(spent);
        if let Some(ports) = ports {
            self.attach(*ports);
        }
    }

    #[cold]
    fn attach(&self, ports: PortAftermath) {
        let PortAftermath { services, closed, opened, blocks } = ports;
        blocks.into_iter().for_each(drop_guarded);
        services.into_iter().for_each(drop_guarded);
        closed.into_iter().for_each(drop_guarded);
        for (attach, port) in opened {
            match self.link() {
                Some(link) => attach.attach(link, port),
                // The session is closing, and the stream with it.
                None => attach.lost(),
            }
        }
    }

    // ---- calls of ours ----

    /// Starts a call that has this time `left`, if it is limited. Gives whether the waker will
    /// be woken by its reply. Only on a connection of threads the session ends the call.
    pub(crate) fn poll_call(
        &self,
        key: &mut Option<usize>,
        target: CallTarget<'_>,
        left: Option<Duration>,
        waker: &Waker,
        message: Option<&mut EncodedMessage>,
    ) -> Poll<Result<bool, Box<CallError>>> {
        let deadline = left.map(|left| {
            let is_ended_here = self.executor.crew().is_some();
            let at = if is_ended_here { clock::system().checked_add(left) } else { None };
            Deadline { left, at }
        });
        // Nearly every call that is started keeps it until its reply.
        let mut waker = Some(waker.clone());
        let mut at_limit = None;
        let (polled, behind) = self.with(|state| {
            let before = state.core.outbox().pending_len();
            let nesting = || call::nesting_in(self.id);
            let polled = state.core.poll_call(key, target, deadline, nesting, &mut waker, message);
            let is_crowded = state.core.is_crowded();
            let behind = if self.lends && is_crowded {
                state.send_behind()
            } else {
                // Who leads a crew writes by himself what he finds: it needs no waking.
                let waits = is_crowded && matches!(state.outlet, Outlet::Pipe(_));
                let inline = !waits && state.core.write_inline(before);
                state.write_or_wake(inline);
                None
            };
            if deadline.is_some_and(|deadline| deadline.at.is_some()) {
                state.core.check_timer();
            }
            if polled.is_pending() {
                at_limit = state.core.is_first_at_limit();
            }
            let awaits = !self.lends || is_crowded;
            (polled.map_ok(|()| awaits && state.core.await_reply(*key, &mut waker)), behind)
        });
        if let Some(in_flight) = at_limit {
            warn_at_limit(&self.peer, in_flight);
        }
        behind.iter().for_each(wake_behind);
        if matches!(polled, Poll::Ready(Ok(true))) {
            self.executor.awaits();
        }
        polled
    }

    /// Waits for the reply to a call, which takes `reply`'s place. Gives the codec that it
    /// is to be read with.
    pub(crate) fn poll_reply(
        &self,
        key: &mut Option<usize>,
        waker: &Waker,
        reply: &mut Reply,
    ) -> Poll<Result<Codec, Box<CallError>>> {
        if self.lends {
            return self.poll_reply_looking(key, waker, reply);
        }
        let polled = self.poll_with(waker, |state, waker| state.poll_reply(key, waker, reply));
        if polled.is_pending() {
            self.executor.awaits();
        }
        polled
    }

    /// Sends a one-way call, or waits for room. On an idle connection it is written here and
    /// now. `sending` is kept with the call.
    pub(crate) fn poll_oneway(
        &self,
        target: CallTarget<'_>,
        sending: &mut Option<Sending>,
        waker: &Waker,
        mut message: Option<&mut EncodedMessage>,
    ) -> Poll<Result<(), CallError>> {
        self.poll_with(waker, |state, waker| {
            let was_idle = state.core.has_nothing_ahead();
            let nested = || call::nesting_in(self.id) > 0;
            let polled = state.core.poll_oneway(target, nested, sending, waker, message.as_deref_mut());
            let is_left = state.write_ahead(was_idle);
            if is_left && matches!(polled, Poll::Ready(Ok(()))) {
                // The program may end before the driver has written it.
                return state.core.poll_written(sending, waker);
            }
            polled
        })
    }

    pub(crate) fn poll_oneways_queued(&self, made: &mut Option<u64>, waker: &Waker) -> Poll<()> {
        self.poll_with(waker, |state, waker| state.core.poll_oneways_queued(made, waker))
    }

    pub(crate) fn drop_call(&self, key: usize) {
        self.with(|state| {
            state.core.drop_call(key);
            state.write_or_wake(false);
        });
    }

    // ---- calls of the peer's ----

    /// Answers a call, unless it needs no answer any more. Returns false when the outgoing queue
    /// is full.
    #[inline]
    pub(crate) fn try_answer(&self, call: ReplyTo, message: &mut EncodedMessage) -> bool {
        self.with(|state| {
            let before = state.core.outbox().pending_len();
            let is_done = state.core.try_answer(call, message);
            let inline = state.core.write_answer_inline(before);
            state.write_or_wake(inline);
            is_done
        })
    }

    /// Waits for room in the outgoing queue.
    pub(crate) fn poll_queue_room(&self, waker: &Waker) -> Poll<()> {
        self.poll_with(waker, |state, waker| state.core.poll_queue_room(waker))
    }

    pub(crate) fn fail(&self, call: ReplyTo, failure: Failure) {
        self.with(|state| {
            state.core.fail(call, failure);
            state.write_or_wake(false);
        });
    }

    pub(crate) fn poll_stop(&self, call: ReplyTo, waker: &Waker) -> Option<Stop> {
        let mut waker = Some(waker.clone());
        self.with(|state| state.core.poll_stop(call, &mut waker))
    }

    pub(crate) fn is_owed(&self, call: ReplyTo) -> bool {
        self.with(|state| state.core.is_owed(call))
    }

    pub(crate) fn poll_handed_on(&self, call: ReplyTo, come: &mut Option<u64>, waker: &Waker) -> Poll<()> {
        self.poll_with(waker, |state, waker| state.core.poll_handed_on(call.id(), come, waker))
    }

    pub(crate) fn oneway_ended(&self) {
        self.with(|state| state.core.oneway_ended());
    }

    // ---- ports ----

    /// Which of the services on offer the peer calls at the root port.
    pub(crate) fn root(&self) -> Option<Root> {
        self.with(|state| state.core.root())
    }

    /// The version of the peer's service at its root port that this side calls.
    pub(crate) fn version(&self) -> Option<u32> {
        self.with(|state| state.core.version())
    }

    /// How many ports are open.
    pub(crate) fn open_ports(&self) -> usize {
        self.with(|state| state.core.open_ports())
    }

    pub(crate) fn poll_items(
        &self,
        port: u64,
        batch: &mut Batch,
        waker: &Waker,
    ) -> Poll<Option<(StreamEnd, Lost)>> {
        let polled = self.poll_with(waker, |state, waker| {
            let polled = state.core.poll_items(port, batch, waker);
            state.write_or_wake(false);
            polled
        });
        if polled.is_pending() {
            self.executor.awaits();
        }
        polled
    }

    pub(crate) fn large_was_read(&self, port: u64, large: u64) {
        self.with(|state| {
            state.core.large_was_read(port, large);
            state.write_or_wake(false);
        });
    }

    pub(crate) fn stop_reading(&self, port: u64) {
        self.with(|state| {
            state.core.stop_reading(port);
            state.write_or_wake(false);
        });
    }

    /// Sends an item, or waits for room. One that comes alone is written here and now where
    /// the connection is idle; behind several of a row [`send_queued`](Self::send_queued) is
    /// to be called.
    pub(crate) fn poll_item(
        &self,
        port: u64,
        needs: &mut u64,
        comes_alone: bool,
        waker: &Waker,
        message: &mut EncodedMessage,
    ) -> Poll<Result<usize, ItemError>> {
        self.poll_with(waker, |state, waker| {
            let was_idle = state.core.has_nothing_ahead();
            let polled = state.core.poll_item(port, needs, waker, message);
            if comes_alone {
                state.write_ahead(was_idle);
            } else {
                state.write_or_wake(false);
            }
            polled
        })
    }

    /// Items of the stream were dropped: its reader learns how many with the next one, or with
    /// the end.
    pub(crate) fn lose_items(&self, port: u64, lost: Lost) {
        if !lost.is_none() {
            self.with(|state| state.core.lose_items(port, lost));
        }
    }

    /// Ready when no item of the stream is being sent in parts: whether the stream is still
    /// read.
    pub(crate) fn poll_items_queued(&self, port: u64, waker: &Waker) -> Poll<bool> {
        self.poll_with(waker, |state, waker| state.core.poll_items_queued(port, waker))
    }

    /// Writes what is queued here and now, unless the driver is about to.
    pub(crate) fn send_queued(&self) {
        self.with(|state| {
            state.write_ahead(true);
        });
    }

    /// Whether an item of the stream may be sent now, if it is not too large. Also where the
    /// stream is over, which the item's sender then learns.
    pub(crate) fn takes_item(&self, port: u64) -> bool {
        self.with(|state| state.core.takes_item(port))
    }

    pub(crate) fn poll_stopped(&self, port: u64, waker: &Waker) -> Poll<()> {
        self.poll_with(waker, |state, waker| state.core.poll_stopped(port, waker))
    }

    pub(crate) fn forget_writer(&self, port: u64, waker: &Waker) {
        self.with(|state| state.core.forget_writer(port, waker));
    }

    pub(crate) fn end_writing(&self, port: u64, end: &StreamEnd) {
        self.with(|state| {
            state.core.end_writing(port, end);
            state.write_or_wake(false);
        });
    }

    pub(crate) fn release(&self, port: u64) {
        self.with(|state| {
            state.core.release(port);
            state.write_or_wake(false);
        });
    }

    pub(crate) fn let_go(&self, attached: Vec<Attached>) {
        self.with(|state| {
            state.core.let_go(attached);
            state.write_or_wake(false);
        });
    }

    // ---- the end ----

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.with(|state| state.core.refuse(refusal));
    }

    /// Says hello now rather than with the first call.
    pub(crate) fn say_hello(&self) {
        self.with(|state| {
            state.core.say_hello();
            state.write_or_wake(true);
        });
    }

    /// Waits until both hellos have passed.
    pub(crate) fn poll_greeted(&self, waker: &Waker) -> Poll<Result<(), CloseReason>> {
        self.poll_with(waker, |state, waker| state.core.poll_greeted(waker))
    }

    /// Whether new calls of this side are taken, as far as is known.
    pub(crate) fn takes_calls(&self) -> bool {
        self.with(|state| state.core.takes_calls())
    }

    pub(crate) fn drain(&self) {
        self.with(|state| state.core.drain());
    }

    /// Ends the connection now, and tells the peer why.
    pub(crate) fn dismiss(&self, why: &str) {
        self.with(|state| {
            state.core.dismiss(why);
            state.write_or_wake(true);
        });
    }

    /// Whether the peer offers this service at its root port, in the version that is
    /// called there without asking: its newest.
    pub(crate) fn is_offered(&self, service: &ServiceInfo) -> bool {
        self.with(|state| {
            let offered = state.core.peer_offers();
            offered.is_some_and(|offered| offered.common(service) == Some(offered.version()))
        })
    }

    /// Whether nothing more is to be read, or run.
    pub(crate) fn is_over(&self) -> bool {
        self.with(|state| state.core.is_over())
    }

    /// Whether a side that is to end has done all that there was, and said it.
    pub(crate) fn is_drained(&self) -> bool {
        self.with(|state| state.core.is_drained())
    }

    pub(crate) fn close(&self) {
        self.with(|state| state.core.close());
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.with(|state| state.core.close_reason().cloned())
    }

    /// Waits for the end of the connection, without keeping it open.
    pub(crate) fn closed(self: &Arc<Self>) -> Closed {
        Closed(EndWaiter { session: Arc::clone(self), key: None })
    }

    /// Waits until one side says that the connection is to end.
    pub(crate) fn ending(self: &Arc<Self>) -> Ending {
        Ending(EndWaiter { session: Arc::clone(self), key: None })
    }

    /// Whether one side has said that the connection is to end, or it has ended.
    pub(crate) fn is_ending(&self) -> bool {
        self.with(|state| state.core.is_ending())
    }
}

/// A future's place among those that wait for the end of a connection.
struct EndWaiter {
    session: Arc<Session>,
    /// Names the place, once it waits.
    key: Option<usize>,
}

impl Drop for EndWaiter {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.session.with(|state| state.core.forget_end(key));
        }
    }
}

/// Waits for the end of a connection.
pub(crate) struct Closed(EndWaiter);

/// Waits until a connection is to end.
pub(crate) struct Ending(EndWaiter);

impl Future for Closed {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let EndWaiter { session, key } = &mut self.0;
        let polled = session.poll_with(cx.waker(), |state, waker| state.core.poll_closed(key, waker));
        if polled.is_pending() {
            session.executor.awaits();
        }
        polled
    }
}

impl Future for Ending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let EndWaiter { session, key } = &mut self.0;
        session.poll_with(cx.waker(), |state, waker| state.core.poll_ending(key, waker))
    }
}

impl Session {
    /// Tells the log what was accepted and cannot be sent any more.
    pub(crate) fn report_lost(&self, accepted: u64) {
        if accepted > 0 {
            log_limited!(
                warn,
                peer = %self.peer,
                "a connection has ended before all was written: up to {accepted} one-way calls and stream items were lost; await `flush()` before the program or the connection ends"
            );
        }
    }
}

/// Tells, once for a connection, why its calls wait.
#[cold]
fn warn_at_limit(peer: &Peer, in_flight: usize) {
    log_limited!(warn,
        %peer,
        "{in_flight} calls are in flight, as many as the other side runs at once: further calls wait; if handlers wait for each other's calls, raise `Limits::max_calls` there"
    );
}

impl State {
    /// Sends what is queued: here and now if `inline`, else by the driver.
    #[inline]
    fn write_or_wake(&mut self, inline: bool) {
        if inline {
            self.write_now();
        }
        if self.core.has_unsent() {
            self.core.wake_driver();
        }
    }

    /// Sends a one-way message that was queued: here and now if the connection was idle, else
    /// by the driver, many at once. Where threads drive, whoever queues writes as well.
    ///
    /// Gives whether it was to be written here and was not: the driver is writing on another
    /// thread, the event loop has not yet said that there is room, or there is none.
    fn write_ahead(&mut self, was_idle: bool) -> bool {
        let is_due = matches!(self.outlet, Outlet::Pipe(_) | Outlet::Away)
            && self.core.has_unsent()
            && self.core.writes_ahead(was_idle, self.lending.is_some());
        let ahead = is_due && matches!(self.outlet, Outlet::Pipe(_));
        self.write_or_wake(ahead);
        if ahead && !self.core.has_unsent() {
            self.core.has_written_ahead();
        }
        is_due && self.core.has_unsent()
    }

    fn write_now(&mut self) {
        self.choose_way();
        let (mut turn, most) = (0, self.core.write_turn());
        loop {
            // Also behind the last write: what was lent is taken back.
            self.core.feed_all();
            self.outlet.hold(self.core.hold());
            // Bulk that is alone again may go by the other way.
            let is_enough = turn >= most.min(self.core.write_turn());
            let outbox = self.core.outbox();
            if is_enough || outbox.pending().is_empty() {
                break;
            }
            match self.outlet.try_write(outbox) {
                // The driver meets the same error and deals with it.
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    outbox.advance(n);
                    turn += n;
                }
            }
        }
        if self.core.has_waiters() {
            self.core.after_write();
        }
    }
}

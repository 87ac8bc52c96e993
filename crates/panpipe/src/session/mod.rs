//! A session: the state machine behind a lock, together with the way out.
//! Callers and handlers use it directly; the driver feeds it.

mod calls;
mod close;
mod core;
mod deadlines;
mod driver;
mod handlers;
mod hello;
mod message;
mod outlet;
mod reply;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

use panpipe_transport::Peer;

pub use self::close::CloseReason;
use self::core::Core;
pub(crate) use self::core::{Config, Deadline, Encode};
pub(crate) use self::driver::Driver;
pub(crate) use self::handlers::Stop;
pub use self::hello::ServiceInfo;
pub(crate) use self::outlet::{Inlet, Outlet, of_pipe, of_stream};
pub(crate) use self::reply::{Failure, ReplyBody, parse as parse_reply, put_status};
use crate::codec::Codec;
use crate::error::{CallError, Refusal};

use self::calls::Reply;

/// One end of a connection.
pub(crate) struct Session {
    state: Mutex<State>,
    peer: Peer,
}

struct State {
    core: Core,
    outlet: Outlet,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Session {
    /// A session and the driver that moves its bytes; the driver must be run.
    pub(crate) fn new(config: Config, peer: Peer, inlet: Inlet, outlet: Outlet) -> (Arc<Session>, Driver) {
        let mut core = Core::new(config);
        core.begin(Instant::now());
        let session = Arc::new(Session { state: Mutex::new(State { core, outlet }), peer });
        let driver = Driver::new(Arc::clone(&session), inlet);
        (session, driver)
    }

    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// Runs `f` on the state, and wakes whoever it says outside the lock.
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        // A panic in a user's `Serialize` leaves the core whole: what was half
        // encoded has been taken back.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state);
        if state.core.has_wakes() {
            let mut wakes = Vec::new();
            state.core.take_wakes(&mut wakes);
            drop(state);
            wakes.into_iter().for_each(Waker::wake);
        }
        result
    }

    // ---- calls of ours ----

    pub(crate) fn poll_call(
        &self,
        key: &mut Option<usize>,
        method: u64,
        deadline: Option<Deadline>,
        waker: &Waker,
        encode: &mut Encode<'_>,
    ) -> Poll<Result<(), CallError>> {
        self.with(|state| {
            let before = state.core.outgoing().pending().len();
            let polled = state.core.poll_call(key, method, deadline, waker, encode);
            let inline = state.core.write_inline(before);
            state.write_or_wake(inline);
            if deadline.is_some() {
                state.core.check_timer();
            }
            polled
        })
    }

    pub(crate) fn poll_reply(
        &self,
        key: &mut Option<usize>,
        waker: &Waker,
    ) -> Poll<Result<(Reply, Codec), CallError>> {
        self.with(|state| {
            let codec = state.core.codec();
            state.core.poll_reply(key, waker).map_ok(|reply| (reply, codec))
        })
    }

    pub(crate) fn poll_oneway(
        &self,
        method: u64,
        waker: &Waker,
        encode: &mut Encode<'_>,
    ) -> Poll<Result<(), CallError>> {
        self.with(|state| {
            let polled = state.core.poll_oneway(method, waker, encode);
            state.write_or_wake(false);
            polled
        })
    }

    pub(crate) fn drop_call(&self, key: usize) {
        self.with(|state| {
            state.core.drop_call(key);
            state.write_or_wake(false);
        });
    }

    // ---- calls of the peer's ----

    pub(crate) fn poll_answer(&self, id: u32, waker: &Waker, encode: &mut Encode<'_>) -> Poll<()> {
        self.with(|state| {
            let before = state.core.outgoing().pending().len();
            let polled = state.core.poll_answer(id, waker, encode);
            let inline = state.core.write_answer_inline(before);
            state.write_or_wake(inline);
            polled
        })
    }

    pub(crate) fn fail(&self, id: u32, failure: Failure) {
        self.with(|state| {
            state.core.fail(id, failure);
            state.write_or_wake(false);
        });
    }

    pub(crate) fn poll_stop(&self, id: u32, waker: &Waker) -> Option<Stop> {
        self.with(|state| state.core.poll_stop(id, waker))
    }

    pub(crate) fn oneway_ended(&self) {
        self.with(|state| state.core.oneway_ended());
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

    pub(crate) fn drain(&self) {
        self.with(|state| state.core.drain());
    }

    pub(crate) fn close(&self) {
        self.with(|state| state.core.close());
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.with(|state| state.core.close_reason().cloned())
    }
}

impl State {
    /// Sends what is queued: here and now if `inline`, else by the driver.
    fn write_or_wake(&mut self, inline: bool) {
        if inline {
            self.write_now();
        }
        if !self.core.outgoing().pending().is_empty() {
            self.core.wake_driver();
        }
    }

    fn write_now(&mut self) {
        let outbox = self.core.outgoing();
        while !outbox.pending().is_empty() {
            match self.outlet.try_write(outbox.pending()) {
                // The driver meets the same error and deals with it.
                Ok(0) | Err(_) => break,
                Ok(n) => outbox.advance(n),
            }
        }
    }
}

//! How a session ends.

use std::task::{Poll, Waker};
use std::time::Instant;

use super::{Core, Phase, Role, remember};
use crate::error::{CallError, Refusal, RefusalReason};
use crate::limits;
use crate::session::calls::CallState;
use crate::session::close::CloseReason;
use crate::session::deadlines::Due;
use crate::session::handlers::Stop;
use crate::session::message::{IN_RETURN, Kind};

impl Core {
    /// Lets running handlers and calls finish, takes no new ones, then ends.
    pub(crate) fn drain(&mut self) {
        if self.draining || self.is_over() {
            return;
        }
        self.draining = true;
        self.wake_end_waiters();
        match (&self.phase, self.role) {
            (Phase::Open, _) => self.say_goodbye(),
            // Nothing of the peer's has been read: it is told so.
            (Phase::Quiet, Role::Acceptor) => {
                let message = "this side is shutting down and takes no new clients; nothing was run, connect again when it is back";
                self.refuse(Refusal { reason: RefusalReason::Draining, message: message.to_owned() });
            }
            (Phase::Quiet, Role::Dialer) => self.end(CloseReason::Local),
            // It is said as soon as the peer has answered the hello.
            _ => {}
        }
        self.wake_driver();
    }

    pub(super) fn say_goodbye(&mut self) {
        self.put_frame(Kind::Goodbye, 0, |_| ());
    }

    /// The peer takes no new calls, or, in return to that, makes none.
    pub(super) fn on_goodbye(&mut self, id: u64) {
        if id == IN_RETURN {
            self.peer_is_done = true;
            return;
        }
        self.peer_draining = true;
        self.wake_end_waiters();
        for key in self.calls.keys() {
            if matches!(self.calls.get_mut(key).state, CallState::Waiting | CallState::Granted(_)) {
                let unsent = CallError::Disconnected { sent: false };
                self.calls.fail(key, unsent, &mut self.aftermath.wakes);
            }
        }
        self.wake_reply_waiters();
        self.wake_oneway_waiters();
        self.answer_goodbye();
    }

    /// Tells a peer that takes no new calls that none comes any more, once none is
    /// on its way: what it has read then is all that there was.
    pub(super) fn answer_goodbye(&mut self) {
        let is_due = self.peer_draining && !self.has_answered && self.is_open();
        if is_due && !self.calls.are_in_flight() && !self.outgoing.has_oneway() {
            self.has_answered = true;
            self.put_frame(Kind::Goodbye, IN_RETURN, |_| ());
        }
    }

    /// A call of this side is over, or given up.
    #[inline]
    pub(super) fn calls_are_fewer(&mut self) {
        if self.peer_draining {
            self.answer_goodbye();
        }
        self.work_is_less();
    }

    /// Something has ended that a side which is to end has waited for.
    #[inline]
    pub(super) fn work_is_less(&mut self) {
        if self.draining {
            self.wake_driver();
        }
    }

    /// Whether anything of the peer's is under way here. It may need calls of this
    /// side.
    pub(super) fn has_work(&self) -> bool {
        self.handlers.active() > 0
            || self.handlers.oneways() > 0
            || self.handlers.waiting_oneways() > 0
            || self.ports.writing > 0
    }

    /// Whether a side that is to end has done all that there was, and said it.
    pub(crate) fn is_drained(&self) -> bool {
        self.draining && !self.has_unsent() && !self.has_work() && !self.calls.are_in_flight()
    }

    /// Starts the clock for a peer that does not answer the Goodbye, once nothing
    /// else is left to be done. `now` is asked only then.
    #[inline]
    pub(crate) fn watch_goodbye(&mut self, now: impl FnOnce() -> Instant) {
        if !self.draining {
            return;
        }
        let waits = self.is_drained() && !self.peer_is_done && !self.is_over();
        if waits == std::mem::replace(&mut self.awaits_goodbye, waits) {
            return;
        }
        if waits {
            self.deadlines.insert(now() + limits::GOODBYE, Due::Goodbye);
        } else {
            self.deadlines.remove_all(|due| due == Due::Goodbye);
        }
    }

    /// Nobody on this side needs the connection any more.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.wake_driver();
    }

    /// Ends the connection now, and tells the peer why.
    pub(crate) fn dismiss(&mut self, why: &str) {
        if !self.is_over() {
            if self.is_open() {
                self.put_close(why);
            }
            self.end(CloseReason::Local);
        }
    }

    /// Looks, some time from now, whether anything passes over the connection.
    pub(super) fn watch_idleness(&mut self, now: Instant) {
        let at = self.limits.idle_timeout.and_then(|timeout| now.checked_add(timeout));
        if let Some(at) = at {
            self.deadlines.insert(at, Due::Idle);
        }
    }

    pub(super) fn on_idle(&mut self, now: Instant) {
        let is_busy = std::mem::take(&mut self.heard)
            || self.has_unsent()
            || self.has_work()
            || self.calls.are_in_flight()
            || self.ports.open() > 0;
        if is_busy {
            self.watch_idleness(now);
        } else {
            self.idle = true;
            self.drain();
        }
    }

    /// Whether all is said: the connection may be closed.
    pub(crate) fn is_finished(&self) -> bool {
        let quiet = !self.has_unsent();
        match self.phase {
            Phase::Ended(_) => true,
            Phase::Ending(_) => quiet,
            _ if self.closing => quiet,
            _ => self.is_drained() && self.peer_is_done,
        }
    }

    /// The other side has ended: what it has not read by then it does not run.
    pub(super) fn end_by_peer(&mut self, reason: CloseReason) {
        self.end_before(self.outbox.begun_total(), reason);
    }

    /// This side ends, as soon as what is queued has gone out: the other may run that.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.end_before(self.outbox.queued_total(), reason);
    }

    fn end_before(&mut self, sent: u64, reason: CloseReason) {
        if !self.is_over() {
            self.phase = Phase::Ending(Box::new(reason.clone()));
            self.fail_everything(sent, &reason);
            self.wake_driver();
        }
    }

    /// The connection is gone: every call that is left ends now.
    pub(crate) fn ended(&mut self, reason: CloseReason) {
        let reason = match &self.phase {
            Phase::Ended(_) => return,
            Phase::Ending(first) => CloseReason::clone(first),
            _ if self.idle && matches!(reason, CloseReason::Local | CloseReason::Closed) => CloseReason::Idle,
            _ => reason,
        };
        self.fail_everything(self.outbox.begun_total(), &reason);
        self.phase = Phase::Ended(Box::new(reason));
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ending(_) | Phase::Ended(_))
    }

    /// Whether the connection is gone: nothing is written any more.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether new calls of this side are taken, as far as is known.
    pub(crate) fn takes_calls(&self) -> bool {
        !(self.is_over() || self.peer_draining || self.closing || (self.draining && !self.has_work()))
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

    /// Ready with the reason when the connection has ended. `key` names the waiter until it is
    /// [forgotten](Self::forget_end).
    pub(crate) fn poll_closed(
        &mut self,
        key: &mut Option<usize>,
        waker: &mut Option<Waker>,
    ) -> Poll<CloseReason> {
        if let Some(reason) = self.close_reason() {
            return Poll::Ready(reason.clone());
        }
        self.await_end(key, waker);
        Poll::Pending
    }

    /// Ready when the connection is to end, or has ended: it waits for the calls that run.
    pub(crate) fn poll_ending(&mut self, key: &mut Option<usize>, waker: &mut Option<Waker>) -> Poll<()> {
        if self.is_ending() {
            return Poll::Ready(());
        }
        self.await_end(key, waker);
        Poll::Pending
    }

    /// Whether one side has said that the connection is to end, or it has ended.
    pub(crate) fn is_ending(&self) -> bool {
        self.draining || self.peer_draining || self.is_over()
    }

    fn await_end(&mut self, key: &mut Option<usize>, waker: &mut Option<Waker>) {
        match key {
            Some(key) => remember(&mut self.waiters.end[*key], waker),
            None if waker.is_some() => *key = Some(self.waiters.end.insert(waker.take())),
            None => {}
        }
    }

    /// A future that waited for the end is dropped.
    pub(crate) fn forget_end(&mut self, key: usize) {
        let waker = self.waiters.end.remove(key);
        self.aftermath.spent.extend(waker);
    }

    fn wake_end_waiters(&mut self) {
        if let Some(waiters) = self.waiters.used() {
            self.aftermath.wakes.extend(waiters.end.iter_mut().filter_map(|(_, waker)| waker.take()));
        }
    }

    /// Whether a future waits for the end of the connection.
    pub(crate) fn is_end_awaited(&self) -> bool {
        self.waiters.seen().is_some_and(|waiters| !waiters.end.is_empty())
    }

    /// Ends all that waits; of calls the other side may have run those whose end is before
    /// `sent` in the outgoing stream.
    fn fail_everything(&mut self, sent: u64, reason: &CloseReason) {
        for key in self.calls.keys() {
            let error = match self.calls.get_mut(key).state {
                state if state.is_over() => continue,
                CallState::Sent { end, .. } if end <= sent => reason.sent(),
                _ => reason.unsent(),
            };
            self.calls.fail(key, error, &mut self.aftermath.wakes);
            if let Some(ticket) = self.calls.get_mut(key).deadline.take() {
                self.deadlines.remove(ticket);
            }
        }
        self.handlers.stop_all(Stop::Disconnected, &mut self.aftermath.wakes);
        self.deadlines.clear();
        let opened = self.outgoing.used().map(|outgoing| outgoing.clear()).unwrap_or_default();
        self.drop_spent_blocks();
        self.begin_streams(opened);
        self.fail_ports();
        self.wake_reply_waiters();
        self.wake_oneway_waiters();
        self.wake_end_waiters();
    }

    pub(super) fn wake_reply_waiters(&mut self) {
        self.wake_all(|waiters| &mut waiters.reply);
    }

    pub(super) fn wake_oneway_waiters(&mut self) {
        self.wake_all(|waiters| &mut waiters.oneway);
    }
}

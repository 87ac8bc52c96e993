//! How a session ends.

use std::time::Instant;

use super::{Core, Phase};
use crate::session::calls::CallState;
use crate::session::close::CloseReason;
use crate::session::deadlines::Due;
use crate::session::handlers::Stop;
use crate::session::message::Kind;

impl Core {
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
            || self.handlers.active() > 0
            || self.handlers.oneways() > 0
            || self.calls.in_flight() > 0
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
            _ => {
                self.draining
                    && quiet
                    && self.handlers.active() == 0
                    && self.handlers.oneways() == 0
                    && self.handlers.waiting_oneways() == 0
                    && self.ports.writing == 0
            }
        }
    }

    /// Ends as soon as what is queued has gone out.
    pub(super) fn end(&mut self, reason: CloseReason) {
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
            _ if self.idle && matches!(reason, CloseReason::Local | CloseReason::Closed) => CloseReason::Idle,
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

    pub(super) fn fail_everything(&mut self, reason: &CloseReason) {
        let written = self.outbox.written_total();
        for key in self.calls.keys() {
            let error = match self.calls.get_mut(key).state {
                CallState::Done(_) => continue,
                CallState::Sent { end, .. } if end <= written => reason.sent(),
                _ => reason.unsent(),
            };
            self.calls.finish(key, Err(error), &mut self.aftermath.wakes);
            if let Some(ticket) = self.calls.get_mut(key).deadline.take() {
                self.deadlines.remove(ticket);
            }
        }
        self.handlers.stop_all(Stop::Disconnected, &mut self.aftermath.wakes);
        self.deadlines.clear();
        let opened = self.outgoing.clear();
        self.begin_streams(opened);
        self.fail_ports();
        self.wake_reply_waiters();
    }

    pub(super) fn wake_reply_waiters(&mut self) {
        self.aftermath.wakes.append(&mut self.reply_waiters);
    }
}

//! A handler while it runs: polled in its context, stopped, its panic caught, its call
//! answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::call::{self, CallContext};
use crate::carried;
use crate::error::CallError;
use crate::guarded::{caught, drop_guarded};
use crate::layer::{Ended, Work, not_made};
use crate::log_limit::log_limited;
use crate::session::{ReplyTo, Session};
use crate::watch::{self, Watch};

/// A handler that was still pending after its first poll.
pub(crate) struct Running {
    /// `None` once it is over.
    pub(crate) work: Option<Work>,
    pub(crate) method: &'static str,
    /// `None` while it is polled.
    pub(crate) context: Option<CallContext>,
    pub(crate) watch: Option<Box<Watch>>,
    pub(crate) has_layers: bool,
    pub(crate) session: Arc<Session>,
    /// Nowhere for a one-way call.
    pub(crate) reply_to: Option<ReplyTo>,
}

impl Running {
    fn end(&mut self, ended: Ended) {
        // The handler's values go first: once it is answered the caller may count on that.
        // A handler that is not over gives up the senders that it holds.
        let work = self.work.take();
        match ended {
            Ok(_) => drop_guarded(work),
            Err(_) => carried::give_up(|| drop_guarded(work)),
        }
        conclude(&self.session, self.reply_to, self.method, self.watch.take(), self.has_layers, ended);
    }
}

impl Future for Running {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(work) = &mut this.work else {
            return Poll::Ready(());
        };
        if let Some(call) = this.reply_to {
            if let Some(stop) = this.session.poll_stop(call, cx.waker()) {
                this.end(Err(Box::new(stop.into())));
                return Poll::Ready(());
            }
        }
        let Poll::Ready(ended) = poll_caught(work, &mut this.context, &this.watch, cx) else {
            return Poll::Pending;
        };
        this.end(ended);
        Poll::Ready(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only a runtime that shuts down drops a handler that is not over.
        if self.work.is_some() {
            self.end(Err(Box::new(CallError::Cancelled)));
        }
    }
}

/// Polls a handler in its context. Its panic is a failure.
#[inline(always)]
pub(crate) fn poll_caught(
    work: &mut Work,
    context: &mut Option<CallContext>,
    watch: &Option<Box<Watch>>,
    cx: &mut Context<'_>,
) -> Poll<Ended> {
    let _current = call::enter(context);
    let _entered = watch.as_ref().map(|watch| watch.span().enter());
    caught(|| work.as_mut().poll(cx)).unwrap_or_else(|_| Poll::Ready(Err(Box::new(CallError::Panicked))))
}

/// A handler is over: sees to it that its call is answered, and tells who watches.
#[inline]
pub(crate) fn conclude(
    session: &Session,
    reply_to: Option<ReplyTo>,
    method: &'static str,
    watch: Option<Box<Watch>>,
    has_layers: bool,
    ended: Ended,
) {
    // Most have answered, and nobody asks.
    if reply_to.is_none() || watch.is_some() || has_layers || ended.is_err() {
        conclude_the_others(session, reply_to, method, watch, ended);
    }
}

#[cold]
fn conclude_the_others(
    session: &Session,
    reply_to: Option<ReplyTo>,
    method: &'static str,
    watch: Option<Box<Watch>>,
    mut ended: Ended,
) {
    if ended.is_ok() && reply_to.is_some_and(|call| session.is_owed(call)) {
        ended = Err(Box::new(not_made()));
    }
    if let Some(watch) = watch {
        watch.ended(watch::word(&ended));
    }
    match (reply_to, ended) {
        (Some(call), Err(error)) => session.fail(call, (*error).into()),
        (Some(_), Ok(_)) => {}
        (None, ended) => {
            if let Err(error) = ended {
                log_limited!(warn, method, peer = %session.peer(), "a one-way call has failed: {error}");
            }
            session.oneway_ended();
        }
    }
}

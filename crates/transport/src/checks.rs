//! Clients that have connected and of whom it is not known yet whether they may.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, ready};

use crate::access::{Access, AccessDenied};
use crate::stream::PipeStream;

/// The checks that were begun by a call that was then dropped: the next call goes on
/// with them.
#[derive(Default)]
pub(crate) struct Checks(Mutex<VecDeque<Check>>);

/// A client that is being checked.
pub(crate) struct Check {
    stream: PipeStream,
    outcome: Pin<Box<dyn Future<Output = Result<(), AccessDenied>> + Send>>,
}

impl Check {
    pub(crate) fn begin(stream: PipeStream, access: &Access) -> Self {
        let (access, peer) = (access.clone(), stream.peer());
        Check { stream, outcome: Box::pin(async move { access.check(&peer).await }) }
    }

    /// The client, whether it may or not.
    pub(crate) fn give_up(self) -> PipeStream {
        self.stream
    }
}

impl Checks {
    /// The oldest that nobody goes on with.
    pub(crate) fn take(&self) -> Option<Check> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The client, if it may. Put back if this is dropped before that is known.
    pub(crate) async fn finish(&self, check: Check) -> Option<PipeStream> {
        let mut running = Running { checks: self, check: Some(check) };
        poll_fn(|cx| {
            let Some(check) = &mut running.check else { return Poll::Ready(None) };
            let outcome = ready!(check.outcome.as_mut().poll(cx));
            let check = running.check.take();
            Poll::Ready(check.filter(|_| outcome.is_ok()).map(|check| check.stream))
        })
        .await
    }
}

struct Running<'a> {
    checks: &'a Checks,
    /// `None` once its outcome is known.
    check: Option<Check>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(check) = self.check.take() {
            self.checks.0.lock().unwrap_or_else(PoisonError::into_inner).push_front(check);
        }
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks").finish_non_exhaustive()
    }
}

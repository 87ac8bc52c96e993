//! What a handler can ask about the call that it answers.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use panpipe_transport::Peer;

use crate::trace::TraceContext;

/// What is known of the call that is being answered.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    pub(crate) peer: Peer,
    pub(crate) method: &'static str,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<Arc<TraceContext>>,
}

thread_local! {
    static CURRENT: RefCell<Option<CallContext>> = const { RefCell::new(None) };
}

/// Makes a call the current one of this thread, until the guard is dropped: then it is
/// back in its place.
pub(crate) fn enter(place: &mut Option<CallContext>) -> Entered<'_> {
    CURRENT.with_borrow_mut(|current| std::mem::swap(current, place));
    // Meanwhile the call before is kept there.
    Entered { place }
}

pub(crate) struct Entered<'a> {
    place: &'a mut Option<CallContext>,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, self.place));
    }
}

fn of_current<R>(ask: impl FnOnce(&CallContext) -> R) -> Option<R> {
    CURRENT.with_borrow(|current| current.as_ref().map(ask))
}

/// What a call that is made here inherits of the one that is being answered.
#[inline]
pub(crate) fn inherited() -> (Option<Instant>, Option<Arc<TraceContext>>) {
    of_current(|call| (call.deadline, call.trace.clone())).unwrap_or_default()
}

/// The process that made the call which the current handler answers.
///
/// Outside a handler, and in a task that a handler has spawned, nothing is
/// known of a caller and every field is `None`: ask first, and hand the answer
/// on. Never take an unknown peer for a trusted one.
///
/// ```
/// # struct Db;
/// # impl Db {
/// async fn whoami(&self) -> String {
///     panpipe::call::peer().to_string()
/// }
/// # }
/// ```
#[must_use]
pub fn peer() -> Peer {
    of_current(|call| call.peer.clone()).unwrap_or_else(Peer::unknown)
}

/// When the call which the current handler answers has to be over, if its
/// caller set a deadline. Calls that the handler makes inherit it.
#[must_use]
pub fn deadline() -> Option<Instant> {
    of_current(|call| call.deadline).flatten()
}

/// The method which the current handler answers, as `"Service.method"`;
/// `None` outside a handler.
#[must_use]
pub fn method() -> Option<&'static str> {
    of_current(|call| call.method)
}

/// The trace that the call which the current handler answers belongs to, if any:
/// its caller has sent it, or somebody subscribes to panpipe's spans here. Calls that
/// the handler makes inherit it.
///
/// ```
/// # struct Db;
/// # impl Db {
/// async fn get(&self, key: String) {
///     if let Some(trace) = panpipe::call::trace() {
///         println!("{:032x}: {key} is wanted", trace.trace_id);
///     }
/// }
/// # }
/// ```
#[must_use]
pub fn trace() -> Option<TraceContext> {
    of_current(|call| call.trace.as_deref().copied()).flatten()
}

#[cfg(test)]
impl CallContext {
    /// A call of which nothing is known.
    pub(crate) fn unknown() -> Self {
        CallContext { peer: Peer::unknown(), method: "Nothing.known", deadline: None, trace: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_nest_and_end_with_their_guard() {
        let context = |method| Some(CallContext { method, ..CallContext::unknown() });
        let (mut outer, mut inner) = (context("A.a"), context("B.b"));
        assert_eq!(method(), None);
        let entered = enter(&mut outer);
        {
            let _inner = enter(&mut inner);
            assert_eq!(method(), Some("B.b"));
        }
        assert_eq!(method(), Some("A.a"));
        drop(entered);
        assert_eq!(method(), None);
        assert_eq!((outer.unwrap().method, inner.unwrap().method), ("A.a", "B.b"));
    }
}

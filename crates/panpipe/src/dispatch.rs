//! Runs handlers: decodes the arguments, polls once in place, spawns what is
//! still pending, catches panics, sends the reply.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use panpipe_transport::Peer;
use serde::{Serialize, de::DeserializeOwned};

use crate::call::CallContext;
use crate::codec::Codec;
use crate::service::{AnyService, MethodInfo};
use crate::session::{Failure, Session, put_status};

/// One call of the peer's, before its handler runs.
pub struct IncomingCall<'a> {
    pub(crate) session: &'a Arc<Session>,
    /// Where the reply goes; nowhere for a one-way call.
    pub(crate) id: Option<u32>,
    pub(crate) method: u64,
    pub(crate) deadline: Option<Instant>,
    pub(crate) peer: Peer,
    pub(crate) codec: Codec,
    pub(crate) args: &'a [u8],
}

impl fmt::Debug for IncomingCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingCall")
            .field("method", &self.method)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Proof that a call was taken care of.
#[derive(Debug)]
#[must_use]
pub struct Dispatched(());

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl IncomingCall<'_> {
    /// The hash of the method that is called.
    #[must_use]
    pub fn method(&self) -> u64 {
        self.method
    }

    /// Answers with what `handler` gives.
    pub fn unary<A, T, E, F, Fut>(self, info: &'static MethodInfo, handler: F) -> Dispatched
    where
        A: DeserializeOwned,
        F: FnOnce(A) -> Fut,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize + Send + 'static,
        E: Serialize + Send + 'static,
    {
        let Some(id) = self.id else {
            return self.unknown_method();
        };
        let args = match self.codec.decode::<A>(self.args) {
            Ok(args) => args,
            Err(why) => {
                return self.fail(Failure::Malformed(format!("the arguments of {}: {why}", info.name)));
            }
        };
        let work = handler(args);
        let session = Arc::clone(self.session);
        let task = async move {
            let result = work.await;
            poll_fn(move |cx| {
                session.poll_answer(id, cx.waker(), &mut |codec, out| {
                    put_status(out, result.is_ok());
                    match &result {
                        Ok(value) => codec.encode(value, out),
                        Err(error) => codec.encode(error, out),
                    }
                })
            })
            .await;
        };
        self.run(info, Box::pin(task))
    }

    /// Runs `handler`; nothing is sent back.
    pub fn oneway<A, F, Fut>(self, info: &'static MethodInfo, handler: F) -> Dispatched
    where
        A: DeserializeOwned,
        F: FnOnce(A) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if self.id.is_some() {
            return self.unknown_method();
        }
        match self.codec.decode::<A>(self.args) {
            Ok(args) => {
                let work = handler(args);
                self.run(info, Box::pin(work))
            }
            Err(why) => {
                tracing::warn!(method = info.name, peer = %self.peer, "a one-way call was dropped, its arguments cannot be read: {why}");
                self.fail(Failure::Malformed(why))
            }
        }
    }

    /// Answers that there is no such method.
    pub fn unknown_method(self) -> Dispatched {
        if self.id.is_none() {
            tracing::warn!(method = self.method, peer = %self.peer, "a one-way call was dropped, there is no such method");
        }
        self.fail(Failure::UnknownMethod)
    }

    fn fail(self, failure: Failure) -> Dispatched {
        end(self.session, self.id, failure);
        Dispatched(())
    }

    /// Polls once in place, and spawns what is still pending.
    fn run(self, info: &'static MethodInfo, mut task: Task) -> Dispatched {
        let context = CallContext { peer: self.peer, method: info.name, deadline: self.deadline };
        // The spawned task polls again before it waits, so nobody needs waking yet.
        match poll_caught(&mut task, context, &mut Context::from_waker(Waker::noop())) {
            Outcome::Pending => {
                let session = Arc::clone(self.session);
                tokio::spawn(Running { task: Some(task), context, session, id: self.id });
            }
            Outcome::Done if self.id.is_some() => {}
            Outcome::Done => self.session.oneway_ended(),
            Outcome::Panicked => end(self.session, self.id, Failure::Panicked),
        }
        Dispatched(())
    }
}

/// Hands a call to the service. A panic in decoding is the call's own.
pub(crate) fn dispatch(service: Option<&Arc<dyn AnyService>>, call: IncomingCall<'_>) {
    let (session, id) = (call.session, call.id);
    let Some(service) = service else {
        let Dispatched(()) = call.unknown_method();
        return;
    };
    if catch_unwind(AssertUnwindSafe(|| service.dispatch(call))).is_err() {
        end(session, id, Failure::Panicked);
    }
}

fn end(session: &Session, id: Option<u32>, failure: Failure) {
    match id {
        Some(id) => session.fail(id, failure),
        None => session.oneway_ended(),
    }
}

enum Outcome {
    Pending,
    Done,
    Panicked,
}

fn poll_caught(task: &mut Task, context: CallContext, cx: &mut Context<'_>) -> Outcome {
    let _current = context.enter();
    match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Outcome::Pending,
        Ok(Poll::Ready(())) => Outcome::Done,
        Err(_) => Outcome::Panicked,
    }
}

/// A handler that was still pending after its first poll.
struct Running {
    /// `None` once it is over.
    task: Option<Task>,
    context: CallContext,
    session: Arc<Session>,
    id: Option<u32>,
}

impl Running {
    fn end(&mut self, failure: Failure) {
        // The handler's values go first: once it is answered the caller may count on that.
        self.task = None;
        end(&self.session, self.id, failure);
    }
}

impl Future for Running {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(task) = &mut this.task else {
            return Poll::Ready(());
        };
        if let Some(id) = this.id {
            if let Some(stop) = this.session.poll_stop(id, cx.waker()) {
                this.end(stop.into());
                return Poll::Ready(());
            }
        }
        match poll_caught(task, this.context, cx) {
            Outcome::Pending => return Poll::Pending,
            Outcome::Panicked => this.end(Failure::Panicked),
            Outcome::Done => {
                this.task = None;
                if this.id.is_none() {
                    this.session.oneway_ended();
                }
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only a runtime that shuts down drops a handler that is not over.
        if self.task.is_some() {
            self.end(Failure::Cancelled);
        }
    }
}

//! Runs handlers: decodes the arguments, polls once in place, spawns what is
//! still pending, catches panics, sends the reply.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use serde::{Serialize, de::DeserializeOwned};

use crate::call::CallContext;
use crate::carried::{self, Claims};
use crate::codec::Codec;
use crate::error::{CallError, Refusal};
use crate::service::{MethodInfo, Served};
use crate::session::{FLUSH, Failure, OPEN, Session, put_status};
use crate::shape::{Shape, Wired};
use crate::stub::OfferedService;

/// One call of the peer's, before its handler runs.
pub struct IncomingCall<'a> {
    pub(crate) session: &'a Arc<Session>,
    /// Where the reply goes; nowhere for a one-way call.
    pub(crate) id: Option<u32>,
    pub(crate) method: u64,
    pub(crate) deadline: Option<Instant>,
    /// The version of the service that its caller speaks, as far as it is known.
    pub(crate) version: Option<u32>,
    pub(crate) codec: Codec,
    pub(crate) args: &'a [u8],
    /// The ports that the arguments carry, if any.
    pub(crate) claims: Option<Box<Claims>>,
}

impl fmt::Debug for IncomingCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingCall")
            .field("method", &self.method)
            .field("peer", &self.session.peer())
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

    /// Whether the caller speaks a version that has the methods `since` this one.
    #[must_use]
    pub fn speaks(&self, since: u32) -> bool {
        self.version.is_none_or(|version| version >= since)
    }

    /// Answers with what `handler` gives.
    #[inline]
    pub fn unary<A, T, E, F, Fut>(self, info: &'static MethodInfo, handler: F) -> Dispatched
    where
        A: DeserializeOwned,
        F: FnOnce(A) -> Fut,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize + Send + 'static,
        E: Serialize + Send + 'static,
    {
        self.answered(info, |session, id, args| {
            let work = handler(args);
            Box::pin(async move {
                let result = work.await;
                answer(session, id, result).await;
            })
        })
    }

    /// Runs `handler`; nothing is sent back.
    pub fn oneway<A, F, Fut>(mut self, info: &'static MethodInfo, handler: F) -> Dispatched
    where
        A: DeserializeOwned,
        F: FnOnce(A) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if self.id.is_some() {
            return self.unknown_method();
        }
        match carried::decode::<A>(self.codec, self.args, self.claims.take()) {
            Ok(args) => {
                let work = handler(args);
                self.run(info, Box::pin(work))
            }
            Err(why) => {
                tracing::warn!(method = info.name, peer = %self.session.peer(), "a one-way call was dropped, its arguments cannot be read: {why}");
                self.fail(Failure::Malformed(why))
            }
        }
    }

    /// Makes the call of another process, and answers with what comes of it.
    pub fn relay<A, ST, T, SE, E, F, Fut>(self, info: &'static MethodInfo, call: F) -> Dispatched
    where
        A: DeserializeOwned,
        F: FnOnce(A) -> Fut,
        Fut: Future<Output = Result<T, CallError<E>>> + Send + 'static,
        ST: Shape<T> + 'static,
        SE: Shape<E> + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.answered(info, |session, id, args| {
            let call = call(args);
            Box::pin(async move {
                let result = match call.await.map_err(CallError::into_app) {
                    Ok(value) => Ok(Wired::<ST, T>::new(value)),
                    Err(Ok(error)) => Err(Wired::<SE, E>::new(error)),
                    Err(Err(failed)) => return session.fail(id, failed.into()),
                };
                answer(session, id, result).await;
            })
        })
    }

    /// Answers with a service of this side, as a port of its own.
    pub(crate) fn open(self, service: Result<OfferedService, Refusal>) -> Dispatched {
        static INFO: MethodInfo = MethodInfo::new("panpipe.open", OPEN);
        let Some(id) = self.id else {
            return self.unknown_method();
        };
        let session = Arc::clone(self.session);
        match service {
            Ok(service) => {
                let task = async move { answer(session, id, Ok::<_, ()>(service)).await };
                self.run(&INFO, Box::pin(task))
            }
            Err(refusal) => self.fail(Failure::Refused(refusal)),
        }
    }

    /// Answers, with nothing, when all one-way calls that have come before are with
    /// their handlers.
    pub(crate) fn flush(self) {
        static INFO: MethodInfo = MethodInfo::new("panpipe.flush", FLUSH);
        let Some(id) = self.id else {
            let Dispatched(()) = self.unknown_method();
            return;
        };
        let session = Arc::clone(self.session);
        let mut come = None;
        let task = async move {
            poll_fn(|cx| session.poll_handed_on(id, &mut come, cx.waker())).await;
            let nothing = |_, out: &mut Vec<u8>| {
                put_status(out, true);
                Ok(None)
            };
            poll_fn(|cx| session.poll_answer(id, cx.waker(), &mut { nothing })).await;
        };
        let Dispatched(()) = self.run(&INFO, Box::pin(task));
    }

    /// Runs what answers the call.
    #[inline]
    fn answered<A: DeserializeOwned>(
        mut self,
        info: &'static MethodInfo,
        task: impl FnOnce(Arc<Session>, u32, A) -> Task,
    ) -> Dispatched {
        let Some(id) = self.id else {
            return self.unknown_method();
        };
        match carried::decode::<A>(self.codec, self.args, self.claims.take()) {
            Ok(args) => {
                let task = task(Arc::clone(self.session), id, args);
                self.run(info, task)
            }
            Err(why) => self.fail(Failure::Malformed(format!("the arguments of {}: {why}", info.name))),
        }
    }

    /// Answers that there is no such method.
    pub fn unknown_method(self) -> Dispatched {
        if self.id.is_none() {
            tracing::warn!(method = self.method, peer = %self.session.peer(), "a one-way call was dropped, there is no such method");
        }
        self.fail(Failure::UnknownMethod)
    }

    pub(crate) fn fail(self, failure: Failure) -> Dispatched {
        end(self.session, self.id, failure);
        Dispatched(())
    }

    /// Polls once in place, and spawns what is still pending.
    fn run(&self, info: &'static MethodInfo, mut task: Task) -> Dispatched {
        let context = CallContext {
            peer: self.session.peer(),
            client: Some(self.session.id()),
            method: info.name,
            version: self.version,
            deadline: self.deadline,
        };
        // The spawned task polls again before it waits, so nobody needs waking yet.
        match poll_caught(&mut task, &context, &mut Context::from_waker(Waker::noop())) {
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

/// Sends a reply, as soon as there is room for it.
#[inline]
fn answer<T: Serialize, E: Serialize>(
    session: Arc<Session>,
    id: u32,
    result: Result<T, E>,
) -> impl Future<Output = ()> {
    poll_fn(move |cx| {
        session.poll_answer(id, cx.waker(), &mut |codec, out| {
            put_status(out, result.is_ok());
            match &result {
                Ok(value) => carried::encode(codec, value, out),
                Err(error) => carried::encode(codec, error, out),
            }
        })
    })
}

/// Hands a call to the service. A panic in decoding is the call's own.
pub(crate) fn dispatch(served: Option<&Served>, mut call: IncomingCall<'_>) {
    let (session, id) = (call.session, call.id);
    let Some(Served { service, version }) = served else {
        let Dispatched(()) = call.unknown_method();
        return;
    };
    call.version = *version;
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

fn poll_caught(task: &mut Task, context: &CallContext, cx: &mut Context<'_>) -> Outcome {
    let _current = context.clone().enter();
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
        match poll_caught(task, &this.context, cx) {
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

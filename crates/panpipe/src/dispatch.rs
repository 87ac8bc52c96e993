//! Runs handlers: decodes the arguments, polls once in place, spawns what is
//! still pending, catches panics, sends the reply.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use serde::{Serialize, de::DeserializeOwned};

use crate::call::{self, CallContext, Caller};
use crate::call_info::CallInfo;
use crate::carried::{self, Carried, Claims};
use crate::codec::Codec;
use crate::error::{CallError, NoError, Refusal};
use crate::guarded::{caught, drop_guarded};
use crate::labels::Labels;
use crate::layer::{Call, Outcome, Work};
use crate::limits;
use crate::log_limit::log_limited;
use crate::offers::NoService;
use crate::ordered::OrderTicket;
use crate::running::{Running, conclude, poll_caught};
use crate::service::{AnyService, MethodInfo, Served};
use crate::session::{Encoded, FLUSH, Failure, OPEN, ReplyTo, Session, put_status};
use crate::shape::{Shape, Wired};
use crate::stub::OfferedService;
use crate::type_check::{self, Part};
use crate::watch::{self, Side, Watch, labels_of};

/// One call of the peer's, before its handler runs.
pub struct IncomingCall<'a> {
    pub(crate) session: &'a Arc<Session>,
    /// Where the reply goes; nowhere for a one-way call.
    pub(crate) reply_to: Option<ReplyTo>,
    pub(crate) method: u64,
    pub(crate) deadline: Option<Instant>,
    /// The version of the service that its caller speaks, as far as it is known.
    pub(crate) version: Option<u32>,
    pub(crate) labels: Option<&'a Arc<Labels>>,
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

impl IncomingCall<'_> {
    /// The hash of the method that is called.
    #[must_use]
    pub fn method(&self) -> u64 {
        self.method
    }

    /// The connection that the call came over.
    #[must_use]
    pub fn connection(&self) -> u64 {
        self.session.id()
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
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Serialize + DeserializeOwned + Send + 'static,
    {
        self.answered(info, |session, reply_to, args| {
            if is_large::<Fut>() {
                return unary_work(info, session, reply_to, |args| boxed(handler, args), args);
            }
            unary_work(info, session, reply_to, handler, args)
        })
    }

    /// Runs `handler`; nothing is sent back.
    pub fn oneway<A, F, Fut>(mut self, info: &'static MethodInfo, handler: F) -> Dispatched
    where
        A: DeserializeOwned,
        F: FnOnce(A) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if self.reply_to.is_some() {
            return self.unknown_method();
        }
        if let Some(error) = self.faulty_metadata() {
            self.dropped(info, &error);
            return self.fail(error.into());
        }
        let watch = match self.let_in(info) {
            Ok(watch) => watch,
            Err(refusal) => {
                self.dropped(info, &format_args!("it is not allowed: {refusal}"));
                return self.fail(Failure::Refused(refusal));
            }
        };
        match self.decode::<A>(info) {
            Ok(args) => {
                let work = match is_large::<Fut>() {
                    true => oneway_work(|args| boxed(handler, args), args),
                    false => oneway_work(handler, args),
                };
                self.run_with_hooks(info, watch, work)
            }
            Err(error) => {
                self.dropped(info, &error);
                self.failed(watch, error)
            }
        }
    }

    /// Why the call is refused, if it carries metadata that were not kept.
    fn faulty_metadata(&self) -> Option<CallError> {
        self.labels?.metadata.as_ref()?.fault()
    }

    fn dropped(&self, info: &'static MethodInfo, why: &dyn fmt::Display) {
        log_limited!(warn, method = info.name, peer = %self.session.peer(), "a one-way call was dropped: {why}");
    }

    /// Makes the call of another process, and answers with what comes of it.
    pub fn relay<A, ST, T, SE, E, F, Fut>(self, info: &'static MethodInfo, call: F) -> Dispatched
    where
        A: DeserializeOwned + Send + 'static,
        F: FnOnce(A) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, CallError<E>>> + Send + 'static,
        ST: Shape<T> + 'static,
        SE: Shape<E> + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.answered(info, |session, reply_to, args| {
            Box::pin(async move {
                // Made in here, where it inherits of the call that it answers.
                let result = match call(args).await.map_err(CallError::into_app) {
                    Ok(value) => Ok(Wired::<ST, T>::new(value)),
                    Err(Ok(error)) => Err(Wired::<SE, E>::new(error)),
                    Err(Err(failed)) => return Err(Box::new(failed)),
                };
                let (outcome, waiting) = answer(info, &session, reply_to, result);
                if let Some(waiting) = waiting {
                    waiting.await;
                }
                Ok(outcome)
            })
        })
    }

    /// Answers with a service of this side, as a port of its own.
    pub(crate) fn open(self, service: OfferedService) -> Dispatched {
        static INFO: MethodInfo = MethodInfo::new("panpipe.open", OPEN);
        let Some(reply_to) = self.reply_to else {
            return self.unknown_method();
        };
        let session = Arc::clone(self.session);
        let work = async move {
            let encode = |codec, out: &mut Vec<u8>| carried::encode(codec, &service, out);
            if let Some(waiting) = send(&session, reply_to, true, encode) {
                waiting.await;
            }
            Ok(Outcome::Value)
        };
        self.run(&INFO, Box::pin(work))
    }

    /// Answers, with nothing, when all one-way calls that have come before are with
    /// their handlers.
    pub(crate) fn flush(self) {
        static INFO: MethodInfo = MethodInfo::new("panpipe.flush", FLUSH);
        let Some(reply_to) = self.reply_to else {
            let Dispatched(()) = self.unknown_method();
            return;
        };
        let session = Arc::clone(self.session);
        let mut come = None;
        let work = async move {
            poll_fn(|cx| session.poll_handed_on(reply_to, &mut come, cx.waker())).await;
            if let Some(waiting) = send(&session, reply_to, true, |_, _| Ok(None)) {
                waiting.await;
            }
            Ok(Outcome::Value)
        };
        let Dispatched(()) = self.run(&INFO, Box::pin(work));
    }

    /// Runs what answers the call.
    #[inline]
    fn answered<A: DeserializeOwned>(
        mut self,
        info: &'static MethodInfo,
        work: impl FnOnce(Arc<Session>, ReplyTo, A) -> Work,
    ) -> Dispatched {
        let Some(reply_to) = self.reply_to else {
            return self.unknown_method();
        };
        if !self.is_plain() {
            return self.answered_with_hooks(info, reply_to, work);
        }
        match self.decode::<A>(info) {
            Ok(args) => {
                let work = work(Arc::clone(self.session), reply_to, args);
                self.run(info, work)
            }
            Err(error) => self.fail(error.into()),
        }
    }

    #[cold]
    fn answered_with_hooks<A: DeserializeOwned>(
        mut self,
        info: &'static MethodInfo,
        reply_to: ReplyTo,
        work: impl FnOnce(Arc<Session>, ReplyTo, A) -> Work,
    ) -> Dispatched {
        if let Some(error) = self.faulty_metadata() {
            return self.fail(error.into());
        }
        let watch = match self.let_in(info) {
            Ok(watch) => watch,
            Err(refusal) => return self.fail(Failure::Refused(refusal)),
        };
        match self.decode::<A>(info) {
            Ok(args) => {
                let work = work(Arc::clone(self.session), reply_to, args);
                self.run_with_hooks(info, watch, work)
            }
            Err(error) => self.failed(watch, error),
        }
    }

    /// Whether nothing stands around the call: no rule, no layer, no trace, no metadata, nobody
    /// who wants to know of it.
    #[inline]
    fn is_plain(&self) -> bool {
        self.session.hooks().is_none() && self.labels.is_none() && !Watch::may_be_wanted()
    }

    #[inline]
    fn decode<A: DeserializeOwned>(&mut self, info: &'static MethodInfo) -> Result<A, CallError> {
        carried::decode::<A>(self.session.decoder(self.codec), self.args, self.claims.take())
            .map_err(|why| CallError::Malformed(format!("the arguments of {}: {why}", info.name)))
    }

    /// Answers that there is no such method.
    pub fn unknown_method(self) -> Dispatched {
        if self.reply_to.is_none() {
            log_limited!(warn, method = self.method, peer = %self.session.peer(), "a one-way call was dropped, there is no such method");
        }
        self.fail(Failure::UnknownMethod)
    }

    pub(crate) fn fail(self, failure: Failure) -> Dispatched {
        end(self.session, self.reply_to, failure);
        Dispatched(())
    }

    /// Watches the call, and has it pass the rules.
    fn let_in(&self, info: &'static MethodInfo) -> Result<Option<Box<Watch>>, Refusal> {
        let peer = || self.session.peer().clone();
        let watch = Watch::begin(Side::Server, info.name, peer, self.labels.cloned());
        let Some(hooks) = self.session.hooks().filter(|hooks| !hooks.rules.is_empty()) else {
            return Ok(watch);
        };
        let allowed = {
            let _entered = watch.as_ref().map(|watch| watch.span().enter());
            let mut context = Some(self.context(info, &watch));
            let info = context.clone().map(CallInfo::new);
            // A rule may ask what a handler may.
            let _current = call::enter(&mut context);
            info.map_or(Ok(()), |info| hooks.rules.allow(&info))
        };
        match (allowed, watch) {
            (Ok(()), watch) => Ok(watch),
            (Err(refusal), watch) => {
                if let Some(watch) = watch {
                    watch.ended(watch::word_of(&CallError::<NoError>::Refused(refusal.clone())));
                }
                Err(refusal)
            }
        }
    }

    /// Gives the call up that is watched.
    fn failed(self, watch: Option<Box<Watch>>, error: CallError) -> Dispatched {
        if let Some(watch) = watch {
            watch.ended(watch::word_of(&error));
        }
        self.fail(error.into())
    }

    /// What the handler can ask about the call.
    #[inline]
    fn context(&self, info: &'static MethodInfo, watch: &Option<Box<Watch>>) -> CallContext {
        CallContext {
            who: Caller::Over(Arc::clone(self.session)),
            method: info.name,
            version: self.version,
            nesting: self.session.nesting_in(self.reply_to),
            deadline: self.deadline,
            labels: labels_of(watch).cloned(),
        }
    }

    /// Polls once in place, and spawns what is still pending.
    fn run(&self, info: &'static MethodInfo, work: Work) -> Dispatched {
        self.start(info.name, self.context(info, &None), None, false, work)
    }

    /// The same inside of the layers.
    fn run_with_hooks(
        &self,
        info: &'static MethodInfo,
        watch: Option<Box<Watch>>,
        mut work: Work,
    ) -> Dispatched {
        let context = self.context(info, &watch);
        let layers = self.session.hooks().and_then(|hooks| hooks.layers.as_ref());
        if let Some(layers) = layers {
            work = layers.run(Call::of_peer(context.clone(), work));
        }
        self.start(info.name, context, watch, layers.is_some(), work)
    }

    #[inline(always)]
    fn start(
        &self,
        method: &'static str,
        context: CallContext,
        watch: Option<Box<Watch>>,
        has_layers: bool,
        mut work: Work,
    ) -> Dispatched {
        let mut context = Some(context);
        // Nobody can answer this waker. So a handler that is still pending is polled a second time
        // in any case, by the task that is spawned for it.
        match poll_caught(&mut work, &mut context, &watch, &mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                let (work, session, reply_to) = (Some(work), Arc::clone(self.session), self.reply_to);
                let executor = self.session.executor();
                executor.spawn(Running { work, method, context, watch, has_layers, session, reply_to });
            }
            Poll::Ready(ended) => {
                match &ended {
                    Ok(_) => drop_guarded(work),
                    Err(_) => carried::give_up(|| drop_guarded(work)),
                }
                conclude(self.session, self.reply_to, method, watch, has_layers, ended);
            }
        }
        Dispatched(())
    }
}

/// Whether a handler's future is too large to be moved from function to function: without
/// optimisation each of them has a copy on its thread's stack.
const fn is_large<F>() -> bool {
    size_of::<F>() > limits::LARGE_FUTURE
}

/// Makes a handler's future on the heap. A function of its own, so that the copies of the
/// future are gone from the stack before it is polled.
#[inline(never)]
fn boxed<A, F>(handler: impl FnOnce(A) -> F, args: A) -> Pin<Box<F>> {
    Box::pin(handler(args))
}

#[inline]
fn unary_work<A, T, E, Fut>(
    info: &'static MethodInfo,
    session: Arc<Session>,
    reply_to: ReplyTo,
    handler: impl FnOnce(A) -> Fut,
    args: A,
) -> Work
where
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    E: Serialize + DeserializeOwned + Send + 'static,
{
    let work = handler(args);
    Box::pin(async move {
        let result = work.await;
        let (outcome, waiting) = answer(info, &session, reply_to, result);
        if let Some(waiting) = waiting {
            waiting.await;
        }
        Ok(outcome)
    })
}

#[inline]
fn oneway_work<A, Fut>(handler: impl FnOnce(A) -> Fut, args: A) -> Work
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let work = handler(args);
    Box::pin(async move {
        work.await;
        Ok(Outcome::Done)
    })
}

/// A reply that waits for room in the outgoing queue. Boxed: the futures of all handlers are
/// smaller for it.
type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Encodes a reply, outside of the connection's lock, and sends it.
#[inline]
fn answer<T, E>(
    info: &'static MethodInfo,
    session: &Arc<Session>,
    reply_to: ReplyTo,
    result: Result<T, E>,
) -> (Outcome, Option<Waiting>)
where
    T: Serialize + DeserializeOwned + 'static,
    E: Serialize + DeserializeOwned + 'static,
{
    let outcome = if result.is_ok() { Outcome::Value } else { Outcome::Error };
    let sent = send(session, reply_to, result.is_ok(), |codec, out| match &result {
        Ok(value) => type_check::encode(info, Part::Reply, codec, value, out),
        Err(error) => type_check::encode(info, Part::Error, codec, error, out),
    });
    // The call is answered: a panic in the drop of its result is not its failure.
    drop_guarded(result);
    (outcome, sent)
}

/// Sends a reply that `encode` appends. One that cannot be encoded has failed.
#[inline]
fn send(
    session: &Arc<Session>,
    reply_to: ReplyTo,
    is_ok: bool,
    encode: impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String>,
) -> Option<Waiting> {
    let encoded = Encoded::new(session.codec(), |codec, out| {
        put_status(out, is_ok);
        encode(codec, out)
    });
    match encoded {
        Ok(message) => {
            let waiting = send_now(session, reply_to, message)?;
            Some(send_later(Arc::clone(session), reply_to, waiting))
        }
        Err(why) => {
            session.fail(reply_to, Failure::Malformed(format!("the reply cannot be encoded: {why}")));
            None
        }
    }
}

/// Queues a reply, and gives it back if there is no room.
#[inline]
fn send_now(session: &Session, reply_to: ReplyTo, mut message: Encoded) -> Option<Encoded> {
    if !session.try_answer(reply_to, message.get()?) {
        return Some(message);
    }
    message.finish();
    None
}

/// Queues a reply once there is room.
#[cold]
fn send_later(session: Arc<Session>, reply_to: ReplyTo, mut waiting: Encoded) -> Waiting {
    waiting.shrink();
    let mut waiting = Some(waiting);
    Box::pin(poll_fn(move |cx| {
        while let Some(message) = waiting.take() {
            waiting = send_now(&session, reply_to, message);
            if waiting.is_some() {
                ready!(session.poll_queue_room(cx.waker()));
            }
        }
        Poll::Ready(())
    }))
}

/// Hands a call to the service. A panic in decoding is the call's own.
#[inline]
pub(crate) fn dispatch(served: Result<&Served, NoService>, call: IncomingCall<'_>) {
    dispatch_by(served, call, |service, call| service.dispatch(call));
}

/// The same for a call that got its ticket before it waited.
#[cold]
pub(crate) fn dispatch_in_order(
    served: Result<&Served, NoService>,
    call: IncomingCall<'_>,
    ticket: OrderTicket,
) {
    dispatch_by(served, call, |service, call| service.dispatch_in_order(call, ticket));
}

#[inline]
fn dispatch_by(
    served: Result<&Served, NoService>,
    mut call: IncomingCall<'_>,
    hand_on: impl FnOnce(&dyn AnyService, IncomingCall<'_>) -> Dispatched,
) {
    let (session, reply_to) = (call.session, call.reply_to);
    let Served { service, version } = match served {
        Ok(served) => served,
        Err(NoService::NotOffered) => {
            let Dispatched(()) = call.unknown_method();
            return;
        }
        Err(NoService::Panicked) => {
            let Dispatched(()) = call.fail(Failure::Panicked);
            return;
        }
    };
    call.version = *version;
    if caught(|| hand_on(&**service, call)).is_err() {
        end(session, reply_to, Failure::Panicked);
    }
}

fn end(session: &Session, reply_to: Option<ReplyTo>, failure: Failure) {
    match reply_to {
        Some(call) => session.fail(call, failure),
        None => session.oneway_ended(),
    }
}

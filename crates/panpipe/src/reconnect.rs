//! What a client calls over that outlives its server's process: a connection that
//! is made anew when it has ended, and calls that are made again where that is safe.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use panpipe_transport::{Access, ConnectError, PipeName, PipeStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout_at};

use crate::backoff::{Backoff, Tries};
use crate::call_terms::CallTerms;
use crate::carried::{Cargo, Carried};
use crate::clock;
use crate::codec::Codec;
use crate::error::{CallError, Refusal, RefusalReason};
use crate::limits;
use crate::link::{Link, PendingCall, Received, oneway, over_pipe};
use crate::log_limit::log_limited;
use crate::offers::Offers;
use crate::service::MethodInfo;
use crate::session::{CallTarget, CloseReason, Config, ROOT_PORT, ReplyBody, parse_reply};
use crate::timer::{sleep_until, within};

/// Where one connection after the other comes from.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// The pauses between the tries of one call.
    fn backoff(&self) -> &Backoff;

    /// Gives the next connection, as soon as there is one.
    fn next(&self) -> NextLink<'_>;
}

pub(crate) type NextLink<'a> = Pin<Box<dyn Future<Output = Result<Arc<Link>, CallError>> + Send + 'a>>;

/// What each connection to a name is made by.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: PipeName,
    pub(crate) trust: Option<Access>,
    pub(crate) config: Config,
    pub(crate) offers: Offers,
    pub(crate) backoff: Backoff,
}

/// A connection that is made anew, when a call needs it and the one before takes no
/// more calls. Clones of a client share it, and those of its calls that wait.
pub(crate) struct Reconnecting {
    source: Arc<dyn Source>,
    /// Where connections are made by calls that are polled outside any runtime.
    runtime: Handle,
    state: Mutex<State>,
    /// The task that makes the next connection as soon as one has ended, if there is a hook.
    keeper: OnceLock<AbortHandle>,
}

/// What a client does on each connection after the first.
pub(crate) type OnReconnect =
    Arc<dyn Fn(Arc<Link>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Drop for Reconnecting {
    fn drop(&mut self) {
        self.stop_keeping();
    }
}

struct State {
    /// The connection that stands, or stood last.
    link: Arc<Link>,
    /// The next one, while calls wait for it.
    attempt: Weak<Attempt>,
    /// No connection follows.
    is_closed: bool,
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Reconnecting {
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(crate) fn new(plan: Plan, first: PipeStream) -> Arc<Self> {
        let link = plan.start(first);
        Reconnecting::of(Arc::new(plan), link)
    }

    /// Connections of any source; the first one stands.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(crate) fn of(source: Arc<dyn Source>, first: Arc<Link>) -> Arc<Self> {
        let state = Mutex::new(State { link: first, attempt: Weak::new(), is_closed: false });
        Arc::new(Reconnecting { source, runtime: Handle::current(), state, keeper: OnceLock::new() })
    }

    /// Has each connection replaced as soon as it has ended, also where no call is made, and
    /// runs the hook on the next one.
    pub(crate) fn keep_connected(self: &Arc<Self>, hook: OnReconnect) {
        let task = self.runtime.spawn(keep_connected(Arc::downgrade(self), hook));
        let _ = self.keeper.set(task.abort_handle());
    }

    fn stop_keeping(&self) {
        self.keeper.get().into_iter().for_each(AbortHandle::abort);
    }

    /// Makes no more connections. Gives the one that stands, or stood last.
    pub(crate) fn close(&self) -> Arc<Link> {
        self.stop_keeping();
        let mut state = self.lock();
        state.is_closed = true;
        Arc::clone(&state.link)
    }

    fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that stands, or stood last.
    pub(crate) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.lock().link)
    }

    /// Makes a call, again and again where that is safe. What comes back is the
    /// method's own value or error.
    pub(crate) fn call(
        self: Arc<Self>,
        info: &'static MethodInfo,
        terms: CallTerms,
        args: Arguments,
    ) -> Pin<Box<dyn Future<Output = Result<Received, CallError>> + Send>> {
        Box::pin(async move {
            let CallTerms { deadline, labels } = terms;
            let (mut args, mut past) = (Some(args), Past::default());
            let mut link = self.link();
            while let Some(arguments) = &mut args {
                if !link.takes_calls() {
                    link = self.next(&link, &mut past, deadline).await.map_err(|error| past.truth(error))?;
                }
                let was_encoded = arguments.were_encoded;
                let target = CallTarget { labels: labels.as_deref(), ..CallTarget::new(ROOT_PORT, info.id) };
                let error = match start(&link, target, deadline, arguments).await {
                    Err(error) => past.of_start(error, was_encoded),
                    Ok(call) => {
                        // What went with it does not go a second time.
                        args.take_if(|args| args.carry_stream);
                        match finish(call).await {
                            Ok(received) => return Ok(received),
                            Err(error) => error,
                        }
                    }
                };
                if !past.is_worth_another(&error, info.idempotent) || link.takes_calls() {
                    return Err(past.truth(error));
                }
                past.last = Some(error);
            }
            Err(past.truth(past.last.clone().unwrap_or(UNSENT)))
        })
    }

    /// Has a one-way call queued. Until there is a connection that takes it, it waits
    /// no longer than until the deadline.
    pub(crate) fn oneway(
        self: Arc<Self>,
        info: &'static MethodInfo,
        terms: CallTerms,
        mut args: Arguments,
    ) -> Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>> {
        Box::pin(async move {
            let CallTerms { deadline, labels } = terms;
            let mut past = Past::default();
            let mut link = self.link();
            loop {
                if !link.takes_calls() {
                    link = self.next(&link, &mut past, deadline).await?;
                }
                let target = CallTarget { labels: labels.as_deref(), ..CallTarget::new(ROOT_PORT, info.id) };
                let was_encoded = args.were_encoded;
                let queued = oneway(&link, target, |codec, out| args.encode(codec, out));
                let error = match queued.await {
                    Ok(()) => return Ok(()),
                    Err(error) => past.of_start(error, was_encoded),
                };
                if !past.is_worth_another(&error, false) || link.takes_calls() {
                    return Err(error);
                }
                past.last = Some(error);
            }
        })
    }

    /// The connection after `old`, which takes no more calls.
    async fn next(
        self: &Arc<Self>,
        old: &Arc<Link>,
        past: &mut Past,
        until: Option<Instant>,
    ) -> Result<Arc<Link>, CallError> {
        if let Some(again) = past.pause(self.source.backoff(), clock::now())? {
            self.by(until, sleep_until(again, Some(&self.runtime))).await?;
        }
        if self.is_closed() {
            return Err(UNSENT);
        }
        let link = match self.attempt(old) {
            Ok(attempt) => self.by(until, attempt.outcome()).await??,
            Err(link) => link,
        };
        past.since = Some(clock::now());
        Ok(link)
    }

    /// The attempt to replace `old` that all share, or what it was replaced by.
    fn attempt(self: &Arc<Self>, old: &Arc<Link>) -> Result<Arc<Attempt>, Arc<Link>> {
        let current = self.link();
        if !Arc::ptr_eq(&current, old) && current.takes_calls() {
            return Err(current);
        }
        let mut state = self.lock();
        if !Arc::ptr_eq(&state.link, &current) {
            return Err(Arc::clone(&state.link));
        }
        if let Some(attempt) = state.attempt.upgrade().filter(|attempt| attempt.is_under_way()) {
            return Ok(attempt);
        }
        let attempt = Arc::new(Attempt::start(self));
        state.attempt = Arc::downgrade(&attempt);
        Ok(attempt)
    }

    fn install(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        if state.is_closed {
            drop(state);
            // Those who have waited for it find it closed, as they would the one before.
            return link.drain();
        }
        let before = std::mem::replace(&mut state.link, Arc::clone(link));
        drop(state);
        // It may be the last that held the old one.
        drop(before);
    }

    /// Waits for `what`, and not past `until`.
    async fn by<T>(&self, until: Option<Instant>, what: impl Future<Output = T>) -> Result<T, CallError> {
        match until {
            None => Ok(what.await),
            Some(at) => within(at, Some(&self.runtime), what).await.ok_or(CallError::DeadlineExceeded),
        }
    }

    /// The caller's own runtime, if it has one: that of the first connection may be gone.
    fn runtime(&self) -> Handle {
        Handle::try_current().unwrap_or_else(|_| self.runtime.clone())
    }
}

/// Replaces connections until the last client is dropped, which ends this task.
async fn keep_connected(engine: Weak<Reconnecting>, hook: OnReconnect) {
    let mut running: Option<HookTask> = None;
    loop {
        // It holds on to nothing that keeps a connection or its clients.
        let Some(closed) = engine.upgrade().map(|engine| engine.link().closed()) else { return };
        closed.await;
        // The hook's calls have ended with their connection; what else it waits for is moot.
        drop(running.take());
        let link = loop {
            let Some(next) = engine.upgrade().map(|engine| engine.attempt(&engine.link())) else { return };
            match next {
                Err(link) => break link,
                Ok(attempt) => match attempt.outcome().await {
                    Ok(link) => break link,
                    // The calls that waited have failed; who only listens goes on waiting.
                    Err(_) => sleep(limits::BACKOFF_MOST).await,
                },
            }
        };
        let hook = Arc::clone(&hook);
        running = Some(HookTask(tokio::spawn(async move { hook(link).await }).abort_handle()));
    }
}

/// A hook that runs, until this is dropped.
struct HookTask(AbortHandle);

impl Drop for HookTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Plan {
    pub(crate) fn start(&self, stream: PipeStream) -> Arc<Link> {
        over_pipe(stream, self.config.clone()).with_offers(self.offers.clone()).start()
    }

    /// Tries until a server has answered the hello, or it is time to give up.
    async fn connect(&self) -> Result<Arc<Link>, CallError> {
        let mut tries = self.backoff.begin(clock::now());
        let mut last = None;
        loop {
            let (error, why) = match self.connect_once(tries.end()).await {
                Ok(link) => return Ok(link),
                Err(Failed::ForNow(error, why)) => (error, why),
                Err(Failed::ForGood(refusal)) => return Err(CallError::Refused(refusal)),
                // It had less time than a server may take: the try before says more.
                Err(Failed::CutShort(error, why)) => last.take().unwrap_or((error, why)),
            };
            let Some(pause) = tries.failed(clock::now()) else {
                log_limited!(warn, name = %self.name, "no connection can be made again, calls that wait for one fail: {why}");
                return Err(error);
            };
            log_limited!(debug, name = %self.name, "no connection, trying again in {pause:?}: {why}");
            last = Some((error, why));
            sleep(pause).await;
        }
    }

    /// A connection to be made, to a server that is trusted.
    pub(crate) fn dial(&self) -> panpipe_transport::Connect {
        let connect = panpipe_transport::connect(self.name.clone());
        match &self.trust {
            Some(servers) => connect.trust(servers.clone()),
            None => connect,
        }
    }

    /// Tries once, until `end` at the latest.
    async fn connect_once(&self, end: Option<Instant>) -> Result<Arc<Link>, Failed> {
        let begin = clock::now();
        let Some(stream) = by(end, self.dial().into_future()).await else {
            let why = "the server was not reached in time".to_owned();
            return Err(Failed::CutShort(UNSENT, why));
        };
        let link = self.start(stream?);
        // Calls are not to be lost with a server that takes nobody any more.
        link.say_hello();
        let Some(greeted) = by(end, poll_fn(|cx| link.poll_greeted(cx.waker()))).await else {
            let reason = CloseReason::NoHello { peer: link.peer().to_string(), within: clock::now() - begin };
            return Err(Failed::CutShort(reason.unsent(), reason.to_string()));
        };
        match greeted {
            Ok(()) => Ok(link),
            Err(CloseReason::Refused(refusal)) => Err(match refusal.reason {
                RefusalReason::Draining => Failed::ForNow(UNSENT, refusal.message),
                RefusalReason::Overloaded => {
                    let why = refusal.message.clone();
                    Failed::ForNow(CallError::Refused(refusal), why)
                }
                _ => Failed::ForGood(refusal),
            }),
            Err(reason) => Err(Failed::ForNow(reason.unsent(), reason.to_string())),
        }
    }
}

/// What the future gives by `end`.
async fn by<F: Future>(end: Option<Instant>, future: F) -> Option<F::Output> {
    match end {
        None => Some(future.await),
        Some(end) => timeout_at(end.into(), future).await.ok(),
    }
}

impl Source for Plan {
    fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    fn next(&self) -> NextLink<'_> {
        Box::pin(self.connect())
    }
}

const UNSENT: CallError = CallError::Disconnected { sent: false };

/// Why there is no connection.
enum Failed {
    /// It may be there in a moment. What those learn who wait, if it was the last
    /// try, and the words for the log.
    ForNow(CallError, String),
    /// The time for all tries was over in the middle of this one.
    CutShort(CallError, String),
    /// No waiting helps.
    ForGood(Refusal),
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Failed {
        let message = error.to_string();
        match error {
            ConnectError::Name(_) | ConnectError::Denied { .. } | ConnectError::WrongOwner { .. } => {
                Failed::ForGood(Refusal { reason: RefusalReason::NotAllowed, message })
            }
            // File descriptors that have run out come back too.
            _ => Failed::ForNow(UNSENT, message),
        }
    }
}

type Outcome = Option<Result<Arc<Link>, CallError>>;

/// The making of a connection, which ends when nobody waits for it any more.
struct Attempt {
    outcome: watch::Receiver<Outcome>,
    task: AbortHandle,
}

impl Attempt {
    fn start(owner: &Arc<Reconnecting>) -> Attempt {
        let (tell, outcome) = watch::channel(None);
        let (source, owner_of_link) = (Arc::clone(&owner.source), Arc::downgrade(owner));
        let task = owner.runtime().spawn(async move {
            let result = source.next().await;
            if let (Ok(link), Some(owner)) = (&result, owner_of_link.upgrade()) {
                owner.install(link);
            }
            tell.send_replace(Some(result));
        });
        Attempt { outcome, task: task.abort_handle() }
    }

    fn is_under_way(&self) -> bool {
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }

    async fn outcome(&self) -> Result<Arc<Link>, CallError> {
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(UNSENT)),
            // The runtime that it ran on has ended.
            Err(_) => Err(UNSENT),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type EncodeAgain = dyn FnMut(Codec, &mut Vec<u8>) -> Result<Carried, String> + Send;

/// The arguments of a call, which are encoded anew for each try.
pub(crate) struct Arguments {
    encode: Box<EncodeAgain>,
    were_encoded: bool,
    /// Whether they carry a stream or a sender, of which there is but one.
    carry_stream: bool,
}

impl Arguments {
    pub(crate) fn new(
        encode: impl FnMut(Codec, &mut Vec<u8>) -> Result<Carried, String> + Send + 'static,
    ) -> Self {
        Arguments { encode: Box::new(encode), were_encoded: false, carry_stream: false }
    }

    fn encode(&mut self, codec: Codec, out: &mut Vec<u8>) -> Result<Carried, String> {
        let carried = (self.encode)(codec, out)?;
        self.were_encoded = true;
        self.carry_stream = carried.as_deref().is_some_and(Cargo::has_stream);
        Ok(carried)
    }
}

async fn start(
    link: &Arc<Link>,
    target: CallTarget<'_>,
    deadline: Option<Instant>,
    args: &mut Arguments,
) -> Result<PendingCall, CallError> {
    let mut call = PendingCall::new(Arc::clone(link), deadline);
    call.start(target, |codec, out| args.encode(codec, out)).await?;
    Ok(call)
}

async fn finish(mut call: PendingCall) -> Result<Received, CallError> {
    let received = call.reply().await?;
    match parse_reply(received.body()) {
        ReplyBody::Failed(error) => Err(error),
        ReplyBody::Value(_) | ReplyBody::AppError(_) => Ok(received),
    }
}

/// What has come of a call's tries.
#[derive(Default)]
struct Past {
    /// Why the last one failed.
    last: Option<CallError>,
    /// Whether any of them may have run.
    may_have_run: bool,
    /// The row of those that failed soon.
    tries: Option<Tries>,
    /// When the one that is being made began; nothing for the first.
    since: Option<Instant>,
}

impl Past {
    /// What a call learns that could not be started. Arguments that could be encoded
    /// before, and cannot now, have nothing wrong with them but that.
    fn of_start(&self, error: CallError, were_encoded: bool) -> CallError {
        match (&error, &self.last) {
            (CallError::Malformed(_), Some(before)) if were_encoded => before.clone(),
            (CallError::Malformed(_) | CallError::TooLarge { .. } | CallError::Overloaded, _)
                if self.may_have_run =>
            {
                CallError::Disconnected { sent: true }
            }
            _ => error,
        }
    }

    /// Whether the call may be made again, if its connection is over.
    fn is_worth_another(&mut self, error: &CallError, idempotent: bool) -> bool {
        match error {
            CallError::Disconnected { sent: false } | CallError::NoHello { sent: false, .. } => true,
            CallError::Refused(refusal) => {
                matches!(refusal.reason, RefusalReason::Draining | RefusalReason::Overloaded)
            }
            CallError::Disconnected { sent: true }
            | CallError::NoHello { sent: true, .. }
            | CallError::Cancelled => {
                self.may_have_run = true;
                idempotent
            }
            _ => false,
        }
    }

    /// An error that says that the call was not run holds for all tries or for none.
    fn truth(&self, error: CallError) -> CallError {
        match error {
            CallError::NoHello { peer, within, .. } if self.may_have_run => {
                CallError::NoHello { peer, within, sent: true }
            }
            CallError::Disconnected { .. } | CallError::Refused(_) if self.may_have_run => {
                CallError::Disconnected { sent: true }
            }
            error if self.may_have_run && error.did_not_run() => CallError::Disconnected { sent: true },
            error => error,
        }
    }

    /// When the call may be made again; at once after a try that took its time.
    fn pause(&mut self, backoff: &Backoff, now: Instant) -> Result<Option<Instant>, CallError> {
        let lasted = |since| now.saturating_duration_since(since) > limits::BACKOFF_MOST;
        match &mut self.tries {
            Some(tries) if !self.since.is_none_or(lasted) => match tries.failed(now) {
                Some(pause) => Ok(Some(now + pause)),
                None => Err(self.last.clone().unwrap_or(UNSENT)),
            },
            tries => {
                *tries = Some(backoff.begin(now));
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_may_have_run_is_not_said_not_to_have_run() {
        let may_have_run = Past { may_have_run: true, ..Past::default() };
        for error in [
            CallError::MetadataTooLarge { size: 9000, limit: 8192 },
            CallError::Unsupported("the next server accepts no metadata".to_owned()),
            CallError::Overloaded,
            CallError::UnknownMethod,
            CallError::Disconnected { sent: false },
            CallError::Refused(Refusal::new(RefusalReason::NotAllowed, "not you")),
        ] {
            assert!(error.did_not_run());
            assert_eq!(Past::default().truth(error.clone()), error);
            assert_eq!(may_have_run.truth(error), CallError::Disconnected { sent: true });
        }
        let ended = CallError::DeadlineExceeded;
        assert_eq!(may_have_run.truth(ended.clone()), ended);
    }
}

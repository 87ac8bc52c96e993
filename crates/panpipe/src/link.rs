//! A session as clients, stubs and streams hold it: it lives as long as one of
//! them does.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use panpipe_transport::blocking::BlockingStream;
use panpipe_transport::buffer::FrameBuf;
use panpipe_transport::{Latency, Peer, PipeStream, varint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use crate::blocking::Crew;
use crate::carried::{self, Carried, Claims};
use crate::clock;
use crate::codec::{Codec, Decoder};
use crate::error::CallError;
use crate::executor::Executor;
use crate::labels::Labels;
use crate::offers::{Offers, Services};
use crate::session::{
    CallTarget, CloseReason, Closed, Config, Driver, Encoded, FLUSH, Inlet, OPEN, Outlet, PING, ROOT_PORT,
    Reply, ReplyBody, ServiceInfo, Session, of_blocking, of_pipe, of_stream, parse_reply, put_str,
};
use crate::stub::{ClaimedService, Stub};
use crate::timer::{Timer, within};

/// Closes the session when the last holder lets go.
#[derive(Debug)]
pub(crate) struct Link {
    session: Arc<Session>,
}

impl Deref for Link {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.session.close();
        if let Some(crew) = self.executor().crew() {
            crew.wind_up();
        }
    }
}

impl Link {
    /// Waits for the end of the connection, without keeping it open.
    pub(crate) fn closed(&self) -> Closed {
        self.session.closed()
    }

    /// Lets what runs on both sides finish, then ends the connection; new calls fail.
    pub(crate) async fn close_in_order(&self) -> CloseReason {
        self.drain();
        self.closed().await
    }
}

/// A connection that is not running yet.
pub(crate) struct Prepared {
    pub(crate) connection: Arc<Link>,
    driver: Driver,
}

/// Prepares a session over a pipe.
pub(crate) fn over_pipe(stream: PipeStream, config: Config) -> Prepared {
    let peer = stream.peer();
    let stream = match config.latency {
        // As it is made.
        Latency::Adaptive => stream,
        other => stream.with_latency(other),
    };
    let config = Config { can_have_bypass: stream.can_have_bypass(), ..config };
    prepare(config, peer, of_pipe(stream), Executor::current())
}

/// Prepares a session over a pipe at which threads wait by themselves.
pub(crate) fn over_blocking(stream: BlockingStream, config: Config) -> Prepared {
    let (peer, crew) = (stream.peer(), Crew::new(Some(stream.interrupt())));
    let config = Config { can_have_bypass: stream.can_have_bypass(), ..config };
    let stream = match config.latency {
        // As it is made.
        Latency::Adaptive => stream,
        other => stream.with_latency(other),
    };
    prepare(config, peer, of_blocking(stream), Executor::Threads(crew))
}

/// Prepares a session over any stream of bytes.
pub(crate) fn over_stream<Io>(io: Io, config: Config) -> Prepared
where
    Io: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut io = Some(io);
    let any: &mut dyn Any = &mut io;
    // A pipe knows its peer, and callers can write to it without the driver.
    if let Some(pipe) = any.downcast_mut::<Option<PipeStream>>().and_then(Option::take) {
        return over_pipe(pipe, config);
    }
    let halves = of_stream(io.expect("it was not taken: it is no pipe"));
    prepare(config, Peer::unknown(), halves, Executor::current())
}

/// A connection to a stream of bytes whose other end is in this process.
pub(crate) fn over_memory(io: tokio::io::DuplexStream, config: Config) -> Prepared {
    prepare(config, Peer::this_process(), of_stream(io), Executor::current())
}

fn prepare(config: Config, peer: Peer, halves: (Inlet, Outlet), executor: Executor) -> Prepared {
    let mut driver = None;
    let connection = Arc::new_cyclic(|link| {
        let (session, its_driver) = Session::new(config, peer, halves, executor, link.clone());
        driver = Some(its_driver);
        Link { session }
    });
    Prepared { connection, driver: driver.expect("it was made with the session") }
}

impl Prepared {
    /// Sets what the peer may call: what the session's configuration says, and what
    /// its calls have to pass.
    pub(crate) fn with_offers(mut self, offers: Offers) -> Self {
        if let Some(hooks) = offers.hooks() {
            self.connection.set_hooks(hooks);
        }
        self.driver.set_services(Services::new(offers));
        self
    }

    /// Sets what is to be done once the peer is known, before any call of its runs.
    pub(crate) fn on_open(mut self, on_open: impl FnOnce() + Send + 'static) -> Self {
        self.driver.set_on_open(on_open);
        self
    }

    /// Runs the session as a task of its own.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(crate) fn start(self) -> Arc<Link> {
        tokio::spawn(self.driver);
        self.connection
    }

    /// Gives the session to the threads that wait in it.
    ///
    /// # Panics
    ///
    /// When it is over another stream than a blocking one.
    pub(crate) fn start_blocking(self) -> Arc<Link> {
        let Prepared { connection, driver } = self;
        let crew = connection.executor().crew().expect("the stream of threads has a crew");
        crew.take_up(&connection.session, driver);
        connection
    }

    /// Takes the session apart, to run it in place.
    pub(crate) fn into_parts(self) -> (Arc<Link>, Driver) {
        (self.connection, self.driver)
    }
}

/// A call on its way: tells the peer to stop when it is dropped early.
pub(crate) struct PendingCall {
    link: Arc<Link>,
    /// By the caller's clock, [`clock::now`].
    deadline: Option<Instant>,
    /// Ends the call at its deadline; armed when the call first waits.
    timer: Option<Timer>,
    key: Option<usize>,
    /// What is sent, while there is no room for it.
    draft: Encoded,
    /// Whether the poll that started it is to be woken by its reply already.
    is_awaited: bool,
}

impl PendingCall {
    pub(crate) fn new(link: Arc<Link>, deadline: Option<Instant>) -> Self {
        let draft = Encoded::default();
        PendingCall { link, deadline, timer: None, key: None, draft, is_awaited: false }
    }

    /// Starts a call of a port's method. Its [reply](Self::reply) is to be polled in the
    /// same poll. `encode` runs user code, outside of the connection's lock.
    #[inline]
    pub(crate) fn poll_start(
        &mut self,
        target: CallTarget<'_>,
        cx: &mut Context<'_>,
        encode: impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String>,
    ) -> Poll<Result<(), Box<CallError>>> {
        let left = match self.deadline {
            None => None,
            Some(at) => match at.saturating_duration_since(clock::now()) {
                Duration::ZERO => return Poll::Ready(Err(Box::new(self.give_up()))),
                left => Some(left),
            },
        };
        let encode = with_metadata(target.labels, encode);
        let mut message = match self.link.known_codec() {
            Some(codec) => {
                self.draft.take_or(codec, encode).map_err(|why| Box::new(CallError::Malformed(why)))?
            }
            None => Encoded::default(),
        };
        match self.link.poll_call(&mut self.key, target, left, cx.waker(), message.get()) {
            Poll::Ready(started) => {
                message.finish();
                Poll::Ready(started.map(|is_awaited| self.is_awaited = is_awaited))
            }
            Poll::Pending => {
                self.draft.keep(message);
                self.poll_deadline(cx).map(|late| Err(Box::new(late)))
            }
        }
    }

    /// Ready with an error when the deadline has passed: then the call is given up.
    #[inline]
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        match self.deadline {
            None => Poll::Pending,
            Some(at) => self.poll_timer(at, cx),
        }
    }

    #[cold]
    fn poll_timer(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<CallError> {
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => {
                let executor = self.link.executor();
                if executor.crew().is_some() && Handle::try_current().is_err() {
                    // The threads of the connection end it.
                    return Poll::Pending;
                }
                none.insert(Timer::here(at, cx, executor.runtime()))
            }
        };
        ready!(Pin::new(timer).poll(cx));
        Poll::Ready(self.give_up())
    }

    /// Tells the peer to stop, if the call has begun.
    fn give_up(&mut self) -> CallError {
        if let Some(key) = self.key.take() {
            self.link.drop_call(key);
        }
        CallError::DeadlineExceeded
    }

    /// Starts a call of a port's method, whenever there is room for it.
    pub(crate) async fn start(
        &mut self,
        target: CallTarget<'_>,
        mut encode: impl FnMut(Codec, &mut Vec<u8>) -> Result<Carried, String>,
    ) -> Result<(), CallError> {
        let started = poll_fn(|cx| self.poll_start(target, cx, &mut encode)).await;
        started.map_err(|error| *error)
    }

    /// The connection that it is made over.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Waits for its reply, and has `read` make something of it.
    #[inline]
    pub(crate) fn poll_reply_as<T, E>(
        &mut self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut Received) -> Result<T, CallError<E>>,
    ) -> Poll<Result<T, CallError<E>>> {
        if std::mem::take(&mut self.is_awaited) {
            return self.poll_deadline(cx).map(|late| Err(late.widen()));
        }
        // It comes straight to where it is read: it is not small.
        let mut received = Received::default();
        match self.link.poll_reply(&mut self.key, cx.waker(), &mut received.reply) {
            Poll::Pending => self.poll_deadline(cx).map(|late| Err(late.widen())),
            Poll::Ready(Err(error)) => Poll::Ready(Err((*error).widen())),
            Poll::Ready(Ok(codec)) => {
                received.decoder = self.link.decoder(codec);
                if let Some(attached) = received.reply.attached.take() {
                    let link = Arc::clone(&self.link);
                    received.claims = Some(Claims::new(link, codec, attached.into()));
                }
                Poll::Ready(read(&mut received))
            }
        }
    }

    /// Waits for its reply.
    pub(crate) async fn reply(&mut self) -> Result<Received, CallError> {
        poll_fn(|cx| self.poll_reply_as(cx, |received| Ok(std::mem::take(received)))).await
    }
}

/// Makes a one-way call of a port's method. Ready when its last byte stands in the outgoing
/// queue, and on an idle connection is written.
pub(crate) async fn oneway(
    link: &Link,
    target: CallTarget<'_>,
    mut encode: impl FnMut(Codec, &mut Vec<u8>) -> Result<Carried, String>,
) -> Result<(), CallError> {
    let (mut draft, mut sending) = (Encoded::default(), None);
    poll_fn(|cx| {
        let mut message = match link.known_codec() {
            Some(codec) if sending.is_none() => {
                let encode = with_metadata(target.labels, &mut encode);
                draft.take_or(codec, encode).map_err(CallError::Malformed)?
            }
            _ => Encoded::default(),
        };
        let polled = link.poll_oneway(target, &mut sending, cx.waker(), message.get());
        match polled {
            Poll::Pending if sending.is_none() => draft.keep(message),
            _ => message.finish(),
        }
        polled
    })
    .await
}

/// Encodes a call, and its metadata behind the arguments.
#[inline(always)]
fn with_metadata(
    labels: Option<&Labels>,
    encode: impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String>,
) -> impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String> {
    move |codec, out| {
        let carried = encode(codec, out)?;
        if let Some(metadata) = labels.and_then(|labels| labels.metadata.as_ref()) {
            metadata.put_behind(out)?;
        }
        Ok(carried)
    }
}

/// A reply that is to be decoded.
#[derive(Default)]
pub(crate) struct Received {
    reply: Reply,
    pub(crate) decoder: Decoder,
    /// The ports that it carries, if any.
    claims: Option<Box<Claims>>,
}

impl Received {
    /// Its status and what belongs to that.
    #[inline]
    pub(crate) fn body(&self) -> &[u8] {
        &self.reply.body
    }

    pub(crate) fn take_body(&mut self) -> FrameBuf {
        std::mem::take(&mut self.reply.body)
    }

    #[inline]
    pub(crate) fn take_claims(&mut self) -> Option<Box<Claims>> {
        self.claims.take()
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.link.drop_call(key);
        }
    }
}

impl Link {
    /// Has a connection of threads be looked after also where nobody waits in it.
    pub(crate) fn keep(&self) {
        if let Some(crew) = self.executor().crew() {
            crew.keep();
        }
    }

    /// Drives a connection of threads on this one, or waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it is a runtime's.
    pub(crate) fn run(&self) -> CloseReason {
        self.run_until(None).unwrap_or(CloseReason::Local)
    }

    /// The same, for as long at most. `None` if it has not ended by then.
    pub(crate) fn run_until(&self, end: Option<Instant>) -> Option<CloseReason> {
        let crew = self.executor().crew().expect("only the connections of threads are run so");
        crew.run(&self.session, end)
    }

    /// Has the thread that reads find the end of the stream, where the system can.
    pub(crate) fn end_reading(&self) {
        if let Some(crew) = self.executor().crew() {
            crew.end_reading();
        }
    }

    /// Asks the peer whether it is there: ready when it has answered in any way, or the
    /// connection has ended. Whether it has answered.
    pub(crate) async fn ping(self: &Arc<Self>) -> bool {
        // No service has the method: to say so is an answer.
        let mut call = PendingCall::new(Arc::clone(self), None);
        let target = CallTarget::new(ROOT_PORT, PING);
        call.start(target, |_, _| Ok(None)).await.is_ok() && call.reply().await.is_ok()
    }
}

/// Asks the peer for one of its services, in the newest version that both speak.
pub(crate) async fn open_service(
    link: Arc<Link>,
    wanted: &ServiceInfo,
    deadline: Option<Instant>,
) -> Result<Stub, CallError> {
    let mut call = PendingCall::new(link, deadline);
    let wants = |_, out: &mut Vec<u8>| {
        put_str(out, wanted.name());
        varint::put(out, u64::from(wanted.version()));
        varint::put(out, u64::from(wanted.oldest()));
        Ok(None)
    };
    call.start(CallTarget::new(ROOT_PORT, OPEN), wants).await?;
    let mut received = call.reply().await?;
    let claims = received.take_claims();
    match parse_reply(received.body()) {
        ReplyBody::Value(bytes) => match carried::decode(received.decoder, bytes, claims) {
            Ok(ClaimedService(Some(mut stub))) => {
                // A peer that tells none has looked for just the newest.
                let version = *stub.version.get_or_insert(wanted.version());
                if version < wanted.oldest() || version > wanted.version() {
                    return Err(CallError::Malformed(format!(
                        "the service {wanted} was asked for, and version {version} has come"
                    )));
                }
                Ok(stub)
            }
            Ok(ClaimedService(None)) => {
                Err(CallError::Malformed("the service came without a port".to_owned()))
            }
            Err(why) => Err(CallError::Malformed(why)),
        },
        ReplyBody::AppError(_) => Err(CallError::UnknownMethod),
        ReplyBody::Failed(error) => Err(error),
    }
}

/// Waits until the peer has handed every one-way call that was made before to its
/// handler.
pub(crate) async fn flush(link: Arc<Link>, deadline: Option<Instant>) -> Result<(), CallError> {
    let mut made = None;
    let queued = poll_fn(|cx| link.poll_oneways_queued(&mut made, cx.waker()));
    match deadline {
        None => queued.await,
        Some(at) => {
            within(at, link.executor().runtime(), queued).await.ok_or(CallError::DeadlineExceeded)?;
        }
    }
    let mut call = PendingCall::new(link, deadline);
    call.start(CallTarget::new(ROOT_PORT, FLUSH), |_, _| Ok(None)).await?;
    match parse_reply(call.reply().await?.body()) {
        ReplyBody::Value(_) => Ok(()),
        ReplyBody::AppError(_) => Err(CallError::UnknownMethod),
        ReplyBody::Failed(error) => Err(error),
    }
}

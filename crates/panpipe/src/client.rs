//! What a generated client is made of: a carrier of calls and a deadline.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use panpipe_transport::Peer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::call;
use crate::carried;
use crate::dispatch::{Dispatched, IncomingCall};
use crate::error::CallError;
use crate::link::{Link, PendingCall, Received, flush, over_stream};
use crate::oneway::RecordWriter;
use crate::reconnect::{Arguments, Reconnecting};
use crate::service::{AnyService, MethodInfo};
use crate::session::{CloseReason, Config, Deadline, FLUSH, ROOT_PORT, ReplyBody, ServiceInfo, parse_reply};
use crate::shape::{Shape, Wired};
use crate::stub::{ClaimedService, OfferedService, Relay, Stub};

/// A generated client, for code that works with any.
pub trait ServiceClient: Clone + Send + Sync + Sized + 'static {
    /// Every request of the service as one type.
    type Req: Send + 'static;
    /// Every response of the service as one type.
    type Resp: Send + 'static;

    /// The service's name and versions.
    fn info() -> ServiceInfo;

    /// Makes the client of what carries its calls.
    #[doc(hidden)]
    fn from_inner(inner: Client<Self::Req, Self::Resp>) -> Self;

    /// What carries the client's calls.
    #[doc(hidden)]
    fn inner(&self) -> &Client<Self::Req, Self::Resp>;

    /// Makes a call that another process makes of this client.
    #[doc(hidden)]
    fn relay(&self, call: IncomingCall<'_>) -> Dispatched;

    /// Why the connection ended, once it has; `None` while it stands, and for
    /// a client that has no connection of its own. Of a client that
    /// [reconnects](crate::Connect::reconnect) it is the last one.
    fn close_reason(&self) -> Option<CloseReason> {
        match &self.inner().carrier {
            Carrier::Link(link) => link.close_reason(),
            Carrier::Stub(stub) => stub.link.close_reason(),
            Carrier::Reconnecting(engine) => engine.link().close_reason(),
            Carrier::Records(_) | Carrier::Typed(_) => None,
        }
    }

    /// Ready when the other side has handed every one-way call that was made before,
    /// on this client's connection, to its handler, in order. A one-way call was made
    /// once its future was ready.
    ///
    /// It is a barrier for the calls, not for what their handlers do: a handler may
    /// still be at work after its first point of waiting. At the client of a port it
    /// is the whole connection's. A local client's calls are with their handlers
    /// already.
    ///
    /// The deadline of the call that is being answered here, if one is, and the
    /// client's timeout hold as for calls. Dropping the future gives up waiting.
    ///
    /// ```
    /// # #[panpipe::service]
    /// # pub trait Log { #[oneway] async fn line(&self, text: String); }
    /// use panpipe::ServiceClient;
    ///
    /// # async fn run(log: LogClient) -> Result<(), panpipe::CallError> {
    /// log.line("the last one".to_owned()).await?; // is on its way
    /// log.flush().await?; // has arrived
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CallError::UnknownMethod`] where the other side is older than this method;
    /// [`CallError::Unsupported`] where nothing comes back that could tell: over
    /// tarpc's transports and [one-way pipes](crate::oneway); whatever a call can fail
    /// with.
    fn flush(&self) -> impl Future<Output = Result<(), CallError>> + Send {
        self.inner().flush()
    }

    /// The process at the other end, as far as the system tells.
    fn peer(&self) -> Peer {
        match &self.inner().carrier {
            Carrier::Link(link) => link.peer(),
            Carrier::Stub(stub) => stub.link.peer(),
            Carrier::Reconnecting(engine) => engine.link().peer(),
            Carrier::Records(_) | Carrier::Typed(_) => Peer::unknown(),
        }
    }

    /// The version of the service that is called: the newest that both sides speak.
    ///
    /// `None` until the other side has answered, with its first reply, and for a client
    /// that came as a value, of which nothing was agreed upon. Of a client that
    /// [reconnects](crate::Connect::reconnect) it is that of the connection which
    /// stands. A client of this process,
    /// or of a stub of tarpc's, calls the newest.
    fn version(&self) -> Option<u32> {
        match self.inner().carrier.version() {
            Version::Agreed(version) => version,
            Version::Newest => Some(Self::info().version()),
        }
    }
}

/// The future of a typed call.
pub(crate) type TypedCall<Resp> = Pin<Box<dyn Future<Output = Result<Resp, CallError>> + Send>>;

/// Carries calls as values rather than as bytes: a local service, a stub of
/// stock tarpc.
pub(crate) trait TypedCarrier<Req, Resp>: Send + Sync {
    fn call(&self, info: &'static MethodInfo, request: Req, deadline: Option<Deadline>) -> TypedCall<Resp>;

    /// Ready as soon as the call is on its way.
    fn oneway(&self, info: &'static MethodInfo, request: Req) -> TypedCall<()>;

    /// Ready when all that was called before is with its handlers.
    fn flush(&self) -> TypedCall<()>;

    /// The service that is called, if it is one of this process.
    fn service(&self) -> Option<Arc<dyn AnyService>> {
        None
    }
}

enum Carrier<Req, Resp> {
    /// The root port of a connection.
    Link(Arc<Link>),
    /// Another port.
    Stub(Arc<Stub>),
    /// The root port of a connection, and of those after it.
    Reconnecting(Arc<Reconnecting>),
    /// A pipe that goes one way.
    Records(Arc<RecordWriter>),
    Typed(Arc<dyn TypedCarrier<Req, Resp>>),
}

impl<Req, Resp> Clone for Carrier<Req, Resp> {
    fn clone(&self) -> Self {
        match self {
            Carrier::Link(link) => Carrier::Link(Arc::clone(link)),
            Carrier::Stub(stub) => Carrier::Stub(Arc::clone(stub)),
            Carrier::Reconnecting(engine) => Carrier::Reconnecting(Arc::clone(engine)),
            Carrier::Records(writer) => Carrier::Records(Arc::clone(writer)),
            Carrier::Typed(stub) => Carrier::Typed(Arc::clone(stub)),
        }
    }
}

/// The version of a service that a carrier's calls are of.
enum Version {
    /// Both sides of a connection have agreed upon it, once it is known.
    Agreed(Option<u32>),
    /// The newest: both sides have been built together.
    Newest,
}

impl<Req, Resp> Carrier<Req, Resp> {
    fn version(&self) -> Version {
        match self {
            Carrier::Link(link) => Version::Agreed(link.version()),
            Carrier::Stub(stub) => Version::Agreed(stub.version),
            Carrier::Reconnecting(engine) => {
                // The next server may be a newer one.
                let link = engine.link();
                Version::Agreed(link.version().filter(|_| link.takes_calls()))
            }
            Carrier::Records(_) | Carrier::Typed(_) => Version::Newest,
        }
    }

    /// Fails a call of a method that the version which was agreed upon does not have.
    /// Where it is not known yet the other side decides.
    #[inline]
    fn check_has(&self, info: &MethodInfo) -> Result<(), CallError> {
        match info.since {
            None => Ok(()),
            Some(since) => self.check_speaks(since),
        }
    }

    #[cold]
    fn check_speaks(&self, since: u32) -> Result<(), CallError> {
        match self.version() {
            Version::Agreed(Some(version)) if version < since => Err(CallError::UnknownMethod),
            Version::Agreed(_) | Version::Newest => Ok(()),
        }
    }
}

/// What every generated client holds.
pub struct Client<Req, Resp> {
    carrier: Carrier<Req, Resp>,
    timeout: Option<Duration>,
}

impl<Req, Resp> Clone for Client<Req, Resp> {
    fn clone(&self) -> Self {
        Client { carrier: self.carrier.clone(), timeout: self.timeout }
    }
}

impl<Req, Resp> fmt::Debug for Client<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let carrier = match &self.carrier {
            Carrier::Link(link) => format!("connection to {}", link.peer()),
            Carrier::Stub(stub) => format!("port {} of the connection to {}", stub.port, stub.link.peer()),
            Carrier::Reconnecting(engine) => format!("connections to {}", engine.link().peer()),
            Carrier::Records(_) => "a one-way pipe".to_owned(),
            Carrier::Typed(_) => "values".to_owned(),
        };
        f.debug_struct("Client").field("over", &carrier).field("timeout", &self.timeout).finish()
    }
}

impl<Req: Send + 'static, Resp: Send + 'static> Client<Req, Resp> {
    pub(crate) fn of_link(link: Arc<Link>) -> Self {
        Client { carrier: Carrier::Link(link), timeout: None }
    }

    pub(crate) fn of_stub(stub: Stub) -> Self {
        Client { carrier: Carrier::Stub(Arc::new(stub)), timeout: None }
    }

    pub(crate) fn of_reconnecting(engine: Arc<Reconnecting>) -> Self {
        Client { carrier: Carrier::Reconnecting(engine), timeout: None }
    }

    pub(crate) fn of_records(writer: Arc<RecordWriter>) -> Self {
        Client { carrier: Carrier::Records(writer), timeout: None }
    }

    pub(crate) fn of_typed(stub: Arc<dyn TypedCarrier<Req, Resp>>) -> Self {
        Client { carrier: Carrier::Typed(stub), timeout: None }
    }

    /// The same client, each of whose calls has this long at most.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Client { carrier: self.carrier.clone(), timeout: Some(timeout) }
    }

    /// The nearest of: the client's timeout, the method's, and the deadline of
    /// the call that is being answered here. The clock is read only if there is one.
    fn deadline(&self, info: &MethodInfo) -> Option<Deadline> {
        let timeout = match (self.timeout, info.timeout) {
            (Some(own), Some(method)) => Some(own.min(method)),
            (own, method) => own.or(method),
        };
        let inherited = call::deadline();
        if timeout.is_none() && inherited.is_none() {
            return None;
        }
        let now = Instant::now();
        // A timeout past the end of the clock is no timeout.
        let own = timeout.and_then(|timeout| now.checked_add(timeout));
        let at = match (own, inherited) {
            (Some(own), Some(inherited)) => own.min(inherited),
            (own, inherited) => own.or(inherited)?,
        };
        Some(Deadline { at, left: at.saturating_duration_since(now) })
    }

    /// Calls a method. The deadline runs from here on.
    pub fn call<A, ST, T, SE, E>(
        &self,
        info: &'static MethodInfo,
        args: A,
        to_request: fn(A) -> Req,
        from_response: fn(Resp) -> Option<Result<T, E>>,
    ) -> impl Future<Output = Result<T, CallError<E>>> + Send + 'static + use<A, ST, T, SE, E, Req, Resp>
    where
        A: Serialize + Send + 'static,
        ST: Shape<T> + 'static,
        SE: Shape<E> + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let deadline = self.deadline(info);
        let carrier = self.carrier.clone();
        async move {
            carrier.check_has(info).map_err(CallError::widen)?;
            let (link, port, _stub) = match carrier {
                Carrier::Link(link) => (link, ROOT_PORT, None),
                // Held until the call is over: it is what closes the port.
                Carrier::Stub(stub) => (Arc::clone(&stub.link), stub.port, Some(stub)),
                Carrier::Reconnecting(engine) => {
                    let args = Arguments::new(move |codec, out| carried::encode(codec, &args, out));
                    let received = engine.call(info, deadline, args).await.map_err(CallError::widen)?;
                    return decode_reply::<ST, T, SE, E>(info, received);
                }
                Carrier::Records(_) => return Err(nothing_comes_back().widen()),
                Carrier::Typed(typed) => {
                    let response =
                        typed.call(info, to_request(args), deadline).await.map_err(CallError::widen)?;
                    return match from_response(response) {
                        Some(result) => result.map_err(CallError::App),
                        None => Err(CallError::Malformed(format!(
                            "the reply to {} is another method's",
                            info.name
                        ))),
                    };
                }
            };
            let mut call = PendingCall::new(link, deadline);
            let started = &mut call;
            poll_fn(move |cx| {
                started.poll_start((port, info.id), cx.waker(), &mut |codec, out| {
                    carried::encode(codec, &args, out)
                })
            })
            .await
            .map_err(CallError::widen)?;
            decode_reply::<ST, T, SE, E>(info, call.reply().await.map_err(CallError::widen)?)
        }
    }

    /// Calls a one-way method: ready when the call is on its way.
    pub fn oneway<A>(
        &self,
        info: &'static MethodInfo,
        args: A,
        to_request: fn(A) -> Req,
    ) -> impl Future<Output = Result<(), CallError>> + Send + 'static + use<A, Req, Resp>
    where
        A: Serialize + Send + 'static,
    {
        let carrier = self.carrier.clone();
        // Nothing but a connection that is not there can take it long.
        let deadline = match carrier {
            Carrier::Reconnecting(_) => self.deadline(info),
            _ => None,
        };
        async move {
            carrier.check_has(info)?;
            let (link, port, _stub) = match carrier {
                Carrier::Link(link) => (link, ROOT_PORT, None),
                Carrier::Stub(stub) => (Arc::clone(&stub.link), stub.port, Some(stub)),
                Carrier::Reconnecting(engine) => {
                    let args = Arguments::new(move |codec, out| carried::encode(codec, &args, out));
                    return engine.oneway(info, deadline, args).await;
                }
                Carrier::Records(writer) => {
                    let record = writer.record(info, &args)?;
                    return writer.write(record).await;
                }
                Carrier::Typed(typed) => return typed.oneway(info, to_request(args)).await,
            };
            poll_fn(move |cx| {
                link.poll_oneway((port, info.id), cx.waker(), &mut |codec, out| {
                    carried::encode(codec, &args, out)
                })
            })
            .await
        }
    }

    /// The barrier behind one-way calls.
    pub(crate) fn flush(
        &self,
    ) -> impl Future<Output = Result<(), CallError>> + Send + 'static + use<Req, Resp> {
        static INFO: MethodInfo = MethodInfo::new("panpipe.flush", FLUSH);
        let deadline = self.deadline(&INFO);
        let carrier = self.carrier.clone();
        async move {
            match carrier {
                Carrier::Link(link) => flush(link, deadline).await,
                Carrier::Stub(stub) => flush(Arc::clone(&stub.link), deadline).await,
                // Calls that went over a connection before it are not known of.
                Carrier::Reconnecting(engine) => flush(engine.link(), deadline).await,
                Carrier::Records(_) => Err(nothing_comes_back()),
                Carrier::Typed(typed) => typed.flush().await,
            }
        }
    }

    /// Serializes the client as a port at which its service is called, by way
    /// of this process unless it is here.
    ///
    /// # Errors
    ///
    /// Where no message of panpipe's is being encoded.
    pub fn serialize_as_port<C, S>(client: &C, serializer: S) -> Result<S::Ok, S::Error>
    where
        C: ServiceClient<Req = Req, Resp = Resp>,
        S: Serializer,
    {
        let here = match &client.inner().carrier {
            Carrier::Typed(typed) => typed.service(),
            Carrier::Link(_) | Carrier::Stub(_) | Carrier::Reconnecting(_) | Carrier::Records(_) => None,
        };
        let service = here.unwrap_or_else(|| Arc::new(Relay(client.clone())));
        OfferedService::of_any_version(service).serialize(serializer)
    }

    /// Deserializes a client that was sent as a port.
    ///
    /// # Errors
    ///
    /// Where the message being decoded carries no such port.
    pub fn deserialize_from_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ClaimedService(stub) = ClaimedService::deserialize(deserializer)?;
        Ok(match stub {
            Some(stub) => Client::of_stub(stub),
            None => Client::of_typed(Arc::new(Lost)),
        })
    }
}

/// Decodes what came back.
#[inline]
fn decode_reply<ST, T, SE, E>(info: &MethodInfo, received: Received) -> Result<T, CallError<E>>
where
    ST: Shape<T> + 'static,
    SE: Shape<E> + 'static,
    T: 'static,
    E: 'static,
{
    let Received { body, codec, claims } = received;
    let malformed = |why| CallError::Malformed(format!("the reply of {}: {why}", info.name));
    match parse_reply(&body) {
        ReplyBody::Value(bytes) => {
            carried::decode::<Wired<ST, T>>(codec, bytes, claims).map(Wired::into_inner).map_err(malformed)
        }
        ReplyBody::AppError(bytes) => {
            let error = carried::decode::<Wired<SE, E>>(codec, bytes, claims).map_err(malformed)?;
            Err(CallError::App(error.into_inner()))
        }
        ReplyBody::Failed(error) => Err(error.widen()),
    }
}

fn nothing_comes_back() -> CallError {
    let why = "nothing comes back over a one-way pipe that could tell; connect by the client's own `connect`";
    CallError::Unsupported(why.to_owned())
}

/// Stands for a service whose port did not travel with its message. The message
/// is answered with an error, so that nobody gets to see this.
struct Lost;

impl<Req, Resp: Send> TypedCarrier<Req, Resp> for Lost {
    fn call(&self, _: &'static MethodInfo, _: Req, _: Option<Deadline>) -> TypedCall<Resp> {
        Box::pin(async { Err(CallError::Disconnected { sent: false }) })
    }

    fn oneway(&self, _: &'static MethodInfo, _: Req) -> TypedCall<()> {
        Box::pin(async { Err(CallError::Disconnected { sent: false }) })
    }

    fn flush(&self) -> TypedCall<()> {
        Box::pin(async { Err(CallError::Disconnected { sent: false }) })
    }
}

/// A client of nothing, where the other side offers no service: the `host` of
/// a child whose parent is not to be called.
#[derive(Debug, Clone)]
pub struct NoService {
    inner: Client<Infallible, Infallible>,
}

impl ServiceClient for NoService {
    type Req = Infallible;
    type Resp = Infallible;

    fn info() -> ServiceInfo {
        ServiceInfo::none()
    }

    fn from_inner(inner: Client<Infallible, Infallible>) -> Self {
        NoService { inner }
    }

    fn inner(&self) -> &Client<Infallible, Infallible> {
        &self.inner
    }

    fn relay(&self, call: IncomingCall<'_>) -> Dispatched {
        call.unknown_method()
    }
}

/// Makes a client over any stream of bytes.
pub(crate) fn over<C: ServiceClient>(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
) -> C {
    C::from_inner(Client::of_link(over_stream(io, Config::dialer(C::info())).start()))
}

//! What a generated client is made of: a carrier of calls and a deadline.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use panpipe_transport::Peer;
use serde::Serialize;

use crate::call;
use crate::connection::{Connection, PendingCall, over_stream};
use crate::error::CallError;
use crate::service::MethodInfo;
use crate::session::{CloseReason, Config, Deadline, ReplyBody, ServiceInfo, parse_reply};
use crate::shape::{Shape, Wired};

/// A generated client, for code that works with any.
pub trait ServiceClient: Clone + Send + Sync + Sized + 'static {
    /// Every request of the service as one type.
    type Req: Send + 'static;
    /// Every response of the service as one type.
    type Resp: Send + 'static;

    /// The service's name and version.
    fn info() -> ServiceInfo;

    /// Makes the client of what carries its calls.
    #[doc(hidden)]
    fn from_inner(inner: Client<Self::Req, Self::Resp>) -> Self;

    /// What carries the client's calls.
    #[doc(hidden)]
    fn inner(&self) -> &Client<Self::Req, Self::Resp>;

    /// Why the connection ended, once it has; `None` while it stands, and for
    /// a client that has no connection of its own.
    fn close_reason(&self) -> Option<CloseReason> {
        match &self.inner().carrier {
            Carrier::Connection(connection) => connection.close_reason(),
            Carrier::Typed(_) => None,
        }
    }

    /// The process at the other end, as far as the system tells.
    fn peer(&self) -> Peer {
        match &self.inner().carrier {
            Carrier::Connection(connection) => connection.peer(),
            Carrier::Typed(_) => Peer::unknown(),
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
}

enum Carrier<Req, Resp> {
    Connection(Arc<Connection>),
    Typed(Arc<dyn TypedCarrier<Req, Resp>>),
}

impl<Req, Resp> Clone for Carrier<Req, Resp> {
    fn clone(&self) -> Self {
        match self {
            Carrier::Connection(connection) => Carrier::Connection(Arc::clone(connection)),
            Carrier::Typed(stub) => Carrier::Typed(Arc::clone(stub)),
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
            Carrier::Connection(connection) => format!("connection to {}", connection.peer()),
            Carrier::Typed(_) => "values".to_owned(),
        };
        f.debug_struct("Client").field("over", &carrier).field("timeout", &self.timeout).finish()
    }
}

impl<Req: Send + 'static, Resp: Send + 'static> Client<Req, Resp> {
    pub(crate) fn of_connection(connection: Arc<Connection>) -> Self {
        Client { carrier: Carrier::Connection(connection), timeout: None }
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
            match carrier {
                Carrier::Connection(connection) => {
                    let mut call = PendingCall::new(connection, deadline);
                    let started = &mut call;
                    poll_fn(move |cx| {
                        started.poll_start(info.id, cx.waker(), &mut |codec, out| codec.encode(&args, out))
                    })
                    .await
                    .map_err(CallError::widen)?;
                    let (reply, codec) = call.reply().await.map_err(CallError::widen)?;
                    let malformed = |why| CallError::Malformed(format!("the reply of {}: {why}", info.name));
                    match parse_reply(&reply) {
                        ReplyBody::Value(bytes) => {
                            codec.decode::<Wired<ST, T>>(bytes).map(Wired::into_inner).map_err(malformed)
                        }
                        ReplyBody::AppError(bytes) => {
                            let error = codec.decode::<Wired<SE, E>>(bytes).map_err(malformed)?;
                            Err(CallError::App(error.into_inner()))
                        }
                        ReplyBody::Failed(error) => Err(error.widen()),
                    }
                }
                Carrier::Typed(stub) => {
                    let response =
                        stub.call(info, to_request(args), deadline).await.map_err(CallError::widen)?;
                    match from_response(response) {
                        Some(result) => result.map_err(CallError::App),
                        None => Err(CallError::Malformed(format!(
                            "the reply to {} is another method's",
                            info.name
                        ))),
                    }
                }
            }
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
        async move {
            match carrier {
                Carrier::Connection(connection) => {
                    poll_fn(move |cx| {
                        connection
                            .poll_oneway(info.id, cx.waker(), &mut |codec, out| codec.encode(&args, out))
                    })
                    .await
                }
                Carrier::Typed(stub) => stub.oneway(info, to_request(args)).await,
            }
        }
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
}

/// Makes a client over any stream of bytes.
pub(crate) fn over<C: ServiceClient>(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
) -> C {
    let connection = over_stream(io, Config::dialer(C::info())).start();
    C::from_inner(Client::of_connection(connection))
}

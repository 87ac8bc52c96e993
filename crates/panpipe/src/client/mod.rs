//! What a generated client is made of: a carrier of calls and a deadline.

mod carrier;
mod layered;
mod making;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use panpipe_transport::Peer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::carrier::{Carrier, Lost};
pub(crate) use self::carrier::{TypedCall, TypedCarrier};
use self::layered::Layered;
use self::making::{Form, make, make_oneway};
use crate::call;
use crate::call_terms::CallTerms;
use crate::dispatch::{Dispatched, IncomingCall};
use crate::error::CallError;
use crate::layer::{CallLayer, Stack};
use crate::link::{Link, over_stream};
use crate::service::MethodInfo;
use crate::session::{CloseReason, Config, Deadline, ServiceInfo};
use crate::shape::Shape;
use crate::stub::{ClaimedService, OfferedService, Relay, Stub};
use crate::trace::TraceContext;
use crate::watch::{Side, Watch};

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

    /// Makes a call that another process makes of this client.
    #[doc(hidden)]
    fn relay(&self, call: IncomingCall<'_>) -> Dispatched;

    /// Why the connection ended, once it has; `None` while it stands, and for
    /// a client that has no connection of its own.
    fn close_reason(&self) -> Option<CloseReason> {
        self.inner().carrier.close_reason()
    }

    /// The process at the other end, as far as the system tells.
    fn peer(&self) -> Peer {
        self.inner().carrier.peer()
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
        let carrier = self.carrier.to_string();
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

    pub(crate) fn of_typed(stub: Arc<dyn TypedCarrier<Req, Resp>>) -> Self {
        Client { carrier: Carrier::Typed(stub), timeout: None }
    }

    /// The same client, each of whose calls has this long at most.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Client { carrier: self.carrier.clone(), timeout: Some(timeout) }
    }

    /// The same client, with a layer around each call, and around the layers before.
    #[must_use]
    pub fn with_layer(&self, layer: impl CallLayer) -> Self {
        let (carrier, inner) = match &self.carrier {
            Carrier::Layered(layered) => (&layered.carrier, Some(&layered.layers)),
            carrier => (carrier, None),
        };
        let layered = Layered { carrier: carrier.clone(), layers: Stack::of(layer, inner) };
        Client { carrier: Carrier::Layered(Arc::new(layered)), timeout: self.timeout }
    }

    /// What a call is made under: the trace of the call that is being answered here, and
    /// the nearest of the client's timeout, the method's, and the deadline of that call.
    /// The clock is read only if there is one.
    #[inline]
    fn terms(&self, info: &MethodInfo) -> CallTerms {
        let timeout = match (self.timeout, info.timeout) {
            (Some(own), Some(method)) => Some(own.min(method)),
            (own, method) => own.or(method),
        };
        let (inherited, trace) = call::inherited();
        if timeout.is_none() && inherited.is_none() {
            return CallTerms { deadline: None, trace };
        }
        let now = Instant::now();
        // A timeout past the end of the clock is no timeout.
        let own = timeout.and_then(|timeout| now.checked_add(timeout));
        let at = match (own, inherited) {
            (Some(own), Some(inherited)) => Some(own.min(inherited)),
            (own, inherited) => own.or(inherited),
        };
        CallTerms { deadline: at.map(|at| Deadline::of(at, now)), trace }
    }

    #[inline]
    fn watch(&self, info: &'static MethodInfo, trace: Option<Arc<TraceContext>>) -> Option<Box<Watch>> {
        Watch::begin(Side::Client, info.name, || self.carrier.peer(), trace)
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
        let CallTerms { deadline, trace } = self.terms(info);
        let watch = self.watch(info, trace);
        let form = Form::<A, ST, T, SE, E, Req, Resp> { to_request, from_response, shapes: PhantomData };
        make(self.carrier.clone(), info, args, form, deadline, watch)
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
        let watch = self.watch(info, call::inherited().1);
        make_oneway(self.carrier.clone(), info, args, to_request, watch)
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
            // Those who call from elsewhere pass the layers too.
            Carrier::Link(_) | Carrier::Stub(_) | Carrier::Layered(_) => None,
        };
        OfferedService(here.unwrap_or_else(|| Arc::new(Relay(client.clone())))).serialize(serializer)
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

//! What a generated client is made of: a carrier of calls and a deadline.

mod carrier;
mod layered;
mod making;
mod oneway_call;
mod wire_call;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use panpipe_transport::Peer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::carrier::{Carrier, Lost, Version};
pub(crate) use self::carrier::{TypedCall, TypedCarrier};
use self::layered::Layered;
use self::making::{Form, make, make_oneway, nothing_comes_back};
pub use self::oneway_call::{BroadcastCall, OnewayCall};
use crate::blocking::{BlockingServiceClient, Within, block_on, by_others_too, wait_for};
use crate::call;
use crate::call_terms::CallTerms;
use crate::clock;
use crate::dispatch::{Dispatched, IncomingCall};
use crate::error::CallError;
use crate::labels::{ClientMetadata, Labels, labels_of_call};
use crate::layer::{CallLayer, Stack};
use crate::link::{Link, flush, over_stream};
use crate::metadata::{Metadata, MetadataError};
use crate::oneway::RecordWriter;
use crate::reconnect::Reconnecting;
use crate::servable::Relayed;
use crate::service::MethodInfo;
use crate::session::{CloseReason, Config, FLUSH, ServiceInfo, Session};
use crate::shape::Shape;
use crate::stub::{ClaimedService, OfferedService, Relay, Stub};
use crate::watch::{Side, Watch};

/// Why a thread cannot wait inside of a handler.
const WITHIN: &str = "this thread runs a handler of the very connection that it would have to read; await the async client there";

/// A generated client, for code that works with any.
pub trait ServiceClient: Clone + Send + Sync + Sized + 'static {
    /// Every request of the service as one type.
    type Req: Send + 'static;
    /// Every response of the service as one type.
    type Resp: Send + 'static;
    /// The same client for code that is not async.
    type Blocking: BlockingServiceClient<Async = Self>;

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

    /// The client as a service, to be served again: a gateway. See
    /// [`Service`](crate::Service).
    fn relayed(self) -> Relayed<Self> {
        Relayed::new(self)
    }

    /// Why the connection ended, once it has; `None` while it stands, and for
    /// a client that has no connection of its own. Of a client that
    /// [reconnects](crate::Connect::reconnect) it is the last one.
    fn close_reason(&self) -> Option<CloseReason> {
        self.inner().carrier.close_reason()
    }

    /// Ready when the other side has handed every one-way call that was made before,
    /// on this client's connection, to its handler, in order. A one-way call was made
    /// once its future was ready.
    ///
    /// A flush begins behind all calls that this client has made and awaited before, whatever
    /// their size. It is a barrier for the calls, not for what their handlers do: a handler may
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

    /// Waits until the client's connection has ended, and gives the reason: the way for a
    /// client that makes no calls, and only listens, to learn that its server is gone.
    ///
    /// The future does not keep the connection open: it is ready, too, when the last client is
    /// dropped. Of a client that came as a value it is the connection that it came over. Of a
    /// client that [reconnects](crate::Connect::reconnect) it is the connection which stands
    /// when this is called: it is ready at once if that has ended. A client without a
    /// connection, as a local one, is never closed. Cancel safe.
    ///
    /// ```
    /// # #[panpipe::service]
    /// # pub trait Store { async fn get(&self, key: String) -> u64; }
    /// use panpipe::ServiceClient;
    ///
    /// # async fn run(store: StoreClient) {
    /// let reason = store.closed().await;
    /// eprintln!("the store is gone: {reason}");
    /// # }
    /// ```
    fn closed(&self) -> impl Future<Output = CloseReason> + Send + 'static {
        let closed = self.inner().carrier.closed();
        async move {
            match closed {
                Some(closed) => closed.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Closes the client's connection in order: takes no new calls, lets those that run on
    /// both sides finish, writes what is queued, and waits for the end. All clients of the
    /// connection end with it; their next calls fail as ones that were not sent, and one that
    /// [reconnects](crate::Connect::reconnect) does so no more. Of a client that came as a
    /// value it is the connection that it came over; to give up the value alone, drop it. A
    /// client without a connection has nothing to close.
    ///
    /// A call that never ends keeps the connection; dropping the future gives up waiting, and
    /// does not take back the closing.
    fn close(&self) -> impl Future<Output = ()> + Send + 'static {
        let link = self.inner().carrier.close();
        async move {
            if let Some(link) = link {
                link.closed().await;
            }
        }
    }

    /// The [metadata](Metadata) of this type that the other side has given for the connection:
    /// by [`Server::metadata`](crate::Server::metadata), for example.
    ///
    /// `None` until the other side has answered, with its first reply, where it gave none of
    /// that name, and for a client without a connection. Of a client that
    /// [reconnects](crate::Connect::reconnect) it is that of the connection which stands.
    ///
    /// # Errors
    ///
    /// [`MetadataError::Decode`] where the value of this name is none of the type;
    /// [`MetadataError::OverLimit`] where the other side gave more than this side accepts.
    fn connection_metadata<M: Metadata>(&self) -> Result<Option<M>, MetadataError> {
        self.inner().carrier.standing_link().map_or(Ok(None), |link| link.peer_metadata::<M>())
    }

    /// The process at the other end, as far as the system tells.
    fn peer(&self) -> Peer {
        self.inner().carrier.peer()
    }

    /// The version of the service that is called: the newest that both sides speak.
    ///
    /// `None` until the other side has answered, with its first reply, and for a client
    /// that came as a value, of which nothing was agreed upon. Of a client that
    /// [reconnects](crate::Connect::reconnect) it is that of the connection which
    /// stands. A client of this process, or of a stub of tarpc's, calls the newest.
    fn version(&self) -> Option<u32> {
        match self.inner().carrier.version() {
            Version::Agreed(version) => version,
            Version::Newest => Some(Self::info().version()),
        }
    }
}

/// What every generated client holds.
pub struct Client<Req, Resp> {
    carrier: Carrier<Req, Resp>,
    timeout: Option<Duration>,
    /// What its calls carry; most carry none.
    metadata: Option<Arc<ClientMetadata>>,
}

impl<Req, Resp> Clone for Client<Req, Resp> {
    fn clone(&self) -> Self {
        Client { carrier: self.carrier.clone(), timeout: self.timeout, metadata: self.metadata.clone() }
    }
}

impl<Req, Resp> fmt::Debug for Client<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let carrier = self.carrier.to_string();
        f.debug_struct("Client").field("over", &carrier).field("timeout", &self.timeout).finish()
    }
}

impl<Req: Send + 'static, Resp: Send + 'static> Client<Req, Resp> {
    fn of(carrier: Carrier<Req, Resp>) -> Self {
        Client { carrier, timeout: None, metadata: None }
    }

    pub(crate) fn of_link(link: Arc<Link>) -> Self {
        Client::of(Carrier::Link(link))
    }

    pub(crate) fn of_stub(stub: Stub) -> Self {
        Client::of(Carrier::Stub(Arc::new(stub)))
    }

    pub(crate) fn of_reconnecting(engine: Arc<Reconnecting>) -> Self {
        Client::of(Carrier::Reconnecting(engine))
    }

    pub(crate) fn of_records(writer: Arc<RecordWriter>) -> Self {
        Client::of(Carrier::Records(writer))
    }

    pub(crate) fn of_typed(stub: Arc<dyn TypedCarrier<Req, Resp>>) -> Self {
        Client::of(Carrier::Typed(stub))
    }

    /// The same client, each of whose calls has this long at most.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Client { timeout: Some(timeout), ..self.clone() }
    }

    /// The same client, each of whose calls carries this value.
    #[must_use]
    pub fn with_metadata<M: Metadata>(&self, value: &M) -> Self {
        let metadata = self.metadata.as_deref().cloned().unwrap_or_default().with(value);
        Client { metadata: Some(Arc::new(metadata)), ..self.clone() }
    }

    /// The same client, each of whose calls carries the metadata of the call that is being
    /// answered where it is made.
    #[must_use]
    pub fn with_inherited_metadata(&self) -> Self {
        let metadata = self.metadata.as_deref().cloned().unwrap_or_default().inheriting();
        Client { metadata: Some(Arc::new(metadata)), ..self.clone() }
    }

    /// The same client, with a layer around each call, and around the layers before.
    #[must_use]
    pub fn with_layer(&self, layer: impl CallLayer) -> Self {
        let (carrier, inner) = match &self.carrier {
            Carrier::Layered(layered) => (&layered.carrier, Some(&layered.layers)),
            carrier => (carrier, None),
        };
        let layered = Layered { carrier: carrier.clone(), layers: Stack::of(layer, inner) };
        Client { carrier: Carrier::Layered(Arc::new(layered)), ..self.clone() }
    }

    /// What a call is made under: the labels of the call that is being answered here, and the
    /// nearest of the client's timeout, the method's, and the deadline of that call.
    /// The clock is read only if there is one.
    #[inline(always)]
    fn terms(&self, info: &MethodInfo) -> CallTerms {
        let timeout = match (self.timeout, info.timeout) {
            (Some(own), Some(method)) => Some(own.min(method)),
            (own, method) => own.or(method),
        };
        let (inherited, labels) = call::inherited();
        if timeout.is_none() && inherited.is_none() {
            return CallTerms { deadline: None, labels };
        }
        let now = clock::now();
        // A timeout past the end of the clock is no timeout.
        let own = timeout.and_then(|timeout| now.checked_add(timeout));
        let at = match (own, inherited) {
            (Some(own), Some(inherited)) => Some(own.min(inherited)),
            (own, inherited) => own.or(inherited),
        };
        CallTerms { deadline: at, labels }
    }

    /// Watches a call that is made while one with these labels is being answered, if it has
    /// labels or anybody wants to know of it.
    #[inline]
    fn watch(&self, info: &'static MethodInfo, inherited: Option<Arc<Labels>>) -> Option<Box<Watch>> {
        if self.metadata.is_none() && inherited.is_none() && !Watch::may_be_wanted() {
            return None;
        }
        self.watch_labelled(info, inherited)
    }

    #[cold]
    fn watch_labelled(
        &self,
        info: &'static MethodInfo,
        inherited: Option<Arc<Labels>>,
    ) -> Option<Box<Watch>> {
        let labels = labels_of_call(self.metadata.as_deref(), inherited);
        Watch::begin(Side::Client, info.name, || self.carrier.peer(), labels)
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
        A: Serialize + DeserializeOwned + Send + 'static,
        ST: Shape<T> + 'static,
        SE: Shape<E> + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let CallTerms { deadline, labels } = self.terms(info);
        let watch = self.watch(info, labels);
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
        A: Serialize + DeserializeOwned + Send + 'static,
    {
        let CallTerms { deadline, labels } = self.terms(info);
        let watch = self.watch(info, labels);
        make_oneway(self.carrier.clone(), info, args, to_request, deadline, watch)
    }

    /// Calls a method, and waits on this thread.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), and [`CallError::Unsupported`] where this thread is
    /// running a handler that the connection waits for.
    #[inline]
    pub fn call_blocking<A, ST, T, SE, E>(
        &self,
        info: &'static MethodInfo,
        args: A,
        to_request: fn(A) -> Req,
        from_response: fn(Resp) -> Option<Result<T, E>>,
    ) -> Result<T, CallError<E>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        ST: Shape<T> + 'static,
        SE: Shape<E> + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let CallTerms { deadline, labels } = self.terms(info);
        let watch = self.watch(info, labels);
        let form = Form::<A, ST, T, SE, E, Req, Resp> { to_request, from_response, shapes: PhantomData };
        let call = make(self.carrier.clone(), info, args, form, deadline, watch);
        self.wait(deadline, call).unwrap_or_else(|error| Err(error.widen()))
    }

    /// Calls a one-way method, and waits on this thread until the call is on its way.
    ///
    /// # Errors
    ///
    /// As [`call_blocking`](Self::call_blocking).
    pub fn oneway_blocking<A>(
        &self,
        info: &'static MethodInfo,
        args: A,
        to_request: fn(A) -> Req,
    ) -> Result<(), CallError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
    {
        self.wait(None, self.oneway(info, args, to_request))?
    }

    /// The barrier behind one-way calls, for a thread.
    pub(crate) fn flush_blocking(&self) -> Result<(), CallError> {
        self.wait(None, self.flush())?
    }

    /// Waits on this thread for the end of the connection; for a client that has none, without
    /// an end.
    pub(crate) fn closed_blocking(&self) -> Result<CloseReason, CallError> {
        match self.carrier.closed() {
            Some(closed) => self.wait(None, closed),
            None => Ok(block_on(std::future::pending())),
        }
    }

    /// Closes the connection in order, and waits on this thread for its end.
    pub(crate) fn close_blocking(&self) -> Result<(), CallError> {
        match self.carrier.close() {
            Some(link) => self.wait(None, link.closed()).map(drop),
            None => Ok(()),
        }
    }

    /// Waits on this thread.
    #[inline]
    fn wait<F: Future>(&self, deadline: Option<Instant>, future: F) -> Result<F::Output, CallError> {
        let session: Option<&Session> = self.carrier.link().map(|link| &**link);
        match session {
            Some(session) => {
                let deadline = deadline.and_then(clock::to_system);
                let waited = match &self.carrier {
                    // What a layer waits for nobody knows.
                    Carrier::Layered(_) => wait_for(session, deadline, by_others_too(future)),
                    _ => wait_for(session, deadline, future),
                };
                waited.map_err(|Within| CallError::Unsupported(WITHIN.to_owned()))
            }
            None => Ok(block_on(future)),
        }
    }

    /// The barrier behind one-way calls.
    pub(crate) fn flush(
        &self,
    ) -> impl Future<Output = Result<(), CallError>> + Send + 'static + use<Req, Resp> {
        static INFO: MethodInfo = MethodInfo::new("panpipe.flush", FLUSH);
        let deadline = self.terms(&INFO).deadline;
        let carrier = match &self.carrier {
            // It is no call that a layer has to know of.
            Carrier::Layered(layered) => layered.carrier.clone(),
            carrier => carrier.clone(),
        };
        async move {
            match carrier {
                Carrier::Link(link) => flush(link, deadline).await,
                Carrier::Stub(stub) => flush(Arc::clone(&stub.link), deadline).await,
                // Calls that went over a connection before it are not known of.
                Carrier::Reconnecting(engine) => flush(engine.link(), deadline).await,
                Carrier::Records(_) | Carrier::Layered(_) => Err(nothing_comes_back()),
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
            // What the client adds to each call is added for those who call from elsewhere too.
            Carrier::Typed(typed) if client.inner().metadata.is_none() => typed.service(),
            // They pass the layers too.
            Carrier::Typed(_)
            | Carrier::Link(_)
            | Carrier::Stub(_)
            | Carrier::Reconnecting(_)
            | Carrier::Records(_)
            | Carrier::Layered(_) => None,
        };
        let service = here.unwrap_or_else(|| Arc::new(Relay::of(client)));
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

/// A client of nothing, where the other side offers no service: the `host` of
/// a child whose parent is not to be called.
#[derive(Debug, Clone)]
pub struct NoService {
    inner: Client<Infallible, Infallible>,
}

impl ServiceClient for NoService {
    type Req = Infallible;
    type Resp = Infallible;

    type Blocking = NoBlockingService;

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

/// The same for code that is not async.
#[derive(Debug, Clone)]
pub struct NoBlockingService {
    client: NoService,
}

impl BlockingServiceClient for NoBlockingService {
    type Async = NoService;

    fn of_async(client: NoService) -> Self {
        NoBlockingService { client }
    }

    fn as_async(&self) -> &NoService {
        &self.client
    }
}

/// Makes a client over any stream of bytes.
pub(crate) fn over<C: ServiceClient>(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
) -> C {
    C::from_inner(Client::of_link(over_stream(io, Config::dialer(C::info())).start()))
}

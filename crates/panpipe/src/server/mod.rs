//! A service under a name, for many clients.

mod accept;
mod admission;
mod blocking;
mod client;
mod draining;
mod room;
mod running;
mod setup;
mod stop;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::{Access, BindError, Latency, Listener, NameError, PipeName};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinError;

use self::accept::Accept;
pub use self::blocking::{RunningBlockingServer, serve_blocking};
pub use self::running::RunningServer;
use self::setup::ClientSetup;
pub(crate) use self::stop::{Stop, told, until_signalled};
use crate::call_info::CallInfo;
use crate::connection::Connection;

use crate::hub::{ConnectedClient, Hub, Reception};
use crate::layer::CallLayer;
use crate::limits::{self, Limits};
use crate::link::over_stream;
use crate::metadata::{Metadata, MetadataError, MetadataSet};
use crate::offers::Offers;
use crate::servable::Service;
use crate::service::{Serve, ServiceImpl};
use crate::session::{CloseReason, Config};
use crate::sys::{Announced, EndSignals};

/// Serves `service` under `name` until ctrl-c or SIGTERM, then lets running calls
/// finish. It is `Server::bind(name).service(service).serve()`, see [`Server::serve`].
///
/// Only processes of the same user are answered. A second server on a name
/// that is in use fails; the name of a server that has died is taken over.
///
/// # Errors
///
/// When the name cannot be served, see [`ServeError`].
pub async fn serve(
    name: impl TryInto<PipeName, Error: Into<NameError>>,
    service: impl Service,
) -> Result<(), ServeError> {
    Server::bind(name).service(service).serve().await
}

/// Serves one client over a stream of bytes, until the connection ends; gives
/// why it did. The client is one made by the generated `over`.
///
/// Nothing is known of who is at the other end, unless the stream is a
/// [`PipeStream`](panpipe_transport::PipeStream): see to it that only those get
/// there who may.
///
/// Dropping the future ends the connection.
pub async fn serve_stream<Io>(io: Io, service: impl Service) -> CloseReason
where
    Io: AsyncRead + AsyncWrite + Send + 'static,
{
    let offers = Offers::of(service);
    let config = Config { offers: offers.infos(), ..Config::acceptor() };
    let (connection, driver) = over_stream(io, config).with_offers(offers).into_parts();
    let reason = driver.await;
    drop(connection);
    reason
}

/// Why a server does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The name cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No service was given.
    #[error("the server at {name} has nothing to serve; call `.service(…)` before `.serve()`")]
    NoService {
        /// The name that was to be served.
        name: PipeName,
    },
    /// Two services of the same name and version were registered: no call could reach one of
    /// them.
    #[error("the service {service} was registered twice with the server at {name}; remove one of the two")]
    RegisteredTwice {
        /// The name that was to be served.
        name: PipeName,
        /// The name of the service.
        service: String,
    },
    /// The server's own metadata cannot be sent.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The server's task panicked.
    #[error("the server's task failed: {0}")]
    Task(#[from] JoinError),
    /// The thread of a server without a runtime panicked.
    #[error("the server's thread panicked")]
    Thread,
}

/// A server to be started: a name, a service, limits.
///
/// ```no_run
/// # #[panpipe::service]
/// # pub trait Clock { async fn now(&self) -> u64; }
/// # struct Wall;
/// # impl Clock for Wall { async fn now(&self) -> u64 { 0 } }
/// # async fn run() -> Result<(), panpipe::ServeError> {
/// use panpipe::{Limits, Server};
///
/// Server::bind("acme.clock")
///     .limits(Limits { max_clients: 8, ..Limits::default() })
///     .service(Wall.serve())
///     .serve()
///     .await
/// # }
/// ```
#[must_use = "a server serves when `.serve()` is awaited or `.start()` is called"]
pub struct Server {
    name: Result<PipeName, NameError>,
    offers: Offers,
    limits: Limits,
    latency: Latency,
    metadata: Option<MetadataSet>,
    grace: Duration,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether `serve` ends it on ctrl-c and SIGTERM.
    by_signals: bool,
    access: Access,
    reception: Reception,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server under `name`. Nothing happens before [`serve`](Self::serve) or
    /// [`start`](Self::start), which also tell whether the name can be had.
    pub fn bind(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Self {
        Server {
            name: name.try_into().map_err(Into::into),
            offers: Offers::default(),
            limits: Limits::default(),
            latency: Latency::default(),
            metadata: None,
            grace: limits::DRAIN,
            until: Box::pin(std::future::pending()),
            by_signals: true,
            access: Access::default(),
            reception: Reception::default(),
        }
    }

    /// Lets clients call this service. There may be several: a generated client
    /// connects to its own, [`connect`](crate::connect) to all. The same service twice is
    /// [`ServeError::RegisteredTwice`] when the server starts.
    pub fn service(mut self, service: impl Service) -> Self {
        self.offers.add_shared(service);
        self
    }

    /// Lets each client call a service that `make` makes for it alone, when the
    /// client first asks for it: for state that belongs to one client.
    ///
    /// The service is dropped when the client's connection has ended.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// #[panpipe::service]
    /// pub trait Counter {
    ///     /// Counts this client's calls.
    ///     async fn next(&self) -> u64;
    /// }
    ///
    /// #[derive(Default)]
    /// struct Calls(AtomicU64);
    ///
    /// impl Counter for Calls {
    ///     async fn next(&self) -> u64 {
    ///         self.0.fetch_add(1, Ordering::Relaxed) + 1
    ///     }
    /// }
    ///
    /// # fn run() -> Result<(), panpipe::ServeError> {
    /// let server = panpipe::Server::bind("acme.counter")
    ///     .service_per_client(|client| {
    ///         println!("{} counts", client.peer());
    ///         Calls::default().serve()
    ///     })
    ///     .start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn service_per_client<I: ServiceImpl>(
        mut self,
        make: impl Fn(&Connection) -> Serve<I> + Send + Sync + 'static,
    ) -> Self {
        self.offers.add_per_client(make);
        self
    }

    /// Who may call: processes of the same user, unless others are let in. Where the
    /// name's pipe is, and who can open it, follows from it: see [`PipeName`].
    ///
    /// Whoever else comes is told so, before a byte of its own has been read: its first
    /// call fails with [`CallError::Refused`](crate::CallError::Refused). A rule that
    /// waits for its answer holds nobody else up; it has as long as
    /// [`Limits::handshake_timeout`] says. A client that waits for it takes none of the places
    /// of [`Limits::max_clients`]; 64 of one user may wait, and 1,024 in all.
    ///
    /// ```no_run
    /// # #[panpipe::service]
    /// # pub trait Clock { async fn now(&self) -> u64; }
    /// # struct Wall;
    /// # impl Clock for Wall { async fn now(&self) -> u64 { 0 } }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use panpipe::{Access, PipeName, Server};
    ///
    /// // A daemon of root's that the members of a group may call.
    /// const OPERATORS: u32 = 1200;
    /// let server = Server::bind("acme.clock").allow(Access::gids([OPERATORS])).service(Wall.serve()).start()?;
    /// // And its clients:
    /// let clock = ClockClient::connect(PipeName::of_user(0, "acme.clock")?).await?;
    /// # drop((server, clock));
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Has each call of a client pass a rule before a byte of its arguments is decoded:
    /// one that is denied is not run, and its caller is told so, as
    /// [`CallError::Refused`](crate::CallError::Refused) for the reason
    /// [`NotAllowed`](crate::RefusalReason::NotAllowed), in the rule's words. A one-way call
    /// that is denied is dropped, with a warning in this process' log.
    ///
    /// The rule returns `Ok(())`, or `Err` with the text for the caller, a `&str` or a `String`.
    ///
    /// The rule holds for all that clients call over their connections: every service,
    /// also one that was passed to them as a value. There may be several rules; all of
    /// them have to allow a call. A rule that panics denies. It runs in the task that
    /// reads its client's connection, so it must not block.
    ///
    /// ```
    /// # #[panpipe::service]
    /// # pub trait Store { async fn get(&self, key: String) -> u64; async fn clear(&self); }
    /// # struct Db;
    /// # impl Store for Db { async fn get(&self, _: String) -> u64 { 9 } async fn clear(&self) {} }
    /// # fn run() -> Result<(), panpipe::ServeError> {
    /// let server = panpipe::Server::bind("acme.store")
    ///     .service(Db.serve())
    ///     .authorize(|call| match (call.service(), call.method()) {
    ///         ("Store", "clear") if call.peer().uid != Some(0) => Err("only root clears the store"),
    ///         _ => Ok(()),
    ///     })
    ///     .start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn authorize<W: Into<String>>(
        mut self,
        rule: impl Fn(&CallInfo) -> Result<(), W> + Send + Sync + 'static,
    ) -> Self {
        self.offers.add_rule(rule);
        self
    }

    /// Puts a layer around every call of a client that the rules allow, and around the
    /// layers given before: see [`layer`](crate::layer). All clients pass the same
    /// layers, so that a limit holds for all of them together.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # #[panpipe::service]
    /// # pub trait Clock { async fn now(&self) -> u64; }
    /// # struct Wall;
    /// # impl Clock for Wall { async fn now(&self) -> u64 { 0 } }
    /// # fn run() -> Result<(), panpipe::ServeError> {
    /// let limits = tower::ServiceBuilder::new()
    ///     .load_shed()
    ///     .concurrency_limit(64)
    ///     .timeout(Duration::from_secs(30))
    ///     .into_inner();
    /// let server = panpipe::Server::bind("acme.clock").service(Wall.serve()).layer(limits).start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer(mut self, layer: impl CallLayer) -> Self {
        self.offers.add_layer(layer);
        self
    }

    /// Keeps the view of who is connected in `hub`, which services may hold too: to
    /// call their clients, or to send one away.
    pub fn hub(mut self, hub: &Hub) -> Self {
        self.reception.hub = hub.clone();
        self
    }

    /// Calls `hook` when a client has said hello and is let in, before any call of
    /// its runs. The hook must not block.
    pub fn on_connect(mut self, hook: impl Fn(&ConnectedClient) + Send + Sync + 'static) -> Self {
        self.reception.on_connect = Some(Box::new(hook));
        self
    }

    /// Calls `hook` when the connection of a client has ended that had been let in,
    /// and says why. The hook must not block.
    pub fn on_disconnect(
        mut self,
        hook: impl Fn(&ConnectedClient, &CloseReason) + Send + Sync + 'static,
    ) -> Self {
        self.reception.on_disconnect = Some(Box::new(hook));
        self
    }

    /// How the connections wait for bytes on this side.
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// Gives each client this [metadata](Metadata) for its connection; there may be several, of
    /// several names. Clients read them by
    /// [`ServiceClient::connection_metadata`](crate::ServiceClient::connection_metadata).
    ///
    /// A value that cannot be encoded, and more than 1,536 bytes in all, are
    /// [`ServeError::Metadata`] when the server starts. A client whose panpipe is older than
    /// metadata does not see them.
    pub fn metadata<M: Metadata>(mut self, value: &M) -> Self {
        self.metadata = Some(MetadataSet::with(self.metadata.as_ref(), value));
        self
    }

    /// What each client may take.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long running calls may take to finish once the server ends; 30 seconds, unless it
    /// is set. Then their connections are cut. A handler that would run for longer learns by
    /// [`call::ending`](crate::call::ending) that it is to return.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Leaves ctrl-c and SIGTERM to the program: [`serve`](Self::serve) and
    /// [`serve_blocking`](Self::serve_blocking) do not listen to them.
    pub fn without_signals(mut self) -> Self {
        self.by_signals = false;
        self
    }

    /// Ends the server, in order, when `event` is ready. Signals end it too, see
    /// [`serve`](Self::serve).
    ///
    /// The server's task polls `event`, for the first time after the server has its name. One
    /// that begins to listen then, as tokio's `ctrl_c` does, misses a signal that comes before.
    pub fn until(mut self, event: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Box::pin(event);
        self
    }

    /// Serves until the process is told to end, by ctrl-c or SIGTERM, or until the event of
    /// [`until`](Self::until).
    ///
    /// Then the server ends in order: the name is free at once, no new calls are taken, and
    /// those that run have as long as [`grace`](Self::grace) says; a line of the log says so. A
    /// second signal ends the server without waiting for them. A process that listens to
    /// signals by itself says [`without_signals`](Self::without_signals).
    ///
    /// Dropping the future ends the server in order, in the background.
    ///
    /// # Errors
    ///
    /// When the name cannot be had, nothing is to be served, or a service was registered twice.
    pub async fn serve(self) -> Result<(), ServeError> {
        // From before the first client is let in.
        let signals = self.by_signals.then(EndSignals::listen);
        let server = self.start()?;
        match signals {
            Some(signals) => until_signalled(server, signals).await,
            None => server.wait().await,
        }
    }

    /// Starts the server as a task; the name is taken when this returns. It listens to no
    /// signals.
    ///
    /// # Errors
    ///
    /// When the name cannot be had, nothing is to be served, or a service was registered twice.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<RunningServer, ServeError> {
        let name = self.name.map_err(BindError::from)?;
        check_services(&self.offers, &name)?;
        let metadata = MetadataSet::for_hello(self.metadata)?;
        let listener = Listener::bind_for(name.clone(), self.access.clone())?;
        let (stop, stopping) = watch::channel(Stop::No);
        let hub = self.reception.hub.clone();
        let accept = Accept {
            listener,
            setup: Arc::new(ClientSetup::new(
                self.access,
                self.offers,
                self.limits,
                self.latency,
                metadata,
                self.reception,
            )),
            grace: self.grace,
            stopping,
            until: self.until,
            announced: Announced::ready(),
        };
        let task = tokio::spawn(accept.run());
        Ok(RunningServer::new(name, hub, stop, task))
    }
}

/// Checks that there is a service, and none twice.
fn check_services(offers: &Offers, name: &PipeName) -> Result<(), ServeError> {
    if offers.is_empty() {
        return Err(ServeError::NoService { name: name.clone() });
    }
    match offers.duplicate() {
        Some(service) => {
            Err(ServeError::RegisteredTwice { name: name.clone(), service: service.name().to_owned() })
        }
        None => Ok(()),
    }
}

/// So that `?` works in a `main` that returns `io::Result`.
impl From<ServeError> for io::Error {
    fn from(error: ServeError) -> Self {
        io::Error::other(error)
    }
}

//! A service under a name, for many clients.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use panpipe_transport::{BindError, Listener, NameError, Peer, PipeName, PipeStream};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::call_info::CallInfo;
use crate::connection::Connection;
use crate::error::{Refusal, RefusalReason};
use crate::layer::CallLayer;
use crate::limits::{self, Limits};
use crate::link::{over_pipe, over_stream};
use crate::offers::Offers;
use crate::service::{Serve, ServiceImpl};
use crate::session::{CloseReason, Config};

/// Serves `service` under `name` until ctrl-c, then lets running calls finish.
///
/// Only processes of the same user are answered. A second server on a name
/// that is in use fails; the name of a server that has died is taken over.
///
/// # Errors
///
/// When the name cannot be served, see [`ServeError`].
pub async fn serve<I: ServiceImpl>(
    name: impl TryInto<PipeName, Error: Into<NameError>>,
    service: Serve<I>,
) -> Result<(), ServeError> {
    let ctrl_c = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!("ctrl-c cannot be watched for, the server runs until it is killed: {error}");
            std::future::pending::<()>().await;
        }
    };
    Server::bind(name).service(service).until(ctrl_c).serve().await
}

/// Serves one client over a stream of bytes, until the connection ends; gives
/// why it did. The client is one made by the generated `over`.
///
/// Nothing is known of who is at the other end, unless the stream is a
/// [`PipeStream`](panpipe_transport::PipeStream): see to it that only those get
/// there who may.
///
/// Dropping the future ends the connection.
pub async fn serve_stream<Io, I>(io: Io, service: Serve<I>) -> CloseReason
where
    Io: AsyncRead + AsyncWrite + Send + 'static,
    I: ServiceImpl,
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
    /// The server's task panicked.
    #[error("the server's task failed: {0}")]
    Task(#[from] JoinError),
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
    grace: Duration,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
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
            grace: limits::DRAIN,
            until: Box::pin(std::future::pending()),
        }
    }

    /// Lets clients call this service. There may be several: a generated client
    /// connects to its own, [`connect`](crate::connect) to all.
    pub fn service<I: ServiceImpl>(mut self, service: Serve<I>) -> Self {
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

    /// Has each call of a client pass a rule before a byte of its arguments is decoded:
    /// one that is denied is not run, and its caller is told so, as
    /// [`CallError::Refused`](crate::CallError::Refused) for the reason
    /// [`NotAllowed`](RefusalReason::NotAllowed), in the rule's words. A one-way call
    /// that is denied is dropped, with a warning in this process' log.
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

    /// What each client may take.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long running calls may take to finish once the server ends.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Ends the server, in order, when `event` is ready.
    pub fn until(mut self, event: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Box::pin(event);
        self
    }

    /// Serves until the server is told to end.
    ///
    /// # Errors
    ///
    /// When the name cannot be had or nothing is to be served.
    pub async fn serve(self) -> Result<(), ServeError> {
        self.start()?.wait().await
    }

    /// Starts the server as a task; the name is taken when this returns.
    ///
    /// # Errors
    ///
    /// When the name cannot be had or nothing is to be served.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<RunningServer, ServeError> {
        let name = self.name.map_err(BindError::from)?;
        if self.offers.is_empty() {
            return Err(ServeError::NoService { name });
        }
        let listener = Listener::bind(name.clone())?;
        let (stop, stopping) = watch::channel(false);
        let accept = Accept {
            listener,
            offers: self.offers,
            limits: self.limits,
            grace: self.grace,
            stopping,
            until: self.until,
        };
        Ok(RunningServer { name, stop, task: tokio::spawn(accept.run()) })
    }
}

/// A server at work. Dropping it leaves the server running.
#[derive(Debug)]
pub struct RunningServer {
    name: PipeName,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RunningServer {
    /// The name that is served.
    #[must_use]
    pub fn name(&self) -> &PipeName {
        &self.name
    }

    /// Takes no new clients and no new calls, lets running calls finish for as
    /// long as the server's grace allows, and ends.
    ///
    /// # Errors
    ///
    /// When the server's task has panicked.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.stop.send_replace(true);
        self.wait().await
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    ///
    /// When the server's task has panicked.
    pub async fn wait(self) -> Result<(), ServeError> {
        // The sender lives on: the server ends when it is told to, not when this is dropped.
        Ok(self.task.await?)
    }
}

struct Accept {
    listener: Listener,
    offers: Offers,
    limits: Limits,
    grace: Duration,
    stopping: watch::Receiver<bool>,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Accept {
    async fn run(self) {
        let Accept { listener, offers, limits, grace, mut stopping, mut until } = self;
        let (drain, draining) = watch::channel(false);
        let mut clients = JoinSet::new();
        let mut pause = limits::ACCEPT_PAUSE;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(stream) => {
                        pause = limits::ACCEPT_PAUSE;
                        let refusal = turn_down(&stream.peer(), clients.len(), &limits);
                        let client = ClientSetup { offers: offers.clone(), limits: limits.clone() };
                        clients.spawn(client.serve(stream, refusal, draining.clone()));
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: they come back when clients go.
                        tracing::warn!(name = %listener.name(), "a client cannot be accepted, trying again in {pause:?}: {error}");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(limits::ACCEPT_PAUSE_MOST);
                    }
                },
                Some(_) = clients.join_next(), if !clients.is_empty() => {}
                () = &mut until => break,
                true = told(&mut stopping) => break,
            }
        }
        // The name is free from here on, a successor can take it.
        drop(listener);
        drain.send_replace(true);
        let all = async { while clients.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("{} clients had calls running when the server's grace ended", clients.len());
        }
        clients.shutdown().await;
    }
}

/// Waits until the value is true; false when nobody can set it any more.
async fn told(event: &mut watch::Receiver<bool>) -> bool {
    event.wait_for(|&told| told).await.is_ok()
}

/// Whether a client is refused before a byte of it is read.
fn turn_down(peer: &Peer, clients: usize, limits: &Limits) -> Option<Refusal> {
    let own = Peer::this_process();
    if peer.uid.is_some() && peer.uid != own.uid {
        let message =
            format!("this server answers processes of its own user only: it is {own}, the client is {peer}");
        return Some(Refusal { reason: RefusalReason::NotAllowed, message });
    }
    if clients >= limits.max_clients {
        let message = format!("this server has {clients} clients, as many as it accepts; try again later");
        return Some(Refusal { reason: RefusalReason::Overloaded, message });
    }
    None
}

struct ClientSetup {
    offers: Offers,
    limits: Limits,
}

impl ClientSetup {
    async fn serve(self, stream: PipeStream, refusal: Option<Refusal>, mut draining: watch::Receiver<bool>) {
        let peer = stream.peer();
        let config = Config { limits: self.limits, offers: self.offers.infos(), ..Config::acceptor() };
        let (connection, driver) = over_pipe(stream, config).with_offers(self.offers).into_parts();
        if let Some(refusal) = refusal {
            connection.refuse(refusal);
        }
        tokio::pin!(driver);
        let reason = tokio::select! {
            reason = &mut driver => reason,
            _ = told(&mut draining) => {
                connection.drain();
                driver.await
            }
        };
        match reason {
            CloseReason::Closed | CloseReason::Local => {
                tracing::debug!(%peer, "a client has gone: {reason}")
            }
            other => tracing::warn!(%peer, "a client was lost: {other}"),
        }
    }
}

/// So that `?` works in a `main` that returns `io::Result`.
impl From<ServeError> for io::Error {
    fn from(error: ServeError) -> Self {
        io::Error::other(error)
    }
}

//! Connecting to a server by its name.

use std::error::Error;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::{Access, ConnectError, Latency, NameError, PipeName};

use crate::backoff::Backoff;
use crate::blocking::BlockingServiceClient;
use crate::client::{Client, ServiceClient};
use crate::codec::Codec;
use crate::connection::Connection;
use crate::limits::Limits;
use crate::link::{Link, over_blocking};
use crate::metadata::Metadata;
use crate::offers::Offers;
use crate::reconnect::{OnReconnect, Plan, Reconnecting};
use crate::servable::Service;
use crate::session::{Config, ServiceInfo};

/// Connects to a server that offers several services, each of which is then
/// asked for by [`Connection::client`].
pub fn connect(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Connect<Connection> {
    Connect::new(name)
}

/// What a connection can be made for: a generated client, or a [`Connection`].
pub trait Target: sealed::Target {}

impl<T: sealed::Target> Target for T {}

mod sealed {
    use super::{Arc, Link, ServiceInfo};

    pub trait Target: Sized + 'static {
        fn wants() -> ServiceInfo;
        #[allow(private_interfaces)]
        fn of(link: Arc<Link>) -> Self;
    }
}

impl<C: ServiceClient> sealed::Target for C {
    fn wants() -> ServiceInfo {
        C::info()
    }

    #[allow(private_interfaces)]
    fn of(link: Arc<Link>) -> Self {
        C::from_inner(Client::of_link(link))
    }
}

impl sealed::Target for Connection {
    fn wants() -> ServiceInfo {
        ServiceInfo::none()
    }

    #[allow(private_interfaces)]
    fn of(link: Arc<Link>) -> Self {
        Connection::new(link)
    }
}

/// A connection to be made, made by awaiting it.
///
/// What can go wrong at once is a [`ConnectError`]. The hello travels with the
/// first call: a server that turns the client down does it there, as
/// [`CallError::Refused`](crate::CallError::Refused), and with a server that does not answer
/// within [`Limits::handshake_timeout`] that call fails with
/// [`CallError::NoHello`](crate::CallError::NoHello).
///
/// Dropping the future gives up; nothing is left behind.
#[must_use = "a connection is made when this is awaited"]
pub struct Connect<C> {
    name: Result<PipeName, NameError>,
    wait: Option<Duration>,
    trust: Option<Access>,
    config: Config,
    offers: Offers,
    reconnect: Option<(Backoff, MakeClient<C>)>,
    on_reconnect: Option<OnReconnect>,
}

/// Makes a client of the connections that it is to call over.
type MakeClient<C> = fn(Arc<Reconnecting>) -> C;

impl<C> std::fmt::Debug for Connect<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("name", &self.name).field("wait", &self.wait).finish_non_exhaustive()
    }
}

impl<C: Target> Connect<C> {
    pub(crate) fn new(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Self {
        Connect {
            name: name.try_into().map_err(Into::into),
            wait: None,
            trust: None,
            config: Config::dialer(C::wants()),
            offers: Offers::default(),
            reconnect: None,
            on_reconnect: None,
        }
    }

    /// Waits this long for a server to come up, rather than failing when there
    /// is none. Waiting takes no CPU.
    ///
    /// A server that takes the connection has as long again for its hello, and at most
    /// [`Limits::handshake_timeout`]: after that the first call fails with
    /// [`CallError::NoHello`](crate::CallError::NoHello).
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Whose server may answer, rather than this process's own user or the one whose
    /// name it is. It is checked before a byte is sent.
    pub fn trust(mut self, access: Access) -> Self {
        self.trust = Some(access);
        self
    }

    /// How the connection waits for bytes on this side.
    pub fn latency(mut self, latency: Latency) -> Self {
        self.config.latency = latency;
        self
    }

    /// What this side accepts from the server.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = Arc::new(limits);
        self
    }

    /// Gives the server this [metadata](Metadata) for the whole connection; there may be several,
    /// of several names. Handlers read them by
    /// [`call::connection_metadata`](crate::call::connection_metadata).
    ///
    /// A value that cannot be encoded, and more than 1,536 bytes in all, are an error when the
    /// connection is made: a [`ConnectError::Io`] of the kind
    /// [`InvalidInput`](io::ErrorKind::InvalidInput). A server whose panpipe is older than
    /// metadata does not see them.
    ///
    /// ```
    /// use panpipe::{Metadata, Server, call};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Program {
    ///     version: String,
    /// }
    ///
    /// impl Metadata for Program {
    ///     const NAME: &'static str = "acme.program";
    /// }
    ///
    /// #[panpipe::service]
    /// pub trait Clock {
    ///     async fn now(&self) -> u64;
    /// }
    ///
    /// struct Wall;
    ///
    /// impl Clock for Wall {
    ///     async fn now(&self) -> u64 {
    ///         let program = call::connection_metadata::<Program>().ok().flatten();
    ///         println!("asked by version {:?}", program.map(|program| program.version));
    ///         7
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc.program.{}", std::process::id());
    /// # let server = Server::bind(&name).service(Wall.serve()).start()?;
    /// let program = Program { version: env!("CARGO_PKG_VERSION").to_owned() };
    /// let clock = ClockClient::connect(&name).metadata(&program).await?;
    /// assert_eq!(clock.now().await?, 7);
    /// # server.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn metadata<M: Metadata>(mut self, value: &M) -> Self {
        self.config.add_metadata(value);
        self
    }

    /// Encodes with another codec than the default one.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.config.codec = codec;
        self
    }

    /// Lets the server call this service. Several may be offered; one twice is an error
    /// when the client connects.
    pub fn offer(mut self, service: impl Service) -> Self {
        self.offers.add_shared(service);
        self
    }
}

impl<C: ServiceClient> Connect<C> {
    /// Calls the instance of the service that is served under this name, rather than
    /// under the trait's own: see [`Service::named`].
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.config.wants = Some(C::info().named(name.into()));
        self
    }

    /// Makes a client that outlives its server's process.
    ///
    /// When its connection has ended, or the server has said that it is to end, the
    /// next call makes a new one, tried again and again as `backoff` says; all calls
    /// that are made meanwhile wait for the same. Then
    ///
    /// - a call that was certainly not run, since it was not sent or the server was
    ///   shutting down, is made again on the next connection;
    /// - a call that may have run fails with
    ///   [`Disconnected { sent: true }`](crate::CallError::Disconnected), unless its
    ///   method is `#[idempotent]`: then it is made again too;
    /// - a one-way call that has not been queued is made again; what becomes of one
    ///   that has is not known, here as elsewhere.
    ///
    /// A deadline bounds all of it, and dropping the future gives it up. Where
    /// `backoff` gives up, the calls that wait fail, as
    /// [`Disconnected`](crate::CallError::Disconnected), whose `sent` holds for all
    /// tries; the next call begins anew. A server that turns the client down for its
    /// service, its version or its user is not tried again, and one that has as many
    /// clients as it accepts is.
    ///
    /// The arguments are kept until the reply is here, and encoded for each try. A
    /// stream or a sender among them can be sent once: such a call is made again only
    /// if it had not been queued. Clients among them are sent again.
    ///
    /// Services on [offer](Self::offer) are offered on each connection. But streams,
    /// senders and clients that were received end with theirs, and a server has to be
    /// called before it can call back. Nothing is done while no call is made. The
    /// connection ends, and so does any waiting, with the last clone of the client and
    /// the last of its calls.
    ///
    /// The first connection is made when this is awaited, and fails as any:
    /// [`wait`](Self::wait) for a server that may not be up yet.
    ///
    /// ```
    /// use panpipe::{Backoff, Server};
    ///
    /// #[panpipe::service]
    /// pub trait Store {
    ///     /// To read twice is as good as once.
    ///     #[idempotent]
    ///     async fn get(&self, key: String) -> Option<u64>;
    ///     /// To add twice is not.
    ///     async fn add(&self, key: String, x: u64) -> u64;
    /// }
    ///
    /// # struct Db;
    /// # impl Store for Db {
    /// #     async fn get(&self, _: String) -> Option<u64> { Some(7) }
    /// #     async fn add(&self, _: String, x: u64) -> u64 { x }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc.reconnect.{}", std::process::id());
    /// # let server = Server::bind(&name).service(Db.serve()).start()?;
    /// let store = StoreClient::connect(&name).reconnect(Backoff::exponential()).await?;
    /// assert_eq!(store.get("a".into()).await?, Some(7));
    /// // The server's process is replaced by another.
    /// # server.shutdown().await?;
    /// # let server = Server::bind(&name).service(Db.serve()).start()?;
    /// assert_eq!(store.get("a".into()).await?, Some(7));
    /// # server.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.reconnect = Some((backoff, |engine| C::from_inner(Client::of_reconnecting(engine))));
        self
    }

    /// Calls `hook` with a client of the new connection each time that this client has
    /// reconnected, so that it can register again what the last server knew of it: a callback,
    /// a subscription.
    ///
    /// A client with a hook also reconnects where no call is made: it notices the end of its
    /// connection by itself, and tries for as long as there is a client. What `hook` gives
    /// runs as a task; it is dropped when its connection ends. The hook is not called for the
    /// first connection, and calls of other tasks do not wait for it. Without
    /// [`reconnect`](Self::reconnect) the client does so with [`Backoff::exponential`].
    ///
    /// Where registering is one call, an `#[idempotent]` method that does not return while the
    /// server lives needs no hook: that call is made again on the next connection by itself.
    /// The example `watch` shows both.
    ///
    /// ```
    /// # #[panpipe::service]
    /// # pub trait Listener { async fn news(&self, text: String); }
    /// # #[panpipe::service]
    /// # pub trait Board { async fn subscribe(&self, listener: ListenerClient); }
    /// # async fn run(listener: ListenerClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let again = listener.clone();
    /// let board = BoardClient::connect("acme.board")
    ///     .on_reconnect(move |board: BoardClient| {
    ///         let listener = again.clone();
    ///         async move {
    ///             if let Err(error) = board.subscribe(listener).await {
    ///                 eprintln!("not subscribed again: {error}");
    ///             }
    ///         }
    ///     })
    ///     .await?;
    /// board.subscribe(listener).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_reconnect<F>(mut self, hook: impl Fn(C) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.on_reconnect = Some(Arc::new(move |link| Box::pin(hook(C::from_inner(Client::of_link(link))))));
        match self.reconnect {
            Some(_) => self,
            None => self.reconnect(Backoff::exponential()),
        }
    }
}

/// The same with what is offered, if that and its metadata can be told.
fn checked(config: Config, offers: &Offers, name: &PipeName) -> Result<Config, ConnectError> {
    let bad = |error: Box<dyn Error + Send + Sync>| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, error);
        ConnectError::Io { path: name.to_string(), source }
    };
    let config = config.with_checked_metadata().map_err(|error| bad(error.into()))?;
    Ok(Config { offers: offers.checked_infos().map_err(|error| bad(error.into()))?, ..config })
}

/// The limits of a client whose server has to be there within each of these times: it has no
/// longer for its hello.
fn bounded(limits: Arc<Limits>, within: [Option<Duration>; 2]) -> Arc<Limits> {
    // No wait at all is for the connection alone.
    let shortest = within.into_iter().flatten().filter(|within| !within.is_zero()).min();
    match shortest {
        Some(handshake_timeout) if handshake_timeout < limits.handshake_timeout => {
            Arc::new(Limits { handshake_timeout, ..Limits::clone(&limits) })
        }
        _ => limits,
    }
}

impl<C: ServiceClient> Connect<C> {
    /// Connects now, on this thread and without a runtime, and makes the blocking client:
    /// each of its methods waits on the thread that calls it.
    ///
    /// The client may be cloned and used from many threads. Nothing is read between calls:
    /// that the server has ended is noticed by the next one, which fails as
    /// [`Disconnected { sent: false }`](crate::CallError::Disconnected). A connection has
    /// a thread of its own, besides, as long as this side serves something over it: from
    /// the start with a service on [offer](Self::offer), while the server holds a client
    /// that was passed to it, and while a stream or a sender is on its way between the two
    /// sides that came from here. Such services are run by whichever of the threads reads.
    ///
    /// ```no_run
    /// # #[panpipe::service]
    /// # pub trait Store { async fn get(&self, key: String) -> u64; }
    /// # fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let store = StoreClient::connect("acme.store").wait(Duration::from_secs(2)).blocking()?;
    /// println!("{}", store.get("k".to_owned())?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As when it is awaited. A client that [reconnects](Self::reconnect) is async: for
    /// one this is an error of the kind [`Unsupported`](std::io::ErrorKind::Unsupported),
    /// as it always is on Windows.
    pub fn blocking(self) -> Result<C::Blocking, ConnectError> {
        let Connect { name, wait, trust, config, offers, reconnect, .. } = self;
        let name = name?;
        if reconnect.is_some() {
            let why = "a client that reconnects is async; connect anew after an error instead";
            let source = io::Error::new(io::ErrorKind::Unsupported, why);
            return Err(ConnectError::Io { path: name.to_string(), source });
        }
        let mut dial = panpipe_transport::connect(name.clone()).wait(wait.unwrap_or_default());
        if let Some(access) = trust {
            dial = dial.trust(access);
        }
        let config = checked(config, &offers, &name)?;
        let config = Config { limits: bounded(config.limits, [wait, None]), ..config };
        let is_called_back = !offers.is_empty();
        let link = over_blocking(dial.blocking()?, config).with_offers(offers).start_blocking();
        // Nobody would say it later, and a server waits for it so long and no longer.
        link.say_hello();
        if is_called_back {
            link.keep();
        }
        Ok(C::Blocking::of_async(C::from_inner(Client::of_link(link))))
    }
}

impl<C: Target> IntoFuture for Connect<C> {
    type Output = Result<C, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Connect { name, wait, trust, config, offers, reconnect, on_reconnect } = self;
            let name = name?;
            let config = checked(config, &offers, &name)?;
            let (backoff, make_client) = reconnect.unzip();
            let in_all = backoff.as_ref().and_then(Backoff::in_all);
            let limits = bounded(config.limits, [wait, in_all]);
            let config = Config { limits, ..config };
            let backoff = backoff.unwrap_or_else(Backoff::exponential);
            let plan = Plan { name, trust, config, offers, backoff };
            let stream = match wait {
                Some(wait) => plan.dial().wait(wait).await?,
                None => plan.dial().await?,
            };
            Ok(match make_client {
                Some(make_client) => {
                    let engine = Reconnecting::new(plan, stream);
                    on_reconnect.into_iter().for_each(|hook| engine.keep_connected(hook));
                    make_client(engine)
                }
                None => C::of(plan.start(stream)),
            })
        })
    }
}

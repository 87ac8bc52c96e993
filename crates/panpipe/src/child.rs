//! A child process as the other end of a connection, over anonymous pipes of
//! its own: its standard streams stay its own.

use std::env;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::{Latency, Peer, PipeStream, anonymous};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{Client, ServiceClient};
use crate::limits::{self, Limits};
use crate::link::{Link, over_pipe};
use crate::metadata::{Metadata, MetadataError, MetadataSet};
use crate::offers::{OfferedTwice, Offers, Services};
use crate::servable::Service;
use crate::service::{Serve, ServiceImpl};
use crate::session::{CloseReason, Config};
use crate::sys::{ChildEnd, WatchedChild};

/// The environment variable that tells a child the handles of its pipes, unless host
/// and child have agreed upon another.
pub(crate) const HANDLES: &str = "PANPIPE_HANDLES";
/// What stands there where the pipes are the standard input and output.
pub(crate) const STDIO: &str = "stdio";

/// Starts `command` as a child that is called, and may call back, over two
/// anonymous pipes.
///
/// ```no_run
/// # #[panpipe::service]
/// # pub trait Worker { async fn square(&self, x: u64) -> u64; }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use std::process::Command;
///
/// let child = panpipe::spawn(Command::new("worker")).start::<WorkerClient>()?;
/// println!("{}", child.client().square(12).await?);
/// child.shutdown(std::time::Duration::from_secs(2)).await?;
/// # Ok(())
/// # }
/// ```
pub fn spawn(command: Command) -> Spawn {
    let (limits, latency) = (Limits::default(), Latency::default());
    Spawn { command, limits, latency, offers: Offers::default(), metadata: None }
}

/// A child to be started.
#[derive(Debug)]
#[must_use = "a child is started by `.start()`"]
pub struct Spawn {
    pub(crate) command: Command,
    pub(crate) limits: Limits,
    latency: Latency,
    pub(crate) offers: Offers,
    pub(crate) metadata: Option<MetadataSet>,
}

impl Spawn {
    /// Lets the child call this service. Several may be offered; one twice is an error
    /// when the child starts.
    pub fn offer(mut self, service: impl Service) -> Self {
        self.offers.add_shared(service);
        self
    }

    /// How the connection waits for bytes on this side.
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// Gives the child this [metadata](Metadata) for the connection; there may be several, of
    /// several names. Its handlers read them by
    /// [`call::connection_metadata`](crate::call::connection_metadata).
    ///
    /// A value that cannot be encoded, and more than 1,536 bytes in all, are
    /// [`SpawnError::Metadata`] when the child is started.
    pub fn metadata<M: Metadata>(mut self, value: &M) -> Self {
        self.metadata = Some(MetadataSet::with(self.metadata.as_ref(), value));
        self
    }

    /// What this side accepts from the child.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Starts the child. Its own service is checked with the first call.
    ///
    /// # Errors
    ///
    /// When no pipe can be made or the program cannot be run, and when a service is offered
    /// twice.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start<C: ServiceClient>(self) -> Result<Child<C>, SpawnError> {
        let Spawn { mut command, limits, latency, offers, metadata } = self;
        let metadata = MetadataSet::for_hello(metadata)?;
        let told = offers.checked_infos()?;
        let program = command.get_program().to_string_lossy().into_owned();
        let (stream, ends) = anonymous::for_child().map_err(SpawnError::Pipe)?;
        command.env(HANDLES, ends.handles());
        let passed = ends.pass_to(&mut command).map_err(SpawnError::Pipe)?;
        let process =
            WatchedChild::start(command).map_err(|source| SpawnError::Program { program, source })?;
        // With our copies of the child's ends closed, its end is seen.
        drop(passed);
        // Nobody has waited for it yet: the pid is its own.
        let peer = Peer::child(process.id());
        let limits = Arc::new(limits);
        let config = Config { limits, latency, offers: told, metadata, ..Config::dialer(C::info()) };
        let prepared = over_pipe(stream.with_peer(peer), config).with_offers(offers);
        let (connection, driver) = prepared.into_parts();
        // The child may want to call first, and cannot before it has our hello.
        connection.say_hello();
        tokio::spawn(end_with_child(process.end(), tokio::spawn(driver)));
        let client = C::from_inner(Client::of_link(Arc::clone(&connection)));
        Ok(Child { client, connection, process: Some(process) })
    }
}

/// Ends a connection once the child has ended, whoever else holds the child's pipes: a process
/// that the child has started and left behind may.
async fn end_with_child(end: ChildEnd, mut connection: JoinHandle<CloseReason>) {
    /// A driver that had no turn for long has several to read what the child has left.
    const STEPS: u32 = 20;
    tokio::select! {
        _ = &mut connection => return,
        () = end.reached() => {}
    }
    for _ in 0..STEPS {
        if timeout(limits::PLUGIN_LAST_WORDS / STEPS, &mut connection).await.is_ok() {
            return;
        }
    }
    // Not by the driver: what it has left to write may fit into no pipe that is read.
    connection.abort();
}

/// Why a child was not started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// No pipe could be made.
    #[error("no pipe could be made for the child: {0}")]
    Pipe(#[source] io::Error),
    /// The program could not be run.
    #[error("{program} could not be run: {source}")]
    Program {
        /// The program, as it was asked for.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The metadata for the child cannot be sent.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A service was offered twice.
    #[error(transparent)]
    OfferedTwice(#[from] OfferedTwice),
}

/// A running child and the connection to it. Dropping it kills the child.
///
/// The connection ends with the child's process, also if a process that the child has started
/// still holds the pipes.
#[derive(Debug)]
pub struct Child<C> {
    client: C,
    connection: Arc<Link>,
    /// `None` once it has been waited for.
    process: Option<WatchedChild>,
}

impl<C: ServiceClient> Child<C> {
    /// The client of the child's service.
    #[must_use]
    pub fn client(&self) -> &C {
        &self.client
    }

    /// The child's process id, until it has been waited for.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(WatchedChild::id)
    }

    /// Why the connection ended, once it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.connection.close_reason()
    }

    /// Waits until the child has ended by itself. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the system cannot say how it ended: it has been waited for already, or other code
    /// of this process has reaped it.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let waited = || io::Error::new(io::ErrorKind::NotFound, "the child has been waited for already");
        let status = self.process.as_mut().ok_or_else(waited)?.wait().await;
        self.process = None;
        status
    }

    /// Lets running calls finish and closes the connection, which ends a child
    /// that serves its parent; kills the child when it has not ended by then.
    ///
    /// # Errors
    ///
    /// When the system cannot say how it ended, as for [`wait`](Self::wait).
    pub async fn shutdown(mut self, grace: Duration) -> io::Result<ExitStatus> {
        // Other clones of the client may live on; the child is told to end all the same.
        self.connection.drain();
        if let Ok(status) = timeout(grace, self.wait()).await {
            return status;
        }
        if let Some(process) = &self.process {
            process.kill();
        }
        self.wait().await
    }
}

/// Why this process cannot reach its parent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParentError {
    /// It was not started by a host: by [`spawn`] or as a [`Plugin`](crate::Plugin).
    #[error(
        "this program is a panpipe child or plugin and is of no use by itself: a host has to start it, with `panpipe::spawn` or `Plugin::spawn`, and tell it by {variable}"
    )]
    NotAChild {
        /// The environment variable that the host has to set.
        variable: String,
    },
    /// The handles that it was given are not the ends of pipes.
    #[error("the pipes from the parent cannot be used: {variable}={handles:?}: {source}")]
    Handles {
        /// The environment variable that told them.
        variable: String,
        /// What the environment says.
        handles: String,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The connection ended otherwise than by the parent's wish.
    #[error("the connection to the parent was lost: {0}")]
    Lost(CloseReason),
}

/// In a child: serves the parent until it closes the connection.
///
/// `make` is given the client of what the parent offers and makes the service
/// that the parent may call. The client of a parent that offers nothing is
/// [`NoService`](crate::NoService).
///
/// ```no_run
/// # #[panpipe::service]
/// # pub trait Host { async fn log(&self, line: String); }
/// # #[panpipe::service]
/// # pub trait Worker { async fn square(&self, x: u64) -> u64; }
/// struct Squares { host: HostClient }
///
/// impl Worker for Squares {
///     async fn square(&self, x: u64) -> u64 {
///         let _ = self.host.log(format!("asked for {x}")).await;
///         x * x
///     }
/// }
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), panpipe::ParentError> {
///     panpipe::serve_parent(|host: HostClient| Squares { host }.serve()).await
/// }
/// ```
///
/// # Errors
///
/// When the process was not started by [`spawn`], or the connection breaks.
pub async fn serve_parent<C, I>(make: impl FnOnce(C) -> Serve<I>) -> Result<(), ParentError>
where
    C: ServiceClient,
    I: ServiceImpl,
{
    serve_host(HANDLES, make).await
}

/// Serves the host that has told this process by `variable` how it is reached.
pub(crate) async fn serve_host<C, I>(
    variable: &str,
    make: impl FnOnce(C) -> Serve<I>,
) -> Result<(), ParentError>
where
    C: ServiceClient,
    I: ServiceImpl,
{
    let offers = Arc::new(vec![I::info()]);
    let config = Config { offers, wants: C::info().or_none(), ..Config::acceptor() };
    let (connection, mut driver) = over_pipe(parent(variable)?, config).into_parts();
    // Held to the end: a child that does not call its parent serves it all the same.
    let service = make(C::from_inner(Client::of_link(Arc::clone(&connection))));
    driver.set_services(Services::new(Offers::of(service)));
    let reason = driver.await;
    drop(connection);
    ended(reason)
}

fn parent(variable: &str) -> Result<PipeStream, ParentError> {
    take_up(variable, panpipe_transport::stdio, PipeStream::from_handles)
}

/// Takes up the stream that the host has passed on: the standard streams, or the handles
/// that it tells.
pub(crate) fn take_up<S>(
    variable: &str,
    stdio: fn() -> io::Result<S>,
    from_handles: fn(&str) -> io::Result<S>,
) -> Result<S, ParentError> {
    let variable = variable.to_owned();
    let Ok(handles) = env::var(&variable) else {
        return Err(ParentError::NotAChild { variable });
    };
    let stream = if handles == STDIO { stdio() } else { from_handles(&handles) };
    stream.map_err(|source| ParentError::Handles { variable, handles, source })
}

pub(crate) fn ended(reason: CloseReason) -> Result<(), ParentError> {
    match reason {
        CloseReason::Closed | CloseReason::Local => Ok(()),
        other => Err(ParentError::Lost(other)),
    }
}

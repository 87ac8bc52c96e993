//! A child process, and the child's own end, without a runtime.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::blocking::BlockingStream;
use panpipe_transport::{Peer, anonymous};

use super::BlockingServiceClient;
use crate::child::{HANDLES, ParentError, Spawn, SpawnError, ended, take_up};
use crate::client::{Client, ServiceClient};
use crate::clock;
use crate::link::{Link, over_blocking};
use crate::metadata::MetadataSet;
use crate::offers::Offers;
use crate::service::{Serve, ServiceImpl};
use crate::session::{CloseReason, Config};
use crate::sys::ChildProcess;

impl Spawn {
    /// Starts the child without a runtime: the methods of its client wait on the thread
    /// that calls them, see [`Connect::blocking`](crate::Connect::blocking).
    ///
    /// The child itself may be served by [`serve_parent`](crate::serve_parent) or
    /// [`serve_parent_blocking`], whichever. The latter makes the quickest call that
    /// there is between two processes: a write and a read on each side.
    ///
    /// ```no_run
    /// # #[panpipe::service]
    /// # pub trait Worker { async fn square(&self, x: u64) -> u64; }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::process::Command;
    /// use std::time::Duration;
    ///
    /// let child = panpipe::spawn(Command::new("worker")).start_blocking::<WorkerClient>()?;
    /// println!("{}", child.client().square(12)?);
    /// child.shutdown(Duration::from_secs(2))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When no pipe can be made, as always on Windows, or the program cannot be run.
    pub fn start_blocking<C: ServiceClient>(self) -> Result<BlockingChild<C>, SpawnError> {
        let Spawn { mut command, limits, offers, metadata, .. } = self;
        let metadata = MetadataSet::for_hello(metadata)?;
        let told = offers.checked_infos()?;
        let program = command.get_program().to_string_lossy().into_owned();
        let (stream, ends) = anonymous::blocking_for_child().map_err(SpawnError::Pipe)?;
        command.env(HANDLES, ends.handles());
        let passed = ends.pass_to(&mut command).map_err(SpawnError::Pipe)?;
        let process =
            ChildProcess::start(&mut command).map_err(|source| SpawnError::Program { program, source })?;
        // With our copies of the child's ends closed, its end is seen.
        drop(passed);
        let interrupt = stream.interrupt();
        // A process that the child has left behind may hold its pipes, which then have no end.
        if let Err(error) = process.when_ended(move || interrupt.end_reading()) {
            tracing::warn!(
                "no thread can wait for the child's end ({error}); calls end with its pipes alone"
            );
        }
        // Nobody has waited for it yet: the pid is its own.
        let stream = stream.with_peer(Peer::child(process.id()));
        let is_called_back = !offers.is_empty();
        let limits = Arc::new(limits);
        let config = Config { limits, offers: told, metadata, ..Config::dialer(C::info()) };
        let connection = over_blocking(stream, config).with_offers(offers).start_blocking();
        // The child may want to call first, and cannot before it has our hello.
        connection.say_hello();
        if is_called_back {
            connection.keep();
        }
        let client = C::Blocking::of_async(C::from_inner(Client::of_link(Arc::clone(&connection))));
        Ok(BlockingChild { client, connection, process })
    }
}

/// A running child and the connection to it, without a runtime. Dropping it kills the
/// child, and waits until it has ended.
///
/// The connection ends with the child's process, also if a process that the child has started
/// still holds the pipes: a thread for each child waits for that.
#[derive(Debug)]
pub struct BlockingChild<C: ServiceClient> {
    client: C::Blocking,
    connection: Arc<Link>,
    process: ChildProcess,
}

impl<C: ServiceClient> Drop for BlockingChild<C> {
    fn drop(&mut self) {
        self.process.kill();
        // An error: it has been reaped by other code, or in `shutdown`.
        let _ = self.process.wait();
    }
}

impl<C: ServiceClient> BlockingChild<C> {
    /// The client of the child's service.
    #[must_use]
    pub fn client(&self) -> &C::Blocking {
        &self.client
    }

    /// The child's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Why the connection ended, once a call has noticed that.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.connection.close_reason()
    }

    /// Waits until the child has ended by itself.
    ///
    /// # Errors
    ///
    /// When the system cannot say how it ended: other code of this process has reaped it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }

    /// Lets running calls finish and closes the connection, which ends a child
    /// that serves its parent; kills the child when it has not ended by then.
    ///
    /// # Errors
    ///
    /// When the system cannot say how it ended: other code of this process has reaped it.
    pub fn shutdown(mut self, grace: Duration) -> io::Result<ExitStatus> {
        let start = clock::system();
        // Other clones of the client may live on; the child is told to end all the same.
        self.connection.drain();
        // A grace past the end of the clock is all the time there is.
        self.connection.run_until(start.checked_add(grace));
        let left = grace.saturating_sub(clock::system() - start);
        if let Some(status) = self.process.wait_within(left)? {
            return Ok(status);
        }
        self.process.kill();
        self.process.wait()
    }
}

/// In a child: serves the parent until it closes the connection, on this thread and
/// without a runtime.
///
/// It is [`serve_parent`](crate::serve_parent) otherwise. Handlers are the same `async fn`s.
/// Each is polled here first, while nothing else is read: it must not block this thread
/// for long. One that is still pending then goes on in a thread that the connection has
/// of its own for such, and what it waits for may be a call back to the parent, a stream,
/// another thread. There is no tokio runtime for it: what needs one, as tokio's timers
/// do, panics, and fails that call. The client of the parent is the async one, for
/// handlers to await; a blocking one cannot wait in a handler for its own connection.
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
/// fn main() -> Result<(), panpipe::ParentError> {
///     panpipe::serve_parent_blocking(|host: HostClient| Squares { host }.serve())
/// }
/// ```
///
/// # Errors
///
/// When the process was not started by [`spawn`](crate::spawn), or the connection breaks;
/// always on Windows.
pub fn serve_parent_blocking<C, I>(make: impl FnOnce(C) -> Serve<I>) -> Result<(), ParentError>
where
    C: ServiceClient,
    I: ServiceImpl,
{
    let stream = take_up(HANDLES, BlockingStream::stdio, BlockingStream::from_handles)?;
    let offers = Arc::new(vec![I::info()]);
    let config = Config { offers, wants: C::info().or_none(), ..Config::acceptor() };
    let prepared = over_blocking(stream, config);
    let service = make(C::from_inner(Client::of_link(Arc::clone(&prepared.connection))));
    // Held to the end: a child that does not call its parent serves it all the same.
    let connection = prepared.with_offers(Offers::of(service)).start_blocking();
    ended(connection.run())
}

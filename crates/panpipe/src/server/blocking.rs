//! A server without a runtime: a thread that lets clients in, and one for each of them.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use panpipe_transport::blocking::{Bell, BlockingListener, BlockingStream};
use panpipe_transport::buffer;
use panpipe_transport::{BindError, NameError, PipeName};

use super::setup::ClientSetup;
use super::{ServeError, Server, admission, check_services};
use crate::clock;
use crate::error::{Refusal, RefusalReason};
use crate::hub::Hub;
use crate::limits;
use crate::link::{Link, over_blocking};
use crate::log_limit::log_limited;
use crate::metadata::MetadataSet;
use crate::servable::Service;
use crate::session::Config;
use crate::sys::{self, Announced};

/// Serves `service` under `name`, on threads and without a runtime, until ctrl-c or
/// SIGTERM, then lets running calls finish.
///
/// It is [`serve`](crate::serve) otherwise; [`Server::start_blocking`] says more.
///
/// ```no_run
/// # #[panpipe::service]
/// # pub trait Clock { async fn now(&self) -> u64; }
/// # struct Wall;
/// # impl Clock for Wall { async fn now(&self) -> u64 { 0 } }
/// fn main() -> Result<(), panpipe::ServeError> {
///     panpipe::serve_blocking("acme.clock", Wall.serve())
/// }
/// ```
///
/// # Errors
///
/// When the name cannot be served, see [`ServeError`]; always on Windows.
pub fn serve_blocking(
    name: impl TryInto<PipeName, Error: Into<NameError>>,
    service: impl Service,
) -> Result<(), ServeError> {
    Server::bind(name).service(service).serve_blocking()
}

impl Server {
    /// Serves on threads, without a runtime, until the process is told to end or the event of
    /// [`until`](Self::until) is ready: [`serve`](Self::serve) says how it ends, and
    /// [`start_blocking`](Self::start_blocking) the rest.
    ///
    /// ```no_run
    /// # #[panpipe::service]
    /// # pub trait Clock { async fn now(&self) -> u64; }
    /// # struct Wall;
    /// # impl Clock for Wall { async fn now(&self) -> u64 { 7 } }
    /// fn main() -> Result<(), panpipe::ServeError> {
    ///     panpipe::Server::bind("acme.clock").service(Wall.serve()).serve_blocking()
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// When the name cannot be had or nothing is to be served; always on Windows.
    pub fn serve_blocking(self) -> Result<(), ServeError> {
        let by_signals = self.by_signals;
        // From before the first client is let in.
        let (server, signals) = self.launch(|ends| {
            let ends = Arc::clone(ends);
            by_signals.then(|| sys::on_told_to_end(move || ends.stop()))
        })?;
        let waited = server.wait();
        drop(signals);
        waited
    }

    /// Starts the server on threads, without a runtime: one lets clients in, and each
    /// client has one of its own, which runs its handlers. The name is taken when this
    /// returns.
    ///
    /// Handlers are the same `async fn`s; where they run, and what they can wait for, is
    /// told at [`serve_parent_blocking`](crate::serve_parent_blocking). A rule of
    /// [`allow`](Self::allow) that has to be waited for lets nobody in. A client whose
    /// calls still run in place when the server's [grace](Self::grace) is over is cut off,
    /// but its thread cannot be stopped, and ends when its handler returns.
    ///
    /// ```
    /// # #[panpipe::service]
    /// # pub trait Clock { async fn now(&self) -> u64; }
    /// # struct Wall;
    /// # impl Clock for Wall { async fn now(&self) -> u64 { 7 } }
    /// # #[cfg(unix)]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc.blocking.{}", std::process::id());
    /// let server = panpipe::Server::bind(&name).service(Wall.serve()).start_blocking()?;
    /// let clock = ClockClient::connect_blocking(&name)?;
    /// assert_eq!(clock.now(), Ok(7));
    /// server.shutdown()?;
    /// # Ok(())
    /// # }
    /// # #[cfg(windows)]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// When the name cannot be had or nothing is to be served; always on Windows.
    pub fn start_blocking(self) -> Result<RunningBlockingServer, ServeError> {
        self.launch(|_| ()).map(|(server, ())| server)
    }

    /// Starts it, and does something before anybody is let in.
    fn launch<T>(
        self,
        before: impl FnOnce(&Arc<Shared>) -> T,
    ) -> Result<(RunningBlockingServer, T), ServeError> {
        let name = self.name.map_err(BindError::from)?;
        check_services(&self.offers, &name)?;
        let metadata = MetadataSet::for_hello(self.metadata)?;
        let listener = BlockingListener::bind_for(name.clone(), self.access.clone())?;
        let io = |source| BindError::Io { path: name.to_string(), source };
        let bell = Bell::new().map_err(io)?;
        let hub = self.reception.hub.clone();
        let shared = Arc::new(Shared {
            setup: ClientSetup::new(
                self.access,
                self.offers,
                self.limits,
                self.latency,
                metadata,
                self.reception,
            ),
            bell,
            stops: AtomicU8::new(0),
            refusals: AtomicUsize::new(0),
            clients: Mutex::new(Clients::default()),
            gone: Condvar::new(),
        });
        let done = before(&shared);
        let accept = Accept {
            shared: Arc::clone(&shared),
            listener,
            grace: self.grace,
            until: self.until,
            announced: Announced::ready(),
        };
        let thread = start("panpipe accept", move || accept.run()).map_err(io)?;
        Ok((RunningBlockingServer { name, hub, shared, thread: Some(thread) }, done))
    }
}

/// A server that runs on threads.
///
/// Dropping this ends the server in order, in the background, as
/// [`shutdown`](Self::shutdown) does. To have the server outlive it, [`detach`](Self::detach)
/// it.
#[derive(Debug)]
#[must_use = "the server ends when this is dropped; `wait()` for it, or `detach()` it"]
pub struct RunningBlockingServer {
    name: PipeName,
    hub: Hub,
    shared: Arc<Shared>,
    /// `None` once it is not to end with this any more.
    thread: Option<JoinHandle<()>>,
}

impl RunningBlockingServer {
    /// The name that is served.
    #[must_use]
    pub fn name(&self) -> &PipeName {
        &self.name
    }

    /// Who is connected.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Takes no new clients and no new calls, lets running calls finish for as
    /// long as the server's grace allows, and ends.
    ///
    /// # Errors
    ///
    /// When the server's thread has panicked.
    pub fn shutdown(self) -> Result<(), ServeError> {
        self.end();
        self.wait()
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    ///
    /// When the server's thread has panicked.
    pub fn wait(mut self) -> Result<(), ServeError> {
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_| ServeError::Thread)
    }

    /// Leaves the server running, until its [`until`](Server::until) is ready or the process
    /// ends.
    pub fn detach(mut self) {
        self.thread = None;
    }

    fn end(&self) {
        if self.thread.is_some() && self.shared.stops.load(Ordering::SeqCst) == 0 {
            self.shared.stop();
        }
    }
}

impl Drop for RunningBlockingServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the threads of a server have in common.
struct Shared {
    setup: ClientSetup,
    /// Rung when there is something else to do than to accept.
    bell: Bell,
    /// How often the server was told to end: the second time it waits for nothing more.
    stops: AtomicU8,
    /// How many clients are being told that they are not served.
    refusals: AtomicUsize,
    clients: Mutex<Clients>,
    gone: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Clients {
    /// Each with its connection, once it has been let in.
    by_number: HashMap<u64, Option<Arc<Link>>>,
    next: u64,
    /// Whoever is let in from here on is to end at once.
    is_draining: bool,
}

impl Shared {
    /// Fit for a signal handler: a store and a system call.
    fn stop(&self) {
        let _ = self.stops.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |stops| stops.checked_add(1));
        self.bell.ring();
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a client's thread, which is counted until it ends.
    fn serve(self: &Arc<Self>, stream: BlockingStream) {
        let number = {
            let mut clients = self.clients();
            clients.next += 1;
            let number = clients.next;
            clients.by_number.insert(number, None);
            number
        };
        let client = Client { shared: Arc::clone(self), number };
        let serve = move || {
            client.serve(stream);
            buffer::give_back_memory();
        };
        if let Err(error) = start("panpipe client", serve) {
            log_limited!(warn, "a client is not served, since there is no thread for it: {error}");
        }
    }

    /// Tells a client that it is not served. It is no client that counts.
    fn refuse(self: &Arc<Self>, stream: BlockingStream, refusal: Refusal) {
        log_limited!(debug, peer = %stream.peer(), "a client is refused: {refusal}");
        if self.refusals.fetch_add(1, Ordering::SeqCst) >= limits::REFUSALS {
            self.refusals.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let shared = Refusing(Arc::clone(self));
        let said = start("panpipe refusal", move || {
            say_no(stream, refusal);
            drop(shared);
        });
        if let Err(error) = said {
            log_limited!(
                warn,
                "a client is refused without a word, since there is no thread for it: {error}"
            );
        }
    }
}

/// Counts who is being told.
struct Refusing(Arc<Shared>);

impl Drop for Refusing {
    fn drop(&mut self) {
        self.0.refusals.fetch_sub(1, Ordering::SeqCst);
        drop(self.0.clients());
        self.0.gone.notify_all();
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn say_no(stream: BlockingStream, refusal: Refusal) {
    let connection = over_blocking(stream, Config::acceptor()).start_blocking();
    connection.refuse(refusal);
    connection.run();
}

/// One client, until it goes.
struct Client {
    shared: Arc<Shared>,
    number: u64,
}

impl Client {
    fn serve(self, stream: BlockingStream) {
        let peer = stream.peer();
        let setup = &self.shared.setup;
        if let Err(denied) = setup.access.check_now(&peer) {
            let refusal = Refusal { reason: RefusalReason::NotAllowed, message: denied.to_string() };
            log_limited!(warn, %peer, "a client is refused: {refusal}");
            return say_no(stream, refusal);
        }
        let (prepared, mut membership) = setup.admit(over_blocking(stream, setup.config()));
        let connection = prepared.start_blocking();
        let is_late = {
            let mut clients = self.shared.clients();
            clients.by_number.insert(self.number, Some(Arc::clone(&connection)));
            clients.is_draining
        };
        if is_late {
            connection.drain();
        }
        let reason = connection.run();
        membership.end(reason);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let gone = self.shared.clients().by_number.remove(&self.number);
        drop(gone);
        self.shared.gone.notify_all();
        // With a client its descriptor has gone, of which there may be too few.
        self.shared.bell.ring();
    }
}

/// As the waker of what ends the server.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.bell.ring();
    }
}

/// The thread that lets clients in.
struct Accept {
    shared: Arc<Shared>,
    listener: BlockingListener,
    grace: Duration,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What the service manager knows of this server.
    announced: Announced,
}

impl Accept {
    fn run(mut self) {
        let waker = Waker::from(Arc::clone(&self.shared));
        let mut cx = Context::from_waker(&waker);
        let mut pause = limits::ACCEPT_PAUSE;
        loop {
            if self.shared.stops.load(Ordering::SeqCst) > 0 || self.until.as_mut().poll(&mut cx).is_ready() {
                break;
            }
            match self.listener.accept_any(&self.shared.bell, None) {
                Ok(None) => {}
                Ok(Some(stream)) => {
                    pause = limits::ACCEPT_PAUSE;
                    let others = self.shared.clients().by_number.len();
                    if others < self.shared.setup.limits.max_clients {
                        self.shared.serve(stream);
                    } else {
                        self.shared.refuse(stream, admission::too_many(others));
                    }
                }
                Err(error) => {
                    if pause == limits::ACCEPT_PAUSE {
                        let name = self.listener.name();
                        log_limited!(warn, %name, "clients cannot be accepted, and are asked to wait: {error}");
                    }
                    let _ =
                        panpipe_transport::blocking::wait(None, None, Some(&self.shared.bell), Some(pause));
                    pause = (pause * 2).min(limits::ACCEPT_PAUSE_MOST);
                }
            }
        }
        self.end();
    }

    fn end(self) {
        let Accept { shared, listener, grace, announced, .. } = self;
        drop(announced);
        let name = listener.name().clone();
        if shared.setup.running_calls() > 0 {
            tracing::info!(%name, "the server ends: {}", shared.setup.awaits(grace));
        }
        // The name is free from here on, a successor can take it. Who had come to this
        // server, and had not been let in, is told to come again.
        let mut retired = listener.retire();
        let start = clock::system();
        let connections: Vec<_> = {
            let mut clients = shared.clients();
            clients.is_draining = true;
            clients.by_number.values().flatten().cloned().collect()
        };
        connections.iter().for_each(|connection| connection.drain());
        drop(connections);
        // What cannot be accepted is turned away with the socket.
        while let Ok(Some(stream)) = retired.accept_any() {
            shared.refuse(stream, admission::draining());
        }
        drop(retired);
        let mut clients = shared.clients();
        while !clients.by_number.is_empty() || shared.refusals.load(Ordering::SeqCst) > 0 {
            let waited = clock::system() - start;
            let Some(left) = grace.checked_sub(waited).filter(|left| !left.is_zero()) else { break };
            if shared.stops.load(Ordering::SeqCst) > 1 {
                break;
            }
            // A client that makes no calls says no goodbye, and its thread is in a read.
            let is_silent = waited >= limits::GOODBYE;
            if is_silent {
                for connection in clients.by_number.values().flatten() {
                    if connection.is_drained() {
                        connection.end_reading();
                    }
                }
            }
            let look = if is_silent { limits::GOODBYE } else { limits::GOODBYE - waited };
            clients = shared
                .gone
                .wait_timeout(clients, look.min(left).min(limits::SECOND_SIGNAL))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if !clients.by_number.is_empty() {
            tracing::warn!(
                %name,
                "{} clients of the server are cut off: its grace is over, or it was told to end at once",
                clients.by_number.len()
            );
            clients.by_number.values().flatten().for_each(|connection| connection.end_reading());
        }
    }
}

//! The reading side of a one-way pipe.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use panpipe_transport::{BindError, FifoReader, NameError, PipeName};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::sleep;

use super::OnewayService;
use super::lanes::{Lanes, Offered, duplicate};
use super::passed_over::{Hook, PassedOver, Report, Totals};
use super::scanner::{Found, Scanner};
use crate::hub::Hub;
use crate::limits::{self, Limits};
use crate::server::{RunningServer, ServeError, Stop, told, until_signalled};
use crate::service::{Serve, ServiceImpl};
use crate::sys::EndSignals;

/// Serves `service` to all who write to the FIFO of this name, until ctrl-c or SIGTERM; then lets
/// running calls finish.
///
/// Only processes of the same user reach it. A second reader on a name that is in use
/// fails; the FIFO of a reader that has died is taken over. See the [module](super).
///
/// # Errors
///
/// When the name cannot be served, see [`ServeError`].
pub async fn serve<I: ServiceImpl + OnewayService>(
    name: impl TryInto<PipeName, Error: Into<NameError>>,
    service: Serve<I>,
) -> Result<(), ServeError> {
    Server::bind(name).service(service).serve().await
}

/// Serves `service` to whoever writes to the other end of `reader`, until its end or
/// until reading fails. Ready when the last call has been run to its end.
///
/// The client is one of [`over`](super::over), in another process or in this one. What
/// is no whole record is passed over, with a warning of `tracing` once in a while.
///
/// Dropping the future stops reading; calls whose handlers have begun go on.
///
/// # Errors
///
/// What reading fails with. What was read before has been handed on.
///
/// # Panics
///
/// Outside a tokio runtime.
pub async fn serve_reader<I: ServiceImpl + OnewayService>(
    reader: impl AsyncRead + Send,
    service: Serve<I>,
) -> io::Result<Totals> {
    let mut lanes = Lanes::new(vec![Offered::new(service)], Limits::default());
    let mut report = Report::new(None);
    let mut reader = std::pin::pin!(reader);
    let outcome = read_all(&mut reader, &mut lanes, &mut report).await;
    lanes.finish().await;
    outcome.map(|()| report.totals())
}

/// A server of one-way services to be started: a name, services, limits.
///
/// ```
/// # #[panpipe::service]
/// # pub trait Log { #[oneway] async fn line(&self, text: String); }
/// # struct Print;
/// # impl Log for Print { async fn line(&self, text: String) { println!("{text}"); } }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc.oneway.{}", std::process::id());
/// let server = panpipe::oneway::Server::bind(&name)
///     .on_passed_over(|what| eprintln!("somebody writes what is no record: {what}"))
///     .service(Print.serve())
///     .start()?;
///
/// let log = panpipe::oneway::connect::<LogClient>(&name).await?;
/// log.line("a line".to_owned()).await?;
/// server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server serves when `.serve()` is awaited or `.start()` is called"]
pub struct Server {
    name: Result<PipeName, NameError>,
    offered: Vec<Offered>,
    limits: Limits,
    grace: Duration,
    hook: Option<Hook>,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether `serve` ends it on ctrl-c and SIGTERM.
    by_signals: bool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            offered: Vec::new(),
            limits: Limits::default(),
            grace: limits::DRAIN,
            hook: None,
            until: Box::pin(std::future::pending()),
            by_signals: true,
        }
    }

    /// Lets writers call this service. There may be several: each record says which it
    /// is for. The same service twice is [`ServeError::RegisteredTwice`] when the server starts.
    pub fn service<I: ServiceImpl + OnewayService>(mut self, service: Serve<I>) -> Self {
        self.offered.push(Offered::new(service));
        self
    }

    /// What all writers of a service together may take: how many calls run at once.
    /// Further ones wait; when many do, nothing more is read, and writers wait.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long running calls, and those that have been written, may take to finish
    /// once the server ends; 30 seconds, unless it is set.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Has `hook` told what is passed over, in place of a warning of `tracing` once in
    /// a while. How often it is called is up to whoever writes; it holds up reading.
    pub fn on_passed_over(mut self, hook: impl FnMut(PassedOver<'_>) + Send + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Leaves ctrl-c and SIGTERM to the program: [`serve`](Self::serve) does not listen to
    /// them.
    pub fn without_signals(mut self) -> Self {
        self.by_signals = false;
        self
    }

    /// Ends the server, in order, when `event` is ready. Signals end it too, see
    /// [`serve`](Self::serve).
    pub fn until(mut self, event: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Box::pin(event);
        self
    }

    /// Serves until the process is told to end, by ctrl-c or SIGTERM, or until the event of
    /// [`until`](Self::until). Then what is in the FIFO is read, and running calls have as long as
    /// [`grace`](Self::grace) says; a second signal ends the server without waiting for them.
    ///
    /// # Errors
    ///
    /// When the name cannot be had, nothing is to be served, or a service was registered twice.
    pub async fn serve(self) -> Result<(), ServeError> {
        let signals = self.by_signals.then(EndSignals::listen);
        let server = self.start()?;
        match signals {
            Some(signals) => until_signalled(server, signals).await,
            None => server.wait().await,
        }
    }

    /// Starts the server as a task; the FIFO is there when this returns.
    ///
    /// When it ends the name is free at once, and what is in the FIFO then is read. A
    /// call that is written later, by who still has it open, may never be.
    ///
    /// # Errors
    ///
    /// When the name cannot be had, nothing is to be served, or a service was registered twice.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<RunningServer, ServeError> {
        let Server { name, offered, limits, grace, hook, until, by_signals: _ } = self;
        let name = name.map_err(BindError::from)?;
        if offered.is_empty() {
            return Err(ServeError::NoService { name });
        }
        if let Some(service) = duplicate(&offered) {
            return Err(ServeError::RegisteredTwice { name, service });
        }
        let fifo = FifoReader::bind(name.clone())?;
        let (stop, stopping) = watch::channel(Stop::No);
        let serving = Serving { fifo, lanes: Lanes::new(offered, limits), report: Report::new(hook) };
        Ok(RunningServer::new(name, Hub::new(), stop, tokio::spawn(serving.run(until, stopping, grace))))
    }
}

struct Serving {
    fifo: FifoReader,
    lanes: Lanes,
    report: Report,
}

impl Serving {
    async fn run(
        self,
        until: Pin<Box<dyn Future<Output = ()> + Send>>,
        mut stopping: watch::Receiver<Stop>,
        grace: Duration,
    ) {
        let name = self.fifo.name().clone();
        let (end, ending) = watch::channel(Stop::No);
        let mut work = std::pin::pin!(self.read_until(ending));
        tokio::select! {
            () = &mut work => return,
            () = until => {}
            true = told(&mut stopping, Stop::InOrder) => {}
        }
        end.send_replace(Stop::InOrder);
        let why = tokio::select! {
            () = work => return,
            () = sleep(grace) => "its grace is over",
            true = told(&mut stopping, Stop::AtOnce) => "it was told to end at once",
        };
        tracing::warn!(%name, "one-way calls of the server are running or unread as it ends: {why}");
    }

    /// Reads until it is told to end, and then what is left.
    async fn read_until(mut self, mut ending: watch::Receiver<Stop>) {
        let Serving { fifo, lanes, report } = &mut self;
        let mut pipe = Reading::default();
        let outcome = loop {
            let read = tokio::select! {
                read = fifo.read(&mut pipe.chunk) => read,
                true = told(&mut ending, Stop::InOrder) => break Ok(()),
            };
            let mut handed_on = std::pin::pin!(pipe.hand_on(read, lanes, report));
            let handed_on = tokio::select! {
                handed_on = &mut handed_on => handed_on,
                true = told(&mut ending, Stop::InOrder) => {
                    // A successor does not wait for the handlers of this one.
                    fifo.give_up_name();
                    handed_on.await
                }
            };
            match handed_on {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = outcome {
            tracing::error!(name = %fifo.name(), "nothing more can be read of the one-way pipe: {error}");
        } else {
            fifo.give_up_name();
            let mut left = 0;
            // Who goes on writing does not keep it from ending.
            while left < limits::RECORDS_LEFT {
                let read = fifo.try_read(&mut pipe.chunk);
                left += read.as_ref().map_or(0, |&n| n);
                match pipe.hand_on(read, lanes, report).await {
                    Ok(true) => {}
                    // It is empty.
                    Ok(false) | Err(_) => break,
                }
            }
        }
        let Serving { fifo, lanes, mut report } = self;
        pipe.end(&mut report);
        // From here on writers are told that nobody reads.
        drop(fifo);
        lanes.finish().await;
    }
}

async fn read_all<R: AsyncRead>(
    reader: &mut Pin<&mut R>,
    lanes: &mut Lanes,
    report: &mut Report,
) -> io::Result<()> {
    let mut pipe = Reading::default();
    let outcome = loop {
        let read = reader.read(&mut pipe.chunk).await;
        match pipe.hand_on(read, lanes, report).await {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    pipe.end(report);
    outcome
}

/// What has been read of a pipe.
struct Reading {
    chunk: Vec<u8>,
    scanner: Scanner,
}

impl Default for Reading {
    fn default() -> Self {
        Reading { chunk: vec![0; limits::RECORDS_READ], scanner: Scanner::default() }
    }
}

impl Reading {
    /// Hands on the calls in what was read. False at the end.
    async fn hand_on(
        &mut self,
        read: io::Result<usize>,
        lanes: &mut Lanes,
        report: &mut Report,
    ) -> io::Result<bool> {
        let n = match read {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        };
        self.scanner.feed(&self.chunk[..n]);
        while let Some(found) = self.scanner.next() {
            match found {
                Found::Record(record) => lanes.hand_on(record, report).await?,
                Found::Noise(bytes) => report.passed_over(PassedOver::noise(bytes)),
                Found::Damaged(bytes) => report.passed_over(PassedOver::Damaged { bytes: bytes.len() }),
            }
        }
        Ok(n > 0)
    }

    /// Nothing more comes: what has begun is not whole.
    fn end(&mut self, report: &mut Report) {
        if let Some(bytes) = self.scanner.rest() {
            report.passed_over(PassedOver::Damaged { bytes });
        }
    }
}

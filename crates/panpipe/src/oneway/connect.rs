//! Clients of one-way pipes.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::{ConnectError, FifoWriter, NameError, PipeName};
use tokio::io::AsyncWrite;
use tokio::time::sleep;

use super::OnewayService;
use super::writer::{AnyWriter, RecordWriter, Sink};
use crate::client::{Client, ServiceClient};
use crate::clock;
use crate::codec::Codec;
use crate::limits::{CONNECT_PAUSE, CONNECT_PAUSE_MOST};

/// Makes a client that writes to the FIFO of this name, when the result is awaited.
///
/// The reader has to be of this process's own user; that is checked before a byte is
/// written. When the reader goes, calls fail until one is there again, which the same
/// client finds. See [`Connect`] for who would rather wait.
///
/// See the [module](super) for an example.
pub fn connect<C: ServiceClient + OnewayService>(
    name: impl TryInto<PipeName, Error: Into<NameError>>,
) -> Connect<C> {
    Connect {
        name: name.try_into().map_err(Into::into),
        wait: Duration::ZERO,
        patience: Duration::ZERO,
        codec: Codec::default(),
        client: PhantomData,
    }
}

/// Makes a client that writes to any stream of bytes, at whose other end is
/// [`serve_reader`](super::serve_reader). The stream ends with the last clone.
///
/// A call is ready when the stream has taken all of its record, and is flushed. One
/// that is given up in the middle of its record is finished by the next call.
///
/// ```
/// # #[panpipe::service]
/// # pub trait Log { #[oneway] async fn line(&self, text: String); }
/// # struct Print;
/// # impl Log for Print { async fn line(&self, text: String) { println!("{text}"); } }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (reader, writer) = panpipe_transport::anonymous::one_way()?;
/// let log: LogClient = panpipe::oneway::over(writer);
/// log.line("a line".to_owned()).await?;
/// drop(log);
/// let totals = panpipe::oneway::serve_reader(reader, Print.serve()).await?;
/// assert_eq!(totals.records, 1);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn over<C: ServiceClient + OnewayService>(writer: impl AsyncWrite + Send + 'static) -> C {
    let sink = Sink::Any(AnyWriter::new(writer));
    client(Codec::default(), Duration::ZERO, sink)
}

fn client<C: ServiceClient>(codec: Codec, patience: Duration, sink: Sink) -> C {
    let writer = RecordWriter::new(&C::info(), codec, patience, sink);
    C::from_inner(Client::of_records(Arc::new(writer)))
}

/// A client of a FIFO to be made, made by awaiting it. Cancel safe.
///
/// # Errors
///
/// [`ConnectError::NotFound`] when nobody reads, [`ConnectError::TimedOut`] when nobody
/// did within the wait.
#[must_use = "a client is made when this is awaited"]
pub struct Connect<C> {
    name: Result<PipeName, NameError>,
    wait: Duration,
    patience: Duration,
    codec: Codec,
    client: PhantomData<fn() -> C>,
}

impl<C> fmt::Debug for Connect<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("name", &self.name)
            .field("wait", &self.wait)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl<C> Connect<C> {
    /// Waits this long for a reader to come up, rather than failing when there is none.
    /// Waiting takes no CPU.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Lets each call wait this long for a reader to come back, rather than fail at
    /// once with [`CallError::Disconnected`](crate::CallError::Disconnected). Calls of
    /// one client that wait so at the same time may be written in another order.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Encodes with another codec than the default one.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }
}

impl<C: ServiceClient + OnewayService> IntoFuture for Connect<C> {
    type Output = Result<C, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut fifo = FifoWriter::new(self.name?)?;
            open(&mut fifo, self.wait).await?;
            Ok(client(self.codec, self.patience, Sink::Fifo(fifo)))
        })
    }
}

async fn open(fifo: &mut FifoWriter, wait: Duration) -> Result<(), ConnectError> {
    // A wait past the end of the clock is a wait for ever.
    let end = clock::now().checked_add(wait);
    let mut pause = CONNECT_PAUSE;
    loop {
        let error = match fifo.open() {
            Err(error @ ConnectError::NotFound { .. }) if !wait.is_zero() => error,
            other => return other,
        };
        let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(clock::now()));
        if left.is_zero() {
            let path = fifo.name().path().display().to_string();
            return Err(ConnectError::TimedOut { path, waited: wait, last: Box::new(error) });
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(CONNECT_PAUSE_MOST);
    }
}

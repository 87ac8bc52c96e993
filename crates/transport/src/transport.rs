//! A stream and sink of values over a stream of bytes.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_sink::Sink;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::buffer::{Inbox, Outbox};
use crate::codec::{Codec, DecodeError, EncodeError};
use crate::frame::{self, FrameError, FrameTooLarge};
use crate::limits::{MAX_FRAME, SINK_QUEUE};

/// Values of type `Item` coming in and of type `SinkItem` going out, each as one
/// frame on a stream of bytes.
///
/// It is a `Stream` and a `Sink`, which is all that tarpc asks of a transport:
/// hand it to `tarpc::client::new` or to `BaseChannel::new` of its server.
///
/// Values that are sent are encoded at once and written when the sink is
/// flushed, or when 64 KiB have gathered: the sink is ready again only when less
/// waits, so a peer that does not read holds its writer up and nothing else.
///
/// ```
/// use futures::{SinkExt, StreamExt};
/// use panpipe_transport::codec::Bincode;
/// use panpipe_transport::{Transport, anonymous};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (one, other) = anonymous::pair()?;
/// let mut one = Transport::<_, u64, String, _>::new(one, Bincode);
/// let mut other = Transport::<_, String, u64, _>::new(other, Bincode);
///
/// one.send("how many?".to_owned()).await?;
/// assert_eq!(other.next().await.transpose()?, Some("how many?".to_owned()));
/// other.send(3).await?;
/// assert_eq!(one.next().await.transpose()?, Some(3));
/// # Ok(())
/// # }
/// ```
pub struct Transport<Io, Item, SinkItem, C> {
    io: Io,
    codec: C,
    max_message: usize,
    inbox: Inbox,
    outbox: Outbox,
    /// Nothing more comes in: the stream has ended, or can no longer be read.
    ended: bool,
    types: PhantomData<fn(SinkItem) -> Item>,
}

impl<Io, Item, SinkItem, C> Transport<Io, Item, SinkItem, C> {
    /// A transport over `io`, for messages of up to 16 MiB.
    pub fn new(io: Io, codec: C) -> Self {
        Transport {
            io,
            codec,
            max_message: MAX_FRAME,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            ended: false,
            types: PhantomData,
        }
    }

    /// Takes and sends messages of up to this many bytes, 4 GiB at most.
    #[must_use]
    pub fn with_max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// The stream of bytes.
    pub fn io(&self) -> &Io {
        &self.io
    }
}

impl<Io: fmt::Debug, Item, SinkItem, C: fmt::Debug> fmt::Debug for Transport<Io, Item, SinkItem, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("io", &self.io)
            .field("codec", &self.codec)
            .field("max_message", &self.max_message)
            .finish_non_exhaustive()
    }
}

/// Why a value was not sent or did not come.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// What came in is no frame. Nothing more comes.
    #[error("what came in cannot be read: {0}")]
    Frame(#[from] FrameError),
    /// A message came that is no value of the expected type. The next one may be.
    #[error("a message cannot be decoded: {0}")]
    Decode(#[from] DecodeError),
    /// The value cannot be encoded. Nothing of it was sent; other values can be.
    #[error("a value cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// The value is too large. Nothing of it was sent; other values can be.
    #[error(transparent)]
    TooLarge(#[from] FrameTooLarge),
    /// The stream of bytes failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<Io, Item, SinkItem, C> Stream for Transport<Io, Item, SinkItem, C>
where
    Io: AsyncRead + Unpin,
    Item: DeserializeOwned,
    C: Codec + Unpin,
{
    type Item = Result<Item, TransportError>;

    /// The next value; `None` at the end of the stream between two messages, an
    /// error at an end inside one.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            match this.inbox.peek_frame(this.max_message) {
                Ok(Some(message)) => {
                    let value = this.codec.decode(message);
                    this.inbox.consume_frame();
                    return Poll::Ready(Some(value.map_err(TransportError::from)));
                }
                Ok(None) => {}
                Err(error) => return this.end_with(error.into()),
            }
            match ready!(this.inbox.poll_fill(cx, Pin::new(&mut this.io))) {
                Ok(0) => {
                    if let Err(error) = this.inbox.eof() {
                        return this.end_with(error.into());
                    }
                    this.ended = true;
                    return Poll::Ready(None);
                }
                Ok(_) => {}
                Err(error) => return this.end_with(error.into()),
            }
        }
    }
}

impl<Io, Item, SinkItem, C> Transport<Io, Item, SinkItem, C> {
    fn end_with<T>(&mut self, error: TransportError) -> Poll<Option<Result<T, TransportError>>> {
        self.ended = true;
        self.inbox.clear();
        Poll::Ready(Some(Err(error)))
    }
}

impl<Io, Item, SinkItem, C> Transport<Io, Item, SinkItem, C>
where
    Io: AsyncWrite + Unpin,
{
    /// Writes until at most `most` bytes wait.
    fn poll_write_down_to(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outbox.pending().len() > most {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, self.outbox.pending()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io, Item, SinkItem, C> Sink<SinkItem> for Transport<Io, Item, SinkItem, C>
where
    Io: AsyncWrite + Unpin,
    SinkItem: Serialize,
    C: Codec + Unpin,
{
    type Error = TransportError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.get_mut().poll_write_down_to(SINK_QUEUE, cx).map_err(TransportError::from)
    }

    fn start_send(self: Pin<&mut Self>, item: SinkItem) -> Result<(), TransportError> {
        let this = self.get_mut();
        let out = this.outbox.append();
        let start = frame::begin(out);
        if let Err(error) = this.codec.encode(&item, out) {
            frame::abandon(out, start);
            return Err(error.into());
        }
        Ok(frame::finish(out, start, this.max_message)?)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        ready!(this.poll_write_down_to(0, cx))?;
        Pin::new(&mut this.io).poll_flush(cx).map_err(TransportError::from)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        ready!(this.poll_write_down_to(0, cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx).map_err(TransportError::from)
    }
}

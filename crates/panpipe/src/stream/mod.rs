//! Streams as values: `Streaming` is read, `Sender` is written, either may be
//! sent to another process.

mod channel;
mod gaps;
mod item;
mod items;
mod own_waker;
mod pump;
mod reader;
mod sender;
mod watch_channel;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::task::coop;

pub use self::channel::channel;
pub use self::items::Items;
pub use self::sender::{SendError, Sender, WhenFull};
pub use self::watch_channel::{WatchError, WatchReceiver, WatchSender, watch};

use self::channel::Receiver;
use self::pump::Pump;
use self::reader::PortReader;
use crate::carried::{self, Attach, Offer};
use crate::error::StreamError;
use crate::link::Link;
use crate::session::{Lost, PortKind, StreamEnd};

/// A stream of values that may cross to another process.
///
/// It may stand anywhere in an argument, in a result, or in an item of another
/// stream. It is made of any [`Stream`](futures_core::Stream), or by [`channel`]
/// together with the [`Sender`] that writes to it.
///
/// Whoever holds it reads it as a `Stream` of `Result<T, StreamError>`, and in code that
/// is not async as an [iterator](Items) of them. An error
/// is the last item, and means that the stream was cut off; a stream that ends
/// without one is whole. Items that are `Result`s themselves are items like
/// others.
///
/// Its writer is held up when the reader falls behind by more than
/// [`Limits::stream_items`](crate::Limits::stream_items) or
/// [`stream_bytes`](crate::Limits::stream_bytes); nobody else is. Items arrive in
/// the order in which they were sent, each `Vec<u8>` and `Bytes` as one block.
/// Dropping it ends the writer's stream: what
/// it was made of is dropped in its own process.
///
/// A stream can be sent once: reading it there and here is not possible. Once
/// sent, it is run as a task of its sender's process, and keeps the connection.
///
/// ```
/// use futures::StreamExt;
/// use panpipe::Streaming;
///
/// #[panpipe::service]
/// pub trait Numbers {
///     /// All numbers from one on up to this one.
///     async fn up_to(&self, last: u64) -> Streaming<u64>;
///     /// Adds numbers as they come.
///     async fn sum(&self, numbers: Streaming<u64>) -> u64;
/// }
///
/// struct Maths;
///
/// impl Numbers for Maths {
///     async fn up_to(&self, last: u64) -> Streaming<u64> {
///         Streaming::new(futures::stream::iter(1..=last))
///     }
///     async fn sum(&self, numbers: Streaming<u64>) -> u64 {
///         numbers.fold(0, async |sum, number| sum + number.unwrap_or(0)).await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (here, there) = tokio::io::duplex(4096);
/// # tokio::spawn(panpipe::serve_stream(there, Maths.serve()));
/// # let maths = NumbersClient::over(here);
/// let numbers = maths.up_to(100).await?;
/// // A stream that was received can be passed on.
/// assert_eq!(maths.sum(Streaming::new(numbers.map(|number| number.unwrap_or(0)))).await?, 5050);
/// # Ok(())
/// # }
/// ```
pub struct Streaming<T> {
    place: Mutex<Place<T>>,
}

/// Where the items are to be had.
enum Place<T> {
    Here(Source<T>),
    /// Where the message takes it that is being sent; still here if it was not.
    Leaving(Arc<Leaving<T>>),
}

struct Leaving<T> {
    source: Mutex<Option<Source<T>>>,
}

enum Source<T> {
    Made(Pin<Box<dyn Stream<Item = T> + Send>>),
    /// One whose end may be an error.
    Fallible(Pin<Box<dyn Stream<Item = Result<T, StreamError>> + Send>>),
    Channel(Receiver<T>),
    Port(PortReader<T>),
    /// It came where ports do not travel.
    Lost,
}

impl<T> Streaming<T> {
    /// The next item, or `None` at the end of the stream.
    ///
    /// It is `StreamExt::next` of `futures`, for programs without that crate. Cancel safe: an
    /// item that the future has not returned is not lost.
    // The name is that of the extension trait whose method it stands for, as in other streams.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<T, StreamError>>> + Unpin {
        poll_fn(move |cx| Pin::new(&mut *self).poll_next(cx))
    }

    /// How many items were lost on their way before the one that was read last, or before the
    /// end once that was read. `None` if that is not known.
    ///
    /// A writer loses items if it chooses to rather than wait for a slow reader: by
    /// [`WhenFull::KeepLatest`], [`WhenFull::DropOldest`], or where an item that was kept for
    /// later turns out not to be encodable. The count grows with each of them, in whatever
    /// process they were lost, also in one that handed the stream on. Where it has grown
    /// between two items, as many are missing between the two. An item that
    /// [`send`](Sender::send) gave back to its writer was not lost, and is not counted;
    /// neither is what is missing behind an [error](StreamError).
    ///
    /// The number is not known, from the first item on, where a process that the items came
    /// through runs a version of panpipe that does not tell it. A stream that was handed on
    /// counts at its new reader from there on. One [made](Self::new) of another stream is a
    /// stream of its own, and begins at 0.
    ///
    /// ```
    /// use futures::StreamExt;
    /// use panpipe::WhenFull;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (sender, mut readings) = panpipe::channel(2);
    /// let sender = sender.when_full(WhenFull::DropOldest);
    /// for reading in 1..=5 {
    ///     sender.send(reading).await.unwrap();
    /// }
    /// assert_eq!(readings.next().await, Some(Ok(4)));
    /// assert_eq!(readings.lost(), Some(3));
    /// # }
    /// ```
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        match &*self.place.lock().unwrap_or_else(PoisonError::into_inner) {
            Place::Here(source) => source.lost(),
            Place::Leaving(leaving) => leaving.lost(),
        }
        .known()
    }

    /// A stream of these items.
    pub fn new(items: impl Stream<Item = T> + Send + 'static) -> Self {
        Streaming::of(Source::Made(Box::pin(items)))
    }

    /// The connection that it comes over, if it does.
    fn link(&mut self) -> Option<Arc<Link>> {
        match self.place.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Place::Here(Source::Port(reader)) => reader.link().cloned(),
            _ => None,
        }
    }

    fn of(source: Source<T>) -> Self {
        Streaming { place: Mutex::new(Place::Here(source)) }
    }
}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").finish_non_exhaustive()
    }
}

impl<T> Source<T> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, StreamError>>> {
        match self {
            Source::Made(items) => items.as_mut().poll_next(cx).map(|item| item.map(Ok)),
            Source::Fallible(items) => items.as_mut().poll_next(cx),
            Source::Channel(receiver) => receiver.poll_next(cx),
            Source::Port(reader) => reader.poll_next(cx),
            Source::Lost => Poll::Ready(Some(Err(StreamError::Cancelled))),
        }
    }
}

impl<T> Source<T> {
    /// How many items its writer keeps unread at most, if it says so.
    fn credit(&self) -> Option<u64> {
        match self {
            Source::Channel(receiver) => Some(receiver.credit()),
            Source::Port(reader) => reader.credit(),
            // Of a watched value the newest is what counts: no other is to wait on the way.
            Source::Fallible(_) => Some(1),
            Source::Made(_) | Source::Lost => None,
        }
    }

    /// How often items that waited here were dropped for newer ones.
    fn overflows(&self) -> u64 {
        match self {
            Source::Channel(receiver) => receiver.overflows(),
            Source::Made(_) | Source::Fallible(_) | Source::Port(_) | Source::Lost => 0,
        }
    }
}

impl<T> Source<T> {
    /// How many items were lost before the one that was read last.
    fn lost(&self) -> Lost {
        match self {
            Source::Channel(receiver) => receiver.lost(),
            Source::Port(reader) => reader.lost(),
            Source::Made(_) | Source::Fallible(_) | Source::Lost => Lost::NONE,
        }
    }
}

impl<T> Stream for Streaming<T> {
    type Item = Result<T, StreamError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let place = self.get_mut().place.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            match place {
                Place::Here(Source::Channel(receiver)) => {
                    // Where another thread writes there are always more.
                    let turn = ready!(coop::poll_proceed(cx));
                    let next = ready!(receiver.poll_next(cx));
                    turn.made_progress();
                    return Poll::Ready(next);
                }
                Place::Here(source) => return source.poll_next(cx),
                Place::Leaving(leaving) => match leaving.take() {
                    Some(source) => *place = Place::Here(source),
                    None => return Poll::Ready(None),
                },
            }
        }
    }
}

// No part of it is pinned in place.
impl<T> Unpin for Streaming<T> {}

impl<T> Leaving<T> {
    fn take(&self) -> Option<Source<T>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn has_left(&self) -> bool {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// How many items the stream's writer keeps unread at most, if it says so.
    fn credit(&self) -> Option<u64> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Source::credit)
    }
}

impl<T> Leaving<T> {
    /// How many items were lost, unless they are read elsewhere.
    fn lost(&self) -> Lost {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.as_ref().map_or(Lost::UNKNOWN, Source::lost)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Attach for Leaving<T> {
    fn attach(self: Arc<Self>, link: Arc<Link>, port: u64) {
        match self.take() {
            Some(source) => Pump::start(link, port, source),
            None => link.end_writing(port, &StreamEnd::Unclaimed),
        }
    }
}

impl<T> Streaming<T> {
    /// Puts its source where the connection takes it from, once the message is sent.
    fn leave(&self) -> Arc<Leaving<T>> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *place {
            Place::Leaving(leaving) => Arc::clone(leaving),
            Place::Here(source) => {
                let source = Mutex::new(Some(std::mem::replace(source, Source::Lost)));
                let leaving = Arc::new(Leaving { source });
                *place = Place::Leaving(Arc::clone(&leaving));
                leaving
            }
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Serialize for Streaming<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let leaving = self.leave();
        let attach: Arc<dyn Attach> = leaving.clone();
        if leaving.has_left() || carried::is_offered(&attach) {
            return Err(S::Error::custom("a stream can be sent once, and this one has been sent"));
        }
        let items = leaving.credit();
        let index = carried::offer(|| Offer::Stream { items, attach })?;
        serializer.serialize_u32(index)
    }
}

impl<'de, T: DeserializeOwned + 'static> Deserialize<'de> for Streaming<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let claimed = carried::claim(index, PortKind::Stream)?;
        Ok(Streaming::of(claimed.map_or(Source::Lost, |claimed| Source::Port(PortReader::new(claimed)))))
    }
}

impl StreamEnd {
    /// What the reader learns, if anything is wrong.
    fn into_error(self) -> Option<StreamError> {
        Some(match self {
            StreamEnd::Finished => return None,
            StreamEnd::Panicked => StreamError::Panicked,
            StreamEnd::Disconnected => StreamError::Disconnected,
            StreamEnd::Malformed(why) => StreamError::Malformed(why),
            StreamEnd::TooLarge { size, limit } => StreamError::TooLarge { size, limit },
            StreamEnd::Unclaimed => StreamError::Cancelled,
        })
    }
}

impl From<StreamError> for StreamEnd {
    fn from(error: StreamError) -> StreamEnd {
        match error {
            StreamError::Panicked => StreamEnd::Panicked,
            StreamError::Disconnected => StreamEnd::Disconnected,
            StreamError::Malformed(why) => StreamEnd::Malformed(why),
            StreamError::TooLarge { size, limit } => StreamEnd::TooLarge { size, limit },
            StreamError::Cancelled => StreamEnd::Unclaimed,
        }
    }
}

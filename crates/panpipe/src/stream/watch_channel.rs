//! A value that changes, and whose readers see the latest, in any process.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::watch as cell;

use super::pump::Pump;
use super::reader::PortReader;
use super::{Source, Streaming};
use crate::blocking::block_on;
use crate::carried::{self, Attach, Claimed, Offer};
use crate::error::StreamError;
use crate::link::Link;
use crate::session::PortKind;

/// Makes a value that is set at one end and watched at the other.
///
/// A reader that is slow misses values in between, and always gets the latest. Either end
/// may be sent to another process, as an argument, a result or a part of one; clones of it
/// may stay. The value that it has then travels with it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), panpipe::WatchError> {
/// let (level, mut watched) = panpipe::watch(0u8);
/// assert_eq!(*watched.borrow(), 0);
/// level.set(1);
/// level.set(2);
/// watched.changed().await?;
/// assert_eq!(*watched.borrow(), 2);
/// # Ok(())
/// # }
/// ```
///
/// As the result of a call:
///
/// ```
/// use panpipe::{WatchReceiver, WatchSender};
///
/// #[panpipe::service]
/// pub trait Tank {
///     /// The level, and each later one.
///     async fn level(&self) -> WatchReceiver<u32>;
/// }
///
/// struct Sensor(WatchSender<u32>);
///
/// impl Tank for Sensor {
///     async fn level(&self) -> WatchReceiver<u32> {
///         self.0.subscribe()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (here, there) = tokio::io::duplex(4096);
/// let (level, _) = panpipe::watch(3);
/// # tokio::spawn(panpipe::serve_stream(there, Sensor(level.clone()).serve()));
/// # let tank = TankClient::over(here);
/// let mut watched = tank.level().await?;
/// assert_eq!(*watched.borrow(), 3);
/// level.set(4);
/// watched.changed().await?;
/// assert_eq!(*watched.borrow(), 4);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn watch<T>(initial: T) -> (WatchSender<T>, WatchReceiver<T>) {
    let (sender, receiver) = cell::channel(State { value: Arc::new(initial), cut_off: None });
    (WatchSender::new(sender), WatchReceiver { cell: receiver })
}

struct State<T> {
    value: Arc<T>,
    /// How the value's way from another process was cut off, unless it ended in order.
    cut_off: Option<StreamError>,
}

/// Sets a value that is watched. Made by [`watch`].
///
/// Clones set the same value. The last set wins, whichever process it is made in.
pub struct WatchSender<T> {
    cell: cell::Sender<State<T>>,
    /// Dropped with the last clone in this process. Feeds from other processes hold the cell
    /// too, and end when neither a sender nor a receiver of this process is left.
    owners: Arc<cell::Sender<()>>,
}

/// Reads a value as it changes. Made by [`watch`].
///
/// Clones read the same value, each at its own pace. One that came over a connection keeps
/// the connection.
pub struct WatchReceiver<T> {
    cell: cell::Receiver<State<T>>,
}

/// Why a watched value changes no more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchError {
    /// All of its senders were dropped. The value is the last one.
    Finished,
    /// The way from its sender's process was cut off. Later values may be missing.
    CutOff(StreamError),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchError::Finished => f.write_str("the watched value has no sender any more"),
            WatchError::CutOff(why) => {
                write!(f, "the watched value was cut off, later values may be missing: {why}")
            }
        }
    }
}

impl Error for WatchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            WatchError::Finished => None,
            WatchError::CutOff(why) => Some(why),
        }
    }
}

impl<T> Clone for WatchSender<T> {
    fn clone(&self) -> Self {
        WatchSender { cell: self.cell.clone(), owners: Arc::clone(&self.owners) }
    }
}

impl<T> Clone for WatchReceiver<T> {
    fn clone(&self) -> Self {
        WatchReceiver { cell: self.cell.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for WatchSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchSender").field(&self.borrow()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for WatchReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchReceiver").field(&self.borrow()).finish()
    }
}

impl<T> WatchSender<T> {
    fn new(cell: cell::Sender<State<T>>) -> Self {
        WatchSender { cell, owners: Arc::new(cell::Sender::new(())) }
    }

    /// Sets the value. It never waits, and the value is kept where no receiver is left.
    pub fn set(&self, value: T) {
        // The old value is dropped here, outside of the cell's lock.
        drop(self.cell.send_replace(State { value: Arc::new(value), cut_off: None }));
    }

    /// The latest value that was set on this side, or came with the sender.
    #[must_use]
    pub fn borrow(&self) -> Arc<T> {
        Arc::clone(&self.cell.borrow().value)
    }

    /// A receiver, which takes the present value for seen.
    #[must_use]
    pub fn subscribe(&self) -> WatchReceiver<T> {
        WatchReceiver { cell: self.cell.subscribe() }
    }

    /// Whether no receiver is left. For a sender that came from another process: neither a
    /// receiver there nor a sender that could make one.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.cell.is_closed()
    }

    /// Waits until no receiver is left, as [`is_closed`](Self::is_closed) says. Cancel safe.
    pub async fn closed(&self) {
        self.cell.closed().await;
    }
}

impl<T> WatchReceiver<T> {
    /// The latest value. It counts as seen only after [`changed`](Self::changed).
    #[must_use]
    pub fn borrow(&self) -> Arc<T> {
        Arc::clone(&self.cell.borrow().value)
    }

    /// Waits for a value that this receiver has not seen, and takes it for seen.
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`WatchError`] when no sender is left, or the connection that the values came over
    /// has ended, and the latest value has been seen.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        let changed = self.cell.changed().await;
        changed.map_err(|_| match &self.cell.borrow().cut_off {
            None => WatchError::Finished,
            Some(why) => WatchError::CutOff(why.clone()),
        })
    }

    /// As [`changed`](Self::changed), and waits on this thread, which must be none of a
    /// runtime's.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn changed_blocking(&mut self) -> Result<(), WatchError> {
        block_on(self.changed())
    }
}

/// A value as it travels: as the value itself does.
struct Shared<T>(Arc<T>);

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(&self.0, serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Shared(Arc::new(value)))
    }
}

type NextChange<T> = (Option<Result<Shared<T>, StreamError>>, cell::Receiver<State<T>>);

/// The values from the next change on, as a stream.
struct Changes<T> {
    next: Pin<Box<dyn Future<Output = NextChange<T>> + Send>>,
}

impl<T: Send + Sync + 'static> Changes<T> {
    fn after(cell: cell::Receiver<State<T>>) -> Self {
        Changes { next: Box::pin(next_change(cell)) }
    }
}

async fn next_change<T>(mut cell: cell::Receiver<State<T>>) -> NextChange<T> {
    let change = match cell.changed().await {
        Ok(()) => Some(Ok(Shared(Arc::clone(&cell.borrow_and_update().value)))),
        Err(_) => cell.borrow().cut_off.clone().map(Err),
    };
    (change, cell)
}

impl<T: Send + Sync + 'static> Stream for Changes<T> {
    type Item = Result<Shared<T>, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (change, cell) = ready!(self.next.as_mut().poll(cx));
        if matches!(change, Some(Ok(_))) {
            *self = Changes::after(cell);
        }
        Poll::Ready(change)
    }
}

/// Sets the values that come from another process, until they end or can be watched no more.
async fn feed<T>(
    mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Shared<T>, StreamError>>>,
    cell: cell::Sender<State<T>>,
    owners: Option<cell::Receiver<()>>,
) {
    let mut unwatched = pin!(async {
        if let Some(mut owners) = owners {
            // Nothing is ever sent: this is ready when the last sender is dropped.
            let _ = owners.changed().await;
        }
        cell.closed().await;
    });
    let end = loop {
        let next = poll_fn(|cx| match next(cx) {
            Poll::Pending => unwatched.as_mut().poll(cx).map(|()| None),
            ready => ready,
        });
        match next.await {
            Some(Ok(Shared(value))) => {
                // Until the end has come in order, a task that is dropped leaves a cut behind.
                let state = State { value, cut_off: Some(StreamError::Disconnected) };
                drop(cell.send_replace(state));
            }
            Some(Err(why)) => break Some(why),
            None => break None,
        }
    };
    cell.send_if_modified(|state| {
        state.cut_off = end;
        false
    });
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Serialize for WatchReceiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut cell = self.cell.clone();
        let value = Shared(Arc::clone(&cell.borrow_and_update().value));
        let changes = Streaming::of(Source::Fallible(Box::pin(Changes::after(cell))));
        (value, changes).serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned + Send + Sync + 'static> Deserialize<'de> for WatchReceiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Travelling<T> = (Shared<T>, Streaming<Shared<T>>);
        let (Shared(value), mut changes) = Travelling::<T>::deserialize(deserializer)?;
        let (sender, receiver) = cell::channel(State { value, cut_off: Some(StreamError::Disconnected) });
        if let Some(link) = changes.link() {
            let next = move |cx: &mut Context<'_>| Pin::new(&mut changes).poll_next(cx);
            link.executor().spawn(feed(next, sender, None));
        }
        Ok(WatchReceiver { cell: receiver })
    }
}

/// The cell of a sender that has been sent, which its values are to reach.
struct Leaving<T> {
    cell: cell::Sender<State<T>>,
    owners: cell::Receiver<()>,
}

impl<T: DeserializeOwned + Send + Sync + 'static> Attach for Leaving<T> {
    fn attach(self: Arc<Self>, link: Arc<Link>, port: u64) {
        let mut reader = PortReader::<Shared<T>>::of_port(Arc::clone(&link), link.codec(), port);
        let (cell, owners) = (self.cell.clone(), self.owners.clone());
        link.executor().spawn(feed(move |cx| reader.poll_next(cx), cell, Some(owners)));
    }

    fn lost(&self) {
        self.cell.send_if_modified(|state| {
            state.cut_off = Some(StreamError::Disconnected);
            false
        });
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Serialize for WatchSender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = Shared(self.borrow());
        let attach = || Arc::new(Leaving { cell: self.cell.clone(), owners: self.owners.subscribe() });
        let index = carried::offer(|| Offer::Sender { items: 1, attach: attach() })?;
        (value, index).serialize(serializer)
    }
}

impl<'de, T: Serialize + DeserializeOwned + Send + Sync + 'static> Deserialize<'de> for WatchSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (Shared(value), index) = <(Shared<T>, u32)>::deserialize(deserializer)?;
        let (sender, receiver) = cell::channel(State { value, cut_off: None });
        if let Some(Claimed { link, port, .. }) = carried::claim(index, PortKind::Sender)? {
            Pump::start(link, port, Source::Fallible(Box::pin(Changes::after(receiver))));
        }
        Ok(WatchSender::new(sender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_gets_the_latest_value() {
        let (sender, mut receiver) = watch(0);
        assert_eq!(*receiver.borrow(), 0);
        for value in 1..=100 {
            sender.set(value);
        }
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow(), 100);
    }

    #[tokio::test]
    async fn the_last_value_is_seen_before_the_end() {
        let (sender, mut receiver) = watch(0);
        let other = sender.clone();
        drop(sender);
        other.set(1);
        drop(other);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(*receiver.borrow(), 1);
        assert_eq!(receiver.changed().await, Err(WatchError::Finished));
    }

    #[tokio::test]
    async fn a_value_is_kept_without_a_receiver() {
        let (sender, receiver) = watch(0);
        drop(receiver);
        sender.closed().await;
        sender.set(1);
        let mut later = sender.subscribe();
        assert_eq!(*later.borrow(), 1);
        assert!(!sender.is_closed());
        sender.set(2);
        assert_eq!(later.changed().await, Ok(()));
    }

    #[tokio::test]
    async fn an_old_value_is_dropped_outside_of_the_lock() {
        struct Reads(Option<WatchReceiver<Reads>>);
        impl Drop for Reads {
            fn drop(&mut self) {
                if let Some(watched) = &self.0 {
                    assert!(watched.borrow().0.is_none());
                }
            }
        }
        let (sender, receiver) = watch(Reads(None));
        sender.set(Reads(Some(receiver)));
        sender.set(Reads(None));
    }

    #[tokio::test]
    async fn a_feed_that_is_dropped_leaves_a_cut_behind() {
        let (sender, mut receiver) = cell::channel(State { value: Arc::new(0), cut_off: None });
        let mut values = vec![Poll::Pending, Poll::Ready(Some(Ok(Shared(Arc::new(1)))))];
        {
            let fed = pin!(feed(move |_| values.pop().unwrap_or(Poll::Pending), sender, None));
            assert!(futures::poll!(fed).is_pending());
        }
        assert_eq!(*receiver.borrow_and_update().value, 1);
        let mut receiver = WatchReceiver { cell: receiver };
        assert_eq!(receiver.changed().await, Err(WatchError::CutOff(StreamError::Disconnected)));
    }
}

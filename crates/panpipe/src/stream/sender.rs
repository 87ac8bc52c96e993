//! The writing end of a stream.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::task::coop;

use super::channel::{Queue, Refused, take_waker};
use super::item::{self, ItemDraft};
use super::own_waker::OwnWaker;
use super::reader::PortReader;
use crate::carried::{self, Attach, Carried, Claimed, Offer};
use crate::codec::Codec;
use crate::error::StreamError;
use crate::guarded::{caught, drop_guarded};
use crate::link::Link;
use crate::session::{ItemError, Lost, PortKind, StreamEnd};
use crate::type_check::CheckedItems;

/// What to do with an item for which there is no room, since the reader is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// Sending waits.
    #[default]
    Wait,
    /// The items that wait here are dropped, and this one waits: for values of
    /// which the newest is all that counts, such as progress. The reader learns
    /// [how many were dropped](super::Streaming::lost).
    KeepLatest,
    /// The oldest of the items that wait here is dropped. The reader learns
    /// [how many were dropped](super::Streaming::lost).
    DropOldest,
    /// Sending fails with [`SendError::Full`], which gives the item back: nothing is lost that
    /// the writer does not know of. [`Sender::try_send`] does the same for one item.
    Fail,
}

/// Writes to a [`Streaming`](super::Streaming). It may be sent to another
/// process: for progress while a call runs, for events after it.
///
/// It is made by [`channel`](super::channel), which says how many items may be
/// on their way. Clones write to the same stream. The stream ends, whole, when the
/// last of them is dropped; with [`StreamError::Panicked`] if that is by a panic,
/// and with [`StreamError::Disconnected`] if one was lost with its process.
///
/// ```
/// use futures::StreamExt;
/// use panpipe::{Sender, WhenFull};
///
/// #[panpipe::service]
/// pub trait Store {
///     /// Takes a while, and says how far it has come.
///     async fn compact(&self, progress: Sender<f32>) -> u64;
/// }
///
/// struct Db;
///
/// impl Store for Db {
///     async fn compact(&self, progress: Sender<f32>) -> u64 {
///         // A reader that is slow to draw does not hold the work up.
///         let progress = progress.when_full(WhenFull::KeepLatest);
///         for step in 1..=4 {
///             let _ = progress.send(step as f32 / 4.0).await;
///         }
///         4
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (here, there) = tokio::io::duplex(4096);
/// # tokio::spawn(panpipe::serve_stream(there, Db.serve()));
/// # let store = StoreClient::over(here);
/// let (sender, progress) = panpipe::channel(4);
/// let (done, steps) = tokio::join!(store.compact(sender), progress.collect::<Vec<_>>());
/// assert_eq!((done?, steps.last()), (4, Some(&Ok(1.0))));
/// # Ok(())
/// # }
/// ```
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    when_full: WhenFull,
}

/// What all clones of a sender have in common. It ends the stream when it is dropped.
struct Shared<T> {
    way: Way<T>,
    /// What became of a clone in another process, if that was bad: the stream is
    /// not whole then, however the other clones end.
    failed: OnceLock<StreamError>,
}

/// Where items go.
enum Way<T> {
    Queue(Arc<Queue<T>>),
    Port(PortWriter<T>),
    /// It came where ports do not travel.
    Lost,
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let panicked = std::thread::panicking().then_some(StreamError::Panicked);
        let given_up = || carried::is_given_up().then_some(StreamError::Cancelled);
        let error = self.failed.take().or(panicked).or_else(given_up);
        match &self.way {
            Way::Queue(queue) => queue.end(error),
            Way::Port(writer) => {
                let end = error.map_or(StreamEnd::Finished, StreamEnd::from);
                writer.link.end_writing(writer.port, &end);
            }
            Way::Lost => {}
        }
    }
}

/// Why an item was not sent. It is given back.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// Nobody reads the stream any more.
    Closed(T),
    /// The reader is slow, and this was not to wait.
    Full(T),
    /// The item cannot be encoded, or the reader accepts none so large. The
    /// stream goes on.
    Unsendable(T, StreamError),
}

impl<T> SendError<T> {
    /// The item that was not sent.
    #[must_use]
    pub fn into_inner(self) -> T {
        match self {
            SendError::Closed(item) | SendError::Full(item) | SendError::Unsendable(item, _) => item,
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed(_) => f.write_str("Closed"),
            SendError::Full(_) => f.write_str("Full"),
            SendError::Unsendable(_, why) => write!(f, "Unsendable({why:?})"),
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed(_) => f.write_str("nobody reads the stream any more"),
            SendError::Full(_) => f.write_str("the stream's reader is behind by as much as it accepts"),
            SendError::Unsendable(_, why) => write!(f, "the item cannot be sent: {why}"),
        }
    }
}

impl<T> Error for SendError<T> {}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { shared: Arc::clone(&self.shared), when_full: self.when_full }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("when_full", &self.when_full).finish_non_exhaustive()
    }
}

impl<T> Sender<T> {
    pub(super) fn of_queue(queue: Arc<Queue<T>>) -> Self {
        Sender::of_way(Way::Queue(queue))
    }

    fn of_way(way: Way<T>) -> Self {
        let shared = Arc::new(Shared { way, failed: OnceLock::new() });
        Sender { shared, when_full: WhenFull::Wait }
    }

    /// The same sender, and what it does when the reader is slow: it waits,
    /// unless another choice is made here. The choice stays in this process.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Whether nobody reads the stream any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.poll_closed(Waker::noop()).is_ready()
    }

    /// The connection that it writes to, if it does.
    pub(super) fn link(&self) -> Option<&Arc<Link>> {
        match &self.shared.way {
            Way::Port(writer) => Some(&writer.link),
            Way::Queue(_) | Way::Lost => None,
        }
    }

    /// Waits until nobody reads the stream any more. Cancel safe.
    pub async fn closed(&self) {
        let waiting = Waiting { sender: self, own: OwnWaker::default() };
        poll_fn(|cx| self.poll_closed(waiting.own.waking(cx.waker()))).await;
    }

    /// Forgets who waits to send, or for the reader to go.
    fn forget_waiter(&self, waker: &Waker) {
        match &self.shared.way {
            Way::Queue(queue) => queue.forget_waiter(waker),
            Way::Port(writer) => {
                let mut held = writer.held.lock().unwrap_or_else(PoisonError::into_inner);
                let forgotten = take_waker(&mut held.waiting, waker);
                drop(held);
                drop(forgotten);
                writer.link.forget_writer(writer.port, waker);
            }
            Way::Lost => {}
        }
    }

    /// Items were lost that would have been sent next.
    fn lose(&self, lost: Lost) {
        match &self.shared.way {
            Way::Queue(queue) => queue.lose(lost),
            Way::Port(writer) => writer.link.lose_items(writer.port, lost),
            Way::Lost => {}
        }
    }

    fn poll_closed(&self, waker: &Waker) -> Poll<()> {
        match &self.shared.way {
            Way::Queue(queue) => queue.poll_closed(waker),
            Way::Port(writer) => writer.link.poll_stopped(writer.port, waker),
            Way::Lost => Poll::Ready(()),
        }
    }
}

impl<T: Send + 'static> Sender<T> {
    /// Sends an item. When the reader is slow it does what
    /// [`when_full`](Self::when_full) says; by itself it waits.
    ///
    /// Ready when the item is on its way, not when it has been read: over a connection that
    /// has nothing else to send it is written then, and else it is queued behind what is. What
    /// is queued is written also where the runtime, or the connection's last client, goes
    /// first; where that fails within a moment a warning says how many were lost.
    /// [`std::process::exit`], `abort`, a panic that aborts and a `kill -9` lose what is queued:
    /// await [`flush`](Self::flush) before. Dropping the future before it is ready drops the
    /// item unsent.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] when nobody reads the stream any more.
    pub async fn send(&self, item: T) -> Result<(), SendError<T>> {
        // Where another thread reads there is always room.
        coop::consume_budget().await;
        let mut draft = ItemDraft::default();
        match self.push(item, self.when_full, &mut draft) {
            Err(SendError::Full(item)) if self.when_full == WhenFull::Wait => {
                let waiting = Waiting { sender: self, own: OwnWaker::default() };
                Sending { waiting, item: Some(item), draft }.await
            }
            other => other,
        }
    }

    /// Sends an item if that can be done without waiting, whatever
    /// [`when_full`](Self::when_full) says.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] when the reader is slow, [`SendError::Closed`] when
    /// nobody reads the stream any more.
    pub fn try_send(&self, item: T) -> Result<(), SendError<T>> {
        self.push(item, WhenFull::Fail, &mut ItemDraft::default())
    }

    /// Ready when all items that were sent before have arrived: they are with the reader, in
    /// whatever process it is. It may not have looked at the last of them.
    ///
    /// A `send` is ready when its item is on its way. What ends this process without ending its
    /// runtime, as [`std::process::exit`] and `abort` do, may lose items that are on their way;
    /// await this before. Dropping the future gives up waiting.
    ///
    /// # Errors
    ///
    /// [`StreamError::Disconnected`] when nobody reads the stream any more: items may be lost.
    pub async fn flush(&self) -> Result<(), StreamError> {
        let waiting = Waiting { sender: self, own: OwnWaker::default() };
        let port = poll_fn(|cx| {
            let waker = waiting.own.waking(cx.waker());
            match &self.shared.way {
                Way::Queue(queue) => queue.poll_taken(waker),
                Way::Port(writer) => {
                    writer.poll_none_held(waker).map(|()| Ok(Some((Arc::clone(&writer.link), writer.port))))
                }
                Way::Lost => Poll::Ready(Err(StreamError::Disconnected)),
            }
        });
        let Some((link, port)) = port.await? else { return Ok(()) };
        // What is sent in parts is passed by a question.
        let is_read = poll_fn(|cx| link.poll_items_queued(port, waiting.own.waking(cx.waker()))).await;
        link.forget_writer(port, waiting.own.waker());
        if is_read && link.ping().await { Ok(()) } else { Err(StreamError::Disconnected) }
    }

    fn push(&self, item: T, when_full: WhenFull, draft: &mut ItemDraft) -> Result<(), SendError<T>> {
        match &self.shared.way {
            Way::Queue(queue) => queue.push(item, when_full).map_err(|refused| match refused {
                Refused::Full(item) => SendError::Full(item),
                Refused::Closed(item) => SendError::Closed(item),
            }),
            Way::Port(writer) => writer.push(&self.shared, item, when_full, draft),
            Way::Lost => Err(SendError::Closed(item)),
        }
    }
}

/// Whoever waits for a sender. Nothing is left of it when it goes.
struct Waiting<'a, T> {
    sender: &'a Sender<T>,
    own: OwnWaker,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.sender.forget_waiter(self.own.waker());
    }
}

/// An item that waits for room.
struct Sending<'a, T> {
    waiting: Waiting<'a, T>,
    item: Option<T>,
    draft: ItemDraft,
}

impl<T> Unpin for Sending<'_, T> {}

impl<T: Send + 'static> Future for Sending<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Sending { waiting: Waiting { sender, own }, item: place, draft } = &mut *self;
        let waker = own.waking(cx.waker());
        let mut item = place.take().expect("it is polled no more once it was ready");
        loop {
            let polled = match &sender.shared.way {
                Way::Port(writer) => match writer.poll_send(&item, draft, waker) {
                    Poll::Ready(sent) => {
                        return Poll::Ready(sent.map(drop).map_err(|error| error.with(item)));
                    }
                    Poll::Pending => Poll::Pending,
                },
                Way::Queue(queue) => match sender.push(item, WhenFull::Wait, draft) {
                    Err(SendError::Full(refused)) => {
                        item = refused;
                        queue.poll_room(waker)
                    }
                    other => return Poll::Ready(other),
                },
                Way::Lost => return Poll::Ready(Err(SendError::Closed(item))),
            };
            if polled.is_pending() {
                *place = Some(item);
                return Poll::Pending;
            }
        }
    }
}

type EncodeItem<T> = fn(&CheckedItems, Codec, &T, &mut Vec<u8>) -> Result<Carried, String>;

/// Encodes items onto a connection.
struct PortWriter<T> {
    link: Arc<Link>,
    port: u64,
    encode: EncodeItem<T>,
    checked: CheckedItems,
    /// How many items may wait here.
    most_held: usize,
    held: Mutex<Held<T>>,
}

/// Items that wait here for credit, for a sender that does not.
struct Held<T> {
    items: VecDeque<T>,
    /// How many were dropped before the first of them.
    lost: Lost,
    /// How many there may be, by the choice of who has sent last.
    most: usize,
    /// Whether a task sees to them.
    is_flushed: bool,
    /// Whether the last attempt found no room: the next one asks before it encodes its item.
    was_full: bool,
    /// Those who wait to send behind them.
    waiting: Vec<Waker>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held {
            items: VecDeque::new(),
            lost: Lost::NONE,
            most: 1,
            is_flushed: false,
            was_full: false,
            waiting: Vec::new(),
        }
    }
}

impl ItemError {
    fn with<T>(self, item: T) -> SendError<T> {
        match self {
            ItemError::Closed => SendError::Closed(item),
            ItemError::Unsendable(end) => {
                SendError::Unsendable(item, end.into_error().unwrap_or(StreamError::Disconnected))
            }
        }
    }
}

impl<T: Send + 'static> PortWriter<T> {
    fn lock(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an item behind those that are held.
    fn poll_send(&self, item: &T, draft: &mut ItemDraft, waker: &Waker) -> Poll<Result<usize, ItemError>> {
        let was_full = {
            let mut held = self.lock();
            if held.is_flushed {
                drop(held);
                return self.wait_behind_held(waker);
            }
            std::mem::take(&mut held.was_full)
        };
        if was_full && !draft.is_begun() && !self.link.takes_item(self.port) {
            self.lock().was_full = true;
            if waker.will_wake(Waker::noop()) {
                return Poll::Pending;
            }
        }
        self.put(item, draft, waker)
    }

    /// Has `waker` be woken when no items are held any more.
    fn wait_behind_held(&self, waker: &Waker) -> Poll<Result<usize, ItemError>> {
        let mut waker = Some(waker.clone());
        let mut held = self.lock();
        if !held.is_flushed {
            // They went while the waker was cloned.
            drop(held);
            waker.into_iter().for_each(Waker::wake);
        } else if !held.waiting.iter().any(|known| waker.as_ref().is_some_and(|new| known.will_wake(new))) {
            held.waiting.extend(waker.take());
        }
        Poll::Pending
    }

    /// Ready when no items are held here.
    fn poll_none_held(&self, waker: &Waker) -> Poll<()> {
        if self.lock().is_flushed {
            return self.wait_behind_held(waker).map(drop);
        }
        Poll::Ready(())
    }

    /// Not to be called with what is held locked: it may run code of the user's.
    fn put(&self, item: &T, draft: &mut ItemDraft, waker: &Waker) -> Poll<Result<usize, ItemError>> {
        let encode = |codec, out: &mut Vec<u8>| (self.encode)(&self.checked, codec, item, out);
        draft.poll_send(&self.link, self.port, true, waker, encode)
    }

    fn push(
        &self,
        shared: &Arc<Shared<T>>,
        item: T,
        when_full: WhenFull,
        draft: &mut ItemDraft,
    ) -> Result<(), SendError<T>> {
        match self.poll_send(&item, draft, Waker::noop()) {
            Poll::Ready(sent) => return sent.map(drop).map_err(|error| error.with(item)),
            Poll::Pending if matches!(when_full, WhenFull::Wait | WhenFull::Fail) => {
                self.lock().was_full = true;
                return Err(SendError::Full(item));
            }
            Poll::Pending => {}
        }
        let (dropped, is_flushed) = {
            let mut held = self.lock();
            held.most = if when_full == WhenFull::KeepLatest { 1 } else { self.most_held };
            held.items.push_back(item);
            let excess = held.items.len().saturating_sub(held.most);
            let dropped: Vec<_> = held.items.drain(..excess).collect();
            held.lost.add(Lost::of(dropped.len()));
            (dropped, std::mem::replace(&mut held.is_flushed, true))
        };
        drop(dropped);
        if !is_flushed {
            self.link.executor().spawn(Flusher { shared: Arc::clone(shared), next: None, is_done: false });
        }
        Ok(())
    }

    /// Sends the items that are held, as credit comes. `next` is the one that is
    /// being sent, and what it needs.
    fn poll_flush(&self, next: &mut Option<(T, ItemDraft)>, waker: &Waker) -> Poll<()> {
        loop {
            let (item, lost) = {
                let mut held = self.lock();
                // Newer ones may have come that leave the one that waited no place.
                let stale = if held.items.len() >= held.most { next.take() } else { None };
                let mut lost = Lost::of(usize::from(stale.is_some()));
                let item = next.take().or_else(|| {
                    lost.add(std::mem::take(&mut held.lost));
                    Some((held.items.pop_front()?, ItemDraft::default()))
                });
                if item.is_none() {
                    held.is_flushed = false;
                    let waiting = std::mem::take(&mut held.waiting);
                    drop(held);
                    drop_guarded(stale);
                    waiting.into_iter().for_each(Waker::wake);
                    return Poll::Ready(());
                }
                drop(held);
                drop_guarded(stale);
                (item, lost)
            };
            self.link.lose_items(self.port, lost);
            let Some((item, mut draft)) = item else { continue };
            match caught(|| self.put(&item, &mut draft, waker)) {
                Ok(Poll::Pending) => {
                    *next = Some((item, draft));
                    return Poll::Pending;
                }
                Ok(Poll::Ready(Err(ItemError::Closed))) => {
                    let dropped = std::mem::take(&mut self.lock().items);
                    if self.link.is_over() {
                        self.link.report_lost(dropped.len() as u64 + 1);
                    }
                    drop_guarded(dropped);
                }
                Ok(Poll::Ready(Ok(_))) => {}
                // One that cannot be sent was never promised to arrive.
                Ok(Poll::Ready(Err(ItemError::Unsendable(_)))) | Err(_) => {
                    self.link.lose_items(self.port, Lost::ONE);
                }
            }
        }
    }
}

/// Sends the items that a sender holds.
struct Flusher<T> {
    shared: Arc<Shared<T>>,
    /// The one that is being sent.
    next: Option<(T, ItemDraft)>,
    is_done: bool,
}

// No part of it is pinned in place.
impl<T> Unpin for Flusher<T> {}

impl<T: Send + 'static> Future for Flusher<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Flusher { shared, next, is_done } = self.get_mut();
        let polled = match &shared.way {
            Way::Port(writer) => writer.poll_flush(next, cx.waker()),
            Way::Queue(_) | Way::Lost => Poll::Ready(()),
        };
        *is_done = polled.is_ready();
        polled
    }
}

impl<T> Drop for Flusher<T> {
    fn drop(&mut self) {
        let Way::Port(writer) = &self.shared.way else { return };
        if self.is_done {
            return;
        }
        // Only a runtime that shuts down drops it before: the items cannot be sent any more.
        let (items, waiting) = {
            let mut held = writer.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.is_flushed = false;
            (std::mem::take(&mut held.items), std::mem::take(&mut held.waiting))
        };
        let accepted = items.len() + usize::from(self.next.is_some());
        let _ = self.shared.failed.set(StreamError::Disconnected);
        waiting.into_iter().for_each(Waker::wake);
        let _ = caught(|| drop((items, self.next.take())));
        writer.link.report_lost(accepted as u64);
    }
}

/// Reads what the other process sends, on behalf of the sender that went there.
struct Feeder<T> {
    reader: PortReader<T>,
    to: Sender<T>,
    /// How many items were lost on the way here, as far as the reader is told.
    told: Lost,
}

impl<T: DeserializeOwned + Send + 'static> Feeder<T> {
    async fn run(mut self) {
        loop {
            let next = poll_fn(|cx| match self.reader.poll_next(cx) {
                Poll::Pending => self.to.poll_closed(cx.waker()).map(|()| None),
                ready => ready,
            });
            let next = next.await;
            let lost = self.reader.lost();
            self.to.lose(lost.since(self.told));
            self.told = lost;
            match next {
                Some(Ok(item)) => match self.to.send(item).await {
                    Ok(()) => {}
                    // It was taken over there: that it goes no further is told at the end.
                    Err(SendError::Unsendable(_, why)) => return drop(self.to.shared.failed.set(why)),
                    Err(_) => return,
                },
                Some(Err(error)) => return drop(self.to.shared.failed.set(error)),
                None => return,
            }
        }
    }
}

struct Leaving<T>(Sender<T>);

impl<T: DeserializeOwned + Send + 'static> Attach for Leaving<T> {
    fn attach(self: Arc<Self>, link: Arc<Link>, port: u64) {
        let reader = PortReader::of_port(Arc::clone(&link), link.codec(), port);
        link.executor().spawn(Feeder { reader, to: self.0.clone(), told: Lost::NONE }.run());
    }

    fn lost(&self) {
        drop(self.0.shared.failed.set(StreamError::Disconnected));
    }
}

impl<T: DeserializeOwned + Send + 'static> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items = match &self.shared.way {
            Way::Queue(queue) => queue.credit(),
            Way::Port(writer) => writer.most_held,
            Way::Lost => 1,
        };
        // What the other process sends has waited there.
        let sender = self.clone().when_full(WhenFull::Wait);
        let offer = || Offer::Sender { items: items as u64, attach: Arc::new(Leaving(sender)) };
        let index = carried::offer(offer)?;
        serializer.serialize_u32(index)
    }
}

impl<'de, T: Serialize + DeserializeOwned + 'static> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let way = match carried::claim(index, PortKind::Sender)? {
            None => Way::Lost,
            Some(Claimed { link, port, items, .. }) => Way::Port(PortWriter {
                link,
                port,
                encode: item::encode::<T>,
                checked: CheckedItems::default(),
                most_held: usize::try_from(items)
                    .unwrap_or(usize::MAX)
                    .clamp(1, crate::limits::STREAM_ITEMS as usize),
                held: Mutex::new(Held::default()),
            }),
        };
        Ok(Sender::of_way(way))
    }
}

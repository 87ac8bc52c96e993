//! A queue between a `Sender` and a `Streaming` of one process.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use super::gaps::Gaps;
use super::sender::{Sender, WhenFull};
use super::{Source, Streaming};
use crate::error::StreamError;
use crate::link::Link;
use crate::session::Lost;

/// Makes a stream and what writes to it. Either may be sent to another process.
///
/// `credit` is how many items may be sent before the first is read; it is at
/// least 1. If either end is in another process, as many more may be on their way
/// there, and so again for each further process that the end is passed on to. An older peer
/// that reads knows nothing of this credit: it accepts as many items as its
/// [`Limits::stream_items`](crate::Limits::stream_items) say.
///
/// ```
/// use futures::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (sender, mut numbers) = panpipe::channel(8);
/// sender.send(1).await.unwrap();
/// drop(sender);
/// assert_eq!(numbers.next().await, Some(Ok(1)));
/// assert_eq!(numbers.next().await, None);
/// # }
/// ```
#[must_use]
pub fn channel<T>(credit: usize) -> (Sender<T>, Streaming<T>) {
    let queue = Arc::new(Queue {
        credit: credit.max(1),
        state: Mutex::new(State {
            items: VecDeque::new(),
            gaps: Gaps::default(),
            reader: None,
            waiting: Vec::new(),
            is_read: true,
            is_idle: true,
            port: None,
            end: None,
        }),
        overflows: AtomicU64::new(0),
    });
    let receiver = Receiver { queue: Arc::clone(&queue), lost: Lost::NONE };
    (Sender::of_queue(queue), Streaming::of(Source::Channel(receiver)))
}

/// A port, and the connection that it is open on.
pub(super) type OpenPort = (Arc<Link>, u64);

pub(super) struct Queue<T> {
    credit: usize,
    state: Mutex<State<T>>,
    /// How often items were dropped for newer ones; written under the lock.
    overflows: AtomicU64,
}

struct State<T> {
    items: VecDeque<T>,
    gaps: Gaps,
    reader: Option<Waker>,
    /// Writers that wait for room, or for the reader to go.
    waiting: Vec<Waker>,
    is_read: bool,
    /// Whether the reader has taken all items, and has come for more: it has done with them.
    is_idle: bool,
    /// The connection and the port that the reader sends them to, if it does.
    port: Option<(Weak<Link>, u64)>,
    /// Set once nothing more is written: the error that it ended with, if any.
    end: Option<Option<StreamError>>,
}

/// Why an item was not taken.
pub(super) enum Refused<T> {
    Full(T),
    Closed(T),
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn credit(&self) -> usize {
        self.credit
    }

    /// Adds an item. Where it is full, items that wait make place as
    /// `when_full` says.
    pub(super) fn push(&self, item: T, when_full: WhenFull) -> Result<(), Refused<T>> {
        let mut state = self.lock();
        if !state.is_read {
            return Err(Refused::Closed(item));
        }
        let mut dropped = VecDeque::new();
        if state.items.len() >= self.credit {
            match when_full {
                WhenFull::Wait | WhenFull::Fail => return Err(Refused::Full(item)),
                WhenFull::KeepLatest => std::mem::swap(&mut dropped, &mut state.items),
                WhenFull::DropOldest => dropped.extend(state.items.pop_front()),
            }
            state.gaps.drop_front(dropped.len());
            self.overflows.fetch_add(1, Ordering::Relaxed);
        }
        state.items.push_back(item);
        state.is_idle = false;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Items were lost that would stand behind those that wait.
    pub(super) fn lose(&self, lost: Lost) {
        if lost.is_none() {
            return;
        }
        let mut state = self.lock();
        let len = state.items.len();
        state.gaps.lose_behind(len, lost);
    }

    /// Remembers who is to be woken when there is room, or no reader. Ready if
    /// that is so already.
    pub(super) fn poll_room(&self, waker: &Waker) -> Poll<()> {
        self.poll_until(waker, |state| !state.is_read || state.items.len() < self.credit)
    }

    pub(super) fn poll_closed(&self, waker: &Waker) -> Poll<()> {
        self.poll_until(waker, |state| !state.is_read)
    }

    /// Ready when the reader has done with all items, or has gone. Gives the connection and the
    /// port that it sends them to, if it does.
    pub(super) fn poll_taken(&self, waker: &Waker) -> Poll<Result<Option<OpenPort>, StreamError>> {
        ready!(self.poll_until(waker, |state| !state.is_read || state.is_idle));
        let state = self.lock();
        if !state.is_idle {
            return Poll::Ready(Err(StreamError::Disconnected));
        }
        Poll::Ready(match &state.port {
            None => Ok(None),
            Some((link, port)) => {
                link.upgrade().map(|link| Some((link, *port))).ok_or(StreamError::Disconnected)
            }
        })
    }

    /// Has `waker` be woken when the reader takes an item or goes, unless what is waited for
    /// is so already. A waker is user code: it is cloned outside of the lock.
    fn poll_until(&self, waker: &Waker, is_so: impl Fn(&State<T>) -> bool) -> Poll<()> {
        let mut new = None;
        loop {
            let mut state = self.lock();
            if is_so(&state) {
                return Poll::Ready(());
            }
            if state.waiting.iter().any(|known| known.will_wake(waker)) {
                return Poll::Pending;
            }
            if new.is_some() {
                state.waiting.extend(new.take());
                return Poll::Pending;
            }
            drop(state);
            new = Some(waker.clone());
        }
    }

    /// Forgets one of those who wait for room, or for the reader to go.
    pub(super) fn forget_waiter(&self, waker: &Waker) {
        let forgotten = take_waker(&mut self.lock().waiting, waker);
        drop(forgotten);
    }

    /// Nothing more is written.
    pub(super) fn end(&self, error: Option<StreamError>) {
        let reader = {
            let mut state = self.lock();
            state.end.get_or_insert(error);
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }
}

/// Takes out a waker that wakes the same task as `waker`. It is dropped outside of any lock:
/// with it may go the task, and all it holds.
pub(super) fn take_waker(wakers: &mut Vec<Waker>, waker: &Waker) -> Option<Waker> {
    let at = wakers.iter().position(|known| known.will_wake(waker))?;
    Some(wakers.swap_remove(at))
}

/// The end that is read.
pub(super) struct Receiver<T> {
    queue: Arc<Queue<T>>,
    /// How many items were lost before the one that was read last.
    lost: Lost,
}

impl<T> Receiver<T> {
    pub(super) fn lost(&self) -> Lost {
        self.lost
    }

    /// Takes no more items. Gives how many wait.
    pub(super) fn close(&self) -> usize {
        let mut state = self.queue.lock();
        state.is_read = false;
        state.items.len()
    }

    pub(super) fn credit(&self) -> u64 {
        self.queue.credit as u64
    }

    /// How often items that waited were dropped for newer ones.
    pub(super) fn overflows(&self) -> u64 {
        self.queue.overflows.load(Ordering::Relaxed)
    }

    /// Its items are sent over a connection from here on.
    pub(super) fn goes_over(&self, link: &Arc<Link>, port: u64) {
        self.queue.lock().port = Some((Arc::downgrade(link), port));
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, StreamError>>> {
        let mut waker = None;
        loop {
            let mut state = self.queue.lock();
            if let Some(item) = state.items.pop_front() {
                self.lost.add(state.gaps.pop());
                let waiting = std::mem::take(&mut state.waiting);
                drop(state);
                waiting.into_iter().for_each(Waker::wake);
                return Poll::Ready(Some(Ok(item)));
            }
            if state.end.is_some() {
                self.lost.add(state.gaps.take_rest());
                return Poll::Ready(state.end.as_mut().and_then(Option::take).map(Err));
            }
            // The reader has taken all, which a flush waits for.
            state.is_idle = true;
            if !state.waiting.is_empty() {
                let waiting = std::mem::take(&mut state.waiting);
                drop(state);
                waiting.into_iter().for_each(Waker::wake);
                continue;
            }
            if state.reader.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            if waker.is_some() {
                std::mem::swap(&mut state.reader, &mut waker);
                return Poll::Pending;
            }
            drop(state);
            waker = Some(cx.waker().clone());
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let (items, waiting) = {
            let mut state = self.queue.lock();
            state.is_read = false;
            (std::mem::take(&mut state.items), std::mem::take(&mut state.waiting))
        };
        drop(items);
        waiting.into_iter().for_each(Waker::wake);
    }
}

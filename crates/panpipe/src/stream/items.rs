//! A stream as an iterator: it is read by a thread that waits.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;

use super::{SendError, Sender, Streaming};
use crate::blocking::{Within, block_on, wait_for};
use crate::error::StreamError;
use crate::link::Link;

/// The items of a [`Streaming`], for a thread that waits for each.
///
/// Of a stream that came over a blocking connection the thread reads that connection
/// meanwhile. Of any other it waits for those who write it: never in a runtime's own
/// thread, whose tasks they may be. Dropping it stops the writer.
pub struct Items<T> {
    stream: Streaming<T>,
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

impl<T> Items<T> {
    /// How many items were lost on their way before the one that was read last, as
    /// [`Streaming::lost`] says.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        self.stream.lost()
    }
}

/// ```no_run
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # pub struct Entry;
/// # #[panpipe::service]
/// # pub trait Store { async fn list(&self, prefix: String) -> panpipe::Streaming<Entry>; }
/// # fn run(store: StoreBlockingClient) -> Result<(), Box<dyn std::error::Error>> {
/// for entry in store.list("a".to_owned())? {
///     let entry = entry?;
///     // …
/// }
/// # Ok(())
/// # }
/// ```
impl<T> IntoIterator for Streaming<T> {
    type Item = Result<T, StreamError>;
    type IntoIter = Items<T>;

    fn into_iter(self) -> Items<T> {
        Items { stream: self }
    }
}

impl<T> Iterator for Items<T> {
    type Item = Result<T, StreamError>;

    /// Waits for the next item.
    ///
    /// # Panics
    ///
    /// In a handler that the stream's own blocking connection is waiting for: there
    /// streams are read as streams.
    fn next(&mut self) -> Option<Self::Item> {
        let link = self.stream.link();
        wait(link.as_deref(), poll_fn(|cx| Pin::new(&mut self.stream).poll_next(cx)))
    }
}

impl<T: Send + 'static> Sender<T> {
    /// Sends an item, as [`send`](Self::send) does, and waits on this thread.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// In a handler that the sender's own blocking connection is waiting for: there items
    /// are sent by `send`.
    pub fn send_blocking(&self, item: T) -> Result<(), SendError<T>> {
        wait(self.link().map(|link| &**link), self.send(item))
    }
}

fn wait<F: Future>(link: Option<&Link>, future: F) -> F::Output {
    match link {
        Some(link) => wait_for(link, None, future).unwrap_or_else(|Within| {
            panic!("a handler cannot wait for the connection that waits for it: await the stream there")
        }),
        None => block_on(future),
    }
}

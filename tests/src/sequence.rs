//! A service that notes when its handlers begin and end, most of them ordered.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::future::join_all;
use panpipe::{CallError, Streaming};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// What a handler has noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The handler of this call has begun.
    Begun(u64),
    /// It has ended: returned, panicked, or been dropped.
    Ended(u64),
}

/// Calls that wait for each other, and some that do not.
#[panpipe::service(name = "test.sequence")]
pub trait Sequence {
    /// Is pending so often before it ends.
    #[ordered]
    async fn run(&self, id: u64, pending: u32, bytes: Vec<u8>) -> u64;
    /// The same, and nothing comes back.
    #[ordered]
    #[oneway]
    async fn tell(&self, id: u64, pending: u32, bytes: Vec<u8>);
    /// Adds what a stream brings.
    #[ordered]
    async fn sum(&self, id: u64, numbers: Streaming<u64>) -> u64;
    /// Ends when it is released, or when its connection is to end.
    #[ordered]
    async fn hold(&self, id: u64) -> Result<(), String>;
    /// Panics.
    #[ordered]
    async fn panic(&self, id: u64) -> u64;
    /// Calls its client back, and gives what that answers.
    #[ordered]
    async fn ask(&self, id: u64, back: AskedClient) -> Result<u64, String>;
    /// Releases a `hold`, this one or the next.
    async fn release(&self);
    /// All that was noted.
    async fn events(&self) -> Vec<Event>;
    /// Makes calls of the caller's own, all at once, and gives what they answer.
    async fn drive(&self, to: SequenceClient, ids: Vec<u64>) -> Result<Vec<u64>, String>;
}

/// What the client of a sequence offers.
#[panpipe::service]
pub trait Asked {
    /// A number.
    async fn answer(&self) -> Result<u64, String>;
}

/// Notes its calls. Clones note to the same list.
#[derive(Debug, Clone)]
pub struct Recorder {
    events: Arc<Mutex<Vec<Event>>>,
    released: Arc<Semaphore>,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder { events: Arc::default(), released: Arc::new(Semaphore::new(0)) }
    }
}

/// Notes that a handler has ended when it is dropped.
struct Noted<'a>(&'a Recorder, u64);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.note(Event::Ended(self.1));
    }
}

impl Recorder {
    fn note(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn begin(&self, id: u64) -> Noted<'_> {
        self.note(Event::Begun(id));
        Noted(self, id)
    }

    /// What was noted so far.
    pub fn noted(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Gives way to others so often.
async fn pend(mut times: u32) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Sequence for Recorder {
    async fn run(&self, id: u64, pending: u32, _: Vec<u8>) -> u64 {
        let _noted = self.begin(id);
        pend(pending).await;
        id
    }

    async fn tell(&self, id: u64, pending: u32, _: Vec<u8>) {
        let _noted = self.begin(id);
        pend(pending).await;
    }

    async fn sum(&self, id: u64, mut numbers: Streaming<u64>) -> u64 {
        let _noted = self.begin(id);
        let mut sum = 0;
        while let Some(Ok(number)) = numbers.next().await {
            sum += number;
        }
        sum
    }

    async fn hold(&self, id: u64) -> Result<(), String> {
        let _noted = self.begin(id);
        tokio::select! {
            permit = self.released.acquire() => permit.map_err(|error| error.to_string())?.forget(),
            () = panpipe::call::ending() => {}
        }
        Ok(())
    }

    async fn panic(&self, id: u64) -> u64 {
        let _noted = self.begin(id);
        pend(1).await;
        panic!("call {id} was to panic");
    }

    async fn ask(&self, id: u64, back: AskedClient) -> Result<u64, String> {
        let _noted = self.begin(id);
        back.answer().await.map_err(|error| error.to_string())
    }

    async fn release(&self) {
        self.released.add_permits(1);
    }

    async fn events(&self) -> Vec<Event> {
        self.noted()
    }

    async fn drive(&self, to: SequenceClient, ids: Vec<u64>) -> Result<Vec<u64>, String> {
        let calls = ids.into_iter().map(|id| to.run(id, (id % 3) as u32, Vec::new()));
        let made: Result<Vec<u64>, CallError> = join_all(calls).await.into_iter().collect();
        made.map_err(|error| error.to_string())
    }
}

/// The events of calls that run one after the other.
pub fn one_after_the_other(ids: impl IntoIterator<Item = u64>) -> Vec<Event> {
    ids.into_iter().flat_map(|id| [Event::Begun(id), Event::Ended(id)]).collect()
}

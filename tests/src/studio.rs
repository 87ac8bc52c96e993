//! A service whose methods pass streams, senders and clients in every way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::ready;
use panpipe::{Connection, Sender, Streaming, WhenFull};
use serde::{Deserialize, Serialize};

/// Everything that carries a port, at every place.
#[panpipe::service]
pub trait Studio {
    /// The numbers from 0 on, so many.
    async fn count(&self, to: u64) -> Streaming<u64>;
    /// Numbers without end, whose maker is counted while it lives.
    async fn endless(&self) -> Streaming<u64>;
    /// As many numbers, and an error of the service's own behind them.
    async fn failing(&self, after: u64) -> Streaming<Result<u64, String>>;
    /// As many numbers, and then a panic.
    async fn panicking(&self, after: u64) -> Streaming<u64>;
    /// Blocks of a size.
    async fn blocks(&self, count: u64, size: usize) -> Streaming<Block>;
    /// A stream, none, or an error.
    async fn maybe(&self, what: Option<bool>) -> Result<Option<Streaming<u64>>, String>;
    /// Streams in a struct, in a list and in an enum.
    async fn shelf(&self, items: u64) -> Shelf;
    /// So many streams, as items of one.
    async fn streams(&self, outer: u64, inner: u64) -> Streaming<Streaming<u64>>;
    /// The sum of a stream.
    async fn sum(&self, numbers: Streaming<u64>) -> Result<u64, String>;
    /// The sum of all streams of a shelf.
    async fn sum_shelf(&self, shelf: Shelf) -> Result<u64, String>;
    /// The sum of a stream of streams.
    async fn sum_streams(&self, streams: Streaming<Streaming<u64>>) -> Result<u64, String>;
    /// The first items; the others are not wanted.
    async fn first(&self, numbers: Streaming<u64>, count: usize) -> Vec<u64>;
    /// Keeps a stream unread for as long as the call runs: for ever.
    async fn hold(&self, blocks: Streaming<Block>);
    /// Twice each number, as they come.
    async fn double(&self, numbers: Streaming<u64>) -> Streaming<u64>;
    /// Gives the stream back.
    async fn back(&self, numbers: Streaming<u64>) -> Streaming<u64>;
    /// The sum of a stream that comes with more.
    async fn sum_bytes(&self, numbers: Streaming<u64>, bytes: Vec<u8>) -> Result<u64, String>;
    /// Takes a number with more, and does not answer.
    #[oneway]
    async fn note_bytes(&self, x: u64, bytes: Vec<u8>);
    /// Gives a stream of blocks back.
    async fn pass(&self, blocks: Streaming<Block>) -> Streaming<Block>;
    /// Takes a stream, and does not answer.
    #[oneway]
    async fn note_all(&self, numbers: Streaming<u64>);
    /// What was noted.
    async fn noted(&self) -> Vec<u64>;
    /// Counts, after a turn of others.
    #[oneway]
    async fn tick(&self);
    /// What `tick` has counted.
    async fn ticks(&self) -> u64;
    /// Sends numbers, and gives how many it could.
    async fn send(&self, numbers: u64, to: Sender<u64>) -> u64;
    /// Sends numbers without waiting, one choice after the other left to the
    /// sender: 0 keep the latest, 1 drop the oldest, 2 fail. Gives how many
    /// could not be sent.
    async fn flood(&self, numbers: u64, choice: u8, to: Sender<u64>) -> u64;
    /// A stream of channel of such a credit, into which so many numbers are sent without a
    /// wait: the latest are kept. Gives the stream, and another that ends when all are sent.
    async fn readings(&self, credit: usize, numbers: u64) -> (Streaming<u64>, Streaming<u64>);
    /// A sender whose numbers are noted.
    async fn sender(&self) -> Sender<u64>;
    /// Waits until nobody reads what the sender sends.
    async fn closed(&self, sender: Sender<u64>);
    /// Sends one number, and panics while it has the sender.
    async fn panic_with(&self, sender: Sender<u64>);
    /// Calls back so often, and gives the sum of the answers.
    async fn call_back(&self, listener: ListenerClient, times: u64) -> Result<u64, String>;
    /// Has the other called with itself, so deep.
    async fn nest(&self, other: StudioClient, depth: u32) -> Result<u32, String>;
    /// Has the listener that `prompt` calls called with one less, and so on to 0; gives how
    /// often.
    async fn bounce(&self, depth: u32) -> Result<u32, String>;
    /// Keeps a listener.
    async fn keep(&self, listener: ListenerClient);
    /// Calls the listeners that are kept, and gives how many answered.
    async fn tell(&self, x: u64) -> u64;
    /// Keeps the listener of this client that `prompt` calls.
    async fn be_prompted(&self, listener: ListenerClient);
    /// Calls it, and does not answer.
    #[oneway]
    async fn prompt(&self, x: u64);
    /// The listeners that are kept.
    async fn kept(&self) -> Vec<ListenerClient>;
    /// Lets go of them.
    async fn forget(&self);
    /// How many makers of endless streams live, and how many ports are open.
    async fn alive(&self) -> (u64, u64);
    /// Gives its argument back.
    async fn echo(&self, x: u64) -> u64;
    /// The same of more bytes.
    async fn echo_bytes(&self, bytes: Vec<u8>) -> Vec<u8>;
    /// Gives blocks back in another order, and the sum of the stream between them.
    async fn weave(
        &self,
        word: String,
        first: Bytes,
        numbers: Streaming<u64>,
        second: Option<Bytes>,
    ) -> Result<(Option<Bytes>, String, Bytes, u64), String>;
    /// Gives a stream of bytes back.
    async fn pass_bytes(&self, blocks: Streaming<Bytes>) -> Streaming<Bytes>;
}

/// Is called back.
#[panpipe::service]
pub trait Listener {
    /// Hears a number, and answers with twice as much.
    async fn hear(&self, x: u64) -> u64;
    /// Hears without an answer.
    #[oneway]
    async fn overhear(&self, x: u64);
    /// Fails with an error of its own.
    async fn object(&self) -> Result<(), String>;
    /// Gives numbers.
    async fn stream(&self, to: u64) -> Streaming<u64>;
    /// Has its caller called with one less, and so on to 0; gives how often.
    async fn bounce(&self, depth: u32) -> Result<u32, String> {
        Ok(depth)
    }
    /// The process that has called, by its id.
    async fn caller(&self) -> Option<u32>;
}

/// A block of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block(pub Bytes);

/// Streams inside a value of the user's own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shelf {
    /// By name.
    pub one: Streaming<u64>,
    /// In a list.
    pub many: Vec<Streaming<u64>>,
    /// In an enum.
    pub label: Label,
}

/// Carries a stream, or none.
#[derive(Debug, Serialize, Deserialize)]
pub enum Label {
    /// None.
    Plain(String),
    /// One, and a sender besides.
    Live {
        /// Numbers.
        numbers: Streaming<u64>,
        /// Hears the sum.
        result: Sender<u64>,
    },
}

/// A stream of the numbers from 0 on.
pub fn numbers(to: u64) -> Streaming<u64> {
    Streaming::new(futures::stream::iter(0..to))
}

/// Reads all of a stream, or says what is wrong with it.
pub async fn sum_of(mut numbers: Streaming<u64>) -> Result<u64, String> {
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        sum += number.map_err(|error| error.to_string())?;
    }
    Ok(sum)
}

/// The sum of all streams of a shelf.
pub async fn sum_of_shelf(shelf: Shelf) -> Result<u64, String> {
    let mut sum = sum_of(shelf.one).await?;
    for one in shelf.many {
        sum += sum_of(one).await?;
    }
    if let Label::Live { numbers, result } = shelf.label {
        sum += sum_of(numbers).await?;
        result.send(sum).await.map_err(|error| error.to_string())?;
    }
    Ok(sum)
}

/// The implementation.
#[derive(Debug, Clone, Default)]
pub struct StudioImpl {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    prompted: Arc<Mutex<Option<ListenerClient>>>,
}

/// What all clients share.
#[derive(Debug, Default)]
pub struct Shared {
    makers: AtomicU64,
    ticks: AtomicU64,
    noted: Mutex<Vec<u64>>,
    kept: Mutex<Vec<ListenerClient>>,
}

impl StudioImpl {
    /// For one client.
    pub fn for_client(shared: &Arc<Shared>, connection: &Connection) -> Self {
        StudioImpl {
            shared: Arc::clone(shared),
            connection: Some(connection.clone()),
            ..StudioImpl::default()
        }
    }

    fn noted(&self) -> MutexGuard<'_, Vec<u64>> {
        self.shared.noted.lock().expect("nobody panics while holding the notes")
    }

    fn kept(&self) -> MutexGuard<'_, Vec<ListenerClient>> {
        self.shared.kept.lock().expect("nobody panics while holding the listeners")
    }
}

/// Counts as a maker while it lives.
struct Maker(Arc<Shared>);

impl Maker {
    fn new(shared: &Arc<Shared>) -> Maker {
        shared.makers.fetch_add(1, Ordering::SeqCst);
        Maker(Arc::clone(shared))
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        self.0.makers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Studio for StudioImpl {
    async fn count(&self, to: u64) -> Streaming<u64> {
        numbers(to)
    }

    async fn readings(&self, credit: usize, numbers: u64) -> (Streaming<u64>, Streaming<u64>) {
        let (sender, readings) = panpipe::channel(credit);
        let (end, ended) = panpipe::channel(1);
        let sender = sender.when_full(WhenFull::KeepLatest);
        tokio::spawn(async move {
            for number in 0..numbers {
                let _ = sender.send(number).await;
                tokio::task::yield_now().await;
            }
            drop(end);
        });
        (readings, ended)
    }

    async fn endless(&self) -> Streaming<u64> {
        let maker = Maker::new(&self.shared);
        Streaming::new(futures::stream::iter(0..).map(move |number| {
            let _living = &maker;
            number
        }))
    }

    async fn failing(&self, after: u64) -> Streaming<Result<u64, String>> {
        let error = futures::stream::iter([Err("no more".to_owned())]);
        Streaming::new(futures::stream::iter((0..after).map(Ok)).chain(error))
    }

    async fn panicking(&self, after: u64) -> Streaming<u64> {
        Streaming::new(futures::stream::iter(0..).map(move |number| {
            assert!(number < after, "as it was asked to");
            number
        }))
    }

    async fn blocks(&self, count: u64, size: usize) -> Streaming<Block> {
        let maker = Maker::new(&self.shared);
        let block = Block(vec![7; size].into());
        Streaming::new(futures::stream::iter(0..count).map(move |_| {
            let _living = &maker;
            block.clone()
        }))
    }

    async fn maybe(&self, what: Option<bool>) -> Result<Option<Streaming<u64>>, String> {
        match what {
            Some(true) => Ok(Some(numbers(3))),
            Some(false) => Ok(None),
            None => Err("neither".to_owned()),
        }
    }

    async fn shelf(&self, items: u64) -> Shelf {
        let many = (0..3).map(|_| numbers(items)).collect();
        Shelf { one: numbers(items), many, label: Label::Plain("no numbers".to_owned()) }
    }

    async fn streams(&self, outer: u64, inner: u64) -> Streaming<Streaming<u64>> {
        Streaming::new(futures::stream::iter(0..outer).map(move |_| numbers(inner)))
    }

    async fn sum(&self, numbers: Streaming<u64>) -> Result<u64, String> {
        sum_of(numbers).await
    }

    async fn sum_shelf(&self, shelf: Shelf) -> Result<u64, String> {
        sum_of_shelf(shelf).await
    }

    async fn sum_streams(&self, mut streams: Streaming<Streaming<u64>>) -> Result<u64, String> {
        let mut sum = 0;
        while let Some(stream) = streams.next().await {
            sum += sum_of(stream.map_err(|error| error.to_string())?).await?;
        }
        Ok(sum)
    }

    async fn first(&self, numbers: Streaming<u64>, count: usize) -> Vec<u64> {
        numbers.take(count).filter_map(|number| ready(number.ok())).collect().await
    }

    async fn hold(&self, blocks: Streaming<Block>) {
        let _maker = Maker::new(&self.shared);
        let _unread = blocks;
        std::future::pending().await
    }

    async fn double(&self, numbers: Streaming<u64>) -> Streaming<u64> {
        Streaming::new(numbers.filter_map(|number| ready(number.ok().map(|number| number * 2))))
    }

    async fn back(&self, numbers: Streaming<u64>) -> Streaming<u64> {
        numbers
    }

    async fn sum_bytes(&self, numbers: Streaming<u64>, bytes: Vec<u8>) -> Result<u64, String> {
        sum_of(numbers).await.map(|sum| sum + bytes.len() as u64)
    }

    async fn note_bytes(&self, x: u64, bytes: Vec<u8>) {
        drop(bytes);
        self.noted().push(x);
    }

    async fn pass(&self, blocks: Streaming<Block>) -> Streaming<Block> {
        blocks
    }

    async fn note_all(&self, mut numbers: Streaming<u64>) {
        while let Some(Ok(number)) = numbers.next().await {
            self.noted().push(number);
        }
    }

    async fn tick(&self) {
        tokio::task::yield_now().await;
        self.shared.ticks.fetch_add(1, Ordering::SeqCst);
    }

    async fn ticks(&self) -> u64 {
        self.shared.ticks.load(Ordering::SeqCst)
    }

    async fn noted(&self) -> Vec<u64> {
        StudioImpl::noted(self).clone()
    }

    async fn send(&self, numbers: u64, to: Sender<u64>) -> u64 {
        let mut sent = 0;
        for number in 0..numbers {
            if to.send(number).await.is_err() {
                break;
            }
            sent += 1;
        }
        sent
    }

    async fn flood(&self, numbers: u64, choice: u8, to: Sender<u64>) -> u64 {
        let to = to.when_full([WhenFull::KeepLatest, WhenFull::DropOldest, WhenFull::Fail][choice as usize]);
        let mut unsent = 0;
        for number in 0..numbers {
            unsent += u64::from(to.send(number).await.is_err());
        }
        unsent
    }

    async fn sender(&self) -> Sender<u64> {
        let (sender, mut numbers) = panpipe::channel(4);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            while let Some(Ok(number)) = numbers.next().await {
                shared.noted.lock().expect("nobody panics while holding the notes").push(number);
            }
        });
        sender
    }

    async fn closed(&self, sender: Sender<u64>) {
        sender.closed().await;
    }

    async fn panic_with(&self, sender: Sender<u64>) {
        let _ = sender.send(1).await;
        panic!("as it was asked to");
    }

    async fn call_back(&self, listener: ListenerClient, times: u64) -> Result<u64, String> {
        let mut sum = 0;
        for x in 0..times {
            sum += listener.hear(x).await.map_err(|error| error.to_string())?;
        }
        Ok(sum)
    }

    async fn nest(&self, other: StudioClient, depth: u32) -> Result<u32, String> {
        if depth == 0 {
            return Ok(0);
        }
        let own = StudioClient::offer(self.clone().serve());
        let below = other.nest(own, depth - 1).await.map_err(|error| error.to_string())?;
        Ok(below + 1)
    }

    async fn bounce(&self, depth: u32) -> Result<u32, String> {
        let listener = self.prompted.lock().expect("no holder panics").clone();
        match (depth, listener) {
            (0, _) | (_, None) => Ok(0),
            (_, Some(listener)) => match listener.bounce(depth - 1).await {
                Ok(below) => Ok(below + 1),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    async fn keep(&self, listener: ListenerClient) {
        StudioImpl::kept(self).push(listener);
    }

    async fn tell(&self, x: u64) -> u64 {
        let kept = StudioImpl::kept(self).clone();
        let mut answered = 0;
        for listener in kept {
            answered += u64::from(listener.hear(x).await == Ok(2 * x));
        }
        answered
    }

    async fn be_prompted(&self, listener: ListenerClient) {
        *self.prompted.lock().expect("no holder panics") = Some(listener);
    }

    async fn prompt(&self, x: u64) {
        let listener = self.prompted.lock().expect("no holder panics").clone();
        if let Some(listener) = listener {
            let _ = listener.hear(x).await;
        }
    }

    async fn kept(&self) -> Vec<ListenerClient> {
        StudioImpl::kept(self).clone()
    }

    async fn forget(&self) {
        let kept = std::mem::take(&mut *StudioImpl::kept(self));
        drop(kept);
    }

    async fn alive(&self) -> (u64, u64) {
        let ports = self.connection.as_ref().map_or(0, Connection::open_ports);
        (self.shared.makers.load(Ordering::SeqCst), ports as u64)
    }

    async fn echo(&self, x: u64) -> u64 {
        x
    }

    async fn echo_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    async fn weave(
        &self,
        word: String,
        first: Bytes,
        numbers: Streaming<u64>,
        second: Option<Bytes>,
    ) -> Result<(Option<Bytes>, String, Bytes, u64), String> {
        let sum = sum_of(numbers).await?;
        Ok((second, word, first, sum))
    }

    async fn pass_bytes(&self, blocks: Streaming<Bytes>) -> Streaming<Bytes> {
        blocks
    }
}

/// Remembers what it has heard.
#[derive(Debug, Clone, Default)]
pub struct Ear {
    heard: Arc<Mutex<Vec<u64>>>,
    /// Lives as long as the service does.
    pub alive: Arc<()>,
}

impl Ear {
    /// What it has heard.
    pub fn heard(&self) -> Vec<u64> {
        self.heard.lock().expect("nobody panics while holding what was heard").clone()
    }

    fn add(&self, x: u64) {
        self.heard.lock().expect("nobody panics while holding what was heard").push(x);
    }
}

impl Listener for Ear {
    async fn hear(&self, x: u64) -> u64 {
        self.add(x);
        2 * x
    }

    async fn overhear(&self, x: u64) {
        self.add(x);
    }

    async fn object(&self) -> Result<(), String> {
        Err("I object".to_owned())
    }

    async fn stream(&self, to: u64) -> Streaming<u64> {
        numbers(to)
    }

    async fn caller(&self) -> Option<u32> {
        panpipe::call::peer().pid
    }
}

/// Calls the studio when it is called.
#[derive(Debug, Clone)]
pub struct Bouncer(pub StudioClient);

impl Listener for Bouncer {
    async fn hear(&self, x: u64) -> u64 {
        x
    }

    async fn overhear(&self, _: u64) {}

    async fn object(&self) -> Result<(), String> {
        Ok(())
    }

    async fn stream(&self, to: u64) -> Streaming<u64> {
        numbers(to)
    }

    async fn bounce(&self, depth: u32) -> Result<u32, String> {
        if depth == 0 {
            return Ok(0);
        }
        let below = self.0.bounce(depth - 1).await.map_err(|error| error.to_string())?;
        Ok(below + 1)
    }

    async fn caller(&self) -> Option<u32> {
        None
    }
}

/// Answers no call.
#[derive(Debug, Clone, Copy)]
pub struct Mute;

impl Listener for Mute {
    async fn hear(&self, _: u64) -> u64 {
        std::future::pending().await
    }

    async fn overhear(&self, _: u64) {
        std::future::pending().await
    }

    async fn object(&self) -> Result<(), String> {
        std::future::pending().await
    }

    async fn stream(&self, _: u64) -> Streaming<u64> {
        std::future::pending().await
    }

    async fn caller(&self) -> Option<u32> {
        std::future::pending().await
    }
}

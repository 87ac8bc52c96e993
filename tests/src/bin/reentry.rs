//! User code that uses the very connection which runs it: `reentry SCENARIO TIMES`. Prints
//! `done` when nothing waits for itself.
//!
//! Server and clients have a runtime each in one process, so that a thread that waits for
//! itself stops the program.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use panpipe::{CallError, Sender, ServiceClient, Streaming};
use panpipe_tests::unique_name;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

/// A service whose values run code of their own.
#[panpipe::service]
trait Desk {
    /// The state, which is locked while it is encoded.
    async fn state(&self) -> Locked;
    /// Locks the state, and sends to all watchers meanwhile.
    async fn touch(&self) -> u64;
    /// Has numbers sent.
    async fn watch(&self, watcher: Sender<u64>);
    /// Takes a line, as a log does.
    #[oneway]
    async fn line(&self, text: String);
    /// How many lines have come.
    async fn lines(&self) -> u64;
    /// Takes a value whose encoding acts.
    async fn take(&self, value: Acts) -> u64;
    /// Gives such a value.
    async fn give(&self) -> Acts;
    /// Takes a stream of such values.
    async fn take_all(&self, values: Streaming<Acts>) -> u64;
    /// Counts numbers.
    async fn count(&self, numbers: Streaming<u64>) -> u64;
    /// Calls what was passed.
    async fn call_back(&self, listener: TwiceClient, bytes: Vec<u8>) -> u64;
}

/// A service that clients pass.
#[panpipe::service]
trait Twice {
    /// Twice the number.
    async fn twice(&self, x: u64) -> u64;
}

/// A number behind a mutex, as serde encodes an `Arc<Mutex<_>>`.
#[derive(Debug, Clone, Default)]
struct Locked(Arc<Mutex<u64>>);

impl Serialize for Locked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.lock().expect("no holder panics").serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Locked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|number| Locked(Arc::new(Mutex::new(number))))
    }
}

thread_local! {
    static ACTS: Cell<bool> = const { Cell::new(false) };
    /// What is dropped while a value is encoded.
    static TO_DROP: RefCell<Vec<Box<dyn Send>>> = const { RefCell::new(Vec::new()) };
}

/// The client that code which runs inside of panpipe uses.
static CLIENT: OnceLock<DeskClient> = OnceLock::new();
/// A stream that such code sends on.
static SENDER: OnceLock<Sender<u64>> = OnceLock::new();

/// Makes calls and sends items over the connection, as far as that needs no waiting. What it
/// does does not do it again.
fn act(why: &str) {
    if ACTS.replace(true) {
        return;
    }
    if let Some(client) = CLIENT.get() {
        let _ = client.line(why.to_owned()).now_or_never();
        // A call that is made, and given up.
        let _ = client.lines().now_or_never();
        let _ = client.flush().now_or_never();
        drop(client.clone());
    }
    if let Some(sender) = SENDER.get() {
        let _ = sender.try_send(1);
    }
    TO_DROP.with_borrow_mut(Vec::pop);
    tracing::info!("{why}");
    ACTS.set(false);
}

/// A value whose encoding acts, and panics if it is told to.
#[derive(Debug, Clone, Copy)]
struct Acts {
    panics: bool,
}

impl Serialize for Acts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        act("serialize");
        assert!(!self.panics, "as it was told to");
        self.panics.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Acts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        act("deserialize");
        bool::deserialize(deserializer).map(|panics| Acts { panics })
    }
}

impl Drop for ActsOnDrop {
    fn drop(&mut self) {
        act("drop");
    }
}

/// A value, a service or a waker whose drop acts.
struct ActsOnDrop;

impl Wake for ActsOnDrop {
    fn wake(self: Arc<Self>) {
        act("wake");
    }
}

impl Twice for ActsOnDrop {
    async fn twice(&self, x: u64) -> u64 {
        2 * x
    }
}

/// The layer of a program that ships what it logs over the connection.
struct Ships;

impl<S: tracing::Subscriber> Layer<S> for Ships {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        act(event.metadata().target());
    }
}

#[derive(Clone, Default)]
struct Table {
    state: Locked,
    watchers: Arc<Mutex<Vec<Sender<u64>>>>,
    lines: Arc<AtomicU64>,
}

impl Desk for Table {
    async fn state(&self) -> Locked {
        self.state.clone()
    }

    async fn touch(&self) -> u64 {
        let mut state = self.state.0.lock().expect("no holder panics");
        *state += 1;
        for watcher in &*self.watchers.lock().expect("no holder panics") {
            // A slow watcher misses numbers.
            let _ = watcher.try_send(*state);
        }
        *state
    }

    async fn watch(&self, watcher: Sender<u64>) {
        self.watchers.lock().expect("no holder panics").push(watcher);
    }

    async fn line(&self, _: String) {
        self.lines.fetch_add(1, Ordering::Relaxed);
    }

    async fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    async fn take(&self, value: Acts) -> u64 {
        u64::from(value.panics)
    }

    async fn give(&self) -> Acts {
        Acts { panics: false }
    }

    async fn take_all(&self, values: Streaming<Acts>) -> u64 {
        values.count().await as u64
    }

    async fn count(&self, numbers: Streaming<u64>) -> u64 {
        numbers.count().await as u64
    }

    async fn call_back(&self, listener: TwiceClient, _: Vec<u8>) -> u64 {
        listener.twice(21).await.unwrap_or(0)
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(threads).enable_all().build().expect("there is an event loop")
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [scenario, times] = args.as_slice() else { panic!("reentry SCENARIO TIMES") };
    let times: u64 = times.parse().expect("TIMES is a number");
    let name = unique_name("reentry");
    let server_runtime = runtime(4);
    let (table, path) = (Table::default(), name.clone());
    let server = server_runtime.block_on(async {
        // Clients in statics, whose runtime has ended, do not answer its goodbye.
        let server = panpipe::Server::bind(&path).service(table.clone().serve()).grace(Duration::ZERO);
        server.start().expect("the name is free")
    });
    match scenario.as_str() {
        "mutexes" => runtime(4).block_on(mutexes(&name, times)),
        "values" => runtime(1).block_on(values(&name, times)),
        "values-threads" => runtime(4).block_on(values(&name, times)),
        "panics" => runtime(1).block_on(panics(&name, times)),
        "wakers" => runtime(1).block_on(wakers(&name, times)),
        "drops" => runtime(1).block_on(drops(&name, times)),
        "own-stream" => runtime(1).block_on(own_stream(&table, times)),
        other => panic!("{other} is no scenario"),
    }
    server_runtime.block_on(server.shutdown()).expect("the server's task does not panic");
    println!("done");
    // Clients that are kept in statics outlive their runtimes.
    std::process::exit(0);
}

/// One of so many rounds has begun. Prints a line at times, by which the test sees that the
/// program goes on.
fn goes_on(times: u64) {
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    if BEGUN.fetch_add(1, Ordering::Relaxed) % (times / 100 + 1) == 0 {
        println!("goes on");
    }
}

async fn connect(name: &str) -> DeskClient {
    let client = DeskClient::connect(name).await.expect("the server listens");
    assert_eq!(client.lines().await, Ok(0));
    client
}

/// A reply locks a mutex while it is encoded; handlers hold that mutex while they send to all
/// clients.
async fn mutexes(name: &str, times: u64) {
    const CLIENTS: u64 = 8;
    let callers = (0..CLIENTS).map(|caller| {
        let name = name.to_owned();
        tokio::spawn(async move {
            let client = connect(&name).await;
            let (sender, mut numbers) = panpipe::channel::<u64>(64);
            client.watch(sender).await.expect("the server takes it");
            let reader = tokio::spawn(async move { while numbers.next().await.is_some() {} });
            for call in 0..times / CLIENTS {
                goes_on(times);
                if (call + caller) % 2 == 0 {
                    client.touch().await.expect("the server answers");
                } else {
                    client.state().await.expect("the server answers");
                }
            }
            reader.abort();
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no caller panics");
    }
}

/// The client and the stream that code inside of panpipe uses, and the layer that ships.
async fn prepare(name: &str) -> DeskClient {
    let client = connect(name).await;
    let (sender, mut numbers) = panpipe::channel::<u64>(4);
    client.watch(sender).await.expect("the server takes it");
    tokio::spawn(async move { while numbers.next().await.is_some() {} });
    let (sender, numbers) = panpipe::channel::<u64>(4);
    // Numbers, whose encoding does not act: each item would send the next, without end.
    tokio::spawn({
        let client = client.clone();
        async move { client.count(numbers).await }
    });
    assert!(SENDER.set(sender).is_ok() && CLIENT.set(client.clone()).is_ok());
    let subscriber = tracing_subscriber::registry().with(Ships);
    tracing::subscriber::set_global_default(subscriber).expect("it is the first");
    client
}

/// Arguments, replies and items whose encoding and decoding use the connection.
async fn values(name: &str, times: u64) {
    let client = prepare(name).await;
    for _ in 0..times {
        goes_on(times);
        let (sender, held) = panpipe::channel::<u64>(1);
        TO_DROP.with_borrow_mut(|to_drop| to_drop.push(Box::new((sender, client.clone(), held))));
        assert_eq!(client.take(Acts { panics: false }).await, Ok(0));
        assert!(client.give().await.is_ok());
        let items = stream::iter(0..10).map(|_| Acts { panics: false });
        assert_eq!(client.take_all(Streaming::new(items)).await, Ok(10));
    }
    client.flush().await.expect("the server answers");
    assert!(client.lines().await.expect("the server answers") > times);
}

/// A panic hook that reports over the connection, for a panic in an encoding.
async fn panics(name: &str, times: u64) {
    let client = prepare(name).await;
    std::panic::set_hook(Box::new(|_| act("panic")));
    for _ in 0..times {
        goes_on(times);
        let call = std::panic::AssertUnwindSafe(client.take(Acts { panics: true }));
        assert!(call.catch_unwind().await.is_err());
        let items = stream::iter([Acts { panics: false }, Acts { panics: true }]);
        // The stream ends with an error, which counts as an item.
        assert_eq!(client.take_all(Streaming::new(items)).await, Ok(2));
        assert_eq!(client.take(Acts { panics: false }).await, Ok(0));
    }
}

/// Wakers whose wake and drop use the connection, at every point where one is stored.
async fn wakers(name: &str, times: u64) {
    let client = prepare(name).await;
    let new = || Waker::from(Arc::new(ActsOnDrop));
    let poll = |future: Pin<&mut dyn Future<Output = ()>>| {
        // The last of it goes with whoever holds it.
        let waker = new();
        future.poll(&mut Context::from_waker(&waker)).is_ready()
    };
    for _ in 0..times {
        goes_on(times);
        // Replaced, then dropped with its call; replaced, then woken by the reply.
        for polls in 1..4 {
            let mut call = pin!(client.touch().map(drop));
            for _ in 0..polls {
                let _ = poll(call.as_mut());
            }
        }
        let mut call = pin!(client.touch().map(drop));
        let _ = poll(call.as_mut());
        while !poll(call.as_mut()) {
            tokio::task::yield_now().await;
        }
        // A writer and a reader that wait.
        let (sender, numbers) = panpipe::channel::<u64>(1);
        sender.try_send(1).expect("there is room for one");
        for polls in 1..3 {
            let mut send = pin!(sender.send(2).map(drop));
            let mut closed = pin!(sender.closed());
            for _ in 0..polls {
                assert!(!poll(send.as_mut()) && !poll(closed.as_mut()));
            }
        }
        let mut numbers = numbers;
        for _ in 0..3 {
            let _ = poll(pin!(numbers.next().map(drop)));
        }
    }
    assert!(client.lines().await.is_ok());
}

/// Services and streams whose drop uses the connection: with a message that is not sent, and
/// with a port that is closed.
async fn drops(name: &str, times: u64) {
    let client = prepare(name).await;
    for _ in 0..times {
        goes_on(times);
        let offer = || TwiceClient::offer(ActsOnDrop.serve());
        assert_eq!(client.call_back(offer(), Vec::new()).await, Ok(42));
        let too_large = client.call_back(offer(), vec![7; 17 << 20]).await;
        assert!(matches!(too_large, Err(CallError::TooLarge { .. })), "{too_large:?}");
        let held = ActsOnDrop;
        let items = stream::iter(0..3).map(move |_| {
            let _held = &held;
            Acts { panics: false }
        });
        let _ = client.take_all(Streaming::new(items)).now_or_never();
    }
    assert!(client.lines().await.is_ok());
}

/// A stream of bytes of the user's own, whose code uses the connection that it carries.
struct OwnStream<S> {
    inner: S,
    begun: AtomicBool,
}

impl<S: AsyncRead + Unpin> AsyncRead for OwnStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        act("read");
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OwnStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Each write makes a call, whose write must not make another, without end.
        if !self.begun.swap(true, Ordering::Relaxed) {
            act("write");
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.begun.swap(false, Ordering::Relaxed) {
            act("flush");
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        act("shutdown");
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

async fn own_stream(table: &Table, times: u64) {
    let (here, there) = tokio::io::duplex(1 << 16);
    tokio::spawn(panpipe::serve_stream(there, table.clone().serve()));
    let client = DeskClient::over(OwnStream { inner: here, begun: AtomicBool::new(false) });
    assert!(CLIENT.set(client.clone()).is_ok());
    for call in 1..=times {
        goes_on(times);
        assert_eq!(client.touch().await, Ok(call));
    }
}

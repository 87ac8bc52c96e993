//! A call, a value or a peer that misbehaves takes nothing down beside itself.

#![allow(clippy::unwrap_used, missing_docs)]

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use panpipe::{CallError, CloseReason, Sender, Server, StreamError};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::task::JoinHandle;
use tracing_subscriber::layer::SubscriberExt;

const PATIENCE: Duration = Duration::from_secs(30);

#[panpipe::service]
pub trait Host {
    async fn echo(&self, x: u64) -> u64;
    /// Lets go of the listener.
    async fn take(&self, listener: ListenerClient);
    /// Panics, with a payload that panics when it is dropped; at once or after a turn of others.
    async fn explode(&self, at_once: bool);
    /// Never ends, and holds a value that panics when it is dropped.
    async fn hang(&self);
    /// Holds so many KiB while it waits.
    async fn large(&self) -> u64;
    #[oneway]
    async fn large_oneway(&self);
    async fn first_sender(&self, sender: Sender<u64>, odd: Odd);
    async fn last_sender(&self, odd: Odd, sender: Sender<u64>);
    /// Sends a number, and never ends.
    async fn hold(&self, sender: Sender<u64>);
}

#[panpipe::service]
pub trait Listener {
    async fn hear(&self);
}

/// Cannot be decoded.
#[derive(Debug, Serialize)]
pub struct Odd(u8);

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("as it was asked to"))
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("as it was asked to");
        }
    }
}

#[derive(Default)]
struct Hosting {
    large: Arc<AtomicUsize>,
}

impl Host for Hosting {
    async fn echo(&self, x: u64) -> u64 {
        x
    }

    async fn take(&self, listener: ListenerClient) {
        drop(listener);
    }

    async fn explode(&self, at_once: bool) {
        if !at_once {
            tokio::task::yield_now().await;
        }
        panic_any(Bomb);
    }

    async fn hang(&self) {
        let _bomb = Bomb;
        std::future::pending().await
    }

    async fn large(&self) -> u64 {
        let held = [1_u8; 384 << 10];
        tokio::task::yield_now().await;
        held.iter().map(|&byte| u64::from(byte)).sum()
    }

    async fn large_oneway(&self) {
        let held = [1_u8; 384 << 10];
        tokio::task::yield_now().await;
        self.large.fetch_add(held.len(), Ordering::SeqCst);
    }

    async fn first_sender(&self, _: Sender<u64>, _: Odd) {}

    async fn last_sender(&self, _: Odd, _: Sender<u64>) {}

    async fn hold(&self, sender: Sender<u64>) {
        let _ = sender.send(1).await;
        std::future::pending().await
    }
}

struct Explosive {
    _bomb: Bomb,
}

impl Listener for Explosive {
    async fn hear(&self) {}
}

/// A client and what serves it.
fn hosted() -> (HostClient, JoinHandle<CloseReason>) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let server = tokio::spawn(panpipe::serve_stream(theirs, Hosting::default().serve()));
    (HostClient::over(ours), server)
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it does not hang")
}

#[tokio::test]
async fn service_that_panics_when_it_is_dropped_ends_no_connection() {
    let (host, server) = hosted();
    for x in 0..3 {
        let listener = ListenerClient::offer(Explosive { _bomb: Bomb }.serve());
        assert_eq!(in_time(host.take(listener)).await, Ok(()));
        assert_eq!(in_time(host.echo(x)).await, Ok(x));
    }
    drop(host);
    assert_eq!(in_time(server).await.unwrap(), CloseReason::Closed);
}

#[tokio::test]
async fn payload_that_panics_when_it_is_dropped_reads_as_panicked() {
    let (host, _server) = hosted();
    for at_once in [true, false] {
        assert_eq!(in_time(host.explode(at_once)).await, Err(CallError::Panicked), "{at_once}");
        assert_eq!(in_time(host.echo(1)).await, Ok(1));
    }
}

#[tokio::test]
async fn handler_that_panics_when_it_is_given_up_is_answered_for() {
    let (host, server) = hosted();
    for _ in 0..3 {
        let call = host.with_timeout(Duration::from_millis(20)).hang().await;
        assert_eq!(call, Err(CallError::DeadlineExceeded));
        assert_eq!(in_time(host.echo(1)).await, Ok(1));
    }
    // Each id is free again, so that the connection ends in order.
    drop(host);
    assert_eq!(in_time(server).await.unwrap(), CloseReason::Closed);
}

#[tokio::test]
async fn making_of_a_client_s_service_that_panics_fails_that_call_alone() {
    let name = format!("test.isolation.{}", std::process::id());
    let panics = Arc::new(AtomicBool::new(true));
    let to_panic = Arc::clone(&panics);
    let server = Server::bind(&name)
        .service_per_client(move |_| {
            assert!(!to_panic.load(Ordering::SeqCst), "as it was asked to");
            Hosting::default().serve()
        })
        .start()
        .unwrap();
    let host = HostClient::connect(&name).await.unwrap();
    assert_eq!(in_time(host.echo(1)).await, Err(CallError::Panicked));
    assert_eq!(in_time(host.echo(1)).await, Err(CallError::Panicked));
    panics.store(false, Ordering::SeqCst);
    assert_eq!(in_time(host.echo(1)).await, Ok(1));
    drop(host);
    drop(server);
}

#[test]
fn large_futures_of_handlers_fit_into_a_thread_s_stack() {
    let runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            let hosting = Hosting::default();
            let large = Arc::clone(&hosting.large);
            tokio::spawn(panpipe::serve_stream(theirs, hosting.serve()));
            let host = HostClient::over(ours);
            assert_eq!(in_time(host.large()).await, Ok(384 << 10));
            host.large_oneway().await.unwrap();
            in_time(async {
                while large.load(Ordering::SeqCst) == 0 {
                    assert_eq!(host.echo(1).await, Ok(1));
                }
            })
            .await;
        });
    };
    // As large as that of a runtime's worker.
    std::thread::Builder::new().stack_size(2 << 20).spawn(runtime).unwrap().join().unwrap();
}

#[tokio::test]
async fn stream_of_a_sender_whose_call_fails_is_cancelled_wherever_the_sender_stands() {
    let (host, _server) = hosted();
    for is_first in [true, false] {
        let (sender, mut numbers) = panpipe::channel::<u64>(4);
        let failed = match is_first {
            true => in_time(host.first_sender(sender, Odd(1))).await,
            false => in_time(host.last_sender(Odd(1), sender)).await,
        };
        assert!(matches!(failed, Err(CallError::Malformed(_))), "{failed:?}");
        assert_eq!(in_time(numbers.next()).await, Some(Err(StreamError::Cancelled)), "{is_first}");
    }
    // A call that is given up while its handler has the sender.
    let (sender, mut numbers) = panpipe::channel::<u64>(4);
    let mut held = Box::pin(host.hold(sender));
    tokio::select! {
        ended = &mut held => panic!("{ended:?}"),
        number = in_time(numbers.next()) => assert_eq!(number, Some(Ok(1))),
    }
    drop(held);
    assert_eq!(in_time(numbers.next()).await, Some(Err(StreamError::Cancelled)));
}

/// The same service in a version whose caller knows one method more.
mod newer {
    #[panpipe::service(name = "Host")]
    pub(crate) trait NewerHost {
        #[oneway]
        async fn unheard_of(&self);
        async fn echo(&self, x: u64) -> u64;
    }
}

/// Counts the lines that say what is searched for.
struct Lines(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Search(bool);
        impl tracing::field::Visit for Search {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 |= format!("{value:?}").contains("no such method");
            }
        }
        let mut search = Search(false);
        event.record(&mut search);
        self.0.fetch_add(usize::from(search.0), Ordering::SeqCst);
    }
}

#[test]
fn peer_has_no_line_logged_for_each_of_its_calls() {
    let lines = Arc::new(AtomicUsize::new(0));
    let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&lines)));
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            tokio::spawn(panpipe::serve_stream(theirs, Hosting::default().serve()));
            let host = newer::NewerHostClient::over(ours);
            let begun = std::time::Instant::now();
            for _ in 0..5_000 {
                host.unheard_of().await.unwrap();
            }
            assert_eq!(in_time(host.echo(1)).await, Ok(1));
            // Ten at once, and one for each second.
            let most = 11 + begun.elapsed().as_secs() as usize;
            let logged = lines.load(Ordering::SeqCst);
            assert!((1..=most).contains(&logged), "{logged} lines");
        });
    });
}

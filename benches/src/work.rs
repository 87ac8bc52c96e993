//! The work, for any peer that can echo.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};

use crate::job::{BLOCK, HUGE, SMALL, Work};
use crate::stats::{median, quantile};

/// A connection that echoes.
pub trait Echo: Send + Sync + 'static {
    /// The bytes as the peer takes them.
    type Payload: From<Vec<u8>> + AsRef<[u8]> + Send;

    /// Sends a payload there and back.
    fn echo(&self, payload: Self::Payload) -> impl Future<Output = Self::Payload> + Send;

    /// Has the server send items of so many bytes, each filled by it, until the
    /// stream is dropped; gives the sizes that come. A peer without streams has none.
    fn items(&self, _size: usize) -> impl Future<Output = BoxStream<'static, usize>> + Send {
        async { stream::empty().boxed() }
    }
}

/// How long calls are counted.
const WINDOW: Duration = Duration::from_millis(400);
/// How long calls are made before.
const WARM_UP: Duration = Duration::from_millis(100);
/// How long calls are counted where a single one can take a tenth of a second.
const LONG_WINDOW: Duration = Duration::from_secs(2);

/// Does the work over connections that `connect` makes; gives the figures.
pub async fn run<E, F>(work: Work, connect: impl Fn() -> F) -> Vec<f64>
where
    E: Echo,
    F: Future<Output = E>,
{
    match work {
        Work::RoundTrip => round_trip(&connect().await, WINDOW).await,
        Work::Callers => {
            let connection = Arc::new(connect().await);
            callers(vec![connection; 64]).await
        }
        Work::Bulk => bulk(&connect().await).await,
        Work::Connections => {
            let mut connections = Vec::new();
            for _ in 0..100 {
                connections.push(Arc::new(connect().await));
            }
            callers(connections).await
        }
        Work::Connect => connect_and_call(connect).await,
        Work::Idle => {
            let mut connections = Vec::new();
            for _ in 0..1000 {
                let connection = connect().await;
                echo(&connection, SMALL).await;
                connections.push(connection);
            }
            idle().await;
            drop(connections);
            Vec::new()
        }
        Work::Items => {
            let small = items(&connect().await, SMALL).await;
            let large = items(&connect().await, BLOCK).await;
            vec![small / 1000.0, large * BLOCK as f64 / (1 << 20) as f64]
        }
        Work::Beside => beside(Arc::new(connect().await)).await,
        Work::Spawn => unreachable!("children are started by `spawn`"),
    }
}

/// Echoes a new payload of so many bytes.
async fn echo(connection: &impl Echo, size: usize) {
    let echoed = connection.echo(vec![7; size].into()).await;
    assert_eq!(echoed.as_ref().len(), size);
}

/// Says that all connections stand, and keeps them until told to end.
async fn idle() {
    println!("idle");
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}

async fn round_trip(connection: &impl Echo, window: Duration) -> Vec<f64> {
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < WARM_UP + window {
        let call = Instant::now();
        echo(connection, SMALL).await;
        if call.duration_since(start) > WARM_UP {
            times.push(call.elapsed().as_nanos() as f64 / 1000.0);
        }
    }
    vec![median(&mut times), quantile(&mut times, 0.99)]
}

/// The items of one size that come in a second.
async fn items(connection: &impl Echo, size: usize) -> f64 {
    let mut stream = connection.items(size).await;
    // The clock is read once for so many items.
    let batch = if size > SMALL { 1 } else { 16 };
    let (mut start, mut count) = (Instant::now(), 0u64);
    let mut warm = false;
    loop {
        for _ in 0..batch {
            assert_eq!(stream.next().await, Some(size));
        }
        count += batch;
        if !warm && start.elapsed() >= WARM_UP {
            (warm, start, count) = (true, Instant::now(), 0);
        } else if warm && start.elapsed() >= WINDOW {
            return count as f64 / start.elapsed().as_secs_f64();
        }
    }
}

/// The small calls of an idle connection, then of one that is never without a
/// huge call.
async fn beside<E: Echo>(connection: Arc<E>) -> Vec<f64> {
    let idle = round_trip(&*connection, WINDOW).await;
    let mut payload = connection.echo(vec![7; HUGE].into()).await;
    let huge_calls = tokio::spawn({
        let connection = Arc::clone(&connection);
        async move {
            loop {
                // What came back is sent again: filling a new payload would hold
                // the caller's thread up, and that is no peer's doing.
                payload = connection.echo(payload).await;
                assert_eq!(payload.as_ref().len(), HUGE);
            }
        }
    });
    let busy = round_trip(&*connection, LONG_WINDOW).await;
    assert!(!huge_calls.is_finished(), "the huge calls go on for as long as the small ones");
    huge_calls.abort();
    vec![idle[1], busy[0], busy[1]]
}

async fn bulk(connection: &impl Echo) -> Vec<f64> {
    let size = Work::Bulk.size();
    for _ in 0..3 {
        echo(connection, size).await;
    }
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < WINDOW {
        echo(connection, size).await;
        calls += 1;
    }
    vec![f64::from(calls) / start.elapsed().as_secs_f64()]
}

/// One task for each connection given, each with one call outstanding.
async fn callers<E: Echo>(connections: Vec<Arc<E>>) -> Vec<f64> {
    let start = Instant::now();
    let tasks = connections.into_iter().map(|connection| {
        tokio::spawn(async move {
            let mut calls = 0u64;
            while start.elapsed() < WARM_UP + WINDOW {
                // The clock is read once for sixteen calls.
                let counts = start.elapsed() >= WARM_UP;
                for _ in 0..16 {
                    echo(&*connection, SMALL).await;
                }
                if counts {
                    calls += 16;
                }
            }
            calls
        })
    });
    let calls: u64 = join_all(tasks).await.into_iter().map(|calls| calls.expect("no caller panics")).sum();
    vec![calls as f64 / (start.elapsed() - WARM_UP).as_secs_f64() / 1000.0]
}

async fn connect_and_call<E: Echo, F: Future<Output = E>>(connect: impl Fn() -> F) -> Vec<f64> {
    let mut times = Vec::new();
    for round in 0..350 {
        let start = Instant::now();
        let connection = connect().await;
        echo(&connection, SMALL).await;
        if round >= 50 {
            times.push(start.elapsed().as_nanos() as f64 / 1000.0);
        }
        drop(connection);
        // The connection's end is not part of the time, and must not become it.
        tokio::task::yield_now().await;
    }
    vec![median(&mut times)]
}

//! The work, for any peer that can echo.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};

use crate::job::{BLOCK, HUGE, SMALL, Work};
use crate::memory;
use crate::setting::{long_window, warm_up, window};
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

/// Does the work over connections that `connect` makes; gives the figures.
pub async fn run<E, F>(work: Work, connect: impl Fn() -> F) -> Vec<f64>
where
    E: Echo,
    F: Future<Output = E>,
{
    match work {
        Work::RoundTrip => round_trip(&connect().await, window()).await,
        Work::Callers => {
            let connection = Arc::new(connect().await);
            vec![callers(vec![connection; 64], window()).await]
        }
        Work::Bulk => bulk(&connect().await).await,
        Work::InFlight(count) => {
            let before = memory::resident(std::process::id());
            let connection = Arc::new(connect().await);
            let rate = callers(vec![connection; count], window_for(count)).await;
            vec![rate, memory::peak(std::process::id()) - before]
        }
        Work::Connections(count) => {
            let before = memory::resident(std::process::id());
            let mut connections = Vec::new();
            for _ in 0..count {
                let connection = connect().await;
                // One that the server has not taken yet would have the next refused.
                echo(&connection, SMALL).await;
                connections.push(Arc::new(connection));
            }
            let rate = callers(connections, window_for(count)).await;
            vec![rate, (memory::peak(std::process::id()) - before) / count as f64]
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
    while start.elapsed() < warm_up() + window {
        let call = Instant::now();
        echo(connection, SMALL).await;
        if call.duration_since(start) > warm_up() {
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
        if !warm && start.elapsed() >= warm_up() {
            (warm, start, count) = (true, Instant::now(), 0);
        } else if warm && start.elapsed() >= window() {
            return count as f64 / start.elapsed().as_secs_f64();
        }
    }
}

/// The small calls of an idle connection, then of one that is never without a
/// huge call.
async fn beside<E: Echo>(connection: Arc<E>) -> Vec<f64> {
    let idle = round_trip(&*connection, window()).await;
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
    let busy = round_trip(&*connection, long_window()).await;
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
    while start.elapsed() < window() {
        echo(connection, size).await;
        calls += 1;
    }
    vec![f64::from(calls) / start.elapsed().as_secs_f64()]
}

/// Where there are thousands the first answers take longer to come.
fn window_for(callers: usize) -> Duration {
    if callers < 1000 { window() } else { 2 * window() }
}

/// Calls count.
pub(crate) const COUNTING: u8 = 1;
/// No more calls are made.
pub(crate) const OVER: u8 = 2;

/// One task for each connection given, each with one call outstanding: thousand calls
/// a second.
async fn callers<E: Echo>(connections: Vec<Arc<E>>, window: Duration) -> f64 {
    // Tasks that read the clock would read it more often than they call.
    let phase = Arc::new(AtomicU8::new(0));
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| {
            let phase = Arc::clone(&phase);
            tokio::spawn(async move {
                let mut calls = 0u64;
                loop {
                    echo(&*connection, SMALL).await;
                    match phase.load(Ordering::Relaxed) {
                        COUNTING => calls += 1,
                        OVER => return calls,
                        _ => {}
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(warm_up()).await;
    phase.store(COUNTING, Ordering::Relaxed);
    let start = Instant::now();
    tokio::time::sleep(window).await;
    phase.store(OVER, Ordering::Relaxed);
    let elapsed = start.elapsed();
    let calls: u64 = join_all(tasks).await.into_iter().map(|calls| calls.expect("no caller panics")).sum();
    calls as f64 / elapsed.as_secs_f64() / 1000.0
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

//! The work, for any peer that can echo.

use std::future::Future;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::job::{SMALL, Work};
use crate::stats::{median, quantile};

/// A connection that echoes.
pub trait Echo: Send + Sync + 'static {
    /// Sends a payload of so many bytes there and back; gives the size that came back.
    fn echo(&self, size: usize) -> impl Future<Output = usize> + Send;
}

/// How long calls are counted.
const WINDOW: Duration = Duration::from_millis(400);
/// How long calls are made before.
const WARM_UP: Duration = Duration::from_millis(100);

/// Does the work over connections that `connect` makes; gives the figures.
pub async fn run<E, F>(work: Work, connect: impl Fn() -> F) -> Vec<f64>
where
    E: Echo,
    F: Future<Output = E>,
{
    match work {
        Work::RoundTrip => round_trip(&connect().await).await,
        Work::Callers => {
            let connection = std::sync::Arc::new(connect().await);
            callers(vec![connection; 64]).await
        }
        Work::Bulk => bulk(&connect().await).await,
        Work::Connections => {
            let mut connections = Vec::new();
            for _ in 0..100 {
                connections.push(std::sync::Arc::new(connect().await));
            }
            callers(connections).await
        }
        Work::Connect => connect_and_call(connect).await,
        Work::Idle => {
            let mut connections = Vec::new();
            for _ in 0..1000 {
                let connection = connect().await;
                assert_eq!(connection.echo(SMALL).await, SMALL);
                connections.push(connection);
            }
            idle().await;
            drop(connections);
            Vec::new()
        }
    }
}

/// Says that all connections stand, and keeps them until told to end.
async fn idle() {
    println!("idle");
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}

async fn round_trip(connection: &impl Echo) -> Vec<f64> {
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < WARM_UP + WINDOW {
        let call = Instant::now();
        assert_eq!(connection.echo(SMALL).await, SMALL);
        if call.duration_since(start) > WARM_UP {
            times.push(call.elapsed().as_nanos() as f64 / 1000.0);
        }
    }
    vec![median(&mut times), quantile(&mut times, 0.99)]
}

async fn bulk(connection: &impl Echo) -> Vec<f64> {
    let size = Work::Bulk.size();
    for _ in 0..3 {
        assert_eq!(connection.echo(size).await, size);
    }
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < WINDOW {
        assert_eq!(connection.echo(size).await, size);
        calls += 1;
    }
    vec![f64::from(calls) / start.elapsed().as_secs_f64()]
}

/// One task for each connection given, each with one call outstanding.
async fn callers<E: Echo>(connections: Vec<std::sync::Arc<E>>) -> Vec<f64> {
    let start = Instant::now();
    let tasks = connections.into_iter().map(|connection| {
        tokio::spawn(async move {
            let mut calls = 0u64;
            while start.elapsed() < WARM_UP + WINDOW {
                // The clock is read once for sixteen calls.
                let counts = start.elapsed() >= WARM_UP;
                for _ in 0..16 {
                    assert_eq!(connection.echo(SMALL).await, SMALL);
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
        assert_eq!(connection.echo(SMALL).await, SMALL);
        if round >= 50 {
            times.push(start.elapsed().as_nanos() as f64 / 1000.0);
        }
        drop(connection);
        // The connection's end is not part of the time, and must not become it.
        tokio::task::yield_now().await;
    }
    vec![median(&mut times)]
}

//! The work, for any peer that can echo and blocks its caller's thread.

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::job::{BLOCK, LARGE, SMALL, Work};
use crate::memory;
use crate::setting::{warm_up, window};
use crate::stats::{median, quantile};
use crate::work::{COUNTING, OVER};

/// A caller on a connection that echoes.
pub trait BlockingEcho: Send + Sized {
    /// The bytes as the peer takes them.
    type Payload: From<Vec<u8>> + AsRef<[u8]>;

    /// Sends a payload there and back.
    fn echo(&mut self, payload: Self::Payload) -> Self::Payload;

    /// Another caller on the same connection, for another thread.
    fn another(&self) -> Self;

    /// Makes so many calls at once and waits for all, where one thread can. A peer
    /// that can not has as many threads as callers.
    fn echo_at_once(&mut self, _calls: usize) -> bool {
        false
    }

    /// Has the server send items of so many bytes, each filled by it, until the
    /// iterator is dropped; gives the sizes that come. A peer without streams has none.
    fn items(&mut self, _size: usize) -> Box<dyn Iterator<Item = usize>> {
        Box::new(std::iter::empty())
    }
}

/// Does the work over connections that `connect` makes; gives the figures.
pub fn run<E: BlockingEcho>(work: Work, connect: impl Fn() -> E) -> Vec<f64> {
    let memory_before = memory::resident(std::process::id());
    let more_memory = || memory::peak(std::process::id()) - memory_before;
    match work {
        Work::RoundTrip => round_trip(&mut connect()),
        Work::Callers => vec![in_flight(connect(), 64)],
        Work::InFlight(count) => {
            let rate = in_flight(connect(), count);
            vec![rate, more_memory()]
        }
        Work::Bulk => bulk(&mut connect()),
        Work::Connections(count) => {
            let connections = (0..count).map(|_| {
                let mut connection = connect();
                echo(&mut connection, SMALL);
                connection
            });
            let rate = callers(connections.collect());
            vec![rate, more_memory() / count as f64]
        }
        Work::Connect => connect_and_call(connect),
        Work::Idle => {
            let connections: Vec<_> = (0..1000)
                .map(|_| {
                    let mut connection = connect();
                    echo(&mut connection, SMALL);
                    connection
                })
                .collect();
            idle();
            drop(connections);
            Vec::new()
        }
        Work::Items => {
            let small = items(&mut connect(), SMALL);
            let large = items(&mut connect(), BLOCK);
            vec![small / 1000.0, large * BLOCK as f64 / LARGE as f64]
        }
        Work::Beside => unreachable!("no blocking peer lets calls pass each other"),
        Work::Spawn => unreachable!("children are started by `spawn`"),
    }
}

/// Says that all connections stand, and keeps them until told to end.
pub(crate) fn idle() {
    println!("idle");
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

/// Echoes a new payload of so many bytes.
fn echo(connection: &mut impl BlockingEcho, size: usize) {
    let echoed = connection.echo(vec![7; size].into());
    assert_eq!(echoed.as_ref().len(), size);
}

fn round_trip(connection: &mut impl BlockingEcho) -> Vec<f64> {
    time_calls(|| echo(connection, SMALL))
}

/// The median and the 99th percentile of a call's time, in microseconds.
pub fn time_calls(mut call: impl FnMut()) -> Vec<f64> {
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < warm_up() + window() {
        let before = Instant::now();
        call();
        if before.duration_since(start) > warm_up() {
            times.push(before.elapsed().as_nanos() as f64 / 1000.0);
        }
    }
    vec![median(&mut times), quantile(&mut times, 0.99)]
}

/// How often a second something can be done.
pub fn rate(mut call: impl FnMut()) -> f64 {
    let run = |time: Duration, call: &mut dyn FnMut()| {
        let (start, mut calls) = (Instant::now(), 0u64);
        while start.elapsed() < time {
            call();
            calls += 1;
        }
        calls as f64 / start.elapsed().as_secs_f64()
    };
    run(warm_up(), &mut call);
    run(window(), &mut call)
}

fn bulk(connection: &mut impl BlockingEcho) -> Vec<f64> {
    vec![rate(|| echo(connection, LARGE))]
}

/// Thousand calls a second, with so many under way on one connection.
fn in_flight(mut connection: impl BlockingEcho, count: usize) -> f64 {
    if connection.echo_at_once(count) {
        return count as f64 / 1000.0 * rate(|| assert!(connection.echo_at_once(count)));
    }
    let others: Vec<_> = (1..count).map(|_| connection.another()).collect();
    callers(others.into_iter().chain([connection]).collect())
}

/// One thread for each caller given, each with one call outstanding.
fn callers<E: BlockingEcho>(callers: Vec<E>) -> f64 {
    let phase = AtomicU8::new(0);
    thread::scope(|scope| {
        let threads: Vec<_> = callers
            .into_iter()
            .map(|mut caller| {
                let phase = &phase;
                scope.spawn(move || {
                    let mut calls = 0u64;
                    loop {
                        echo(&mut caller, SMALL);
                        match phase.load(Ordering::Relaxed) {
                            COUNTING => calls += 1,
                            OVER => return calls,
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        thread::sleep(warm_up());
        phase.store(COUNTING, Ordering::Relaxed);
        let start = Instant::now();
        thread::sleep(window());
        phase.store(OVER, Ordering::Relaxed);
        let elapsed = start.elapsed();
        let calls: u64 = threads.into_iter().map(|thread| thread.join().expect("no caller panics")).sum();
        calls as f64 / elapsed.as_secs_f64() / 1000.0
    })
}

/// The items of one size that come in a second.
fn items(connection: &mut impl BlockingEcho, size: usize) -> f64 {
    let mut items = connection.items(size);
    let batch = if size > SMALL { 1 } else { 16 };
    batch as f64
        * rate(|| {
            for _ in 0..batch {
                assert_eq!(items.next(), Some(size));
            }
        })
}

fn connect_and_call<E: BlockingEcho>(connect: impl Fn() -> E) -> Vec<f64> {
    let mut times = Vec::new();
    for round in 0..350 {
        let start = Instant::now();
        let mut connection = connect();
        echo(&mut connection, SMALL);
        if round >= 50 {
            times.push(start.elapsed().as_nanos() as f64 / 1000.0);
        }
    }
    vec![median(&mut times)]
}

//! panpipe without a runtime, on both sides.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use panpipe::{NoService, Server};

use super::panpipe::{Echo, EchoBlockingClient, EchoClient, Echoes};
use crate::job::{SMALL, Work};
use crate::stats::{median, quantile};

const WARM_UP: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_millis(400);
const CALLERS: usize = 64;

/// Serves under a name until the process is killed.
pub fn serve(name: &str) {
    let server = Server::bind(name).service(Echoes.serve()).start_blocking().expect("the name is free");
    println!("ready");
    server.wait().expect("the server does not panic");
}

/// Serves the parent.
pub fn serve_parent() {
    let _ = panpipe::serve_parent_blocking(|_: NoService| Echoes.serve());
}

/// A client of [`serve`].
pub fn connect(name: &str) -> EchoBlockingClient {
    EchoClient::connect_blocking(name).expect("the server listens")
}

/// Does the work over a connection; gives the figures.
pub fn run(work: Work, client: &EchoBlockingClient) -> Vec<f64> {
    match work {
        Work::RoundTrip => round_trip(client),
        Work::Callers => callers(client),
        Work::Bulk => bulk(client, work.size()),
        _ => unreachable!("this peer does what takes one connection"),
    }
}

fn echo(client: &EchoBlockingClient, size: usize) {
    let echoed = client.echo(vec![7; size]).expect("the server answers");
    assert_eq!(echoed.len(), size);
}

fn round_trip(client: &EchoBlockingClient) -> Vec<f64> {
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < WARM_UP + WINDOW {
        let call = Instant::now();
        echo(client, SMALL);
        if call.duration_since(start) > WARM_UP {
            times.push(call.elapsed().as_nanos() as f64 / 1000.0);
        }
    }
    vec![median(&mut times), quantile(&mut times, 0.99)]
}

fn callers(client: &EchoBlockingClient) -> Vec<f64> {
    let (calls, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let per_second = thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    echo(client, SMALL);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(WARM_UP);
        let (start, before) = (Instant::now(), calls.load(Ordering::Relaxed));
        thread::sleep(WINDOW);
        let made = calls.load(Ordering::Relaxed) - before;
        is_over.store(true, Ordering::Relaxed);
        made as f64 / start.elapsed().as_secs_f64()
    });
    vec![per_second / 1000.0]
}

fn bulk(client: &EchoBlockingClient, size: usize) -> Vec<f64> {
    for _ in 0..3 {
        echo(client, size);
    }
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < WINDOW {
        echo(client, size);
        calls += 1;
    }
    vec![f64::from(calls) / start.elapsed().as_secs_f64()]
}

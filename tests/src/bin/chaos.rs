//! Calls a ledger without pause until its standard input ends, whatever becomes of the
//! server, and writes down the outcome of each call: `chaos KIND NAME CLIENT FILE`, where
//! KIND is `reconnecting`, `async`, `current` (a runtime of one thread) or `blocking`.
//!
//! A line is `NUMBER METHOD OUTCOME`. A call that takes longer than its bound, and a reply
//! that is another call's, are outcomes of their own.
//!
//! Or serves a ledger until its standard input ends, and prints a line for each warning:
//! `chaos serve KIND NAME FILE`, where KIND is `many`, `current` or `blocking`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use panpipe::{Backoff, CallError, RefusalReason, Server};
use panpipe_tests::at_most;
use panpipe_tests::ledger::{Book, Ledger, LedgerBlockingClient, LedgerClient};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The deadline of every second call.
const DEADLINE: Duration = Duration::from_millis(500);

/// The longest that a call may take beyond its deadline, or beyond what the test does to its
/// server: that one is stopped for less than half a second.
const BEYOND: Duration = Duration::from_secs(2);

/// How many call at once on one connection.
const CALLERS: u64 = 3;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let [kind, name, client, file] = args[..] else { panic!("chaos KIND NAME CLIENT FILE") };
    if kind == "serve" {
        return serve(name, client, file);
    }
    let client: u64 = client.parse().expect("a number");
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        told.store(true, Ordering::Relaxed);
    });
    println!("calling");
    let lines = match kind {
        "blocking" => call_on_threads(name, client, &stop),
        "current" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(call_async(kind, name, client, &stop))
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime can be built").block_on(call_async(kind, name, client, &stop))
        }
    };
    std::fs::write(file, lines).expect("the outcomes can be written");
}

/// Prints a line for each warning.
struct PrintWarnings;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for PrintWarnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::WARN {
            println!("warning");
        }
    }
}

fn serve(kind: &str, name: &str, file: &str) {
    tracing_subscriber::registry().with(PrintWarnings).init();
    let server = Server::bind(name).service(Book::at(file).serve());
    let end_of_input = || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    };
    if kind == "blocking" {
        let server = server.start_blocking().expect("the name is free");
        println!("ready");
        end_of_input();
        return server.shutdown().expect("the server ends");
    }
    let mut builder = match kind {
        "current" => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let server = server.start().expect("the name is free");
        println!("ready");
        tokio::task::spawn_blocking(end_of_input).await.expect("reading does not panic");
        server.shutdown().await.expect("the server's task does not panic");
    });
}

/// The numbers of one caller, of which no other has any.
fn numbers(client: u64, caller: u64) -> std::ops::RangeFrom<u64> {
    (client * CALLERS + caller) << 32..
}

fn line(number: u64, method: &str, result: Result<u64, CallError>, took: Duration) -> String {
    let outcome = match result {
        _ if took > at_most(DEADLINE + BEYOND) => format!("late:{took:?}"),
        Ok(reply) if reply == number => "ok".to_owned(),
        Ok(reply) => format!("crossed:{reply}"),
        Err(CallError::Disconnected { sent }) => format!("sent={sent}"),
        Err(CallError::DeadlineExceeded) => "deadline".to_owned(),
        Err(CallError::Overloaded) => "refused".to_owned(),
        Err(CallError::Refused(refusal)) if refusal.reason != RefusalReason::Layer => "refused".to_owned(),
        Err(other) => format!("{other:?}"),
    };
    format!("{number} {method} {}\n", outcome.replace(' ', "_"))
}

async fn call_async(kind: &str, name: &str, client: u64, stop: &AtomicBool) -> String {
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        callers.push(call_on(kind, name, numbers(client, caller), stop));
    }
    futures::future::join_all(callers).await.concat()
}

async fn connect(kind: &str, name: &str) -> Option<LedgerClient> {
    let connect = LedgerClient::connect(name).wait(Duration::from_secs(5));
    match kind {
        "reconnecting" => connect.reconnect(Backoff::exponential()).await.ok(),
        _ => connect.await.ok(),
    }
}

async fn call_on(kind: &str, name: &str, numbers: std::ops::RangeFrom<u64>, stop: &AtomicBool) -> String {
    let mut lines = String::new();
    let mut ledger = None;
    for number in numbers {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if ledger.is_none() {
            ledger = connect(kind, name).await;
        }
        // Nobody serves at the moment.
        let Some(client) = ledger.clone() else { continue };
        // A reconnecting client waits for the next server, so each of its calls is bounded.
        let bounded = match kind == "reconnecting" || number % 2 == 0 {
            true => client.with_timeout(DEADLINE),
            false => client,
        };
        let begun = Instant::now();
        let (method, result) = match number % 16 {
            0..8 => ("book", bounded.book(number).await),
            8..15 => ("note", bounded.note(number).await),
            _ => ("book", bounded.book_bytes(number, vec![7; 200 << 10]).await),
        };
        let took = begun.elapsed();
        if kind != "reconnecting" && is_over(&result) {
            ledger = None;
        }
        lines.push_str(&line(number, method, result, took));
    }
    lines
}

/// Whether a connection takes no more calls, as of a server that has ended or drains.
fn is_over(result: &Result<u64, CallError>) -> bool {
    matches!(result, Err(CallError::Disconnected { .. } | CallError::Refused(_)))
}

fn call_on_threads(name: &str, client: u64, stop: &AtomicBool) -> String {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| scope.spawn(move || call_on_thread(name, numbers(client, caller), stop)))
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("no caller panics")).collect()
    })
}

fn call_on_thread(name: &str, numbers: std::ops::RangeFrom<u64>, stop: &AtomicBool) -> String {
    let mut lines = String::new();
    let mut ledger: Option<LedgerBlockingClient> = None;
    for number in numbers {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if ledger.is_none() {
            ledger = LedgerClient::connect(name).wait(Duration::from_secs(5)).blocking().ok();
        }
        let Some(client) = &ledger else { continue };
        let begun = Instant::now();
        let (method, result) = match number % 2 {
            0 => ("book", client.with_timeout(DEADLINE).book(number)),
            _ => ("note", client.note(number)),
        };
        let took = begun.elapsed();
        if is_over(&result) {
            ledger = None;
        }
        lines.push_str(&line(number, method, result, took));
    }
    lines
}

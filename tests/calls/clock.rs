//! Times in a tokio runtime are counted by tokio's clock, which a test can pause.

use std::time::Duration;

use panpipe::{Backoff, CallError, Server, serve_stream};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::sys::cpu_micros_of_this_thread;
use panpipe_tests::unique_name;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance};

use crate::common::server;

const HOUR: Duration = Duration::from_secs(3600);

/// A call as a task that has begun to wait.
async fn begun<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let call = tokio::spawn(call);
    settle().await;
    assert!(!call.is_finished(), "it waits");
    call
}

/// Lets every task run that is ready. No timer fires meanwhile.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// A client of a service in this runtime: nothing between the two takes time.
fn beside() -> ProbeClient {
    let (client, server) = tokio::io::duplex(64 << 10);
    tokio::spawn(serve_stream(server, Prober::default().serve()));
    ProbeClient::over(client)
}

#[tokio::test(start_paused = true)]
async fn calls_end_at_their_deadline_of_the_paused_clock_and_no_others_do() {
    let probe = beside();
    assert_eq!(probe.add(1, 2).await, Ok(3));
    let endless = begun(probe.hang()).await;
    let patient = begun(probe.with_timeout(3 * HOUR).hang()).await;
    let hasty = begun(probe.with_timeout(HOUR / 2).hang()).await;
    advance(HOUR).await;
    settle().await;
    assert!(hasty.is_finished() && !patient.is_finished() && !endless.is_finished());
    assert_eq!(hasty.await.unwrap(), Err(CallError::DeadlineExceeded));
    advance(HOUR).await;
    settle().await;
    assert!(!patient.is_finished());
    advance(HOUR).await;
    settle().await;
    assert_eq!(patient.await.unwrap(), Err(CallError::DeadlineExceeded));
    assert!(!endless.is_finished());
    assert_eq!(probe.add(1, 2).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_the_deadline_by_the_same_clock() {
    let probe = beside();
    let start = Instant::now();
    // The handler's own sleep is of this clock too, and the deadline comes first.
    assert_eq!(probe.with_timeout(HOUR).wait(7_200_000).await, Err(CallError::DeadlineExceeded));
    assert!(start.elapsed() >= HOUR && start.elapsed() < 2 * HOUR);
    assert_eq!(probe.with_timeout(2 * HOUR).wait(3_600_000).await, Ok(3_600_000));
}

#[tokio::test]
async fn a_server_in_another_process_keeps_its_own_time() {
    let (_server, name) = server(&[]);
    let probe = ProbeClient::connect(&name).await.unwrap();
    assert_eq!(probe.add(1, 2).await, Ok(3));
    // From here on: a paused clock runs on to the next timer while this process waits for
    // another, and the timeout of the hello is one.
    tokio::time::pause();
    let endless = begun(probe.hang()).await;
    advance(HOUR).await;
    settle().await;
    assert!(!endless.is_finished());
    let start = Instant::now();
    assert_eq!(probe.with_timeout(HOUR).hang().await, Err(CallError::DeadlineExceeded));
    assert!(start.elapsed() >= HOUR);
    assert_eq!(probe.add(1, 2).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_reconnecting_client_waits_by_the_paused_clock_and_takes_no_cpu() {
    let name = unique_name("clock");
    let server = Server::bind(&name).service(Prober::default().serve()).start().unwrap();
    let backoff = Backoff::exponential().for_at_most(HOUR);
    let probe = ProbeClient::connect(&name).reconnect(backoff).await.unwrap();
    assert_eq!(probe.add(1, 2).await, Ok(3));
    server.shutdown().await.unwrap();
    let (start, cpu) = (Instant::now(), cpu_micros_of_this_thread());
    assert_eq!(probe.add(1, 2).await, Err(CallError::Disconnected { sent: false }));
    assert!(start.elapsed() >= HOUR);
    // An hour of pauses of a second each; a client that spins takes all that there is.
    let cpu = Duration::from_micros(cpu_micros_of_this_thread() - cpu);
    assert!(cpu < Duration::from_secs(20), "{cpu:?} of CPU");
    let start = Instant::now();
    let hasty = probe.with_timeout(HOUR / 2);
    assert_eq!(hasty.add(1, 2).await, Err(CallError::DeadlineExceeded));
    assert!(start.elapsed() >= HOUR / 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_by_the_paused_clock() {
    let name = unique_name("clock");
    let limits = panpipe::Limits { idle_timeout: Some(HOUR), ..panpipe::Limits::default() };
    let server = Server::bind(&name).limits(limits).service(Prober::default().serve()).start().unwrap();
    let probe = ProbeClient::connect(&name).await.unwrap();
    assert_eq!(probe.add(1, 2).await, Ok(3));
    let start = Instant::now();
    while !server.hub().clients().is_empty() {
        tokio::time::sleep(HOUR / 8).await;
        settle().await;
    }
    assert!(start.elapsed() >= HOUR);
    server.shutdown().await.unwrap();
}

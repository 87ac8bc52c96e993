//! How a server ends: what runs is finished, what comes is turned away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use panpipe::{CallError, Limits, Server, ServiceClient, Streaming};
use panpipe_tests::probe::{Probe, Prober};
use panpipe_tests::process::Process;
use panpipe_tests::raw::{self, Raw, kind};
use panpipe_tests::{PATIENCE, eventually, unique_name};
use rustix::process::Signal;

use crate::common::{client, server, studio};

#[tokio::test]
async fn ctrl_c_lets_running_calls_finish() {
    let (mut server, name) = server(&["ctrl_c"]);
    let (probe, other) = (client(&name).await, client(&name).await);
    let running = tokio::spawn(probe.wait(300));
    eventually("it runs", PATIENCE, async || other.counts().await.unwrap().running == 1).await;
    server.signal(Signal::INT);
    // The name is free at once; a call that comes now does not run.
    eventually("nobody listens", PATIENCE, async || {
        panpipe_tests::probe::ProbeClient::connect(&name).await.is_err()
    })
    .await;
    assert!(matches!(
        probe.add(1, 2).await,
        Err(CallError::Disconnected { sent: false } | CallError::Refused(_))
    ));
    assert_eq!(running.await.unwrap(), Ok(300));
    server.wait_for("ended");
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_call_that_outlives_the_servers_grace_is_cut_off() {
    let (mut server, name) = server(&["ctrl_c", "grace_ms=100"]);
    let (probe, other) = (client(&name).await, client(&name).await);
    let running = tokio::spawn(probe.hang());
    eventually("it runs", PATIENCE, async || other.counts().await.unwrap().running == 1).await;
    server.signal(Signal::INT);
    assert!(matches!(
        running.await.unwrap(),
        Err(CallError::Disconnected { sent: true } | CallError::Cancelled)
    ));
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_server_in_this_process_is_shut_down_when_asked() {
    let name = unique_name("own");
    let server = Server::bind(&name).service(Prober::default().serve()).start().unwrap();
    let probe = client(&name).await;
    let running = tokio::spawn(probe.wait(100));
    eventually("it runs", PATIENCE, async || probe.counts().await.unwrap().running == 1).await;
    let ended = tokio::spawn(server.shutdown());
    assert_eq!(running.await.unwrap(), Ok(100));
    ended.await.unwrap().unwrap();
    assert!(probe.add(1, 2).await.is_err());
    eventually("the client knows", PATIENCE, async || probe.close_reason().is_some()).await;
}

/// Ends a server, by the end of its standard input, while a test goes on.
fn finish(server: Process) -> std::thread::JoinHandle<bool> {
    std::thread::spawn(move || server.finish().success())
}

#[test]
fn what_comes_while_a_server_ends_is_answered_until_its_client_has_said_that_this_was_all() {
    let (server, name) = server(&["grace_ms=60000"]);
    let mut raw = Raw::greeted(&name, "Probe");
    let ended = finish(server);
    let goodbye = raw.frame();
    assert_eq!((goodbye.kind, goodbye.id), (kind::GOODBYE, 0));
    // Nothing runs, and a call was on its way.
    raw.send(&raw::call(0, "add(u64,u64)->u64", 0, &[0; 16]));
    let reply = raw.frame();
    assert_eq!((reply.kind, &reply.body[..]), (kind::REPLY, &[9][..]));
    raw.send(&raw::frame(kind::GOODBYE, 1, &[]));
    assert!(raw.to_the_end().is_empty());
    assert!(ended.join().unwrap());
}

#[test]
fn a_client_that_answers_no_goodbye_holds_a_server_up_for_a_moment_only() {
    let (server, name) = server(&["grace_ms=60000"]);
    let mut raw = Raw::greeted(&name, "Probe");
    let start = Instant::now();
    let ended = finish(server);
    assert_eq!(raw.frame().kind, kind::GOODBYE);
    assert!(raw.to_the_end().is_empty());
    assert!(ended.join().unwrap());
    assert!(start.elapsed() < Duration::from_secs(30), "it is not the grace that ended it");
}

#[test]
fn a_client_that_has_not_said_hello_is_told_that_the_server_ends() {
    let (server, name) = server(&[]);
    let mut raw = Raw::connect(&name);
    let mut greeted = Raw::greeted(&name, "Probe");
    let ended = finish(server);
    raw.expect_magic();
    let refusal = raw.frame();
    assert_eq!((refusal.kind, refusal.body[0]), (kind::REFUSE, 7));
    assert!(refusal.words().contains("shutting down"), "{}", refusal.words());
    assert!(raw.to_the_end().is_empty());
    assert_eq!(greeted.frame().kind, kind::GOODBYE);
    drop(greeted);
    assert!(ended.join().unwrap());
}

/// Counts one-way calls, of which one waits for a word.
#[panpipe::service]
pub trait Tally {
    /// Waits to be let go, then counts.
    #[oneway]
    async fn wait(&self);
    /// Counts.
    #[oneway]
    async fn count(&self);
}

#[derive(Default)]
struct Counter {
    counted: AtomicU64,
    go: tokio::sync::Notify,
}

impl Tally for Arc<Counter> {
    async fn wait(&self) {
        self.go.notified().await;
        self.counted.fetch_add(1, Ordering::SeqCst);
    }

    async fn count(&self) {
        self.counted.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn one_way_calls_that_reached_a_server_run_to_the_last_before_it_has_ended() {
    let (name, counter) = (unique_name("tally"), Arc::new(Counter::default()));
    let limits = Limits { max_calls: 1, ..Limits::default() };
    let server = Server::bind(&name).service(counter.clone().serve()).limits(limits).start().unwrap();
    let raw_name = name.clone();
    let mut raw = tokio::task::spawn_blocking(move || Raw::greeted(&raw_name, "Tally")).await.unwrap();
    raw.send(&raw::oneway("oneway wait()", &[]));
    let ended = tokio::spawn(server.shutdown());
    let raw = tokio::task::spawn_blocking(move || {
        assert_eq!(raw.frame().kind, kind::GOODBYE);
        // They wait for the first, over the cap.
        raw.send(&raw::oneway("oneway count()", &[]).repeat(100));
        raw.send(&raw::frame(kind::GOODBYE, 1, &[]));
        raw
    });
    let mut raw = raw.await.unwrap();
    assert!(!ended.is_finished());
    counter.go.notify_one();
    ended.await.unwrap().unwrap();
    assert_eq!(counter.counted.load(Ordering::SeqCst), 101);
    assert!(raw.to_the_end().is_empty());
}

#[tokio::test]
async fn clients_that_call_without_pause_lose_nothing_when_their_server_ends() {
    for _ in 0..20 {
        let (server, name) = server(&[]);
        let mut callers = Vec::new();
        for _ in 0..10 {
            let probe = client(&name).await;
            probe.add(0, 0).await.unwrap();
            callers.push(tokio::spawn(async move {
                loop {
                    match probe.add(1, 2).await {
                        Ok(sum) => assert_eq!(sum, 3),
                        Err(error) => return error,
                    }
                }
            }));
        }
        let ended = tokio::task::spawn_blocking(move || server.finish());
        for caller in callers {
            assert_eq!(caller.await.unwrap(), CallError::Disconnected { sent: false });
        }
        assert!(ended.await.unwrap().success());
    }
}

#[tokio::test]
async fn streams_of_both_directions_are_whole_when_their_server_ends_meanwhile() {
    let (server, _, studio) = studio(&[]).await;
    let mut count = studio.count(50_000).await.unwrap();
    assert_eq!(count.next().await, Some(Ok(0)));
    let (sender, numbers) = panpipe::channel(4);
    let sum = tokio::spawn(studio.sum(numbers));
    let noted = studio.note_all(Streaming::new(futures::stream::iter(0..50_000)));
    noted.await.unwrap();
    sender.send(1).await.unwrap();
    eventually("both are under way", PATIENCE, async || studio.noted().await.unwrap().len() > 1).await;
    let ended = tokio::task::spawn_blocking(move || server.finish());
    eventually("it ends", PATIENCE, async || studio.echo(1).await.is_err()).await;
    for number in 2..2000 {
        sender.send(number).await.unwrap();
    }
    drop(sender);
    assert_eq!(sum.await.unwrap(), Ok((0..2000).sum()));
    assert_eq!(count.fold(0, async |sum, number| sum + number.unwrap()).await, 50_000 * 49_999 / 2);
    assert!(ended.await.unwrap().success());
}

#[tokio::test]
async fn an_idle_client_does_not_hold_a_server_up() {
    let (server, name) = server(&[]);
    let (used, unused) = (client(&name).await, client(&name).await);
    used.add(1, 2).await.unwrap();
    let ended = tokio::task::spawn_blocking(move || server.finish());
    let status = tokio::time::timeout(Duration::from_secs(8), ended).await.expect("well within the grace");
    assert!(status.unwrap().success());
    drop((used, unused));
}

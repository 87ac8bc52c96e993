//! Servers without a runtime, and their clients of either kind.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use panpipe::{CallError, RefusalReason};
use panpipe_tests::bare::BareClient;
use panpipe_tests::probe::{ProbeClient, ProbeError};
use panpipe_tests::process::Process;
use panpipe_tests::studio::{Ear, Listener, ListenerClient, StudioClient, numbers};
use panpipe_tests::{PATIENCE, eventually, system, unique_name};
use rustix::process::Signal;

fn serve(what: &str) -> (Process, String) {
    let name = unique_name("threads");
    let mut command = Command::new(env!("CARGO_BIN_EXE_threads"));
    let process = Process::start(command.args(["serve", &name, what])).serving(&name);
    if what != "signals" {
        process.wait_for("ready");
    }
    (process, name)
}

#[tokio::test]
async fn an_async_client_is_served_by_threads() {
    let (server, name) = serve("all");
    let probe = ProbeClient::connect(&name).await.unwrap();
    let bare = BareClient::connect(&name).await.unwrap();
    assert_eq!(bare.has_runtime().await, Ok((false, false)));
    let calls = (0..500u64).map(|x| probe.add(x, 1));
    assert_eq!(join_all(calls).await, (1..=500).map(Ok).collect::<Vec<_>>());
    let threads = (0..50).map(|x| bare.from_thread(x));
    assert_eq!(join_all(threads).await, (0..50).map(Ok).collect::<Vec<_>>());
    assert_eq!(probe.large(3 << 20).await.map(|bytes| bytes.len()), Ok(3 << 20));
    let large = (0..6).map(|x| probe.echo(vec![x; 2 << 20]));
    assert!(join_all(large).await.iter().all(|echo| echo.as_ref().unwrap().len() == 2 << 20));
    let why = "no".to_owned();
    assert_eq!(probe.fail(why.clone()).await, Err(CallError::App(ProbeError { why })));
    // What needs a runtime fails its call, and nothing else.
    assert_eq!(probe.wait(1).await, Err(CallError::Panicked));
    assert_eq!(probe.panic(false).await, Err(CallError::Panicked));
    let hasty = probe.with_timeout(Duration::from_millis(50));
    assert_eq!(hasty.hang().await, Err(CallError::DeadlineExceeded));
    drop(probe.hang());
    eventually("nothing runs", PATIENCE, async || probe.counts().await.unwrap().running == 0).await;
    for x in 0..100 {
        probe.note(x).await.unwrap();
    }
    assert_eq!(probe.notes().await, Ok((0..100).collect()));
    assert_eq!(probe.about_me().await.unwrap().pid, Some(std::process::id()));
    drop((probe, bare));
    assert!(server.finish().success());
}

#[tokio::test]
async fn streams_and_callbacks_are_served_by_threads() {
    let (server, name) = serve("all");
    let studio = StudioClient::connect(&name).await.unwrap();
    let items: Vec<_> = studio.count(5000).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(items, (0..5000).collect::<Vec<_>>());
    assert_eq!(studio.sum(numbers(1000)).await, Ok(499_500));
    let doubled: Vec<_> = studio.double(numbers(100)).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(doubled.iter().sum::<u64>(), 9900);
    let mut endless = studio.endless().await.unwrap();
    assert_eq!(endless.next().await, Some(Ok(0)));
    drop(endless);
    let (sender, received) = panpipe::channel(4);
    let (sent, received) = tokio::join!(studio.send(500, sender), received.collect::<Vec<_>>());
    assert_eq!((sent, received.len()), (Ok(500), 500));
    let ear = Ear::default();
    let listener = ListenerClient::offer(ear.clone().serve());
    assert_eq!(studio.call_back(listener.clone(), 100).await, Ok(9900));
    assert_eq!(studio.keep(listener).await, Ok(()));
    let other = StudioClient::connect(&name).await.unwrap();
    assert_eq!(other.tell(7).await, Ok(1));
    assert_eq!(studio.forget().await, Ok(()));
    crate::common::nothing_is_left(&studio).await;
    drop((studio, other));
    assert!(server.finish().success());
}

#[tokio::test]
async fn stubs_of_clients_that_have_gone_hold_no_descriptors() {
    for (server, name) in [serve("all"), crate::common::studio_process(&[])] {
        let studio = StudioClient::connect(&name).await.unwrap();
        assert_eq!(studio.echo(1).await, Ok(1));
        let before = system::fds(server.id());
        for kept in 1..=30 {
            let client = StudioClient::connect(&name).await.unwrap();
            let listener = ListenerClient::offer(Ear::default().serve());
            assert_eq!(client.keep(listener).await, Ok(()));
            assert_eq!(studio.tell(1).await, Ok(1), "the server keeps {kept} of them");
        }
        eventually("no descriptor is left", PATIENCE, async || system::fds(server.id()) <= before).await;
        // It keeps them all, and they answer no more.
        assert_eq!(studio.tell(1).await, Ok(0));
        assert_eq!(studio.forget().await, Ok(()));
    }
}

#[test]
fn a_signal_ends_a_server_in_order_and_its_name_is_free() {
    let (mut server, name) = serve("signals");
    let bare = BareClient::connect(&name).wait(PATIENCE).blocking().unwrap();
    assert_eq!(bare.has_runtime(), Ok((false, false)));
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    // The client is idle and says no goodbye: the server waits a second for it.
    assert!(start.elapsed() < PATIENCE / 2);
    assert_eq!(bare.from_thread(1), Err(CallError::Disconnected { sent: false }));
    assert!(BareClient::connect_blocking(&name).is_err());
}

#[test]
fn a_server_that_ends_lets_running_calls_finish() {
    let (server, name) = serve("all");
    let bare = BareClient::connect_blocking(&name).unwrap();
    assert_eq!(bare.from_thread(1), Ok(1));
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            loop {
                if let Err(error) = bare.from_thread(1) {
                    return error;
                }
            }
        });
        assert!(server.finish().success());
        assert_eq!(busy.join().unwrap(), CallError::Disconnected { sent: false });
    });
}

/// The allocator keeps what each thread has freed, for all the threads that clients have had.
#[test]
fn memory_of_large_calls_goes_back_to_the_system_with_the_clients() {
    const CLIENTS: usize = 24;
    let (server, name) = serve("all");
    let call_at_once = |size: usize| {
        let all_are_in = std::sync::Barrier::new(CLIENTS);
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let probe = ProbeClient::connect_blocking(&name).unwrap();
                    assert_eq!(probe.add(1, 2), Ok(3));
                    all_are_in.wait();
                    for _ in 0..2 {
                        assert_eq!(probe.echo(vec![1; size]).map(|echo| echo.len()), Ok(size));
                    }
                });
            }
        });
    };
    call_at_once(100);
    let before = system::rss_kib(server.id());
    for _ in 0..2 {
        call_at_once(8 << 20);
    }
    // A thread ends a moment after its client's end. The pool keeps some buffers on purpose.
    let kept = || (system::rss_kib(server.id()).saturating_sub(before)) >> 10;
    let start = Instant::now();
    while kept() > 64 {
        assert!(start.elapsed() < PATIENCE, "the server keeps {} MiB", kept());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_client_too_many_is_told_so() {
    let (_server, name) = serve("one");
    let first = BareClient::connect_blocking(&name).unwrap();
    assert_eq!(first.from_thread(1), Ok(1));
    let second = BareClient::connect_blocking(&name).unwrap();
    let Err(CallError::Refused(refusal)) = second.from_thread(1) else { panic!("it is one too many") };
    assert_eq!(refusal.reason, RefusalReason::Overloaded);
    drop(first);
    panpipe_tests::bare::eventually_here("there is room again", || {
        BareClient::connect_blocking(&name).unwrap().from_thread(1).is_ok()
    });
}

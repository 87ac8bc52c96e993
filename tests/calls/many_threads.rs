//! Connections of runtimes of many threads, whose callers read and write too.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::future::join_all;
use panpipe::{CallError, Latency};
use panpipe_tests::PATIENCE;
use panpipe_tests::probe::{Counts, Probe, ProbeClient, Prober};
use panpipe_tests::worker::WorkerClient;
use tokio::runtime::Builder;

use crate::common::{child_command, client, server};

/// Does it in runtimes of so many threads: outside of their tasks, and in one.
fn in_runtimes<F: Future<Output = ()> + Send + 'static>(work: impl Fn() -> F) {
    for threads in [1, 2, 4] {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        runtime.block_on(work());
        runtime.block_on(runtime.spawn(work())).unwrap();
    }
}

/// Waits until the server has come to be so.
async fn until(probe: &ProbeClient, done: fn(&Counts) -> bool) {
    let asking = async {
        while !done(&probe.counts().await.unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it comes to be so");
}

/// Replies come between calls of the peer's, large messages, and several calls at once.
#[test]
fn callers_that_look_leave_to_the_driver_what_is_not_theirs() {
    in_runtimes(|| async {
        for latency in [Latency::Adaptive, Latency::Within(Duration::from_millis(5)), Latency::Asleep] {
            let child = panpipe::spawn(child_command("worker")).latency(latency);
            let child = child.offer(Prober::default().serve()).start::<WorkerClient>().unwrap();
            let worker = child.client();
            for i in 0..300 {
                assert_eq!(worker.echo(vec![1; 64]).await.map(|echo| echo.len()), Ok(64));
                // The worker calls back before it answers.
                assert_eq!(worker.add(i, 1).await, Ok(Some(i + 1)));
                if i % 50 == 0 {
                    assert_eq!(worker.echo(vec![9; 700_000]).await, Ok(vec![9; 700_000]));
                    assert_eq!(worker.echo_all(20, 100).await, Ok(20));
                }
            }
            assert!(child.shutdown(PATIENCE).await.unwrap().success());
        }
    });
}

#[test]
fn tasks_that_call_at_once_all_have_their_replies() {
    in_runtimes(|| async {
        let (_server, name) = server(&[]);
        let probe = client(&name).await;
        let tasks = (0..64).map(|task| {
            let probe = probe.clone();
            tokio::spawn(async move {
                for i in 0..200 {
                    assert_eq!(probe.add(task, i).await, Ok(task + i));
                    if i % 20 == task % 20 {
                        // One that is given up, and one that is alone for a moment.
                        drop(tokio::time::timeout(Duration::ZERO, probe.hang()).await);
                        tokio::task::yield_now().await;
                    }
                }
            })
        });
        join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
        assert_eq!(
            join_all((0..64).map(|i| probe.add(i, i))).await,
            Vec::from_iter((0..64).map(|i| Ok(2 * i)))
        );
        until(&probe, |counts| counts.running == 0).await;
    });
}

/// A call that was polled once is on its way, whatever its task does then: also one that is
/// to go out with those of others.
#[test]
fn a_call_that_is_not_polled_again_has_been_sent() {
    in_runtimes(|| async {
        let (_server, name) = server(&[]);
        let (probe, other) = (client(&name).await, client(&name).await);
        // Before the server's hello has come one has room, and the others wait for it.
        assert_eq!(probe.add(1, 2).await, Ok(3));
        let mut calls: Vec<_> = (0..5).map(|_| Box::pin(probe.hang())).collect();
        for call in &mut calls {
            assert!(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
        }
        until(&other, |counts| counts.started == 5).await;
        drop(calls);
        until(&other, |counts| counts.running == 0).await;
    });
}

/// Whoever has looked last has the event loop told again.
#[test]
fn after_many_calls_in_a_row_the_end_of_the_peer_is_heard_of() {
    in_runtimes(|| async {
        let (mut server, name) = server(&[]);
        let probe: ProbeClient = client(&name).await;
        let mut hanging = pin!(probe.hang());
        for i in 0..500 {
            assert_eq!(probe.add(i, 1).await, Ok(i + 1));
        }
        assert!(poll_fn(|cx| Poll::Ready(hanging.as_mut().poll(cx).is_pending())).await);
        server.kill();
        // Where the driver is to write it, the end may come before the driver's turn.
        let ended = tokio::time::timeout(PATIENCE, hanging).await;
        assert!(matches!(ended, Ok(Err(CallError::Disconnected { .. }))), "{ended:?}");
    });
}

/// Pauses longer than anybody looks, of many lengths: the server then sleeps, is about to,
/// or looks for the last time.
#[test]
fn no_call_is_lost_in_the_moment_in_which_the_server_stops_looking() {
    in_runtimes(|| async {
        let (_server, name) = server(&[]);
        let probe = client(&name).await;
        for round in 0..200 {
            for i in 0..10 {
                assert_eq!(probe.add(i, round).await, Ok(i + round));
            }
            tokio::time::sleep(Duration::from_micros(round * 2)).await;
        }
    });
}

/// A runtime that is left loses what was to be woken behind its tasks; its next calls see to
/// it that they go out, and so does what was left behind.
#[test]
fn calls_from_a_runtime_that_was_left_go_out() {
    let many = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (_server, name) = server(&[]);
    let probe = many.block_on(client(&name));
    let hanging = many.spawn({
        let probe = probe.clone();
        async move { probe.hang().await }
    });
    many.block_on(until(&probe, |counts| counts.started > 0));
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let mut left = Box::pin(probe.add(1, 2));
    one.block_on(poll_fn(|cx| {
        assert!(left.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    let both = async { (probe.add(2, 3).await, left.await) };
    let replies = one.block_on(async { tokio::time::timeout(PATIENCE, both).await });
    assert_eq!(replies.expect("they go out"), (Ok(5), Ok(3)));
    hanging.abort();
}

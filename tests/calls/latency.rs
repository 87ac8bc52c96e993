//! Waiting for bytes, asleep and awake, where two processes have two processors and where
//! they share one.

use std::thread;
use std::time::Duration;

use panpipe::Latency;
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
#[cfg(target_os = "linux")]
use panpipe_tests::system::bind_to_one_processor;
use panpipe_tests::worker::WorkerClient;
use panpipe_tests::{PATIENCE, unique_name};

use crate::common::child_command;

const ALL: [Latency; 4] = [
    Latency::Adaptive,
    Latency::Within(Duration::from_millis(5)),
    Latency::Within(Duration::MAX),
    Latency::Asleep,
];

/// Calls there and back, one after another and many at once, and pauses that are longer
/// than any wait awake should be.
async fn calls_of_all_kinds(latency: Latency) {
    let child = panpipe::spawn(child_command("worker")).latency(latency).offer(Prober::default().serve());
    let child = child.start::<WorkerClient>().unwrap();
    for i in 0..200 {
        assert_eq!(child.client().add(i, 1).await, Ok(Some(i + 1)));
        if i % 50 == 0 {
            assert_eq!(child.client().echo(vec![9; 300_000]).await.map(|echo| echo.len()), Ok(300_000));
            assert_eq!(child.client().echo_all(20, 100).await, Ok(20));
        }
    }
    assert!(child.shutdown(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn however_a_connection_waits_its_calls_are_made() {
    for latency in ALL {
        calls_of_all_kinds(latency).await;
    }
}

#[tokio::test]
async fn a_server_waits_as_it_is_told_to() {
    for latency in ALL {
        let name = unique_name("latency");
        let server = panpipe::Server::bind(&*name).service(Prober::default().serve()).latency(latency);
        let server = server.start().unwrap();
        let client = ProbeClient::connect(&*name).latency(latency).await.unwrap();
        assert_eq!(client.add(1, 2).await, Ok(3));
        server.shutdown().await.unwrap();
    }
}

#[test]
fn however_a_thread_waits_its_calls_are_made() {
    for latency in ALL {
        let name = unique_name("latency");
        let server = panpipe::Server::bind(&*name).service(Prober::default().serve()).latency(latency);
        let server = server.start_blocking().unwrap();
        let client = ProbeClient::connect(&*name).latency(latency).blocking().unwrap();
        for i in 0..200 {
            assert_eq!(client.add(i, 1), Ok(i + 1));
        }
        for pause in [0, 1, 10] {
            // The longer ones are longer than any wait awake should be.
            thread::sleep(Duration::from_millis(pause));
            assert_eq!(client.echo(vec![9; 300_000]).map(|echo| echo.len()), Ok(300_000));
            assert_eq!(client.add(1, 2), Ok(3));
        }
        server.shutdown().unwrap();
    }
}

/// What is started by a thread that is bound to a processor is bound to it too.
#[cfg(target_os = "linux")]
#[test]
fn two_processes_that_share_one_processor_make_way_for_each_other() {
    let bound = thread::spawn(|| {
        bind_to_one_processor();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for latency in ALL {
                calls_of_all_kinds(latency).await;
            }
        });
    });
    bound.join().unwrap();
}

//! Waiting for bytes, asleep and awake, where two processes have two processors and where
//! they share one.

use std::thread;
use std::time::Duration;

use panpipe::Latency;
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
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

/// What is started by a thread that is bound to a processor is bound to it too.
#[cfg(target_os = "linux")]
#[test]
fn two_processes_that_share_one_processor_make_way_for_each_other() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let bound = thread::spawn(|| {
        let all = sched_getaffinity(None).unwrap();
        let one = (0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap();
        let mut set = CpuSet::new();
        set.set(one);
        sched_setaffinity(None, &set).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for latency in ALL {
                calls_of_all_kinds(latency).await;
            }
        });
    });
    bound.join().unwrap();
}

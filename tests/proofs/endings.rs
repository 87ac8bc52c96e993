//! Proof 29: the end of a connection that arrives together with its last bytes.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use panpipe::{CallError, Hub, Limits, Server};
use panpipe_tests::endings::{self, CALLS_BEFORE, SUM};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::raw::{Raw, RawListener};
use panpipe_tests::{PATIENCE, at_most, eventually, times, unique_name};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::common::client;

/// One runtime of each flavor.
fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ]
}

/// Rounds of each carrier, role and runtime: 50,000 in all in the full form.
fn rounds(quick: usize) -> usize {
    times(quick, 50_000 / 12 + 1)
}

/// Makes calls, then two at once: the peer answers one of them and ends.
async fn call_until_the_end(probe: ProbeClient, calls: u64) {
    let calling = probe.clone();
    let solo = tokio::spawn(async move {
        // From a task and alone: there the caller reads inline in a multi-thread runtime.
        for _ in 0..calls {
            assert_eq!(calling.add(1, 1).await, Ok(SUM));
        }
    });
    solo.await.unwrap();
    // No call follows the last reply: its write would fail, and so reveal the end.
    let pending = tokio::spawn(async move {
        let last = async {
            assert_eq!(probe.add(1, 1).await, Ok(SUM));
            Instant::now()
        };
        let (hung, at) = tokio::join!(probe.hang(), last);
        (hung, at.elapsed())
    });
    let (hung, took) = timeout(PATIENCE, pending).await.expect("the call in flight ends").unwrap();
    assert_eq!(hung, Err(CallError::Disconnected { sent: true }));
    assert!(took < at_most(Duration::from_secs(1)), "{took:?}");
}

/// A client whose server answers by a named pipe, or by the bypass beside it, and ends at once.
fn client_of(serve: fn(Raw), calls: u64, rounds: usize) {
    for runtime in runtimes() {
        let name = unique_name("endings");
        let listener = RawListener::bind(&name);
        let server = thread::spawn(move || (0..rounds).for_each(|_| serve(listener.accept())));
        runtime.block_on(async {
            for _ in 0..rounds {
                let probe = client(&name).await;
                call_until_the_end(probe, calls).await;
            }
        });
        server.join().unwrap();
    }
}

#[test]
fn proof_29_client_sees_the_end_of_a_named_pipe() {
    client_of(endings::answer_by_socket, CALLS_BEFORE, rounds(150));
}

#[test]
fn proof_29_client_sees_the_end_of_a_bypass() {
    // The client asks for a bypass when it has made a number of calls.
    client_of(endings::answer_by_bypass, 100 + CALLS_BEFORE, rounds(40));
}

#[test]
fn proof_29_client_sees_the_end_of_a_child() {
    for runtime in runtimes() {
        runtime.block_on(async {
            for _ in 0..rounds(50) {
                let child = start("answer");
                call_until_the_end(child.client().clone(), CALLS_BEFORE).await;
            }
        });
    }
}

/// A server whose clients call by a named pipe, or by the bypass beside it, and end in mid-frame.
fn server_of(call: fn(&str), rounds: usize) {
    for runtime in runtimes() {
        let (name, hub) = (unique_name("endings"), Hub::new());
        runtime.block_on(async {
            let limits = Limits { max_clients: 40, ..Limits::default() };
            let server = Server::bind(&name).service(Prober::default().serve());
            let server = server.hub(&hub).limits(limits).start().unwrap();
            let caller = name.clone();
            let calling = tokio::task::spawn_blocking(move || (0..rounds).for_each(|_| call(&caller)));
            timeout(PATIENCE.max(Duration::from_millis(rounds as u64 * 50)), calling)
                .await
                .expect("the server lets all of them in")
                .unwrap();
            let within = at_most(Duration::from_secs(1));
            eventually("the server sees each end", within, async || hub.is_empty()).await;
            let probe = client(&name).await;
            let noted = async || probe.notes().await.unwrap().len() == rounds;
            eventually("the last bytes are not lost", PATIENCE, noted).await;
            drop(probe);
            server.shutdown().await.unwrap();
        });
    }
}

#[test]
fn proof_29_server_sees_the_end_of_a_named_pipe() {
    server_of(endings::call_by_socket, rounds(300));
}

#[test]
fn proof_29_server_sees_the_end_of_a_bypass() {
    server_of(endings::call_by_bypass, rounds(150));
}

#[test]
fn proof_29_server_sees_the_end_of_a_child() {
    for runtime in runtimes() {
        runtime.block_on(async {
            for _ in 0..rounds(50) {
                let child = start("call");
                let hung = timeout(PATIENCE, child.client().hang()).await;
                // The child waits for nobody: it may have ended before the call was sent.
                assert!(matches!(hung.expect("the call ends"), Err(CallError::Disconnected { .. })));
                assert!(child.close_reason().is_some());
            }
        });
    }
}

/// A child that ends with its last bytes, and may call back before.
fn start(what: &str) -> panpipe::Child<ProbeClient> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cut_child"));
    command.arg(what);
    panpipe::spawn(command).offer(Prober::default().serve()).start().unwrap()
}

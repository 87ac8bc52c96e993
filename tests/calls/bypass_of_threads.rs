//! Connections of threads that go by two pipes beside their socket.

use std::process::Command;
use std::thread;

use panpipe::CallError;
use panpipe_tests::bare::eventually_here;
use panpipe_tests::probe::{ProbeBlockingClient, ProbeClient};
use panpipe_tests::process::Process;
use panpipe_tests::{system, unique_name};

use crate::common::server;

/// More than are made before a connection gets a bypass.
const MANY: u64 = 200;

/// A server without a runtime.
fn server_of_threads() -> (Process, String) {
    let name = unique_name("threads");
    let mut command = Command::new(env!("CARGO_BIN_EXE_threads"));
    let process = Process::start(command.args(["serve", &name, "all"])).serving(&name);
    process.wait_for("ready");
    (process, name)
}

/// A client whose connection has a bypass.
fn bypassed(server: &Process, name: &str) -> ProbeBlockingClient {
    let before = system::pipes(server.id());
    let probe = ProbeClient::connect_blocking(name).unwrap();
    for x in 0..MANY {
        assert_eq!(probe.add(x, 1), Ok(x + 1));
    }
    // A server of threads has made its bell meanwhile, two ends too.
    assert!(system::pipes(server.id()) >= before + 2);
    probe
}

#[test]
fn short_calls_and_large_ones_of_many_threads_come_whole_and_in_order() {
    for (server, name) in [server(&[]), server_of_threads()] {
        let probe = bypassed(&server, &name);
        thread::scope(|scope| {
            for caller in 0..4u64 {
                let probe = &probe;
                scope.spawn(move || {
                    // Around each bound: of what is short, and of what goes in parts.
                    let sizes = [10, 20_000, 17, 100, 70_000, 3, 300_000, 5, 2_000_000];
                    for (round, size) in sizes.iter().cycle().take(27).enumerate() {
                        let byte = |at: usize| (at * 31 + round + caller as usize) as u8;
                        let bytes: Vec<u8> = (0..*size).map(byte).collect();
                        assert!(probe.echo(bytes.clone()).unwrap() == bytes, "{size} bytes in round {round}");
                        for x in 0..(round as u64 * 7 % 40) {
                            assert_eq!(probe.add(x, caller), Ok(x + caller));
                        }
                    }
                });
            }
        });
        for x in 0..100 {
            probe.note(x).unwrap();
        }
        assert_eq!(probe.notes(), Ok((0..100).collect()));
    }
}

#[tokio::test]
async fn a_server_of_threads_gives_one_to_an_async_client() {
    let (server, name) = server_of_threads();
    let probe = ProbeClient::connect(&name).await.unwrap();
    let before = system::pipes(server.id());
    for x in 0..MANY {
        assert_eq!(probe.add(x, 1).await, Ok(x + 1));
    }
    assert!(system::pipes(server.id()) >= before + 2);
    let bytes = vec![7; 300_000];
    for x in 0..MANY {
        let (sum, echoed) = tokio::join!(probe.add(x, 1), probe.echo(bytes.clone()));
        assert!(sum == Ok(x + 1) && echoed.unwrap() == bytes);
    }
}

#[test]
fn the_end_of_a_server_is_noticed_by_a_thread_in_a_read() {
    for of_threads in [false, true] {
        let (mut server, name) = if of_threads { server_of_threads() } else { server(&[]) };
        let probe = bypassed(&server, &name);
        thread::scope(|scope| {
            let hangs = scope.spawn(|| probe.hang());
            eventually_here("it runs", || probe.counts().unwrap().running == 1);
            server.kill();
            assert_eq!(hangs.join().unwrap(), Err(CallError::Disconnected { sent: true }));
        });
        assert_eq!(probe.add(1, 2), Err(CallError::Disconnected { sent: false }));
    }
}

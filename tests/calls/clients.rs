//! What a client is told when its server goes.

use futures::FutureExt;
use panpipe::{CallError, CloseReason, ServiceClient};
use panpipe_tests::{PATIENCE, eventually};

use crate::common::{client, client_process, server};

#[tokio::test]
async fn a_server_that_dies_fails_its_calls_as_sent_and_later_ones_as_unsent() {
    let (mut server, name) = server(&[]);
    let (probe, other) = (client(&name).await, client(&name).await);
    let running = tokio::spawn(probe.hang());
    eventually("it runs", PATIENCE, async || other.counts().await.unwrap().running == 1).await;
    server.kill();
    assert_eq!(running.await.unwrap(), Err(CallError::Disconnected { sent: true }));
    assert_eq!(probe.add(1, 2).await, Err(CallError::Disconnected { sent: false }));
    assert_eq!(probe.close_reason(), Some(CloseReason::Closed));
}

#[tokio::test]
async fn a_client_knows_the_process_that_it_calls() {
    let (server, name) = server(&[]);
    let probe = client(&name).await;
    assert_eq!(probe.peer().pid, Some(server.id()));
}

#[tokio::test]
async fn a_connection_that_makes_no_call_for_a_while_is_still_good() {
    let (_server, name) = server(&["handshake_ms=1500"]);
    let probe = client(&name).await;
    // Longer than the server waits for a hello, which comes by itself after one second.
    tokio::time::sleep(std::time::Duration::from_millis(2200)).await;
    assert_eq!(probe.add(1, 2).await, Ok(3));
}

#[tokio::test]
async fn futures_of_calls_are_static_and_send_and_may_outlive_their_client() {
    fn is_send<T: Send + 'static>(value: T) -> T {
        value
    }
    let (_server, name) = server(&[]);
    let call = is_send(client(&name).await.add(1, 2));
    assert_eq!(tokio::spawn(call).await.unwrap(), Ok(3));
    let mut call = Box::pin(client(&name).await.add(3, 4));
    assert!((&mut call).now_or_never().is_none());
    assert_eq!(call.await, Ok(7));
}

#[test]
fn an_idle_connection_costs_no_cpu() {
    // It waits for the next bytes for a moment, and lets its thread sleep then.
    let (_server, name) = server(&[]);
    let client = client_process(&name, "idle");
    let used: u64 = client.line().parse().unwrap();
    assert!(used < 100_000, "{used} µs in a second");
    assert!(client.finish().success());
}

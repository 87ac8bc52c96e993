//! How a server ends: what runs is finished, what comes is turned away.

use std::time::Duration;

use panpipe::{CallError, Server, ServiceClient};
use panpipe_tests::probe::{Probe, Prober};
use panpipe_tests::{PATIENCE, eventually, unique_name};
use rustix::process::Signal;

use crate::common::{client, server};

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

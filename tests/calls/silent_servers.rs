//! Servers, and children, that take the connection and say nothing.

use std::process::Command;
use std::time::Duration;

use panpipe::{Backoff, CallError, CloseReason, Limits, ServiceClient};
use panpipe_tests::probe::ProbeClient;
use panpipe_tests::raw::RawListener;
use panpipe_tests::unique_name;
use rustix::process::Signal;

use crate::common::{child_command, server};

/// Long enough for the test not to wait for anything, and far from the default.
const SHORT: Duration = Duration::from_millis(150);

fn hasty() -> Limits {
    Limits { handshake_timeout: SHORT, ..Limits::default() }
}

fn silent() -> (RawListener, String) {
    let name = unique_name("silent");
    (RawListener::bind(&name), name)
}

/// That the call failed since nothing answered within this time, and says so.
fn names_the_silent<T: std::fmt::Debug>(result: Result<T, CallError>, within: Duration) {
    let error = result.unwrap_err();
    assert!(matches!(error, CallError::NoHello { within: waited, .. } if waited == within), "{error:?}");
    let (pid, text) = (std::process::id(), error.to_string());
    assert!(
        text.contains(&format!("process {pid} of user")) && text.contains(&format!("{within:?}")),
        "{text}"
    );
}

#[tokio::test]
async fn the_first_call_to_a_silent_server_ends() {
    let (_listener, name) = silent();
    let probe = ProbeClient::connect(&name).limits(hasty()).await.unwrap();
    let (sent, waiting) = tokio::join!(probe.add(1, 2), probe.add(3, 4));
    assert!(matches!(sent, Err(CallError::NoHello { sent: true, .. })), "{sent:?}");
    assert!(matches!(waiting, Err(CallError::NoHello { sent: false, .. })), "{waiting:?}");
    names_the_silent(sent, SHORT);
    assert!(matches!(probe.close_reason(), Some(CloseReason::NoHello { .. })));
    assert!(matches!(probe.add(1, 2).await, Err(CallError::NoHello { sent: false, .. })));
}

#[tokio::test]
async fn a_wait_for_a_server_bounds_its_hello_too() {
    let (_listener, name) = silent();
    let probe = ProbeClient::connect(&name).wait(SHORT).await.unwrap();
    names_the_silent(probe.add(1, 2).await, SHORT);
}

#[test]
fn a_blocking_client_of_a_silent_server_gives_up() {
    let (_listener, name) = silent();
    let probe = ProbeClient::connect(&name).limits(hasty()).blocking().unwrap();
    names_the_silent(probe.add(1, 2), SHORT);
    let probe = ProbeClient::connect(&name).wait(SHORT).blocking().unwrap();
    names_the_silent(probe.add(1, 2), SHORT);
}

#[tokio::test]
async fn a_reconnecting_client_of_a_silent_server_gives_up_with_its_backoff() {
    let (_listener, name) = silent();
    let backoff = Backoff::exponential().for_at_most(SHORT);
    let probe = ProbeClient::connect(&name).reconnect(backoff).await.unwrap();
    // The first connection is no other.
    names_the_silent(probe.add(1, 2).await, SHORT);
    // Nor are those that follow.
    let next = probe.add(1, 2).await;
    assert!(matches!(next, Err(CallError::NoHello { sent: false, .. })), "{next:?}");
}

#[tokio::test]
async fn a_server_that_is_stopped_is_named_by_its_process() {
    let (server, name) = server(&[]);
    server.stop();
    let probe = ProbeClient::connect(&name).limits(hasty()).await.unwrap();
    let error = probe.add(1, 2).await.unwrap_err().to_string();
    server.signal(Signal::CONT);
    assert!(error.contains(&format!("process {}", server.id())), "{error}");
    assert!(error.contains("did not answer the hello within 150ms"), "{error}");
}

#[tokio::test]
async fn a_child_that_never_serves_its_parent_is_given_up() {
    let mut command = Command::new("sleep");
    command.arg("1000");
    let child = panpipe::spawn(command).limits(hasty()).start::<ProbeClient>().unwrap();
    let error = child.client().add(1, 2).await.unwrap_err();
    assert!(matches!(error, CallError::NoHello { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("process {}", child.id().unwrap())), "{error}");
    // One that serves does so however much later it is called.
    let child = panpipe::spawn(child_command("probe")).start::<ProbeClient>().unwrap();
    assert_eq!(child.client().add(1, 2).await, Ok(3));
}

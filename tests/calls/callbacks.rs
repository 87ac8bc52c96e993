//! Clients as values: whoever is given one calls back.

use std::process::Command;
use std::sync::Arc;

use futures::future::join_all;
use panpipe::{CallError, Limits, ServiceClient};
use panpipe_tests::process::Process;
use panpipe_tests::studio::{
    Bouncer, Ear, Listener, ListenerClient, Studio, StudioClient, StudioImpl, sum_of,
};
use panpipe_tests::{PATIENCE, eventually};

use crate::common::{nothing_is_left, studio, studio_client};

/// A listener of this process, and what it hears.
fn listener() -> (ListenerClient, Ear) {
    let ear = Ear::default();
    (ListenerClient::offer(ear.clone().serve()), ear)
}

#[tokio::test]
async fn a_server_calls_its_client_back_while_the_client_waits() {
    let (_server, _, studio) = studio(&[]).await;
    let (listener, ear) = listener();
    assert_eq!(studio.call_back(listener, 100).await, Ok(2 * 4950));
    assert_eq!(ear.heard(), (0..100).collect::<Vec<_>>());
    nothing_is_left(&studio).await;
    eventually("the service is dropped", PATIENCE, async || Arc::strong_count(&ear.alive) == 1).await;
}

#[tokio::test]
async fn both_sides_call_at_once() {
    let (_server, _, studio) = studio(&[]).await;
    let calls = (0..50).map(|x| {
        let (listener, _) = listener();
        let studio = &studio;
        async move {
            assert_eq!(studio.call_back(listener, 20).await, Ok(2 * 190));
            assert_eq!(studio.echo(x).await, Ok(x));
        }
    });
    futures::future::join_all(calls).await;
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn calls_nest_ten_deep_between_two_processes() {
    let (_server, _, studio) = studio(&[]).await;
    let own = StudioClient::offer(StudioImpl::default().serve());
    assert_eq!(studio.nest(own, 10).await, Ok(10));
    nothing_is_left(&studio).await;
}

/// A client of a studio with these limits on both sides, each of whose handlers calls the
/// other side.
async fn bouncing(max_calls: u32) -> (Process, StudioClient) {
    let (server, name, _) = studio(&[&format!("max_calls={max_calls}")]).await;
    let limits = Limits { max_calls, ..Limits::default() };
    let studio = StudioClient::connect(&name).limits(limits).await.unwrap();
    studio.be_prompted(ListenerClient::offer(Bouncer(studio.clone()).serve())).await.unwrap();
    (server, studio)
}

#[tokio::test]
async fn callbacks_that_call_back_do_not_wait_for_the_limit_that_their_callers_fill() {
    for (max_calls, depth) in [(1, 200), (2, 250), (1024, 2200)] {
        let (_server, studio) = bouncing(max_calls).await;
        let bounced = tokio::time::timeout(PATIENCE, studio.bounce(depth)).await;
        assert_eq!(bounced.expect("no call waits"), Ok(depth), "{max_calls}");
        // Several at once have the levels in turns.
        let several = join_all((0..8).map(|_| studio.bounce(100)));
        let bounced = tokio::time::timeout(PATIENCE, several).await;
        assert_eq!(bounced.expect("no call waits"), vec![Ok(100); 8], "{max_calls}");
    }
}

#[tokio::test]
async fn calls_that_nest_too_deep_fail_at_once() {
    for max_calls in [1, 1024] {
        let (_server, studio) = bouncing(max_calls).await;
        let bounced = tokio::time::timeout(PATIENCE, studio.bounce(2 * (max_calls + 1000))).await;
        let Err(CallError::App(why)) = bounced.expect("no call waits") else { panic!("there is a limit") };
        assert!(why.contains("limit"), "{why}");
        assert_eq!(studio.echo(1).await, Ok(1));
        assert_eq!(studio.bounce(10).await, Ok(10));
    }
}

#[tokio::test]
async fn a_kept_client_is_called_after_the_call_and_closes_with_its_last_holder() {
    let (_server, _, studio) = studio(&[]).await;
    let (listener, ear) = listener();
    studio.keep(listener.clone()).await.unwrap();
    studio.keep(listener).await.unwrap();
    assert_eq!(studio.tell(21).await, Ok(2));
    assert_eq!(ear.heard(), [21, 21]);
    assert!(Arc::strong_count(&ear.alive) > 1);
    studio.forget().await.unwrap();
    nothing_is_left(&studio).await;
    eventually("the service is dropped", PATIENCE, async || Arc::strong_count(&ear.alive) == 1).await;
}

#[tokio::test]
async fn a_client_that_is_gone_fails_those_who_call_it_back() {
    let (_server, name, studio) = studio(&[]).await;
    let other = studio_client(&name).await;
    other.keep(listener().0).await.unwrap();
    assert_eq!(studio.tell(1).await, Ok(1));
    drop(other);
    eventually("it is told", PATIENCE, async || studio.tell(1).await == Ok(0)).await;
}

// The lines of the third process are waited for by a thread.
#[tokio::test(flavor = "multi_thread")]
async fn a_third_process_calls_through_the_second() {
    let (server, name, studio) = studio(&[]).await;
    let (listener, ear) = listener();
    studio.keep(listener).await.unwrap();
    let third = Process::start(Command::new(env!("CARGO_BIN_EXE_studio")).args(["call", &name, "5"]));
    // It is the studio that calls this process, whoever asked it to.
    let caller = server.id();
    third.wait_for(&format!("Ok(10) Err(\"I object\") 10 Ok(Some({caller}))"));
    third.wait_for("Ok(14)");
    assert!(third.finish().success());
    assert_eq!(ear.heard(), [5, 6, 7]);
    // The third's hold on it is gone; the studio still has its own.
    assert_eq!(studio.tell(9).await, Ok(1));
    studio.forget().await.unwrap();
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn what_a_callback_gives_can_be_a_stream_and_an_error() {
    let (_server, name, studio) = studio(&[]).await;
    studio.keep(listener().0).await.unwrap();
    let theirs = studio_client(&name).await.kept().await.unwrap().pop().unwrap();
    assert_eq!(sum_of(theirs.stream(100).await.unwrap()).await, Ok(4950));
    assert_eq!(theirs.object().await, Err(CallError::App("I object".to_owned())));
    // A client that is received has a peer, and keeps its connection.
    assert_eq!(theirs.peer().pid, studio.peer().pid);
    drop(theirs);
    studio.forget().await.unwrap();
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_call_of_a_client_that_was_received_can_be_dropped() {
    let (_server, _, studio) = studio(&[]).await;
    let own = StudioClient::offer(StudioImpl::default().serve());
    let call = tokio::spawn(studio.nest(own, 1));
    assert_eq!(call.await.unwrap(), Ok(1));
    // A client that is sent and whose call is dropped at once is let go of.
    for _ in 0..100 {
        let (listener, _) = listener();
        let mut call = Box::pin(studio.call_back(listener, 1000));
        assert!(futures::poll!(&mut call).is_pending());
    }
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn locally_a_client_passes_as_it_is() {
    let studio = StudioClient::local(StudioImpl::default());
    let (listener, ear) = listener();
    assert_eq!(studio.call_back(listener.clone(), 3).await, Ok(6));
    studio.keep(listener).await.unwrap();
    assert_eq!(studio.tell(4).await, Ok(1));
    assert_eq!(ear.heard(), [0, 1, 2, 4]);
}

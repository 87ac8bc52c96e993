//! One-way calls, of which more come than may run at once.

use std::process::Command;
use std::time::Duration;

use panpipe::ServiceClient;
use panpipe_tests::process::Process;
use panpipe_tests::studio::{Ear, Listener, ListenerClient, StudioClient, numbers};
use panpipe_tests::{PATIENCE, eventually};

use crate::common::{studio, studio_client};

#[tokio::test]
async fn all_of_them_run_however_few_at_once() {
    for cap in ["max_calls=1", "max_calls=2"] {
        let (_server, _, studio) = studio(&[cap]).await;
        for _ in 0..20_000 {
            studio.tick().await.unwrap();
        }
        eventually("all have run", PATIENCE, async || studio.ticks().await == Ok(20_000)).await;
    }
}

#[tokio::test]
async fn one_that_needs_something_of_its_caller_gets_it_while_others_wait() {
    let (_server, _, studio) = studio(&["max_calls=1"]).await;
    // The first fills the place, and reads what comes behind the others.
    studio.note_all(numbers(100_000)).await.unwrap();
    for _ in 0..100 {
        studio.tick().await.unwrap();
    }
    eventually("the first has read all", PATIENCE, async || studio.noted().await.unwrap().len() == 100_000)
        .await;
    eventually("the others have run", PATIENCE, async || studio.ticks().await == Ok(100)).await;
}

#[tokio::test]
async fn those_that_wait_when_their_caller_goes_run_all_the_same() {
    let (_server, name, studio) = studio(&["max_calls=1"]).await;
    let other = studio_client(&name).await;
    for _ in 0..5_000 {
        other.tick().await.unwrap();
    }
    drop(other);
    eventually("all have run", PATIENCE, async || studio.ticks().await == Ok(5_000)).await;
}

#[tokio::test]
async fn all_run_that_call_their_caller_back() {
    const CALLS: u64 = 30_000;
    let (_server, _, studio) = studio(&[]).await;
    let ear = Ear::default();
    studio.be_prompted(ListenerClient::offer(ear.clone().serve())).await.unwrap();
    let all = async {
        for x in 0..CALLS {
            studio.prompt(x).await.unwrap();
        }
        studio.flush().await.unwrap();
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the calls are sent and begun");
    eventually("all have called back", PATIENCE, async || ear.heard().len() == CALLS as usize).await;
    let mut heard = ear.heard();
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..CALLS), "each has called back once");
}

// The lines of the clients are waited for by a thread.
#[tokio::test(flavor = "multi_thread")]
async fn clients_killed_while_their_handlers_wait_for_them_keep_no_place() {
    const CLIENTS: usize = 4;
    let (_server, name, first) = studio(&[&format!("max_clients={CLIENTS}")]).await;
    drop(first);
    let connects = async || {
        let connected = StudioClient::connect(&name).wait(Duration::from_secs(10)).await;
        match connected {
            Ok(studio) => studio.echo(1).await.is_ok(),
            Err(_) => false,
        }
    };
    for _ in 0..2 {
        eventually("there is room for all", PATIENCE, connects).await;
        let clog = || Process::start(Command::new(env!("CARGO_BIN_EXE_studio")).args(["clog", &name]));
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| clog()).collect();
        clients.iter().for_each(|client| client.wait_for("blocked"));
        clients.iter_mut().for_each(Process::kill);
    }
    eventually("a new client is served", PATIENCE, connects).await;
}

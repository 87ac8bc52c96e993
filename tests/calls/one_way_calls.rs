//! One-way calls, of which more come than may run at once.

use std::process::Command;
use std::time::Duration;

use futures::future::poll_immediate;
use panpipe::{Backoff, BlockingServiceClient, CallError, ServiceClient};
use panpipe_tests::process::Process;
use panpipe_tests::studio::{Ear, Listener, ListenerClient, StudioClient, numbers};
use panpipe_tests::{PATIENCE, eventually};
use rustix::process::Signal;

use crate::common::{studio, studio_client, studio_process};

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

/// Sizes around that from which on a message goes out in parts, and large ones.
const SIZES: [usize; 8] = [0, 1000, (128 << 10) - 100, 128 << 10, (128 << 10) + 1, 300_000, 1 << 20, 3 << 20];

#[tokio::test(flavor = "multi_thread")]
async fn what_one_client_makes_one_after_the_other_begins_in_that_order() {
    let (_server, _, studio) = studio(&[]).await;
    let mut made = Vec::new();
    for round in 0..3 {
        for size in SIZES {
            // A call sees the one-way call before it.
            made.push(round);
            studio.note_bytes(round, vec![7; size]).await.unwrap();
            assert_eq!(studio.noted().await.unwrap(), made, "a call has passed {size} bytes");
            // So does a flush, and a one-way call of any size.
            for next in SIZES {
                made.extend([1, 2]);
                studio.note_bytes(1, vec![7; size]).await.unwrap();
                studio.note_bytes(2, vec![7; next]).await.unwrap();
                studio.flush().await.unwrap();
                assert_eq!(studio.noted().await.unwrap(), made, "{next} bytes have passed {size}");
            }
        }
    }
}

#[test]
fn the_same_where_a_thread_waits() {
    let (_server, name) = studio_process(&[]);
    let studio = StudioClient::connect_blocking(&name).unwrap();
    let mut made = Vec::new();
    for size in SIZES {
        made.push(0);
        studio.note_bytes(0, vec![7; size]).unwrap();
        assert_eq!(studio.noted().unwrap(), made, "a call has passed {size} bytes");
        for next in SIZES {
            made.extend([1, 2]);
            studio.note_bytes(1, vec![7; size]).unwrap();
            studio.note_bytes(2, vec![7; next]).unwrap();
            studio.flush().unwrap();
            assert_eq!(studio.noted().unwrap(), made, "{next} bytes have passed {size}");
        }
    }
}

#[tokio::test]
async fn small_calls_of_other_tasks_pass_a_large_one_way_call() {
    let (server, name, studio) = studio(&[]).await;
    assert_eq!(studio.echo(1).await, Ok(1));
    // While the server reads nothing the large one cannot have gone.
    server.stop();
    let mut large = Box::pin(studio.note_bytes(1, vec![7; 8 << 20]));
    assert_eq!(poll_immediate(&mut large).await, None);
    let other = studio.clone();
    let small = tokio::spawn(async move { other.noted().await });
    tokio::task::yield_now().await;
    server.signal(Signal::CONT);
    let _ = name;
    assert_eq!(small.await.unwrap(), Ok(vec![]));
    large.await.unwrap();
    assert_eq!(studio.noted().await, Ok(vec![1]));
}

/// One-way calls of a studio, whose time is bounded by the method.
#[panpipe::service(name = "Studio")]
#[allow(dead_code, reason = "only its client is used")]
trait Bounded {
    /// Takes a number with more, and does not answer.
    #[oneway]
    #[timeout("200ms")]
    async fn note_bytes(&self, x: u64, bytes: Vec<u8>);
}

const TIMEOUT: Duration = Duration::from_millis(200);

/// Makes one-way calls of some size until one fails.
async fn until_one_fails<F: Future<Output = Result<(), CallError>>>(
    call: impl Fn(Vec<u8>) -> F,
) -> CallError {
    let calls = async {
        loop {
            for size in [100_000, 1 << 20] {
                if let Err(error) = call(vec![7; size]).await {
                    return error;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, calls).await.expect("a call that is bounded ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_stopped_server_they_end_at_their_deadline() {
    let (server, name, studio) = studio(&[]).await;
    assert_eq!(studio.echo(1).await, Ok(1));
    let bounded = BoundedClient::connect(&name).await.unwrap();
    let reconnecting = StudioClient::connect(&name).reconnect(Backoff::exponential()).await.unwrap();
    assert_eq!(reconnecting.echo(1).await, Ok(1));
    let blocking = StudioClient::connect_blocking(&name).unwrap();
    assert_eq!(blocking.echo(1), Ok(1));
    server.stop();
    for client in [studio, reconnecting] {
        let client = client.with_timeout(TIMEOUT);
        let error = until_one_fails(|bytes| client.note_bytes(0, bytes)).await;
        assert_eq!(error, CallError::DeadlineExceeded);
        // The next one finds the queue full, too.
        let error = until_one_fails(|bytes| client.note_bytes(0, bytes)).await;
        assert_eq!(error, CallError::DeadlineExceeded);
    }
    assert_eq!(until_one_fails(|bytes| bounded.note_bytes(0, bytes)).await, CallError::DeadlineExceeded);
    let thread = tokio::task::spawn_blocking(move || {
        let blocking = blocking.with_timeout(TIMEOUT);
        loop {
            if let Err(error) = blocking.note_bytes(0, vec![7; 100_000]) {
                return error;
            }
        }
    });
    let error = tokio::time::timeout(PATIENCE, thread).await.expect("a call that is bounded ends");
    assert_eq!(error.unwrap(), CallError::DeadlineExceeded);
    server.signal(Signal::CONT);
}

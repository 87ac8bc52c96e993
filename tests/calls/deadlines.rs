//! Deadlines: from the call on, across processes, into nested calls.

use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use panpipe::{BlockingServiceClient, CallError, ServiceClient};
use panpipe_tests::probe::ProbeClient;
use panpipe_tests::{PATIENCE, eventually};
use tokio::runtime::{Builder, Runtime};

use crate::common::{client, server};

#[tokio::test]
async fn a_call_that_takes_too_long_fails_and_its_handler_is_stopped() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    let start = Instant::now();
    let hasty = probe.with_timeout(Duration::from_millis(50));
    assert_eq!(hasty.hang().await, Err(CallError::DeadlineExceeded));
    assert!(start.elapsed() >= Duration::from_millis(50));
    eventually("the handler is dropped", PATIENCE, async || probe.counts().await.unwrap().running == 0).await;
    // Without a timeout it has all the time there is.
    assert_eq!(probe.wait(100).await, Ok(100));
}

#[tokio::test]
async fn a_methods_own_timeout_holds_for_every_caller() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    assert_eq!(probe.impatient().await, Err(CallError::DeadlineExceeded));
    // The nearer one counts.
    let patient = probe.with_timeout(Duration::from_secs(100));
    assert_eq!(patient.impatient().await, Err(CallError::DeadlineExceeded));
}

#[tokio::test]
async fn a_deadline_runs_from_the_call_not_from_its_first_poll() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await.with_timeout(Duration::from_millis(10));
    let call = probe.add(1, 2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(call.await, Err(CallError::DeadlineExceeded));
}

/// A client whose connection belongs to a runtime that nobody drives any more, and that runtime.
fn parked_client(name: &str) -> (ProbeClient, Runtime) {
    let parked = Builder::new_current_thread().enable_all().build().unwrap();
    let probe = parked.block_on(async {
        let probe = client(name).await;
        assert_eq!(probe.add(1, 2).await, Ok(3));
        probe
    });
    (probe, parked)
}

#[test]
fn a_timeout_is_kept_while_the_connections_runtime_is_parked() {
    let (_server, name) = server(&[]);
    let (probe, _parked) = parked_client(&name);
    let hasty = probe.with_timeout(Duration::from_millis(200));
    let other = Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(other.block_on(hasty.hang()), Err(CallError::DeadlineExceeded));
    assert_eq!(other.block_on(hasty.flush()), Err(CallError::DeadlineExceeded));
    // A thread without a runtime.
    assert_eq!(hasty.blocking().hang(), Err(CallError::DeadlineExceeded));
}

#[test]
fn a_timeout_is_kept_while_the_connections_runtime_is_busy() {
    let (_server, name) = server(&[]);
    let (probe, parked) = parked_client(&name);
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let parked = &parked;
        scope.spawn(move || {
            // A task that does not give its thread back before the call has ended.
            let _ = parked.block_on(async { is_done.recv_timeout(PATIENCE) });
        });
        let other = Builder::new_current_thread().enable_all().build().unwrap();
        let hasty = probe.with_timeout(Duration::from_millis(200));
        let start = Instant::now();
        assert_eq!(other.block_on(hasty.hang()), Err(CallError::DeadlineExceeded));
        assert!(start.elapsed() < PATIENCE / 2);
        drop(done);
    });
    // The peer has been told to stop as soon as somebody drives the connection.
    parked.block_on(eventually("the handler is dropped", PATIENCE, async || {
        probe.counts().await.unwrap().running == 0
    }));
}

/// Waits for a future on this thread, by no runtime and by no code of panpipe's.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

#[test]
fn a_timeout_is_kept_by_a_task_of_another_executor() {
    let (server, name) = server(&[]);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let probe = runtime.block_on(client(&name));
    let blocking = ProbeClient::connect(&name).blocking().unwrap();
    assert_eq!((runtime.block_on(probe.add(1, 2)), blocking.add(1, 2)), (Ok(3), Ok(3)));
    // The server keeps deadlines too: it is not to be the one that does.
    server.stop();
    let hasty = probe.with_timeout(Duration::from_millis(50));
    assert_eq!(block_on(hasty.hang()), Err(CallError::DeadlineExceeded));
    let hasty = blocking.as_async().with_timeout(Duration::from_millis(50));
    assert_eq!(block_on(hasty.hang()), Err(CallError::DeadlineExceeded));
}

#[tokio::test]
async fn the_deadline_travels_and_nested_calls_inherit_what_is_left() {
    let (_one, name) = server(&[]);
    let (_other, other_name) = server(&[]);
    let probe = client(&name).await.with_timeout(Duration::from_secs(20));
    let direct = probe.about_me().await.unwrap().left.expect("the deadline has come along");
    assert!(direct <= 20_000 && direct > 10_000, "{direct}");
    let nested = probe.relay(other_name).await.unwrap().expect("the other server answers");
    let left = nested.left.expect("the deadline was inherited");
    assert!(left <= 20_000 && left > 10_000, "{left}");
}

#[tokio::test]
async fn a_timeout_past_the_end_of_the_clock_is_none() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await.with_timeout(Duration::MAX);
    assert_eq!(probe.about_me().await.unwrap().left, None);
}

#[tokio::test]
async fn many_deadlines_at_once_each_end_their_own_call() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    let calls = (0..500u64).map(|x| {
        let probe = probe.with_timeout(Duration::from_millis(20 + x % 50));
        async move { (probe.hang().await, probe.with_timeout(Duration::from_secs(60)).add(x, 1).await) }
    });
    for (x, (hung, sum)) in futures::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(hung, Err(CallError::DeadlineExceeded));
        assert_eq!(sum, Ok(x as u64 + 1));
    }
}

//! Handlers of a client without a runtime that are pending at their first poll.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use panpipe::{CallError, Hub, Server, Streaming};
use panpipe_tests::bare::{BareClient, another_thread};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::process::Process;
use panpipe_tests::studio::{Listener, ListenerClient, StudioBlockingClient, StudioClient};
use panpipe_tests::{PATIENCE, eventually, unique_name};

/// What the handler never answers.
const UNANSWERED: u64 = u64::MAX;
/// What the handler answers at once.
const AT_ONCE: u64 = 1 << 40;

/// Waits before it answers: for another thread, for a timer, and for a call back, in turn.
#[derive(Debug, Clone, Default)]
struct Waiting {
    /// The service's own client, as the other side has it: a call goes there and back.
    back: Arc<Mutex<Option<ListenerClient>>>,
}

impl Waiting {
    fn back(&self) -> Option<ListenerClient> {
        self.back.lock().unwrap().clone()
    }
}

impl Listener for Waiting {
    async fn hear(&self, x: u64) -> u64 {
        match (x, x % 3, self.back()) {
            (UNANSWERED, ..) => std::future::pending().await,
            (AT_ONCE.., ..) => {}
            (_, 1, Some(back)) => {
                let unanswered = back.with_timeout(Duration::from_millis(1)).hear(UNANSWERED).await;
                assert_eq!(unanswered, Err(CallError::DeadlineExceeded));
            }
            (_, 2, Some(back)) => assert_eq!(back.hear(AT_ONCE).await, Ok(2 * AT_ONCE)),
            _ => another_thread().await,
        }
        2 * x
    }

    async fn overhear(&self, _: u64) {
        another_thread().await;
    }

    async fn object(&self) -> Result<(), String> {
        another_thread().await;
        Err("I object".to_owned())
    }

    async fn stream(&self, to: u64) -> Streaming<u64> {
        another_thread().await;
        panpipe_tests::studio::numbers(to)
    }

    async fn caller(&self) -> Option<u32> {
        panpipe::call::peer().pid
    }
}

/// Does it on a thread of its own, which must end in time.
fn in_time(what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, waits) = std::sync::mpsc::channel();
    let working = thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    if waits.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("{what}: not within {PATIENCE:?}");
    }
    working.join().unwrap();
}

fn studio() -> (Process, String, StudioBlockingClient) {
    let name = unique_name("studio");
    let mut command = Command::new(env!("CARGO_BIN_EXE_studio"));
    let process = Process::start(command.args(["serve", &name])).serving(&name);
    process.wait_for("ready");
    let client = StudioClient::connect_blocking(&name).unwrap();
    (process, name, client)
}

#[test]
fn pending_handler_of_a_passed_client_is_polled_again_while_no_thread_waits() {
    in_time("the idle client's handlers answer", || {
        let (_server, name, idle) = studio();
        let service = Waiting::default();
        idle.keep(ListenerClient::offer(service.clone().serve())).unwrap();
        *service.back.lock().unwrap() = idle.kept().unwrap().pop();
        let other = StudioClient::connect_blocking(&name).unwrap();
        for x in 0..60 {
            assert_eq!(other.tell(x), Ok(1), "{x}");
        }
        // The service holds a client of the connection, which would keep it open.
        service.back.lock().unwrap().take();
    });
}

#[test]
fn pending_handler_of_a_passed_client_is_polled_again_during_its_own_call() {
    in_time("the caller's handlers answer", || {
        let (_server, _, studio) = studio();
        let service = Waiting::default();
        let listener = ListenerClient::offer(service.clone().serve());
        studio.keep(listener.clone()).unwrap();
        *service.back.lock().unwrap() = studio.kept().unwrap().pop();
        assert_eq!(studio.call_back(listener, 1500), Ok((0..1500).map(|x| 2 * x).sum()));
        service.back.lock().unwrap().take();
    });
}

#[test]
fn pending_handler_of_an_offered_service_is_polled_again_while_no_thread_waits() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (name, hub) = (unique_name("offers"), Hub::new());
    let serving = runtime.block_on(async {
        Server::bind(&name).service(Prober::default().serve()).hub(&hub).start().unwrap()
    });
    let idle = ProbeClient::connect(&name).offer(Waiting::default().serve()).blocking().unwrap();
    assert_eq!(idle.add(1, 2), Ok(3));
    runtime.block_on(async {
        eventually("it is a client", PATIENCE, async || hub.len() == 1).await;
        let listener: ListenerClient = hub.clients()[0].connection().client().await.unwrap();
        for x in 0..30 {
            let heard = tokio::time::timeout(PATIENCE, listener.hear(x)).await;
            assert_eq!(heard.expect("the handler answers"), Ok(2 * x));
        }
        drop(listener);
        serving.shutdown().await.unwrap();
    });
    assert!(idle.add(1, 2).is_err());
}

#[test]
fn pending_handler_of_a_host_is_polled_again() {
    in_time("the host's handlers answer", || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_threads"));
        command.args(["child", "bare"]);
        let child = panpipe::spawn(command).offer(Prober::default().serve());
        let child = child.start_blocking::<BareClient>().unwrap();
        assert_eq!(child.client().ask_host_later(1500), Ok((0..1500).sum()));
        // In turn, so that now the caller leads and now the connection's own thread.
        for _ in 0..300 {
            assert_eq!(child.client().ask_host_later(2), Ok(1));
        }
        assert!(child.shutdown(PATIENCE).unwrap().success());
    });
}

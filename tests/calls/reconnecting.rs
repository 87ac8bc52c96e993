//! Clients that outlive their server's process.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use panpipe::{
    Backoff, CallError, CloseReason, Codec, Connection, Limits, RefusalReason, RunningServer, Server,
    ServiceClient, Streaming,
};
use panpipe_tests::ledger::{LedgerClient, Once, counted};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::process::Process;
use panpipe_tests::raw::{self, Raw, RawListener, kind};
use panpipe_tests::studio::{Ear, Listener, ListenerClient};
use panpipe_tests::{PATIENCE, eventually, unique_name};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::common::{client, client_process, server, server_at};

/// Where ledgers of one name are served, one after the other.
struct Ground {
    name: String,
    directory: TempDir,
}

impl Ground {
    fn new() -> Ground {
        Ground { name: unique_name("ledger"), directory: tempfile::tempdir().unwrap() }
    }

    fn serve(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledger"));
        let ledger = self.directory.path().join("ledger");
        let server = Process::start(command.args(["serve", &self.name]).arg(ledger)).serving(&self.name);
        server.wait_for("ready");
        server
    }

    async fn client(&self) -> LedgerClient {
        LedgerClient::connect(&self.name).reconnect(Backoff::exponential()).await.unwrap()
    }

    /// How often a number was run.
    fn count(&self, number: u64) -> u32 {
        counted(self.directory.path().join("ledger")).remove(&number).unwrap_or(0)
    }

    async fn is_run(&self, number: u64) {
        eventually("it is run", PATIENCE, async || self.count(number) > 0).await;
    }
}

/// A call that waits for a connection.
async fn waits<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let call = tokio::spawn(call);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!call.is_finished(), "it waits");
    call
}

#[tokio::test]
async fn calls_wait_for_a_server_that_was_killed_and_go_to_the_next() {
    let ground = Ground::new();
    let mut server = ground.serve();
    let ledger = ground.client().await;
    assert_eq!((ledger.book(1).await, ledger.peer().pid), (Ok(1), Some(server.id())));
    server.kill();
    eventually("it is known", PATIENCE, async || ledger.close_reason().is_some()).await;
    let (clone, hasty) = (ledger.clone(), ledger.with_timeout(PATIENCE));
    let waiting = [waits(ledger.book(2)).await, waits(clone.book(3)).await, waits(hasty.book(4)).await];
    let told = waits(ledger.tell(5)).await;
    // The last connection is what is known of until there is another.
    assert_eq!(ledger.close_reason(), Some(CloseReason::Closed));
    assert_eq!(ledger.peer().pid, Some(server.id()));
    drop(server);
    let server = ground.serve();
    for (call, number) in waiting.into_iter().zip(2..) {
        assert_eq!(call.await.unwrap(), Ok(number));
    }
    assert_eq!(told.await.unwrap(), Ok(()));
    ground.is_run(5).await;
    assert_eq!((ledger.close_reason(), ledger.peer().pid), (None, Some(server.id())));
    assert_eq!([1, 2, 3, 4, 5].map(|number| ground.count(number)), [1; 5]);
}

#[tokio::test]
async fn a_call_that_may_have_run_is_made_again_only_if_it_is_idempotent() {
    let ground = Ground::new();
    let server = ground.serve();
    let ledger = ground.client().await;
    let booked = tokio::spawn(ledger.book_and_hang(1));
    let noted = tokio::spawn(ledger.note_until_it_is_there(2));
    ground.is_run(1).await;
    ground.is_run(2).await;
    drop(server);
    assert_eq!(booked.await.unwrap(), Err(CallError::Disconnected { sent: true }));
    assert!(!noted.is_finished());
    let server = ground.serve();
    assert_eq!(noted.await.unwrap(), Ok(server.id()));
    assert_eq!((ground.count(1), ground.count(2)), (1, 2));
}

#[tokio::test]
async fn what_was_not_sent_is_sent_to_the_next_server_and_nothing_else() {
    let ground = Ground::new();
    let mut server = ground.serve();
    let ledger = ground.client().await;
    ledger.book(0).await.unwrap();
    // Nobody reads from here on: what the socket does not hold stays here.
    server.stop();
    let calls: Vec<_> =
        (1..61).map(|number| tokio::spawn(ledger.book_bytes(number, vec![1; 100_000]))).collect();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    server.kill();
    drop(server);
    let _server = ground.serve();
    let mut lost = 0;
    for (call, number) in calls.into_iter().zip(1..) {
        let run = match call.await.unwrap() {
            Ok(_) => 1,
            Err(CallError::Disconnected { sent: true }) => {
                lost += 1;
                0
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(ground.count(number), run);
    }
    // A socket holds some 200 KB of the six MB.
    assert!((1..=4).contains(&lost), "{lost} lost");
}

#[tokio::test]
async fn a_server_that_ends_in_order_finishes_its_calls_while_new_ones_go_to_the_next() {
    let ground = Ground::new();
    let mut server = ground.serve();
    let (first, ledger) = (server.id(), ground.client().await);
    assert_eq!(ledger.pid_after(0).await, Ok(first));
    let running = waits(ledger.pid_after(500)).await;
    let other = ground.client().await;
    other.pid_after(0).await.unwrap();
    server.signal(Signal::INT);
    let next = ground.serve();
    eventually("new calls go to the next", PATIENCE, async || {
        ledger.pid_after(0).await.unwrap() == next.id()
    })
    .await;
    assert_eq!(running.await.unwrap(), Ok(first));
    assert_eq!(other.pid_after(0).await, Ok(next.id()));
    assert!(server.wait().success());
}

#[tokio::test]
async fn who_gives_up_says_that_nothing_was_sent_and_begins_anew_with_the_next_call() {
    let (mut server, name) = server(&[]);
    let few = Backoff::exponential().first(Duration::from_millis(1)).attempts(3);
    let probe = ProbeClient::connect(&name).reconnect(few).await.unwrap();
    probe.add(1, 2).await.unwrap();
    server.kill();
    let all = join_all((0..10).map(|_| probe.add(1, 2))).await;
    for failed in all {
        // One may have been written before the end was seen.
        assert!(matches!(failed, Err(CallError::Disconnected { .. })), "{failed:?}");
    }
    assert_eq!(probe.add(1, 2).await, Err(CallError::Disconnected { sent: false }));
    assert_eq!(probe.note(1).await, Err(CallError::Disconnected { sent: false }));
    drop(server);
    let _server = server_at(&name, &[]);
    assert_eq!(probe.add(1, 2).await, Ok(3));
}

#[tokio::test]
async fn a_client_that_gives_up_on_a_full_server_says_so() {
    let (_server, name) = server(&["max_clients=0"]);
    for time in [Duration::from_millis(30), Duration::from_millis(300)] {
        let backoff = Backoff::exponential().for_at_most(time);
        let probe = ProbeClient::connect(&name).reconnect(backoff).await.unwrap();
        let failed = probe.add(1, 2).await;
        let reason = match &failed {
            Err(CallError::Refused(refusal)) => Some(refusal.reason),
            _ => None,
        };
        assert_eq!(reason, Some(RefusalReason::Overloaded), "{failed:?}");
    }
}

#[tokio::test]
async fn a_call_that_may_have_run_stays_one_when_its_client_gives_up() {
    let ground = Ground::new();
    let server = ground.serve();
    let few = Backoff::exponential().first(Duration::from_millis(1)).attempts(3);
    let ledger = LedgerClient::connect(&ground.name).reconnect(few).await.unwrap();
    let noted = tokio::spawn(ledger.note_until_it_is_there(1));
    ground.is_run(1).await;
    drop(server);
    assert_eq!(noted.await.unwrap(), Err(CallError::Disconnected { sent: true }));
}

#[tokio::test]
async fn deadlines_bound_the_waiting_too() {
    let (mut server, name) = server(&[]);
    let probe = ProbeClient::connect(&name).reconnect(Backoff::exponential().forever()).await.unwrap();
    let hasty = probe.with_timeout(Duration::from_millis(50));
    probe.add(1, 2).await.unwrap();
    server.kill();
    eventually("it is known", PATIENCE, async || probe.close_reason().is_some()).await;
    assert_eq!(hasty.add(1, 2).await, Err(CallError::DeadlineExceeded));
    assert_eq!(hasty.note(1).await, Err(CallError::DeadlineExceeded));
    assert_eq!(probe.impatient().await, Err(CallError::DeadlineExceeded));
    drop(server);
    // What is left of it is what the next server is told.
    let waiting = waits(probe.with_timeout(PATIENCE).about_me()).await;
    let _server = server_at(&name, &[]);
    let left = waiting.await.unwrap().unwrap().left.unwrap();
    assert!(left < PATIENCE.as_millis() as u64, "{left} ms");
}

/// A server in this process that counts its clients.
fn counting(name: &str, clients: &Arc<AtomicU64>) -> RunningServer {
    let clients = Arc::clone(clients);
    let make = move |_: &Connection| {
        clients.fetch_add(1, Ordering::SeqCst);
        Prober::default().serve()
    };
    Server::bind(name).service_per_client(make).start().unwrap()
}

#[tokio::test]
async fn all_callers_share_one_connection() {
    let (name, clients) = (unique_name("shared"), Arc::new(AtomicU64::new(0)));
    let server = counting(&name, &clients);
    let probe = ProbeClient::connect(&name).reconnect(Backoff::exponential()).await.unwrap();
    assert_eq!(join_all((0..50).map(|x| probe.add(x, 1))).await.len(), 50);
    server.shutdown().await.unwrap();
    let mut calls = Vec::new();
    for x in 0..50 {
        calls.push(waits(probe.clone().add(x, 1)).await);
    }
    let server = counting(&name, &clients);
    for (call, x) in calls.into_iter().zip(0..) {
        assert_eq!(call.await.unwrap(), Ok(x + 1));
    }
    assert_eq!(clients.load(Ordering::SeqCst), 2);
    drop(probe);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stream_is_not_sent_twice_and_its_call_fails_by_its_own_error() {
    let ground = Ground::new();
    let server = ground.serve();
    let ledger = ground.client().await;
    let reading = tokio::spawn(ledger.read(1, Streaming::new(futures::stream::iter(0..10))));
    ground.is_run(1).await;
    // One that was never sent is another matter.
    drop(server);
    assert_eq!(reading.await.unwrap(), Err(CallError::Disconnected { sent: true }));
    let reading = waits(ledger.read(1, Streaming::new(futures::stream::iter(0..10)))).await;
    let _server = ground.serve();
    assert!(reading.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_can_be_encoded_once_fails_by_the_error_that_there_was() {
    let ground = Ground::new();
    let server = ground.serve();
    let ledger = ground.client().await;
    let taken = tokio::spawn(ledger.take(1, Once::default()));
    ground.is_run(1).await;
    drop(server);
    let _next = ground.serve();
    assert_eq!(taken.await.unwrap(), Err(CallError::Disconnected { sent: true }));
}

#[tokio::test]
async fn what_cannot_be_encoded_says_so_though_there_was_no_connection_at_first() {
    let (mut server, name) = server(&[]);
    let probe = ProbeClient::connect(&name).reconnect(Backoff::exponential()).await.unwrap();
    server.kill();
    eventually("it is known", PATIENCE, async || probe.close_reason().is_some()).await;
    drop(server);
    let odd = waits(probe.odd(panpipe_tests::probe::Odd::FailsToEncode)).await;
    let _server = server_at(&name, &[]);
    assert!(matches!(odd.await.unwrap(), Err(CallError::Malformed(_))));
}

#[tokio::test]
async fn a_stream_of_a_call_that_was_not_run_is_lost_with_it_and_told_so() {
    // A server that turns the call away, as one that ends does, and goes.
    let name = unique_name("turns-away");
    let listener = RawListener::bind(&name);
    let server = std::thread::spawn(move || {
        let mut raw = listener.accept();
        raw.expect_magic();
        assert_eq!(raw.frame().kind, kind::HELLO);
        raw.send(raw::MAGIC);
        raw.send(&raw::server_hello_with_ports("Ledger"));
        let call = loop {
            let frame = raw.frame();
            if frame.kind == kind::CALL | kind::CARRIES {
                break frame;
            }
        };
        raw.send(&raw::frame(kind::GOODBYE, 0, &[]));
        raw.send(&raw::port_frame(kind::STOP, 1, 0, &[]));
        raw.send(&raw::frame(kind::REPLY, call.id, &[9]));
        raw.to_the_end();
    });
    let ledger = LedgerClient::connect(&name).reconnect(Backoff::exponential()).await.unwrap();
    let (sender, items) = panpipe::channel(1);
    let read = ledger.read(1, items).await;
    assert_eq!(read, Err(CallError::Disconnected { sent: false }));
    tokio::time::timeout(PATIENCE, sender.closed()).await.expect("nobody holds the stream any more");
    drop(ledger);
    tokio::task::spawn_blocking(|| server.join()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_among_the_arguments_is_sent_again_and_called_back() {
    let ground = Ground::new();
    let server = ground.serve();
    let (ledger, ear) = (ground.client().await, Ear::default());
    let called = tokio::spawn(ledger.call_back(7, ListenerClient::offer(ear.clone().serve())));
    ground.is_run(7).await;
    drop(server);
    let _server = ground.serve();
    assert_eq!(called.await.unwrap(), Ok(14));
    assert_eq!(ear.heard(), [7, 7]);
    eventually("the listener is let go", PATIENCE, async || Arc::strong_count(&ear.alive) == 1).await;
}

/// Calls its client back over the connection.
#[panpipe::service]
pub trait Poker {
    /// What the client's own service answers.
    async fn poke(&self, x: u64) -> Option<u64>;
}

struct Stick(Connection);

impl Poker for Stick {
    async fn poke(&self, x: u64) -> Option<u64> {
        self.0.client::<ListenerClient>().await.ok()?.hear(x).await.ok()
    }
}

#[tokio::test]
async fn services_are_offered_on_each_connection() {
    let name = unique_name("poker");
    let bind = || Server::bind(&name).service_per_client(|client| Stick(client.clone()).serve()).start();
    let (server, ear) = (bind().unwrap(), Ear::default());
    let poker = PokerClient::connect(&name)
        .wait(PATIENCE)
        .offer(ear.clone().serve())
        .reconnect(Backoff::exponential())
        .await
        .unwrap();
    assert_eq!(poker.poke(1).await, Ok(Some(2)));
    server.shutdown().await.unwrap();
    let server = bind().unwrap();
    assert_eq!(poker.poke(3).await, Ok(Some(6)));
    assert_eq!(ear.heard(), [1, 3]);
    drop(poker);
    server.shutdown().await.unwrap();
    eventually("it is let go", PATIENCE, async || Arc::strong_count(&ear.alive) == 1).await;
}

#[tokio::test]
async fn limits_and_codec_are_those_of_each_connection() {
    let ground = Ground::new();
    let mut server = ground.serve();
    let ledger = LedgerClient::connect(&ground.name)
        .limits(Limits { max_message: 100_000, ..Limits::default() })
        .codec(Codec::Json)
        .reconnect(Backoff::exponential())
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(ledger.note(1).await, Ok(1));
        // As JSON they are more than that, and fewer bytes than that in any other codec.
        assert!(matches!(ledger.large(60_000).await, Err(CallError::TooLarge { limit: 100_000, .. })));
        drop(server);
        server = ground.serve();
    }
}

#[tokio::test]
async fn a_relay_goes_on_when_the_server_behind_it_was_replaced() {
    // Another process calls the ledger through this one.
    let (name, ear) = (unique_name("ear"), Ear::default());
    let serve = || Server::bind(&name).service(ear.clone().serve()).start().unwrap();
    let behind = serve();
    let listener = ListenerClient::connect(&name).reconnect(Backoff::exponential()).await.unwrap();
    let (_studio, _, studio) = crate::common::studio(&[]).await;
    studio.keep(listener).await.unwrap();
    assert_eq!(studio.tell(1).await, Ok(1));
    behind.shutdown().await.unwrap();
    let behind = serve();
    assert_eq!(studio.tell(2).await, Ok(1));
    assert_eq!(ear.heard(), [1, 2]);
    studio.forget().await.unwrap();
    behind.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_until_the_next_call() {
    let name = unique_name("refuses");
    let server = Server::bind(&name).service(Prober::default().serve()).start().unwrap();
    let probe = ProbeClient::connect(&name).reconnect(Backoff::exponential().forever()).await.unwrap();
    probe.add(1, 2).await.unwrap();
    server.shutdown().await.unwrap();
    let other = Server::bind(&name).service(Ear::default().serve()).start().unwrap();
    let refused = probe.add(1, 2).await;
    assert!(matches!(&refused, Err(CallError::Refused(why)) if why.reason == RefusalReason::Service));
    other.shutdown().await.unwrap();
    let server = Server::bind(&name).service(Prober::default().serve()).start().unwrap();
    assert_eq!(probe.add(1, 2).await, Ok(3));
    // One whose very first connection was refused is no worse off.
    server.shutdown().await.unwrap();
    let other = Server::bind(&name).service(Ear::default().serve()).start().unwrap();
    let late = ProbeClient::connect(&name).reconnect(Backoff::exponential().forever()).await.unwrap();
    assert!(matches!(late.add(1, 2).await, Err(CallError::Refused(_))));
    other.shutdown().await.unwrap();
    let server = Server::bind(&name).service(Prober::default().serve()).start().unwrap();
    assert_eq!(late.add(1, 2).await, Ok(3));
    drop((probe, late));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_full_is_tried_again_until_there_is_a_place() {
    let (mut server, name) = server(&[]);
    let few = Backoff::exponential().first(Duration::from_millis(1)).attempts(3);
    let gives_up = ProbeClient::connect(&name).reconnect(few).await.unwrap();
    let waits_on = ProbeClient::connect(&name).reconnect(Backoff::exponential()).await.unwrap();
    server.kill();
    drop(server);
    let _server = server_at(&name, &["max_clients=1"]);
    let guest = client(&name).await;
    assert_eq!(guest.add(1, 2).await, Ok(3));
    let refused = gives_up.add(1, 2).await;
    assert!(matches!(&refused, Err(CallError::Refused(why)) if why.reason == RefusalReason::Overloaded));
    let waiting = waits(waits_on.add(1, 2)).await;
    drop(guest);
    assert_eq!(waiting.await.unwrap(), Ok(3));
}

#[tokio::test]
async fn a_method_that_its_server_does_not_survive_is_given_up() {
    // Each connection is cut as soon as the call has come.
    let name = unique_name("cuts");
    let listener = RawListener::bind(&name);
    let server = std::thread::spawn(move || {
        let mut calls = 0;
        loop {
            let mut raw = listener.accept();
            raw.expect_magic();
            if raw.frame().kind != kind::HELLO {
                return calls;
            }
            raw.send(raw::MAGIC);
            raw.send(&raw::server_hello("Ledger"));
            match raw.try_frame() {
                Ok(Some(call)) if call.kind == kind::CALL => calls += 1,
                _ => return calls,
            }
        }
    });
    let backoff = Backoff::exponential().first(Duration::from_millis(1)).attempts(5);
    let ledger = LedgerClient::connect(&name).reconnect(backoff).await.unwrap();
    assert_eq!(ledger.note(1).await, Err(CallError::Disconnected { sent: true }));
    // A last one that says hello and goes.
    let mut last = Raw::connect(&name);
    last.send(&[raw::MAGIC, &raw::hello("Ledger", 1)[..]].concat());
    drop(last);
    let calls = tokio::task::spawn_blocking(|| server.join()).await.unwrap().unwrap();
    assert_eq!(calls, 6, "the first, and five more");
    drop(ledger);
}

#[tokio::test]
async fn nothing_is_left_of_a_client_that_is_dropped_nor_of_calls_that_are() {
    let (mut server, name) = server(&[]);
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let probe = ProbeClient::connect(&name).reconnect(Backoff::exponential().forever()).await.unwrap();
    probe.add(1, 2).await.unwrap();
    server.kill();
    eventually("the connection has gone", PATIENCE, async || tasks() == before).await;
    // With the calls that wait goes what they wait for.
    let mut calls: Vec<_> = (0..10).map(|_| Box::pin(probe.add(1, 2))).collect();
    for call in &mut calls {
        assert!(call.now_or_never().is_none());
    }
    assert_eq!(tasks(), before + 1, "one tries for all");
    calls.truncate(1);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tasks(), before + 1);
    drop(calls);
    eventually("nobody tries", PATIENCE, async || tasks() == before).await;
    // A call that outlives its client waits on, and takes all with it.
    let mut call = Box::pin(probe.add(1, 2));
    assert!((&mut call).now_or_never().is_none());
    drop(probe);
    assert_eq!(tasks(), before + 1);
    drop(call);
    eventually("nothing is left", PATIENCE, async || tasks() == before).await;
    drop(server);
    // And where a connection stands it ends with the last clone.
    let server = server_at(&name, &[]);
    let probe = ProbeClient::connect(&name).reconnect(Backoff::exponential()).await.unwrap();
    probe.add(1, 2).await.unwrap();
    let clone = probe.clone();
    drop(probe);
    assert_eq!(clone.add(1, 2).await, Ok(3));
    drop(clone);
    eventually("the connection has ended", PATIENCE, async || tasks() == before).await;
    drop(server);
}

#[test]
fn waiting_for_a_server_takes_no_cpu() {
    let (mut server, name) = server(&[]);
    let client = client_process(&name, "reconnect-in-vain");
    client.wait_for("calling");
    server.kill();
    client.wait_for("Err(Disconnected { sent: true })");
    client.wait_for("Err(Disconnected { sent: false })");
    let used: u64 = client.line().parse().unwrap();
    assert!(used < 100_000, "{used} µs in a second");
    assert!(client.finish().success());
}

#[test]
fn a_client_goes_on_in_another_runtime_when_its_first_has_ended() {
    let (_server, name) = server(&[]);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let connect = ProbeClient::connect(&name).reconnect(Backoff::exponential());
    let probe = first.block_on(async { connect.await.unwrap() });
    assert_eq!(first.block_on(probe.add(1, 2)), Ok(3));
    drop(first);
    let second = runtime();
    assert_eq!(second.block_on(probe.add(1, 2)), Ok(3));
    drop(probe);
}

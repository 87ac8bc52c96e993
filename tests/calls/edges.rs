//! Ends, caps and panics, in tests that hold both ends of a connection.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::{FutureExt, StreamExt, poll};
use panpipe::{Limits, Sender, Server, StreamError, WhenFull};
use panpipe_tests::raw::{self, Raw, kind, port_frame, varint};
use panpipe_tests::{PATIENCE, unique_name};
use serde::{Deserialize, Serialize, Serializer};
use tokio::time::timeout;

/// Cannot be encoded, but by a panic, when it is 13.
#[derive(Debug, Deserialize, Clone)]
struct Bomb(u32);

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != 13, "as it was asked to");
        serializer.serialize_newtype_struct("Bomb", &self.0)
    }
}

/// Is woken, and does nothing.
struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

#[panpipe::service]
trait Lab {
    async fn keep(&self, events: Sender<Vec<u8>>);
    async fn upload(&self, bytes: Vec<u8>) -> u64;
    async fn hang(&self);
    #[oneway]
    async fn touch(&self);
    async fn throw(&self, to: Sender<Bomb>) -> bool;
    async fn open(&self, to: Sender<u32>) -> HolderClient;
}

#[derive(Clone, Default)]
struct Bench {
    kept: Arc<Mutex<Vec<Sender<Vec<u8>>>>>,
}

impl Bench {
    fn take(&self) -> Sender<Vec<u8>> {
        self.kept.lock().unwrap().pop().unwrap()
    }
}

impl Lab for Bench {
    async fn keep(&self, events: Sender<Vec<u8>>) {
        self.kept.lock().unwrap().push(events);
    }
    async fn upload(&self, bytes: Vec<u8>) -> u64 {
        bytes.len() as u64
    }
    async fn hang(&self) {
        std::future::pending().await
    }
    async fn touch(&self) {}
    async fn throw(&self, to: Sender<Bomb>) -> bool {
        let to = to.when_full(WhenFull::KeepLatest);
        for n in [0, 1, 2, 13] {
            to.send(Bomb(n)).await.unwrap();
        }
        to.when_full(WhenFull::Wait).send(Bomb(1)).await.is_ok()
    }
    async fn open(&self, to: Sender<u32>) -> HolderClient {
        HolderClient::offer(Hand { _to: to }.serve())
    }
}

#[panpipe::service]
trait Holder {
    async fn ping(&self) -> u32;
    async fn large(&self) -> Vec<u8>;
}

/// Has a port of the connection that it is called over.
struct Hand {
    _to: Sender<u32>,
}

impl Holder for Hand {
    async fn ping(&self) -> u32 {
        1
    }
    async fn large(&self) -> Vec<u8> {
        vec![7; 6 << 20]
    }
}

#[tokio::test]
async fn whoever_subscribed_sees_the_end_of_a_server_that_keeps_its_sender() {
    let (name, bench) = (unique_name("edges"), Bench::default());
    let server = Server::bind(&name).grace(Duration::from_millis(50)).service(bench.clone().serve());
    let server = server.start().unwrap();
    let lab = LabClient::connect(&name).await.unwrap();
    let (events, mut heard) = panpipe::channel(8);
    lab.keep(events).await.unwrap();
    server.shutdown().await.unwrap();
    let next = timeout(PATIENCE, heard.next()).await;
    assert_eq!(next, Ok(Some(Err(StreamError::Disconnected))));
    assert!(bench.take().is_closed());
}

#[tokio::test]
async fn an_item_that_goes_no_further_than_half_the_way_is_told_at_the_end() {
    // It is sent here, passed on there, and too large for the reader behind that.
    let (near, far) = (Bench::default(), Bench::default());
    let (near_name, far_name) = (unique_name("edges"), unique_name("edges"));
    let _near = Server::bind(&near_name).service(near.clone().serve()).start().unwrap();
    let _far = Server::bind(&far_name).service(far.clone().serve()).start().unwrap();
    let limits = Limits { max_message: 65_536, ..Limits::default() };
    let reader = LabClient::connect(&far_name).limits(limits).await.unwrap();
    let (events, heard) = panpipe::channel(8);
    reader.keep(events).await.unwrap();
    let middle = LabClient::connect(&near_name).await.unwrap();
    middle.keep(far.take()).await.unwrap();
    let writer = near.take();
    for size in [10, 100_000, 20] {
        let _ = writer.send(vec![1; size]).await;
    }
    drop(writer);
    let all: Vec<_> =
        timeout(PATIENCE, heard.map(|item| item.map(|bytes| bytes.len())).collect()).await.unwrap();
    assert_eq!(all[0], Ok(10));
    assert!(matches!(all[1], Err(StreamError::TooLarge { size: 100_000.., .. })), "{all:?}");
}

#[tokio::test]
async fn a_panic_in_the_serialize_of_an_item_that_is_held_hangs_nobody() {
    let (here, there) = tokio::io::duplex(4096);
    tokio::spawn(panpipe::serve_stream(there, Bench::default().serve()));
    let lab = LabClient::over(here);
    let (to, heard) = panpipe::channel(1);
    let call = tokio::spawn(lab.throw(to));
    let heard = tokio::spawn(heard.map(|item| item.map(|bomb| bomb.0)).collect::<Vec<_>>());
    assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap(), Ok(true));
    assert_eq!(heard.await.unwrap().last(), Some(&Ok(1)));
}

#[tokio::test]
async fn who_gives_up_waiting_for_a_sender_leaves_nothing_behind() {
    let (name, bench) = (unique_name("edges"), Bench::default());
    let _server = Server::bind(&name).service(bench.clone().serve()).start().unwrap();
    let lab = LabClient::connect(&name).await.unwrap();
    let (events, _unread) = panpipe::channel(1);
    lab.keep(events).await.unwrap();
    let (local, _unread) = panpipe::channel(1);
    for sender in [bench.take(), local] {
        while sender.try_send(vec![1]).is_ok() {}
        let woken = Arc::new(Nobody);
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        for _ in 0..10 {
            assert!(pin!(sender.send(vec![2])).poll(&mut cx).is_pending());
            assert!(pin!(sender.closed()).poll(&mut cx).is_pending());
        }
        assert_eq!(Arc::strong_count(&woken), 2);
    }
}

#[tokio::test]
async fn a_one_way_call_goes_when_large_calls_before_it_are_given_up() {
    let name = unique_name("edges");
    let _server = Server::bind(&name).service(Bench::default().serve()).start().unwrap();
    let lab = LabClient::connect(&name).await.unwrap();
    assert_eq!(lab.upload(Vec::new()).await, Ok(0));
    // Beside another call it is the driver that writes.
    let mut hanging = Box::pin(lab.hang());
    assert!(poll!(&mut hanging).is_pending());
    assert_eq!(lab.upload(Vec::new()).await, Ok(0));
    let mut large = [(); 2].map(|()| Box::pin(lab.upload(vec![0; 3 << 20])));
    assert!(large.iter_mut().all(|call| call.now_or_never().is_none()));
    // Polled again only when it is woken.
    let mut touch: futures::stream::FuturesUnordered<_> = [lab.touch()].into_iter().collect();
    assert!(poll!(touch.next()).is_pending());
    drop(large);
    assert_eq!(timeout(PATIENCE, touch.next()).await, Ok(Some(Ok(()))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_goes_with_the_last_call_of_it_may_use_its_connection() {
    let name = unique_name("edges");
    let limits = Limits { queued_bytes: 1, ..Limits::default() };
    let _server = Server::bind(&name).limits(limits).service(Bench::default().serve()).start().unwrap();
    let peer = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::greeted_with_ports(&name, "Lab");
        // The service at port 2 has the sender of a stream that is read at port 1.
        let sender = [vec![2], varint(1), varint(8)].concat();
        raw.send(&raw::carrying_call(0, "open(Sender<u32>)->HolderClient", &[0; 4], &[sender]));
        assert_eq!(raw.frame().kind, kind::REPLY | kind::CARRIES);
        let call = |id: u64, signature: &str| {
            let body = [&raw::method(signature).to_le_bytes()[..], &varint(0)].concat();
            port_frame(kind::CALL, 2, id, &body)
        };
        // The second call waits, for the reply to the first is not read; then the
        // service is let go of, and the call.
        raw.send(&call(0, "large()->Vec<u8>"));
        raw.send(&call(1, "ping()->u32"));
        raw.send(&port_frame(kind::STOP, 2, 0, &[]));
        raw.send(&raw::frame(kind::CANCEL, 1, &[]));
        raw.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        while !matches!(raw.frame(), frame if frame.kind == kind::REPLY && frame.id == 1) {}
    });
    peer.await.unwrap();
}

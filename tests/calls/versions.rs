//! Which version of a service is spoken, and who decides what it has.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::StreamExt;
use panpipe::{CallError, Hub, RefusalReason, RunningServer, Server, ServiceClient, Slow, call};
use panpipe_tests::raw::{self, MAGIC, Raw, RawListener, kind};
use panpipe_tests::{PATIENCE, eventually, unique_name};
use tarpc::server::{BaseChannel, Channel};

/// What a shop was.
mod old {
    #[panpipe::service(name = "test.shop", version = 3)]
    pub trait Shop {
        /// The version that is spoken.
        async fn spoken(&self) -> Option<u32>;
        /// The same of a client that is called back.
        async fn through(&self, other: ShopClient) -> Option<u32>;
        /// Tells the version that it is heard in.
        #[oneway]
        async fn tell(&self, to: u32);
    }
}

/// What it is.
mod new {
    #[panpipe::service(name = "test.shop", versions = 3..=4)]
    pub trait Shop {
        async fn spoken(&self) -> Option<u32>;
        async fn through(&self, other: ShopClient) -> Option<u32>;
        #[oneway]
        async fn tell(&self, to: u32);
        /// There now.
        #[since(4)]
        async fn discount(&self) -> Option<u32>;
        /// So is this.
        #[since(4)]
        #[oneway]
        async fn note(&self);
    }
}

/// What it will be.
mod next {
    #[panpipe::service(name = "test.shop", versions = 5..=6)]
    pub trait Shop {
        async fn spoken(&self) -> Option<u32>;
    }
}

/// Counts what came since version 4, and keeps the version of the last to tell.
#[derive(Debug, Clone, Default)]
struct Counter {
    newer: Arc<AtomicU32>,
    told: Arc<AtomicU32>,
}

impl Counter {
    fn tell(&self) {
        self.told.store(call::version().unwrap_or(u32::MAX), Ordering::SeqCst);
    }
}

impl old::Shop for Counter {
    async fn spoken(&self) -> Option<u32> {
        call::version()
    }

    async fn through(&self, other: old::ShopClient) -> Option<u32> {
        assert_eq!(other.version(), None);
        other.spoken().await.unwrap()
    }

    async fn tell(&self, _: u32) {
        self.tell();
    }
}

impl new::Shop for Counter {
    async fn spoken(&self) -> Option<u32> {
        call::version()
    }

    async fn through(&self, other: new::ShopClient) -> Option<u32> {
        assert_eq!(other.version(), None);
        other.discount().await.unwrap()
    }

    async fn tell(&self, _: u32) {
        self.tell();
    }

    async fn discount(&self) -> Option<u32> {
        self.newer.fetch_add(1, Ordering::SeqCst);
        call::version()
    }

    async fn note(&self) {
        self.newer.fetch_add(1, Ordering::SeqCst);
    }
}

impl next::Shop for Counter {
    async fn spoken(&self) -> Option<u32> {
        call::version()
    }
}

fn new_server(counter: &Counter) -> (RunningServer, String) {
    let name = unique_name("shop");
    (Server::bind(&name).service(new::Shop::serve(counter.clone())).start().unwrap(), name)
}

fn old_server() -> (RunningServer, String) {
    let name = unique_name("shop");
    (Server::bind(&name).service(old::Shop::serve(Counter::default())).start().unwrap(), name)
}

/// Says hello and reads the answer.
fn greeted(name: &str, hello: &[u8]) -> Raw {
    let mut raw = Raw::connect(name);
    raw.send(&[&MAGIC[..], hello].concat());
    raw.expect_magic();
    assert_eq!(raw.frame().kind, kind::HELLO);
    raw
}

const DISCOUNT: &str = "discount()->Option<u32>";
/// Status 0, and `Some` of a version in bincode.
const SOME_3: [u8; 6] = [0, 1, 3, 0, 0, 0];
const SOME_4: [u8; 6] = [0, 1, 4, 0, 0, 0];
const UNKNOWN_METHOD: [u8; 1] = [7];

#[tokio::test(flavor = "multi_thread")]
async fn the_callee_decides_whatever_the_caller_knows() {
    let counter = Counter::default();
    let (server, name) = new_server(&counter);
    let work = tokio::task::spawn_blocking(move || {
        let hellos = [
            // An older peer, whose hello ends before the ranges, or before the ports.
            (raw::hello_with_ports("test.shop", 3), 3),
            (raw::hello("test.shop", 3), 3),
            (raw::hello("test.shop", 4), 4),
            (raw::hello_with_range("test.shop", 1, 3), 3),
            (raw::hello_with_range("test.shop", 3, 9), 4),
        ];
        for (hello, version) in hellos {
            let mut raw = greeted(&name, &hello);
            raw.send(&raw::frame(kind::ONEWAY, 0, &raw::method("oneway note()").to_le_bytes()));
            raw.send(&raw::call(0, DISCOUNT, 0, &[]));
            let answer = raw.frame().body;
            assert_eq!(answer, if version == 4 { &SOME_4[..] } else { &UNKNOWN_METHOD });
            raw.send(&raw::call(0, "spoken()->Option<u32>", 0, &[]));
            assert_eq!(raw.frame().body, if version == 4 { SOME_4 } else { SOME_3 });
        }
        for (oldest, newest, words) in
            [(5, 6, "the side that offers is the older"), (1, 2, "the side that asks is the older")]
        {
            let mut raw = Raw::connect(&name);
            raw.send(&[&MAGIC[..], &raw::hello_with_range("test.shop", oldest, newest)].concat());
            raw.expect_magic();
            let refusal = raw.frame();
            assert_eq!((refusal.kind, refusal.body[0]), (kind::REFUSE, 4));
            assert!(refusal.words().contains(words), "{}", refusal.words());
            assert!(refusal.words().contains("versions 3 to 4"), "{}", refusal.words());
        }
    });
    work.await.unwrap();
    // Two of the five speak version 4, and each has called twice.
    assert_eq!(counter.newer.load(Ordering::SeqCst), 4);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_caller_decides_once_it_knows_and_sends_nothing() {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    let shop = new::ShopClient::over(tokio::net::UnixStream::from_std(one).unwrap());
    let server = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::over(other);
        raw.expect_magic();
        assert_eq!(raw.frame().kind, kind::HELLO);
        // The first one came before anything was known.
        let first = raw.frame();
        assert_eq!((first.kind, &first.body[..8]), (kind::CALL, &raw::method(DISCOUNT).to_le_bytes()[..]));
        raw.send(&[MAGIC, &raw::server_hello_of_version("test.shop", 3)[..]].concat());
        raw.send(&raw::frame(kind::REPLY, 0, &UNKNOWN_METHOD));
        // Of the others nothing comes but the last.
        let second = raw.frame();
        assert_eq!(second.body[..8], raw::method("spoken()->Option<u32>").to_le_bytes());
        raw.send(&raw::frame(kind::REPLY, 0, &SOME_3));
    });
    assert_eq!(shop.version(), None);
    assert_eq!(shop.discount().await, Err(CallError::UnknownMethod));
    assert_eq!(shop.version(), Some(3));
    assert_eq!(shop.discount().await, Err(CallError::UnknownMethod));
    assert_eq!(shop.note().await, Err(CallError::UnknownMethod));
    assert_eq!(shop.spoken().await, Ok(Some(3)));
    server.await.unwrap();
}

#[tokio::test]
async fn services_at_other_ports_are_opened_in_the_newest_version_of_both() {
    let (old_server, old_name) = old_server();
    let (new_server, new_name) = new_server(&Counter::default());
    let connection = panpipe::connect(&old_name).await.unwrap();
    let shop = connection.client::<new::ShopClient>().await.unwrap();
    assert_eq!((shop.version(), shop.spoken().await), (Some(3), Ok(Some(3))));
    assert_eq!(shop.discount().await, Err(CallError::UnknownMethod));
    assert_eq!(shop.note().await, Err(CallError::UnknownMethod));
    let Err(CallError::Refused(refusal)) = connection.client::<next::ShopClient>().await else {
        panic!("there is none such");
    };
    assert_eq!(refusal.reason, RefusalReason::ServiceVersion);
    assert!(
        refusal.message.contains("versions 5 to 6") && refusal.message.contains("version 3"),
        "{refusal}"
    );
    let connection = panpipe::connect(&new_name).await.unwrap();
    let shop = connection.client::<old::ShopClient>().await.unwrap();
    assert_eq!((shop.version(), shop.spoken().await), (Some(3), Ok(Some(3))));
    let shop = connection.client::<new::ShopClient>().await.unwrap();
    assert_eq!((shop.version(), shop.discount().await), (Some(4), Ok(Some(4))));
    drop((shop, connection));
    old_server.shutdown().await.unwrap();
    new_server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_knows_no_ranges_opens_services_and_has_them_opened() {
    let (server, name) = new_server(&Counter::default());
    let work = tokio::task::spawn_blocking(move || {
        let mut raw = greeted(&name, &raw::hello_with_ports("", 0));
        // Status 0, the first port of the list; the list, and its length.
        for (versions, list) in [(&[3][..], &[3, 2][..]), (&[4, 1], &[4, 4, 4]), (&[9, 3], &[4, 6, 4])] {
            raw.send(&raw::open(0, "test.shop", versions));
            let reply = raw.frame();
            assert_eq!(reply.kind, kind::REPLY | kind::CARRIES);
            let len = [list.len() as u8, 0, 0, 0];
            assert_eq!(reply.body, [&[0, 0, 0, 0, 0][..], list, &len].concat());
            // Who is not told speaks it all the same.
            let call = [raw::method(DISCOUNT).to_le_bytes().to_vec(), vec![0]].concat();
            raw.send(&raw::port_frame(kind::CALL, u64::from(list[1]), 0, &call));
            assert_eq!(raw.frame().body, if list.len() == 3 { &SOME_4[..] } else { &UNKNOWN_METHOD });
        }
        // A range that is reversed cannot be read, and bytes behind it are passed over.
        raw.send(&raw::open(0, "test.shop", &[3, 4]));
        assert_eq!(raw.frame().body[0], 8);
        raw.send(&raw::open(0, "test.shop", &[3, 1, 77]));
        assert_eq!(raw.frame().body[5..8], [4, 8, 3]);
    });
    work.await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_knows_no_ranges_is_asked_for_the_newest() {
    let name = unique_name("shop");
    let listener = RawListener::bind(&name);
    let server = tokio::task::spawn_blocking(move || {
        let mut raw = listener.accept();
        raw.expect_magic();
        assert_eq!(raw.frame().kind, kind::HELLO);
        // What it reads of the call, before bytes that it passes over.
        let known = raw::open(0, "test.shop", &[4]).split_off(7);
        assert_eq!(raw.frame().body[..known.len()], known);
        raw.send(&[MAGIC, &raw::hello_with_ports("", 0)[..]].concat());
        raw.send(&raw::frame(kind::REPLY | kind::CARRIES, 0, &[0, 0, 0, 0, 0, 3, 2, 2, 0, 0, 0]));
        // And one that opens what was not asked for.
        assert_eq!(raw.frame().body[..known.len()], known);
        raw.send(&raw::frame(kind::REPLY | kind::CARRIES, 0, &[0, 0, 0, 0, 0, 4, 4, 9, 3, 0, 0, 0]));
        let last = raw.frame();
        assert_eq!((last.kind, last.port), (kind::STOP, 4));
        raw
    });
    let connection = panpipe::connect(&name).await.unwrap();
    let shop = connection.client::<new::ShopClient>().await.unwrap();
    assert_eq!(shop.version(), Some(4));
    let Err(CallError::Malformed(why)) = connection.client::<new::ShopClient>().await else {
        panic!("it was taken");
    };
    assert!(why.contains("versions 3 to 4 was asked for, and version 9"), "{why}");
    server.await.unwrap();
}

#[tokio::test]
async fn of_several_services_of_one_name_the_best_is_called() {
    let name = unique_name("shop");
    let server = Server::bind(&name)
        .service(next::Shop::serve(Counter::default()))
        .service(old::Shop::serve(Counter::default()))
        .service(new::Shop::serve(Counter::default()))
        .start()
        .unwrap();
    let old = old::ShopClient::connect(&name).await.unwrap();
    let new = new::ShopClient::connect(&name).await.unwrap();
    let next = next::ShopClient::connect(&name).await.unwrap();
    assert_eq!(old.spoken().await, Ok(Some(3)));
    assert_eq!(new.discount().await, Ok(Some(4)));
    assert_eq!(next.spoken().await, Ok(Some(6)));
    assert_eq!((old.version(), new.version(), next.version()), (Some(3), Some(4), Some(6)));
    drop((old, new, next));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_of_this_process_or_of_tarpcs_speaks_the_newest_and_one_that_was_passed_on_none() {
    let local = new::ShopClient::local(Counter::default());
    assert_eq!((local.version(), local.spoken().await), (Some(4), Ok(Some(4))));
    assert_eq!(local.discount().await, Ok(Some(4)));
    assert_eq!(call::version(), None);
    let (one, other) = tarpc::transport::channel::unbounded();
    let channel = BaseChannel::with_defaults(other).execute(new::Shop::serve(Counter::default()));
    tokio::spawn(channel.for_each(|call| call));
    let stub = tarpc::client::new(tarpc::client::Config::default(), one).spawn();
    let (over_tarpc, calls): (new::ShopClient, _) = panpipe::tarpc::client(stub);
    tokio::spawn(calls);
    assert_eq!((over_tarpc.version(), over_tarpc.discount().await), (Some(4), Ok(Some(4))));
    let (server, name) = new_server(&Counter::default());
    // Nothing was agreed upon of the one that is passed, and it has all methods.
    let shop = new::ShopClient::connect(&name).await.unwrap();
    let passed = new::ShopClient::offer(new::Shop::serve(Counter::default()));
    assert_eq!(shop.through(passed).await, Ok(None));
    // A relay of one that speaks an older version cannot do more than that one.
    let (old_server, old_name) = old_server();
    let old = new::ShopClient::connect(&old_name).await.unwrap();
    assert_eq!(old.spoken().await, Ok(Some(3)));
    assert_eq!(shop.through(old.clone()).await, Err(CallError::Panicked));
    drop((shop, old));
    server.shutdown().await.unwrap();
    old_server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_hub_calls_its_clients_in_a_version_that_they_know_of() {
    let hub = Hub::new();
    let name = unique_name("shop");
    let server = Server::bind(&name).service(new::Shop::serve(Counter::default())).hub(&hub).start().unwrap();
    let (as_new, as_old) = (Counter::default(), Counter::default());
    let one = new::ShopClient::connect(&name).offer(new::Shop::serve(as_new.clone())).await.unwrap();
    let other = new::ShopClient::connect(&name).offer(old::Shop::serve(as_old.clone())).await.unwrap();
    one.spoken().await.unwrap();
    other.spoken().await.unwrap();
    let told = |counter: &Counter| counter.told.swap(0, Ordering::SeqCst);
    for (newest, clients) in [(4, (4, 3)), (3, (3, 3))] {
        let patience = Slow::Wait(PATIENCE);
        let delivery = if newest == 4 {
            hub.broadcast(patience, |shop: new::ShopClient| shop.tell(1)).await
        } else {
            hub.broadcast(patience, |shop: old::ShopClient| shop.tell(1)).await
        };
        assert_eq!(delivery.sent, 2, "{delivery:?}");
        let mut heard = (0, 0);
        eventually("both have heard it", PATIENCE, async || {
            heard = (heard.0.max(told(&as_new)), heard.1.max(told(&as_old)));
            heard.0 > 0 && heard.1 > 0
        })
        .await;
        assert_eq!(heard, clients, "by one that speaks {newest}");
    }
    drop((one, other));
    server.shutdown().await.unwrap();
}

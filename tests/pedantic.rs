//! Generated code in a crate with every lint on. Clippy looks at this file; that
//! it runs is the smaller part.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::StreamExt;
use panpipe::{CallError, Sender, Streaming};

/// Values of any kind under keys of any kind.
#[panpipe::service(name = "acme.shelf", version = 3)]
pub trait Shelf<K, V> {
    /// Puts a value, gives the one before.
    async fn put(&self, key: K, value: V) -> Option<V>;
    /// Takes a value.
    async fn take(&self, key: K) -> Result<V, Missing>;
    /// Takes a value and tells nobody.
    #[oneway]
    async fn lose(&self, key: K);
    /// How many there are.
    #[timeout("10s")]
    async fn count(&self) -> usize {
        0
    }
}

/// Streams, their writing ends, and clients, in a crate with every lint on.
#[panpipe::service]
pub trait Feed {
    /// Numbers, and twice as many back.
    async fn double(&self, numbers: Streaming<u64>) -> Streaming<u64>;
    /// Counts, and says how far it has come.
    async fn count(&self, to: u64, progress: Sender<u64>) -> u64;
    /// Has somebody else count.
    async fn delegate(&self, to: u64, other: FeedClient) -> u64;
}

#[derive(Debug)]
struct Tap;

impl Feed for Tap {
    async fn double(&self, numbers: Streaming<u64>) -> Streaming<u64> {
        Streaming::new(numbers.map(|number| number.map_or(0, |number| 2 * number)))
    }

    async fn count(&self, to: u64, progress: Sender<u64>) -> u64 {
        for step in 0..to {
            if progress.send(step).await.is_err() {
                return step;
            }
        }
        to
    }

    async fn delegate(&self, to: u64, other: FeedClient) -> u64 {
        let (progress, steps) = panpipe::channel(1);
        let (counted, steps) = futures::join!(other.count(to, progress), steps.count());
        assert_eq!(counted, Ok(steps as u64));
        to
    }
}

#[tokio::test]
async fn a_service_with_ports_is_called() {
    let (one, other) = tokio::io::duplex(1000);
    let server = tokio::spawn(panpipe::serve_stream(other, Tap.serve()));
    let feed: FeedClient = FeedClient::over(one);
    let doubled = feed.double(Streaming::new(futures::stream::iter(1..4))).await;
    let Ok(doubled) = doubled else { panic!("{doubled:?}") };
    assert_eq!(doubled.collect::<Vec<_>>().await, [Ok(2), Ok(4), Ok(6)]);
    assert_eq!(feed.delegate(5, FeedClient::offer(Tap.serve())).await, Ok(5));
    drop(feed);
    assert_eq!(server.await.ok(), Some(panpipe::CloseReason::Closed));
}

/// There is no such value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Missing;

#[derive(Debug, Default)]
struct Board {
    values: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Shelf<String, Vec<u8>> for Board {
    async fn put(&self, key: String, value: Vec<u8>) -> Option<Vec<u8>> {
        self.values.lock().ok()?.insert(key, value)
    }

    async fn take(&self, key: String) -> Result<Vec<u8>, Missing> {
        self.values.lock().ok().and_then(|mut values| values.remove(&key)).ok_or(Missing)
    }

    async fn lose(&self, key: String) {
        drop(self.take(key).await);
    }

    async fn count(&self) -> usize {
        self.values.lock().map_or(0, |values| values.len())
    }
}

#[tokio::test]
async fn a_generic_service_with_a_name_and_a_version_is_called() {
    let (one, other) = tokio::io::duplex(1000);
    let server = tokio::spawn(panpipe::serve_stream(other, Board::default().serve()));
    let shelf: ShelfClient<String, Vec<u8>> = ShelfClient::over(one);
    assert_eq!(shelf.put("a".into(), vec![1]).await, Ok(None));
    assert_eq!(shelf.put("a".into(), vec![2]).await, Ok(Some(vec![1])));
    assert_eq!(shelf.take("b".into()).await, Err(CallError::App(Missing)));
    assert_eq!(shelf.count().await, Ok(1));
    assert!(shelf.lose("a".into()).await.is_ok());
    assert_eq!(shelf.count().await, Ok(0));
    drop(shelf);
    assert_eq!(server.await.ok(), Some(panpipe::CloseReason::Closed));
}

#[tokio::test]
async fn a_generic_service_of_other_types_is_another_service() {
    let (one, other) = tokio::io::duplex(1000);
    let server = tokio::spawn(panpipe::serve_stream(other, Board::default().serve()));
    let shelf: ShelfClient<u64, u64> = ShelfClient::over(one);
    let error = shelf.count().await.map_err(|error| error.to_string());
    assert!(error.is_err_and(|error| error.contains("acme.shelf<u64, u64> version 3")));
    drop(shelf);
    assert!(server.await.is_ok());
}

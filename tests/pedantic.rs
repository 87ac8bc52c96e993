//! Generated code in a crate with every lint on. Clippy looks at this file; that
//! it runs is the smaller part.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use panpipe::CallError;

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

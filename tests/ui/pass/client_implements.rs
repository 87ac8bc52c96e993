//! Code that is generic over an implementation, an `Arc` of one, and a client.

#![allow(missing_docs)]

use std::sync::Arc;

use panpipe::CallError;

#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum StoreError {
    Missing,
    Unreachable(CallError),
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        StoreError::Unreachable(error)
    }
}

#[panpipe::service(client_implements)]
pub trait Store: Send {
    async fn get(&self, key: String) -> Result<u8, StoreError>;
}

struct Db;

impl Store for Db {
    async fn get(&self, key: String) -> Result<u8, StoreError> {
        key.parse().map_err(|_| StoreError::Missing)
    }
}

async fn sum(store: impl Store) -> Result<u8, StoreError> {
    Ok(store.get("1".to_owned()).await? + store.get("2".to_owned()).await?)
}

async fn all() -> Result<u8, StoreError> {
    let db = Arc::new(Db);
    let client = StoreClient::local(Arc::clone(&db));
    // A client as a service: a gateway.
    let gateway = StoreClient::local(client.clone());
    Ok(sum(Db).await? + sum(db).await? + sum(client).await? + sum(gateway).await?)
}

fn main() {
    let mut all = std::pin::pin!(all());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match all.as_mut().poll(&mut context) {
        std::task::Poll::Ready(sum) => assert_eq!(sum.unwrap(), 12),
        std::task::Poll::Pending => panic!("nothing here waits"),
    }
}

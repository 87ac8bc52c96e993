//! Ordered methods in every form that a trait may have.

#![deny(warnings, missing_docs, unreachable_pub)]

/// Some of them.
#[panpipe::service(name = "acme.some", versions = 1..=2, client_implements)]
pub trait Some {
    /// Both ways.
    #[ordered]
    #[idempotent]
    #[timeout("1s")]
    async fn put(&self, bytes: Vec<u8>) -> Result<Vec<u8>, panpipe::CallError>;
    /// Of the newer version.
    #[since(2)]
    #[ordered]
    async fn newer(&self) -> Result<(), panpipe::CallError>;
    /// Beside them.
    async fn get(&self) -> Result<u8, panpipe::CallError>;
}

/// All of them, with parameters.
#[panpipe::service]
#[ordered]
pub trait All<T: Clone, U> {
    /// A value.
    async fn run(&self, x: T) -> Option<U>;
    /// One way.
    #[oneway]
    async fn tell(&self, x: U);
    /// Not in this configuration.
    #[cfg(any())]
    async fn absent(&self) -> NoSuchType;
    /// A stream.
    async fn sum(&self, numbers: panpipe::Streaming<u64>) -> u64 {
        drop(numbers);
        0
    }
}

struct Db;

impl All<u8, String> for Db {
    async fn run(&self, x: u8) -> Option<String> {
        Some(x.to_string())
    }
    async fn tell(&self, _: String) {}
}

fn main() {
    let _served = All::<u8, String>::serve(Db);
    let _shared = All::<u8, String>::serve(std::sync::Arc::new(Db));
    let _local = AllClient::<u8, String>::local(Db);
}

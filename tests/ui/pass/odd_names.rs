//! Names that generated code must not stumble over.

#![deny(warnings)]
#![allow(dead_code, missing_docs, unreachable_pub, reason = "a program of names, which nobody uses")]

/// Methods whose names give no name in camel case.
#[panpipe::service]
pub trait Odd {
    //! Documentation inside of the braces.
    #![allow(non_snake_case)]
    async fn _3d_points(&self) -> u8;
    async fn __(&self) -> u8;
    async fn self_(&self) -> u8;
    async fn getAll(&self, theKey: u8) -> u8;
    async fn r#async(&self, r#fn: u8) -> u8;
    async fn flush(&self) -> u8;
    async fn version(&self) -> u8;
    async fn inner(&self) -> u8;
    async fn info(&self) -> u8;
    async fn dispatch(&self) -> u8;
    async fn respond(&self) -> u8;
    async fn fmt(&self) -> u8;
    async fn serialize(&self) -> u8;
    async fn drop(&self) -> u8;
}

/// Names that other macros would give to what they generate.
mod taken {
    pub struct StoreRequest;
    pub struct StoreResponse;
    pub struct StoreService;
    #[panpipe::service]
    pub trait Store {
        async fn get(&self) -> u8;
    }
}

/// Two traits, one named as the other's blocking client begins.
mod blocking {
    #[panpipe::service]
    pub trait Io {
        async fn read(&self) -> u8;
    }

    #[panpipe::service(client = IoPipe)]
    pub trait IoBlocking {
        async fn read(&self) -> u8;
    }

    fn clients(_: IoClient, _: IoBlockingClient, _: IoPipe, _: IoPipeBlocking) {}
}

/// Items of the names of local variables.
mod items {
    #![allow(non_upper_case_globals, non_camel_case_types)]
    const args: u8 = 1;
    const response: u8 = 1;
    const output: u8 = 1;
    static call: u8 = 1;
    struct this;
    struct client;
    struct value;
    struct error;
    struct request;

    #[panpipe::service]
    pub trait Store {
        async fn get(&self, key: String) -> Result<u8, String>;
        async fn count(&self, key: Vec<u8>, more: u8) -> u8;
        #[oneway]
        async fn touch(&self, key: String);
    }
}

/// Types of the user's own, named like others.
mod types {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub struct Bytes {
        x: u8,
    }

    #[panpipe::service]
    pub trait Store {
        async fn get(&self, bytes: Bytes) -> Option<Bytes>;
        async fn pair(&self, pair: (u8, Bytes)) -> Vec<Bytes>;
    }
}

/// A trait that `macro_rules!` writes.
mod by_macro {
    macro_rules! store {
        ($name:ident, $result:ty, $byte:ty) => {
            #[panpipe::service]
            pub trait $name {
                async fn get(&self, bytes: Vec<$byte>) -> $result;
                async fn parenthesised(&self) -> (Result<u8, String>);
            }
        };
    }
    store!(Store, Result<u8, String>, u8);

    fn results(store: StoreClient) {
        let _ = async move {
            let got: Result<u8, panpipe::CallError<String>> = store.get(vec![1]).await;
            let other: Result<u8, panpipe::CallError<String>> = store.parenthesised().await;
            let _ = (got, other);
        };
    }
}

/// A crate that passes panpipe on.
mod rpc {
    pub mod inner {
        pub use ::panpipe as rpc;
    }
}

const NAME: &str = "acme.named";

/// Reached by another path, and named by a constant.
#[panpipe::service(crate = "crate::rpc::inner::rpc", name = crate::NAME, version = 2)]
pub trait Elsewhere<T: Clone> {
    async fn get(&self, key: Vec<u8>, x: T) -> Result<Vec<u8>, String>;
    #[oneway]
    async fn touch(&self, x: Option<T>);
}

/// A type parameter with a default.
#[panpipe::service]
pub trait Defaulted<T = u8> {
    async fn get(&self, x: T) -> T;
}

/// Inside of a function.
fn local() {
    #[panpipe::service]
    trait Local {
        async fn get(&self) -> u8;
    }
}

fn main() {
    use panpipe::ServiceClient;
    assert_eq!(ElsewhereClient::<u8>::info().name(), "acme.named<u8>");
    local();
}

//! Each form that a service trait may have.

#![deny(warnings, missing_docs, unreachable_pub)]

use std::collections::HashMap;
use std::fmt::Debug;

/// Nothing in it.
#[panpipe::service]
pub trait Empty {}

/// Named and numbered.
#[panpipe::service(name = "acme.plain", version = 7)]
pub trait Plain {
    /// No arguments, no result.
    async fn nothing(&self);
    /// Arguments of many types.
    async fn much(&self, a: u8, b: (String, Vec<u8>), c: Option<Vec<u8>>, d: HashMap<String, Vec<u32>>);
    /// Blocks in every place that is in sight.
    async fn blocks(&self, one: Vec<u8>) -> Result<(Option<Vec<u8>>, u8), Vec<u8>>;
    /// A body, a mutable argument, an early end.
    async fn body(&self, mut x: u64) -> Result<u64, String> {
        x += 1;
        if x > 5 {
            return Err("too much".to_owned());
        }
        let text: u64 = "7".parse().map_err(|_| "no number".to_owned())?;
        Ok(x + text)
    }
    /// One way.
    #[oneway]
    async fn away(&self, x: u64);
    /// In time.
    #[timeout("250ms")]
    async fn hasty(&self) -> u8;
    /// As well twice as once.
    #[idempotent]
    #[timeout("1s")]
    async fn again(&self) -> u8;
    /// A keyword.
    async fn r#move(&self, r#type: u8) -> u8;
    /// Names that differ in underscores, and names of our own.
    async fn a_b(&self, args: u8, this: u8, call: u8, response: u8) -> u8;
    /// Another variant.
    async fn ab(&self) -> u8;
    /// Not in this configuration.
    #[cfg(any())]
    async fn absent(&self, x: NoSuchType) -> NoSuchType;
    /// In this one.
    #[cfg(all())]
    async fn present(&self) -> u8;
}

/// Of several versions, of which methods of every kind may be.
#[panpipe::service(name = "acme.ranged", versions = 3..=5)]
pub trait Ranged<T> {
    /// Of all of them.
    async fn always(&self) -> u8;
    /// Of the newer ones.
    #[since(4)]
    async fn newer(&self, x: T) -> Result<Vec<u8>, String>;
    /// Of the newest, with a body.
    #[since(5)]
    #[timeout("1s")]
    async fn newest(&self) -> u8 {
        self.always().await
    }
    /// One way.
    #[oneway]
    #[since(5)]
    #[cfg(all())]
    async fn away(&self, x: T);
}

/// Generic.
#[panpipe::service]
pub trait Generic<K, V: Clone>
where
    K: Ord + Send,
    V: Send,
{
    /// A type parameter there and back.
    async fn get(&self, key: K) -> Option<V>;
    /// A typed error.
    async fn put(&self, key: K, value: V) -> Result<Vec<V>, String>;
    /// One way.
    #[oneway]
    async fn forget(&self, key: K);
}

/// Ports, wherever a value may stand.
#[panpipe::service]
pub trait Ports<T: Clone + Send + 'static> {
    /// Both ways.
    async fn double(&self, numbers: panpipe::Streaming<T>) -> panpipe::Streaming<Option<T>>;
    /// In others.
    async fn nested(&self, all: Vec<(u8, panpipe::Sender<T>)>) -> Result<panpipe::Streaming<PortsClient<T>>, String>;
    /// Itself.
    async fn watch(&self, other: PortsClient<T>, plain: Option<PlainClient>) -> GenericClient<u8, T>;
    /// One way.
    #[oneway]
    async fn tell(&self, progress: panpipe::Sender<f32>);
}

mod inner {
    /// For this crate alone.
    #[panpipe::service]
    pub(crate) trait Private: std::fmt::Debug {
        /// A result behind an alias.
        async fn read(&self) -> Alias<Vec<u8>>;
        /// The alias' real name.
        async fn real(&self) -> std::result::Result<u8, String>;
    }

    /// An alias of another name is a value like any other.
    pub(crate) type Alias<T> = Result<T, String>;
}

struct Db;

impl Empty for Db {}

impl Generic<u8, String> for Db {
    async fn get(&self, key: u8) -> Option<String> {
        Some(key.to_string())
    }
    async fn put(&self, _: u8, value: String) -> Result<Vec<String>, String> {
        Ok(vec![value])
    }
    async fn forget(&self, _: u8) {}
}

fn is_debug<T: Debug + Clone + Send + Sync + 'static>() {}

fn main() {
    is_debug::<EmptyClient>();
    is_debug::<PlainClient>();
    is_debug::<GenericClient<u8, String>>();
    is_debug::<inner::PrivateClient>();
    is_debug::<PortsClient<u64>>();
    is_debug::<RangedClient<u64>>();
    let ranged = <RangedClient<u64> as panpipe::ServiceClient>::info();
    assert_eq!((ranged.version(), ranged.oldest()), (5, 3));
    let _offered: GenericClient<u8, String> = GenericClient::offer(Generic::serve(Db));
    let _served = Empty::serve(Db);
    let _generic: GenericClient<u8, String> = GenericClient::local(Db);
}

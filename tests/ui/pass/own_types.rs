//! Types of the user's in every place, also with the names of others.

#![deny(warnings, missing_docs, unreachable_pub)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Without serde's traits.
pub struct NotSerde;

macro_rules! named_as_others {
    ($($name:ident)+) => {$(
        /// Implements serde's traits, whatever its parameter does.
        pub struct $name<T>(u8, PhantomData<fn() -> T>);

        impl<T> Serialize for $name<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de, T> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                Ok($name(u8::deserialize(deserializer)?, PhantomData))
            }
        }
    )+};
}

named_as_others!(Sender Box);

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key(pub u8);

/// With a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T>(pub T);

/// An alias of the standard library's.
pub type Result<T> = std::result::Result<T, Key>;

mod hidden {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Hidden;
}
use hidden::Hidden;

/// Own types alone, in containers and with names of containers.
#[panpipe::service]
pub trait Store {
    /// Names of others.
    async fn named(&self, one: Sender<NotSerde>, two: Vec<Box<NotSerde>>) -> Option<Box<Sender<NotSerde>>>;
    /// Containers.
    async fn contained(
        &self,
        map: HashMap<Key, Vec<Page<Key>>>,
        array: [Key; 3],
        cow: Cow<'static, str>,
    ) -> Option<(Key, Vec<u8>)>;
    /// Results.
    async fn results(&self, page: Page<u8>) -> std::result::Result<Option<Page<Key>>, Vec<Key>>;
    /// Aliases.
    async fn alias(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;
    /// Another.
    async fn alias_of_own(&self) -> Result<Option<Page<Key>>>;
    /// Clients.
    async fn clients(&self, other: PagesClient<Key>) -> std::result::Result<StoreClient, panpipe::CallError>;
    /// Not in this configuration.
    #[cfg(any())]
    async fn absent(&self, key: NoSuchKey) -> Vec<NoSuchValue>;
}

/// Types that depend on the trait's.
#[panpipe::service]
pub trait Pages<T: Clone>
where
    T: Send,
{
    /// As they are.
    async fn turn(&self, page: Page<T>, more: Option<Page<Vec<T>>>) -> std::result::Result<Page<T>, Page<u8>>;
    /// Behind an alias.
    async fn alias(&self) -> Result<Option<Page<T>>>;
}

/// A private type.
#[panpipe::service]
trait Private {
    /// Both ways.
    async fn hide(&self, hidden: Hidden) -> Option<Hidden>;
}

struct Db;

impl Store for Db {
    async fn named(&self, one: Sender<NotSerde>, two: Vec<Box<NotSerde>>) -> Option<Box<Sender<NotSerde>>> {
        Some(Box(one.0 + two[0].0, PhantomData))
    }
    async fn contained(
        &self,
        map: HashMap<Key, Vec<Page<Key>>>,
        array: [Key; 3],
        cow: Cow<'static, str>,
    ) -> Option<(Key, Vec<u8>)> {
        let page = map.get(&array[0])?.first()?;
        Some((page.0.clone(), cow.into_owned().into_bytes()))
    }
    async fn results(&self, page: Page<u8>) -> std::result::Result<Option<Page<Key>>, Vec<Key>> {
        if page.0 == 0 { Err(vec![Key(1), Key(2)]) } else { Ok(Some(Page(Key(page.0)))) }
    }
    async fn alias(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        bytes.is_empty().then(Vec::new).ok_or(Key(9))
    }
    async fn alias_of_own(&self) -> Result<Option<Page<Key>>> {
        Ok(None)
    }
    async fn clients(&self, _: PagesClient<Key>) -> std::result::Result<StoreClient, panpipe::CallError> {
        Ok(StoreClient::local(Db))
    }
}

impl Pages<Key> for Db {
    async fn turn(
        &self,
        page: Page<Key>,
        more: Option<Page<Vec<Key>>>,
    ) -> std::result::Result<Page<Key>, Page<u8>> {
        more.map(|_| page).ok_or(Page(4))
    }
    async fn alias(&self) -> Result<Option<Page<Key>>> {
        Err(Key(5))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    use panpipe::{CallError, Codec};
    for codec in [Codec::Bincode, Codec::Postcard, Codec::MessagePack, Codec::Json] {
        let store = StoreClient::local_encoded(Db, codec);
        let made = store.named(Sender(3, PhantomData), vec![Box(4, PhantomData)]).await.unwrap();
        assert_eq!(made.unwrap().0, 7);
        let map = HashMap::from([(Key(1), vec![Page(Key(2))])]);
        if codec != Codec::Json {
            // JSON's keys are texts.
            let contained = store.contained(map, [Key(1), Key(0), Key(0)], "x".into()).await;
            assert_eq!(contained, Ok(Some((Key(2), b"x".to_vec()))));
        }
        assert_eq!(store.results(Page(0)).await, Err(CallError::App(vec![Key(1), Key(2)])));
        assert_eq!(store.results(Page(6)).await, Ok(Some(Page(Key(6)))));
        assert_eq!(store.alias(vec![]).await, Ok(vec![]));
        assert_eq!(store.alias(vec![1]).await, Err(CallError::App(Key(9))));
        assert_eq!(store.alias_of_own().await, Ok(None));
        let pages = PagesClient::<Key>::local_encoded(Db, codec);
        assert_eq!(pages.turn(Page(Key(1)), None).await, Err(CallError::App(Page(4))));
        assert_eq!(pages.turn(Page(Key(1)), Some(Page(vec![]))).await, Ok(Page(Key(1))));
        assert_eq!(pages.alias().await, Err(CallError::App(Key(5))));
        let again = store.clients(pages).await.unwrap();
        assert_eq!(again.results(Page(6)).await, Ok(Some(Page(Key(6)))));
    }
}

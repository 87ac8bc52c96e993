//! A type without serde's traits: one error, where the trait names the type first.

use std::collections::HashMap;

pub struct Argument;
pub struct Returned;
pub struct Streamed;
pub struct Taken;
#[derive(serde::Serialize)]
pub struct OnlySerialize;
#[derive(serde::Deserialize)]
pub struct OnlyDeserialize;
pub struct Twice;
pub struct Deep;
#[derive(PartialEq, Eq, Hash)]
pub struct Key;
pub struct Value;
pub struct Page<T>(T);
pub struct Parameter;

#[panpipe::service]
pub trait Store {
    async fn argument(&self, argument: Argument);
    async fn returned(&self) -> Returned;
    async fn streamed(&self) -> panpipe::Streaming<Streamed>;
    async fn taken(&self, to: panpipe::Sender<Taken>);
    async fn only_serialize(&self, argument: OnlySerialize);
    async fn only_deserialize(&self) -> Result<OnlyDeserialize, String>;
    async fn twice(&self, one: Twice, two: Vec<Twice>) -> Option<Twice>;
    #[oneway]
    async fn twice_more(&self, one: Twice);
    async fn deep(&self, all: Vec<(u8, Option<[Deep; 3]>)>);
    async fn map(&self, all: HashMap<Key, Vec<Value>>) -> Value;
    async fn foreign(&self, to: std::sync::mpsc::Sender<u8>);
}

#[panpipe::service]
pub trait Pages<T> {
    async fn page(&self, number: u64) -> Page<T>;
}

fn is_client<C: panpipe::ServiceClient>() {}

struct Db;

impl Pages<u8> for Db {
    async fn page(&self, _: u64) -> Page<u8> {
        Page(1)
    }
}

fn main() {
    is_client::<PagesClient<Parameter>>();
    is_client::<StoreClient>();
    // Where the service is used nothing is said of the type again.
    let _ = panpipe::Server::bind("pages").service(Db.serve());
}

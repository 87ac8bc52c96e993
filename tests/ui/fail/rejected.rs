//! Legal traits that are no services, each error on its own token.

#[panpipe::service]
pub trait Itself {
    async fn get(&self, other: Self) -> u8;
    async fn list(&self) -> Vec<Self>;
    async fn with_layer(&self);
    #[cfg_attr(all(), oneway)]
    async fn conditional(&self);
    #[cfg_attr(all(), doc = "x", timeout("1s"))]
    async fn timed(&self);
}

#[panpipe::service]
pub trait IoBlocking {
    async fn get(&self) -> u8;
}

#[panpipe::service(name = 5)]
pub trait Numbered {}

#[panpipe::service(crate = "not a path")]
pub trait Elsewhere {}

fn main() {}

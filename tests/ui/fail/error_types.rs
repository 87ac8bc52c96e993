//! Errors without serde's traits: one error each, with the way out.

mod anyhow {
    pub struct Error(Box<dyn std::error::Error + Send + Sync>);
    pub type Result<T> = std::result::Result<T, Error>;
}

pub enum Own {
    Full,
}

#[panpipe::service]
pub trait Io {
    async fn io(&self) -> Result<u8, std::io::Error>;
}

#[panpipe::service]
pub trait Boxed {
    async fn not_send(&self) -> Result<u8, Box<dyn std::error::Error>>;
    async fn send(&self) -> Result<u8, Box<dyn std::error::Error + Send + Sync>>;
}

#[panpipe::service]
pub trait Alias {
    async fn one(&self) -> anyhow::Result<u8>;
    async fn two(&self) -> anyhow::Result<Vec<u16>>;
}

#[panpipe::service]
pub trait Other {
    async fn anyhow(&self) -> Result<u8, anyhow::Error>;
    async fn own(&self, x: u8) -> Result<u8, Own>;
    async fn own_again(&self) -> Result<(), Own>;
}

fn main() {}

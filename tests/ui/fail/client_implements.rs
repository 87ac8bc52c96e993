//! A client that cannot implement its trait.

#[panpipe::service(client_implements)]
pub trait Plain {
    async fn get(&self) -> u8;
}

fn main() {}

//! A stock tarpc service, which knows nothing of panpipe.

use tarpc::context;

/// In tarpc's own words.
#[tarpc::service]
pub trait World {
    /// Greets.
    async fn hello(name: String) -> String;
    /// Gives its argument back.
    async fn echo(bytes: Vec<u8>) -> Vec<u8>;
}

/// The implementation.
#[derive(Debug, Clone)]
pub struct Greeter;

impl World for Greeter {
    async fn hello(self, _: context::Context, name: String) -> String {
        format!("Hello, {name}!")
    }

    async fn echo(self, _: context::Context, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
}

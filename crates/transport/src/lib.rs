//! Named and anonymous pipes as typed transports.

pub mod anonymous;
pub mod buffer;
pub mod codec;
pub mod frame;
pub mod limits;
pub mod varint;

mod connect;
mod error;
mod listener;
mod name;
mod peer;
mod spin;
mod stdio;
mod stream;
mod sys;
mod transport;

pub use connect::{Connect, connect};
pub use error::{BindError, ConnectError, NameError};
pub use listener::Listener;
pub use name::PipeName;
pub use peer::Peer;
pub use spin::spin_for;
pub use stdio::stdio;
pub use stream::{PipeReader, PipeStream, PipeWriter};
pub use transport::{Transport, TransportError};

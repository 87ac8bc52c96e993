//! Named and anonymous pipes as typed transports.
//!
//! A [`PipeStream`] is a duplex stream of bytes between two processes, and a
//! [`Transport`] over it a `Stream` and `Sink` of serde values, which is what tarpc
//! calls a transport:
//!
//! ```
//! use futures::{SinkExt, StreamExt};
//! use panpipe_transport::codec::Bincode;
//! use panpipe_transport::{Listener, Transport, connect};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let name = format!("doc.transport.{}", std::process::id());
//! let listener = Listener::bind(&name)?;
//! let (client, server) = tokio::join!(async { connect(&name).await }, listener.accept());
//! let (client, server) = (client?, server?);
//! println!("{} has connected", server.peer());
//!
//! let mut client = Transport::<_, u64, String, _>::new(client, Bincode);
//! let mut server = Transport::<_, String, u64, _>::new(server, Bincode);
//! client.send("how many?".to_owned()).await?;
//! assert_eq!(server.next().await.transpose()?.as_deref(), Some("how many?"));
//! server.send(3).await?;
//! assert_eq!(client.next().await.transpose()?, Some(3));
//! # Ok(())
//! # }
//! ```
//!
//! Where streams come from: [`Listener`] and [`connect`] for a name, [`anonymous`] for
//! two threads or a parent and its child, [`stdio`] for a process that is talked to
//! over its standard streams; [`FifoReader`] and [`FifoWriter`] for one direction with
//! a name. Who is at the other end is a [`Peer`], who may be there an [`Access`]. How
//! values become bytes is a [`codec`], each a feature: `bincode`, the default,
//! `postcard`, `messagepack`, `json`.
//!
//! Threads that wait by themselves, without a runtime, have the streams of [`blocking`].
//!
//! [`buffer`], [`frame`], [`varint`] and [`limits`] are what a protocol of one's own is
//! built of; panpipe's is.

pub mod anonymous;
pub mod blocking;
pub mod buffer;
pub mod codec;
pub mod frame;
pub mod limits;
pub mod varint;

mod access;
mod bypass;
mod checks;
mod connect;
mod error;
mod fifo;
mod impersonate;
mod latency;
mod listener;
mod name;
mod path_opener;
mod peer;
mod spin;
mod stdio;
mod stream;
mod sys;
mod transport;

pub use access::{Access, AccessDenied};
pub use bypass::BypassWriter;
pub use connect::{Connect, connect};
pub use error::{BindError, ConnectError, ImpersonateError, NameError};
pub use fifo::{FifoReader, FifoWriter};
pub use latency::Latency;
pub use listener::{Listener, Retired};
pub use name::PipeName;
pub use path_opener::{OpenError, PathOpener};
pub use peer::Peer;
pub use stdio::stdio;
pub use stream::{Hold, PipeReader, PipeStream, PipeWriter};
pub use transport::{Transport, TransportError};

//! RPC over pipes: a trait becomes typed calls between processes.

#[cfg(feature = "tarpc")]
pub mod tarpc;

mod child;
mod client;
mod codec;
mod connect;
mod connection;
mod dispatch;
mod error;
mod limits;
mod local;
mod server;
mod service;
mod session;
mod shape;

pub mod call;

pub use panpipe_macros::service;
pub use panpipe_transport::{BindError, ConnectError, NameError, Peer, PipeName};

pub use child::{Child, ParentError, Spawn, SpawnError, serve_parent, spawn};
pub use client::{NoService, ServiceClient};
pub use codec::Codec;
pub use connect::Connect;
pub use error::{CallError, Refusal, RefusalReason};
pub use limits::Limits;
pub use server::{RunningServer, ServeError, Server, serve, serve_stream};
pub use service::Serve;
pub use session::{CloseReason, ServiceInfo};

/// What generated code is written in. Not for users: it changes with the macro.
#[doc(hidden)]
pub mod __private {
    pub use bytes::Bytes;
    pub use panpipe_transport::{NameError, PipeName};
    pub use serde;
    pub use tokio::io::{AsyncRead, AsyncWrite};

    pub use crate::client::Client;
    pub use crate::dispatch::{Dispatched, IncomingCall};
    pub use crate::local::local;
    pub use crate::service::{MethodInfo, Request, ServiceImpl, Wire, generic_name};
    pub use crate::shape::*;

    /// Connects a client to a server.
    pub fn connect<C: crate::ServiceClient>(
        name: impl TryInto<PipeName, Error: Into<NameError>>,
    ) -> crate::Connect<C> {
        crate::Connect::new(name)
    }

    /// Makes a client over a stream of bytes.
    pub fn over<C: crate::ServiceClient, Io: AsyncRead + AsyncWrite + Send + 'static>(io: Io) -> C {
        crate::client::over(io)
    }
}

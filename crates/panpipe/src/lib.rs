//! RPC over pipes: a trait becomes typed calls between processes.
//!
//! A trait marked with [`service`] gives a client to those who call and a service
//! to those who implement it:
//!
//! ```
//! use panpipe::{CallError, Server};
//!
//! /// Divides numbers.
//! #[panpipe::service]
//! pub trait Divider {
//!     /// The quotient; without one the dividend comes back.
//!     async fn divide(&self, a: u32, b: u32) -> Result<u32, u32>;
//! }
//!
//! struct Cpu;
//!
//! impl Divider for Cpu {
//!     async fn divide(&self, a: u32, b: u32) -> Result<u32, u32> {
//!         println!("{} divides", panpipe::call::peer());
//!         a.checked_div(b).ok_or(a)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let name = format!("doc.divider.{}", std::process::id());
//! // In one process; `panpipe::serve(name, Cpu.serve()).await` serves until ctrl-c.
//! let server = Server::bind(&name).service(Cpu.serve()).start()?;
//!
//! // In the others.
//! let divider = DividerClient::connect(&name).await?;
//! assert_eq!(divider.divide(42, 6).await, Ok(7));
//! assert_eq!(divider.divide(42, 0).await, Err(CallError::App(42)));
//! # server.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! - To serve: [`serve`], or [`Server`] for a choice of limits and of when to end;
//!   [`serve_stream`] for one client over any stream of bytes.
//! - To call: the generated client's `connect`, `over` and `local`; what can go
//!   wrong is [`CallError`]. [`Connect::reconnect`] makes one that outlives its
//!   server's process.
//! - Without a runtime, on Unix: the generated client's `connect_blocking` and `blocking`,
//!   see [`Connect::blocking`]; [`serve_parent_blocking`], [`serve_blocking`],
//!   [`Server::start_blocking`] and [`Spawn::start_blocking`]. Handlers are the same, streams
//!   are iterators ([`Items`]).
//! - Beside the arguments: [`Metadata`] of a call or of a connection.
//! - In a handler: [`call`] knows who calls, as what, and until when, and does
//!   something with the caller's rights.
//! - One direction is enough: [`oneway`], for services of which nothing comes back.
//! - Around calls: [`Server::authorize`] says who may call what, [`layer`] is for what
//!   times, limits or logs, on either side; [`TraceContext`] travels with calls, and
//!   `tracing` spans of them are made where somebody subscribes to the target `panpipe`
//!   at `DEBUG`. The formatter `tracing_subscriber::fmt()` shows the spans with
//!   `.with_span_events(FmtSpan::CLOSE)` only.
//! - Children: a [`Plugin`] is one whose whole life is looked after, [`plugin_main`] its
//!   own end, [`Plugins`] all of a folder; [`spawn`] and [`serve_parent`] are the plain
//!   form.
//! - Who is connected: a server's [`Hub`], which also calls all of its clients.
//! - Coming from .NET's pipes: [`from_dotnet`].
//! - tarpc: the module [`tarpc`](mod@tarpc), with the feature of that name, which is
//!   on by default.
//! - Traces of several processes by OpenTelemetry: the feature `opentelemetry`.
//!   Counters by the `metrics` facade: the feature of that name.
//! - Other codecs than bincode: the features `postcard`, `messagepack` and `json`,
//!   and [`Connect::codec`].
//!
//! All else needs a tokio runtime, of either kind. A runtime of one thread is the
//! quicker one for few clients: see [`Latency`].

#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "tarpc")]
pub mod tarpc;

mod backoff;
mod blocking;
mod call_info;
mod call_terms;
mod carried;
mod child;
mod client;
mod clock;
mod codec;
mod connect;
mod connection;
mod dispatch;
mod error;
mod executor;
mod guarded;
mod hooks;
mod hub;
mod in_place;
mod labels;
mod limits;
mod link;
mod local;
mod log_limit;
mod metadata;
mod offers;
mod ordered;
mod plugin;
mod reconnect;
mod rules;
mod running;
mod servable;
mod server;
mod service;
mod session;
mod shape;
mod stream;
mod stub;
mod sys;
mod timer;
mod trace;
mod type_check;
mod watch;
#[cfg(test)]
mod woken;

pub mod call;
#[doc = include_str!("../docs/serde-features.md")]
pub mod serde_features {}
#[doc = include_str!("../docs/from-dotnet.md")]
pub mod from_dotnet {}
#[doc = include_str!("../docs/testing.md")]
pub mod testing {}
pub mod layer;
pub mod oneway;

/// Makes a service of a trait.
///
/// The trait's methods are `async fn`s that take `&self` and owned arguments. Of a
/// trait `Store` it makes
///
/// - the trait itself, to be implemented with plain `async fn`s, with a method
///   `serve` that makes a service of an implementation;
/// - `StoreClient`, with the same methods: one that returns `Result<T, E>` gives
///   the caller `Result<T, CallError<E>>`, any other `Result<T, CallError>`;
/// - `StoreBlockingClient`, the same for code that is not async;
/// - types for requests and responses as values, which `tarpc` needs:
///   [`ServiceClient::Req`] and [`ServiceClient::Resp`] of the client;
/// - an implementation of the trait for `Arc<T>` where `T` implements the trait, so that
///   `Arc::clone(&db).serve()` serves a value that the program keeps.
///
/// What crosses must be serde's `Serialize` and `Deserialize`, and `Send`. `Vec<u8>`
/// and `Bytes` travel as one block, also inside `Option`, `Result` and tuples, as far
/// as the trait's own text shows them. `Bytes` of 128 KiB and more go out from where they
/// stand, and are a part of the buffer that they came in: nobody but the system copies
/// them, and who keeps a part of one keeps all of its message. A `Result` behind an alias is taken for one if
/// the alias is called `Result`, and by any other name for a value like others. Not every
/// codec carries every type: see [`serde_features`].
///
/// | on the trait | |
/// |---|---|
/// | `#[panpipe::service(name = "acme.store")]` | the name that both sides must agree on, a text or a constant; the trait's own, if not given |
/// | `#[panpipe::service(client = Remote)]` | the client's name, and `RemoteBlocking` that of the blocking client |
/// | `#[panpipe::service(client_implements)]` | the client implements the trait too: code that takes `impl Store` takes both. Every method returns a `Result<T, E>` with `E: From<CallError>` |
/// | `#[panpipe::service(crate = "acme::panpipe")]` | the path of panpipe, in a crate that depends on it only through another crate |
/// | `#[panpipe::service(version = 2)]` | the version that they must agree on; 1, if not given |
/// | `#[panpipe::service(versions = 2..=3)]` | the oldest and the newest version that it speaks: the newest that both sides do is used |
///
/// | on a method | |
/// |---|---|
/// | a body | what implementations do that do not say otherwise |
/// | `#[oneway]` | nothing comes back: the call is ready when it is on its way, see [below](#one-way-calls) |
/// | `#[timeout("30s")]` | every call of it ends within `ms`, `s`, `m` or `h`; a one-way call is on its way by then |
/// | `#[idempotent]` | to run it twice is as good as once: a client that [reconnects](Connect::reconnect) makes such a call again where another would fail, since it may have run |
/// | `#[since(3)]` | it is there from this version on: with a side that speaks an older one it is [`CallError::UnknownMethod`] |
/// | `#[ordered]` | calls of it run one after the other, see [below](#ordered-calls); on the trait, beneath `#[panpipe::service]`, it is for all methods |
/// | `#[cfg(…)]` | as everywhere |
///
/// Methods are known on the wire by a hash of their name and their types as they are
/// written: they may be added and moved, and one whose signature has changed is an
/// unknown method, never misread. A type whose *fields* change is not seen by that:
/// give the trait another `version`.
///
/// # One-way calls
///
/// The future of a one-way call is ready when the call is on its way: over a connection that
/// has nothing else to send, its bytes are with the system then; behind others it is queued.
/// What is queued is written by the connection's task, and at the latest when the last client
/// is dropped or the runtime ends in order, as at the end of `main`. Where the other side does
/// not read it within a moment, a warning in the log says how many calls were lost.
///
/// [`std::process::exit`], `abort`, a panic where panics abort and a `kill -9` end the process
/// without that: they lose what is queued. A panic that unwinds out of `main` drops the runtime,
/// which writes the queue. [`ServiceClient::flush`] waits until all has arrived: await it
/// before an `exit`.
///
/// Calls, one-way calls and flushes that a client makes one after the other, awaiting each,
/// begin on the other side in that order, whatever their size. Small calls of other tasks go
/// ahead of a large one that is still being sent. While `Limits::max_calls` one-way calls run
/// there, further ones wait, and calls with a reply go ahead of them.
///
/// The client's timeout, `#[timeout]` and the deadline of the call that is being answered bound
/// how long a one-way call may wait to be on its way, not how long its handler runs. A large one
/// that ends with [`CallError::DeadlineExceeded`] may still arrive.
///
/// # Ordered calls
///
/// Handlers of one connection run at the same time. Those of `#[ordered]` methods run one after
/// the other: they begin in the order in which the calls arrive, and each begins when the handler
/// before it has ended, however that was: it returned, panicked, was cancelled, or its connection
/// ended. One-way calls and calls that carry streams are in the same order. An ended handler is
/// one that has returned: the stream in its result may still be written.
///
/// ```
/// # struct Reading;
/// /// Lines are written in the order in which they come.
/// #[panpipe::service]
/// pub trait Journal {
///     #[ordered]
///     #[oneway]
///     async fn append(&self, line: String);
///     #[ordered]
///     async fn truncate(&self) -> Result<u64, String>;
///     /// Does not wait for the others.
///     async fn len(&self) -> u64;
/// }
///
/// /// Every method is ordered.
/// #[panpipe::service]
/// #[ordered]
/// pub trait Account {
///     async fn deposit(&self, cents: u64);
///     async fn withdraw(&self, cents: u64) -> Result<(), String>;
/// }
/// ```
///
/// - The order is that of one service, as `serve` made it, on one connection. Ordered methods of
///   that service wait for each other, also where the service is reached by several names or was
///   passed as a value; methods without the attribute run beside them. Different connections, and
///   different services of one connection, do not wait for each other: use a lock for that.
/// - Calls that a client makes one after the other, awaiting each, arrive in that order, whatever
///   their size. Of calls that are made at once a small one may arrive before a large one.
/// - A call that is cancelled or passes its deadline while it waits never begins.
/// - A call that waits counts as a running one: see [`Limits::max_calls`].
/// - **A handler must not wait for an ordered call to its own service over the same connection.**
///   That happens where the handler calls its client back, and the client's handler makes an
///   ordered call before it returns: the new call waits for the handler that waits for it. Such a
///   call ends with its deadline only. Leave `#[ordered]` out for methods that clients call from
///   their own handlers, or give them a `#[timeout]`.
/// - It is the server's promise alone: nothing of it is on the wire, so the attribute may be
///   added and removed on one side. Clients made by `local` are each a connection of their own.
///   All writers to a [one-way pipe](oneway) are one connection. tarpc's own server keeps no order.
///
/// # Versions
///
/// A trait that has only got more methods speaks its older versions too: it gives a
/// range, and says of each new method since when it is there. Then either side may be
/// the newer one. [`call::version`] tells a handler what its caller speaks,
/// [`ServiceClient::version`] a caller what the other side does. Versions that differ in
/// more than methods can be served side by side, each by a trait of its own, of the
/// same name: a client gets the best that it speaks.
///
/// ```
/// use std::collections::BTreeMap;
///
/// /// Counts words.
/// #[panpipe::service(name = "acme.words", version = 2)]
/// pub trait Words {
///     /// How often each word is in the text.
///     #[timeout("10s")]
///     async fn count(&self, text: String) -> BTreeMap<String, usize>;
///     /// Forgets everything.
///     #[oneway]
///     async fn reset(&self);
///     /// How many there are of one.
///     async fn count_one(&self, text: String, word: String) -> usize {
///         self.count(text).await.get(&word).copied().unwrap_or(0)
///     }
/// }
/// ```
///
/// A server of this month, and a client of last month:
///
/// ```
/// # use panpipe::{CallError, Server, ServiceClient};
/// mod last_month {
///     #[panpipe::service(name = "acme.clock", version = 3)]
///     pub trait Clock {
///         async fn now(&self) -> u64;
///     }
/// }
///
/// #[panpipe::service(name = "acme.clock", versions = 3..=4)]
/// pub trait Clock {
///     async fn now(&self) -> u64;
///     #[since(4)]
///     async fn zone(&self) -> String;
/// }
///
/// # struct Wall;
/// impl Clock for Wall {
///     async fn now(&self) -> u64 {
///         assert_eq!(panpipe::call::version(), Some(3));
///         7
///     }
///
///     async fn zone(&self) -> String {
///         "UTC".to_owned()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc.clock.{}", std::process::id());
/// let server = Server::bind(&name).service(Wall.serve()).start()?;
/// let clock = last_month::ClockClient::connect(&name).await?;
/// assert_eq!(clock.now().await, Ok(7));
/// assert_eq!(clock.version(), Some(3));
/// # drop(clock);
/// # server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
pub use panpipe_macros::service;
pub use panpipe_transport::{
    Access, AccessDenied, BindError, ConnectError, ImpersonateError, Latency, NameError, OpenError,
    PathOpener, Peer, PipeName,
};

pub use backoff::Backoff;
pub use blocking::{BlockingChild, BlockingServiceClient, serve_parent_blocking};
pub use call_info::CallInfo;
pub use child::{Child, ParentError, Spawn, SpawnError, serve_parent, spawn};
pub use client::{BroadcastCall, NoBlockingService, NoService, OnewayCall, ServiceClient};
pub use codec::Codec;
pub use connect::{Connect, Target, connect};
pub use connection::Connection;
pub use error::{CallError, NoError, Refusal, RefusalReason, StreamError};
pub use hub::{ClientId, ConnectedClient, Delivery, Hub, Slow};
pub use limits::Limits;
pub use metadata::{Metadata, MetadataError};
pub use offers::OfferedTwice;
pub use oneway::OnewayService;
pub use plugin::{
    Output, Plugin, PluginBuilder, PluginChange, PluginError, PluginEvent, Plugins, plugin_main,
    plugin_main_async,
};
pub use servable::{Named, Relayed, Service};
pub use server::{
    RunningBlockingServer, RunningServer, ServeError, Server, serve, serve_blocking, serve_stream,
};
pub use service::Serve;
pub use session::{CloseReason, ServiceInfo};
pub use stream::{
    Items, SendError, Sender, Streaming, WatchError, WatchReceiver, WatchSender, WhenFull, channel, watch,
};
pub use trace::TraceContext;

/// What generated code is written in. Not for users: it changes with the macro.
#[doc(hidden)]
pub mod __private {
    pub use bytes::Bytes;
    pub use panpipe_transport::{NameError, PipeName};
    pub use serde;
    pub use tokio::io::{AsyncRead, AsyncWrite};

    pub use crate::client::Client;
    pub use crate::dispatch::{Dispatched, IncomingCall};
    pub use crate::local::{local, local_encoded};
    use crate::log_limit::log_limited;
    pub use crate::ordered::{CallOrder, OrderTicket, Ordered};
    pub use crate::service::{
        MethodInfo, Request, ServiceImpl, Wire, generic_name, join, joined, joined_len,
    };
    pub use crate::shape::*;

    /// Tells the log of a one-way call that could not be passed on: its caller is not told.
    pub fn passed_on(info: &'static MethodInfo, sent: Result<(), crate::CallError>) {
        if let Err(error) = sent {
            log_limited!(warn, method = info.name, "a one-way call could not be passed on: {error}");
        }
    }

    /// The error of a call as the method's own.
    pub fn own_error<E: From<crate::CallError>>(error: crate::CallError<E>) -> E {
        match error.into_app() {
            Ok(own) => own,
            Err(failed) => failed.into(),
        }
    }

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

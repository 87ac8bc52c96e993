//! Layers around calls, at the shape of `tower`'s: to time, count, limit, log or
//! deny them, on either side.
//!
//! [`Server::layer`](crate::Server::layer) and the generated clients' `with_layer`
//! take any [`Layer`] whose service takes a [`Call`] and gives an [`Outcome`]: those
//! of `tower` (concurrency limits, load shedding, timeouts, buffers, filters) and
//! one's own. A layer that is given later stands around those given before and sees a
//! call first; `tower::ServiceBuilder` puts several together in the other order.
//!
//! - On a server the arguments have been decoded when the layers are asked: what is
//!   to be decided before that is for
//!   [`Server::authorize`](crate::Server::authorize). The reply is queued inside of
//!   what the innermost layer calls: behind it a layer can still look and wait, but
//!   change nothing. What waits there counts towards no limit of the server's.
//! - `poll_ready` is waited for, of a clone of the layer's service for each call, so
//!   that what all calls share has to be behind an `Arc`, as it is in `tower`'s.
//! - A layer that fails is the caller's error: a [`CallError`](crate::CallError) is
//!   passed on as it is, a [`Refusal`](crate::Refusal) as
//!   [`CallError::Refused`](crate::CallError::Refused), anything else as a refusal for
//!   the reason [`Layer`](crate::RefusalReason::Layer), in the error's words. A
//!   one-way call is dropped with a warning in the server's log.
//! - Deadlines, cancellation and panics are as without layers: when a call is over its
//!   layers' futures are dropped, and a handler that panics is
//!   [`CallError::Panicked`](crate::CallError::Panicked) to the layers around it.
//!   [`call`](crate::call) knows the call in the layers of a server too.
//!
//! A layer that says how long calls take:
//!
//! ```
//! use std::pin::Pin;
//! use std::task::{Context, Poll};
//! use std::time::Instant;
//!
//! use panpipe::CallError;
//! use panpipe::layer::{Call, Layer, Next, Outcome, Service};
//!
//! struct Timing;
//!
//! impl Layer<Next> for Timing {
//!     type Service = Timed;
//!
//!     fn layer(&self, next: Next) -> Timed {
//!         Timed { next }
//!     }
//! }
//!
//! #[derive(Clone)]
//! struct Timed {
//!     next: Next,
//! }
//!
//! impl Service<Call> for Timed {
//!     type Response = Outcome;
//!     type Error = CallError;
//!     type Future = Pin<Box<dyn Future<Output = Result<Outcome, CallError>> + Send>>;
//!
//!     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
//!         self.next.poll_ready(cx)
//!     }
//!
//!     fn call(&mut self, call: Call) -> Self::Future {
//!         let (name, start) = (call.info().name(), Instant::now());
//!         let answer = self.next.call(call);
//!         Box::pin(async move {
//!             let outcome = answer.await;
//!             println!("{name} took {:?}: {outcome:?}", start.elapsed());
//!             outcome
//!         })
//!     }
//! }
//!
//! # #[panpipe::service]
//! # pub trait Clock { async fn now(&self) -> u64; }
//! # struct Wall;
//! # impl Clock for Wall { async fn now(&self) -> u64 { 7 } }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let name = format!("doc.timing.{}", std::process::id());
//! let server = panpipe::Server::bind(&name).service(Wall.serve()).layer(Timing).start()?;
//! let clock = ClockClient::connect(&name).await?.with_layer(Timing);
//! assert_eq!(clock.now().await, Ok(7));
//! # server.shutdown().await?;
//! # Ok(())
//! # }
//! ```

mod call;
mod failed;
mod next;
mod outcome;
mod stack;

pub use tower_layer::Layer;
pub use tower_service::Service;

pub use self::call::Call;
pub use self::next::{Answering, Next};
pub use self::outcome::Outcome;
pub use self::stack::CallLayer;

pub(crate) use self::failed::not_made;
pub(crate) use self::outcome::{Ended, Work};
pub(crate) use self::stack::Stack;

//! One-way services over one pipe: many write, one reads, nothing comes back.
//!
//! A trait whose methods are all `#[oneway]` needs no more than one direction: a FIFO,
//! to which every program of the user writes, shell scripts too; one anonymous pipe to
//! or from a child; any stream of bytes.
//!
//! ```
//! /// Takes lines.
//! #[panpipe::service]
//! pub trait Log {
//!     /// One more.
//!     #[oneway]
//!     async fn line(&self, level: u8, text: String);
//! }
//!
//! struct Print;
//!
//! impl Log for Print {
//!     async fn line(&self, level: u8, text: String) {
//!         println!("{level} {text}");
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let name = format!("doc.log.{}", std::process::id());
//! // In one process; `panpipe::oneway::serve(name, Print.serve()).await` serves until ctrl-c.
//! let server = panpipe::oneway::Server::bind(&name).service(Print.serve()).start()?;
//!
//! // In any number of others.
//! let log = panpipe::oneway::connect::<LogClient>(&name).await?;
//! log.line(1, "all is well".to_owned()).await?;
//! # server.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! - **A call is one record** of at most 4,096 bytes, written in one piece, so that
//!   writers do not come between each other's bytes. A larger one fails with
//!   [`CallError::TooLarge`](crate::CallError::TooLarge).
//! - **A call is ready when the system has it.** Nobody can tell whether it was read: a
//!   reader that dies takes with it what it had not. Who has to know uses a connection,
//!   and [`flush`](crate::ServiceClient::flush).
//! - **Anything may be written to the pipe.** The reader finds whole records in it and
//!   passes over the rest: see [`PassedOver`].
//! - **A full pipe makes writers wait**, and a reader that goes fails their calls with
//!   `Disconnected { sent: false }`, until one is there again.
//! - **Who calls is not known**: [`call::peer`](crate::call::peer) is unknown in a handler.
//!
//! On Windows there are no FIFOs, and an error says so; the rest is there.

mod connect;
mod lanes;
mod passed_over;
mod record;
mod scanner;
mod server;
mod writer;

pub use connect::{Connect, connect, over};
pub use passed_over::{PassedOver, Totals};
pub use server::{Server, serve, serve_reader};
pub(crate) use writer::RecordWriter;

/// A service of whose methods nothing comes back: at least one, and all `#[oneway]`.
///
/// The attribute says it of the generated service and client. [`oneway`](self)'s
/// functions ask for it.
#[diagnostic::on_unimplemented(
    message = "a one-way pipe carries no answers, and `{Self}` has methods that give some, or none at all",
    label = "not a one-way service",
    note = "mark every method of the trait with `#[oneway]`, or serve it by `panpipe::serve` and connect by the client's own `connect`"
)]
pub trait OnewayService {}

//! Other frameworks at the works of panpipe's benches, each by its own best practice:
//! what was chosen and why stands in its file's head.
//!
//! A workspace of its own, so that nobody builds them who does not measure them.
//! `cargo bench -p panpipe-benches` does, by itself.
//!
//! What is not here: ipc-rpc, which loses replies under load, so that there is nothing
//! to time; D-Bus over a bus, which is a third process.

use panpipe_benches::job::HUGE;

pub mod capnp;
// Made of `echo.capnp` by Cap'n Proto's own compiler, and kept here so that nobody needs
// that to build. One line is not the compiler's: it leaves open how an interface is made in
// place, which is done nowhere, and says here that it cannot be.
#[allow(missing_docs, clippy::all, unreachable_pub, rust_2018_idioms)]
#[rustfmt::skip]
pub mod echo_capnp;
pub mod iceoryx2;
pub mod ipc_channel;
pub mod jsonrpsee;
pub mod remoc;
pub mod tarpc;
pub mod tonic;
pub mod ttrpc;
pub mod zbus;
pub mod zlink;

/// The largest message that any work has.
const MAX_MESSAGE: usize = 2 * HUGE;

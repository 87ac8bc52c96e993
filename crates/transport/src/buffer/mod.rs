//! Buffers for drivers of a byte stream: what came in, what is to go out, and
//! the pool that idle connections keep nothing of.

mod inbox;
mod outbox;
mod pool;

pub use inbox::{FrameBuf, Inbox, Prefix};
pub use outbox::Outbox;

//! The limits of a connection as a value. The defaults are
//! `panpipe_transport::limits`, all on one screen.

use std::sync::Arc;
use std::time::Duration;

pub(crate) use panpipe_transport::limits::*;

/// What one side of a connection accepts from the other.
///
/// Each side tells its limits in its hello and the other keeps to them: a
/// caller waits, rather than sends more than the other side takes.
///
/// ```
/// use panpipe::Limits;
///
/// let limits = Limits { max_message: 64 << 20, ..Limits::default() };
/// ```
///
/// The defaults:
///
/// ```
/// # use std::time::Duration;
/// # use panpipe::Limits;
/// let limits = Limits::default();
/// assert_eq!(limits.max_message, 16 << 20);
/// assert_eq!(limits.max_calls, 1024);
/// assert_eq!(limits.max_nested_calls, 256);
/// assert_eq!(limits.max_call_bytes, 64 << 20);
/// assert_eq!(limits.queued_bytes, 1 << 20);
/// assert_eq!(limits.max_ports, 512);
/// assert_eq!(limits.stream_items, 1024);
/// assert_eq!(limits.stream_bytes, 256 << 10);
/// assert_eq!(limits.large_item_bytes, 32 << 20);
/// assert_eq!(limits.max_metadata, 8 << 10);
/// assert_eq!(limits.max_clients, 4096);
/// assert_eq!(limits.max_calls_in_all, 64 << 10);
/// assert_eq!(limits.handshake_timeout, Duration::from_secs(5));
/// assert_eq!(limits.idle_timeout, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest message accepted, in bytes of its encoding. A larger one
    /// fails its call with [`CallError::TooLarge`](crate::CallError::TooLarge).
    pub max_message: usize,
    /// How deep a value nests at most that is decoded, in levels of serde's: an option, a
    /// sequence, a struct and an enum are one each, so that a syntax tree takes two to four for
    /// each level of its own. A deeper value fails its call with
    /// [`CallError::Malformed`](crate::CallError::Malformed). Each level takes stack of the
    /// thread that decodes: raise it only where the threads have large stacks.
    pub max_depth: u32,
    /// How many calls of one peer run at once. Its further calls wait with the
    /// peer.
    pub max_calls: u32,
    /// How many levels deep calls may nest when `max_calls` of them run: one call of the peer's
    /// runs for each level, beside the others. A call nests that a handler makes while it
    /// answers a call of the other side. One that nests deeper fails at once with
    /// [`CallError::Overloaded`](crate::CallError::Overloaded), for both sides would wait for
    /// each other. Calls of a task that a handler has spawned count as not nested.
    pub max_nested_calls: u32,
    /// How many bytes of arguments of one peer's running calls are held at
    /// once. Its further calls wait with the peer.
    pub max_call_bytes: usize,
    /// How many bytes of one peer's one-way calls wait here until fewer than `max_calls` of
    /// them run; each counts as 96 bytes more than its message has. Further ones wait with
    /// the peer. At least 64 KiB.
    pub oneway_bytes: usize,
    /// How many bytes wait to be sent before calls and replies of this side
    /// wait too.
    pub queued_bytes: usize,
    /// How many ports each side of a connection may have open at once: streams,
    /// senders and clients that it has passed to the other side. The smaller value
    /// of the two sides holds for both. A call that carries one more fails with
    /// [`CallError::Overloaded`](crate::CallError::Overloaded).
    pub max_ports: u32,
    /// How many items of one stream are held before they are read. Its writer
    /// waits. A stream that is read quickly gets up to four times as many.
    pub stream_items: u32,
    /// How many bytes of one stream are held before they are read. An item that
    /// is larger than half of it counts as half of it. A stream that is read quickly gets up to four times as many.
    pub stream_bytes: usize,
    /// How many bytes of such larger items all streams of one peer hold at once.
    /// One item alone may be larger than that.
    pub large_item_bytes: usize,
    /// How many bytes of [metadata](crate::Metadata) of one call are accepted. A call with more
    /// fails with [`CallError::MetadataTooLarge`](crate::CallError::MetadataTooLarge), and is not
    /// run. 0: none are accepted.
    pub max_metadata: usize,
    /// How many clients a server serves at once. One more is refused.
    pub max_clients: usize,
    /// How many calls of all clients of a server run at once, one-way calls not
    /// counted. One more fails with
    /// [`CallError::Overloaded`](crate::CallError::Overloaded).
    pub max_calls_in_all: usize,
    /// How long a peer may take for its hello: a client that connects to a server, and a server
    /// that answers a client, or a child that its parent has started. What times out is
    /// noticed at most a second later. `Duration::MAX`: it is not timed.
    ///
    /// A tokio runtime with a paused clock runs on to its next timer whenever nothing is
    /// ready, also while another process is at work: a test that pauses the clock before the
    /// first call to a server elsewhere sets this to `Duration::MAX`.
    pub handshake_timeout: Duration,
    /// After how long a connection is ended over which nothing passes: no call runs,
    /// no stream or stub is open, and nothing has come for that long, or up to twice
    /// as long. The other side makes no call then that is lost; a call after that
    /// fails as one that was not sent. `None`: never.
    pub idle_timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message: MAX_FRAME,
            max_depth: MAX_DEPTH,
            max_calls: MAX_CALLS,
            max_nested_calls: MAX_NESTED_CALLS,
            max_call_bytes: MAX_CALL_BYTES,
            oneway_bytes: ONEWAY_BYTES,
            queued_bytes: QUEUED_BYTES,
            max_ports: MAX_PORTS,
            stream_items: STREAM_ITEMS,
            stream_bytes: STREAM_BYTES,
            large_item_bytes: LARGE_ITEM_BYTES,
            max_metadata: MAX_METADATA,
            max_clients: MAX_CLIENTS,
            max_calls_in_all: MAX_CALLS_IN_ALL,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

impl Limits {
    /// The same limits, each raised to the least that the protocol needs.
    pub(crate) fn at_least_the_protocols(shared: Arc<Self>) -> Arc<Self> {
        let raised = Limits::clone(&shared).raised();
        if raised == *shared { shared } else { Arc::new(raised) }
    }

    fn raised(mut self) -> Self {
        self.max_message = self.max_message.max(FIRST_MESSAGE);
        self.max_calls = self.max_calls.max(1);
        self.max_call_bytes = self.max_call_bytes.max(1);
        self.oneway_bytes = self.oneway_bytes.max(FIRST_ONEWAYS as usize);
        self.queued_bytes = self.queued_bytes.max(1);
        self.stream_items = self.stream_items.max(1);
        self.stream_bytes = self.stream_bytes.max(STREAM_BYTES_LEAST);
        self.large_item_bytes = self.large_item_bytes.max(1);
        self
    }
}

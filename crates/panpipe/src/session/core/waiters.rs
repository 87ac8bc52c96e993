//! Who waits for something of a session that is not the reply to a call.

use std::collections::BTreeMap;
use std::task::Waker;

use slab::Slab;

use crate::session::on_demand::Part;

/// Mostly nobody does.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Replies and one-way calls, for room in the queue.
    pub(super) reply: Vec<Waker>,
    /// One-way calls, until the peer takes more of them.
    pub(super) oneway: Vec<Waker>,
    /// The ports of streams that wait until large items have been read.
    pub(super) large: Vec<u64>,
    /// Calls, until one-way calls have been handed to their handlers.
    pub(super) flush: BTreeMap<u32, Waker>,
    /// The end of the connection, or that it is to end; each under a key of its own, until it
    /// is forgotten. None of one that has been woken.
    pub(super) end: Slab<Option<Waker>>,
}

impl Part for Waiters {
    fn unused() -> &'static Self {
        static UNUSED: Waiters = Waiters {
            reply: Vec::new(),
            oneway: Vec::new(),
            large: Vec::new(),
            flush: BTreeMap::new(),
            end: Slab::new(),
        };
        &UNUSED
    }
}

//! Places in the outgoing stream that are remembered for what has to do with ports.

use panpipe_transport::buffer::Outbox;

use crate::limits;

/// Whether other messages go out between the items of streams, told by where the
/// outgoing stream ended after the last item.
#[derive(Debug)]
pub(crate) struct Passed {
    seen: u64,
    /// For how many items it stays so.
    items: u32,
}

impl Passed {
    pub(crate) const NEVER: Passed = Passed { seen: 0, items: 0 };

    #[inline]
    pub(crate) fn is_now(&self) -> bool {
        self.items > 0
    }

    /// An item is to be queued behind what stands in the queue now.
    pub(crate) fn before_item(&mut self, end: u64) {
        self.items = if end == self.seen { self.items.saturating_sub(1) } else { limits::SHORT_ITEMS };
    }

    pub(crate) fn after_item(&mut self, end: u64) {
        self.seen = end;
    }

    /// What the session says of streams is none of the others.
    pub(crate) fn around_words(&mut self, before: u64, after: u64) {
        if before == self.seen {
            self.seen = after;
        }
    }
}

/// Counts the bytes of what the session says by itself, from a place in the
/// outgoing stream on until that place has gone out.
#[derive(Debug)]
pub(crate) struct Words {
    since: u64,
    bytes: usize,
}

impl Words {
    pub(crate) const NONE: Words = Words { since: 0, bytes: 0 };

    /// Adds what was just queued. True if too much of it waits.
    pub(crate) fn are_unheard(&mut self, size: usize, outbox: &Outbox) -> bool {
        if outbox.written_total() >= self.since {
            *self = Words { since: outbox.queued_total(), bytes: 0 };
        }
        self.bytes += size;
        self.bytes > limits::UNREAD_WORDS
    }
}

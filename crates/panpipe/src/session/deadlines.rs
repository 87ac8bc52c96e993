//! What falls due when. Removal is exact, so a call that ends early leaves
//! nothing behind.

use std::collections::BTreeMap;
use std::time::Instant;

/// What falls due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// A call of ours, by its key.
    Call(usize),
    /// A call of the peer's, by its id.
    Handler(u32),
    /// Our hello, if no call has carried it by then.
    Hello,
    /// The peer's hello.
    Handshake,
    /// The end of a connection over which nothing passes.
    Idle,
    /// The peer's answer to our Goodbye.
    Goodbye,
}

/// Names one entry, for its removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    at: Instant,
    serial: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    entries: BTreeMap<Ticket, Due>,
    serial: u64,
}

impl Deadlines {
    pub(crate) fn insert(&mut self, at: Instant, due: Due) -> Ticket {
        self.serial += 1;
        let ticket = Ticket { at, serial: self.serial };
        self.entries.insert(ticket, due);
        ticket
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) {
        self.entries.remove(&ticket);
    }

    /// Removes those that `are`, whichever their tickets.
    pub(crate) fn remove_all(&mut self, are: impl Fn(Due) -> bool) {
        self.entries.retain(|_, due| !are(*due));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|(ticket, _)| ticket.at)
    }

    pub(crate) fn pop(&mut self, now: Instant) -> Option<Due> {
        let first = self.entries.first_entry()?;
        (first.key().at <= now).then(|| first.remove())
    }

    /// Gives up the memory of what has been, where nothing is left.
    pub(crate) fn shrink(&mut self) {
        if self.entries.is_empty() {
            self.entries = BTreeMap::new();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn entries_fall_due_in_order_and_removed_ones_never() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut deadlines = Deadlines::default();
        deadlines.insert(later, Due::Call(2));
        deadlines.insert(now, Due::Call(1));
        let removed = deadlines.insert(now, Due::Handler(7));
        deadlines.remove(removed);
        deadlines.insert(now, Due::Hello);
        deadlines.insert(later, Due::Hello);
        deadlines.remove_all(|due| due == Due::Hello);
        assert_eq!(deadlines.next(), Some(now));
        assert_eq!(deadlines.pop(now), Some(Due::Call(1)));
        assert_eq!(deadlines.pop(now), None);
        assert_eq!(deadlines.pop(later), Some(Due::Call(2)));
        assert_eq!(deadlines.next(), None);
    }
}

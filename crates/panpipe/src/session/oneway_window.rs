//! Flow control of one-way calls, which no reply bounds.
//!
//! Each side says in its hello how many bytes of one-way calls it holds for the other side
//! before their handlers start: the window. The sender counts the calls that it has sent and
//! waits while the window is used up. The receiver starts the handlers as others end, and gives
//! the bytes back in Credit frames of port 0, a quarter of the window at a time. The receiver
//! never stops reading: a running handler may wait for a reply, an item or the end.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use crate::limits::{FIRST_ONEWAYS, ONEWAY_COST};

/// What a one-way call takes of the window; `len` is the length of its frame without the
/// length field.
#[inline]
pub(crate) fn cost(len: usize) -> u64 {
    (len as u64).saturating_add(ONEWAY_COST)
}

/// The sender's view of the window.
#[derive(Debug)]
pub(crate) struct SendWindow {
    /// `None` for a peer that does not count: it tells no window and gives no credit.
    size: Option<u64>,
    used: u64,
}

impl SendWindow {
    /// The window of a peer whose hello has not come.
    pub(crate) const FIRST: SendWindow = SendWindow { size: Some(FIRST_ONEWAYS), used: 0 };

    /// Takes the window that the peer's hello tells; 0 if the peer does not count.
    pub(crate) fn set_size(&mut self, size: u64) {
        self.size = (size > 0).then_some(size.max(FIRST_ONEWAYS));
    }

    /// Whether a call may be sent. The call that uses the window up may be longer than what is
    /// left. The last quarter is kept for calls that are `nested`, made by a handler: the peer's
    /// running handlers may wait for that handler, and they have to end before the peer starts
    /// others and gives credit.
    pub(crate) fn has_room(&self, nested: impl FnOnce() -> bool) -> bool {
        match self.size {
            None => true,
            Some(size) => self.used < size.saturating_sub(size / 4) || (self.used < size && nested()),
        }
    }

    /// Counts a call that was queued; `len` as for [`cost`].
    pub(crate) fn sent(&mut self, len: usize) {
        self.used = self.used.saturating_add(cost(len));
    }

    /// Takes back what the peer gives. False if that is more than was sent.
    #[must_use]
    pub(crate) fn granted(&mut self, bytes: u64) -> bool {
        match self.used.checked_sub(bytes) {
            Some(used) => {
                self.used = used;
                true
            }
            None => false,
        }
    }
}

/// The receiver's view of the window.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    /// What the calls take that have come and were not given back.
    held: u64,
    /// What of that belongs to calls whose handlers have started.
    started: u64,
}

impl ReceiveWindow {
    pub(crate) const UNUSED: ReceiveWindow = ReceiveWindow { held: 0, started: 0 };

    /// Counts a call that has come. False if the peer was not to send it.
    #[must_use]
    pub(crate) fn came(&mut self, cost: u64, size: u64) -> bool {
        let has_room = self.held < size;
        if has_room {
            self.held = self.held.saturating_add(cost);
        }
        has_room
    }

    /// Notes that the handler of a call starts.
    pub(crate) fn started(&mut self, cost: u64) {
        self.started = self.started.saturating_add(cost);
    }

    /// Whether enough is free again to tell the peer.
    pub(crate) fn owes_credit(&self, size: u64) -> bool {
        self.started > 0 && self.started >= size / 4
    }

    /// Takes what is to be given back.
    pub(crate) fn take_credit(&mut self) -> u64 {
        let credit = std::mem::take(&mut self.started);
        self.held = self.held.saturating_sub(credit);
        credit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sender_that_keeps_to_the_window_is_never_over_it_and_never_stuck() {
        const SIZE: u64 = 1 << 20;
        let (mut sender, mut receiver) = (SendWindow::FIRST, ReceiveWindow::UNUSED);
        sender.set_size(SIZE);
        let (mut waiting, mut seed) = (std::collections::VecDeque::new(), 7u64);
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let len = [1, 100, 5_000, 70_000, 3 << 20][(seed >> 33) as usize % 5];
            let nested = (seed >> 40) % 2 == 0;
            if sender.has_room(|| nested) {
                sender.sent(len);
                assert!(receiver.came(cost(len), SIZE), "{sender:?} {receiver:?}");
                waiting.push_back(len);
                continue;
            }
            // All handlers start: the sender must get on.
            waiting.drain(..).for_each(|len| receiver.started(cost(len)));
            assert!(receiver.owes_credit(SIZE));
            assert!(sender.granted(receiver.take_credit()));
            assert!(sender.has_room(|| false), "{sender:?} is stuck");
        }
    }

    #[test]
    fn few_small_calls_need_no_credit() {
        let mut receiver = ReceiveWindow::UNUSED;
        for _ in 0..1000 {
            assert!(receiver.came(cost(30), 1 << 20));
            receiver.started(cost(30));
        }
        assert!(!receiver.owes_credit(1 << 20));
    }

    #[test]
    fn sender_over_the_window_and_receiver_over_its_credit_are_noticed() {
        let mut receiver = ReceiveWindow::UNUSED;
        assert!(receiver.came(1 << 20, 1 << 20));
        assert!(!receiver.came(1, 1 << 20));
        let mut sender = SendWindow::FIRST;
        sender.sent(10);
        assert!(!sender.granted(cost(11)));
        assert!(sender.granted(cost(10)));
    }

    #[test]
    fn last_quarter_is_kept_for_nested_calls() {
        let mut sender = SendWindow::FIRST;
        sender.set_size(1 << 20);
        sender.sent(3 << 18);
        assert!(!sender.has_room(|| false) && sender.has_room(|| true));
        sender.sent(1 << 18);
        assert!(!sender.has_room(|| true));
        // A peer that does not count bounds nothing.
        sender.set_size(0);
        assert!(sender.has_room(|| false));
    }
}

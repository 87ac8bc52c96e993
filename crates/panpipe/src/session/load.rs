//! How many calls run in all connections of a server together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the calls that run, up to a limit. Shared by all connections of a server.
#[derive(Debug)]
pub(crate) struct Load {
    calls: AtomicUsize,
    most: usize,
}

impl Load {
    pub(crate) fn new(most: usize) -> Self {
        Load { calls: AtomicUsize::new(0), most }
    }

    /// Counts one more call; false if there are as many as may be.
    pub(crate) fn take(&self) -> bool {
        // Nothing else is ordered by the count: it is a limit, no lock.
        let counted = self.calls.fetch_add(1, Ordering::Relaxed) < self.most;
        if !counted {
            self.give_back();
        }
        counted
    }

    /// How many run now.
    pub(crate) fn running(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn give_back(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_counted_than_may_be_and_what_is_given_back_can_be_taken() {
        let load = Load::new(2);
        assert_eq!([load.take(), load.take(), load.take(), load.take()], [true, true, false, false]);
        load.give_back();
        assert_eq!([load.take(), load.take()], [true, false]);
        load.give_back();
        load.give_back();
        assert_eq!(load.calls.load(Ordering::Relaxed), 0);
    }
}

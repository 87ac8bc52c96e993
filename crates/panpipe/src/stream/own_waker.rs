//! A waker of one future's own: it can be told from all others, and so be taken
//! back where the future goes before it is woken.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

pub(super) struct OwnWaker {
    slot: Arc<Slot>,
    waker: Waker,
}

/// Whom to wake.
struct Slot(Mutex<Option<Waker>>);

impl Slot {
    fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), waker)
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.replace(None).into_iter().for_each(Waker::wake);
    }
}

impl Default for OwnWaker {
    fn default() -> Self {
        let slot = Arc::new(Slot(Mutex::new(None)));
        OwnWaker { waker: Waker::from(Arc::clone(&slot)), slot }
    }
}

impl OwnWaker {
    /// Has it wake this one, from here on and once.
    pub(super) fn waking(&self, waker: &Waker) -> &Waker {
        drop(self.slot.replace(Some(waker.clone())));
        &self.waker
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::woken::Woken;

    #[test]
    fn it_wakes_whom_it_was_last_told_to_and_is_like_no_other() {
        let (first, last) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let (own, other) = (OwnWaker::default(), OwnWaker::default());
        own.waking(&Waker::from(first.clone()));
        let waker = own.waking(&Waker::from(last.clone())).clone();
        assert!(waker.will_wake(own.waker()) && !waker.will_wake(other.waking(Waker::noop())));
        waker.wake();
        own.waker().wake_by_ref();
        assert_eq!((first.0.load(Ordering::SeqCst), last.0.load(Ordering::SeqCst)), (0, 1));
    }
}

//! How a thread waits, and is woken, wherever it waits.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use panpipe_transport::blocking::Bell;

use crate::clock;

/// Nobody has woken the thread since it last looked.
const IDLE: u8 = 0;
/// Somebody has.
const WOKEN: u8 = 1;
/// The thread sleeps, as `thread::park` does.
const PARKED: u8 = 2;
/// The thread waits at descriptors, of which its bell is one.
const AT_BELL: u8 = 3;

/// A thread that waits: the waker of what it waits for. Waking costs a system call only
/// where the thread sleeps.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU8,
    thread: Thread,
    /// Made when the thread first waits at it.
    bell: OnceLock<Bell>,
}

/// A thread's parker, and the same as a waker.
pub(crate) struct Own {
    pub(crate) parker: Arc<Parker>,
    pub(crate) waker: Waker,
}

thread_local! {
    static OWN: Own = Own::new();
    static WAITS: Cell<u32> = const { Cell::new(0) };
}

impl Own {
    fn new() -> Self {
        let parker =
            Arc::new(Parker { state: AtomicU8::new(IDLE), thread: thread::current(), bell: OnceLock::new() });
        Own { waker: Waker::from(Arc::clone(&parker)), parker }
    }

    /// Does something with that of this thread.
    #[inline]
    pub(crate) fn with<R>(f: impl FnOnce(&Own) -> R) -> R {
        let mut f = Some(f);
        let mut run = |own: &Own| f.take().map(|f| f(own));
        // A thread that ends has lost its own, and may still wait in a destructor.
        let done = OWN.try_with(&mut run).ok().flatten().or_else(|| run(&Own::new()));
        done.expect("it is run once, whichever thread's it is")
    }
}

/// Whether the waker is that of this thread: a thread that waits in a blocking call polls
/// with it, and polls again at the time that a [`Timer`](crate::timer::Timer) asks for.
pub(crate) fn is_of_this_thread(waker: &Waker) -> bool {
    OWN.try_with(|own| own.waker.will_wake(waker)).unwrap_or(false)
}

/// A wait of this thread, which may be one inside of another.
pub(crate) struct Waits<'a>(&'a Parker);

impl<'a> Waits<'a> {
    pub(crate) fn begin(parker: &'a Parker) -> Self {
        let _ = WAITS.try_with(|waits| waits.set(waits.get() + 1));
        Waits(parker)
    }
}

impl Drop for Waits<'_> {
    #[inline]
    fn drop(&mut self) {
        let left = WAITS.try_with(|waits| {
            waits.set(waits.get() - 1);
            waits.get()
        });
        if left.is_ok_and(|left| left > 0) {
            // What the outer wait was woken for may have been taken for the inner one's.
            self.0.state.store(WOKEN, Ordering::SeqCst);
        }
    }
}

impl Parker {
    /// Whether it is the calling thread's.
    pub(crate) fn is_own(&self) -> bool {
        self.thread.id() == thread::current().id()
    }

    /// Looks whether it was woken, and forgets it.
    #[inline]
    pub(crate) fn forget(&self) {
        if self.is_woken() {
            self.state.swap(IDLE, Ordering::SeqCst);
        }
    }

    #[inline]
    pub(crate) fn is_woken(&self) -> bool {
        self.state.load(Ordering::SeqCst) == WOKEN
    }

    /// Sleeps until it is woken, or until some time, unless it has been woken.
    pub(crate) fn park(&self, until: Option<Instant>) {
        if self.state.compare_exchange(IDLE, PARKED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        while self.state.load(Ordering::SeqCst) == PARKED {
            match until.map(|until| until.saturating_duration_since(clock::system())) {
                None => thread::park(),
                Some(Duration::ZERO) => {
                    let _ = self.state.compare_exchange(PARKED, IDLE, Ordering::SeqCst, Ordering::SeqCst);
                }
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// Whether it has a bell, and with that descriptors.
    #[inline]
    pub(crate) fn has_bell(&self) -> bool {
        self.bell.get().is_some()
    }

    /// Its bell, to wait at: whoever wakes the thread rings it, until it has
    /// [left](Self::leave_bell). None if it has been woken, or there can be no bell.
    pub(crate) fn go_to_bell(&self) -> Option<&Bell> {
        let bell = match self.bell.get() {
            Some(bell) => bell,
            None => {
                let _ = self.bell.set(Bell::new().ok()?);
                self.bell.get()?
            }
        };
        let idle = self.state.compare_exchange(IDLE, AT_BELL, Ordering::SeqCst, Ordering::SeqCst);
        idle.is_ok().then_some(bell)
    }

    pub(crate) fn leave_bell(&self) {
        let _ = self.state.compare_exchange(AT_BELL, IDLE, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Wakes the thread.
    #[inline]
    pub(crate) fn wake_thread(&self) {
        match self.state.swap(WOKEN, Ordering::SeqCst) {
            PARKED => self.thread.unpark(),
            AT_BELL => self.bell.get().into_iter().for_each(Bell::ring),
            _ => {}
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_thread();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_thread();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_woken_wherever_it_waits_and_before_it_does() {
        let Own { parker, waker } = Own::new();
        waker.wake_by_ref();
        parker.park(None);
        assert!(parker.is_woken());
        parker.forget();
        thread::scope(|scope| {
            scope.spawn(|| waker.wake_by_ref());
            parker.park(None);
        });
        assert!(parker.is_woken() && parker.go_to_bell().is_none());
        parker.forget();
        let before = Instant::now();
        parker.park(Some(before + Duration::from_millis(20)));
        assert!(!parker.is_woken() && before.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_wait_at_descriptors_ends_too() {
        let Own { parker, waker } = Own::new();
        // There is none on every system yet.
        let Some(bell) = parker.go_to_bell() else { return };
        thread::scope(|scope| {
            scope.spawn(|| waker.wake_by_ref());
            assert!(panpipe_transport::blocking::wait(None, None, Some(bell), None).unwrap().rung);
        });
        parker.leave_bell();
        assert!(parker.is_woken());
    }

    #[test]
    fn an_inner_wait_takes_nothing_from_the_outer_one() {
        let Own { parker, .. } = Own::new();
        let outer = Waits::begin(&parker);
        drop(Waits::begin(&parker));
        assert!(parker.is_woken());
        parker.forget();
        drop(outer);
        assert!(!parker.is_woken());
    }
}

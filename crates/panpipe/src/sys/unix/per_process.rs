//! Values of which each process has its own, also one that was forked without exec.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value that a process makes on first use.
///
/// A forked child has a copy of its parent's memory, but none of the parent's threads, and its
/// locks may be held by a thread that does not exist. So the child makes a value of its own.
pub(super) struct PerProcess<T>(AtomicPtr<Made<T>>);

struct Made<T> {
    process: u32,
    value: T,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    pub(super) const fn new() -> Self {
        PerProcess(AtomicPtr::new(ptr::null_mut()))
    }

    /// This process's value. If several threads come first at once, each calls `make`, and one
    /// of the values is kept.
    pub(super) fn get(&self, make: impl FnOnce() -> T) -> &'static T {
        let process = std::process::id();
        let current = self.0.load(Ordering::Acquire);
        // SAFETY: a pointer that is stored here came from `Box::into_raw`, and nothing frees it.
        if let Some(made) = unsafe { current.as_ref() }
            && made.process == process
        {
            return &made.value;
        }
        let new = Box::into_raw(Box::new(Made { process, value: make() }));
        match self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: from here on the value is never freed. The parent's copy is left alone:
            // to drop it could wait for a lock for ever.
            Ok(_) => unsafe { &(*new).value },
            Err(first) => {
                // SAFETY: `new` was not stored, so this is its only pointer.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: another thread of this process has stored it, and nothing frees it.
                unsafe { &(*first).value }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread;

    use super::*;

    #[test]
    fn all_threads_of_a_process_share_one_value() {
        static VALUE: PerProcess<Mutex<u32>> = PerProcess::new();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| *VALUE.get(Mutex::default).lock().unwrap() += 1);
            }
        });
        assert_eq!(*VALUE.get(|| unreachable!()).lock().unwrap(), 8);
    }
}

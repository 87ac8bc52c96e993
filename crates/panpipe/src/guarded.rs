//! Code of the user's whose panic is not to end what runs it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::log_limit::log_limited;

/// What is known of a panic that was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs code of the user's, and catches its panic. The payload may panic too when it is
/// dropped: that panic is caught as well.
#[inline(always)]
pub(crate) fn caught<R>(code: impl FnOnce() -> R) -> Result<R, Panicked> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => Ok(result),
        Err(payload) => {
            drop_guarded(payload);
            Err(Panicked)
        }
    }
}

/// Drops a value of the user's, whose `Drop` may panic.
#[inline]
pub(crate) fn drop_guarded<T>(value: T) {
    if !mem::needs_drop::<T>() {
        return;
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        drop_panicked(payload);
    }
}

#[cold]
fn drop_panicked<T>(payload: T) {
    log_limited!(error, "a value panicked as it was dropped");
    // A payload may make further payloads for ever: the second is leaked.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(second);
    }
}

/// Calls a function of the user's that is told of what happens. A hook that panics is not to
/// take down what it is told of.
pub(crate) fn guarded(name: &str, hook: impl FnOnce()) {
    if caught(hook).is_err() {
        log_limited!(error, "the hook `{name}` panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Panics when it is dropped, with another of its kind.
    struct Relentless(u32);

    impl Drop for Relentless {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Relentless(self.0 - 1));
            }
        }
    }

    #[test]
    fn payload_that_panics_when_it_is_dropped_is_caught() {
        for depth in [0, 1, 2, 5] {
            assert_eq!(caught(|| panic_any(Relentless(depth))), Err::<(), _>(Panicked));
            drop_guarded(Relentless(depth));
        }
        assert_eq!(caught(|| 5), Ok(5));
    }
}

//! Functions of the user's that are told of what happens.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls one. A hook that panics is not to take down what it is told of.
pub(crate) fn guarded(name: &str, hook: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(hook)).is_err() {
        tracing::error!("the hook `{name}` panicked");
    }
}

//! The processors that this thread may run on.

use rustix::thread::{sched_getaffinity, sched_yield};

/// Whether there is but one, which it then shares with all others that may run there.
/// Time of others that is merely rationed is not meant.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn is_single() -> bool {
    sched_getaffinity(None).is_ok_and(|set| set.count() == 1)
}

/// Not asked elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_single() -> bool {
    false
}

/// Lets others run that wait for this processor.
pub(crate) fn let_others_run() {
    sched_yield();
}

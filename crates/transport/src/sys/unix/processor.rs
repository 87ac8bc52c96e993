//! The processors that this thread may run on.

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::cell::Cell;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::time::Instant;

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::thread::sched_getaffinity;
use rustix::thread::sched_yield;

#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::limits::AFFINITY_HOLDS;

/// Whether there is but one, which it then shares with all others that may run there.
/// Time of others that is merely rationed is not meant. That it has changed it may find
/// out a moment later.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn is_single() -> bool {
    thread_local! {
        static ASKED: Cell<Option<(Instant, bool)>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    match ASKED.get() {
        Some((asked, is_single)) if now.duration_since(asked) < AFFINITY_HOLDS => is_single,
        _ => {
            let is_single = sched_getaffinity(None).is_ok_and(|set| set.count() == 1);
            ASKED.set(Some((now, is_single)));
            is_single
        }
    }
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

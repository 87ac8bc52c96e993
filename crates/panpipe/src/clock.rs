//! The clocks of this crate; no other module reads one.
//!
//! In a tokio runtime, times are counted by tokio's clock, which a test can pause and advance.
//! On threads without a runtime they are counted by the system's clock. Both clocks give
//! [`Instant`]s, and an instant of one clock means nothing on the other. The rules that keep
//! them apart:
//!
//! - A call's deadline is counted in the caller's context, by [`now`], and is enforced there
//!   too (`timer.rs`). Across a connection travels the time that is left, never an instant.
//! - What a connection times by itself (hellos, the peer's deadlines, idleness) is counted by
//!   the connection's own [`Clock`], whichever thread reads for the connection.
//! - A thread that waits without a runtime, and busy-polling, use [`system`].

use std::time::{Instant, SystemTime};

/// The time in the current context: tokio's in a runtime, the system's elsewhere.
#[inline]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of the system's monotonic clock.
#[inline]
pub(crate) fn system() -> Instant {
    Instant::now()
}

/// A time of [`now`] as one of [`system`], at which as much time is left.
pub(crate) fn to_system(at: Instant) -> Option<Instant> {
    system().checked_add(at.saturating_duration_since(now()))
}

/// The date and time of the system.
pub(crate) fn date() -> SystemTime {
    SystemTime::now()
}

/// The clock of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The system's clock. It is that of threads, and of a runtime of many threads, whose
    /// clock cannot be paused: there, callers on threads of other runtimes read too.
    System,
    /// The clock of the single-threaded runtime that polls the connection's driver. Only the
    /// driver reads it.
    Runtime,
}

impl Clock {
    #[inline]
    pub(crate) fn now(self) -> Instant {
        match self {
            Clock::System => system(),
            Clock::Runtime => now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_runtimes_clock_follows_advance() {
        let hour = Duration::from_secs(3600);
        let (before, before_system) = (now(), system());
        tokio::time::advance(hour).await;
        assert!(now() - before >= hour && Clock::Runtime.now() - before >= hour);
        assert!(system() - before_system < hour && Clock::System.now() - before_system < hour);
    }
}

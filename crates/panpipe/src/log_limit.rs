//! Bounds how often a line is logged that a peer can cause.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::clock;
use crate::limits::{LOG_BURST, LOG_PAUSE};

/// The budget of one kind of line, of the whole process: some lines at once, and then one for
/// each [`LOG_PAUSE`].
pub(crate) struct LogLimit(Mutex<Budget>);

struct Budget {
    /// How many lines may still be logged at once.
    left: u32,
    /// Since when the budget grows.
    since: Option<Instant>,
    /// How many lines were left out since the last that was logged.
    left_out: u64,
}

impl LogLimit {
    pub(crate) const fn new() -> Self {
        LogLimit(Mutex::new(Budget { left: LOG_BURST, since: None, left_out: 0 }))
    }

    /// Whether a line may be logged now. If so, gives how many were left out before it.
    pub(crate) fn admit(&self) -> Option<u64> {
        self.admit_at(clock::system())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut budget = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *budget.since.get_or_insert(now);
        let more = now.saturating_duration_since(since).as_millis() / LOG_PAUSE.as_millis();
        if more > 0 {
            budget.left = u32::try_from(more).unwrap_or(LOG_BURST).saturating_add(budget.left).min(LOG_BURST);
            budget.since = Some(now);
        }
        match budget.left.checked_sub(1) {
            Some(left) => {
                budget.left = left;
                Some(std::mem::take(&mut budget.left_out))
            }
            None => {
                budget.left_out = budget.left_out.saturating_add(1);
                None
            }
        }
    }
}

/// Logs a line that a peer can cause, unless its kind has been logged too often. The field
/// `left_out` says how many lines of the kind were left out before it.
macro_rules! log_limited {
    ($level:ident, $($line:tt)+) => {{
        static LIMIT: $crate::log_limit::LogLimit = $crate::log_limit::LogLimit::new();
        if let Some(left_out) = LIMIT.admit() {
            tracing::$level!(left_out, $($line)+);
        }
    }};
}

pub(crate) use log_limited;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_logged_up_to_a_burst_and_then_one_for_each_pause() {
        let limit = LogLimit::new();
        let start = clock::system();
        let logged =
            |at: Instant, tries: u32| -> Vec<u64> { (0..tries).filter_map(|_| limit.admit_at(at)).collect() };
        assert_eq!(logged(start, 100), vec![0; LOG_BURST as usize]);
        assert!(logged(start + LOG_PAUSE / 2, 100).is_empty());
        let left_out = u64::from(100 - LOG_BURST) + 100;
        assert_eq!(logged(start + LOG_PAUSE, 100), [left_out]);
        // A long rest gives the burst again, and no more.
        let rested = logged(start + LOG_PAUSE * 1000, 100);
        assert_eq!((rested.len(), rested[0]), (LOG_BURST as usize, 99));
    }
}

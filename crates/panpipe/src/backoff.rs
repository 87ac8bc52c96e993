//! How long to wait between tries that fail, and when to give up.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use crate::limits;

/// How to try again what has failed: with pauses that grow, and with an end.
///
/// A pause is cut by up to a half at random, so that many who have lost the same
/// server do not come back at the same moment. Pauses are slept: they take no CPU.
///
/// ```
/// use std::time::Duration;
///
/// use panpipe::Backoff;
///
/// // Ten milliseconds, twenty, …, one second; after thirty seconds it is given up.
/// let usual = Backoff::exponential();
/// // For a server that its host starts again within a minute or two.
/// let patient = Backoff::exponential().most(Duration::from_secs(5)).for_at_most(Duration::from_secs(180));
/// # drop((usual, patient));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempts: Option<u32>,
    within: Option<Duration>,
}

impl Backoff {
    /// Pauses of 10 ms at first, each twice as long as the one before and at most
    /// one second; given up after 30 seconds.
    pub fn exponential() -> Self {
        Backoff {
            first: limits::BACKOFF_FIRST,
            most: limits::BACKOFF_MOST,
            attempts: None,
            within: Some(limits::BACKOFF_IN_ALL),
        }
    }

    /// The first pause; less than a millisecond is taken for one.
    pub fn first(mut self, pause: Duration) -> Self {
        self.first = pause;
        self
    }

    /// The longest pause; the first, if that is longer.
    pub fn most(mut self, pause: Duration) -> Self {
        self.most = pause;
        self
    }

    /// Gives up after so many tries; at least one is made.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Gives up so long after the first try of a row, in place of after 30 seconds.
    pub fn for_at_most(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// Never gives up.
    pub fn forever(mut self) -> Self {
        self.attempts = None;
        self.within = None;
        self
    }

    /// How long all tries together may take, if that is limited.
    pub(crate) fn in_all(&self) -> Option<Duration> {
        self.within
    }

    /// Begins a row of tries.
    pub(crate) fn begin(&self, now: Instant) -> Tries {
        let pause = self.first.max(limits::BACKOFF_LEAST);
        Tries {
            pause,
            most: self.most.max(pause),
            left: self.attempts,
            // A time past the end of the clock is all the time there is.
            end: self.within.and_then(|within| now.checked_add(within)),
        }
    }
}

/// A row of tries.
#[derive(Debug)]
pub(crate) struct Tries {
    pause: Duration,
    most: Duration,
    /// How many may fail.
    left: Option<u32>,
    end: Option<Instant>,
}

impl Tries {
    /// When they are given up at the latest.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.end
    }

    /// A try has failed: how long to wait before the next one. `None`: there is none.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Duration> {
        let time = self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        self.left = self.left.map(|left| left.saturating_sub(1));
        if time.is_zero() || self.left == Some(0) {
            return None;
        }
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(self.most);
        Some(jittered(pause).min(time))
    }
}

/// Between a half of the pause and all of it.
fn jittered(pause: Duration) -> Duration {
    // Each has keys of its own, of which the first were random.
    let random = RandomState::new().hash_one(0) as u32;
    let half = pause / 2;
    pause - half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(backoff: &Backoff, count: usize) -> Vec<Duration> {
        let now = Instant::now();
        let mut tries = backoff.begin(now);
        std::iter::from_fn(|| tries.failed(now)).take(count).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_each_is_cut_by_chance() {
        let mut whole = Duration::from_millis(10);
        for pause in pauses(&Backoff::exponential(), 20) {
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(Duration::from_secs(1));
        }
        let alike: Vec<_> = (0..100).map(|_| pauses(&Backoff::exponential(), 1)[0]).collect();
        let spread = alike.iter().max().unwrap().saturating_sub(*alike.iter().min().unwrap());
        assert!(spread > Duration::from_millis(2), "a hundred clients would come within {spread:?}");
    }

    #[test]
    fn it_is_given_up_by_number_or_by_time() {
        let five = Backoff::exponential().attempts(5);
        assert_eq!(pauses(&five, 100).len(), 4, "between five tries");
        assert_eq!(pauses(&Backoff::exponential().attempts(0), 100), []);
        let now = Instant::now();
        let mut tries = Backoff::exponential().first(Duration::from_secs(9)).begin(now);
        assert_eq!(tries.end(), Some(now + Duration::from_secs(30)));
        // The last pause ends with the time there is.
        let left = Duration::from_millis(3);
        assert_eq!(tries.failed(now + Duration::from_secs(30) - left), Some(left));
        assert_eq!(tries.failed(now + Duration::from_secs(30)), None);
        let later = now + Duration::from_secs(1 << 30);
        assert!(Backoff::exponential().attempts(1).forever().begin(now).failed(later).is_some());
    }

    #[test]
    fn odd_settings_neither_spin_nor_overflow() {
        for pause in pauses(&Backoff::exponential().first(Duration::ZERO).most(Duration::ZERO), 10) {
            assert!(pause >= limits::BACKOFF_LEAST / 2);
        }
        let endless = Backoff::exponential().first(Duration::MAX).for_at_most(Duration::MAX);
        assert!(pauses(&endless, 3).iter().all(|pause| *pause >= Duration::MAX / 2));
    }
}

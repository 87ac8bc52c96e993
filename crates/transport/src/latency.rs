//! How a connection waits for bytes.

use std::time::Duration;

use crate::limits::SPIN;

/// How a connection waits for the next bytes: asleep, or awake for a moment first,
/// because waking a thread costs more than most calls.
///
/// A connection chooses for itself; the other side may wait otherwise.
///
/// Waiting awake takes processor time that is otherwise free: at most its time after
/// each message. It holds up nothing else on its thread, and where it waits in vain a
/// few times in a row it sleeps for a while. Connections of runtimes of many threads, and
/// those that threads wait at without a runtime, always sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Latency {
    /// Awake for up to 100 µs after bytes have come, as long as that pays. On two
    /// processors a call is several times quicker so. Where the process has a single
    /// processor it lets the others run instead, one of which is mostly the other side.
    #[default]
    Adaptive,
    /// The same for up to so long.
    Within(Duration),
    /// Asleep at once: no processor time is spent on waiting.
    Asleep,
}

impl Latency {
    /// For how long it waits awake.
    pub(crate) fn time(self) -> Duration {
        match self {
            Latency::Adaptive => SPIN,
            Latency::Within(time) => time,
            Latency::Asleep => Duration::ZERO,
        }
    }
}

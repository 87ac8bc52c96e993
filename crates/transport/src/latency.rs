//! How a connection waits for bytes.

use std::time::Duration;

use crate::limits::SPIN;

/// How a connection waits for the next bytes: asleep, or awake for a moment first,
/// because waking a thread costs more than most calls.
///
/// A connection chooses for itself; the other side may wait otherwise.
///
/// Waiting awake takes processor time that is otherwise free: at most its time after
/// each message, and where it waits in vain a few times in a row it sleeps for a while.
///
/// In a runtime of one thread it holds up nothing else there. In one of many threads a
/// caller that waits for its reply, and a server that has answered and waits for the next
/// call, stay on their thread so long, 100 µs at most, while the runtime's other threads do
/// the rest; and they do so only while bytes come on no other connection of the process, and
/// not where the process has a single processor.
///
/// A thread that waits without a runtime, at a blocking client or server, stays in the same
/// way, as long as no other caller takes its turn.
///
/// Always asleep are streams of bytes that are read without panpipe's clients and servers in
/// a runtime of many threads or on a single processor, and whatever has the time of one
/// processor by ration.
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

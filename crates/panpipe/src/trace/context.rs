//! The ids of a trace, as they travel with a call.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};

/// The trace that a call belongs to, as W3C's Trace Context has it.
///
/// Displayed it is the value of a `traceparent` header.
///
/// ```
/// use panpipe::TraceContext;
///
/// let trace = TraceContext { trace_id: 0xabc, span_id: 7, sampled: true };
/// assert_eq!(trace.to_string(), "00-00000000000000000000000000000abc-0000000000000007-01");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// What all calls of a trace have in common. Never nought.
    pub trace_id: u128,
    /// The span that what follows is a part of: the nearest one that was made.
    /// Never nought.
    pub span_id: u64,
    /// Whether whoever began the trace keeps it.
    pub sampled: bool,
}

/// How many bytes a trace takes in a message.
pub(crate) const LEN: usize = 16 + 8 + 1;

/// The bit of the flags that says that the trace is kept.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// A trace that begins here.
    pub(super) fn begin() -> Self {
        let trace_id = u128::from(random()) << 64 | u128::from(random());
        TraceContext { trace_id, span_id: random(), sampled: true }
    }

    /// A new span of the same trace.
    pub(super) fn child(&self) -> Self {
        TraceContext { span_id: random(), ..*self }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.trace_id.to_be_bytes());
        out.extend_from_slice(&self.span_id.to_be_bytes());
        out.push(if self.sampled { SAMPLED } else { 0 });
    }

    /// Takes a trace off the front of `rest`. Flags of a later version are passed over.
    pub(crate) fn take(rest: &mut &[u8]) -> Option<TraceContext> {
        let (bytes, tail) = rest.split_first_chunk::<LEN>()?;
        let (trace_id, bytes) = bytes.split_first_chunk()?;
        let (span_id, flags) = bytes.split_first_chunk()?;
        let (trace_id, span_id) = (u128::from_be_bytes(*trace_id), u64::from_be_bytes(*span_id));
        *rest = tail;
        let trace = TraceContext { trace_id, span_id, sampled: flags[0] & SAMPLED != 0 };
        (trace_id != 0 && span_id != 0).then_some(trace)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// A number that is nobody else's: std seeds each of its hashers at random.
fn random() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_reads_back_as_written_and_one_without_ids_is_none() {
        for sampled in [true, false] {
            let trace = TraceContext { sampled, ..TraceContext::begin() };
            let mut bytes = Vec::new();
            trace.encode(&mut bytes);
            bytes.push(9);
            let mut rest = &bytes[..];
            assert_eq!(TraceContext::take(&mut rest), Some(trace));
            assert_eq!(rest, [9]);
            assert_eq!(TraceContext::take(&mut &bytes[..LEN - 1]), None);
        }
        let mut nought = [1; LEN];
        nought[..16].fill(0);
        assert_eq!(TraceContext::take(&mut &nought[..]), None);
        let mut nought = [1; LEN];
        nought[16..24].fill(0);
        assert_eq!(TraceContext::take(&mut &nought[..]), None);
    }

    #[test]
    fn every_trace_and_every_span_has_an_id_of_its_own() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| TraceContext::begin().trace_id).collect();
        assert_eq!(ids.len(), 1000);
        let trace = TraceContext::begin();
        let child = trace.child();
        assert_eq!(child.trace_id, trace.trace_id);
        assert_ne!(child.span_id, trace.span_id);
    }
}

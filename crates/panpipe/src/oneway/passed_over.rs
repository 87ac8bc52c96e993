//! What the reader of a one-way pipe has passed over, and how it is told.

use std::fmt;
use std::time::Instant;

use crate::clock;
use crate::limits::PASSED_OVER_PAUSE;

/// How much of noise is shown.
const SHOWN: usize = 64;

/// Something that the reader of a one-way pipe has passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassedOver<'a> {
    /// Bytes that are no record: what a shell script has written, say.
    Noise {
        /// How many they are, as far as they were read at once.
        bytes: usize,
        /// The first of them.
        start: &'a [u8],
    },
    /// A record that was cut, or whose bytes have changed.
    Damaged {
        /// How many bytes there are of it.
        bytes: usize,
    },
    /// A whole record of a service that is not served here, or of another version of
    /// one that is.
    Foreign {
        /// The hash of the service's name and version.
        service: u64,
    },
    /// A whole record in a codec that this program was built without.
    Codec {
        /// The codec's number.
        codec: u8,
    },
}

impl PassedOver<'_> {
    pub(super) fn noise(bytes: &[u8]) -> PassedOver<'_> {
        PassedOver::Noise { bytes: bytes.len(), start: &bytes[..bytes.len().min(SHOWN)] }
    }
}

impl fmt::Display for PassedOver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PassedOver::Noise { bytes, start } => {
                write!(f, "{bytes} bytes that are no record, beginning with \"{}\"", start.escape_ascii())
            }
            PassedOver::Damaged { bytes } => {
                write!(f, "a record that was cut or changed, {bytes} bytes of it")
            }
            PassedOver::Foreign { service } => write!(
                f,
                "a record of a service that is not served here, or in another version: its hash is {service:016x}"
            ),
            PassedOver::Codec { codec } => write!(
                f,
                "a record in the codec number {codec}, which this program was built without; enable its feature"
            ),
        }
    }
}

/// How much the reader of a one-way pipe has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Records that were handed to the service.
    pub records: u64,
    /// Bytes that were no record.
    pub noise_bytes: u64,
    /// Records that were cut or changed.
    pub damaged: u64,
    /// Whole records of other services, versions or codecs.
    pub foreign: u64,
}

/// What is told of it.
pub(super) type Hook = Box<dyn FnMut(PassedOver<'_>) + Send>;

/// Counts, and tells.
pub(super) struct Report {
    totals: Totals,
    hook: Hook,
}

impl Report {
    pub(super) fn new(hook: Option<Hook>) -> Self {
        Report { totals: Totals::default(), hook: hook.unwrap_or_else(warn) }
    }

    pub(super) fn record(&mut self) {
        self.totals.records += 1;
    }

    pub(super) fn passed_over(&mut self, what: PassedOver<'_>) {
        match what {
            PassedOver::Noise { bytes, .. } => self.totals.noise_bytes += bytes as u64,
            PassedOver::Damaged { .. } => self.totals.damaged += 1,
            PassedOver::Foreign { .. } | PassedOver::Codec { .. } => self.totals.foreign += 1,
        }
        (self.hook)(what);
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }
}

/// Warns, once in a while: how often something comes is up to whoever writes.
fn warn() -> Hook {
    let mut next: Option<Instant> = None;
    let mut untold = 0_u64;
    Box::new(move |what| {
        let now = clock::now();
        if next.is_some_and(|next| now < next) {
            untold += 1;
            return;
        }
        next = Some(now + PASSED_OVER_PAUSE);
        tracing::warn!(untold, "passed over in a one-way pipe: {what}");
        untold = 0;
    })
}

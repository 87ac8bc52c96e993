//! Signals without a runtime.

use signal_hook_registry::{SigId, register, unregister};

/// Stops listening when it is dropped.
pub(crate) struct Signals(Vec<SigId>);

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            unregister(id);
        }
    }
}

/// Runs `told` on ctrl-c and on SIGTERM, until what this gives is dropped. It is run in the
/// signal handler: it may store and make system calls, and nothing else.
pub(crate) fn on_told_to_end(told: impl Fn() + Clone + Send + Sync + 'static) -> Signals {
    let mut signals = Signals(Vec::new());
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the only caller stores an atomic and writes to a pipe that does not block:
        // both are safe in a signal handler.
        match unsafe { register(signal, told.clone()) } {
            Ok(id) => signals.0.push(id),
            Err(error) => {
                tracing::warn!("signals cannot be watched for, the server runs until it is killed: {error}");
            }
        }
    }
    signals
}

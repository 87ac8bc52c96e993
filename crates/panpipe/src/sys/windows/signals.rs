//! Signals without a runtime: no server has none here.

/// Nothing is listened to.
pub(crate) struct Signals;

/// Never told: there are no servers without a runtime on Windows yet.
pub(crate) fn on_told_to_end(_: impl Fn() + Clone + Send + Sync + 'static) -> Signals {
    Signals
}

//! Unix: signals, and systemd.

use std::io;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What tells a process to end: ctrl-c, and SIGTERM, by which service managers end their
/// services.
pub(crate) struct EndSignals(Option<(Signal, Signal)>);

impl EndSignals {
    /// Listens from now on: neither signal ends the process by itself any more.
    pub(crate) fn listen() -> Self {
        let both =
            || Ok::<_, io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
        EndSignals(
            both()
                .inspect_err(|error| {
                    tracing::warn!(
                        "signals cannot be watched for, the server runs until it is killed: {error}"
                    );
                })
                .ok(),
        )
    }

    /// Ready with the next signal.
    pub(crate) async fn next(&mut self) {
        let Some((interrupt, terminate)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

/// The service manager, if this process has one, is told that clients can come.
pub(crate) fn ready() {
    tell(NotifyState::Ready);
}

/// It is told that the service ends.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("the service manager cannot be told of this service: {error}");
    }
}

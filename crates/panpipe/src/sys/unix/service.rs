//! Unix: signals, and systemd.

use std::io;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

/// Ready on ctrl-c, and on SIGTERM, by which service managers end their services.
pub(crate) async fn told_to_end() {
    let told = async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok::<_, io::Error>(())
    };
    if let Err(error) = told.await {
        tracing::warn!("signals cannot be watched for, the server runs until it is killed: {error}");
        std::future::pending::<()>().await;
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

//! Windows: ctrl-c; its service manager is the program's own affair.

use tokio::signal::windows::{CtrlC, ctrl_c};

/// What tells a process to end: ctrl-c.
pub(crate) struct EndSignals(Option<CtrlC>);

impl EndSignals {
    /// Listens from now on: ctrl-c does not end the process by itself any more.
    pub(crate) fn listen() -> Self {
        EndSignals(
            ctrl_c()
                .inspect_err(|error| {
                    tracing::warn!(
                        "ctrl-c cannot be watched for, the server runs until it is killed: {error}"
                    );
                })
                .ok(),
        )
    }

    /// Ready with the next ctrl-c.
    pub(crate) async fn next(&mut self) {
        let Some(ctrl_c) = &mut self.0 else { return std::future::pending().await };
        ctrl_c.recv().await;
    }
}

/// Nobody is told.
pub(crate) fn ready() {}

/// Nobody is told.
pub(crate) fn stopping() {}

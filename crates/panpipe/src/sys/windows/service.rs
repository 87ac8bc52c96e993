//! Windows: ctrl-c; its service manager is the program's own affair.

/// Ready on ctrl-c.
pub(crate) async fn told_to_end() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!("ctrl-c cannot be watched for, the server runs until it is killed: {error}");
        std::future::pending::<()>().await;
    }
}

/// Nobody is told.
pub(crate) fn ready() {}

/// Nobody is told.
pub(crate) fn stopping() {}

//! How a server is told to end, and by which signals.

use std::pin::pin;

use tokio::sync::watch;

use super::{RunningServer, ServeError};
use crate::sys::EndSignals;

/// What a server that runs has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// To serve on.
    No,
    /// To let running calls finish, for as long as its grace allows.
    InOrder,
    /// To end without waiting for any call.
    AtOnce,
}

/// Waits until a server is told to stop in this way, or in a more urgent one; false when
/// nothing can tell it any more.
pub(crate) async fn told(event: &mut watch::Receiver<Stop>, how: Stop) -> bool {
    event.wait_for(|&told| told >= how).await.is_ok()
}

/// Waits for the end of a server. The first signal ends it in order, the second at once.
/// Dropping the future ends the server in order.
pub(crate) async fn until_signalled(
    server: RunningServer,
    mut signals: EndSignals,
) -> Result<(), ServeError> {
    let (name, stop) = (server.name().clone(), server.stop_sender());
    let mut ended = pin!(server.wait());
    for (how, word) in [(Stop::InOrder, "in order"), (Stop::AtOnce, "at once")] {
        tokio::select! {
            ended = &mut ended => return ended,
            () = signals.next() => {}
        }
        tracing::info!(%name, "the process was told to end: the server ends {word}");
        stop.send_replace(how);
    }
    ended.await
}

//! Who is let in.

use std::time::Duration;

use panpipe_transport::{Access, Peer};
use tokio::time::timeout;

use crate::error::{Refusal, RefusalReason};

/// Whether this process may call, before a byte of it is read.
pub(super) async fn check_peer(peer: &Peer, access: &Access, within: Duration) -> Result<(), Refusal> {
    let message = match timeout(within, access.check(peer)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(denied)) => denied.to_string(),
        Err(_) => format!("whether {peer} may call was not decided within {within:?}; try again later"),
    };
    Err(Refusal { reason: RefusalReason::NotAllowed, message })
}

/// What a client learns that is one too many.
pub(super) fn too_many(clients: usize) -> Refusal {
    let message = format!("this server has {clients} clients, as many as it accepts; try again later");
    Refusal { reason: RefusalReason::Overloaded, message }
}

/// What a client learns that has come too late.
pub(super) fn draining() -> Refusal {
    let message = "this server is shutting down; try again, its successor may be up".to_owned();
    Refusal { reason: RefusalReason::Draining, message }
}

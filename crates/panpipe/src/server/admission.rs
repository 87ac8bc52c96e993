//! Who is let in.

use panpipe_transport::Peer;

use crate::error::{Refusal, RefusalReason};

/// Whether this process may call, before a byte of it is read.
pub(super) fn check_peer(peer: &Peer) -> Result<(), Refusal> {
    let own = Peer::this_process();
    if peer.uid.is_some() && peer.uid != own.uid {
        let message =
            format!("this server answers processes of its own user only: it is {own}, the client is {peer}");
        return Err(Refusal { reason: RefusalReason::NotAllowed, message });
    }
    Ok(())
}

/// What a client learns that is one too many.
pub(super) fn too_many(clients: usize) -> Refusal {
    let message = format!("this server has {clients} clients, as many as it accepts; try again later");
    Refusal { reason: RefusalReason::Overloaded, message }
}

//! Who is let in.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use panpipe_transport::{Access, Peer};
use tokio::time::timeout;

use super::room::Visitor;
use crate::error::{Refusal, RefusalReason};

/// Whether this process may call, before a byte of it is read.
///
/// A rule that waits for its answer waits outside of the server's [`Room`](super::room::Room).
pub(super) async fn check_peer(
    peer: &Peer,
    access: &Access,
    visitor: &mut Visitor,
    within: Duration,
) -> Result<(), Refusal> {
    let mut check = pin!(access.check(peer));
    // Most rules answer at once, and take neither a timer nor a look at the room.
    let checked = match poll_fn(|cx| Poll::Ready(check.as_mut().poll(cx))).await {
        Poll::Ready(checked) => Ok(checked),
        Poll::Pending if visitor.wait(peer.uid) => timeout(within, check).await,
        Poll::Pending => return Err(too_many_undecided()),
    };
    let message = match checked {
        Ok(Ok(())) if visitor.take_place() => return Ok(()),
        Ok(Ok(())) => return Err(full()),
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

/// What a client learns that was let in when all places had been taken.
fn full() -> Refusal {
    let message = "this server has as many clients as it accepts; try again later".to_owned();
    Refusal { reason: RefusalReason::Overloaded, message }
}

/// What a client learns whose rule waits for its answer, as do too many others.
fn too_many_undecided() -> Refusal {
    let message =
        "this server has not decided yet whether other clients may call, as many as it keeps waiting; try again later"
            .to_owned();
    Refusal { reason: RefusalReason::Overloaded, message }
}

/// What a client learns that has come too late.
pub(super) fn draining() -> Refusal {
    let message = "this server is shutting down; try again, its successor may be up".to_owned();
    Refusal { reason: RefusalReason::Draining, message }
}

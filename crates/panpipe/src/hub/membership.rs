//! A connection's time among the clients of a hub.

use std::sync::Arc;

use super::{ConnectedClient, Hub};
use crate::error::{Refusal, RefusalReason};
use crate::guarded::guarded;
use crate::link::Link;
use crate::log_limit::log_limited;
use crate::session::CloseReason;

type Connected = dyn Fn(&ConnectedClient) + Send + Sync;
type Disconnected = dyn Fn(&ConnectedClient, &CloseReason) + Send + Sync;

/// Where a server's clients come in and leave, and who wants to be told.
#[derive(Default)]
pub(crate) struct Reception {
    pub(crate) hub: Hub,
    pub(crate) on_connect: Option<Box<Connected>>,
    pub(crate) on_disconnect: Option<Box<Disconnected>>,
}

/// Sees to it that who has entered the hub leaves it, however the connection ends.
pub(crate) struct Membership {
    reception: Arc<Reception>,
    client: ConnectedClient,
    /// Nothing where it was cut off in the middle: that is by this side.
    reason: Option<Box<CloseReason>>,
}

impl Membership {
    /// That of a client who has been let in, and has still to say hello.
    pub(crate) fn new(reception: &Arc<Reception>, link: &Arc<Link>) -> Self {
        let client = ConnectedClient::new(Arc::clone(link));
        Membership { reception: Arc::clone(reception), client, reason: None }
    }

    /// What has to be called when the client has said hello.
    pub(crate) fn entrance(&self) -> impl FnOnce() + Send + 'static {
        // The connection holds this, which is not to hold the connection.
        let (reception, client) = (Arc::clone(&self.reception), self.client.downgrade());
        move || {
            let Some(client) = client.upgrade() else { return };
            client.has_come();
            reception.hub.enter(client.clone());
            if let Some(hook) = &reception.on_connect {
                guarded("on_connect", || hook(&client));
            }
        }
    }

    /// The client's connection.
    pub(crate) fn link(&self) -> &Arc<Link> {
        self.client.connection().link()
    }

    /// The connection has ended: says so to the log and, as soon as this is dropped, to who
    /// wants to know.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        let peer = self.client.peer();
        match &reason {
            CloseReason::Refused(Refusal { reason: RefusalReason::Draining, .. })
            | CloseReason::Closed
            | CloseReason::Local
            | CloseReason::Idle => log_limited!(debug, %peer, "a client has gone: {reason}"),
            other => log_limited!(warn, %peer, "a client was lost: {other}"),
        }
        self.reason = Some(Box::new(reason));
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let Membership { reception, client, reason } = self;
        if !client.is_known() {
            return;
        }
        reception.hub.leave(client.id());
        if let Some(hook) = &reception.on_disconnect {
            let reason = reason.as_deref().unwrap_or(&CloseReason::Local);
            guarded("on_disconnect", || hook(client, reason));
        }
    }
}

//! A connection's time among the clients of a hub.

use std::sync::{Arc, OnceLock, Weak};

use panpipe_transport::Peer;

use super::{ConnectedClient, Hub};
use crate::connection::Connection;
use crate::error::{Refusal, RefusalReason};
use crate::guarded::guarded;
use crate::link::Link;
use crate::session::CloseReason;

type Connected = dyn Fn(&ConnectedClient) + Send + Sync;
type Disconnected = dyn Fn(&ConnectedClient, &CloseReason) + Send + Sync;

/// What a server's user wants to be told.
#[derive(Clone, Default)]
pub(crate) struct Callbacks {
    pub(crate) connected: Option<Arc<Connected>>,
    pub(crate) disconnected: Option<Arc<Disconnected>>,
}

/// Sees to it that who has entered the hub leaves it, however the connection ends.
pub(crate) struct Membership {
    entrance: Arc<Entrance>,
    /// Nothing where it was cut off in the middle: that is by this side.
    reason: Option<Box<CloseReason>>,
}

struct Entrance {
    hub: Hub,
    callbacks: Arc<Callbacks>,
    link: Weak<Link>,
    entered: OnceLock<ConnectedClient>,
}

impl Membership {
    pub(crate) fn new(hub: Hub, callbacks: Arc<Callbacks>, link: &Arc<Link>) -> Self {
        let entrance = Entrance { hub, callbacks, link: Arc::downgrade(link), entered: OnceLock::new() };
        Membership { entrance: Arc::new(entrance), reason: None }
    }

    /// What has to be called when the client has said hello.
    pub(crate) fn entrance(&self) -> impl FnOnce() + Send + 'static {
        let entrance = Arc::clone(&self.entrance);
        move || entrance.enter()
    }

    /// The connection has ended: says so to the log, and to who wants to know.
    pub(crate) fn end(mut self, peer: &Peer, reason: CloseReason) {
        match &reason {
            CloseReason::Refused(Refusal { reason: RefusalReason::Draining, .. })
            | CloseReason::Closed
            | CloseReason::Local
            | CloseReason::Idle => tracing::debug!(%peer, "a client has gone: {reason}"),
            other => tracing::warn!(%peer, "a client was lost: {other}"),
        }
        self.reason = Some(Box::new(reason));
    }
}

impl Entrance {
    fn enter(&self) {
        let Some(link) = self.link.upgrade() else { return };
        let client = ConnectedClient::new(link.id(), Connection::new(link));
        self.hub.enter(client.clone());
        let client = self.entered.get_or_init(|| client);
        if let Some(hook) = &self.callbacks.connected {
            guarded("on_connect", || hook(client));
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let Entrance { hub, callbacks, entered, .. } = &*self.entrance;
        let Some(client) = entered.get() else { return };
        hub.leave(client.id());
        if let Some(hook) = &callbacks.disconnected {
            let reason = self.reason.as_deref().unwrap_or(&CloseReason::Local);
            guarded("on_disconnect", || hook(client, reason));
        }
    }
}

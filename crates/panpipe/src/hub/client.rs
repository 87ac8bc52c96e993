//! One client of a server, as the hub knows it.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use panpipe_transport::Peer;

use crate::client::ServiceClient;
use crate::clock;
use crate::connection::Connection;
use crate::error::CallError;
use crate::link::Link;

/// Names a client, and no other that this process ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.0)
    }
}

/// A client that is, or was, connected. Clones are the same client.
#[derive(Clone)]
pub struct ConnectedClient {
    inner: Arc<Inner>,
}

/// A client as long as somebody has it.
pub(super) struct WeakClient(Weak<Inner>);

impl WeakClient {
    pub(super) fn upgrade(&self) -> Option<ConnectedClient> {
        self.0.upgrade().map(|inner| ConnectedClient { inner })
    }
}

struct Inner {
    /// When it said hello; before that it is known to nobody.
    since: OnceLock<SystemTime>,
    connection: Connection,
    /// The clients of what it offers that have been asked for.
    stubs: Mutex<Stubs>,
}

/// Mostly there is none.
type Stubs = Option<Box<Vec<Box<dyn Any + Send>>>>;

impl fmt::Debug for ConnectedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectedClient")
            .field("id", &self.id())
            .field("peer", &self.peer())
            .field("since", &self.since())
            .finish()
    }
}

impl ConnectedClient {
    pub(super) fn new(link: Arc<Link>) -> Self {
        let (since, stubs) = (OnceLock::new(), Mutex::default());
        ConnectedClient { inner: Arc::new(Inner { since, connection: Connection::new(link), stubs }) }
    }

    pub(super) fn downgrade(&self) -> WeakClient {
        WeakClient(Arc::downgrade(&self.inner))
    }

    /// It has said hello.
    pub(super) fn has_come(&self) {
        let _ = self.inner.since.set(clock::date());
    }

    /// Whether it has.
    pub(super) fn is_known(&self) -> bool {
        self.inner.since.get().is_some()
    }

    /// What names it.
    #[must_use]
    pub fn id(&self) -> ClientId {
        ClientId(self.inner.connection.link().id())
    }

    /// Its process, as far as the system tells.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.inner.connection.peer()
    }

    /// When it said hello.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        *self.inner.since.get().expect("nobody is given a client that has not said hello")
    }

    /// The connection, by which the client's own services are called.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    /// Ends its connection now. Its calls fail as ones that may have run, and it is
    /// told `why`, as [`CloseReason::ByPeer`](crate::CloseReason::ByPeer).
    pub fn close(&self, why: &str) {
        self.inner.connection.link().dismiss(why);
    }

    /// The client of a service that it offers, if it needs no round trip to have it.
    pub(super) fn known_stub<C: ServiceClient>(&self) -> Option<C> {
        if let Some(stub) = self.inner.connection.offered() {
            return Some(stub);
        }
        let stubs = self.inner.stubs.lock().unwrap_or_else(PoisonError::into_inner);
        stubs.iter().flat_map(|stubs| &**stubs).find_map(|stub| stub.downcast_ref::<C>().cloned())
    }

    /// The same, asked for if need be.
    pub(super) async fn stub<C: ServiceClient>(&self) -> Result<C, CallError> {
        if let Some(stub) = self.known_stub() {
            return Ok(stub);
        }
        let stub: C = self.inner.connection.client().await?;
        let mut stubs = self.inner.stubs.lock().unwrap_or_else(PoisonError::into_inner);
        stubs.get_or_insert_default().push(Box::new(stub.clone()));
        Ok(stub)
    }
}

//! A connection as a value, for programs that call several services over it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use panpipe_transport::Peer;

use crate::call;
use crate::client::{Client, ServiceClient};
use crate::error::CallError;
use crate::link::{Link, open_service};
use crate::metadata::{Metadata, MetadataError};
use crate::session::{CloseReason, ServiceInfo};

/// A connection over which several services can be called, of the one side and
/// of the other.
///
/// A client gets it by [`connect`](crate::connect), a server's closure for each
/// client by [`Server::service_per_client`](crate::Server::service_per_client).
/// Clones are the same connection. It ends with the last clone, client, stub and
/// stream of its side.
///
/// ```
/// # #[panpipe::service]
/// # pub trait Clock { async fn now(&self) -> u64; }
/// # #[panpipe::service]
/// # pub trait Store { async fn get(&self, key: String) -> u64; }
/// # struct Wall;
/// # impl Clock for Wall { async fn now(&self) -> u64 { 7 } }
/// # struct Db;
/// # impl Store for Db { async fn get(&self, _: String) -> u64 { 9 } }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc.several.{}", std::process::id());
/// let server = panpipe::Server::bind(&name).service(Wall.serve()).service(Db.serve()).start()?;
///
/// let connection = panpipe::connect(&name).await?;
/// let clock = connection.client::<ClockClient>().await?;
/// let store = connection.client::<StoreClient>().await?;
/// assert_eq!(clock.now().await? + store.get("k".to_owned()).await?, 16);
/// # server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connection {
    link: Arc<Link>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Connection { link }
    }

    /// The client of a service that the other side offers.
    ///
    /// It takes a round trip, and as long as the call that is being answered
    /// here has left, if one is. Dropping the future gives up.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] when the other side does not offer the service, or
    /// not in this version; whatever a call can fail with.
    pub async fn client<C: ServiceClient>(&self) -> Result<C, CallError> {
        self.open(&C::info()).await
    }

    /// The client of the instance of a service that is served under this name: see
    /// [`Service::named`](crate::Service::named).
    ///
    /// # Errors
    ///
    /// As of [`client`](Self::client).
    pub async fn client_named<C: ServiceClient>(&self, name: impl Into<String>) -> Result<C, CallError> {
        self.open(&C::info().named(name.into())).await
    }

    async fn open<C: ServiceClient>(&self, info: &ServiceInfo) -> Result<C, CallError> {
        let stub = open_service(Arc::clone(&self.link), info, call::deadline()).await?;
        Ok(C::from_inner(Client::of_stub(stub)))
    }

    /// The process at the other end, as far as the system tells.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.link.peer().clone()
    }

    /// The [metadata](Metadata) of this type that the other side has given for the connection;
    /// `None` where it gave none of that name, and until its hello is here, which comes with its
    /// first reply.
    ///
    /// # Errors
    ///
    /// [`MetadataError::Decode`] where the value of this name is none of the type;
    /// [`MetadataError::OverLimit`] where the other side gave more than this side accepts.
    pub fn metadata<M: Metadata>(&self) -> Result<Option<M>, MetadataError> {
        self.link.peer_metadata()
    }

    /// The client of the service that the other side's hello offers, if it is that one:
    /// it needs no port of its own.
    pub(crate) fn offered<C: ServiceClient>(&self) -> Option<C> {
        let is_offered = self.link.is_offered(&C::info());
        is_offered.then(|| C::from_inner(Client::of_link(Arc::clone(&self.link))))
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Why the connection ended, once it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.link.close_reason()
    }

    /// Waits until the connection has ended, and gives the reason.
    ///
    /// The future does not keep the connection open: it is ready, too, when the last clone,
    /// client, stub and stream of this side is dropped. Cancel safe.
    pub fn closed(&self) -> impl Future<Output = CloseReason> + Send + 'static + use<> {
        self.link.closed()
    }

    /// Closes the connection in order: takes no new calls, lets those that run on both sides
    /// finish, writes what is queued, and waits for the end. All clones and clients of the
    /// connection end with it; their next calls fail as ones that were not sent.
    ///
    /// A call that never ends keeps the connection; dropping the future gives up waiting, and
    /// does not take back the closing.
    pub async fn close(&self) -> CloseReason {
        self.link.close_in_order().await
    }

    /// How many streams, senders and stubs are open on the connection, of both
    /// sides.
    #[must_use]
    pub fn open_ports(&self) -> usize {
        self.link.open_ports()
    }
}

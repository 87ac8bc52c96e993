//! What can be served: a service object, one under a name of its own, a client passed on.

use std::fmt;
use std::sync::Arc;

use crate::client::ServiceClient;
use crate::service::{AnyService, Serve, ServiceImpl};
use crate::session::ServiceInfo;
use crate::stub::Relay;

/// What a server, a host or a client can let its peer call.
///
/// `.serve()` of a service trait makes one of an implementation;
/// [`ServiceClient::relayed`] makes one of a client: a gateway. Either may have a
/// [name of its own](Service::named). Only this crate implements the trait.
///
/// ```
/// use panpipe::{Server, Service, ServiceClient};
///
/// #[panpipe::service]
/// pub trait Store {
///     async fn len(&self) -> u64;
/// }
///
/// struct Db(u64);
///
/// impl Store for Db {
///     async fn len(&self) -> u64 {
///         self.0
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (name, front) = (format!("doc.stores.{}", std::process::id()), format!("doc.front.{}", std::process::id()));
/// // Two instances of one service.
/// let server = Server::bind(&name)
///     .service(Db(1).serve().named("acme.store.north"))
///     .service(Db(2).serve().named("acme.store.south"))
///     .start()?;
/// let south = StoreClient::connect(&name).named("acme.store.south").await?;
/// assert_eq!(south.len().await?, 2);
///
/// // A gateway: another server passes the calls on, under the trait's own name.
/// let gateway = Server::bind(&front).service(south.relayed()).start()?;
/// assert_eq!(StoreClient::connect(&front).await?.len().await?, 2);
/// # gateway.shutdown().await?;
/// # server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
pub trait Service: sealed::Service {
    /// The same service under another name than its trait's, so that several of one trait
    /// can be served side by side. A client asks for it by [`Connect::named`] or
    /// [`Connection::client_named`].
    ///
    /// [`Connect::named`]: crate::Connect::named
    /// [`Connection::client_named`]: crate::Connection::client_named
    fn named(self, name: impl Into<String>) -> Named<Self> {
        Named { name: name.into(), service: self }
    }
}

impl<S: sealed::Service> Service for S {}

/// A service under a name of its own, made by [`Service::named`].
#[derive(Debug, Clone)]
pub struct Named<S> {
    name: String,
    service: S,
}

/// A client as a service, made by [`ServiceClient::relayed`].
///
/// Each call is passed on, with its deadline, trace and [metadata](crate::Metadata), and the
/// streams and clients inside it. The calls of all who call it share the client's connection.
pub struct Relayed<C> {
    client: C,
}

impl<C> Relayed<C> {
    pub(crate) fn new(client: C) -> Self {
        Relayed { client }
    }
}

impl<C: ServiceClient> fmt::Debug for Relayed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Relayed").field(&C::info()).finish()
    }
}

/// A service's name and versions, and what answers its calls.
pub(crate) type Servable = (ServiceInfo, Arc<dyn AnyService>);

mod sealed {
    use super::*;

    pub trait Service: Sized {
        #[allow(private_interfaces)]
        fn into_servable(self) -> Servable;
    }

    impl<I: ServiceImpl> Service for Serve<I> {
        #[allow(private_interfaces)]
        fn into_servable(self) -> Servable {
            (I::info(), Arc::new(self))
        }
    }

    impl<C: ServiceClient> Service for Relayed<C> {
        #[allow(private_interfaces)]
        fn into_servable(self) -> Servable {
            (C::info(), Arc::new(Relay::of(&self.client)))
        }
    }

    impl<S: Service> Service for Named<S> {
        #[allow(private_interfaces)]
        fn into_servable(self) -> Servable {
            let (info, service) = self.service.into_servable();
            (info.named(self.name), service)
        }
    }
}

//! Connecting to a server by its name.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::{Access, ConnectError, NameError, PipeName};

use crate::client::{Client, ServiceClient};
use crate::codec::Codec;
use crate::connection::Connection;
use crate::limits::Limits;
use crate::link::{Link, over_pipe};
use crate::offers::Offers;
use crate::service::{Serve, ServiceImpl};
use crate::session::{Config, ServiceInfo};

/// Connects to a server that offers several services, each of which is then
/// asked for by [`Connection::client`].
pub fn connect(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Connect<Connection> {
    Connect::new(name)
}

/// What a connection can be made for: a generated client, or a [`Connection`].
pub trait Target: sealed::Target {}

impl<T: sealed::Target> Target for T {}

mod sealed {
    use super::{Arc, Link, ServiceInfo};

    pub trait Target: Sized + 'static {
        fn wants() -> ServiceInfo;
        #[allow(private_interfaces)]
        fn of(link: Arc<Link>) -> Self;
    }
}

impl<C: ServiceClient> sealed::Target for C {
    fn wants() -> ServiceInfo {
        C::info()
    }

    #[allow(private_interfaces)]
    fn of(link: Arc<Link>) -> Self {
        C::from_inner(Client::of_link(link))
    }
}

impl sealed::Target for Connection {
    fn wants() -> ServiceInfo {
        ServiceInfo::none()
    }

    #[allow(private_interfaces)]
    fn of(link: Arc<Link>) -> Self {
        Connection::new(link)
    }
}

/// A connection to be made, made by awaiting it.
///
/// What can go wrong at once is a [`ConnectError`]. The hello travels with the
/// first call: a server that turns the client down does it there, as
/// [`CallError::Refused`](crate::CallError::Refused).
///
/// Dropping the future gives up; nothing is left behind.
#[must_use = "a connection is made when this is awaited"]
pub struct Connect<C> {
    name: Result<PipeName, NameError>,
    wait: Option<Duration>,
    trust: Option<Access>,
    config: Config,
    offers: Offers,
    client: PhantomData<fn() -> C>,
}

impl<C> std::fmt::Debug for Connect<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("name", &self.name).field("wait", &self.wait).finish_non_exhaustive()
    }
}

impl<C: Target> Connect<C> {
    pub(crate) fn new(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Self {
        Connect {
            name: name.try_into().map_err(Into::into),
            wait: None,
            trust: None,
            config: Config::dialer(C::wants()),
            offers: Offers::default(),
            client: PhantomData,
        }
    }

    /// Waits this long for a server to come up, rather than failing when there
    /// is none. Waiting takes no CPU.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Whose server may answer, rather than this process's own user or the one whose
    /// name it is. It is checked before a byte is sent.
    pub fn trust(mut self, access: Access) -> Self {
        self.trust = Some(access);
        self
    }

    /// What this side accepts from the server.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Encodes with another codec than the default one.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.config.codec = codec;
        self
    }

    /// Lets the server call this service. Several may be offered.
    pub fn offer<I: ServiceImpl>(mut self, service: Serve<I>) -> Self {
        self.offers.add_shared(service);
        self
    }
}

impl<C: Target> IntoFuture for Connect<C> {
    type Output = Result<C, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let name = self.name.map_err(ConnectError::from)?;
            let mut connect = panpipe_transport::connect(name);
            if let Some(access) = self.trust {
                connect = connect.trust(access);
            }
            let stream = match self.wait {
                Some(wait) => connect.wait(wait).await?,
                None => connect.await?,
            };
            let config = Config { offers: self.offers.infos(), ..self.config };
            Ok(C::of(over_pipe(stream, config).with_offers(self.offers).start()))
        })
    }
}

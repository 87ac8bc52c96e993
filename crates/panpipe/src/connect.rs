//! Connecting to a server by its name.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::{ConnectError, NameError, PipeName};

use crate::client::{Client, ServiceClient};
use crate::codec::Codec;
use crate::connection::over_pipe;
use crate::limits::Limits;
use crate::service::{AnyService, Serve, ServiceImpl};
use crate::session::Config;

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
    config: Config,
    service: Option<Arc<dyn AnyService>>,
    client: PhantomData<fn() -> C>,
}

impl<C> std::fmt::Debug for Connect<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("name", &self.name).field("wait", &self.wait).finish_non_exhaustive()
    }
}

impl<C: ServiceClient> Connect<C> {
    pub(crate) fn new(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Self {
        Connect {
            name: name.try_into().map_err(Into::into),
            wait: None,
            config: Config::dialer(C::info()),
            service: None,
            client: PhantomData,
        }
    }

    /// Waits this long for a server to come up, rather than failing when there
    /// is none. Waiting takes no CPU.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
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

    /// Lets the server call this service.
    pub fn offer<I: ServiceImpl>(mut self, service: Serve<I>) -> Self {
        self.config.offers = Some(I::info());
        self.service = Some(Arc::new(service));
        self
    }
}

impl<C: ServiceClient> IntoFuture for Connect<C> {
    type Output = Result<C, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let name = self.name.map_err(ConnectError::from)?;
            let connect = panpipe_transport::connect(name);
            let stream = match self.wait {
                Some(wait) => connect.wait(wait).await?,
                None => connect.await?,
            };
            let connection = over_pipe(stream, self.config).with_service(self.service).start();
            Ok(C::from_inner(Client::of_connection(connection)))
        })
    }
}

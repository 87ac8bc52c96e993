//! A connection as its users hold it: it lives as long as somebody does.

use std::any::Any;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use panpipe_transport::{Peer, PipeStream};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::codec::Codec;
use crate::error::CallError;
use crate::service::AnyService;
use crate::session::{Config, Deadline, Driver, Encode, Inlet, Outlet, Session, of_pipe, of_stream};

/// Closes the session when the last holder lets go.
#[derive(Debug)]
pub(crate) struct Connection {
    session: Arc<Session>,
}

impl Deref for Connection {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.session.close();
    }
}

/// A connection that is not running yet.
pub(crate) struct Prepared {
    pub(crate) connection: Arc<Connection>,
    driver: Driver,
}

/// Prepares a session over a pipe.
pub(crate) fn over_pipe(stream: PipeStream, config: Config) -> Prepared {
    let peer = stream.peer();
    let (inlet, outlet) = of_pipe(stream);
    prepare(config, peer, inlet, outlet)
}

/// Prepares a session over any stream of bytes.
pub(crate) fn over_stream<Io>(io: Io, config: Config) -> Prepared
where
    Io: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut io = Some(io);
    let any: &mut dyn Any = &mut io;
    // A pipe knows its peer, and callers can write to it without the driver.
    if let Some(pipe) = any.downcast_mut::<Option<PipeStream>>().and_then(Option::take) {
        return over_pipe(pipe, config);
    }
    let (inlet, outlet) = of_stream(io.expect("it was not taken: it is no pipe"));
    prepare(config, Peer::unknown(), inlet, outlet)
}

fn prepare(config: Config, peer: Peer, inlet: Inlet, outlet: Outlet) -> Prepared {
    let (session, driver) = Session::new(config, peer, inlet, outlet);
    Prepared { connection: Arc::new(Connection { session }), driver }
}

impl Prepared {
    /// Sets what the peer may call.
    pub(crate) fn with_service(mut self, service: Option<Arc<dyn AnyService>>) -> Self {
        if let Some(service) = service {
            self.driver.set_service(service);
        }
        self
    }

    /// Runs the session as a task of its own.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(crate) fn start(self) -> Arc<Connection> {
        tokio::spawn(self.driver);
        self.connection
    }

    /// Takes the session apart, to run it in place.
    pub(crate) fn into_parts(self) -> (Arc<Connection>, Driver) {
        (self.connection, self.driver)
    }
}

/// A call on its way: tells the peer to stop when it is dropped early.
pub(crate) struct PendingCall {
    connection: Arc<Connection>,
    deadline: Option<Deadline>,
    key: Option<usize>,
}

impl PendingCall {
    pub(crate) fn new(connection: Arc<Connection>, deadline: Option<Deadline>) -> Self {
        PendingCall { connection, deadline, key: None }
    }

    pub(crate) fn poll_start(
        &mut self,
        method: u64,
        waker: &Waker,
        encode: &mut Encode<'_>,
    ) -> Poll<Result<(), CallError>> {
        if self.deadline.is_some_and(|deadline| deadline.left.is_zero()) {
            return Poll::Ready(Err(CallError::DeadlineExceeded));
        }
        self.connection.poll_call(&mut self.key, method, self.deadline, waker, encode)
    }

    pub(crate) fn reply(
        &mut self,
    ) -> impl Future<Output = Result<(panpipe_transport::buffer::FrameBuf, Codec), CallError>> + Send + '_
    {
        struct Reply<'a>(&'a mut PendingCall);
        impl Future for Reply<'_> {
            type Output = Result<(panpipe_transport::buffer::FrameBuf, Codec), CallError>;
            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                let call = &mut *self.0;
                call.connection.poll_reply(&mut call.key, cx.waker())
            }
        }
        Reply(self)
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.connection.drop_call(key);
        }
    }
}

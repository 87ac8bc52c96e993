//! What carries a client's calls.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use panpipe_transport::Peer;
use tokio::runtime::Handle;

use super::layered::Layered;
use crate::call_terms::CallTerms;
use crate::error::CallError;
use crate::link::Link;
use crate::oneway::RecordWriter;
use crate::reconnect::Reconnecting;
use crate::service::{AnyService, MethodInfo};
use crate::session::{CloseReason, Closed};
use crate::stub::Stub;

/// The future of a typed call.
pub(crate) type TypedCall<Resp> = Pin<Box<dyn Future<Output = Result<Resp, CallError>> + Send>>;

/// Carries calls as values rather than as bytes: a local service, a stub of
/// stock tarpc.
pub(crate) trait TypedCarrier<Req, Resp>: Send + Sync {
    fn call(&self, info: &'static MethodInfo, request: Req, terms: CallTerms) -> TypedCall<Resp>;

    /// Ready as soon as the call is on its way. It has no deadline.
    fn oneway(&self, info: &'static MethodInfo, request: Req, terms: CallTerms) -> TypedCall<()>;

    /// Ready when all that was called before is with its handlers.
    fn flush(&self) -> TypedCall<()>;

    /// The service that is called, if it is one of this process.
    fn service(&self) -> Option<Arc<dyn AnyService>> {
        None
    }
}

/// What carries a client's calls.
pub(super) enum Carrier<Req, Resp> {
    /// The root port of a connection.
    Link(Arc<Link>),
    /// Another port.
    Stub(Arc<Stub>),
    /// The root port of a connection, and of those after it.
    Reconnecting(Arc<Reconnecting>),
    /// A pipe that goes one way.
    Records(Arc<RecordWriter>),
    Typed(Arc<dyn TypedCarrier<Req, Resp>>),
    /// Another carrier, inside of layers.
    Layered(Arc<Layered<Req, Resp>>),
}

impl<Req, Resp> Clone for Carrier<Req, Resp> {
    fn clone(&self) -> Self {
        match self {
            Carrier::Link(link) => Carrier::Link(Arc::clone(link)),
            Carrier::Stub(stub) => Carrier::Stub(Arc::clone(stub)),
            Carrier::Reconnecting(engine) => Carrier::Reconnecting(Arc::clone(engine)),
            Carrier::Records(writer) => Carrier::Records(Arc::clone(writer)),
            Carrier::Typed(stub) => Carrier::Typed(Arc::clone(stub)),
            Carrier::Layered(layered) => Carrier::Layered(Arc::clone(layered)),
        }
    }
}

impl<Req, Resp> Carrier<Req, Resp> {
    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        match self {
            Carrier::Link(link) => link.close_reason(),
            Carrier::Stub(stub) => stub.link.close_reason(),
            Carrier::Reconnecting(engine) => engine.link().close_reason(),
            Carrier::Records(_) | Carrier::Typed(_) => None,
            Carrier::Layered(layered) => layered.carrier.close_reason(),
        }
    }

    /// The connection that it stands on, if it is always the same.
    pub(super) fn link(&self) -> Option<&Link> {
        match self {
            Carrier::Link(link) => Some(link),
            Carrier::Stub(stub) => Some(&stub.link),
            Carrier::Layered(layered) => layered.carrier.link(),
            Carrier::Reconnecting(_) | Carrier::Records(_) | Carrier::Typed(_) => None,
        }
    }

    /// The connection that it stands on now.
    pub(super) fn standing_link(&self) -> Option<Arc<Link>> {
        match self {
            Carrier::Link(link) => Some(Arc::clone(link)),
            Carrier::Stub(stub) => Some(Arc::clone(&stub.link)),
            Carrier::Reconnecting(engine) => Some(engine.link()),
            Carrier::Records(_) | Carrier::Typed(_) => None,
            Carrier::Layered(layered) => layered.carrier.standing_link(),
        }
    }

    /// Waits for the end of the connection that stands, without keeping it open. Without a
    /// connection it is never ready.
    pub(super) fn closed(&self) -> Option<Closed> {
        match self {
            Carrier::Link(link) => Some(link.closed()),
            Carrier::Stub(stub) => Some(stub.link.closed()),
            Carrier::Reconnecting(engine) => Some(engine.link().closed()),
            Carrier::Records(_) | Carrier::Typed(_) => None,
            Carrier::Layered(layered) => layered.carrier.closed(),
        }
    }

    /// Has the connection end in order. Gives it, if there is one.
    pub(super) fn close(&self) -> Option<Arc<Link>> {
        let link = match self {
            Carrier::Link(link) => Arc::clone(link),
            Carrier::Stub(stub) => Arc::clone(&stub.link),
            Carrier::Reconnecting(engine) => engine.close(),
            Carrier::Records(_) | Carrier::Typed(_) => return None,
            Carrier::Layered(layered) => return layered.carrier.close(),
        };
        link.drain();
        Some(link)
    }

    /// The runtime of its connection, for times where a future is polled outside of any.
    pub(super) fn runtime(&self) -> Option<Handle> {
        match self {
            Carrier::Reconnecting(engine) => engine.link().executor().runtime().cloned(),
            _ => self.link().and_then(|link| link.executor().runtime().cloned()),
        }
    }

    pub(super) fn peer(&self) -> Peer {
        match self {
            Carrier::Link(link) => link.peer().clone(),
            Carrier::Stub(stub) => stub.link.peer().clone(),
            Carrier::Reconnecting(engine) => engine.link().peer().clone(),
            Carrier::Records(_) | Carrier::Typed(_) => Peer::unknown(),
            Carrier::Layered(layered) => layered.carrier.peer(),
        }
    }

    pub(super) fn version(&self) -> Version {
        match self {
            Carrier::Link(link) => Version::Agreed(link.version()),
            Carrier::Stub(stub) => Version::Agreed(stub.version),
            Carrier::Reconnecting(engine) => {
                // The next server may be a newer one.
                let link = engine.link();
                Version::Agreed(link.version().filter(|_| link.takes_calls()))
            }
            Carrier::Records(_) | Carrier::Typed(_) => Version::Newest,
            Carrier::Layered(layered) => layered.carrier.version(),
        }
    }

    /// Fails a call of a method that the version which was agreed upon does not have.
    /// Where it is not known yet the other side decides.
    #[inline]
    pub(super) fn check_has(&self, info: &MethodInfo) -> Result<(), CallError> {
        match info.since {
            None => Ok(()),
            Some(since) => self.check_speaks(since),
        }
    }

    #[cold]
    fn check_speaks(&self, since: u32) -> Result<(), CallError> {
        match self.version() {
            Version::Agreed(Some(version)) if version < since => Err(CallError::UnknownMethod),
            Version::Agreed(_) | Version::Newest => Ok(()),
        }
    }
}

/// The version of a service that a carrier's calls are of.
pub(super) enum Version {
    /// Both sides of a connection have agreed upon it, once it is known.
    Agreed(Option<u32>),
    /// The newest: both sides have been built together.
    Newest,
}

impl<Req, Resp> fmt::Display for Carrier<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Carrier::Link(link) => write!(f, "connection to {}", link.peer()),
            Carrier::Stub(stub) => {
                write!(f, "port {} of the connection to {}", stub.port, stub.link.peer())
            }
            Carrier::Reconnecting(engine) => write!(f, "connections to {}", engine.link().peer()),
            Carrier::Records(_) => f.write_str("a one-way pipe"),
            Carrier::Typed(_) => f.write_str("values"),
            Carrier::Layered(layered) => write!(f, "layers and {}", layered.carrier),
        }
    }
}

/// Stands for a service whose port did not travel with its message. The message
/// is answered with an error, so that nobody gets to see this.
pub(super) struct Lost;

impl<Req, Resp: Send> TypedCarrier<Req, Resp> for Lost {
    fn call(&self, _: &'static MethodInfo, _: Req, _: CallTerms) -> TypedCall<Resp> {
        Box::pin(async { Err(CallError::Disconnected { sent: false }) })
    }

    fn oneway(&self, _: &'static MethodInfo, _: Req, _: CallTerms) -> TypedCall<()> {
        Box::pin(async { Err(CallError::Disconnected { sent: false }) })
    }

    fn flush(&self) -> TypedCall<()> {
        Box::pin(async { Err(CallError::Disconnected { sent: false }) })
    }
}

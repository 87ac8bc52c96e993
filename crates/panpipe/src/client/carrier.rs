//! What carries a client's calls.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use panpipe_transport::Peer;

use super::layered::Layered;
use crate::call_terms::CallTerms;
use crate::error::CallError;
use crate::link::Link;
use crate::service::{AnyService, MethodInfo};
use crate::session::CloseReason;
use crate::stub::Stub;

/// The future of a typed call.
pub(crate) type TypedCall<Resp> = Pin<Box<dyn Future<Output = Result<Resp, CallError>> + Send>>;

/// Carries calls as values rather than as bytes: a local service, a stub of
/// stock tarpc.
pub(crate) trait TypedCarrier<Req, Resp>: Send + Sync {
    fn call(&self, info: &'static MethodInfo, request: Req, terms: CallTerms) -> TypedCall<Resp>;

    /// Ready as soon as the call is on its way. It has no deadline.
    fn oneway(&self, info: &'static MethodInfo, request: Req, terms: CallTerms) -> TypedCall<()>;

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
    Typed(Arc<dyn TypedCarrier<Req, Resp>>),
    /// Another carrier, inside of layers.
    Layered(Arc<Layered<Req, Resp>>),
}

impl<Req, Resp> Clone for Carrier<Req, Resp> {
    fn clone(&self) -> Self {
        match self {
            Carrier::Link(link) => Carrier::Link(Arc::clone(link)),
            Carrier::Stub(stub) => Carrier::Stub(Arc::clone(stub)),
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
            Carrier::Typed(_) => None,
            Carrier::Layered(layered) => layered.carrier.close_reason(),
        }
    }

    pub(super) fn peer(&self) -> Peer {
        match self {
            Carrier::Link(link) => link.peer(),
            Carrier::Stub(stub) => stub.link.peer(),
            Carrier::Typed(_) => Peer::unknown(),
            Carrier::Layered(layered) => layered.carrier.peer(),
        }
    }
}

impl<Req, Resp> fmt::Display for Carrier<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Carrier::Link(link) => write!(f, "connection to {}", link.peer()),
            Carrier::Stub(stub) => {
                write!(f, "port {} of the connection to {}", stub.port, stub.link.peer())
            }
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
}

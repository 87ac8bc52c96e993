//! What is known of a call before its arguments are.

use std::time::Instant;

use panpipe_transport::Peer;

use crate::call::{CallContext, Caller};
use crate::metadata::{Metadata, MetadataError};
use crate::trace::TraceContext;

/// What is known of a call before its arguments are read: what a rule
/// ([`Server::authorize`](crate::Server::authorize)) and a layer ([`layer`](crate::layer))
/// go by.
#[derive(Debug, Clone)]
pub struct CallInfo {
    context: CallContext,
}

impl CallInfo {
    pub(crate) fn new(context: CallContext) -> Self {
        // It may be kept for long, by what the session itself keeps.
        let who = Caller::of(context.who.peer().clone());
        CallInfo { context: CallContext { who, ..context } }
    }

    /// The process at the other end: the one that calls, or, to a layer of a client,
    /// the one that is called.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.context.who.peer()
    }

    /// The service's name, as its trait or the attribute gives it: `"acme.store"`.
    /// That of a generic service is without its type arguments.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.parts().0
    }

    /// The method's name in its trait: `"get"`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.parts().1
    }

    /// Both names, as [`call::method`](crate::call::method) has them:
    /// `"acme.store.get"`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.context.method
    }

    /// When the call has to be over, if its caller has set a deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.context.deadline
    }

    /// The trace that the call belongs to, if any.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.context.trace()
    }

    /// The [metadata](Metadata) of the call of this type: what
    /// [`call::metadata`](crate::call::metadata) gives its handler, or, to a layer of a client,
    /// what the call carries.
    ///
    /// # Errors
    ///
    /// [`MetadataError::Decode`] where the value of this name is none of the type.
    pub fn metadata<M: Metadata>(&self) -> Result<Option<M>, MetadataError> {
        self.context.metadata().map_or(Ok(None), |metadata| metadata.get())
    }

    /// A service's name may have dots, a method's has none.
    fn parts(&self) -> (&'static str, &'static str) {
        self.context.method.rsplit_once('.').unwrap_or(("", self.context.method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dot_parts_the_service_from_its_method() {
        let context = CallContext { method: "acme.store.get", ..CallContext::unknown() };
        let info = CallInfo::new(context);
        assert_eq!((info.service(), info.method(), info.name()), ("acme.store", "get", "acme.store.get"));
    }
}

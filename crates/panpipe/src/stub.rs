//! A service as a value: what a client passed to another process becomes.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::carried::{self, Claimed, Offer};
use crate::client::ServiceClient;
use crate::dispatch::{Dispatched, IncomingCall};
use crate::link::Link;
use crate::service::{AnyService, Served};
use crate::session::PortKind;

/// A service of the peer's at a port of its own. The last clone to be dropped
/// closes the port.
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) link: Arc<Link>,
    pub(crate) port: u64,
    /// The version of it that is called, where one was agreed upon.
    pub(crate) version: Option<u32>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.link.release(self.port);
    }
}

/// Serializes as a port at which this service answers.
pub(crate) struct OfferedService {
    pub(crate) served: Served,
    /// The version that the caller is told of.
    pub(crate) told: Option<u32>,
}

impl OfferedService {
    /// One whose caller has not said which version it speaks.
    pub(crate) fn of_any_version(service: Arc<dyn AnyService>) -> Self {
        OfferedService { served: Served { service, version: None }, told: None }
    }
}

impl Serialize for OfferedService {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = carried::offer(|| Offer::Service { served: self.served.clone(), told: self.told })?;
        serializer.serialize_u32(index)
    }
}

/// Deserializes from such a port. `None` where it was lost on the way.
pub(crate) struct ClaimedService(pub(crate) Option<Stub>);

impl<'de> Deserialize<'de> for ClaimedService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let claimed = carried::claim(index, PortKind::Service)?;
        Ok(ClaimedService(claimed.map(|Claimed { link, port, version, .. }| Stub { link, port, version })))
    }
}

/// A client as a service: each call is made of what the client calls.
pub(crate) struct Relay<C>(C);

impl<C: ServiceClient> Relay<C> {
    /// The metadata of a call that is relayed go with it.
    pub(crate) fn of(client: &C) -> Self {
        Relay(C::from_inner(client.inner().with_inherited_metadata()))
    }
}

impl<C: ServiceClient> AnyService for Relay<C> {
    fn dispatch(&self, call: IncomingCall<'_>) -> Dispatched {
        self.0.relay(call)
    }
}

//! What each client of a server is served with.

use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::{Access, Latency};

use crate::hub::{Membership, Reception};
use crate::limits::Limits;
use crate::link::Prepared;
use crate::metadata::MetadataSet;
use crate::offers::Offers;
use crate::session::{Config, Load};

/// What each client is served with: one for all of a server's.
pub(super) struct ClientSetup {
    pub(super) access: Access,
    pub(super) limits: Arc<Limits>,
    offers: Offers,
    load: Arc<Load>,
    latency: Latency,
    /// What each client is told of the server.
    metadata: Option<MetadataSet>,
    reception: Arc<Reception>,
}

impl ClientSetup {
    pub(super) fn new(
        access: Access,
        offers: Offers,
        limits: Limits,
        latency: Latency,
        metadata: Option<MetadataSet>,
        reception: Reception,
    ) -> Self {
        let load = Arc::new(Load::new(limits.max_calls_in_all));
        ClientSetup {
            access,
            limits: Arc::new(limits),
            offers,
            load,
            latency,
            metadata,
            reception: Arc::new(reception),
        }
    }

    /// How many calls of all clients run, one-way calls not counted.
    pub(super) fn running_calls(&self) -> usize {
        self.load.running()
    }

    /// What a server that ends waits for, in words.
    pub(super) fn awaits(&self, grace: Duration) -> String {
        format!(
            "{} running calls have up to {grace:?} to finish; a second signal ends it at once",
            self.running_calls()
        )
    }

    /// What a client's connection is made with.
    pub(super) fn config(&self) -> Config {
        Config {
            limits: Arc::clone(&self.limits),
            latency: self.latency,
            metadata: self.metadata.clone(),
            offers: self.offers.infos(),
            load: Some(Arc::clone(&self.load)),
            ..Config::acceptor()
        }
    }

    /// Has a client who has been let in call what is offered, and be known to the hub.
    pub(super) fn admit(&self, prepared: Prepared) -> (Prepared, Membership) {
        let membership = Membership::new(&self.reception, &prepared.connection);
        (prepared.with_offers(self.offers.clone()).on_open(membership.entrance()), membership)
    }
}

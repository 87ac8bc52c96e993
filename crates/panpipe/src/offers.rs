//! What one side lets the other call: services that all peers share, and
//! services that are made for each.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::call_info::CallInfo;
use crate::connection::Connection;
use crate::dispatch::{Dispatched, IncomingCall};
use crate::error::Refusal;
use crate::guarded::{caught, drop_guarded};
use crate::hooks::Hooks;
use crate::layer::{CallLayer, Stack};
use crate::limits;
use crate::log_limit::log_limited;
use crate::servable::Service;
use crate::service::{AnyService, Serve, Served, ServiceImpl};
use crate::session::{Failure, ServiceInfo, Session, find_service, take_str, take_version};
use crate::stub::OfferedService;

/// Makes the service of one client.
type Make = dyn Fn(&Connection) -> Arc<dyn AnyService> + Send + Sync;

#[derive(Clone)]
enum Source {
    Shared(Arc<dyn AnyService>),
    PerClient(Arc<Make>),
}

/// Two services of one name and version were offered to the other side, which could call only
/// one of them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the service {service} is offered twice; remove one of the two, or name one by `Service::named`")]
#[non_exhaustive]
pub struct OfferedTwice {
    /// The service's name.
    pub service: String,
}

/// Every service that one side offers. Clones share one list.
#[derive(Clone, Default)]
pub(crate) struct Offers(Arc<List>);

#[derive(Clone, Default)]
struct List {
    infos: Arc<Vec<ServiceInfo>>,
    sources: Vec<Source>,
    /// What calls of them have to pass, if anything.
    hooks: Option<Arc<Hooks>>,
    /// The first service that was added twice.
    duplicate: Option<ServiceInfo>,
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.infos.fmt(f)
    }
}

impl Offers {
    /// One service.
    pub(crate) fn of(service: impl Service) -> Self {
        let mut offers = Offers::default();
        offers.add_shared(service);
        offers
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.infos.is_empty()
    }

    /// The first service that was added twice.
    pub(crate) fn duplicate(&self) -> Option<&ServiceInfo> {
        self.0.duplicate.as_ref()
    }

    pub(crate) fn infos(&self) -> Arc<Vec<ServiceInfo>> {
        Arc::clone(&self.0.infos)
    }

    /// What the peer is told of them, if none was added twice.
    pub(crate) fn checked_infos(&self) -> Result<Arc<Vec<ServiceInfo>>, OfferedTwice> {
        match self.duplicate() {
            None => Ok(self.infos()),
            Some(service) => Err(OfferedTwice { service: service.name().to_owned() }),
        }
    }

    /// Adds a service. One that is there already is an error when the offers are put to use.
    fn add(&mut self, info: ServiceInfo, source: Source) {
        let list = Arc::make_mut(&mut self.0);
        match list.infos.iter().position(|known| *known == info) {
            Some(index) => {
                list.sources[index] = source;
                list.duplicate.get_or_insert(info);
            }
            None => {
                Arc::make_mut(&mut list.infos).push(info);
                list.sources.push(source);
            }
        }
    }

    /// Adds a service that all peers share.
    pub(crate) fn add_shared(&mut self, service: impl Service) {
        let (info, service) = service.into_servable();
        self.add(info, Source::Shared(service));
    }

    /// Adds a service that is made for each peer.
    pub(crate) fn add_per_client<I: ServiceImpl>(
        &mut self,
        make: impl Fn(&Connection) -> Serve<I> + Send + Sync + 'static,
    ) {
        let make = move |client: &Connection| Arc::new(make(client)) as Arc<dyn AnyService>;
        self.add(I::info(), Source::PerClient(Arc::new(make)));
    }

    /// Adds a rule that every call has to pass.
    pub(crate) fn add_rule<W: Into<String>>(
        &mut self,
        rule: impl Fn(&CallInfo) -> Result<(), W> + Send + Sync + 'static,
    ) {
        self.hooks_mut().rules.add(rule);
    }

    /// Puts a layer around every call, and around the layers before.
    pub(crate) fn add_layer(&mut self, layer: impl CallLayer) {
        let hooks = self.hooks_mut();
        hooks.layers = Some(Stack::of(layer, hooks.layers.as_ref()));
    }

    fn hooks_mut(&mut self) -> &mut Hooks {
        Arc::make_mut(Arc::make_mut(&mut self.0).hooks.get_or_insert_default())
    }

    pub(crate) fn hooks(&self) -> Option<Arc<Hooks>> {
        self.0.hooks.clone()
    }
}

/// Why there is no service for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoService {
    NotOffered,
    /// What makes it for the client panicked. It is asked again for the next call.
    Panicked,
}

/// Those that have been made, each at its place among all that is on offer.
type Made = Vec<Option<Arc<dyn AnyService>>>;

/// The services of one connection.
#[derive(Default)]
pub(crate) struct Services {
    offers: Offers,
    /// Those that have been made for this one.
    made: Option<Box<Made>>,
    /// The root port's, once it is known.
    root: Option<Served>,
}

impl Services {
    pub(crate) fn new(offers: Offers) -> Self {
        Services { offers, made: None, root: None }
    }

    /// The service at the root port.
    #[inline]
    pub(crate) fn root(&mut self, session: &Session) -> Result<&Served, NoService> {
        if self.root.is_none() {
            let root = session.root().ok_or(NoService::NotOffered)?;
            let service = self.get(root.index as usize, session)?;
            self.root = Some(Served { service, version: Some(root.version) });
        }
        self.root.as_ref().ok_or(NoService::NotOffered)
    }

    fn get(&mut self, index: usize, session: &Session) -> Result<Arc<dyn AnyService>, NoService> {
        let source = match &self.offers.0.sources[index] {
            Source::Shared(service) => return Ok(Arc::clone(service)),
            Source::PerClient(make) => make,
        };
        let all = self.made.get_or_insert_default();
        all.resize(self.offers.0.infos.len(), None);
        let made = &mut all[index];
        if made.is_none() {
            // Nobody is left to hold the connection where there is no link.
            let connection = Connection::new(session.link().ok_or(NoService::NotOffered)?);
            let service = caught(|| source(&connection)).map_err(|_| {
                log_limited!(error, peer = %session.peer(), "what makes a client's service has panicked, the call fails");
                NoService::Panicked
            })?;
            *made = Some(service);
        }
        made.clone().ok_or(NoService::NotOffered)
    }

    /// Answers the peer's wish for one of the services at a port of its own.
    pub(crate) fn open(&mut self, call: IncomingCall<'_>) {
        let mut rest = call.args;
        let wanted = take_str(&mut rest, limits::SERVICE_NAME).map(str::to_owned);
        let version = take_version(&mut rest);
        // Who says no oldest version speaks one, and is not to be told which.
        let oldest = if rest.is_empty() { Some(None) } else { take_version(&mut rest).map(Some) };
        let _: Dispatched = match (wanted, version, oldest) {
            (Some(name), Some(version), Some(oldest)) if oldest.is_none_or(|oldest| oldest <= version) => {
                let wanted = ServiceInfo::new(name, version).with_oldest(oldest.unwrap_or(version));
                let found = self.find(&wanted, call.session);
                match found {
                    Ok((service, version)) => call.open(OfferedService {
                        served: Served { service, version: Some(version) },
                        told: oldest.map(|_| version),
                    }),
                    Err(failure) => call.fail(failure),
                }
            }
            _ => call.fail(Failure::Malformed("a service's name and version cannot be read".to_owned())),
        };
    }

    fn find(
        &mut self,
        wanted: &ServiceInfo,
        session: &Session,
    ) -> Result<(Arc<dyn AnyService>, u32), Failure> {
        let (index, version) = find_service(&self.offers.0.infos, wanted).map_err(Failure::Refused)?;
        match self.get(index, session) {
            Ok(service) => Ok((service, version)),
            Err(NoService::Panicked) => Err(Failure::Panicked),
            Err(NoService::NotOffered) => Err(Failure::Refused(Refusal {
                reason: crate::error::RefusalReason::Draining,
                message: "the connection is closing".to_owned(),
            })),
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // A service of one client goes with its connection.
        drop_guarded((self.made.take(), self.root.take(), std::mem::take(&mut self.offers)));
    }
}

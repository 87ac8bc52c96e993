//! From records to handlers: each service and codec has a connection of its own
//! inside this process, whose caps, waiting calls and dispatch are as for any other.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::passed_over::{PassedOver, Report};
use super::record::{Record, service_hash};
use crate::codec::Codec;
use crate::limits::{Limits, RECORDS_READ};
use crate::link::{Link, flush, oneway, over_stream};
use crate::offers::Offers;
use crate::service::{Serve, ServiceImpl};
use crate::session::{CallTarget, CloseReason, Config, ROOT_PORT, ServiceInfo};

/// A service that records may be for.
#[derive(Clone)]
pub(super) struct Offered {
    hash: u64,
    info: ServiceInfo,
    offers: Offers,
}

impl Offered {
    pub(super) fn new<I: ServiceImpl>(service: Serve<I>) -> Self {
        Offered { hash: service_hash(&I::info()), info: I::info(), offers: Offers::of(service) }
    }
}

/// The name of a service that is offered twice: records tell services apart by their hash.
pub(super) fn duplicate(offered: &[Offered]) -> Option<String> {
    let mut hashes = std::collections::HashSet::new();
    let twice = offered.iter().find(|service| !hashes.insert(service.hash));
    twice.map(|service| service.info.name().to_owned())
}

/// The two sides of a connection inside this process.
struct Lane {
    calls: Arc<Link>,
    answers: Arc<Link>,
}

pub(super) struct Lanes {
    offered: Vec<Offered>,
    limits: Limits,
    /// By the place of the service and the number of the codec.
    open: BTreeMap<(usize, u8), Lane>,
    drivers: JoinSet<CloseReason>,
}

impl Lanes {
    pub(super) fn new(offered: Vec<Offered>, limits: Limits) -> Self {
        // Nothing comes back, so that no port could be used.
        let limits = Limits { max_ports: 0, ..limits };
        Lanes { offered, limits, open: BTreeMap::new(), drivers: JoinSet::new() }
    }

    /// Hands a record to the service that it is for, as soon as that has room.
    pub(super) async fn hand_on(&mut self, record: Record<'_>, report: &mut Report) -> io::Result<()> {
        let Record { service, codec: number, method, args } = record;
        let Some(index) = self.offered.iter().position(|offered| offered.hash == service) else {
            report.passed_over(PassedOver::Foreign { service });
            return Ok(());
        };
        let Some(codec) = Codec::from_id(u64::from(number)) else {
            report.passed_over(PassedOver::Codec { codec: number });
            return Ok(());
        };
        let Lanes { offered, limits, open, drivers } = self;
        let lane =
            open.entry((index, number)).or_insert_with(|| open_lane(&offered[index], codec, limits, drivers));
        let handed_on = oneway(&lane.calls, CallTarget::new(ROOT_PORT, method), |_, out| {
            out.extend_from_slice(args);
            Ok(None)
        });
        handed_on.await.map_err(|error| {
            io::Error::other(format!("the service {} takes no more calls: {error}", offered[index].info))
        })?;
        report.record();
        Ok(())
    }

    /// Ready when all that was handed on has been run to its end.
    pub(super) async fn finish(mut self) {
        for Lane { calls, answers } in self.open.values() {
            // Where this fails the connection is over, and nothing of it runs.
            let _ = flush(Arc::clone(calls), None).await;
            answers.drain();
        }
        while self.drivers.join_next().await.is_some() {}
    }
}

fn open_lane(offered: &Offered, codec: Codec, limits: &Limits, drivers: &mut JoinSet<CloseReason>) -> Lane {
    let (ours, theirs) = tokio::io::duplex(RECORDS_READ);
    let config =
        Config { limits: Arc::new(limits.clone()), offers: offered.offers.infos(), ..Config::acceptor() };
    let (answers, driver) = over_stream(theirs, config).with_offers(offered.offers.clone()).into_parts();
    drivers.spawn(driver);
    let own = Limits { queued_bytes: RECORDS_READ, max_ports: 0, ..Limits::default() };
    let config = Config { codec, limits: Arc::new(own), ..Config::dialer(offered.info.clone()) };
    Lane { calls: over_stream(ours, config).start(), answers }
}

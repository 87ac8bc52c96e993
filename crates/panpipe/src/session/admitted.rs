//! Calls of the peer's that have been let in, until they are handed to their services.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Session;
use super::core::{Core, Incoming, IncomingExtras};
use super::handlers::ReplyTo;
use super::message::{FLUSH, OPEN};
use crate::carried::Claims;
use crate::codec::Codec;
use crate::dispatch::{IncomingCall, dispatch, dispatch_in_order};
use crate::guarded::drop_guarded;
use crate::offers::Services;
use crate::ordered::OrderTicket;

/// Calls that wait, in their order. Mostly there is none.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "it is there in each connection, and empty in most")]
pub(super) struct Waiting(Option<Box<VecDeque<Parked>>>);

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn front(&self) -> Option<&Parked> {
        self.0.as_ref()?.front()
    }

    pub(super) fn push_back(&mut self, parked: Parked) {
        self.0.get_or_insert_default().push_back(parked);
    }

    pub(super) fn pop_front(&mut self) -> Option<Parked> {
        let parked = self.0.as_mut()?.pop_front();
        self.0.take_if(|waiting| waiting.is_empty());
        parked
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Parked> {
        self.0.iter().flat_map(|waiting| waiting.iter())
    }
}

/// A call that was let in and whose handler has not been started.
pub(super) struct Parked {
    incoming: Incoming,
    codec: Codec,
    args: Box<[u8]>,
    /// Where its method is ordered: its place among the calls that have arrived.
    ticket: Option<Box<OrderTicket>>,
}

impl Parked {
    /// What it takes of the window, if it is one-way.
    pub(super) fn oneway_cost(&self) -> u64 {
        self.incoming.oneway_cost()
    }

    /// Where its reply goes.
    pub(super) fn reply_to(&self) -> Option<ReplyTo> {
        self.incoming.reply_to
    }

    /// The call, which is not to run.
    pub(super) fn into_incoming(self) -> Incoming {
        self.incoming
    }

    /// Hands the call to its service.
    pub(super) fn run(self, session: &Arc<Session>, services: &mut Services) {
        let Parked { incoming, codec, args, ticket } = self;
        match ticket {
            None => incoming.run(session, services, codec, &args),
            Some(ticket) => incoming.run_in_order(session, services, codec, &args, *ticket),
        }
    }
}

/// A call that was let in.
pub(super) struct Admitted {
    incoming: Incoming,
    codec: Codec,
    /// Whether there is room for its reply, or for one more one-way call.
    has_room: bool,
}

impl Admitted {
    #[inline]
    pub(super) fn of(core: &mut Core, incoming: Incoming) -> Admitted {
        let has_room = match incoming.reply_to {
            Some(_) => core.has_queue_room(),
            // One-way calls have no reply to wait with.
            None => core.admits_oneway(incoming.oneway_cost()),
        };
        Admitted { codec: core.codec(), has_room, incoming }
    }

    /// Its arguments, in the frame that it came in.
    #[inline]
    pub(super) fn args<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        self.incoming.args(frame)
    }

    /// Hands the call to its service, or keeps it until there is room for its reply.
    #[inline(always)]
    pub(super) fn run_or_park(
        self,
        session: &Arc<Session>,
        services: &mut Services,
        (parked, oneways): (&mut Waiting, &mut Waiting),
        args: &[u8],
    ) {
        let Admitted { incoming, codec, has_room } = self;
        let places = if incoming.reply_to.is_some() { parked } else { oneways };
        if has_room && places.is_empty() {
            incoming.run(session, services, codec, args);
        } else {
            // Calls with and without a reply wait in different places: their order is fixed now.
            let ticket = incoming.ticket(session, services);
            places.push_back(Parked { incoming, codec, args: args.into(), ticket });
        }
    }
}

impl Incoming {
    /// The call's place among those of ordered methods, if its method is one.
    #[cold]
    fn ticket(&self, session: &Arc<Session>, services: &mut Services) -> Option<Box<OrderTicket>> {
        if self.method <= FLUSH {
            return None;
        }
        let port = self.extras.as_ref().and_then(|extras| extras.service.as_ref());
        let served = match port {
            Some(served) => served,
            None => services.root(session).ok()?,
        };
        served.service.ticket(self.method, session.id()).map(Box::new)
    }

    /// Hands the call of an ordered method to its service.
    #[cold]
    fn run_in_order(
        self,
        session: &Arc<Session>,
        services: &mut Services,
        codec: Codec,
        args: &[u8],
        ticket: OrderTicket,
    ) {
        let Incoming { reply_to, method, deadline, extras, .. } = self;
        let (labels, service, attached) = match extras {
            None => (None, None, Vec::new()),
            Some(extras) => (extras.labels, extras.service, extras.attached),
        };
        let claims =
            session.link().filter(|_| !attached.is_empty()).map(|link| Claims::new(link, codec, attached));
        let labels = labels.as_ref();
        let call =
            IncomingCall { session, reply_to, method, deadline, version: None, labels, codec, args, claims };
        match service {
            Some(service) => {
                dispatch_in_order(Ok(&service), call, ticket);
                // It may be the last that holds the service.
                drop_guarded(service);
            }
            None => dispatch_in_order(services.root(session), call, ticket),
        }
    }

    /// Hands the call to its service.
    #[inline(always)]
    fn run(self, session: &Arc<Session>, services: &mut Services, codec: Codec, args: &[u8]) {
        let Incoming { reply_to, method, deadline, extras, .. } = self;
        let call = IncomingCall {
            session,
            reply_to,
            method,
            deadline,
            version: None,
            labels: None,
            codec,
            args,
            claims: None,
        };
        match extras {
            None if method > FLUSH => dispatch(services.root(session), call),
            None if method == OPEN => services.open(call),
            None => call.flush(),
            Some(extras) => run_with_extras(call, *extras, services),
        }
    }
}

/// Hands a call to its service that has labels, carries ports, or is for another than the
/// root.
#[cold]
fn run_with_extras(call: IncomingCall<'_>, extras: IncomingExtras, services: &mut Services) {
    let IncomingExtras { labels, service, attached } = extras;
    let mut call = IncomingCall { labels: labels.as_ref(), ..call };
    // No claims are made where nobody is left to use them: the session ends.
    if let Some(link) = call.session.link().filter(|_| !attached.is_empty()) {
        call.claims = Some(Claims::new(link, call.codec, attached));
    }
    match service {
        Some(service) => {
            dispatch(Ok(&service), call);
            // It may be the last that holds the service.
            drop_guarded(service);
        }
        None if call.method() == OPEN => services.open(call),
        None => dispatch(services.root(call.session), call),
    }
}

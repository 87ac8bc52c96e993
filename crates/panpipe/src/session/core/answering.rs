//! The calls that the peer makes.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::ops::Range;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use panpipe_transport::varint;

use super::carrying::{Head, PutError};
use super::{Core, EncodedMessage, Incoming, IncomingExtras, remember_one_more};
use crate::error::{Refusal, RefusalReason};
use crate::labels::Labels;
use crate::limits;
use crate::metadata::MetadataSet;
use crate::session::deadlines::{Due, Ticket};
use crate::session::handlers::{ReplyTo, Stop};
use crate::session::message::{FLUSH, Header, Kind, METADATA, PING, ROOT_PORT, TRACED, take_u64};
use crate::session::reply::{Failure, put_failure};
use crate::trace::TraceContext;

impl Core {
    /// Takes a call, where both hellos have passed. One that has been let in is handed back
    /// for its handler to run. `now` is asked only where a deadline needs it.
    #[inline(always)]
    pub(crate) fn receive_call(
        &mut self,
        header: Header,
        frame: &[u8],
        now: &mut dyn FnMut() -> Instant,
    ) -> Option<Incoming> {
        self.heard = true;
        // A frame's length is a u32.
        let len = frame.len() as u32;
        let (frame, body, extras) = if header.carries || header.labels != 0 || header.port != ROOT_PORT {
            let (body, extras) = self.take_extras(header, frame)?;
            (&frame[..body.end], body.start, Some(extras))
        } else {
            (frame, header.body, None)
        };
        let mut rest = &frame[body..];
        let method = take_u64(&mut rest);
        let left = if header.kind == Kind::Call { varint::take(&mut rest) } else { Some(0) };
        let (Some(method), Some(left)) = (method, left) else {
            self.violation("the head of a call cannot be read");
            return None;
        };
        let args = frame.len().saturating_sub(rest.len()) as u32..frame.len() as u32;
        if header.kind == Kind::Oneway {
            // Its caller cannot be told that it was not run: so it is, also while draining.
            let incoming = Incoming { reply_to: None, method, deadline: None, args, len, extras };
            return self.receive_oneway(incoming);
        }
        let is_extra = header.id >= u64::from(self.limits.max_calls);
        let is_full = match is_extra {
            true => !self.takes_extra(header, method),
            false => self.handlers.active() > 0 && self.handlers.bytes() >= self.limits.max_call_bytes,
        };
        if is_full || self.load.as_ref().is_some_and(|load| !load.take()) {
            self.let_go_of(Incoming { reply_to: None, method, deadline: None, args, len, extras });
            self.overloaded(header.id);
            return None;
        }
        let id = u32::try_from(header.id).expect("the id is below a u32 limit");
        // Clamped before any arithmetic: a deadline years away is as good as any.
        let within = left.checked_sub(1).map(Duration::from_micros);
        let deadline = within.and_then(|within| now().checked_add(within.min(limits::LONGEST_DEADLINE)));
        let ticket = deadline.map(|at| self.deadlines.insert(at, Due::Handler(id)));
        let Some(reply_to) = self.handlers.add(id, is_extra, len as usize, ticket) else {
            self.lighten();
            self.violation("a call uses the id of another that still runs");
            return None;
        };
        let incoming = Incoming { reply_to: Some(reply_to), method, deadline, args, len, extras };
        if self.draining {
            self.let_go_of(incoming);
            self.fail(reply_to, Failure::NotRun);
            return None;
        }
        Some(incoming)
    }

    /// Whether a call may run whose id is beyond the regular ones.
    #[cold]
    fn takes_extra(&self, header: Header, method: u64) -> bool {
        if header.id > u64::from(u32::MAX) {
            return false;
        }
        let extra = header.id.saturating_sub(u64::from(self.limits.max_calls));
        let nested = u64::from(self.limits.max_nested_calls);
        match extra.checked_sub(nested) {
            None => self.handlers.extra_bytes() < self.limits.max_call_bytes,
            Some(0) => header.port == ROOT_PORT && method == FLUSH,
            Some(1) => header.port == ROOT_PORT && method == PING,
            Some(_) => false,
        }
    }

    /// Counts a one-way call. `None` if the peer was not to send it.
    fn receive_oneway(&mut self, incoming: Incoming) -> Option<Incoming> {
        let (window, why) = match self.peer_counts_oneways {
            true => (self.own_oneways(), "more one-way calls came than this side holds"),
            false => (
                limits::UNCOUNTED_ONEWAYS,
                "overloaded: one-way calls come faster than they run, and their sender does not wait for credit",
            ),
        };
        if self.handlers.oneway_comes(incoming.oneway_cost(), window) {
            return Some(incoming);
        }
        self.let_go_of(incoming);
        self.violation(why);
        None
    }

    /// The window of one-way calls that this side tells.
    fn own_oneways(&self) -> u64 {
        self.limits.oneway_bytes as u64
    }

    /// Gives the peer credit for one-way calls, once a good part of the window is free.
    pub(super) fn give_oneway_credit(&mut self) {
        // A peer that reads nothing gets no more credit.
        if self.handlers.owes_oneway_credit(self.own_oneways()) && self.is_open() && self.has_room_for_calls()
        {
            let bytes = self.handlers.take_oneway_credit();
            if self.peer_counts_oneways {
                self.put_frame(Kind::Credit, 0, |out| {
                    varint::put(out, 0);
                    varint::put(out, bytes);
                    varint::put(out, 0);
                });
            }
        }
    }

    /// What most calls do not have, and where its body is without that; nothing if
    /// the peer has broken the protocol.
    #[cold]
    fn take_extras(&mut self, header: Header, frame: &[u8]) -> Option<(Range<usize>, Box<IncomingExtras>)> {
        let (mut end, attached) = self.take_ports(header, frame)?;
        let service = if header.port == ROOT_PORT { None } else { self.ports.serving(header.port) };
        if header.port != ROOT_PORT && service.is_none() {
            self.violation("a call is for a port that is not open");
            return None;
        }
        let (mut start, mut labels) = (header.body, Labels::default());
        if header.labels & METADATA != 0 {
            let body = &frame[start..end];
            let Some((metadata, len)) = MetadataSet::read_behind(body, self.limits.max_metadata) else {
                self.violation("the metadata of a call cannot be read");
                return None;
            };
            (end, labels.metadata) = (start.saturating_add(len), Some(metadata));
        }
        if header.labels & TRACED != 0 {
            let mut rest = &frame[start..end];
            let Some(trace) = TraceContext::take(&mut rest) else {
                self.violation("the trace of a call cannot be read");
                return None;
            };
            (start, labels.trace) = (end.saturating_sub(rest.len()), Some(trace));
        }
        let labels = (header.labels != 0).then(|| Arc::new(labels));
        Some((start..end, Box::new(IncomingExtras { labels, service, attached })))
    }

    /// Gives up the ports of a call that is not run.
    pub(crate) fn let_go_of(&mut self, incoming: Incoming) {
        let Some(extras) = incoming.extras else { return };
        let IncomingExtras { service, attached, .. } = *extras;
        self.let_go(attached);
        // It may be the last that holds the service, whose drop is the user's.
        if let Some(served) = service {
            self.aftermath.ports().services.push(served.service);
        }
    }

    pub(super) fn overloaded(&mut self, id: u64) {
        if self.outbox.appended_len() < self.limits.queued_bytes {
            self.put_frame(Kind::Reply, id, |out| put_failure(out, &Failure::Overloaded));
        } else {
            // A peer over its limit that does not read its replies either.
            self.violation("more calls came than this side accepts, and their replies are not read");
        }
    }

    /// Answers a call with a message whose first byte is the status, unless it needs no answer
    /// any more. Returns false when the outgoing queue is full.
    #[inline]
    pub(crate) fn try_answer(&mut self, call: ReplyTo, message: &mut EncodedMessage) -> bool {
        if !self.handlers.contains(call) || self.is_over() {
            self.settle(call);
            return true;
        }
        if !self.has_queue_room() {
            return false;
        }
        match self.put_answer(call.id(), message) {
            Ok(()) => {
                let ended = self.handlers.take(call.id(), &mut self.aftermath.spent);
                self.has_settled(call, ended);
            }
            Err(failure) => self.fail(call, failure),
        }
        true
    }

    /// Waits for room in the outgoing queue, or for the end of the connection.
    pub(crate) fn poll_queue_room(&mut self, waker: &mut Option<Waker>) -> Poll<()> {
        if self.has_queue_room() || self.is_over() {
            return Poll::Ready(());
        }
        remember_one_more(&mut self.waiters.reply, waker);
        Poll::Pending
    }

    #[inline]
    pub(super) fn put_answer(&mut self, id: u32, message: &mut EncodedMessage) -> Result<(), Failure> {
        let put =
            self.put_message(Head::new(Kind::Reply, ROOT_PORT, u64::from(id)), self.max_message, message);
        put.map(drop).map_err(|error| match error {
            PutError::TooLarge { size, limit } => Failure::TooLarge { size, limit },
            PutError::Ports => Failure::Refused(Refusal::new(
                RefusalReason::TooManyPorts,
                "the reply carries more ports than both sides allow; raise `Limits::max_ports` on the side that has the smaller one",
            )),
        })
    }

    /// Answers a call with a failure, at once or as soon as there is room, unless it
    /// has been answered.
    pub(crate) fn fail(&mut self, call: ReplyTo, failure: Failure) {
        if self.is_over() || !self.handlers.contains(call) {
            self.settle(call);
        } else if self.has_queue_room() {
            self.put_frame(Kind::Reply, u64::from(call.id()), |out| put_failure(out, &failure));
            self.settle(call);
        } else {
            self.handlers.defer(call, failure);
        }
    }

    /// The call has been answered; its id is the peer's again.
    #[inline]
    pub(crate) fn settle(&mut self, call: ReplyTo) {
        let ended = self.handlers.remove(call, &mut self.aftermath.spent);
        self.has_settled(call, ended);
    }

    /// A call was forgotten, and had this deadline; `None` if it had been before.
    #[inline]
    fn has_settled(&mut self, call: ReplyTo, ended: Option<Option<Ticket>>) {
        if let Some(waiters) = self.waiters.used() {
            self.aftermath.spent.extend(waiters.flush.remove(&call.id()));
        }
        let Some(ticket) = ended else { return };
        self.lighten();
        if let Some(ticket) = ticket {
            self.deadlines.remove(ticket);
        }
        self.work_is_less();
    }

    fn lighten(&self) {
        if let Some(load) = &self.load {
            load.give_back();
        }
    }

    /// Whether the handler of a call has to stop.
    pub(crate) fn poll_stop(&mut self, call: ReplyTo, waker: &mut Option<Waker>) -> Option<Stop> {
        self.handlers.stopped(call, waker)
    }

    /// Whether a call is still to be answered.
    pub(crate) fn is_owed(&self, call: ReplyTo) -> bool {
        self.handlers.contains(call) && !self.is_over()
    }

    /// Whether a one-way call that has come, and takes `cost` of the window, is to be run
    /// now. If not it waits, in its order.
    pub(crate) fn admits_oneway(&mut self, cost: u64) -> bool {
        if self.handlers.waiting_oneways() == 0 && self.has_room_for_oneway() {
            self.handlers.oneway_started(cost);
            // It is handed on before anything is read that comes behind it.
            self.handlers.oneways_are_handed_on();
            self.give_oneway_credit();
            return true;
        }
        self.handlers.oneway_waits();
        false
    }

    /// Whether one that waits, and takes `cost` of the window, is to be run now.
    pub(crate) fn starts_waiting_oneway(&mut self, cost: u64) -> bool {
        let starts = self.has_room_for_oneway();
        if starts {
            self.handlers.oneway_waits_no_more();
            self.handlers.oneway_started(cost);
            self.give_oneway_credit();
        }
        starts
    }

    /// All one-way calls that do not wait any more have been handed to their handlers.
    pub(crate) fn oneways_are_handed_on(&mut self) {
        self.handlers.oneways_are_handed_on();
        if let Some(waiters) = self.waiters.used() {
            self.aftermath.wakes.extend(std::mem::take(&mut waiters.flush).into_values());
        }
    }

    /// The call `id` waits until the one-way calls that have come so far, as of its
    /// first poll, have been handed to their handlers.
    pub(crate) fn poll_handed_on(
        &mut self,
        id: u32,
        come: &mut Option<u64>,
        waker: &mut Option<Waker>,
    ) -> Poll<()> {
        let come = *come.get_or_insert(self.handlers.oneways_come());
        if self.handlers.has_handed_on(come) {
            return Poll::Ready(());
        }
        if let Some(new) = waker.take() {
            *waker = self.waiters.flush.insert(id, new);
        }
        Poll::Pending
    }

    pub(crate) fn oneway_ended(&mut self) {
        self.handlers.oneway_ended();
        if self.handlers.waiting_oneways() > 0 {
            self.wake_driver();
        }
        self.work_is_less();
    }

    /// Whether one-way calls wait that can be run.
    pub(crate) fn can_run_oneways(&self) -> bool {
        self.handlers.waiting_oneways() > 0 && self.has_room_for_oneway()
    }

    fn has_room_for_oneway(&self) -> bool {
        self.handlers.oneways() < self.limits.max_calls as usize
    }
}

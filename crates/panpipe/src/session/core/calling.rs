//! The calls that this side makes.

use std::task::{Poll, Waker};
use std::time::Duration;

use panpipe_transport::frame;

use super::carrying::{Head, PutError};
use super::{CallTarget, Core, Deadline, EncodedMessage, Phase, Role, Sending, remember, remember_one_more};
use crate::error::CallError;
use crate::labels::Labels;
use crate::limits;
use crate::session::calls::{CallState, Ids, Place, Reply, Sort};
use crate::session::deadlines::Due;
use crate::session::message::{FLUSH, Kind, METADATA, PING, ROOT_PORT};
use crate::trace::TraceContext;

/// What a call with metadata fails with where the peer accepts none.
const NO_METADATA: &str = "the other side accepts no metadata with calls: its panpipe is older than metadata, or its `Limits::max_metadata` is 0; update it, raise that, or call without metadata";

impl Core {
    /// Starts a call, or waits for room. `key` names the call from its first
    /// wait or its start on; it is `None` when the result is an error.
    ///
    /// `nesting` tells how deep the call nests in those that the two sides make of each other:
    /// 0 if no handler of this connection makes it. It is asked only where that matters.
    ///
    /// The message is `None` where the codec was not known when the call was made.
    #[inline]
    pub(crate) fn poll_call(
        &mut self,
        key: &mut Option<usize>,
        target: CallTarget<'_>,
        deadline: Option<Deadline>,
        nesting: impl Fn() -> u32,
        waker: &mut Option<Waker>,
        message: Option<&mut EncodedMessage>,
    ) -> Poll<Result<(), Box<CallError>>> {
        let granted = match *key {
            None => {
                self.open_for_calls(target.port).map_err(Box::new)?;
                None
            }
            Some(known) => {
                let call = self.calls.get_mut(known);
                match call.state {
                    CallState::Waiting => {
                        remember(&mut call.waker, waker);
                        return Poll::Pending;
                    }
                    CallState::Granted(place) => Some(place),
                    // Its deadline passed, or the connection ended, as it waited.
                    state => {
                        assert!(state.is_over(), "a call that has been started is not started again");
                        *key = None;
                        return Poll::Ready(self.take_result(known, &mut Reply::default()));
                    }
                }
            }
        };
        let place = match granted {
            None if self.is_id_scarce() => {
                let ids = Ids::of(sort_of(target, nesting()), self.room);
                self.calls.find_place(ids.ok_or_else(|| Box::new(CallError::Overloaded))?, self.room)
            }
            _ => Some(granted.unwrap_or(Place::Regular)),
        };
        let place = place.filter(|_| self.has_room_for_calls());
        let is_encoded = message.is_some();
        let started = match (message, place) {
            (Some(message), Some(place)) => {
                self.say_hello();
                let left = deadline.map(|deadline| deadline.left);
                let id = self.calls.next_id(place, self.room);
                match self.put_call(Kind::Call, u64::from(id), target, left, message) {
                    Ok(bytes) => bytes.map(|bytes| (bytes, (place, id))),
                    Err(error) => {
                        if let Some(known) = key.take() {
                            self.forget(known);
                        }
                        return Poll::Ready(Err(Box::new(error)));
                    }
                }
            }
            _ => None,
        };
        let known = *key.get_or_insert_with(|| {
            let known = self.calls.add();
            if let Some(at) = deadline.and_then(|deadline| deadline.at) {
                let ticket = self.deadlines.insert(at, Due::Call(known));
                self.calls.get_mut(known).deadline = Some(ticket);
            }
            known
        });
        match started {
            Some((bytes, id)) => {
                // One that goes out in parts is not out before its last part is.
                let end = if bytes > limits::LARGE_MESSAGE { u64::MAX } else { self.outbox.queued_total() };
                self.calls.sent(known, id, bytes, end, granted);
                self.crowd = if self.calls.alone() { self.crowd.saturating_sub(1) } else { limits::CROWD };
                Poll::Ready(Ok(()))
            }
            None => {
                let sort = match granted {
                    Some(_) => self.calls.sort(known),
                    None => sort_of(target, nesting()),
                };
                self.calls.wait(known, sort, self.room, granted);
                remember(&mut self.calls.get_mut(known).waker, waker);
                if !is_encoded && self.is_open() {
                    // The hello came since the caller asked for the codec.
                    self.grant();
                }
                Poll::Pending
            }
        }
    }

    /// Whether not every call may have the next regular id: where there is none, and where a
    /// handler may make a call that must not have it.
    #[inline]
    fn is_id_scarce(&self) -> bool {
        !self.calls.has_room(self.room) || self.handlers.has_extra()
    }

    /// Whether calls are waiting for the peer's limit for the first time: how many are in
    /// flight.
    pub(crate) fn is_first_at_limit(&mut self) -> Option<usize> {
        let in_flight = self.calls.in_flight();
        let is_first = !self.has_warned && self.is_open() && in_flight >= self.room.calls;
        self.has_warned |= is_first;
        is_first.then_some(in_flight)
    }

    /// Has `waker` be woken by the reply to a call that was started. Whether it will be.
    #[inline]
    pub(crate) fn await_reply(&mut self, key: Option<usize>, waker: &mut Option<Waker>) -> bool {
        let Some(key) = key else { return false };
        let call = self.calls.get_mut(key);
        let is_sent = matches!(call.state, CallState::Sent { .. });
        if is_sent {
            remember(&mut call.waker, waker);
        }
        is_sent
    }

    /// Waits for the reply to a call that was started.
    #[inline]
    pub(crate) fn poll_reply(
        &mut self,
        key: &mut Option<usize>,
        waker: &mut Option<Waker>,
        reply: &mut Reply,
    ) -> Poll<Result<(), Box<CallError>>> {
        let known = key.expect("a started call keeps its key until its result is taken");
        let call = self.calls.get_mut(known);
        if !call.state.is_over() {
            remember(&mut call.waker, waker);
            return Poll::Pending;
        }
        *key = None;
        Poll::Ready(self.take_result(known, reply))
    }

    /// Whether others are likely to be made, by tasks that are ready on the same thread,
    /// beside the call that was made last: they are to go out together.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowd > 0
    }

    /// Whether no other call is on its way.
    pub(crate) fn is_only_call(&self) -> bool {
        self.calls.alone()
    }

    /// Whether the result of a call is here.
    pub(crate) fn is_done(&mut self, key: usize) -> bool {
        self.calls.get_mut(key).state.is_over()
    }

    /// The caller of a call is not to be woken.
    pub(crate) fn forget_waker(&mut self, key: usize) {
        self.aftermath.spent.extend(self.calls.get_mut(key).waker.take());
    }

    /// Sends a one-way call; when there is no room, `waker` is woken once there is. Ready when
    /// its last byte stands in the outgoing queue: what is queued later goes out behind it.
    /// A call is `nested` if it is made by a handler of this connection.
    ///
    /// `sending` is kept with the call: what it waits for once it has been queued. The message is `None` where the codec was not known when the call was made.
    pub(crate) fn poll_oneway(
        &mut self,
        target: CallTarget<'_>,
        nested: impl FnOnce() -> bool,
        sending: &mut Option<Sending>,
        waker: &mut Option<Waker>,
        message: Option<&mut EncodedMessage>,
    ) -> Poll<Result<(), CallError>> {
        match *sending {
            None => {}
            Some(Sending::Parts(number)) => return self.poll_handed_out(number, waker),
            Some(Sending::Bytes(_)) => return self.poll_written(sending, waker),
        }
        self.open_for_calls(target.port)?;
        if !self.oneway_window.has_room(nested) {
            remember_one_more(&mut self.waiters.oneway, waker);
            return Poll::Pending;
        }
        // The calls of one port stay in their order.
        let has_room = self.has_queue_room() && !self.outgoing.has(Kind::Oneway, target.port);
        let is_encoded = message.is_some();
        if let Some(message) = message.filter(|_| has_room) {
            self.say_hello();
            let was_idle = !self.has_unsent();
            if let Some(size) = self.put_call(Kind::Oneway, 0, target, None, message)? {
                self.oneway_window.sent(size - frame::HEAD);
                self.accept(was_idle);
                if size > limits::LARGE_MESSAGE {
                    *sending = Some(Sending::Parts(self.outgoing.made()));
                    return self.poll_handed_out(self.outgoing.made(), waker);
                }
                return Poll::Ready(Ok(()));
            }
        }
        remember_one_more(&mut self.waiters.reply, waker);
        if !is_encoded && self.is_open() {
            // The hello came since the caller asked for the codec.
            self.wake_reply_waiters();
        }
        Poll::Pending
    }

    /// Waits until what has been queued is written, as of the first poll.
    pub(crate) fn poll_written(
        &mut self,
        sending: &mut Option<Sending>,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<(), CallError>> {
        let end = match *sending {
            Some(Sending::Bytes(end)) => end,
            _ => self.outbox.queued_total(),
        };
        *sending = Some(Sending::Bytes(end));
        match &self.phase {
            _ if self.outbox.written_total() >= end => Poll::Ready(Ok(())),
            Phase::Ending(reason) | Phase::Ended(reason) => Poll::Ready(Err(reason.sent())),
            _ => {
                remember_one_more(&mut self.waiters.reply, waker);
                Poll::Pending
            }
        }
    }

    /// The peer takes more one-way calls.
    pub(super) fn on_oneway_credit(&mut self, bytes: u64) {
        if !self.oneway_window.granted(bytes) {
            return self.violation("credit came for more one-way calls than were sent");
        }
        self.wake_oneway_waiters();
    }

    /// Waits until the last part of a one-way call stands in the outgoing queue.
    fn poll_handed_out(&mut self, number: u64, waker: &mut Option<Waker>) -> Poll<Result<(), CallError>> {
        if self.outgoing.has_number(number) {
            remember_one_more(&mut self.waiters.reply, waker);
            return Poll::Pending;
        }
        // At the end of a connection what has not been handed out is forgotten.
        Poll::Ready(match &self.phase {
            Phase::Ending(reason) | Phase::Ended(reason) => Err(reason.sent()),
            _ => Ok(()),
        })
    }

    /// Waits until the one-way calls that have been made so far, as of the first
    /// poll, are all before whatever is queued next.
    pub(crate) fn poll_oneways_queued(
        &mut self,
        made: &mut Option<u64>,
        waker: &mut Option<Waker>,
    ) -> Poll<()> {
        let made = *made.get_or_insert(self.outgoing.made());
        if !self.outgoing.has_oneway_among(made) {
            return Poll::Ready(());
        }
        remember_one_more(&mut self.waiters.reply, waker);
        Poll::Pending
    }

    /// The caller has gone: gives up its place, or tells the peer to stop.
    pub(crate) fn drop_call(&mut self, key: usize) {
        if let Some(id) = self.forget(key) {
            self.cancel(id);
        }
        self.grant();
    }

    #[inline]
    pub(super) fn open_for_calls(&mut self, port: u64) -> Result<(), CallError> {
        match &self.phase {
            Phase::Ending(reason) | Phase::Ended(reason) => return Err(reason.unsent()),
            _ if self.peer_draining || self.closing => {
                return Err(CallError::Disconnected { sent: false });
            }
            // What is under way for the peer may need calls; nothing else keeps this side.
            _ if self.draining && !self.has_work() => {
                return Err(CallError::Disconnected { sent: false });
            }
            _ => {}
        }
        if port != ROOT_PORT && self.ports.get(port).is_none_or(|port| port.heard()) {
            return Err(CallError::Disconnected { sent: false });
        }
        Ok(())
    }

    /// Queues a call's frame. `Ok(None)`: it has to wait for the peer's hello.
    #[inline]
    pub(super) fn put_call(
        &mut self,
        kind: Kind,
        id: u64,
        target: CallTarget<'_>,
        left: Option<Duration>,
        message: &mut EncodedMessage,
    ) -> Result<Option<usize>, CallError> {
        let CallTarget { port, method, labels, .. } = target;
        let open = matches!(self.phase, Phase::Open);
        // Whether the peer takes a trace or metadata only its hello says.
        if !open && (self.role == Role::Acceptor || labels.is_some()) {
            return Ok(None);
        }
        let (trace, flags) = match labels {
            None => (None, 0),
            Some(labels) => self.sent_labels(labels)?,
        };
        let head = Head { kind, flags, port, id, trace, method: Some(method), left };
        match self.put_message(head, self.max_message, message) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) if !open => Ok(None),
            Err(PutError::TooLarge { size, limit }) => Err(CallError::TooLarge { size, limit }),
            Err(PutError::Ports) => Err(CallError::Overloaded),
        }
    }

    /// What a call's head says of its labels: the trace, if the peer takes it, and that there are
    /// metadata. Without its metadata a call is not made.
    #[cold]
    fn sent_labels<'a>(&self, labels: &'a Labels) -> Result<(Option<&'a TraceContext>, u8), CallError> {
        if let Some(metadata) = &labels.metadata {
            let (size, limit) = (metadata.bytes().len(), self.peer_max_metadata);
            if limit == 0 {
                return Err(CallError::Unsupported(NO_METADATA.to_owned()));
            }
            if size > limit {
                return Err(CallError::MetadataTooLarge { size: size as u64, limit: limit as u64 });
            }
        }
        let flags = if labels.metadata.is_some() { METADATA } else { 0 };
        Ok((labels.trace.as_ref().filter(|_| self.peer_traces), flags))
    }

    /// Removes a call, with a reply that nobody has taken. Returns its id if the
    /// peer is still at it.
    pub(super) fn forget(&mut self, key: usize) -> Option<u32> {
        let (reply, ticket, id) = self.calls.forget(key, &mut self.aftermath.spent);
        if let Some(attached) = reply.attached {
            self.let_go(attached);
        }
        if let Some(ticket) = ticket {
            self.deadlines.remove(ticket);
        }
        id
    }

    /// Takes what a call that is over has come to.
    #[inline]
    fn take_result(&mut self, key: usize, reply: &mut Reply) -> Result<(), Box<CallError>> {
        if let Some(ticket) = self.calls.get_mut(key).deadline.take() {
            self.deadlines.remove(ticket);
        }
        self.calls.take(key, reply)
    }

    pub(super) fn grant(&mut self) {
        if self.calls.has_waiting() && self.has_room_for_calls() {
            self.calls.grant(self.room, &mut self.aftermath.wakes);
        }
    }
}

/// What sort of call this is, for the ids that it may have.
fn sort_of(target: CallTarget<'_>, nesting: u32) -> Sort {
    match (target.port, target.method) {
        (ROOT_PORT, FLUSH) => Sort::Flush,
        (ROOT_PORT, PING) => Sort::Ping,
        _ => Sort::Nested(nesting),
    }
}

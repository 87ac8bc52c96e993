//! The calls that the peer has made and this side is answering.

use std::collections::VecDeque;
use std::task::Waker;

use super::deadlines::Ticket;
use super::reply::Failure;
use crate::error::CallError;

/// Why a handler has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The caller has gone.
    Cancelled,
    /// The call's deadline has passed.
    DeadlineExceeded,
    /// The connection has ended.
    Disconnected,
}

impl From<Stop> for CallError {
    fn from(stop: Stop) -> CallError {
        match stop {
            Stop::DeadlineExceeded => CallError::DeadlineExceeded,
            Stop::Cancelled | Stop::Disconnected => CallError::Cancelled,
        }
    }
}

/// Where one call's reply goes. Once it has been given this is nobody's, also when the
/// id is another call's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    id: u32,
    serial: u32,
}

impl ReplyTo {
    /// The call's id on the wire.
    #[inline]
    pub(crate) fn id(self) -> u32 {
        self.id
    }
}

#[derive(Debug)]
struct Handler {
    /// Tells the call from others that have had its id.
    serial: u32,
    bytes: usize,
    deadline: Option<Ticket>,
    waker: Option<Waker>,
    stop: Option<Stop>,
}

#[derive(Debug, Default)]
pub(crate) struct Handlers {
    by_id: Vec<Option<Handler>>,
    serial: u32,
    active: usize,
    bytes: usize,
    oneways: usize,
    /// How many one-way calls have come, and how many of them, the first, have been
    /// handed to their handlers.
    oneways_come: u64,
    oneways_handed: u64,
    /// One-way calls that wait until fewer run, and what they take.
    waiting_oneways: usize,
    waiting_bytes: usize,
    /// Failures that wait for room in the outgoing queue.
    deferred: VecDeque<(ReplyTo, Failure)>,
}

impl Handlers {
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// The bytes of arguments that the running calls came with.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes a call; none when its id is in use already.
    pub(crate) fn add(&mut self, id: u32, bytes: usize, deadline: Option<Ticket>) -> Option<ReplyTo> {
        let index = id as usize;
        if index >= self.by_id.len() {
            if index == 0 {
                // Most connections have one call at a time.
                self.by_id.reserve_exact(1);
            }
            self.by_id.resize_with(index + 1, || None);
        }
        let place = &mut self.by_id[index];
        if place.is_some() {
            return None;
        }
        self.serial = self.serial.wrapping_add(1);
        *place = Some(Handler { serial: self.serial, bytes, deadline, waker: None, stop: None });
        self.active += 1;
        self.bytes += bytes;
        Some(ReplyTo { id, serial: self.serial })
    }

    /// Forgets a call that has been answered. Hands over its deadline, or
    /// `None` when it has been answered before.
    pub(crate) fn remove(&mut self, call: ReplyTo) -> Option<Option<Ticket>> {
        let place = self.by_id.get_mut(call.id as usize)?;
        let handler = place.take_if(|handler| handler.serial == call.serial)?;
        self.active -= 1;
        self.bytes -= handler.bytes;
        if self.active == 0 && self.by_id.len() > 64 {
            self.by_id = Vec::new();
        }
        Some(handler.deadline)
    }

    /// Whether the call is still to be answered.
    #[inline]
    pub(crate) fn contains(&self, call: ReplyTo) -> bool {
        matches!(self.by_id.get(call.id as usize), Some(Some(handler)) if handler.serial == call.serial)
    }

    /// Tells a handler to stop.
    pub(crate) fn stop(&mut self, id: u64, why: Stop, wakes: &mut Vec<Waker>) {
        let handler = usize::try_from(id).ok().and_then(|id| self.by_id.get_mut(id)).and_then(Option::as_mut);
        if let Some(handler) = handler {
            handler.stop.get_or_insert(why);
            wakes.extend(handler.waker.take());
        }
    }

    pub(crate) fn stop_all(&mut self, why: Stop, wakes: &mut Vec<Waker>) {
        for handler in self.by_id.iter_mut().flatten() {
            handler.stop.get_or_insert(why);
            wakes.extend(handler.waker.take());
        }
    }

    /// Whether the handler has to stop; if not, `waker` is woken when it has to. One
    /// that has answered need not: layers may have something left to do.
    pub(crate) fn stopped(&mut self, call: ReplyTo, waker: &Waker) -> Option<Stop> {
        let handler = self.by_id.get_mut(call.id as usize)?.as_mut()?;
        if handler.serial != call.serial {
            return None;
        }
        if handler.stop.is_none() {
            match &mut handler.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        handler.stop
    }

    /// Keeps a failure until there is room for it.
    pub(crate) fn defer(&mut self, call: ReplyTo, failure: Failure) {
        self.deferred.push_back((call, failure));
    }

    /// Whether a failure waits for room.
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Takes the oldest of the failures that wait for room.
    pub(crate) fn take_deferred(&mut self) -> Option<(ReplyTo, Failure)> {
        self.deferred.pop_front()
    }

    pub(crate) fn oneway_started(&mut self) {
        self.oneways += 1;
    }

    /// Notes a one-way call that has come.
    pub(crate) fn oneway_comes(&mut self) {
        self.oneways_come += 1;
    }

    /// How many one-way calls have come so far.
    pub(crate) fn oneways_come(&self) -> u64 {
        self.oneways_come
    }

    /// Notes that all one-way calls that do not wait have been handed on.
    pub(crate) fn oneways_are_handed_on(&mut self) {
        self.oneways_handed = self.oneways_come - self.waiting_oneways as u64;
    }

    /// Whether the first so many one-way calls have been handed on.
    pub(crate) fn has_handed_on(&self, come: u64) -> bool {
        self.oneways_handed >= come
    }

    pub(crate) fn oneway_ended(&mut self) {
        self.oneways -= 1;
    }

    pub(crate) fn oneways(&self) -> usize {
        self.oneways
    }

    pub(crate) fn oneway_waits(&mut self, bytes: usize) {
        self.waiting_oneways += 1;
        self.waiting_bytes += bytes;
    }

    pub(crate) fn oneway_waits_no_more(&mut self, bytes: usize) {
        self.waiting_oneways -= 1;
        self.waiting_bytes -= bytes;
    }

    pub(crate) fn waiting_oneways(&self) -> usize {
        self.waiting_oneways
    }

    #[cfg(test)]
    pub(crate) fn call_of(&self, id: u32) -> ReplyTo {
        let serial = self.by_id[id as usize].as_ref().map_or(0, |handler| handler.serial);
        ReplyTo { id, serial }
    }

    /// What the one-way calls take that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_use_is_not_taken_twice_and_counts_return_to_nothing() {
        let mut handlers = Handlers::default();
        let call = handlers.add(3, 10, None).unwrap();
        assert_eq!(handlers.add(3, 10, None), None);
        assert_eq!((handlers.active(), handlers.bytes()), (1, 10));
        assert_eq!(handlers.remove(call), Some(None));
        assert_eq!(handlers.remove(call), None);
        assert_eq!((handlers.active(), handlers.bytes()), (0, 0));
    }

    #[test]
    fn a_call_that_was_answered_has_nothing_to_do_with_the_next_of_its_id() {
        let mut handlers = Handlers::default();
        let answered = handlers.add(3, 10, None).unwrap();
        handlers.remove(answered);
        let next = handlers.add(3, 10, None).unwrap();
        assert!(handlers.contains(next) && !handlers.contains(answered));
        assert_eq!(handlers.remove(answered), None);
        handlers.stop(3, Stop::Cancelled, &mut Vec::new());
        assert_eq!(handlers.stopped(answered, Waker::noop()), None);
        assert_eq!(handlers.stopped(next, Waker::noop()), Some(Stop::Cancelled));
        assert_eq!(handlers.active(), 1);
    }

    #[test]
    fn the_first_reason_to_stop_is_kept() {
        let mut handlers = Handlers::default();
        let call = handlers.add(0, 0, None).unwrap();
        assert_eq!(handlers.stopped(call, Waker::noop()), None);
        let mut wakes = Vec::new();
        handlers.stop(0, Stop::DeadlineExceeded, &mut wakes);
        handlers.stop(0, Stop::Cancelled, &mut wakes);
        assert_eq!(wakes.len(), 1);
        assert_eq!(handlers.stopped(call, Waker::noop()), Some(Stop::DeadlineExceeded));
        handlers.stop(u64::MAX, Stop::Cancelled, &mut wakes);
    }
}

//! The calls that the peer has made and this side is answering.

use std::collections::VecDeque;
use std::task::Waker;

use super::deadlines::Ticket;
use super::reply::Failure;

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

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        match stop {
            Stop::DeadlineExceeded => Failure::DeadlineExceeded,
            Stop::Cancelled | Stop::Disconnected => Failure::Cancelled,
        }
    }
}

#[derive(Debug)]
struct Handler {
    bytes: usize,
    deadline: Option<Ticket>,
    waker: Option<Waker>,
    stop: Option<Stop>,
}

#[derive(Debug, Default)]
pub(crate) struct Handlers {
    by_id: Vec<Option<Handler>>,
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
    deferred: VecDeque<(u32, Failure)>,
}

impl Handlers {
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// The bytes of arguments that the running calls came with.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes a call; false when its id is in use already.
    pub(crate) fn add(&mut self, id: u32, bytes: usize, deadline: Option<Ticket>) -> bool {
        let index = id as usize;
        if index >= self.by_id.len() {
            self.by_id.resize_with(index + 1, || None);
        }
        let place = &mut self.by_id[index];
        if place.is_some() {
            return false;
        }
        *place = Some(Handler { bytes, deadline, waker: None, stop: None });
        self.active += 1;
        self.bytes += bytes;
        true
    }

    /// Forgets a call that has been answered. Hands over its deadline, or
    /// `None` when there is no such call.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Option<Ticket>> {
        let handler = self.by_id.get_mut(id as usize)?.take()?;
        self.active -= 1;
        self.bytes -= handler.bytes;
        if self.active == 0 && self.by_id.len() > 64 {
            self.by_id = Vec::new();
        }
        Some(handler.deadline)
    }

    /// Forgets all calls; gives how many there were.
    pub(crate) fn forget_all(&mut self) -> usize {
        self.by_id = Vec::new();
        self.bytes = 0;
        std::mem::take(&mut self.active)
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        matches!(self.by_id.get(id as usize), Some(Some(_)))
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

    /// Whether the handler has to stop; if not, `waker` is woken when it has to.
    pub(crate) fn stopped(&mut self, id: u32, waker: &Waker) -> Option<Stop> {
        let Some(Some(handler)) = self.by_id.get_mut(id as usize) else {
            return Some(Stop::Disconnected);
        };
        if handler.stop.is_none() {
            match &mut handler.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        handler.stop
    }

    /// Keeps a failure until there is room for it.
    pub(crate) fn defer(&mut self, id: u32, failure: Failure) {
        self.deferred.push_back((id, failure));
    }

    /// Whether a failure waits for room.
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Takes the oldest of the failures that wait for room.
    pub(crate) fn take_deferred(&mut self) -> Option<(u32, Failure)> {
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
        assert!(handlers.add(3, 10, None));
        assert!(!handlers.add(3, 10, None));
        assert_eq!((handlers.active(), handlers.bytes()), (1, 10));
        assert_eq!(handlers.remove(3), Some(None));
        assert_eq!(handlers.remove(3), None);
        assert_eq!((handlers.active(), handlers.bytes()), (0, 0));
    }

    #[test]
    fn the_first_reason_to_stop_is_kept() {
        let mut handlers = Handlers::default();
        handlers.add(0, 0, None);
        assert_eq!(handlers.stopped(0, Waker::noop()), None);
        let mut wakes = Vec::new();
        handlers.stop(0, Stop::DeadlineExceeded, &mut wakes);
        handlers.stop(0, Stop::Cancelled, &mut wakes);
        assert_eq!(wakes.len(), 1);
        assert_eq!(handlers.stopped(0, Waker::noop()), Some(Stop::DeadlineExceeded));
        assert_eq!(handlers.stopped(9, Waker::noop()), Some(Stop::Disconnected));
        handlers.stop(u64::MAX, Stop::Cancelled, &mut wakes);
    }
}

//! The calls that the peer has made and this side is answering.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;
use std::task::Waker;

use super::core::remember;
use super::deadlines::Ticket;
use super::on_demand::{OnDemand, Part};
use super::oneway_window::ReceiveWindow;
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

/// For how many calls a connection that runs none keeps room, beside the last.
const IDLE_ROOM: usize = 7;

#[derive(Debug)]
struct Handler {
    /// Tells the call from others that have had its id.
    serial: u32,
    /// Whether its id is beyond the regular ones.
    is_extra: bool,
    bytes: usize,
    deadline: Option<Ticket>,
    waker: Option<Waker>,
    stop: Option<Stop>,
}

#[derive(Debug, Default)]
pub(crate) struct Handlers {
    /// The call that has come last, until it is answered: most are before the next is
    /// looked at.
    last: Option<(u32, Handler)>,
    /// The others. Ids are the peer's choice, so that they are no indices.
    others: OnDemand<Others>,
    serial: u32,
    bytes: usize,
    /// The same of those with extra ids, and how many there are.
    extra_bytes: usize,
    extra: u32,
    oneways: OnDemand<Oneways>,
    /// Failures that wait for room in the outgoing queue.
    deferred: OnDemand<Deferred>,
}

#[derive(Debug, Default)]
struct Others(HashMap<u32, Handler>);

impl Part for Others {
    fn unused() -> &'static Self {
        static UNUSED: LazyLock<Others> = LazyLock::new(Others::default);
        &UNUSED
    }
}

/// The one-way calls that the peer has made.
#[derive(Debug)]
struct Oneways {
    /// How many run.
    running: usize,
    /// How many have come, and how many of them, the first, have been handed to their
    /// handlers.
    come: u64,
    handed: u64,
    /// Those that wait until fewer run.
    waiting: usize,
    window: ReceiveWindow,
}

impl Oneways {
    const UNUSED: Oneways =
        Oneways { running: 0, come: 0, handed: 0, waiting: 0, window: ReceiveWindow::UNUSED };
}

impl Default for Oneways {
    fn default() -> Self {
        Oneways::UNUSED
    }
}

impl Part for Oneways {
    fn unused() -> &'static Self {
        static UNUSED: Oneways = Oneways::UNUSED;
        &UNUSED
    }
}

#[derive(Debug, Default)]
struct Deferred(VecDeque<(ReplyTo, Failure)>);

impl Part for Deferred {
    fn unused() -> &'static Self {
        static UNUSED: Deferred = Deferred(VecDeque::new());
        &UNUSED
    }
}

impl Handlers {
    #[inline]
    pub(crate) fn active(&self) -> usize {
        self.others.seen().map_or(0, |others| others.0.len()) + usize::from(self.last.is_some())
    }

    /// The bytes of arguments that the running calls with regular ids came with.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same of the calls with extra ids.
    pub(crate) fn extra_bytes(&self) -> usize {
        self.extra_bytes
    }

    /// Whether a call runs that has an extra id.
    #[inline]
    pub(crate) fn has_extra(&self) -> bool {
        self.extra > 0
    }

    /// Notes a call; none when its id is in use already.
    #[inline]
    pub(crate) fn add(
        &mut self,
        id: u32,
        is_extra: bool,
        bytes: usize,
        deadline: Option<Ticket>,
    ) -> Option<ReplyTo> {
        if !self.make_way(id) {
            return None;
        }
        self.serial = self.serial.wrapping_add(1);
        let handler = Handler { serial: self.serial, is_extra, bytes, deadline, waker: None, stop: None };
        self.last = Some((id, handler));
        if is_extra {
            self.extra += 1;
            self.extra_bytes += bytes;
        } else {
            self.bytes += bytes;
        }
        Some(ReplyTo { id, serial: self.serial })
    }

    /// Puts the last call among the others, where there is one. False: `id` is in use.
    #[inline]
    fn make_way(&mut self, id: u32) -> bool {
        if self.others.seen().is_some_and(|others| others.0.contains_key(&id)) {
            return false;
        }
        match &self.last {
            None => true,
            Some((last, _)) if *last == id => false,
            Some(_) => {
                self.others.0.extend(self.last.take());
                true
            }
        }
    }

    #[inline]
    fn get(&self, id: u32) -> Option<&Handler> {
        match &self.last {
            Some((last, handler)) if *last == id => Some(handler),
            _ => self.others.seen()?.0.get(&id),
        }
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut Handler> {
        match &mut self.last {
            Some((last, handler)) if *last == id => Some(handler),
            _ => self.others.used()?.0.get_mut(&id),
        }
    }

    /// Forgets a call that has been answered. Hands over its deadline, or
    /// `None` when it has been answered before. Its waker joins `spent`.
    #[inline]
    pub(crate) fn remove(&mut self, call: ReplyTo, spent: &mut Vec<Waker>) -> Option<Option<Ticket>> {
        if self.contains(call) { self.take(call.id, spent) } else { None }
    }

    /// The same by its id alone, for one that is still to be answered.
    #[inline]
    pub(crate) fn take(&mut self, id: u32, spent: &mut Vec<Waker>) -> Option<Option<Ticket>> {
        let handler = match self.last.take_if(|(last, _)| *last == id) {
            Some((_, handler)) => handler,
            None => self.remove_other(id)?,
        };
        if handler.is_extra {
            self.extra -= 1;
            self.extra_bytes -= handler.bytes;
        } else {
            self.bytes -= handler.bytes;
        }
        if let Some(waker) = handler.waker {
            spent.push(waker);
        }
        Some(handler.deadline)
    }

    fn remove_other(&mut self, id: u32) -> Option<Handler> {
        let Others(others) = self.others.used()?;
        let handler = others.remove(&id);
        if others.is_empty() {
            others.shrink_to(IDLE_ROOM);
        }
        handler
    }

    /// Whether the call is still to be answered.
    #[inline]
    pub(crate) fn contains(&self, call: ReplyTo) -> bool {
        self.get(call.id).is_some_and(|handler| handler.serial == call.serial)
    }

    /// Tells a handler to stop.
    pub(crate) fn stop(&mut self, id: u64, why: Stop, wakes: &mut Vec<Waker>) {
        if let Some(handler) = u32::try_from(id).ok().and_then(|id| self.get_mut(id)) {
            handler.stop.get_or_insert(why);
            wakes.extend(handler.waker.take());
        }
    }

    pub(crate) fn stop_all(&mut self, why: Stop, wakes: &mut Vec<Waker>) {
        let last = self.last.iter_mut().map(|(_, handler)| handler);
        let others = self.others.used().into_iter().flat_map(|others| others.0.values_mut());
        for handler in last.chain(others) {
            handler.stop.get_or_insert(why);
            wakes.extend(handler.waker.take());
        }
    }

    /// Whether the handler has to stop; if not, `waker` is woken when it has to. One
    /// that has answered need not: layers may have something left to do.
    pub(crate) fn stopped(&mut self, call: ReplyTo, waker: &mut Option<Waker>) -> Option<Stop> {
        let handler = self.get_mut(call.id)?;
        if handler.serial != call.serial {
            return None;
        }
        if handler.stop.is_none() {
            remember(&mut handler.waker, waker);
        }
        handler.stop
    }

    /// Keeps a failure until there is room for it.
    pub(crate) fn defer(&mut self, call: ReplyTo, failure: Failure) {
        self.deferred.0.push_back((call, failure));
    }

    /// Whether a failure waits for room.
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.0.is_empty()
    }

    /// Takes the oldest of the failures that wait for room.
    pub(crate) fn take_deferred(&mut self) -> Option<(ReplyTo, Failure)> {
        self.deferred.used()?.0.pop_front()
    }

    pub(crate) fn oneway_started(&mut self, cost: u64) {
        self.oneways.running += 1;
        self.oneways.window.started(cost);
    }

    /// Notes a one-way call that has come. False if the peer was not to send it, by the
    /// `window` that it was told.
    #[must_use]
    pub(crate) fn oneway_comes(&mut self, cost: u64, window: u64) -> bool {
        let has_room = self.oneways.window.came(cost, window);
        self.oneways.come += u64::from(has_room);
        has_room
    }

    /// Whether the peer is to be given credit for one-way calls.
    pub(crate) fn owes_oneway_credit(&self, window: u64) -> bool {
        self.oneways.seen().is_some_and(|oneways| oneways.window.owes_credit(window))
    }

    /// Takes the credit for one-way calls that the peer is to be given.
    pub(crate) fn take_oneway_credit(&mut self) -> u64 {
        self.oneways.window.take_credit()
    }

    /// How many one-way calls have come so far.
    pub(crate) fn oneways_come(&self) -> u64 {
        self.oneways.come
    }

    /// Notes that all one-way calls that do not wait have been handed on.
    pub(crate) fn oneways_are_handed_on(&mut self) {
        self.oneways.handed = self.oneways.come - self.oneways.waiting as u64;
    }

    /// Whether the first so many one-way calls have been handed on.
    pub(crate) fn has_handed_on(&self, come: u64) -> bool {
        self.oneways.handed >= come
    }

    pub(crate) fn oneway_ended(&mut self) {
        self.oneways.running -= 1;
    }

    pub(crate) fn oneways(&self) -> usize {
        self.oneways.running
    }

    pub(crate) fn oneway_waits(&mut self) {
        self.oneways.waiting += 1;
    }

    pub(crate) fn oneway_waits_no_more(&mut self) {
        self.oneways.waiting -= 1;
    }

    pub(crate) fn waiting_oneways(&self) -> usize {
        self.oneways.waiting
    }

    #[cfg(test)]
    pub(crate) fn call_of(&self, id: u32) -> ReplyTo {
        let serial = self.get(id).map_or(0, |handler| handler.serial);
        ReplyTo { id, serial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_use_is_not_taken_twice_and_counts_return_to_nothing() {
        let mut handlers = Handlers::default();
        let call = handlers.add(3, false, 10, None).unwrap();
        assert_eq!(handlers.add(3, false, 10, None), None);
        assert_eq!((handlers.active(), handlers.bytes()), (1, 10));
        assert_eq!(handlers.remove(call, &mut Vec::new()), Some(None));
        assert_eq!(handlers.remove(call, &mut Vec::new()), None);
        assert_eq!((handlers.active(), handlers.bytes()), (0, 0));
    }

    #[test]
    fn calls_are_told_apart_however_many_there_are_and_a_high_id_takes_no_memory() {
        let mut handlers = Handlers::default();
        let high = handlers.add(u32::MAX, false, 1, None).unwrap();
        assert_eq!(handlers.others.0.capacity(), 0);
        let others: Vec<_> = (0..100).map(|id| handlers.add(id, false, 1, None).unwrap()).collect();
        assert!(handlers.others.0.capacity() < 1000);
        assert_eq!((handlers.add(u32::MAX, false, 1, None), handlers.add(50, false, 1, None)), (None, None));
        assert_eq!(handlers.add(99, false, 1, None), None);
        assert_eq!(handlers.active(), 101);
        assert!(others.iter().chain([&high]).all(|call| handlers.remove(*call, &mut Vec::new()).is_some()));
        assert_eq!((handlers.active(), handlers.bytes()), (0, 0));
        assert!(handlers.others.0.capacity() <= IDLE_ROOM);
    }

    #[test]
    fn a_call_that_was_answered_has_nothing_to_do_with_the_next_of_its_id() {
        let mut handlers = Handlers::default();
        let answered = handlers.add(3, false, 10, None).unwrap();
        handlers.remove(answered, &mut Vec::new());
        let next = handlers.add(3, false, 10, None).unwrap();
        assert!(handlers.contains(next) && !handlers.contains(answered));
        assert_eq!(handlers.remove(answered, &mut Vec::new()), None);
        handlers.stop(3, Stop::Cancelled, &mut Vec::new());
        assert_eq!(handlers.stopped(answered, &mut Some(Waker::noop().clone())), None);
        assert_eq!(handlers.stopped(next, &mut Some(Waker::noop().clone())), Some(Stop::Cancelled));
        assert_eq!(handlers.active(), 1);
    }

    #[test]
    fn the_first_reason_to_stop_is_kept() {
        let mut handlers = Handlers::default();
        let call = handlers.add(0, false, 0, None).unwrap();
        assert_eq!(handlers.stopped(call, &mut Some(Waker::noop().clone())), None);
        let mut wakes = Vec::new();
        handlers.stop(0, Stop::DeadlineExceeded, &mut wakes);
        handlers.stop(0, Stop::Cancelled, &mut wakes);
        assert_eq!(wakes.len(), 1);
        assert_eq!(handlers.stopped(call, &mut Some(Waker::noop().clone())), Some(Stop::DeadlineExceeded));
        handlers.stop(u64::MAX, Stop::Cancelled, &mut wakes);
    }
}

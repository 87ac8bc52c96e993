//! The calls that this side has made: who waits for room, who waits for a
//! reply, and what has come back.
//!
//! An id on the wire is free again when the reply to it has come, not when its
//! caller has gone: so a reply never reaches another call than its own, and
//! the peer never holds more calls than it accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use panpipe_transport::buffer::FrameBuf;
use slab::Slab;

use super::deadlines::Ticket;
use super::on_demand::Part;
use super::ports::Attached;
use crate::error::CallError;

/// A reply as it came.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// A status byte and what belongs to it.
    pub(crate) body: FrameBuf,
    /// The ports that it carries, if any.
    pub(crate) attached: Option<Box<[Attached]>>,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) state: CallState,
    pub(crate) waker: Option<Waker>,
    pub(crate) deadline: Option<Ticket>,
    /// The place in the order of those who wait.
    turn: u64,
    /// What it is, and which ids it may have.
    sort: Sort,
    ids: Ids,
    /// What has come back.
    reply: Reply,
    error: Option<Box<CallError>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum CallState {
    /// There is no such call: its place is the next one's.
    Vacant,
    /// Just added.
    New,
    /// There was no room yet.
    Waiting,
    /// Room is kept for this call; its caller has been woken.
    Granted(Place),
    /// Sent; `end` is where its frame ends in the outgoing stream.
    Sent { id: u32, end: u64 },
    /// Its reply has come.
    Replied,
    /// It has ended without one.
    Failed,
}

impl CallState {
    /// Whether it is over, one way or the other.
    #[inline]
    pub(crate) fn is_over(self) -> bool {
        matches!(self, CallState::Replied | CallState::Failed)
    }
}

/// Which ids a call may have: those below the peer's `max_calls`, and one beyond.
///
/// The ids beyond make sure that a call that others wait for is never held up by them. Id
/// `max_calls + n` is for calls that nest `n + 1` deep: made by the handler of a call that the
/// peer made with its extra id `n - 1`, or for 0 with any regular id. The call with extra id
/// `n` waits for no other extra id than `n + 1`, so calls that nest cannot wait for each other
/// in a circle, and the one that nests deepest fails instead of waiting. The two last ids are
/// for Flush and for the health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    regular: bool,
    extra: Option<u32>,
}

/// What sort of call asks for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Made by a handler of this connection, `0` levels deep if not.
    Nested(u32),
    Flush,
    Ping,
}

impl Ids {
    const REGULAR: Ids = Ids { regular: true, extra: None };

    /// The ids that a call may have of those in `room`. `None` if it nests too deep.
    pub(crate) fn of(sort: Sort, room: Room) -> Option<Ids> {
        let Some(nested) = room.extra.checked_sub(CONTROL_IDS) else { return Some(Ids::REGULAR) };
        let extra = match sort {
            Sort::Nested(0) => None,
            Sort::Nested(depth) => match depth - 1 {
                level if level < nested => Some(level),
                // It waits for a regular id, as where the peer has no others.
                0 => None,
                _ => return None,
            },
            Sort::Flush => Some(nested),
            Sort::Ping => Some(nested + 1),
        };
        // A handler that the peer called with an extra id may hold up the callers of all
        // regular ids.
        Some(Ids { regular: !matches!(sort, Sort::Nested(2..)), extra })
    }
}

/// Where a call has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A regular id.
    Regular,
    /// The id that is so many beyond the regular ones.
    Extra(u32),
}

/// How many of the extra ids are not for calls that nest: that of Flush, that of the health
/// check.
pub(crate) const CONTROL_IDS: u32 = 2;

/// The calls with extra ids. Mostly there is none.
#[derive(Debug, Default)]
struct ExtraCalls {
    flights: BTreeMap<u32, Flight>,
    granted: BTreeSet<u32>,
    /// By the id that they wait for, and their order.
    waiting: BTreeMap<(u32, u64), usize>,
}

impl ExtraCalls {
    fn is_free(&self, extra: u32) -> bool {
        !self.flights.contains_key(&extra) && !self.granted.contains(&extra)
    }
}

/// An id in use on the wire.
#[derive(Debug)]
struct Flight {
    /// The call, or nothing when its caller has gone.
    key: Option<usize>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// They stay where they are, and so do the places of those that are gone: a reply is
    /// not small.
    calls: Vec<Call>,
    vacant: Vec<usize>,
    flights: Slab<Flight>,
    waiting: BTreeMap<u64, usize>,
    granted: usize,
    bytes_in_flight: usize,
    next_turn: u64,
    extra: Option<Box<ExtraCalls>>,
    /// The first of the extra ids.
    regular: usize,
}

impl Part for Calls {
    fn unused() -> &'static Self {
        static UNUSED: Calls = Calls {
            calls: Vec::new(),
            vacant: Vec::new(),
            flights: Slab::new(),
            waiting: BTreeMap::new(),
            granted: 0,
            bytes_in_flight: 0,
            next_turn: 0,
            extra: None,
            regular: 0,
        };
        &UNUSED
    }
}

/// How much the peer takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) calls: usize,
    pub(crate) bytes: usize,
    /// How many ids it has beyond those of `calls`.
    pub(crate) extra: u32,
}

impl Calls {
    /// Whether nobody waits and `room` has a place for one more call.
    pub(crate) fn has_room(&self, room: Room) -> bool {
        self.waiting.is_empty() && self.place(room)
    }

    /// Whether a call waits for room.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.extra.as_ref().is_some_and(|extra| !extra.waiting.is_empty())
    }

    /// Where a call that may have these ids has room now.
    pub(crate) fn find_place(&self, ids: Ids, room: Room) -> Option<Place> {
        if ids.regular && self.has_room(room) {
            return Some(Place::Regular);
        }
        let is_free = |extra| self.extra.as_ref().is_none_or(|calls| calls.is_free(extra));
        ids.extra.filter(|&extra| is_free(extra)).map(Place::Extra)
    }

    /// What sort of call waits, or has waited.
    pub(crate) fn sort(&self, key: usize) -> Sort {
        self.calls[key].sort
    }

    /// The peer's hello has come, which tells the extra ids: calls that wait may have those too.
    pub(crate) fn room_is_known(&mut self, room: Room) {
        for (&turn, &key) in &self.waiting {
            let call = &mut self.calls[key];
            call.ids = Ids::of(call.sort, room).unwrap_or(Ids::REGULAR);
            if let Some(extra) = call.ids.extra {
                self.extra.get_or_insert_default().waiting.insert((extra, turn), key);
            }
        }
    }

    fn place(&self, room: Room) -> bool {
        self.flights.len() + self.granted < room.calls && self.bytes_in_flight < room.bytes
    }

    pub(crate) fn add(&mut self) -> usize {
        self.next_turn += 1;
        let key = self.vacant.pop().unwrap_or_else(|| self.add_place());
        let call = &mut self.calls[key];
        call.state = CallState::New;
        call.turn = self.next_turn;
        key
    }

    #[cold]
    fn add_place(&mut self) -> usize {
        let (state, reply) = (CallState::Vacant, Reply::default());
        let (sort, ids) = (Sort::Nested(0), Ids::REGULAR);
        self.calls.push(Call { state, waker: None, deadline: None, turn: 0, sort, ids, reply, error: None });
        self.calls.len() - 1
    }

    pub(crate) fn get_mut(&mut self, key: usize) -> &mut Call {
        &mut self.calls[key]
    }

    /// Puts a call among those who wait for one of the ids that it may have, at its place in
    /// their order.
    pub(crate) fn wait(&mut self, key: usize, sort: Sort, room: Room, granted: Option<Place>) {
        let ids = Ids::of(sort, room).unwrap_or(Ids::REGULAR);
        let call = &mut self.calls[key];
        call.state = CallState::Waiting;
        (call.sort, call.ids) = (sort, ids);
        let turn = call.turn;
        if ids.regular {
            self.waiting.insert(turn, key);
        }
        if let Some(extra) = ids.extra {
            self.extra.get_or_insert_default().waiting.insert((extra, turn), key);
        }
        self.give_up(granted);
    }

    /// A place that was granted is not taken, or is taken now.
    fn give_up(&mut self, granted: Option<Place>) {
        match granted {
            None => {}
            Some(Place::Regular) => self.granted -= 1,
            Some(Place::Extra(id)) => {
                if let Some(extra) = &mut self.extra {
                    extra.granted.remove(&id);
                }
            }
        }
    }

    /// A call waits no more.
    fn end_waiting(&mut self, key: usize) {
        let call = &self.calls[key];
        self.waiting.remove(&call.turn);
        if let (Some(id), Some(extra)) = (call.ids.extra, &mut self.extra) {
            extra.waiting.remove(&(id, call.turn));
        }
    }

    /// The id that is used next on the wire by a call at `place`.
    #[inline]
    pub(crate) fn next_id(&self, place: Place, room: Room) -> u32 {
        let id = match place {
            Place::Regular => self.flights.vacant_key(),
            Place::Extra(extra) => room.calls + extra as usize,
        };
        u32::try_from(id).expect("calls in flight are fewer than u32::MAX, the most a hello can allow")
    }

    /// Notes that the call's frame of `bytes` was encoded with `id`, the
    /// [next](Self::next_id) of `place`.
    #[inline]
    pub(crate) fn sent(
        &mut self,
        key: usize,
        (place, id): (Place, u32),
        bytes: usize,
        end: u64,
        granted: Option<Place>,
    ) {
        match place {
            Place::Regular => {
                self.flights.insert(Flight { key: Some(key), bytes });
                self.bytes_in_flight += bytes;
            }
            Place::Extra(extra) => self.sent_beyond(extra, id, key),
        }
        if granted.is_some() {
            self.give_up(granted);
        }
        self.calls[key].state = CallState::Sent { id, end };
    }

    #[cold]
    fn sent_beyond(&mut self, extra: u32, id: u32, key: usize) {
        self.regular = (id - extra) as usize;
        let flight = Flight { key: Some(key), bytes: 0 };
        self.extra.get_or_insert_default().flights.insert(extra, flight);
    }

    fn flight(&mut self, id: u64) -> Option<&mut Flight> {
        let id = usize::try_from(id).ok()?;
        match self.flights.get_mut(id) {
            None => {
                let extra = u32::try_from(id.checked_sub(self.regular)?).ok()?;
                self.extra.as_mut()?.flights.get_mut(&extra)
            }
            regular => regular,
        }
    }

    /// Notes that the last part of a call has been queued, and where it ends.
    pub(crate) fn is_out(&mut self, id: u64, at: u64) {
        let key = self.flight(id).and_then(|flight| flight.key);
        if let Some(call) = key.and_then(|key| self.calls.get_mut(key)) {
            if let CallState::Sent { end, .. } = &mut call.state {
                *end = at;
            }
        }
    }

    /// Keeps room for those who have waited longest, as far as `room` goes,
    /// and hands over their wakers.
    #[inline]
    pub(crate) fn grant(&mut self, room: Room, wakes: &mut Vec<Waker>) {
        if self.has_waiting() {
            self.grant_waiting(room, wakes);
        }
    }

    fn grant_waiting(&mut self, room: Room, wakes: &mut Vec<Waker>) {
        while self.place(room) {
            let Some((_, &key)) = self.waiting.first_key_value() else { break };
            self.granted += 1;
            self.grant_to(key, Place::Regular, wakes);
        }
        let mut from = 0;
        while let Some((id, key, is_free)) = self.next_beyond(from) {
            from = id + 1;
            if is_free {
                if let Some(extra) = &mut self.extra {
                    extra.granted.insert(id);
                }
                self.grant_to(key, Place::Extra(id), wakes);
            }
        }
    }

    /// The first extra id from `from` on that a call waits for, the call that has waited
    /// longest, and whether the id is free.
    fn next_beyond(&self, from: u32) -> Option<(u32, usize, bool)> {
        let extra = self.extra.as_ref()?;
        let (&(id, _), &key) = extra.waiting.range((from, 0)..).next()?;
        Some((id, key, extra.is_free(id)))
    }

    fn grant_to(&mut self, key: usize, place: Place, wakes: &mut Vec<Waker>) {
        self.end_waiting(key);
        let call = &mut self.calls[key];
        call.state = CallState::Granted(place);
        wakes.extend(call.waker.take());
    }

    /// Takes the reply to `id`: frees the id, and hands over the caller's key
    /// if there still is a caller. `None`: no such id is in use.
    #[inline]
    pub(crate) fn land(&mut self, id: u64) -> Option<Option<usize>> {
        let id = usize::try_from(id).ok()?;
        let Some(flight) = self.flights.try_remove(id) else { return self.land_beyond(id) };
        self.bytes_in_flight -= flight.bytes;
        Some(flight.key)
    }

    #[cold]
    fn land_beyond(&mut self, id: usize) -> Option<Option<usize>> {
        let extra = u32::try_from(id.checked_sub(self.regular)?).ok()?;
        let flight = self.extra.as_mut()?.flights.remove(&extra)?;
        Some(flight.key)
    }

    /// Ends a call whose reply has landed. Gives the place for that.
    #[inline]
    pub(crate) fn replied(&mut self, key: usize, wakes: &mut Vec<Waker>) -> &mut Reply {
        let call = &mut self.calls[key];
        call.state = CallState::Replied;
        wakes.extend(call.waker.take());
        &mut call.reply
    }

    /// Ends a call for its caller, without a reply. Returns the id if the peer is still at it.
    pub(crate) fn fail(&mut self, key: usize, error: CallError, wakes: &mut Vec<Waker>) -> Option<u32> {
        let id = self.leave(key);
        let call = &mut self.calls[key];
        call.state = CallState::Failed;
        call.error = Some(Box::new(error));
        wakes.extend(call.waker.take());
        id
    }

    /// Takes what a call that is over has come to, and forgets it. Its reply and `reply`
    /// change places.
    ///
    /// # Panics
    ///
    /// When it is not over.
    #[inline]
    pub(crate) fn take(&mut self, key: usize, reply: &mut Reply) -> Result<(), Box<CallError>> {
        let call = &mut self.calls[key];
        assert!(call.state.is_over(), "what a call has come to is taken when it is over");
        call.state = CallState::Vacant;
        self.vacant.push(key);
        match call.error.take() {
            Some(error) => Err(error),
            None => {
                std::mem::swap(&mut call.reply, reply);
                Ok(())
            }
        }
    }

    /// Forgets a call that its caller has given up. Gives what had come back, what it waited
    /// for until when, and its id if the peer is still at it. Its waker joins `spent`.
    pub(crate) fn forget(
        &mut self,
        key: usize,
        spent: &mut Vec<Waker>,
    ) -> (Reply, Option<Ticket>, Option<u32>) {
        let id = self.leave(key);
        let call = &mut self.calls[key];
        call.state = CallState::Vacant;
        spent.extend(call.waker.take());
        call.error = None;
        let forgotten = (std::mem::take(&mut call.reply), call.deadline.take(), id);
        self.vacant.push(key);
        forgotten
    }

    /// Gives up whatever place the call holds.
    fn leave(&mut self, key: usize) -> Option<u32> {
        let call = &self.calls[key];
        match call.state {
            CallState::Waiting => self.end_waiting(key),
            CallState::Granted(place) => self.give_up(Some(place)),
            CallState::Sent { id, .. } => {
                if let Some(flight) = self.flight(u64::from(id)) {
                    flight.key = None;
                    return Some(id);
                }
            }
            CallState::Vacant | CallState::New | CallState::Replied | CallState::Failed => {}
        }
        None
    }

    /// Whether a call has been sent whose reply has not come, a dropped one too.
    pub(crate) fn are_in_flight(&self) -> bool {
        !self.flights.is_empty() || self.extra.as_ref().is_some_and(|extra| !extra.flights.is_empty())
    }

    /// How many calls have been sent whose replies have not come, but for those with extra
    /// ids.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether this is the only call on its way.
    pub(crate) fn alone(&self) -> bool {
        self.flights.len() == 1
    }

    pub(crate) fn keys(&self) -> Vec<usize> {
        let keys = self.calls.iter().enumerate();
        keys.filter(|(_, call)| !matches!(call.state, CallState::Vacant)).map(|(key, _)| key).collect()
    }
}

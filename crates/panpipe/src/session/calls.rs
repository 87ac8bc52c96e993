//! The calls that this side has made: who waits for room, who waits for a
//! reply, and what has come back.
//!
//! An id on the wire is free again when the reply to it has come, not when its
//! caller has gone: so a reply never reaches another call than its own, and
//! the peer never holds more calls than it accepts.

use std::collections::BTreeMap;
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
    Granted,
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
        };
        &UNUSED
    }
}

/// How much the peer takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) calls: usize,
    pub(crate) bytes: usize,
}

impl Calls {
    /// Whether nobody waits and `room` has a place for one more call.
    pub(crate) fn has_room(&self, room: Room) -> bool {
        self.waiting.is_empty() && self.place(room)
    }

    /// Whether a call waits for room.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
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
        self.calls.push(Call { state, waker: None, deadline: None, turn: 0, reply, error: None });
        self.calls.len() - 1
    }

    pub(crate) fn get_mut(&mut self, key: usize) -> &mut Call {
        &mut self.calls[key]
    }

    /// Puts a call among those who wait, at its place in their order.
    pub(crate) fn wait(&mut self, key: usize, was_granted: bool) {
        let call = &mut self.calls[key];
        call.state = CallState::Waiting;
        self.waiting.insert(call.turn, key);
        if was_granted {
            self.granted -= 1;
        }
    }

    /// The next id to be used on the wire.
    pub(crate) fn next_id(&self) -> u32 {
        u32::try_from(self.flights.vacant_key())
            .expect("calls in flight are fewer than u32::MAX, the most a hello can allow")
    }

    /// Notes that the call's frame of `bytes` was encoded with the [next id](Self::next_id).
    #[inline]
    pub(crate) fn sent(&mut self, key: usize, bytes: usize, end: u64, was_granted: bool) {
        let id = self.flights.insert(Flight { key: Some(key), bytes }) as u32;
        self.bytes_in_flight += bytes;
        if was_granted {
            self.granted -= 1;
        }
        self.calls[key].state = CallState::Sent { id, end };
    }

    /// Notes that the last part of a call has been queued, and where it ends.
    pub(crate) fn is_out(&mut self, id: u64, at: u64) {
        let flight = usize::try_from(id).ok().and_then(|id| self.flights.get(id));
        if let Some(call) = flight.and_then(|flight| self.calls.get_mut(flight.key?)) {
            if let CallState::Sent { end, .. } = &mut call.state {
                *end = at;
            }
        }
    }

    /// Keeps room for those who have waited longest, as far as `room` goes,
    /// and hands over their wakers.
    #[inline]
    pub(crate) fn grant(&mut self, room: Room, wakes: &mut Vec<Waker>) {
        if !self.waiting.is_empty() {
            self.grant_waiting(room, wakes);
        }
    }

    fn grant_waiting(&mut self, room: Room, wakes: &mut Vec<Waker>) {
        while self.place(room) {
            let Some((_, key)) = self.waiting.pop_first() else {
                return;
            };
            let call = &mut self.calls[key];
            call.state = CallState::Granted;
            self.granted += 1;
            wakes.extend(call.waker.take());
        }
    }

    /// Takes the reply to `id`: frees the id, and hands over the caller's key
    /// if there still is a caller. `None`: no such id is in use.
    #[inline]
    pub(crate) fn land(&mut self, id: u64) -> Option<Option<usize>> {
        let id = usize::try_from(id).ok()?;
        let flight = self.flights.try_remove(id)?;
        self.bytes_in_flight -= flight.bytes;
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
            CallState::Waiting => {
                self.waiting.remove(&call.turn);
            }
            CallState::Granted => self.granted -= 1,
            CallState::Sent { id, .. } => {
                if let Some(flight) = self.flights.get_mut(id as usize) {
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
        !self.flights.is_empty()
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

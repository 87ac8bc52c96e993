//! The ports of a connection: which are open, which end of each is on this
//! side, and the credit of its streams.
//!
//! Each side numbers the ports that it opens itself. A number is free again when
//! both ends have said their last word about it, so it never means two things.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::fmt;
use std::task::Waker;

use slab::Slab;

use super::batch::Batch;
use super::core::Role;
use super::hello::PortLimits;
use super::lost::Lost;
use super::marks::{Passed, Words};
use super::on_demand::Part;
use super::stream_end::StreamEnd;
use crate::limits;
use crate::service::Served;

/// What the side is that opens a port by sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PortKind {
    /// It writes a stream.
    Stream = 1,
    /// It reads a stream.
    Sender = 2,
    /// It answers calls.
    Service = 3,
}

impl PortKind {
    pub(crate) fn from_byte(byte: u8) -> Option<PortKind> {
        Some(match byte {
            1 | STREAM_WITH_CREDIT => PortKind::Stream,
            2 => PortKind::Sender,
            3 | SERVICE_OF_VERSION => PortKind::Service,
            _ => return None,
        })
    }
}

/// The byte of a service that is opened together with the version that is spoken.
pub(crate) const SERVICE_OF_VERSION: u8 = 4;

/// The byte of a stream whose writer says how many items it sends before the first is read.
pub(crate) const STREAM_WITH_CREDIT: u8 = 5;

/// A port that a message of the peer's carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) port: u64,
    pub(crate) kind: PortKind,
    /// How many items may be sent before the first is read, where that is told.
    pub(crate) items: u64,
    /// Which version of a service is spoken, where that is told.
    pub(crate) version: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) end: End,
    /// This side has said its last word about the port.
    said: bool,
    /// It waits behind large messages that were sent to the port before.
    word_waits: bool,
    /// The peer has.
    heard: bool,
}

/// What becomes of this side's last word about a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It goes out now.
    Goes,
    /// It waits behind large messages to the port.
    Waits,
    /// The connection is over: nobody hears it, and nobody answers it.
    ToNobody,
}

/// What this side's end of a port is.
pub(crate) enum End {
    Reading(Reading),
    Writing(Writing),
    Serving(Served),
    Calling,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Reading(reading) => reading.fmt(f),
            End::Writing(writing) => writing.fmt(f),
            End::Serving(_) => f.write_str("Serving"),
            End::Calling => f.write_str("Calling"),
        }
    }
}

/// The end of a stream that is read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) queue: Batch,
    pub(crate) ended: Option<StreamEnd>,
    /// How many items were lost before the one that comes next, or the end, beside those that
    /// it tells.
    pub(crate) lost_ahead: Lost,
    pub(crate) waker: Option<Waker>,
    /// What the writer may still send.
    left: Credit,
    /// What has been read and the writer has not been told of.
    owed: Credit,
    window: Credit,
    /// What a larger item counts as.
    small: u64,
    /// How many items, and bytes, the window may grow to.
    most: Credit,
    /// What of the growth of all streams this one has.
    grown: u64,
    /// The writer has a large item that waits until those of others are read.
    asked: bool,
    /// It has been told that it need not: somebody waits for this stream.
    called_for: bool,
    /// The large item that has come had been called for: it is not of the pool.
    exempt: bool,
}

/// The end of a stream that is written.
#[derive(Debug)]
pub(crate) struct Writing {
    /// What the reader takes yet.
    pub(crate) left: Credit,
    /// What a larger item counts as.
    pub(crate) small: u64,
    /// The reader has been told that a large item waits for the room of others.
    asked: bool,
    /// The reader waits for the next item, however much others hold.
    called_for: bool,
    /// The large item that has been sent had been called for: it is not of the pool.
    exempt: bool,
    /// How many items were lost before the one that is sent next, or the end.
    pub(crate) lost: Lost,
    /// Who waits for credit, or for the reader to go.
    pub(crate) wakers: Vec<Waker>,
}

/// A number of items and of their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) items: u64,
    /// Larger items count as the largest that is not one.
    pub(crate) bytes: u64,
    /// All bytes of larger items.
    pub(crate) large: u64,
}

impl Credit {
    pub(crate) fn add(&mut self, more: Credit) {
        self.items = self.items.saturating_add(more.items);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.large = self.large.saturating_add(more.large);
    }

    /// What an item of `len` bytes takes where one over `small` is a large one.
    pub(crate) fn of_item(len: u64, small: u64) -> Credit {
        Credit { items: 1, bytes: len.min(small), large: if len > small { len } else { 0 } }
    }
}

impl Reading {
    /// A reader that accepts `limits` of the peer before the first item is read, and `items`
    /// instead of as many as the limits say if the two sides agreed on a number.
    pub(crate) fn new(limits: PortLimits, items: Option<u64>) -> Self {
        let window =
            Credit { items: items.unwrap_or(u64::from(limits.items)), bytes: limits.bytes, large: 0 };
        let most = Credit {
            // Who says how many items gets no more.
            items: items.unwrap_or(u64::from(limits.items) * limits::STREAM_GROWTH),
            bytes: limits.bytes.saturating_mul(limits::STREAM_GROWTH),
            large: 0,
        };
        Reading {
            queue: Batch::default(),
            ended: None,
            lost_ahead: Lost::NONE,
            waker: None,
            left: window,
            owed: Credit::default(),
            window,
            small: limits.bytes / 2,
            most,
            grown: 0,
            asked: false,
            called_for: false,
            exempt: false,
        }
    }

    /// The same reader of a stream that has lost so many before its first item.
    #[must_use]
    pub(crate) fn behind(self, lost_ahead: Lost) -> Self {
        Reading { lost_ahead, ..self }
    }

    /// Notes how many were lost before the item that is put into the queue next, of this id.
    #[inline]
    pub(crate) fn lost_before_next(&mut self, id: u64) {
        let lost = Lost::of_id(id).plus(self.lost_ahead);
        if !lost.is_none() {
            self.lost_ahead = Lost::NONE;
            self.queue.lose(lost);
        }
    }

    /// Notes that the writer waits with a large item.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// Whether the writer is to be told to wait no longer: its item is waited for,
    /// so that it is read at once, and others may never be.
    pub(crate) fn calls_for_more(&mut self) -> bool {
        let calls = self.asked && self.waker.is_some() && self.queue.is_empty();
        self.asked &= !calls;
        self.called_for |= calls;
        calls
    }

    /// Notes an item of `len` bytes that has come. Gives what it costs; `None` if
    /// the writer had no credit for it.
    pub(crate) fn came(&mut self, len: u64) -> Option<Credit> {
        let cost = Credit::of_item(len, self.small);
        // One large item at a time: a stream that is not read leaves the others theirs.
        if cost.large > 0 && self.left.large > 0 {
            return None;
        }
        self.left.items = self.left.items.checked_sub(1)?;
        self.left.bytes = self.left.bytes.checked_sub(cost.bytes)?;
        self.left.large = self.left.large.saturating_add(cost.large);
        Some(cost)
    }

    /// Notes what has been read. Gives the credit that the writer is to be told
    /// of, if it is time; `growth` is what there is for streams that are read
    /// quickly, of all streams together.
    pub(crate) fn took(&mut self, taken: Credit, growth: &mut u64) -> Option<Credit> {
        self.owed.add(taken);
        let Credit { items, bytes, .. } = self.window;
        let due = self.owed.items >= items.div_ceil(2)
            || self.owed.bytes >= bytes.div_ceil(2)
            || self.owed.large > 0;
        if self.owed == Credit::default() || !due {
            return None;
        }
        let mut grant = std::mem::take(&mut self.owed);
        self.left.large = self.left.large.saturating_sub(grant.large);
        let held_up = self.left.items < items / 4 || self.left.bytes < bytes / 4;
        if held_up && self.queue.is_empty() && bytes <= *growth && bytes < self.most.bytes {
            *growth = growth.saturating_sub(bytes);
            self.grown = self.grown.saturating_add(bytes);
            let more = Credit { items: items.min(self.most.items.saturating_sub(items)), bytes, large: 0 };
            self.window.add(more);
            grant.add(more);
        }
        self.left.items = self.left.items.saturating_add(grant.items);
        self.left.bytes = self.left.bytes.saturating_add(grant.bytes);
        Some(grant)
    }
}

impl Writing {
    pub(crate) fn new(limits: PortLimits, items: Option<u64>) -> Self {
        let left = Credit { items: items.unwrap_or(u64::from(limits.items)), bytes: limits.bytes, large: 0 };
        Writing {
            left,
            small: limits.bytes / 2,
            asked: false,
            called_for: false,
            exempt: false,
            lost: Lost::NONE,
            wakers: Vec::new(),
        }
    }

    /// The largest item that may be sent now, `pool` being what is left for
    /// large ones; nothing if none may.
    pub(crate) fn allows(&self, pool: u64) -> u64 {
        if self.left.items == 0 {
            return 0;
        }
        if self.left.bytes < self.small || self.left.large > 0 {
            return self.left.bytes.min(self.small);
        }
        self.small.max(pool)
    }

    /// Whether an item of `needs` bytes may go past the pool.
    pub(crate) fn is_exempt(&self, needs: u64, pool: u64) -> bool {
        self.called_for
            && needs > self.small.max(pool)
            && self.left.items > 0
            && self.left.bytes >= self.small
            && self.left.large == 0
    }

    /// Whether the reader is to be told that an item of `needs` bytes waits for
    /// nothing but the room that others' items hold.
    pub(crate) fn asks(&mut self, needs: u64) -> bool {
        let by_others = needs > self.small
            && self.left.items > 0
            && self.left.bytes >= self.small
            && self.left.large == 0
            && !self.called_for;
        by_others && !std::mem::replace(&mut self.asked, true)
    }

    pub(crate) fn sent(&mut self, len: u64, exempt: bool) -> u64 {
        let cost = Credit::of_item(len, self.small);
        self.lost = Lost::NONE;
        self.asked = false;
        if exempt {
            (self.called_for, self.exempt) = (false, true);
        }
        self.left.items = self.left.items.saturating_sub(1);
        self.left.bytes = self.left.bytes.saturating_sub(cost.bytes);
        self.left.large = self.left.large.saturating_add(cost.large);
        if exempt { 0 } else { cost.large }
    }

    /// Adds credit that the reader gave. Returns how many bytes of the pool for large items
    /// are free again, or `None` if the reader gives back more than was sent.
    pub(crate) fn granted(&mut self, credit: Credit) -> Option<u64> {
        self.called_for |= credit == Credit::default();
        self.left.items = self.left.items.saturating_add(credit.items);
        self.left.bytes = self.left.bytes.saturating_add(credit.bytes);
        self.left.large = self.left.large.checked_sub(credit.large)?;
        let freed = if self.exempt { 0 } else { credit.large };
        // A reader may give a large item back in pieces: none of them is of the pool.
        self.exempt &= self.left.large > 0;
        Some(freed)
    }
}

/// Every open port.
#[derive(Debug)]
pub(crate) struct Ports {
    /// 1 where this side's own ports are odd, else 0.
    own_parity: u64,
    own: Slab<Port>,
    theirs: Vec<Option<Port>>,
    open_theirs: usize,
    /// How many streams this side writes.
    pub(crate) writing: usize,
    /// At how many of them the peer calls a service of this side's.
    pub(crate) serving: usize,
    /// What is left for streams that are read quickly.
    growth: u64,
    /// How many bytes of large items have come and are not read.
    large_in: u64,
    /// How many this side has sent that the peer has not read.
    large_out: u64,
    /// That has become less, and who waits for it has not been told.
    large_freed: bool,
    /// Whether other messages go out between the items of streams.
    pub(crate) passed: Passed,
    /// What the session has said of ports by itself and the peer may not have read.
    pub(crate) words: Words,
    /// Ports that are closed, and hold services and wakers of the user's.
    closed: Vec<Port>,
}

impl Part for Ports {
    fn unused() -> &'static Self {
        static UNUSED: Ports = Ports::new();
        &UNUSED
    }
}

impl Default for Ports {
    fn default() -> Self {
        Ports::new()
    }
}

impl Ports {
    const fn new() -> Self {
        Ports {
            own_parity: 0,
            own: Slab::new(),
            theirs: Vec::new(),
            open_theirs: 0,
            writing: 0,
            serving: 0,
            growth: limits::STREAM_GROWTH_BYTES,
            passed: Passed::NEVER,
            words: Words::NONE,
            closed: Vec::new(),
            large_in: 0,
            large_out: 0,
            large_freed: false,
        }
    }

    fn is_own(&self, port: u64) -> bool {
        port & 1 == self.own_parity
    }

    /// A port's place among those of its side. Nought is no port of anybody's.
    fn index(port: u64) -> Option<usize> {
        usize::try_from(port.checked_sub(1)? / 2).ok()
    }

    /// How many ports this side has opened.
    pub(crate) fn open_own(&self) -> usize {
        self.own.len()
    }

    /// How many ports are open.
    pub(crate) fn open(&self) -> usize {
        self.own.len().saturating_add(self.open_theirs)
    }

    /// Whose they are, as is to be said before any is opened.
    pub(crate) fn of(&mut self, role: Role) -> &mut Self {
        self.own_parity = u64::from(role == Role::Dialer);
        self
    }

    /// Opens a port of this side's; gives its number.
    pub(crate) fn open_one(&mut self, end: End) -> u64 {
        self.count(&end);
        let index = self.own.insert(Port::new(end));
        number(index, self.own_parity ^ 1)
    }

    /// Notes a port that the peer has opened, of which it may have `most`. What
    /// is wrong with it, if it cannot be one.
    pub(crate) fn opened_by_peer(&mut self, port: u64, end: End, most: u32) -> Result<(), &'static str> {
        let index = match Self::index(port) {
            Some(index) if !self.is_own(port) => index,
            _ => return Err("a port was opened under a number that is not its opener's"),
        };
        if index >= most as usize {
            return Err("more ports were opened than this side takes");
        }
        if index >= self.theirs.len() {
            self.theirs.resize_with(index.saturating_add(1), || None);
        }
        if self.theirs[index].is_some() {
            return Err("a port was opened under a number that is in use");
        }
        self.count(&end);
        self.open_theirs = self.open_theirs.saturating_add(1);
        self.theirs[index] = Some(Port::new(end));
        Ok(())
    }

    /// Counts a port that is opened among those of its kind.
    fn count(&mut self, end: &End) {
        match end {
            End::Writing(_) => self.writing = self.writing.saturating_add(1),
            End::Serving(_) => self.serving = self.serving.saturating_add(1),
            End::Reading(_) | End::Calling => {}
        }
    }

    pub(crate) fn get(&mut self, port: u64) -> Option<&mut Port> {
        let index = Self::index(port)?;
        if self.is_own(port) { self.own.get_mut(index) } else { self.theirs.get_mut(index)?.as_mut() }
    }

    /// The service that the peer calls at this port.
    pub(crate) fn serving(&mut self, port: u64) -> Option<Served> {
        match &self.get(port)?.end {
            End::Serving(served) => Some(served.clone()),
            _ => None,
        }
    }

    /// This side says its last word. False if it has said it before.
    pub(crate) fn say(&mut self, port: u64, word: Word) -> bool {
        let Some(known) = self.get(port) else { return false };
        let first = !std::mem::replace(&mut known.said, true);
        if first {
            known.word_waits = word == Word::Waits;
            known.heard |= word == Word::ToNobody;
            self.forget_if_done(port);
        }
        first
    }

    /// The last word that waited has been queued.
    pub(crate) fn word_is_out(&mut self, port: u64) {
        if let Some(known) = self.get(port) {
            known.word_waits = false;
            self.forget_if_done(port);
        }
    }

    /// The peer has said its last word. False if there is no such port, or it
    /// has said it before.
    pub(crate) fn hear(&mut self, port: u64) -> bool {
        let Some(known) = self.get(port) else { return false };
        let first = !std::mem::replace(&mut known.heard, true);
        self.forget_if_done(port);
        first
    }

    fn forget_if_done(&mut self, port: u64) {
        if self.get(port).is_some_and(|known| known.said && known.heard && !known.word_waits) {
            let closed = self.forget(port);
            self.closed.extend(closed);
        }
    }

    /// Closes a port whose message was not sent.
    pub(crate) fn close_unsent(&mut self, port: u64) {
        let closed = self.forget(port);
        self.closed.extend(closed);
    }

    /// Hands over the ports that are closed. They are dropped outside of the lock.
    pub(crate) fn take_closed(&mut self) -> Option<Vec<Port>> {
        (!self.closed.is_empty()).then(|| std::mem::take(&mut self.closed))
    }

    /// Forgets a port, whatever has been said of it.
    fn forget(&mut self, port: u64) -> Option<Port> {
        let index = Self::index(port)?;
        let gone = if self.is_own(port) {
            self.own.try_remove(index)
        } else {
            let gone = self.theirs.get_mut(index)?.take();
            self.open_theirs = self.open_theirs.saturating_sub(usize::from(gone.is_some()));
            if self.open_theirs == 0 && self.theirs.len() > 64 {
                self.theirs = Vec::new();
            }
            gone
        };
        match &gone.as_ref()?.end {
            End::Writing(writing) => {
                self.writing = self.writing.saturating_sub(1);
                if !writing.exempt {
                    self.large_out = self.large_out.saturating_sub(writing.left.large);
                    self.large_freed |= writing.left.large > 0;
                }
            }
            End::Reading(reading) => {
                self.growth = self.growth.saturating_add(reading.grown);
                if !reading.exempt {
                    self.large_in = self.large_in.saturating_sub(reading.left.large);
                }
            }
            End::Serving(_) => self.serving = self.serving.saturating_sub(1),
            End::Calling => {}
        }
        gone
    }

    /// Notes an item that has come. What is wrong with it, if the peer may not
    /// have sent it.
    #[inline]
    pub(crate) fn item_came(
        &mut self,
        port: u64,
        len: u64,
        called_for: bool,
        told: PortLimits,
    ) -> Result<Credit, &'static str> {
        let large_in = self.large_in;
        let reading = match self.get(port) {
            Some(Port { end: End::Reading(reading), heard: false, .. }) => reading,
            _ => return Err("an item came for a port that is no open stream"),
        };
        let large = Credit::of_item(len, reading.small).large;
        if called_for && !(reading.called_for && large > 0) {
            return Err("an item came that was not called for");
        }
        if !called_for && large > 0 && large_in > 0 && large_in.saturating_add(large) > told.large {
            return Err("large items came for which there was no credit");
        }
        let cost = reading.came(len).ok_or("an item came for which its stream had no credit")?;
        if called_for {
            (reading.called_for, reading.exempt) = (false, true);
        } else {
            self.large_in = self.large_in.saturating_add(cost.large);
        }
        Ok(cost)
    }

    /// Notes items that have been read. Gives the credit that the writer is to
    /// be told of, if it is time.
    pub(crate) fn took(&mut self, port: u64, taken: Credit) -> Option<Credit> {
        let mut growth = self.growth;
        let Some(Port { end: End::Reading(reading), said: false, heard: false, .. }) = self.get(port) else {
            return None;
        };
        let grant = reading.took(taken, &mut growth)?;
        let exempt = grant.large > 0 && std::mem::take(&mut reading.exempt);
        self.growth = growth;
        if !exempt {
            self.large_in = self.large_in.saturating_sub(grant.large);
        }
        Some(grant)
    }

    /// How many bytes a large item may have now.
    pub(crate) fn large_left(&self, limits: PortLimits) -> u64 {
        if self.large_out == 0 { u64::MAX } else { limits.large.saturating_sub(self.large_out) }
    }

    pub(crate) fn item_sent(&mut self, port: u64, len: u64, exempt: bool) {
        if let Some(writing) = self.get(port).and_then(Port::writing) {
            let large = writing.sent(len, exempt);
            self.large_out = self.large_out.saturating_add(large);
        }
    }

    /// Notes what a reader takes further. Nothing if the stream has been ended;
    /// what is wrong with it, if the peer may not say so.
    pub(crate) fn granted(
        &mut self,
        port: u64,
        credit: Credit,
    ) -> Result<Option<&mut Writing>, &'static str> {
        let writing = match self.get(port) {
            Some(Port { end: End::Writing(writing), heard: false, .. }) => writing,
            _ => return Err("credit came for a port that is no open stream"),
        };
        let large = writing.granted(credit).ok_or("credit came for more large items than were sent")?;
        self.large_out = self.large_out.saturating_sub(large);
        self.large_freed |= large > 0;
        Ok(self.get(port).filter(|port| !port.said).and_then(Port::writing))
    }

    /// Whether there is room for large items again that nobody has been told of.
    pub(crate) fn take_large_freed(&mut self) -> bool {
        std::mem::take(&mut self.large_freed)
    }

    /// The numbers of all open ports.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let own = self.own.iter().map(|(index, _)| number(index, self.own_parity ^ 1));
        let theirs = self.theirs.iter().enumerate().filter(|(_, port)| port.is_some());
        own.chain(theirs.map(|(index, _)| number(index, self.own_parity))).collect()
    }
}

/// The number of the port at this place among those of its side: the dialer's are 1, 3, 5 …,
/// of `evenness` 0, the acceptor's 2, 4, 6 …, of `evenness` 1.
fn number(index: usize, evenness: u64) -> u64 {
    (index as u64).saturating_mul(2).saturating_add(1).saturating_add(evenness)
}

impl Port {
    fn new(end: End) -> Self {
        Port { end, said: false, word_waits: false, heard: false }
    }

    pub(crate) fn said(&self) -> bool {
        self.said
    }

    pub(crate) fn heard(&self) -> bool {
        self.heard
    }

    pub(crate) fn writing(&mut self) -> Option<&mut Writing> {
        match &mut self.end {
            End::Writing(writing) => Some(writing),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PortLimits = PortLimits { ports: 8, items: 8, bytes: 1024, large: 4096 };

    #[test]
    fn the_sides_numbers_do_not_meet_and_are_used_again_when_both_are_done() {
        let (mut dialer, mut acceptor) = (Ports::default(), Ports::default());
        dialer.of(Role::Dialer);
        acceptor.of(Role::Acceptor);
        assert_eq!((dialer.open_one(End::Calling), dialer.open_one(End::Calling)), (1, 3));
        assert_eq!((acceptor.open_one(End::Calling), acceptor.open_one(End::Calling)), (2, 4));
        assert!(dialer.opened_by_peer(4, End::Calling, 8).is_ok());
        assert_eq!(dialer.numbers(), [1, 3, 4]);
        assert!(dialer.say(1, Word::Goes) && !dialer.say(1, Word::Goes));
        assert_eq!(dialer.open_one(End::Calling), 5);
        assert!(dialer.hear(1) && !dialer.hear(1));
        assert_eq!(dialer.open_one(End::Calling), 1);
        assert_eq!((dialer.open(), dialer.open_own()), (4, 3));
    }

    #[test]
    fn a_peer_opens_neither_too_many_nor_ours_nor_one_twice() {
        let mut ports = Ports::default();
        ports.of(Role::Dialer);
        assert!(ports.opened_by_peer(0, End::Calling, 2).is_err());
        assert!(ports.opened_by_peer(1, End::Calling, 2).is_err());
        assert!(ports.opened_by_peer(2, End::Calling, 2).is_ok());
        assert!(ports.opened_by_peer(2, End::Calling, 2).is_err());
        assert!(ports.opened_by_peer(4, End::Calling, 2).is_ok());
        assert!(ports.opened_by_peer(6, End::Calling, 2).is_err());
        assert!(ports.opened_by_peer(u64::MAX - 1, End::Calling, 2).is_err());
    }

    #[test]
    fn a_writer_that_keeps_to_its_credit_is_never_over_the_readers_and_never_stuck() {
        let (mut reading, mut writing) = (Reading::new(LIMITS, None), Writing::new(LIMITS, None));
        let (mut growth, mut pool, mut seed) = (1u64 << 20, LIMITS.large, 7u64);
        let mut unread = Vec::new();
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let len = [1, 100, 511, 512, 513, 900, 4000][(seed >> 33) as usize % 7];
            if writing.allows(pool) >= len {
                pool -= writing.sent(len, false);
                assert_eq!(reading.came(len), Some(Credit::of_item(len, 512)));
                unread.push(len);
            } else {
                // Whoever waits for everything to be read gets its turn.
                let mut taken = Credit::default();
                unread.drain(..).for_each(|len| taken.add(Credit::of_item(len, 512)));
                let grant = reading.took(taken, &mut growth);
                pool += grant.map_or(0, |grant| writing.granted(grant).unwrap());
                assert!(writing.allows(pool) >= len, "{writing:?} is stuck with {len}");
            }
        }
        assert!(growth < 1 << 20, "a stream that is read quickly grows");
    }

    #[test]
    fn a_writer_over_its_credit_is_found_out() {
        let mut reading = Reading::new(LIMITS, Some(2));
        assert!(reading.came(512).is_some());
        assert!(reading.came(512).is_some());
        assert_eq!(reading.came(0), None);
        let mut reading = Reading::new(LIMITS, None);
        assert_eq!(reading.came(600).unwrap().large, 600);
        assert_eq!(reading.came(600), None);
    }
}

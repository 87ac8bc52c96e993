//! What comes in: the hello first, then frames of every kind.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::ops::Range;
use std::task::{Poll, Waker};
use std::time::Instant;

use panpipe_transport::Peer;
use panpipe_transport::buffer::{Assembly, FrameBuf};

use super::{Core, Phase, Role, Root, remember_one_more};
use crate::codec::Codec;
use crate::error::{Refusal, RefusalReason};
use crate::limits;
use crate::session::calls::Room;
use crate::session::close::CloseReason;
use crate::session::deadlines::Due;
use crate::session::handlers::Stop;
use crate::session::hello::{
    Hello, MAKES_BYPASS, TAKES_STREAM_CREDIT, TAKES_TRACES, TELLS_LOST, find_service,
};
use crate::session::message::{Header, Kind, MAGIC, parse_header, put_str, take_str, unreadable};
use crate::session::reply::{clipped, parse_refusal, put_refusal};

/// The most calls in flight that a hello can allow: ids are `u32`, and one stays unused.
const MAX_PEER_CALLS: usize = u32::MAX as usize - 1;

impl Core {
    /// Says hello now, if it has not been said.
    #[inline]
    pub(crate) fn say_hello(&mut self) {
        if matches!(self.phase, Phase::Quiet) && self.role == Role::Dialer {
            self.put_hello();
            self.phase = Phase::Greeted;
        }
    }

    /// Ready when both hellos have passed, or when the session is over before that.
    pub(crate) fn poll_greeted(&mut self, waker: &mut Option<Waker>) -> Poll<Result<(), CloseReason>> {
        match &self.phase {
            Phase::Quiet | Phase::Greeted => {
                remember_one_more(&mut self.waiters.reply, waker);
                Poll::Pending
            }
            Phase::Open => Poll::Ready(Ok(())),
            Phase::Ending(reason) | Phase::Ended(reason) => Poll::Ready(Err(CloseReason::clone(reason))),
        }
    }

    #[cold]
    pub(super) fn put_hello(&mut self) {
        self.outbox.append().extend_from_slice(&MAGIC);
        let Some(hello) = self.hello.take() else { return };
        self.put_frame(Kind::Hello, 0, |out| hello.encode(out));
        self.hello = Some(hello);
    }

    fn on_hello(&mut self, body: &[u8], now: &mut dyn FnMut() -> Instant) {
        let Some(peer) = Hello::decode(body) else {
            return self.violation("the hello cannot be read");
        };
        let Some(own) = &self.hello else { return };
        if let Err(refusal) = own.check(&peer) {
            return self.refuse(refusal);
        }
        if let Some(wanted) = &peer.wants {
            match find_service(&self.offers, wanted) {
                Ok((index, version)) => {
                    let index = u32::try_from(index).expect("fewer services are offered than a u32 counts");
                    self.root = Some(Root { index, version });
                }
                Err(refusal) => return self.refuse(refusal),
            }
        }
        let Some(own) = &mut self.hello else { return };
        own.offers = self.root.map(|root| self.offers[root.index as usize].clone());
        self.version = own.version_called(&peer);
        self.peer_ports = peer.ports;
        self.peer_offers = peer.offers.map(Box::new);
        self.oneway_window.set_size(peer.oneway_bytes);
        self.peer_counts_oneways = peer.oneway_bytes > 0;
        self.peer_max_metadata = usize::try_from(peer.max_metadata).unwrap_or(usize::MAX);
        self.peer_metadata = peer.metadata.map(|metadata| metadata.within(self.limits.max_metadata));
        self.peer_traces = peer.features & TAKES_TRACES != 0;
        self.peer_stream_credit = peer.features & TAKES_STREAM_CREDIT != 0;
        self.peer_tells_lost = peer.features & TELLS_LOST != 0;
        if peer.features & MAKES_BYPASS != 0 {
            self.ways.are_possible();
        }
        if self.role == Role::Acceptor {
            self.codec = Codec::from_id(peer.codec).unwrap_or(self.codec);
            own.codec = peer.codec;
            self.put_hello();
        }
        self.hello = None;
        self.deadlines.remove_all(|due| matches!(due, Due::Hello | Due::Handshake));
        self.deadlines.shrink();
        self.phase = Phase::Open;
        if self.limits.idle_timeout.is_some() {
            self.watch_idleness(now());
        }
        // Who announces nothing gets the least there is, not a division by nought.
        self.room = Room {
            calls: usize::try_from(peer.max_calls).unwrap_or(usize::MAX).clamp(1, MAX_PEER_CALLS),
            bytes: usize::try_from(peer.max_call_bytes).unwrap_or(usize::MAX).max(1),
            extra: 0,
        };
        let ids_left = u32::MAX.saturating_sub(u32::try_from(self.room.calls).unwrap_or(u32::MAX));
        self.room.extra = u32::try_from(peer.extra_ids).unwrap_or(u32::MAX).min(ids_left);
        if let Some(calls) = self.calls.used() {
            calls.room_is_known(self.room);
        }
        self.max_message =
            usize::try_from(peer.max_message).unwrap_or(usize::MAX).min(limits::LARGEST_MESSAGE);
        if self.draining {
            self.say_goodbye();
        }
        self.grant();
        // One-way calls that the peer had to be known for.
        self.wake_reply_waiters();
        self.wake_oneway_waiters();
    }

    /// Turns the peer down, in words.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        if self.role == Role::Acceptor && matches!(self.phase, Phase::Quiet) {
            self.outbox.append().extend_from_slice(&MAGIC);
        }
        self.put_frame(Kind::Refuse, 0, |out| put_refusal(out, &refusal));
        self.end(CloseReason::Refused(refusal));
    }

    /// The largest frame that may come next.
    pub(crate) fn max_frame_in(&self) -> usize {
        match self.phase {
            Phase::Quiet | Phase::Greeted => limits::HELLO,
            _ => self.limits.max_message,
        }
    }

    /// Takes one frame that is neither a call nor a reply nor an item.
    /// `now` is asked only where a deadline needs it.
    pub(crate) fn receive(&mut self, header: Header, frame: &[u8], now: &mut dyn FnMut() -> Instant) {
        let body = &frame[header.body..];
        self.heard = true;
        match (&self.phase, header.kind) {
            (Phase::Ending(_) | Phase::Ended(_), _) => {}
            _ if header.carries => self.violation("ports came with a message that carries none"),
            (Phase::Quiet | Phase::Greeted, Kind::Hello) => self.on_hello(body, now),
            (_, Kind::Refuse) => self.on_refuse(body),
            (_, Kind::Close) => self.on_close(body),
            (Phase::Open, Kind::Cancel) => {
                self.handlers.stop(header.id, Stop::Cancelled, &mut self.aftermath.wakes)
            }
            (Phase::Open, Kind::Goodbye) => self.on_goodbye(header.id),
            (Phase::Open, Kind::End) => self.on_end(header, body),
            (Phase::Open, Kind::Credit) => self.on_credit(header.port, body),
            (Phase::Open, Kind::Stop) => self.on_stop(header.port),
            (Phase::Open, Kind::Wait) => self.on_wait(header.port),
            (Phase::Open, Kind::Abort) => {
                if let Err(why) = self.incomplete.abort(header.id) {
                    self.violation(why);
                }
            }
            (Phase::Open, Kind::Ask) => {
                if !self.ways.is_asked() {
                    self.violation("a bypass was asked for that was not offered");
                }
            }
            (Phase::Open, Kind::Hello) => self.violation("a second hello came"),
            _ => self.violation("something else came where a hello belongs"),
        }
    }

    /// Takes the reply to a call. Gives where it goes, and what of the frame; nothing if
    /// nobody waits for it.
    #[inline]
    pub(crate) fn receive_reply(
        &mut self,
        header: Header,
        frame: &[u8],
    ) -> Option<(&mut FrameBuf, Range<usize>)> {
        if !matches!(self.phase, Phase::Open) {
            self.violation("a reply came where a hello belongs");
            return None;
        }
        self.heard = true;
        let (end, mut attached) = match header.carries {
            false => (frame.len(), None),
            true => self.take_ports(header, frame).map(|(end, attached)| (end, Some(attached)))?,
        };
        let Some(caller) = self.calls.land(header.id) else {
            self.violation("a reply came for a call that was not made");
            return None;
        };
        if caller.is_none() {
            self.let_go(attached.take().into_iter().flatten());
        }
        self.grant();
        self.calls_are_fewer();
        let key = caller?;
        self.has_replied = true;
        let reply = self.calls.replied(key, &mut self.aftermath.wakes);
        reply.attached = attached.map(Vec::into_boxed_slice);
        Some((&mut reply.body, header.body..end))
    }

    /// Takes out a message that comes in parts, to add one to it; nothing if the
    /// peer has broken the protocol.
    pub(crate) fn take_incomplete(&mut self, header: Header) -> Option<Assembly> {
        if !self.is_open() || header.carries {
            self.violation("a part came where none belongs");
            return None;
        }
        self.incomplete.take(header.id).map_err(|why| self.violation(why)).ok()
    }

    /// Puts it back with the part. Gives the message once it is whole.
    pub(crate) fn put_incomplete(&mut self, header: Header, message: Assembly) -> Option<(Header, FrameBuf)> {
        let is_last = header.kind == Kind::LastPart;
        let put = self.incomplete.put(header.id, message, is_last, self.limits.max_message);
        let whole = put.map_err(|why| self.violation(why)).ok()??;
        match parse_header(&whole) {
            Some(header) if matches!(header.kind, Kind::Call | Kind::Oneway | Kind::Reply | Kind::Item) => {
                Some((header, whole))
            }
            Some(_) => {
                self.violation("a message came in parts that is short");
                None
            }
            None => {
                self.violation(&unreadable(&whole));
                None
            }
        }
    }

    /// The peer has not said hello in time.
    #[cold]
    pub(super) fn no_hello(&mut self, peer: &Peer) {
        const WHY: &str = "no hello came in time";
        match self.role {
            Role::Acceptor => self.violation(WHY),
            Role::Dialer if self.is_over() => {}
            Role::Dialer => {
                self.put_close(WHY);
                let (peer, within) = (peer.to_string(), self.limits.handshake_timeout);
                self.end(CloseReason::NoHello { peer, within });
            }
        }
    }

    /// The peer's first bytes are not panpipe's.
    pub(crate) fn not_panpipe(&mut self) {
        let message =
            "the other side does not speak panpipe: its first bytes are not the protocol's".to_owned();
        self.refuse(Refusal { reason: RefusalReason::NotPanpipe, message });
    }

    pub(super) fn on_refuse(&mut self, body: &[u8]) {
        self.end_by_peer(CloseReason::Refused(parse_refusal(body)));
    }

    pub(super) fn on_close(&mut self, mut body: &[u8]) {
        let why = take_str(&mut body, limits::WORDS).unwrap_or("the other side gave no reason");
        self.end_by_peer(CloseReason::ByPeer(why.to_owned()));
    }

    /// The peer broke the protocol: says so to it and ends.
    pub(crate) fn violation(&mut self, why: &str) {
        if self.is_over() {
            return;
        }
        if matches!(self.phase, Phase::Quiet) {
            self.outbox.append().extend_from_slice(&MAGIC);
        }
        self.put_close(why);
        self.end(CloseReason::Protocol(why.to_owned()));
    }

    pub(super) fn put_close(&mut self, why: &str) {
        self.put_frame(Kind::Close, 0, |out| put_str(out, clipped(why)));
    }
}

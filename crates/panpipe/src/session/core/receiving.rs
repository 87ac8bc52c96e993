//! What comes in: the hello first, then frames of every kind.

use std::time::Instant;

use super::{Core, Incoming, Phase, Role};
use crate::codec::Codec;
use crate::error::{CallError, Refusal, RefusalReason};
use crate::limits;
use crate::session::calls::{CallState, Reply, Room};
use crate::session::close::CloseReason;
use crate::session::handlers::Stop;
use crate::session::hello::Hello;
use crate::session::message::{Header, Kind, MAGIC, put_str, take_str};
use crate::session::reply::clipped;

impl Core {
    /// Says hello now, if it has not been said.
    pub(crate) fn say_hello(&mut self) {
        if self.phase == Phase::Quiet && self.role == Role::Dialer {
            self.put_hello();
            self.phase = Phase::Greeted;
        }
    }

    pub(super) fn put_hello(&mut self) {
        if let Some(ticket) = self.greeting.take() {
            self.deadlines.remove(ticket);
        }
        self.outbox.append().extend_from_slice(&MAGIC);
        let hello = self.hello.clone();
        self.put_frame(Kind::Hello, 0, |out| hello.encode(out));
    }

    pub(super) fn on_hello(&mut self, body: &[u8]) {
        let Some(peer) = Hello::decode(body) else {
            return self.violation("the hello cannot be read");
        };
        if let Err(refusal) = self.hello.check(&peer) {
            return self.refuse(refusal);
        }
        if self.role == Role::Acceptor {
            self.codec = Codec::from_id(peer.codec).unwrap_or(self.codec);
            self.hello.codec = peer.codec;
            self.put_hello();
        }
        self.phase = Phase::Open;
        // Who announces nothing gets the least there is, not a division by nought.
        self.room = Room {
            calls: usize::try_from(peer.max_calls).unwrap_or(usize::MAX).clamp(1, u32::MAX as usize - 1),
            bytes: usize::try_from(peer.max_call_bytes).unwrap_or(usize::MAX).max(1),
        };
        self.max_message =
            usize::try_from(peer.max_message).unwrap_or(usize::MAX).min(limits::LARGEST_MESSAGE);
        self.grant();
    }

    /// Turns the peer down, in words.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        if self.role == Role::Acceptor && self.phase == Phase::Quiet {
            self.outbox.append().extend_from_slice(&MAGIC);
        }
        self.put_frame(Kind::Refuse, 0, |out| {
            out.push(refusal.reason.code());
            put_str(out, clipped(&refusal.message));
        });
        self.end(CloseReason::Refused(refusal));
    }

    /// The largest frame that may come next.
    pub(crate) fn max_frame_in(&self) -> usize {
        match self.phase {
            Phase::Quiet | Phase::Greeted => limits::HELLO,
            _ => self.limits.max_message,
        }
    }

    /// Takes one frame that is not a reply. A call that has been let in is
    /// handed back for its handler to run; everything else is dealt with here.
    /// `now` is asked only where a deadline needs it.
    pub(crate) fn receive(
        &mut self,
        header: Header,
        frame: &[u8],
        now: &mut dyn FnMut() -> Instant,
    ) -> Option<Incoming> {
        let body = &frame[header.body..];
        match (&self.phase, header.kind) {
            (Phase::Ending(_) | Phase::Ended(_), _) => {}
            (Phase::Quiet | Phase::Greeted, Kind::Hello) => self.on_hello(body),
            (_, Kind::Refuse) => self.on_refuse(body),
            (_, Kind::Close) => self.on_close(body),
            (Phase::Open, Kind::Call | Kind::Oneway) => return self.on_call(header, frame, now),
            (Phase::Open, Kind::Cancel) => self.handlers.stop(header.id, Stop::Cancelled, &mut self.wakes),
            (Phase::Open, Kind::Goodbye) => self.on_goodbye(),
            (Phase::Open, Kind::Hello) => self.violation("a second hello came"),
            _ => self.violation("something else came where a hello belongs"),
        }
        None
    }

    /// Takes the reply to call `id`.
    pub(crate) fn receive_reply(&mut self, id: u64, reply: Reply) {
        if self.phase != Phase::Open {
            return self.violation("a reply came where a hello belongs");
        }
        match self.calls.land(id) {
            None => self.violation("a reply came for a call that was not made"),
            Some(caller) => {
                if let Some(key) = caller {
                    self.calls.finish(key, Ok(reply), &mut self.wakes);
                }
                self.grant();
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
        let (&code, mut body) = body.split_first().unwrap_or((&0, &[]));
        let message = take_str(&mut body, limits::WORDS).unwrap_or("the other side gave no reason");
        let reason = RefusalReason::from_code(code).unwrap_or(RefusalReason::NotAllowed);
        self.end(CloseReason::Refused(Refusal { reason, message: message.to_owned() }));
    }

    pub(super) fn on_close(&mut self, mut body: &[u8]) {
        let why = take_str(&mut body, limits::WORDS).unwrap_or("the other side gave no reason");
        self.end(CloseReason::ByPeer(why.to_owned()));
    }

    pub(super) fn on_goodbye(&mut self) {
        self.peer_draining = true;
        for key in self.calls.keys() {
            if matches!(self.calls.get_mut(key).state, CallState::Waiting | CallState::Granted) {
                self.calls.finish(key, Err(CallError::Disconnected { sent: false }), &mut self.wakes);
            }
        }
        self.wake_reply_waiters();
    }

    /// The peer broke the protocol: says so to it and ends.
    pub(crate) fn violation(&mut self, why: &str) {
        if self.is_over() {
            return;
        }
        if self.phase == Phase::Quiet {
            self.outbox.append().extend_from_slice(&MAGIC);
        }
        self.put_frame(Kind::Close, 0, |out| put_str(out, clipped(why)));
        self.end(CloseReason::Protocol(why.to_owned()));
    }
}

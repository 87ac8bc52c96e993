//! Messages that carry ports. Behind the body of such a message stands a
//! trailer: each port, and as the last four bytes how long that is.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

use panpipe_transport::{frame, varint};

use super::{Content, Core, EncodedMessage, Opened, Outgoing};
use crate::carried::Offer;
use crate::limits;
use crate::session::encoded::HEAD_ROOM;
use crate::session::hello::PortLimits;
use crate::session::large::LargeMessage;
use crate::session::lost::Lost;
use crate::session::message::{CARRIES, Header, Kind, TRACED, begin_message, take_version};
use crate::session::ports::{
    Attached, End, PortKind, Ports, Reading, SERVICE_OF_VERSION, STREAM_WITH_CREDIT, Word, Writing,
};
use crate::session::stream_end::StreamEnd;
use crate::trace::TraceContext;

/// How many bytes the length of a trailer takes.
const TRAILER_LEN: usize = 4;

/// Why a message was not queued. Nothing of it was kept.
#[derive(Debug)]
pub(super) enum PutError {
    TooLarge {
        size: u64,
        limit: u64,
    },
    /// As many ports are open as both sides allow, or the peer is not known yet to take any.
    Ports,
}

impl PutError {
    /// For a frame of `size` bytes.
    #[cold]
    fn too_large(size: usize, max: usize) -> Self {
        let limit = max.min(limits::LARGEST_MESSAGE) as u64;
        PutError::TooLarge { size: size.saturating_sub(frame::HEAD) as u64, limit }
    }
}

/// What stands in front of a message's body, behind the frame's length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) kind: Kind,
    /// [`METADATA`] of a call that has some: they stand behind its body. Else 0.
    pub(super) flags: u8,
    pub(super) port: u64,
    pub(super) id: u64,
    pub(super) trace: Option<&'a TraceContext>,
    /// Of a call: the method.
    pub(super) method: Option<u64>,
    /// Of a call: how long it may take.
    pub(super) left: Option<Duration>,
}

impl Head<'_> {
    /// The head of a message that is no call.
    #[inline]
    pub(super) fn new(kind: Kind, port: u64, id: u64) -> Self {
        Head { kind, flags: 0, port, id, trace: None, method: None, left: None }
    }

    fn content(self, carries: bool) -> Content {
        Content { kind: self.kind, port: self.port, id: self.id, carries }
    }

    /// Writes it in front of the body. Gives where the frame begins in the message's buffer.
    #[inline(always)]
    fn put(self, message: &mut EncodedMessage) -> usize {
        let Head { kind, flags, port, id, trace, method, left } = self;
        if trace.is_some() || left.is_some() || (port | id) >= 0x80 {
            return self.put_long(message);
        }
        let [byte, port, id] = [kind as u8 | flags, port as u8, id as u8];
        let Some(method) = method else { return message.put_head([0, 0, 0, 0, byte, port, id]) };
        let [a, b, c, d, e, f, g, h] = method.to_le_bytes();
        if kind == Kind::Call {
            // A nought behind the hash: there is no deadline.
            message.put_head([0, 0, 0, 0, byte, port, id, a, b, c, d, e, f, g, h, 0])
        } else {
            message.put_head([0, 0, 0, 0, byte, port, id, a, b, c, d, e, f, g, h])
        }
    }

    #[cold]
    fn put_long(self, message: &mut EncodedMessage) -> usize {
        let Head { kind, flags, port, id, trace, method, left } = self;
        let mut head = Vec::with_capacity(HEAD_ROOM);
        begin_message(&mut head, kind, port, id);
        // The kind is the first byte behind the frame's length.
        head[frame::HEAD] |= flags;
        if let Some(trace) = trace {
            head[frame::HEAD] |= TRACED;
            trace.encode(&mut head);
        }
        if let Some(method) = method {
            head.extend_from_slice(&method.to_le_bytes());
            if kind == Kind::Call {
                varint::put(&mut head, left.map_or(0, |left| micros(left).saturating_add(1)));
            }
        }
        message.put_long_head(&head)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Core {
    /// Queues a message and opens the ports that it carries. Gives the frame's size. A message
    /// that was not queued is as it was.
    #[inline(always)]
    pub(super) fn put_message(
        &mut self,
        head: Head<'_>,
        max: usize,
        message: &mut EncodedMessage,
    ) -> Result<usize, PutError> {
        if message.has_cargo() {
            return self.put_with_cargo(head, max, message);
        }
        let begin = head.put(message);
        let frame = &mut message.bytes()[begin..];
        let size = frame.len();
        let body = size.saturating_sub(frame::HEAD);
        if body > max.min(limits::LARGEST_MESSAGE) {
            return Err(PutError::too_large(size, max));
        }
        if size > limits::LARGE_MESSAGE {
            self.send_in_parts(begin, head.content(false), message, Opened::default());
            return Ok(size);
        }
        if let Some(len) = frame.first_chunk_mut() {
            *len = (body as u32).to_le_bytes();
        }
        self.outbox.append().extend_from_slice(frame);
        Ok(size)
    }

    /// Queues a message that carries something.
    #[cold]
    fn put_with_cargo(
        &mut self,
        head: Head<'_>,
        max: usize,
        message: &mut EncodedMessage,
    ) -> Result<usize, PutError> {
        let body_end = message.bytes().len();
        let opened = self.open_offers(message)?;
        let carries = !opened.is_empty();
        let begin = head.put(message);
        if carries {
            // The kind is the first byte behind the frame's length.
            message.bytes()[begin..][frame::HEAD] |= CARRIES;
        }
        let apart_len = message.cargo().map_or(0, |cargo| cargo.apart_len());
        let frame = &mut message.bytes()[begin..];
        let size = frame.len().saturating_add(apart_len);
        let body = size.saturating_sub(frame::HEAD);
        if body > max.min(limits::LARGEST_MESSAGE) {
            message.bytes().truncate(body_end);
            opened.into_iter().for_each(|number| self.ports.close_unsent(number));
            self.drop_closed_ports();
            return Err(PutError::too_large(size, max));
        }
        if size > limits::LARGE_MESSAGE {
            let streams = streams_of(message, opened);
            self.send_in_parts(begin, head.content(carries), message, streams);
            return Ok(size);
        }
        if let Some(len) = frame.first_chunk_mut() {
            *len = (body as u32).to_le_bytes();
        }
        self.outbox.append().extend_from_slice(frame);
        self.begin_streams(streams_of(message, opened));
        Ok(size)
    }

    /// Queues a message to go out in parts. Its frame begins at index `begin` of its buffer.
    #[cold]
    fn send_in_parts(
        &mut self,
        begin: usize,
        content: Content,
        message: &mut EncodedMessage,
        opened: Opened,
    ) {
        let apart = message.cargo().map(|cargo| std::mem::take(&mut cargo.apart)).unwrap_or_default();
        // Each part has a length of its own.
        let begin = begin.saturating_add(frame::HEAD);
        self.outgoing.add(content, LargeMessage::new(message.take_bytes(), begin, apart), opened);
    }

    /// Opens the ports that a message carries, and appends their list to its body. Gives their
    /// numbers.
    fn open_offers(&mut self, message: &mut EncodedMessage) -> Result<Vec<u64>, PutError> {
        let mut offers = message.cargo().map(|cargo| std::mem::take(&mut cargo.offers)).unwrap_or_default();
        // A peer may allow millions: each would take memory of this side.
        let most = self.peer_ports.ports.min(self.limits.max_ports);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let opened = if offers.is_empty() {
            Ok(Vec::new())
        } else if self.ports.open_own().saturating_add(offers.len()) > most {
            Err(PutError::Ports)
        } else {
            let limits = (PortLimits::from(&*self.limits), self.peer_ports);
            if !self.peer_stream_credit {
                offers.iter_mut().for_each(Offer::without_stream_credit);
            }
            let lost_ahead = self.lost_ahead();
            Ok(open(self.ports.of(self.role), limits, lost_ahead, message.bytes(), &offers))
        };
        // They stay with the message, which is dropped outside of the lock.
        if let Some(cargo) = message.cargo() {
            cargo.offers = offers;
        }
        opened
    }

    /// Has streams begin whose message has been queued, to its last byte.
    pub(super) fn begin_streams(&mut self, mut opened: Opened) {
        if !opened.is_empty() {
            self.aftermath.ports().opened.append(&mut opened);
        }
    }

    /// Opens the ports that a message of the peer's carries. Gives them, and
    /// where the body ends; nothing if the peer has broken the protocol.
    pub(super) fn take_ports(&mut self, header: Header, frame: &[u8]) -> Option<(usize, Vec<Attached>)> {
        if !header.carries {
            return Some((frame.len(), Vec::new()));
        }
        match self.open_carried(&frame[header.body..]) {
            Ok((body, attached)) => Some((header.body.saturating_add(body), attached)),
            Err(why) => {
                self.violation(why);
                None
            }
        }
    }

    fn open_carried(&mut self, rest: &[u8]) -> Result<(usize, Vec<Attached>), &'static str> {
        const UNREADABLE: &str = "the list of a message's ports cannot be read";
        let (rest, len) = rest.split_last_chunk::<TRAILER_LEN>().ok_or(UNREADABLE)?;
        let body = rest.len().checked_sub(u32::from_le_bytes(*len) as usize).ok_or(UNREADABLE)?;
        let mut trailer = &rest[body..];
        let mut attached = Vec::new();
        while let Some((&byte, tail)) = trailer.split_first() {
            trailer = tail;
            let kind = PortKind::from_byte(byte).ok_or(UNREADABLE)?;
            let port = varint::take(&mut trailer).ok_or(UNREADABLE)?;
            let (mut items, mut version) = (0, None);
            let end = match kind {
                PortKind::Stream => {
                    let own = self.own_ports();
                    let told = if byte == STREAM_WITH_CREDIT {
                        items = varint::take(&mut trailer).filter(|&items| items > 0).ok_or(UNREADABLE)?;
                        Some(items.min(u64::from(own.items)))
                    } else {
                        None
                    };
                    End::Reading(Reading::new(own, told).behind(self.lost_ahead()))
                }
                PortKind::Sender => {
                    items = varint::take(&mut trailer).ok_or(UNREADABLE)?;
                    End::Writing(Writing::new(self.peer_ports, Some(items)))
                }
                PortKind::Service => {
                    if byte == SERVICE_OF_VERSION {
                        version = Some(take_version(&mut trailer).ok_or(UNREADABLE)?);
                    }
                    End::Calling
                }
            };
            self.ports.of(self.role).opened_by_peer(port, end, self.limits.max_ports)?;
            attached.push(Attached { port, kind, items, version });
        }
        Ok((body, attached))
    }

    /// How many items a stream has lost before its first one, as far as is known then: a peer
    /// that does not tell may have lost any number.
    fn lost_ahead(&self) -> Lost {
        if self.peer_tells_lost { Lost::NONE } else { Lost::UNKNOWN }
    }

    /// Gives up ports that nobody has claimed or wants any more.
    pub(crate) fn let_go(&mut self, attached: impl IntoIterator<Item = Attached>) {
        for Attached { port, kind, .. } in attached {
            match kind {
                PortKind::Stream => self.stop_reading(port),
                PortKind::Sender => self.end_writing(port, &StreamEnd::Unclaimed),
                PortKind::Service => self.release(port),
            }
        }
    }

    /// The last stub of a service of the peer's has gone.
    pub(crate) fn release(&mut self, port: u64) {
        self.say_last(Kind::Stop, port, 0, |_| ());
    }

    /// Says this side's last word about a port, if it has not: behind all that it
    /// has sent to it, of which a large message may still be on its way. The number
    /// is in use until the word is out.
    pub(super) fn say_last(&mut self, kind: Kind, port: u64, id: u64, body: impl FnOnce(&mut Vec<u8>)) {
        let word = match () {
            () if self.is_over() => Word::ToNobody,
            () if self.outgoing.is_to(port) => Word::Waits,
            () => Word::Goes,
        };
        if self.ports.say(port, word) {
            match word {
                Word::ToNobody => {}
                Word::Goes => self.put_control(kind, port, id, body),
                Word::Waits => {
                    let mut frame = Vec::new();
                    let head = begin_message(&mut frame, kind, port, id);
                    body(&mut frame);
                    frame::finish(&mut frame, head, limits::LARGEST_MESSAGE).expect("a last word is short");
                    self.outgoing.keep_word(port, frame);
                }
            }
            self.drop_closed_ports();
            self.wake_large_waiters();
        }
    }

    /// Last words that waited may have been queued: their ports are done with.
    pub(super) fn words_are_out(&mut self) {
        let spoken = self.outgoing.used().map(Outgoing::take_spoken).unwrap_or_default();
        for port in spoken {
            self.ports.word_is_out(port);
        }
        self.drop_closed_ports();
        self.wake_large_waiters();
    }

    /// Wakes those that wait to send large items, if there is room again.
    pub(super) fn wake_large_waiters(&mut self) {
        if !self.ports.used().is_some_and(Ports::take_large_freed) {
            return;
        }
        for port in self.waiters.used().map(|waiters| std::mem::take(&mut waiters.large)).unwrap_or_default()
        {
            if let Some(writing) = self.ports.get(port).and_then(|port| port.writing()) {
                self.aftermath.wakes.append(&mut writing.wakers);
            }
        }
    }

    /// The peer's end of a port that it has opened by a message, or this side's,
    /// is done with.
    pub(super) fn on_stop(&mut self, port: u64) {
        let Some(known) = self.ports.get(port) else {
            return self.violation("a port was stopped that is not open");
        };
        if known.heard() {
            return self.violation("a port was stopped twice");
        }
        match &mut known.end {
            End::Writing(writing) => self.aftermath.wakes.append(&mut writing.wakers),
            End::Serving(served) => {
                self.aftermath.ports().services.push(served.service.clone());
                self.say_last(Kind::End, port, 0, |out| StreamEnd::Finished.encode(out));
            }
            End::Reading(_) | End::Calling => return self.violation("a port was stopped by the wrong side"),
        }
        self.ports.hear(port);
        self.drop_closed_ports();
        self.wake_large_waiters();
    }

    pub(super) fn on_end(&mut self, header: Header, body: &[u8]) {
        let port = header.port;
        let (Some(known), Some(end)) = (self.ports.get(port), StreamEnd::decode(body)) else {
            return self.violation("an end came that cannot be read, or for a port that is not open");
        };
        if known.heard() {
            return self.violation("a port was ended twice");
        }
        match &mut known.end {
            End::Reading(reading) => {
                reading.ended = Some(end);
                reading.lost_ahead.add(Lost::of_id(header.id));
                self.aftermath.wakes.extend(reading.waker.take());
            }
            // One-way calls of the port that wait are not to wait for the credit of others.
            End::Calling => self.wake_all(|waiters| &mut waiters.oneway),
            End::Writing(_) | End::Serving(_) => {
                return self.violation("a port was ended by the wrong side");
            }
        }
        self.ports.hear(port);
        self.drop_closed_ports();
    }

    /// Queues what the session itself says about a port.
    pub(super) fn put_control(&mut self, kind: Kind, port: u64, id: u64, body: impl FnOnce(&mut Vec<u8>)) {
        let before = self.outbox.queued_total();
        let size = self.put_own(kind, port, id, body);
        let after = self.outbox.queued_total();
        self.ports.passed.around_words(before, after);
        if let Some(outgoing) = self.outgoing.used() {
            outgoing.around_words(before, after);
        }
        // Whoever makes this side talk has to listen.
        if self.ports.words.are_unheard(size, &self.outbox) {
            self.violation("ports are opened and closed faster than what is said of them is read");
        }
    }
}

/// Takes the streams among the ports of a message, with their numbers.
fn streams_of(message: &mut EncodedMessage, numbers: Vec<u64>) -> Opened {
    let offers = message.cargo().map(|cargo| std::mem::take(&mut cargo.offers)).unwrap_or_default();
    let streams = offers.into_iter().zip(numbers).filter_map(|(offer, number)| match offer {
        Offer::Stream { attach, .. } | Offer::Sender { attach, .. } => Some((attach, number)),
        // The port holds it too.
        Offer::Service { .. } => None,
    });
    streams.collect()
}

/// Opens the ports that a message carries, and appends their list to it.
fn open(
    ports: &mut Ports,
    (own, peers): (PortLimits, PortLimits),
    lost_ahead: Lost,
    out: &mut Vec<u8>,
    offers: &[Offer],
) -> Vec<u64> {
    let body_end = out.len();
    let opened = offers
        .iter()
        .map(|offer| {
            let (kind, end) = match offer {
                Offer::Stream { items, .. } => {
                    let items = items.map(|items| items.min(u64::from(peers.items)));
                    (PortKind::Stream, End::Writing(Writing::new(peers, items)))
                }
                Offer::Sender { items, .. } => {
                    let reading = Reading::new(own, Some(*items)).behind(lost_ahead);
                    (PortKind::Sender, End::Reading(reading))
                }
                Offer::Service { served, .. } => (PortKind::Service, End::Serving(served.clone())),
            };
            let number = ports.open_one(end);
            let kind_at = out.len();
            out.push(kind as u8);
            varint::put(out, number);
            match offer {
                Offer::Sender { items, .. } => varint::put(out, *items),
                Offer::Service { told: Some(version), .. } => {
                    out[kind_at] = SERVICE_OF_VERSION;
                    varint::put(out, u64::from(*version));
                }
                Offer::Stream { items: Some(items), .. } => {
                    out[kind_at] = STREAM_WITH_CREDIT;
                    varint::put(out, *items);
                }
                Offer::Stream { items: None, .. } | Offer::Service { .. } => {}
            }
            number
        })
        .collect();
    let trailer = u32::try_from(out.len().saturating_sub(body_end))
        .expect("a trailer is of fewer ports than a u32 counts");
    out.extend_from_slice(&trailer.to_le_bytes());
    opened
}

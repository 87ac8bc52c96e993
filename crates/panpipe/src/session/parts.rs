//! Large messages, which travel in parts so that small ones pass them: those
//! that go out, in turn, and those that are coming in.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use panpipe_transport::buffer::{Assembly, FrameBuf, Large, Outbox, recycle};
use panpipe_transport::frame::{self, HEAD};

use super::large::LargeMessage;
use super::message::{Kind, ROOT_PORT, begin_message};
use super::on_demand::Part;
use super::scheduler::{Flow, Scheduler};
use crate::carried::Attach;
use crate::limits::{PART, QUEUED_LARGE, SHARED_QUEUE, SHORT_PART, SHORT_PARTS, TRANSFERS};

/// What a message that goes out in parts is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) kind: Kind,
    pub(crate) port: u64,
    pub(crate) id: u64,
    /// Whether the other side opens ports when it has come.
    pub(crate) carries: bool,
}

/// Streams that were opened, with their ports.
pub(crate) type Opened = Vec<(Arc<dyn Attach>, u64)>;

/// A message that goes out in parts.
struct Transfer {
    content: Content,
    /// The streams that it carries. They begin when it has gone: their items are
    /// not to pass it.
    opened: Opened,
    message: LargeMessage,
    /// Whether any of it has been handed out.
    has_begun: bool,
    /// Frames that must not go before it has.
    after: Vec<u8>,
    /// Which of all it is, in the order in which they were made.
    serial: u64,
    /// It is no longer wanted.
    aborted: bool,
}

/// The messages that go out in parts. Some at a time take turns, the others wait.
pub(crate) struct Outgoing {
    /// Each at the place that its number names. Empty until there is one.
    active: Vec<Option<Transfer>>,
    waiting: VecDeque<Transfer>,
    /// Whose turn is next.
    turn: usize,
    /// Whose buffer the outbox has; the place is empty if that was the last of it.
    lent: Option<usize>,
    /// How many bytes have not been handed out.
    bytes: usize,
    /// How many messages there have been.
    made: u64,
    /// Where the outgoing stream ended after the last part.
    seen: Option<u64>,
    /// For how many parts they stay short: small messages pass.
    short: u32,
    /// Last words about ports that wait until all that is sent to the port has gone.
    words: Vec<(u64, Vec<u8>)>,
    /// The ports whose last words have been queued.
    spoken: Vec<u64>,
    /// Blocks of which nothing is left to be sent. What owns them may be the user's: they are
    /// dropped outside of the lock.
    spent: Vec<Bytes>,
}

impl Part for Outgoing {
    fn unused() -> &'static Self {
        static UNUSED: Outgoing = Outgoing::new();
        &UNUSED
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Outgoing::new()
    }
}

impl Outgoing {
    const fn new() -> Self {
        Outgoing {
            active: Vec::new(),
            waiting: VecDeque::new(),
            turn: 0,
            lent: None,
            bytes: 0,
            made: 0,
            seen: None,
            short: 0,
            words: Vec::new(),
            spoken: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// Whether there is nothing to do.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.bytes == 0 && self.lent.is_none()
    }

    /// Whether nothing more is to be made that may be large. One message, however
    /// large, is no reason: small ones pass it.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= QUEUED_LARGE
            && self.waiting.len() + self.active.iter().filter(|place| place.is_some()).count() > 1
    }

    /// Whether small messages pass large ones, and are not to wait behind what
    /// the system holds.
    #[inline]
    pub(crate) fn is_passed(&self) -> bool {
        self.short > 0 && !self.is_idle()
    }

    pub(super) fn add(&mut self, content: Content, message: LargeMessage, opened: Opened) {
        self.active.resize_with(TRANSFERS, || None);
        self.bytes += message.left();
        self.made += 1;
        self.waiting.push_back(Transfer {
            content,
            opened,
            message,
            has_begun: false,
            after: Vec::new(),
            serial: self.made,
            aborted: false,
        });
    }

    fn all(&self) -> impl Iterator<Item = &Transfer> {
        self.active.iter().flatten().chain(&self.waiting).filter(|transfer| !transfer.aborted)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Transfer> {
        self.active.iter_mut().flatten().chain(&mut self.waiting).filter(|transfer| !transfer.aborted)
    }

    /// Whether such a message has not wholly been handed out.
    #[inline]
    pub(crate) fn has(&self, kind: Kind, port: u64) -> bool {
        self.bytes > 0
            && self.all().any(|transfer| transfer.content.kind == kind && transfer.content.port == port)
    }

    /// Whether a one-way call has not wholly been handed out.
    pub(crate) fn has_oneway(&self) -> bool {
        self.bytes > 0 && self.all().any(|transfer| transfer.content.kind == Kind::Oneway)
    }

    /// How many messages there have been so far.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// Whether a one-way call among the first so many has not wholly been handed out.
    pub(crate) fn has_oneway_among(&self, made: u64) -> bool {
        self.bytes > 0
            && self.all().any(|transfer| transfer.content.kind == Kind::Oneway && transfer.serial <= made)
    }

    /// Whether the message that was made as number `number` has not wholly been handed out.
    pub(crate) fn has_number(&self, number: u64) -> bool {
        self.bytes > 0 && self.all().any(|transfer| transfer.serial == number)
    }

    /// Whether anything that is sent to this port, which is not the root, has not
    /// wholly been handed out.
    #[inline]
    pub(crate) fn is_to(&self, port: u64) -> bool {
        self.bytes > 0 && self.all().any(|transfer| transfer.content.port == port)
    }

    /// Keeps the last word about a port until all that [is sent to](Self::is_to)
    /// it has gone.
    pub(crate) fn keep_word(&mut self, port: u64, word: Vec<u8>) {
        self.words.push((port, word));
    }

    /// Queues the last words for which nothing is left to wait.
    fn speak(&mut self, outbox: &mut Outbox) {
        for (port, word) in std::mem::take(&mut self.words) {
            if self.is_to(port) {
                self.words.push((port, word));
            } else {
                outbox.append().extend_from_slice(&word);
                self.spoken.push(port);
            }
        }
    }

    /// The ports whose last words waited, and have been queued.
    pub(crate) fn take_spoken(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.spoken)
    }

    /// Gives up a call. What is to be done about it on the wire is done here.
    pub(crate) fn abort_call(&mut self, id: u64, outbox: &mut Outbox) -> Abort {
        let is_call = |transfer: &Transfer| transfer.content.kind == Kind::Call && transfer.content.id == id;
        let Some(transfer) = self.all_mut().find(|transfer| is_call(transfer)) else { return Abort::IsSent };
        if transfer.content.carries {
            // Its ports are open here: they have to be opened, and closed, there too.
            put_frame(&mut transfer.after, Kind::Cancel, ROOT_PORT, id);
            return Abort::AfterIt;
        }
        if let Some(index) = self.waiting.iter().position(is_call) {
            if let Some(transfer) = self.waiting.remove(index) {
                self.drop_transfer(transfer);
                self.speak(outbox);
            }
            return Abort::NeverSent;
        }
        let number = self.active.iter().position(|place| place.as_ref().is_some_and(is_call));
        if let Some(number) = number {
            if self.lent == Some(number) {
                if let Some(transfer) = &mut self.active[number] {
                    transfer.aborted = true;
                }
                self.speak(outbox);
            } else if let Some(transfer) = self.active[number].take() {
                if transfer.has_begun {
                    put_frame(outbox.append(), Kind::Abort, ROOT_PORT, number as u64);
                }
                self.drop_transfer(transfer);
                self.speak(outbox);
            }
        }
        Abort::NeverSent
    }

    fn drop_transfer(&mut self, mut transfer: Transfer) {
        self.bytes -= transfer.message.left();
        self.spent.extend(transfer.message.take_shared());
    }

    /// Blocks of which nothing is left to be sent, to be dropped.
    pub(crate) fn take_spent(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.spent)
    }

    /// Hands the next part to the outbox, if there is one and room for it. Gives
    /// the message of which it is the last, and the streams that may begin.
    /// No part is larger than `max_part`. Where `floor` is not 0 a part of at most that goes
    /// out though there is no room. Where streams send as well it is done in `turns`.
    pub(super) fn feed(
        &mut self,
        outbox: &mut Outbox,
        max_part: usize,
        floor: usize,
        turns: Option<Turns<'_>>,
    ) -> Option<(Content, Opened)> {
        if outbox.has_lent() {
            return None;
        }
        self.take_back(outbox);
        if self.bytes == 0 {
            self.seen = None;
            return None;
        }
        if self.seen.is_some_and(|seen| seen != outbox.queued_total()) {
            self.short = SHORT_PARTS;
        }
        let mut turns = turns;
        if let Some(turns) = &mut turns {
            // Also where there is no room now: streams are to leave it some.
            self.claim_turns(turns.scheduler);
        }
        let mut most = match turns {
            _ if self.short > 0 => SHORT_PART,
            Some(_) => SHARED_QUEUE,
            None => PART.min(max_part),
        };
        let is_floor = outbox.pending_len() >= most;
        if is_floor {
            if floor == 0 {
                return None;
            }
            most = floor.min(max_part);
        }
        let (number, scheduler) = match turns {
            None => (self.next()?, None),
            Some(Turns { scheduler, may_fill_in }) => {
                let number = self.next_in_turn(scheduler, may_fill_in, outbox.pending_len() == 0)?;
                if !is_floor {
                    most = most.min(scheduler.left(Flow::Bulk(number)).clamp(SHORT_PART, max_part));
                }
                (number, Some(scheduler))
            }
        };
        self.short = self.short.saturating_sub(1);
        let mut transfer = self.active[number].take()?;
        let out = outbox.append();
        let start = out.len();
        begin_message(out, Kind::Part, ROOT_PORT, number as u64);
        let header = out.len() - start - HEAD;
        let part = transfer.message.hand_out(most, outbox);
        transfer.has_begun = true;
        let is_last = transfer.message.left() == 0;
        // What of the part stands elsewhere counts too.
        let len = u32::try_from(header + part).expect("a part is short");
        let head = &mut outbox.append()[start..];
        head[..HEAD].copy_from_slice(&len.to_le_bytes());
        if is_last {
            head[HEAD] = Kind::LastPart as u8;
        }
        self.bytes -= part;
        self.lent = outbox.has_lent().then_some(number);
        if let Some(scheduler) = scheduler {
            scheduler.sent(Flow::Bulk(number), part);
            if is_last {
                scheduler.gone(Flow::Bulk(number));
            }
        }
        if is_last {
            outbox.append().extend_from_slice(&transfer.after);
            if !self.words.is_empty() {
                self.speak(outbox);
            }
            self.seen = Some(outbox.queued_total());
            return Some((transfer.content, transfer.opened));
        }
        self.seen = Some(outbox.queued_total());
        self.active[number] = Some(transfer);
        None
    }

    /// What the session says of streams makes no part shorter.
    pub(crate) fn around_words(&mut self, before: u64, after: u64) {
        if self.seen == Some(before) {
            self.seen = Some(after);
        }
    }

    /// Takes back the buffer whose part is out.
    fn take_back(&mut self, outbox: &mut Outbox) {
        let Some(buffer) = outbox.take_back() else { return };
        let place =
            self.lent.take().and_then(|number| Some((number, self.active.get_mut(number)?.as_mut()?)));
        match place {
            None => self.reuse(buffer),
            Some((number, transfer)) if transfer.aborted => {
                put_frame(outbox.append(), Kind::Abort, ROOT_PORT, number as u64);
                let aborted = self.active[number].take();
                aborted.into_iter().for_each(|transfer| self.drop_transfer(transfer));
                self.reuse(buffer);
            }
            Some((_, transfer)) => match buffer {
                Large::Own(own) => transfer.message.take_back(own),
                Large::Shared(block) => self.spent.push(block),
            },
        }
    }

    /// Keeps a buffer for the next large message, if it is nobody else's.
    fn reuse(&mut self, buffer: Large) {
        match buffer {
            Large::Own(own) => recycle(own),
            Large::Shared(block) => self.spent.push(block),
        }
    }

    /// Gives each place that is free to a message that waits: first to those of ports of which
    /// none is going out, so that many of one port do not hold up those of another.
    fn fill_places(&mut self) {
        while let Some(free) = self.active.iter().position(Option::is_none) {
            let is_new = |port| self.active.iter().flatten().all(|active| active.content.port != port);
            let first = self.waiting.iter().position(|transfer| is_new(transfer.content.port));
            let Some(transfer) = self.waiting.remove(first.unwrap_or(0)) else { return };
            self.active[free] = Some(transfer);
        }
    }

    /// Has the scheduler know which messages are going out.
    fn claim_turns(&mut self, scheduler: &mut Scheduler) {
        self.fill_places();
        for (number, place) in self.active.iter().enumerate() {
            match place {
                Some(_) => scheduler.backlog(number),
                None => scheduler.gone(Flow::Bulk(number)),
            }
        }
    }

    /// Whose turn it is, where streams send as well. `is_empty` says that nothing else is to go
    /// out: then one part goes out once past the streams whose turn it is.
    fn next_in_turn(
        &mut self,
        scheduler: &mut Scheduler,
        may_fill_in: &mut bool,
        is_empty: bool,
    ) -> Option<usize> {
        let active = |number: &usize| self.active.get(*number).is_some_and(Option::is_some);
        let mut numbers = (0..TRANSFERS).map(|step| (self.turn + step) % TRANSFERS).filter(active);
        let in_turn = numbers.clone().find(|&number| scheduler.is_turn(Flow::Bulk(number)));
        let number = match in_turn {
            Some(number) => number,
            None if is_empty && std::mem::take(may_fill_in) => numbers.next()?,
            None => return None,
        };
        self.turn = number + 1;
        Some(number)
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<usize> {
        self.fill_places();
        let number = (0..TRANSFERS)
            .map(|step| (self.turn + step) % TRANSFERS)
            .find(|&number| self.active.get(number).is_some_and(Option::is_some))?;
        self.turn = number + 1;
        Some(number)
    }

    /// Forgets everything but the part that the outbox has. Gives the streams that
    /// were to begin.
    pub(crate) fn clear(&mut self) -> Opened {
        let (mut opened, mut spent) = (Opened::new(), self.take_spent());
        for transfer in self.active.iter_mut().flatten().chain(&mut self.waiting) {
            opened.append(&mut transfer.opened);
            spent.extend(transfer.message.take_shared());
        }
        *self = Outgoing { lent: self.lent, spent, ..Outgoing::default() };
        opened
    }
}

/// The turns of streams and of what goes out in parts.
pub(super) struct Turns<'a> {
    pub(super) scheduler: &'a mut Scheduler,
    /// Whether a part may go out though it is the turn of streams that were woken.
    pub(super) may_fill_in: &'a mut bool,
}

/// What became of a call that was given up while it went out in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abort {
    /// The other side has it, or will.
    IsSent,
    /// A Cancel goes behind it.
    AfterIt,
    /// The other side will never have it.
    NeverSent,
}

fn put_frame(out: &mut Vec<u8>, kind: Kind, port: u64, id: u64) {
    let head = begin_message(out, kind, port, id);
    frame::finish(out, head, PART).expect("a header is shorter than a part");
}

/// The messages that are coming in parts.
#[derive(Debug, Default)]
pub(crate) struct Incomplete {
    /// Each at the place that its number names. Empty until there is one.
    messages: Vec<Option<Assembly>>,
}

impl Incomplete {
    /// Whether more of a message is to come.
    pub(crate) fn has_any(&self) -> bool {
        self.messages.iter().any(Option::is_some)
    }

    /// Takes out what has come of a message, nothing at its beginning.
    pub(crate) fn take(&mut self, number: u64) -> Result<Assembly, &'static str> {
        Ok(self.place(number)?.take().unwrap_or_default())
    }

    /// Puts a message back that a part was added to. Gives the whole message if
    /// that was the last.
    pub(crate) fn put(
        &mut self,
        number: u64,
        message: Assembly,
        is_last: bool,
        max: usize,
    ) -> Result<Option<FrameBuf>, &'static str> {
        if message.len() > max {
            return Err("a message in parts is over the limit");
        }
        let place = self.place(number)?;
        if is_last {
            return Ok(Some(message.into_frame()));
        }
        *place = Some(message);
        Ok(None)
    }

    /// Forgets a message that its sender has given up.
    pub(crate) fn abort(&mut self, number: u64) -> Result<(), &'static str> {
        match self.place(number)?.take() {
            Some(_) => Ok(()),
            None => Err("a message in parts was given up that had not begun"),
        }
    }

    fn place(&mut self, number: u64) -> Result<&mut Option<Assembly>, &'static str> {
        self.messages.resize_with(TRANSFERS, || None);
        usize::try_from(number)
            .ok()
            .and_then(|number| self.messages.get_mut(number))
            .ok_or("a part is of more messages than may come at once")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::message::parse_header;

    fn call(id: u64) -> Content {
        Content { kind: Kind::Call, port: 0, id, carries: false }
    }

    fn message(len: usize, fill: u8) -> LargeMessage {
        LargeMessage::new(vec![fill; len], 0, Vec::new())
    }

    /// Everything that goes out, put together again: the small frames and the
    /// messages, in the order in which they are complete.
    fn received(outgoing: &mut Outgoing, outbox: &mut Outbox) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            outgoing.feed(outbox, PART, 0, None);
            let run = outbox.pending().to_vec();
            if run.is_empty() {
                break;
            }
            bytes.extend_from_slice(&run);
            outbox.advance(run.len());
        }
        let (mut rest, mut incomplete, mut whole) = (bytes.as_slice(), Incomplete::default(), Vec::new());
        while let Some((body, taken)) = frame::split(rest, usize::MAX).unwrap() {
            let header = parse_header(body).unwrap();
            match header.kind {
                Kind::Part | Kind::LastPart => {
                    let mut message = incomplete.take(header.id).unwrap();
                    message.append(&body[header.body..]);
                    let is_last = header.kind == Kind::LastPart;
                    let put = incomplete.put(header.id, message, is_last, usize::MAX).unwrap();
                    whole.extend(put.map(|frame| frame.to_vec()));
                }
                Kind::Abort => incomplete.abort(header.id).unwrap(),
                _ => whole.push(body.to_vec()),
            }
            rest = &rest[taken..];
        }
        assert!(rest.is_empty() && outgoing.is_idle());
        whole
    }

    #[test]
    fn messages_take_turns_and_come_out_whole() {
        let (mut outgoing, mut outbox) = (Outgoing::default(), Outbox::default());
        let sizes = [PART * 5 + 1, PART * 2, PART + 1, PART * 9, PART * 3, 1];
        for (id, size) in sizes.iter().enumerate() {
            outgoing.add(call(id as u64), message(*size, id as u8), Vec::new());
        }
        let whole = received(&mut outgoing, &mut outbox);
        assert_eq!(whole.len(), sizes.len());
        for message in &whole {
            assert_eq!(message.len(), sizes[message[0] as usize]);
            assert!(message.iter().all(|byte| *byte == message[0]));
        }
        // The shorter ones do not wait for the longer ones.
        assert_eq!(whole[0][0], 1);
        assert_eq!(whole.last().unwrap()[0], 3);
    }

    #[test]
    fn a_small_frame_waits_for_one_part_and_what_belongs_behind_a_message_for_all() {
        let (mut outgoing, mut outbox) = (Outgoing::default(), Outbox::default());
        outgoing.add(Content { kind: Kind::Item, port: 3, ..call(0) }, message(PART * 3, 1), Vec::new());
        assert!(outgoing.has(Kind::Item, 3) && !outgoing.has(Kind::Item, 5));
        outgoing.feed(&mut outbox, PART, 0, None);
        put_frame(outbox.append(), Kind::Goodbye, 0, 0);
        assert!(outgoing.is_to(3) && !outgoing.is_to(5));
        let mut end = Vec::new();
        put_frame(&mut end, Kind::End, 3, 0);
        outgoing.keep_word(3, end);
        let whole = received(&mut outgoing, &mut outbox);
        let kinds: Vec<_> = whole.iter().map(|frame| frame[0]).collect();
        assert_eq!(kinds, [Kind::Goodbye as u8, 1, Kind::End as u8]);
        assert!(!outgoing.is_to(3));
        assert_eq!(outgoing.take_spoken(), [3]);
    }

    #[test]
    fn a_call_is_given_up_at_every_stage() {
        let (mut outgoing, mut outbox) = (Outgoing::default(), Outbox::default());
        // It waits; it goes out just now; it has paused; it has gone.
        outgoing.add(call(7), message(PART * 3, 7), Vec::new());
        assert_eq!(outgoing.abort_call(7, &mut outbox), Abort::NeverSent);
        assert!(outgoing.is_idle());
        outgoing.add(call(8), message(PART * 3, 8), Vec::new());
        outgoing.feed(&mut outbox, PART, 0, None);
        assert_eq!(outgoing.abort_call(8, &mut outbox), Abort::NeverSent);
        assert!(received(&mut outgoing, &mut outbox).is_empty());
        outgoing.add(call(1), message(PART * 3, 1), Vec::new());
        outgoing.add(call(2), message(PART * 3, 2), Vec::new());
        outgoing.feed(&mut outbox, PART, 0, None);
        while !outbox.pending().is_empty() {
            outbox.advance(outbox.pending().len());
        }
        outgoing.feed(&mut outbox, PART, 0, None);
        assert_eq!(outgoing.abort_call(1, &mut outbox), Abort::NeverSent);
        let whole = received(&mut outgoing, &mut outbox);
        assert_eq!(whole.iter().map(|message| message[0]).collect::<Vec<_>>(), [2]);
        assert_eq!(outgoing.abort_call(2, &mut outbox), Abort::IsSent);
        outgoing.add(Content { carries: true, ..call(3) }, message(PART * 3, 3), Vec::new());
        assert_eq!(outgoing.abort_call(3, &mut outbox), Abort::AfterIt);
        let whole = received(&mut outgoing, &mut outbox);
        assert_eq!(whole.iter().map(|frame| frame[0]).collect::<Vec<_>>(), [3, Kind::Cancel as u8]);
    }

    #[test]
    fn parts_of_too_many_messages_and_too_long_ones_are_refused() {
        let mut incomplete = Incomplete::default();
        assert!(incomplete.take(TRANSFERS as u64).is_err());
        assert!(incomplete.abort(0).is_err());
        let mut message = incomplete.take(0).unwrap();
        message.append(&[1; 11]);
        assert!(incomplete.put(0, message, false, 10).is_err());
    }
}

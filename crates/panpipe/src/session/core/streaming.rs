//! The items of streams, and the credit that lets them flow.

use std::task::{Poll, Waker};

use panpipe_transport::buffer::FrameBuf;
use panpipe_transport::{frame, varint};

use super::carrying::PutError;
use super::{Core, Encode, remember};
use crate::limits;
use crate::session::batch::{Batch, Special};
use crate::session::message::{Header, Kind};
use crate::session::ports::{Credit, End};
use crate::session::stream_end::StreamEnd;

/// Why an item was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ItemError {
    /// Nobody reads the stream any more.
    Closed,
    /// No waiting helps it. The stream can go on.
    Unsendable(StreamEnd),
}

/// Whether other messages go out between the items of streams, told by where the
/// outgoing stream ended after the last item.
#[derive(Debug, Default)]
pub(super) struct Passed {
    seen: u64,
    /// For how many items it stays so.
    items: u32,
}

impl Passed {
    #[inline]
    pub(super) fn is_now(&self) -> bool {
        self.items > 0
    }

    /// An item is to be queued behind what stands in the queue now.
    fn before_item(&mut self, end: u64) {
        self.items = if end == self.seen { self.items.saturating_sub(1) } else { limits::SHORT_ITEMS };
    }

    fn after_item(&mut self, end: u64) {
        self.seen = end;
    }

    /// What the session says of streams is none of the others.
    pub(super) fn around_words(&mut self, before: u64, after: u64) {
        if before == self.seen {
            self.seen = after;
        }
    }
}

impl Core {
    // ---- the end that reads ----

    /// Whether an item is to be received by `receive_item`, as a value of its own.
    pub(crate) fn is_special(&self, header: &Header, frame: &[u8]) -> bool {
        header.carries || frame.len() >= limits::READ_CHUNK / 4
    }

    /// Takes an item off the wire that is not special.
    #[inline]
    pub(crate) fn receive_small_item(&mut self, header: Header, frame: &[u8]) {
        let Some(cost) = self.item_came(header.port, frame.len()) else { return };
        if let Some(port) = self.ports.get(header.port).filter(|port| !port.said()) {
            if let End::Reading(reading) = &mut port.end {
                reading.queue.push_small(&frame[header.body..], cost);
                self.aftermath.wakes.extend(reading.waker.take());
            }
        }
    }

    /// Takes any item off the wire.
    pub(crate) fn receive_item(&mut self, header: Header, mut frame: FrameBuf) {
        let Some(cost) = self.item_came(header.port, frame.len()) else { return };
        let Some((end, attached)) = self.take_ports(&header, &frame) else { return };
        frame.truncate(end);
        frame.advance(header.body);
        if let Some(port) = self.ports.get(header.port).filter(|port| !port.said()) {
            if let End::Reading(reading) = &mut port.end {
                reading.queue.push_special(Special { body: frame, attached }, cost);
                self.aftermath.wakes.extend(reading.waker.take());
                return;
            }
        }
        self.let_go(attached);
    }

    /// Checks an item against its stream's credit. Gives what it costs.
    #[inline]
    fn item_came(&mut self, port: u64, len: usize) -> Option<Credit> {
        if !self.is_open() {
            self.violation("an item came where a hello belongs");
            return None;
        }
        let came = self.ports.item_came(port, len as u64, self.own_ports);
        if let Err(why) = came {
            self.violation(why);
        }
        came.ok()
    }

    /// Takes the items that have come, in exchange for a batch that has been
    /// read. Ready without items when the stream is over.
    pub(crate) fn poll_items(
        &mut self,
        number: u64,
        batch: &mut Batch,
        waker: &Waker,
    ) -> Poll<Option<StreamEnd>> {
        let Some(port) = self.ports.get(number) else {
            return Poll::Ready(Some(StreamEnd::Disconnected));
        };
        let End::Reading(reading) = &mut port.end else { unreachable!("a reader's port is read") };
        let taken = batch.clear();
        std::mem::swap(&mut reading.queue, batch);
        let polled = if !batch.is_empty() {
            Poll::Ready(None)
        } else if let Some(end) = &reading.ended {
            return Poll::Ready(Some(end.clone()));
        } else {
            remember(&mut reading.waker, waker);
            Poll::Pending
        };
        if let Some(grant) = self.ports.took(number, taken) {
            if !self.is_over() {
                self.put_control(Kind::Credit, number, |out| {
                    varint::put(out, grant.items);
                    varint::put(out, grant.bytes);
                    varint::put(out, grant.large);
                });
            }
        }
        polled
    }

    /// Nobody reads the stream any more.
    pub(crate) fn stop_reading(&mut self, number: u64) {
        let Some(port) = self.ports.get(number) else { return };
        if let End::Reading(reading) = &mut port.end {
            let unread = reading.queue.attached();
            reading.queue = Batch::default();
            reading.waker = None;
            self.let_go(unread);
        }
        self.release(number);
    }

    // ---- the end that writes ----

    /// Sends an item; gives its size. Pending when the reader takes no more for
    /// now, or when others have to be let out first; `waker` is woken when it may be
    /// tried again.
    pub(crate) fn poll_item(
        &mut self,
        number: u64,
        waker: &Waker,
        encode: &mut Encode<'_>,
    ) -> Poll<Result<usize, ItemError>> {
        let pool = self.ports.large_left(self.peer_ports);
        let has_room = self.has_stream_room();
        let over = self.is_over();
        let Some(port) = self.ports.get(number) else { return Poll::Ready(Err(ItemError::Closed)) };
        if over || port.heard() || port.said() {
            return Poll::Ready(Err(ItemError::Closed));
        }
        let End::Writing(writing) = &mut port.end else { unreachable!("a writer's port is written") };
        let allowed = writing.allows(pool);
        if allowed == 0 || allowed < writing.needs {
            if writing.needs > writing.small {
                remember_one_more(&mut self.large_waiters, waker);
            }
            remember_one_more(&mut writing.wakers, waker);
            return Poll::Pending;
        }
        // The items of one stream stay in their order.
        if !has_room || self.outgoing.has(Kind::Item, number) {
            remember_one_more(&mut self.stream_waiters, waker);
            return Poll::Pending;
        }
        let most = self.max_message;
        let before = self.outbox.queued_total();
        let max = usize::try_from(allowed).unwrap_or(usize::MAX).min(most);
        match self.put_message(Kind::Item, number, 0, max, |_| (), encode) {
            Ok(size) => {
                self.passed.before_item(before);
                self.passed.after_item(self.outbox.queued_total());
                self.ports.item_sent(number, (size - frame::HEAD) as u64);
                Poll::Ready(Ok(size))
            }
            Err(PutError::TooLarge { size, limit: _ }) if size <= most as u64 => {
                if let Some(Some(writing)) = self.ports.get(number).map(|port| port.writing()) {
                    writing.needs = size;
                    let large = size > writing.small;
                    remember_one_more(&mut writing.wakers, waker);
                    if large {
                        remember_one_more(&mut self.large_waiters, waker);
                    }
                }
                Poll::Pending
            }
            Err(PutError::TooLarge { size, limit }) => {
                Poll::Ready(Err(ItemError::Unsendable(StreamEnd::TooLarge { size, limit })))
            }
            Err(PutError::Encode(why)) => Poll::Ready(Err(ItemError::Unsendable(StreamEnd::Malformed(why)))),
            Err(PutError::Ports) => Poll::Ready(Err(ItemError::Unsendable(StreamEnd::Malformed(
                "the item carries more ports than the other side takes".to_owned(),
            )))),
        }
    }

    /// Whether the stream is read no more; if not, `waker` is woken when it is.
    pub(crate) fn poll_stopped(&mut self, number: u64, waker: &Waker) -> Poll<()> {
        let over = self.is_over();
        match self.ports.get(number) {
            Some(port) if !over && !port.heard() => {
                if let Some(writing) = port.writing() {
                    remember_one_more(&mut writing.wakers, waker);
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Nothing more is written to the stream.
    pub(crate) fn end_writing(&mut self, number: u64, end: &StreamEnd) {
        let over = self.is_over();
        if self.ports.say(number, over) && !over {
            self.put_last_word(Kind::End, number, |out| end.encode(out));
            if self.is_draining() {
                self.wake_driver();
            }
        }
    }

    pub(super) fn on_credit(&mut self, number: u64, mut body: &[u8]) {
        let body = &mut body;
        let (Some(items), Some(bytes), Some(large)) =
            (varint::take(body), varint::take(body), varint::take(body))
        else {
            return self.violation("a credit cannot be read");
        };
        match self.ports.granted(number, Credit { items, bytes, large }) {
            Ok(Some(writing)) => {
                self.aftermath.wakes.append(&mut writing.wakers);
                if large > 0 {
                    self.aftermath.wakes.append(&mut self.large_waiters);
                }
            }
            // It crossed the end of the stream.
            Ok(None) => {}
            Err(why) => self.violation(why),
        }
    }

    /// Whether little enough waits to be sent that streams may add to it.
    fn has_stream_room(&self) -> bool {
        let most = if self.passed.is_now() { limits::SHORT_QUEUE } else { limits::STREAM_QUEUE };
        self.outbox.pending_len() < most
    }

    /// Lets those in who wait for room for their items.
    pub(super) fn wake_stream_waiters(&mut self) {
        if !self.stream_waiters.is_empty() && self.has_stream_room() {
            self.aftermath.wakes.append(&mut self.stream_waiters);
        }
    }

    /// The connection is over: every stream is.
    pub(super) fn fail_ports(&mut self) {
        for number in self.ports.numbers() {
            let Some(port) = self.ports.get(number) else { continue };
            match &mut port.end {
                End::Reading(reading) => {
                    reading.ended.get_or_insert(StreamEnd::Disconnected);
                    self.aftermath.wakes.extend(reading.waker.take());
                }
                End::Writing(writing) => self.aftermath.wakes.append(&mut writing.wakers),
                End::Serving(service) => {
                    self.aftermath.ports().services.push(service.clone());
                    self.ports.say(number, true);
                }
                End::Calling => {}
            }
            self.ports.hear(number);
        }
        self.aftermath.wakes.append(&mut self.stream_waiters);
        self.aftermath.wakes.append(&mut self.large_waiters);
    }
}

fn remember_one_more(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

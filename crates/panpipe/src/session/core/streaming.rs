//! The items of streams, and the credit that lets them flow.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::task::{Poll, Waker};

use panpipe_transport::buffer::FrameBuf;
use panpipe_transport::{frame, varint};

use super::carrying::{Head, PutError};
use super::{Core, EncodedMessage, remember, remember_one_more};
use crate::limits;
use crate::session::batch::Batch;
use crate::session::lost::{CALLED_FOR, Lost};
use crate::session::message::{Header, Kind, ROOT_PORT};
use crate::session::on_demand::OnDemand;
use crate::session::ports::{Credit, End, Word};
use crate::session::scheduler::Flow;
use crate::session::stream_end::StreamEnd;

/// Why an item was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ItemError {
    /// Nobody reads the stream any more.
    Closed,
    /// No waiting helps it. The stream can go on.
    Unsendable(StreamEnd),
}

impl Core {
    // ---- the end that reads ----

    /// Whether an item is to be received by `receive_item`, as a value of its own.
    pub(crate) fn is_special(&self, header: Header, frame: &[u8]) -> bool {
        header.carries
            || frame.len() >= limits::READ_CHUNK / 4
            || frame.len() as u64 > self.own_ports().bytes / 2
    }

    /// Takes an item off the wire that is not special.
    #[inline]
    pub(crate) fn receive_small_item(&mut self, header: Header, frame: &[u8]) {
        let Some(cost) = self.item_came(header, frame.len()) else { return };
        if let Some(port) = self.ports.get(header.port).filter(|port| !port.said()) {
            if let End::Reading(reading) = &mut port.end {
                reading.lost_before_next(header.id);
                reading.queue.push_small(&frame[header.body..], cost);
                self.has_woken_reader |= reading.waker.is_some();
                self.aftermath.wakes.extend(reading.waker.take());
            }
        }
    }

    /// Takes any item off the wire.
    pub(crate) fn receive_item(&mut self, header: Header, mut frame: FrameBuf) {
        let Some(cost) = self.item_came(header, frame.len()) else { return };
        let Some((end, attached)) = self.take_ports(header, &frame) else { return };
        frame.truncate(end);
        frame.advance(header.body);
        if let Some(port) = self.ports.get(header.port).filter(|port| !port.said()) {
            if let End::Reading(reading) = &mut port.end {
                reading.lost_before_next(header.id);
                reading.queue.push_special(frame, attached, cost);
                self.has_woken_reader |= reading.waker.is_some();
                self.aftermath.wakes.extend(reading.waker.take());
                return;
            }
        }
        self.let_go(attached);
    }

    /// Checks an item against its stream's credit. Gives what it costs.
    #[inline]
    fn item_came(&mut self, header: Header, len: usize) -> Option<Credit> {
        if !self.is_open() {
            self.violation("an item came where a hello belongs");
            return None;
        }
        let own = self.own_ports();
        let came = self.ports.item_came(header.port, len as u64, header.id & CALLED_FOR != 0, own);
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
        waker: &mut Option<Waker>,
    ) -> Poll<Option<(StreamEnd, Lost)>> {
        let Some(port) = self.ports.get(number) else {
            return Poll::Ready(Some((StreamEnd::Disconnected, Lost::NONE)));
        };
        let End::Reading(reading) = &mut port.end else { unreachable!("a reader's port is read") };
        let taken = batch.clear();
        std::mem::swap(&mut reading.queue, batch);
        let polled = if !batch.is_empty() {
            Poll::Ready(None)
        } else if let Some(end) = &reading.ended {
            return Poll::Ready(Some((end.clone(), std::mem::take(&mut reading.lost_ahead))));
        } else {
            remember(&mut reading.waker, waker);
            Poll::Pending
        };
        self.give_credit(number, taken);
        self.call_for_more(number);
        polled
    }

    /// A large item has been read: others have its room, before its stream is read
    /// further.
    pub(crate) fn large_was_read(&mut self, number: u64, large: u64) {
        self.give_credit(number, Credit { large, ..Credit::default() });
    }

    /// The writer has a large item that waits until those of others are read.
    pub(super) fn on_wait(&mut self, number: u64) {
        match self.ports.get(number) {
            Some(port) if !port.heard() => {
                if let End::Reading(reading) = &mut port.end {
                    reading.ask();
                    return self.call_for_more(number);
                }
                self.violation("the wrong side waits with an item");
            }
            _ => self.violation("an item waits on a port that is not open"),
        }
    }

    /// Has the writer wait no longer with a large item, where somebody waits for it.
    fn call_for_more(&mut self, number: u64) {
        let Some(port) = self.ports.get(number).filter(|port| !port.said()) else { return };
        let End::Reading(reading) = &mut port.end else { return };
        if reading.calls_for_more() && !self.is_over() {
            self.put_credit(number, Credit::default());
        }
    }

    fn put_credit(&mut self, number: u64, credit: Credit) {
        self.put_control(Kind::Credit, number, 0, |out| {
            varint::put(out, credit.items);
            varint::put(out, credit.bytes);
            varint::put(out, credit.large);
        });
    }

    /// Notes what has been read, and tells the writer if it is time.
    fn give_credit(&mut self, number: u64, taken: Credit) {
        let Some(grant) = self.ports.took(number, taken) else { return };
        if !self.is_over() {
            self.put_credit(number, grant);
        }
    }

    /// Nobody reads the stream any more.
    pub(crate) fn stop_reading(&mut self, number: u64) {
        let Some(port) = self.ports.get(number) else { return };
        if let End::Reading(reading) = &mut port.end {
            let unread = reading.queue.attached();
            reading.queue = Batch::default();
            self.aftermath.spent.extend(reading.waker.take());
            self.let_go(unread);
        }
        self.release(number);
    }

    // ---- the end that writes ----

    /// Sends an item; gives its size. Pending when the reader takes no more for
    /// now, or when others have to be let out first; `waker` is woken when it may be
    /// tried again. `needs` is kept with the item: how much it has been found to
    /// need, nought at first.
    pub(crate) fn poll_item(
        &mut self,
        number: u64,
        needs: &mut u64,
        waker: &mut Option<Waker>,
        message: &mut EncodedMessage,
    ) -> Poll<Result<usize, ItemError>> {
        let pool = self.ports.large_left(self.peer_ports);
        let over = self.is_over();
        if let Some(scheduler) = self.scheduler.used() {
            scheduler.came(number);
        }
        let Some(port) = self.ports.get(number) else { return Poll::Ready(Err(ItemError::Closed)) };
        if over || port.heard() || port.said() {
            return Poll::Ready(Err(ItemError::Closed));
        }
        let End::Writing(writing) = &mut port.end else { unreachable!("a writer's port is written") };
        let exempt = writing.is_exempt(*needs, pool);
        let allowed = if exempt { u64::MAX } else { writing.allows(pool) };
        let id = writing.lost.id(exempt);
        if allowed == 0 || allowed < *needs {
            self.wait_for_credit(number, *needs, waker);
            return Poll::Pending;
        }
        // The items of one stream stay in their order.
        if self.outgoing.has(Kind::Item, number) {
            remember_one_more(&mut writing.wakers, waker);
            return Poll::Pending;
        }
        if !self.has_stream_room(number) {
            self.wait_for_turn(number, waker);
            return Poll::Pending;
        }
        let most = self.max_message;
        let (before, was_idle) = (self.outbox.queued_total(), !self.has_unsent());
        let max = usize::try_from(allowed).unwrap_or(usize::MAX).min(most);
        match self.put_message(Head::new(Kind::Item, number, id), max, message) {
            Ok(size) => {
                self.charge_item(number, before, size);
                self.accept(was_idle);
                // The item that is sent tells what was lost before it.
                self.ports.item_sent(number, size.saturating_sub(frame::HEAD) as u64, exempt);
                Poll::Ready(Ok(size))
            }
            Err(PutError::TooLarge { size, limit: _ }) if size <= most as u64 => {
                *needs = size;
                if self
                    .ports
                    .get(number)
                    .and_then(|port| port.writing())
                    .is_some_and(|writing| writing.is_exempt(size, pool))
                {
                    // It was called for when that was not known.
                    return self.poll_item(number, needs, waker, message);
                }
                self.wait_for_credit(number, size, waker);
                Poll::Pending
            }
            Err(PutError::TooLarge { size, limit }) => {
                Poll::Ready(Err(ItemError::Unsendable(StreamEnd::TooLarge { size, limit })))
            }
            Err(PutError::Ports) => Poll::Ready(Err(ItemError::Unsendable(StreamEnd::Malformed(
                "the item carries more ports than both sides allow".to_owned(),
            )))),
        }
    }

    /// Ready when no item of the stream is being sent in parts: whether the stream is still
    /// read.
    pub(crate) fn poll_items_queued(&mut self, number: u64, waker: &mut Option<Waker>) -> Poll<bool> {
        let is_over = self.is_over();
        let Some(port) = self.ports.get(number).filter(|port| !is_over && !port.heard() && !port.said())
        else {
            return Poll::Ready(false);
        };
        if let Some(writing) = port.writing().filter(|_| self.outgoing.has(Kind::Item, number)) {
            remember_one_more(&mut writing.wakers, waker);
            return Poll::Pending;
        }
        Poll::Ready(true)
    }

    /// Whether an item may be sent now, if it is not too large; also where the stream is over.
    pub(crate) fn takes_item(&mut self, number: u64) -> bool {
        let pool = self.ports.large_left(self.peer_ports);
        let is_busy = !self.has_stream_room(number) || self.outgoing.has(Kind::Item, number);
        let writing = self.ports.get(number).and_then(|port| port.writing());
        writing.is_none_or(|writing| !is_busy && writing.allows(pool) > 0) || self.is_over()
    }

    /// Charges an item of the stream that has been queued behind `before`.
    #[inline]
    fn charge_item(&mut self, number: u64, before: u64, size: usize) {
        let after = self.outbox.queued_total();
        self.floor.queued(after.saturating_sub(before), after);
        self.ports.passed.before_item(before);
        self.ports.passed.after_item(after);
        if let Some(outgoing) = self.outgoing.used() {
            // A stream that takes turns with bulk is none of the messages that pass it.
            outgoing.around_words(before, after);
        }
        // A large item is a flow of its own until its last part is out.
        let flow = Flow::Stream(number);
        let is_alone = self.scheduler.seen().is_none_or(|scheduler| scheduler.is_alone(flow));
        if size <= limits::LARGE_MESSAGE && (!is_alone || self.bulk().is_some()) {
            self.scheduler.sent(flow, size);
        }
    }

    /// The stream has an item for which there is no room, or of which it is not the turn.
    fn wait_for_turn(&mut self, number: u64, waker: &mut Option<Waker>) {
        // Without a waker it is polled again, with one.
        if waker.is_some() {
            let Some(writing) = self.ports.get(number).and_then(|port| port.writing()) else { return };
            remember_one_more(&mut writing.wakers, waker);
            self.scheduler.wait(number);
        }
    }

    /// Wakes who waits to write to the stream.
    pub(super) fn wake_writer(&mut self, number: u64) {
        match self.ports.get(number).and_then(|port| port.writing()) {
            Some(writing) if !writing.wakers.is_empty() => {
                self.aftermath.wakes.append(&mut writing.wakers);
            }
            // Nothing is there to come back.
            _ => {
                if let Some(scheduler) = self.scheduler.used() {
                    scheduler.came(number);
                }
            }
        }
    }

    /// An item that needs so much waits until the reader takes it.
    fn wait_for_credit(&mut self, number: u64, needs: u64, waker: &mut Option<Waker>) {
        let Some(writing) = self.ports.get(number).and_then(|port| port.writing()) else { return };
        remember_one_more(&mut writing.wakers, waker);
        if needs > writing.small {
            let asks = writing.asks(needs);
            if !self.waiters.large.contains(&number) {
                self.waiters.large.push(number);
            }
            if asks {
                self.put_control(Kind::Wait, number, 0, |_| ());
            }
        }
    }

    /// Whether the stream is read no more; if not, `waker` is woken when it is.
    pub(crate) fn poll_stopped(&mut self, number: u64, waker: &mut Option<Waker>) -> Poll<()> {
        let over = self.is_over();
        if let Some(scheduler) = self.scheduler.used() {
            scheduler.came(number);
        }
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

    /// Forgets one of those who wait to write to the stream, or for its reader to go.
    pub(crate) fn forget_writer(&mut self, number: u64, waker: &Waker) {
        let writing = self.ports.get(number).and_then(|port| port.writing());
        let Some(wakers) = writing.map(|writing| &mut writing.wakers) else { return };
        if let Some(at) = wakers.iter().position(|known| known.will_wake(waker)) {
            self.aftermath.spent.push(wakers.swap_remove(at));
        }
        if wakers.is_empty() {
            if let Some(scheduler) = self.scheduler.used() {
                scheduler.came(number);
                self.wake_stream_waiters();
            }
        }
    }

    /// Items of the stream were dropped before they were sent.
    pub(crate) fn lose_items(&mut self, number: u64, lost: Lost) {
        // A peer that knows nothing of it takes the id of an item for something else.
        if self.peer_tells_lost {
            if let Some(writing) = self.ports.get(number).and_then(|port| port.writing()) {
                writing.lost.add(lost);
            }
        }
    }

    /// Nothing more is written to the stream.
    pub(crate) fn end_writing(&mut self, number: u64, end: &StreamEnd) {
        let writing = self.ports.get(number).and_then(|port| port.writing());
        let lost = writing.map_or(Lost::NONE, |writing| std::mem::take(&mut writing.lost));
        self.say_last(Kind::End, number, lost.id(false), |out| end.encode(out));
        if let Some(scheduler) = self.scheduler.used() {
            scheduler.gone(Flow::Stream(number));
            self.wake_stream_waiters();
        }
        self.work_is_less();
    }

    pub(super) fn on_credit(&mut self, number: u64, mut body: &[u8]) {
        let body = &mut body;
        let (Some(items), Some(bytes), Some(large)) =
            (varint::take(body), varint::take(body), varint::take(body))
        else {
            return self.violation("a credit cannot be read");
        };
        if number == ROOT_PORT {
            return self.on_oneway_credit(bytes);
        }
        match self.ports.granted(number, Credit { items, bytes, large }) {
            Ok(Some(writing)) => self.aftermath.wakes.append(&mut writing.wakers),
            // It crossed the end of the stream.
            Ok(None) => {}
            Err(why) => self.violation(why),
        }
        self.wake_large_waiters();
    }

    /// How many bytes may wait to be sent for streams to add to them; `shared` where others
    /// have their turns as well.
    fn stream_queue(&self, shared: bool) -> usize {
        match () {
            () if self.ports.passed.is_now() => limits::SHORT_QUEUE,
            () if shared => limits::SHARED_QUEUE,
            () => limits::STREAM_QUEUE,
        }
    }

    /// Whether the stream may send an item: little enough waits to be sent, and it is its turn.
    fn has_stream_room(&mut self, number: u64) -> bool {
        let pending = self.outbox.pending_len();
        let has_bulk = self.bulk().is_some();
        let flow = Flow::Stream(number);
        let Some(scheduler) = self.scheduler.used() else {
            return pending < self.stream_queue(has_bulk) || self.has_floor();
        };
        if scheduler.is_alone(flow) && !has_bulk {
            return pending < self.stream_queue(false) || self.has_floor();
        }
        // Nothing is left to be sent: that is no time to wait for tasks that were woken. Bulk is
        // sent by the driver, and at once.
        let is_turn = scheduler.is_turn(flow) || (pending == 0 && !scheduler.is_turn_of_bulk());
        is_turn && (pending < self.stream_queue(true) || self.has_floor())
    }

    /// Whether streams and bulk may queue something though there is no room.
    fn has_floor(&mut self) -> bool {
        self.floor.left(self.outbox.queued_total()) > 0
    }

    /// Wakes the streams whose turn it is, as far as there is room for their items.
    pub(super) fn wake_stream_waiters(&mut self) {
        if !self.scheduler.has_waiting() {
            return;
        }
        let pending = self.outbox.pending_len();
        let floor = self.floor.left(self.outbox.queued_total());
        let mut room = self.stream_queue(true).saturating_sub(pending).max(floor);
        let mut has_woken = false;
        while let Some(port) = self.scheduler.wake_next(&mut room) {
            self.wake_writer(port);
            has_woken = true;
        }
        if !has_woken && pending == 0 && !self.scheduler.is_turn_of_bulk() {
            if let Some(port) = self.scheduler.wake_any() {
                self.wake_writer(port);
            }
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
                End::Serving(served) => {
                    self.aftermath.ports().services.push(served.service.clone());
                    self.ports.say(number, Word::ToNobody);
                }
                End::Calling => {}
            }
            self.ports.word_is_out(number);
            self.ports.hear(number);
        }
        self.drop_closed_ports();
        self.scheduler = OnDemand::default();
        if let Some(waiters) = self.waiters.used() {
            waiters.large.clear();
        }
    }
}

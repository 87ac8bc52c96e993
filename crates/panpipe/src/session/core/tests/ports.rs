//! Ports: their numbers, their credit, their last words.

use std::sync::atomic::Ordering;

use panpipe_transport::varint;

use super::*;
use crate::carried::{Attach, Cargo, Offer};
use crate::dispatch::{Dispatched, IncomingCall};
use crate::link::Link;
use crate::service::AnyService;
use crate::session::batch::{Batch, RawItem};
use crate::session::hello::TELLS_LOST;
use crate::session::lost::Lost;
use crate::session::ports::{Credit, PortKind};
use crate::session::stream_end::StreamEnd;
use crate::woken::Woken;

/// An end of a stream of which the core only has to tell when it begins.
pub(super) struct Quiet;

impl Attach for Quiet {
    fn attach(self: Arc<Self>, _: Arc<Link>, _: u64) {}
}

impl AnyService for Quiet {
    fn dispatch(&self, call: IncomingCall<'_>) -> Dispatched {
        call.unknown_method()
    }
}

fn stream() -> Offer {
    Offer::Stream { items: None, attach: Arc::new(Quiet) }
}

fn service() -> Offer {
    Offer::Service { served: Served { service: Arc::new(Quiet), version: None }, told: None }
}

impl Side {
    /// A call that carries ports, to the root.
    fn carry(&mut self, offers: Vec<Offer>) -> Poll<Result<(), CallError>> {
        let mut offers = Cargo::of_ports(offers);
        let carry = &mut message(|_, _| Ok(offers.take()));
        unboxed(self.core.poll_call(&mut None, CallTarget::new(0, 7), None, || 0, &mut idle(), Some(carry)))
    }

    /// The streams that have begun since this was asked last.
    fn begun(&mut self) -> Vec<u64> {
        let ports = std::mem::take(&mut self.core.aftermath().ports);
        ports.into_iter().flat_map(|ports| ports.opened).map(|(_, port)| port).collect()
    }

    /// Wakes who is to be woken.
    fn wake(&mut self) {
        std::mem::take(&mut self.core.aftermath().wakes).into_iter().for_each(Waker::wake);
    }

    fn item(&mut self, port: u64, body: &[u8]) -> Poll<Result<usize, ItemError>> {
        self.item_by(port, body, Waker::noop())
    }

    fn item_by(&mut self, port: u64, body: &[u8], waker: &Waker) -> Poll<Result<usize, ItemError>> {
        self.core.poll_item(
            port,
            &mut 0,
            &mut Some(waker.clone()),
            &mut message(|_, out| {
                out.extend_from_slice(body);
                Ok(None)
            }),
        )
    }

    /// The lengths of the items that have come, or how the stream ended.
    pub(super) fn reads(&mut self, port: u64, batch: &mut Batch) -> Poll<Result<Vec<usize>, StreamEnd>> {
        if let Some((end, _)) = std::task::ready!(self.core.poll_items(port, batch, &mut idle())) {
            return Poll::Ready(Err(end));
        }
        let mut lengths = Vec::new();
        while let Some(item) = batch.pop() {
            lengths.push(match item {
                RawItem::Small(bytes) => bytes.len(),
                RawItem::Special(special) => {
                    if special.large > 0 {
                        self.core.large_was_read(port, special.large);
                    }
                    special.body.len()
                }
            });
        }
        Poll::Ready(Ok(lengths))
    }

    /// How many were lost before each item that has come, or before the stream's end.
    fn reads_lost(&mut self, port: u64) -> Vec<Option<u64>> {
        let mut batch = Batch::default();
        match self.core.poll_items(port, &mut batch, &mut idle()) {
            Poll::Pending => Vec::new(),
            Poll::Ready(Some((end, lost))) => {
                assert_eq!(end, StreamEnd::Finished);
                vec![lost.known()]
            }
            Poll::Ready(None) => {
                let mut all = Vec::new();
                while !batch.is_empty() {
                    all.push(batch.take_lost().known());
                    if let Some(RawItem::Special(special)) = batch.pop() {
                        self.core.large_was_read(port, special.large);
                    }
                }
                // What the batch cost is given back, and it begins anew.
                assert!(self.core.poll_items(port, &mut batch, &mut idle()).is_pending());
                all
            }
        }
    }

    fn why(&self) -> &str {
        match self.core.close_reason() {
            Some(CloseReason::Protocol(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}

/// Limits by which any item over 512 bytes is a large one, and one of 4,000 is all
/// that may be unread of such.
fn small_pool() -> Limits {
    Limits { stream_bytes: 1024, large_item_bytes: 4096, ..Limits::default() }
}

/// A pair with streams at ports 1, 3 and 5, and what was woken of who waits to write
/// a large item to the second while one of the first is unread.
fn pooled() -> (Side, Side, Arc<Woken>) {
    let (mut ours, mut theirs) = greeted(Limits::default(), small_pool());
    assert!(ours.carry(vec![stream(), stream(), stream()]).is_ready());
    assert!(ours.item(1, &[7; 4000]).is_ready());
    let woken = Arc::new(Woken::default());
    assert!(ours.item_by(3, &[7; 4000], &Waker::from(woken.clone())).is_pending());
    theirs.hears(&ours.sends());
    (ours, theirs, woken)
}

/// A pair with a stream at port 1, written by the first and read by the second.
fn streaming(limits: Limits) -> (Side, Side) {
    let (mut ours, mut theirs) = greeted(Limits::default(), limits);
    assert_eq!(ours.carry(vec![stream()]), Poll::Ready(Ok(())));
    theirs.hears(&ours.sends());
    let attached = &theirs.asked[0].extras.as_ref().unwrap().attached;
    assert_eq!(*attached, [Attached { port: 1, kind: PortKind::Stream, items: 0, version: None }]);
    assert_eq!(ours.begun(), [1]);
    (ours, theirs)
}

#[test]
fn a_stream_that_rests_does_not_hold_up_what_is_large() {
    let (mut ours, _) = streaming(Limits::default());
    ours.core.ways().are_two();
    for _ in 0..3 {
        assert!(ours.item(1, b"item").is_ready());
        ours.started(b"call");
        ours.sends();
    }
    assert_eq!(ours.core.hold(), Hold::Little);
    ours.started(&vec![7; 3 << 20]);
    assert_eq!((ours.core.hold(), ours.core.turn(true)), (Hold::Much, Turn::Switches));
    assert_eq!(ours.core.write_turn(), limits::WRITE_TURN);
}

#[test]
fn items_then_the_end_and_the_number_is_free_when_both_have_spoken() {
    let (mut ours, mut theirs) = streaming(Limits::default());
    let mut batch = Batch::default();
    assert!(theirs.reads(1, &mut batch).is_pending());
    for len in 1..4 {
        assert!(ours.item(1, &vec![7; len]).is_ready());
    }
    ours.core.end_writing(1, &StreamEnd::Finished);
    assert_eq!(ours.item(1, b"late"), Poll::Ready(Err(ItemError::Closed)));
    let sent = ours.sends();
    assert_eq!(Side::kinds(&sent), [Kind::Item, Kind::Item, Kind::Item, Kind::End]);
    theirs.hears(&sent);
    assert_eq!(theirs.reads(1, &mut batch), Poll::Ready(Ok(vec![1, 2, 3])));
    assert_eq!(theirs.reads(1, &mut batch), Poll::Ready(Err(StreamEnd::Finished)));
    // The reader has not spoken: the number still means this stream.
    assert_eq!(ours.carry(vec![stream()]), Poll::Ready(Ok(())));
    assert_eq!(ours.begun(), [3]);
    theirs.core.stop_reading(1);
    let stop = theirs.sends();
    assert_eq!(Side::kinds(&stop), [Kind::Stop]);
    ours.hears(&stop);
    assert_eq!(ours.carry(vec![stream()]), Poll::Ready(Ok(())));
    assert_eq!(ours.begun(), [1]);
}

#[test]
fn a_writer_waits_for_credit_and_is_woken_by_it() {
    let (mut ours, mut theirs) = streaming(Limits { stream_items: 2, ..Limits::default() });
    let (woken, mut batch) = (Arc::new(Woken::default()), Batch::default());
    let waker = Waker::from(woken.clone());
    assert!(ours.item(1, b"1").is_ready() && ours.item(1, b"2").is_ready());
    assert!(ours.item_by(1, b"3", &waker).is_pending());
    theirs.hears(&ours.sends());
    assert!(theirs.sends().is_empty(), "nothing is read, nothing is granted");
    assert_eq!(theirs.reads(1, &mut batch), Poll::Ready(Ok(vec![1, 1])));
    assert!(theirs.reads(1, &mut batch).is_pending());
    let credit = theirs.sends();
    assert_eq!(Side::kinds(&credit), [Kind::Credit]);
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    ours.hears(&credit);
    ours.wake();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(ours.item(1, b"3").is_ready());
}

#[test]
fn a_writer_that_ignores_its_credit_is_cut_off_with_a_reason() {
    let (mut ours, mut theirs) = streaming(Limits { stream_items: 1, ..Limits::default() });
    assert!(ours.item(1, b"1").is_ready());
    let item = ours.sends();
    theirs.hears(&item);
    theirs.hears(&item);
    assert_eq!(theirs.why(), "an item came for which its stream had no credit");
    assert_eq!(Side::kinds(&theirs.sends()), [Kind::Close]);
}

#[test]
fn who_reads_no_more_is_not_sent_to_and_what_crosses_is_given_up() {
    let (mut ours, mut theirs) = streaming(Limits::default());
    let woken = Arc::new(Woken::default());
    assert!(ours.core.poll_stopped(1, &mut Some(Waker::from(woken.clone()))).is_pending());
    // An item that carries a stream of its own.
    let mut inner = Cargo::of_ports(vec![stream()]);
    assert!(ours.core.poll_item(1, &mut 0, &mut idle(), &mut message(|_, _| Ok(inner.take()))).is_ready());
    assert_eq!(ours.begun(), [3]);
    theirs.core.stop_reading(1);
    theirs.hears(&ours.sends());
    let stops = theirs.sends();
    assert_eq!(Side::kinds(&stops), [Kind::Stop, Kind::Stop], "of the stream, and of the one in its item");
    ours.hears(&stops);
    ours.wake();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    for port in [1, 3] {
        assert_eq!(ours.item(port, b"x"), Poll::Ready(Err(ItemError::Closed)));
        ours.core.end_writing(port, &StreamEnd::Finished);
    }
    theirs.hears(&ours.sends());
    assert_eq!((ours.core.open_ports(), theirs.core.open_ports()), (0, 0));
}

#[test]
fn no_last_word_passes_a_large_message_and_small_calls_do() {
    let (mut ours, mut theirs) = streaming(Limits::default());
    let large = vec![7; limits::PART * 3];
    assert!(ours.item(1, &large).is_ready());
    ours.core.end_writing(1, &StreamEnd::Finished);
    ours.core.feed();
    ours.started(b"small");
    let sent = ours.sends();
    let kinds = Side::kinds(&sent);
    assert_eq!(kinds[..2], [Kind::Part, Kind::Call], "{kinds:?}");
    assert_eq!(kinds[kinds.len() - 2..], [Kind::LastPart, Kind::End], "{kinds:?}");
    theirs.hears(&sent);
    let mut batch = Batch::default();
    assert_eq!(theirs.reads(1, &mut batch), Poll::Ready(Ok(vec![large.len()])));
    assert_eq!(theirs.reads(1, &mut batch), Poll::Ready(Err(StreamEnd::Finished)));
    // A stub that goes behind a one-way call.
    assert_eq!(theirs.asked.len(), 2);
    let mut offer = Cargo::of_ports(vec![service()]);
    let reply = &mut message(|_, _| Ok(offer.take()));
    assert!(theirs.core.try_answer(theirs.asked[0].reply_to.unwrap(), reply));
    ours.hears(&theirs.sends());
    let oneway = &mut message(|_, out| {
        out.extend_from_slice(&large);
        Ok(None)
    });
    assert!(
        ours.core
            .poll_oneway(CallTarget::new(2, 7), || false, &mut None, &mut idle(), Some(oneway))
            .is_pending()
    );
    ours.core.release(2);
    let sent = ours.sends();
    assert_eq!(Side::kinds(&sent).last(), Some(&Kind::Stop));
    theirs.hears(&sent);
    assert_eq!((theirs.asked.len(), theirs.core.close_reason()), (3, None));
}

#[test]
fn more_ports_than_the_peer_takes_are_not_opened() {
    let (mut ours, mut theirs) = streaming(Limits { max_ports: 2, ..Limits::default() });
    assert_eq!(ours.carry(vec![stream(), stream()]), Poll::Ready(Err(CallError::Overloaded)));
    assert!(ours.sends().is_empty() && ours.begun().is_empty());
    assert_eq!(ours.core.open_ports(), 1);
    assert_eq!(ours.carry(vec![stream()]), Poll::Ready(Ok(())));
    let call = ours.sends();
    theirs.hears(&call);
    // The same numbers once more, from somebody who does not keep to it.
    theirs.core.settle(theirs.asked[1].reply_to.unwrap());
    theirs.hears(&call);
    assert_eq!(theirs.why(), "a port was opened under a number that is in use");
}

#[test]
fn the_end_of_the_connection_is_the_end_of_every_stream() {
    let (mut ours, mut theirs) = streaming(Limits::default());
    let woken = Arc::new(Woken::default());
    assert!(ours.item(1, b"read").is_ready());
    theirs.hears(&ours.sends());
    assert!(ours.core.poll_stopped(1, &mut Some(Waker::from(woken.clone()))).is_pending());
    for side in [&mut ours, &mut theirs] {
        side.core.ended(CloseReason::Closed);
        side.wake();
    }
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(ours.item(1, b"x"), Poll::Ready(Err(ItemError::Closed)));
    // What has come is read.
    let mut batch = Batch::default();
    assert_eq!(theirs.reads(1, &mut batch), Poll::Ready(Ok(vec![4])));
    assert_eq!(theirs.reads(1, &mut batch), Poll::Ready(Err(StreamEnd::Disconnected)));
    ours.core.end_writing(1, &StreamEnd::Finished);
    theirs.core.stop_reading(1);
    assert_eq!((ours.core.open_ports(), theirs.core.open_ports()), (0, 0));
}

#[test]
fn a_large_item_that_was_read_is_room_for_others_at_once() {
    let (mut ours, mut theirs, woken) = pooled();
    let mut batch = Batch::default();
    assert_eq!(theirs.reads(1, &mut batch), Poll::Ready(Ok(vec![4000])));
    // The first stream is not looked at again.
    ours.hears(&theirs.sends());
    ours.wake();
    assert!(woken.0.load(Ordering::SeqCst) > 0);
    assert!(ours.item(3, &[7; 4000]).is_ready());
}

#[test]
fn the_end_of_a_stream_gives_back_the_room_of_its_large_item() {
    // Its end, then its reader's; its reader's, then its end; and credit that crosses the end.
    for order in 0..3 {
        let (mut ours, mut theirs, woken) = pooled();
        let mut batch = Batch::default();
        if order == 1 {
            theirs.core.stop_reading(1);
            ours.hears(&theirs.sends());
        }
        if order == 2 {
            assert!(theirs.reads(1, &mut batch).is_ready());
        }
        ours.core.end_writing(1, &StreamEnd::Finished);
        if order == 0 {
            theirs.hears(&ours.sends());
            theirs.core.stop_reading(1);
        }
        ours.hears(&theirs.sends());
        ours.wake();
        assert!(woken.0.load(Ordering::SeqCst) > 0, "{order}");
        assert!(ours.item(3, &[7; 4000]).is_ready(), "{order}");
    }
}

#[test]
fn who_waits_for_a_large_item_gets_it_though_others_are_unread() {
    let (mut ours, mut theirs, woken) = pooled();
    let mut batch = Batch::default();
    assert!(theirs.reads(3, &mut batch).is_pending());
    let call = theirs.sends();
    assert_eq!(Side::kinds(&call), [Kind::Credit]);
    ours.hears(&call);
    ours.wake();
    assert!(woken.0.load(Ordering::SeqCst) > 0);
    assert!(ours.item(3, &[7; 4000]).is_ready());
    // For one item: the next one waits, and so do those of others.
    assert!(ours.item(3, &[7; 4000]).is_pending() && ours.item(5, &[7; 4000]).is_pending());
    theirs.hears(&ours.sends());
    assert_eq!(theirs.reads(3, &mut batch), Poll::Ready(Ok(vec![4000])));
    // Who begins to wait later gets it as well.
    assert_eq!(Side::kinds(&theirs.sends()), [Kind::Credit]);
    assert!(theirs.reads(5, &mut batch).is_pending());
    ours.hears(&theirs.sends());
    assert!(ours.item(5, &[7; 4000]).is_ready());
    theirs.hears(&ours.sends());
    assert_eq!(theirs.core.close_reason(), None);
}

#[test]
fn a_peer_whose_large_items_are_not_waited_for_is_cut_off_and_the_counts_stay_right() {
    let (mut ours, mut theirs, _) = pooled();
    let mut item = Vec::new();
    let start = begin_message(&mut item, Kind::Item, 3, 0);
    item.extend([7; 4000]);
    frame::finish(&mut item, start, 5000).unwrap();
    theirs.hears(&item);
    assert_eq!(theirs.why(), "large items came for which there was no credit");
    for port in [1, 3, 5] {
        theirs.core.stop_reading(port);
        ours.core.end_writing(port, &StreamEnd::Finished);
    }
    assert_eq!(theirs.core.open_ports(), 0);
}

#[test]
fn a_large_item_that_was_given_up_holds_up_no_small_one() {
    let (mut ours, _, _) = pooled();
    assert!(ours.item(3, b"small").is_ready());
}

#[test]
fn a_number_is_in_use_until_the_last_word_about_it_is_out() {
    let (mut ours, mut theirs) = streaming(Limits::default());
    assert!(ours.item(1, &vec![7; limits::PART * 3]).is_ready());
    ours.core.feed();
    theirs.core.stop_reading(1);
    ours.hears(&theirs.sends());
    // The end waits behind the item, and so does the room that the item takes.
    ours.core.end_writing(1, &StreamEnd::Finished);
    assert_eq!(ours.core.open_ports(), 1);
    assert_eq!(ours.carry(vec![stream()]), Poll::Ready(Ok(())));
    assert_eq!(ours.begun(), [3]);
    theirs.hears(&ours.sends());
    assert_eq!(theirs.core.close_reason(), None);
    assert_eq!((ours.core.open_ports(), theirs.core.open_ports()), (1, 1));
}

#[test]
fn the_last_word_waits_for_the_last_of_several_large_messages() {
    let (mut ours, mut theirs) = streaming(Limits::default());
    let mut offer = Cargo::of_ports(vec![service()]);
    let reply = &mut message(|_, _| Ok(offer.take()));
    assert!(theirs.core.try_answer(theirs.asked[0].reply_to.unwrap(), reply));
    ours.hears(&theirs.sends());
    // A long one-way call, and a shorter one that goes on for the stream in it.
    let long = &mut message(|_, out| {
        out.extend(vec![7; 8 << 20]);
        Ok(None)
    });
    assert!(
        ours.core
            .poll_oneway(CallTarget::new(2, 7), || false, &mut None, &mut idle(), Some(long))
            .is_pending()
    );
    let mut offers = Cargo::of_ports(vec![stream()]);
    let short = &mut message(|_, out| {
        out.extend(vec![7; 200 << 10]);
        Ok(offers.take())
    });
    let mut key = None;
    assert!(
        ours.core.poll_call(&mut key, CallTarget::new(2, 7), None, || 0, &mut idle(), Some(short)).is_ready()
    );
    ours.core.drop_call(key.unwrap());
    ours.core.release(2);
    theirs.hears(&ours.sends());
    assert_eq!((theirs.core.close_reason(), theirs.asked.len()), (None, 3));
}

#[test]
fn any_number_of_items_may_be_granted() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let sender = Offer::Sender { items: u64::MAX, attach: Arc::new(Quiet) };
    assert_eq!(ours.carry(vec![sender]), Poll::Ready(Ok(())));
    theirs.hears(&ours.sends());
    let mut batch = Batch::default();
    for _ in 0..20 {
        while theirs.item(1, &[7; 10_000]).is_ready() {
            ours.hears(&theirs.sends());
        }
        assert!(ours.reads(1, &mut batch).is_ready() && ours.reads(1, &mut batch).is_pending());
        theirs.hears(&ours.sends());
    }
}

#[test]
fn an_item_that_was_called_for_counts_for_no_other_in_whatever_order_they_come() {
    let (mut ours, mut theirs) = greeted(Limits::default(), small_pool());
    assert!(ours.carry(vec![stream(), stream(), stream()]).is_ready());
    assert!(ours.item(1, &[7; 2000]).is_ready());
    assert!(ours.item(3, &[7; 4000]).is_pending());
    theirs.hears(&ours.sends());
    let mut batch = Batch::default();
    assert!(theirs.reads(3, &mut batch).is_pending());
    ours.hears(&theirs.sends());
    // Two messages in parts may overtake each other.
    assert!(ours.item(5, &[7; 2000]).is_ready());
    let first = ours.sends();
    assert!(ours.item(3, &[7; 4000]).is_ready());
    theirs.hears(&ours.sends());
    theirs.hears(&first);
    assert_eq!(theirs.core.close_reason(), None);
    for port in [1, 3, 5] {
        assert!(theirs.reads(port, &mut Batch::default()).is_ready());
        theirs.core.stop_reading(port);
        ours.hears(&theirs.sends());
        ours.core.end_writing(port, &StreamEnd::Finished);
    }
    theirs.hears(&ours.sends());
    assert_eq!((ours.core.open_ports(), theirs.core.open_ports()), (0, 0));
}

#[test]
fn a_side_opens_no_more_ports_than_it_accepts_itself() {
    let few = Limits { max_ports: 2, ..Limits::default() };
    let (mut ours, _) = greeted(few, Limits { max_ports: u32::MAX, ..Limits::default() });
    assert_eq!(ours.carry(vec![stream(), stream()]), Poll::Ready(Ok(())));
    assert_eq!(ours.carry(vec![stream()]), Poll::Ready(Err(CallError::Overloaded)));
    assert_eq!(ours.core.open_ports(), 2);
}

#[test]
fn an_exempt_large_item_may_be_given_back_in_pieces() {
    let (mut ours, mut theirs, _) = pooled();
    assert!(theirs.reads(3, &mut Batch::default()).is_pending());
    ours.hears(&theirs.sends());
    assert!(ours.item(3, &[7; 4000]).is_ready());
    ours.sends();
    // Each piece is given back past the pool, in which the item never was.
    for piece in [1, 1000, 3000] {
        ours.hears(&credit(3, Credit { items: 0, bytes: 0, large: piece }));
        assert_eq!(ours.core.close_reason(), None);
    }
    // The item of the first stream still has the pool.
    assert!(ours.item(5, &[7; 4000]).is_pending());
}

#[test]
fn credit_of_any_size_adds_up_or_closes_the_connection() {
    let sizes = [0, 1, 4000, 4003, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
    for port in [1, 3] {
        for (items, bytes) in sizes.iter().flat_map(|items| sizes.map(|bytes| (*items, bytes))) {
            for large in sizes {
                let (mut ours, _, _) = pooled();
                for _ in 0..3 {
                    ours.hears(&credit(port, Credit { items, bytes, large }));
                    if let Some(reason) = ours.core.close_reason() {
                        assert!(
                            large > 0 && format!("{reason:?}").contains("more large items than were sent")
                        );
                        break;
                    }
                    ours.item(port, &[7; 400]).is_ready();
                    ours.item(port, &[7; 4000]).is_ready();
                }
            }
        }
    }
}

#[test]
fn a_stream_whose_writer_tells_its_credit_is_never_further_ahead() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let offer = Offer::Stream { items: Some(3), attach: Arc::new(Quiet) };
    assert_eq!(ours.carry(vec![offer]), Poll::Ready(Ok(())));
    theirs.hears(&ours.sends());
    let mut batch = Batch::default();
    for _ in 0..10 {
        let sent = (0..10).filter(|_| ours.item(1, b"item").is_ready()).count();
        assert_eq!(sent, 3);
        theirs.hears(&ours.sends());
        assert_eq!(theirs.reads(1, &mut batch), Poll::Ready(Ok(vec![4; 3])));
        assert!(theirs.reads(1, &mut batch).is_pending());
        ours.hears(&theirs.sends());
    }
    // A writer that does not keep to what it told breaks the protocol.
    assert!(ours.item(1, b"item").is_ready());
    theirs.hears(&ours.sends().repeat(4));
    assert_eq!(theirs.why(), "an item came for which its stream had no credit");
}

#[test]
fn a_reader_learns_how_many_items_were_lost_and_before_which() {
    for size in [4, 4000, 300 << 10] {
        let (mut ours, mut theirs) = streaming(small_pool());
        let mut sends = |ours: &mut Side, lost: Lost| {
            ours.core.lose_items(1, lost);
            assert!(ours.item(1, &vec![7; size]).is_ready());
            let bytes = ours.sends();
            theirs.hears(&bytes);
            let read = theirs.reads_lost(1);
            ours.hears(&theirs.sends());
            read
        };
        assert_eq!(sends(&mut ours, Lost::of(3)), [Some(3)]);
        assert_eq!(sends(&mut ours, Lost::NONE), [Some(0)]);
        assert_eq!(sends(&mut ours, Lost::of(1 << 40)), [Some(1 << 40)]);
        assert_eq!(sends(&mut ours, Lost::UNKNOWN), [None]);
        ours.core.lose_items(1, Lost::of(5));
        ours.core.lose_items(1, Lost::of(2));
        ours.core.end_writing(1, &StreamEnd::Finished);
        theirs.hears(&ours.sends());
        assert_eq!(theirs.reads_lost(1), [Some(7)]);
    }
}

#[test]
fn an_item_that_waits_tells_what_was_lost_while_it_did() {
    let (mut ours, mut theirs) = streaming(Limits { stream_items: 2, ..Limits::default() });
    assert!(ours.item(1, b"first").is_ready() && ours.item(1, b"second").is_ready());
    for _ in 0..3 {
        assert!(ours.item(1, b"third").is_pending());
        ours.core.lose_items(1, Lost::ONE);
    }
    theirs.hears(&ours.sends());
    assert_eq!(theirs.reads_lost(1), [Some(0), Some(0)]);
    ours.hears(&theirs.sends());
    assert!(ours.item(1, b"third").is_ready());
    theirs.hears(&ours.sends());
    assert_eq!(theirs.reads_lost(1), [Some(3)]);
}

#[test]
fn an_item_that_was_called_for_tells_what_was_lost_too() {
    let (mut ours, mut theirs, _) = pooled();
    assert!(theirs.reads(3, &mut Batch::default()).is_pending());
    ours.hears(&theirs.sends());
    ours.core.lose_items(3, Lost::of(9));
    assert!(ours.item(3, &[7; 4000]).is_ready());
    theirs.hears(&ours.sends());
    assert_eq!(theirs.core.close_reason(), None);
    assert_eq!(theirs.reads_lost(3), [Some(9)]);
}

#[test]
fn a_peer_that_does_not_tell_what_it_loses_is_not_taken_for_one_that_loses_nothing() {
    let (mut ours, mut theirs) = pair(Limits::default(), Limits::default());
    let hello = theirs.core.hello.as_mut().unwrap();
    hello.features &= !TELLS_LOST;
    let key = ours.started(b"");
    theirs.hears(&ours.sends());
    assert!(theirs.answer(0, b""));
    ours.hears(&theirs.sends());
    ours.core.drop_call(key.unwrap());
    // Its own streams, and the senders that are passed to it.
    let sender = || Offer::Sender { items: 8, attach: Arc::new(Quiet) };
    assert!(ours.carry(vec![sender(), sender(), stream()]).is_ready());
    theirs.hears(&ours.sends());
    assert!(theirs.item(1, b"item").is_ready() && theirs.item(1, b"item").is_ready());
    theirs.core.end_writing(3, &StreamEnd::Finished);
    ours.hears(&theirs.sends());
    assert_eq!(ours.reads_lost(1), [None, Some(0)]);
    assert_eq!(ours.reads_lost(3), [None]);
    // It is told nothing: the id of each item is as it was.
    ours.core.lose_items(5, Lost::of(7));
    assert!(ours.item(5, b"item").is_ready());
    let bytes = ours.sends();
    let (frame, _) = frame::split(&bytes, usize::MAX).unwrap().unwrap();
    assert_eq!(parse_header(frame).map(|header| (header.kind, header.id)), Some((Kind::Item, 0)));
}

/// A credit frame as bytes.
fn credit(port: u64, credit: Credit) -> Vec<u8> {
    let mut out = Vec::new();
    let start = begin_message(&mut out, Kind::Credit, port, 0);
    for number in [credit.items, credit.bytes, credit.large] {
        varint::put(&mut out, number);
    }
    frame::finish(&mut out, start, 100).unwrap();
    out
}

//! Bytes that are to go out.

use std::ops::Range;

use super::{Large, pool};
use crate::limits::{READ_CHUNK, SINK_QUEUE};

/// Bytes that are to go out, and how far the stream has come.
///
/// Whoever drives a connection appends to it, writes [`pending`](Self::pending)
/// and says with [`advance`](Self::advance) how much went. An empty one holds
/// no memory.
///
/// A range of a large buffer can be [lent](Self::lend) to it, one at a time: it
/// goes out in its place among what is appended and is copied nowhere.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    /// How much of `buffer` has gone out.
    gone: usize,
    /// How much had gone out before `buffer`, and of what was lent.
    before: u64,
    /// How much had gone out when last nothing was left.
    drained: u64,
    /// How much has been [taken out](Self::take_out), to go before `buffer`.
    out: usize,
    /// A range that is not yet wholly out, or has not been taken back. Boxed, since few have
    /// one.
    lent: Option<Box<Lent>>,
}

/// What has been taken out of an [`Outbox`], to be written without it.
#[derive(Debug)]
pub struct TakenOut {
    buffer: Vec<u8>,
    gone: usize,
}

impl TakenOut {
    /// What is to be written.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.gone..]
    }
}

#[derive(Debug)]
struct Lent {
    large: Large,
    /// What of it is still to go: nothing where it is only to be taken back.
    range: Range<usize>,
    /// How much of the outbox's buffer goes before it.
    at: usize,
}

impl Outbox {
    /// The buffer, to append to. What stands in it already must stay.
    #[inline]
    pub fn append(&mut self) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.borrow_buffer();
        }
        &mut self.buffer
    }

    #[cold]
    fn borrow_buffer(&mut self) {
        self.buffer = pool::lend();
    }

    /// Takes what was appended off again, from index `start` of
    /// [`append`](Self::append)'s vector on, as a buffer of its own. It is moved
    /// where nothing else stands in that vector, and copied otherwise.
    ///
    /// # Panics
    ///
    /// When some of it has gone, or goes before what is lent.
    pub fn take_from(&mut self, start: usize) -> Vec<u8> {
        let settled = self.going().map_or(self.gone, |lent| lent.at);
        assert!(settled <= start, "only what was appended last can be taken off");
        if start == 0 {
            return std::mem::take(&mut self.buffer);
        }
        let is_large = self.buffer.len() - start >= READ_CHUNK;
        let mut taken = if is_large { pool::lend_large() } else { pool::lend() };
        taken.extend_from_slice(&self.buffer[start..]);
        self.buffer.truncate(start);
        self.settle();
        taken
    }

    /// Takes out all that was appended, for it to be written while others append more.
    /// It still counts as what is to go out, and nothing else is to be written before
    /// it has been [put back](Self::put_back). `None` when there is nothing, or a range is
    /// lent.
    pub fn take_out(&mut self) -> Option<TakenOut> {
        if self.lent.is_some() || self.out > 0 || self.appended_len() == 0 {
            return None;
        }
        self.out = self.appended_len();
        self.before += self.gone as u64;
        Some(TakenOut { buffer: std::mem::take(&mut self.buffer), gone: std::mem::take(&mut self.gone) })
    }

    /// Puts back what was taken out, of which the first `n` bytes have gone.
    ///
    /// # Panics
    ///
    /// When there were fewer.
    pub fn put_back(&mut self, taken: TakenOut, n: usize) {
        let TakenOut { mut buffer, gone } = taken;
        assert!(n <= buffer.len() - gone, "no more can go out than was taken out");
        if n == std::mem::take(&mut self.out) {
            self.before += n as u64;
            self.drained = self.before;
            return pool::give_back_written(buffer);
        }
        if let Some(lent) = self.lent.as_deref_mut().filter(|lent| !lent.range.is_empty()) {
            lent.at += buffer.len();
        }
        buffer.append(&mut self.buffer);
        pool::give_back_written(std::mem::replace(&mut self.buffer, buffer));
        // It counts from the buffer's start on again.
        self.before -= gone as u64;
        self.gone = gone + n;
        self.settle();
    }

    /// Lends it a range of `large`, which goes out after all that has been
    /// appended and before all that will be. [`take_back`](Self::take_back) gives
    /// the buffer back.
    ///
    /// # Panics
    ///
    /// When another has been lent and not been taken back, or the range is not
    /// in the buffer.
    pub fn lend(&mut self, large: impl Into<Large>, range: Range<usize>) {
        let large = large.into();
        assert!(self.lent.is_none(), "one range is lent at a time");
        assert!(large.as_ref().get(range.clone()).is_some(), "the range is in the buffer");
        self.lent = Some(Box::new(Lent { large, range, at: self.buffer.len() }));
    }

    /// What is lent and not yet wholly out.
    #[inline]
    fn going(&self) -> Option<&Lent> {
        self.lent.as_deref().filter(|lent| !lent.range.is_empty())
    }

    /// Whether a lent range is not yet wholly out.
    #[inline]
    #[must_use]
    pub fn has_lent(&self) -> bool {
        self.going().is_some()
    }

    /// The buffer that was lent, once its range is wholly out.
    pub fn take_back(&mut self) -> Option<Large> {
        self.lent.take_if(|lent| lent.range.is_empty()).map(|lent| lent.large)
    }

    /// What is to go out next: all of it, or as much as stands in one place.
    /// Empty when nothing is to go.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        match self.going() {
            None => &self.buffer[self.gone..],
            Some(lent) if self.gone == lent.at => &lent.large.as_ref()[lent.range.clone()],
            Some(lent) => &self.buffer[self.gone..lent.at],
        }
    }

    /// How many bytes are to go out.
    #[inline]
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.appended_len() + self.lent_len()
    }

    /// How many of them were appended, and not lent.
    #[inline]
    #[must_use]
    pub fn appended_len(&self) -> usize {
        self.out + self.buffer.len() - self.gone
    }

    /// All that is to go out, in order, for a vectored write. Any of them may be
    /// empty.
    #[must_use]
    pub fn slices(&self) -> [&[u8]; 3] {
        match self.going() {
            None => [&self.buffer[self.gone..], &[], &[]],
            Some(Lent { large, range, at }) => {
                [&self.buffer[self.gone..*at], &large.as_ref()[range.clone()], &self.buffer[*at..]]
            }
        }
    }

    /// Copies what is to go out next to `copy`, at most `most` bytes.
    pub fn copy_pending(&self, most: usize, copy: &mut Vec<u8>) {
        copy.clear();
        for slice in self.slices() {
            let room = most - copy.len();
            copy.extend_from_slice(&slice[..slice.len().min(room)]);
        }
    }

    /// Notes that the first `n` bytes of what is to go out have gone.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        let n = if self.lent.is_none() { n } else { self.advance_lent(n) };
        assert!(n <= self.buffer.len() - self.gone, "no more can go out than was pending");
        self.gone += n;
        self.settle();
    }

    /// Takes off what of the next `n` bytes goes before what is lent or is lent.
    /// How many are left: none while it is not out.
    fn advance_lent(&mut self, n: usize) -> usize {
        assert!(n <= self.pending_len(), "no more can go out than was pending");
        let Some(lent) = self.lent.as_deref_mut().filter(|lent| !lent.range.is_empty()) else { return n };
        let first = n.min(lent.at - self.gone);
        self.gone += first;
        let second = (n - first).min(lent.range.len());
        lent.range.start += second;
        self.before += second as u64;
        n - first - second
    }

    /// Gives up the buffer that has gone out, or the part of it.
    #[inline]
    fn settle(&mut self) {
        if self.gone == self.buffer.len() {
            pool::give_back_written(std::mem::take(&mut self.buffer));
            if !self.has_lent() {
                self.drained = self.written_total();
            }
        } else if self.gone >= self.buffer.len() / 2 && self.gone > SINK_QUEUE {
            // A stream that never quite drains must not grow its buffer for ever.
            self.buffer.drain(..self.gone);
        } else {
            return;
        }
        if let Some(lent) = self.lent.as_deref_mut().filter(|lent| !lent.range.is_empty()) {
            lent.at -= self.gone;
        }
        self.before += self.gone as u64;
        self.gone = 0;
    }

    #[inline]
    fn lent_len(&self) -> usize {
        self.lent.as_deref().map_or(0, |lent| lent.range.len())
    }

    /// How many bytes have ever been appended or lent: the position in the
    /// stream of the end of all that is to go out.
    #[inline]
    #[must_use]
    pub fn queued_total(&self) -> u64 {
        self.before + (self.out + self.buffer.len() + self.lent_len()) as u64
    }

    /// How many bytes have gone out, or may have: what was [taken out](Self::take_out) is
    /// being written.
    #[inline]
    #[must_use]
    pub fn begun_total(&self) -> u64 {
        self.written_total() + self.out as u64
    }

    /// Whether all that had been appended before has gone out, and none of what is to go: the
    /// next byte is the first of something.
    #[inline]
    #[must_use]
    pub fn is_at_start(&self) -> bool {
        self.out == 0 && self.written_total() == self.drained
    }

    /// How many bytes have ever gone out.
    #[inline]
    #[must_use]
    pub fn written_total(&self) -> u64 {
        self.before + self.gone as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_on_through_every_change_of_buffer() {
        let mut outbox = Outbox::default();
        let mut total = 0u64;
        for round in 1..50usize {
            outbox.append().extend(std::iter::repeat_n(7, round * 5000));
            total += round as u64 * 5000;
            assert_eq!(outbox.queued_total(), total);
            let n = outbox.pending().len() * 3 / 4;
            outbox.advance(n);
            assert_eq!(outbox.written_total() + outbox.pending().len() as u64, total);
        }
        let rest = outbox.pending().len();
        outbox.advance(rest);
        assert_eq!((outbox.written_total(), outbox.queued_total()), (total, total));
        assert_eq!(outbox.buffer.capacity(), 0);
    }

    /// A small generator of numbers, the same ones at every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((self.0 >> 33) as usize) % limit
        }

        /// As many bytes, each of which tells its place in the stream.
        fn bytes(&mut self, from: u64, most: usize) -> Vec<u8> {
            let n = self.below(most + 1) as u64;
            (from..from + n).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
        }
    }

    /// All that an outbox says of what is to go out is what the model says.
    fn check(outbox: &Outbox, model: &[u8], written: u64) {
        assert_eq!(outbox.slices().concat(), model);
        for most in [0, 5, model.len(), usize::MAX] {
            let mut copy = Vec::new();
            outbox.copy_pending(most, &mut copy);
            assert_eq!(copy, &model[..most.min(model.len())]);
        }
        assert_eq!(outbox.pending_len(), model.len());
        assert_eq!(outbox.appended_len(), model.len() - outbox.slices()[1].len());
        assert_eq!(outbox.pending().is_empty(), model.is_empty());
        assert!(model.starts_with(outbox.pending()));
        assert_eq!(outbox.written_total(), written);
        assert_eq!(outbox.queued_total(), written + model.len() as u64);
        assert!(!outbox.has_lent() || !outbox.slices()[1].is_empty());
    }

    #[test]
    fn all_goes_out_in_order_however_it_was_put_in_and_goes() {
        for seed in 0..60 {
            let mut numbers = Numbers(seed);
            // From a few bytes, each of which is a case, to enough to be compacted.
            let most = [3, 40, SINK_QUEUE][seed as usize % 3];
            let mut outbox = Outbox::default();
            let (mut model, mut written, mut drained) = (Vec::new(), 0u64, 0);
            let mut lent = None;
            for _ in 0..if most == SINK_QUEUE { 150 } else { 1500 } {
                let end = written + model.len() as u64;
                match numbers.below(6) {
                    0 => {
                        let bytes = numbers.bytes(end, most);
                        outbox.append().extend_from_slice(&bytes);
                        model.extend(bytes);
                    }
                    1 if lent.is_none() => {
                        let bytes = numbers.bytes(end, most);
                        let around = numbers.below(3);
                        let large = [&vec![0xEE; around], &bytes[..], &[0xEE; 3]].concat();
                        let large =
                            if around == 0 { Large::from(large) } else { Large::Shared(large.into()) };
                        lent = Some(large.clone());
                        outbox.lend(large, around..around + bytes.len());
                        model.extend(bytes);
                    }
                    2 => {
                        let start = outbox.append().len();
                        let bytes = numbers.bytes(end, most);
                        outbox.append().extend_from_slice(&bytes);
                        assert_eq!(outbox.take_from(start), bytes);
                    }
                    _ => {
                        let n = match numbers.below(3) {
                            0 => numbers.below(model.len() + 1),
                            1 => outbox.pending().len(),
                            _ => model.len().min(2),
                        };
                        outbox.advance(n);
                        model.drain(..n);
                        written += n as u64;
                    }
                }
                check(&outbox, &model, written);
                if model.is_empty() {
                    drained = written;
                }
                assert_eq!(outbox.is_at_start(), written == drained);
                if !outbox.has_lent() {
                    assert_eq!(outbox.take_back(), lent.take());
                }
                assert_eq!(outbox.take_back(), None);
            }
            outbox.advance(model.len());
            assert_eq!((outbox.pending_len(), outbox.buffer.capacity()), (0, 0));
            assert_eq!(outbox.take_back(), lent);
        }
    }

    #[test]
    fn every_two_steps_across_what_is_lent_come_to_the_same() {
        let all = b"beforelentafter";
        for one in 0..=all.len() {
            for two in one..=all.len() {
                let mut outbox = Outbox::default();
                outbox.append().extend_from_slice(b"before");
                outbox.lend(b"lent".to_vec(), 0..4);
                outbox.append().extend_from_slice(b"after");
                outbox.advance(one);
                check(&outbox, &all[one..], one as u64);
                outbox.advance(two - one);
                check(&outbox, &all[two..], two as u64);
                assert_eq!(outbox.has_lent(), two < 10);
                assert_eq!(outbox.take_back().is_some(), two >= 10);
            }
        }
    }

    #[test]
    fn what_was_taken_out_goes_first_however_much_of_it_has_gone() {
        for lends in [false, true] {
            for n in 0..=3 {
                let mut outbox = Outbox::default();
                outbox.append().extend_from_slice(b"-out");
                outbox.advance(1);
                let taken = outbox.take_out().unwrap();
                assert_eq!(taken.pending(), b"out");
                outbox.append().extend_from_slice(b"more");
                if lends {
                    outbox.lend(b"lent".to_vec(), 0..4);
                    outbox.append().extend_from_slice(b"last");
                }
                let all: &[u8] = if lends { b"outmorelentlast" } else { b"outmore" };
                // Meanwhile it counts, and no more is taken out that would go before it.
                assert_eq!((outbox.pending_len(), outbox.queued_total()), (all.len(), 1 + all.len() as u64));
                assert_eq!((outbox.written_total(), outbox.begun_total()), (1, 4));
                assert!(outbox.take_out().is_none());
                outbox.put_back(taken, n);
                check(&outbox, &all[n..], 1 + n as u64);
                assert_eq!(outbox.take_out().is_none(), lends);
            }
        }
    }

    #[test]
    fn all_that_was_taken_out_has_gone_and_nothing_is_held() {
        let mut outbox = Outbox::default();
        assert!(outbox.take_out().is_none());
        outbox.append().extend_from_slice(b"out");
        let taken = outbox.take_out().unwrap();
        outbox.put_back(taken, 3);
        check(&outbox, b"", 3);
        assert_eq!(outbox.buffer.capacity(), 0);
    }

    #[test]
    fn what_is_large_goes_in_and_out_without_a_copy() {
        let mut outbox = Outbox::default();
        outbox.append().extend_from_slice(&[7; 100_000]);
        let place = outbox.append().as_ptr();
        let large = outbox.take_from(0);
        assert_eq!((outbox.queued_total(), large.as_ptr()), (0, place));
        outbox.append().extend_from_slice(b"head");
        outbox.lend(large, 10..60_000);
        outbox.append().extend_from_slice(b"tail");
        assert_eq!(outbox.slices()[1].as_ptr(), place.wrapping_add(10));
        outbox.advance(4 + 59_990);
        assert_eq!((outbox.has_lent(), outbox.pending()), (false, &b"tail"[..]));
        let Some(Large::Own(back)) = outbox.take_back() else { panic!("it was lent") };
        assert_eq!(back.as_ptr(), place);
        // And is what the next large message is encoded into.
        crate::buffer::recycle(back);
        outbox.advance(4);
        assert_eq!(outbox.append().as_ptr(), place);
    }

    #[test]
    fn what_was_appended_since_can_be_taken_off_wherever_the_stream_is() {
        let mut outbox = Outbox::default();
        outbox.append().extend_from_slice(b"gone, here");
        outbox.advance(6);
        outbox.append().extend_from_slice(b"large");
        assert_eq!(outbox.take_from(10), b"large");
        // All that had not gone: then nothing is left that would need a buffer.
        assert_eq!(outbox.take_from(6), b"here");
        assert_eq!((outbox.queued_total(), outbox.written_total(), outbox.buffer.capacity()), (6, 6, 0));
        // All that comes after what is lent is moved.
        outbox.lend(vec![1; 9], 0..9);
        outbox.append().extend_from_slice(b"large");
        let place = outbox.append().as_ptr();
        let taken = outbox.take_from(0);
        assert_eq!(taken.as_ptr(), place);
        check(&outbox, &[1; 9], 6);
    }

    #[test]
    fn a_buffer_that_has_gone_is_given_up_while_the_lent_range_waits() {
        let mut outbox = Outbox::default();
        outbox.append().extend_from_slice(&[1; 5000]);
        outbox.lend(vec![2; 9], 0..9);
        outbox.advance(5003);
        assert_eq!(outbox.buffer.capacity(), 0);
        let after = vec![3; 3 * SINK_QUEUE];
        outbox.append().extend_from_slice(&after);
        check(&outbox, &[&[2; 6][..], &after].concat(), 5003);
        outbox.advance(6 + 2 * SINK_QUEUE);
        assert_eq!(outbox.buffer.len(), SINK_QUEUE, "what has gone is drained");
        let large = outbox.take_back().unwrap();
        outbox.lend(large, 0..1);
        check(&outbox, &[&after[..SINK_QUEUE], &[2]].concat(), 5009 + 2 * SINK_QUEUE as u64);
    }

    #[test]
    #[should_panic(expected = "one range is lent at a time")]
    fn a_second_range_waits_until_the_first_was_taken_back() {
        let mut outbox = Outbox::default();
        outbox.lend(vec![1], 0..1);
        outbox.advance(1);
        outbox.lend(vec![1], 0..1);
    }

    #[test]
    #[should_panic(expected = "the range is in the buffer")]
    fn no_range_beyond_the_buffer_is_lent() {
        Outbox::default().lend(vec![1], 1..3);
    }

    #[test]
    #[should_panic(expected = "only what was appended last")]
    fn what_goes_before_the_lent_range_stays() {
        let mut outbox = Outbox::default();
        outbox.append().push(1);
        outbox.lend(vec![1], 0..1);
        outbox.take_from(0);
    }

    #[test]
    #[should_panic(expected = "no more can go out")]
    fn no_more_goes_than_is_pending_with_what_is_lent() {
        let mut outbox = Outbox::default();
        outbox.lend(vec![1], 0..1);
        outbox.advance(2);
    }
}

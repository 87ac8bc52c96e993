//! Bytes that are to go out.

use super::pool;

/// Bytes that are to go out, and how far the stream has come.
///
/// Whoever drives a connection appends to it, writes [`pending`](Self::pending)
/// and says with [`advance`](Self::advance) how much went. An empty one holds
/// no memory.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    /// How much of `buffer` has gone out.
    gone: usize,
    /// How much had gone out before `buffer`.
    before: u64,
}

impl Outbox {
    /// The buffer, to append to. What stands in it already must stay.
    #[inline]
    pub fn append(&mut self) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = pool::lend();
        }
        &mut self.buffer
    }

    /// What is to go out next.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.gone..]
    }

    /// Notes that the first `n` bytes of [`pending`](Self::pending) have gone.
    ///
    /// # Panics
    ///
    /// When `n` is more than is pending.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.buffer.len() - self.gone, "no more can go out than was pending");
        self.gone += n;
        if self.gone == self.buffer.len() {
            self.before += self.gone as u64;
            self.gone = 0;
            pool::give_back_written(std::mem::take(&mut self.buffer));
        } else if self.gone >= self.buffer.len() / 2 && self.gone > crate::limits::SINK_QUEUE {
            // A stream that never quite drains must not grow its buffer for ever.
            self.buffer.drain(..self.gone);
            self.before += self.gone as u64;
            self.gone = 0;
        }
    }

    /// How many bytes have ever been appended: the position in the stream of
    /// the end of the buffer.
    #[inline]
    #[must_use]
    pub fn queued_total(&self) -> u64 {
        self.before + self.buffer.len() as u64
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
}

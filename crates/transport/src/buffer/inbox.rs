//! Bytes that have come in, taken off as frames.

use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::pool;
use crate::frame::{self, FrameError, HEAD};
use crate::limits::READ_CHUNK;

/// Bytes that have come in, taken off as frames.
///
/// It reads into a buffer of its thread's pool and gives it back when every
/// frame has been taken: an idle connection holds none. A frame that is larger
/// than what has come so far makes the buffer grow as its bytes arrive, never by
/// what its head claims.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Initialised throughout, so that reading into it again costs no clearing.
    buffer: Vec<u8>,
    /// What has been read and not been taken: `start..end` of the buffer.
    start: usize,
    end: usize,
    /// The frame that was last peeked at.
    peeked: usize,
}

/// Whether the stream begins with some expected bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// It does; they have been taken off.
    Stripped,
    /// So far it does, but too few bytes have come.
    Incomplete,
    /// It does not.
    Mismatch,
}

impl Inbox {
    /// Reads once. Ready with the number of bytes, 0 at the end of the stream.
    ///
    /// Cancel safe: nothing is lost when it is not polled again.
    ///
    /// # Errors
    ///
    /// What the reader says.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        reader: Pin<&mut impl AsyncRead>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut free = ReadBuf::new(&mut self.buffer[self.end..]);
        let read = reader.poll_read(cx, &mut free).map_ok(|()| free.filled().len());
        match read {
            Poll::Pending => {
                self.rest();
                Poll::Pending
            }
            Poll::Ready(Ok(n)) => {
                self.end += n;
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// Sees to it that there is room to read into.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() - self.end >= READ_CHUNK / 2 {
            return;
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // As much again as has come, so that a large frame takes few steps and
        // a claim takes no memory.
        let wanted = (self.end + self.end.max(READ_CHUNK)).max(READ_CHUNK);
        if self.buffer.len() >= wanted {
            return;
        }
        let mut larger = pool::lend_to_read();
        if larger.len() > self.buffer.len() {
            larger[..self.end].copy_from_slice(&self.buffer[..self.end]);
            std::mem::swap(&mut self.buffer, &mut larger);
        }
        pool::give_back(larger);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
    }

    /// Nothing more has come yet: holds on to no more than a begun frame needs.
    fn rest(&mut self) {
        let left = self.end - self.start;
        if left == 0 {
            pool::give_back(std::mem::take(&mut self.buffer));
        } else if left < READ_CHUNK / 4 && self.buffer.len() >= READ_CHUNK {
            let small = self.buffer[self.start..self.end].to_vec();
            pool::give_back(std::mem::replace(&mut self.buffer, small));
        } else {
            return;
        }
        (self.start, self.end) = (0, left);
    }

    /// Takes `expected` off the front, if it stands there.
    pub fn strip_prefix(&mut self, expected: &[u8]) -> Prefix {
        let here = &self.buffer[self.start..self.end];
        let common = here.len().min(expected.len());
        if here[..common] != expected[..common] {
            return Prefix::Mismatch;
        }
        if common < expected.len() {
            return Prefix::Incomplete;
        }
        self.start += expected.len();
        Prefix::Stripped
    }

    /// The body of the next frame, which stays until it is consumed or taken.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLarge`] for a body over `max` bytes.
    #[inline]
    pub fn peek_frame(&mut self, max: usize) -> Result<Option<&[u8]>, FrameError> {
        let here = &self.buffer[self.start..self.end];
        let Some((body, taken)) = frame::split(here, max)? else { return Ok(None) };
        self.peeked = taken;
        Ok(Some(body))
    }

    /// The frame that [`peek_frame`](Self::peek_frame) has last given.
    #[inline]
    #[must_use]
    pub fn peeked(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.peeked][HEAD.min(self.peeked)..]
    }

    /// Takes the frame off that [`peek_frame`](Self::peek_frame) has last given.
    #[inline]
    pub fn consume_frame(&mut self) {
        self.start += std::mem::take(&mut self.peeked);
    }

    /// Takes that frame off as a value of its own. A large one that is alone is
    /// moved, any other is copied.
    pub fn take_frame(&mut self) -> FrameBuf {
        let taken = std::mem::take(&mut self.peeked);
        let body = self.start + HEAD.min(taken)..self.start + taken;
        self.start += taken;
        if self.start == self.end && taken >= READ_CHUNK / 4 {
            (self.start, self.end) = (0, 0);
            return FrameBuf { buffer: std::mem::take(&mut self.buffer), start: body.start, end: body.end };
        }
        let mut buffer = pool::lend();
        buffer.extend_from_slice(&self.buffer[body]);
        FrameBuf { start: 0, end: buffer.len(), buffer }
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`FrameError::Truncated`] when a frame, or its head, has only begun.
    pub fn eof(&self) -> Result<(), FrameError> {
        if self.start == self.end { Ok(()) } else { Err(FrameError::Truncated) }
    }

    /// Forgets everything that has come in.
    pub fn clear(&mut self) {
        (self.start, self.end, self.peeked) = (0, 0, 0);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        pool::give_back(std::mem::take(&mut self.buffer));
    }
}

/// A frame's body that has left its inbox.
#[derive(Debug, Default)]
pub struct FrameBuf {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameBuf {
    /// Drops the first `n` bytes.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.end - self.start, "a frame cannot be advanced past its end");
        self.start += n;
    }
}

impl Deref for FrameBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl Drop for FrameBuf {
    fn drop(&mut self) {
        pool::give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;
    use crate::frame;

    fn frames(bodies: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for body in bodies {
            let start = frame::begin(&mut out);
            out.extend_from_slice(body);
            frame::finish(&mut out, start, usize::MAX).unwrap();
        }
        out
    }

    fn fill(inbox: &mut Inbox, mut bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        while !bytes.is_empty() {
            assert!(inbox.poll_fill(&mut cx, Pin::new(&mut bytes)).is_ready());
        }
    }

    #[test]
    fn frames_come_out_whole_however_they_came_in() {
        let large = vec![9; 300_000];
        let bytes = frames(&[b"one", b"", &large, b"two"]);
        for step in [1, 7, 4096, 65_536, bytes.len()] {
            let mut inbox = Inbox::default();
            let mut bodies = Vec::new();
            for part in bytes.chunks(step) {
                fill(&mut inbox, part);
                while let Some(body) = inbox.peek_frame(1 << 20).unwrap() {
                    bodies.push(body.to_vec());
                    inbox.consume_frame();
                }
            }
            assert_eq!(bodies, [b"one".to_vec(), vec![], large.clone(), b"two".to_vec()], "steps of {step}");
            assert_eq!(inbox.eof(), Ok(()));
        }
    }

    #[test]
    fn a_taken_frame_is_the_peeked_one_large_or_small() {
        let large = vec![9; 300_000];
        let mut inbox = Inbox::default();
        fill(&mut inbox, &frames(&[b"small", &large]));
        assert_eq!(inbox.peek_frame(1 << 20).unwrap().unwrap(), b"small");
        assert_eq!(&*inbox.take_frame(), b"small");
        assert!(inbox.peek_frame(1 << 20).unwrap().is_some());
        let mut frame = inbox.take_frame();
        frame.advance(1);
        assert_eq!(&*frame, &large[1..]);
        assert_eq!(inbox.peek_frame(1 << 20), Ok(None));
    }

    #[test]
    fn the_end_is_clean_between_frames_only() {
        let bytes = frames(&[b"body"]);
        for cut in 1..bytes.len() {
            let mut inbox = Inbox::default();
            fill(&mut inbox, &bytes[..cut]);
            assert_eq!(inbox.peek_frame(64), Ok(None));
            assert_eq!(inbox.eof(), Err(FrameError::Truncated), "cut at {cut}");
        }
    }

    #[test]
    fn a_claim_reserves_nothing_and_waiting_holds_little() {
        let mut inbox = Inbox::default();
        fill(&mut inbox, &(16u32 << 20).to_le_bytes());
        assert_eq!(inbox.peek_frame(16 << 20), Ok(None));
        let (waiting, _other) = tokio::io::duplex(1);
        let mut waiting = waiting;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(inbox.poll_fill(&mut cx, Pin::new(&mut waiting)).is_pending());
        assert!(inbox.buffer.capacity() < 64, "{}", inbox.buffer.capacity());
    }

    #[tokio::test]
    async fn an_idle_inbox_holds_no_buffer() {
        let (mut one, mut other) = tokio::io::duplex(64);
        let mut inbox = Inbox::default();
        tokio::io::AsyncWriteExt::write_all(&mut other, &frames(&[b"body"])).await.unwrap();
        poll_fn(|cx| inbox.poll_fill(cx, Pin::new(&mut one))).await.unwrap();
        inbox.peek_frame(64).unwrap().unwrap();
        inbox.consume_frame();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(inbox.poll_fill(&mut cx, Pin::new(&mut one)).is_pending());
        assert_eq!(inbox.buffer.capacity(), 0);
    }

    #[test]
    fn a_prefix_is_told_as_early_as_it_can_be() {
        let mut inbox = Inbox::default();
        fill(&mut inbox, b"ma");
        assert_eq!(inbox.strip_prefix(b"magic"), Prefix::Incomplete);
        fill(&mut inbox, b"gic!");
        assert_eq!(inbox.strip_prefix(b"magic"), Prefix::Stripped);
        assert_eq!(inbox.strip_prefix(b"?"), Prefix::Mismatch);
    }
}

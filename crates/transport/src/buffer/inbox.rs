//! Bytes that have come in, taken off as frames.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::io;
use std::ops::{Deref, Range};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::{Assembly, pool};
use crate::frame::{self, FrameError, HEAD};
use crate::limits::{READ_CHUNK, READ_HEAD, SMALL_FRAME};

/// Bytes that have come in, taken off as frames.
///
/// It reads into a buffer of its thread's pool and gives it back when every
/// frame has been taken: an idle connection holds none. A frame that is larger
/// than what has come so far makes the buffer grow as its bytes arrive, never by
/// what its head claims.
///
/// The rest of a frame that has [begun](Self::begun) can be
/// [diverted](Self::divert) into an [`Assembly`], where it is read straight to
/// its place.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Initialised throughout, so that reading into it again costs no clearing.
    buffer: Vec<u8>,
    /// What has been read and not been taken: `start..end` of the buffer.
    start: usize,
    end: usize,
    /// The frame that was last peeked at.
    peeked: usize,
    diverted: Option<Box<Diverted>>,
    /// A diverted frame has come to its end, and no other has been seen since.
    expects_another: bool,
}

/// A frame whose body goes elsewhere.
#[derive(Debug)]
struct Diverted {
    into: Assembly,
    /// How much of the body is still to come.
    missing: usize,
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
        self.fill(|free| {
            let mut free = ReadBuf::new(free);
            reader.poll_read(cx, &mut free).map_ok(|()| free.filled().len())
        })
    }

    /// Has `read` read once, in whatever way: it is given where to, and says how much that
    /// was. As [`poll_fill`](Self::poll_fill) otherwise.
    ///
    /// # Errors
    ///
    /// What `read` says.
    ///
    /// # Panics
    ///
    /// When `read` claims more than there was room for.
    #[inline]
    pub fn fill(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Some(diverted) = self.diverted.as_mut().filter(|diverted| diverted.missing > 0) {
            let read = diverted.into.fill(diverted.missing, read);
            if let Poll::Ready(Ok(n)) = read {
                diverted.missing = diverted.missing.saturating_sub(n);
                self.expects_another = diverted.missing == 0;
            }
            return read;
        }
        self.make_room();
        let mut free = &mut self.buffer[self.end..];
        if self.expects_another {
            free = &mut free[..READ_HEAD];
        }
        let room = free.len();
        let read = read(free);
        match read {
            Poll::Pending => self.rest(),
            Poll::Ready(Ok(n)) => {
                assert!(n <= room, "no more can be read than there is room for");
                self.end = self.end.saturating_add(n);
                // A head is here: if it is another's, it is diverted in its turn.
                self.expects_another &= self.unread() < HEAD;
            }
            Poll::Ready(Err(_)) => {}
        }
        read
    }

    /// Sees to it that there is room to read into.
    #[inline]
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.is_empty() {
                self.buffer = pool::lend_to_read();
            }
        }
        if self.buffer.len().saturating_sub(self.end) < READ_CHUNK / 2 {
            self.make_more_room();
        }
    }

    fn make_more_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.unread());
        }
        // As much again as has come, so that a large frame takes few steps and
        // a claim takes no memory.
        let wanted = self.end.saturating_add(self.end.max(READ_CHUNK));
        if self.buffer.len() >= wanted {
            return;
        }
        let larger = match self.buffer.len() {
            ..READ_CHUNK => Some(pool::lend_to_read()),
            len => pool::lend_larger_to_read(len),
        };
        if let Some(mut larger) = larger {
            larger[..self.end].copy_from_slice(&self.buffer[..self.end]);
            pool::give_back(std::mem::replace(&mut self.buffer, larger));
        }
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
    }

    /// Nothing more has come yet: holds on to no more than a begun frame needs.
    #[inline]
    pub fn rest(&mut self) {
        let left = self.unread();
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

    /// How many bytes are here of frames that have not been taken.
    #[inline]
    fn unread(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether nothing is here of a frame that has not been taken, but for one that is being
    /// [diverted](Self::divert).
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
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
        self.start = self.start.saturating_add(expected.len());
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
        &self.buffer[self.start..][..self.peeked][HEAD.min(self.peeked)..]
    }

    /// Takes the frame off that [`peek_frame`](Self::peek_frame) has last given.
    #[inline]
    pub fn consume_frame(&mut self) {
        self.start = self.start.saturating_add(std::mem::take(&mut self.peeked));
    }

    /// Takes that frame off as a value of its own. A large one that is alone is
    /// moved, any other is copied.
    pub fn take_frame(&mut self) -> FrameBuf {
        let mut frame = FrameBuf::default();
        self.take_frame_into(0..self.peeked.saturating_sub(HEAD), &mut frame);
        frame
    }

    /// Takes that frame off, and puts `part` of it into `place`, in the same way.
    ///
    /// # Panics
    ///
    /// When the part is not in the frame.
    #[inline]
    pub fn take_frame_into(&mut self, part: Range<usize>, place: &mut FrameBuf) {
        let taken = std::mem::take(&mut self.peeked);
        let (body, end) = (self.start.saturating_add(HEAD.min(taken)), self.start.saturating_add(taken));
        let part = body.saturating_add(part.start)..body.saturating_add(part.end);
        assert!(part.end <= end, "what is taken is a part of the frame");
        self.start = end;
        if taken < READ_CHUNK / 4 || self.start != self.end {
            place.copy(&self.buffer[part]);
        } else {
            (self.start, self.end) = (0, 0);
            *place = FrameBuf::new(std::mem::take(&mut self.buffer), part);
        }
    }

    /// As much as is here of the next frame's body, and how long that will be:
    /// when its head is here and it is not whole.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLarge`] for a body over `max` bytes.
    pub fn begun(&self, max: usize) -> Result<Option<(&[u8], usize)>, FrameError> {
        let here = &self.buffer[self.start..self.end];
        let Some(size) = frame::body_len(here, max)? else { return Ok(None) };
        let body = &here[HEAD..];
        Ok((body.len() < size).then_some((body, size)))
    }

    /// Takes off the frame that has [begun](Self::begun): drops the first `skip`
    /// bytes of its body and adds the others to `into`, those that are here now
    /// and, as [`poll_fill`](Self::poll_fill) reads them, those that are still to
    /// come. Until it is whole no other frame comes.
    ///
    /// # Panics
    ///
    /// When none has begun, fewer than `skip` bytes are here, or the one before
    /// has not been [taken](Self::take_diverted).
    pub fn divert(&mut self, skip: usize, mut into: Assembly) {
        assert!(self.diverted.is_none(), "one frame is diverted at a time");
        let (body, size) =
            self.begun(usize::MAX).ok().flatten().expect("a frame is diverted when it has begun");
        into.align(HEAD.saturating_add(skip));
        into.append(&body[skip..]);
        self.diverted = Some(Box::new(Diverted { into, missing: size.saturating_sub(body.len()) }));
        (self.start, self.end, self.peeked) = (0, 0, 0);
        self.rest();
    }

    /// Whether a frame is being diverted, or has been and was not taken yet.
    #[must_use]
    pub fn diverted(&self) -> bool {
        self.diverted.is_some()
    }

    /// What a diverted frame went into, once the frame is whole.
    pub fn take_diverted(&mut self) -> Option<Assembly> {
        self.diverted.take_if(|diverted| diverted.missing == 0).map(|diverted| diverted.into)
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`FrameError::Truncated`] when a frame, or its head, has only begun.
    pub fn eof(&self) -> Result<(), FrameError> {
        let missing = self.diverted.as_ref().is_some_and(|diverted| diverted.missing > 0);
        if self.start == self.end && !missing { Ok(()) } else { Err(FrameError::Truncated) }
    }

    /// Forgets everything that has come in.
    pub fn clear(&mut self) {
        (self.start, self.end, self.peeked) = (0, 0, 0);
        self.diverted = None;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        pool::give_back(std::mem::take(&mut self.buffer));
    }
}

/// A frame's body that has left its inbox.
#[derive(Debug)]
pub struct FrameBuf {
    /// Where it stands if `large` holds nothing: a small message takes no memory of its own.
    small: [u8; SMALL_FRAME],
    large: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for FrameBuf {
    #[inline]
    fn default() -> Self {
        FrameBuf::new(Vec::new(), 0..0)
    }
}

impl FrameBuf {
    #[inline]
    pub(super) fn new(buffer: Vec<u8>, body: Range<usize>) -> Self {
        FrameBuf { small: [0; SMALL_FRAME], large: buffer, start: body.start, end: body.end }
    }

    /// Becomes a copy of `body`.
    #[inline]
    fn copy(&mut self, body: &[u8]) {
        (self.start, self.end) = (0, body.len());
        match self.small.get_mut(..body.len()) {
            Some(small) if self.large.is_empty() => small.copy_from_slice(body),
            _ => self.copy_large(body),
        }
    }

    fn copy_large(&mut self, body: &[u8]) {
        // The pool keeps none that are small.
        let len = body.len();
        let mut buffer = if len < pool::LEAST { Vec::with_capacity(len) } else { pool::lend_fitting(len) };
        buffer.extend_from_slice(body);
        pool::give_back(std::mem::replace(&mut self.large, buffer));
    }

    /// A part of it.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[must_use]
    pub fn part(mut self, part: Range<usize>) -> FrameBuf {
        self.truncate(part.end);
        self.advance(part.start);
        self
    }

    /// Drops the first `n` bytes.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "a frame cannot be advanced past its end");
        self.start = self.start.saturating_add(n);
    }

    /// Drops bytes off the end until `len` are left, if there are more.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }
}

impl Deref for FrameBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let held = if self.large.is_empty() { &self.small[..] } else { &self.large[..] };
        &held[self.start..self.end]
    }
}

impl AsRef<[u8]> for FrameBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for FrameBuf {
    #[inline]
    fn drop(&mut self) {
        if self.large.capacity() > 0 {
            pool::give_back(std::mem::take(&mut self.large));
        }
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

    /// A session in small: the first byte of a body says of which message it is
    /// a part, or that it is a message by itself.
    #[derive(Default)]
    struct Receiver {
        inbox: Inbox,
        parts: [Assembly; 3],
        /// Whose part is diverted.
        whose: usize,
        whole: Vec<Vec<u8>>,
    }

    const WHOLE: u8 = 9;

    /// Those that came in parts, and those that came whole.
    type Messages = ([Vec<u8>; 3], Vec<Vec<u8>>);

    impl Receiver {
        fn receive(&mut self, mut bytes: &[u8]) {
            let mut cx = Context::from_waker(Waker::noop());
            loop {
                self.look();
                if bytes.is_empty() {
                    break;
                }
                assert!(self.inbox.poll_fill(&mut cx, Pin::new(&mut bytes)).is_ready());
            }
            // Whoever waits holds less, and goes on from there.
            let (mut silent, _other) = tokio::io::duplex(1);
            assert!(self.inbox.poll_fill(&mut cx, Pin::new(&mut silent)).is_pending());
        }

        fn look(&mut self) {
            if let Some(into) = self.inbox.take_diverted() {
                self.parts[self.whose] = into;
            }
            while let Some(body) = self.inbox.peek_frame(1 << 20).unwrap() {
                match body {
                    [WHOLE, message @ ..] => self.whole.push(message.to_vec()),
                    [whose, part @ ..] => self.parts[*whose as usize].append(part),
                    [] => unreachable!("the sender sends none"),
                }
                self.inbox.consume_frame();
            }
            match self.inbox.begun(1 << 20).unwrap() {
                None | Some(([] | [WHOLE, ..], _)) => {}
                Some(([whose, ..], _)) => {
                    assert!(!self.inbox.diverted());
                    self.whose = *whose as usize;
                    self.inbox.divert(1, std::mem::take(&mut self.parts[self.whose]));
                    assert_eq!(self.inbox.peek_frame(1 << 20), Ok(None));
                    assert_eq!(self.inbox.begun(1 << 20), Ok(None));
                }
            }
        }

        fn end(self) -> Messages {
            assert_eq!(self.inbox.eof(), Ok(()));
            assert!(!self.inbox.diverted());
            (self.parts.map(|part| part.into_frame().to_vec()), self.whole)
        }
    }

    /// Frames of parts of so many bytes, with whole messages among them.
    fn parts(sizes: &[usize]) -> (Vec<u8>, Messages) {
        let mut bodies = Vec::new();
        let (mut messages, mut whole) = ([const { Vec::new() }; 3], Vec::new());
        for (at, &size) in sizes.iter().enumerate() {
            let bytes: Vec<u8> = (0..size).map(|byte| (byte ^ (byte >> 8) ^ at) as u8).collect();
            let kind = if at % 4 == 3 { WHOLE } else { (at * at % 3) as u8 };
            bodies.push([&[kind], &bytes[..]].concat());
            match messages.get_mut(kind as usize) {
                Some(message) => message.extend(bytes),
                None => whole.push(bytes),
            }
        }
        let bodies: Vec<_> = bodies.iter().map(Vec::as_slice).collect();
        (frames(&bodies), (messages, whole))
    }

    #[test]
    fn parts_come_to_the_same_messages_however_they_are_cut() {
        let (bytes, expected) = parts(&[30, 1, 25, 8, 0, 17, 40, 0, 2, 5, 9, 20]);
        for cut in 0..=bytes.len() {
            for gap in [0, 1, 3, 4, 5, 11, 60] {
                let mut receiver = Receiver::default();
                let (one, rest) = bytes.split_at(cut);
                let (two, three) = rest.split_at(gap.min(rest.len()));
                for bytes in [one, two, three] {
                    receiver.receive(bytes);
                }
                assert_eq!(receiver.end(), expected, "cut at {cut} and {gap} later");
            }
        }
        let mut receiver = Receiver::default();
        bytes.chunks(1).for_each(|byte| receiver.receive(byte));
        assert_eq!(receiver.end(), expected);
    }

    #[test]
    fn large_parts_come_to_the_same_messages_in_buffers_used_before() {
        let sizes =
            [300_000, 20, 70_000, 5_000, 65_536, 65_531, 65_530, 100, 9, 400_000, 4_091, 70_000, 4_092];
        let (bytes, expected) = parts(&sizes);
        for step in [999, 4_096, 10_007, 65_536, 200_000, bytes.len()] {
            let mut receiver = Receiver::default();
            bytes.chunks(step).for_each(|bytes| receiver.receive(bytes));
            assert_eq!(receiver.end(), expected, "steps of {step}");
        }
    }

    #[test]
    fn the_end_inside_a_diverted_frame_is_no_clean_one() {
        let bytes = frames(&[&[0; 40]]);
        for begun in HEAD + 1..bytes.len() {
            for cut in begun..bytes.len() {
                let mut receiver = Receiver::default();
                receiver.receive(&bytes[..begun]);
                assert!(receiver.inbox.diverted());
                receiver.receive(&bytes[begun..cut]);
                assert_eq!(receiver.inbox.eof(), Err(FrameError::Truncated), "cut at {begun} and {cut}");
                assert!(receiver.inbox.take_diverted().is_none());
                let mut cx = Context::from_waker(Waker::noop());
                let end = receiver.inbox.poll_fill(&mut cx, Pin::new(&mut &b""[..]));
                assert!(matches!(end, Poll::Ready(Ok(0))));
                assert_eq!(receiver.inbox.eof(), Err(FrameError::Truncated));
                receiver.inbox.clear();
                assert!(!receiver.inbox.diverted());
                assert_eq!(receiver.inbox.eof(), Ok(()));
            }
        }
    }

    #[test]
    fn a_frame_has_begun_from_its_head_on_until_it_is_whole() {
        let bytes = frames(&[b"body"]);
        for cut in 0..=bytes.len() {
            let mut inbox = Inbox::default();
            fill(&mut inbox, &bytes[..cut]);
            let begun = (HEAD..bytes.len()).contains(&cut).then(|| (&bytes[HEAD..cut], 4));
            assert_eq!(inbox.begun(4), Ok(begun));
            if cut >= HEAD {
                assert_eq!(inbox.begun(3), Err(FrameError::TooLarge { size: 4, limit: 3 }));
            }
        }
    }

    #[test]
    #[should_panic(expected = "a frame is diverted when it has begun")]
    fn a_frame_that_has_not_begun_cannot_be_diverted() {
        let mut inbox = Inbox::default();
        fill(&mut inbox, &frames(&[b"whole"]));
        inbox.divert(0, Assembly::default());
    }

    /// How many of `bytes` are read at once.
    fn fill_once(inbox: &mut Inbox, bytes: &mut &[u8]) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(read) = inbox.poll_fill(&mut cx, Pin::new(bytes)) else { unreachable!() };
        read.unwrap()
    }

    #[test]
    fn little_is_read_between_large_frames_and_much_among_small_ones() {
        let large = vec![0; 200_000];
        let small = [b"small".as_slice(); 20_000];
        let bytes = [frames(&[&large, &large]), frames(&small)].concat();
        let mut left = &bytes[..];
        let mut inbox = Inbox::default();
        assert_eq!(fill_once(&mut inbox, &mut left), READ_CHUNK);
        for more in [true, false] {
            inbox.divert(1, Assembly::default());
            while inbox.take_diverted().is_none() {
                fill_once(&mut inbox, &mut left);
            }
            let next = frames(&[if more { &large } else { small[0] }]);
            assert!(left.starts_with(&next), "it was read to its end and no further");
            assert_eq!(fill_once(&mut inbox, &mut left), READ_HEAD);
        }
        while inbox.peek_frame(5).unwrap().is_some() {
            inbox.consume_frame();
        }
        assert!(fill_once(&mut inbox, &mut left) > READ_CHUNK / 2);
    }

    #[test]
    fn a_large_frame_that_is_not_diverted_is_read_at_large_after_one_that_was() {
        let bytes = frames(&[&[0; 100], &[1; 100_000]]);
        let mut inbox = Inbox::default();
        fill(&mut inbox, &bytes[..50]);
        inbox.divert(0, Assembly::default());
        let mut left = &bytes[50..];
        assert_eq!(fill_once(&mut inbox, &mut left), 54);
        assert_eq!(inbox.eof(), Ok(()));
        assert_eq!(inbox.take_diverted().unwrap().len(), 100);
        // Of a head that has only begun nothing can be told.
        assert_eq!(fill_once(&mut inbox, &mut &left[..3]), 3);
        left = &left[3..];
        assert_eq!(fill_once(&mut inbox, &mut left), READ_HEAD);
        assert!(fill_once(&mut inbox, &mut left) > READ_CHUNK / 2);
    }

    #[test]
    fn a_claim_reserves_nothing_where_it_is_diverted_either() {
        let mut inbox = Inbox::default();
        fill(&mut inbox, &[&(16u32 << 20).to_le_bytes(), &b"few"[..]].concat());
        inbox.divert(1, Assembly::default());
        let (mut waiting, _other) = tokio::io::duplex(1);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(inbox.poll_fill(&mut cx, Pin::new(&mut waiting)).is_pending());
        assert_eq!(inbox.buffer.capacity(), 0);
        inbox.clear();
        // Both buffers are the pool's again, and with them all that it had lent.
        assert!(pool::lend_larger_to_read(0).is_some());
    }

    #[test]
    fn a_dropped_inbox_gives_both_buffers_back() {
        let mut inbox = Inbox::default();
        let bytes = frames(&[&[0; 1 << 20], b"next"]);
        fill(&mut inbox, &bytes[..HEAD + 1]);
        inbox.divert(1, Assembly::default());
        fill(&mut inbox, &bytes[HEAD + 1..]);
        assert!(inbox.diverted());
        drop(inbox);
        assert!(pool::lend_larger_to_read(READ_CHUNK).is_some_and(|buffer| buffer.len() >= (1 << 20) - 1));
        assert_eq!(pool::lend_larger_to_read(0).map(|buffer| buffer.len()), Some(READ_CHUNK));
    }
}

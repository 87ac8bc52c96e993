//! The body of a message, encoded before the connection is locked.
//!
//! `Serialize` is user code. It may make a call, send an item, drop a sender, log through a
//! layer that writes to this very connection, or wait for a mutex that another thread holds
//! while it waits for this connection. So a message is encoded into a buffer of the thread
//! first, and the connection is locked only to append the bytes.

use std::cell::Cell;
use std::mem::ManuallyDrop;

use panpipe_transport::buffer::{lend, recycle};

use crate::carried::{Cargo, Carried};
use crate::codec::Codec;
use crate::limits;

/// Room in front of the body for the longest header: kind, port, id, trace, method, deadline.
/// A large message gets its header there, so that its bytes are never moved.
pub(super) const HEAD_ROOM: usize = 80;

thread_local! {
    /// A buffer that begins with the head room. Empty while a message is being encoded, so
    /// that a `Serialize` that sends a message itself takes another one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[inline]
fn take_scratch() -> Vec<u8> {
    // Gone while the thread ends.
    let scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    if scratch.len() == HEAD_ROOM { scratch } else { new_scratch() }
}

#[cold]
fn new_scratch() -> Vec<u8> {
    let mut scratch = lend();
    scratch.resize(HEAD_ROOM, 0);
    scratch
}

#[inline(always)]
fn keep_scratch(mut scratch: Vec<u8>) {
    if scratch.capacity() > limits::POOL_BUFFER {
        return drop_scratch(scratch);
    }
    scratch.truncate(HEAD_ROOM);
    let replaced = SCRATCH.try_with(|kept| kept.replace(scratch)).unwrap_or_default();
    if replaced.capacity() > 0 {
        drop_scratch(replaced);
    }
}

/// Drops one that is too large, or one too many.
#[cold]
fn drop_scratch(scratch: Vec<u8>) {
    recycle(scratch);
}

/// The body of a message that has not been queued yet.
///
/// It is dropped outside of the connection's lock: what it carries belongs to the user.
#[derive(Default)]
pub(crate) struct EncodedMessage {
    /// Head room, and the body behind it.
    bytes: Vec<u8>,
    /// The ports and the large blocks that travel with it. Dropped by hand: most carry nothing.
    cargo: ManuallyDrop<Carried>,
}

impl EncodedMessage {
    /// Encodes a message with `encode`, which appends the body.
    #[inline]
    pub(crate) fn encode(
        codec: Codec,
        encode: impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String>,
    ) -> Result<Self, String> {
        let mut message = EncodedMessage { bytes: take_scratch(), cargo: ManuallyDrop::new(None) };
        let cargo = encode(codec, &mut message.bytes)?;
        message.cargo = ManuallyDrop::new(cargo);
        Ok(message)
    }

    /// Writes what stands in front of the body into the head room. Gives where the frame
    /// begins in the buffer.
    #[inline]
    pub(super) fn put_head<const N: usize>(&mut self, head: [u8; N]) -> usize {
        const { assert!(N <= HEAD_ROOM, "there is room for the head") };
        let begin = HEAD_ROOM - N;
        self.bytes[begin..HEAD_ROOM].copy_from_slice(&head);
        begin
    }

    /// The same for a head of any length.
    #[cold]
    pub(super) fn put_long_head(&mut self, head: &[u8]) -> usize {
        let begin = HEAD_ROOM - head.len();
        self.bytes[begin..HEAD_ROOM].copy_from_slice(head);
        begin
    }

    #[cfg(test)]
    fn body(&self) -> &[u8] {
        &self.bytes[HEAD_ROOM..]
    }

    /// Whether it carries ports or large blocks.
    #[inline]
    pub(super) fn has_cargo(&self) -> bool {
        self.cargo.is_some()
    }

    #[inline]
    pub(super) fn cargo(&mut self) -> Option<&mut Cargo> {
        self.cargo.as_deref_mut()
    }

    /// Its buffer, to append to the body, or to write a header into the head room.
    #[inline]
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Moves its buffer out.
    pub(super) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The same message to be kept for a while, in no more memory than it needs.
    #[cold]
    fn kept(mut self) -> Box<Self> {
        if self.bytes.capacity() / 2 > self.bytes.len() {
            let fitting = self.bytes.as_slice().to_vec();
            keep_scratch(std::mem::replace(&mut self.bytes, fitting));
        }
        Box::new(self)
    }
}

impl Drop for EncodedMessage {
    #[inline(always)]
    fn drop(&mut self) {
        if self.bytes.capacity() > 0 {
            keep_scratch(std::mem::take(&mut self.bytes));
        }
        if self.cargo.is_some() {
            drop(self.cargo.take());
        }
    }
}

/// A message that waits in its future for room in the outgoing queue.
#[derive(Default)]
pub(crate) struct Draft(Option<Box<EncodedMessage>>);

impl Draft {
    /// The message that waits, or a new one.
    #[inline]
    pub(crate) fn take_or(
        &mut self,
        codec: Codec,
        encode: impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String>,
    ) -> Result<EncodedMessage, String> {
        match self.0.take() {
            Some(kept) => Ok(*kept),
            None => EncodedMessage::encode(codec, encode),
        }
    }

    /// Whether a message waits.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps a message for the next attempt.
    pub(crate) fn keep(&mut self, message: EncodedMessage) {
        self.0 = Some(message.kept());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(body: &[u8]) -> EncodedMessage {
        let append = |_, out: &mut Vec<u8>| {
            out.extend_from_slice(body);
            Ok(None)
        };
        EncodedMessage::encode(Codec::default(), append).unwrap()
    }

    #[test]
    fn a_message_encoded_within_another_takes_its_own_buffer() {
        let outer = EncodedMessage::encode(Codec::default(), |_, out| {
            out.extend_from_slice(b"be");
            assert_eq!(encode(b"inner").body(), b"inner");
            out.extend_from_slice(b"fore");
            Ok(None)
        });
        assert_eq!(outer.unwrap().body(), b"before");
    }

    #[test]
    fn the_buffer_of_a_thread_is_reused() {
        let first = encode(b"first").body().as_ptr();
        assert_eq!(encode(b"second").body().as_ptr(), first);
    }

    #[test]
    fn a_message_that_waits_takes_no_more_memory_than_it_needs() {
        drop(encode(&[1; 100_000]));
        let mut draft = Draft::default();
        draft.keep(encode(b"short"));
        let kept = draft.take_or(Codec::default(), |_, _| unreachable!("it has been encoded")).unwrap();
        assert_eq!((kept.body(), kept.bytes.capacity()), (&b"short"[..], HEAD_ROOM + 5));
    }

    #[test]
    fn a_panic_in_serialize_leaves_nothing_behind() {
        let panics = std::panic::catch_unwind(|| {
            EncodedMessage::encode(Codec::default(), |_, out: &mut Vec<u8>| {
                out.extend_from_slice(b"half a message");
                panic!("as it was asked to")
            })
        });
        assert!(panics.is_err());
        assert_eq!(encode(b"next").body(), b"next");
    }
}

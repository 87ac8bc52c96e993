//! The body of a message, encoded before the connection is locked.
//!
//! `Serialize` is user code. It may make a call, send an item, drop a sender, log through a
//! layer that writes to this very connection, or wait for a mutex that another thread holds
//! while it waits for this connection. So a message is encoded into a buffer of the thread
//! first, and the connection is locked only to append the bytes.

use std::cell::Cell;

use panpipe_transport::buffer::{lend, recycle};

use crate::carried::{Cargo, Carried};
use crate::codec::Codec;
use crate::limits;

/// Room in front of the body for the longest header: kind, port, id, trace, method, deadline.
/// A large message gets its header there, so that its bytes are never moved.
pub(super) const HEAD_ROOM: usize = 80;

thread_local! {
    /// A message without a body. Gone while a message is being encoded, so that a `Serialize`
    /// that sends a message itself takes another one. In a box: it is moved as one pointer.
    static SPARE: Cell<Option<Box<EncodedMessage>>> = const { Cell::new(None) };
}

#[inline]
fn take_spare() -> Box<EncodedMessage> {
    // Gone while the thread ends.
    SPARE.try_with(Cell::take).ok().flatten().unwrap_or_else(new_message)
}

#[cold]
fn new_message() -> Box<EncodedMessage> {
    let mut bytes = lend();
    bytes.resize(HEAD_ROOM, 0);
    Box::new(EncodedMessage { bytes, cargo: None })
}

#[inline(always)]
fn keep_spare(mut message: Box<EncodedMessage>) {
    // The capacity is 0 where the buffer was moved out.
    let is_kept = (1..=limits::POOL_BUFFER).contains(&message.bytes.capacity());
    if !is_kept || message.cargo.is_some() {
        return drop_message(*message);
    }
    message.bytes.truncate(HEAD_ROOM);
    if let Ok(Some(one_too_many)) = SPARE.try_with(|spare| spare.replace(Some(message))) {
        drop_message(*one_too_many);
    }
}

/// Drops one that carries something, is too large, or is one too many.
#[cold]
fn drop_message(message: EncodedMessage) {
    let EncodedMessage { bytes, cargo } = message;
    recycle(bytes);
    drop(cargo);
}

/// The body of a message that has not been queued yet.
pub(crate) struct EncodedMessage {
    /// Head room, and the body behind it.
    bytes: Vec<u8>,
    /// The ports and the large blocks that travel with it.
    cargo: Carried,
}

/// A message that has been encoded, or none: where the codec is not known yet.
///
/// It is dropped outside of the connection's lock: what it carries belongs to the user.
#[derive(Default)]
pub(crate) struct Encoded(Option<Box<EncodedMessage>>);

impl Encoded {
    /// Encodes a message with `encode`, which appends the body.
    #[inline]
    pub(crate) fn new(
        codec: Codec,
        encode: impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String>,
    ) -> Result<Self, String> {
        let mut message = take_spare();
        if let Some(cargo) = encode(codec, &mut message.bytes)? {
            message.cargo = Some(cargo);
        }
        Ok(Encoded(Some(message)))
    }

    /// Gives the message's buffer back to this thread. Without this call it is freed.
    #[inline(always)]
    pub(crate) fn finish(self) {
        if let Some(message) = self.0 {
            keep_spare(message);
        }
    }

    #[inline]
    pub(crate) fn get(&mut self) -> Option<&mut EncodedMessage> {
        self.0.as_deref_mut()
    }

    #[cfg(test)]
    pub(crate) fn into_message(self) -> EncodedMessage {
        *self.0.expect("the test has encoded one")
    }

    /// Whether there is a message.
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The message that waits here for room in the outgoing queue, or a new one.
    #[inline]
    pub(crate) fn take_or(
        &mut self,
        codec: Codec,
        encode: impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String>,
    ) -> Result<Self, String> {
        if self.is_some() { Ok(std::mem::take(self)) } else { Encoded::new(codec, encode) }
    }

    /// Keeps a message for the next attempt.
    #[cold]
    pub(crate) fn keep(&mut self, message: Encoded) {
        *self = message;
        self.shrink();
    }

    /// Cuts the buffer to what the message needs, before the message waits.
    pub(crate) fn shrink(&mut self) {
        let Some(message) = self.get() else { return };
        if message.bytes.capacity() / 2 > message.bytes.len() {
            let fitting = message.bytes.as_slice().to_vec();
            recycle(std::mem::replace(&mut message.bytes, fitting));
        }
    }
}

impl EncodedMessage {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(body: &[u8]) -> Encoded {
        let append = |_, out: &mut Vec<u8>| {
            out.extend_from_slice(body);
            Ok(None)
        };
        Encoded::new(Codec::default(), append).unwrap()
    }

    #[test]
    fn a_message_encoded_within_another_takes_its_own_buffer() {
        let outer = Encoded::new(Codec::default(), |_, out| {
            out.extend_from_slice(b"be");
            assert_eq!(encode(b"inner").into_message().body(), b"inner");
            out.extend_from_slice(b"fore");
            Ok(None)
        });
        assert_eq!(outer.unwrap().into_message().body(), b"before");
    }

    #[test]
    fn the_buffer_of_a_thread_is_reused() {
        let mut first = encode(b"first");
        let at = first.get().unwrap().body().as_ptr();
        first.finish();
        // Takes the memory if it was given up.
        let _other = Vec::<u8>::with_capacity(HEAD_ROOM + 5);
        assert_eq!(encode(b"second").get().unwrap().body().as_ptr(), at);
    }

    #[test]
    fn a_message_that_waits_takes_no_more_memory_than_it_needs() {
        encode(&[1; 100_000]).finish();
        let mut draft = Encoded::default();
        draft.keep(encode(b"short"));
        let kept = draft.take_or(Codec::default(), |_, _| unreachable!("it has been encoded")).unwrap();
        let kept = kept.into_message();
        assert_eq!((kept.body(), kept.bytes.capacity()), (&b"short"[..], HEAD_ROOM + 5));
    }

    #[test]
    fn a_panic_in_serialize_leaves_nothing_behind() {
        let panics = std::panic::catch_unwind(|| {
            Encoded::new(Codec::default(), |_, out: &mut Vec<u8>| {
                out.extend_from_slice(b"half a message");
                panic!("as it was asked to")
            })
        });
        assert!(panics.is_err());
        assert_eq!(encode(b"next").into_message().body(), b"next");
    }
}

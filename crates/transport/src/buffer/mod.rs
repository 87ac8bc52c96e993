//! Buffers for drivers of a byte stream: what came in, what is to go out, and
//! the pool that idle connections keep nothing of.

mod assembly;
mod inbox;
mod large;
mod outbox;
mod pool;

pub use assembly::Assembly;
pub use inbox::{FrameBuf, Inbox, Prefix};
pub use large::Large;
pub use outbox::{Outbox, TakenOut};

/// Keeps a buffer that is done with for the outboxes of this thread, where it is
/// of a sensible size: one [taken from](Outbox::take_from) or
/// [back from](Outbox::take_back) an outbox, so that the next large message
/// needs no fresh memory.
pub fn recycle(buffer: Vec<u8>) {
    pool::give_back_written(buffer);
}

/// An empty buffer of this thread's, with room to append to: one that was
/// [recycled](recycle) if there is one.
#[must_use]
pub fn lend() -> Vec<u8> {
    pool::lend()
}

/// Gives the memory that this thread's large messages have taken back to the system, for a thread
/// that has served a connection and ends. After small messages it does nothing.
pub fn give_back_memory() {
    pool::give_back_memory();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::future::poll_fn;
    use std::io::IoSlice;
    use std::pin::Pin;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::frame::HEAD;
    use crate::stream::{PipeReader, PipeWriter};

    const MESSAGE: usize = 1 << 20;
    const PART: usize = 200_000;

    async fn send(outbox: &mut Outbox, writer: &mut PipeWriter) {
        while outbox.pending_len() > 0 {
            let n = writer.write_vectored(&outbox.slices().map(IoSlice::new)).await.unwrap();
            outbox.advance(n);
        }
    }

    async fn receive(inbox: &mut Inbox, reader: &mut PipeReader) -> FrameBuf {
        let mut message = Assembly::default();
        while message.len() < MESSAGE {
            if let Some(part) = inbox.peek_frame(PART).unwrap() {
                message.append(part);
                inbox.consume_frame();
            } else if inbox.begun(PART).unwrap().is_some() {
                inbox.divert(0, std::mem::take(&mut message));
            } else {
                assert_ne!(poll_fn(|cx| inbox.poll_fill(cx, Pin::new(reader))).await.unwrap(), 0);
                message = inbox.take_diverted().unwrap_or(message);
            }
        }
        message.into_frame()
    }

    /// Large messages that go one after another go through the same memory.
    #[tokio::test]
    async fn a_large_message_in_parts_needs_no_fresh_memory_after_the_first() {
        let (mut reader, mut writer) = crate::anonymous::one_way().unwrap();
        let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
        let mut places = [BTreeSet::new(), BTreeSet::new()];
        for round in 0..8u8 {
            let sending = async {
                outbox.append().extend((0..MESSAGE).map(|at| (at >> 9) as u8 ^ round));
                let mut large = outbox.take_from(0);
                places[0].insert(large.as_ptr() as usize);
                for start in (0..MESSAGE).step_by(PART) {
                    let part = start..MESSAGE.min(start + PART);
                    outbox.append().extend_from_slice(&(part.len() as u32).to_le_bytes());
                    outbox.lend(large, part);
                    send(&mut outbox, &mut writer).await;
                    let Some(Large::Own(back)) = outbox.take_back() else { panic!("it was lent") };
                    large = back;
                }
                recycle(large);
            };
            let ((), message) = tokio::join!(sending, receive(&mut inbox, &mut reader));
            assert!(message.iter().enumerate().all(|(at, &byte)| byte == (at >> 9) as u8 ^ round));
            places[1].insert(message.as_ptr() as usize);
        }
        assert_eq!(outbox.written_total(), 8 * (MESSAGE + MESSAGE.div_ceil(PART) * HEAD) as u64);
        // The same but for what a message is moved to be copied well.
        let apart =
            |places: &BTreeSet<usize>| places.last().zip(places.first()).map(|(last, first)| last - first);
        assert!(places.iter().all(|places| apart(places).is_some_and(|apart| apart < 64)), "{places:?}");
    }
}

//! Large blocks of bytes that are read where they came in. The frame that a message
//! stands in is known to this thread while the message is decoded.

use std::cell::RefCell;

use bytes::Bytes;
use panpipe_transport::buffer::FrameBuf;

use crate::limits::SHARED_BLOCK;

thread_local! {
    static FRAME: RefCell<Option<Bytes>> = const { RefCell::new(None) };
}

/// Runs `decode`, which may take blocks out of `frame` without a copy.
pub(crate) fn decode_in<R>(frame: FrameBuf, decode: impl FnOnce(&[u8]) -> R) -> R {
    /// Also where a `Deserialize` panics.
    struct Scope(Option<Bytes>);
    impl Drop for Scope {
        fn drop(&mut self) {
            let frame = FRAME.replace(self.0.take());
            drop(frame);
        }
    }
    let frame = Bytes::from_owner(frame);
    let _scope = Scope(FRAME.replace(Some(frame.clone())));
    decode(&frame)
}

/// A block that a codec shows, as a value: a part of the frame, or a copy where it is
/// short, little of the frame, or none of it, since a codec may show a copy of its own.
pub(crate) fn block(shown: &[u8]) -> Bytes {
    let in_frame = if shown.len() < SHARED_BLOCK { None } else { in_frame(shown) };
    in_frame.unwrap_or_else(|| Bytes::copy_from_slice(shown))
}

fn in_frame(shown: &[u8]) -> Option<Bytes> {
    FRAME.with_borrow(|frame| {
        let frame = frame.as_ref().filter(|frame| shown.len() >= frame.len() / 4)?;
        let start = (shown.as_ptr() as usize).checked_sub(frame.as_ptr() as usize)?;
        let end = start.checked_add(shown.len())?;
        (end <= frame.len()).then(|| frame.slice(start..end))
    })
}

#[cfg(test)]
mod tests {
    use panpipe_transport::buffer::Assembly;

    use super::*;

    fn frame(bytes: &[u8]) -> FrameBuf {
        let mut assembly = Assembly::default();
        assembly.append(bytes);
        assembly.into_frame()
    }

    #[test]
    fn a_large_part_of_the_frame_is_it_and_anything_else_a_copy() {
        let bytes: Vec<u8> = (0..8 * SHARED_BLOCK).map(|at| (at ^ (at >> 8)) as u8).collect();
        let taken = decode_in(frame(&bytes), |frame| {
            let large = block(&frame[7..]);
            assert_eq!(large.as_ptr(), frame[7..].as_ptr());
            // Little of the frame, short, and not of the frame.
            for shown in [&frame[..SHARED_BLOCK], &frame[..SHARED_BLOCK - 1], &bytes] {
                let copy = block(shown);
                assert_eq!(copy, shown);
                assert_ne!(copy.as_ptr(), shown.as_ptr());
            }
            // One inside of another, as where a handler waits for a call of its own.
            decode_in(self::frame(&bytes), |inner| assert_eq!(block(inner).as_ptr(), inner.as_ptr()));
            assert_eq!(block(frame).as_ptr(), frame.as_ptr());
            large
        });
        assert_eq!(taken, bytes[7..]);
        let later = block(&taken);
        assert_ne!(later.as_ptr(), taken.as_ptr(), "nothing is being decoded");
    }

    #[test]
    fn a_panic_leaves_no_frame_behind() {
        let caught =
            std::panic::catch_unwind(|| decode_in(frame(&[1; SHARED_BLOCK]), |_| panic!("decoding")));
        assert!(caught.is_err());
        assert!(FRAME.with_borrow(Option::is_none));
    }
}

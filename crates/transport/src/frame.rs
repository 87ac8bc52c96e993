//! Frames: a little-endian `u32` that counts the bytes of the body, and the
//! body. Pure functions on bytes.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use thiserror::Error;

/// The bytes of a frame's head.
pub const HEAD: usize = 4;

/// What is wrong with incoming frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The head claims a larger body than is accepted.
    #[error("a frame of {size} bytes came, the limit is {limit}")]
    TooLarge {
        /// The size that the head claims, in bytes.
        size: usize,
        /// The largest size accepted, in bytes.
        limit: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended in the middle of a frame")]
    Truncated,
}

/// A body that is too large to be sent. Nothing of it was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a message of {size} bytes is over the limit of {limit}")]
pub struct FrameTooLarge {
    /// The body's size, in bytes.
    pub size: usize,
    /// The largest size allowed, in bytes.
    pub limit: usize,
}

/// How long the first frame's body in `bytes` is; `None` if its head is not
/// all there.
///
/// # Errors
///
/// [`FrameError::TooLarge`], told from the four bytes of the head alone.
#[inline]
pub fn body_len(bytes: &[u8], max: usize) -> Result<Option<usize>, FrameError> {
    let Some(head) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
    let size = u32::from_le_bytes(*head) as usize;
    if size > max {
        return Err(FrameError::TooLarge { size, limit: max });
    }
    Ok(Some(size))
}

/// The body of the first frame in `bytes` and how many bytes the frame takes;
/// `None` if it is not all there.
///
/// # Errors
///
/// [`FrameError::TooLarge`].
#[inline]
pub fn split(bytes: &[u8], max: usize) -> Result<Option<(&[u8], usize)>, FrameError> {
    let Some(size) = body_len(bytes, max)? else { return Ok(None) };
    let end = HEAD.saturating_add(size);
    Ok(bytes.get(HEAD..end).map(|body| (body, end)))
}

/// Where a frame begins that is being encoded.
#[derive(Debug, Clone, Copy)]
pub struct Start(usize);

/// Begins a frame at the end of `out`; its body is what is appended until
/// [`finish`].
#[inline]
pub fn begin(out: &mut Vec<u8>) -> Start {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    Start(start)
}

/// The same where its first bytes are known: behind [`HEAD`] zeros they stand in `first`.
#[inline(always)]
pub fn begin_with<const N: usize>(out: &mut Vec<u8>, first: [u8; N]) -> Start {
    const { assert!(N >= HEAD, "there is room for the head") };
    let start = out.len();
    out.extend_from_slice(&first);
    Start(start)
}

/// Takes back the frame that began at `start` and all that was appended since.
pub fn abandon(out: &mut Vec<u8>, start: Start) {
    out.truncate(start.0);
}

/// Ends the frame that began at `start`, with all that was appended since.
///
/// # Errors
///
/// When the body is larger than `max` or than a head can say; `out` is then
/// cut back to where the frame began.
#[inline]
pub fn finish(out: &mut Vec<u8>, start: Start, max: usize) -> Result<(), FrameTooLarge> {
    let size = out.len().saturating_sub(start.0).saturating_sub(HEAD);
    let limit = max.min(u32::MAX as usize);
    if size > limit {
        out.truncate(start.0);
        return Err(FrameTooLarge { size, limit });
    }
    let head = (size as u32).to_le_bytes();
    out[start.0..][..HEAD].copy_from_slice(&head);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_splits_as_it_was_built_and_not_a_byte_earlier() {
        let mut out = b"before".to_vec();
        let start = begin(&mut out);
        out.extend_from_slice(b"body");
        finish(&mut out, start, 4).unwrap();
        let bytes = &out[6..];
        for cut in 0..bytes.len() {
            assert_eq!(split(&bytes[..cut], 4), Ok(None), "cut at {cut}");
        }
        assert_eq!(split(bytes, 4), Ok(Some((&b"body"[..], 8))));
    }

    #[test]
    fn the_cap_is_told_from_the_head_alone() {
        let claim = u32::MAX.to_le_bytes();
        assert_eq!(split(&claim, 1024), Err(FrameError::TooLarge { size: u32::MAX as usize, limit: 1024 }));
    }

    #[test]
    fn a_body_over_the_cap_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        let start = begin(&mut out);
        out.extend_from_slice(b"bodies");
        assert_eq!(finish(&mut out, start, 4), Err(FrameTooLarge { size: 6, limit: 4 }));
        assert_eq!(out, b"before");
    }
}

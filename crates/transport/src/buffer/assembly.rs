//! A large message that comes in several frames.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::io;
use std::task::Poll;

use super::inbox::FrameBuf;
use super::pool;
use crate::limits::READ_CHUNK;

/// The bytes of a large message, gathered from several frames.
///
/// Its buffer is of its thread's pool, and goes back to it. A fresh one grows as
/// bytes come, never by what a head claims.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Initialised throughout, so that reading into it costs no clearing.
    buffer: Vec<u8>,
    /// How much of it goes before the message.
    pad: usize,
    /// How much has come.
    len: usize,
}

/// To what the system's copying is sensitive.
const LINE: usize = 64;

impl Assembly {
    /// How many bytes have been gathered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none have.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Places a message, of which nothing has come, where it is copied fastest: its
    /// bytes stand `skew` behind the beginning of a page of the system's.
    pub(super) fn align(&mut self, skew: usize) {
        if self.len == 0 {
            self.borrow_for(READ_CHUNK);
            self.pad = skew.wrapping_sub(self.buffer.as_ptr() as usize) % LINE;
            if self.buffer.len() < self.pad {
                self.buffer.resize(self.pad, 0);
            }
        }
    }

    /// Where the next byte goes.
    fn end(&self) -> usize {
        self.pad.saturating_add(self.len)
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.borrow_for(bytes.len());
        let end = self.end();
        let (into, beyond) = bytes.split_at(self.buffer.len().saturating_sub(end).min(bytes.len()));
        self.buffer[end..][..into.len()].copy_from_slice(into);
        self.buffer.extend_from_slice(beyond);
        self.len = self.len.saturating_add(bytes.len());
    }

    /// Reads once, at most `most` bytes.
    pub(super) fn fill(
        &mut self,
        most: usize,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        // As much again as has come: a claim takes no memory. Of the vector's
        // capacity no more is touched than bytes come into.
        let room = most.min(self.len.max(READ_CHUNK));
        self.borrow_for(room);
        let start = self.end();
        if self.buffer.len().saturating_sub(start) < room {
            self.buffer.resize(start.saturating_add(room), 0);
        }
        let end = self.buffer.len().min(start.saturating_add(most));
        let read = read(&mut self.buffer[start..end]);
        match read {
            Poll::Pending => self.rest(),
            Poll::Ready(Ok(n)) => {
                assert!(n <= end.saturating_sub(start), "no more can be read than there is room for");
                self.len = self.len.saturating_add(n);
            }
            Poll::Ready(Err(_)) => {}
        }
        read
    }

    /// Takes a larger buffer of the pool, if there is one, where its own has no
    /// room for `more` bytes.
    fn borrow_for(&mut self, more: usize) {
        let end = self.end();
        if self.buffer.len().saturating_sub(end) >= more {
            return;
        }
        if let Some(mut larger) = pool::lend_larger_to_read(self.buffer.len()) {
            larger[..end].copy_from_slice(&self.buffer[..end]);
            pool::give_back(std::mem::replace(&mut self.buffer, larger));
        }
    }

    /// Nothing more has come yet: few bytes hold no large buffer.
    fn rest(&mut self) {
        if self.len < READ_CHUNK / 4 && self.buffer.len() >= READ_CHUNK {
            let small = self.buffer[self.pad..self.end()].to_vec();
            pool::give_back(std::mem::replace(&mut self.buffer, small));
            self.pad = 0;
        }
    }

    /// All of it, as one message. A short one does not keep a large buffer.
    #[must_use]
    pub fn into_frame(mut self) -> FrameBuf {
        let body = self.pad..self.end();
        if pool::fits(self.buffer.len(), self.len) {
            FrameBuf::new(std::mem::take(&mut self.buffer), body)
        } else {
            FrameBuf::new(self.buffer[body].to_vec(), 0..self.len)
        }
    }
}

impl Drop for Assembly {
    fn drop(&mut self) {
        pool::give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn fill(assembly: &mut Assembly, bytes: &mut &[u8], most: usize) -> usize {
        let read = assembly.fill(most, |free| Poll::Ready(bytes.read(free)));
        let Poll::Ready(read) = read else { unreachable!() };
        read.unwrap()
    }

    #[test]
    fn it_stands_where_it_is_copied_fastest_and_is_the_same() {
        for skew in [0, 4, 7, 63] {
            // In a buffer of the pool's, which does not move any more.
            let mut first = Assembly::default();
            first.append(&[7; 3 * READ_CHUNK]);
            drop(first);
            let mut assembly = Assembly::default();
            assembly.align(skew);
            assembly.append(b"message");
            assert_eq!(assembly.buffer[assembly.pad..].as_ptr() as usize % LINE, skew);
            assert_eq!(&assembly.into_frame()[..], b"message");
        }
    }

    #[test]
    fn it_is_what_was_appended_and_read_in_order() {
        let much: Vec<u8> = (0..500_000u32).map(|at| (at ^ (at >> 8)) as u8).collect();
        // The second time in the buffer of the first, with other bytes in it.
        for steps in [[1, 70_000, 3], [100_000, 10, 65_536]] {
            let mut assembly = Assembly::default();
            assert!(assembly.is_empty());
            let mut left = &much[..];
            for step in steps.into_iter().cycle() {
                if left.is_empty() {
                    break;
                }
                let (now, later) = left.split_at(step.min(left.len()));
                assembly.append(now);
                left = later;
                fill(&mut assembly, &mut left, step);
                assert_eq!(assembly.len(), much.len() - left.len());
            }
            let mut frame = assembly.into_frame();
            assert_eq!(*frame, much);
            frame.advance(1);
            frame.truncate(much.len());
            assert_eq!(*frame, much[1..]);
            frame.truncate(2);
            assert_eq!(*frame, much[1..3]);
        }
    }

    #[test]
    fn it_reads_no_more_than_asked_and_makes_room_for_no_more_than_came() {
        let much = vec![1; 1 << 20];
        let mut assembly = Assembly::default();
        let mut left = &much[..];
        assert_eq!(fill(&mut assembly, &mut left, 10), 10);
        assert_eq!(assembly.buffer.len(), 10);
        while assembly.len() < 300_000 {
            let before = assembly.len();
            fill(&mut assembly, &mut left, usize::MAX);
            assert!(assembly.buffer.len() <= (2 * before).max(before + READ_CHUNK));
        }
        let mut few = Assembly::default();
        few.append(&[1; 100]);
        assert!(few.buffer.capacity() < 1000);
    }

    #[test]
    fn while_nothing_comes_few_bytes_hold_no_large_buffer() {
        let mut assembly = Assembly::default();
        assembly.append(b"few");
        assert!(assembly.fill(usize::MAX, |_| Poll::Pending).is_pending());
        assert!(assembly.buffer.capacity() < 64, "{}", assembly.buffer.capacity());
        assert_eq!(*assembly.into_frame(), *b"few");
    }

    #[test]
    fn its_buffer_goes_round() {
        let message = vec![1; 1 << 20];
        let mut assembly = Assembly::default();
        assembly.append(&message);
        let place = assembly.buffer.as_ptr();
        let frame = assembly.into_frame();
        assert_eq!(frame.as_ptr(), place);
        drop(frame);
        let mut assembly = Assembly::default();
        assembly.append(b"the first bytes");
        assert_eq!(assembly.buffer.as_ptr(), place);
        drop(assembly);
        let mut assembly = Assembly::default();
        assert_eq!(fill(&mut assembly, &mut &message[..], usize::MAX), message.len());
        assert_eq!(assembly.buffer.as_ptr(), place);
    }
}

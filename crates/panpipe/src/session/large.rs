//! One large message that goes out: bytes of its own, and blocks among them that it shares.

use std::collections::VecDeque;

use bytes::Bytes;
use panpipe_transport::buffer::{Outbox, recycle};

use crate::carried::Apart;
use crate::limits::SHORT_RUN;

/// A message, and how much of it has been handed out.
#[derive(Debug)]
pub(super) struct LargeMessage {
    /// What is its own. Empty while it is lent.
    own: Vec<u8>,
    own_len: usize,
    /// How much of it has been handed out.
    at: usize,
    /// Each belongs behind so much of what is its own, and counts from there on.
    shared: VecDeque<Apart>,
    /// How many bytes have not been handed out.
    left: usize,
}

impl LargeMessage {
    /// A message whose own bytes begin at index `start` of `own`. The positions of the shared
    /// blocks count from the start of `own`.
    pub(super) fn new(own: Vec<u8>, start: usize, shared: Vec<Apart>) -> Self {
        let left = own.len() - start + shared.iter().map(|apart| apart.block.len()).sum::<usize>();
        LargeMessage { own_len: own.len(), own, at: start, shared: shared.into(), left }
    }

    /// How many bytes have not been handed out.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Hands its next bytes to the outbox, at most `most` and at least one: short runs as
    /// copies, and of long ones, of which an outbox takes one, the first. Gives how many.
    pub(super) fn hand_out(&mut self, most: usize, outbox: &mut Outbox) -> usize {
        let (before, most) = (self.left, most.min(self.left));
        while let Some(room) = most.checked_sub(before - self.left).filter(|&room| room > 0) {
            let end = self.shared.front().map_or(self.own_len, |next| next.at);
            let run = self.at..end.min(self.at + room);
            let n = if !run.is_empty() && run.len() <= SHORT_RUN && !self.own.is_empty() {
                outbox.append().extend_from_slice(&self.own[run.clone()]);
                self.at = run.end;
                run.len()
            } else if outbox.has_lent() {
                break;
            } else if !run.is_empty() {
                outbox.lend(std::mem::take(&mut self.own), run.clone());
                self.at = run.end;
                run.len()
            } else if let Some(next) = self.shared.front_mut() {
                let block = next.block.split_to(next.block.len().min(room));
                if next.block.is_empty() {
                    self.shared.pop_front();
                }
                let n = block.len();
                outbox.lend(block, 0..n);
                n
            } else {
                break;
            };
            self.left -= n;
        }
        before - self.left
    }

    /// Takes the blocks that have not been handed out.
    pub(super) fn take_shared(&mut self) -> impl Iterator<Item = Bytes> {
        std::mem::take(&mut self.shared).into_iter().map(|apart| apart.block)
    }

    /// What was lent of its own is back.
    pub(super) fn take_back(&mut self, own: Vec<u8>) {
        self.own = own;
    }
}

impl Drop for LargeMessage {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.own));
    }
}

#[cfg(test)]
mod tests {
    use panpipe_transport::buffer::Large;
    use panpipe_transport::frame::HEAD;

    use super::*;

    /// A message of runs of so many bytes, of which each second is shared; and all of it.
    fn message(runs: &[usize]) -> (LargeMessage, Vec<u8>) {
        let (mut own, mut shared, mut all) = (vec![0; HEAD], Vec::new(), Vec::new());
        for (index, &len) in runs.iter().enumerate() {
            let run: Vec<u8> = (0..len).map(|at| (at ^ (at >> 8)) as u8 ^ index as u8).collect();
            all.extend_from_slice(&run);
            if index % 2 == 0 {
                own.extend_from_slice(&run);
            } else {
                shared.push(Apart { at: own.len(), block: run.into() });
            }
        }
        (LargeMessage::new(own, HEAD, shared), all)
    }

    /// All that goes out in parts of at most so many bytes, and the parts' lengths.
    fn sent(mut message: LargeMessage, most: usize) -> (Vec<u8>, Vec<usize>) {
        let (mut outbox, mut bytes, mut parts) = (Outbox::default(), Vec::new(), Vec::new());
        while message.left() > 0 {
            parts.push(message.hand_out(most, &mut outbox));
            assert_eq!(outbox.pending_len(), parts[parts.len() - 1]);
            bytes.extend(outbox.slices().concat());
            outbox.advance(outbox.pending_len());
            if let Some(Large::Own(own)) = outbox.take_back() {
                message.take_back(own);
            }
        }
        (bytes, parts)
    }

    #[test]
    fn all_of_it_goes_out_in_order_in_parts_of_any_size() {
        let long = 3 * SHORT_RUN;
        let runs: [&[usize]; 7] = [
            &[long],
            &[14, long],
            &[14, long, 5],
            &[long, long, long],
            &[0, long, 0, long],
            &[14, long, 9, long, long, long],
            &[SHORT_RUN + 1, 1, SHORT_RUN, long, 1],
        ];
        for runs in runs {
            for most in [1, 1000, SHORT_RUN, SHORT_RUN + 1, long, 100 * long] {
                let (message, all) = message(runs);
                let (bytes, parts) = sent(message, most);
                assert!(bytes == all, "{runs:?} in parts of {most}");
                assert!(parts.iter().all(|&part| (1..=most).contains(&part)), "{parts:?}");
            }
        }
    }

    #[test]
    fn a_block_between_short_runs_is_one_part_and_no_copy() {
        let block = Bytes::from(vec![7; 100_000]);
        let own = [&[0; HEAD][..], b"before", b"after"].concat();
        let mut message = LargeMessage::new(own, HEAD, vec![Apart { at: HEAD + 6, block: block.clone() }]);
        let mut outbox = Outbox::default();
        assert_eq!(message.hand_out(usize::MAX, &mut outbox), 6 + block.len() + 5);
        let [before, shared, after] = outbox.slices();
        assert_eq!((before, shared.as_ptr(), shared.len()), (&b"before"[..], block.as_ptr(), block.len()));
        assert_eq!((after, message.left()), (&b"after"[..], 0));
    }
}

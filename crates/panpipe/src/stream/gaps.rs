//! Where items of a queue were lost.

use std::collections::VecDeque;

use crate::session::Lost;

/// Counts the items that were lost in a queue, each before the item that comes next.
#[derive(Default)]
pub(super) struct Gaps {
    /// How many items have left the queue at its front: the number of the one there.
    front: u64,
    /// Before which items others were lost, by their numbers. A queue that loses none has no
    /// entry.
    before: VecDeque<(u64, Lost)>,
}

impl Gaps {
    /// The item at the front is read. Gives how many were lost before it.
    #[inline]
    pub(super) fn pop(&mut self) -> Lost {
        let item = self.front;
        self.front += 1;
        if self.before.is_empty() { Lost::NONE } else { self.take_up_to(item) }
    }

    /// So many items at the front are dropped.
    pub(super) fn drop_front(&mut self, count: usize) {
        self.front += count as u64;
        // What was lost before them is lost before the one that stands there now.
        let mut lost = self.take_up_to(self.front);
        lost.add(Lost::of(count));
        if !lost.is_none() {
            self.before.push_front((self.front, lost));
        }
    }

    /// So many are lost behind the `len` items of the queue.
    pub(super) fn lose_behind(&mut self, len: usize, lost: Lost) {
        let next = self.front + len as u64;
        match self.before.back_mut() {
            Some((item, known)) if *item == next => known.add(lost),
            _ => self.before.push_back((next, lost)),
        }
    }

    /// The queue is empty and ends. Gives how many were lost behind its last item.
    pub(super) fn take_rest(&mut self) -> Lost {
        self.take_up_to(u64::MAX)
    }

    fn take_up_to(&mut self, item: u64) -> Lost {
        let mut lost = Lost::NONE;
        while let Some(&(before, count)) = self.before.front() {
            if before > item {
                break;
            }
            lost.add(count);
            self.before.pop_front();
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items by their numbers: what is missing between two that are read was lost.
    #[test]
    fn each_loss_is_told_with_the_next_item_in_any_order_of_events() {
        for seed in 1..200u64 {
            let (mut random, mut gaps) = (seed, Gaps::default());
            let (mut queue, mut next, mut expected) = (VecDeque::new(), 0u64, 0);
            for _ in 0..200 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let count = (random >> 40) as usize % 4;
                match (random >> 33) % 4 {
                    0 => {
                        queue.push_back(next);
                        next += 1;
                    }
                    1 => {
                        gaps.lose_behind(queue.len(), Lost::of(count));
                        next += count as u64;
                    }
                    2 => {
                        let count = count.min(queue.len());
                        queue.drain(..count);
                        gaps.drop_front(count);
                    }
                    _ => {
                        if let Some(item) = queue.pop_front() {
                            assert_eq!(gaps.pop(), Lost::of((item - expected) as usize), "seed {seed}");
                            expected = item + 1;
                        }
                    }
                }
                assert!(gaps.before.len() <= queue.len() + 1);
            }
            for item in queue {
                assert_eq!(gaps.pop(), Lost::of((item - expected) as usize));
                expected = item + 1;
            }
            assert_eq!(gaps.take_rest(), Lost::of((next - expected) as usize));
        }
    }
}

//! Items of a stream that have come in and have not been read: small ones one
//! behind the other in one buffer, large ones and those with ports each alone.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::collections::VecDeque;

use panpipe_transport::buffer::FrameBuf;

use super::lost::Lost;
use super::ports::{Attached, Credit};

/// Marks an item that stands among the special ones.
const SPECIAL: u32 = u32::MAX;

/// Items in their order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Each item as its length and its bytes.
    bytes: Vec<u8>,
    /// How far the batch has been read.
    at: usize,
    special: VecDeque<Special>,
    /// Of a stream that loses items.
    lost: Option<Box<LostItems>>,
    items: u64,
    /// What the batch has cost its writer, also of items that were read; all but
    /// what each special one tells.
    cost: Credit,
}

/// How many items were lost, each number with the place of the item behind them.
type LostItems = VecDeque<(usize, Lost)>;

/// An item that is large or carries ports.
#[derive(Debug)]
pub(crate) struct Special {
    pub(crate) body: FrameBuf,
    pub(crate) attached: Vec<Attached>,
    /// What of its cost is due as soon as it has been read.
    pub(crate) large: u64,
}

/// An item, as it came.
#[derive(Debug)]
pub(crate) enum RawItem<'a> {
    Small(&'a [u8]),
    Special(Special),
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Adds an item that is neither large nor carries ports.
    pub(crate) fn push_small(&mut self, body: &[u8], cost: Credit) {
        let len = u32::try_from(body.len()).expect("a small item is far shorter than a frame can be");
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(body);
        self.items = self.items.saturating_add(1);
        self.cost.add(cost);
    }

    pub(crate) fn push_special(&mut self, body: FrameBuf, attached: Vec<Attached>, cost: Credit) {
        self.bytes.extend_from_slice(&SPECIAL.to_le_bytes());
        self.special.push_back(Special { body, attached, large: cost.large });
        self.items = self.items.saturating_add(1);
        self.cost.add(Credit { large: 0, ..cost });
    }

    /// Notes that so many were lost before the item that is pushed next.
    #[cold]
    pub(crate) fn lose(&mut self, lost: Lost) {
        self.lost.get_or_insert_default().push_back((self.bytes.len(), lost));
    }

    /// Takes how many were lost before the next item.
    #[inline]
    pub(crate) fn take_lost(&mut self) -> Lost {
        self.lost.as_mut().map_or(Lost::NONE, |lost| match lost.front() {
            Some(&(at, count)) if at == self.at => {
                lost.pop_front();
                count
            }
            _ => Lost::NONE,
        })
    }

    /// Takes the next item.
    pub(crate) fn pop(&mut self) -> Option<RawItem<'_>> {
        let head = self.bytes.get(self.at..)?.first_chunk::<4>()?;
        let len = u32::from_le_bytes(*head);
        self.at = self.at.saturating_add(4);
        self.items = self.items.saturating_sub(1);
        if len == SPECIAL {
            return self.special.pop_front().map(RawItem::Special);
        }
        let start = self.at;
        self.at = self.at.saturating_add(len as usize);
        Some(RawItem::Small(&self.bytes[start..self.at]))
    }

    /// Forgets what has been read; gives what it had cost. The buffer is kept.
    pub(crate) fn clear(&mut self) -> Credit {
        self.bytes.clear();
        self.special.clear();
        self.lost.iter_mut().for_each(|lost| lost.clear());
        (self.at, self.items) = (0, 0);
        std::mem::take(&mut self.cost)
    }

    /// The ports that unread items carry.
    pub(crate) fn attached(&mut self) -> Vec<Attached> {
        self.special.iter_mut().flat_map(|special| std::mem::take(&mut special.attached)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ports::PortKind;

    #[test]
    fn items_come_out_in_the_order_in_which_they_came() {
        let mut batch = Batch::default();
        let one = |len| Credit::of_item(len, 100);
        let attached = vec![Attached { port: 3, kind: PortKind::Stream, items: 0, version: None }];
        batch.push_small(b"first", one(5));
        batch.push_special(FrameBuf::default(), attached.clone(), one(150));
        batch.push_small(b"", one(0));
        assert!(matches!(batch.pop(), Some(RawItem::Small(b"first"))));
        assert!(
            matches!(batch.pop(), Some(RawItem::Special(special)) if (&special.attached, special.large) == (&attached, 150))
        );
        assert!(matches!(batch.pop(), Some(RawItem::Small(b""))));
        assert!(batch.is_empty() && batch.pop().is_none());
        assert_eq!(batch.clear(), Credit { items: 3, bytes: 105, large: 0 });
    }
}

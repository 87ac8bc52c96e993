//! How many items of a stream were lost, as the ids of its Items and its End carry it.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

/// The bit of an Item's id that says that its reader has called for it past the pool.
pub(crate) const CALLED_FOR: u64 = 1;

/// A number of lost items, or that the number is not known.
///
/// A sum with an unknown number is unknown, and so is one that is too large for an id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost(u64);

impl Lost {
    pub(crate) const NONE: Lost = Lost(0);
    pub(crate) const ONE: Lost = Lost(1);
    pub(crate) const UNKNOWN: Lost = Lost(u64::MAX >> 1);

    pub(crate) fn of(count: usize) -> Lost {
        Lost(count as u64).plus(Lost::NONE)
    }

    pub(crate) fn is_none(self) -> bool {
        self == Lost::NONE
    }

    pub(crate) fn known(self) -> Option<u64> {
        (self != Lost::UNKNOWN).then_some(self.0)
    }

    #[must_use]
    pub(crate) fn plus(self, more: Lost) -> Lost {
        Lost(self.0.saturating_add(more.0).min(Lost::UNKNOWN.0))
    }

    pub(crate) fn add(&mut self, more: Lost) {
        *self = self.plus(more);
    }

    /// How many were lost between an `earlier` count and this one.
    #[must_use]
    pub(crate) fn since(self, earlier: Lost) -> Lost {
        match (self, earlier) {
            (Lost::UNKNOWN, Lost::UNKNOWN) => Lost::NONE,
            (Lost::UNKNOWN, _) => Lost::UNKNOWN,
            _ => Lost(self.0.saturating_sub(earlier.0)),
        }
    }

    /// The id of an Item or an End behind so many lost ones.
    pub(crate) fn id(self, called_for: bool) -> u64 {
        self.0 << 1 | if called_for { CALLED_FOR } else { 0 }
    }

    pub(crate) fn of_id(id: u64) -> Lost {
        Lost(id >> 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_comes_back_from_its_id() {
        for lost in [Lost::NONE, Lost::ONE, Lost(63), Lost(64), Lost::UNKNOWN] {
            for called_for in [false, true] {
                let id = lost.id(called_for);
                assert_eq!((Lost::of_id(id), id & CALLED_FOR != 0), (lost, called_for));
            }
        }
        assert_eq!(Lost::NONE.id(true), 1);
        assert_eq!(Lost::of_id(u64::MAX), Lost::UNKNOWN);
    }

    #[test]
    fn a_sum_with_an_unknown_count_is_unknown() {
        assert_eq!(Lost(2).plus(Lost(3)).known(), Some(5));
        for lost in [Lost::NONE, Lost(7), Lost::UNKNOWN] {
            assert_eq!(lost.plus(Lost::UNKNOWN).known(), None);
            assert_eq!(Lost::UNKNOWN.plus(lost).known(), None);
        }
        assert_eq!(Lost(u64::MAX >> 2).plus(Lost(u64::MAX >> 2)).plus(Lost::ONE).known(), None);
    }

    #[test]
    fn an_unknown_count_is_passed_on_once() {
        assert_eq!(Lost(9).since(Lost(4)), Lost(5));
        assert_eq!(Lost::UNKNOWN.since(Lost(4)), Lost::UNKNOWN);
        assert_eq!(Lost::UNKNOWN.since(Lost::UNKNOWN), Lost::NONE);
    }
}

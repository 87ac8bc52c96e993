//! Parts of a connection's state that most connections never use: they take memory from
//! their first use on.

use std::ops::{Deref, DerefMut};

/// What can be there on demand.
pub(super) trait Part: Default + 'static {
    /// What it is before it is used.
    fn unused() -> &'static Self;
}

/// A part, which is what it is at first until something changes it.
///
/// To borrow it mutably is to use it: where mostly nothing is to be changed,
/// [`used`](Self::used) asks first.
#[derive(Debug)]
pub(super) struct OnDemand<T>(Option<Box<T>>);

impl<T> Default for OnDemand<T> {
    fn default() -> Self {
        OnDemand(None)
    }
}

impl<T: Part> OnDemand<T> {
    /// The part, if it has been used.
    #[inline]
    pub(super) fn used(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// The same to look at.
    #[inline]
    pub(super) fn seen(&self) -> Option<&T> {
        self.0.as_deref()
    }

    #[cold]
    fn first_use(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Part> Deref for OnDemand<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match &self.0 {
            Some(part) => part,
            None => T::unused(),
        }
    }
}

impl<T: Part> DerefMut for OnDemand<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        if self.0.is_none() {
            return self.first_use();
        }
        self.0.as_deref_mut().expect("it is there after its first use")
    }
}

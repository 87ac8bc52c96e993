//! The connections that have to be told when their server ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::link::Link;

/// The connections of a server, until it ends: each is then told to take no new calls.
#[derive(Debug, Default)]
pub(super) struct Draining {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    has_begun: bool,
    links: HashMap<u64, Weak<Link>>,
}

impl Draining {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of the user's runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a connection be told; at once, if the server ends already.
    pub(super) fn add(self: Arc<Self>, link: &Arc<Link>) -> ToBeTold {
        let mut state = self.lock();
        state.links.insert(link.id(), Arc::downgrade(link));
        let has_begun = state.has_begun;
        drop(state);
        if has_begun {
            link.drain();
        }
        ToBeTold { link: Arc::clone(link), draining: self }
    }

    /// The server ends.
    pub(super) fn begin(&self) {
        let mut state = self.lock();
        state.has_begun = true;
        let links: Vec<_> = state.links.values().filter_map(Weak::upgrade).collect();
        drop(state);
        links.iter().for_each(|link| link.drain());
    }
}

/// A connection's place among those that have to be told.
pub(super) struct ToBeTold {
    /// Kept for as long as the client is there.
    pub(super) link: Arc<Link>,
    draining: Arc<Draining>,
}

impl Drop for ToBeTold {
    fn drop(&mut self) {
        self.draining.lock().links.remove(&self.link.id());
    }
}

//! The connections that have to be told when their server ends.

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
    /// Some of which have ended, and are still to be forgotten.
    links: Vec<Weak<Link>>,
    /// When that is done: as soon as there are so many.
    look_at: usize,
}

impl Draining {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of the user's runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a connection be told; at once, if the server ends already.
    pub(super) fn add(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        if state.links.len() >= state.look_at {
            state.links.retain(|link| link.strong_count() > 0);
            // As many more come before the next time, so that each pays for one.
            state.look_at = (2 * state.links.len()).max(8);
        }
        state.links.push(Arc::downgrade(link));
        let has_begun = state.has_begun;
        drop(state);
        if has_begun {
            link.drain();
        }
    }

    /// The server ends.
    pub(super) fn begin(&self) {
        let mut state = self.lock();
        state.has_begun = true;
        let links: Vec<_> = state.links.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        links.iter().for_each(|link| link.drain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::over_stream;
    use crate::session::Config;

    #[tokio::test]
    async fn connections_that_have_ended_take_no_room() {
        let draining = Draining::default();
        for _ in 0..1000 {
            let (side, _other) = tokio::io::duplex(64);
            draining.add(&over_stream(side, Config::acceptor()).start());
        }
        assert!(draining.lock().links.capacity() < 16);
    }
}

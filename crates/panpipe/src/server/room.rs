//! How many clients a server has room for, and who takes it.
//!
//! A rule of the server's [`Access`](panpipe_transport::Access) may wait for its answer. A client
//! whose rule has not answered has no place yet: otherwise a few processes that the rule takes
//! long over would keep everybody else out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;

/// The places of a server.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Clients that have connected and not gone.
    present: usize,
    /// Those of them whose rule has not answered.
    undecided: usize,
    /// The same by user.
    undecided_of: HashMap<Option<u32>, usize>,
}

/// A client that has connected.
#[derive(Debug)]
pub(super) struct Visitor {
    room: Arc<Room>,
    /// Its user, while its rule has not answered.
    undecided: Option<Option<u32>>,
}

impl Room {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Room { most, state: Mutex::default() })
    }

    /// A client has connected; `None` if all places are taken.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Visitor> {
        let mut state = self.lock();
        let has_place = state.present - state.undecided < self.most;
        has_place.then(|| {
            state.present += 1;
            Visitor { room: Arc::clone(self), undecided: None }
        })
    }

    /// How many clients have a place.
    pub(super) fn taken(&self) -> usize {
        let state = self.lock();
        state.present - state.undecided
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor {
    /// The client waits for its rule and gives its place back. False when too many clients wait,
    /// or too many of this user.
    pub(super) fn wait(&mut self, uid: Option<u32>) -> bool {
        let mut state = self.room.lock();
        let of_user = state.undecided_of.get(&uid).copied().unwrap_or(0);
        let may = of_user < limits::UNDECIDED_OF_USER && state.undecided < limits::UNDECIDED;
        if may {
            state.undecided += 1;
            *state.undecided_of.entry(uid).or_default() += 1;
            self.undecided = Some(uid);
        }
        may
    }

    /// Its rule has let the client in. False when all places have been taken meanwhile.
    pub(super) fn take_place(&mut self) -> bool {
        let mut state = self.room.lock();
        let has_place = state.present - state.undecided < self.room.most;
        match self.undecided.take() {
            Some(uid) => {
                state.decide(uid);
                has_place
            }
            None => true,
        }
    }
}

impl State {
    fn decide(&mut self, uid: Option<u32>) {
        self.undecided -= 1;
        if let Some(of_user) = self.undecided_of.get_mut(&uid) {
            *of_user -= 1;
            if *of_user == 0 {
                self.undecided_of.remove(&uid);
            }
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        state.present -= 1;
        if let Some(uid) = self.undecided.take() {
            state.decide(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undecided_clients_take_no_place() {
        let room = Room::new(2);
        let wait = |_| {
            let mut visitor = room.enter().unwrap();
            assert!(visitor.wait(Some(7)));
            visitor
        };
        let mut waiting: Vec<_> = (0..10).map(wait).collect();
        let (one, _other) = (room.enter().unwrap(), room.enter().unwrap());
        assert!(room.enter().is_none() && room.taken() == 2);
        // The rule lets one in that finds no place any more.
        let mut late = waiting.pop().unwrap();
        assert!(!late.take_place());
        drop((late, one));
        let mut next = waiting.pop().unwrap();
        assert!(next.take_place() && room.enter().is_none());
        drop((waiting, next));
        assert!(room.lock().undecided_of.is_empty() && room.taken() == 1);
    }

    #[test]
    fn undecided_clients_are_limited_for_each_user_and_in_all() {
        let room = Room::new(1);
        let mut waiting = Vec::new();
        let mut wait = |uid| {
            let mut visitor = room.enter().unwrap();
            let may = visitor.wait(Some(uid));
            if may {
                waiting.push(visitor);
            }
            may
        };
        assert!((0..limits::UNDECIDED_OF_USER).all(|_| wait(1)));
        assert!(!wait(1) && wait(2));
        let others = (limits::UNDECIDED - limits::UNDECIDED_OF_USER - 1) as u32;
        assert!((10..10 + others).all(&mut wait));
        assert!(!wait(3));
    }
}

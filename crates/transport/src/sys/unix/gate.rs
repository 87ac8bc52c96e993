//! Has the event loop not be told, for a while, that a descriptor can be read: whoever
//! looks at the descriptor meanwhile would wake the thread that waits for events, too.
//!
//! The event loop watches an epoll instance in its place, which watches the descriptor
//! or does not: to change that is a fraction of what registering anew would cost.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// What it is told of.
const TOLD: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

/// What the event loop watches in the place of a descriptor.
#[derive(Debug)]
pub(super) struct Gate {
    epoll: Arc<OwnedFd>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// It is open, and of what came while it was not the event loop need not be told: the
    /// system says so just once.
    Opened,
    Closed,
}

impl Gate {
    /// A gate that is open.
    pub(super) fn new(source: &OwnedFd) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, source, EventData::new_u64(0), TOLD)?;
        Ok(Gate { epoll: Arc::new(epoll), state: State::Open })
    }

    /// What is to be watched.
    pub(super) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.epoll
    }

    /// Closes the gate: the event loop is told of nothing but the end.
    #[inline]
    pub(super) fn close(&mut self, source: &OwnedFd) -> io::Result<()> {
        if self.state != State::Closed {
            epoll::modify(&self.epoll, source, EventData::new_u64(0), EventFlags::empty())?;
            self.state = State::Closed;
        }
        Ok(())
    }

    /// Opens the gate: the event loop is told of what comes. Whether something may have come
    /// that it is not told of: then the descriptor is to be read until it is
    /// [empty](Self::is_empty).
    #[inline]
    pub(super) fn open(&mut self, source: &OwnedFd) -> io::Result<bool> {
        if self.state == State::Closed {
            epoll::modify(&self.epoll, source, EventData::new_u64(0), TOLD)?;
            self.state = State::Opened;
        }
        Ok(self.state == State::Opened)
    }

    /// Nothing was there to be read, after it had been opened.
    #[inline]
    pub(super) fn is_empty(&mut self) {
        self.state = State::Open;
    }
}

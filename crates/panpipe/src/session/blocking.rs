//! What threads that drive a session themselves need of it: when to wait for what, and to
//! write without its driver.

use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use panpipe_transport::blocking::{BlockingReader, Room};

use super::core::Core;
use super::driver::Driver;
use super::intake::{Intake, Reader, Step};
use super::outlet::{Inlet, Outlet};
use super::{CloseReason, Session, State};
use crate::clock;

/// What a driver waits for that is pending.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wants {
    /// It reads on.
    pub(crate) reads: bool,
    /// Nothing but bytes, and a time, can matter to it.
    pub(crate) is_just_read: bool,
    /// Something waits to be written.
    pub(crate) has_unsent: bool,
    /// The peer may call services of this side whenever it likes, or the connection is on
    /// its way to its end.
    pub(crate) goes_on: bool,
}

impl Wants {
    /// Whether it has to be driven also where nobody waits for anything.
    pub(crate) fn is_kept(self) -> bool {
        self.has_unsent || self.goes_on
    }
}

/// What has become of queued bytes that were to be written at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    All,
    /// There is no room for some.
    Left,
    /// There may be room for more, and others have their turn first.
    Turn,
    /// Nobody reads them any more.
    Broken,
}

impl Session {
    /// Writes what is queued, as far as there is room. The driver is woken by `waker` as
    /// before.
    ///
    /// The lock is released after each turn. Otherwise a peer that reads as fast as this thread
    /// writes would keep all other threads from queueing their items and calls until the last
    /// byte of a large message is out.
    pub(crate) fn flush(&self, waker: &Waker) -> Flushed {
        self.flush_in_turns(waker, thread::yield_now)
    }

    fn flush_in_turns(&self, waker: &Waker, mut between: impl FnMut()) -> Flushed {
        loop {
            let mut waker = Some(waker.clone());
            let flushed = self.with(|state| {
                let flushed = state.flush_turn();
                state.core.keep_driver(&mut waker);
                flushed
            });
            if flushed != Flushed::Turn {
                return flushed;
            }
            between();
        }
    }

    /// What to wait at until something can be written.
    pub(crate) fn room(&self) -> Option<Room> {
        self.with(|state| match &state.outlet {
            Outlet::Blocking(_) => state.outlet.room(),
            _ => None,
        })
    }

    /// When something falls due next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.with(|state| state.core.next_timeout())
    }

    /// Whether calls of this side are under way, ports are open, or the end is waited for.
    pub(crate) fn is_awaited(&self) -> bool {
        self.with(|state| {
            let core = &state.core;
            core.has_calls_in_flight() || core.open_ports() > 0 || core.is_end_awaited()
        })
    }

    /// Whether something waits to be written.
    pub(crate) fn has_unsent(&self) -> bool {
        self.with(|state| state.core.has_unsent())
    }

    /// Nothing can be written any more: ends what waits for an answer.
    pub(crate) fn cannot_write(&self) {
        self.with(|state| state.core.ended(CloseReason::Closed));
    }

    /// Ends what is due, where the driver may be waiting for something else.
    pub(crate) fn look_at_clock(&self) {
        self.with(|state| {
            state.core.on_timeout(clock::system(), &self.peer);
            state.flush();
        });
    }
}

impl State {
    pub(super) fn flush(&mut self) -> Flushed {
        self.flush_while(|_, _| true)
    }

    /// The same, in one turn: it ends when so much has gone that others come first.
    fn flush_turn(&mut self) -> Flushed {
        let most = self.core.write_turn();
        self.flush_while(|core, gone| gone < most.min(core.write_turn()))
    }

    fn flush_while(&mut self, goes_on: impl Fn(&Core, usize) -> bool) -> Flushed {
        self.choose_way();
        let mut gone = 0;
        loop {
            self.core.feed_all();
            self.outlet.hold(self.core.hold());
            if self.core.outbox().pending().is_empty() {
                return Flushed::All;
            }
            if !goes_on(&self.core, gone) {
                return Flushed::Turn;
            }
            let outbox = self.core.outbox();
            match self.outlet.try_write(outbox) {
                Ok(0) => return Flushed::Left,
                Ok(n) => {
                    outbox.advance(n);
                    gone += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Left,
                // The driver meets the same error and deals with it.
                Err(_) => return Flushed::Broken,
            }
            self.core.after_write();
        }
    }

    /// All that has come has been dealt with by who reads. Whether the driver can go on
    /// waiting, and for what.
    fn ends_in_place(&mut self, wants: &mut Wants) -> bool {
        if self.core.has_unsent() {
            // What has come in meanwhile is not to wait for all of it.
            self.flush_turn();
        }
        self.core.driver_goes_on();
        *wants = self.core.wants(true, false);
        wants.is_just_read && self.core.next_timeout().is_none()
    }
}

impl Driver {
    /// What it waits for, as of its last poll.
    #[inline]
    pub(crate) fn wants(&self) -> Wants {
        self.wants
    }

    /// What it reads from.
    #[inline]
    pub(crate) fn reader(&self) -> Option<&BlockingReader> {
        match self.intake.as_ref().map(|intake| &intake.inlet) {
            Some(Inlet::Blocking(reader)) => Some(reader),
            _ => None,
        }
    }

    /// What to wait at until it can write.
    pub(crate) fn room(&self) -> Option<Room> {
        self.session.room()
    }

    #[inline]
    pub(crate) fn poll_in_place(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        Pin::new(self).poll(cx)
    }

    /// Waits for bytes and takes them in; they are dealt with at the next poll.
    #[inline]
    pub(crate) fn read(&mut self) {
        if !self.wants.reads {
            return;
        }
        let Some(intake) = &mut self.intake else { return };
        let Intake { inlet: Inlet::Blocking(reader), inbox, .. } = &mut **intake else { return };
        if let Poll::Ready(read) = inbox.fill(|bytes| Poll::Ready(reader.read(bytes))) {
            intake.has_read(read);
        }
    }

    /// Deals with what has been [read](Self::read) where it was waiting for nothing else:
    /// to poll it costs as much again as a call, or a reply. Whether that is all there is to
    /// be done: it need not be polled then, and waits as before.
    #[inline]
    pub(crate) fn deals_in_place(&mut self) -> bool {
        let Driver { session, services, intake: Some(intake), parked, oneways, wants, .. } = self else {
            return false;
        };
        if intake.end.is_some() {
            return false;
        }
        loop {
            let mut is_all = false;
            let step = session.with(|state| {
                // All answers go out together.
                state.core.driver_starts();
                let step = intake.step(&mut state.core, Reader::Leader);
                if !matches!(step, Step::Call(_)) {
                    intake.held_up = !matches!(step, Step::Done);
                    is_all = state.ends_in_place(wants) && !intake.held_up;
                }
                step
            });
            let Step::Call(admitted) = step else { return is_all && parked.is_empty() && oneways.is_empty() };
            let args = admitted.args(intake.inbox.peeked());
            admitted.run_or_park(session, services, (parked, oneways), args);
            intake.inbox.consume_frame();
        }
    }

    /// Nobody drives it for now: it holds on to no more than it needs.
    #[inline]
    pub(crate) fn rest(&mut self) {
        if let Some(intake) = &mut self.intake {
            intake.inbox.rest();
        };
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use panpipe_transport::blocking::wait;
    use panpipe_transport::{anonymous, frame};

    use super::*;
    use crate::blocking::wait_for;
    use crate::codec::Codec;
    use crate::limits::Limits;
    use crate::link::over_blocking;
    use crate::session::core::{CallTarget, Config};
    use crate::session::encoded::Encoded;
    use crate::session::hello::{Hello, ServiceInfo};
    use crate::session::message::{Kind, MAGIC, begin_message};

    #[test]
    fn a_flush_lets_other_threads_in_after_each_turn() {
        let (one, other) = anonymous::blocking_pair().unwrap();
        let ours = over_blocking(one, Config::dialer(ServiceInfo::none())).start_blocking();
        let (mut reader, mut writer) = other.into_split();
        let mut hello = MAGIC.to_vec();
        let start = begin_message(&mut hello, Kind::Hello, 0, 0);
        Hello::new(Codec::default(), &Limits::default(), None, None).encode(&mut hello);
        frame::finish(&mut hello, start, 4096).unwrap();
        assert_eq!(writer.try_write(&hello).unwrap(), hello.len());
        ours.say_hello();
        wait_for(&ours, None, poll_fn(|cx| ours.poll_greeted(cx.waker()))).unwrap().unwrap();
        let queue = |len: usize| {
            let mut message = Encoded::new(Codec::default(), |_, out| {
                out.resize(out.len() + len, 7);
                Ok(None)
            })
            .unwrap();
            ours.with(|state| {
                let target = CallTarget::new(0, 7);
                let polled = state.core.poll_call(&mut None, target, None, || 0, &mut None, message.get());
                assert!(polled.is_ready());
            });
        };
        queue(3 << 20);
        loop {
            // Small messages pass the large one: its parts, and the turns, are short.
            queue(10);
            let mut turns = 0;
            let flushed = ours.flush_in_turns(Waker::noop(), || {
                assert!(ours.has_unsent(), "others find the lock free, and bytes to be sent");
                turns += 1;
            });
            if turns >= 8 {
                break;
            }
            assert_eq!(flushed, Flushed::Left, "all is out, and never in more than one turn");
            while wait(Some(&reader), None, None, Some(Duration::ZERO)).unwrap().readable {
                assert!(reader.read(&mut [0; 1 << 16]).unwrap() > 0);
            }
        }
    }
}

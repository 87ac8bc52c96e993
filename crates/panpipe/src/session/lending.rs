//! Who reads and writes for a connection of a runtime of many threads.
//!
//! There the driver mostly sleeps on another thread than its callers, and to wake it,
//! and to be woken by it, costs more than a call. So a caller that is alone borrows what
//! the driver reads with, for as long as a reply may take that is on its way already, and
//! looks for it. And where several tasks call at once, the driver is woken on their
//! thread, behind them, and sends what all have queued.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::calls::Reply;
use super::intake::Intake;
use super::{Session, State};
use crate::codec::Codec;
use crate::error::CallError;
use crate::limits;

/// Where the reading side is.
#[derive(Default)]
pub(super) struct Lending {
    place: Place,
}

#[derive(Default)]
enum Place {
    /// The driver has it.
    #[default]
    Driver,
    /// Nobody has it: the driver sleeps.
    Free(Box<Intake>),
    /// A caller has it. Whether the driver has asked for it meanwhile.
    Lent { is_wanted: bool },
    /// The driver has ended.
    Gone,
}

impl Lending {
    /// The driver is at work, and wants to read. None: it has it, or a caller has, and will
    /// wake the driver.
    pub(super) fn take_back(&mut self) -> Option<Box<Intake>> {
        match &mut self.place {
            Place::Free(_) => match std::mem::take(&mut self.place) {
                Place::Free(intake) => Some(intake),
                _ => None,
            },
            Place::Lent { is_wanted } => {
                *is_wanted = true;
                None
            }
            Place::Driver | Place::Gone => None,
        }
    }

    /// The driver goes to sleep, and leaves what it reads with to callers. True: one has
    /// brought it back meanwhile.
    pub(super) fn leave(&mut self, intake: &mut Option<Box<Intake>>) -> bool {
        match intake.take() {
            Some(intake) => {
                self.place = Place::Free(intake);
                false
            }
            None => {
                // It may have been brought back and borrowed again meanwhile, by who knows
                // nothing of a driver that wants it.
                if let Place::Lent { is_wanted } = &mut self.place {
                    *is_wanted = true;
                }
                matches!(self.place, Place::Free(_))
            }
        }
    }

    /// The driver has ended.
    pub(super) fn end(&mut self) {
        self.place = Place::Gone;
    }

    fn borrow(&mut self) -> Option<Box<Intake>> {
        // What is held up is the driver's, which has been woken.
        if matches!(&self.place, Place::Free(intake) if intake.is_held_up()) {
            return None;
        }
        match std::mem::replace(&mut self.place, Place::Lent { is_wanted: false }) {
            Place::Free(intake) => Some(intake),
            other => {
                self.place = other;
                None
            }
        }
    }
}

/// Wakes a driver when this thread of its runtime has polled what else is ready; now,
/// outside of a runtime's threads.
pub(super) fn wake_behind(driver: &Waker) {
    // That is how a runtime treats who yields.
    let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(driver));
}

/// What a caller reads with, until it brings it back; also when a waker panics that it has
/// to wake meanwhile.
struct Loan<'a> {
    session: &'a Session,
    intake: Option<Box<Intake>>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(intake) = self.intake.take() {
            self.session.with(|state| state.give_back(intake, true));
        }
    }
}

/// What has become of a caller's look.
enum Look {
    Over(Poll<Result<Codec, Box<CallError>>>),
    GoesOn,
    /// Something has come at the last moment.
    HasRead,
    /// The driver has been polled meanwhile, and waits.
    IsWanted(Waker),
}

impl Session {
    /// Waits for the reply to a call, and for a moment looks for it first.
    pub(super) fn poll_reply_looking(
        &self,
        key: &mut Option<usize>,
        waker: &Waker,
        reply: &mut Reply,
    ) -> Poll<Result<Codec, Box<CallError>>> {
        let mut polled = Poll::Pending;
        let intake = self.with(|state| {
            let intake = state.borrow_for(*key);
            if intake.is_none() {
                polled = state.poll_reply(key, &mut None, reply);
            }
            intake
        });
        if intake.is_some() {
            polled = Loan { session: self, intake }.look(key, reply);
        }
        if polled.is_ready() {
            return polled;
        }
        let mut waker = Some(waker.clone());
        self.with(|state| state.poll_reply(key, &mut waker, reply))
    }
}

impl Loan<'_> {
    fn look(mut self, key: &mut Option<usize>, reply: &mut Reply) -> Poll<Result<Codec, Box<CallError>>> {
        let (mut reads, mut is_wanted) = (0, false);
        let mut has_read = self.intake.as_mut().is_some_and(|intake| intake.look());
        loop {
            reads += 1;
            let loan = &mut self.intake;
            let look = self.session.with(|state| {
                let Some(intake) = loan else { return Look::Over(state.poll_reply(key, &mut None, reply)) };
                if has_read {
                    intake.take_replies(&mut state.core);
                }
                let is_done = key.is_none_or(|key| state.core.is_done(key));
                if has_read && !is_done && !intake.is_held_up() && reads < limits::LOOKS_FOR_REPLY {
                    return Look::GoesOn;
                }
                // Who finds much that is not his leaves it to the driver.
                let is_enough = reads >= limits::LOOKS_FOR_REPLY;
                // Behind what is held up nothing is read: it may be the end, or another way.
                if !is_enough && !intake.is_held_up() {
                    if intake.listens() {
                        return Look::HasRead;
                    }
                    if let Some(driver) = state.wanted_by(is_wanted) {
                        return Look::IsWanted(driver);
                    }
                }
                if let Some(intake) = loan.take() {
                    state.give_back(intake, is_enough);
                }
                Look::Over(state.poll_reply(key, &mut None, reply))
            });
            has_read = match (look, &mut self.intake) {
                (Look::Over(polled), _) => return polled,
                (Look::HasRead, _) => true,
                (Look::GoesOn, Some(intake)) => intake.look(),
                // What the event loop has to say of it is to reach the driver again, which
                // only a poll sees to that is pending.
                (Look::IsWanted(driver), Some(intake)) => {
                    let read = intake.poll_fill(&mut Context::from_waker(&driver));
                    is_wanted = read.is_ready();
                    if let Poll::Ready(read) = read {
                        intake.has_read(read);
                    }
                    is_wanted
                }
                (_, None) => false,
            };
        }
    }
}

impl State {
    #[inline]
    pub(super) fn poll_reply(
        &mut self,
        key: &mut Option<usize>,
        waker: &mut Option<Waker>,
        reply: &mut Reply,
    ) -> Poll<Result<Codec, Box<CallError>>> {
        let codec = self.core.codec();
        self.core.poll_reply(key, waker, reply).map_ok(|()| codec)
    }

    /// A call has been queued that others may be made beside: sees to it that it is sent,
    /// with those. What is given is to be [woken behind them](wake_behind).
    pub(super) fn send_behind(&mut self) -> Option<Waker> {
        if !self.core.is_open() || !self.core.has_unsent() {
            self.write_or_wake(false);
            return None;
        }
        // Each time: where callers are on several threads, whichever has run what is ready
        // there first wakes it, and a thread's promise to wake may be lost with its runtime.
        self.core.sleeping_driver()
    }

    /// Takes what is read with for a caller that is to look for its reply.
    fn borrow_for(&mut self, key: Option<usize>) -> Option<Box<Intake>> {
        // A driver that has something to do with it has it first: who calls again at once is
        // always quicker.
        let is_free = !self.core.is_crowded() && !self.core.ways().is_due();
        let lending = self.lending.as_mut().filter(|_| is_free)?;
        if !self.core.is_only_call() || self.core.has_unsent() || key.is_none_or(|key| self.core.is_done(key))
        {
            return None;
        }
        let intake = lending.borrow()?;
        // Who looks need not be woken.
        key.into_iter().for_each(|key| self.core.forget_waker(key));
        Some(intake)
    }

    /// Whether the driver has asked for what a caller has, or is to have it for another
    /// reason, and sleeps now.
    fn wanted_by(&mut self, is_wanted: bool) -> Option<Waker> {
        let Place::Lent { is_wanted: asked } = &mut self.lending.as_deref_mut()?.place else { return None };
        (std::mem::take(asked) || is_wanted).then(|| self.core.sleeping_driver())?
    }

    /// A caller has looked. The driver goes on if there is anything for it to do.
    fn give_back(&mut self, intake: Box<Intake>, wakes: bool) {
        let wakes = wakes || intake.is_held_up() || intake.is_to_prepare() || self.core.ways().is_due();
        let Some(lending) = &mut self.lending else { return };
        if let Place::Lent { .. } = lending.place {
            lending.place = Place::Free(intake);
            if wakes {
                self.core.wake_driver();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that sleeps while somebody else reads is polled again when that one is done.
    #[test]
    fn who_sleeps_wants_back_what_has_been_lent_meanwhile() {
        let mut lending = Lending { place: Place::Lent { is_wanted: false } };
        assert!(!lending.leave(&mut None));
        assert!(matches!(lending.place, Place::Lent { is_wanted: true }));
    }
}

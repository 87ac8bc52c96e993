//! A thread waits for a future: it polls it, and between two polls it leads the
//! connection's crew, or follows.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::crew::{Crew, Lead, Rank, Role, Step, not_by_bytes_alone};
use super::parker::{Own, Parker, Waits};
use crate::clock;
use crate::session::{CloseReason, Session};
use crate::timer::{earlier, poll_again_at, take_poll_again};

/// What a thread waits for can never come: it waits inside of a handler that it has to
/// return from to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Within;

/// Waits on this thread for what comes over a session, until it is ready.
///
/// `deadline` is that of the call which is waited for: the session is told when it is over,
/// and the future is ready then.
#[inline]
pub(crate) fn wait_for<F: Future>(
    session: &Session,
    deadline: Option<Instant>,
    future: F,
) -> Result<F::Output, Within> {
    match session.executor().crew() {
        Some(crew) => wait_in(crew, session, deadline, pin!(future)),
        None => Ok(block_on(future)),
    }
}

/// A future that others than the peer may end, whatever it has polled last.
pub(crate) async fn by_others_too<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        not_by_bytes_alone();
        polled
    })
    .await
}

/// Waits on this thread for what others see to.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    Own::with(|Own { parker, waker }| {
        let _waits = Waits::begin(parker);
        let mut cx = Context::from_waker(waker);
        loop {
            parker.forget();
            let _ = take_poll_again();
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            parker.park(take_poll_again());
        }
    })
}

#[inline]
fn wait_in<F: Future>(
    crew: &Arc<Crew>,
    session: &Session,
    deadline: Option<Instant>,
    future: Pin<&mut F>,
) -> Result<F::Output, Within> {
    Own::with(|own| wait_as(own, crew, session, deadline, future))
}

#[inline]
fn wait_as<F: Future>(
    Own { parker, waker }: &Own,
    crew: &Arc<Crew>,
    session: &Session,
    deadline: Option<Instant>,
    mut future: Pin<&mut F>,
) -> Result<F::Output, Within> {
    let _waits = Waits::begin(parker);
    let _entered = crew.enter();
    let mut cx = Context::from_waker(waker);
    let mut stay = Stay { crew, parker, lead: None, follows: false };
    loop {
        parker.forget();
        not_by_bytes_alone();
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Ok(output);
        }
        let again = take_poll_again();
        match &mut stay.lead {
            Some(lead) => {
                if lead.drive(parker, again, Rank::Follower) == Step::Ended {
                    stay.lead = None;
                }
            }
            None => match crew.join(parker, Rank::Follower) {
                Role::Leads(lead) => {
                    stay.follows = false;
                    stay.lead = Some(lead);
                    // What it has been woken for may be this.
                    if !parker.is_woken() {
                        let lead = stay.lead.as_mut().expect("it was just put there");
                        if lead.drive(parker, again, Rank::Follower) == Step::Ended {
                            stay.lead = None;
                        }
                    }
                }
                Role::Follows => {
                    stay.follows = true;
                    crew.follow(parker, earlier(deadline, again));
                    if deadline.is_some_and(|deadline| clock::system() >= deadline) {
                        session.look_at_clock();
                    }
                }
                Role::Within => return Err(Within),
                Role::Alone => {
                    stay.follows = false;
                    parker.park(again);
                }
            },
        }
    }
}

/// A thread's stay in a crew, with all that it leaves behind.
struct Stay<'a> {
    crew: &'a Arc<Crew>,
    parker: &'a Arc<Parker>,
    lead: Option<Lead<'a>>,
    follows: bool,
}

impl Drop for Stay<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lead = None;
        if self.follows {
            self.crew.leave(self.parker);
        }
        self.crew.depart();
    }
}

impl Crew {
    /// Drives the connection on this thread, or waits until it has ended, for as long at
    /// most.
    pub(crate) fn run(self: &Arc<Self>, session: &Session, end: Option<Instant>) -> Option<CloseReason> {
        let ended = poll_fn(|cx| match self.poll_ended(cx.waker()) {
            Poll::Ready(reason) => Poll::Ready(Some(reason)),
            Poll::Pending if end.is_some_and(|end| clock::system() >= end) => Poll::Ready(None),
            Poll::Pending => {
                self.awaits();
                end.into_iter().for_each(poll_again_at);
                Poll::Pending
            }
        });
        wait_in(self, session, None, pin!(ended)).unwrap_or(None)
    }
}

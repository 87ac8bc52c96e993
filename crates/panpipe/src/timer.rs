//! One time at which a future is to be polled again: the runtime's, or that of a thread
//! which polls without one.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::executor::Executor;

thread_local! {
    /// When the thread is to poll again what it polls now.
    static POLL_AGAIN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// When what this thread has polled since this was last asked wants to be polled again.
#[inline]
pub(crate) fn take_poll_again() -> Option<Instant> {
    POLL_AGAIN.take()
}

/// Has this thread poll again at a time what it polls now.
pub(crate) fn poll_again_at(at: Instant) {
    POLL_AGAIN.set(earlier(POLL_AGAIN.get(), Some(at)));
}

/// The earlier of two times, of which there may be none.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Ready at some time.
pub(crate) enum Timer {
    Runtime(Pin<Box<Sleep>>),
    Thread(Instant),
}

impl Timer {
    /// One for whatever is polled by this executor.
    pub(crate) fn of(executor: &Executor, at: Instant) -> Self {
        match executor {
            Executor::Runtime(_) => Timer::Runtime(Box::pin(tokio::time::sleep_until(at.into()))),
            Executor::Threads(_) => Timer::Thread(at),
        }
    }

    /// One for what is polled here and now.
    fn here(at: Instant) -> Self {
        match Handle::try_current() {
            Ok(_) => Timer::Runtime(Box::pin(tokio::time::sleep_until(at.into()))),
            Err(_) => Timer::Thread(at),
        }
    }

    pub(crate) fn reset(&mut self, at: Instant) {
        match self {
            Timer::Runtime(sleep) => sleep.as_mut().reset(at.into()),
            Timer::Thread(place) => *place = at,
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.get_mut() {
            Timer::Runtime(sleep) => sleep.as_mut().poll(cx),
            Timer::Thread(at) if Instant::now() >= *at => Poll::Ready(()),
            Timer::Thread(at) => {
                poll_again_at(*at);
                Poll::Pending
            }
        }
    }
}

/// What the future gives; `None` where it is not ready in time.
pub(crate) async fn within<F: Future>(at: Instant, future: F) -> Option<F::Output> {
    let (mut future, mut timer) = (pin!(future), Timer::here(at));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Pin::new(&mut timer).poll(cx).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    #[test]
    fn without_a_runtime_the_thread_is_told_when_to_look_again() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut cx = Context::from_waker(Waker::noop());
        let mut late = Timer::here(later + Duration::from_secs(1));
        let mut timer = Timer::here(later);
        assert!(
            Pin::new(&mut late).poll(&mut cx).is_pending() && Pin::new(&mut timer).poll(&mut cx).is_pending()
        );
        assert_eq!((take_poll_again(), take_poll_again()), (Some(later), None));
        timer.reset(now);
        assert!(Pin::new(&mut timer).poll(&mut cx).is_ready());
        assert_eq!(take_poll_again(), None);
    }

    #[tokio::test]
    async fn in_a_runtime_its_clock_counts() {
        let at = Instant::now() + Duration::from_millis(20);
        assert_eq!(within(at, std::future::pending::<()>()).await, None);
        assert!(Instant::now() >= at && take_poll_again().is_none());
        assert_eq!(within(at, std::future::ready(7)).await, Some(7));
    }
}

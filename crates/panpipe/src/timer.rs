//! Timers: of a runtime, or of a thread that polls without one.
//!
//! The deadline of a call is enforced by a timer in the caller's own context, so that it holds
//! while the connection's task is not polled: its runtime may be busy or parked. The timer is
//! armed at the first poll that is pending; a call without a deadline has none. The context is,
//! in this order:
//!
//! 1. a thread that waits in a blocking call: it polls again when the time has come;
//! 2. the tokio runtime whose task polls the call;
//! 3. elsewhere, as in a task of another executor: the runtime of the connection.
//!
//! A connection of threads enforces the deadlines of calls that no runtime polls by itself
//! (`session/core/calling.rs`).

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::blocking::is_of_this_thread;
use crate::clock;
use crate::executor::Executor;

thread_local! {
    /// When the thread is to poll again what it polls now, by the system's clock.
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
    /// Of a thread; by the system's clock.
    Thread(Instant),
}

impl Timer {
    /// A timer for the task of a connection; `at` is by the connection's clock.
    pub(crate) fn of(executor: &Executor, at: Instant) -> Self {
        match executor {
            Executor::Runtime(_) => Timer::Runtime(Box::pin(tokio::time::sleep_until(at.into()))),
            Executor::Threads(_) => Timer::Thread(at),
        }
    }

    /// A timer for the code that is being polled; `at` is a time of [`clock::now`]. Outside of
    /// any runtime that is `elsewhere`'s timer, if it is given.
    pub(crate) fn here(at: Instant, cx: &Context<'_>, elsewhere: Option<&Handle>) -> Self {
        let left = at.saturating_duration_since(clock::now());
        let system = clock::system();
        let thread = || Timer::Thread(system.checked_add(left).unwrap_or(at));
        if is_of_this_thread(cx.waker()) {
            return thread();
        }
        let sleep = || Timer::Runtime(Box::pin(tokio::time::sleep(left)));
        match (Handle::try_current(), elsewhere) {
            (Ok(_), _) => sleep(),
            (Err(_), Some(runtime)) => {
                let _entered = runtime.enter();
                sleep()
            }
            (Err(_), None) => thread(),
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
            Timer::Thread(at) if clock::system() >= *at => Poll::Ready(()),
            Timer::Thread(at) => {
                poll_again_at(*at);
                Poll::Pending
            }
        }
    }
}

/// Waits until a time of [`clock::now`]; `elsewhere` is the runtime to use outside of any.
pub(crate) async fn sleep_until(at: Instant, elsewhere: Option<&Handle>) {
    let mut timer = None;
    std::future::poll_fn(|cx| {
        let timer = timer.get_or_insert_with(|| Timer::here(at, cx, elsewhere));
        Pin::new(timer).poll(cx)
    })
    .await;
}

/// What the future gives; `None` where it is not ready at `at`, a time of [`clock::now`].
/// `elsewhere` is the runtime to use outside of any.
pub(crate) async fn within<F: Future>(
    at: Instant,
    elsewhere: Option<&Handle>,
    future: F,
) -> Option<F::Output> {
    let (mut future, mut late) = (pin!(future), pin!(sleep_until(at, elsewhere)));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::blocking::block_on;

    #[test]
    fn a_thread_without_a_runtime_is_told_when_to_poll_again() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut cx = Context::from_waker(Waker::noop());
        let mut late = Timer::Thread(later + Duration::from_secs(1));
        let mut timer = Timer::Thread(later);
        assert!(
            Pin::new(&mut late).poll(&mut cx).is_pending() && Pin::new(&mut timer).poll(&mut cx).is_pending()
        );
        assert_eq!((take_poll_again(), take_poll_again()), (Some(later), None));
        timer.reset(now);
        assert!(Pin::new(&mut timer).poll(&mut cx).is_ready());
        assert_eq!(take_poll_again(), None);
    }

    #[tokio::test]
    async fn a_task_of_a_runtime_uses_the_runtimes_timer() {
        let at = clock::now() + Duration::from_millis(20);
        assert_eq!(within(at, None, std::future::pending::<()>()).await, None);
        assert!(clock::now() >= at && take_poll_again().is_none());
        assert_eq!(within(at, None, std::future::ready(7)).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_runtime_ends_waits_at_its_own_time() {
        let (at, system) = (clock::now() + Duration::from_secs(3600), clock::system());
        assert_eq!(within(at, None, std::future::pending::<()>()).await, None);
        assert!(clock::now() >= at && clock::system() - system < Duration::from_secs(3600));
    }

    /// The thread that waits is the runtime's only one: none of its timers can fire.
    #[tokio::test]
    async fn a_thread_that_blocks_its_own_runtime_still_ends_at_the_deadline() {
        let at = clock::now() + Duration::from_millis(20);
        assert_eq!(block_on(within(at, None, std::future::pending::<()>())), None);
    }

    #[test]
    fn outside_of_any_runtime_the_connections_runtime_keeps_the_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime with a timer");
        let cx = Context::from_waker(Waker::noop());
        let timer = Timer::here(clock::now(), &cx, Some(runtime.handle()));
        assert!(matches!(timer, Timer::Runtime(_)));
    }
}

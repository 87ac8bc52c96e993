//! The thread that a connection has of its own, where something is to go on while nobody
//! waits: handlers that are still pending, streams that are being sent, services that the
//! other side may call, last words that it does not read yet.
//!
//! It starts with the first of them and ends with the last. It runs the tasks whoever
//! leads, and leads itself if nobody else does.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use panpipe_transport::buffer;
use slab::Slab;

use super::crew::{Crew, Lead, Rank, Role, Step};
use super::parker::{Own, Parker, Waits};
use crate::clock;
use crate::guarded::caught;
use crate::log_limit::log_limited;
use crate::timer::{earlier, take_poll_again};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The helper of a crew.
pub(super) enum Helper {
    None,
    /// It has not looked at anything yet.
    Starting,
    Running(Arc<Parker>),
}

impl Helper {
    pub(super) fn running(&self) -> Option<&Arc<Parker>> {
        match self {
            Helper::Running(parker) => Some(parker),
            Helper::None | Helper::Starting => None,
        }
    }
}

/// What goes on besides calls.
#[derive(Default)]
pub(super) struct Tasks {
    all: Slab<Arc<Task>>,
    ready: VecDeque<Arc<Task>>,
}

impl Tasks {
    pub(super) fn are_done(&self) -> bool {
        self.all.is_empty()
    }
}

pub(super) struct Task {
    /// Nothing while it is polled, and once it is over.
    future: Mutex<Option<Work>>,
    crew: Weak<Crew>,
    key: usize,
    is_ready: AtomicBool,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_ready.swap(true, Ordering::SeqCst) {
            return;
        }
        let Some(crew) = self.crew.upgrade() else { return };
        crew.lock().tasks.ready.push_back(Arc::clone(self));
        crew.wake_helper();
    }
}

impl Crew {
    /// Has the helper run a task.
    pub(crate) fn spawn(self: &Arc<Self>, task: Work) {
        {
            let tasks = &mut self.lock().tasks;
            let place = tasks.all.vacant_entry();
            let task = Arc::new(Task {
                future: Mutex::new(Some(task)),
                crew: Arc::downgrade(self),
                key: place.key(),
                is_ready: AtomicBool::new(true),
            });
            place.insert(Arc::clone(&task));
            tasks.ready.push_back(task);
        }
        // Also if the helper itself is the caller: it polls the driver, which polls handlers, and
        // then waits for bytes. Unless it is woken it never runs a task that a handler has left.
        self.start_or_wake_helper(|_| true);
    }

    pub(super) fn wake_helper(&self) {
        let helper = self.lock().helper.running().map(Arc::clone);
        helper.into_iter().for_each(|helper| helper.wake_thread());
    }

    /// Starts the helper, or wakes it unless it is the calling thread: the helper looks for a
    /// change of what it keeps before it waits. If it woke itself while the outgoing pipe is full
    /// it would run in circles until the peer reads.
    pub(super) fn start_helper(self: &Arc<Self>) {
        self.start_or_wake_helper(|helper| !helper.is_own());
    }

    fn start_or_wake_helper(self: &Arc<Self>, wakes: impl FnOnce(&Parker) -> bool) {
        {
            let mut state = self.lock();
            match &state.helper {
                Helper::Starting => return,
                Helper::Running(parker) => {
                    let parker = Arc::clone(parker);
                    drop(state);
                    if wakes(&parker) {
                        parker.wake_thread();
                    }
                    return;
                }
                Helper::None => state.helper = Helper::Starting,
            }
        }
        let crew = Arc::clone(self);
        if let Err(error) = thread::Builder::new().name("panpipe".to_owned()).spawn(move || crew.help()) {
            tracing::warn!(
                "a connection can have no thread of its own, what it has going on is given up: {error}"
            );
            self.give_up();
        }
    }

    /// Ends what nobody will run: its end tells the other side.
    fn give_up(&self) {
        let tasks = {
            let mut state = self.lock();
            state.helper = Helper::None;
            std::mem::take(&mut state.tasks)
        };
        // Wakers may hold the tasks for longer.
        for (_, task) in &tasks.all {
            let future = task.future.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A panic of the user's own drop is not the connection's.
            let _ = caught(|| drop(future));
        }
    }

    /// What the helper does.
    fn help(self: Arc<Self>) {
        // A service that panics as it is dropped, or made, is no reason to leave the others.
        while caught(|| Own::with(|own| self.help_as(&own.parker))).is_err() {
            log_limited!(error, "a connection's own thread has panicked, and goes on");
        }
        drop(self);
        buffer::give_back_memory();
    }

    fn help_as(self: &Arc<Self>, parker: &Arc<Parker>) {
        self.lock().helper = Helper::Running(Arc::clone(parker));
        let _waits = Waits::begin(parker);
        let _entered = self.enter();
        let mut lead: Option<Lead<'_>> = None;
        let mut later = Vec::new();
        loop {
            parker.forget();
            self.run_tasks(&mut later);
            if lead.is_none() {
                if let Role::Leads(mut taken) = self.join(parker, Rank::Helper) {
                    // What there is to do only the driver knows.
                    lead = taken.poll_driver().is_pending().then_some(taken);
                }
            }
            let until = later.iter().map(|(at, _)| *at).min();
            if let Some(leads) = &mut lead {
                if leads.is_kept() || !self.lock().tasks.are_done() || self.is_awaited() {
                    if leads.drive(parker, until, Rank::Helper) == Step::Ended {
                        lead = None;
                    }
                    continue;
                }
                lead = None;
            }
            // What the tasks have queued goes out, though the leader be in a read.
            self.depart();
            if self.is_dismissed(parker) {
                return;
            }
            let clock = self.next_timeout();
            self.follow(parker, earlier(until, clock));
            if clock.is_some_and(|at| clock::system() >= at) {
                self.look_at_clock();
            }
        }
    }

    /// Whether there is nothing to help with. Then there is no helper any more.
    fn is_dismissed(&self, parker: &Parker) -> bool {
        let ended = self.has_ended();
        let awaits = self.is_awaited() || self.next_timeout().is_some();
        let has_unsent = self.has_unsent();
        let mut state = self.lock();
        if Crew::is_led(&state) && !has_unsent {
            // Who leads sees to the rest.
            state.is_kept = false;
        }
        if self.is_left_woken(&state) {
            // It was given up just as there was something to do.
            parker.wake_thread();
        }
        let is_needed = !ended && (state.is_kept || awaits);
        let is_over = state.tasks.are_done() && !is_needed && !parker.is_woken();
        if is_over {
            state.helper = Helper::None;
        }
        is_over
    }

    /// Polls each task that is ready, once. `later` are those that have to be polled
    /// again at some time.
    pub(super) fn run_tasks(self: &Arc<Self>, later: &mut Vec<(Instant, Arc<Task>)>) {
        if !later.is_empty() {
            let now = clock::system();
            later.retain(|(at, task)| {
                if *at <= now {
                    task.wake_by_ref();
                }
                *at > now
            });
        }
        let ready = std::mem::take(&mut self.lock().tasks.ready);
        for task in ready {
            task.is_ready.store(false, Ordering::SeqCst);
            let place = || task.future.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mut future) = place().take() else { continue };
            let waker = Waker::from(Arc::clone(&task));
            let _ = take_poll_again();
            let polled = caught(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
            if let Ok(Poll::Pending) = polled {
                *place() = Some(future);
                if let Some(at) = take_poll_again() {
                    later.push((at, task));
                }
                continue;
            }
            // A panic of the user's own drop is not the connection's.
            let _ = caught(|| drop(future));
            let gone = self.lock().tasks.all.remove(task.key);
            drop(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn what_is_given_up_has_ended_though_somebody_may_still_wake_it() {
        let crew = Crew::new(None);
        // As if its thread were about to start: none does.
        crew.lock().helper = Helper::Starting;
        let (held, waker) = (Arc::new(()), Arc::new(Mutex::new(None)));
        let (inside, kept) = (Arc::clone(&held), Arc::clone(&waker));
        crew.spawn(Box::pin(poll_fn(move |cx| {
            let _inside = &inside;
            *kept.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })));
        let mut later = Vec::new();
        crew.run_tasks(&mut later);
        let waker: Waker = waker.lock().unwrap().take().unwrap();
        crew.give_up();
        assert_eq!(Arc::strong_count(&held), 1);
        waker.wake();
        crew.run_tasks(&mut later);
        assert!(crew.lock().tasks.are_done() && later.is_empty());
    }
}

//! A model of a connection's threads while handlers are pending: the helper, which runs tasks and
//! may lead, another thread that leads, the peer that calls, and threads that wake the handlers.
//!
//! The crew, its tasks, the parker and the wakers are the real ones. The model takes the place of
//! the driver and of `poll(2)`, decides in which order the threads take their steps, and tries each
//! order with few switches between them. At the end of each all calls must have been answered.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use super::crew::Crew;
use super::helper::Helper;
use super::parker::{Own, Parker};

/// How often an order changes from a thread that could go on to another one.
const SWITCHES: usize = 3;
const CALLS: usize = 2;

/// What the helper does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Forget,
    RunTasks,
    /// It has run what was ready, and leads if that is its part.
    Drive,
    /// It polls the driver, which polls handlers.
    PollDriver,
    GoToBell,
    /// It waits at its bell, and for bytes if it leads.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actor {
    Helper,
    Peer,
    /// Another thread that leads.
    Leader,
    /// What a handler waits for.
    Event(usize),
}

/// A handler, which waits for one event.
#[derive(Default)]
struct Handler {
    has_happened: bool,
    waker: Option<Waker>,
    is_answered: bool,
}

struct World<'a> {
    crew: Arc<Crew>,
    parker: &'a Arc<Parker>,
    helper_leads: bool,
    step: Step,
    to_come: usize,
    /// Calls that wait in the pipe.
    arrived: usize,
    handlers: Vec<Arc<Mutex<Handler>>>,
}

impl<'a> World<'a> {
    fn new(parker: &'a Arc<Parker>, helper_leads: bool) -> Self {
        let crew = Crew::new(None);
        parker.leave_bell();
        parker.forget();
        crew.lock().helper = Helper::Running(Arc::clone(parker));
        World {
            crew,
            parker,
            helper_leads,
            step: Step::Forget,
            to_come: CALLS,
            arrived: 0,
            handlers: Vec::new(),
        }
    }

    fn can(&self, actor: Actor) -> bool {
        match actor {
            Actor::Helper => {
                self.step != Step::Wait || self.parker.is_woken() || (self.helper_leads && self.arrived > 0)
            }
            Actor::Peer => self.to_come > 0,
            Actor::Leader => !self.helper_leads && self.arrived > 0,
            Actor::Event(of) => {
                self.handlers.get(of).is_some_and(|handler| !handler.lock().unwrap().has_happened)
            }
        }
    }

    fn act(&mut self, actor: Actor) {
        match actor {
            Actor::Helper => self.step = self.step_of_helper(),
            Actor::Peer => {
                self.to_come -= 1;
                self.arrived += 1;
            }
            Actor::Leader => {
                let new = self.take_calls();
                thread::scope(|scope| {
                    scope.spawn(|| new.into_iter().for_each(|handler| leave_pending(&self.crew, handler)));
                });
            }
            Actor::Event(of) => {
                let waker = {
                    let mut handler = self.handlers[of].lock().unwrap();
                    handler.has_happened = true;
                    handler.waker.take()
                };
                thread::scope(|scope| {
                    scope.spawn(|| waker.into_iter().for_each(Waker::wake));
                });
            }
        }
    }

    fn step_of_helper(&mut self) -> Step {
        match self.step {
            Step::Forget => {
                self.parker.forget();
                Step::RunTasks
            }
            Step::RunTasks => {
                self.crew.run_tasks(&mut Vec::new());
                Step::Drive
            }
            Step::Drive if self.parker.is_woken() => Step::Forget,
            Step::Drive if self.helper_leads => Step::PollDriver,
            Step::Drive => Step::GoToBell,
            Step::PollDriver => {
                self.take_calls().into_iter().for_each(|handler| leave_pending(&self.crew, handler));
                Step::GoToBell
            }
            Step::GoToBell if self.parker.is_woken() => Step::Forget,
            Step::GoToBell => match self.parker.go_to_bell() {
                Some(_) => Step::Wait,
                None => Step::Forget,
            },
            Step::Wait => {
                self.parker.leave_bell();
                if self.helper_leads && self.arrived > 0 { Step::PollDriver } else { Step::Drive }
            }
        }
    }

    fn take_calls(&mut self) -> Vec<Arc<Mutex<Handler>>> {
        let new: Vec<_> = (0..self.arrived).map(|_| Arc::<Mutex<Handler>>::default()).collect();
        self.arrived = 0;
        self.handlers.extend(new.iter().cloned());
        new
    }

    fn are_answered(&self) -> bool {
        self.to_come == 0
            && self.handlers.iter().filter(|handler| handler.lock().unwrap().is_answered).count() == CALLS
    }
}

/// A handler was pending when it was polled in place, with a waker that does nothing: its task is
/// spawned.
fn leave_pending(crew: &Arc<Crew>, handler: Arc<Mutex<Handler>>) {
    crew.spawn(Box::pin(poll_fn(move |cx| {
        let mut handler = handler.lock().unwrap();
        if handler.has_happened {
            handler.is_answered = true;
            return Poll::Ready(());
        }
        handler.waker = Some(cx.waker().clone());
        Poll::Pending
    })));
}

/// Runs the order that `choices` begin, and extends them to the end by the first choice each. Each
/// choice is its index and the number of those that there were.
fn run(world: &mut World<'_>, choices: &mut Vec<(usize, usize)>) {
    let actors = [Actor::Helper, Actor::Peer, Actor::Leader, Actor::Event(0), Actor::Event(1)];
    let (mut last, mut switches, mut at) = (None, 0, 0);
    loop {
        let mut able: Vec<_> = actors.into_iter().filter(|&actor| world.can(actor)).collect();
        if let Some(known) = able.iter().position(|&actor| Some(actor) == last) {
            able.swap(0, known);
            if switches == SWITCHES {
                able.truncate(1);
            }
        }
        if able.is_empty() {
            return;
        }
        if at == choices.len() {
            choices.push((0, able.len()));
        }
        let actor = able[choices[at].0];
        if last.is_some_and(|last| last != actor && able.contains(&last)) {
            switches += 1;
        }
        last = Some(actor);
        world.act(actor);
        at += 1;
        assert!(at < 1000, "the threads run in circles");
    }
}

/// The next order, if there is one.
fn advance(choices: &mut Vec<(usize, usize)>) -> bool {
    while let Some((choice, of)) = choices.pop() {
        if choice + 1 < of {
            choices.push((choice + 1, of));
            return true;
        }
    }
    false
}

#[test]
fn pending_handlers_are_answered_in_every_order_of_the_threads() {
    Own::with(|own| {
        for helper_leads in [false, true] {
            let (mut choices, mut orders) = (Vec::new(), 0);
            loop {
                let mut world = World::new(&own.parker, helper_leads);
                run(&mut world, &mut choices);
                assert!(
                    world.are_answered(),
                    "a call is not answered: helper leads: {helper_leads}, {choices:?}"
                );
                orders += 1;
                if !advance(&mut choices) {
                    break;
                }
            }
            assert!(orders > 100, "{orders} orders");
        }
    });
}

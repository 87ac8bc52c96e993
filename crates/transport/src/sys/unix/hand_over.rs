//! A model of the hand-over of a reading half between the driver and its callers.
//!
//! The half, its readiness mask, the kernel and the event loop are the real ones. The model decides
//! the order in which the peer, the event loop, a caller and the driver take their steps, and tries
//! each order with few switches between them. In each the driver must come to the end of the
//! stream.

#![allow(clippy::unwrap_used)]

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::ReadBuf;
use tokio::runtime::{Builder, Runtime};

use super::half::{ReadHalf, WriteHalf};

/// How often an order changes from an actor that could go on to another one.
const SWITCHES: usize = 2;
/// Nothing takes as long, unless the end is lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the event loop runs before the end.
const TURNS: usize = 3;
/// How often a caller borrows the half.
const LOANS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actor {
    Peer,
    EventLoop,
    Caller,
    Driver,
}

const ACTORS: [Actor; 4] = [Actor::Peer, Actor::EventLoop, Actor::Caller, Actor::Driver];

/// What a caller that has borrowed the half does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loan {
    None,
    /// It masks the readiness and reads.
    Read,
    /// It arms the readiness again, and reads what has come before.
    Rearm,
    /// It gives the half back; if the driver has been woken meanwhile it polls first, with the
    /// driver's waker.
    GiveBack,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct World<'a> {
    runtime: &'a Runtime,
    half: ReadHalf,
    writer: Option<WriteHalf>,
    writes: usize,
    turns: usize,
    loans: usize,
    loan: Loan,
    woken: Arc<Woken>,
    /// The driver has been polled while a caller had the half.
    is_wanted: bool,
    read: usize,
    has_ended: bool,
}

impl<'a> World<'a> {
    fn new(runtime: &'a Runtime, ends: (OwnedFd, OwnedFd)) -> Self {
        let _entered = runtime.enter();
        let mut half = ReadHalf::of_any(ends.0).unwrap();
        half.builds_gate().unwrap();
        let writer = Some(WriteHalf::of_any(ends.1).unwrap());
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        World {
            runtime,
            half,
            writer,
            writes: 0,
            turns: 0,
            loans: 0,
            loan: Loan::None,
            woken,
            is_wanted: false,
            read: 0,
            has_ended: false,
        }
    }

    fn can(&self, actor: Actor) -> bool {
        match actor {
            Actor::Peer => self.writer.is_some(),
            Actor::EventLoop => self.turns < TURNS,
            Actor::Caller => self.loan != Loan::None || (self.loans < LOANS && !self.has_ended),
            Actor::Driver => self.woken.0.load(Ordering::SeqCst) && !self.has_ended,
        }
    }

    fn act(&mut self, actor: Actor) {
        match actor {
            Actor::Peer if self.writes < 2 => {
                self.writes += 1;
                self.writer.as_mut().unwrap().try_write(b"four").unwrap();
            }
            Actor::Peer => self.writer = None,
            Actor::EventLoop => {
                self.turns += 1;
                self.turn();
            }
            Actor::Caller => self.step_of_caller(),
            Actor::Driver => self.poll_driver(),
        }
    }

    fn turn(&self) {
        self.runtime.block_on(async {
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
        });
    }

    fn note(&mut self, read: std::io::Result<usize>) -> bool {
        match read {
            Ok(0) => self.has_ended = true,
            Ok(count) => self.read += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        true
    }

    fn step_of_caller(&mut self) {
        let mut bytes = [0; 64];
        self.loan = match self.loan {
            Loan::None => {
                self.loans += 1;
                Loan::Read
            }
            Loan::Read => {
                self.half.turns_deaf();
                let read = self.half.try_read(&mut bytes);
                self.note(read);
                Loan::Rearm
            }
            Loan::Rearm => {
                let read = self.half.listens(&mut bytes);
                if self.note(read) { Loan::Rearm } else { Loan::GiveBack }
            }
            Loan::GiveBack if self.is_wanted => {
                self.is_wanted = self.poll_half().is_ready();
                Loan::Rearm
            }
            Loan::GiveBack => Loan::None,
        };
        if self.has_ended {
            self.loan = Loan::None;
        }
    }

    /// One poll, which registers the driver's waker if nothing has come.
    fn poll_half(&mut self) -> Poll<()> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut bytes = [0; 64];
        let mut buf = ReadBuf::new(&mut bytes);
        let polled = self.half.poll_read(&mut Context::from_waker(&waker), &mut buf);
        let count = buf.filled().len();
        polled.map(|read| {
            self.note(read.map(|()| count));
        })
    }

    fn poll_driver(&mut self) {
        self.woken.0.store(false, Ordering::SeqCst);
        if self.loan != Loan::None {
            self.is_wanted = true;
            return;
        }
        while !self.has_ended {
            if self.poll_half().is_ready() {
                continue;
            }
            // Before it sleeps it arms the readiness, as a caller does.
            let read = self.half.listens(&mut [0; 64]);
            if !self.note(read) {
                return;
            }
        }
    }

    /// Lets all finish, and the event loop report what there is. A process that another test has
    /// just forked may have the peer's end too until it runs its program: the end comes then.
    fn settle(&mut self) {
        while self.can(Actor::Peer) {
            self.act(Actor::Peer);
        }
        let start = Instant::now();
        while !self.has_ended && start.elapsed() < PATIENCE {
            while self.loan != Loan::None {
                self.step_of_caller();
            }
            self.turn();
            if self.can(Actor::Driver) {
                self.act(Actor::Driver);
            }
        }
    }
}

/// Runs the order that `choices` begin, and extends them to the end by the first choice each. Each
/// choice is its index and the number of those that there were.
fn run(world: &mut World<'_>, choices: &mut Vec<(usize, usize)>) {
    let (mut last, mut switches, mut at) = (None, 0, 0);
    loop {
        let mut able: Vec<_> = ACTORS.into_iter().filter(|&actor| world.can(actor)).collect();
        if let Some(known) = able.iter().position(|&actor| Some(actor) == last) {
            able.swap(0, known);
            if switches == SWITCHES {
                able.truncate(1);
            }
        }
        if able.is_empty() {
            break;
        }
        if at == choices.len() {
            choices.push((0, able.len()));
        }
        // A forked process may delay an end, so that an order is not quite the same when it is tried
        // again.
        let actor = able[choices[at].0.min(able.len() - 1)];
        if last.is_some_and(|last| last != actor && able.contains(&last)) {
            switches += 1;
        }
        last = Some(actor);
        world.act(actor);
        at += 1;
    }
    world.settle();
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
fn end_of_the_stream_survives_every_hand_over() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let socket = || {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("a socket can be made")
    };
    let pipe = || crate::sys::pipe().expect("a pipe can be made");
    for ends in [socket as fn() -> (OwnedFd, OwnedFd), pipe] {
        let (mut choices, mut orders) = (Vec::new(), 0);
        loop {
            let mut world = World::new(&runtime, ends());
            run(&mut world, &mut choices);
            assert!(world.has_ended && world.read == 8, "{} bytes read, order {choices:?}", world.read);
            orders += 1;
            if !advance(&mut choices) {
                break;
            }
        }
        assert!(orders > 100, "{orders} orders");
    }
}

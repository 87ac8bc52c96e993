//! Random mixes of what sends without end, over two cores and a pipe of a few pages: each flow
//! gets at least half of its share of the bytes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::ports::Quiet;
use super::*;
use crate::carried::{Cargo, Offer};
use crate::session::batch::Batch;

/// How many bytes pass in all while the shares are counted.
const WINDOW: u64 = 64 << 20;
/// How many bytes the simulated pipe holds.
const PIPE: usize = 64 << 10;

/// What sends without end. The sizes of all in a mix differ: they tell them apart.
#[derive(Debug, Clone, Copy)]
enum Sends {
    /// Items of a stream.
    Items(usize),
    /// Calls, one after the other.
    Calls(usize),
    /// One-way calls.
    Oneways(usize),
    /// Small calls, so many at once that the pipe is never empty.
    Flood(usize),
}

impl Sends {
    fn size(self) -> usize {
        match self {
            Sends::Items(size) | Sends::Calls(size) | Sends::Oneways(size) | Sends::Flood(size) => size,
        }
    }
}

/// The task of a flow, which is woken or not.
#[derive(Default)]
struct Task(AtomicBool);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

struct Flow {
    sends: Sends,
    body: Vec<u8>,
    task: Arc<Task>,
    port: u64,
    call: Option<usize>,
    flood: Vec<Option<usize>>,
    batch: Batch,
    moved: u64,
}

struct Mix {
    ours: Side,
    theirs: Side,
    flows: Vec<Flow>,
    pipe: Vec<u8>,
    dice: Dice,
    /// Whether the tasks run in the same order each time; else in any, and late at times.
    in_order: bool,
}

impl Mix {
    fn new(sends: &[Sends], seed: u64) -> Mix {
        let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
        let mut flows = Vec::new();
        for &sends in sends {
            let mut port = 0;
            if let Sends::Items(_) = sends {
                let offer = Offer::Stream { items: None, attach: Arc::new(Quiet) };
                let mut offers = Cargo::of_ports(vec![offer]);
                let mut carry = message(|_, _| Ok(offers.take()));
                let target = CallTarget::new(0, 7);
                let sent = ours.core.poll_oneway(target, || false, &mut None, &mut idle(), Some(&mut carry));
                assert!(sent.is_ready());
                let opened = std::mem::take(&mut ours.core.aftermath().ports).unwrap().opened;
                port = opened[0].1;
            }
            let task = Arc::new(Task(AtomicBool::new(true)));
            let body = vec![7; sends.size()];
            flows.push(Flow {
                sends,
                body,
                task,
                port,
                call: None,
                flood: vec![None; 400],
                batch: Batch::default(),
                moved: 0,
            });
        }
        theirs.hears(&ours.sends());
        for call in theirs.asked.drain(..) {
            assert!(theirs.core.admits_oneway(call.oneway_cost()));
            theirs.core.oneway_ended();
        }
        Mix { ours, theirs, flows, pipe: Vec::new(), dice: Dice(seed), in_order: seed % 2 == 0 }
    }

    /// Runs the tasks that were woken.
    fn run_tasks(&mut self) {
        let start = if self.in_order { 0 } else { self.dice.below(self.flows.len()) };
        for step in 0..self.flows.len() {
            let at = (start + step) % self.flows.len();
            let is_late = !self.in_order && self.dice.below(8) == 0;
            if !is_late && self.flows[at].task.0.swap(false, Ordering::SeqCst) {
                self.run_task(at);
            }
        }
    }

    fn run_task(&mut self, at: usize) {
        let Mix { ours, flows, .. } = self;
        let Flow { sends, body, task, port, call, flood, .. } = &mut flows[at];
        let waker = Waker::from(Arc::clone(task));
        let by = || Some(waker.clone());
        let encoded = || {
            message(|_, out| {
                out.extend_from_slice(body);
                Ok(None)
            })
        };
        match sends {
            Sends::Items(size) => {
                let mut turn = 0;
                let needs = *size as u64 + 3;
                while ours.core.poll_item(*port, &mut { needs }, &mut by(), &mut encoded()).is_ready() {
                    turn += *size;
                    if turn > limits::STREAM_TURN {
                        waker.wake_by_ref();
                        break;
                    }
                }
            }
            Sends::Oneways(_) => {
                let target = CallTarget::new(0, 7);
                while ours
                    .core
                    .poll_oneway(target, || false, &mut None, &mut by(), Some(&mut encoded()))
                    .is_ready()
                {}
            }
            Sends::Flood(_) => {
                for call in flood {
                    if let Some(known) = call.filter(|known| ours.core.is_done(*known)) {
                        let mut key = Some(known);
                        let polled = ours.core.poll_reply(&mut key, &mut by(), &mut Reply::default());
                        assert!(polled.is_ready());
                        *call = None;
                    }
                    let sent = call.is_some_and(|known| ours.core.await_reply(Some(known), &mut by()));
                    let target = CallTarget::new(0, 7);
                    if !sent {
                        let mut body = encoded();
                        let polled =
                            ours.core.poll_call(call, target, None, || 0, &mut by(), Some(&mut body));
                        if polled.is_ready() {
                            ours.core.await_reply(*call, &mut by());
                        }
                    }
                }
            }
            Sends::Calls(_) => loop {
                if let Some(known) = call.filter(|known| ours.core.is_done(*known)) {
                    let mut key = Some(known);
                    assert!(ours.core.poll_reply(&mut key, &mut by(), &mut Reply::default()).is_ready());
                    *call = None;
                }
                let target = CallTarget::new(0, 7);
                if call.is_some_and(|known| ours.core.await_reply(Some(known), &mut by()))
                    || ours
                        .core
                        .poll_call(call, target, None, || 0, &mut by(), Some(&mut encoded()))
                        .is_pending()
                {
                    break;
                }
            },
        }
    }

    /// Writes as the driver does: feeds, until the pipe is full or it is time to read.
    fn write(&mut self) {
        let core = &mut self.ours.core;
        core.driver_starts();
        let mut written = 0;
        loop {
            core.feed();
            let most = core.write_turn();
            let pending = core.outbox().pending();
            let n = pending.len().min(PIPE - self.pipe.len());
            if n == 0 || written >= most {
                break;
            }
            self.pipe.extend_from_slice(&pending[..n]);
            core.outbox().advance(n);
            core.after_write();
            written += n;
        }
        core.driver_goes_on();
        std::mem::take(&mut core.aftermath().wakes).into_iter().for_each(Waker::wake);
    }

    /// The other side reads what has come, and all of its streams. Gives how many bytes.
    fn read(&mut self) -> u64 {
        let Mix { ours, theirs, flows, pipe, .. } = self;
        theirs.hears(pipe);
        pipe.clear();
        let mut read = 0;
        for flow in flows.iter_mut().filter(|flow| matches!(flow.sends, Sends::Items(_))) {
            while let Poll::Ready(items) = theirs.reads(flow.port, &mut flow.batch) {
                let bytes: usize = items.unwrap().into_iter().sum();
                flow.moved += bytes as u64;
                read += bytes as u64;
            }
        }
        for call in std::mem::take(&mut theirs.asked) {
            let size = call.args.len();
            let flow = flows.iter_mut().find(|flow| flow.sends.size() == size).unwrap();
            flow.moved += size as u64;
            read += size as u64;
            if call.reply_to.is_none() {
                assert!(theirs.core.admits_oneway(call.oneway_cost()));
                theirs.core.oneway_ended();
            }
            if let Some(reply_to) = call.reply_to {
                let mut answer = message(|_, out| {
                    put_status(out, true);
                    Ok(None)
                });
                assert!(theirs.core.try_answer(reply_to, &mut answer));
            }
        }
        ours.hears(&theirs.sends());
        std::mem::take(&mut ours.core.aftermath().wakes).into_iter().for_each(Waker::wake);
        std::mem::take(&mut theirs.core.aftermath().wakes).into_iter().for_each(Waker::wake);
        assert_eq!((ours.core.close_reason(), theirs.core.close_reason()), (None, None));
        read
    }

    /// Lets so many bytes pass. Gives how many of them each flow moved.
    fn pass(&mut self, bytes: u64) -> Vec<u64> {
        let before: Vec<u64> = self.flows.iter().map(|flow| flow.moved).collect();
        let (mut read, mut idle) = (0, 0);
        while read < bytes {
            self.run_tasks();
            self.write();
            let now = self.read();
            read += now;
            idle = if now == 0 { idle + 1 } else { 0 };
            assert!(idle < 10_000, "nothing moves any more");
        }
        self.flows.iter().zip(before).map(|(flow, before)| flow.moved - before).collect()
    }
}

/// Checks that each of a mix gets at least half of its share of the bytes of a window.
fn check(sends: &[Sends], seed: u64) {
    let mut mix = Mix::new(sends, seed);
    // Windows that are as large as they get.
    mix.pass(WINDOW / 8);
    let moved = mix.pass(WINDOW);
    for (sends, &moved) in sends.iter().zip(&moved) {
        // What of a message has come counts when it is whole.
        let share = WINDOW / mix.flows.len() as u64;
        let moved = moved + 2 * sends.size() as u64;
        assert!(moved >= share / 2, "seed {seed}: {sends:?} moved {moved} of {share}: {:?}", mix.moved());
    }
}

impl Mix {
    fn moved(&self) -> Vec<(Sends, u64)> {
        self.flows.iter().map(|flow| (flow.sends, flow.moved)).collect()
    }
}

#[test]
fn three_streams_of_all_sizes_share() {
    for seed in [1, 2] {
        check(&[Sends::Items(1 << 20), Sends::Items(64 << 10), Sends::Items(64)], seed);
    }
}

#[test]
fn a_large_call_beside_streams_of_small_and_large_items_goes_on() {
    check(&[Sends::Calls(8 << 20), Sends::Items(64), Sends::Items(64 << 10)], 2);
    check(&[Sends::Oneways(1 << 20), Sends::Items(64), Sends::Calls(300_000)], 3);
}

#[test]
fn many_small_calls_leave_streams_and_bulk_their_share() {
    // In any order, as the task of each of many calls.
    for seed in [5, 7] {
        check(&[Sends::Flood(4000), Sends::Calls(1 << 20), Sends::Items(64 << 10)], seed);
        check(&[Sends::Flood(4000), Sends::Calls(1 << 20)], seed);
        check(&[Sends::Flood(4000), Sends::Items(1000)], seed);
    }
}

#[test]
fn each_of_a_random_mix_gets_half_of_its_share() {
    let first = std::env::var("PANPIPE_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in first.map_or(10..14, |seed: u64| seed..seed + 1) {
        let mut dice = Dice(seed);
        let count = 2 + dice.below(5);
        let sends: Vec<Sends> = (0..count)
            .map(|at| {
                let size = [64, 1000, 20_000, 64 << 10, 100_000][dice.below(5)] + at;
                let large = [200_000, 1 << 20, 3 << 20][dice.below(3)] + at;
                match dice.below(6) {
                    // At most four messages travel in fragments at once.
                    0 if at < 4 => Sends::Calls(large),
                    1 if at < 4 => Sends::Oneways(large),
                    2 if at < 4 => Sends::Items(large),
                    _ => Sends::Items(size),
                }
            })
            .collect();
        println!("seed {seed}: {sends:?}");
        check(&sends, seed);
    }
}

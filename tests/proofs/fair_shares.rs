//! Proof 30: random mixes of endless streams, large replies, large calls, one-way calls and
//! small calls on one connection, with runtimes of one and of several threads: each backlogged
//! one gets its share of the bytes, and none waits for ever.
//!
//! The full form runs more and longer mixes, with small calls in them, and asks for half of the
//! share. `PANPIPE_SEED` gives the seed of the first mix.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use panpipe::{Server, Streaming};
use panpipe_tests::{is_full, times};
use tokio::runtime::{Builder, Runtime};

#[panpipe::service]
trait Shares {
    /// Blocks of this size without end.
    async fn endless(&self, size: usize) -> Streaming<Bytes>;
    /// Reads a stream to its end.
    async fn drain(&self, flow: u32, blocks: Streaming<Bytes>);
    /// A block of this size.
    async fn block(&self, size: usize) -> Bytes;
    /// Takes a block.
    async fn take(&self, flow: u32, block: Bytes);
    /// Takes a block and does not answer.
    #[oneway]
    async fn note(&self, flow: u32, block: Bytes);
}

/// How many bytes each flow has moved.
type Counts = Arc<Vec<AtomicU64>>;

struct Host(Counts);

impl Host {
    fn add(&self, flow: u32, len: usize) {
        self.0[flow as usize].fetch_add(len as u64, Ordering::Relaxed);
    }
}

impl Shares for Host {
    async fn endless(&self, size: usize) -> Streaming<Bytes> {
        let block = Bytes::from(vec![7; size]);
        Streaming::new(futures::stream::repeat(block))
    }
    async fn drain(&self, flow: u32, mut blocks: Streaming<Bytes>) {
        while let Some(Ok(block)) = blocks.next().await {
            self.add(flow, block.len());
        }
    }
    async fn block(&self, size: usize) -> Bytes {
        Bytes::from(vec![7; size])
    }
    async fn take(&self, flow: u32, block: Bytes) {
        self.add(flow, block.len());
    }
    async fn note(&self, flow: u32, block: Bytes) {
        self.add(flow, block.len());
    }
}

/// One that sends without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flow {
    /// A stream of the server's with items of this size.
    Down(usize),
    /// A stream of the client's.
    Up(usize),
    /// Replies of this size, one after the other.
    Reply(usize),
    /// Calls with arguments of this size, one after the other.
    Call(usize),
    /// The same of one-way calls.
    Oneway(usize),
}

impl Flow {
    fn size(self) -> usize {
        match self {
            Flow::Down(size) | Flow::Up(size) | Flow::Reply(size) | Flow::Call(size) | Flow::Oneway(size) => {
                size
            }
        }
    }

    fn is_down(self) -> bool {
        matches!(self, Flow::Down(_) | Flow::Reply(_))
    }
}

fn runtime(threads: usize) -> Runtime {
    match threads {
        1 => Builder::new_current_thread().enable_all().build(),
        n => Builder::new_multi_thread().worker_threads(n).enable_all().build(),
    }
    .expect("a runtime can be made")
}

/// Waits until so many bytes of large messages and streams have passed in each direction.
async fn passed(flows: &[Flow], counts: &Counts, bytes: u64, patience: Instant) {
    let moved = |down| -> u64 {
        let same =
            flows.iter().zip(counts.iter()).filter(|(flow, _)| flow.is_down() == down && flow.size() > 64);
        same.map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    };
    let begin = [moved(false), moved(true)];
    let is_used = |down: bool| flows.iter().any(|flow| flow.is_down() == down && flow.size() > 64);
    let is_over = || {
        [false, true]
            .into_iter()
            .all(|down| !is_used(down) || moved(down) - begin[usize::from(down)] >= bytes)
    };
    while !is_over() && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The bytes a second of each flow while all run beside each other, until so many have passed
/// in each direction.
fn rates(flows: &[Flow], threads: usize, bytes: u64) -> Vec<f64> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("fair-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let counts: Counts = Arc::new(flows.iter().map(|_| AtomicU64::new(0)).collect());
    let (host, server_name) = (Host(Arc::clone(&counts)), name.clone());
    let (ready, stop) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let (bound, over) = (Arc::clone(&ready), Arc::clone(&stop));
    let server = thread::spawn(move || {
        runtime(threads).block_on(async {
            let _server = Server::bind(server_name.as_str()).service(host.serve()).start().unwrap();
            bound.wait();
            while !over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    });
    ready.wait();
    let result = runtime(threads).block_on(async {
        let client = Arc::new(SharesClient::connect(name.as_str()).await.unwrap());
        let tasks: Vec<_> = flows
            .iter()
            .enumerate()
            .map(|(index, &flow)| tokio::spawn(run(flow, index, Arc::clone(&client), Arc::clone(&counts))))
            .collect();
        // Buffers that are warm, then the bytes that are compared.
        let patience = Instant::now() + Duration::from_secs(60);
        passed(flows, &counts, bytes / 4, patience).await;
        let begin = Instant::now();
        let before: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        passed(flows, &counts, bytes, patience).await;
        let time = begin.elapsed().as_secs_f64();
        let moved = counts.iter().zip(before).map(|(count, before)| count.load(Ordering::Relaxed) - before);
        let rates = moved.map(|moved| moved as f64 / time).collect();
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        join_all(tasks).await;
        rates
    });
    stop.store(true, Ordering::Relaxed);
    server.join().unwrap();
    result
}

async fn run(flow: Flow, index: usize, client: Arc<SharesClient>, counts: Counts) {
    let add = |len: usize| counts[index].fetch_add(len as u64, Ordering::Relaxed);
    let id = index as u32;
    match flow {
        Flow::Down(size) => {
            let mut blocks = client.endless(size).await.unwrap();
            while let Some(block) = blocks.next().await {
                add(block.unwrap().len());
            }
        }
        Flow::Up(size) => {
            let block = Bytes::from(vec![7; size]);
            let _ = client.drain(id, Streaming::new(futures::stream::repeat(block))).await;
        }
        Flow::Reply(size) => loop {
            add(client.block(size).await.unwrap().len());
        },
        Flow::Call(size) => {
            let block = Bytes::from(vec![7; size]);
            loop {
                client.take(id, block.clone()).await.unwrap();
            }
        }
        Flow::Oneway(size) => {
            let block = Bytes::from(vec![7; size]);
            loop {
                client.note(id, block.clone()).await.unwrap();
            }
        }
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

/// A mix in which each moves far more alone than beside the others.
fn mix(seed: u64) -> Vec<Flow> {
    let mut dice = Dice(seed);
    let mut flows: Vec<Flow> = (0..2 + dice.below(3))
        .map(|_| {
            let item = [4 << 10, 16 << 10, 64 << 10][dice.below(3)];
            let large = [256 << 10, 1 << 20][dice.below(2)];
            match dice.below(6) {
                0 => Flow::Down(item),
                1 => Flow::Up(item),
                2 => Flow::Down(large),
                3 => Flow::Reply(large),
                4 => Flow::Call(large),
                _ => Flow::Oneway(large),
            }
        })
        .collect();
    if is_full() {
        // Small calls pass them all.
        flows.push(Flow::Reply(64));
    }
    flows
}

/// Prints what each of a mix has moved, and gives the smallest share of a large one, as a ratio
/// to its fair share: of all bytes of its direction, each the same.
fn least_share(flows: &[Flow], threads: usize, bytes: u64) -> f64 {
    let rates = rates(flows, threads, bytes);
    let mut least = f64::INFINITY;
    println!("{threads} thread(s):");
    for (&flow, &rate) in flows.iter().zip(&rates) {
        let same = flows.iter().zip(&rates).filter(|(other, _)| other.is_down() == flow.is_down());
        let same: Vec<f64> = same.filter(|(other, _)| other.size() > 64).map(|(_, rate)| *rate).collect();
        let share = rate / (same.iter().sum::<f64>() / same.len().max(1) as f64);
        println!("  {flow:?}: {:.1} MB/s, {share:.2} of its share", rate / 1e6);
        assert!(rate > 0.0, "{flow:?} waits for ever");
        if flow.size() > 64 {
            least = least.min(share);
        }
    }
    least
}

#[test]
fn each_of_a_random_mix_gets_its_share() {
    let first: u64 = std::env::var("PANPIPE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (bytes, least) = if is_full() { (64 << 20, 0.5) } else { (16 << 20, 0.2) };
    for seed in first..first + times(2, 20) as u64 {
        for threads in [1, 2] {
            println!("seed {seed}");
            let share = least_share(&mix(seed), threads, bytes);
            assert!(share >= least, "seed {seed}, {threads} thread(s): {share} of its share");
        }
    }
}

//! What the tests across processes share: a service to call, processes to run,
//! a peer written from PROTOCOL.md alone, and what the system says of a process.

pub mod bare;
pub mod board;
pub mod desk;
pub mod endings;
pub mod gauge;
pub mod hall;
pub mod keeper;
pub mod layers;
pub mod ledger;
pub mod lines;
pub mod plug;
pub mod probe;
pub mod process;
pub mod raw;
pub mod sequence;
pub mod sink;
pub mod spans;
pub mod studio;
pub mod sys;
pub mod system;
pub mod tracer;
pub use sys::counting;
pub mod users;
pub mod worker;
pub mod world;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

/// Nothing in a test takes as long, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A name that no other test has.
pub fn unique_name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test.{what}.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Ready with the first ctrl-c after this was called. A signal that comes before the system is
/// asked for it ends the process, and one that comes meanwhile is lost: to be called before the
/// program says that it is ready.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn ctrl_c() -> Shared<BoxFuture<'static, ()>> {
    let interrupted = async { tokio::signal::ctrl_c().await.expect("ctrl-c can be watched for") };
    let interrupted = interrupted.boxed().shared();
    assert!(interrupted.clone().now_or_never().is_none(), "no signal has come yet");
    interrupted
}

/// Whether the proofs run with all their repetitions and their exact times. The
/// ordinary run repeats less and bounds times only against hangs, so that it
/// passes on a busy machine.
pub fn is_full() -> bool {
    std::env::var_os("PANPIPE_PROOFS").is_some_and(|value| value == "full")
}

/// How often a proof does its thing.
pub fn times(quick: usize, full: usize) -> usize {
    if is_full() { full } else { quick }
}

/// The longest that something may take: what is promised, or in the ordinary
/// run what only a hang would pass.
pub fn at_most(promised: Duration) -> Duration {
    if is_full() { promised } else { promised.max(PATIENCE / 2) }
}

/// The time that 99 in 100 stay below.
pub fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}

/// The p99 of small calls that are made one after the other until `until`.
pub async fn p99_of_calls(probe: &probe::ProbeClient, until: impl Fn() -> bool) -> Duration {
    let mut times = Vec::new();
    while !until() || times.len() < 500 {
        let start = Instant::now();
        assert_eq!(probe.add(1, 2).await, Ok(3));
        times.push(start.elapsed());
    }
    p99(times)
}

/// The most that a neighbour's p99 may come to while somebody attacks. The
/// promise is a multiple of what it was before. Where the attacker, the server
/// and the neighbour share fewer processors than they keep busy, the time is the
/// kernel's to give out: there, and in the ordinary run, only a hang would pass.
pub fn p99_bound(before: Duration, promised: u32) -> Duration {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if is_full() && processors >= 4 { before * promised } else { PATIENCE / 2 }
}

/// Waits until `done` says yes, which it must in time. For what another process
/// or the kernel does, of which there is no event to wait for.
pub async fn eventually(what: &str, within: Duration, mut done: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

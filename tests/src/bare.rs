//! A service for processes without a runtime.

use std::fs::read_to_string;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use tokio::runtime::Handle;

use crate::probe::ProbeClient;

/// What can be asked of a process that has no runtime.
#[panpipe::service]
pub trait Bare {
    /// Gives its argument back.
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8>;
    /// Whether its handlers run in a tokio runtime, first and after a turn of others.
    async fn has_runtime(&self) -> (bool, bool);
    /// Waits for another thread, and gives the number back.
    async fn from_thread(&self, x: u64) -> u64;
    /// How often the thread that polls this has read and written so far.
    async fn reads_and_writes(&self) -> (u64, u64);
    /// The sum, as the host has it, asked for so often.
    async fn ask_host(&self, times: u64) -> u64;
    /// The same by the host's [`add_later`](crate::probe::Probe::add_later).
    async fn ask_host_later(&self, times: u64) -> u64;
    /// The same by a client that waits, in place; gives the error in words.
    async fn ask_host_and_wait(&self) -> String;
    /// Ends the process without a word.
    async fn die(&self);
}

/// The implementation.
#[derive(Debug)]
pub struct BareImpl<H> {
    /// The host, where there is one.
    pub host: H,
}

/// How often this thread has called read and write so far, the question included.
pub fn reads_and_writes() -> (u64, u64) {
    let counted = read_to_string("/proc/thread-self/io").expect("Linux counts a thread's calls");
    let of = |what: &str| {
        let line = counted.lines().find_map(|line| line.strip_prefix(what));
        line.and_then(|line| line.trim().parse().ok()).expect("it counts both")
    };
    (of("syscr:"), of("syscw:"))
}

/// Pending once.
async fn after_others() {
    let mut turned = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut turned, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Ready when another thread has run.
pub async fn another_thread() {
    #[derive(Default)]
    struct Shared {
        has_run: bool,
        waker: Option<Waker>,
    }
    let shared = Arc::new(Mutex::new(Shared::default()));
    let theirs = Arc::clone(&shared);
    let lock = |shared: &Arc<Mutex<Shared>>| {
        let mut shared = shared.lock().expect("nobody panics with it");
        shared.has_run = true;
        shared.waker.take()
    };
    let thread = thread::spawn(move || lock(&theirs).into_iter().for_each(Waker::wake));
    poll_fn(|cx| {
        let mut shared = shared.lock().expect("nobody panics with it");
        if shared.has_run {
            return Poll::Ready(());
        }
        shared.waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
    thread.join().expect("it does not panic");
}

impl Bare for BareImpl<ProbeClient> {
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    async fn has_runtime(&self) -> (bool, bool) {
        let first = Handle::try_current().is_ok();
        after_others().await;
        (first, Handle::try_current().is_ok())
    }

    async fn from_thread(&self, x: u64) -> u64 {
        another_thread().await;
        x
    }

    async fn reads_and_writes(&self) -> (u64, u64) {
        reads_and_writes()
    }

    async fn ask_host(&self, times: u64) -> u64 {
        let mut sum = 0;
        for x in 0..times {
            sum = self.host.add(sum, x).await.expect("the host answers");
        }
        sum
    }

    async fn ask_host_later(&self, times: u64) -> u64 {
        let mut sum = 0;
        for x in 0..times {
            sum = self.host.add_later(sum, x).await.expect("the host answers");
        }
        sum
    }

    async fn ask_host_and_wait(&self) -> String {
        match self.host.blocking().with_timeout(crate::PATIENCE).add(1, 2) {
            Ok(sum) => sum.to_string(),
            Err(error) => error.to_string(),
        }
    }

    async fn die(&self) {
        std::process::exit(3);
    }
}

/// Waits, on this thread, until `done` says yes.
pub fn eventually_here(what: &str, mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < crate::PATIENCE, "{what}: not in time");
        thread::yield_now();
    }
}

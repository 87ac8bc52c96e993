//! What a child does for its parent in the tests.

use futures::future::try_join_all;

use crate::probe::ProbeClient;

/// A worker, which calls its host's probe.
#[panpipe::service]
pub trait Worker {
    /// The sum, as the host has it.
    async fn add(&self, a: u64, b: u64) -> Option<u64>;
    /// Gives its argument back.
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8>;
    /// Has the host echo so many blocks of this size, all at once, and gives
    /// how many came back whole.
    async fn echo_all(&self, count: usize, size: usize) -> usize;
    /// Writes to its own standard output.
    async fn print(&self, lines: u32);
}

/// The implementation.
#[derive(Debug)]
pub struct WorkerImpl {
    /// The host.
    pub host: ProbeClient,
}

impl Worker for WorkerImpl {
    async fn add(&self, a: u64, b: u64) -> Option<u64> {
        self.host.add(a, b).await.ok()
    }

    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    async fn echo_all(&self, count: usize, size: usize) -> usize {
        let calls = (0..count).map(|index| self.host.echo(vec![index as u8; size]));
        let echoes = try_join_all(calls).await.unwrap_or_default();
        echoes.iter().enumerate().filter(|(index, echo)| **echo == vec![*index as u8; size]).count()
    }

    async fn print(&self, lines: u32) {
        for line in 0..lines {
            println!("line {line} on the child's standard output");
            eprintln!("line {line} on the child's standard error");
        }
    }
}

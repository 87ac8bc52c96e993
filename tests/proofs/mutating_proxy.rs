//! A proxy between an honest client and a server, which changes, drops and repeats bytes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use panpipe_tests::ledger::LedgerClient;
use panpipe_tests::process::Process;
use panpipe_tests::{PATIENCE, eventually, is_full, raw, system, unique_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The next of the numbers that follow a seed.
fn random(state: &AtomicU64) -> u64 {
    // SplitMix64: the numbers of several tasks are one sequence.
    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Passes bytes on, of which about every tenth chunk is no longer as it was.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    state: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let mut chunk = buffer[..n].to_vec();
        let at = random(state) as usize % n;
        match random(state) % 50 {
            0 => chunk[at] ^= 1 << (random(state) % 8),
            1 => chunk[at] = random(state) as u8,
            2 => drop(chunk.remove(at)),
            3 => chunk.insert(at, random(state) as u8),
            4 => chunk.extend_from_within(at..),
            // The end, in the midst of a frame.
            5 => return to.write_all(&chunk[..at]).await,
            _ => {}
        }
        to.write_all(&chunk).await?;
    }
}

async fn proxy(listener: UnixListener, server: PathBuf, state: &AtomicU64) {
    let mut connections = Vec::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let Ok(server) = UnixStream::connect(&server).await else { continue };
        connections.retain(|connection: &tokio::task::JoinHandle<()>| !connection.is_finished());
        let state = AtomicU64::new(random(state));
        connections.push(tokio::spawn(async move {
            let ((client_in, client_out), (server_in, server_out)) =
                (client.into_split(), server.into_split());
            // The one that ends first takes the other one with it.
            tokio::select! {
                _ = pass(client_in, server_out, &state) => {}
                _ = pass(server_in, client_out, &state) => {}
            }
        }));
    }
}

/// Calls over connections that break, until the end.
async fn call(path: &Path, end: Instant) -> u64 {
    let mut answered = 0;
    while Instant::now() < end {
        let Ok(ledger) = LedgerClient::connect(path.to_str().unwrap()).await else { continue };
        let ledger = ledger.with_timeout(Duration::from_millis(200));
        for number in 0..100 {
            // A reply may have been changed on its way; a call that fails has ended.
            let calls = tokio::join!(
                ledger.note(number),
                ledger.book_bytes(number, vec![7; 10_000]),
                ledger.tell(number)
            );
            match calls.0 {
                Ok(_) => answered += 1,
                Err(_) => break,
            }
        }
    }
    answered
}

/// How much a server holds, and how many warnings it has printed in all.
fn held(server: &Process, warnings: &mut usize) -> (usize, usize, u64) {
    *warnings += server.printed();
    (system::fds(server.id()), system::threads(server.id()), system::rss_kib(server.id()))
}

async fn attack(kind: &str) {
    let seed = std::env::var("PANPIPE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("PANPIPE_SEED={seed}");
    let state = AtomicU64::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let name = unique_name("mutated");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(["serve", kind, &name]).arg(folder.path().join("ledger"));
    let server = Process::start(&mut command).serving(&name);
    server.wait_for("ready");
    let path = folder.path().join("proxy");
    let listener = UnixListener::bind(&path).unwrap();

    let time = if is_full() { Duration::from_secs(600) } else { Duration::from_secs(2) };
    let mut warnings = 0;
    let run = async {
        let run = async |time: Duration| {
            let end = Instant::now() + time;
            let answered: u64 =
                futures::future::join_all((0..4).map(|_| call(&path, end))).await.iter().sum();
            answered
        };
        // The first part fills the allocator's and the pools' stores.
        run(time / 4).await;
        let before = held(&server, &mut warnings);
        let answered = run(time).await;
        (before, answered)
    };
    let (before, answered) = tokio::select! {
        done = run => done,
        () = proxy(listener, raw::path_of(&name), &state) => unreachable!("it accepts for ever"),
    };
    let honest = LedgerClient::connect(name.as_str()).await.unwrap();
    assert_eq!(honest.note(7).await, Ok(7), "the server serves");
    drop(honest);
    eventually("no descriptor and no thread is left of the clients", PATIENCE, async || {
        let (fds, threads, _) = held(&server, &mut warnings);
        fds <= before.0 && threads <= before.1
    })
    .await;
    let (_, _, rss) = held(&server, &mut warnings);
    println!(
        "{kind}: {answered} calls answered, {} KiB more, {warnings} warnings",
        rss.saturating_sub(before.2)
    );
    assert!(answered > 0, "some calls pass unchanged");
    assert!(rss <= before.2 + (16 << 10), "{} KiB before and {rss} after", before.2);
    // Each kind of line is limited to one a second, behind a few at once.
    let most = 20 * (time.as_secs() as usize * 5 / 4 + 10);
    assert!(warnings <= most, "{warnings} warnings, of {most}");
}

#[tokio::test]
async fn a_server_of_many_threads_stays_flat_behind_a_mutating_proxy() {
    attack("many").await;
}

#[tokio::test]
async fn a_server_of_one_thread_stays_flat_behind_a_mutating_proxy() {
    attack("current").await;
}

#[tokio::test]
async fn a_blocking_server_stays_flat_behind_a_mutating_proxy() {
    attack("blocking").await;
}

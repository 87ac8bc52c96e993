//! Proof 26, and 9 again with streams: readers that are slow, or do not read.

use std::io::Write;
use std::time::{Duration, Instant};

use futures::StreamExt;
use panpipe_tests::raw::{self, Raw};
use panpipe_tests::{PATIENCE, eventually, p99, p99_bound, system, times};

use crate::common::{nothing_is_left, studio, studio_client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proof_26_a_slow_reader_holds_up_its_writer_and_nobody_else() {
    let (server, _, studio) = studio(&[]).await;
    let size = 64 << 10;
    let count = times(1024, 16 << 10);
    let echoes = async |rounds: usize| {
        let mut took = Vec::new();
        for x in 0..rounds {
            let start = Instant::now();
            assert_eq!(studio.echo(x as u64).await, Ok(x as u64));
            took.push(start.elapsed());
        }
        p99(took)
    };
    let before_p99 = echoes(1000).await;
    let before = system::rss_kib(server.id());
    let mut blocks = studio.blocks(count as u64, size).await.unwrap();
    // Nobody reads for a while: what has come is the credit, and no more is made.
    let beside = echoes(2000).await;
    let mut most = system::rss_kib(server.id());
    let mut came = 0;
    while let Some(block) = blocks.next().await {
        assert_eq!(block.unwrap().0.len(), size);
        came += 1;
        if came % 64 == 0 {
            // Slower than it is written.
            assert_eq!(studio.echo(came as u64).await, Ok(came as u64));
            most = most.max(system::rss_kib(server.id()));
        }
    }
    assert_eq!(came, count);
    let grown = most.saturating_sub(before);
    println!(
        "{} MiB, slowly: the writer grew by {grown} KiB; p99 of calls {before_p99:?} before, {beside:?} beside",
        count >> 4
    );
    assert!(grown < 8 << 10, "{grown} KiB");
    assert!(beside < p99_bound(before_p99, 3), "{beside:?} against {before_p99:?}");
    drop(blocks);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn proof_09_streams_that_nobody_reads_are_bounded() {
    let (server, name, studio) = studio(&[]).await;
    assert_eq!(studio.echo(1).await, Ok(1));
    let before = system::rss_kib(server.id());
    let mut all = Vec::new();
    for signature in ["endless()->Streaming<u64>", "count(u64)->Streaming<u64>"] {
        let name = name.clone();
        let raw = tokio::task::spawn_blocking(move || {
            let mut raw = Raw::greeted_with_ports(&name, "Studio");
            raw.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            for call in 0..times(20_000, 100_000) as u64 {
                let args = u64::MAX.to_le_bytes();
                let args = if signature.starts_with("count") { &args[..] } else { &[] };
                if raw.socket.write_all(&raw::call(call % 1024, signature, 0, args)).is_err() {
                    break;
                }
            }
            raw
        });
        all.push(raw.await.unwrap());
        assert_eq!(studio.echo(2).await, Ok(2));
    }
    let grown = system::rss_kib(server.id()).saturating_sub(before);
    println!("two clients that read none of their streams: {grown} KiB");
    assert!(grown < 32 << 10, "{grown} KiB");
    drop(all);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn proof_09_ports_opened_and_given_up_are_bounded_though_nobody_listens() {
    let (server, name, studio) = studio(&[]).await;
    assert_eq!(studio.echo(1).await, Ok(1));
    let before = system::rss_kib(server.id());
    let closed = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::greeted_with_ports(&name, "Studio");
        raw.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        // A one-way call that does not decode: its stream is stopped, and ended here,
        // so that its number is free again.
        let signature = "oneway note_all(Streaming<u64>)";
        for _ in 0..1_000_000 {
            let list = raw::stream(1);
            let body = [&raw::method(signature).to_le_bytes()[..], &list, &(list.len() as u32).to_le_bytes()];
            let call = raw::frame(raw::kind::ONEWAY | raw::kind::CARRIES, 0, &body.concat());
            let end = raw::port_frame(raw::kind::END, 1, 0, &[0]);
            if raw.socket.write_all(&[call, end].concat()).is_err() {
                return true;
            }
        }
        // It may have been let talk on for a while, unheard; a connection that was
        // not cut off has no end.
        raw.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        loop {
            match raw.try_frame() {
                Ok(Some(_)) => {}
                // The last frame may be cut.
                Ok(None) => return true,
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    })
    .await
    .unwrap();
    let grown = system::rss_kib(server.id()).saturating_sub(before);
    println!("a million ports opened and given up: {grown} KiB, cut off: {closed}");
    assert!(closed, "who never listens is cut off");
    assert!(grown < 16 << 10, "{grown} KiB");
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn proof_10_calls_and_streams_to_a_server_that_is_stopped() {
    use rustix::process::Signal;
    let (server, name, studio) = studio(&[]).await;
    let writer = studio_client(&name).await;
    let made = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = made.clone();
    let endless = panpipe::Streaming::new(futures::stream::iter(0u64..).inspect(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }));
    let sum = tokio::spawn(writer.sum(endless));
    eventually("it flows", PATIENCE, async || made.load(std::sync::atomic::Ordering::SeqCst) > 10_000).await;
    server.stop();
    let before = system::rss_kib(std::process::id());
    let hasty = studio.with_timeout(Duration::from_millis(200));
    let calls = (0..times(200, 1000) as u64).map(|x| hasty.echo(x));
    for call in futures::future::join_all(calls).await {
        assert_eq!(call, Err(panpipe::CallError::DeadlineExceeded));
    }
    let grown = system::rss_kib(std::process::id()).saturating_sub(before);
    println!("a server that is stopped while it is called and streamed to: {grown} KiB");
    assert!(grown < 8 << 10, "{grown} KiB");
    server.signal(Signal::CONT);
    assert_eq!(studio.echo(1).await, Ok(1));
    sum.abort();
    nothing_is_left(&studio).await;
}

//! Proof 11: both sides send more than the pipes hold, at once.

use std::time::{Duration, Instant};

use futures::future::join;
use panpipe_tests::probe::{Probe, Prober};
use panpipe_tests::worker::WorkerClient;
use panpipe_tests::{PATIENCE, at_most};
use panpipe_transport::anonymous;

use crate::common::child_command;

#[tokio::test]
async fn proof_11_64_mib_both_ways_at_once_over_pipes_of_4_kib() {
    // The child shrinks its pipes, which are the parent's too.
    let child = panpipe::spawn(child_command("worker-small-pipes")).offer(Prober::default().serve());
    let child = child.start::<WorkerClient>().unwrap();
    child.client().add(1, 2).await.unwrap();
    let start = Instant::now();
    // 32 calls of 1 MiB each way, whose echoes are the other half.
    let ours = futures::future::join_all((0..32).map(|index| {
        let sent = vec![index as u8; 1 << 20];
        let call = child.client().echo(sent.clone());
        async move { assert_eq!(call.await.unwrap(), sent) }
    }));
    let both = join(ours, child.client().echo_all(32, 1 << 20));
    let (_, theirs) = tokio::time::timeout(PATIENCE, both).await.expect("no deadlock");
    assert_eq!(theirs, Ok(32));
    let took = start.elapsed();
    println!("64 MiB each way over pipes of 4 KiB: {took:?}");
    assert!(took < at_most(Duration::from_secs(10)), "{took:?}");
    assert!(child.shutdown(Duration::from_secs(30)).await.unwrap().success());
}

#[tokio::test]
async fn proof_11_both_directions_of_a_transport_fill_and_drain() {
    use futures::{SinkExt, StreamExt};
    use panpipe_transport::Transport;
    use panpipe_transport::codec::Bincode;

    let (one, other) = anonymous::pair().unwrap();
    let through = |stream| async move {
        let transport = Transport::<_, Vec<u64>, Vec<u64>, _>::new(stream, Bincode);
        let (mut sink, mut stream) = transport.split();
        let sending = async {
            for _ in 0..64 {
                sink.send(vec![7; 131_072]).await.unwrap();
            }
        };
        let receiving = async {
            for _ in 0..64 {
                assert_eq!(stream.next().await.unwrap().unwrap().len(), 131_072);
            }
        };
        join(sending, receiving).await;
    };
    tokio::time::timeout(Duration::from_secs(60), join(through(one), through(other)))
        .await
        .expect("no deadlock");
}

//! Proofs 11, 12 and 13 again, with streams.

use std::task::Poll;
use std::time::Duration;

use futures::{FutureExt, StreamExt, poll};
use panpipe::Streaming;
use panpipe_tests::studio::{Block, StudioClient, numbers, sum_of};
use panpipe_tests::{at_most, times};

use crate::common::{nothing_is_left, studio, studio_client};

fn blocks(count: usize) -> Streaming<Block> {
    Streaming::new(futures::stream::iter(0..count).map(|_| Block(vec![7; 100_000].into())))
}

#[tokio::test]
async fn proof_11_both_sides_stream_at_once_over_narrow_pipes() {
    // The child shrinks its pipes, which are the parent's too: they hold less than
    // an item.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_studio"));
    command.args(["child", "small-pipes"]);
    let child = panpipe::spawn(command).start::<StudioClient>().unwrap();
    let studio = child.client();
    let both = async {
        let mut back = Vec::new();
        for _ in 0..4 {
            // To the other side and back, all four at once.
            back.push(studio.pass(blocks(160)).await.unwrap());
        }
        let all = back.into_iter().map(|mut back| async move {
            let mut came = 0;
            while let Some(block) = back.next().await {
                came += block.unwrap().0.len();
            }
            came
        });
        futures::future::join_all(all).await
    };
    let start = std::time::Instant::now();
    let came = tokio::time::timeout(Duration::from_secs(60), both).await.expect("no deadlock");
    assert_eq!(came, [16_000_000; 4]);
    println!("64 MB each way, in four streams, over pipes of 4 KiB: {:?}", start.elapsed());
    assert!(start.elapsed() < at_most(Duration::from_secs(10)), "{:?}", start.elapsed());
    assert!(child.shutdown(Duration::from_secs(30)).await.unwrap().success());
}

#[tokio::test]
async fn proof_12_streams_dropped_as_soon_as_they_are_there() {
    let (_server, name, studio) = studio(&[]).await;
    let neighbour = studio_client(&name).await;
    for index in 0..times(5_000, 100_000) as u64 {
        match index % 4 {
            // Polled once and dropped, with whatever it carries.
            0 => drop(studio.endless().now_or_never()),
            1 => drop(studio.sum(numbers(index)).now_or_never()),
            2 => drop(studio.endless().await.unwrap()),
            _ => drop(studio.double(numbers(1000)).await.unwrap()),
        }
        if index % 100 == 0 {
            assert_eq!(neighbour.echo(index).await, Ok(index));
            assert_eq!(sum_of(studio.count(10).await.unwrap()).await, Ok(45));
        }
    }
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn proof_13_wherever_a_stream_is_dropped_the_others_get_their_own_items() {
    let (_server, _, studio) = studio(&[]).await;
    for point in 0..times(300, 1000) {
        let beside = tokio::spawn({
            let numbers = studio.double(numbers(500));
            async move { sum_of(numbers.await.unwrap()).await }
        });
        let mut call = Box::pin(studio.double(numbers(100_000)));
        let (mut doubled, mut read) = (None, 0);
        for _ in 0..point % 150 {
            match &mut doubled {
                None => {
                    if let Poll::Ready(stream) = poll!(&mut call) {
                        doubled = Some(stream.unwrap());
                    }
                }
                Some(stream) => {
                    if let Poll::Ready(item) = poll!(stream.next()) {
                        assert_eq!(item, Some(Ok(read * 2)));
                        read += 1;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        drop(doubled);
        assert_eq!(beside.await.unwrap(), Ok(499 * 500));
    }
    nothing_is_left(&studio).await;
}

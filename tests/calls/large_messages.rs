//! Messages that travel in parts.

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, poll, stream};
use panpipe::{CallError, Codec, Limits, Streaming};
use panpipe_tests::studio::{StudioClient, numbers};
use panpipe_tests::{PATIENCE, eventually};

use crate::common::{nothing_is_left, studio};

const LARGE: usize = 15 << 20;

#[tokio::test]
async fn small_calls_pass_large_ones() {
    let (_server, _, studio) = studio(&[]).await;
    assert_eq!(studio.echo(0).await, Ok(0));
    let large: Vec<_> = (0..3).map(|_| tokio::spawn(studio.echo_bytes(vec![7; LARGE]))).collect();
    let mut passed = 0;
    while !large.iter().any(tokio::task::JoinHandle::is_finished) {
        assert_eq!(studio.echo(passed).await, Ok(passed));
        passed += 1;
    }
    for large in large {
        assert_eq!(large.await.unwrap().unwrap(), vec![7; LARGE]);
    }
    assert!(passed > 20, "{passed} small calls while three large ones ran");
}

#[tokio::test]
async fn a_stream_flows_beside_large_messages() {
    let (_server, _, studio) = studio(&[]).await;
    let large: Vec<_> = (0..6)
        .map(|_| {
            let studio = studio.clone();
            tokio::spawn(async move {
                loop {
                    assert_eq!(studio.echo_bytes(vec![7; LARGE / 2]).await.unwrap().len(), LARGE / 2);
                }
            })
        })
        .collect();
    let mut numbers = studio.endless().await.unwrap();
    for expected in 0..100_000 {
        assert_eq!(numbers.next().await, Some(Ok(expected)));
    }
    assert!(!large.iter().any(tokio::task::JoinHandle::is_finished));
    large.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_large_call_can_be_dropped_on_its_way() {
    let (_server, name, _) = studio(&[]).await;
    let studio = StudioClient::connect(&name).await.unwrap();
    assert_eq!(studio.echo(0).await, Ok(0));
    for point in 0..60u64 {
        let mut large = Box::pin(studio.echo_bytes(vec![7; LARGE / 4]));
        // With a stream its message has to go on, and is cancelled behind it.
        let mut carrying = Box::pin(studio.sum_bytes(numbers(10), vec![7; LARGE / 8]));
        let block = Bytes::from(vec![7; LARGE / 8]);
        let mut sharing = Box::pin(studio.weave(String::new(), block.clone(), numbers(10), Some(block)));
        for _ in 0..point % 20 {
            let given = [poll!(&mut large).is_ready(), poll!(&mut carrying).is_ready()];
            if poll!(&mut sharing).is_ready() || given.contains(&true) {
                break;
            }
            assert_eq!(studio.echo(point).await, Ok(point));
        }
    }
    // Every id is free again: as many calls as there may be, at once.
    let calls = (0..1024).map(|x| studio.echo(x));
    let sum: u64 = futures::future::try_join_all(calls).await.unwrap().iter().sum();
    assert_eq!(sum, 1023 * 512);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_deadline_passes_while_a_large_call_is_on_its_way() {
    let (server, _, studio) = studio(&[]).await;
    assert_eq!(studio.echo(0).await, Ok(0));
    server.stop();
    let hasty = studio.with_timeout(Duration::from_millis(50));
    assert_eq!(hasty.echo_bytes(vec![7; LARGE]).await, Err(CallError::DeadlineExceeded));
    server.signal(rustix::process::Signal::CONT);
    assert_eq!(studio.echo(1).await, Ok(1));
    assert_eq!(studio.echo_bytes(vec![7; LARGE]).await.unwrap().len(), LARGE);
}

#[tokio::test]
async fn a_large_call_that_was_not_wholly_sent_is_told_as_unsent() {
    let (mut server, _, studio) = studio(&[]).await;
    assert_eq!(studio.echo(0).await, Ok(0));
    server.stop();
    let large = tokio::spawn(studio.echo_bytes(vec![7; LARGE]));
    eventually("the system takes no more", PATIENCE, async || {
        tokio::task::yield_now().await;
        studio.with_timeout(Duration::from_millis(20)).echo(1).await == Err(CallError::DeadlineExceeded)
    })
    .await;
    server.kill();
    assert_eq!(large.await.unwrap(), Err(CallError::Disconnected { sent: false }));
}

#[tokio::test]
async fn one_way_calls_stay_in_their_order_whatever_their_size() {
    let (_server, _, studio) = studio(&[]).await;
    for x in 0..40 {
        let bytes = if x % 2 == 0 { vec![7; 1 << 20] } else { Vec::new() };
        studio.note_bytes(x, bytes).await.unwrap();
    }
    eventually("all are noted", PATIENCE, async || studio.noted().await.unwrap().len() == 40).await;
    assert!(studio.noted().await.unwrap().is_sorted());
}

#[tokio::test]
async fn a_stub_that_is_dropped_behind_a_large_message_does_not_pass_it() {
    let (_server, name, studio) = studio(&[]).await;
    let connection = panpipe::connect(&name).await.unwrap();
    for x in 0..10 {
        // A port of its own, which is closed as soon as the call is on its way.
        let stub = connection.client::<StudioClient>().await.unwrap();
        stub.note_bytes(x, vec![7; 4 << 20]).await.unwrap();
        drop(stub);
        // One that is given up, but has to go on for the stream in it.
        let stub = connection.client::<StudioClient>().await.unwrap();
        let mut carrying = Box::pin(stub.sum_bytes(numbers(10), vec![7; 4 << 20]));
        assert!(poll!(&mut carrying).is_pending());
        drop((carrying, stub));
    }
    eventually("all are noted", PATIENCE, async || studio.noted().await.unwrap().len() == 10).await;
    assert_eq!(connection.close_reason(), None);
    eventually("no port is open", PATIENCE, async || connection.open_ports() == 0).await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_before_a_part_of_it_goes() {
    let (_server, _, studio) = studio(&[]).await;
    let too_large = studio.echo_bytes(vec![7; 17 << 20]).await;
    assert!(matches!(too_large, Err(CallError::TooLarge { limit: 16_777_216, .. })), "{too_large:?}");
    assert_eq!(studio.echo(1).now_or_never(), None);
    assert_eq!(studio.echo(1).await, Ok(1));
}

#[tokio::test]
async fn sixty_four_mib_where_both_sides_take_it() {
    let (_server, name, _) = studio(&["max_message=100000000"]).await;
    // Before the connection, which is dropped without a hello for so long.
    let bytes: Vec<u8> = (0..64u32 << 20).map(|index| (index >> 12) as u8).collect();
    let limits = Limits { max_message: 100_000_000, ..Limits::default() };
    let studio = StudioClient::connect(&name).limits(limits).await.unwrap();
    assert!(studio.echo_bytes(bytes.clone()).await.unwrap() == bytes);
}

/// So many bytes that tell one call from another.
fn block(len: usize, call: usize) -> Bytes {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16) ^ call) as u8).collect()
}

#[tokio::test]
async fn large_blocks_come_in_their_places_over_every_codec() {
    let (_server, name, _) = studio(&[]).await;
    for codec in [Codec::Bincode, Codec::Postcard, Codec::MessagePack, Codec::Json] {
        let studio = StudioClient::connect(&name).codec(codec).await.unwrap();
        let sizes =
            [(0, None), (200_000, Some(3)), (5, Some(150_000)), (1 << 20, Some(2 << 20)), (3 << 20, None)];
        for (call, (first, second)) in sizes.into_iter().enumerate() {
            let (first, second) = (block(first, call), second.map(|len| block(len, call + 9)));
            let woven = studio.weave("word".to_owned(), first.clone(), numbers(10), second.clone()).await;
            assert!(woven == Ok((second, "word".to_owned(), first, 45)), "{codec:?}, {call}");
        }
    }
}

#[tokio::test]
async fn what_has_come_stays_as_it_is_while_more_comes_and_can_be_sent_on() {
    let (_server, _, studio) = studio(&[]).await;
    let mut kept = Vec::new();
    for call in 0..12 {
        let woven = studio.weave(String::new(), block(300_000, call), numbers(0), None).await;
        let (_, _, block, _) = woven.unwrap();
        // The second time it is of a frame that came in.
        let woven = studio.weave(String::new(), block.clone(), numbers(0), Some(block)).await;
        let (second, _, first, _) = woven.unwrap();
        kept.push((first, second.unwrap()));
    }
    for (call, (first, second)) in kept.into_iter().enumerate() {
        assert!(first == block(300_000, call) && second == first, "call {call}");
    }
}

#[tokio::test]
async fn large_blocks_flow_as_the_items_of_a_stream() {
    let (_server, _, studio) = studio(&[]).await;
    let sizes = [1, 200_000, 20_000, 2 << 20, 100, 1 << 20];
    let blocks: Vec<_> = (0..30).map(|item| block(sizes[item % sizes.len()], item)).collect();
    let sent = Streaming::new(stream::iter(blocks.clone()));
    let mut passed = studio.pass_bytes(sent).await.unwrap();
    for (item, block) in blocks.into_iter().enumerate() {
        assert!(passed.next().await == Some(Ok(block)), "item {item}");
    }
    assert_eq!(passed.next().await, None);
}

//! Streams between processes, in each direction and at each place.

use std::task::Poll;
use std::time::Duration;

use futures::{FutureExt, StreamExt, poll};
use panpipe::{CallError, Limits, StreamError, Streaming};
use panpipe_tests::studio::{Block, Label, Shelf, StudioClient, numbers, sum_of, sum_of_shelf};
use panpipe_tests::{PATIENCE, eventually, process::Process};

use crate::common::{nothing_is_left, studio, studio_client};

#[tokio::test]
async fn a_result_an_argument_and_both_at_once() {
    let (_server, _, studio) = studio(&[]).await;
    let counted: Vec<_> = studio.count(5000).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(counted, (0..5000).collect::<Vec<_>>());
    assert_eq!(studio.sum(numbers(5000)).await, Ok(4999 * 2500));
    let doubled: Vec<_> = studio.double(numbers(3000)).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(doubled, (0..3000).map(|number| number * 2).collect::<Vec<_>>());
    assert_eq!(sum_of(studio.count(0).await.unwrap()).await, Ok(0));
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn inside_options_results_structs_lists_and_enums() {
    let (_server, _, studio) = studio(&[]).await;
    let some = studio.maybe(Some(true)).await.unwrap().unwrap();
    assert_eq!(sum_of(some).await, Ok(3));
    assert!(studio.maybe(Some(false)).await.unwrap().is_none());
    assert_eq!(studio.maybe(None).await.unwrap_err(), CallError::App("neither".to_owned()));
    assert_eq!(sum_of_shelf(studio.shelf(10).await.unwrap()).await, Ok(4 * 45));
    let (result, mut heard) = panpipe::channel(1);
    let shelf = Shelf {
        one: numbers(10),
        many: vec![numbers(3), numbers(4)],
        label: Label::Live { numbers: numbers(5), result },
    };
    assert_eq!(studio.sum_shelf(shelf).await, Ok(45 + 3 + 6 + 10));
    assert_eq!(heard.next().await, Some(Ok(64)));
    assert_eq!(heard.next().await, None);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn streams_of_streams() {
    let (_server, _, studio) = studio(&[]).await;
    let mut streams = studio.streams(20, 100).await.unwrap();
    let mut inner = Vec::new();
    while let Some(stream) = streams.next().await {
        inner.push(stream.unwrap());
    }
    // The last first: none waits for another.
    for stream in inner.into_iter().rev() {
        assert_eq!(sum_of(stream).await, Ok(4950));
    }
    let ours = Streaming::new(futures::stream::iter((0..20).map(|_| numbers(100))));
    assert_eq!(studio.sum_streams(ours).await, Ok(20 * 4950));
    // Some of them, and those unread, on either side.
    let mut streams = studio.streams(20, 100).await.unwrap();
    assert_eq!(sum_of(streams.next().await.unwrap().unwrap()).await, Ok(4950));
    drop(streams);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_received_stream_can_be_passed_on_and_back() {
    let (_server, _, studio) = studio(&[]).await;
    let theirs = studio.count(1000).await.unwrap();
    assert_eq!(studio.sum(theirs).await, Ok(499_500));
    let back = studio.back(studio.count(1000).await.unwrap()).await.unwrap();
    assert_eq!(sum_of(back).await, Ok(499_500));
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn large_items_and_many_of_them() {
    let (_server, _, studio) = studio(&[]).await;
    for (count, size) in [(2000, 64), (200, 65_536), (20, 1 << 20), (3, 15 << 20)] {
        let mut blocks = studio.blocks(count, size).await.unwrap();
        let mut came = 0;
        while let Some(Block(bytes)) = blocks.next().await.transpose().unwrap() {
            assert!(bytes.len() == size && bytes[size - 1] == 7);
            came += 1;
        }
        assert_eq!(came, count);
    }
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn streams_of_large_items_do_not_wait_for_each_other() {
    let (_server, _, studio) = studio(&[]).await;
    // More than all streams of a connection may hold unread, each read to its end …
    let one = async |size: usize| {
        let mut blocks = studio.blocks(1, size).await.unwrap();
        assert_eq!(blocks.next().await.unwrap().unwrap().0.len(), size);
        assert!(blocks.next().await.is_none());
    };
    tokio::join!(one(15 << 20), one(15 << 20), one(15 << 20));
    // … and one item of each in turn, whatever the others hold.
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(studio.blocks(3, 8 << 20).await.unwrap());
    }
    for _ in 0..3 {
        for blocks in all.iter_mut().rev() {
            assert_eq!(blocks.next().await.unwrap().unwrap().0.len(), 8 << 20);
        }
    }
    drop(all);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_stream_can_be_dropped_while_a_large_item_of_it_comes() {
    let (_server, _, studio) = studio(&[]).await;
    for round in 0..100 {
        let blocks = studio.blocks(3, 15 << 20).await.unwrap();
        for _ in 0..round % 10 {
            assert_eq!(studio.echo(round).await, Ok(round));
        }
        drop(blocks);
    }
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn errors_of_the_maker_s_own_are_items_and_a_panic_ends_the_stream() {
    let (_server, _, studio) = studio(&[]).await;
    let failing: Vec<_> = studio.failing(2).await.unwrap().collect().await;
    assert_eq!(failing, [Ok(Ok(0)), Ok(Ok(1)), Ok(Err("no more".to_owned()))]);
    let panicking: Vec<_> = studio.panicking(2).await.unwrap().collect().await;
    assert_eq!(panicking, [Ok(0), Ok(1), Err(StreamError::Panicked)]);
    assert_eq!(studio.echo(1).await, Ok(1));
    // The other way: this side's maker panics.
    let ours = Streaming::new(futures::stream::iter(0..).map(|number| {
        assert!(number < 2, "as it is meant to");
        number
    }));
    let why = StreamError::Panicked.to_string();
    assert_eq!(studio.sum(ours).await, Err(CallError::App(why)));
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn an_item_over_the_limit_is_named_and_the_connection_lives() {
    let (_server, name, _) = studio(&["max_message=100000"]).await;
    let limits = Limits { max_message: 100_000, ..Limits::default() };
    let studio = StudioClient::connect(&name).limits(limits).await.unwrap();
    let too_large: Vec<_> = studio.blocks(2, 200_000).await.unwrap().collect().await;
    assert!(
        matches!(too_large.as_slice(), [Err(StreamError::TooLarge { size, limit: 100_000 })] if *size > 200_000)
    );
    assert_eq!(studio.echo(1).await, Ok(1));
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn dropping_a_stream_drops_what_makes_it_in_the_other_process() {
    let (_server, _, studio) = studio(&[]).await;
    // Before anything is read, in the middle, and with the call that would give it.
    drop(studio.endless().await.unwrap());
    let mut endless = studio.endless().await.unwrap();
    assert_eq!(endless.next().await, Some(Ok(0)));
    assert_eq!(studio.alive().await.unwrap(), (1, 1));
    drop(endless);
    let mut call = Box::pin(studio.endless());
    assert!(poll!(&mut call).is_pending());
    drop(call);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn dropping_at_any_time_leaves_nothing() {
    let (_server, _, studio) = studio(&[]).await;
    for point in 0..200 {
        // The call, then the stream, is dropped after so many polls.
        let mut left = point % 50;
        let mut call = Box::pin(studio.endless());
        let mut numbers = None;
        while left > 0 && numbers.is_none() {
            if let Poll::Ready(stream) = poll!(&mut call) {
                numbers = Some(stream.unwrap());
            }
            tokio::task::yield_now().await;
            left -= 1;
        }
        if let Some(numbers) = &mut numbers {
            for expected in 0..left {
                assert_eq!(numbers.next().await, Some(Ok(expected)));
            }
        }
    }
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_reader_that_has_enough_ends_the_writer_of_an_argument() {
    let (_server, _, studio) = studio(&[]).await;
    let (alive, counted) = (std::sync::Arc::new(()), std::sync::Arc::new(()));
    let held = (alive.clone(), counted);
    let endless = Streaming::new(futures::stream::iter(0..).map(move |number| {
        let _held = &held;
        number
    }));
    assert_eq!(studio.first(endless, 3).await, Ok(vec![0, 1, 2]));
    eventually("the maker is dropped", PATIENCE, async || std::sync::Arc::strong_count(&alive) == 1).await;
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_writer_waits_for_its_reader_and_calls_pass_it() {
    let (_server, _, studio) = studio(&[]).await;
    let made = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = made.clone();
    let endless = Streaming::new(futures::stream::iter(0..).map(move |_: u64| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Block(vec![7; 10_000].into())
    }));
    let held = tokio::spawn(studio.hold(endless));
    let made = || made.load(std::sync::atomic::Ordering::SeqCst);
    eventually("the credit is used up", PATIENCE, async || {
        let before = made();
        assert_eq!(studio.echo(5).await, Ok(5));
        tokio::time::sleep(Duration::from_millis(50)).await;
        before > 0 && made() == before
    })
    .await;
    // A credit of 256 KiB, and one that waits.
    assert!(made() <= 28, "{} blocks of 10 KB", made());
    held.abort();
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn items_in_flight_are_at_most_what_the_reader_has_said() {
    let (_server, _, studio) = studio(&["stream_items=8"]).await;
    let made = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = made.clone();
    let endless = Streaming::new(futures::stream::iter(0..).inspect(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }));
    assert_eq!(studio.first(endless, 1).await, Ok(vec![0]));
    let made = made.load(std::sync::atomic::Ordering::SeqCst);
    assert!(made <= 8 * 4 + 2, "{made} items");
}

#[tokio::test]
async fn a_one_way_call_takes_a_stream_in_order_and_outlives_its_client() {
    let (_server, name, studio) = studio(&[]).await;
    let other = studio_client(&name).await;
    other.note_all(numbers(10_000)).await.unwrap();
    // The stream that is being written keeps the connection.
    drop(other);
    eventually("all is noted", PATIENCE, async || studio.noted().await.unwrap().len() == 10_000).await;
    assert!(studio.noted().await.unwrap().is_sorted());
}

#[tokio::test]
async fn a_stream_keeps_its_connection_when_the_client_has_gone() {
    let (_server, name, _) = studio(&[]).await;
    let counted = StudioClient::connect(&name).await.unwrap().count(100_000).await.unwrap();
    assert_eq!(sum_of(counted).await, Ok(99_999 * 50_000));
}

#[tokio::test]
async fn a_stream_that_is_cut_off_says_so() {
    let (mut server, _, studio) = studio(&[]).await;
    let mut endless = studio.endless().await.unwrap();
    assert_eq!(endless.next().await, Some(Ok(0)));
    let sum = tokio::spawn(studio.sum(Streaming::new(futures::stream::pending())));
    eventually("it runs", PATIENCE, async || studio.alive().await.unwrap() == (1, 2)).await;
    server.kill();
    let mut rest = endless.collect::<Vec<_>>().await;
    assert_eq!(rest.pop(), Some(Err(StreamError::Disconnected)));
    assert!(rest.iter().all(Result::is_ok));
    assert_eq!(sum.await.unwrap(), Err(CallError::Disconnected { sent: true }));
}

#[tokio::test]
async fn a_stream_is_sent_once_and_by_calls_alone() {
    let (_server, _, studio) = studio(&[]).await;
    let stream = numbers(3);
    assert!(
        panpipe_transport::codec::Codec::encode(&panpipe_transport::codec::Bincode, &stream, &mut Vec::new())
            .unwrap_err()
            .to_string()
            .contains("part of a call")
    );
    assert_eq!(sum_of(stream).await, Ok(3));
    assert_eq!(studio.echo(1).await, Ok(1));
}

#[tokio::test]
async fn more_ports_than_the_other_side_takes_fail_their_call_alone() {
    let (_server, _, studio) = studio(&["max_ports=3"]).await;
    let pending = || Streaming::new(futures::stream::pending());
    let held: Vec<_> = (0..3).map(|_| tokio::spawn(studio.hold(pending()))).collect();
    eventually("three are held", PATIENCE, async || studio.alive().await.unwrap() == (3, 3)).await;
    assert_eq!(studio.sum(numbers(3)).await, Err(CallError::Overloaded));
    assert_eq!(studio.echo(1).await, Ok(1));
    held.into_iter().for_each(|call| call.abort());
    nothing_is_left(&studio).await;
    assert_eq!(studio.sum(numbers(3)).await, Ok(3));
}

#[tokio::test]
async fn ten_thousand_ports_come_and_go() {
    let (_server, _, studio) = studio(&[]).await;
    for _ in 0..100 {
        let calls = (0..50).map(|_| async {
            assert_eq!(sum_of(studio.count(3).await.unwrap()).await, Ok(3));
            assert_eq!(studio.sum(numbers(3)).await, Ok(3));
        });
        futures::future::join_all(calls).await;
    }
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn every_codec_carries_ports() {
    let (_server, name, _) = studio(&[]).await;
    for codec in
        [panpipe::Codec::Bincode, panpipe::Codec::Postcard, panpipe::Codec::MessagePack, panpipe::Codec::Json]
    {
        let studio = StudioClient::connect(&name).codec(codec).await.unwrap();
        assert_eq!(sum_of_shelf(studio.shelf(10).await.unwrap()).await, Ok(180), "{codec:?}");
        assert_eq!(studio.sum(numbers(100)).await, Ok(4950), "{codec:?}");
    }
}

#[tokio::test]
async fn a_child_and_a_service_in_place_stream_too() {
    let child = panpipe::spawn({
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_studio"));
        command.arg("child");
        command
    });
    let child = child.start::<StudioClient>().unwrap();
    let local = StudioClient::local(panpipe_tests::studio::StudioImpl::default());
    for studio in [child.client(), &local] {
        assert_eq!(sum_of(studio.count(1000).await.unwrap()).await, Ok(499_500));
        assert_eq!(studio.sum(numbers(1000)).await, Ok(499_500));
        assert_eq!(sum_of_shelf(studio.shelf(10).await.unwrap()).await, Ok(180));
        let (sender, heard) = panpipe::channel(2);
        let (sent, heard) = tokio::join!(studio.send(10, sender), sum_of(heard));
        assert_eq!((sent, heard), (Ok(10), Ok(45)));
    }
    assert!(child.shutdown(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn a_server_that_ends_lets_its_streams_finish() {
    let (server, _, studio) = studio(&[]).await;
    let counted = studio.count(200_000).await.unwrap();
    let ended = tokio::task::spawn_blocking(move || Process::finish(server));
    assert_eq!(sum_of(counted).await, Ok(199_999 * 100_000));
    assert!(ended.await.unwrap().success());
    assert!(studio.echo(1).now_or_never().is_none_or(|echo| echo.is_err()));
}

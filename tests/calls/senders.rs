//! The writing end of a stream in another process.

use std::os::unix::net::UnixStream;

use futures::StreamExt;
use panpipe::{CallError, SendError, Sender, StreamError, Streaming, WhenFull};
use panpipe_tests::raw::{self, Raw};
use panpipe_tests::studio::{StudioClient, numbers, sum_of};
use panpipe_tests::{PATIENCE, eventually};

use crate::common::{nothing_is_left, studio};

/// Reads the numbers from 0 on, some of which are missing: each is as large as the number of
/// those that have come and of those that were lost before it. Gives how many were lost.
async fn lost_among(total: u64, mut numbers: Streaming<u64>) -> u64 {
    let mut come = 0;
    while let Some(number) = numbers.next().await {
        assert_eq!(numbers.lost().map(|lost| come + lost), Some(number.unwrap()));
        come += 1;
    }
    assert_eq!(numbers.lost(), Some(total - come));
    total - come
}

#[tokio::test]
async fn a_sender_as_an_argument_and_as_a_result() {
    let (_server, _, studio) = studio(&[]).await;
    let (sender, heard) = panpipe::channel(4);
    let (sent, heard) = tokio::join!(studio.send(1000, sender), heard.collect::<Vec<_>>());
    assert_eq!(sent, Ok(1000));
    assert_eq!(heard, (0..1000).map(Ok).collect::<Vec<_>>());
    let sender = studio.sender().await.unwrap();
    for number in 0..1000 {
        sender.send(number).await.unwrap();
    }
    let clone = sender.clone();
    drop(sender);
    clone.send(1000).await.unwrap();
    drop(clone);
    eventually("all is noted", PATIENCE, async || studio.noted().await.unwrap().len() == 1001).await;
    assert!(studio.noted().await.unwrap().is_sorted());
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_sender_is_passed_on() {
    // To the server, back from it, and there again: three hops.
    let (_server, _, studio) = studio(&[]).await;
    let theirs = studio.sender().await.unwrap();
    assert_eq!(studio.send(100, theirs).await, Ok(100));
    eventually("all is noted", PATIENCE, async || studio.noted().await.unwrap().len() == 100).await;
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_reader_that_goes_is_noticed() {
    let (_server, _, studio) = studio(&[]).await;
    let (sender, mut heard) = panpipe::channel::<u64>(4);
    let call = tokio::spawn(studio.closed(sender));
    eventually("the call runs", PATIENCE, async || studio.alive().await.unwrap().1 == 1).await;
    assert!(futures::poll!(heard.next()).is_pending());
    drop(heard);
    call.await.unwrap().unwrap();
    // In the middle of sending.
    let (sender, mut heard) = panpipe::channel(4);
    let call = tokio::spawn(studio.send(u64::MAX, sender));
    for expected in 0..100 {
        assert_eq!(heard.next().await, Some(Ok(expected)));
    }
    drop(heard);
    assert!(call.await.unwrap().unwrap() >= 100);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn sending_waits_for_credit() {
    let (_server, _, studio) = studio(&[]).await;
    let (sender, mut heard) = panpipe::channel(4);
    let call = tokio::spawn(studio.send(1000, sender));
    eventually("it is held up", PATIENCE, async || {
        studio.echo(1).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        !call.is_finished()
    })
    .await;
    for expected in 0..1000 {
        assert_eq!(heard.next().await, Some(Ok(expected)));
    }
    assert_eq!(call.await.unwrap(), Ok(1000));
}

#[tokio::test]
async fn a_choice_for_slow_readers() {
    let (_server, _, studio) = studio(&[]).await;
    for (choice, unsent_at_least) in [(0, 0), (1, 0), (2, 9000)] {
        let (sender, mut heard) = panpipe::channel(4);
        // Nobody reads while it floods; none of the choices waits.
        let unsent = studio.flood(10_000, choice, sender).await.unwrap();
        assert!(unsent >= unsent_at_least, "{choice}: {unsent}");
        let mut all = Vec::new();
        while let Some(number) = heard.next().await {
            all.push(number.unwrap());
        }
        println!("choice {choice}: {} came", all.len());
        assert!(all.is_sorted() && all.len() < 100, "{choice}: {all:?}");
        if choice < 2 {
            assert_eq!(all.last(), Some(&9999), "{choice}");
            assert_eq!(unsent, 0);
        }
    }
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_reader_learns_how_many_items_its_writer_dropped_and_where() {
    let (_server, _, studio) = studio(&[]).await;
    for choice in [0, 1] {
        // The sender is in the server, which drops what there is no credit for.
        let (sender, heard) = panpipe::channel(4);
        assert_eq!(studio.flood(10_000, choice, sender).await, Ok(0));
        assert!(lost_among(10_000, heard).await > 9000);
        // Nothing is dropped for a reader that keeps up, and it learns that too.
        let (sender, mut heard) = panpipe::channel(4);
        let (sent, all) = tokio::join!(studio.send(100, sender), heard.by_ref().count());
        assert_eq!((sent, all, heard.lost()), (Ok(100), 100, Some(0)));
    }
    // The sender and its queue are in the server, whose task moves the items to the connection.
    let (readings, ended) = studio.readings(2, 10_000).await.unwrap();
    ended.for_each(async |_| ()).await;
    assert!(lost_among(10_000, readings).await > 9000);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn an_item_that_was_given_back_is_not_counted_as_lost() {
    let (_server, _, studio) = studio(&[]).await;
    let (sender, mut heard) = panpipe::channel(4);
    let unsent = studio.flood(10_000, 2, sender).await.unwrap();
    let all = heard.by_ref().count().await as u64;
    assert_eq!((all + unsent, heard.lost()), (10_000, Some(0)));
    assert!(unsent > 9000);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn losses_on_each_part_of_the_way_add_up() {
    let (_server, _, studio) = studio(&[]).await;
    // Handed on to the server and back: two processes and three connections' ends.
    let (there, ended) = studio.readings(2, 10_000).await.unwrap();
    let far = studio.back(there).await.unwrap();
    ended.for_each(async |_| ()).await;
    assert!(lost_among(10_000, far).await > 9000);
    // A stream that has been read in part counts from there on.
    let (mut part, ended) = studio.readings(2, 1000).await.unwrap();
    ended.for_each(async |_| ()).await;
    let first = part.next().await.unwrap().unwrap();
    let mut rest = studio.back(part).await.unwrap();
    let mut before = first;
    let mut lost = 0;
    while let Some(number) = rest.next().await {
        let number = number.unwrap();
        assert_eq!(rest.lost(), Some(lost + number - before - 1));
        (before, lost) = (number, rest.lost().unwrap());
    }
    assert_eq!(before, 999);
    // A sender that is handed on: another service in between sends it there.
    let (ours, theirs) = tokio::io::duplex(4096);
    tokio::spawn(panpipe::serve_stream(theirs, Between(studio.clone()).serve()));
    let between = HandoverClient::over(ours);
    for choice in [0, 1] {
        let (sender, heard) = panpipe::channel(4);
        assert_eq!(between.flood(10_000, choice, sender).await, Ok(Some(0)));
        assert!(lost_among(10_000, heard).await > 9000);
    }
    nothing_is_left(&studio).await;
}

/// Hands a sender on.
#[panpipe::service]
pub trait Handover {
    /// Has the numbers sent by another process.
    async fn flood(&self, numbers: u64, choice: u8, to: Sender<u64>) -> Option<u64>;
}

struct Between(StudioClient);

impl Handover for Between {
    async fn flood(&self, numbers: u64, choice: u8, to: Sender<u64>) -> Option<u64> {
        self.0.flood(numbers, choice, to).await.ok()
    }
}

/// The stream of one number, 5, of a server whose version does not tell what is lost.
async fn stream_of_older_server() -> (Streaming<u64>, StudioClient) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let studio = StudioClient::over(tokio::net::UnixStream::from_std(ours).unwrap());
    let mut raw = Raw::over(theirs);
    std::thread::spawn(move || {
        raw.expect_magic();
        assert_eq!(raw.frame().kind, raw::kind::HELLO);
        raw.send(raw::MAGIC);
        // It has none of the features.
        raw.send(&raw::server_hello_with_ports("Studio"));
        assert_eq!(raw.frame().kind, raw::kind::CALL);
        let list = [raw::stream(2), 2u32.to_le_bytes().to_vec()].concat();
        let reply = [&[0, 0, 0, 0, 0][..], &list].concat();
        raw.send(&raw::frame(raw::kind::REPLY | raw::kind::CARRIES, 0, &reply));
        raw.send(&raw::port_frame(raw::kind::ITEM, 2, 0, &5u64.to_le_bytes()));
        raw.send(&raw::port_frame(raw::kind::END, 2, 0, &[0]));
        raw.to_the_end()
    });
    (studio.count(1).await.unwrap(), studio)
}

#[tokio::test]
async fn a_version_that_does_not_tell_what_is_lost_leaves_the_number_unknown() {
    let (mut numbers, _older) = stream_of_older_server().await;
    assert_eq!((numbers.next().await, numbers.lost()), (Some(Ok(5)), None));
    assert_eq!((numbers.next().await, numbers.lost()), (None, None));
    // The same through a process that would tell, and does not know.
    let (_server, _, studio) = studio(&[]).await;
    let (numbers, _older) = stream_of_older_server().await;
    let mut numbers = studio.back(numbers).await.unwrap();
    assert_eq!((numbers.next().await, numbers.lost()), (Some(Ok(5)), None));
    assert_eq!((numbers.next().await, numbers.lost()), (None, None));
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn a_stream_of_a_channel_keeps_the_channels_credit() {
    let (_server, _, studio) = studio(&[]).await;
    let (readings, ended) = studio.readings(2, 10_000).await.unwrap();
    // Passed on, there and back: each process keeps to the credit.
    let (there, ended_there) = studio.readings(2, 10_000).await.unwrap();
    let far = studio.back(there).await.unwrap();
    for ended in [ended, ended_there] {
        assert_eq!(ended.collect::<Vec<_>>().await, []);
    }
    for (mut readings, hops) in [(readings, 1), (far, 3)] {
        let mut all = Vec::new();
        while let Some(number) = readings.next().await {
            all.push(number.unwrap());
        }
        assert!(all.is_sorted() && all.last() == Some(&9999), "{all:?}");
        // At each hop: two items on their way, two that wait, and one in between.
        assert!(all.len() <= 5 * hops, "{hops}: {all:?}");
    }
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn the_same_choices_without_another_process() {
    let (sender, heard) = panpipe::channel(2);
    for number in 0..3 {
        assert_eq!(sender.try_send(number).is_ok(), number < 2);
    }
    assert_eq!(sender.clone().when_full(WhenFull::Fail).send(7).await, Err(SendError::Full(7)));
    sender.clone().when_full(WhenFull::DropOldest).send(8).await.unwrap();
    sender.clone().when_full(WhenFull::KeepLatest).send(9).await.unwrap();
    drop(sender);
    assert_eq!(heard.collect::<Vec<_>>().await, [Ok(9)]);
    let (sender, heard) = panpipe::channel(2);
    drop(heard);
    assert!(sender.is_closed());
    assert_eq!(sender.send(1).await, Err(SendError::Closed(1)));
}

#[tokio::test]
async fn a_sender_that_goes_by_a_panic_and_one_that_nobody_takes() {
    let (_server, _, studio) = studio(&[]).await;
    let (sender, heard) = panpipe::channel(4);
    assert_eq!(studio.panic_with(sender).await, Err(CallError::Panicked));
    assert_eq!(heard.collect::<Vec<_>>().await, [Ok(1), Err(StreamError::Panicked)]);
    nothing_is_left(&studio).await;
}

#[tokio::test]
async fn the_end_of_the_connection_ends_a_senders_stream_as_an_error() {
    let (mut server, _, studio) = studio(&[]).await;
    let (sender, mut heard) = panpipe::channel(4);
    let call = tokio::spawn(studio.send(u64::MAX, sender));
    assert_eq!(heard.next().await, Some(Ok(0)));
    let theirs = studio.sender().await.unwrap();
    server.kill();
    let rest: Vec<_> = heard.collect().await;
    assert_eq!(rest.last(), Some(&Err(StreamError::Disconnected)));
    assert_eq!(call.await.unwrap(), Err(CallError::Disconnected { sent: true }));
    theirs.closed().await;
    assert_eq!(theirs.send(1).await, Err(SendError::Closed(1)));
    assert_eq!(sum_of(numbers(3)).await, Ok(3));
}

#[tokio::test]
async fn a_sender_outlives_its_clone_in_a_process_that_died_and_tells_of_it_at_the_end() {
    let (mut other_server, _, other) = studio(&[]).await;
    let (sender, mut heard) = panpipe::channel(4);
    let call = tokio::spawn(other.send(u64::MAX, sender.clone()));
    assert_eq!(heard.next().await, Some(Ok(0)));
    other_server.kill();
    assert_eq!(call.await.unwrap(), Err(CallError::Disconnected { sent: true }));
    let sent = async {
        sender.send(u64::MAX).await.unwrap();
        drop(sender);
    };
    let (rest, ()) = tokio::join!(heard.collect::<Vec<_>>(), sent);
    assert!(rest.contains(&Ok(u64::MAX)));
    assert_eq!(rest.last(), Some(&Err(StreamError::Disconnected)));
}

#[tokio::test]
async fn a_sender_that_was_passed_on_to_a_process_that_died_is_not_taken_for_another_port() {
    let (_server, _, studio) = studio(&[]).await;
    let (mut other_server, _, other) = crate::common::studio(&[]).await;
    let sender = studio.sender().await.unwrap();
    let call = tokio::spawn(other.send(u64::MAX, sender.clone()));
    eventually("it sends", PATIENCE, async || !studio.noted().await.unwrap().is_empty()).await;
    other_server.kill();
    assert_eq!(call.await.unwrap(), Err(CallError::Disconnected { sent: true }));
    // What is opened next has numbers of its own.
    let streams: Vec<_> = futures::future::join_all((0..4).map(|_| studio.count(10))).await;
    sender.send(u64::MAX).await.unwrap();
    eventually("it arrives", PATIENCE, async || studio.noted().await.unwrap().last() == Some(&u64::MAX))
        .await;
    drop(sender);
    for stream in streams {
        assert_eq!(sum_of(stream.unwrap()).await, Ok(45));
    }
    nothing_is_left(&studio).await;
}

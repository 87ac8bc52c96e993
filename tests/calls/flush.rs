//! The barrier behind one-way calls: it is answered when all that came before are
//! with their handlers.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures::future::{join_all, poll_immediate};
use panpipe::{CallError, ServiceClient};
use panpipe_tests::PATIENCE;
use panpipe_tests::raw::{self, Raw};
use panpipe_tests::studio::{Ear, Listener, ListenerClient, StudioClient, StudioImpl};

use crate::common::studio;

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it does not hang")
}

#[tokio::test]
async fn it_waits_for_the_one_way_calls_before_it_and_for_no_other() {
    let (_server, _, studio) = studio(&["max_calls=2"]).await;
    // Two that last fill both places.
    let (first, numbers) = panpipe::channel::<u64>(1);
    studio.note_all(numbers).await.unwrap();
    let (second, numbers) = panpipe::channel::<u64>(1);
    studio.note_all(numbers).await.unwrap();
    in_time(studio.flush()).await.unwrap();
    for x in 0..5 {
        studio.note_bytes(x, Vec::new()).await.unwrap();
    }
    let mut flush = Box::pin(studio.flush());
    assert_eq!(poll_immediate(&mut flush).await, None);
    for x in 5..10 {
        studio.note_bytes(x, Vec::new()).await.unwrap();
    }
    // Behind the barrier on the wire, and answered before it.
    assert_eq!(studio.echo(1).await, Ok(1));
    assert_eq!(poll_immediate(&mut flush).await, None);
    assert_eq!(studio.noted().await, Ok(vec![]));
    drop(first);
    in_time(flush).await.unwrap();
    let noted = studio.noted().await.unwrap();
    assert!(noted.starts_with(&[0, 1, 2, 3, 4]), "{noted:?}");
    in_time(studio.flush()).await.unwrap();
    assert_eq!(studio.noted().await.unwrap(), Vec::from_iter(0..10));
    drop(second);
}

#[tokio::test]
async fn it_does_not_wait_for_the_limit_of_calls() {
    let (_server, _, studio) = studio(&["max_calls=1"]).await;
    let (sender, numbers) = panpipe::channel::<u64>(1);
    let mut lasting = Box::pin(studio.sum(numbers));
    assert!(poll_immediate(&mut lasting).await.is_none());
    let mut waiting = Box::pin(studio.echo(1));
    assert!(poll_immediate(&mut waiting).await.is_none());
    for x in 0..5 {
        studio.note_bytes(x, Vec::new()).await.unwrap();
    }
    let flushes = join_all((0..3).map(|_| studio.flush()));
    assert_eq!(in_time(flushes).await, vec![Ok(()); 3]);
    assert!(poll_immediate(&mut lasting).await.is_none() && poll_immediate(&mut waiting).await.is_none());
    drop(sender);
    assert_eq!((in_time(lasting).await, in_time(waiting).await), (Ok(0), Ok(1)));
    assert_eq!(studio.noted().await, Ok(Vec::from_iter(0..5)));
}

#[tokio::test]
async fn large_one_way_calls_that_go_in_parts_are_before_it() {
    let (_server, _, studio) = studio(&["max_calls=1"]).await;
    for x in 0..6 {
        studio.note_bytes(x, vec![7; 2 << 20]).await.unwrap();
        // Of several clients at once, each behind what was made before it.
        let flushes = join_all((0..3).map(|_| studio.flush()));
        assert_eq!(in_time(flushes).await, vec![Ok(()); 3]);
        assert_eq!(studio.noted().await.unwrap(), Vec::from_iter(0..=x));
    }
}

#[tokio::test]
async fn it_does_not_starve_under_one_way_calls_without_end() {
    let (_server, _, studio) = studio(&["max_calls=1"]).await;
    let flood = tokio::spawn({
        let studio = studio.clone();
        async move {
            for x in 0.. {
                studio.tick().await.unwrap();
                if x % 100 == 0 {
                    studio.note_bytes(0, vec![1; 200_000]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    for _ in 0..30 {
        in_time(studio.flush()).await.unwrap();
    }
    flood.abort();
    assert!(flood.await.unwrap_err().is_cancelled(), "it did not end by itself");
    in_time(studio.flush()).await.unwrap();
}

#[tokio::test]
async fn a_deadline_ends_it_and_who_gives_up_leaves_nothing() {
    let (_server, _, studio) = studio(&["max_calls=1"]).await;
    let (hold, numbers) = panpipe::channel::<u64>(1);
    studio.note_all(numbers).await.unwrap();
    studio.tick().await.unwrap();
    let hasty = studio.with_timeout(Duration::from_millis(30));
    assert_eq!(in_time(hasty.flush()).await, Err(CallError::DeadlineExceeded));
    // More than there are ids: each is free again when its caller has gone.
    for _ in 0..50 {
        let mut flush = Box::pin(studio.flush());
        assert_eq!(poll_immediate(&mut flush).await, None);
        drop(flush);
        assert_eq!(in_time(studio.echo(2)).await, Ok(2));
    }
    drop(hold);
    in_time(studio.flush()).await.unwrap();
}

#[tokio::test]
async fn at_a_port_it_is_the_connections_and_over_others_what_they_can() {
    let (_server, _, studio) = studio(&["max_calls=2"]).await;
    let ear = Ear::default();
    studio.keep(ListenerClient::offer(ear.clone().serve())).await.unwrap();
    let kept = studio.kept().await.unwrap().remove(0);
    let (first, numbers) = panpipe::channel::<u64>(1);
    studio.note_all(numbers).await.unwrap();
    let (second, numbers) = panpipe::channel::<u64>(1);
    studio.note_all(numbers).await.unwrap();
    kept.overhear(7).await.unwrap();
    let mut flush = Box::pin(kept.flush());
    assert_eq!(poll_immediate(&mut flush).await, None);
    assert_eq!(studio.echo(1).await, Ok(1));
    assert_eq!(poll_immediate(&mut flush).await, None);
    drop((first, second));
    in_time(flush).await.unwrap();

    assert_eq!(StudioClient::local(StudioImpl::default()).flush().await, Ok(()));
    let transport = tarpc::transport::channel::unbounded::<
        tarpc::Response<panpipe::tarpc::Reply<_>>,
        tarpc::ClientMessage<panpipe::tarpc::Request<_>>,
    >();
    let stub = tarpc::client::new(tarpc::client::Config::default(), transport.0).spawn();
    let (client, _calls) = panpipe::tarpc::client::<StudioClient, _>(stub);
    let error = client.flush().await.unwrap_err();
    assert!(matches!(&error, CallError::Unsupported(why) if why.contains("tarpc")), "{error}");
}

#[tokio::test]
async fn on_the_wire_it_is_method_1_with_nothing_there_and_nothing_back() {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    let studio = StudioClient::over(tokio::net::UnixStream::from_std(one).unwrap());
    let flushes = tokio::spawn(async move { (studio.flush().await, studio.flush().await) });
    tokio::task::spawn_blocking(move || {
        let mut raw = Raw::over(other);
        raw.expect_magic();
        assert_eq!(raw.frame().kind, raw::kind::HELLO);
        raw.send(raw::MAGIC);
        raw.send(&raw::server_hello("Studio"));
        // The method, and no deadline.
        let call = |frame: raw::Frame| (frame.kind, frame.port, frame.body);
        let flush = (raw::kind::CALL, 0, vec![1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(call(raw.frame()), flush);
        raw.send(&raw::frame(raw::kind::REPLY, 0, &[0]));
        assert_eq!(call(raw.frame()), flush);
        // A peer that is older than the barrier.
        raw.send(&raw::frame(raw::kind::REPLY, 0, &[7]));
        raw.to_the_end();
    })
    .await
    .unwrap();
    assert_eq!(flushes.await.unwrap(), (Ok(()), Err(CallError::UnknownMethod)));
}

#[tokio::test]
async fn a_server_answers_the_bytes_of_the_text() {
    let (_server, name, _studio) = studio(&[]).await;
    tokio::task::spawn_blocking(move || {
        let mut raw = Raw::greeted(&name, "Studio");
        raw.send(&raw::frame(raw::kind::CALL, 3, &[1, 0, 0, 0, 0, 0, 0, 0, 0]));
        let reply = raw.frame();
        assert_eq!((reply.kind, reply.port, reply.id, reply.body), (raw::kind::REPLY, 0, 3, vec![0]));
        // As a one-way call it is no method, and no harm.
        raw.send(&raw::frame(raw::kind::ONEWAY, 0, &[1, 0, 0, 0, 0, 0, 0, 0]));
        raw.send(&raw::frame(raw::kind::CALL, 4, &[1, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(raw.frame().id, 4);
    })
    .await
    .unwrap();
}

//! Values that one process sets and another watches.

use std::process::Command;
use std::time::Duration;

use panpipe::{StreamError, WatchError};
use panpipe_tests::gauge::{GaugeClient, GaugeImpl, reached};
use panpipe_tests::process::Process;
use panpipe_tests::raw::{self, Raw};
use panpipe_tests::unique_name;

fn gauge_process() -> (Process, String) {
    let name = unique_name("gauge");
    let process = Process::start(Command::new(env!("CARGO_BIN_EXE_gauge")).arg(&name)).serving(&name);
    process.wait_for("ready");
    (process, name)
}

async fn gauge() -> (Process, String, GaugeClient) {
    let (process, name) = gauge_process();
    let client = GaugeClient::connect(&name).wait(Duration::from_secs(10)).await.unwrap();
    (process, name, client)
}

#[tokio::test]
async fn a_result_has_the_present_value_and_gets_the_latest() {
    let (_server, _, gauge) = gauge().await;
    gauge.set(7).await.unwrap();
    let mut watched = gauge.level().await.unwrap();
    assert_eq!(*watched.borrow(), 7);
    gauge.set(8).await.unwrap();
    watched.changed().await.unwrap();
    assert_eq!(*watched.borrow(), 8);
    // Nobody reads meanwhile: what is missed is in between.
    for level in 9..=2000 {
        gauge.set(level).await.unwrap();
    }
    assert_eq!(reached(watched, 2000).await, Ok(2000));
}

#[test]
fn one_value_at_most_is_on_its_way_to_a_reader_that_does_not_read() {
    let (_server, name) = gauge_process();
    let mut raw = Raw::connect(&name);
    let mut hello = raw::hello_with_ports("Gauge", 1);
    // The features, behind the length, kind, port, id, protocol and codec.
    hello[9] = 4;
    raw.send(raw::MAGIC);
    raw.send(&hello);
    raw.expect_magic();
    assert_eq!(raw.frame().kind, raw::kind::HELLO);
    let call = |raw: &mut Raw, signature: &str, args: &[u8]| {
        raw.send(&raw::call(0, signature, 0, args));
        let mut items = Vec::new();
        loop {
            let frame = raw.frame();
            match frame.kind & !raw::kind::CARRIES {
                raw::kind::REPLY => return items,
                raw::kind::ITEM => items.push(frame),
                other => panic!("a frame of kind {other}"),
            }
        }
    };
    assert!(call(&mut raw, "level()->WatchReceiver<u64>", &[]).is_empty());
    let mut items = Vec::new();
    for level in 1..=50u64 {
        items.extend(call(&mut raw, "set(u64)->()", &level.to_le_bytes()));
        items.extend(call(&mut raw, "set(u64)->()", &level.to_le_bytes()));
    }
    assert!(items.len() <= 1, "{} values", items.len());
    // Behind it at most one has waited, and then the latest comes.
    let mut last = 0;
    for _ in items.len()..3 {
        raw.send(&raw::port_frame(raw::kind::CREDIT, 2, 0, &[1, 20, 0]));
        if last < 50 {
            let frame = raw.frame();
            assert_eq!(frame.kind, raw::kind::ITEM);
            last = u64::from_le_bytes(*frame.body.last_chunk().unwrap());
        }
    }
    assert_eq!(last, 50);
}

#[tokio::test]
async fn the_setter_of_another_process_sets_the_value() {
    let (_server, _, gauge) = gauge().await;
    let setter = gauge.setter().await.unwrap();
    let watched = gauge.level().await.unwrap();
    setter.set(5);
    assert_eq!(*setter.borrow(), 5);
    assert_eq!(reached(watched.clone(), 5).await, Ok(5));
    let again = gauge.setter().await.unwrap();
    assert_eq!(*again.borrow(), 5);
    again.set(6);
    assert_eq!(reached(watched, 6).await, Ok(6));
}

#[tokio::test]
async fn arguments_are_watched_and_set_over_there() {
    let (_server, _, gauge) = gauge().await;
    let (level, watched) = panpipe::watch(0);
    let waits = tokio::spawn(gauge.await_level(watched.clone(), 100));
    for value in 1..=100 {
        level.set(value);
        tokio::task::yield_now().await;
    }
    assert_eq!(waits.await.unwrap(), Ok(100));
    let raised = tokio::spawn(gauge.raise(level, 200));
    assert_eq!(reached(watched, 200).await, Ok(200));
    raised.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_value_is_watched_through_two_other_processes() {
    let (_far_server, _, far) = gauge().await;
    let (_near_server, _, near) = gauge().await;
    far.set(1).await.unwrap();
    // From the far one by this process to the near one, and back from there.
    let watched = near.level_of(far.clone()).await.unwrap();
    assert_eq!(*watched.borrow(), 1);
    far.set(2).await.unwrap();
    assert_eq!(reached(watched, 2).await, Ok(2));
}

#[tokio::test]
async fn the_end_is_told_from_a_cut() {
    let (mut server, _, gauge) = gauge().await;
    let (level, watched) = panpipe::watch(0);
    let waits = tokio::spawn(gauge.await_level(watched, 1));
    drop(level);
    let error = waits.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no sender"), "{error}");
    let mut cut = gauge.level().await.unwrap();
    server.kill();
    assert_eq!(cut.changed().await, Err(WatchError::CutOff(StreamError::Disconnected)));
}

#[tokio::test]
async fn a_sender_hears_that_nobody_watches() {
    let (_server, _, gauge) = gauge().await;
    let (level, watched) = panpipe::watch(0);
    let waits = tokio::spawn(gauge.until_unwatched(level));
    drop(watched);
    waits.await.unwrap().unwrap();
}

#[test]
fn threads_watch_and_set() {
    let (_server, name) = gauge_process();
    let gauge = GaugeClient::connect_blocking(name.as_str()).unwrap();
    let mut watched = gauge.level().unwrap();
    gauge.set(3).unwrap();
    watched.changed_blocking().unwrap();
    assert_eq!(*watched.borrow(), 3);
    let (level, mut own) = panpipe::watch(0);
    gauge.raise(level, 50).unwrap();
    while *own.borrow() < 50 {
        own.changed_blocking().unwrap();
    }
}

#[tokio::test]
async fn a_local_client_passes_the_ends_as_they_are() {
    let gauge = GaugeClient::local(GaugeImpl::default());
    let mut watched = gauge.level().await.unwrap();
    gauge.set(1).await.unwrap();
    watched.changed().await.unwrap();
    assert_eq!(*watched.borrow(), 1);
}

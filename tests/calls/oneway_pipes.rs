//! One-way services over one pipe: a FIFO that many write, among them who writes
//! anything, and anonymous pipes to and from a child.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::poll_immediate;
use panpipe::oneway::{self, PassedOver};
use panpipe::{CallError, Codec, ConnectError, Limits, RunningServer, ServeError, ServiceClient};
use panpipe_tests::process::Process;
use panpipe_tests::raw;
use panpipe_tests::sink::{Basin, Sink, SinkClient, older};
use panpipe_tests::system::cpu_ticks;
use panpipe_tests::{PATIENCE, eventually, unique_name};
use panpipe_transport::anonymous;
use tokio::io::AsyncWriteExt;

/// What was passed over, by its kind.
#[derive(Debug, Default)]
struct Passed {
    noise: AtomicU64,
    damaged: AtomicU64,
    foreign: AtomicU64,
    words: Mutex<String>,
}

fn reader(name: &str, limits: Limits) -> (RunningServer, Basin, Arc<Passed>) {
    let (basin, passed) = (Basin::default(), Arc::<Passed>::default());
    let counts = Arc::clone(&passed);
    let server = oneway::Server::bind(name)
        .limits(limits)
        .on_passed_over(move |what| {
            match what {
                PassedOver::Noise { bytes, .. } => counts.noise.fetch_add(bytes as u64, Ordering::SeqCst),
                PassedOver::Damaged { .. } => counts.damaged.fetch_add(1, Ordering::SeqCst),
                _ => counts.foreign.fetch_add(1, Ordering::SeqCst),
            };
            *counts.words.lock().unwrap() = what.to_string();
        })
        .service(basin.clone().serve())
        .start()
        .unwrap();
    (server, basin, passed)
}

async fn writer(name: &str) -> SinkClient {
    oneway::connect(name).wait(Duration::from_secs(30)).await.unwrap()
}

fn scribe(args: &[&str]) -> Process {
    Process::start(Command::new(env!("CARGO_BIN_EXE_scribe")).args(args))
}

fn sink(name: &str) -> Process {
    let process = Process::start(Command::new(env!("CARGO_BIN_EXE_sink")).args(["name", name])).serving(name);
    process.wait_for("ready");
    process
}

/// Runs a line of the shell in which `$FIFO` is the pipe.
async fn shell(name: &str, line: &str) {
    let mut command = tokio::process::Command::new("sh");
    let status = command.args(["-c", line]).env("FIFO", raw::path_of(name)).status().await.unwrap();
    assert!(status.success(), "{line}: {status}");
}

#[tokio::test]
async fn every_record_arrives_once_and_in_order_among_writers_and_a_shells_noise() {
    let name = unique_name("fifo");
    let (server, basin, passed) = reader(&name, Limits::default());
    let writers = ["1", "2"].map(|writer| scribe(&["name", &name, writer, "3000"]));
    let noise = [
        shell(&name, "for i in $(seq 200); do echo hello > $FIFO; done"),
        shell(&name, "head -c 3000000 /dev/urandom > $FIFO"),
        shell(
            &name,
            "for i in $(seq 100); do printf '\\211way\\1\\1\\1\\1\\1\\177\\37garbage' > $FIFO; done",
        ),
    ];
    futures::future::join_all(noise).await;
    eventually("all has come", PATIENCE, async || basin.count() == 6000).await;
    for (process, writer) in writers.iter().zip([1, 2]) {
        process.wait_for("connected");
        process.wait_for("0");
        assert_eq!(basin.of(writer), Vec::from_iter(0..3000));
    }
    server.shutdown().await.unwrap();
    // Not a byte of it was taken for anything else.
    let [noise, damaged] = [&passed.noise, &passed.damaged].map(|count| count.load(Ordering::SeqCst));
    assert!(noise >= 2_900_000 && damaged >= 100, "{noise} {damaged}");
}

#[tokio::test]
async fn a_reader_that_is_killed_and_comes_back_is_found_by_who_goes_on_writing() {
    let name = unique_name("fifo");
    let mut readers = vec![sink(&name)];
    let mut scribe = scribe(&["name", &name, "7", "1000000", "again"]);
    scribe.wait_for("connected");
    let mut last = None;
    let mut hear = |process: &Process, lines: u64| {
        for _ in 0..lines {
            let line = process.line();
            let (writer, number) = line.split_once(' ').unwrap();
            let number: u64 = number.parse().unwrap();
            assert_eq!(writer, "7");
            // What a killed reader had not read is lost; nothing comes twice.
            assert!(last.is_none_or(|last| last < number), "{last:?}, then {number}");
            last = Some(number);
        }
    };
    hear(&readers[0], 100);
    for _ in 0..3 {
        readers.last_mut().unwrap().kill();
        assert!(raw::path_of(&name).exists());
        let next = sink(&name);
        hear(&next, 100);
        readers.push(next);
    }
    scribe.kill();
    assert!(readers.pop().unwrap().finish().success());
    assert!(!raw::path_of(&name).exists());
}

#[tokio::test]
async fn a_writer_killed_in_the_middle_leaves_nothing_that_hurts_another() {
    let name = unique_name("fifo");
    let (server, basin, passed) = reader(&name, Limits::default());
    let mut killed: Vec<_> =
        (10..14).map(|writer| scribe(&["name", &name, &writer.to_string(), "1000000"])).collect();
    let lives = scribe(&["name", &name, "1", "2000"]);
    for (process, writer) in killed.iter_mut().zip(10..) {
        eventually("it writes", PATIENCE, async || basin.of(writer).len() > 20).await;
        process.kill();
    }
    eventually("the other's have all come", PATIENCE, async || basin.of(1).len() == 2000).await;
    drop(lives);
    server.shutdown().await.unwrap();
    for writer in [1, 10, 11, 12, 13] {
        let numbers = basin.of(writer);
        assert_eq!(numbers, Vec::from_iter(0..numbers.len() as u64));
    }
    assert_eq!(passed.damaged.load(Ordering::SeqCst), 0, "what fits a pipe is written whole");
}

#[tokio::test]
async fn a_slow_reader_makes_writers_wait_without_spinning_and_loses_nothing() {
    let name = unique_name("fifo");
    let (server, basin, _) = reader(&name, Limits { max_calls: 1, ..Limits::default() });
    let own = writer(&name).await;
    own.hold().await.unwrap();
    let scribe = scribe(&["name", &name, "1", "4000"]);
    scribe.wait_for("connected");
    // The reader holds so much, and the pipe the rest; then a call waits.
    let mut written = 0;
    let mut waits = loop {
        let mut call = Box::pin(own.line(2, written, vec![0; 3000]));
        match tokio::time::timeout(Duration::from_millis(300), &mut call).await {
            Ok(result) => result.unwrap(),
            Err(_) => break call,
        }
        written += 1;
    };
    assert!(written < 2000, "{written} were taken of a reader that takes none");
    let before = cpu_ticks(scribe.id());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(cpu_ticks(scribe.id()) - before <= 10, "who waits takes no CPU");
    assert_eq!(poll_immediate(&mut waits).await, None);
    assert!(basin.lines().is_empty());
    basin.gate.add_permits(1);
    waits.await.unwrap();
    eventually("all has come", PATIENCE, async || basin.count() as u64 == 4000 + written + 1).await;
    scribe.wait_for("0");
    assert_eq!(basin.of(1), Vec::from_iter(0..4000));
    assert_eq!(basin.of(2), Vec::from_iter(0..=written));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn without_a_reader_calls_fail_at_once_or_after_a_patience_and_go_through_when_one_is_there() {
    let name = unique_name("fifo");
    let error = oneway::connect::<SinkClient>(&name).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotFound { .. }), "{error}");
    let brief = oneway::connect::<SinkClient>(&name).wait(Duration::from_millis(30));
    let error = brief.await.unwrap_err();
    assert!(matches!(&error, ConnectError::TimedOut { .. }) && error.to_string().contains(&name), "{error}");
    assert!(!raw::path_of(&name).exists(), "a writer makes nothing");

    let (server, _, _) = reader(&name, Limits::default());
    let hasty = writer(&name).await;
    let patient = oneway::connect::<SinkClient>(&name).patience(PATIENCE).await.unwrap();
    server.shutdown().await.unwrap();
    // A process that another test has just forked has the reading end until its exec.
    let fails = async || hasty.line(1, 9, vec![]).await == Err(CallError::Disconnected { sent: false });
    eventually("nobody has the reading end", PATIENCE, fails).await;
    let waiting = tokio::spawn(patient.line(2, 0, vec![]));
    tokio::task::yield_now().await;
    let (server, basin, _) = reader(&name, Limits::default());
    waiting.await.unwrap().unwrap();
    hasty.line(1, 1, vec![]).await.unwrap();
    server.shutdown().await.unwrap();
    let mut lines = basin.lines();
    lines.retain(|line| *line != (1, 9));
    lines.sort_unstable();
    assert_eq!(lines, [(1, 1), (2, 0)]);
}

#[tokio::test]
async fn what_was_written_before_the_server_ends_is_run() {
    for _ in 0..10 {
        let name = unique_name("fifo");
        let (server, basin, _) = reader(&name, Limits { max_calls: 2, ..Limits::default() });
        let client = writer(&name).await;
        for _ in 0..5 {
            client.hold().await.unwrap();
        }
        for number in 0..500 {
            client.line(1, number, vec![]).await.unwrap();
        }
        basin.gate.add_permits(5);
        server.shutdown().await.unwrap();
        assert_eq!(basin.of(1), Vec::from_iter(0..500));
        assert_eq!(basin.gate.available_permits(), 0);
        assert!(!raw::path_of(&name).exists());
    }
}

#[tokio::test]
async fn a_successor_has_the_name_while_handlers_hold_the_one_before_up() {
    let name = unique_name("fifo");
    let (server, basin, _) = reader(&name, Limits { max_calls: 1, ..Limits::default() });
    let client = writer(&name).await;
    client.hold().await.unwrap();
    // So many that it waits for room with what it has read.
    let fill = tokio::spawn({
        let client = client.clone();
        async move {
            let mut number = 0;
            while client.line(1, number, vec![0; 3000]).await.is_ok() {
                number += 1;
            }
        }
    });
    let path = raw::path_of(&name);
    let full = async || {
        let pipe = std::fs::OpenOptions::new().read(true).open(&path).unwrap();
        rustix::io::ioctl_fionread(&pipe).unwrap() > 40_000
    };
    eventually("the pipe is full", PATIENCE, full).await;
    let ended = tokio::spawn(server.shutdown());
    eventually("the name is free", PATIENCE, async || !path.exists()).await;
    let (next, found, _) = reader(&name, Limits::default());
    writer(&name).await.line(2, 0, vec![]).await.unwrap();
    eventually("the next reads", PATIENCE, async || !found.of(2).is_empty()).await;
    assert!(basin.lines().is_empty() && !ended.is_finished());
    basin.gate.add_permits(1);
    ended.await.unwrap().unwrap();
    fill.abort();
    next.shutdown().await.unwrap();
    let (before, behind) = (basin.of(1), found.of(1));
    assert_eq!(before, Vec::from_iter(0..before.len() as u64));
    // Its writer went on with the next, and no call was taken by both.
    assert!(behind.first().is_none_or(|&first| first >= before.len() as u64));
}

#[tokio::test]
async fn what_a_one_way_pipe_cannot_carry_is_said_and_the_next_call_goes_through() {
    let name = unique_name("fifo");
    let (server, basin, _) = reader(&name, Limits::default());
    let client = writer(&name).await;
    let mut size = 3900;
    let error = loop {
        match client.line(1, size, vec![1; size as usize]).await {
            Ok(()) => size += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, CallError::TooLarge { size: 4097, limit: 4096 });
    assert!(matches!(
        client.line(1, 0, vec![1; 10_000_000]).await,
        Err(CallError::TooLarge { size: 10_000_001.., limit: 4096 })
    ));
    let error = client.flush().await.unwrap_err();
    assert!(matches!(&error, CallError::Unsupported(why) if why.contains("one-way pipe")), "{error}");
    client.line(2, 7, vec![]).await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(basin.of(1), Vec::from_iter(3900..size));
    assert_eq!(basin.of(2), [7]);
}

/// A one-way service that wants a way back.
#[panpipe::service]
pub trait Asks {
    /// Hears numbers.
    #[oneway]
    async fn hear(&self, numbers: panpipe::Streaming<u64>);
}

#[tokio::test]
async fn a_value_that_carries_a_port_is_refused_in_words() {
    let (_reader, pipe) = anonymous::one_way().unwrap();
    let asks: AsksClient = oneway::over(pipe);
    let error = asks.hear(panpipe_tests::studio::numbers(3)).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Unsupported(why) if why.contains("stream, sender or client")),
        "{error}"
    );
}

#[tokio::test]
async fn other_services_and_versions_are_passed_over_and_every_codec_is_read() {
    let name = unique_name("fifo");
    let (server, basin, passed) = reader(&name, Limits::default());
    let older: older::SinkClient = oneway::connect(&name).await.unwrap();
    older.line(1, 0, vec![]).await.unwrap();
    eventually("it is seen", PATIENCE, async || passed.foreign.load(Ordering::SeqCst) == 1).await;
    assert!(passed.words.lock().unwrap().contains("another version"));
    for (writer, codec) in
        [Codec::Bincode, Codec::Postcard, Codec::MessagePack, Codec::Json].into_iter().enumerate()
    {
        let client: SinkClient = oneway::connect(&name).codec(codec).await.unwrap();
        for number in 0..50 {
            client.line(writer as u64, number, vec![0x89; 7]).await.unwrap();
        }
    }
    // A codec that nobody has, a method that nobody has, arguments that nobody can read.
    let line = "oneway line(u64,u64,Vec<u8>)";
    let records = [
        raw::record("test.sink", 3, 99, line, &[]),
        raw::record("test.sink", 3, 1, "oneway lime(u64)", &[]),
        raw::record("test.sink", 3, 1, line, &[1, 2, 3]),
    ];
    let records = records.into_iter().chain((0..600).map(|len| {
        let args = [&9_u64.to_le_bytes()[..], &(len as u64).to_le_bytes(), &raw::block(&vec![7; len])];
        // A peer that was written from the text alone.
        raw::record("test.sink", 3, 1, line, &args.concat())
    }));
    let (records, fifo) = (Vec::from_iter(records), raw::path_of(&name));
    tokio::task::spawn_blocking(move || {
        records.iter().for_each(|record| std::fs::write(&fifo, record).unwrap());
    })
    .await
    .unwrap();
    eventually("all has come", PATIENCE, async || basin.count() == 800).await;
    server.shutdown().await.unwrap();
    for writer in 0..4 {
        assert_eq!(basin.of(writer), Vec::from_iter(0..50));
    }
    assert_eq!(basin.of(9), Vec::from_iter(0..600));
    assert_eq!(passed.foreign.load(Ordering::SeqCst), 2);
    assert_eq!(passed.damaged.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn several_services_have_one_pipe() {
    let name = unique_name("fifo");
    let (new, old) = (Basin::default(), Basin::default());
    let server = oneway::Server::bind(&name)
        .service(Sink::serve(new.clone()))
        .service(older::Sink::serve(old.clone()))
        .start()
        .unwrap();
    writer(&name).await.line(1, 1, vec![]).await.unwrap();
    let client: older::SinkClient = oneway::connect(&name).await.unwrap();
    client.line(2, 2, vec![]).await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!((new.lines(), old.lines()), (vec![(1, 1)], vec![(2, 2)]));
}

#[tokio::test]
async fn a_second_reader_is_refused_and_says_so() {
    let name = unique_name("fifo");
    let first = sink(&name);
    let metadata = std::fs::metadata(raw::path_of(&name)).unwrap();
    assert!(metadata.file_type().is_fifo() && metadata.mode() & 0o7777 == 0o600);
    let mut second = Process::start(Command::new(env!("CARGO_BIN_EXE_sink")).args(["name", &name]));
    let words = second.line();
    assert!(words.contains(&name) && words.contains("is in use"), "{words}");
    assert!(!second.wait().success());
    writer(&name).await.line(3, 4, vec![]).await.unwrap();
    first.wait_for("3 4");
    assert!(first.finish().success());

    std::fs::write(raw::path_of(&name), "another's").unwrap();
    let error = oneway::Server::bind(&name).service(Basin::default().serve()).start().unwrap_err();
    assert!(error.to_string().contains("untouched"), "{error}");
    assert_eq!(std::fs::read(raw::path_of(&name)).unwrap(), b"another's");
    std::fs::remove_file(raw::path_of(&name)).unwrap();
    let error = oneway::Server::bind(&name).start().unwrap_err();
    assert!(matches!(error, ServeError::NoService { .. }), "{error}");
    assert!(!Path::new(&raw::path_of(&name)).exists());
}

#[tokio::test]
async fn a_child_reads_one_anonymous_pipe_to_its_end() {
    let (pipe, ends) = anonymous::to_child().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sink"));
    command.args(["handle", &ends.handles()]);
    let passed = ends.pass_to(&mut command).unwrap();
    let mut child = Process::start(&mut command);
    drop(passed);
    child.wait_for("ready");
    let client: SinkClient = oneway::over(pipe);
    for number in 0..300 {
        client.line(5, number, vec![1; 2000]).await.unwrap();
        child.wait_for(&format!("5 {number}"));
    }
    drop(client);
    child.wait_for("300 records, 0 damaged");
    assert!(child.wait().success());
}

#[tokio::test]
async fn a_child_writes_one_anonymous_pipe() {
    let (pipe, ends) = anonymous::from_child().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scribe"));
    command.args(["handle", &ends.handles(), "6", "3000"]).stdout(Stdio::null());
    let passed = ends.pass_to(&mut command).unwrap();
    let _child = Process::start(&mut command);
    drop(passed);
    let basin = Basin::default();
    let totals = oneway::serve_reader(pipe, basin.clone().serve()).await.unwrap();
    assert_eq!((totals.records, totals.damaged, totals.noise_bytes), (3000, 0, 0));
    assert_eq!(basin.of(6), Vec::from_iter(0..3000));
}

#[tokio::test]
async fn the_end_in_the_middle_of_a_record_is_told_and_the_last_whole_one_has_come() {
    let args = [&1_u64.to_le_bytes()[..], &2_u64.to_le_bytes(), &raw::block(b"text")].concat();
    let record = raw::record("test.sink", 3, 1, "oneway line(u64,u64,Vec<u8>)", &args);
    for cut in 0..record.len() {
        let (mut write, read) = tokio::io::duplex(1 << 20);
        write.write_all(&record).await.unwrap();
        write.write_all(&record[..cut]).await.unwrap();
        drop(write);
        let basin = Basin::default();
        let totals = oneway::serve_reader(read, basin.clone().serve()).await.unwrap();
        assert_eq!(basin.of(1), [2]);
        assert_eq!((totals.records, totals.damaged), (1, u64::from(cut > 0)), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_call_given_up_in_the_middle_of_its_record_is_finished_by_the_next() {
    let (write, mut read) = tokio::io::duplex(100);
    let client: SinkClient = oneway::over(write);
    let mut given_up = Box::pin(client.line(1, 1, vec![7; 1000]));
    assert_eq!(poll_immediate(&mut given_up).await, None);
    drop(given_up);
    let next = tokio::spawn(async move { client.line(1, 2, vec![]).await });
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut read, &mut bytes).await.unwrap();
    next.await.unwrap().unwrap();
    let basin = Basin::default();
    let totals = oneway::serve_reader(&bytes[..], basin.clone().serve()).await.unwrap();
    assert_eq!((totals.records, totals.damaged), (2, 0));
    assert_eq!(basin.of(1), [1, 2]);
}

#[tokio::test]
async fn who_writes_where_nobody_reads_any_more_is_told() {
    let (reader, pipe) = anonymous::one_way().unwrap();
    let client: SinkClient = oneway::over(pipe);
    client.line(1, 1, vec![]).await.unwrap();
    drop(reader);
    for _ in 0..3 {
        assert_eq!(client.line(1, 2, vec![]).await, Err(CallError::Disconnected { sent: false }));
    }
}

//! Clients whose methods wait on the thread that calls them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use panpipe::{Backoff, BlockingServiceClient, CallError, ConnectError, StreamError, Streaming, channel};
use panpipe_tests::bare::{BareClient, eventually_here, reads_and_writes};
use panpipe_tests::probe::{Odd, Probe, ProbeBlockingClient, ProbeClient, ProbeError, Prober};
use panpipe_tests::process::Process;
use panpipe_tests::studio::{Ear, Listener, ListenerClient, StudioBlockingClient, StudioClient, numbers};
use panpipe_tests::system::{bind_to_one_processor, cpu_ticks};
use panpipe_tests::worker::WorkerClient;
use panpipe_tests::{PATIENCE, unique_name};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{child_command, server};

fn client(name: &str) -> ProbeBlockingClient {
    ProbeClient::connect_blocking(name).unwrap()
}

/// A child that has no runtime.
fn threads_child(what: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_threads"));
    command.args(["child", what]);
    command
}

fn studio() -> (Process, String, StudioBlockingClient) {
    let name = unique_name("studio");
    let mut command = Command::new(env!("CARGO_BIN_EXE_studio"));
    let process = Process::start(command.args(["serve", &name])).serving(&name);
    process.wait_for("ready");
    let client = StudioClient::connect_blocking(&name).unwrap();
    (process, name, client)
}

#[test]
fn every_kind_of_call_is_made_without_a_runtime() {
    let (server, name) = server(&[]);
    let probe = client(&name);
    assert_eq!(probe.add(1, 2), Ok(3));
    assert_eq!(probe.echo(vec![7; 100]), Ok(vec![7; 100]));
    assert_eq!(probe.first(vec![1, 2, 3].into(), 2), Ok(Some(vec![1, 2].into())));
    assert_eq!(probe.fail(String::new()), Ok(0));
    let refused = ProbeError { why: "no".to_owned() };
    assert_eq!(probe.fail("no".to_owned()), Err(CallError::App(refused.clone())));
    assert_eq!(probe.fail_bytes("no".to_owned()), Err(CallError::App(refused)));
    for late in [false, true] {
        assert_eq!(probe.panic(late), Err(CallError::Panicked));
    }
    for odd in [Odd::FailsToEncode, Odd::FailsToDecode, Odd::ReplyFailsToEncode] {
        assert!(matches!(probe.odd(odd), Err(CallError::Malformed(_))), "{odd:?}");
    }
    assert_eq!(probe.large(3 << 20).map(|bytes| bytes.len()), Ok(3 << 20));
    assert!(matches!(probe.echo(vec![0; 20 << 20]), Err(CallError::TooLarge { .. })));
    for x in 0..100 {
        assert_eq!(probe.note(x), Ok(()));
    }
    assert_eq!(probe.flush(), Ok(()));
    assert_eq!(probe.notes(), Ok((0..100).collect()));
    assert_eq!((probe.r#type(9), probe.defaulted(1)), (Ok(9), Ok(2)));
    let about = probe.with_timeout(PATIENCE).about_me().unwrap();
    assert!(about.pid == Some(std::process::id()) && about.left.is_some_and(|left| left <= 60_000));
    assert_eq!((probe.peer().pid, probe.version()), (Some(server.id()), Some(1)));
    assert!(tokio::runtime::Handle::try_current().is_err());
}

#[test]
fn a_panic_in_encoding_leaves_the_client_whole() {
    let (_server, name) = server(&[]);
    let probe = client(&name);
    let panicked = catch_unwind(AssertUnwindSafe(|| probe.odd(Odd::PanicsInEncode)));
    assert!(panicked.is_err());
    assert_eq!(probe.add(1, 2), Ok(3));
    assert!(probe.odd(Odd::ReplyPanicsInEncode).is_err());
    assert_eq!(probe.add(1, 2), Ok(3));
}

#[test]
fn deadlines_hold_for_who_leads_and_who_follows_and_cancel_at_the_other_side() {
    let (_server, name) = server(&[]);
    let probe = client(&name);
    assert_eq!(probe.impatient(), Err(CallError::DeadlineExceeded));
    assert_eq!(probe.with_timeout(Duration::ZERO).add(1, 2), Err(CallError::DeadlineExceeded));
    let hasty = probe.with_timeout(Duration::from_millis(50));
    thread::scope(|scope| {
        // The first one leads, without a time to look at.
        let long = scope.spawn(|| probe.wait(300));
        eventually_here("it runs", || probe.counts().unwrap().running >= 1);
        let start = Instant::now();
        let others: Vec<_> = (0..4).map(|_| scope.spawn(|| hasty.hang())).collect();
        for other in others {
            assert_eq!(other.join().unwrap(), Err(CallError::DeadlineExceeded));
        }
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert_eq!(long.join().unwrap(), Ok(300));
    });
    eventually_here("nothing runs any more", || probe.counts().unwrap().running == 0);
}

#[test]
fn a_server_that_dies_is_told_truthfully() {
    let (mut server, name) = server(&[]);
    let (probe, other) = (client(&name), client(&name));
    thread::scope(|scope| {
        let (leads, follows) = (scope.spawn(|| probe.hang()), scope.spawn(|| probe.hang()));
        eventually_here("both run", || other.counts().unwrap().running == 2);
        server.kill();
        assert_eq!(leads.join().unwrap(), Err(CallError::Disconnected { sent: true }));
        assert_eq!(follows.join().unwrap(), Err(CallError::Disconnected { sent: true }));
    });
    assert_eq!(probe.add(1, 2), Err(CallError::Disconnected { sent: false }));
    // One that was idle has not noticed yet.
    assert_eq!(other.add(1, 2), Err(CallError::Disconnected { sent: false }));
    assert!(other.close_reason().is_some());
}

#[test]
fn the_call_after_a_servers_orderly_end_was_not_sent() {
    let (server, name) = server(&[]);
    let probe = client(&name);
    assert_eq!(probe.add(1, 2), Ok(3));
    assert!(server.finish().success());
    assert_eq!(probe.add(1, 2), Err(CallError::Disconnected { sent: false }));
    assert_eq!(probe.note(1), Err(CallError::Disconnected { sent: false }));
    assert!(matches!(ProbeClient::connect_blocking(&name), Err(ConnectError::NotFound { .. })));
}

#[test]
fn connecting_waits_and_says_what_it_cannot() {
    let name = unique_name("late");
    let short = ProbeClient::connect(&name).wait(Duration::from_millis(20)).blocking();
    assert!(matches!(short, Err(ConnectError::TimedOut { .. })));
    let (_server, name) = server(&[]);
    let reconnecting = ProbeClient::connect(&name).reconnect(Backoff::exponential()).blocking();
    assert!(reconnecting.unwrap_err().to_string().contains("async"));
    assert!(ProbeClient::connect(&name).wait(PATIENCE).blocking().is_ok());
}

#[test]
fn many_threads_share_a_client() {
    let child = panpipe::spawn(threads_child("probe")).start_blocking::<ProbeClient>().unwrap();
    let (_server, name) = server(&[]);
    for probe in [child.client().clone(), client(&name)] {
        thread::scope(|scope| {
            for thread in 0..8u8 {
                let probe = probe.clone();
                scope.spawn(move || {
                    for call in 0..2000usize {
                        // More than a pipe holds, now and then, in both directions.
                        let size = if call % 200 == 0 { 300 << 10 } else { call % 97 };
                        assert_eq!(probe.echo(vec![thread; size]).unwrap(), vec![thread; size]);
                    }
                });
            }
        });
    }
    assert!(child.shutdown(PATIENCE).unwrap().success());
}

#[test]
fn large_messages_both_ways_at_once_hold_nobody_up() {
    let child = panpipe::spawn(threads_child("probe")).start_blocking::<ProbeClient>().unwrap();
    let probe = child.client();
    thread::scope(|scope| {
        for thread in 0..4u8 {
            scope.spawn(move || {
                for _ in 0..5 {
                    assert!(probe.echo(vec![thread; 4 << 20]).unwrap().iter().all(|byte| *byte == thread));
                }
            });
        }
        scope.spawn(|| (0..200).for_each(|x| assert_eq!(probe.add(x, 1), Ok(x + 1))));
    });
}

#[test]
fn a_stream_is_an_iterator_and_dropping_it_stops_its_maker() {
    let (_server, _, studio) = studio();
    let items: Vec<_> = studio.count(10_000).unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(items, (0..10_000).collect::<Vec<_>>());
    let mut seen = 0;
    for number in studio.endless().unwrap() {
        assert_eq!(number, Ok(seen));
        seen += 1;
        if seen == 5000 {
            break;
        }
    }
    eventually_here("its maker is dropped", || studio.alive().unwrap() == (0, 0));
    let panicking: Vec<_> = studio.panicking(3).unwrap().into_iter().collect();
    assert_eq!(panicking, [Ok(0), Ok(1), Ok(2), Err(StreamError::Panicked)]);
    let blocks = studio.blocks(20, 300 << 10).unwrap().into_iter();
    assert_eq!(blocks.map(|block| block.unwrap().0.len()).sum::<usize>(), 20 * (300 << 10));
    let inner = studio.streams(3, 4).unwrap().into_iter().flat_map(|stream| stream.unwrap());
    assert_eq!(inner.map(Result::unwrap).sum::<u64>(), 3 * (1 + 2 + 3));
    // Several threads read several streams of one connection.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let numbers = studio.count(3000).unwrap();
                assert_eq!(numbers.into_iter().map(Result::unwrap).sum::<u64>(), 2999 * 1500);
            });
        }
    });
}

#[test]
fn a_server_that_dies_cuts_an_iterator_off() {
    let (mut server, _, studio) = studio();
    let mut numbers = studio.endless().unwrap().into_iter();
    assert_eq!(numbers.next(), Some(Ok(0)));
    server.kill();
    assert_eq!(numbers.find(Result::is_err), Some(Err(StreamError::Disconnected)));
    assert_eq!(numbers.next(), None);
}

#[test]
fn streams_and_senders_are_arguments() {
    let (_server, _, studio) = studio();
    assert_eq!(studio.sum(numbers(1000)), Ok(499_500));
    assert_eq!(studio.first(Streaming::new(futures::stream::iter(0..)), 3), Ok(vec![0, 1, 2]));
    let (sender, received) = channel(4);
    thread::scope(|scope| {
        let reader = scope.spawn(|| received.into_iter().map(Result::unwrap).sum::<u64>());
        assert_eq!(studio.send(1000, sender), Ok(1000));
        assert_eq!(reader.join().unwrap(), 499_500);
    });
    // As many as may be on their way can be read after the call, by the same thread.
    let (sender, received) = channel(100);
    assert_eq!(studio.send(100, sender), Ok(100));
    assert_eq!(received.into_iter().map(Result::unwrap).sum::<u64>(), 4950);
    let (sender, to_sum) = channel(2);
    thread::scope(|scope| {
        let sum = scope.spawn(|| studio.sum(to_sum));
        (0..500).for_each(|x| sender.send_blocking(x).unwrap());
        drop(sender);
        assert_eq!(sum.join().unwrap(), Ok(124_750));
    });
    let sender = studio.sender().unwrap();
    (0..50).for_each(|x| sender.send_blocking(x).unwrap());
    drop(sender);
    eventually_here("they are noted", || studio.noted().unwrap().len() == 50);
}

#[test]
fn a_service_is_called_back_during_calls_and_between_them() {
    let (_server, name, studio) = studio();
    let ear = Ear::default();
    let listener = ListenerClient::offer(ear.clone().serve());
    assert_eq!(studio.call_back(listener.clone(), 100), Ok((0..100).map(|x| 2 * x).sum()));
    assert_eq!(ear.heard().len(), 100);
    assert_eq!(studio.keep(listener), Ok(()));
    // Nobody waits at the first client while the other has it called back.
    let other = StudioClient::connect_blocking(&name).unwrap();
    assert_eq!(other.tell(7), Ok(1));
    assert_eq!(ear.heard().last(), Some(&7));
    // The first one's own calls go on meanwhile.
    thread::scope(|scope| {
        scope.spawn(|| (0..100).for_each(|x| assert_eq!(studio.echo(x), Ok(x))));
        scope.spawn(|| (0..100).for_each(|x| assert_eq!(other.tell(x), Ok(1))));
    });
    // A client that has come as a value waits like the others.
    let kept = other.kept().unwrap();
    assert_eq!(kept[0].blocking().hear(4), Ok(8));
    drop(kept);
    assert_eq!(studio.forget(), Ok(()));
    eventually_here("the service is dropped", || std::sync::Arc::strong_count(&ear.alive) == 1);
}

#[test]
fn a_client_of_this_process_waits_too() {
    let probe = ProbeClient::local(Prober::default()).blocking();
    assert_eq!(probe.add(1, 2), Ok(3));
    assert_eq!(probe.with_timeout(Duration::from_millis(20)).hang(), Err(CallError::DeadlineExceeded));
}

#[test]
fn a_child_of_either_kind_is_called_and_ends_in_order() {
    for command in [child_command("probe"), threads_child("probe")] {
        let child = panpipe::spawn(command).start_blocking::<ProbeClient>().unwrap();
        let (probe, id) = (child.client().clone(), child.id());
        assert_eq!(probe.add(1, 2), Ok(3));
        assert_eq!(probe.peer().pid, Some(id));
        assert!(child.shutdown(PATIENCE).unwrap().success());
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
        assert_eq!(probe.add(1, 2), Err(CallError::Disconnected { sent: false }));
    }
}

#[test]
fn a_child_is_killed_when_it_does_not_end_or_its_handle_goes() {
    let child = panpipe::spawn(child_command("probe")).start_blocking::<ProbeClient>().unwrap();
    let (probe, id) = (child.client().clone(), child.id());
    thread::scope(|scope| {
        let hangs = scope.spawn(|| probe.hang());
        eventually_here("it runs", || probe.counts().unwrap().running == 1);
        let status = child.shutdown(Duration::from_millis(100)).unwrap();
        assert!(!status.success());
        assert_eq!(hangs.join().unwrap(), Err(CallError::Disconnected { sent: true }));
    });
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    let child = panpipe::spawn(threads_child("probe")).start_blocking::<ProbeClient>().unwrap();
    let id = child.id();
    drop(child);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    let mut child = panpipe::spawn(child_command("exit")).start_blocking::<ProbeClient>().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(child.client().add(1, 2), Err(CallError::Disconnected { sent: false }));
}

/// A process that a child has left behind, with its pipes.
struct Left(PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(&self.0).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn calls_to_a_child_end_with_it_whoever_still_holds_its_pipes() {
    let folder = tempfile::tempdir().unwrap();
    for (index, child) in [env!("CARGO_BIN_EXE_child"), env!("CARGO_BIN_EXE_threads")].iter().enumerate() {
        let left = Left(folder.path().join(index.to_string()));
        let what = if index == 0 { &["probe"][..] } else { &["child", "probe"] };
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $! > \"$0\"; exec \"$@\""]).arg(&left.0).arg(child).args(what);
        let mut child = panpipe::spawn(command).start_blocking::<ProbeClient>().unwrap();
        let (probe, other) = (child.client().clone(), child.client().clone());
        thread::scope(|scope| {
            let hangs = scope.spawn(|| probe.hang());
            eventually_here("it runs", || other.counts().unwrap().running == 1);
            let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
            assert_eq!(hangs.join().unwrap(), Err(CallError::Disconnected { sent: true }));
        });
        assert_eq!(other.add(1, 2), Err(CallError::Disconnected { sent: false }));
        assert!(!child.wait().unwrap().success());
    }
}

#[test]
fn a_child_calls_its_host_whether_that_waits_or_not() {
    for command in [child_command("worker"), threads_child("worker")] {
        let child = panpipe::spawn(command).offer(Prober::default().serve());
        let child = child.start_blocking::<WorkerClient>().unwrap();
        assert_eq!(child.client().add(40, 2), Ok(Some(42)));
        assert_eq!(child.client().echo_all(8, 300 << 10), Ok(8));
        thread::scope(|scope| {
            for x in 0..4 {
                let worker = child.client();
                scope.spawn(move || (0..50).for_each(|y| assert_eq!(worker.add(x, y), Ok(Some(x + y)))));
            }
        });
        assert!(child.shutdown(PATIENCE).unwrap().success());
    }
}

#[test]
fn handlers_without_a_runtime_wait_for_threads_and_for_calls() {
    let child = panpipe::spawn(threads_child("bare")).offer(Prober::default().serve());
    let child = child.start_blocking::<BareClient>().unwrap();
    let bare = child.client();
    assert_eq!(bare.has_runtime(), Ok((false, false)));
    assert_eq!(bare.from_thread(7), Ok(7));
    assert_eq!(bare.ask_host(100), Ok(4950));
    let words = bare.ask_host_and_wait().unwrap();
    assert!(words.contains("await the async client"), "{words}");
    thread::scope(|scope| {
        for x in 0..4 {
            scope.spawn(move || (0..50).for_each(|_| assert_eq!(bare.from_thread(x), Ok(x))));
        }
        scope.spawn(|| assert_eq!(bare.ask_host(200), Ok(19_900)));
    });
    assert_eq!(bare.die(), Err(CallError::Disconnected { sent: true }));
}

/// The promise is for the kernel to count: a write and a read for each side of a call.
#[test]
fn a_call_is_one_write_and_one_read_on_each_side() {
    // There nobody looks for bytes before they are there.
    bind_to_one_processor();
    let child = panpipe::spawn(threads_child("counted")).start_blocking::<BareClient>().unwrap();
    let bare = child.client();
    let counted = || (reads_and_writes(), bare.reads_and_writes().unwrap());
    let _ = counted();
    let (first, second) = (counted(), counted());
    for call in 0..100 {
        assert_eq!(bare.echo(vec![7; call]).unwrap().len(), call);
    }
    let third = counted();
    let calls = |before: (u64, u64), between: (u64, u64), after: (u64, u64)| {
        // What the counting takes by itself is the same each time.
        let by = |one: u64, other: u64, last: u64| (last - other) - (other - one);
        (by(before.0, between.0, after.0), by(before.1, between.1, after.1))
    };
    assert_eq!(calls(first.0, second.0, third.0), (100, 100), "here");
    assert_eq!(calls(first.1, second.1, third.1), (100, 100), "in the child");
}

/// Runs something on a thread of its own, which has to be done in time.
fn in_time(what: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let running = thread::spawn(move || {
        what();
        let _ = done.send(());
    });
    match is_done.recv_timeout(PATIENCE) {
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => running.join().unwrap(),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a thread waits for what has come"),
    }
}

#[test]
fn each_of_many_threads_gets_its_only_reply_whoever_led_before() {
    let (_server, name) = server(&[]);
    in_time(move || {
        for round in 0..200 {
            // Until the hello is answered one call is under way and the others wait.
            let probe = client(&name);
            thread::scope(|scope| {
                for thread in 0..6 {
                    let probe = &probe;
                    scope.spawn(move || {
                        assert_eq!(probe.wait((thread + round) % 3), Ok((thread + round) % 3))
                    });
                }
            });
        }
    });
}

#[test]
fn layers_may_have_a_thread_wait_for_another() {
    let (_server, name) = server(&[]);
    in_time(move || {
        let one_at_a_time = tower::limit::GlobalConcurrencyLimitLayer::new(1);
        let probe = client(&name).as_async().clone().with_layer(one_at_a_time).blocking();
        thread::scope(|scope| {
            for _ in 0..4 {
                let probe = &probe;
                scope.spawn(move || (0..200).for_each(|x| assert_eq!(probe.add(x, 1), Ok(x + 1))));
            }
        });
    });
}

#[test]
fn a_call_that_nobody_waits_for_in_a_thread_of_the_client_is_answered_and_its_deadline_kept() {
    let (_server, name) = server(&[]);
    in_time(move || {
        let probe = client(&name);
        let elsewhere = probe.as_async().clone();
        assert_eq!(futures::executor::block_on(elsewhere.add(1, 2)), Ok(3));
        let impatient = elsewhere.with_timeout(Duration::from_millis(20));
        assert_eq!(futures::executor::block_on(impatient.hang()), Err(CallError::DeadlineExceeded));
        // While another thread is in a read.
        thread::scope(|scope| {
            let reading = scope.spawn(|| probe.wait(100));
            assert_eq!(futures::executor::block_on(impatient.hang()), Err(CallError::DeadlineExceeded));
            assert_eq!(futures::executor::block_on(elsewhere.add(1, 2)), Ok(3));
            assert_eq!(reading.join().unwrap(), Ok(100));
        });
        assert_eq!(probe.add(1, 2), Ok(3));
    });
}

#[test]
fn a_client_that_makes_no_call_takes_no_processor_time() {
    let (_server, name, _) = studio();
    let mut command = Command::new(env!("CARGO_BIN_EXE_threads"));
    let idle = Process::start(command.args(["hold", &name]).stdin(Stdio::piped()));
    idle.wait_for("[0, 1, 2]");
    let before = cpu_ticks(idle.id());
    // How much it takes can only be seen by what it has taken after some time.
    thread::sleep(Duration::from_millis(300));
    assert!(cpu_ticks(idle.id()) - before <= 10);
}

#[test]
fn a_thread_that_reads_a_stream_learns_how_many_items_were_lost() {
    let (_server, _, studio) = studio();
    let (readings, ended) = studio.readings(2, 10_000).unwrap();
    assert_eq!(ended.into_iter().count(), 0);
    let mut readings = readings.into_iter();
    let mut come = 0;
    while let Some(number) = readings.next() {
        assert_eq!(readings.lost().map(|lost| come + lost), Some(number.unwrap()));
        come += 1;
    }
    assert_eq!(readings.lost(), Some(10_000 - come));
    // The other way, from a sender in the server.
    let (sender, heard) = channel(4);
    assert_eq!(studio.flood(10_000, 1, sender), Ok(0));
    let mut heard = heard.into_iter();
    let come = heard.by_ref().count() as u64;
    assert_eq!(heard.lost(), Some(10_000 - come));
    assert!(come < 100);
}

//! Proofs 16, 18, 19 and 20, as far as they are about children.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::join_all;
use panpipe::{Backoff, CallError, Output, Plugin, PluginBuilder};
use panpipe_tests::plug::{Adder, COOKIE, Host, Log, PlugClient};
use panpipe_tests::process::Process;
use panpipe_tests::{PATIENCE, at_most, eventually, system, times};
use rustix::process::{Pid, Signal, kill_process};

fn builder() -> PluginBuilder {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugin"));
    command.arg("good").stdin(Stdio::null());
    Plugin::spawn(command).cookie(COOKIE).offer(Adder.serve()).stderr(Output::Null)
}

async fn plugin() -> Plugin<PlugClient> {
    builder().start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_16_every_pending_call_of_a_killed_plugin_ends_and_sent_is_true() {
    let plugin: Plugin<PlugClient> = builder()
        .restart(Backoff::exponential().most(Duration::from_millis(20)).forever())
        .start()
        .await
        .unwrap();
    for _ in 0..times(5, 200) {
        let pid = plugin.client().pid().await.unwrap();
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let mut call = Box::pin(plugin.client().hang());
                // Sent now, and not when its task gets its turn.
                assert!((&mut call).now_or_never().is_none());
                tokio::spawn(call)
            })
            .collect();
        // The calls before it have been read.
        assert_eq!(plugin.client().add(1, 2).await, Ok(Some(3)));
        let start = Instant::now();
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        for call in calls {
            assert_eq!(call.await.unwrap(), Err(CallError::Disconnected { sent: true }));
        }
        let took = start.elapsed();
        assert!(took < at_most(Duration::from_secs(1)), "{took:?}");
    }
}

#[test]
fn proof_18_a_child_holds_its_own_ends_and_nothing_else() {
    // Threads that make pipes and connections all the while, some of them careless.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let each = times(6, 125);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let pipes = [(); 8].map(|()| std::io::pipe().unwrap());
                    let leak = panpipe_tests::sys::leaky_file();
                    drop((pipes, leak));
                }
            });
        }
        let spawners: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        for _ in 0..each {
                            let plugin = plugin().await;
                            let descriptors = plugin.client().descriptors().await.unwrap();
                            let foreign: Vec<_> =
                                descriptors.iter().filter(|descriptor| !is_its_own(descriptor)).collect();
                            assert!(foreign.is_empty(), "{foreign:?} of {descriptors:?}");
                            let pipes = descriptors.iter().filter(|what| is_a_pipe_to_the_host(what)).count();
                            assert_eq!(pipes, 2, "{descriptors:?}");
                            // Nobody else has its end: it is seen at once.
                            let (client, pid) = (plugin.client().clone(), plugin.pid().unwrap());
                            let hanging = tokio::spawn(client.hang());
                            assert_eq!(client.add(1, 2).await, Ok(Some(3)));
                            let start = Instant::now();
                            kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
                            assert_eq!(hanging.await.unwrap(), Err(CallError::Disconnected { sent: true }));
                            let took = start.elapsed();
                            assert!(took < at_most(Duration::from_millis(100)), "{took:?}");
                        }
                    });
                })
            })
            .collect();
        let results: Vec<_> = spawners.into_iter().map(|spawner| spawner.join()).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    println!("{} children had nothing that was not theirs", 8 * each);
}

/// What a plugin may have open: its standard streams, its pipes, what its runtime made.
fn is_its_own(descriptor: &str) -> bool {
    let (number, what) = descriptor.split_once(' ').unwrap();
    number.parse::<u32>().unwrap() <= 2
        || ["pipe:", "socket:", "anon_inode:"].iter().any(|kind| what.starts_with(kind))
}

fn is_a_pipe_to_the_host(descriptor: &str) -> bool {
    let (number, what) = descriptor.split_once(' ').unwrap();
    number.parse::<u32>().unwrap() > 2 && what.starts_with("pipe:")
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_19_plugins_that_are_dropped_leave_no_zombie() {
    let (rounds, mut pids) = (times(3, 125), Vec::new());
    for _ in 0..rounds {
        let plugins = join_all((0..8).map(|_| plugin())).await;
        pids.extend(plugins.iter().map(|plugin| plugin.pid().unwrap()));
        drop(plugins);
    }
    let soon = at_most(Duration::from_secs(1));
    eventually("all are gone", soon, async || !pids.iter().any(|pid| system::exists(*pid))).await;
    println!("{} plugins were started and dropped, and none is left", pids.len());
}

#[test]
fn proof_19_nothing_outlives_a_host_that_is_killed() {
    let mut slowest = Duration::ZERO;
    for _ in 0..times(2, 20) {
        let mut host = Process::start(
            Command::new(env!("CARGO_BIN_EXE_host")).args([env!("CARGO_BIN_EXE_plugin"), "4"]),
        );
        let mut pids = Vec::new();
        loop {
            let line = host.line();
            if line == "ready" {
                break;
            }
            pids.extend(line.split(' ').map(|pid| pid.parse::<u32>().unwrap()));
        }
        assert!(pids.len() == 8 && pids.iter().all(|pid| system::runs(*pid)));
        let start = Instant::now();
        host.kill();
        while pids.iter().any(|pid| system::runs(*pid)) {
            let soon = at_most(Duration::from_secs(1));
            let left: Vec<_> = pids.iter().filter(|pid| system::runs(**pid)).collect();
            assert!(start.elapsed() < soon, "{left:?} of {pids:?} are left");
            std::thread::sleep(Duration::from_millis(1));
        }
        slowest = slowest.max(start.elapsed());
    }
    println!("plugins and their own children were gone {slowest:?} after their host at the latest");
}

#[tokio::test]
async fn proof_20_a_plugin_may_print_what_it_wants() {
    let flags = [0, 1, 2].map(panpipe_tests::sys::status_flags);
    let lines = Log::default();
    let (out, err) = (lines.clone(), lines.clone());
    let plugin: Plugin<PlugClient> = builder()
        .stdout(Output::lines(move |line| out.push(line)))
        .stderr(Output::lines(move |line| err.push(line)))
        .start()
        .await
        .unwrap();
    let count = times(2000, 10_000) as u32;
    let (printed, sum) = tokio::join!(plugin.client().print(count), plugin.client().add(1, 2));
    assert_eq!((printed, sum), (Ok(()), Ok(Some(3))));
    eventually("every line has come", PATIENCE, async || lines.all().len() == 2 * count as usize).await;
    // The same where they are the host's own.
    let plugin: Plugin<PlugClient> = builder().stdout(Output::Inherit).start().await.unwrap();
    assert_eq!(plugin.client().print(1).await, Ok(()));
    assert!(plugin.shutdown(PATIENCE).await.unwrap().success());
    assert_eq!([0, 1, 2].map(panpipe_tests::sys::status_flags), flags);
}

//! Children that other code of their host reaps, and numbers that then are another process's.

use std::process::{Command, Stdio};

use panpipe::{CallError, Output, Plugin, PluginEvent};
use panpipe_tests::plug::{Adder, COOKIE, Host, Log, PlugClient};
use panpipe_tests::probe::ProbeClient;
use panpipe_tests::process::Process;
use panpipe_tests::sys::processes::Stranger;
use panpipe_tests::users::can_be_somebody_else;
use panpipe_tests::{PATIENCE, eventually};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::common::child_command;

/// Kills a child and reaps it, as other code of the process may, and has another process take
/// its number.
fn replace(pid: u32) -> Stranger {
    let number = Pid::from_raw(pid as i32).unwrap();
    kill_process(number, Signal::KILL).unwrap();
    waitid(WaitId::Pid(number), WaitIdOptions::EXITED).unwrap();
    Stranger::with_pid(pid).unwrap()
}

async fn plugin(log: &Log) -> Plugin<PlugClient> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugin"));
    command.arg("good").stdin(Stdio::null());
    let log = log.clone();
    let builder = Plugin::spawn(command).cookie(COOKIE).offer(Adder.serve()).stderr(Output::lines(|_| {}));
    let told = builder.on_event(move |event| {
        if let PluginEvent::Exited { status, .. } = event {
            log.push(format!("{status:?} {event}"));
        }
    });
    told.start().await.unwrap()
}

// In a runtime of one thread nothing of panpipe runs between the end of the child and the start
// of the process that takes its number.
#[tokio::test]
async fn process_with_the_number_of_a_reaped_plugin_is_left_alone() {
    if !can_be_somebody_else() {
        return;
    }
    // The end is noticed.
    let log = Log::default();
    let noticed = plugin(&log).await;
    let stranger = replace(noticed.pid().unwrap());
    noticed.ended().await;
    let events = log.all();
    assert!(events.len() == 1 && events[0].starts_with("None "), "{events:?}");
    assert!(events[0].contains("exit status unknown") && events[0].contains("SIGCHLD"), "{events:?}");
    assert!(stranger.was_left_alone());

    // The handle is dropped before.
    let dropped = plugin(&log).await;
    let stranger = replace(dropped.pid().unwrap());
    drop(dropped);
    // The runtime has had its turns when another plugin has come and gone.
    assert!(plugin(&log).await.shutdown(PATIENCE).await.unwrap().success());
    assert!(stranger.was_left_alone());

    // It is to end.
    let ended = plugin(&log).await;
    let stranger = replace(ended.pid().unwrap());
    let error = ended.shutdown(PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("exit status unknown") && error.contains("SIGCHLD"), "{error}");
    assert!(stranger.was_left_alone());
}

#[tokio::test]
async fn process_with_the_number_of_a_reaped_child_is_left_alone() {
    if !can_be_somebody_else() {
        return;
    }
    let start = || panpipe::spawn(child_command("probe")).start::<ProbeClient>().unwrap();
    let child = start();
    let stranger = replace(child.id().unwrap());
    drop(child);
    assert!(stranger.was_left_alone());

    let child = start();
    let stranger = replace(child.id().unwrap());
    let error = child.shutdown(PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("exit status unknown"), "{error}");
    assert!(stranger.was_left_alone());

    let start = || panpipe::spawn(child_command("probe")).start_blocking::<ProbeClient>().unwrap();
    let child = start();
    let stranger = replace(child.id());
    drop(child);
    assert!(stranger.was_left_alone());

    let child = start();
    let stranger = replace(child.id());
    let error = child.shutdown(PATIENCE).unwrap_err().to_string();
    assert!(error.contains("exit status unknown"), "{error}");
    assert!(stranger.was_left_alone());
}

#[test]
fn crash_of_a_plugin_that_other_code_reaps_is_told_with_its_last_lines() {
    let host = |how: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        Process::start(command.args(["reaped", how, env!("CARGO_BIN_EXE_plugin")])).rest()
    };
    for how in ["by-the-kernel", "by-a-thread"] {
        let lines = host(how);
        let has = |words: &[&str]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(has(&["plugin plugin: process", "has ended", "out of cheese"]), "{lines:?}");
        assert!(has(&["restarted 1 times"]) && has(&["Ok(Some(3))"]), "{lines:?}");
        if how == "by-the-kernel" {
            assert!(has(&["exit status unknown", "SIGCHLD", "out of cheese"]), "{lines:?}");
            assert!(lines.last().unwrap().starts_with("exit status unknown"), "{lines:?}");
        }
    }
}

#[tokio::test]
async fn calls_end_with_the_child_although_another_process_holds_its_pipes() {
    let start = || panpipe::spawn(child_command("plugged")).offer(Adder.serve());
    let mut child = start().start::<PlugClient>().unwrap();
    let left = child.client().leave_a_child().await.unwrap();
    let hanging = tokio::spawn(child.client().hang());
    assert_eq!(child.client().exit(3).await, Err(CallError::Disconnected { sent: true }));
    assert_eq!(hanging.await.unwrap(), Err(CallError::Disconnected { sent: true }));
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
    assert_eq!(child.id(), None);
    assert_eq!(child.client().add(1, 2).await, Err(CallError::Disconnected { sent: false }));
    let left = Pid::from_raw(left as i32).unwrap();
    kill_process(left, Signal::KILL).expect("it has run all the while");
}

#[tokio::test]
async fn fork_without_exec_of_a_host_starts_plugins_of_its_own() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    let host = Process::start(command.args(["fork", env!("CARGO_BIN_EXE_plugin")]));
    let lines = std::thread::spawn(move || host.rest());
    eventually("the host ends", PATIENCE, async || lines.is_finished()).await;
    assert_eq!(lines.join().unwrap(), ["the fork ends with 0", "Ok(Some(3))"]);
}

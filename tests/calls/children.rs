//! Parents and children over anonymous pipes.

use std::process::{Command, Stdio};
use std::time::Duration;

use futures::future::join;
use panpipe::{CallError, CloseReason, NoService, SpawnError};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::worker::WorkerClient;
use panpipe_tests::{PATIENCE, eventually};

use crate::common::child_command;

fn worker_child() -> panpipe::Child<WorkerClient> {
    panpipe::spawn(child_command("worker")).offer(Prober::default().serve()).start().unwrap()
}

#[tokio::test]
async fn a_child_is_called_and_calls_back() {
    let child = worker_child();
    assert_eq!(child.client().add(20, 22).await, Ok(Some(42)));
    assert_eq!(child.client().echo(vec![9; 1_000_000]).await.map(|echo| echo.len()), Ok(1_000_000));
    assert_eq!(child.client().echo_all(100, 10_000).await, Ok(100));
    assert!(child.shutdown(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn a_parent_that_offers_nothing_is_not_asked() {
    let child = panpipe::spawn(child_command("probe")).start::<ProbeClient>().unwrap();
    assert_eq!(child.client().add(1, 2).await, Ok(3));
    let about = child.client().about_me().await.unwrap();
    assert_eq!(about.method.as_deref(), Some("Probe.about_me"));
    assert!(child.shutdown(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn what_a_child_prints_is_no_matter() {
    let mut command = child_command("worker");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = panpipe::spawn(command).offer(Prober::default().serve()).start::<WorkerClient>().unwrap();
    let (printed, sum) = join(child.client().print(2000), child.client().add(1, 2)).await;
    assert_eq!((printed, sum), (Ok(()), Ok(Some(3))));
    child.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_child_that_ends_fails_its_calls_and_says_how_it_ended() {
    let mut child = panpipe::spawn(child_command("exit")).start::<ProbeClient>().unwrap();
    let error = child.client().add(1, 2).await.unwrap_err();
    assert!(matches!(error, CallError::Disconnected { .. }), "{error}");
    assert_eq!(child.wait().await.unwrap().code(), Some(7));
    assert_eq!(child.close_reason(), Some(CloseReason::Closed));
}

#[tokio::test]
async fn a_child_with_another_service_is_refused_in_words() {
    let child = panpipe::spawn(child_command("probe")).start::<WorkerClient>().unwrap();
    let error = child.client().add(1, 2).await.unwrap_err();
    assert!(error.to_string().contains("Worker") && error.to_string().contains("Probe"), "{error}");
}

#[tokio::test]
async fn a_child_ends_with_its_parents_handle() {
    let child = worker_child();
    child.client().add(1, 2).await.unwrap();
    let pid = child.id().unwrap();
    drop(child);
    eventually("it has ended", PATIENCE, async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        !stat.is_ok_and(|stat| !stat.contains(") Z "))
    })
    .await;
}

#[tokio::test]
async fn a_child_that_is_shut_down_finishes_what_runs_whoever_holds_its_client() {
    let child = panpipe::spawn(child_command("probe")).start::<ProbeClient>().unwrap();
    let (probe, other) = (child.client().clone(), child.client().clone());
    let running = tokio::spawn(probe.wait(200));
    eventually("it runs", PATIENCE, async || probe.counts().await.unwrap().running == 1).await;
    let busy = tokio::spawn(async move {
        loop {
            if let Err(error) = other.add(1, 2).await {
                return error;
            }
        }
    });
    let start = std::time::Instant::now();
    assert!(child.shutdown(PATIENCE).await.unwrap().success());
    assert!(start.elapsed() < PATIENCE / 2, "it was not killed");
    assert_eq!(running.await.unwrap(), Ok(200));
    assert_eq!(busy.await.unwrap(), CallError::Disconnected { sent: false });
    assert_eq!(probe.add(1, 2).await, Err(CallError::Disconnected { sent: false }));
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_named() {
    let error = panpipe::spawn(Command::new("/no/such/program")).start::<NoService>().unwrap_err();
    assert!(matches!(error, SpawnError::Program { .. }), "{error}");
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}

#[test]
fn a_child_run_by_hand_says_what_it_is() {
    let output = child_command("probe").output().unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("panpipe child") && words.contains("panpipe::spawn"), "{words}");
    for (handles, words) in [("1,x", "standard stream"), ("99,98", "99 is not open"), ("", "not the number")]
    {
        let output = child_command("probe").env("PANPIPE_HANDLES", handles).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn children_inherit_their_own_ends_and_nothing_else() {
    use panpipe_transport::anonymous::for_child;
    let mut outputs = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let (stream, ends) = for_child().unwrap();
        let handles = ends.handles();
        let mut command = child_command("fds");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let passed = ends.pass_to(&mut command).unwrap();
        let child = command.spawn().unwrap();
        drop(passed);
        // The command is good for one child.
        assert!(command.spawn().is_err());
        streams.push(stream);
        outputs.push((handles, child));
    }
    for (handles, child) in outputs {
        let output = child.wait_with_output().unwrap();
        let fds = String::from_utf8(output.stdout).unwrap();
        let (read, write) = handles.split_once(',').unwrap();
        for own in [read, write] {
            assert!(fds.contains(own), "{own} is not in {fds}");
        }
        // 0 to 2, its own two, and those of the runtime, which come after them.
        let inherited =
            fds.trim_matches(['[', ']', '\n']).split(", ").filter_map(|fd| fd.parse::<u32>().ok());
        let listed: Vec<_> = inherited.collect();
        assert!(listed.starts_with(&[0, 1, 2]), "{listed:?}");
    }
}

#[tokio::test]
async fn a_deadline_holds_across_anonymous_pipes_too() {
    let child = panpipe::spawn(child_command("probe")).start::<ProbeClient>().unwrap();
    let hasty = child.client().with_timeout(Duration::from_millis(50));
    assert_eq!(hasty.hang().await, Err(CallError::DeadlineExceeded));
    assert_eq!(child.client().add(1, 2).await, Ok(3));
}

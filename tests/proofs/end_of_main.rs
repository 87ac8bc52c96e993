//! Proof 28: connect, one-way call or item, end of `main`. Each accepted value arrives, or its
//! loss is reported.

use std::collections::BTreeSet;
use std::process::Command;

use panpipe_tests::process::Process;
use panpipe_tests::{PATIENCE, eventually, times};
use rustix::process::Signal;

use crate::common::studio;

fn program(name: &str, how: &str, first: u64, count: u64) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_end_of_main"));
    Process::start(command.args([name, how, &first.to_string(), &count.to_string()]))
}

/// Runs programs that note so many numbers each, and waits until all numbers have arrived.
async fn all_arrive(how: &str, count: u64) {
    let (_server, name, studio) = studio(&[]).await;
    let programs = times(30, 100) as u64;
    for first in 0..programs {
        let (status, lines) = program(&name, how, first * count, count).finish_with_lines();
        assert!(status.success() && lines.is_empty(), "{status}: {lines:?}");
    }
    let mut missing = BTreeSet::new();
    eventually(&format!("all numbers of {how} arrive"), PATIENCE, async || {
        let noted: BTreeSet<_> = studio.noted().await.expect("the studio answers").into_iter().collect();
        missing = (0..programs * count).filter(|number| !noted.contains(number)).collect();
        missing.is_empty()
    })
    .await;
}

#[tokio::test]
async fn one_way_calls_before_the_end_of_main_arrive() {
    for how in ["current-calls", "threads-calls", "blocking-calls", "current-idle", "threads-idle"] {
        all_arrive(how, 1).await;
    }
}

#[tokio::test]
async fn many_one_way_calls_before_the_end_of_main_arrive() {
    for how in ["current-calls", "threads-calls", "blocking-calls"] {
        all_arrive(how, 100).await;
    }
}

#[tokio::test]
async fn items_before_the_end_of_main_arrive() {
    for how in ["current-items", "threads-items"] {
        all_arrive(how, 1).await;
        all_arrive(how, 100).await;
    }
}

#[tokio::test]
async fn items_that_were_flushed_have_arrived() {
    for how in ["current-flushed", "threads-flushed"] {
        all_arrive(how, 100).await;
    }
}

/// How many calls and items a warning says were lost at most.
fn lost_by(warning: &str) -> u64 {
    let lost = warning.split("up to ").nth(1).and_then(|words| words.split(' ').next());
    lost.and_then(|lost| lost.parse().ok()).unwrap_or_else(|| panic!("{warning}"))
}

#[tokio::test]
async fn items_that_wait_in_a_channel_whose_stream_was_sent_arrive_or_are_reported() {
    for how in ["current-queued", "threads-queued"] {
        let (_server, name, studio) = studio(&[]).await;
        let mut reported = 0;
        for first in 0..10 {
            let (status, lines) = program(&name, how, first * 100, 100).finish_with_lines();
            assert!(status.success(), "{status}");
            reported += lines.iter().map(|line| lost_by(line)).sum::<u64>();
        }
        let mut arrived = 0;
        eventually(&format!("each item of {how} arrives or is reported"), PATIENCE, async || {
            arrived = studio.noted().await.expect("the studio answers").len() as u64;
            arrived + reported >= 1000
        })
        .await;
        println!("{how}: {arrived} of 1000 items arrived, {reported} were reported");
    }
}

#[tokio::test]
async fn what_a_stopped_server_never_reads_is_reported() {
    for how in ["current-stopped", "threads-stopped"] {
        let (server, name, _studio) = studio(&[]).await;
        let mut program = program(&name, how, 0, 0);
        program.wait_for("ready");
        server.stop();
        program.nudge();
        let accepted: u64 = program.line().parse().expect("a number of calls");
        let warning = program.line();
        server.signal(Signal::CONT);
        let lost = lost_by(&warning);
        assert!((1..=accepted).contains(&lost), "{lost} of {accepted}");
    }
}

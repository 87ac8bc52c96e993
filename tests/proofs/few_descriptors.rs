//! Proof 17: a server that has fewer descriptors than clients want.

use std::time::{Duration, Instant};

use panpipe_tests::probe::ProbeClient;
use panpipe_tests::process::Process;
use panpipe_tests::raw::{MAGIC, Raw, hello};
use panpipe_tests::{PATIENCE, at_most, eventually, sys, system, times, unique_name};

use crate::common::server_command;

const DESCRIPTORS: u64 = 32;

#[tokio::test]
async fn proof_17_a_server_without_descriptors_waits_and_serves_again() {
    let name = unique_name("few");
    let mut command = server_command(&name, &[]);
    sys::limit_descriptors(&mut command, DESCRIPTORS);
    let server = Process::start(&mut command).serving(&name);
    server.wait_for("ready");
    let start = [MAGIC.to_vec(), hello("Probe", 1)].concat();
    let mut clients: Vec<_> = (0..200).map(|_| Raw::connect(&name)).collect();
    clients.iter_mut().for_each(|client| client.send(&start));
    eventually("every descriptor is in use", PATIENCE, async || {
        system::fds(server.id()) as u64 >= DESCRIPTORS
    })
    .await;
    // The first ones are served all the while.
    clients[0].expect_magic();
    let before = sys::cpu_micros_of(server.id());
    let window = Duration::from_millis(times(500, 5000) as u64);
    tokio::time::sleep(window).await;
    let used = sys::cpu_micros_of(server.id()) - before;
    let share = used as f64 / window.as_micros() as f64;
    println!("with clients waiting it took {:.2} % of a processor", share * 100.0);
    assert!(share < 0.05, "{used} µs in {window:?}");
    // All but those that still wait go, and a new one comes.
    let released = Instant::now();
    drop(clients);
    let probe = ProbeClient::connect(&name).wait(PATIENCE).await.unwrap();
    assert_eq!(probe.add(1, 2).await, Ok(3));
    let took = released.elapsed();
    println!("it served again {took:?} after the release");
    assert!(took < at_most(Duration::from_secs(1)), "{took:?}");
}

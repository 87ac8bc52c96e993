//! A thousand clients at once on one name, with calls flowing.

use std::time::{Duration, Instant};

use futures::future::join_all;
use panpipe_tests::probe::ProbeClient;
use panpipe_tests::{at_most, eventually, sys, system, times};

use crate::common::{client, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_call_at_once_and_none_fails() {
    sys::allow_descriptors();
    let (server, name) = server(&[]);
    let first = client(&name).await;
    first.add(1, 2).await.unwrap();
    let (before, descriptors) = (system::rss_kib(server.id()), system::fds(server.id()));
    let start = Instant::now();
    let clients: Vec<ProbeClient> = join_all((0..1000).map(|_| client(&name))).await;
    let rounds = times(5, 100) as u64;
    let calls = clients.iter().enumerate().map(|(index, probe)| async move {
        for round in 0..rounds {
            let x = index as u64;
            assert_eq!(probe.add(x, round).await, Ok(x + round));
            let bytes = vec![index as u8; 100];
            assert_eq!(probe.echo(bytes.clone()).await, Ok(bytes));
        }
    });
    join_all(calls).await;
    let (took, idle) = (start.elapsed(), system::rss_kib(server.id()).saturating_sub(before));
    println!("{} calls of 1,000 clients in {took:?}, {idle} KiB more in the server", rounds * 2000);
    assert!(system::fds(server.id()) >= descriptors + 1000, "all are connected at once");
    drop(clients);
    let soon = at_most(Duration::from_secs(5));
    eventually("all have gone", soon, async || system::fds(server.id()) == descriptors).await;
    assert_eq!(first.add(1, 2).await, Ok(3));
}

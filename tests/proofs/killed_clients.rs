//! Proof 15: clients that die in a call.

use std::time::Duration;

use panpipe_tests::{at_most, eventually, system, times};

use crate::common::{client, client_process, server};

#[tokio::test]
async fn proof_15_killed_clients_leave_nothing_in_the_server() {
    let (server, name) = server(&[]);
    let probe = client(&name).await;
    let round = async |clients: usize| {
        let all: Vec<_> = (0..clients).map(|_| client_process(&name, "hang")).collect();
        let soon = at_most(Duration::from_secs(10));
        eventually("all are in a call", soon, async || {
            probe.counts().await.unwrap().running == clients as u64
        })
        .await;
        // Killed, all of them, when dropped.
        drop(all);
        let soon = at_most(Duration::from_secs(5));
        eventually("their handlers are dropped", soon, async || probe.counts().await.unwrap().running == 0)
            .await;
    };
    // The first rounds fill the allocator's and the pools' stores.
    for _ in 0..2 {
        round(20).await;
    }
    // Who looks on is a client of many short calls too, which has got its bypass by then.
    for _ in 0..200 {
        probe.counts().await.unwrap();
    }
    let (fds, rss) = (system::fds(server.id()), system::rss_kib(server.id()));
    for _ in 0..times(4, 48) {
        round(20).await;
    }
    let soon = at_most(Duration::from_secs(5));
    eventually("the descriptors are closed", soon, async || system::fds(server.id()) == fds).await;
    let grown = system::rss_kib(server.id()).saturating_sub(rss);
    println!("{} killed clients: {fds} descriptors as before, {grown} KiB more", times(4, 48) * 20);
    assert!(grown <= 2 << 10, "{grown} KiB");
}

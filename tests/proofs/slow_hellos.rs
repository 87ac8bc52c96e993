//! Proof 7: clients that say hello one byte a second.

use std::io::Read;
use std::time::{Duration, Instant};

use panpipe_tests::raw::{self, MAGIC, Raw};
use panpipe_tests::{is_full, times};

use crate::common::{client, server};

#[tokio::test]
async fn proof_07_a_slow_hello_is_dropped_in_time() {
    let (_server, name) = server(&["handshake_ms=3000"]);
    let slow = tokio::task::spawn_blocking({
        let name = name.clone();
        move || {
            let bytes = [&MAGIC[..], &raw::hello("Probe", 1)].concat();
            let start = Instant::now();
            let mut waiting: Vec<_> =
                (0..times(100, 500)).map(|_| (Raw::connect(&name), Instant::now())).collect();
            for (raw, _) in &waiting {
                raw.socket.set_nonblocking(true).unwrap();
            }
            let mut lived = Vec::new();
            let (mut sent, mut next) = (0, start);
            while !waiting.is_empty() {
                if Instant::now() >= next {
                    next += Duration::from_secs(1);
                    for (raw, _) in &mut waiting {
                        raw.send(&bytes[sent..=sent]);
                    }
                    sent += 1;
                }
                waiting.retain_mut(|(raw, since)| {
                    let mut words = Vec::new();
                    let ended = raw.socket.read_to_end(&mut words).is_ok();
                    if ended {
                        lived.push(since.elapsed());
                    }
                    !ended
                });
                assert!(start.elapsed() < Duration::from_secs(30), "{} are still there", waiting.len());
                std::thread::sleep(Duration::from_millis(5));
            }
            lived
        }
    });
    // Others are served meanwhile.
    let probe = client(&name).await;
    while !slow.is_finished() {
        assert_eq!(probe.add(1, 2).await, Ok(3));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lived = slow.await.unwrap();
    let (shortest, longest) = (lived.iter().min().unwrap(), lived.iter().max().unwrap());
    println!("{} slow clients lived {shortest:?} to {longest:?} of 3 s", lived.len());
    assert!(*shortest >= Duration::from_secs(2));
    assert!(*longest <= Duration::from_secs(if is_full() { 4 } else { 15 }));
}

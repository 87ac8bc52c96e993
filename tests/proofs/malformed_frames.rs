//! Proof 2: malformed frames, while others call.

use panpipe_tests::raw::{self, Raw, kind};
use panpipe_tests::{p99_bound, p99_of_calls, times};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{client, server};

/// Bytes that look random and are the same every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let len = self.next() % (most + 1);
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A frame with something wrong in it.
fn malformed(noise: &mut Noise) -> Vec<u8> {
    match noise.next() % 6 {
        // Arguments that are no arguments.
        0 => raw::call(noise.next() % 1024, "echo(Vec<u8>)->Vec<u8>", 0, &noise.bytes(40)),
        // No such method.
        1 => raw::frame(kind::CALL, noise.next() % 1024, &[&noise.bytes(7)[..], &[0; 8], &[0]].concat()),
        // An id that is too high, an id of nobody.
        2 => raw::call(noise.next(), "add(u64,u64)->u64", 0, &noise.bytes(20)),
        3 => raw::frame(kind::CANCEL, noise.next() % 4096, &noise.bytes(5)),
        // No such kind, or not from this side.
        4 => raw::frame(noise.next() as u8, noise.next(), &noise.bytes(30)),
        // Anything at all.
        _ => {
            let bytes = noise.bytes(60);
            [&(bytes.len() as u32).to_le_bytes()[..], &bytes].concat()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proof_02_malformed_frames_close_their_own_connections_only() {
    let (server, name) = server(&[]);
    let probe = client(&name).await;
    let before = p99_of_calls(&probe, || true).await;
    let over = Arc::new(AtomicBool::new(false));
    let hostile = std::thread::spawn({
        let (name, over) = (name.clone(), Arc::clone(&over));
        move || {
            for connection in 0..100 {
                let mut noise = Noise(connection);
                let mut raw = Raw::greeted(&name, "Probe");
                for _ in 0..times(20, 100) {
                    raw.send(&malformed(&mut noise));
                    raw.socket.set_nonblocking(true).unwrap();
                    let ended = std::io::Read::read(&mut raw.socket, &mut [0; 4096]).is_ok_and(|n| n == 0);
                    raw.socket.set_nonblocking(false).unwrap();
                    if ended {
                        raw = Raw::greeted(&name, "Probe");
                    }
                }
            }
            over.store(true, Ordering::SeqCst);
        }
    });
    let during = p99_of_calls(&probe, || over.load(Ordering::SeqCst)).await;
    hostile.join().unwrap();
    println!("p99 of a healthy client: {before:?} before, {during:?} meanwhile");
    assert!(during < p99_bound(before, 2), "{during:?} against {before:?}");
    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert!(server.finish().success());
}

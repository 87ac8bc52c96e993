//! Proof 1: absurd deadlines.

use panpipe_tests::raw::{self, Raw, kind};

use crate::common::{client, server};

#[tokio::test]
async fn proof_01_absurd_deadlines_are_clamped_and_harm_nobody() {
    let (server, name) = server(&[]);
    let neighbour = client(&name).await;
    let calls = tokio::spawn(async move {
        for x in 0..1000 {
            assert_eq!(neighbour.add(x, 1).await, Ok(x + 1));
        }
    });
    let hostile = tokio::task::spawn_blocking({
        let name = name.clone();
        move || {
            let mut raw = Raw::greeted(&name, "Probe");
            // 2^36 ms, where a timer wheel ends; the end of the clock; the largest that fits.
            let absurd = [(1u64 << 36) * 1000, 1 << 60, u64::MAX - 1, u64::MAX];
            for (id, deadline) in absurd.into_iter().enumerate() {
                let id = id as u64;
                raw.send(&raw::call(2 * id, "hang()->()", deadline, &[]));
                raw.send(&raw::call(2 * id + 1, "echo(Vec<u8>)->Vec<u8>", deadline, &raw::block(b"x")));
                let reply = raw.frame();
                assert_eq!((reply.kind, reply.id, reply.body[0]), (kind::REPLY, 2 * id + 1, 0));
            }
        }
    });
    hostile.await.unwrap();
    calls.await.unwrap();
    assert!(server.finish().success());
}

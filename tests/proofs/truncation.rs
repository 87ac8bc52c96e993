//! Proof 8: the end of the stream at every byte.

use std::io::Write;
use std::os::unix::net::UnixStream;

use futures::StreamExt;
use panpipe::{CallError, CloseReason, ServiceClient};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::raw::{self, MAGIC, Raw};
use panpipe_transport::codec::{Bincode, Codec};
use panpipe_transport::frame::FrameError;
use panpipe_transport::{Transport, TransportError};

fn tokio_stream(socket: UnixStream) -> tokio::net::UnixStream {
    socket.set_nonblocking(true).unwrap();
    tokio::net::UnixStream::from_std(socket).unwrap()
}

#[tokio::test]
async fn proof_08_a_server_tells_a_cut_from_an_end_at_every_byte() {
    let call = raw::call(0, "echo(Vec<u8>)->Vec<u8>", 0, &raw::block(b"payload"));
    let hello = [&MAGIC[..], &raw::hello("Probe", 1)].concat();
    let whole = [hello.clone(), call].concat();
    let ends = [0, MAGIC.len(), hello.len(), whole.len()];
    for cut in 0..=whole.len() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(&whole[..cut]).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let reason = panpipe::serve_stream(tokio_stream(server), Prober::default().serve()).await;
        let expected = if ends.contains(&cut) { CloseReason::Closed } else { CloseReason::Truncated };
        assert_eq!(reason, expected, "cut at {cut} of {}", whole.len());
    }
}

#[tokio::test]
async fn proof_08_a_client_tells_a_cut_from_an_end_at_every_byte() {
    // The reply: status 0, then the sum as bincode has it.
    let reply = raw::frame(raw::kind::REPLY, 0, &[&[0][..], &3u64.to_le_bytes()].concat());
    let hello = [&MAGIC[..], &raw::server_hello("Probe")].concat();
    for cut in 0..=reply.len() {
        let (client, server) = UnixStream::pair().unwrap();
        let probe = ProbeClient::over(tokio_stream(client));
        let call = tokio::spawn(probe.add(1, 2));
        let sent = [&hello[..], &reply[..cut]].concat();
        let server = tokio::task::spawn_blocking(move || {
            let mut raw = Raw::over(server);
            raw.expect_magic();
            // Its hello and its call.
            raw.frame();
            raw.frame();
            raw.send(&sent);
            raw.socket.shutdown(std::net::Shutdown::Write).unwrap();
            raw
        });
        let result = call.await.unwrap();
        let raw = server.await.unwrap();
        if cut == reply.len() {
            assert_eq!(result, Ok(3));
        } else {
            assert_eq!(result, Err(CallError::Disconnected { sent: true }), "cut at {cut}");
            let expected = if cut == 0 { CloseReason::Closed } else { CloseReason::Truncated };
            assert_eq!(probe.close_reason(), Some(expected), "cut at {cut}");
        }
        drop(raw);
    }
}

#[tokio::test]
async fn proof_08_a_transport_tells_a_cut_from_an_end_at_every_byte() {
    let mut whole = Vec::new();
    let start = panpipe_transport::frame::begin(&mut whole);
    Bincode.encode("a message", &mut whole).unwrap();
    panpipe_transport::frame::finish(&mut whole, start, 100).unwrap();
    for cut in 0..=whole.len() {
        let (client, server) = UnixStream::pair().unwrap();
        (&client).write_all(&whole[..cut]).unwrap();
        drop(client);
        let mut transport = Transport::<_, String, String, _>::new(tokio_stream(server), Bincode);
        let first = transport.next().await;
        match cut {
            0 => assert!(first.is_none()),
            cut if cut == whole.len() => assert_eq!(first.unwrap().unwrap(), "a message"),
            _ => assert!(
                matches!(first, Some(Err(TransportError::Frame(FrameError::Truncated)))),
                "cut at {cut}: {first:?}"
            ),
        }
        assert!(transport.next().await.is_none());
    }
}

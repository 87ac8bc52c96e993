//! Who cannot talk with each other hear why, on both sides.

use std::pin::Pin;
use std::task::{Context, Poll};

use panpipe::{CallError, CloseReason, RefusalReason, ServiceClient};
use panpipe_tests::probe::ProbeClient;
use panpipe_tests::raw::{self, MAGIC, Raw, RawListener, kind};
use panpipe_tests::unique_name;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::common::{client, server};

/// A service that no server here offers.
#[panpipe::service]
pub trait Elsewhere {
    /// Anything.
    async fn anything(&self) -> u8;
}

/// The probe in a version that no server here has.
mod newer {
    #[panpipe::service(version = 2)]
    pub trait Probe {
        /// As it was.
        async fn add(&self, a: u64, b: u64) -> u64;
    }
}

#[tokio::test]
async fn another_service_is_refused_by_name() {
    let (_server, name) = server(&[]);
    let elsewhere = ElsewhereClient::connect(&name).await.unwrap();
    let Err(CallError::Refused(refusal)) = elsewhere.anything().await else { panic!("it was served") };
    assert_eq!(refusal.reason, RefusalReason::Service);
    assert!(refusal.message.contains("Elsewhere") && refusal.message.contains("Probe"), "{refusal}");
    assert_eq!(elsewhere.close_reason(), Some(CloseReason::Refused(refusal.clone())));
    // A call after that is told the same.
    assert_eq!(elsewhere.anything().await, Err(CallError::Refused(refusal)));
}

#[tokio::test]
async fn another_version_is_refused_by_number() {
    let (_server, name) = server(&[]);
    let probe = newer::ProbeClient::connect(&name).await.unwrap();
    let Err(CallError::Refused(refusal)) = probe.add(1, 2).await else { panic!("it was served") };
    assert_eq!(refusal.reason, RefusalReason::ServiceVersion);
    assert!(refusal.message.contains("version 2") && refusal.message.contains("version 1"), "{refusal}");
}

#[tokio::test]
async fn a_refusal_is_heard_however_the_two_meet() {
    // It is said before the client's hello has come, and the stream is closed.
    let (_server, name) = server(&["max_clients=0"]);
    for _ in 0..1000 {
        let probe = client(&name).await;
        let error = probe.add(1, 2).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Refused(refusal) if refusal.reason == RefusalReason::Overloaded),
            "{error}"
        );
    }
}

#[test]
fn a_peer_that_speaks_something_else_is_told_so() {
    let (_server, name) = server(&[]);
    for words in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"{\"jsonrpc\":\"2.0\"}", b"Content-Length: 12\r\n", &[0; 8]]
    {
        let mut raw = Raw::connect(&name);
        raw.send(words);
        raw.expect_magic();
        let refusal = raw.frame();
        assert_eq!((refusal.kind, refusal.body[0]), (kind::REFUSE, 0));
        assert!(refusal.words().contains("does not speak panpipe"), "{}", refusal.words());
        assert!(raw.to_the_end().is_empty());
    }
}

#[test]
fn another_protocol_and_an_unknown_codec_are_refused_in_words() {
    let (_server, name) = server(&[]);
    let good = raw::hello("Probe", 1);
    for (offset, reason, words) in [(7, 1, "version 1 of panpipe's protocol"), (8, 2, "codec number 99")] {
        let mut hello = good.clone();
        hello[offset] = 99;
        let mut raw = Raw::connect(&name);
        raw.send(&[&MAGIC[..], &hello].concat());
        raw.expect_magic();
        let refusal = raw.frame();
        assert_eq!((refusal.kind, refusal.body[0]), (kind::REFUSE, reason));
        assert!(refusal.words().contains(words), "{}", refusal.words());
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_no_panpipe() {
    let name = unique_name("http");
    let listener = RawListener::bind(&name);
    let server = std::thread::spawn(move || {
        let mut raw = listener.accept();
        raw.expect_magic();
        raw.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        // The client closes, with a refusal of its own first.
        assert_eq!(raw.frame().kind, kind::HELLO);
        raw.to_the_end().pop().map(|frame| frame.kind)
    });
    let probe = client(&name).await;
    let Err(CallError::Refused(refusal)) = probe.add(1, 2).await else { panic!("it was served") };
    assert_eq!(refusal.reason, RefusalReason::NotPanpipe);
    drop(probe);
    assert_eq!(server.join().unwrap(), Some(kind::REFUSE));
}

#[test]
fn what_cannot_be_parsed_closes_its_connection_with_the_reason() {
    let (_server, name) = server(&[]);
    let hang = raw::call(0, "hang()->()", 0, &[]);
    for (bytes, words) in [
        (vec![0xff; 4], "4294967295 bytes"),
        (raw::frame(77, 0, b""), "77"),
        ((1u32 << 24 | 1).to_le_bytes().to_vec(), "16777217 bytes"),
        (vec![0, 0, 0, 0], "frame"),
        (raw::hello("Probe", 1), "hello"),
        ([hang.clone(), hang].concat(), "still runs"),
    ] {
        let mut raw = Raw::greeted(&name, "Probe");
        raw.send(&bytes);
        let close = raw.to_the_end().pop().expect("a reason comes before the end");
        assert_eq!(close.kind, kind::CLOSE, "{close:?}");
        assert!(close.words().contains(words), "{words:?} is not in {:?}", close.words());
    }
}

/// A peer that has refused and gone: writing fails, and its words come a moment later.
struct Gone {
    words: std::io::Cursor<Vec<u8>>,
    polled: bool,
}

impl AsyncRead for Gone {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !std::mem::replace(&mut self.polled, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.words).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gone {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_refusal_that_comes_after_writing_failed_is_heard() {
    let refuse = raw::frame(kind::REFUSE, 0, &[&[6][..], &raw::string("there are too many")].concat());
    let words = [&MAGIC[..], &refuse].concat();
    let probe = ProbeClient::over(Gone { words: std::io::Cursor::new(words), polled: false });
    let Err(CallError::Refused(refusal)) = probe.add(1, 2).await else { panic!("it was not heard") };
    assert_eq!((refusal.reason, refusal.message.as_str()), (RefusalReason::Overloaded, "there are too many"));
}

//! The same calls over other streams of bytes, and over none.

use std::io;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use panpipe::{CallError, CloseReason, Peer, ServiceClient};
use panpipe_tests::probe::{Odd, Probe, ProbeClient, ProbeError, Prober};
use panpipe_transport::anonymous;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

async fn the_usual(probe: &ProbeClient) {
    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert_eq!(probe.echo(vec![5; 300_000]).await, Ok(vec![5; 300_000]));
    let why = "why".to_owned();
    assert_eq!(probe.fail(why.clone()).await, Err(CallError::App(ProbeError { why })));
    assert_eq!(probe.panic(true).await, Err(CallError::Panicked));
    let hasty = probe.with_timeout(Duration::from_millis(30));
    assert_eq!(hasty.hang().await, Err(CallError::DeadlineExceeded));
    probe.note(7).await.unwrap();
    panpipe_tests::eventually("it is noted", panpipe_tests::PATIENCE, async || {
        probe.notes().await.unwrap() == [7]
    })
    .await;
}

#[tokio::test]
async fn over_a_stream_of_the_users_own() {
    let (one, other) = tokio::io::duplex(100);
    let server = tokio::spawn(panpipe::serve_stream(other, Prober::default().serve()));
    let probe = ProbeClient::over(one);
    the_usual(&probe).await;
    assert_eq!(probe.peer(), Peer::unknown());
    drop(probe);
    assert_eq!(server.await.unwrap(), CloseReason::Closed);
}

/// A stream that notes how it is used.
struct Noted {
    stream: DuplexStream,
    uses: Arc<Mutex<Vec<&'static str>>>,
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.uses.lock().unwrap().push("read");
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.uses.lock().unwrap().push("write");
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who looked for bytes first, and waited awake for them, would hold the call up.
#[tokio::test]
async fn a_call_that_is_queued_goes_out_before_anything_is_read() {
    let (one, other) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(panpipe::serve_stream(other, Prober::default().serve()));
    let uses = Arc::<Mutex<Vec<_>>>::default();
    let probe = ProbeClient::over(Noted { stream: one, uses: Arc::clone(&uses) });
    for i in 0..10 {
        assert_eq!(probe.add(i, 2).await, Ok(i + 2));
        let uses = std::mem::take(&mut *uses.lock().unwrap());
        // The first call waits for the hello.
        assert!(i == 0 || uses.starts_with(&["write"]), "call {i}: {uses:?}");
    }
    drop(probe);
    assert_eq!(server.await.unwrap(), CloseReason::Closed);
}

#[tokio::test]
async fn over_a_pair_of_anonymous_pipes_between_threads() {
    let (one, other) = anonymous::pair().unwrap();
    let server = tokio::spawn(panpipe::serve_stream(other, Prober::default().serve()));
    let probe = ProbeClient::over(one);
    the_usual(&probe).await;
    assert_eq!(probe.peer(), Peer::this_process());
    drop(probe);
    assert_eq!(server.await.unwrap(), CloseReason::Closed);
}

#[tokio::test]
async fn over_nothing_at_all() {
    let probe = ProbeClient::local(Prober::default());
    the_usual(&probe).await;
    assert_eq!(probe.odd(Odd::FailsToEncode).await, Ok(Odd::FailsToEncode));
    let about = probe.about_me().await.unwrap();
    assert_eq!((about.pid, about.method.as_deref()), (Some(std::process::id()), Some("Probe.about_me")));
}

#[tokio::test]
async fn over_the_standard_streams_of_a_process() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stdio"));
    let mut child = tokio::process::Command::from(std::mem::replace(&mut command, Command::new("true")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let streams = tokio::io::join(child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let probe = ProbeClient::over(streams);
    the_usual(&probe).await;
    // The program prints all the while; nothing of it gets in between.
    for x in 0..100 {
        assert_eq!(probe.add(x, 1).await, Ok(x + 1));
    }
    drop(probe);
    assert!(child.wait().await.unwrap().success());
}

#[test]
fn standard_streams_that_are_no_pipes_are_refused_in_words() {
    let output = Command::new(env!("CARGO_BIN_EXE_stdio"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("the standard input is no pipe"), "{words}");
}

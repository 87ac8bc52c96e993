//! The same calls over other streams of bytes, and over none.

use std::io;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use panpipe::{CallError, CloseReason, Peer, ServiceClient};
use panpipe_tests::probe::{Odd, Probe, ProbeClient, ProbeError, Prober};
use panpipe_transport::{anonymous, frame};
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

/// How a stream is used.
#[derive(Debug)]
enum Use {
    /// What has been read: nothing where there was nothing.
    Read(Vec<u8>),
    Write(Vec<u8>),
}

/// A stream that notes how it is used.
struct Noted {
    stream: DuplexStream,
    uses: Arc<Mutex<Vec<Use>>>,
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.uses.lock().unwrap().push(Use::Read(buf.filled()[before..].to_vec()));
        read
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.uses.lock().unwrap().push(Use::Write(bytes[..n].to_vec()));
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
        assert!(i == 0 || matches!(uses.first(), Some(Use::Write(_))), "call {i}: {uses:?}");
    }
    drop(probe);
    assert_eq!(server.await.unwrap(), CloseReason::Closed);
}

/// What passes one way.
#[derive(Default)]
struct Frames {
    /// How much of the first bytes has passed, which are no frame.
    magic: usize,
    /// What has passed of a frame that is not whole.
    begun: Vec<u8>,
}

impl Frames {
    /// The kinds of the frames that begin in these bytes.
    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        const MAGIC: usize = 8;
        let skipped = bytes.len().min(MAGIC - self.magic);
        self.magic += skipped;
        let mut kinds = Vec::new();
        for byte in &bytes[skipped..] {
            self.begun.push(*byte);
            if self.begun.len() == frame::HEAD + 1 {
                kinds.push(*byte);
            }
            if frame::split(&self.begun, usize::MAX).unwrap().is_some() {
                self.begun.clear();
            }
        }
        kinds
    }
}

/// The caller that has its reply calls again: bulk that went out before that would be in
/// the call's way.
#[tokio::test]
async fn bulk_waits_until_the_caller_that_has_its_reply_has_had_its_turn() {
    const CALL: u8 = 3;
    const REPLY: u8 = 5;
    const PART: u8 = 13;
    let (one, other) = tokio::io::duplex(1 << 13);
    let server = tokio::spawn(panpipe::serve_stream(other, Prober::default().serve()));
    let uses = Arc::<Mutex<Vec<_>>>::default();
    let probe = ProbeClient::over(Noted { stream: one, uses: Arc::clone(&uses) });
    assert_eq!(probe.add(1, 2).await, Ok(3));
    let bulk = tokio::spawn({
        let probe = probe.clone();
        async move { probe.echo(vec![5; 8 << 20]).await.map(|bytes| bytes.len()) }
    });
    for i in 0..100 {
        assert_eq!(probe.add(i, 2).await, Ok(i + 2));
    }
    assert!(!bulk.is_finished());
    let (mut read, mut written) = (Frames::default(), Frames::default());
    // How many parts have begun since a reply came, and before each next call.
    let (mut parts, mut between) = (None, Vec::new());
    for used in uses.lock().unwrap().iter() {
        match used {
            Use::Read(bytes) if read.pass(bytes).contains(&REPLY) => parts = Some(0),
            Use::Read(_) => {}
            Use::Write(bytes) => {
                for kind in written.pass(bytes) {
                    match kind {
                        PART => parts = parts.map(|parts| parts + 1),
                        CALL => between.extend(parts.take()),
                        _ => {}
                    }
                }
            }
        }
    }
    assert_eq!(between.len(), 100);
    // One was queued already when the reply came.
    assert!(between.iter().all(|parts| *parts <= 1), "{between:?} parts went out before the next calls");
    bulk.abort();
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

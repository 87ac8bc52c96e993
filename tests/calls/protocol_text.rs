//! PROTOCOL.md's own example, byte by byte.

use std::os::unix::net::UnixStream;

use futures::StreamExt;
use panpipe::{Metadata, Streaming};
use panpipe_tests::raw::{self, Raw};
use serde::{Deserialize, Serialize};

/// The service of the example.
#[panpipe::service]
pub trait Echo {
    /// Gives its argument back.
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8>;
}

struct Echoes;

impl Echo for Echoes {
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
}

/// The bytes of a block of the text: what stands before two spaces on each line.
fn example(side: &str) -> Vec<u8> {
    let text = include_str!("../../PROTOCOL.md");
    let (_, block) = text.split_once(&format!("```{side}\n")).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let hex = block.lines().flat_map(|line| line[..30].split_whitespace());
    hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// The service of the example of a stream.
#[panpipe::service]
pub trait Numbers {
    /// The numbers below this one.
    async fn up_to(&self, end: u32) -> Streaming<u32>;
}

struct Maths;

impl Numbers for Maths {
    async fn up_to(&self, end: u32) -> Streaming<u32> {
        Streaming::new(futures::stream::iter(0..end))
    }
}

/// The service of the example of a record.
#[panpipe::service]
pub trait Log {
    /// One more line.
    #[oneway]
    async fn line(&self, level: u8, text: String);
}

struct Heard(tokio::sync::mpsc::UnboundedSender<(u8, String)>);

impl Log for Heard {
    async fn line(&self, level: u8, text: String) {
        self.0.send((level, text)).unwrap();
    }
}

#[tokio::test]
async fn a_one_way_client_writes_the_record_of_the_text_and_its_reader_reads_it() {
    let record = example("record");
    let (write, mut read) = tokio::io::duplex(4096);
    let log: LogClient = panpipe::oneway::over(write);
    log.line(2, "hi".to_owned()).await.unwrap();
    drop(log);
    let mut written = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut read, &mut written).await.unwrap();
    assert_eq!(written, record);
    let (heard, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let totals = panpipe::oneway::serve_reader(&record[..], Heard(heard).serve()).await.unwrap();
    assert_eq!((totals.records, totals.damaged, totals.noise_bytes), (1, 0, 0));
    assert_eq!(lines.recv().await, Some((2, "hi".to_owned())));
    // The tests' own peer, which shares no code with it, writes the same.
    let args = [&[2][..], &raw::block(b"hi")].concat();
    assert_eq!(raw::record("Log", 1, 1, "oneway line(u8,String)", &args), record);
}

fn read_exactly(raw: &mut Raw, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    std::io::Read::read_exact(&mut raw.socket, &mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

fn pair() -> (tokio::net::UnixStream, Raw) {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    (tokio::net::UnixStream::from_std(one).unwrap(), Raw::over(other))
}

#[tokio::test]
async fn a_client_sends_the_bytes_of_the_text_and_takes_its_answer() {
    let (stream, mut raw) = pair();
    let call = tokio::spawn(EchoClient::over(stream).echo(b"hi".to_vec()));
    tokio::task::spawn_blocking(move || {
        read_exactly(&mut raw, &example("dialer"));
        raw.send(&example("acceptor"));
    })
    .await
    .unwrap();
    assert_eq!(call.await.unwrap(), Ok(b"hi".to_vec()));
}

#[tokio::test]
async fn a_server_answers_the_bytes_of_the_text_with_those_of_the_text() {
    let (stream, mut raw) = pair();
    tokio::spawn(panpipe::serve_stream(stream, Echoes.serve()));
    tokio::task::spawn_blocking(move || {
        raw.send(&example("dialer"));
        read_exactly(&mut raw, &example("acceptor"));
    })
    .await
    .unwrap();
}

/// Echoes by way of another, in the trace of the text.
struct Forwarding {
    to: EchoClient,
}

impl Echo for Forwarding {
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        let trace = panpipe::call::trace().map(|trace| trace.to_string());
        assert_eq!(trace.as_deref(), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        self.to.echo(bytes).await.unwrap()
    }
}

#[tokio::test]
async fn a_trace_comes_and_goes_in_the_bytes_of_the_text() {
    let ((served, mut caller), (called, mut server)) = (pair(), pair());
    tokio::spawn(panpipe::serve_stream(served, Forwarding { to: EchoClient::over(called) }.serve()));
    tokio::task::spawn_blocking(move || {
        caller.send(raw::MAGIC);
        caller.send(&raw::hello("Echo", 1));
        caller.send(&example("traced"));
        server.expect_magic();
        assert_eq!(server.frame().kind, raw::kind::HELLO);
        let answer = example("acceptor");
        server.send(&answer[..answer.len() - 18]);
        read_exactly(&mut server, &example("traced"));
        server.send(&answer[answer.len() - 18..]);
        caller.expect_magic();
        assert_eq!(caller.frame().kind, raw::kind::HELLO);
        read_exactly(&mut caller, &answer[answer.len() - 18..]);
    })
    .await
    .unwrap();
}

/// The metadata of the text.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tenant {
    id: u64,
}

impl Metadata for Tenant {
    const NAME: &'static str = "tenant";
}

/// Echoes what a call with the metadata of the text brings.
struct OfTenant;

impl Echo for OfTenant {
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        assert_eq!(panpipe::call::metadata(), Ok(Some(Tenant { id: 7 })));
        bytes
    }
}

#[tokio::test]
async fn metadata_go_in_the_bytes_of_the_text() {
    let (stream, mut raw) = pair();
    let call = EchoClient::over(stream).with_metadata(&Tenant { id: 7 }).echo(b"hi".to_vec());
    let call = tokio::spawn(call);
    tokio::task::spawn_blocking(move || {
        raw.expect_magic();
        assert_eq!(raw.frame().kind, raw::kind::HELLO);
        let answer = example("acceptor");
        raw.send(&answer[..answer.len() - 18]);
        read_exactly(&mut raw, &example("metadata"));
        raw.send(&answer[answer.len() - 18..]);
    })
    .await
    .unwrap();
    assert_eq!(call.await.unwrap(), Ok(b"hi".to_vec()));
}

#[tokio::test]
async fn metadata_come_in_the_bytes_of_the_text() {
    let (stream, mut raw) = pair();
    tokio::spawn(panpipe::serve_stream(stream, OfTenant.serve()));
    tokio::task::spawn_blocking(move || {
        raw.send(raw::MAGIC);
        raw.send(&raw::hello("Echo", 1));
        raw.send(&example("metadata"));
        raw.expect_magic();
        assert_eq!(raw.frame().kind, raw::kind::HELLO);
        let answer = example("acceptor");
        read_exactly(&mut raw, &answer[answer.len() - 18..]);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_reads_the_stream_of_the_text() {
    let (stream, mut raw) = pair();
    let call = tokio::spawn(NumbersClient::over(stream).up_to(2));
    let rest = tokio::task::spawn_blocking(move || {
        raw.expect_magic();
        assert_eq!(raw.frame().kind, raw::kind::HELLO);
        read_exactly(&mut raw, &example("caller"));
        raw.send(raw::MAGIC);
        raw.send(&raw::server_hello("Numbers"));
        raw.send(&example("writer"));
        raw
    });
    let numbers: Vec<_> = call.await.unwrap().unwrap().collect().await;
    assert_eq!(numbers, [Ok(0), Ok(1)]);
    let mut raw = rest.await.unwrap();
    tokio::task::spawn_blocking(move || read_exactly(&mut raw, &example("reader"))).await.unwrap();
}

#[tokio::test]
async fn a_server_writes_the_stream_of_the_text() {
    let (stream, mut raw) = pair();
    tokio::spawn(panpipe::serve_stream(stream, Maths.serve()));
    tokio::task::spawn_blocking(move || {
        raw.send(raw::MAGIC);
        raw.send(&raw::hello_with_ports("Numbers", 1));
        raw.expect_magic();
        assert_eq!(raw.frame().kind, raw::kind::HELLO);
        raw.send(&example("caller"));
        read_exactly(&mut raw, &example("writer"));
        raw.send(&example("reader"));
        // The port is free: the next stream has the same one.
        raw.send(&example("caller"));
        read_exactly(&mut raw, &example("writer"));
    })
    .await
    .unwrap();
}

//! PROTOCOL.md's own example, byte by byte.

use std::os::unix::net::UnixStream;

use panpipe_tests::raw::Raw;

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

//! Proofs 5 and 6: small messages that claim to be enormous.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use panpipe_tests::counting::peak_of;
use panpipe_tests::{at_most, is_full};
use panpipe_transport::codec::{Bincode, Codec, DecodeError, Json, MessagePack, Postcard};
use serde::de::DeserializeOwned;

/// Decodes; the error must come soon, and little must have been reserved.
fn refused<T: DeserializeOwned>(what: &str, codec: &impl Codec, message: &[u8]) {
    let start = Instant::now();
    let (result, peak): (Result<T, DecodeError>, usize) = peak_of(|| codec.decode(message));
    let took = start.elapsed();
    assert!(result.is_err(), "{what} was decoded");
    assert!(peak <= message.len() + (1 << 20), "{what}: {peak} bytes were reserved");
    let most = if is_full() { Duration::from_millis(10) } else { at_most(Duration::from_millis(10)) };
    assert!(took < most, "{what}: {took:?}");
}

fn all_types(what: &str, codec: &impl Codec, message: &[u8]) {
    refused::<String>(&format!("{what}, a string"), codec, message);
    refused::<Vec<u64>>(&format!("{what}, numbers"), codec, message);
    refused::<Vec<u8>>(&format!("{what}, bytes"), codec, message);
    refused::<Vec<String>>(&format!("{what}, strings"), codec, message);
    refused::<Vec<Vec<Vec<[u64; 16]>>>>(&format!("{what}, lists of lists"), codec, message);
    refused::<BTreeMap<u64, u64>>(&format!("{what}, a map"), codec, message);
    refused::<Vec<()>>(&format!("{what}, nothings"), codec, message);
}

#[test]
fn proof_05_a_length_that_is_a_lie_is_an_error_and_costs_nothing() {
    for rest in [0, 5, 100] {
        let rest = vec![0xff; rest];
        let bincode = [&u64::MAX.to_le_bytes()[..], &rest].concat();
        all_types("bincode", &Bincode, &bincode);
        let half = [&(u64::MAX / 2).to_le_bytes()[..], &rest].concat();
        all_types("bincode, half of it", &Bincode, &half);
        let postcard = [&[0xff; 9][..], &[1], &rest].concat();
        all_types("postcard", &Postcard, &postcard);
        for head in [0xdb, 0xdd, 0xdf, 0xc6] {
            let messagepack = [&[head, 0xff, 0xff, 0xff, 0xff][..], &rest].concat();
            all_types(&format!("MessagePack {head:x}"), &MessagePack, &messagepack);
        }
    }
}

#[test]
fn proof_05_nothings_are_counted_too() {
    // 2^64 - 1 of what takes no bytes; JSON has to write each one out.
    let million = [&1_000_000u64.to_le_bytes()[..]].concat();
    refused::<Vec<()>>("bincode, a million nothings", &Bincode, &million);
    let long = format!("[{}null]", "null,".repeat(100_000));
    assert!(Json.decode::<Vec<()>>(long.as_bytes()).is_ok());
    let many = Bincode.decode::<Vec<()>>(&60_000u64.to_le_bytes());
    assert_eq!(many.map(|many| many.len()), Ok(60_000));
}

/// Decodes a message that is all elements of one byte each, and as many as fit into the limit or
/// all of them. In memory a list that grows has room for at most twice its elements.
fn bounded<T: DeserializeOwned>(what: &str, codec: &impl Codec, message: &[u8], is_decoded: bool) {
    let (result, peak): (Result<T, DecodeError>, usize) = peak_of(|| codec.decode(message));
    let most = 2 * (16 * message.len() + (16 << 20));
    println!("{what}: {} bytes, {peak} in memory, decoded: {}", message.len(), result.is_ok());
    assert_eq!(result.is_ok(), is_decoded, "{what}: {:?}", result.err());
    assert!(peak <= most, "{what}: {peak} bytes for a message of {}", message.len());
}

#[test]
fn elements_that_are_larger_in_memory_than_in_the_message_are_bounded_by_the_message() {
    /// One byte in a message, and 136 in memory.
    type Wide = Option<[u64; 16]>;
    for len in [1 << 10, 100 << 10, 1 << 20, 4 << 20] {
        let nothings = vec![0; len];
        let bincode = [&(len as u64).to_le_bytes()[..], &nothings].concat();
        let mut head = Vec::new();
        let mut left = len;
        while left >= 0x80 {
            head.push(left as u8 | 0x80);
            left >>= 7;
        }
        head.push(left as u8);
        let postcard = [head, nothings].concat();
        // As much fits as 16 times the message and 16 MiB.
        let fits = |size: usize| len * size <= 16 * len + (16 << 20);
        bounded::<Vec<Wide>>("bincode, options", &Bincode, &bincode, fits(size_of::<Wide>()));
        bounded::<Vec<Wide>>("postcard, options", &Postcard, &postcard, fits(size_of::<Wide>()));
        bounded::<Vec<String>>("postcard, empty texts", &Postcard, &postcard, fits(size_of::<String>()));
    }
}

#[test]
fn proof_06_a_value_nested_a_million_deep_is_an_error() {
    for codec in ["bincode", "postcard", "messagepack", "json"] {
        let message = match codec {
            "bincode" => [1, 0, 0, 0].repeat(1_000_000),
            "postcard" => vec![1; 1_000_000],
            // A map of one entry, the variant's name or number, around the next.
            "messagepack" => [0x81, 0xa6, b'A', b'r', b'o', b'u', b'n', b'd'].repeat(1_000_000),
            _ => b"{\"Around\":".repeat(1_000_000),
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_decode"))
            .arg(codec)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&message).unwrap();
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{codec}: {}", output.status);
        assert!(words.contains("deep") || words.contains("recursion"), "{codec}: {words}");
    }
}

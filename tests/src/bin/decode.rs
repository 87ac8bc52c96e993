//! Decodes what comes in as a nested value and prints the error: `decode CODEC`.

use std::io::Read;

use panpipe_tests::probe::Nested;
use panpipe_transport::codec::{Bincode, Codec, Json, MessagePack, Postcard};

fn main() {
    let codec = std::env::args().nth(1).expect("decode CODEC");
    let mut message = Vec::new();
    std::io::stdin().read_to_end(&mut message).expect("the message can be read");
    let decoded = match codec.as_str() {
        "bincode" => Bincode.decode::<Nested>(&message),
        "postcard" => Postcard.decode(&message),
        "messagepack" => MessagePack.decode(&message),
        "json" => Json.decode(&message),
        other => panic!("{other} is no codec"),
    };
    println!("{}", decoded.map(|_| "decoded").unwrap_or_else(|error| error.0.leak()));
}

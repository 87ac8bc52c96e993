//! Peers that break the rules of ports and of parts: each is told what it did, in
//! words, and nobody else notices.

use panpipe_tests::raw::{self, Raw, kind, port_frame, stream, varint};
use panpipe_tests::studio::StudioClient;
use panpipe_tests::{PATIENCE, eventually, system};

use crate::common::{nothing_is_left, studio};

/// The frame by which a writer says that its item waits for those of others.
const WAIT: u8 = 16;

const HOLD: &str = "hold(Streaming<Block>)->()";
const SUM: &str = "sum(Streaming<u64>)->Result<u64,String>";

/// The call of a method with one stream, port 1.
fn open(id: u64, signature: &str) -> Vec<u8> {
    raw::carrying_call(id, signature, &[0; 4], &[stream(1)])
}

fn item(port: u64, len: usize) -> Vec<u8> {
    port_frame(kind::ITEM, port, 0, &raw::block(&vec![7; len]))
}

fn credit(port: u64, items: u64, bytes: u64, large: u64) -> Vec<u8> {
    port_frame(kind::CREDIT, port, 0, &[varint(items), varint(bytes), varint(large)].concat())
}

/// Says it to a studio, and gives the words with which that closes the connection.
fn closed_with(name: &str, bytes: &[u8]) -> String {
    let mut raw = Raw::greeted_with_ports(name, "Studio");
    raw.send(bytes);
    let frames = raw.to_the_end();
    let last = frames.last().expect("a close comes before the end");
    assert_eq!(last.kind, kind::CLOSE, "{frames:?}");
    last.words()
}

async fn still_serves(studio: &StudioClient) {
    assert_eq!(studio.echo(1).await, Ok(1));
    nothing_is_left(studio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_rules_closes_its_connection_with_a_reason() {
    let (_server, name, studio) = studio(&["max_ports=8", "max_message=1000000"]).await;
    let many_items = [open(0, HOLD), item(1, 1).repeat(1025)].concat();
    let many_bytes = [open(0, HOLD), item(1, 100_000).repeat(3)].concat();
    let large = [open(0, HOLD), item(1, 200_000).repeat(2)].concat();
    let list = |list: &[u8]| {
        let body = [&raw::method(SUM).to_le_bytes()[..], &[0, 0, 0, 0, 0], list].concat();
        raw::frame(kind::CALL | kind::CARRIES, 0, &body)
    };
    let part = |kind, transfer, body: &[u8]| raw::frame(kind, transfer, body);
    let inner_hello = &raw::hello("Studio", 1)[4..];
    let end = port_frame(kind::END, 1, 0, &[0]);
    let cases: [(&str, Vec<u8>, &str); 23] = [
        ("more items than credit", many_items, "no credit"),
        ("more bytes than credit", many_bytes, "no credit"),
        ("two large items", large, "no credit"),
        ("an item for no port", item(1, 1), "no open stream"),
        ("an item after the end", [open(0, HOLD), end.clone(), item(1, 1)].concat(), "no open stream"),
        ("an end for no port", end.clone(), "not open"),
        ("two ends", [open(0, HOLD), end.repeat(2)].concat(), "twice"),
        ("an unknown end", [open(0, HOLD), port_frame(kind::END, 1, 0, &[77])].concat(), "cannot be read"),
        ("a port twice", [open(0, HOLD), open(1, HOLD)].concat(), "in use"),
        ("the server's number", raw::carrying_call(0, SUM, &[0; 4], &[stream(2)]), "not its opener's"),
        ("port nought", raw::carrying_call(0, SUM, &[0; 4], &[stream(0)]), "not its opener's"),
        ("a number too high", raw::carrying_call(0, SUM, &[0; 4], &[stream(17)]), "more ports"),
        ("an unknown kind of port", raw::carrying_call(0, SUM, &[0; 4], &[vec![9, 1]]), "cannot be read"),
        ("a list longer than its message", list(&[255, 0, 0, 0]), "cannot be read"),
        (
            "a message shorter than its list",
            raw::frame(kind::CALL | kind::CARRIES, 0, &[1, 2]),
            "cannot be read",
        ),
        ("ports with a cancel", raw::frame(kind::CANCEL | kind::CARRIES, 0, &[0; 4]), "carries none"),
        ("credit for no port", credit(1, 1, 1, 0), "no open stream"),
        ("credit from a writer", [open(0, HOLD), credit(1, 1, 1, 0)].concat(), "no open stream"),
        ("a stop from a writer", [open(0, HOLD), port_frame(kind::STOP, 1, 0, &[])].concat(), "wrong side"),
        ("a call of a stream", [open(0, HOLD), port_frame(kind::CALL, 1, 1, &[0; 9])].concat(), "not open"),
        ("an abort of nothing", part(kind::ABORT, 0, &[]), "had not begun"),
        ("a transfer too many", part(kind::PART, 4, &[1]), "more messages"),
        ("a hello in parts", part(kind::LAST_PART, 0, inner_hello), "short"),
    ];
    for (what, bytes, words) in cases {
        let closed = tokio::task::block_in_place(|| closed_with(&name, &bytes));
        assert!(closed.contains(words), "{what}: {closed}");
    }
    still_serves(&studio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_too_much_and_parts_without_end_take_no_memory() {
    let (server, name, studio) = studio(&["max_message=1000000"]).await;
    assert_eq!(studio.echo(1).await, Ok(1));
    let before = system::rss_kib(server.id());
    let too_much = raw::frame(kind::PART, 0, &[7; 400_000]).repeat(3);
    let closed = tokio::task::block_in_place(|| closed_with(&name, &too_much));
    assert!(closed.contains("over the limit"), "{closed}");
    // A byte at a time is slow, and no more than that.
    let call = raw::call(0, "echo(u64)->u64", 0, &9u64.to_le_bytes());
    let bytes: Vec<u8> = call[4..].iter().flat_map(|byte| raw::frame(kind::PART, 2, &[*byte])).collect();
    let reply = tokio::task::block_in_place(|| {
        let mut raw = Raw::greeted_with_ports(&name, "Studio");
        raw.send(&bytes);
        raw.send(&raw::frame(kind::LAST_PART, 2, &[]));
        raw.frame()
    });
    assert_eq!((reply.kind, &reply.body[..]), (kind::REPLY, &[0, 9, 0, 0, 0, 0, 0, 0, 0][..]));
    // Begun and given up, over and over.
    tokio::task::block_in_place(|| {
        let mut raw = Raw::greeted_with_ports(&name, "Studio");
        for _ in 0..1000 {
            raw.send(&raw::frame(kind::PART, 1, &[7; 10_000]));
            raw.send(&raw::frame(kind::ABORT, 1, &[]));
        }
        raw.send(&raw::call(0, "echo(u64)->u64", 0, &9u64.to_le_bytes()));
        assert_eq!(raw.frame().kind, kind::REPLY);
    });
    let grown = system::rss_kib(server.id()).saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB");
    still_serves(&studio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_items_hold_little_memory_however_they_come() {
    let (server, name, studio) = studio(&["max_message=4000000"]).await;
    assert_eq!(studio.echo(1).await, Ok(1));
    let before = system::rss_kib(server.id());
    tokio::task::block_in_place(|| {
        let mut raw = Raw::greeted_with_ports(&name, "Studio");
        // A stream that is not read.
        raw.send(&raw::carrying_call(0, "hold(Streaming<Block>)->()", &[0; 4], &[stream(1)]));
        // A large message of no use, whose buffer is free again; then a small item in a
        // part of its own, which is not to take that buffer.
        let large = [&[kind::ONEWAY, 0, 0][..], &vec![0; 1 << 20]].concat();
        let small = [&[kind::ITEM, 1, 0][..], &[1; 20]].concat();
        for _ in 0..200 {
            for part in large.chunks(100_000) {
                raw.send(&raw::frame(kind::PART, 0, part));
            }
            raw.send(&raw::frame(kind::LAST_PART, 0, &[]));
            raw.send(&raw::frame(kind::LAST_PART, 1, &small));
        }
        raw.send(&raw::call(1, "echo(u64)->u64", 0, &9u64.to_le_bytes()));
        let reply = raw.frame();
        assert_eq!((reply.kind, reply.id, reply.body[0]), (kind::REPLY, 1, 0));
    });
    let grown = system::rss_kib(server.id()).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    still_serves(&studio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_whose_ports_are_wrong_fails_its_call_and_the_ports_are_given_up() {
    let (_server, name, studio) = studio(&[]).await;
    let shelf = "sum_shelf(Shelf)->Result<u64,String>";
    // A struct of a stream, a list of one, and the first variant with no text: the
    // second names the first's port again.
    let twice = [&[0; 4][..], &1u64.to_le_bytes(), &[0; 4], &[0; 4], &[0; 8]].concat();
    let cases: [(&str, Vec<u8>); 4] = [
        ("a place that is not in the list", raw::carrying_call(0, SUM, &7u32.to_le_bytes(), &[stream(1)])),
        ("a port of another kind", raw::carrying_call(0, SUM, &[0; 4], &[vec![3, 1]])),
        ("a port twice", raw::carrying_call(0, shelf, &twice, &[stream(1)])),
        ("a method that is not there", raw::carrying_call(0, "no()->()", &[0; 4], &[stream(1)])),
    ];
    for (what, call) in cases {
        tokio::task::block_in_place(|| {
            let mut raw = Raw::greeted_with_ports(&name, "Studio");
            raw.send(&call);
            let (one, other) = (raw.frame(), raw.frame());
            let (stop, reply) = if one.kind == kind::STOP { (one, other) } else { (other, one) };
            assert_eq!((stop.kind, stop.port), (kind::STOP, 1), "{what}");
            // 8: Malformed. 7: UnknownMethod.
            assert!(reply.kind == kind::REPLY && matches!(reply.body[0], 7 | 8), "{what}: {reply:?}");
            // Its writer says its last word, the number is free, and all goes on.
            raw.send(&port_frame(kind::END, 1, 0, &[0]));
            raw.send(&raw::carrying_call(1, SUM, &[0; 4], &[stream(1)]));
            raw.send(&port_frame(kind::ITEM, 1, 0, &5u64.to_le_bytes()));
            raw.send(&port_frame(kind::END, 1, 0, &[0]));
            let (one, other) = (raw.frame(), raw.frame());
            let reply = if one.kind == kind::REPLY { one } else { other };
            assert_eq!(reply.body, [0, 5, 0, 0, 0, 0, 0, 0, 0], "{what}");
        });
    }
    still_serves(&studio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_stream_at_every_byte_is_truncated() {
    let (_server, name, studio) = studio(&[]).await;
    let bytes = [open(0, HOLD), item(1, 3), raw::frame(kind::PART, 0, &[1, 2, 3])].concat();
    let whole: Vec<usize> = {
        let mut at = 0;
        std::iter::from_fn(|| {
            let len = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
            at += 4 + len;
            Some(at)
        })
        .collect()
    };
    for cut in (1..bytes.len()).filter(|cut| !whole.contains(cut)) {
        tokio::task::block_in_place(|| {
            let mut raw = Raw::greeted_with_ports(&name, "Studio");
            raw.send(&bytes[..cut]);
            raw.socket.shutdown(std::net::Shutdown::Write).unwrap();
            // The server drops what it had open, and closes.
            raw.to_the_end();
        });
    }
    eventually("nothing is held", PATIENCE, async || studio.alive().await.unwrap().0 == 0).await;
    still_serves(&studio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_allows_any_number_of_ports_gets_as_many_as_the_server_allows() {
    let (_server, name, studio) = studio(&["max_ports=8"]).await;
    tokio::task::block_in_place(|| {
        let mut raw = Raw::connect(&name);
        raw.send(raw::MAGIC);
        let limits = [varint(u64::from(u32::MAX)), varint(1024), varint(256 << 10), varint(32 << 20)];
        raw.send(&raw::frame(kind::HELLO, 0, &[&raw::hello("Studio", 1)[7..], &limits.concat()].concat()));
        raw.expect_magic();
        assert_eq!(raw.frame().kind, kind::HELLO);
        let opened = (0..20).filter(|&id| {
            raw.send(&raw::call(id, "endless()->Streaming<u64>", 0, &[]));
            let reply = std::iter::repeat_with(|| raw.frame())
                .find(|frame| frame.kind & !kind::CARRIES == kind::REPLY)
                .unwrap();
            reply.body[0] == 0
        });
        assert_eq!(opened.count(), 8);
    });
    still_serves(&studio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_that_overflows_closes_its_connection_and_no_other() {
    let (_server, name, studio) = studio(&[]).await;
    tokio::task::block_in_place(|| {
        let blocks = |id| {
            let args = [3u64.to_le_bytes(), 200_000u64.to_le_bytes()].concat();
            raw::call(id, "blocks(u64,usize)->Streaming<Block>", 0, &args)
        };
        let mut raw = Raw::connect(&name);
        raw.send(raw::MAGIC);
        // One large item takes all of the pool: the second stream's waits.
        let limits = [varint(512), varint(1024), varint(256 << 10), varint(1)];
        raw.send(&raw::frame(kind::HELLO, 0, &[&raw::hello("Studio", 1)[7..], &limits.concat()].concat()));
        raw.send(&[blocks(0), blocks(1)].concat());
        raw.expect_magic();
        let mut items = 0;
        let mut next = |raw: &mut Raw| {
            let frame = raw.frame();
            items += usize::from(frame.kind == kind::LAST_PART);
            (frame, items)
        };
        let waiting = std::iter::repeat_with(|| next(&mut raw).0).find(|frame| frame.kind == WAIT).unwrap();
        // Exempts its item, gives that back in two pieces, and then far more than was sent.
        raw.send(&credit(waiting.port, 0, 0, 0));
        while next(&mut raw).1 < 2 {}
        raw.send(&credit(waiting.port, 0, 0, 1));
        raw.send(&credit(waiting.port, 0, 0, 100_000));
        raw.send(&credit(waiting.port, u64::MAX, u64::MAX, u64::MAX));
        let frames = raw.to_the_end();
        let last = frames.last().expect("a close comes before the end");
        assert_eq!((last.kind, last.port), (kind::CLOSE, 0), "{last:?}");
        assert!(last.words().contains("more large items than were sent"), "{}", last.words());
    });
    still_serves(&studio).await;
}

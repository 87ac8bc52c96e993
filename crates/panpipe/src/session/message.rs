//! The messages of a session as bytes: kind, port, id, body. Pure functions.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use panpipe_transport::{frame, varint};

/// The first bytes of each direction. No JSON text and no header line of a
/// JSON-RPC peer can begin with 0x89.
pub(crate) const MAGIC: [u8; 8] = *b"\x89panpipe";

/// The version of the protocol, sent in every hello.
pub(crate) const PROTOCOL_VERSION: u64 = 1;

/// The port of the service that a connection was opened for.
pub(crate) const ROOT_PORT: u64 = 0;

/// The method of the root port that opens another service of the same side.
pub(crate) const OPEN: u64 = 0;

/// The id of a Goodbye that answers the peer's own.
pub(crate) const IN_RETURN: u64 = 1;
/// The method of the root port that is answered when all one-way calls that came
/// before it have been handed to their handlers.
pub(crate) const FLUSH: u64 = 1;

/// The method of the root port that no service has: a call of it asks whether the other side
/// answers.
pub(crate) const PING: u64 = u64::MAX;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Refuse = 2,
    Call = 3,
    Oneway = 4,
    Reply = 5,
    Cancel = 6,
    Goodbye = 7,
    Close = 8,
    Item = 9,
    End = 10,
    Credit = 11,
    Stop = 12,
    Part = 13,
    LastPart = 14,
    Abort = 15,
    Wait = 16,
    Ask = 17,
    Bypass = 18,
    Switch = 19,
}

/// The bit of a kind that says that the message carries ports: a trailer behind
/// the body lists them.
pub(crate) const CARRIES: u8 = 0x80;

/// The bit of a kind that says that the message belongs to a trace, which stands at
/// the beginning of its body. Only calls do.
pub(crate) const TRACED: u8 = 0x40;

/// The bit of a kind that says that metadata stand behind the body. Only calls have them.
pub(crate) const METADATA: u8 = 0x20;

/// The bits that only calls have.
const LABELS: u8 = TRACED | METADATA;

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Hello,
            2 => Kind::Refuse,
            3 => Kind::Call,
            4 => Kind::Oneway,
            5 => Kind::Reply,
            6 => Kind::Cancel,
            7 => Kind::Goodbye,
            8 => Kind::Close,
            9 => Kind::Item,
            10 => Kind::End,
            11 => Kind::Credit,
            12 => Kind::Stop,
            13 => Kind::Part,
            14 => Kind::LastPart,
            15 => Kind::Abort,
            16 => Kind::Wait,
            17 => Kind::Ask,
            18 => Kind::Bypass,
            19 => Kind::Switch,
            _ => return None,
        })
    }
}

/// How a call ended, the first byte of a reply's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Value = 0,
    AppError = 1,
    DeadlineExceeded = 2,
    Cancelled = 3,
    Panicked = 4,
    TooLarge = 5,
    Overloaded = 6,
    UnknownMethod = 7,
    Malformed = 8,
    NotRun = 9,
    Refused = 10,
    MetadataTooLarge = 11,
}

impl Status {
    pub(crate) fn from_byte(byte: u8) -> Option<Status> {
        Some(match byte {
            0 => Status::Value,
            1 => Status::AppError,
            2 => Status::DeadlineExceeded,
            3 => Status::Cancelled,
            4 => Status::Panicked,
            5 => Status::TooLarge,
            6 => Status::Overloaded,
            7 => Status::UnknownMethod,
            8 => Status::Malformed,
            9 => Status::NotRun,
            10 => Status::Refused,
            11 => Status::MetadataTooLarge,
            _ => return None,
        })
    }
}

/// A frame's header; `body` is where its body starts in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Whether a trailer lists ports that the message carries.
    pub(crate) carries: bool,
    /// Of a call: [`TRACED`], [`METADATA`], both, or 0.
    pub(crate) labels: u8,
    pub(crate) port: u64,
    pub(crate) id: u64,
    pub(crate) body: usize,
}

/// A whole frame of a kind that says all by itself.
pub(crate) const fn word(kind: Kind) -> [u8; frame::HEAD + 3] {
    let [a, b, c, d] = 3u32.to_le_bytes();
    [a, b, c, d, kind as u8, 0, 0]
}

/// Begins a frame at the end of `out`, with its header.
#[inline(always)]
pub(crate) fn begin_message(out: &mut Vec<u8>, kind: Kind, port: u64, id: u64) -> frame::Start {
    // Nearly all are short: one look at the room there is.
    if port < 0x80 && id < 0x80 {
        frame::begin_with(out, [0, 0, 0, 0, kind as u8, port as u8, id as u8])
    } else {
        begin_long(out, kind, port, id)
    }
}

#[cold]
fn begin_long(out: &mut Vec<u8>, kind: Kind, port: u64, id: u64) -> frame::Start {
    let start = frame::begin(out);
    put_header(out, kind, port, id);
    start
}

/// Appends a frame's header to `out`.
pub(crate) fn put_header(out: &mut Vec<u8>, kind: Kind, port: u64, id: u64) {
    out.push(kind as u8);
    varint::put(out, port);
    varint::put(out, id);
}

/// The kind of a message that belongs to a trace, or has metadata.
#[cold]
fn labelled_kind(kind: u8) -> Option<Kind> {
    Kind::from_byte(kind & !LABELS).filter(|kind| matches!(kind, Kind::Call | Kind::Oneway))
}

/// Reads the header of `frame`. Where it cannot be read [`unreadable`] says why: what every
/// message passes has to fit into registers.
#[inline(always)]
pub(crate) fn parse_header(frame: &[u8]) -> Option<Header> {
    let (&byte, mut rest) = frame.split_first()?;
    let (carries, byte) = (byte & CARRIES != 0, byte & !CARRIES);
    let (kind, labels) = match Kind::from_byte(byte) {
        Some(kind) => (kind, 0),
        None => (labelled_kind(byte)?, byte & LABELS),
    };
    let port = varint::take(&mut rest)?;
    let id = varint::take(&mut rest)?;
    Some(Header { kind, carries, labels, port, id, body: frame.len().saturating_sub(rest.len()) })
}

/// What is wrong with the header of `frame`.
#[cold]
pub(crate) fn unreadable(frame: &[u8]) -> String {
    let Some((&byte, mut rest)) = frame.split_first() else { return "a frame is empty".to_owned() };
    let kind = byte & !CARRIES;
    if Kind::from_byte(kind).is_none() && labelled_kind(kind).is_none() {
        return match Kind::from_byte(kind & !LABELS) {
            Some(_) => {
                format!("a frame is of kind {kind}: it belongs to a trace, or has metadata, and is no call")
            }
            None => format!("a frame is of unknown kind {kind}"),
        };
    }
    let part = if varint::take(&mut rest).is_none() { "port" } else { "id" };
    format!("a frame's {part} is not a varint")
}

/// Takes eight little-endian bytes off the front of `rest`.
#[inline]
pub(crate) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(u64::from_le_bytes(*bytes))
}

/// Takes a service's version off the front of `rest`.
pub(crate) fn take_version(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(varint::take(rest)?).ok()
}

/// Appends a string as its length and its UTF-8 bytes.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Takes a string off the front of `rest`, at most `max` bytes long.
pub(crate) fn take_str<'a>(rest: &mut &'a [u8], max: usize) -> Option<&'a str> {
    let len = usize::try_from(varint::take(rest)?).ok().filter(|&len| len <= max)?;
    let (text, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written() {
        let mut out = Vec::new();
        put_header(&mut out, Kind::Reply, 300, 7);
        out.extend_from_slice(b"body");
        let header = parse_header(&out).unwrap();
        assert_eq!((header.kind, header.port, header.id), (Kind::Reply, 300, 7));
        assert_eq!(&out[header.body..], b"body");
    }

    #[test]
    fn a_word_is_a_frame_without_a_body() {
        let mut out = Vec::new();
        let start = begin_message(&mut out, Kind::Switch, 0, 0);
        frame::finish(&mut out, start, 3).unwrap();
        assert_eq!(out, word(Kind::Switch));
    }

    #[test]
    fn a_broken_header_is_named() {
        for (frame, why) in [
            (&[][..], "empty"),
            (&[30, 0, 0], "30"),
            (&[TRACED | 5, 0, 0], "no call"),
            (&[METADATA | 9, 0, 0], "no call"),
            (&[3, 0x80], "port"),
            (&[3, 0], "id"),
        ] {
            assert_eq!(parse_header(frame), None);
            assert!(unreadable(frame).contains(why), "{}", unreadable(frame));
        }
    }

    #[test]
    fn calls_alone_carry_traces_and_metadata() {
        for byte in 0..=u8::MAX {
            let header = parse_header(&[byte, 0, 0]);
            match byte & !(CARRIES | LABELS) {
                3 | 4 => assert_eq!(header.unwrap().labels, byte & LABELS),
                1..=19 if byte & LABELS == 0 => assert_eq!(header.unwrap().labels, 0),
                _ => assert!(header.is_none()),
            }
        }
    }

    #[test]
    fn a_string_claim_is_checked_before_it_is_read() {
        let mut rest: &[u8] = &[200, 1, b'a'];
        assert_eq!(take_str(&mut rest, 64), None);
    }
}

//! Metadata of calls and of connections, byte by byte.

use panpipe_transport::varint;
use serde::{Deserialize, Serialize};

use super::*;
use crate::session::message::{METADATA, TRACED, put_str};
use crate::trace::TraceContext;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tenant(u64);

impl Metadata for Tenant {
    const NAME: &'static str = "tenant";
}

const TRACE: TraceContext = TraceContext { trace_id: 5, span_id: 6, sampled: true };

fn tenant() -> Labels {
    Labels { trace: None, metadata: Some(MetadataSet::with(None, &Tenant(7))) }
}

/// How many bytes the metadata of [`tenant`] have: a name, a digit, and their lengths.
const SIZE: usize = 1 + 6 + 1 + 1;

/// A call's body, as its caller encodes it.
fn body(labels: &Labels, args: &[u8]) -> EncodedMessage {
    message(|_, out| {
        out.extend_from_slice(args);
        if let Some(metadata) = &labels.metadata {
            metadata.put_behind(out)?;
        }
        Ok(None)
    })
}

fn call(
    side: &mut Side,
    labels: &Labels,
    key: &mut Option<usize>,
    args: &[u8],
) -> Poll<Result<(), CallError>> {
    let target = CallTarget { labels: Some(labels), ..CallTarget::new(0, 7) };
    unboxed(side.core.poll_call(key, target, None, || 0, &mut idle(), Some(&mut body(labels, args))))
}

/// The labels and the arguments of the last call that came.
fn asked(side: &Side, frame: &[u8]) -> (Option<Labels>, Vec<u8>) {
    let call = side.asked.last().unwrap();
    let labels = call.extras.as_ref().and_then(|extras| extras.labels.as_deref().cloned());
    (labels, call.args(frame).to_vec())
}

fn limits_of(max_metadata: usize) -> Limits {
    Limits { max_metadata, ..Limits::default() }
}

#[test]
fn metadata_stand_behind_the_arguments() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    assert_eq!(call(&mut ours, &tenant(), &mut None, b"args"), Poll::Ready(Ok(())));
    let sent = ours.sends();
    let mut expected = vec![Kind::Call as u8 | METADATA, 0, 0];
    expected.extend_from_slice(&7u64.to_le_bytes());
    expected.extend_from_slice(b"\x00args\x06tenant\x017\x09\x00\x00\x00");
    assert_eq!(&sent[frame::HEAD..], expected);
    theirs.hears(&sent);
    assert_eq!(asked(&theirs, &expected), (Some(tenant()), b"args".to_vec()));
}

#[test]
fn metadata_and_a_trace_travel_together_and_in_parts() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let labels = Labels { trace: Some(TRACE), ..tenant() };
    assert_eq!(call(&mut ours, &labels, &mut None, b"x"), Poll::Ready(Ok(())));
    let sent = ours.sends();
    assert_eq!(sent[frame::HEAD], Kind::Call as u8 | METADATA | TRACED);
    theirs.hears(&sent);
    assert_eq!(asked(&theirs, &sent[frame::HEAD..]), (Some(labels.clone()), b"x".to_vec()));
    let large = vec![9; limits::LARGE_MESSAGE];
    assert_eq!(call(&mut ours, &labels, &mut None, &large), Poll::Ready(Ok(())));
    theirs.hears(&ours.sends());
    let extras = theirs.asked[1].extras.as_ref().unwrap();
    assert_eq!(extras.labels.as_deref(), Some(&labels));
    let args = &theirs.asked[1].args;
    assert_eq!((args.end - args.start) as usize, large.len());
    // A call without labels has none.
    ours.started(b"x");
    theirs.hears(&ours.sends());
    assert!(theirs.asked[2].extras.is_none());
}

#[test]
fn a_one_way_call_carries_metadata() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let labels = tenant();
    let target = CallTarget { labels: Some(&labels), ..CallTarget::new(0, 7) };
    let mut message = body(&labels, b"x");
    assert!(ours.core.poll_oneway(target, || false, &mut None, &mut idle(), Some(&mut message)).is_ready());
    let sent = ours.sends();
    theirs.hears(&sent);
    assert_eq!(asked(&theirs, &sent[frame::HEAD..]), (Some(tenant()), b"x".to_vec()));
    assert_eq!(theirs.asked[0].oneway_cost(), (sent.len() - frame::HEAD) as u64 + limits::ONEWAY_COST);
}

#[test]
fn the_first_call_with_metadata_waits_for_the_peers_hello() {
    let (mut ours, mut theirs) =
        (Side::new(Role::Dialer, Limits::default()), Side::new(Role::Acceptor, limits_of(SIZE)));
    let mut key = None;
    assert!(call(&mut ours, &tenant(), &mut key, b"x").is_pending());
    let hello = ours.sends();
    assert_eq!(Side::kinds(&hello), [Kind::Hello]);
    theirs.hears(&hello);
    ours.hears(&theirs.sends());
    assert_eq!(call(&mut ours, &tenant(), &mut key, b"x"), Poll::Ready(Ok(())));
}

#[test]
fn a_sender_keeps_to_the_receivers_limit() {
    let (mut ours, mut theirs) = greeted(Limits::default(), limits_of(SIZE - 1));
    let failed = Err(CallError::MetadataTooLarge { size: SIZE as u64, limit: SIZE as u64 - 1 });
    assert_eq!(call(&mut ours, &tenant(), &mut None, b"x"), Poll::Ready(failed.clone()));
    let labels = tenant();
    let target = CallTarget { labels: Some(&labels), ..CallTarget::new(0, 7) };
    let mut message = body(&labels, b"x");
    let sent = ours.core.poll_oneway(target, || false, &mut None, &mut idle(), Some(&mut message));
    assert_eq!(sent, Poll::Ready(failed));
    // Nothing was sent, and the next call takes the same id.
    assert_eq!(ours.sends(), b"");
    ours.started(b"x");
    theirs.hears(&ours.sends());
    assert_eq!(theirs.asked.len(), 1);
}

#[test]
fn a_peer_that_accepts_none_or_knows_none_is_sent_none() {
    for is_older in [false, true] {
        let (mut ours, mut theirs) =
            (Side::new(Role::Dialer, Limits::default()), Side::new(Role::Acceptor, limits_of(0)));
        let mut key = None;
        assert!(call(&mut ours, &tenant(), &mut key, b"x").is_pending());
        theirs.hears(&ours.sends());
        let mut answer = theirs.sends();
        if is_older {
            // Its hello ends before the limit of metadata and their length.
            let hello = &mut answer[MAGIC.len()..];
            hello[0] -= 2;
            answer.truncate(answer.len() - 2);
        }
        ours.hears(&answer);
        let Poll::Ready(Err(CallError::Unsupported(why))) = call(&mut ours, &tenant(), &mut key, b"x") else {
            panic!("it has to fail")
        };
        assert!(why.contains("max_metadata") && why.contains("older"), "{why}");
        assert_eq!(ours.sends(), b"");
        // Calls without metadata go on.
        ours.started(b"x");
        theirs.hears(&ours.sends());
        assert_eq!(theirs.asked.len(), 1);
    }
}

/// A frame of a call with metadata, whatever they are.
fn raw_call(id: u8, kind: Kind, metadata: &[u8]) -> Vec<u8> {
    let mut body = vec![kind as u8 | METADATA, 0, id];
    body.extend_from_slice(&7u64.to_le_bytes());
    if kind == Kind::Call {
        body.push(0);
    }
    body.extend_from_slice(metadata);
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}

fn with_length(entries: &[u8]) -> Vec<u8> {
    [entries, &(entries.len() as u32).to_le_bytes()].concat()
}

#[test]
fn a_call_over_the_limit_is_told_apart_and_nothing_of_it_is_kept() {
    let (mut ours, mut theirs) = greeted(Limits::default(), limits_of(SIZE - 1));
    let metadata = with_length(tenant().metadata.unwrap().bytes());
    for kind in [Kind::Call, Kind::Oneway] {
        let id = 0;
        theirs.hears(&raw_call(id, kind, &metadata));
        let labels = theirs.asked.last().unwrap().extras.as_ref().unwrap().labels.clone().unwrap();
        assert_eq!(labels.metadata, Some(MetadataSet::OverLimit { size: SIZE, limit: SIZE - 1 }));
    }
    assert!(!theirs.core.is_over());
    drop(ours.sends());
}

#[test]
fn wrong_lengths_end_the_connection() {
    let mut long_name = Vec::new();
    put_str(&mut long_name, &"n".repeat(256));
    long_name.push(0);
    let mut long_value = Vec::new();
    put_str(&mut long_value, "name");
    varint::put(&mut long_value, u64::MAX);
    for metadata in [
        Vec::new(),
        vec![0, 0, 0],
        vec![1, 0, 0, 0],
        u32::MAX.to_le_bytes().to_vec(),
        // They reach into the head of the call.
        14u32.to_le_bytes().to_vec(),
        with_length(b"\x06tenant"),
        with_length(b"\x07tenant\x017"),
        with_length(b"\x06tenant\x027"),
        with_length(b"\x06tenant\x017\x00"),
        with_length(b"\x01\xff\x00"),
        with_length(&long_name),
        with_length(&long_value),
    ] {
        for kind in [Kind::Call, Kind::Oneway] {
            let (_ours, mut theirs) = greeted(Limits::default(), Limits::default());
            theirs.hears(&raw_call(0, kind, &metadata));
            let Some(CloseReason::Protocol(why)) = theirs.core.close_reason() else {
                panic!("{metadata:?} is let in")
            };
            assert!(why.contains("metadata") || why.contains("head of a call"), "{why}");
            assert!(theirs.asked.is_empty());
        }
    }
}

#[test]
fn metadata_count_towards_the_bytes_that_a_peer_may_have_running() {
    let limits = Limits { max_call_bytes: 100, ..Limits::default() };
    let (mut ours, mut theirs) = greeted(Limits::default(), limits);
    let labels = Labels { trace: None, metadata: Some(MetadataSet::with(None, &Tenant(u64::MAX))) };
    let mut keys = Vec::new();
    for _ in 0..4 {
        let mut key = None;
        // Some wait for the room that the others take.
        let _ = call(&mut ours, &labels, &mut key, b"");
        theirs.hears(&ours.sends());
        keys.push(key);
    }
    assert_eq!(theirs.asked.len(), 3);
    assert!(theirs.core.handlers.bytes() >= 100, "{}", theirs.core.handlers.bytes());
}

#[test]
fn both_hellos_carry_metadata_of_the_connection() {
    let given = |value| Some(MetadataSet::with(None, &Tenant(value)));
    let store = ServiceInfo::new("Store", 1);
    let mut ours = Side::with(Config { metadata: given(1), ..Config::dialer(store.clone()) });
    let acceptor = Config { offers: Arc::new(vec![store]), metadata: given(2), ..Config::acceptor() };
    let mut theirs = Side::with(acceptor);
    assert_eq!(ours.core.peer_metadata(), None);
    ours.started(b"");
    theirs.hears(&ours.sends());
    ours.hears(&theirs.sends());
    assert_eq!(theirs.core.peer_metadata(), given(1).as_ref());
    assert_eq!(ours.core.peer_metadata(), given(2).as_ref());
}

#[test]
fn a_connections_metadata_over_the_limit_are_not_kept() {
    let store = ServiceInfo::new("Store", 1);
    let metadata = Some(MetadataSet::with(None, &Tenant(7)));
    let mut ours = Side::with(Config { metadata, ..Config::dialer(store) });
    let mut theirs = Side::new(Role::Acceptor, limits_of(SIZE - 1));
    ours.started(b"");
    theirs.hears(&ours.sends());
    let kept = theirs.core.peer_metadata().unwrap();
    assert_eq!(kept, &MetadataSet::OverLimit { size: SIZE, limit: SIZE - 1 });
    assert!(theirs.core.is_open());
}

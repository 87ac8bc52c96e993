//! Calls, their ids, deadlines and ends.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::carried::{Apart, Cargo};
use crate::session::handlers::Stop;
use crate::session::message::{FLUSH, PING};
use crate::session::reply::{Failure, ReplyBody, parse};
use crate::trace::TraceContext;

fn calls(max_calls: u32) -> Limits {
    Limits { max_calls, ..Limits::default() }
}

#[test]
fn the_hello_goes_with_the_first_call_and_one_call_waits_for_its_answer() {
    let (mut ours, mut theirs) = pair(Limits::default(), Limits::default());
    assert!(ours.sends().is_empty());
    let mut first = ours.started(b"1");
    let (mut second, polled) = ours.call(b"2");
    assert!(polled.is_pending());
    let sent = ours.sends();
    assert_eq!(Side::kinds(&sent), [Kind::Hello, Kind::Call]);
    theirs.hears(&sent);
    assert_eq!(theirs.asked.len(), 1);
    assert!(theirs.answer(0, b"one"));
    let answer = theirs.sends();
    assert_eq!(Side::kinds(&answer), [Kind::Hello, Kind::Reply]);
    ours.hears(&answer);
    let Poll::Ready(Ok(reply)) = ours.reply(&mut first) else { panic!("no reply") };
    assert_eq!(parse(&reply), ReplyBody::Value(b"one"));
    assert_eq!(ours.again(&mut second, b"2"), Poll::Ready(Ok(())));
    assert_eq!(Side::kinds(&ours.sends()), [Kind::Call]);
}

#[test]
fn a_first_call_that_is_large_waits_for_the_peers_limit() {
    let (mut ours, mut theirs) = pair(Limits::default(), Limits::default());
    let large = vec![0; limits::FIRST_MESSAGE];
    let (mut key, polled) = ours.call(&large);
    assert!(polled.is_pending());
    let sent = ours.sends();
    assert_eq!(Side::kinds(&sent), [Kind::Hello]);
    theirs.hears(&sent);
    ours.hears(&theirs.sends());
    assert_eq!(ours.again(&mut key, &large), Poll::Ready(Ok(())));
    // And what is over the peer's own limit fails by its size, and leaves nothing.
    let small = Limits { max_message: 100_000, ..Limits::default() };
    let (mut ours, _) = greeted(Limits::default(), small);
    let (key, polled) = ours.call(&vec![0; 100_000]);
    assert!(matches!(polled, Poll::Ready(Err(CallError::TooLarge { limit: 100_000, .. }))), "{polled:?}");
    assert_eq!(key, None);
    assert!(ours.sends().is_empty());
}

#[test]
fn an_id_is_used_again_only_after_its_reply_a_dropped_calls_too() {
    let (mut ours, mut theirs) = greeted(Limits::default(), calls(2));
    let (dropped, mut kept) = (ours.started(b"a"), ours.started(b"b"));
    ours.core.drop_call(dropped.unwrap());
    let (mut third, polled) = ours.call(b"c");
    assert!(polled.is_pending(), "both ids are in use still");
    let sent = ours.sends();
    assert_eq!(Side::kinds(&sent), [Kind::Call, Kind::Call, Kind::Cancel]);
    theirs.hears(&sent);
    let ids: Vec<_> = theirs.asked.drain(..).map(|call| call.reply_to.unwrap()).collect();
    assert_eq!(theirs.core.poll_stop(ids[0], &mut idle()), Some(Stop::Cancelled));
    assert_eq!(theirs.core.poll_stop(ids[1], &mut idle()), None);
    theirs.core.fail(ids[0], Failure::Cancelled);
    ours.hears(&theirs.sends());
    assert_eq!(ours.again(&mut third, b"c"), Poll::Ready(Ok(())));
    theirs.hears(&ours.sends());
    assert_eq!(theirs.asked[0].reply_to.unwrap().id(), ids[0].id());
    // Whoever answers the first once more answers nobody.
    theirs.core.fail(ids[0], Failure::Panicked);
    // Each gets its own, in whatever order they come.
    assert!(theirs.answer(ids[0].id(), b"third"));
    assert!(theirs.answer(ids[1].id(), b"second"));
    ours.hears(&theirs.sends());
    for (key, value) in [(&mut kept, &b"second"[..]), (&mut third, b"third")] {
        let Poll::Ready(Ok(reply)) = ours.reply(key) else { panic!("no reply") };
        assert_eq!(parse(&reply), ReplyBody::Value(value));
    }
}

#[test]
fn a_deadline_ends_the_call_here_and_the_handler_there() {
    let (mut ours, mut theirs) = greeted(Limits::default(), calls(8));
    let left = Duration::from_millis(50);
    let (mut key, polled) = ours.call_by(Some(left), b"x");
    assert!(polled.is_ready());
    theirs.hears(&ours.sends());
    let deadline = theirs.asked[0].deadline.unwrap();
    assert_eq!(deadline, theirs.now + left);
    assert_eq!(theirs.core.next_timeout(), Some(deadline));
    theirs.core.on_timeout(deadline, &Peer::unknown());
    let call = theirs.asked[0].reply_to.unwrap();
    assert_eq!(theirs.core.poll_stop(call, &mut idle()), Some(Stop::DeadlineExceeded));
    assert!(ours.reply(&mut key).is_pending());
    ours.core.on_timeout(ours.now + left, &Peer::unknown());
    assert!(matches!(ours.reply(&mut key), Poll::Ready(Err(CallError::DeadlineExceeded))));
    assert_eq!(Side::kinds(&ours.sends()), [Kind::Cancel]);
    assert_eq!(ours.core.next_timeout(), None);
}

#[test]
fn an_absurd_deadline_off_the_wire_is_clamped() {
    let (mut ours, mut theirs) = greeted(Limits::default(), calls(8));
    let (_, polled) = ours.call_by(Some(Duration::from_secs(1)), b"x");
    assert!(polled.is_ready());
    let mut call = ours.sends();
    // The deadline stands after the head, 4 and 3, and the method, 8; it is one
    // second as a varint of three bytes, and becomes one of ten.
    let absurd = [[0xff; 9].as_slice(), &[1]].concat();
    call.splice(15..18, absurd);
    call[0] += 7;
    theirs.hears(&call);
    assert_eq!(theirs.asked[0].deadline, Some(theirs.now + limits::LONGEST_DEADLINE));
}

#[test]
fn sent_is_what_the_system_has_taken_to_the_last_byte() {
    let (mut ours, _theirs) = greeted(Limits::default(), calls(8));
    let mut keys = [(); 3].map(|()| ours.started(&[0; 100]));
    let frame = ours.core.outbox().pending().len() / 3;
    ours.core.outbox().advance(2 * frame - 1);
    ours.core.ended(CloseReason::Closed);
    for (key, sent) in keys.iter_mut().zip([true, false, false]) {
        let Poll::Ready(Err(error)) = ours.reply(key) else { panic!("no error") };
        assert_eq!(error, CallError::Disconnected { sent });
    }
    let (_, polled) = ours.call(b"later");
    assert_eq!(polled, Poll::Ready(Err(CallError::Disconnected { sent: false })));
}

#[test]
fn with_a_full_queue_calls_and_answers_wait_and_failures_are_kept() {
    let full = Limits { queued_bytes: 1000, ..Limits::default() };
    let (mut ours, mut theirs) = greeted(full.clone(), full);
    let mut keys: Vec<_> = (0..4).map(|_| ours.started(&[0; 200])).collect();
    theirs.hears(&ours.sends());
    assert!(theirs.answer(0, &[0; 1000]));
    assert!(!theirs.core.has_queue_room());
    assert!(!theirs.answer(1, b"later"));
    assert!(theirs.core.poll_queue_room(&mut idle()).is_pending());
    theirs.core.fail(theirs.call_of(2), Failure::Panicked);
    let sent = theirs.sends();
    assert_eq!(Side::kinds(&sent), [Kind::Reply], "the failure waited as well");
    ours.hears(&sent);
    assert!(theirs.answer(1, b"later"));
    ours.hears(&theirs.sends());
    assert!(ours.reply(&mut keys[1]).is_ready());
    let Poll::Ready(Ok(reply)) = ours.reply(&mut keys[2]) else { panic!("the failure was lost") };
    assert_eq!(parse(&reply), ReplyBody::Failed(CallError::Panicked));
    // A caller waits too, and its turn comes.
    assert_eq!(ours.call(&[0; 2000]).1, Poll::Ready(Ok(())));
    let (mut waiting, polled) = ours.call(b"x");
    assert!(polled.is_pending());
    theirs.hears(&ours.sends());
    assert_eq!(ours.again(&mut waiting, b"x"), Poll::Ready(Ok(())));
}

#[test]
fn who_says_nothing_is_dropped_and_who_has_nothing_to_say_says_hello() {
    let (mut ours, mut theirs) = pair(Limits::default(), Limits::default());
    let first = theirs.core.next_timeout().unwrap();
    assert_eq!(first, theirs.now + limits::HANDSHAKE_TIMEOUT);
    theirs.core.on_timeout(first, &Peer::unknown());
    assert_eq!(theirs.core.close_reason(), Some(&CloseReason::Protocol("no hello came in time".to_owned())));
    assert_eq!(Side::kinds(&theirs.sends()), [Kind::Close]);
    ours.core.on_timeout(ours.now + limits::HELLO_DELAY, &Peer::unknown());
    assert_eq!(Side::kinds(&ours.sends()), [Kind::Hello]);
}

#[test]
fn a_dialer_gives_up_an_acceptor_that_does_not_answer_its_hello() {
    let (mut ours, _) = pair(Limits::default(), Limits::default());
    let mut sent = ours.started(b"x");
    let (mut waiting, polled) = ours.call(b"y");
    assert!(polled.is_pending());
    let first = ours.core.next_timeout().unwrap();
    ours.core.on_timeout(first, &Peer::unknown());
    let then = ours.core.next_timeout().unwrap();
    assert_eq!(then, first + limits::HANDSHAKE_TIMEOUT);
    ours.core.on_timeout(then, &Peer::unknown());
    assert_eq!(ours.core.next_timeout(), None);
    let is_sent = |polled| match polled {
        Poll::Ready(Err(CallError::NoHello { within: limits::HANDSHAKE_TIMEOUT, sent, .. })) => Some(sent),
        _ => None,
    };
    assert_eq!(is_sent(ours.reply(&mut sent).map_ok(|_| ())), Some(true));
    assert_eq!(is_sent(ours.again(&mut waiting, b"y")), Some(false));
}

#[test]
fn no_timer_stands_once_both_hellos_have_passed() {
    let (ours, theirs) = greeted(Limits::default(), Limits::default());
    assert_eq!((ours.core.next_timeout(), theirs.core.next_timeout()), (None, None));
}

#[test]
fn calls_over_the_limit_are_answered_while_their_replies_are_read() {
    let limits = Limits { max_nested_calls: 0, ..calls(1) };
    let (mut ours, mut theirs) = greeted(Limits::default(), limits);
    ours.started(b"x");
    let call = ours.sends();
    theirs.hears(&call);
    // The same under an id that there is not; behind the regular one are those of Flush and of
    // the health check.
    let mut over = call.clone();
    over[6] = 3;
    theirs.hears(&over);
    assert_eq!(Side::kinds(&theirs.sends()), [Kind::Reply]);
    assert_eq!(theirs.core.close_reason(), None);
    // Under one that is in use.
    theirs.hears(&call);
    assert!(matches!(theirs.core.close_reason(), Some(CloseReason::Protocol(_))));
}

/// As it would be if a waker has panicked as it was, and somebody has caught that: the reply
/// to the first must not be another call's.
#[test]
#[should_panic(expected = "not started again")]
fn a_call_that_has_been_started_is_not_started_again() {
    let (mut ours, _) = greeted(Limits::default(), calls(8));
    let mut key = ours.started(b"once");
    let _ = ours.again(&mut key, b"twice");
}

#[test]
fn a_reply_that_nobody_waits_for_breaks_the_protocol() {
    let (mut ours, _) = greeted(Limits::default(), calls(8));
    let mut reply = Vec::new();
    let start = begin_message(&mut reply, Kind::Reply, ROOT_PORT, 5);
    put_status(&mut reply, true);
    frame::finish(&mut reply, start, 100).unwrap();
    ours.hears(&reply);
    assert!(matches!(ours.core.close_reason(), Some(CloseReason::Protocol(_))));
    assert_eq!(Side::kinds(&ours.sends()), [Kind::Close]);
    assert!(ours.core.is_finished());
}

#[test]
fn a_message_of_just_the_limit_arrives() {
    for max_message in [limits::LARGE_MESSAGE + 5000, limits::PART, limits::PART + 2] {
        let (mut ours, mut theirs) = greeted(Limits::default(), Limits { max_message, ..Limits::default() });
        // Kind, port, id, method, deadline.
        ours.started(&vec![7; max_message - 12]);
        theirs.hears(&ours.sends());
        assert_eq!((theirs.core.close_reason(), theirs.asked.len()), (None, 1));
    }
}

#[test]
fn who_waits_for_room_is_woken_when_large_calls_are_given_up() {
    let (mut ours, _) = greeted(Limits::default(), Limits::default());
    let large = vec![7; 3 << 20];
    let keys = [ours.started(&large), ours.started(&large)];
    assert!(
        ours.core
            .poll_oneway(
                CallTarget::new(0, 7),
                || false,
                &mut None,
                &mut idle(),
                Some(&mut message(|_, _| Ok(None)))
            )
            .is_pending()
    );
    for key in keys {
        ours.core.drop_call(key.unwrap());
    }
    assert!(!ours.core.has_unsent());
    assert_eq!(ours.core.aftermath().wakes.len(), 1);
}

#[test]
fn a_deadline_takes_nothing_from_a_reply_that_is_here() {
    let (mut ours, mut theirs) = greeted(Limits::default(), calls(8));
    let left = Duration::from_millis(50);
    let (mut key, _) = ours.call_by(Some(left), b"x");
    theirs.hears(&ours.sends());
    assert!(theirs.answer(theirs.asked[0].reply_to.unwrap().id(), b"in time"));
    ours.hears(&theirs.sends());
    ours.core.on_timeout(ours.now + left, &Peer::unknown());
    let Poll::Ready(Ok(reply)) = ours.reply(&mut key) else { panic!("the reply was lost") };
    assert_eq!(parse(&reply), ReplyBody::Value(b"in time"));
    assert!(ours.sends().is_empty());
}

/// A one-way call comes. Whether it is run now.
fn comes(core: &mut Core) -> bool {
    assert!(core.handlers.oneway_comes(10, 1000));
    core.admits_oneway(10)
}

#[test]
fn a_barrier_waits_for_the_one_way_calls_before_it_and_for_none_behind() {
    let (mut ours, mut theirs) = greeted(Limits::default(), calls(1));
    ours.started(b"");
    theirs.hears(&ours.sends());
    let barrier = theirs.asked.pop().unwrap().reply_to.unwrap();
    let core = &mut theirs.core;
    // One runs, two wait.
    assert_eq!([(); 3].map(|()| comes(core)), [true, false, false]);
    let (mut before, mut behind) = (None, None);
    assert!(core.poll_handed_on(7, &mut before, &mut idle()).is_pending());
    assert!(!comes(core));
    assert!(core.poll_handed_on(barrier.id(), &mut behind, &mut idle()).is_pending());
    for is_last in [false, true] {
        core.oneway_ended();
        assert!(core.starts_waiting_oneway(10));
        // It is with its handler when the driver says so, not before.
        assert!(core.poll_handed_on(7, &mut before, &mut idle()).is_pending());
        core.oneways_are_handed_on();
        assert_eq!(core.poll_handed_on(7, &mut before, &mut idle()).is_ready(), is_last);
    }
    assert!(core.poll_handed_on(barrier.id(), &mut behind, &mut idle()).is_pending());
    // Who gives up leaves no waker.
    core.settle(barrier);
    assert!(core.waiters.flush.is_empty());
}

#[test]
fn a_barrier_goes_behind_the_last_part_of_a_one_way_call() {
    let (mut ours, _) = greeted(Limits::default(), Limits::default());
    let mut oneway = |size: usize| {
        ours.core.poll_oneway(
            CallTarget::new(0, 7),
            || false,
            &mut None,
            &mut idle(),
            Some(&mut message(|_, out| {
                out.resize(out.len() + size, 0);
                Ok(None)
            })),
        )
    };
    // Its future is ready when its last part is queued.
    assert!(oneway(1 << 20).is_pending());
    let mut made = None;
    assert!(ours.core.poll_oneways_queued(&mut made, &mut idle()).is_pending());
    let kinds = Side::kinds(&ours.sends());
    assert_eq!(kinds.last(), Some(&Kind::LastPart));
    assert!(ours.core.poll_oneways_queued(&mut made, &mut idle()).is_ready());
}

/// A call of method 7 that belongs to a trace, and the trace.
fn traced_call(side: &mut Side, key: &mut Option<usize>, body: &[u8]) -> Poll<Result<(), CallError>> {
    let target = CallTarget { labels: Some(&TRACED), ..CallTarget::new(0, 7) };
    unboxed(side.core.poll_call(
        key,
        target,
        None,
        || 0,
        &mut idle(),
        Some(&mut message(|_, out| {
            out.extend_from_slice(body);
            Ok(None)
        })),
    ))
}

const TRACE: TraceContext = TraceContext { trace_id: 0x1234 << 64 | 5, span_id: 6, sampled: true };
const TRACED: Labels = Labels { trace: Some(TRACE), metadata: None };

/// What came with a call: its trace and its arguments.
fn asked(side: &Side, frame: &[u8]) -> (Option<TraceContext>, Vec<u8>) {
    let call = side.asked.last().unwrap();
    let trace = call.extras.as_ref().and_then(|extras| extras.labels.as_ref()?.trace);
    (trace, call.args(frame).to_vec())
}

#[test]
fn a_trace_goes_with_a_call_and_the_first_one_waits_until_it_is_known_to_be_taken() {
    let (mut ours, mut theirs) = pair(Limits::default(), Limits::default());
    let mut key = None;
    assert!(traced_call(&mut ours, &mut key, b"x").is_pending());
    let hello = ours.sends();
    assert_eq!(Side::kinds(&hello), [Kind::Hello]);
    theirs.hears(&hello);
    ours.hears(&theirs.sends());
    assert_eq!(traced_call(&mut ours, &mut key, b"x"), Poll::Ready(Ok(())));
    let sent = ours.sends();
    theirs.hears(&sent);
    assert_eq!(asked(&theirs, &sent[frame::HEAD..]), (Some(TRACE), b"x".to_vec()));
    assert_eq!(theirs.asked[0].method, 7);
    // One in parts has it too, and one without a trace has none.
    let large = vec![9; limits::LARGE_MESSAGE];
    assert_eq!(traced_call(&mut ours, &mut None, &large), Poll::Ready(Ok(())));
    theirs.hears(&ours.sends());
    assert_eq!(theirs.asked[1].extras.as_ref().unwrap().labels.as_deref(), Some(&TRACED));
    ours.started(b"x");
    theirs.hears(&ours.sends());
    assert!(theirs.asked[2].extras.is_none());
    // A one-way call has it, and the list of its ports behind it.
    let target = CallTarget { labels: Some(&TRACED), ..CallTarget::new(0, 7) };
    assert!(
        ours.core
            .poll_oneway(target, || false, &mut None, &mut idle(), Some(&mut message(|_, _| Ok(None))))
            .is_ready()
    );
    let sent = ours.sends();
    theirs.hears(&sent);
    assert_eq!(asked(&theirs, &sent[frame::HEAD..]), (Some(TRACE), Vec::new()));
}

#[test]
fn a_peer_that_takes_no_traces_gets_none() {
    let (mut ours, mut theirs) = pair(Limits::default(), Limits::default());
    theirs.core.hello.as_mut().unwrap().features = 0;
    let mut key = None;
    assert!(traced_call(&mut ours, &mut key, b"x").is_pending());
    theirs.hears(&ours.sends());
    ours.hears(&theirs.sends());
    assert_eq!(traced_call(&mut ours, &mut key, b"x"), Poll::Ready(Ok(())));
    let sent = ours.sends();
    theirs.hears(&sent);
    assert!(theirs.asked[0].extras.is_none());
    assert_eq!(asked(&theirs, &sent[frame::HEAD..]).1, b"x");
}

/// Answers the only call with blocks that stand apart among its own bytes. Gives all of
/// the answer.
fn answers_with_blocks(theirs: &mut Side, lens: &[usize]) -> Vec<u8> {
    let mut all = vec![0];
    let call = theirs.asked.pop().unwrap().reply_to.unwrap();
    let answer = &mut message(|_, out| {
        put_status(out, true);
        let mut cargo = Cargo::default();
        for (index, &len) in lens.iter().enumerate() {
            out.extend_from_slice(b"own");
            let block: Bytes = (0..len).map(|at| (at >> 8) as u8 ^ index as u8).collect();
            all.extend_from_slice(b"own");
            all.extend_from_slice(&block);
            cargo.apart.push(Apart { at: out.len(), block });
        }
        out.extend_from_slice(b"end");
        all.extend_from_slice(b"end");
        Ok(Some(Box::new(cargo)))
    });
    assert!(theirs.core.try_answer(call, answer));
    all
}

/// Notes when it is dropped.
struct Owner(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_block_is_dropped_outside_of_the_lock_when_it_is_out_given_up_or_lost() {
    for end in 0..4 {
        let (mut ours, _) = greeted(Limits::default(), Limits::default());
        let is_dropped = Arc::new(AtomicBool::new(false));
        let block = Bytes::from_owner(Owner(vec![7; 3 << 20], is_dropped.clone()));
        let mut key = None;
        let carry = |_, out: &mut Vec<u8>| {
            let apart = vec![Apart { at: out.len(), block: block.clone() }];
            Ok(Some(Box::new(Cargo { apart, ..Cargo::default() })))
        };
        let polled = ours.core.poll_call(
            &mut key,
            CallTarget::new(0, 7),
            None,
            || 0,
            &mut idle(),
            Some(&mut message(carry)),
        );
        assert!(polled.is_ready());
        drop(block);
        match end {
            // All of it is sent.
            0 => drop(ours.sends()),
            // The call is dropped before a part of it is sent, and between two.
            1 => ours.core.drop_call(key.unwrap()),
            2 => {
                ours.core.feed();
                ours.core.drop_call(key.unwrap());
                ours.sends();
            }
            _ => ours.core.ended(CloseReason::Closed),
        }
        assert!(!is_dropped.load(Ordering::SeqCst), "{end}");
        drop(ours.core.aftermath().ports.take());
        assert!(is_dropped.load(Ordering::SeqCst), "{end}");
    }
}

#[test]
fn blocks_that_stand_apart_come_in_their_place() {
    for lens in [&[limits::LARGE_MESSAGE][..], &[3 << 20], &[200_000, limits::PART, 300_000]] {
        let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
        // Alone in what goes out, and behind something.
        for before in [false, true] {
            let mut key = ours.started(b"");
            theirs.hears(&ours.sends());
            if before {
                theirs.core.put_frame(Kind::Cancel, 77, |_| ());
            }
            let all = answers_with_blocks(&mut theirs, lens);
            ours.hears(&theirs.sends());
            let Poll::Ready(Ok(reply)) = ours.reply(&mut key) else { panic!("the reply has come") };
            assert!(reply[..] == all[..], "{lens:?}");
        }
    }
}

#[test]
fn blocks_that_stand_apart_count_against_the_limit() {
    let block = 200_000;
    // The header, the status, and what stands around the block.
    let size = 3 + 1 + 6 + block;
    for (max_message, is_allowed) in [(size, true), (size - 1, false)] {
        let (mut ours, mut theirs) = greeted(Limits { max_message, ..Limits::default() }, Limits::default());
        let mut key = ours.started(b"");
        theirs.hears(&ours.sends());
        answers_with_blocks(&mut theirs, &[block]);
        ours.hears(&theirs.sends());
        let Poll::Ready(Ok(reply)) = ours.reply(&mut key) else { panic!("the reply has come") };
        let (size, limit) = (size as u64, max_message as u64);
        match parse(&reply) {
            ReplyBody::Value(_) => assert!(is_allowed),
            failed => {
                assert!(!is_allowed);
                assert_eq!(failed, ReplyBody::Failed(CallError::TooLarge { size, limit }));
            }
        }
    }
}

#[test]
fn small_calls_do_not_wait_for_a_part_however_little_may_be_queued() {
    let limits = Limits { queued_bytes: 4096, ..Limits::default() };
    let (mut ours, mut theirs) = greeted(limits, Limits::default());
    ours.started(&vec![7; 3 << 20]);
    ours.core.feed();
    assert!(ours.core.outbox().pending_len() > 4096);
    ours.started(b"small");
    // What is queued beside the part counts.
    ours.started(&[7; 5000]);
    assert!(ours.call(b"waits").1.is_pending());
    theirs.hears(&ours.sends());
    assert_eq!(theirs.asked.len(), 3);
}

#[test]
fn bulk_goes_by_the_bypass_while_short_messages_pass_it() {
    let (mut ours, _) = greeted(Limits::default(), Limits::default());
    ours.core.ways().are_two();
    assert_eq!(ours.core.turn(false), Turn::Switches);
    ours.started(&vec![7; 3 << 20]);
    assert_eq!(ours.core.turn(true), Turn::Switches);
    let out = |side: &mut Side| {
        side.core.feed();
        let len = side.core.outbox().pending_len();
        side.core.outbox().advance(len);
        len
    };
    assert!(out(&mut ours) > 1 << 20);
    ours.started(b"short");
    assert_eq!(ours.core.turn(true), Turn::Switches, "what is out before it is known is large");
    while !ours.core.is_bulk_passed() {
        out(&mut ours);
    }
    assert_eq!(ours.core.turn(true), Turn::Stays);
    // When nothing has passed it for some time it goes by the socket again.
    while ours.core.is_bulk_passed() {
        assert!(out(&mut ours) <= 2 * limits::SHORT_PART);
    }
    assert!(ours.core.has_unsent());
    assert_eq!(ours.core.turn(true), Turn::Switches);
}

#[test]
fn the_last_part_that_is_passed_is_as_short_as_the_others() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    ours.started(b"");
    theirs.hears(&ours.sends());
    theirs.core.ways().are_two();
    answers_with_blocks(&mut theirs, &[2 << 20]);
    let mut passed = 0;
    loop {
        theirs.core.feed();
        if passed > 2 {
            assert_eq!(theirs.core.turn(true), Turn::Stays, "{passed}");
        }
        let len = theirs.core.outbox().pending_len();
        theirs.core.outbox().advance(len);
        if !theirs.core.has_unsent() {
            break;
        }
        theirs.core.put_frame(Kind::Cancel, 77, |_| ());
        passed += 1;
    }
    assert!(passed > 100);
}

/// It still goes out, before the words of the end, and may be run.
#[test]
fn a_call_that_is_queued_when_this_side_ends_may_have_run() {
    let ends: [fn(&mut Core); 2] = [|core| core.dismiss("enough"), |core| core.violation("nonsense")];
    for end in ends {
        let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
        let mut key = ours.started(b"queued");
        end(&mut ours.core);
        assert_eq!(ours.failure(&mut key), CallError::Disconnected { sent: true });
        theirs.hears(&ours.sends());
        assert_eq!(theirs.asked.len(), 1);
    }
}

/// What the other side has not read when it ends it does not run.
#[test]
fn a_call_that_is_queued_when_the_other_side_ends_has_not_run() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let mut key = ours.started(b"queued");
    theirs.core.dismiss("enough");
    ours.hears(&theirs.sends());
    assert_eq!(ours.failure(&mut key), CallError::Disconnected { sent: false });
    theirs.hears(&ours.sends());
    assert_eq!(theirs.asked.len(), 0);
}

#[test]
fn a_call_that_is_being_written_when_the_connection_is_lost_may_have_run() {
    let (mut ours, _theirs) = greeted(Limits::default(), Limits::default());
    let mut key = ours.started(b"on its way");
    let taken = ours.core.outbox().take_out().unwrap();
    let mut unwritten = ours.started(b"behind it");
    ours.core.ended(CloseReason::Closed);
    ours.core.outbox().put_back(taken, 0);
    assert_eq!(ours.failure(&mut key), CallError::Disconnected { sent: true });
    assert_eq!(ours.failure(&mut unwritten), CallError::Disconnected { sent: false });
}

#[test]
fn who_is_answered_is_not_idle() {
    let limits = Limits { idle_timeout: Some(Duration::from_secs(1)), ..Limits::default() };
    let (mut ours, mut theirs) = greeted(limits, Limits::default());
    ours.core.on_timeout(ours.now + Duration::from_secs(1), &Peer::unknown());
    let mut key = ours.started(b"");
    theirs.hears(&ours.sends());
    assert!(theirs.answer(0, b""));
    ours.hears(&theirs.sends());
    assert!(matches!(ours.reply(&mut key), Poll::Ready(Ok(_))));
    ours.core.on_timeout(ours.now + Duration::from_secs(2), &Peer::unknown());
    assert!(ours.core.takes_calls(), "a reply has come meanwhile");
    ours.core.on_timeout(ours.now + Duration::from_secs(3), &Peer::unknown());
    assert!(!ours.core.takes_calls(), "nothing has");
}

/// Makes small one-way calls until the window is used up; gives how many went.
fn fill_window(side: &mut Side, nested: bool) -> usize {
    let mut sent = 0;
    while side
        .core
        .poll_oneway(
            CallTarget::new(0, 7),
            || nested,
            &mut None,
            &mut idle(),
            Some(&mut message(|_, out| {
                out.extend([7; 100]);
                Ok(None)
            })),
        )
        .is_ready()
    {
        sent += 1;
    }
    sent
}

/// Hands the one-way calls that have come to their handlers, as far as they may run.
fn admit(side: &mut Side) -> usize {
    let asked = std::mem::take(&mut side.asked);
    asked.into_iter().filter(|incoming| side.core.admits_oneway(incoming.oneway_cost())).count()
}

#[test]
fn one_way_calls_wait_with_their_caller_and_replies_pass_those_that_have_come() {
    let limits = || Limits { oneway_bytes: 64 << 10, ..calls(1) };
    let (mut ours, mut theirs) = greeted(limits(), limits());
    let sent = fill_window(&mut ours, false);
    assert!((100..1000).contains(&sent), "{sent}");
    theirs.hears(&ours.sends());
    assert_eq!(admit(&mut theirs), 1, "the others wait");
    // The handler that runs calls back, and has its reply.
    let mut key = theirs.started(b"back");
    ours.hears(&theirs.sends());
    assert!(ours.answer(0, b"here"));
    // A handler of the caller's makes one-way calls too.
    assert!(fill_window(&mut ours, true) > 10);
    theirs.hears(&ours.sends());
    assert!(matches!(theirs.reply(&mut key), Poll::Ready(Ok(_))));
    assert_eq!(admit(&mut theirs), 0);
    // As they start, in their order, the caller gets room for more.
    let waiting = theirs.core.handlers.waiting_oneways();
    for _ in 0..waiting {
        theirs.core.oneway_ended();
        assert!(theirs.core.starts_waiting_oneway(200));
    }
    ours.hears(&theirs.sends());
    assert_eq!((ours.core.close_reason(), theirs.core.close_reason()), (None, None));
    assert!(!ours.core.aftermath().wakes.is_empty(), "the caller is woken");
    assert!(fill_window(&mut ours, false) >= sent / 2);
}

#[test]
fn credit_for_one_way_calls_goes_out_in_quarters_of_the_window() {
    let limits = Limits { oneway_bytes: 64 << 10, ..Limits::default() };
    let (mut ours, mut theirs) = greeted(Limits::default(), limits);
    let mut credits = 0;
    for _ in 0..1000 {
        assert!(
            ours.core
                .poll_oneway(
                    CallTarget::new(0, 7),
                    || false,
                    &mut None,
                    &mut idle(),
                    Some(&mut message(|_, _| Ok(None)))
                )
                .is_ready()
        );
        theirs.hears(&ours.sends());
        assert_eq!(admit(&mut theirs), 1);
        theirs.core.oneway_ended();
        let said = theirs.sends();
        credits += Side::kinds(&said).len();
        ours.hears(&said);
    }
    // 1,000 calls of 107 bytes in quarters of 16 KiB.
    assert_eq!(credits, 6);
}

#[test]
fn peer_that_sends_more_one_way_calls_than_it_may_is_cut_off() {
    for counts in [true, false] {
        let (mut ours, mut theirs) = greeted(calls(1), calls(1));
        theirs.core.peer_counts_oneways = counts;
        ours.core.oneway_window.set_size(0);
        let long = vec![7; 100 << 10];
        let mut sent = 0;
        while theirs.core.close_reason().is_none() {
            let call = &mut message(|_, out| {
                out.extend_from_slice(&long);
                Ok(None)
            });
            assert!(
                ours.core
                    .poll_oneway(CallTarget::new(0, 7), || false, &mut None, &mut idle(), Some(call))
                    .is_ready()
            );
            theirs.hears(&ours.sends());
            admit(&mut theirs);
            sent += long.len();
        }
        let held = if counts { limits::ONEWAY_BYTES } else { limits::UNCOUNTED_ONEWAYS as usize };
        assert!((held..held + (300 << 10)).contains(&sent), "{sent}");
        assert!(matches!(theirs.core.close_reason(), Some(CloseReason::Protocol(_))));
    }
}

/// Starts a call of a method that nests so deep.
fn start_nested(side: &mut Side, nesting: u32, method: u64) -> (Option<usize>, Poll<Result<(), CallError>>) {
    let mut key = None;
    let target = CallTarget::new(0, method);
    let call = &mut message(|_, _| Ok(None));
    let polled = side.core.poll_call(&mut key, target, None, || nesting, &mut idle(), Some(call));
    (key, unboxed(polled))
}

/// How deep a call nests that answers the one with this id, where `max_calls` are regular.
fn nesting_of(id: u32, max_calls: u32) -> u32 {
    (id + 1).saturating_sub(max_calls) + 1
}

#[test]
fn calls_that_nest_never_wait_for_each_other_and_fail_at_the_last_level() {
    for max_calls in [1, 3] {
        let limits = || Limits { max_nested_calls: 5, ..calls(max_calls) };
        let (mut ours, mut theirs) = greeted(limits(), limits());
        let (mut nesting, mut ids) = (0, Vec::new());
        loop {
            let (caller, callee) =
                if ids.len() % 2 == 0 { (&mut ours, &mut theirs) } else { (&mut theirs, &mut ours) };
            let (key, polled) = start_nested(caller, nesting, 7);
            if polled == Poll::Ready(Err(CallError::Overloaded)) {
                break;
            }
            assert_eq!(polled, Poll::Ready(Ok(())), "call {} waits", ids.len());
            callee.hears(&caller.sends());
            let id = callee.asked.pop().unwrap().reply_to.unwrap().id();
            nesting = nesting_of(id, max_calls);
            ids.push((id, key));
        }
        // All regular ids, in both directions, and all levels.
        assert_eq!(ids.len() as u32, 2 * max_calls + 5);
        for (depth, (id, mut key)) in ids.into_iter().enumerate().rev() {
            let (caller, callee) =
                if depth % 2 == 0 { (&mut ours, &mut theirs) } else { (&mut theirs, &mut ours) };
            assert!(callee.answer(id, b""));
            caller.hears(&callee.sends());
            assert!(matches!(caller.reply(&mut key), Poll::Ready(Ok(_))));
        }
        for side in [&mut ours, &mut theirs] {
            assert_eq!((side.core.close_reason(), side.core.calls.are_in_flight()), (None, false));
            assert_eq!((side.core.handlers.active(), side.core.handlers.has_extra()), (0, false));
        }
    }
}

#[test]
fn many_calls_of_one_level_wait_for_each_other_in_their_order() {
    let limits = || Limits { max_nested_calls: 5, ..calls(1) };
    let (mut ours, mut theirs) = greeted(limits(), limits());
    let mut regular = ours.started(b"");
    let mut keys: Vec<_> = (0..10).map(|_| start_nested(&mut ours, 2, 7)).collect();
    assert_eq!(keys[0].1, Poll::Ready(Ok(())));
    assert!(keys[1..].iter().all(|(_, polled)| polled.is_pending()));
    theirs.hears(&ours.sends());
    // A regular id that is free is not theirs.
    assert!(theirs.answer(0, b""));
    ours.hears(&theirs.sends());
    assert!(ours.reply(&mut regular).is_ready());
    assert!(ours.again(&mut keys[1].0, b"").is_pending());
    // One of those that wait is given up.
    ours.core.drop_call(keys.remove(1).0.unwrap());
    for (index, (mut key, _)) in keys.into_iter().enumerate() {
        if index > 0 {
            assert_eq!(ours.again(&mut key, b""), Poll::Ready(Ok(())), "call {index}");
            theirs.hears(&ours.sends());
        }
        assert!(theirs.answer(2, b""));
        ours.hears(&theirs.sends());
        assert!(ours.reply(&mut key).is_ready());
    }
    assert!(!ours.core.calls.has_waiting() && !ours.core.calls.are_in_flight());
}

#[test]
fn flush_and_health_check_do_not_wait_for_the_limit_of_calls() {
    let (mut ours, mut theirs) = greeted(calls(1), calls(1));
    ours.started(b"");
    assert!(start_nested(&mut ours, 0, 7).1.is_pending());
    assert_eq!(ours.core.is_first_at_limit(), Some(1));
    assert_eq!(ours.core.is_first_at_limit(), None, "it is told once");
    let (mut flush, polled) = start_nested(&mut ours, 0, FLUSH);
    assert_eq!(polled, Poll::Ready(Ok(())));
    let (mut second, polled) = start_nested(&mut ours, 0, FLUSH);
    assert!(polled.is_pending());
    let (mut ping, polled) = start_nested(&mut ours, 0, PING);
    assert_eq!(polled, Poll::Ready(Ok(())));
    theirs.hears(&ours.sends());
    let ids: Vec<_> = theirs.asked.iter().map(|call| call.reply_to.unwrap().id()).collect();
    let first = 1 + Limits::default().max_nested_calls;
    assert_eq!(ids, [0, first, first + 1]);
    for id in [first, first + 1] {
        assert!(theirs.answer(id, b""));
    }
    ours.hears(&theirs.sends());
    assert!(ours.reply(&mut flush).is_ready() && ours.reply(&mut ping).is_ready());
    assert_eq!(ours.again(&mut second, b""), Poll::Ready(Ok(())));
}

#[test]
fn extra_ids_are_for_calls_that_nest_and_a_peer_that_uses_others_is_told_overloaded() {
    let limits = || Limits { max_nested_calls: 2, ..calls(4) };
    let (mut ours, mut theirs) = greeted(limits(), limits());
    // Ids 4 and 5 are for calls that nest, 6 for Flush, 7 for the health check.
    for (id, method, runs) in
        [(4, 7, true), (5, 7, true), (6, 7, false), (6, FLUSH, true), (7, 7, false), (8, PING, false)]
    {
        let mut frame = Vec::new();
        let head = begin_message(&mut frame, Kind::Call, ROOT_PORT, id);
        frame.extend(u64::to_le_bytes(method));
        frame.push(0);
        frame::finish(&mut frame, head, usize::MAX).unwrap();
        theirs.hears(&frame);
        assert_eq!((theirs.asked.pop().is_some(), theirs.core.close_reason()), (runs, None), "{id}");
    }
    assert_eq!(Side::kinds(&theirs.sends()), [Kind::Reply; 3]);
    // A peer that takes none is sent none.
    ours.core.room.extra = 0;
    for _ in 0..4 {
        ours.started(b"");
    }
    assert!(start_nested(&mut ours, 1, 7).1.is_pending() && start_nested(&mut ours, 0, FLUSH).1.is_pending());
}

#[test]
fn flush_that_was_made_before_the_hello_came_does_not_wait_for_the_limit_of_calls_either() {
    let (mut ours, mut theirs) = pair(Limits::default(), calls(1));
    ours.started(b"");
    let (mut flush, polled) = start_nested(&mut ours, 0, FLUSH);
    assert!(polled.is_pending());
    theirs.hears(&ours.sends());
    ours.hears(&theirs.sends());
    assert_eq!(ours.again(&mut flush, b""), Poll::Ready(Ok(())));
}

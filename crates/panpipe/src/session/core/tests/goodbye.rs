//! Sides that are to end, and those who hear of it.

use super::*;
use crate::error::RefusalReason;
use crate::session::reply::{ReplyBody, parse};

/// Carries everything that both have to say.
fn exchange(ours: &mut Side, theirs: &mut Side) -> Vec<Kind> {
    let mut all = Vec::new();
    loop {
        let (one, other) = (ours.sends(), theirs.sends());
        if one.is_empty() && other.is_empty() {
            return all;
        }
        all.extend(Side::kinds(&one));
        all.extend(Side::kinds(&other));
        theirs.hears(&one);
        ours.hears(&other);
    }
}

fn oneway(side: &mut Side, bytes: usize) -> Poll<Result<(), CallError>> {
    side.core.poll_oneway(
        CallTarget::new(0, 7),
        || false,
        &mut None,
        &mut idle(),
        Some(&mut message(|_, out| {
            out.resize(out.len() + bytes, 7);
            Ok(None)
        })),
    )
}

/// Answers everything that a side has been asked, and runs its one-way calls.
fn answer_all(side: &mut Side) {
    for call in std::mem::take(&mut side.asked) {
        match call.reply_to {
            Some(call) => assert!(side.answer(call.id(), b"done")),
            None => assert!(side.core.admits_oneway(1)),
        }
    }
}

#[test]
fn a_side_that_drains_finishes_what_runs_and_runs_nothing_new() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let mut running = ours.started(b"runs");
    theirs.hears(&ours.sends());
    theirs.core.drain();
    let goodbye = theirs.sends();
    assert_eq!(Side::kinds(&goodbye), [Kind::Goodbye]);
    // One that was on its way when the goodbye was said.
    let mut crossing = ours.started(b"crosses");
    theirs.hears(&ours.sends());
    assert_eq!(theirs.asked.len(), 1);
    ours.hears(&goodbye);
    assert_eq!(ours.call(b"new").1, Poll::Ready(Err(CallError::Disconnected { sent: false })));
    answer_all(&mut theirs);
    assert!(!theirs.core.is_finished());
    assert_eq!(exchange(&mut ours, &mut theirs), [Kind::Reply, Kind::Reply, Kind::Goodbye]);
    assert!(theirs.core.is_finished() && !ours.core.is_finished());
    let Poll::Ready(Ok(reply)) = ours.reply(&mut running) else { panic!("it was not finished") };
    assert_eq!(parse(&reply), ReplyBody::Value(b"done"));
    let Poll::Ready(Ok(reply)) = ours.reply(&mut crossing) else { panic!("it was not answered") };
    assert_eq!(parse(&reply), ReplyBody::Failed(CallError::Disconnected { sent: false }));
}

#[test]
fn a_call_that_comes_when_nothing_runs_any_more_is_told_that_it_was_not_run() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let mut late = ours.started(b"on its way");
    theirs.core.drain();
    let goodbye = theirs.sends();
    assert!(!theirs.core.is_finished(), "the other side has not said that this was all");
    theirs.hears(&ours.sends());
    ours.hears(&goodbye);
    exchange(&mut ours, &mut theirs);
    assert!(theirs.asked.is_empty() && theirs.core.is_finished());
    let Poll::Ready(Ok(reply)) = ours.reply(&mut late) else { panic!("it was lost") };
    assert_eq!(parse(&reply), ReplyBody::Failed(CallError::Disconnected { sent: false }));
}

#[test]
fn one_way_calls_that_are_on_their_way_are_run_large_ones_too() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    assert!(oneway(&mut ours, 1).is_ready() && oneway(&mut ours, limits::PART * 3).is_pending());
    assert!(oneway(&mut ours, 1).is_pending(), "it waits behind the large one");
    theirs.core.drain();
    ours.hears(&theirs.sends());
    assert_eq!(oneway(&mut ours, 1), Poll::Ready(Err(CallError::Disconnected { sent: false })));
    let kinds = exchange(&mut ours, &mut theirs);
    assert_eq!(kinds[kinds.len() - 2..], [Kind::LastPart, Kind::Goodbye], "{kinds:?}");
    assert_eq!(theirs.asked.len(), 2);
    answer_all(&mut theirs);
    assert!(!theirs.core.is_finished(), "they run");
    theirs.core.oneway_ended();
    // One that waits for its turn counts as well.
    theirs.core.handlers.oneway_waits();
    theirs.core.oneway_ended();
    assert!(!theirs.core.is_finished());
    theirs.core.handlers.oneway_waits_no_more();
    assert!(theirs.core.is_finished());
}

#[test]
fn who_does_not_answer_a_goodbye_holds_the_end_up_for_so_long_after_all_else() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    ours.started(b"runs");
    theirs.hears(&ours.sends());
    theirs.core.drain();
    theirs.sends();
    let begun = theirs.now;
    theirs.core.watch_goodbye(|| panic!("something runs: no clock is needed"));
    assert_eq!(theirs.core.next_timeout(), None);
    answer_all(&mut theirs);
    theirs.core.watch_goodbye(|| panic!("its reply is not out"));
    theirs.sends();
    theirs.core.watch_goodbye(|| begun);
    theirs.core.watch_goodbye(|| panic!("it has been started"));
    assert_eq!(theirs.core.next_timeout(), Some(begun + limits::GOODBYE));
    // A late one-way call runs, and has all its time.
    assert!(oneway(&mut ours, 1).is_ready());
    theirs.hears(&ours.sends());
    answer_all(&mut theirs);
    theirs.core.watch_goodbye(|| begun);
    assert_eq!(theirs.core.next_timeout(), None);
    theirs.core.oneway_ended();
    theirs.core.watch_goodbye(|| begun);
    assert!(!theirs.core.is_finished());
    theirs.core.on_timeout(begun + limits::GOODBYE, &Peer::unknown());
    assert!(theirs.core.is_finished());
}

#[test]
fn both_may_drain_at_once_and_no_call_is_lost() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let (mut runs, mut crosses) = (ours.started(b"runs"), theirs.started(b"crosses"));
    theirs.hears(&ours.sends());
    ours.core.drain();
    theirs.core.drain();
    // Each may still call while something of the other's is under way here.
    assert_eq!(ours.call(b"idle").1, Poll::Ready(Err(CallError::Disconnected { sent: false })));
    let mut back = theirs.started(b"called back");
    let (one, other) = (ours.sends(), theirs.sends());
    theirs.hears(&one);
    ours.hears(&other);
    answer_all(&mut theirs);
    let kinds = exchange(&mut ours, &mut theirs);
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Goodbye).count(), 2, "{kinds:?}");
    assert!(ours.core.is_finished() && theirs.core.is_finished());
    let Poll::Ready(Ok(reply)) = ours.reply(&mut runs) else { panic!("it was not finished") };
    assert_eq!(parse(&reply), ReplyBody::Value(b"done"));
    // The one was there before, the other came after its goodbye.
    for key in [&mut crosses, &mut back] {
        let Poll::Ready(Ok(reply)) = theirs.reply(key) else { panic!("it was not answered") };
        assert_eq!(parse(&reply), ReplyBody::Failed(CallError::Disconnected { sent: false }));
    }
}

#[test]
fn a_side_that_drains_waits_for_its_own_calls_and_may_be_called_back_for() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let mut own = ours.started(b"of the side that ends");
    theirs.hears(&ours.sends());
    ours.core.drain();
    exchange(&mut ours, &mut theirs);
    assert!(!ours.core.is_finished(), "its call runs");
    answer_all(&mut theirs);
    exchange(&mut ours, &mut theirs);
    assert!(matches!(ours.reply(&mut own), Poll::Ready(Ok(_))));
    assert!(ours.core.is_finished() && !theirs.core.is_finished());
}

#[test]
fn a_dropped_call_is_waited_for_until_it_is_answered() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let dropped = ours.started(b"x");
    theirs.hears(&ours.sends());
    theirs.core.drain();
    ours.hears(&theirs.sends());
    ours.core.drop_call(dropped.unwrap());
    assert_eq!(Side::kinds(&ours.sends()), [Kind::Cancel]);
    // And one that goes out in parts, and is given up: there is nothing to answer.
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let large = ours.started(&vec![7; limits::PART * 3]);
    theirs.core.drain();
    ours.hears(&theirs.sends());
    assert!(!ours.core.has_answered);
    ours.core.drop_call(large.unwrap());
    assert_eq!(Side::kinds(&ours.sends()), [Kind::Goodbye]);
}

#[test]
fn before_the_hello_a_client_is_refused_in_words_and_nothing_ran() {
    let (mut ours, mut theirs) = pair(Limits::default(), Limits::default());
    let mut first = ours.started(b"1");
    theirs.core.drain();
    let refusal = theirs.sends();
    assert_eq!(Side::kinds(&refusal), [Kind::Refuse]);
    assert!(theirs.core.is_finished());
    // Its hello and its call are out, and nobody reads them.
    ours.sends();
    ours.hears(&refusal);
    let Poll::Ready(Err(CallError::Refused(refusal))) = ours.reply(&mut first) else { panic!("not refused") };
    assert_eq!(refusal.reason, RefusalReason::Draining);
}

#[test]
fn a_dialer_that_ends_before_the_answer_to_its_hello_says_goodbye_after_it() {
    let (mut ours, mut theirs) = pair(Limits::default(), Limits::default());
    let mut first = ours.started(b"1");
    theirs.hears(&ours.sends());
    ours.core.drain();
    assert!(!ours.core.is_finished() && ours.sends().is_empty());
    answer_all(&mut theirs);
    ours.hears(&theirs.sends());
    assert_eq!(exchange(&mut ours, &mut theirs), [Kind::Goodbye, Kind::Goodbye]);
    assert!(matches!(ours.reply(&mut first), Poll::Ready(Ok(_))));
    assert!(ours.core.is_finished());
    // Who has said nothing at all has nothing to wait for.
    let (mut quiet, _) = pair(Limits::default(), Limits::default());
    quiet.core.drain();
    assert!(quiet.core.is_finished() && quiet.sends().is_empty());
}

#[test]
fn who_waits_for_the_end_has_its_waker_neither_cloned_nor_dropped_under_the_lock() {
    struct Quiet;
    impl std::task::Wake for Quiet {
        fn wake(self: Arc<Self>) {}
    }
    let (mut ours, _) = greeted(Limits::default(), Limits::default());
    let task = Arc::new(Quiet);
    let waker = || Some(Waker::from(task.clone()));
    let (mut closed, mut gone) = (None, None);
    // Without a waker it is asked again, with one.
    assert!(ours.core.poll_closed(&mut closed, &mut None).is_pending() && closed.is_none());
    assert!(ours.core.poll_closed(&mut closed, &mut waker()).is_pending());
    assert!(ours.core.poll_closed(&mut gone, &mut waker()).is_pending());
    assert_eq!(Arc::strong_count(&task), 3);
    // One that is known is given back.
    let mut again = waker();
    assert!(ours.core.poll_closed(&mut closed, &mut again).is_pending() && again.is_some());
    drop(again);
    ours.core.forget_end(gone.unwrap());
    ours.core.ended(CloseReason::Closed);
    assert_eq!(Arc::strong_count(&task), 3);
    std::mem::take(ours.core.aftermath()).wakes.into_iter().for_each(Waker::wake);
    assert_eq!(Arc::strong_count(&task), 1);
}

#[test]
fn who_waits_for_the_end_is_woken_when_it_begins_and_when_it_comes() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    let (mut ending, mut closed, mut gone) = (None, None, None);
    assert!(ours.core.poll_ending(&mut ending, &mut idle()).is_pending());
    assert!(ours.core.poll_closed(&mut closed, &mut idle()).is_pending());
    assert!(ours.core.poll_closed(&mut gone, &mut idle()).is_pending());
    ours.core.forget_end(gone.unwrap());
    ours.core.aftermath().wakes.clear();
    theirs.core.drain();
    ours.hears(&theirs.sends());
    assert_eq!(ours.core.aftermath().wakes.len(), 2);
    assert_eq!(ours.core.poll_ending(&mut ending, &mut idle()), Poll::Ready(()));
    assert!(ours.core.poll_closed(&mut closed, &mut idle()).is_pending());
    ours.core.forget_end(ending.unwrap());
    ours.core.aftermath().wakes.clear();
    ours.core.ended(CloseReason::Closed);
    assert_eq!(ours.core.aftermath().wakes.len(), 1);
    assert_eq!(ours.core.poll_closed(&mut closed, &mut idle()), Poll::Ready(CloseReason::Closed));
    ours.core.forget_end(closed.unwrap());
    assert!(!ours.core.is_end_awaited());
}
